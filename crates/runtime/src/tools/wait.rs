//! Pauses.

use std::time::Duration;

use lar_core::action::WaitAction;
use lar_core::outcome::{Outcome, Performed, Verdict};

use super::Job;

impl Job<'_> {
    pub(super) async fn wait(&self, action: &WaitAction) -> Performed {
        let pause = Duration::from_secs(action.seconds);
        let outcome = tokio::select! {
            () = tokio::time::sleep(pause) => {
                Outcome::new(Verdict::Succeeded, format!("waited {} s", action.seconds), "")
            }
            cause = self.stop.wait() => {
                Outcome::new(Verdict::Failed, "the pause was cut short", "").because(cause.as_str())
            }
        };
        Performed::Ended(outcome)
    }
}
