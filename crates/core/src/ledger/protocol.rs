//! The states of one use and the rule by which they follow each other: a pure function of the
//! position and the event, shared by every ledger and by the model that is checked in
//! `crates/core/tests/it/model.rs`.
//!
//! ```text
//! READY -> RESERVED -> STARTED -> SUCCEEDED | FAILED | UNKNOWN | NEVER_BEGAN
//!   ^         |           ^                             |            |
//!   |         |           +--- (no approval needed)     +-> resolved +-> READY
//!   +---------+ released, or the hold ran out
//! ```
//!
//! Nothing here gives back what was started but the living owner's word that nothing began.

mod conflict;
mod state;

use crate::json::Digest;
use crate::outcome::Verdict;
use crate::time::Timestamp;

pub use conflict::Conflict;
pub use state::UseState;

/// Counts how often a use, or a run, has been taken hold of. Whoever holds an older number has lost
/// it.
pub type Fence = u64;

/// What is asked to happen to a use.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Transition {
    /// Take hold of a use for so many milliseconds.
    Reserve {
        /// How long the hold lasts.
        lease_ms: u64,
    },
    /// Note that a held use was approved for the action that it is held for. The approval is bound
    /// to the attempt and the action, not to the hold: it stays when the hold is lost.
    Approve {
        /// Until when it may be started.
        not_after: Timestamp,
    },
    /// Give a held use back.
    Release {
        /// The holder's number.
        fence: Fence,
    },
    /// Spend: from nothing, or from a hold with the approval that was given for this action. The
    /// approval is used up with it.
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
    /// Say that nothing began. Only whoever started it may.
    NeverBegan {
        /// The holder's number.
        fence: Fence,
    },
    /// Seal what the last holder of the run, who is gone, left open: a hold is given back with a
    /// higher fence, so that a late start fails; what was started becomes unknown. Made by the
    /// ledger when a run is taken over or closed.
    Recover,
    /// Give back a hold that ran out. Made by the ledger when somebody else needs the use.
    Expire,
    /// Say later what became of a use whose outcome is unknown.
    Resolve {
        /// Who says so.
        by: Resolver,
        /// Succeeded or failed.
        verdict: Verdict,
    },
}

/// Who says later how an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Resolver {
    /// The process that started it, at the use's fence.
    Owner {
        /// The use's fence.
        fence: Fence,
    },
    /// A person, by name.
    Person(String),
    /// The target itself, which was asked.
    Target(String),
}

/// Where everything stands that one step looks at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Position {
    /// The fence of the hold on the run.
    pub run: Fence,
    /// The grant.
    pub grant: GrantPosition,
    /// The token.
    pub token: TokenPosition,
    /// The attempt's use; `None` when the attempt was never made.
    pub attempt: Option<UseState>,
}

/// Where the grant stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GrantPosition {
    /// Whether it was revoked.
    pub revoked: bool,
    /// When it ends.
    pub expires: Option<Timestamp>,
    /// Whether it was issued in an older epoch of the ledger than the present one.
    pub quarantined: bool,
}

/// Where the token stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TokenPosition {
    /// How many uses were granted.
    pub granted: u32,
    /// How many are neither held nor spent.
    pub left: u32,
    /// When it ends.
    pub expires: Option<Timestamp>,
    /// Whether a use must be held and approved before it is started.
    pub requires_approval: bool,
    /// Whether it is a candidate that nobody has unlocked for this run.
    pub locked: bool,
}

/// What is asked, by whom and when.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Event {
    /// The ledger's clock.
    pub now: Timestamp,
    /// The fence of the asker's hold on the run.
    pub holder: Fence,
    /// The digest of the action.
    pub action: Digest,
    /// What is asked.
    pub transition: Transition,
}

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Next {
    /// The attempt's use.
    pub attempt: UseState,
    /// How many uses of the token are left.
    pub left: u32,
}

/// What a step does to the number of uses that are left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Uses {
    Take,
    GiveBack,
    Keep,
}

/// What follows when `event` meets `position`.
///
/// The checks come in this order, so that every ledger refuses with the same word: who asks (the
/// run's fence); what the use allows (its state, the use's fence, the lease, the action, the
/// approval); and for a step that takes a use or starts it, whether grant and token still stand.
pub fn next(position: &Position, event: &Event) -> Result<Next, Conflict> {
    // Anybody may say that a hold ran out, and how an unknown outcome turned out.
    let from_outside = matches!(event.transition, Transition::Expire | Transition::Resolve { .. });
    if !from_outside && event.holder != position.run {
        return Err(Conflict::RunLost);
    }
    let (attempt, uses) = step(position.attempt.as_ref(), &position.token, event)?;
    if uses == Uses::Take || matches!(event.transition, Transition::Start { .. }) {
        stands(&position.grant, &position.token, event.now)?;
    }
    let left = match uses {
        Uses::Take => position.token.left.checked_sub(1).ok_or(Conflict::NoUseLeft)?,
        // A ledger in which this doesn't fit was not written by this rule.
        Uses::GiveBack if position.token.left >= position.token.granted => {
            return Err(Conflict::OutOfOrder);
        }
        Uses::GiveBack => position.token.left + 1,
        Uses::Keep => position.token.left,
    };
    Ok(Next { attempt, left })
}

/// Whether the grant and the token take a spend.
fn stands(grant: &GrantPosition, token: &TokenPosition, now: Timestamp) -> Result<(), Conflict> {
    if grant.revoked {
        return Err(Conflict::Revoked);
    }
    if grant.quarantined {
        return Err(Conflict::Quarantined);
    }
    if let Some(end) = grant.expires.filter(|end| now >= *end) {
        return Err(Conflict::GrantExpired(end));
    }
    if let Some(end) = token.expires.filter(|end| now >= *end) {
        return Err(Conflict::Expired(end));
    }
    if token.locked { Err(Conflict::Locked) } else { Ok(()) }
}

/// The next state of the use, and what that does to the uses that are left.
fn step(
    state: Option<&UseState>,
    token: &TokenPosition,
    event: &Event,
) -> Result<(UseState, Uses), Conflict> {
    let now = event.now;
    match (state, &event.transition) {
        (None, Transition::Reserve { lease_ms }) => {
            let lease_until = now.plus_millis(*lease_ms);
            let action = event.action;
            let state = UseState::Reserved { fence: 1, lease_until, action, approved_until: None };
            Ok((state, Uses::Take))
        }
        // It was given back before anything began, so it may be held again; an approval of the same
        // action that hasn't run out still holds.
        (
            Some(UseState::Released { fence, action, approved_until }),
            Transition::Reserve { lease_ms },
        ) => {
            let kept = approved_until.filter(|end| *action == event.action && now <= *end);
            let state = UseState::Reserved {
                fence: fence + 1,
                lease_until: now.plus_millis(*lease_ms),
                action: event.action,
                approved_until: kept,
            };
            Ok((state, Uses::Take))
        }
        (None, Transition::Start { held: None }) if token.requires_approval => {
            Err(Conflict::NotApproved)
        }
        (None, Transition::Start { held: None }) => {
            Ok((UseState::Started { fence: 1 }, Uses::Take))
        }
        (Some(_), Transition::Reserve { .. } | Transition::Start { held: None }) => {
            Err(Conflict::AlreadyAttempted)
        }
        (
            Some(UseState::Reserved { fence, lease_until, action, approved_until }),
            Transition::Approve { not_after },
        ) => {
            in_time(*lease_until, now)?;
            same_action(action, &event.action)?;
            if approved_until.is_some() {
                return Err(Conflict::OutOfOrder);
            }
            let (fence, lease_until, action) = (*fence, *lease_until, *action);
            let approved_until = Some(*not_after);
            Ok((UseState::Reserved { fence, lease_until, action, approved_until }, Uses::Keep))
        }
        (
            Some(UseState::Reserved { fence, lease_until, action, approved_until }),
            Transition::Start { held: Some(held) },
        ) => {
            same(*fence, *held)?;
            in_time(*lease_until, now)?;
            same_action(action, &event.action)?;
            match approved_until {
                None if token.requires_approval => Err(Conflict::NotApproved),
                Some(end) if now > *end => Err(Conflict::ApprovalExpired(*end)),
                _ => Ok((UseState::Started { fence: *fence }, Uses::Keep)),
            }
        }
        (Some(UseState::Reserved { fence, action, .. }), Transition::Release { fence: held }) => {
            same(*fence, *held)?;
            // Whoever releases it doesn't want it any more, so the approval goes with it.
            let (fence, action) = (fence + 1, *action);
            Ok((UseState::Released { fence, action, approved_until: None }, Uses::GiveBack))
        }
        (
            Some(UseState::Reserved { fence, lease_until, action, approved_until }),
            Transition::Recover | Transition::Expire,
        ) => {
            if event.transition == Transition::Expire && now <= *lease_until {
                return Err(Conflict::OutOfOrder);
            }
            let (fence, action, approved_until) = (fence + 1, *action, *approved_until);
            Ok((UseState::Released { fence, action, approved_until }, Uses::GiveBack))
        }
        (Some(UseState::Started { fence }), Transition::Finish { fence: held, verdict }) => {
            same(*fence, *held)?;
            Ok((UseState::Ended { fence: *fence, verdict: *verdict }, Uses::Keep))
        }
        (Some(UseState::Started { fence }), Transition::NeverBegan { fence: held }) => {
            same(*fence, *held)?;
            Ok((UseState::NeverBegan { fence: *fence }, Uses::GiveBack))
        }
        (Some(UseState::Started { fence }), Transition::Recover) => {
            Ok((UseState::Ended { fence: *fence, verdict: Verdict::Unknown }, Uses::Keep))
        }
        (
            Some(UseState::Ended { fence, verdict: Verdict::Unknown }),
            Transition::Resolve { by, verdict },
        ) => {
            if let Resolver::Owner { fence: held } = by {
                same(*fence, *held)?;
            }
            match verdict {
                Verdict::Unknown => Err(Conflict::OutOfOrder),
                known => Ok((UseState::Resolved { fence: *fence, verdict: *known }, Uses::Keep)),
            }
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
            | Transition::NeverBegan { .. }
            | Transition::Recover
            | Transition::Expire
            | Transition::Resolve { .. },
        ) => Err(Conflict::OutOfOrder),
    }
}

fn same(fence: Fence, held: Fence) -> Result<(), Conflict> {
    if fence == held { Ok(()) } else { Err(Conflict::Fenced) }
}

fn in_time(lease_until: Timestamp, now: Timestamp) -> Result<(), Conflict> {
    if now > lease_until { Err(Conflict::LeaseExpired) } else { Ok(()) }
}

fn same_action(held_for: &Digest, action: &Digest) -> Result<(), Conflict> {
    if held_for == action { Ok(()) } else { Err(Conflict::OtherAction) }
}

#[cfg(test)]
mod tests;
