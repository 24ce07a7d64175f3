//! What a run may use up, and the meter that counts it.

use std::time::Duration;

use serde::Serialize;

use crate::error::Refusal;
use crate::json::MAX_INTEGER;

/// The limits of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Budget {
    /// Tool calls that the model may make, refused ones included.
    pub max_steps: u64,
    /// Wall-clock time for the whole run, approvals and running children included.
    #[serde(rename = "timeout_ms", serialize_with = "as_millis")]
    pub timeout: Duration,
    /// Model tokens, input and output together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// Money for the model, in millionths of a US dollar.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cost_micro_usd: Option<u64>,
}

impl Budget {
    /// A budget of steps and minutes, with no limit on model tokens or money.
    ///
    /// ```
    /// use lar_core::budget::Budget;
    /// let budget = Budget::new(20, 15);
    /// assert_eq!(budget.timeout.as_secs(), 900);
    /// ```
    pub fn new(max_steps: u64, timeout_minutes: u64) -> Self {
        Self {
            max_steps,
            timeout: Duration::from_secs(timeout_minutes.saturating_mul(60)),
            max_tokens: None,
            max_cost_micro_usd: None,
        }
    }

    /// Limits the model's tokens, input and output together.
    #[must_use]
    pub fn max_tokens(mut self, tokens: u64) -> Self {
        self.max_tokens = Some(tokens);
        self
    }

    /// Limits the model's cost, in millionths of a US dollar.
    #[must_use]
    pub fn max_cost_micro_usd(mut self, micro_usd: u64) -> Self {
        self.max_cost_micro_usd = Some(micro_usd);
        self
    }
}

/// What a run has used so far. Counts only go up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Meter {
    #[serde(skip)]
    budget: Budget,
    steps: u64,
    tokens: u64,
    cost_micro_usd: u64,
}

impl Meter {
    /// A meter at zero.
    pub fn new(budget: Budget) -> Self {
        Self { budget, steps: 0, tokens: 0, cost_micro_usd: 0 }
    }

    /// Counts one tool call, or refuses it when the last step has been taken.
    pub fn step(&mut self) -> Result<(), Refusal> {
        if self.steps >= self.budget.max_steps {
            return Err(Refusal::BudgetExhausted(format!(
                "the budget of {} step(s) is used up; this call was not made",
                self.budget.max_steps
            )));
        }
        self.steps += 1;
        Ok(())
    }

    /// Counts what a model turn used; refuses when that goes beyond a limit. What a service reports
    /// is its own; counts stop at the largest integer that a record can hold.
    pub fn usage(&mut self, tokens: u64, cost_micro_usd: u64) -> Result<(), Refusal> {
        self.tokens = self.tokens.saturating_add(tokens).min(MAX_INTEGER);
        self.cost_micro_usd = self.cost_micro_usd.saturating_add(cost_micro_usd).min(MAX_INTEGER);
        if let Some(limit) = self.budget.max_tokens.filter(|limit| self.tokens > *limit) {
            return Err(Refusal::BudgetExhausted(format!(
                "the model has used {} tokens of a budget of {limit}",
                self.tokens
            )));
        }
        if let Some(limit) =
            self.budget.max_cost_micro_usd.filter(|limit| self.cost_micro_usd > *limit)
        {
            return Err(Refusal::BudgetExhausted(format!(
                "the model has cost {} millionths of a dollar of a budget of {limit}",
                self.cost_micro_usd
            )));
        }
        Ok(())
    }

    /// Steps taken.
    pub fn steps_taken(&self) -> u64 {
        self.steps
    }

    /// Steps left.
    pub fn steps_left(&self) -> u64 {
        self.budget.max_steps.saturating_sub(self.steps)
    }

    /// Model tokens left, when they are limited.
    pub fn tokens_left(&self) -> Option<u64> {
        self.budget.max_tokens.map(|limit| limit.saturating_sub(self.tokens))
    }

    /// Model tokens used, input and output together.
    pub fn tokens_used(&self) -> u64 {
        self.tokens
    }

    /// What the model has cost, in millionths of a US dollar.
    pub fn cost_micro_usd(&self) -> u64 {
        self.cost_micro_usd
    }
}

fn as_millis<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_step_is_allowed_and_the_next_is_not() {
        let mut meter = Meter::new(Budget::new(2, 1));
        assert!(meter.step().is_ok());
        assert!(meter.step().is_ok());
        assert_eq!(meter.steps_left(), 0);
        assert!(matches!(meter.step(), Err(Refusal::BudgetExhausted(_))));
        assert_eq!(meter.steps_taken(), 2);
    }

    #[test]
    fn tokens_and_cost_end_the_run_when_they_pass_the_limit() {
        let mut meter = Meter::new(Budget::new(2, 1).max_tokens(100).max_cost_micro_usd(50));
        assert!(meter.usage(100, 50).is_ok());
        assert_eq!(meter.tokens_left(), Some(0));
        assert!(meter.usage(1, 0).is_err());
        let mut meter = Meter::new(Budget::new(2, 1).max_cost_micro_usd(50));
        assert!(meter.usage(u64::MAX, 51).is_err());
        assert_eq!(meter.tokens_used(), MAX_INTEGER, "what a record can hold");
    }
}
