//! What a model answers: content blocks of the Messages API, kept as the exact JSON that arrived
//! and echoed unchanged, block types that we do not know included.

use std::collections::{HashMap, HashSet};

use lar_core::display::visible;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::object::Object;
use super::usage::Usage;

/// The most content blocks of one turn: far more than services send, few enough that no input
/// makes the work on them slow.
pub(super) const MAX_BLOCKS: usize = 4096;

/// Why the model stopped, by the Messages API's `stop_reason`
/// (platform.claude.com, "Stop reasons and fallback").
///
/// How a loop goes on: if [`Turn::calls`] is not empty, answer every call in one user message,
/// whatever the reason. Without calls, the reason decides, as each variant says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// The model is done: the run is complete.
    EndTurn,
    /// The model waits for the results of its calls.
    ToolUse,
    /// The output limit cut the turn. A call that stands last is incomplete and comes out
    /// malformed. Without calls: go on with a user message that asks to continue, or end.
    MaxTokens,
    /// The model declined. What it wrote before is not to be used: no call comes out. End the run.
    Refusal,
    /// A loop on the service's side paused. Send the turn's blocks back as the last message, with
    /// no user message after it, and ask again.
    PauseTurn,
    /// A stop sequence was met; we send none. Like [`Stop::EndTurn`].
    StopSequence,
    /// A reason that this version does not know, such as `model_context_window_exceeded`. Treat
    /// the text as cut short and end the run in error.
    Other(String),
}

impl Stop {
    /// The API's word.
    pub fn as_str(&self) -> &str {
        match self {
            Self::EndTurn => "end_turn",
            Self::ToolUse => "tool_use",
            Self::MaxTokens => "max_tokens",
            Self::Refusal => "refusal",
            Self::PauseTurn => "pause_turn",
            Self::StopSequence => "stop_sequence",
            Self::Other(word) => word,
        }
    }

    fn from_word(word: &str) -> Self {
        match word {
            "end_turn" => Self::EndTurn,
            "tool_use" => Self::ToolUse,
            "max_tokens" => Self::MaxTokens,
            "refusal" => Self::Refusal,
            "pause_turn" => Self::PauseTurn,
            "stop_sequence" => Self::StopSequence,
            other => Self::Other(visible(other, 64)),
        }
    }

    fn cuts_the_last_block(&self) -> bool {
        *self == Self::MaxTokens || self.as_str() == "model_context_window_exceeded"
    }
}

/// A call as the model wrote it. Every field is hostile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawCall {
    /// To be named in the [`UserBlock::ToolResult`].
    pub id: String,
    /// The tool, known or not.
    pub name: String,
    /// The input's exact JSON text; of a malformed call, what the model sent instead.
    pub input: String,
    /// Why the input can't be used: it is no JSON object, or was cut off. Refuse the call with
    /// this reason and go on; the echoed block holds `{}`, which the API accepts.
    pub malformed: Option<String>,
}

/// A tool input that is no JSON object, kept beside the block in which `{}` stands for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Malformed {
    /// Which call.
    pub tool_use_id: String,
    /// The exact text.
    pub input: String,
    /// What is wrong with it.
    pub why: String,
}

/// A response that no turn can be made of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidTurn(pub(super) String);

impl InvalidTurn {
    fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

impl From<serde_json::Error> for InvalidTurn {
    fn from(error: serde_json::Error) -> Self {
        Self(format!("it is not the expected JSON: {error}"))
    }
}

/// One turn of the model.
#[derive(Debug, Clone)]
pub struct Turn {
    /// The content blocks, each the exact JSON; to be echoed as [`Message::Assistant`]. Empty
    /// only after [`Stop::Refusal`].
    pub blocks: Vec<Box<RawValue>>,
    /// Why the model stopped.
    pub stop: Stop,
    /// What this answer used.
    pub usage: Usage,
    /// What failed attempts before this answer reported as used; billed as well, as far as known.
    pub retried: Usage,
    /// Inputs that are no JSON objects.
    pub malformed: Vec<Malformed>,
    /// The rest of the response (`id`, `model`, …), for the record.
    envelope: Object,
}

impl Turn {
    /// The model's calls in order. See [`Stop`] for how calls and stop reasons go together.
    pub fn calls(&self) -> Vec<RawCall> {
        if self.stop == Stop::Refusal {
            return Vec::new();
        }
        let last = self.blocks.len().saturating_sub(1);
        let malformed = self.malformed.iter();
        let malformed: HashMap<&str, &Malformed> =
            malformed.map(|kept| (kept.tool_use_id.as_str(), kept)).collect();
        let calls = self.blocks.iter().enumerate().filter_map(|(at, block)| {
            let block: ToolUse<'_> = serde_json::from_str(block.get()).ok()?;
            if block.kind != "tool_use" {
                return None;
            }
            let (id, name) = (block.id?, block.name?);
            let (input, mut malformed) = match malformed.get(id.as_str()) {
                Some(kept) => (kept.input.clone(), Some(kept.why.clone())),
                None => (block.input?.get().to_owned(), None),
            };
            if at == last && self.stop.cuts_the_last_block() {
                malformed = Some(format!(
                    "the call was cut off by the output limit (`{}`)",
                    self.stop.as_str()
                ));
            }
            Some(RawCall { id, name, input, malformed })
        });
        calls.collect()
    }

    /// The text blocks, joined.
    pub fn text(&self) -> String {
        #[derive(Deserialize)]
        struct Text {
            #[serde(rename = "type")]
            kind: String,
            text: Option<String>,
        }
        let texts = self.blocks.iter().filter_map(|block| {
            let block: Text = serde_json::from_str(block.get()).ok()?;
            block.text.filter(|_| block.kind == "text")
        });
        texts.collect()
    }

    /// This turn as one line of a replay file: a Messages API response, with the member
    /// `malformed_inputs` added where there are any.
    pub fn to_record(&self) -> Result<String, InvalidTurn> {
        let mut record = self.envelope.clone();
        record.set("content", &self.blocks)?;
        record.set("stop_reason", &self.stop.as_str())?;
        let mut usage: Object = record.get("usage").unwrap_or_default();
        usage.merge(serde_json::from_str(&serde_json::to_string(&self.usage.wire())?)?);
        record.set("usage", &usage)?;
        if !self.malformed.is_empty() {
            record.set("malformed_inputs", &self.malformed)?;
        }
        // Raw values may hold line breaks, but only between tokens: JSON strings escape theirs.
        Ok(serde_json::to_string(&record)?.replace(['\n', '\r'], " "))
    }

    /// Reads what [`Turn::to_record`] wrote, or a recorded Messages API response. A missing
    /// `usage` counts as nothing used.
    pub fn from_record(line: &str) -> Result<Self, InvalidTurn> {
        let mut record: Object = serde_json::from_str(line)?;
        let malformed = match record.raw("malformed_inputs") {
            Some(raw) => serde_json::from_str(raw.get())?,
            None => Vec::new(),
        };
        record.remove("malformed_inputs");
        let missing = record.raw("usage").is_none();
        let mut turn = Self::build(record, malformed)?;
        if missing {
            turn.usage = Usage::default();
        }
        Ok(turn)
    }

    /// Makes a turn of a whole Messages API response; every provider ends here. `malformed` are
    /// the inputs that were already replaced. Missing usage is estimated from the content, so a
    /// provider that knows the size of its request replaces it.
    pub(super) fn build(
        response: Object,
        mut malformed: Vec<Malformed>,
    ) -> Result<Self, InvalidTurn> {
        let Some(content) = response.raw("content") else {
            return Err(InvalidTurn::new("the response has no `content`"));
        };
        let content: Vec<Box<RawValue>> = serde_json::from_str(content.get())
            .map_err(|_| InvalidTurn::new("the response's `content` is not a list"))?;
        if content.len() > MAX_BLOCKS {
            return Err(InvalidTurn(format!(
                "the response has more than {MAX_BLOCKS} content blocks"
            )));
        }
        let received = content.iter().map(|block| block.get().len()).sum();
        let stop: String = response
            .get("stop_reason")
            .ok_or_else(|| InvalidTurn::new("the response has no `stop_reason`"))?;
        let stop = Stop::from_word(&stop);
        let mut ids = HashSet::new();
        let mut blocks = Vec::with_capacity(content.len());
        for (at, raw) in content.into_iter().enumerate() {
            if let Some(block) = check_block(at, raw, &mut ids, &mut malformed)? {
                blocks.push(block);
            }
        }
        if blocks.is_empty() && stop != Stop::Refusal {
            return Err(InvalidTurn(format!(
                "the content list is empty (stop reason `{}`)",
                stop.as_str()
            )));
        }
        if stop == Stop::ToolUse && ids.is_empty() {
            return Err(InvalidTurn::new("it stopped for a call but holds none"));
        }
        malformed.retain(|kept| ids.contains(&kept.tool_use_id));
        Ok(Self {
            blocks,
            stop,
            usage: response
                .raw("usage")
                .and_then(Usage::read)
                .unwrap_or_else(|| Usage::estimate(0, received)),
            retried: Usage::default(),
            malformed,
            envelope: response,
        })
    }
}

/// A call's members, as far as they are there.
#[derive(Deserialize)]
pub(super) struct ToolUse<'a> {
    #[serde(rename = "type")]
    pub kind: String,
    pub id: Option<String>,
    name: Option<String>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
}

/// Why this text can't be a tool input, if it can't. Parsing to a value is stricter than keeping
/// the text raw: it refuses lone surrogates, numbers out of range and nesting beyond 127 levels,
/// all of which services refuse when they are echoed.
pub(super) fn input_fault(text: &str) -> Option<String> {
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(serde_json::Value::Object(_)) => None,
        Ok(_) => Some("the tool input is not a JSON object".to_owned()),
        Err(error) => Some(format!("the tool input is not valid JSON: {error}")),
    }
}

/// One block as it may be echoed, or `None` for an empty text, which says nothing and which the
/// API refuses to read back.
fn check_block(
    at: usize,
    raw: Box<RawValue>,
    ids: &mut HashSet<String>,
    malformed: &mut Vec<Malformed>,
) -> Result<Option<Box<RawValue>>, InvalidTurn> {
    let mut block: Object = serde_json::from_str(raw.get())
        .map_err(|error| InvalidTurn(format!("content block {at} can't be read: {error}")))?;
    let Some(kind) = block.get::<String>("type") else {
        return Err(InvalidTurn(format!("content block {at} has no `type`")));
    };
    match kind.as_str() {
        "text" => match block.get::<String>("text") {
            None => Err(InvalidTurn(format!("content block {at} is a text without `text`"))),
            Some(text) if text.is_empty() => Ok(None),
            Some(_) => Ok(Some(raw)),
        },
        "tool_use" => {
            let named = |key| {
                let value = block.get::<String>(key);
                value.filter(|value| !value.is_empty() && value.len() <= 1024)
            };
            let (Some(id), Some(_)) = (named("id"), named("name")) else {
                return Err(InvalidTurn(format!(
                    "content block {at} is a call without a usable `id` and `name`"
                )));
            };
            if !ids.insert(id.clone()) {
                return Err(InvalidTurn(format!("two calls share the id `{}`", visible(&id, 64))));
            }
            let input = block.raw("input").map_or("{}", RawValue::get);
            let fault = input_fault(input);
            if fault.is_none() && block.raw("input").is_some() {
                return Ok(Some(raw));
            }
            if let Some(why) = fault {
                malformed.push(Malformed { tool_use_id: id, input: input.to_owned(), why });
            }
            block.set("input", &serde_json::Map::new())?;
            Ok(Some(block.to_raw()?))
        }
        _ => Ok(Some(raw)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Turn, InvalidTurn> {
        Turn::from_record(text)
    }

    #[test]
    fn blocks_are_kept_to_the_byte_and_come_back_from_the_record() {
        let unknown = r#"{"type":"brand_new","z":1.50,"a":"\u00e9","nested":{"b":1,"a":2}}"#;
        let call =
            r#"{"type":"tool_use","id":"t1","name":"x","input":{ "b" : 1.0, "a":"\u0041" }}"#;
        let line = format!(
            r#"{{"id":"msg_1","content":[{unknown},{{"type":"text","text":""}},{call}],"stop_reason":"tool_use","usage":{{"input_tokens":3,"output_tokens":4,"cache_read_input_tokens":5,"service_tier":"x"}}}}"#
        );
        let turn = read(&line).unwrap();
        assert_eq!(turn.blocks.len(), 2);
        assert_eq!(turn.blocks[0].get(), unknown);
        assert_eq!(turn.blocks[1].get(), call);
        assert_eq!(turn.calls()[0].input, r#"{ "b" : 1.0, "a":"\u0041" }"#);
        assert_eq!(turn.usage.total(), 12);
        let record = turn.to_record().unwrap();
        assert!(record.contains("msg_1") && record.contains("service_tier"));
        let again = read(&record).unwrap();
        assert_eq!(again.blocks[1].get(), call);
        assert_eq!(again.usage, turn.usage);
        assert_eq!(again.to_record().unwrap(), record);
    }

    #[test]
    fn a_pretty_printed_response_records_as_one_line() {
        let text = "{\"content\":[{\n\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"n\",\n\"input\":{\r\n}}],\"stop_reason\":\"tool_use\"}";
        let record = read(text).unwrap().to_record().unwrap();
        assert!(!record.contains(['\n', '\r']), "{record}");
        assert_eq!(read(&record).unwrap().calls().len(), 1);
    }

    #[test]
    fn an_input_that_is_no_object_is_kept_apart_and_echoed_empty() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
        for bad in ["[1]", "\"text\"", "null", r#"{"a":"\ud800"}"#, r#"{"a":1e999}"#, &deep] {
            let turn = read(&format!(
                r#"{{"content":[{{"type":"tool_use","id":"t","name":"n","input":{bad}}}],"stop_reason":"tool_use"}}"#
            ))
            .unwrap();
            assert!(turn.blocks[0].get().ends_with(r#""input":{}}"#), "{bad}");
            let call = turn.calls().remove(0);
            assert_eq!(call.input, bad);
            assert!(call.malformed.is_some());
            let again = read(&turn.to_record().unwrap()).unwrap();
            assert_eq!(again.calls(), turn.calls());
        }
    }

    #[test]
    fn what_no_turn_can_be_made_of_says_what_is_wrong() {
        let call = r#"{"type":"tool_use","id":"t","name":"n","input":{}}"#;
        for (bad, says) in [
            (
                r#"{"content":[{"type":"text","text":"x"}],"stop_reason":"tool_use"}"#.to_owned(),
                "holds none",
            ),
            (r#"{"stop_reason":"end_turn"}"#.to_owned(), "no `content`"),
            (r#"{"content":[],"stop_reason":"end_turn"}"#.to_owned(), "content list is empty"),
            (
                r#"{"content":[{"type":"text","text":""}],"stop_reason":"end_turn"}"#.to_owned(),
                "content list is empty",
            ),
            (
                format!(r#"{{"content":[{call},{call}],"stop_reason":"tool_use"}}"#),
                "share the id `t`",
            ),
            (format!(r#"{{"content":[{call}],"stop_reason":null}}"#), "no `stop_reason`"),
            (
                r#"{"content":[{"text":"x"}],"stop_reason":"end_turn"}"#.to_owned(),
                "block 0 has no `type`",
            ),
            (
                r#"{"content":[{"type":"tool_use","id":"","name":"n"}],"stop_reason":"tool_use"}"#
                    .to_owned(),
                "without a usable `id`",
            ),
            ("nonsense".to_owned(), "not the expected JSON"),
        ] {
            let error = read(&bad).unwrap_err().to_string();
            assert!(error.contains(says), "{bad}: {error}");
        }
        let refused = read(r#"{"content":[],"stop_reason":"refusal"}"#).unwrap();
        assert_eq!(refused.stop, Stop::Refusal);
    }

    #[test]
    fn a_call_cut_by_the_limit_never_comes_out_as_complete() {
        for (stop, malformed) in [
            ("max_tokens", [false, true]),
            ("model_context_window_exceeded", [false, true]),
            ("tool_use", [false, false]),
        ] {
            let turn = read(&format!(
                r#"{{"content":[{{"type":"tool_use","id":"a","name":"n","input":{{}}}},{{"type":"tool_use","id":"b","name":"n","input":{{}}}}],"stop_reason":"{stop}"}}"#
            ))
            .unwrap();
            let found: Vec<bool> = turn.calls().iter().map(|c| c.malformed.is_some()).collect();
            assert_eq!(found, malformed, "{stop}");
        }
        let refused = read(r#"{"content":[{"type":"tool_use","id":"a","name":"n","input":{}}],"stop_reason":"refusal"}"#).unwrap();
        assert!(refused.calls().is_empty());
    }
}
