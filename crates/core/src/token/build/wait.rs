//! Tokens for pauses.

use super::{Common, Witness, common_setters};
use crate::scope::{Scope, WaitScope};
use crate::time::Timestamp;
use crate::token::{Token, TokenError};

/// Lets the agent pause.
///
/// ```
/// use lar_core::token::WaitToken;
/// assert_eq!(WaitToken::new("rollout", 120).build()?.tool_name(), "wait_rollout");
/// # Ok::<(), lar_core::token::TokenError>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder grants nothing until `build` is called"]
pub struct WaitToken {
    common: Common,
    max_seconds: u64,
}

impl WaitToken {
    /// A pause of at most `max_seconds`.
    pub fn new(name: &str, max_seconds: u64) -> Self {
        Self { common: Common::new(name), max_seconds }
    }

    /// Checks everything and makes the token.
    pub fn build(self) -> Result<Token, TokenError> {
        if self.max_seconds == 0 || self.max_seconds > 86_400 {
            return Err(TokenError::Field {
                field: "max_seconds",
                message: format!("{} is not between 1 and 86,400 (a day)", self.max_seconds),
            });
        }
        self.common.token(Scope::Wait(WaitScope { max_seconds: self.max_seconds }))
    }
}
common_setters!(WaitToken);
