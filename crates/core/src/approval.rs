//! How a human is asked.

use std::time::Duration;

use async_trait::async_trait;

use crate::json::Digest;

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
