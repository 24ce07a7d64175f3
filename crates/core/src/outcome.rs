//! How an action ended, in the three words that the record uses.

use serde::{Deserialize, Serialize};

use crate::json::Digest;

/// How a started action ended. There is no fourth word: what isn't known is called unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Exit 0, a complete HTTP response, a file read or written whole, a rollout that completed.
    Succeeded,
    /// It ended, and it is certain that it did not do what it should.
    Failed,
    /// It can't be told whether it happened. The use stays spent.
    Unknown,
}

impl Verdict {
    /// The word in the record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// What came of a started action.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// How it ended.
    pub verdict: Verdict,
    /// Why it is unknown or failed, in one word or phrase: `timeout`, `interrupted`, `killed` …
    pub reason: Option<String>,
    /// One redacted line for the record.
    pub summary: String,
    /// What the model gets to read: redacted and cut to the cap.
    pub output: String,
    /// SHA-256 of the whole redacted output, the part beyond the cap included: a program's standard
    /// output, a response's body, a file's content.
    pub output_digest: Digest,
    /// Length of the whole redacted output in bytes.
    pub output_bytes: u64,
    /// SHA-256 of all that a program wrote to its standard error, redacted, when it wrote anything.
    pub stderr_digest: Option<Digest>,
    /// The exit status of a program that exited.
    pub exit_code: Option<i32>,
    /// The status of a complete HTTP response.
    pub http_status: Option<u16>,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// The program that ran: its path and SHA-256.
    pub program: Option<ProgramIdentity>,
    /// The tier at which the kernel confined the program: `A`, `B` or `C`.
    pub tier: Option<char>,
}

/// The file that was executed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramIdentity {
    /// Its absolute path.
    pub path: String,
    /// SHA-256 of its bytes.
    pub sha256: Digest,
}

/// What the tools report: an outcome, or that the effect certainly never began.
#[allow(clippy::large_enum_variant, reason = "made once for each action, and hardly ever moved")]
#[derive(Debug, Clone)]
pub enum Performed {
    /// It was started; this is how it ended.
    Ended(Outcome),
    /// Nothing outside was touched: the program could not be executed, no connection was opened.
    /// This is the only way in which a use comes back.
    NeverBegan {
        /// Why, in words for the model and the record.
        reason: String,
    },
}

impl Outcome {
    /// An outcome with the given verdict and text, whose whole output is that text.
    pub fn new(verdict: Verdict, summary: impl Into<String>, output: impl Into<String>) -> Self {
        let output = output.into();
        Self {
            verdict,
            reason: None,
            summary: summary.into(),
            output_digest: Digest::of(output.as_bytes()),
            output_bytes: output.len() as u64,
            output,
            stderr_digest: None,
            exit_code: None,
            http_status: None,
            duration_ms: 0,
            program: None,
            tier: None,
        }
    }

    /// The same with a reason.
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }
}
