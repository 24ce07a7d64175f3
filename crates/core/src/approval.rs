//! How a human is asked, and how people who aren't at the run's terminal say yes or no: by statements
//! that they sign with keys that the issuer listed.

mod approvers;
mod judge;
mod page;
mod question;
mod statement;

use std::time::Duration;

use async_trait::async_trait;

use crate::id::AttemptId;
use crate::json::Digest;
use crate::time::Timestamp;

pub use approvers::{ApproverKey, Approvers, ApproversError, MOST_KEYS, MOST_REQUIRED, Runner};
pub use judge::{Case, Judged, Ruling};
pub use page::{Size, page};
pub use question::{Question, Shown};
pub use statement::{Flaw, MOST_BYTES, NAMESPACE, Signed, Statement, Subject, Word, to_be_signed};

/// What is put before a person. All text in it is raw; whoever shows it must escape it
/// ([`display`](crate::display)).
#[derive(Debug, Clone)]
pub struct ApprovalRequest {
    /// The token.
    pub token_name: String,
    /// Its scope in words.
    pub scope: String,
    /// What is asked, in one line.
    pub message: String,
    /// Exactly what will run, as labelled lines; empty when the model only asks a question.
    pub lines: Vec<(String, String)>,
    /// SHA-256 of what will run.
    pub action_digest: Option<Digest>,
    /// Uses of the token that are left, this one included.
    pub uses_left: u32,
    /// What the model says about it. It may be a lie.
    pub rationale: Option<String>,
    /// Scopes to choose from, when a further capability is asked for.
    pub choices: Vec<String>,
}

/// What came of asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Yes, by this person. With choices: the index of the chosen one.
    Yes {
        /// Who.
        approver: Approver,
        /// Which of the choices; zero without choices.
        choice: usize,
    },
    /// No, by this person.
    No {
        /// Who.
        approver: Approver,
    },
    /// Nobody answered in time.
    Silence,
    /// Nobody can be asked.
    Nobody {
        /// Why, and what would help.
        why: String,
    },
    /// The run is being stopped.
    Stopped,
}

/// Who answered, and how that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approver {
    /// The name.
    pub name: String,
    /// How it is known: `os-user` for the account at the terminal.
    pub identity: String,
}

/// A way to reach a person.
///
/// # Contract
///
/// An implementation answers [`Answer::Yes`] only on a person's own act for this very request. It
/// must be safe to drop while it waits: then nothing was approved.
#[async_trait]
pub trait ApprovalGate: Send + Sync + 'static {
    /// How long an answer may take; after that the gate answers [`Answer::Silence`].
    fn patience(&self) -> Duration;

    /// Asks.
    async fn ask(&self, request: &ApprovalRequest) -> Answer;

    /// How signed decisions are waited for, where the run can.
    fn signed(&self) -> Option<&dyn SignedApprovals> {
        None
    }
}

/// How a run waits for decisions that listed people sign elsewhere. It decides nothing: whether a
/// decision counts is [`Case::judge`]'s.
#[async_trait]
pub trait SignedApprovals: Send + Sync {
    /// The question as it is recorded and shown: secrets removed, and with what the kernel enforces.
    fn question(&self, request: &ApprovalRequest) -> Question;

    /// Which ledger it is: the name of its log.
    fn origin(&self) -> &str;

    /// Who started the run, and who went on with it.
    fn runners(&self) -> &[Runner];

    /// How long the decisions may take.
    fn patience(&self) -> Duration;

    /// Tells whoever watches that these are waited for.
    fn announce(&self, waiting: &Awaited<'_>);

    /// Waits until it is worth looking again. Both times are the ledger's: when it was asked, and now.
    async fn pause(&self, asked: Timestamp, now: Timestamp) -> Pause;
}

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// It is worth looking again.
    Again,
    /// Nobody decided in time.
    Silence,
    /// The run is being stopped.
    Stopped,
}

/// What is waited for.
#[derive(Debug)]
pub struct Awaited<'a> {
    /// The attempt.
    pub attempt: AttemptId,
    /// The token.
    pub token_name: &'a str,
    /// Who may approve.
    pub approvers: &'a Approvers,
    /// Who approved so far.
    pub by: &'a [String],
    /// A decision that came and doesn't count, and why.
    pub flaw: Option<&'a Flaw>,
}

/// The gate where nobody can be asked: every request is denied, with the reason.
#[derive(Debug, Clone)]
pub struct NoApprover(
    /// Why nobody can be asked, and what would help.
    pub String,
);

#[async_trait]
impl ApprovalGate for NoApprover {
    fn patience(&self) -> Duration {
        Duration::ZERO
    }

    async fn ask(&self, _: &ApprovalRequest) -> Answer {
        Answer::Nobody { why: self.0.clone() }
    }
}
