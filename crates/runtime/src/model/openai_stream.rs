//! Puts a chat completion together, streamed or whole, and turns it into Messages-shaped blocks.
//!
//! Endpoints differ: some leave out a call's `index` or `id`, send whole calls in one piece, give
//! `arguments` as an object, reuse ids from turn to turn, or never report usage. All of that is
//! borne here; what is not borne is an answer without a `finish_reason`, because it may be cut.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

use super::Progress;
use super::object::Object;
use super::service_error::ServiceError;
use super::turn::{InvalidTurn, MAX_BLOCKS, Malformed, Turn, input_fault};
use super::usage::Usage;

/// Why an answer can't be followed further.
#[derive(Debug)]
pub(super) enum ChunkFault {
    /// It is not what the API documents.
    Invalid(InvalidTurn),
    /// The service reported an error.
    Reported(ServiceError),
}

/// The completion so far.
#[derive(Default)]
pub(super) struct Completion {
    id: Option<String>,
    model: Option<String>,
    text: String,
    refusal: String,
    calls: Vec<Call>,
    finish: Option<String>,
    usage: Option<Usage>,
    received: usize,
}

#[derive(Default)]
struct Call {
    index: Option<u64>,
    id: String,
    name: String,
    arguments: String,
}

#[derive(Deserialize)]
struct Chunk {
    id: Option<String>,
    model: Option<String>,
    #[serde(default)]
    choices: Option<Vec<Choice>>,
    usage: Option<WireUsage>,
    error: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: u64,
    /// In a stream.
    delta: Option<Delta>,
    /// In a whole answer.
    message: Option<Delta>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    content: Option<String>,
    refusal: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<CallDelta>>,
}

#[derive(Deserialize)]
struct CallDelta {
    index: Option<u64>,
    id: Option<String>,
    function: Option<FunctionDelta>,
}

#[derive(Deserialize)]
struct FunctionDelta {
    name: Option<String>,
    arguments: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct WireUsage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<PromptDetails>,
}

#[derive(Deserialize)]
struct PromptDetails {
    cached_tokens: Option<u64>,
}

impl Completion {
    /// Takes one event's data, or a whole answer's body; true at the stream's end mark.
    pub(super) fn take(&mut self, data: &str, progress: &dyn Progress) -> Result<bool, ChunkFault> {
        if data.trim() == "[DONE]" {
            return Ok(true);
        }
        self.received += data.len();
        let chunk: Chunk =
            serde_json::from_str(data).map_err(|error| ChunkFault::Invalid(error.into()))?;
        if let Some(error) = chunk.error.filter(|error| !error.is_null()) {
            return Err(ChunkFault::Reported(ServiceError::of(&error)));
        }
        self.id = chunk.id.or(self.id.take());
        self.model = chunk.model.or(self.model.take());
        if let Some(usage) = chunk.usage {
            self.usage = usage.read().or(self.usage);
        }
        let choices = chunk.choices.unwrap_or_default();
        for choice in choices.into_iter().filter(|choice| choice.index == 0) {
            self.finish = choice.finish_reason.or(self.finish.take());
            if let Some(delta) = choice.delta.or(choice.message) {
                self.add(delta, progress);
            }
        }
        Ok(false)
    }

    /// What was reported as used so far.
    pub(super) fn used(&self) -> Usage {
        self.usage.unwrap_or_default()
    }

    /// The turn. `sent` is the size of the request, for an estimate where no usage came; `taken`
    /// are the call ids of the conversation so far.
    pub(super) fn finish(self, sent: usize, taken: &HashSet<String>) -> Result<Turn, InvalidTurn> {
        let Some(finish) = self.finish else {
            return Err(InvalidTurn(
                "it ended before a `finish_reason`, so it may be cut".to_owned(),
            ));
        };
        let refused = !self.refusal.is_empty();
        let stop = match finish.as_str() {
            _ if refused => "refusal",
            "stop" if self.calls.is_empty() => "end_turn",
            "stop" | "tool_calls" | "function_call" => "tool_use",
            "length" => "max_tokens",
            "content_filter" => "refusal",
            other => other,
        };
        let text = self.text + &self.refusal;
        let mut blocks = Vec::with_capacity(self.calls.len() + 1);
        if !text.is_empty() {
            blocks.push(to_raw_value(&json!({"type": "text", "text": text}))?);
        }
        let mut malformed = Vec::new();
        let mut ids = taken.clone();
        for call in self.calls {
            blocks.push(call.block(&mut ids, &mut malformed)?);
        }
        let mut message = Object::default();
        message.set("id", &self.id)?;
        message.set("type", &"message")?;
        message.set("role", &"assistant")?;
        message.set("model", &self.model)?;
        message.set("content", &blocks)?;
        message.set("stop_reason", &stop)?;
        let mut turn = Turn::build(message, malformed)?;
        turn.usage = match self.usage {
            Some(usage) => usage,
            None => Usage::estimate(sent, self.received),
        };
        Ok(turn)
    }

    fn add(&mut self, delta: Delta, progress: &dyn Progress) {
        if let Some(text) = delta.content.filter(|text| !text.is_empty()) {
            progress.text(&text);
            self.text.push_str(&text);
        }
        self.refusal.push_str(&delta.refusal.unwrap_or_default());
        for piece in delta.tool_calls.unwrap_or_default() {
            self.add_call(piece, progress);
        }
    }

    fn add_call(&mut self, piece: CallDelta, progress: &dyn Progress) {
        let id = piece.id.unwrap_or_default();
        let (name, arguments) = match piece.function {
            Some(function) => (
                function.name.unwrap_or_default(),
                function.arguments.map(|raw| argument_text(&raw)).unwrap_or_default(),
            ),
            None => Default::default(),
        };
        // A name under a fresh id begins a call even where the index says otherwise: some
        // endpoints give every call of a turn the index 0, or none.
        let begins = |call: &Call| !name.is_empty() && !id.is_empty() && call.id != id;
        let belongs = |call: &&mut Call| match piece.index {
            Some(index) => call.index == Some(index) && !begins(call),
            None if !id.is_empty() => call.id == id,
            None => name.is_empty(),
        };
        let full = self.calls.len() > MAX_BLOCKS;
        match self.calls.iter_mut().rev().find(belongs) {
            Some(call) => {
                if call.name.is_empty() {
                    call.name = name;
                }
                if call.id.is_empty() {
                    call.id = id;
                }
                call.arguments.push_str(&arguments);
            }
            // What goes beyond the bound is dropped, and `Turn::build` refuses the rest.
            None if full => {}
            None => {
                progress.tool_started(&name);
                self.calls.push(Call { index: piece.index, id, name, arguments });
            }
        }
    }
}

impl Call {
    /// The call as a `tool_use` block, with an id that the conversation has not seen.
    fn block(
        self,
        ids: &mut HashSet<String>,
        malformed: &mut Vec<Malformed>,
    ) -> Result<Box<RawValue>, InvalidTurn> {
        let mut id = self.id;
        while id.is_empty() || ids.contains(&id) {
            id = fresh_id();
        }
        ids.insert(id.clone());
        let mut block = Object::default();
        block.set("type", &"tool_use")?;
        block.set("id", &id)?;
        block.set("name", &self.name)?;
        let input = match self.arguments.trim() {
            "" | "null" => "{}".to_owned(),
            _ => self.arguments,
        };
        match input_fault(&input) {
            None => block.set_raw("input", RawValue::from_string(input.trim().to_owned())?),
            Some(why) => {
                block.set("input", &serde_json::Map::new())?;
                malformed.push(Malformed { tool_use_id: id, input, why });
            }
        }
        Ok(block.to_raw()?)
    }
}

impl WireUsage {
    fn read(&self) -> Option<Usage> {
        let prompt = self.prompt_tokens?;
        let details = self.prompt_tokens_details.as_ref();
        let cached = details.and_then(|details| details.cached_tokens);
        let cached = cached.unwrap_or(0).min(prompt);
        Some(Usage {
            input_tokens: prompt - cached,
            output_tokens: self.completion_tokens?,
            cache_read: cached,
            cache_write: 0,
            estimated: false,
        })
    }
}

/// `arguments` is a string that holds JSON; some endpoints give the JSON itself.
fn argument_text(raw: &RawValue) -> String {
    match serde_json::from_str::<Option<String>>(raw.get()) {
        Ok(text) => text.unwrap_or_default(),
        Err(_) => raw.get().to_owned(),
    }
}

/// Unique within the conversation is all that is needed; the caller looks. Where the system gives
/// no randomness, a counter serves.
fn fresh_id() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("call_{:016x}", getrandom::u64().unwrap_or(count))
}

#[cfg(test)]
mod tests {
    use super::super::Silent;
    use super::super::turn::Stop;
    use super::*;

    fn run(chunks: &[&str]) -> Result<Turn, InvalidTurn> {
        let mut completion = Completion::default();
        for chunk in chunks {
            if completion.take(chunk, &Silent).unwrap() {
                break;
            }
        }
        completion.finish(300, &HashSet::from(["used".to_owned()]))
    }

    fn calls(turn: &Turn) -> Vec<(String, String)> {
        let calls = turn.calls().into_iter();
        calls.map(|call| (call.name, call.input)).collect()
    }

    #[test]
    fn text_and_interleaved_calls_with_usage() {
        let turn = run(&[
            r#"{"id":"x","model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"He"}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"llo","tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}]}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"b","function":{"name":"g","arguments":"{\"y\""}}]}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"x\": 1.0}"}}]}}]}"#,
            r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"function":{"arguments":":2}"}}]}}]}"#,
            r#"{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}],"usage":null}"#,
            r#"{"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":4}}}"#,
            "[DONE]",
        ])
        .unwrap();
        assert_eq!(turn.text(), "Hello");
        assert_eq!(
            calls(&turn),
            [("f".into(), r#"{"x": 1.0}"#.into()), ("g".into(), r#"{"y":2}"#.into())]
        );
        assert_eq!(turn.stop, Stop::ToolUse);
        let usage = turn.usage;
        assert_eq!((usage.input_tokens, usage.cache_read, usage.output_tokens), (6, 4, 5));
        assert!(turn.to_record().unwrap().contains(r#""model":"m""#));
    }

    #[test]
    fn what_compatible_endpoints_do_otherwise_is_borne() {
        // Whole calls, no index, no id, arguments as an object, finish "stop", no usage.
        let turn = run(&[
            r#"{"choices":[{"delta":{"tool_calls":[{"function":{"name":"f","arguments":{"a":1}}}]}}]}"#,
            r#"{"choices":[{"delta":{"tool_calls":[{"function":{"name":"f","arguments":null}},{"function":{"name":"g"}}]},"finish_reason":"stop"}]}"#,
        ])
        .unwrap();
        assert_eq!(
            calls(&turn),
            [
                ("f".into(), r#"{"a":1}"#.into()),
                ("f".into(), "{}".into()),
                ("g".into(), "{}".into())
            ]
        );
        assert_eq!(turn.stop, Stop::ToolUse);
        assert!(turn.usage.estimated && turn.usage.input_tokens == 100);
        let ids: HashSet<String> = turn.calls().into_iter().map(|call| call.id).collect();
        assert_eq!(ids.len(), 3);

        // The same index for two calls, and an id that stood in an earlier turn.
        let turn = run(&[
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"used","function":{"name":"f","arguments":"{"}}]}}]}"#,
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"}"}}]}}]}"#,
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"b","function":{"name":"g","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}"#,
        ])
        .unwrap();
        assert_eq!(calls(&turn), [("f".into(), "{}".into()), ("g".into(), "{}".into())]);
        assert_ne!(turn.calls()[0].id, "used");

        // A whole answer instead of a stream.
        let turn = run(&[
            r#"{"choices":[{"index":0,"message":{"content":"hi","tool_calls":null},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#,
        ])
        .unwrap();
        assert_eq!((turn.text(), turn.stop), ("hi".into(), Stop::EndTurn));
    }

    #[test]
    fn finish_reasons_map_and_a_missing_one_is_a_cut() {
        for (reason, stop) in [
            ("length", Stop::MaxTokens),
            ("content_filter", Stop::Refusal),
            ("odd", Stop::Other("odd".into())),
        ] {
            let chunk = format!(
                r#"{{"choices":[{{"delta":{{"content":"x"}},"finish_reason":"{reason}"}}]}}"#
            );
            assert_eq!(run(&[&chunk]).unwrap().stop, stop);
        }
        let refused = r#"{"choices":[{"delta":{"refusal":"no"},"finish_reason":"stop"}]}"#;
        let refused = run(&[refused]).unwrap();
        assert_eq!((refused.text(), refused.stop), ("no".into(), Stop::Refusal));
        let cut = run(&[r#"{"choices":[{"delta":{"content":"x"}}]}"#]).unwrap_err();
        assert!(cut.to_string().contains("may be cut"));
        let empty = r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#;
        assert!(run(&[empty]).unwrap_err().to_string().contains("empty"));
    }

    #[test]
    fn bad_arguments_are_malformed_calls() {
        let turn = run(&[
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\":"}}]},"finish_reason":"tool_calls"}]}"#,
        ])
        .unwrap();
        assert!(turn.blocks[0].get().ends_with(r#""input":{}}"#));
        assert_eq!(turn.calls()[0].input, r#"{"x":"#);
        assert!(turn.calls()[0].malformed.is_some());
    }
}
