//! A ledger in a PostgreSQL database, shared by many hosts.
//!
//! The database applies the rule itself: its functions (`schema/`) are all that the runtime's role may
//! call, and they are checked against the core's `protocol::next`. A spend is one statement, which is
//! one transaction: it locks its run and its token and nothing that others use, so that runs don't
//! wait for each other. Its record is put together there, under the lock on the run.
//!
//! No advisory lock guards a use. Nothing is tried again blindly: a change whose answer was lost is
//! looked up by its name first.

mod decisions;
mod item;
mod lanes;
mod log;
mod owner;
mod plain;
mod read;
mod row;
mod schema;
mod sequencer;
mod session;
mod snapshot;
mod trouble;
mod turns;
mod watch;

use std::path::Path;

use async_trait::async_trait;
use lar_core::audit::log::{Certify, Head, Log, NewKey, Signers, Stamped};
use lar_core::audit::record::SealedRecord;
use lar_core::audit::tree::Subtree;
use lar_core::id::{AttemptId, RunId};
use lar_core::json::Digest;
use lar_core::ledger::{
    Attempt, ClockReset, Closing, Conflict, Decision, Decisions, Entry, Erasing, Grant, GrantId,
    Hold, Identity, Issuing, Ledger, LedgerError, Opened, Opening, Receipt, Resolution, RunSummary,
    Taking,
};
use lar_core::time::Timestamp;
use lar_postgres::Address;

use item::Item;
use lanes::{LANES, Lanes};
use sequencer::Sequencer;
use session::Sessions;
use trouble::Trouble;
use turns::Turn;

use crate::seen::LastSeen;

/// Connections beside those of the lanes, for whoever reads.
const READERS: usize = 4;

/// A ledger in a PostgreSQL database.
#[derive(Debug)]
pub(crate) struct Postgres {
    sessions: Sessions,
    lanes: Lanes,
    sequencer: Sequencer,
}

impl Postgres {
    /// Connects, and where there is no ledger makes one if that is wanted and the role may.
    /// What is committed through it is put into the log and signed by whatever `signers` gives, here or
    /// on another host. `seen` is where it is kept what was last seen of a ledger; one that is behind that
    /// can be read and not changed.
    pub(crate) async fn open(
        address: Address,
        make: bool,
        signers: Option<Signers>,
        seen: Option<&Path>,
    ) -> Result<Option<Self>, LedgerError> {
        let sessions = Sessions::new(address, LANES + READERS)?;
        if !schema::prepare(&sessions, make).await.map_err(Trouble::into_error)? {
            return Ok(None);
        }
        if let Some(directory) = seen {
            let id = read::identity(&sessions).await?.ledger;
            watch::begin(&sessions, LastSeen::of(directory, &id)).await?;
        }
        let lanes = Lanes::start(&sessions);
        let sequencer = Sequencer::new(&sessions, signers)?;
        Ok(Some(Self { sessions, lanes, sequencer }))
    }

    /// Takes the database for what it is now, an older state as it may be: a new epoch begins, so that no
    /// grant issued before takes a further spend, and what was last seen is forgotten.
    pub(crate) async fn accept_restored(
        address: Address,
        seen: &Path,
    ) -> Result<Identity, LedgerError> {
        let sessions = Sessions::new(address, READERS)?;
        if !schema::prepare(&sessions, false).await.map_err(Trouble::into_error)? {
            return Err(crate::no_ledger());
        }
        let id = read::identity(&sessions).await?.ledger;
        let accepted = owner::accept_restored(&sessions, LastSeen::of(seen, &id)).await;
        accepted.map_err(Trouble::into_error)
    }

    /// Makes a rare change of a run, and keeps what was acknowledged.
    async fn turn<T: Turn>(
        &self,
        turn: T,
        receipt: impl FnOnce(&T::Answer) -> &Receipt,
    ) -> Result<T::Answer, LedgerError> {
        let run = turn.of_run().clone();
        let answer = turns::insist(&self.sessions, turn).await?;
        self.sessions.watch().saw(&run, receipt(&answer));
        Ok(answer)
    }
}

#[async_trait]
impl Ledger for Postgres {
    async fn identity(&self) -> Result<Identity, LedgerError> {
        read::identity(&self.sessions).await
    }

    async fn bump_epoch(&self) -> Result<Identity, LedgerError> {
        owner::bump_epoch(&self.sessions).await.map_err(Trouble::into_error)
    }

    async fn reset_clock(&self) -> Result<ClockReset, LedgerError> {
        owner::reset_clock(&self.sessions).await.map_err(Trouble::into_error)
    }

    async fn issue(&self, issuing: Issuing) -> Result<Grant, LedgerError> {
        owner::issue(&self.sessions, issuing).await.map_err(Trouble::into_error)
    }

    async fn revoke(&self, grant: &GrantId, reason: &str) -> Result<Grant, LedgerError> {
        owner::revoke(&self.sessions, grant, reason).await.map_err(Trouble::into_error)
    }

    async fn grant(&self, grant: &GrantId) -> Result<Option<Grant>, LedgerError> {
        read::grant(&self.sessions, grant).await
    }

    async fn grants(&self) -> Result<Vec<Grant>, LedgerError> {
        read::grants(&self.sessions).await
    }

    async fn open_run(&self, opening: Opening) -> Result<Opened, LedgerError> {
        self.sequencer.begin();
        self.turn(opening, |opened| &opened.receipt).await
    }

    async fn take_run(&self, taking: Taking) -> Result<Opened, LedgerError> {
        self.sequencer.begin();
        self.turn(taking, |opened| &opened.receipt).await
    }

    async fn renew_run(&self, hold: &Hold) -> Result<Timestamp, LedgerError> {
        let fence = i64::try_from(hold.fence).map_err(|_| Conflict::RunLost)?;
        let sql = "SELECT * FROM lar.renew_run($1, $2)";
        let rows = read::ask(&self.sessions, sql, &[&hold.run.as_str(), &fence]).await?;
        let row = rows.first().ok_or_else(row::unreadable)?;
        match row::get::<Option<&str>>(row, "code")? {
            None => row::time(row, "until"),
            Some("unknown_run") => Err(LedgerError::UnknownRun(hold.run.to_string())),
            Some("run_closed") => Err(LedgerError::RunClosed(hold.run.to_string())),
            Some(_) => Err(Conflict::RunLost.into()),
        }
    }

    async fn commit(&self, entry: Entry) -> Result<Receipt, LedgerError> {
        self.lanes.commit(Item::of(entry)?).await
    }

    async fn close_run(&self, closing: Closing) -> Result<Receipt, LedgerError> {
        self.turn(closing, |receipt| receipt).await
    }

    async fn resolve(&self, resolution: Resolution) -> Result<Receipt, LedgerError> {
        let (run, attempt) = (resolution.run.clone(), resolution.attempt);
        let Some(found) = read::attempt(&self.sessions, &run, &attempt).await? else {
            read::run(&self.sessions, &run).await?;
            let (run, attempt) = (run.to_string(), attempt.to_string());
            return Err(LedgerError::UnknownAttempt { run, attempt });
        };
        let (change, record) = resolution.into_change(found.token, found.action);
        self.lanes.commit(Item::from_outside(run, change, &record)?).await
    }

    async fn erase(&self, erasing: Erasing) -> Result<u64, LedgerError> {
        owner::erase(&self.sessions, erasing).await.map_err(Trouble::into_error)
    }

    async fn decide(&self, decision: Decision) -> Result<u64, LedgerError> {
        decisions::decide(&self.sessions, decision).await
    }

    async fn decisions(&self, run: &RunId, attempt: &AttemptId) -> Result<Decisions, LedgerError> {
        decisions::decisions(&self.sessions, run, attempt).await
    }

    async fn attempt(
        &self,
        run: &RunId,
        attempt: &AttemptId,
    ) -> Result<Option<Attempt>, LedgerError> {
        // Whoever asks here asks whether something was made: it must be as durable as an answer.
        self.sessions.settle().await.map_err(Trouble::into_error)?;
        read::attempt(&self.sessions, run, attempt).await
    }

    async fn attempts(&self, run: &RunId) -> Result<Vec<Attempt>, LedgerError> {
        read::run(&self.sessions, run).await?;
        read::attempts(&self.sessions, run).await
    }

    async fn records(
        &self,
        run: &RunId,
        from: u64,
        limit: u64,
    ) -> Result<Vec<SealedRecord>, LedgerError> {
        read::records(&self.sessions, run, from, limit).await
    }

    async fn journal(
        &self,
        run: &RunId,
        from: u64,
        limit: u64,
    ) -> Result<Vec<Vec<u8>>, LedgerError> {
        read::journal(&self.sessions, run, from, limit).await
    }

    async fn runs(&self) -> Result<Vec<RunSummary>, LedgerError> {
        read::runs(&self.sessions, false).await
    }

    async fn open_runs(&self) -> Result<Vec<RunSummary>, LedgerError> {
        read::runs(&self.sessions, true).await
    }

    fn log(&self) -> Option<&dyn Log> {
        Some(self)
    }
}

#[async_trait]
impl Log for Postgres {
    async fn head(&self) -> Result<Head, LedgerError> {
        log::head(&self.sessions).await
    }

    async fn include(&self, run: &RunId, seq: u64) -> Result<Head, LedgerError> {
        self.sequencer.include(run, seq).await
    }

    async fn positions(
        &self,
        run: &RunId,
        from: u64,
        limit: u64,
    ) -> Result<Vec<Option<u64>>, LedgerError> {
        log::positions(&self.sessions, run, from, limit).await
    }

    async fn hashes(&self, level: u8, from: u64, count: u64) -> Result<Vec<Digest>, LedgerError> {
        log::hashes(&self.sessions, level, from, count).await
    }

    async fn subtrees(&self, wanted: Vec<Subtree>) -> Result<Vec<Digest>, LedgerError> {
        log::roots(&self.sessions, &wanted).await
    }

    async fn entries(&self, from: u64, limit: u64) -> Result<Vec<Vec<u8>>, LedgerError> {
        log::entries(&self.sessions, from, limit).await
    }

    async fn witness(&self, size: u64, checkpoint: String) -> Result<(), LedgerError> {
        log::witness(&self.sessions, size, &checkpoint).await
    }

    async fn witnessed(&self) -> Result<Option<String>, LedgerError> {
        log::witnessed(&self.sessions).await
    }

    async fn stamp(&self, size: u64, stamped: Stamped) -> Result<(), LedgerError> {
        log::stamp(&self.sessions, size, &stamped).await
    }

    async fn stamped(&self) -> Result<Option<Stamped>, LedgerError> {
        log::stamped(&self.sessions).await
    }

    async fn rotate(&self, epoch: u64, certify: Certify) -> Result<Head, LedgerError> {
        self.sequencer.rotate(epoch, certify).await
    }

    async fn epochs(&self) -> Result<Vec<NewKey>, LedgerError> {
        log::epochs(&self.sessions).await
    }
}
