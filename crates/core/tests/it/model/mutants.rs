//! Rules with one mistake each.

use lar_core::ledger::Conflict;
use lar_core::ledger::protocol::{self, Event, Next, Position, Transition, UseState};

type Result = std::result::Result<Next, Conflict>;

/// Recovery gives back what was started.
pub fn refunds_after_start(position: &Position, event: &Event) -> Result {
    match (&position.attempt, &event.transition) {
        (Some(UseState::Started { fence }), Transition::Recover) => Ok(Next {
            attempt: UseState::Released {
                fence: fence + 1,
                action: event.action,
                approved_until: None,
            },
            left: position.token.left + 1,
        }),
        _ => protocol::next(position, event),
    }
}

/// Whoever asks is taken for the present holder.
pub fn knows_no_fence(position: &Position, event: &Event) -> Result {
    let held = position.attempt.as_ref().map_or(0, UseState::fence);
    let mut event = Event { holder: position.run, ..event.clone() };
    match &mut event.transition {
        Transition::Start { held: Some(fence) }
        | Transition::Release { fence }
        | Transition::Finish { fence, .. }
        | Transition::NeverBegan { fence } => *fence = held,
        _ => {}
    }
    protocol::next(position, &event)
}

/// A use that was recorded as unknown may be started again with the approval that it had.
pub fn keeps_approvals(position: &Position, event: &Event) -> Result {
    match (&position.attempt, &event.transition) {
        (Some(UseState::Ended { fence, .. }), Transition::Reserve { lease_ms }) => Ok(Next {
            attempt: UseState::Reserved {
                fence: fence + 1,
                lease_until: event.now.plus_millis(*lease_ms),
                action: event.action,
                approved_until: Some(event.now.plus_millis(*lease_ms)),
            },
            left: position.token.left,
        }),
        _ => protocol::next(position, event),
    }
}

/// What was held and approved isn't compared with what is started.
pub fn starts_anything(position: &Position, event: &Event) -> Result {
    match (&position.attempt, &event.transition) {
        (Some(UseState::Reserved { action, .. }), Transition::Start { .. }) => {
            protocol::next(position, &Event { action: *action, ..event.clone() })
        }
        _ => protocol::next(position, event),
    }
}
