//! A ledger with a named step before and after every change, that notes what was acknowledged and
//! loses acknowledgements on demand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use lar_core::audit::log::Log;
use lar_core::audit::record::SealedRecord;
use lar_core::id::{AttemptId, RunId};
use lar_core::ledger::{
    Attempt, ClockReset, Closing, Decision, Decisions, Entry, Erasing, Grant, GrantId, Hold,
    Identity, Issuing, Ledger, LedgerError, Opened, Opening, Receipt, Resolution, RunSummary,
    Taking, Transition,
};
use lar_core::time::Timestamp;

use crate::steps::{Lines, Steps};

type Result<T> = std::result::Result<T, LedgerError>;

/// Begins the line that notes that a run's openings are gone.
pub const ERASED: &str = "erased ";

/// The ledger that is tried.
pub struct Watched {
    inner: Arc<dyn Ledger>,
    steps: Arc<Steps>,
    acknowledged: Option<Lines>,
    /// Every so many changes are made without an answer; none with 0.
    lose_every: u64,
    made: AtomicU64,
}

impl Watched {
    pub fn new(inner: Arc<dyn Ledger>, steps: Arc<Steps>, lose_every: u64) -> Self {
        let acknowledged = Lines::from_env("LINEARITY_ACKNOWLEDGED");
        Self { inner, steps, acknowledged, lose_every, made: AtomicU64::new(0) }
    }

    /// Makes a change between two steps.
    async fn change<T>(
        &self,
        name: &str,
        run: &RunId,
        change: impl Future<Output = Result<T>>,
        receipt: impl FnOnce(&T) -> &Receipt,
    ) -> Result<T> {
        self.steps.at(&format!("{name}.before"));
        let answer = change.await?;
        self.steps.at(&format!("{name}.after"));
        if let Some(lines) = &self.acknowledged {
            let receipt = receipt(&answer);
            lines.add(&format!("{run} {} {}", receipt.seq, receipt.hash));
        }
        let made = self.made.fetch_add(1, Ordering::SeqCst) + 1;
        if self.lose_every > 0 && made.is_multiple_of(self.lose_every) {
            return Err(LedgerError::Unavailable("the answer was lost".to_owned()));
        }
        Ok(answer)
    }
}

#[async_trait]
impl Ledger for Watched {
    async fn identity(&self) -> Result<Identity> {
        self.inner.identity().await
    }

    async fn bump_epoch(&self) -> Result<Identity> {
        self.inner.bump_epoch().await
    }

    async fn reset_clock(&self) -> Result<ClockReset> {
        self.inner.reset_clock().await
    }

    async fn issue(&self, issuing: Issuing) -> Result<Grant> {
        self.inner.issue(issuing).await
    }

    async fn revoke(&self, grant: &GrantId, reason: &str) -> Result<Grant> {
        self.inner.revoke(grant, reason).await
    }

    async fn grant(&self, grant: &GrantId) -> Result<Option<Grant>> {
        self.inner.grant(grant).await
    }

    async fn grants(&self) -> Result<Vec<Grant>> {
        self.inner.grants().await
    }

    async fn open_run(&self, opening: Opening) -> Result<Opened> {
        let run = opening.run.clone();
        self.change("open", &run, self.inner.open_run(opening), |opened| &opened.receipt).await
    }

    async fn take_run(&self, taking: Taking) -> Result<Opened> {
        let run = taking.run.clone();
        self.change("take", &run, self.inner.take_run(taking), |opened| &opened.receipt).await
    }

    async fn renew_run(&self, hold: &Hold) -> Result<Timestamp> {
        self.inner.renew_run(hold).await
    }

    async fn commit(&self, entry: Entry) -> Result<Receipt> {
        let name = match entry.change.as_ref().map(|change| &change.transition) {
            None => "note",
            Some(Transition::Reserve { .. }) => "reserve",
            Some(Transition::Approve { .. }) => "approve",
            Some(Transition::Release { .. }) => "release",
            Some(Transition::Start { .. }) => "start",
            Some(Transition::Finish { .. }) => "finish",
            Some(Transition::NeverBegan { .. }) => "never-began",
            Some(Transition::Recover | Transition::Expire | Transition::Resolve { .. }) => "other",
        };
        let run = entry.hold.run.clone();
        self.change(name, &run, self.inner.commit(entry), |receipt| receipt).await
    }

    async fn close_run(&self, closing: Closing) -> Result<Receipt> {
        let run = closing.hold.run.clone();
        self.change("close", &run, self.inner.close_run(closing), |receipt| receipt).await
    }

    async fn resolve(&self, resolution: Resolution) -> Result<Receipt> {
        let run = resolution.run.clone();
        self.change("resolve", &run, self.inner.resolve(resolution), |receipt| receipt).await
    }

    async fn erase(&self, erasing: Erasing) -> Result<u64> {
        let run = erasing.run.clone();
        self.steps.at("erase.before");
        let erased = self.inner.erase(erasing).await?;
        self.steps.at("erase.after");
        if let Some(lines) = &self.acknowledged {
            lines.add(&format!("{ERASED}{run}"));
        }
        Ok(erased)
    }

    async fn decide(&self, decision: Decision) -> Result<u64> {
        self.inner.decide(decision).await
    }

    async fn decisions(&self, run: &RunId, attempt: &AttemptId) -> Result<Decisions> {
        self.inner.decisions(run, attempt).await
    }

    async fn attempt(&self, run: &RunId, attempt: &AttemptId) -> Result<Option<Attempt>> {
        self.inner.attempt(run, attempt).await
    }

    async fn attempts(&self, run: &RunId) -> Result<Vec<Attempt>> {
        self.inner.attempts(run).await
    }

    async fn records(&self, run: &RunId, from: u64, limit: u64) -> Result<Vec<SealedRecord>> {
        self.inner.records(run, from, limit).await
    }

    async fn journal(&self, run: &RunId, from: u64, limit: u64) -> Result<Vec<Vec<u8>>> {
        self.inner.journal(run, from, limit).await
    }

    async fn runs(&self) -> Result<Vec<RunSummary>> {
        self.inner.runs().await
    }

    async fn open_runs(&self) -> Result<Vec<RunSummary>> {
        self.inner.open_runs().await
    }

    fn log(&self) -> Option<&dyn Log> {
        self.inner.log()
    }
}
