//! Puts a streamed Messages API response together again, block by block, so that what is echoed
//! later is what the service would have sent whole (platform.claude.com, "Streaming messages").
//!
//! This is a pure state machine: events go in, a [`Turn`] comes out.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Progress;
use super::object::Object;
use super::service_error::ServiceError;
use super::turn::{InvalidTurn, Malformed, Turn, input_fault};
use super::usage::Usage;

/// Errors inside a stream that asking again doesn't cure; all others are taken to pass.
pub(super) const FINAL_ERRORS: &[&str] = &[
    "invalid_request_error",
    "authentication_error",
    "billing_error",
    "permission_error",
    "not_found_error",
    "request_too_large",
];

/// Why a stream can't be followed further.
#[derive(Debug)]
pub(super) enum StreamFault {
    /// It breaks the protocol.
    Invalid(InvalidTurn),
    /// A delta of a type that this version can't apply; only a whole answer is exact then.
    UnknownDelta,
    /// The service reported an error.
    Reported { kind: String, message: String },
}

/// The response so far.
#[derive(Default)]
pub(super) struct Assembler {
    message: Option<Object>,
    usage: Object,
    blocks: BTreeMap<u64, Block>,
    stopped: bool,
}

/// A block that is being built. Deltas are collected apart and put in when it stops, so that a
/// long block costs linear time.
struct Block {
    object: Object,
    kind: String,
    /// Text that grows, by the member it belongs to: `text` or `thinking`.
    growing: BTreeMap<&'static str, String>,
    citations: Vec<Box<RawValue>>,
    input: String,
    malformed: Option<Malformed>,
    open: bool,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    index: Option<u64>,
    message: Option<Object>,
    content_block: Option<Object>,
    delta: Option<Object>,
    usage: Option<Object>,
    error: Option<serde_json::Value>,
}

impl Assembler {
    /// Takes one event's data; true when the message is complete.
    pub(super) fn event(
        &mut self,
        data: &str,
        progress: &dyn Progress,
    ) -> Result<bool, StreamFault> {
        let event: Event = serde_json::from_str(data)
            .map_err(|error| invalid(format!("an event is not valid JSON: {error}")))?;
        match event.kind.as_str() {
            "message_start" => self.start(event)?,
            "content_block_start" => self.block_start(event, progress)?,
            "content_block_delta" => self.block_delta(event, progress)?,
            "content_block_stop" => self.block_stop(event)?,
            "message_delta" => self.delta(event)?,
            "message_stop" => {
                self.stopped = true;
                return Ok(true);
            }
            "error" => {
                let error = ServiceError::of(&event.error.unwrap_or_default());
                return Err(StreamFault::Reported { kind: error.kind, message: error.message });
            }
            // `ping`, and types to come: the API asks clients to pass over what they don't know.
            _ => {}
        }
        Ok(false)
    }

    /// What the service reported as used so far; it bills a stream that was cut.
    pub(super) fn used(&self) -> Usage {
        let raw = self.usage.to_raw().ok();
        raw.and_then(|raw| Usage::read(&raw)).unwrap_or_default()
    }

    /// The complete message as a turn.
    pub(super) fn finish(self) -> Result<Turn, InvalidTurn> {
        let Some(mut message) = self.message.filter(|_| self.stopped) else {
            return Err(InvalidTurn("the stream is incomplete".to_owned()));
        };
        let mut content = Vec::with_capacity(self.blocks.len());
        let mut malformed = Vec::new();
        for (at, (index, block)) in self.blocks.into_iter().enumerate() {
            if block.open || index != at as u64 {
                return Err(InvalidTurn(format!(
                    "content block {index} is incomplete or out of place"
                )));
            }
            content.push(block.object.to_raw()?);
            malformed.extend(block.malformed);
        }
        message.set("content", &content)?;
        message.set("usage", &self.usage)?;
        Turn::build(message, malformed)
    }

    fn start(&mut self, event: Event) -> Result<(), StreamFault> {
        let Some(message) = event.message.filter(|_| self.message.is_none()) else {
            return Err(invalid("`message_start` is empty or came twice"));
        };
        self.usage = message.get("usage").unwrap_or_default();
        self.message = Some(message);
        Ok(())
    }

    fn delta(&mut self, event: Event) -> Result<(), StreamFault> {
        let (Some(message), Some(delta)) = (&mut self.message, event.delta) else {
            return Err(invalid("`message_delta` has no place or no content"));
        };
        message.merge(delta);
        // The counts are cumulative, and those that are absent stand as they were.
        self.usage.merge(event.usage.unwrap_or_default());
        Ok(())
    }

    fn block_start(&mut self, event: Event, progress: &dyn Progress) -> Result<(), StreamFault> {
        let (Some(index), Some(object)) = (event.index, event.content_block) else {
            return Err(invalid("`content_block_start` lacks its index or block"));
        };
        if self.message.is_none() || self.blocks.contains_key(&index) {
            return Err(invalid(format!("content block {index} starts out of turn")));
        }
        let kind: String = object.get("type").unwrap_or_default();
        if kind == "tool_use" {
            progress.tool_started(&object.get::<String>("name").unwrap_or_default());
        }
        let block = Block {
            object,
            kind,
            growing: BTreeMap::new(),
            citations: Vec::new(),
            input: String::new(),
            malformed: None,
            open: true,
        };
        self.blocks.insert(index, block);
        Ok(())
    }

    fn block_delta(&mut self, event: Event, progress: &dyn Progress) -> Result<(), StreamFault> {
        let (index, block) = open_block(&mut self.blocks, event.index)?;
        let delta = event.delta.unwrap_or_default();
        let string = |member: &str| {
            delta
                .get::<String>(member)
                .ok_or_else(|| invalid(format!("a delta of content block {index} is empty")))
        };
        match delta.get::<String>("type").as_deref() {
            Some("text_delta") => {
                let text = string("text")?;
                progress.text(&text);
                block.grow("text", &text);
            }
            Some("thinking_delta") => block.grow("thinking", &string("thinking")?),
            Some("input_json_delta") => block.input.push_str(&string("partial_json")?),
            Some("signature_delta") => {
                let signature = string("signature")?;
                block.object.set("signature", &signature).map_err(broken)?;
            }
            Some("citations_delta") => {
                let citation = delta.raw("citation").map(ToOwned::to_owned);
                let citation = citation.ok_or_else(|| invalid("a citation is empty"))?;
                block.citations.push(citation);
            }
            _ => return Err(StreamFault::UnknownDelta),
        }
        Ok(())
    }

    fn block_stop(&mut self, event: Event) -> Result<(), StreamFault> {
        let (_, block) = open_block(&mut self.blocks, event.index)?;
        block.close().map_err(broken)
    }
}

impl Block {
    fn grow(&mut self, member: &'static str, piece: &str) {
        let object = &self.object;
        let start = || object.get::<String>(member).unwrap_or_default();
        self.growing.entry(member).or_insert_with(start).push_str(piece);
    }

    /// Puts the collected deltas into the block.
    fn close(&mut self) -> Result<(), serde_json::Error> {
        self.open = false;
        for (member, text) in std::mem::take(&mut self.growing) {
            self.object.set(member, &text)?;
        }
        if !self.citations.is_empty() {
            let mut citations: Vec<Box<RawValue>> =
                self.object.get("citations").unwrap_or_default();
            citations.append(&mut self.citations);
            self.object.set("citations", &citations)?;
        }
        if self.input.is_empty() {
            return Ok(());
        }
        let input = std::mem::take(&mut self.input);
        match input_fault(&input) {
            None => self.object.set_raw("input", RawValue::from_string(input)?),
            Some(why) => {
                self.object.set("input", &serde_json::Map::new())?;
                self.malformed = (self.kind == "tool_use").then(|| Malformed {
                    tool_use_id: self.object.get("id").unwrap_or_default(),
                    input,
                    why,
                });
            }
        }
        Ok(())
    }
}

fn open_block(
    blocks: &mut BTreeMap<u64, Block>,
    index: Option<u64>,
) -> Result<(u64, &mut Block), StreamFault> {
    let index = index.unwrap_or(u64::MAX);
    match blocks.get_mut(&index) {
        Some(block) if block.open => Ok((index, block)),
        _ => Err(invalid("an event belongs to no open content block")),
    }
}

fn invalid(what: impl Into<String>) -> StreamFault {
    StreamFault::Invalid(InvalidTurn(what.into()))
}

fn broken(error: serde_json::Error) -> StreamFault {
    StreamFault::Invalid(error.into())
}

#[cfg(test)]
mod tests {
    use super::super::Silent;
    use super::super::turn::Stop;
    use super::*;
    use std::sync::Mutex;

    const START: &str = r#"{"type":"message_start","message":{"id":"m1","type":"message","role":"assistant","content":[],"model":"x","stop_reason":null,"usage":{"input_tokens":25,"output_tokens":1,"cache_read_input_tokens":7}}}"#;
    const STOP: &str = r#"{"type":"message_stop"}"#;

    fn end(reason: &str) -> String {
        format!(
            r#"{{"type":"message_delta","delta":{{"stop_reason":"{reason}","stop_sequence":null}},"usage":{{"output_tokens":15,"input_tokens":null}},"context_management":null}}"#
        )
    }

    fn start(index: u64, block: &str) -> String {
        format!(r#"{{"type":"content_block_start","index":{index},"content_block":{block}}}"#)
    }

    fn delta(index: u64, delta: &str) -> String {
        format!(r#"{{"type":"content_block_delta","index":{index},"delta":{delta}}}"#)
    }

    fn stop(index: u64) -> String {
        format!(r#"{{"type":"content_block_stop","index":{index}}}"#)
    }

    fn run(events: &[String]) -> Result<Turn, StreamFault> {
        let mut assembler = Assembler::default();
        for event in events {
            if assembler.event(event, &Silent)? {
                break;
            }
        }
        assembler.finish().map_err(StreamFault::Invalid)
    }

    fn message(middle: &[String], reason: &str) -> Vec<String> {
        let mut events = vec![START.to_owned()];
        events.extend_from_slice(middle);
        events.extend([end(reason), STOP.to_owned()]);
        events
    }

    #[test]
    fn every_block_is_rebuilt_exactly_interleaved_or_not() {
        let turn = run(&message(
            &[
                start(0, r#"{"type":"thinking","thinking":"","signature":""}"#),
                delta(0, r#"{"type":"thinking_delta","thinking":"hm"}"#),
                delta(0, r#"{"type":"signature_delta","signature":"SIG=="}"#),
                stop(0),
                start(1, r#"{"type":"text","text":"","citations":null}"#),
                start(2, r#"{"type":"tool_use","id":"t1","name":"a","input":{}}"#),
                delta(2, r#"{"type":"input_json_delta","partial_json":""}"#),
                delta(1, r#"{"type":"text_delta","text":"Hel"}"#),
                delta(2, r#"{"type":"input_json_delta","partial_json":"{\"x\": 1."}"#),
                r#"{"type":"ping"}"#.to_owned(),
                r#"{"type":"from_the_future","index":9}"#.to_owned(),
                delta(1, r#"{"type":"text_delta","text":"lo\n"}"#),
                delta(1, r#"{"type":"citations_delta","citation":{"k":1.0}}"#),
                delta(2, r#"{"type":"input_json_delta","partial_json":"50}"}"#),
                stop(2),
                stop(1),
                start(3, r#"{"type":"unheard_of","data":{"n":1.0}}"#),
                stop(3),
                start(4, r#"{"type":"tool_use","id":"t2","name":"b","input":{}}"#),
                stop(4),
            ],
            "tool_use",
        ))
        .unwrap();
        let blocks: Vec<&str> = turn.blocks.iter().map(|block| block.get()).collect();
        assert_eq!(
            blocks,
            [
                r#"{"type":"thinking","thinking":"hm","signature":"SIG=="}"#,
                r#"{"type":"text","text":"Hello\n","citations":[{"k":1.0}]}"#,
                r#"{"type":"tool_use","id":"t1","name":"a","input":{"x": 1.50}}"#,
                r#"{"type":"unheard_of","data":{"n":1.0}}"#,
                r#"{"type":"tool_use","id":"t2","name":"b","input":{}}"#,
            ]
        );
        let inputs: Vec<String> = turn.calls().into_iter().map(|call| call.input).collect();
        assert_eq!(inputs, [r#"{"x": 1.50}"#, "{}"]);
        assert_eq!(turn.stop, Stop::ToolUse);
        assert_eq!(turn.text(), "Hello\n");
        let usage = turn.usage;
        assert_eq!((usage.input_tokens, usage.output_tokens, usage.cache_read), (25, 15, 7));
        assert!(turn.to_record().unwrap().contains(r#""id":"m1""#));
    }

    #[test]
    fn a_broken_input_is_a_malformed_call_and_echoes_empty() {
        let turn = run(&message(
            &[
                start(0, r#"{"type":"tool_use","id":"t1","name":"a","input":{}}"#),
                delta(0, r#"{"type":"input_json_delta","partial_json":"{\"x\": "}"#),
                stop(0),
            ],
            "tool_use",
        ))
        .unwrap();
        assert!(turn.blocks[0].get().ends_with(r#""input":{}}"#));
        let call = turn.calls().remove(0);
        assert_eq!(call.input, r#"{"x": "#);
        assert!(call.malformed.unwrap().contains("not valid JSON"));
    }

    #[test]
    fn what_breaks_the_protocol_is_invalid() {
        let text = start(0, r#"{"type":"text","text":"x"}"#);
        let cases = [
            vec![START.to_owned(), text.clone(), stop(0), end("end_turn")],
            message(std::slice::from_ref(&text), "end_turn"),
            message(&[text.clone(), stop(0), stop(0)], "end_turn"),
            message(&[text.clone(), text.clone()], "end_turn"),
            message(&[start(1, r#"{"type":"text","text":"x"}"#), stop(1)], "end_turn"),
            message(&[delta(0, r#"{"type":"text_delta","text":"x"}"#)], "end_turn"),
            message(&["{\"type\":".to_owned()], "end_turn"),
            message(&[START.to_owned()], "end_turn"),
            message(&[], "end_turn"),
            vec![text.clone()],
        ];
        for events in cases {
            let fault = run(&events).map(|_| ()).unwrap_err();
            assert!(matches!(fault, StreamFault::Invalid(_)), "{events:?}: {fault:?}");
        }
    }

    #[test]
    fn unknown_deltas_and_errors_are_told_apart() {
        let unknown = [
            START.to_owned(),
            start(0, r#"{"type":"compaction","content":null}"#),
            delta(0, r#"{"type":"compaction_delta","content":"x"}"#),
        ];
        assert!(matches!(run(&unknown), Err(StreamFault::UnknownDelta)));
        let error =
            r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
        let fault = run(&[START.to_owned(), error.to_owned()]).map(|_| ()).unwrap_err();
        let StreamFault::Reported { kind, message } = fault else {
            panic!("{fault:?}");
        };
        assert_eq!((kind.as_str(), message.as_str()), ("overloaded_error", "Overloaded"));
    }

    #[test]
    fn progress_sees_text_and_tools_as_they_come() {
        #[derive(Default)]
        struct Seen(Mutex<String>);
        impl Progress for Seen {
            fn text(&self, delta: &str) {
                self.0.lock().unwrap().push_str(delta);
            }
            fn tool_started(&self, name: &str) {
                self.0.lock().unwrap().push_str(name);
            }
        }
        let seen = Seen::default();
        let mut assembler = Assembler::default();
        for event in [
            START.to_owned(),
            start(0, r#"{"type":"text","text":""}"#),
            delta(0, r#"{"type":"text_delta","text":"hi "}"#),
            start(1, r#"{"type":"tool_use","id":"t","name":"tool"}"#),
        ] {
            assembler.event(&event, &seen).unwrap();
        }
        assert_eq!(*seen.0.lock().unwrap(), "hi tool");
        assert_eq!(assembler.used().input_tokens, 25);
    }
}
