//! The state of one use.

use serde::{Deserialize, Serialize};

use super::Fence;
use crate::json::Digest;
use crate::outcome::Verdict;
use crate::time::Timestamp;

/// The state of an attempt's use.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum UseState {
    /// Held for a person's answer; nothing has begun.
    Reserved {
        /// The holder's number.
        fence: Fence,
        /// When the hold ends.
        lease_until: Timestamp,
        /// The digest of the action that it is held for.
        action: Digest,
        /// Until when it may be started, once a person approved it.
        approved_until: Option<Timestamp>,
    },
    /// Given back before anything began.
    Released {
        /// A number above the last holder's.
        fence: Fence,
        /// The digest of the action that it was held for.
        action: Digest,
        /// An approval that was given and not used yet.
        approved_until: Option<Timestamp>,
    },
    /// Spent. The effect may have begun.
    Started {
        /// The holder's number.
        fence: Fence,
    },
    /// Spent, and it is known how it ended, or recorded that it isn't.
    Ended {
        /// The holder's number.
        fence: Fence,
        /// How it ended.
        verdict: Verdict,
    },
    /// Spent; how it ended was unknown at first and was said later.
    Resolved {
        /// The holder's number.
        fence: Fence,
        /// How it ended: succeeded or failed.
        verdict: Verdict,
    },
    /// The living owner said that nothing outside was touched.
    NeverBegan {
        /// The holder's number.
        fence: Fence,
    },
}

impl UseState {
    /// The holder's number.
    pub fn fence(&self) -> Fence {
        match self {
            Self::Reserved { fence, .. }
            | Self::Released { fence, .. }
            | Self::Started { fence }
            | Self::Ended { fence, .. }
            | Self::Resolved { fence, .. }
            | Self::NeverBegan { fence } => *fence,
        }
    }

    /// Whether it is held or was started, and nothing was said about its end.
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Reserved { .. } | Self::Started { .. })
    }

    /// Whether its outcome was recorded as unknown and nothing was said since.
    pub fn is_unresolved(&self) -> bool {
        matches!(self, Self::Ended { verdict: Verdict::Unknown, .. })
    }

    /// How it ended, if it was started.
    pub fn verdict(&self) -> Option<Verdict> {
        match self {
            Self::Ended { verdict, .. } | Self::Resolved { verdict, .. } => Some(*verdict),
            Self::Started { .. } => Some(Verdict::Unknown),
            Self::Reserved { .. } | Self::Released { .. } | Self::NeverBegan { .. } => None,
        }
    }
}
