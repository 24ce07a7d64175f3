//! A refused call: recorded, and told to those who watch.

use lar_core::audit::record::{Body, ErrorRecord};
use lar_core::display::first_chars;
use lar_core::error::Refusal;
use lar_core::id::{AttemptId, CallSite};

use super::Dispatcher;
use crate::event::Event;

/// How much of a refused input goes into the record, in characters.
const INPUT_KEPT: usize = 1_000;
/// How much of what was wrong with it, in characters.
const MESSAGE_KEPT: usize = 2_000;
/// How much of a tool's name, in characters.
const NAME_KEPT: usize = 128;

impl Dispatcher {
    /// Records a refused call and tells those who watch.
    pub async fn refuse(
        &self,
        site: &CallSite,
        tool: &str,
        input: &str,
        refusal: &Refusal,
    ) -> Result<(), Refusal> {
        let name = self.capabilities().name_of(tool);
        let name = name.as_deref().unwrap_or(tool);
        // A secret that only the words of a command spelled stands in the input in another form.
        let input = match refusal {
            Refusal::SecretExposed(_) => None,
            _ => Some(first_chars(&self.redactor().redact(input), INPUT_KEPT).to_owned()),
        };
        self.refused(name, tool, Some((AttemptId::at(site), input)), refusal).await
    }

    /// Records that the run can't go on after a turn of the model, and tells those who watch.
    pub async fn refuse_turn(&self, turn: u64, refusal: &Refusal) -> Result<(), Refusal> {
        let name = format!("turn {turn}");
        self.refused(&name, &name, None, refusal).await
    }

    async fn refused(
        &self,
        name: &str,
        tool: &str,
        call: Option<(AttemptId, Option<String>)>,
        refusal: &Refusal,
    ) -> Result<(), Refusal> {
        // A refusal may repeat what the model wrote.
        let (name, tool) = (self.redactor().redact(name), self.redactor().redact(tool));
        let message = refusal.to_string();
        let message = self.redactor().redact(&message);
        let error_type = refusal.error_type();
        self.inner.observer.notice(Event::CallRefused {
            tool: &tool,
            error_type,
            message: &message,
        });
        // What was spent and given back has its own record; and a ledger that just failed is not
        // asked again, which can take long where another process holds it.
        if matches!(refusal, Refusal::NeverBegan(_)) || refusal.is_without_ledger() {
            return Ok(());
        }
        let (attempt, input) = call.unzip();
        let input = input.flatten();
        let record = ErrorRecord {
            token_name: first_chars(&name, NAME_KEPT).to_owned(),
            error_type: error_type.to_owned(),
            message: first_chars(&message, MESSAGE_KEPT).to_owned(),
            attempt,
            input,
        };
        self.record(Body::Error(record)).await
    }
}
