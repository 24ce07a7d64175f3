//! A ledger in one SQLite file, safe with many threads and processes at once.
//!
//! One writer thread a process owns the connection. It takes what has queued up, makes all of it in
//! one transaction, and answers each caller after the commit is on disk (`synchronous=FULL`), so
//! that many callers share one `fsync`. Between processes, `BEGIN IMMEDIATE` is the order.

mod clock;
mod file;
mod known;
mod log;
mod openings;
mod places;
mod queue;
mod read;
mod reader;
mod schema;
mod standing;
mod store;
mod thread;
mod writer;

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use lar_core::audit::log::{Certify, Head, Log, NewKey, Signers, Stamped};
use lar_core::audit::record::{Body, LedgerEpoch, SealedRecord};
use lar_core::audit::tree::Subtree;
use lar_core::id::{AttemptId, RunId};
use lar_core::json::Digest;
use lar_core::ledger::transact::{self, Changes, View};
use lar_core::ledger::{
    Attempt, ClockReset, Closing, Decision, Decisions, Entry, Erasing, Grant, GrantId, Hold,
    Identity, Issuing, Ledger, LedgerError, Opened, Opening, Receipt, Resolution, RunSummary,
    Taking,
};
use lar_core::time::Timestamp;

use known::Known;
use log::Integrator;
use reader::Reader;
use schema::Connections;
use store::Store;
use writer::{Failed, Within, Writer};

use crate::seen::LastSeen;

type Result<T> = std::result::Result<T, LedgerError>;

/// A ledger in one SQLite file.
#[derive(Debug)]
pub(crate) struct Sqlite {
    // Ends before the writer, whose connection folds the log into the file when it is the last.
    reader: Reader,
    writer: Result<Writer>,
    path: PathBuf,
}

impl Sqlite {
    /// Opens the file. `seen` is where it is kept what was last seen of a ledger; one that is behind
    /// that can be read and not written.
    pub(crate) fn open(path: &Path, signers: Option<Signers>, seen: Option<&Path>) -> Result<Self> {
        let Connections { writing, reading } = schema::open(path)?;
        let writer = writing.and_then(|connection| {
            // What was edited is shown to whoever reads, and takes nothing more.
            log::check_edge(&reading)?;
            let seen = match seen {
                Some(directory) => {
                    let id = Store::new(&reading, &mut Known::default()).identity()?.ledger;
                    let mut seen = LastSeen::of(directory, &id);
                    seen.check(|| log::sight(&reading), |size| log::root_at(&reading, size))?;
                    Some(seen)
                }
                None => None,
            };
            Writer::start(connection, Integrator::new(signers), seen)
        });
        Ok(Self { writer, reader: Reader::start(reading)?, path: path.to_owned() })
    }

    /// Takes the file for what it is now, an older copy as it may be: a new epoch begins, so that no
    /// grant issued before takes a further spend, and what was last seen is forgotten.
    pub(crate) fn accept_restored(path: &Path, seen: &Path) -> Result<Identity> {
        let mut connection = schema::open(path)?.writing?;
        let transaction = connection
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
            .map_err(|error| unavailable(&error))?;
        let (mut log, mut known) = (Integrator::new(None), Known::default());
        let now = log.begin(&transaction, false)?;
        let mut store = Store::new(&transaction, &mut known);
        let Identity { ledger: id, epoch } = store.identity()?;
        let mut seen = LastSeen::of(seen, &id);
        // The epochs that were seen are gone with the newer file; theirs are not begun again.
        let epoch = epoch.max(seen.read()?.map_or(0, |(seen, _)| seen.epoch)) + 1;
        let own = vec![(now, Body::LedgerEpoch(LedgerEpoch { epoch }))];
        let changes = Changes { epoch: Some(epoch), own, ..Changes::default() };
        store.write(&mut log, changes)?;
        let sight = log.leave_unsealed(&transaction, now)?;
        transaction.commit().map_err(|error| unavailable(&error))?;
        seen.note(sight, None)?;
        Ok(Identity { ledger: id, epoch })
    }

    /// Makes one request: decides it by what is there, then writes all that it changes.
    async fn request<T: Send + 'static>(
        &self,
        decide: impl FnOnce(&mut Store<'_>, Timestamp) -> Result<(T, Changes)> + Send + 'static,
    ) -> Result<T> {
        let work = |within: &mut Within<'_>| -> std::result::Result<T, Failed> {
            let mut store = Store::new(within.connection, within.known);
            let (answer, changes) = decide(&mut store, within.now)?;
            store.write(within.log, changes).map_err(Failed::Spoilt)?;
            Ok(answer)
        };
        self.change(work).await
    }

    async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Within<'_>) -> std::result::Result<T, Failed> + Send + 'static,
    ) -> Result<T> {
        match &self.writer {
            Ok(writer) => writer.ask(work).await,
            Err(why) => Err(why.clone()),
        }
    }

    /// Reads without a change.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&rusqlite::Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.reader.ask(read).await
    }
}

#[async_trait]
impl Ledger for Sqlite {
    async fn identity(&self) -> Result<Identity> {
        self.read(|connection| Store::new(connection, &mut Known::default()).identity()).await
    }

    async fn bump_epoch(&self) -> Result<Identity> {
        self.request(|store, now| transact::bump_epoch(store, now)).await
    }

    async fn issue(&self, issuing: Issuing) -> Result<Grant> {
        self.request(|store, now| transact::issue(store, now, issuing)).await
    }

    async fn revoke(&self, grant: &GrantId, reason: &str) -> Result<Grant> {
        let (grant, reason) = (grant.clone(), reason.to_owned());
        self.request(move |store, now| transact::revoke(store, now, &grant, &reason)).await
    }

    async fn grant(&self, grant: &GrantId) -> Result<Option<Grant>> {
        let grant = grant.clone();
        self.read(move |connection| Store::new(connection, &mut Known::default()).grant(&grant))
            .await
    }

    async fn grants(&self) -> Result<Vec<Grant>> {
        self.read(read::grants).await
    }

    async fn open_run(&self, opening: Opening) -> Result<Opened> {
        self.request(|store, now| transact::open_run(store, now, opening)).await
    }

    async fn take_run(&self, taking: Taking) -> Result<Opened> {
        self.request(|store, now| transact::take_run(store, now, taking)).await
    }

    async fn renew_run(&self, hold: &Hold) -> Result<Timestamp> {
        let hold = hold.clone();
        self.request(move |store, now| transact::renew_run(store, now, &hold)).await
    }

    async fn commit(&self, entry: Entry) -> Result<Receipt> {
        // What takes time and needs nothing of the ledger is done by whoever asks.
        let prepared = transact::prepare(entry)?;
        self.request(|store, now| transact::commit(store, now, prepared)).await
    }

    async fn close_run(&self, closing: Closing) -> Result<Receipt> {
        self.request(|store, now| transact::close_run(store, now, closing)).await
    }

    async fn resolve(&self, resolution: Resolution) -> Result<Receipt> {
        self.request(|store, now| transact::resolve(store, now, resolution)).await
    }

    async fn erase(&self, erasing: Erasing) -> Result<u64> {
        let erased = self.request(|store, now| transact::erase(store, now, erasing)).await?;
        // What was deleted is overwritten in the file (`secure_delete`); the write-ahead log has it yet.
        schema::truncate_log(&self.path)?;
        Ok(erased)
    }

    async fn decide(&self, decision: Decision) -> Result<u64> {
        self.request(|store, _| transact::decide(store, decision)).await
    }

    async fn decisions(&self, run: &RunId, attempt: &AttemptId) -> Result<Decisions> {
        let (run, attempt) = (run.clone(), *attempt);
        // With the time that a change would be given.
        let read = move |within: &mut Within<'_>| {
            let signed = Store::new(within.connection, within.known).decisions(&run, &attempt)?;
            Ok(Decisions { now: within.now, signed })
        };
        self.change(read).await
    }

    async fn attempt(&self, run: &RunId, attempt: &AttemptId) -> Result<Option<Attempt>> {
        let (run, attempt) = (run.clone(), *attempt);
        self.read(move |connection| {
            Store::new(connection, &mut Known::default()).attempt(&run, &attempt)
        })
        .await
    }

    async fn attempts(&self, run: &RunId) -> Result<Vec<Attempt>> {
        let run = run.clone();
        self.read(move |connection| Store::new(connection, &mut Known::default()).attempts(&run))
            .await
    }

    async fn records(&self, run: &RunId, from: u64, limit: u64) -> Result<Vec<SealedRecord>> {
        let run = run.clone();
        self.read(move |connection| read::records(connection, &run, from, limit)).await
    }

    async fn journal(&self, run: &RunId, from: u64, limit: u64) -> Result<Vec<Vec<u8>>> {
        let run = run.clone();
        self.read(move |connection| read::journal(connection, &run, from, limit)).await
    }

    async fn runs(&self) -> Result<Vec<RunSummary>> {
        self.read(|connection| read::runs(connection, false)).await
    }

    async fn open_runs(&self) -> Result<Vec<RunSummary>> {
        self.read(|connection| read::runs(connection, true)).await
    }

    async fn reset_clock(&self) -> Result<ClockReset> {
        if let Err(why) = &self.writer {
            return Err(why.clone());
        }
        clock::reset(&self.path)
    }

    fn log(&self) -> Option<&dyn Log> {
        Some(self)
    }
}

#[async_trait]
impl Log for Sqlite {
    async fn head(&self) -> Result<Head> {
        self.read(log::head).await
    }

    async fn include(&self, run: &RunId, seq: u64) -> Result<Head> {
        // Its commit put it there.
        match self.positions(run, seq, 1).await?.as_slice() {
            [Some(_), ..] => self.head().await,
            _ => Err(LedgerError::BadRecord(format!("run `{run}` has no record {seq}"))),
        }
    }

    async fn positions(&self, run: &RunId, from: u64, limit: u64) -> Result<Vec<Option<u64>>> {
        let run = run.clone();
        self.read(move |connection| log::positions(connection, &run, from, limit)).await
    }

    async fn hashes(&self, level: u8, from: u64, count: u64) -> Result<Vec<Digest>> {
        self.read(move |connection| log::hashes(connection, level, from, count)).await
    }

    async fn subtrees(&self, wanted: Vec<Subtree>) -> Result<Vec<Digest>> {
        self.read(move |connection| log::roots(connection, &wanted)).await
    }

    async fn entries(&self, from: u64, limit: u64) -> Result<Vec<Vec<u8>>> {
        self.read(move |connection| log::entries(connection, from, limit)).await
    }

    async fn witness(&self, size: u64, checkpoint: String) -> Result<()> {
        let work = move |within: &mut Within<'_>| {
            log::witness(within.connection, size, &checkpoint).map_err(Failed::Spoilt)
        };
        self.change(work).await
    }

    async fn witnessed(&self) -> Result<Option<String>> {
        self.read(log::witnessed).await
    }

    async fn stamp(&self, size: u64, stamped: Stamped) -> Result<()> {
        let work = move |within: &mut Within<'_>| {
            log::stamp(within.connection, size, &stamped).map_err(Failed::Spoilt)
        };
        self.change(work).await
    }

    async fn stamped(&self) -> Result<Option<Stamped>> {
        self.read(log::stamped).await
    }

    async fn rotate(&self, epoch: u64, certify: Certify) -> Result<Head> {
        let work = move |within: &mut Within<'_>| {
            let (connection, now) = (within.connection, within.now);
            within.log.rotate(connection, now, epoch, certify).map_err(Failed::Spoilt)
        };
        self.change(work).await?;
        self.head().await
    }

    async fn epochs(&self) -> Result<Vec<NewKey>> {
        self.read(log::epochs).await
    }
}

/// What SQLite's error means for the operator. Its own text is kept out: it can name paths and
/// values, and says nothing about what to do.
fn unavailable(error: &rusqlite::Error) -> LedgerError {
    use rusqlite::ErrorCode as Code;
    let Some(code) = error.sqlite_error_code() else {
        return LedgerError::Damaged(
            "a value in it can't be read; restore the file from a backup".to_owned(),
        );
    };
    // There is no room for the index of the write-ahead log.
    let no_room = error
        .sqlite_error()
        .is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE);
    let why = match code {
        _ if no_room => "the disk is full; free some space and run again",
        Code::DiskFull => "the disk is full; free some space and run again",
        Code::DatabaseBusy | Code::DatabaseLocked => {
            "another process held it for 10 seconds; run again when that one has finished"
        }
        Code::ReadOnly => "it is read-only; check the owner and mode of the file and its directory",
        Code::CannotOpen => "it can't be opened; check that the directory exists and is yours",
        Code::PermissionDenied => "permission was denied; check the owner and mode of the file",
        Code::SystemIoFailure => "the disk reported an error; check the disk before you go on",
        Code::DatabaseCorrupt => return corrupt(),
        Code::ConstraintViolation => return contradiction(),
        Code::NotADatabase => {
            return LedgerError::Damaged(
                "the file is not a SQLite database; name another with `--ledger`".to_owned(),
            );
        }
        _ => return LedgerError::Unavailable(format!("SQLite reports {code:?}")),
    };
    LedgerError::Unavailable(why.to_owned())
}

fn corrupt() -> LedgerError {
    LedgerError::Damaged("its pages are corrupt; restore the file from a backup".to_owned())
}

fn contradiction() -> LedgerError {
    LedgerError::Damaged(
        "its tables contradict each other; restore the file from a backup".to_owned(),
    )
}
