//! Waits for what listed people sign elsewhere. It looks into the ledger again and again, and decides
//! nothing.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lar_core::approval::{ApprovalRequest, Awaited, Pause, Question, Runner, SignedApprovals};
use lar_core::redact::Redactor;
use lar_core::time::Timestamp;

use crate::event::{Event, Observer};

/// How often the ledger is looked at.
const EVERY: Duration = Duration::from_millis(400);

/// What a run needs to wait for signed approvals. Whether it is stopped meanwhile is the dispatcher's.
pub struct Signatures {
    /// Which ledger it is: the name of its log.
    pub origin: String,
    /// Who started the run, and who went on with it.
    pub runners: Vec<Runner>,
    /// How long the decisions may take.
    pub patience: Duration,
    /// What takes secrets out of questions.
    pub redactor: Arc<Redactor>,
    /// What the kernel enforces, in words.
    pub enforcement: String,
    /// Who watches.
    pub observer: Arc<dyn Observer>,
}

#[async_trait]
impl SignedApprovals for Signatures {
    fn question(&self, request: &ApprovalRequest) -> Question {
        Question::of(request, &self.redactor, &self.enforcement)
    }

    fn origin(&self) -> &str {
        &self.origin
    }

    fn runners(&self) -> &[Runner] {
        &self.runners
    }

    fn patience(&self) -> Duration {
        self.patience
    }

    fn announce(&self, waiting: &Awaited<'_>) {
        self.observer.notice(Event::Waiting(waiting));
    }

    async fn pause(&self, asked: Timestamp, now: Timestamp) -> Pause {
        let waited = u64::try_from(now.as_millis() - asked.as_millis()).unwrap_or(0);
        let left = self.patience.saturating_sub(Duration::from_millis(waited));
        if left.is_zero() {
            return Pause::Silence;
        }
        tokio::time::sleep(left.min(EVERY)).await;
        Pause::Again
    }
}
