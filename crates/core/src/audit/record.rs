//! What is written down: one record an event, as canonical JSON (RFC 8785), hashed as its exact
//! bytes and never serialised again.

mod sealed;
mod unsealed;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::epoch::KeyRotate;
use crate::approval::{Approvers, Question, Runner, Signed};
use crate::id::{AttemptId, GrantId};
use crate::json::{Digest, JsonRefusal};
use crate::outcome::{ProgramIdentity, Verdict};
use crate::time::Timestamp;
use crate::token::{Token, Witness};

pub use sealed::{Record, SealedRecord, genesis, seal, seal_with};
pub use unsealed::Unsealed;

/// The version of the record's form.
pub const VERSION: u32 = 1;

/// The most bytes that one record may have.
pub const MOST_BYTES: usize = 65_535;

/// The content of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Body {
    /// A run begins.
    RunOpen(RunOpen),
    /// The model answered.
    ModelTurn(ModelTurn),
    /// A person is asked.
    ApprovalRequest(ApprovalRequested),
    /// A person answered, or didn't.
    Approval(Approval),
    /// A use is spent; the effect begins after this record is durable.
    Intent(Intent),
    /// How the effect ended.
    Outcome(OutcomeRecord),
    /// A call that was refused or an action that did not succeed.
    Error(ErrorRecord),
    /// The model asked for a further capability.
    Negotiation(Negotiation),
    /// Recovery found an intent without an outcome.
    Recovery(Recovery),
    /// Another process takes the run over.
    RunResume(RunResume),
    /// It was said later what became of a use whose outcome was unknown. This record and the next are the
    /// only ones that may follow the end of a run.
    Resolution(ResolutionRecord),
    /// What fields said that the records commit to was deleted.
    Erasure(Erasure),
    /// The next epoch of the key that signs the log begins. It belongs to the log and to no run.
    KeyRotate(KeyRotate),
    /// A grant was issued. Like the next two, it belongs to the log and to no run.
    GrantIssue(GrantIssue),
    /// A grant was ended.
    GrantRevoke(GrantRevoke),
    /// A new epoch of the ledger began: no grant issued before it takes a further spend.
    LedgerEpoch(LedgerEpoch),
    /// Witnesses have seen the record so far.
    Anchor(Anchor),
    /// A run ends.
    RunClose(RunClose),
}

/// A run begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunOpen {
    /// The model's name.
    pub model: String,
    /// The task, cut to 1,000 characters.
    pub task: String,
    /// The version of the program.
    pub runtime: String,
    /// SHA-256 of the program's file.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub binary: Option<Digest>,
    /// SHA-256 of the manifest's bytes, when there is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub manifest: Option<Digest>,
    /// The grant that the run draws from, when it isn't its own.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub grant: Option<GrantId>,
    /// The budget.
    pub budget: Value,
    /// The tokens: name, scope in words, digest of the definition, uses, approval.
    pub tokens: Vec<TokenLine>,
    /// What the kernel will enforce on children, in words.
    pub enforcement: String,
    /// Who may approve the uses of which tokens, where keys are listed.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub approvals: Vec<ApprovalPolicy>,
    /// Who started the run, where an approver must be somebody else.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub runner: Option<Runner>,
}

/// Who may approve the uses of some tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalPolicy {
    /// The tokens, candidates included.
    pub tokens: Vec<String>,
    /// Who.
    pub policy: Approvers,
}

/// A token in the first record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenLine {
    /// Its name.
    pub name: String,
    /// Its scope in words.
    pub scope: String,
    /// SHA-256 of its definition.
    pub definition: Digest,
    /// How many uses it grants.
    pub uses: u32,
    /// Whether a person must approve each use.
    pub requires_approval: bool,
    /// When witnesses must have seen that a use is spent, if they must.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub witness: Option<Witness>,
}

impl TokenLine {
    /// What a record says of a token that grants so many uses.
    ///
    /// # Errors
    /// When its definition has no canonical form.
    pub fn of(token: &Token, uses: u32) -> Result<Self, JsonRefusal> {
        Ok(Self {
            name: token.name().to_owned(),
            scope: token.scope().summary(),
            definition: token.digest()?,
            uses,
            requires_approval: token.requires_approval(),
            witness: token.witness(),
        })
    }
}

/// The model answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelTurn {
    /// Counted from 1.
    pub turn: u64,
    /// SHA-256 of the answer's content blocks as they were received. Always written; not there where it is
    /// committed to and its opening isn't at hand.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub content: Option<Digest>,
    /// How many tools it calls.
    pub calls: u64,
    /// Why it stopped, in the API's word.
    pub stop: String,
    /// Tokens read by the model.
    pub input_tokens: u64,
    /// Tokens written by the model.
    pub output_tokens: u64,
}

/// A person is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalRequested {
    /// The token.
    pub token_name: String,
    /// The attempt; absent when the model asked by itself, which confers nothing.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub attempt: Option<AttemptId>,
    /// The digest of what would run.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub action_digest: Option<Digest>,
    /// What is asked, in one line.
    pub message: String,
    /// The question as it is shown, where people decide about it elsewhere.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub question: Option<Question>,
    /// The digest of the question, which is what people sign, where the question is committed to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub shown: Option<Digest>,
}

impl ApprovalRequested {
    /// The digest of the question, whether or not it can be read.
    ///
    /// # Errors
    /// When the question has no canonical form.
    pub fn shown(&self) -> Result<Option<Digest>, JsonRefusal> {
        match (&self.shown, &self.question) {
            (Some(shown), _) => Ok(Some(*shown)),
            (None, Some(question)) => question.digest().map(Some),
            (None, None) => Ok(None),
        }
    }
}

/// A person answered, or didn't.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// The token.
    pub token_name: String,
    /// The attempt.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub attempt: Option<AttemptId>,
    /// The digest of what would run.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub action_digest: Option<Digest>,
    /// What was asked, in one line.
    pub message: String,
    /// Whether it may run.
    pub approved: bool,
    /// Who said so.
    pub approver: String,
    /// How that is known: `ssh-key` is proved by the signatures beneath `statements`; `os-user` is the
    /// name of the account at the terminal and proves no more; `none` when nobody answered.
    pub approver_identity: String,
    /// What listed people signed.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub statements: Vec<Signed>,
}

/// A use is spent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The token.
    pub token_name: String,
    /// Its scope in words.
    pub scope: String,
    /// The tool that the model called.
    pub tool: String,
    /// The attempt.
    pub attempt: AttemptId,
    /// What is going to happen.
    pub args: Value,
    /// The digest of that and of the token's name; where `args` is committed to, of that commitment
    /// ([`blinded`](super::commitment::blinded)).
    pub action_digest: Digest,
    /// The record in which a person approved it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub approval_seq: Option<u64>,
}

/// How the effect ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeRecord {
    /// The token.
    pub token_name: String,
    /// The attempt.
    pub attempt: AttemptId,
    /// The record of the intent.
    pub intent_seq: u64,
    /// How it ended; absent when nothing ever began and the use was given back.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub outcome: Option<Verdict>,
    /// Why, when it did not succeed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// One redacted line.
    pub result_summary: String,
    /// SHA-256 of the whole redacted output. Always written; not there where it is committed to and its
    /// opening isn't at hand.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub output_digest: Option<Digest>,
    /// Its length in bytes.
    pub output_bytes: u64,
    /// SHA-256 of a program's standard error, redacted, when it wrote anything there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stderr_digest: Option<Digest>,
    /// A program's exit status.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub exit_code: Option<i32>,
    /// A response's status.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub http_status: Option<u16>,
    /// The file that was executed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub program: Option<ProgramIdentity>,
    /// The tier at which the kernel confined it: `A`, `B` or `C`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tier: Option<String>,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

/// A call that was refused or an action that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorRecord {
    /// The token, or the tool's name when there is no such token.
    pub token_name: String,
    /// The error's public name.
    pub error_type: String,
    /// What was wrong.
    pub message: String,
    /// The attempt.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub attempt: Option<AttemptId>,
    /// What the model sent, redacted and cut to 1,000 characters.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub input: Option<String>,
}

/// The model asked for a further capability.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Negotiation {
    /// What it asked for, in its words.
    pub requested_scope: String,
    /// Why, in its words.
    pub justification: String,
    /// The token that a person granted, if any.
    pub granted_token: Option<String>,
    /// What was granted, as the first record says it of the tokens that the run begins with: the token, and
    /// its way back where it has one.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub tokens: Vec<TokenLine>,
    /// Who decided: `human`.
    pub provider_type: String,
    /// The decider's name.
    pub provider: String,
    /// Why nothing was granted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
}

/// Recovery found an intent without an outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovery {
    /// The token.
    pub token_name: String,
    /// The attempt.
    pub attempt: AttemptId,
    /// What became of the use: `unknown` (spent) or `released`.
    pub state: String,
    /// Why.
    pub message: String,
}

/// Another process takes the run over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunResume {
    /// The new holder's number.
    pub fence: u64,
    /// Why the holder before lost it.
    pub reason: String,
    /// Who goes on with it, where an approver must be somebody else.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub runner: Option<Runner>,
}

/// Witnesses have seen that a use is spent, before its effect begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// The attempt.
    pub attempt: AttemptId,
    /// The record of the intent.
    pub intent_seq: u64,
    /// How many records of the log the checkpoint covers, the intent among them.
    pub size: u64,
    /// The checkpoint with the cosignatures, as a signed note.
    pub checkpoint: String,
}

/// It was said later what became of a use whose outcome was unknown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolutionRecord {
    /// The token.
    pub token_name: String,
    /// The attempt.
    pub attempt: AttemptId,
    /// How it ended: succeeded or failed. The use stays spent.
    pub outcome: Verdict,
    /// Who says so: `owner`, `person` or `target`.
    pub by: String,
    /// Their name.
    pub name: String,
    /// How that is known, in one line.
    pub note: String,
}

/// What fields said that the records commit to was deleted. The commitments stay, and so does every proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erasure {
    /// Of which record; of all of them without it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub of: Option<u64>,
    /// Of which field; of all of them without it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub field: Option<String>,
    /// How many openings were deleted.
    pub openings: u64,
    /// The name of the account that asked for it, which proves no more.
    pub by: String,
}

/// A grant was issued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantIssue {
    /// The grant.
    pub grant: GrantId,
    /// The ledger's epoch.
    pub epoch: u64,
    /// SHA-256 of all that it pins.
    pub definitions: Digest,
    /// When it ends.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expires: Option<Timestamp>,
    /// How many uses it grants of each token.
    pub uses: std::collections::BTreeMap<String, u32>,
}

/// A grant was ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantRevoke {
    /// The grant.
    pub grant: GrantId,
    /// Why.
    pub reason: String,
}

/// A new epoch of the ledger began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEpoch {
    /// Its number.
    pub epoch: u64,
}

/// What the runtime says at the end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEnd {
    /// The model's last words, cut to 4,000 characters.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub final_message: Option<String>,
    /// Why the run ended in error.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
    /// Tool calls made.
    pub steps_taken: u64,
    /// Tool calls left.
    pub budget_remaining: u64,
    /// Model tokens used.
    pub model_tokens: u64,
    /// What the model cost, in millionths of a US dollar.
    pub cost_micro_usd: u64,
}

/// A run ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunClose {
    /// `complete`, `budget_exhausted`, `timeout` or `error`.
    pub stop_reason: String,
    /// What the runtime said.
    #[serde(flatten)]
    pub end: RunEnd,
    /// Every token of the run.
    pub tokens: Vec<Account>,
    /// How many records the run has, this one included.
    pub records: u64,
}

/// What became of a token's uses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The token.
    pub token_name: String,
    /// Granted.
    pub granted: u64,
    /// Spent with success.
    pub succeeded: u64,
    /// Spent without success.
    pub failed: u64,
    /// Spent, and it isn't known how it ended.
    pub unknown: u64,
    /// Never used, and usable to the end.
    pub unused: u64,
    /// Never used, because the token or its grant ended before.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub expired: u64,
    /// Never used, because the grant was revoked.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub revoked: u64,
    /// How often a use was given back because nothing ever began. Each of these stands once more under
    /// one of the other words.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub returned: u64,
    /// Spent or held by other runs of the same grant.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub elsewhere: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
