//! What a run came to, and its record read back.

use lar_core::audit::AuditTrail;
use lar_core::audit::chain::Checker;
use lar_core::audit::record::Record;
use lar_core::id::RunId;
use lar_core::json::Digest;
use lar_core::ledger::{Ledger, LedgerError};
use serde::Serialize;

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// The model said that it was done.
    Complete,
    /// Steps, model tokens or money ran out.
    BudgetExhausted,
    /// Time ran out.
    Timeout,
    /// Anything else: the model or the ledger failed, a person stopped it, a required token was
    /// never spent with success.
    Error,
}

impl StopReason {
    /// The word in the record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::BudgetExhausted => "budget_exhausted",
            Self::Timeout => "timeout",
            Self::Error => "error",
        }
    }
}

/// What a run came to.
#[derive(Debug)]
pub struct AgentResult {
    /// The run.
    pub run: RunId,
    /// Why it ended.
    pub stop_reason: StopReason,
    /// What went wrong, when it ended in error.
    pub error: Option<String>,
    /// The model's last words.
    pub final_message: Option<String>,
    /// Tool calls made, refused ones included.
    pub steps_taken: u64,
    /// Tool calls left.
    pub budget_remaining: u64,
    /// Names of tokens of which no use was spent.
    pub tokens_unused: Vec<String>,
    /// Names of required tokens of which no use was spent with success.
    pub missing_required: Vec<String>,
    /// The whole record.
    pub audit_trail: AuditTrail,
}

impl AgentResult {
    /// The result and the trail as indented JSON.
    pub fn to_json(&self) -> String {
        #[derive(Serialize)]
        struct Shown<'a> {
            run: &'a RunId,
            stop_reason: &'static str,
            error: &'a Option<String>,
            final_message: &'a Option<String>,
            steps_taken: u64,
            budget_remaining: u64,
            tokens_unused: &'a [String],
            audit_trail: &'a AuditTrail,
        }
        let shown = Shown {
            run: &self.run,
            stop_reason: self.stop_reason.as_str(),
            error: &self.error,
            final_message: &self.final_message,
            steps_taken: self.steps_taken,
            budget_remaining: self.budget_remaining,
            tokens_unused: &self.tokens_unused,
            audit_trail: &self.audit_trail,
        };
        serde_json::to_string_pretty(&shown).unwrap_or_default()
    }
}

/// Reads a run's records, checks that they hang together, and makes a trail of them.
pub async fn read_trail(ledger: &dyn Ledger, run: &RunId) -> Result<AuditTrail, LedgerError> {
    let (records, head) = read_records(ledger, run).await?;
    AuditTrail::read(&records, head).map_err(|error| LedgerError::Damaged(error.to_string()))
}

/// Reads a run's records and checks that they hang together. With the digest of the last.
pub async fn read_records(
    ledger: &dyn Ledger,
    run: &RunId,
) -> Result<(Vec<Record>, Digest), LedgerError> {
    const PAGE: u64 = 512;
    let mut checker = Checker::default();
    let mut records: Vec<Record> = Vec::new();
    loop {
        let page = ledger.records(run, records.len() as u64 + 1, PAGE).await?;
        let last = (page.len() as u64) < PAGE;
        for sealed in page {
            let record = checker.read(&sealed.bytes, &sealed.openings);
            records.push(record.map_err(|broken| LedgerError::Damaged(broken.to_string()))?);
        }
        if last {
            break;
        }
    }
    let intact = checker.finish().map_err(|broken| LedgerError::Damaged(broken.to_string()))?;
    Ok((records, intact.head))
}
