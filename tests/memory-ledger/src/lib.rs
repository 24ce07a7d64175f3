//! A ledger in memory, for tests: the requests of [`lar_core::ledger::transact`] over maps, and
//! nothing else. It is what every real ledger is compared with.
//!
//! Its clock can be set, and it can lose answers after the change was made.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first surprise, and nothing else uses this"
)]

mod tables;

use std::sync::{Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use lar_core::audit::record::{Body, RunOpen, SealedRecord};
use lar_core::id::{AttemptId, RunId};
use lar_core::ledger::transact::{self, Changes, View};
use lar_core::ledger::{
    Attempt, ClockReset, Closing, Decision, Decisions, Definitions, Entry, Erasing, Grant, GrantId,
    Granted, Hold, Identity, Issuing, Ledger, LedgerError, Opened, Opening, Receipt, Resolution,
    RunSummary, Source, Taking,
};
use lar_core::time::Timestamp;
use tables::Tables;

type Result<T> = std::result::Result<T, LedgerError>;

/// A ledger in memory.
#[derive(Debug, Default)]
pub struct Memory {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    tables: Tables,
    now: Option<i64>,
    commits: u64,
    lose_every: u64,
    refuse: u64,
}

impl Inner {
    fn time(&self) -> Timestamp {
        let system = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        Timestamp::from_millis(self.now.unwrap_or(i64::try_from(system).unwrap()))
    }
}

impl Memory {
    /// Loses the answer of every so many commits, after the change was made; never when it is zero.
    pub fn lose_every(&self, every: u64) {
        self.inner().lose_every = every;
    }

    /// Refuses the next so many requests and changes nothing, as a store that can't be reached.
    pub fn refuse_next(&self, requests: u64) {
        self.inner().refuse = requests;
    }

    /// Stops the clock at that many milliseconds since 1970.
    pub fn set_clock(&self, millis: i64) {
        self.inner().now = Some(millis);
    }

    /// Uses of a token that are neither held nor spent.
    pub fn left(&self, grant: &GrantId, token: &str) -> u32 {
        self.inner().tables.grant(grant).unwrap().unwrap().token(token).unwrap().uses_left
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    fn request<T>(
        &self,
        decide: impl FnOnce(&mut Tables, Timestamp) -> Result<(T, Changes)>,
    ) -> Result<T> {
        let mut inner = self.inner();
        if inner.refuse > 0 {
            inner.refuse -= 1;
            return Err(LedgerError::Unavailable("it doesn't answer".to_owned()));
        }
        let now = inner.time();
        let (answer, changes) = decide(&mut inner.tables, now)?;
        inner.tables.write(changes);
        inner.commits += 1;
        if inner.lose_every > 0 && inner.commits.is_multiple_of(inner.lose_every) {
            return Err(LedgerError::Unavailable("the answer was lost".to_owned()));
        }
        Ok(answer)
    }
}

/// Opens a run of its own grant with a record that says little.
///
/// # Errors
///
/// As [`Ledger::open_run`].
pub async fn open(ledger: &dyn Ledger, run: &RunId, tokens: Vec<Granted>) -> Result<Opened> {
    let definitions = Definitions::from_text("{}");
    ledger.open_run(opening(run, Source::Own { tokens, definitions })).await
}

/// An opening with a record that says little.
pub fn opening(run: &RunId, source: Source) -> Opening {
    Opening {
        run: run.clone(),
        owner: "test 1 1".to_owned(),
        lease_ms: 60_000,
        source,
        record: Body::RunOpen(RunOpen {
            model: "replay".to_owned(),
            task: "a task".to_owned(),
            runtime: "0".to_owned(),
            binary: None,
            manifest: None,
            grant: None,
            budget: Default::default(),
            tokens: Vec::new(),
            enforcement: "none".to_owned(),
            approvals: Vec::new(),
            runner: None,
        }),
        openings: Vec::new(),
        journal: None,
    }
}

#[async_trait]
impl Ledger for Memory {
    async fn identity(&self) -> Result<Identity> {
        self.inner().tables.identity()
    }

    async fn bump_epoch(&self) -> Result<Identity> {
        self.request(transact::bump_epoch)
    }

    async fn reset_clock(&self) -> Result<ClockReset> {
        self.request(|_, now| Ok((ClockReset { before: now, now }, Changes::default())))
    }

    async fn issue(&self, issuing: Issuing) -> Result<Grant> {
        self.request(|tables, now| transact::issue(tables, now, issuing))
    }

    async fn revoke(&self, grant: &GrantId, reason: &str) -> Result<Grant> {
        self.request(|tables, now| transact::revoke(tables, now, grant, reason))
    }

    async fn grant(&self, grant: &GrantId) -> Result<Option<Grant>> {
        self.inner().tables.grant(grant)
    }

    async fn grants(&self) -> Result<Vec<Grant>> {
        Ok(self.inner().tables.named())
    }

    async fn open_run(&self, opening: Opening) -> Result<Opened> {
        self.request(|tables, now| transact::open_run(tables, now, opening))
    }

    async fn take_run(&self, taking: Taking) -> Result<Opened> {
        self.request(|tables, now| transact::take_run(tables, now, taking))
    }

    async fn renew_run(&self, hold: &Hold) -> Result<Timestamp> {
        self.request(|tables, now| transact::renew_run(tables, now, hold))
    }

    async fn commit(&self, entry: Entry) -> Result<Receipt> {
        let prepared = transact::prepare(entry)?;
        self.request(|tables, now| transact::commit(tables, now, prepared))
    }

    async fn close_run(&self, closing: Closing) -> Result<Receipt> {
        self.request(|tables, now| transact::close_run(tables, now, closing))
    }

    async fn resolve(&self, resolution: Resolution) -> Result<Receipt> {
        self.request(|tables, now| transact::resolve(tables, now, resolution))
    }

    async fn erase(&self, erasing: Erasing) -> Result<u64> {
        self.request(|tables, now| transact::erase(tables, now, erasing))
    }

    async fn decide(&self, decision: Decision) -> Result<u64> {
        self.request(|tables, _| transact::decide(tables, decision))
    }

    async fn decisions(&self, run: &RunId, attempt: &AttemptId) -> Result<Decisions> {
        let mut inner = self.inner();
        let now = inner.time();
        Ok(Decisions { now, signed: inner.tables.decisions(run, attempt)? })
    }

    async fn attempt(&self, run: &RunId, attempt: &AttemptId) -> Result<Option<Attempt>> {
        self.inner().tables.attempt(run, attempt)
    }

    async fn attempts(&self, run: &RunId) -> Result<Vec<Attempt>> {
        self.inner().tables.attempts(run)
    }

    async fn records(&self, run: &RunId, from: u64, limit: u64) -> Result<Vec<SealedRecord>> {
        self.inner().tables.records(run, from, limit)
    }

    async fn journal(&self, run: &RunId, from: u64, limit: u64) -> Result<Vec<Vec<u8>>> {
        self.inner().tables.journal(run, from, limit)
    }

    async fn runs(&self) -> Result<Vec<RunSummary>> {
        Ok(self.inner().tables.runs())
    }

    async fn open_runs(&self) -> Result<Vec<RunSummary>> {
        let mut runs = self.inner().tables.runs();
        runs.retain(|run| run.stop_reason.is_none());
        Ok(runs)
    }
}
