//! The verdicts.

use std::fmt;

use serde::Serialize;

use super::openings::Commitments;
use crate::audit::checkpoint::Checkpoint;
use crate::audit::policy::{Judged, Policy};
use crate::json::Digest;
use crate::time::Timestamp;

/// One verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Finding {
    /// It holds.
    Ok,
    /// There is nothing that it could be told from. This is never `ok`.
    Absent {
        /// What is missing.
        reason: String,
    },
    /// It doesn't hold.
    Broken {
        /// The record, where it can be told which.
        #[serde(skip_serializing_if = "Option::is_none")]
        at: Option<u64>,
        /// Why.
        reason: String,
    },
}

impl Finding {
    /// Whether it holds.
    pub fn is_ok(&self) -> bool {
        *self == Self::Ok
    }

    /// Whether it is known not to hold.
    pub fn is_broken(&self) -> bool {
        matches!(self, Self::Broken { .. })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok => f.write_str("ok"),
            Self::Absent { reason } => write!(f, "absent: {reason}"),
            Self::Broken { at: Some(at), reason } => {
                write!(f, "broken at record {at}: {reason}")
            }
            Self::Broken { at: None, reason } => write!(f, "broken: {reason}"),
        }
    }
}

/// What a time-stamp of an authority says. It is no verdict: the authority's signature isn't judged here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Timestamping {
    /// There is none.
    #[default]
    Absent,
    /// It states that this very checkpoint was there at a time.
    Stated {
        /// When.
        time: Timestamp,
    },
    /// It is no time-stamp over this checkpoint.
    Broken {
        /// What it is.
        reason: String,
    },
}

impl fmt::Display for Timestamping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("absent"),
            Self::Stated { time } => {
                write!(f, "stated {time}, by a signature that `openssl ts -verify` judges")
            }
            Self::Broken { reason } => write!(f, "broken: the authority answered {reason}"),
        }
    }
}

/// What was found about one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The run, as its records name it.
    pub run: Option<String>,
    /// How many records hold together.
    pub records: u64,
    /// The leaf hash of the last of them.
    pub head: Option<Digest>,
    /// The checkpoint that came with them, whoever signed it.
    pub checkpoint: Option<Checkpoint>,
    /// The known key that signed the checkpoint.
    pub signed_by: Option<String>,
    /// Whether the run has its end.
    pub closed: bool,
    /// How it ended, as its end says.
    pub stop_reason: Option<String>,
    /// Whether it was one record that was judged, by a proof of its own.
    pub single: bool,
    /// What comes with the checkpoint of a time-stamping authority.
    pub timestamp: Timestamping,
    /// What stands in the records as commitments.
    pub commitments: Commitments,
    /// The records are canonical, chained, and those of the checkpoint.
    pub integrity: Finding,
    /// Known keys signed the checkpoint.
    pub authenticity: Finding,
    /// Known witnesses cosigned it.
    pub witnessing: Finding,
    /// The run has its end, which accounts for everything.
    pub completeness: Finding,
}

impl Report {
    /// One of the four verdicts.
    pub fn finding(&self, judged: Judged) -> &Finding {
        match judged {
            Judged::Integrity => &self.integrity,
            Judged::Authenticity => &self.authenticity,
            Judged::Witnessing => &self.witnessing,
            Judged::Completeness => &self.completeness,
        }
    }

    /// Whether everything that the policy demands holds, and nothing at all is broken.
    pub fn satisfies(&self, policy: &Policy) -> bool {
        !matches!(self.timestamp, Timestamping::Broken { .. }) && self.holds(policy)
    }

    fn holds(&self, policy: &Policy) -> bool {
        Judged::ALL.into_iter().all(|judged| {
            let open = judged == Judged::Completeness
                && (self.single || policy.allow_open && !self.closed);
            match self.finding(judged) {
                Finding::Ok => true,
                Finding::Absent { .. } => open || !policy.requires(judged),
                Finding::Broken { .. } => false,
            }
        })
    }
}
