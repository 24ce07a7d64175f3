//! What a verifier demands: which keys it knows, and which verdicts must be `ok`.

use serde::{Deserialize, Serialize};

use super::note::{KeyKind, NoteKey};
use crate::approval::ApproverKey;

/// The four things that are judged apart from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Judged {
    /// The records are canonical, chained, and those of the checkpoint.
    Integrity,
    /// Keys that the policy names signed the checkpoint and the approvals.
    Authenticity,
    /// Witnesses that the policy names cosigned the checkpoint.
    Witnessing,
    /// The run has its end, and the end accounts for every token and counts every record.
    Completeness,
}

impl Judged {
    /// All four, in the order in which they are shown.
    pub const ALL: [Self; 4] =
        [Self::Integrity, Self::Authenticity, Self::Witnessing, Self::Completeness];

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Integrity => "integrity",
            Self::Authenticity => "authenticity",
            Self::Witnessing => "witnessing",
            Self::Completeness => "completeness",
        }
    }
}

/// A verifier's policy, as it stands in a TOML file. Nothing in a bundle can change it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// The log that a checkpoint must be of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Keys of the log, one of which must have signed the checkpoint.
    pub keys: Vec<NoteKey>,
    /// Offline keys that may certify the log's keys.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub roots: Vec<NoteKey>,
    /// Keys of witnesses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub witnesses: Vec<NoteKey>,
    /// How many of them must have cosigned; all of them without a word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub required_witnesses: Option<usize>,
    /// Keys of people whose approvals count. Where any is named, every spend that was approved must have
    /// been approved by their signatures alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub approvers: Vec<ApproverKey>,
    /// What must be `ok`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require: Option<Vec<Judged>>,
    /// Whether a run without its end is accepted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_open: bool,
}

/// The policy demands what can't be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A key stands in the wrong list.
    #[error("`{0}` is {1}")]
    Kind(String, &'static str),
    /// More witnesses are required than are named.
    #[error("`required_witnesses` is {0} and {1} witnesses are named; name more, or require fewer")]
    TooFewWitnesses(usize, usize),
}

impl Policy {
    /// Checks that the policy can be kept at all.
    pub fn check(&self) -> Result<(), PolicyError> {
        let log = "a witness's key (it belongs under `witnesses`)";
        let witness = "a log's key (a witness's key begins with another byte; see `lar witness`)";
        for key in self.keys.iter().chain(&self.roots) {
            if key.kind() != KeyKind::Ed25519 {
                return Err(PolicyError::Kind(key.to_string(), log));
            }
        }
        for key in &self.witnesses {
            if key.kind() != KeyKind::Cosignature {
                return Err(PolicyError::Kind(key.to_string(), witness));
            }
        }
        for (at, key) in self.witnesses.iter().enumerate() {
            if self.witnesses.iter().take(at).any(|other| other.public() == key.public()) {
                let twice = "there twice, and one witness counts once";
                return Err(PolicyError::Kind(key.to_string(), twice));
            }
        }
        let (required, named) = (self.witnesses_required(), self.witnesses.len());
        if required > named { Err(PolicyError::TooFewWitnesses(required, named)) } else { Ok(()) }
    }

    /// How many witnesses must have cosigned.
    pub fn witnesses_required(&self) -> usize {
        self.required_witnesses.unwrap_or(self.witnesses.len())
    }

    /// Whether a verdict must be `ok`. Where `require` isn't given, this follows from what the policy
    /// names: integrity and completeness always, authenticity where a key is named, witnessing where
    /// a witness is.
    pub fn requires(&self, judged: Judged) -> bool {
        match (&self.require, judged) {
            (Some(required), _) => required.contains(&judged),
            (None, Judged::Integrity | Judged::Completeness) => true,
            (None, Judged::Authenticity) => {
                !self.keys.is_empty() || !self.roots.is_empty() || !self.approvers.is_empty()
            }
            (None, Judged::Witnessing) => !self.witnesses.is_empty(),
        }
    }
}
