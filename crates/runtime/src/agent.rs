//! The loop: ask the model, dispatch what it calls, tell it what came of it, until it is done or the
//! run is over.

mod ending;
mod result;

use std::sync::Arc;
use std::time::Duration;

use lar_core::audit::record::{Body, ModelTurn};
use lar_core::budget::{Budget, Meter};
use lar_core::display::first_chars;
use lar_core::error::Refusal;
use lar_core::id::{AttemptId, CallSite, Part};
use lar_core::invocation::ToolCall;
use lar_core::json::{Digest, MAX_INTEGER};
use lar_core::ledger::{Entry, LedgerError};

use crate::dispatch::{Dispatcher, told};
use crate::event::{Event, Observer};
use crate::journal::{Page, Tape, told_later};
use crate::model::{
    Message, Model, ModelError, Price, RawCall, Stop as ModelStop, ToolDefinition, Turn,
    TurnRequest, Usage, UserBlock,
};
use crate::negotiate::Negotiator;
use crate::stop::{Cause, Stop};
use crate::watching::Watching;

use ending::End;
pub use result::{AgentResult, StopReason, read_records, read_trail};

/// What the first message says when there is no task: the API refuses an empty conversation.
pub const DEFAULT_TASK: &str = "Begin.";
/// The most tokens that the model may write in one turn.
const OUTPUT_TOKENS: u32 = 8_192;
/// How often in a row an answer that was cut at the output limit is continued.
const CONTINUATIONS: u32 = 3;

/// One agent, ready to run once.
pub struct Agent {
    /// The model.
    pub model: Box<dyn Model>,
    /// The one path.
    pub dispatcher: Dispatcher,
    /// The runtime's own tools.
    pub negotiator: Negotiator,
    /// The limits.
    pub budget: Budget,
    /// The system prompt.
    pub system: String,
    /// The first user message.
    pub task: String,
    /// How the run is told to stop.
    pub stop: Stop,
    /// Who watches.
    pub observer: Arc<dyn Observer>,
    /// Where each turn goes, when the session is recorded.
    pub recorder: Option<crate::model::Recorder>,
    /// What was said and done before the run was cut off; empty in a new run.
    pub tape: Tape,
    /// How long the run was held before.
    pub held: Duration,
    /// Whether the journal stays when the run is closed.
    pub keep_journal: bool,
}

/// What the loop carries from turn to turn.
struct State {
    messages: Vec<Message>,
    meter: Meter,
    turn: u64,
    last_words: Option<String>,
    continued: u32,
}

impl Agent {
    /// Runs to the end and seals the run, however it ends.
    ///
    /// # Errors
    ///
    /// Only when the ledger can't take the end of the run or can't be read back. What was spent is
    /// in it all the same.
    pub async fn run(mut self) -> Result<AgentResult, LedgerError> {
        let alarm = tokio::spawn({
            let timeout = self.budget.timeout.saturating_sub(self.held);
            let stop = self.stop.clone();
            async move {
                tokio::time::sleep(timeout).await;
                stop.request(Cause::Timeout);
            }
        });
        let mut state = State {
            messages: vec![Message::User(vec![UserBlock::Text(self.task.clone())])],
            meter: Meter::new(self.budget),
            turn: 0,
            last_words: None,
            continued: 0,
        };
        let end = match self.rounds(&mut state).await {
            Err(end) => end,
            Ok(()) => End::done(&self.dispatcher.missing_required()),
        };
        alarm.abort();
        self.close(state, end).await
    }

    /// Goes round until the model is done (`Ok`) or the run has to end.
    async fn rounds(&mut self, state: &mut State) -> Result<(), End> {
        loop {
            let turn = self.ask(state).await?;
            let calls = turn.calls();
            if calls.is_empty() {
                if self.rest_or_go_on(state, turn)? {
                    return Ok(());
                }
                continue;
            }
            state.continued = 0;
            let rationale = turn.text();
            let answers = self.carry_out(state, calls, &rationale).await?;
            self.keep(state, Message::Assistant(turn.blocks));
            self.keep(state, Message::User(answers));
        }
    }

    /// Asks the model for its next turn and records it.
    async fn ask(&mut self, state: &mut State) -> Result<Turn, End> {
        if let Some(cause) = self.stop.requested() {
            return Err(End::stopped(cause));
        }
        state.turn += 1;
        if let Some(turn) = self.tape.turn(state.turn) {
            return self.count(state, turn).await;
        }
        self.observer.notice(Event::TurnStarted { turn: state.turn });
        let tools = self.tools();
        let left = state.meter.tokens_left().unwrap_or(u64::from(OUTPUT_TOKENS));
        let request = TurnRequest {
            system: &self.system,
            tools: &tools,
            messages: &state.messages,
            max_output_tokens: u32::try_from(left).unwrap_or(u32::MAX).clamp(1, OUTPUT_TOKENS),
        };
        let progress = Watching::new(self.observer.as_ref(), self.dispatcher.redactor());
        let turn = tokio::select! {
            biased;
            cause = self.stop.wait() => return Err(End::stopped(cause)),
            turn = self.model.turn(&request, &progress) => turn,
        };
        progress.finish();
        let turn = match turn {
            Ok(turn) => turn,
            Err(error) => {
                if let ModelError::GaveUp { usage, .. } = &error {
                    // It is billed all the same; the run ends here whatever the meter says.
                    let _ = self.charge(state, usage);
                }
                let message = self.dispatcher.redactor().redact(&error.to_string()).into_owned();
                return Err(End::error(message));
            }
        };
        if let Some(name) = crate::words::secret_in(&turn, self.dispatcher.redactor()) {
            let refusal = Refusal::SecretExposed(name.to_owned());
            self.dispatcher.refuse_turn(state.turn, &refusal).await?;
            return Err(refusal.into());
        }
        let content = turn.blocks.iter().map(|block| block.get()).collect::<Vec<_>>().join(",");
        if let Some(recorder) = &mut self.recorder {
            recorder.append(&turn).map_err(|error| End::error(error.to_string()))?;
        }
        let calls = turn.calls();
        let record = Body::ModelTurn(ModelTurn {
            turn: state.turn,
            content: Some(Digest::of(content.as_bytes())),
            calls: calls.len() as u64,
            stop: first_chars(turn.stop.as_str(), 64).to_owned(),
            input_tokens: turn
                .usage
                .total()
                .saturating_sub(turn.usage.output_tokens)
                .min(MAX_INTEGER),
            output_tokens: turn.usage.output_tokens.min(MAX_INTEGER),
        });
        // Journaled before its first call is dispatched, in one transaction with its record.
        let page = Page::turn(state.turn, &turn).map_err(End::error)?;
        let mut entry = Entry::note(self.dispatcher.held().hold().clone(), record);
        entry.journal = Some(page.to_bytes());
        self.dispatcher.held().commit(entry).await.map_err(Refusal::from)?;
        self.count(state, turn).await
    }

    /// Counts what a turn used, whether it was taken now or before the run was cut off.
    async fn count(&self, state: &mut State, turn: Turn) -> Result<Turn, End> {
        let words = turn.text();
        if !words.is_empty() {
            state.last_words = Some(self.dispatcher.redactor().redact(&words).into_owned());
        }
        // Tries that failed on the way are billed too.
        for usage in [&turn.retried, &turn.usage] {
            if let Err(refusal) = self.charge(state, usage) {
                return Err(self.refuse_all(state, &turn.calls(), refusal).await?);
            }
        }
        Ok(turn)
    }

    /// Records that nothing of a turn is done any more: each of its calls, or the turn itself.
    async fn refuse_all(
        &self,
        state: &State,
        calls: &[RawCall],
        refusal: Refusal,
    ) -> Result<End, Refusal> {
        if calls.is_empty() {
            self.dispatcher.refuse_turn(state.turn, &refusal).await?;
        }
        for (index, call) in (0u64..).zip(calls) {
            self.dispatcher.announce(&call.name, &call.input);
            let site = self.site(state.turn, index);
            self.dispatcher.refuse(&site, &call.name, &call.input, &refusal).await?;
        }
        Ok(refusal.into())
    }

    /// Where a call stands in the run.
    fn site(&self, turn: u64, index: u64) -> CallSite {
        CallSite { run: self.dispatcher.run().clone(), turn, index, part: Part::Call }
    }

    fn charge(&self, state: &mut State, usage: &Usage) -> Result<(), Refusal> {
        let cost = self.model.price().map_or(0, |price: Price| price.cost(usage));
        state.meter.usage(usage.total(), cost)
    }

    /// What to do with an answer that calls nothing: `true` when the model is done.
    fn rest_or_go_on(&self, state: &mut State, turn: Turn) -> Result<bool, End> {
        let go_on = match turn.stop {
            ModelStop::EndTurn | ModelStop::StopSequence | ModelStop::ToolUse => return Ok(true),
            ModelStop::Refusal => return Err(End::error("the model refused to answer")),
            // The API asks for the same conversation again, with the paused turn in it.
            ModelStop::PauseTurn => None,
            ModelStop::MaxTokens => {
                Some("Your answer was cut at the output limit; go on from there.")
            }
            ModelStop::Other(why) => {
                return Err(End::error(format!("the model stopped for an unknown reason: {why}")));
            }
        };
        state.continued += 1;
        if state.continued > CONTINUATIONS {
            return Err(End::error(format!(
                "the model did not come to an end in {CONTINUATIONS} continued answers"
            )));
        }
        self.keep(state, Message::Assistant(turn.blocks));
        if let Some(text) = go_on {
            self.keep(state, Message::User(vec![UserBlock::Text(text.to_owned())]));
        }
        Ok(false)
    }

    /// A recording answers the same whatever was said, so nothing is kept for it.
    fn keep(&self, state: &mut State, message: Message) {
        if self.model.wants_history() {
            state.messages.push(message);
        }
    }

    /// Carries out the calls of one turn, one after the other in the model's order. The first ones
    /// are made while there are steps; the others are refused, and then the run ends.
    async fn carry_out(
        &mut self,
        state: &mut State,
        calls: Vec<RawCall>,
        rationale: &str,
    ) -> Result<Vec<UserBlock>, End> {
        let mut answers = Vec::with_capacity(calls.len());
        let mut end = None;
        for (index, call) in (0u64..).zip(calls) {
            let site = self.site(state.turn, index);
            let refusal = match (&end, self.stop.requested()) {
                (None, Some(cause)) => {
                    end = Some(End::stopped(cause));
                    Some(Refusal::Stopped)
                }
                (Some(_), _) => Some(match state.meter.step() {
                    Err(refusal) => refusal,
                    Ok(()) => Refusal::Stopped,
                }),
                (None, None) => state.meter.step().err(),
            };
            if let Some(refusal) = refusal {
                self.dispatcher.announce(&call.name, &call.input);
                self.dispatcher.refuse(&site, &call.name, &call.input, &refusal).await?;
                end.get_or_insert_with(|| refusal.clone().into());
                continue;
            }
            if let Some((content, failed)) = self.tape.result(state.turn, index) {
                answers.push(answer(&call, content, failed));
                continue;
            }
            let (content, failed) = match self.made_before(&site).await {
                Ok(Some(told)) => told,
                Ok(None) => match self.call(site, &call, rationale).await {
                    Ok(told) => told,
                    // The calls that are left could not be recorded either.
                    Err(refusal) if refusal.is_without_ledger() => return Err(refusal.into()),
                    Err(refusal) if refusal.ends_the_run() => {
                        end.get_or_insert_with(|| match self.stop.requested() {
                            Some(cause) => End::stopped(cause),
                            None => refusal.into(),
                        });
                        continue;
                    }
                    Err(refusal) => (refusal.to_string(), true),
                },
                Err(error) => return Err(Refusal::from(error).into()),
            };
            let (turn, text) = (state.turn, content.clone());
            let page = Page::Result { turn, index, content: text, failed };
            let entry = Entry::journal(self.dispatcher.held().hold().clone(), page.to_bytes());
            self.dispatcher.ledger().commit(entry).await.map_err(Refusal::from)?;
            answers.push(answer(&call, content, failed));
        }
        match end {
            Some(end) => Err(end),
            None => Ok(answers),
        }
    }

    /// What became of a call that was made before the run was cut off, and of which the model never
    /// heard. It is never made again.
    async fn made_before(&self, site: &CallSite) -> Result<Option<(String, bool)>, LedgerError> {
        if !self.tape.reaches(site.turn) {
            return Ok(None);
        }
        let Some(found) = self.dispatcher.held().attempt(&AttemptId::at(site)).await? else {
            return Ok(None);
        };
        // Its deployment may have failed, and its way back not have been begun.
        self.dispatcher.go_back(&found, site).await?;
        Ok(told_later(&found))
    }

    /// One call: the runtime's own tools, or the one path. Says what happened, and whether that is
    /// anything else than a success.
    async fn call(
        &self,
        site: CallSite,
        call: &RawCall,
        rationale: &str,
    ) -> Result<(String, bool), Refusal> {
        if let Some(why) = &call.malformed {
            self.dispatcher.announce(&call.name, &call.input);
            let refusal = Refusal::InvalidInput(why.clone());
            self.dispatcher.refuse(&site, &call.name, &call.input, &refusal).await?;
            return Err(refusal);
        }
        if let Some(result) = self.negotiator.call(&self.dispatcher, &site, call).await {
            return result.map(|text| (text, false));
        }
        let rationale = (!rationale.is_empty()).then(|| rationale.to_owned());
        let proof = self
            .dispatcher
            .dispatch(ToolCall {
                site,
                tool: call.name.clone(),
                input: call.input.clone(),
                rationale,
            })
            .await?;
        Ok(told(&proof))
    }

    fn tools(&self) -> Vec<ToolDefinition> {
        let mut tools = self.dispatcher.capabilities().tool_definitions();
        tools.extend(self.negotiator.tool_definitions());
        tools
    }
}

fn answer(call: &RawCall, content: String, is_error: bool) -> UserBlock {
    UserBlock::ToolResult { tool_use_id: call.id.clone(), content, is_error }
}
