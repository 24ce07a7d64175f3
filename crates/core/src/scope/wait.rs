//! The scope of a wait token: how long the agent may pause.

use std::time::Duration;

use serde::Serialize;

use crate::action::WaitAction;
use crate::error::Refusal;

/// A pause of at most so many seconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct WaitScope {
    /// The longest pause, in seconds.
    pub max_seconds: u64,
}

impl WaitScope {
    /// Whether the pause is short enough.
    pub fn permits(&self, action: &WaitAction) -> Result<(), Refusal> {
        if action.seconds <= self.max_seconds {
            return Ok(());
        }
        Err(Refusal::TokenScope(format!(
            "{} seconds is longer than this token allows; ask for at most {}",
            action.seconds, self.max_seconds
        )))
    }

    /// One line for people.
    pub fn summary(&self) -> String {
        format!("a pause of at most {} s", self.max_seconds)
    }
}

/// A duration as whole milliseconds, for records and definitions.
pub(crate) fn millis(duration: Duration) -> u64 {
    // Canonical JSON ends at 2^53-1, which is 285,000 years of milliseconds.
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).min((1 << 53) - 1)
}

/// Serialises a duration as whole milliseconds.
pub(crate) fn as_millis<S: serde::Serializer>(
    duration: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(millis(*duration))
}
