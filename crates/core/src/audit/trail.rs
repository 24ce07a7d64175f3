//! The audit trail: a run's records as a person or a program reads them.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::Value;

use super::record::{
    Account, Approval, Body, ErrorRecord, Intent, Negotiation, OutcomeRecord, Record,
    ResolutionRecord, RunClose, RunOpen,
};
use crate::id::{AttemptId, RunId};
use crate::json::Digest;
use crate::outcome::{ProgramIdentity, Verdict};
use crate::time::Timestamp;
use crate::token::ROLLBACK_SUFFIX;

/// The sealed record of one spend and its outcome. It is made in two places only: by
/// [`Spent::seal`](crate::call::Spent::seal) after both records are durable, and from such records
/// when a trail is read.
#[derive(Debug, Clone, Serialize)]
pub struct Proof {
    token_name: String,
    scope: String,
    tool: String,
    args: Value,
    timestamp: Timestamp,
    outcome: Verdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    result_summary: String,
    duration_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    http_status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_digest: Option<Digest>,
    output_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    stderr_digest: Option<Digest>,
    action_digest: Digest,
    attempt: AttemptId,
    #[serde(skip_serializing_if = "Option::is_none")]
    program: Option<ProgramIdentity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tier: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    approval_seq: Option<u64>,
    /// What was said later about an unknown outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    resolution: Option<ResolutionRecord>,
    seq: u64,
    /// Fields that the records commit to and that can't be read any more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    erased: Vec<String>,
    #[serde(skip)]
    output: String,
}

impl Proof {
    /// Joins an intent with its outcome. Without one, the outcome is unknown.
    pub(crate) fn join(
        seq: u64,
        timestamp: Timestamp,
        intent: Intent,
        outcome: Option<&OutcomeRecord>,
    ) -> Self {
        let known = outcome.and_then(|record| record.outcome);
        Self {
            token_name: intent.token_name,
            scope: intent.scope,
            tool: intent.tool,
            args: intent.args,
            timestamp,
            outcome: known.unwrap_or(Verdict::Unknown),
            reason: match outcome {
                Some(record) => record.reason.clone(),
                None => Some("no outcome was recorded".to_owned()),
            },
            result_summary: outcome.map(|record| record.result_summary.clone()).unwrap_or_default(),
            duration_ms: outcome.map_or(0, |record| record.duration_ms),
            exit_code: outcome.and_then(|record| record.exit_code),
            http_status: outcome.and_then(|record| record.http_status),
            output_digest: outcome.and_then(|record| record.output_digest),
            output_bytes: outcome.map_or(0, |record| record.output_bytes),
            stderr_digest: outcome.and_then(|record| record.stderr_digest),
            action_digest: intent.action_digest,
            attempt: intent.attempt,
            program: outcome.and_then(|record| record.program.clone()),
            tier: outcome.and_then(|record| record.tier.clone()),
            approval_seq: intent.approval_seq,
            resolution: None,
            seq,
            erased: Vec::new(),
            output: String::new(),
        }
    }

    pub(crate) fn with_output(mut self, output: String) -> Self {
        self.output = output;
        self
    }

    /// The token that was spent.
    pub fn token_name(&self) -> &str {
        &self.token_name
    }

    /// Its scope in words.
    pub fn scope(&self) -> &str {
        &self.scope
    }

    /// What was done, as canonical JSON fields.
    pub fn args(&self) -> &Value {
        &self.args
    }

    /// When the use was spent, by the ledger's clock.
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// How it ended.
    pub fn outcome(&self) -> Verdict {
        self.outcome
    }

    /// What was said later about an outcome that was unknown.
    pub fn resolution(&self) -> Option<&ResolutionRecord> {
        self.resolution.as_ref()
    }

    /// Why it did not succeed.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// One redacted line.
    pub fn result_summary(&self) -> &str {
        &self.result_summary
    }

    /// How long it took, in milliseconds.
    pub fn duration_ms(&self) -> u64 {
        self.duration_ms
    }

    /// The tier at which the kernel confined the program, when one ran: `A`, `B` or `C`.
    pub fn tier(&self) -> Option<&str> {
        self.tier.as_deref()
    }

    /// A program's exit status.
    pub fn exit_code(&self) -> Option<i32> {
        self.exit_code
    }

    /// A response's status.
    pub fn http_status(&self) -> Option<u16> {
        self.http_status
    }

    /// SHA-256 of what was done.
    pub fn action_digest(&self) -> Digest {
        self.action_digest
    }

    /// The attempt.
    pub fn attempt(&self) -> AttemptId {
        self.attempt
    }

    /// The number of the record of the spend.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Fields that the records commit to and that can't be read any more, because what they said was erased.
    pub fn erased(&self) -> &[String] {
        &self.erased
    }

    /// The redacted output, cut to the cap. Empty on a proof that was read from a record.
    pub fn output(&self) -> &str {
        &self.output
    }
}

/// An approval with its time.
#[derive(Debug, Clone, Serialize)]
pub struct ApprovalLine {
    /// What was decided.
    #[serde(flatten)]
    pub approval: Approval,
    /// When.
    pub timestamp: Timestamp,
    /// The record's number.
    pub seq: u64,
}

/// An error with its time.
#[derive(Debug, Clone, Serialize)]
pub struct ErrorLine {
    /// What went wrong.
    #[serde(flatten)]
    pub error: ErrorRecord,
    /// When.
    pub timestamp: Timestamp,
    /// The record's number.
    pub seq: u64,
}

/// A negotiation with its time.
#[derive(Debug, Clone, Serialize)]
pub struct NegotiationLine {
    /// What was asked and given.
    #[serde(flatten)]
    pub negotiation: Negotiation,
    /// When.
    pub timestamp: Timestamp,
    /// The record's number.
    pub seq: u64,
}

/// The run as a whole.
#[derive(Debug, Clone, Serialize)]
pub struct RunLine {
    /// The run.
    pub id: RunId,
    /// How it began.
    #[serde(flatten)]
    pub open: RunOpen,
    /// When it began.
    pub opened: Timestamp,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed: Option<Timestamp>,
    /// `complete`, `budget_exhausted`, `timeout` or `error`; absent while it is open or when it was
    /// cut off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<String>,
    /// What the runtime said at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<super::record::RunEnd>,
    /// Every token accounted for.
    pub accounts: Vec<Account>,
    /// Names of the tokens of which no use was spent.
    pub tokens_unused: Vec<String>,
    /// How many model turns there were.
    pub model_turns: u64,
    /// How often the run was taken over by another process.
    pub resumed: u64,
    /// How many records were read.
    pub records: u64,
    /// The leaf hash of the last record.
    pub head: Digest,
}

/// Structured record of everything that a run did, was refused and never used.
#[derive(Debug, Clone, Serialize)]
pub struct AuditTrail {
    /// The run.
    pub run: RunLine,
    /// Each spend with its outcome, in order.
    pub proofs: Vec<Proof>,
    /// Each decision of a person, in order.
    pub approvals: Vec<ApprovalLine>,
    /// Refusals, and actions that failed or whose outcome is unknown, in order.
    pub errors: Vec<ErrorLine>,
    /// Each request for a further capability, in order.
    pub negotiations: Vec<NegotiationLine>,
}

/// The records don't begin as a run does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the records don't begin with the opening of a run")]
pub struct NoRun;

/// The outcomes of a run by attempt.
type Outcomes<'a> = HashMap<AttemptId, &'a OutcomeRecord>;

impl AuditTrail {
    /// Reads a trail from records that have been checked, with the digest of the last.
    pub fn read(records: &[Record], head: Digest) -> Result<Self, NoRun> {
        let Some((Record { body: Body::RunOpen(open), run, timestamp: opened, .. }, rest)) =
            records.split_first()
        else {
            return Err(NoRun);
        };
        let mut trail = Self {
            run: RunLine {
                id: run.clone(),
                open: open.clone(),
                opened: *opened,
                closed: None,
                stop_reason: None,
                end: None,
                accounts: Vec::new(),
                tokens_unused: Vec::new(),
                model_turns: 0,
                resumed: 0,
                records: records.len() as u64,
                head,
            },
            proofs: Vec::new(),
            approvals: Vec::new(),
            errors: Vec::new(),
            negotiations: Vec::new(),
        };
        let outcomes: Outcomes<'_> = rest
            .iter()
            .filter_map(|record| match &record.body {
                Body::Outcome(outcome) => Some((outcome.attempt, outcome)),
                _ => None,
            })
            .collect();
        for record in rest {
            trail.add(record, &outcomes);
        }
        Ok(trail)
    }

    /// The trail as indented JSON: the arrays `proofs`, `approvals`, `errors` and `negotiations`, and
    /// the object `run`.
    pub fn to_json(&self) -> String {
        // Nothing in it can fail to serialise: its keys are texts and its numbers are whole.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    fn add(&mut self, record: &Record, outcomes: &Outcomes<'_>) {
        let (timestamp, seq) = (record.timestamp, record.seq);
        match &record.body {
            Body::Intent(intent) => {
                let outcome = outcomes.get(&intent.attempt).copied();
                if outcome.is_some_and(|outcome| outcome.outcome.is_none()) {
                    return;
                }
                let mut proof = Proof::join(seq, timestamp, intent.clone(), outcome);
                proof.erased.clone_from(&record.erased);
                self.proofs.push(proof);
            }
            Body::Approval(approval) => {
                let approval = approval.clone();
                self.approvals.push(ApprovalLine { approval, timestamp, seq });
            }
            Body::Error(error) => {
                self.errors.push(ErrorLine { error: error.clone(), timestamp, seq });
            }
            Body::Outcome(outcome) => {
                let of = |proof: &&mut Proof| proof.attempt == outcome.attempt;
                if let Some(proof) = self.proofs.iter_mut().rev().find(of) {
                    proof.erased.extend(record.erased.iter().cloned());
                }
                if let Some(error) = failure(outcome) {
                    self.errors.push(ErrorLine { error, timestamp, seq });
                }
            }
            Body::RunResume(_) => self.run.resumed += 1,
            Body::Resolution(resolution) => {
                let of = |proof: &&mut Proof| proof.attempt == resolution.attempt;
                if let Some(proof) = self.proofs.iter_mut().find(of) {
                    proof.resolution = Some(resolution.clone());
                }
            }
            // What was only held and given back is no error.
            Body::Recovery(recovery) if recovery.state == "released" => {}
            Body::Recovery(recovery) => {
                let error = ErrorRecord {
                    token_name: recovery.token_name.clone(),
                    error_type: "OutcomeUnknownError".to_owned(),
                    message: recovery.message.clone(),
                    attempt: Some(recovery.attempt),
                    input: None,
                };
                self.errors.push(ErrorLine { error, timestamp, seq });
            }
            Body::Negotiation(negotiation) => {
                let negotiation = negotiation.clone();
                self.negotiations.push(NegotiationLine { negotiation, timestamp, seq });
            }
            Body::ModelTurn(_) => self.run.model_turns += 1,
            Body::RunClose(close) => self.close(close, timestamp),
            Body::ApprovalRequest(_)
            | Body::RunOpen(_)
            | Body::KeyRotate(_)
            | Body::GrantIssue(_)
            | Body::GrantRevoke(_)
            | Body::LedgerEpoch(_)
            | Body::Erasure(_)
            | Body::Anchor(_) => {}
        }
    }

    fn close(&mut self, close: &RunClose, timestamp: Timestamp) {
        self.run.closed = Some(timestamp);
        self.run.stop_reason = Some(close.stop_reason.clone());
        self.run.end = Some(close.end.clone());
        self.run.tokens_unused = close
            .tokens
            .iter()
            // A way back that wasn't needed is no omission.
            .filter(|account| account.succeeded + account.failed + account.unknown == 0)
            .filter(|account| !account.token_name.ends_with(ROLLBACK_SUFFIX))
            .map(|account| account.token_name.clone())
            .collect();
        self.run.accounts = close.tokens.clone();
    }
}

/// The line among the errors that an outcome other than success also gets.
fn failure(outcome: &OutcomeRecord) -> Option<ErrorRecord> {
    let error_type = match outcome.outcome {
        Some(Verdict::Succeeded) => return None,
        Some(Verdict::Failed) => "ActionFailedError",
        Some(Verdict::Unknown) => "OutcomeUnknownError",
        None => "NeverBeganError",
    };
    let message = match &outcome.reason {
        Some(reason) if outcome.result_summary.is_empty() => reason.clone(),
        Some(reason) => format!("{reason}: {}", outcome.result_summary),
        None => outcome.result_summary.clone(),
    };
    Some(ErrorRecord {
        token_name: outcome.token_name.clone(),
        error_type: error_type.to_owned(),
        message,
        attempt: Some(outcome.attempt),
        input: None,
    })
}
