//! The states of one use and the rule by which they follow each other: a pure function that every
//! ledger calls inside its transaction.
//!
//! ```text
//! READY -> RESERVED -> STARTED -> SUCCEEDED | FAILED | UNKNOWN | NEVER_BEGAN
//!            |                                                    |
//!            +-> READY (released, or the lease ran out)           +-> READY
//! ```

use serde::{Deserialize, Serialize};

use crate::json::Digest;
use crate::outcome::Verdict;
use crate::time::Timestamp;

/// Counts how often a use has been taken hold of. Whoever holds an older number has lost it.
pub type Fence = u64;

/// The state of an attempt's use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
        /// Whether the answer was yes.
        approved: bool,
    },
    /// Given back before anything began.
    Released {
        /// The last holder's number.
        fence: Fence,
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
    /// The living owner said that nothing outside was touched.
    NeverBegan {
        /// The holder's number.
        fence: Fence,
    },
}

/// What is asked to happen to a use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transition {
    /// Take hold of a use for so many milliseconds.
    Reserve {
        /// How long the hold lasts.
        lease_ms: u64,
    },
    /// Note that a held use was approved for the action that it is held for.
    Approve {
        /// The holder's number.
        fence: Fence,
    },
    /// Give a held use back.
    Release {
        /// The holder's number.
        fence: Fence,
    },
    /// Spend: from nothing, or from a hold with the approval that was given for this action.
    Start {
        /// The holder's number when the use was held.
        held: Option<Fence>,
    },
    /// Say how it ended.
    Finish {
        /// The holder's number.
        fence: Fence,
        /// How it ended.
        verdict: Verdict,
    },
    /// Say that nothing began.
    NeverBegan {
        /// The holder's number.
        fence: Fence,
    },
}

/// What a transition does to the number of uses that are left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uses {
    /// One is taken.
    Take,
    /// One comes back.
    GiveBack,
    /// None changes hands.
    Keep,
}

/// The asked change doesn't fit the state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// No use is left.
    #[error("no use of this token is left")]
    NoUseLeft,
    /// There is no such token in this grant.
    #[error("the grant has no token `{0}`")]
    UnknownToken(String),
    /// The token has ended.
    #[error("the token expired at {0}")]
    Expired(Timestamp),
    /// This very attempt was made before.
    #[error("this attempt was made before; it is never executed a second time")]
    AlreadyAttempted,
    /// Somebody else holds the use by now.
    #[error("the use is no longer held by this attempt")]
    Fenced,
    /// The hold has run out.
    #[error("the hold on the use ran out while it was waited for an answer")]
    LeaseExpired,
    /// Nobody has approved it.
    #[error("the use is held for an approval that was not given")]
    NotApproved,
    /// What would run isn't what was held and approved.
    #[error("the action isn't the one that the use was held for")]
    OtherAction,
    /// The use is in a state from which there is no such step.
    #[error("the use is in a state that this step can't follow")]
    OutOfOrder,
}

/// The next state, and what it does to the uses left. `now` is the ledger's clock.
pub fn next(
    state: Option<&UseState>,
    transition: &Transition,
    action: &Digest,
    now: Timestamp,
) -> Result<(UseState, Uses), Conflict> {
    match (state, transition) {
        (None, Transition::Reserve { lease_ms }) => {
            let lease_until = now.plus_millis(*lease_ms);
            let state =
                UseState::Reserved { fence: 1, lease_until, action: *action, approved: false };
            Ok((state, Uses::Take))
        }
        (None, Transition::Start { held: None }) => {
            Ok((UseState::Started { fence: 1 }, Uses::Take))
        }
        (Some(_), Transition::Reserve { .. } | Transition::Start { held: None }) => {
            Err(Conflict::AlreadyAttempted)
        }
        (
            Some(UseState::Reserved { fence, lease_until, action: held_for, approved }),
            Transition::Approve { fence: held } | Transition::Start { held: Some(held) },
        ) => {
            same(*fence, *held)?;
            if now > *lease_until {
                return Err(Conflict::LeaseExpired);
            }
            if held_for != action {
                return Err(Conflict::OtherAction);
            }
            match (transition, approved) {
                (Transition::Approve { .. }, false) => {
                    let (fence, lease_until, action) = (*fence, *lease_until, *action);
                    let state = UseState::Reserved { fence, lease_until, action, approved: true };
                    Ok((state, Uses::Keep))
                }
                (Transition::Approve { .. }, true) => Err(Conflict::OutOfOrder),
                (_, true) => Ok((UseState::Started { fence: *fence }, Uses::Keep)),
                (_, false) => Err(Conflict::NotApproved),
            }
        }
        (Some(UseState::Reserved { fence, .. }), Transition::Release { fence: held }) => {
            same(*fence, *held)?;
            Ok((UseState::Released { fence: fence + 1 }, Uses::GiveBack))
        }
        (Some(UseState::Started { fence }), Transition::Finish { fence: held, verdict }) => {
            same(*fence, *held)?;
            Ok((UseState::Ended { fence: *fence, verdict: *verdict }, Uses::Keep))
        }
        (Some(UseState::Started { fence }), Transition::NeverBegan { fence: held }) => {
            same(*fence, *held)?;
            Ok((UseState::NeverBegan { fence: *fence }, Uses::GiveBack))
        }
        (Some(UseState::Released { .. }), Transition::Start { held: Some(_) }) => {
            Err(Conflict::Fenced)
        }
        (
            None | Some(_),
            Transition::Approve { .. }
            | Transition::Start { .. }
            | Transition::Release { .. }
            | Transition::Finish { .. }
            | Transition::NeverBegan { .. },
        ) => Err(Conflict::OutOfOrder),
    }
}

fn same(fence: Fence, held: Fence) -> Result<(), Conflict> {
    if fence == held { Ok(()) } else { Err(Conflict::Fenced) }
}

/// What recovery makes of an attempt whose owner is gone: a hold that ran out is given back with a
/// higher fence, so that a late start by the old owner fails; what was started becomes unknown and
/// is never given back.
pub fn recover(state: &UseState, now: Timestamp) -> Option<(UseState, Uses)> {
    match state {
        UseState::Reserved { fence, lease_until, .. } if now > *lease_until => {
            Some((UseState::Released { fence: fence + 1 }, Uses::GiveBack))
        }
        UseState::Started { fence } => {
            Some((UseState::Ended { fence: *fence, verdict: Verdict::Unknown }, Uses::Keep))
        }
        UseState::Reserved { .. }
        | UseState::Released { .. }
        | UseState::Ended { .. }
        | UseState::NeverBegan { .. } => None,
    }
}

impl UseState {
    /// The holder's number.
    pub fn fence(&self) -> Fence {
        match self {
            Self::Reserved { fence, .. }
            | Self::Released { fence }
            | Self::Started { fence }
            | Self::Ended { fence, .. }
            | Self::NeverBegan { fence } => *fence,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACTION: &[u8] = b"action";

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn step(
        state: Option<&UseState>,
        t: Transition,
        now: i64,
    ) -> Result<(UseState, Uses), Conflict> {
        next(state, &t, &Digest::of(ACTION), at(now))
    }

    #[test]
    fn a_use_goes_from_reserved_to_started_once() {
        let (held, uses) = step(None, Transition::Reserve { lease_ms: 100 }, 0).unwrap();
        assert_eq!(uses, Uses::Take);
        assert_eq!(
            step(Some(&held), Transition::Start { held: Some(1) }, 100),
            Err(Conflict::NotApproved)
        );
        let (held, _) = step(Some(&held), Transition::Approve { fence: 1 }, 50).unwrap();
        assert!(step(Some(&held), Transition::Approve { fence: 1 }, 50).is_err());
        let (started, uses) = step(Some(&held), Transition::Start { held: Some(1) }, 100).unwrap();
        assert_eq!(uses, Uses::Keep);
        for again in [Transition::Start { held: Some(1) }, Transition::Start { held: None }] {
            assert!(step(Some(&started), again, 100).is_err());
        }
    }

    #[test]
    fn a_late_or_changed_start_is_refused() {
        let (held, _) = step(None, Transition::Reserve { lease_ms: 100 }, 0).unwrap();
        let start = Transition::Start { held: Some(1) };
        assert_eq!(step(Some(&held), start.clone(), 101), Err(Conflict::LeaseExpired));
        let other = next(Some(&held), &start, &Digest::of(b"other"), at(1));
        assert_eq!(other, Err(Conflict::OtherAction));
        let stale = Transition::Start { held: Some(0) };
        assert_eq!(step(Some(&held), stale, 1), Err(Conflict::Fenced));
    }

    #[test]
    fn after_the_start_a_use_never_comes_back_but_by_its_living_owner() {
        let (started, _) = step(None, Transition::Start { held: None }, 0).unwrap();
        assert!(step(Some(&started), Transition::Release { fence: 1 }, 0).is_err());
        assert_eq!(
            step(Some(&started), Transition::NeverBegan { fence: 2 }, 0),
            Err(Conflict::Fenced)
        );
        let (_, uses) = step(Some(&started), Transition::NeverBegan { fence: 1 }, 0).unwrap();
        assert_eq!(uses, Uses::GiveBack);
        let (lost, uses) = recover(&started, at(1)).unwrap();
        assert_eq!(lost, UseState::Ended { fence: 1, verdict: Verdict::Unknown });
        assert_eq!(uses, Uses::Keep);
        assert!(step(Some(&lost), Transition::NeverBegan { fence: 1 }, 0).is_err());
    }

    #[test]
    fn recovery_gives_back_only_what_was_held_and_fences_the_old_owner() {
        let (held, _) = step(None, Transition::Reserve { lease_ms: 100 }, 0).unwrap();
        assert_eq!(recover(&held, at(100)), None);
        let (free, uses) = recover(&held, at(101)).unwrap();
        assert_eq!(uses, Uses::GiveBack);
        let late = Transition::Start { held: Some(1) };
        assert_eq!(step(Some(&free), late, 50), Err(Conflict::Fenced));
    }
}
