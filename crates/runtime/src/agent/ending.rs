//! How the loop ends, and the run with it.

use std::sync::Arc;

use lar_core::audit::record::RunEnd;
use lar_core::audit::room::{MOST_ERROR_BYTES, MOST_FINAL_BYTES, first_bytes};
use lar_core::display::first_chars;
use lar_core::error::Refusal;
use lar_core::ledger::LedgerError;

use super::{Agent, AgentResult, State, StopReason, read_trail};
use crate::stop::Cause;

/// How the loop ended.
pub(super) struct End {
    reason: StopReason,
    error: Option<String>,
}

impl End {
    /// The model is done: a success, unless a required token was never spent with one.
    pub fn done(missing_required: &[String]) -> Self {
        match missing_required {
            [] => Self { reason: StopReason::Complete, error: None },
            missing => Self::error(format!(
                "required token(s) were never spent with success: {}",
                missing.join(", ")
            )),
        }
    }

    /// Something failed.
    pub fn error(message: impl Into<String>) -> Self {
        Self { reason: StopReason::Error, error: Some(message.into()) }
    }

    /// The run was told to stop.
    pub fn stopped(cause: Cause) -> Self {
        match cause {
            Cause::Timeout => Self { reason: StopReason::Timeout, error: None },
            Cause::Interrupted => Self::error("the run was interrupted"),
        }
    }
}

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::BudgetExhausted(message) => {
                Self { reason: StopReason::BudgetExhausted, error: Some(message) }
            }
            Refusal::BudgetTimeout(_) => Self { reason: StopReason::Timeout, error: None },
            other => Self::error(other.to_string()),
        }
    }
}

impl Agent {
    /// Writes the end of the run and reads the whole record back.
    pub(super) async fn close(self, state: State, end: End) -> Result<AgentResult, LedgerError> {
        let run = self.dispatcher.run().clone();
        let ledger = Arc::clone(self.dispatcher.ledger());
        let first =
            |text: &str, chars, bytes| first_bytes(first_chars(text, chars), bytes).to_owned();
        let last_words = state.last_words.as_deref();
        let details = RunEnd {
            final_message: last_words.map(|text| first(text, 4_000, MOST_FINAL_BYTES)),
            error: end.error.as_deref().map(|text| first(text, 2_000, MOST_ERROR_BYTES)),
            steps_taken: state.meter.steps_taken(),
            budget_remaining: state.meter.steps_left(),
            model_tokens: state.meter.tokens_used(),
            cost_micro_usd: state.meter.cost_micro_usd(),
        };
        // Before what was granted for this run goes with it.
        let capabilities = self.dispatcher.capabilities();
        let tokens_unused = capabilities.unused_tokens();
        let missing_required = self.dispatcher.missing_required();
        self.dispatcher.close(end.reason.as_str(), details, self.keep_journal).await?;
        capabilities.mark_reported();
        let audit_trail = read_trail(ledger.as_ref(), &run).await?;
        Ok(AgentResult {
            run,
            stop_reason: end.reason,
            error: end.error,
            final_message: state.last_words,
            steps_taken: state.meter.steps_taken(),
            budget_remaining: state.meter.steps_left(),
            tokens_unused,
            missing_required,
            audit_trail,
        })
    }
}
