//! What a model API answers, one scripted reply a request.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

/// One scripted answer. The same script serves [`crate::messages`] and [`crate::chat`]: content
/// blocks and stop reasons are translated for the latter.
#[derive(Debug)]
pub struct Reply {
    pub(crate) kind: Kind,
    pub(crate) delay: Duration,
    pub(crate) cut: Option<usize>,
    pub(crate) pause: Option<(usize, Duration)>,
}

impl Reply {
    /// A model turn: an array of content blocks (unknown block types are fine and are served as
    /// they stand) and a stop reason such as `end_turn`, `tool_use`, `max_tokens`, `pause_turn` or
    /// `refusal`.
    ///
    /// # Panics
    /// When `blocks` is not an array.
    #[must_use]
    pub fn message(blocks: Value, stop_reason: &str) -> Self {
        assert!(blocks.is_array(), "the content of a message is an array of blocks");
        Self::of(Kind::Message(Message::new(blocks, stop_reason)))
    }

    /// A chat-completions turn as it stands: the `message` object and its `finish_reason`. Only
    /// [`crate::chat`] can serve it.
    ///
    /// # Panics
    /// When `message` is not an object.
    #[must_use]
    pub fn chat(message: Value, finish_reason: &str) -> Self {
        assert!(message.is_object(), "a chat message is an object");
        Self::of(Kind::Message(Message::new(message, finish_reason)))
    }

    /// A final turn that says `text`.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::message(json!([{"type": "text", "text": text}]), "end_turn")
    }

    /// A turn with one tool call.
    #[must_use]
    pub fn tool_use(id: &str, name: &str, input: Value) -> Self {
        Self::tool_uses([(id, name, input)])
    }

    /// A turn with several parallel tool calls, each an id, a name and an input.
    #[must_use]
    pub fn tool_uses<'a>(calls: impl IntoIterator<Item = (&'a str, &'a str, Value)>) -> Self {
        let block =
            |(id, name, input)| json!({"type": "tool_use", "id": id, "name": name, "input": input});
        Self::message(calls.into_iter().map(block).collect(), "tool_use")
    }

    /// An error status with an error body of this type, and a `retry-after` header in seconds.
    #[must_use]
    pub fn status(code: u16, error_type: &str, retry_after: Option<u64>) -> Self {
        Self::of(Kind::Status { code, error_type: error_type.to_owned(), retry_after })
    }

    /// A turn of text and a tool call that breaks off after `events` whole events and half of the
    /// next one. See also [`Reply::cut`].
    #[must_use]
    pub fn cut_after(events: usize) -> Self {
        let blocks = json!([
            {"type": "text", "text": "This sentence will not reach its end, and neither will the call."},
            {"type": "tool_use", "id": "toolu_cut", "name": "cut", "input": {"command": "true"}},
        ]);
        Self::message(blocks, "tool_use").cut(events)
    }

    /// These bytes and nothing else: invalid JSON, an empty body, hand-written events.
    #[must_use]
    pub fn raw(status: u16, content_type: &str, bytes: impl Into<Vec<u8>>) -> Self {
        let content_type = content_type.to_owned();
        Self::of(Kind::Raw { status, content_type, bytes: bytes.into(), remember: None })
    }

    /// Silence for `time`, then the connection is closed without an answer.
    #[must_use]
    pub fn stall(time: Duration) -> Self {
        Self::hangup().after(time)
    }

    /// The connection is closed without a byte of answer.
    #[must_use]
    pub fn hangup() -> Self {
        Self::of(Kind::Hangup)
    }

    /// A stream that begins well and then carries an `error` event of this type, such as
    /// `overloaded_error`. A request that doesn't stream gets the matching status.
    #[must_use]
    pub fn sse_error(error_type: &str) -> Self {
        Self::of(Kind::SseError(error_type.to_owned()))
    }

    /// A reply that is worked out from the request's JSON, so that a script may react to results.
    #[must_use]
    pub fn from_fn(reply: impl FnOnce(&Value) -> Self + Send + 'static) -> Self {
        Self::of(Kind::Dynamic(Box::new(reply)))
    }

    /// The token counts that a message reports. The default is 100 in and 20 out.
    ///
    /// # Panics
    /// When this is not a message.
    #[must_use]
    pub fn usage(mut self, input: u64, output: u64) -> Self {
        let usage = &mut self.message_mut().usage;
        (usage.input, usage.output) = (input, output);
        self
    }

    /// The tokens that a message reports as read from and written to the prompt cache.
    ///
    /// # Panics
    /// When this is not a message.
    #[must_use]
    pub fn cache(mut self, read: u64, written: u64) -> Self {
        let usage = &mut self.message_mut().usage;
        (usage.cache_read, usage.cache_written) = (read, written);
        self
    }

    /// Serves `text`, unchecked, as the JSON of the `input` of the block at `index`: duplicate
    /// keys, odd spacing, or no JSON at all.
    ///
    /// # Panics
    /// When this is not a message.
    #[must_use]
    pub fn input_text(mut self, index: usize, text: &str) -> Self {
        self.message_mut().input_texts.insert(index, text.to_owned());
        self
    }

    /// For [`Reply::raw`]: these blocks count as served, so that they may be echoed.
    ///
    /// # Panics
    /// When this is not a raw reply.
    #[must_use]
    pub fn serves(mut self, blocks: Value) -> Self {
        let Kind::Raw { remember, .. } = &mut self.kind else {
            panic!("only a raw reply needs to be told what it serves");
        };
        *remember = Some(blocks);
        self
    }

    /// Drops the connection after `events` whole events (pings count) and half of the next one.
    /// An answer that doesn't stream is cut half way.
    #[must_use]
    pub fn cut(mut self, events: usize) -> Self {
        self.cut = Some(events);
        self
    }

    /// Sends nothing at all for `time` before the answer begins.
    #[must_use]
    pub fn after(mut self, time: Duration) -> Self {
        self.delay += time;
        self
    }

    /// Falls silent for `time` after `events` events of a stream, then goes on.
    #[must_use]
    pub fn pause(mut self, events: usize, time: Duration) -> Self {
        self.pause = Some((events, time));
        self
    }

    fn of(kind: Kind) -> Self {
        Self { kind, delay: Duration::ZERO, cut: None, pause: None }
    }

    fn message_mut(&mut self) -> &mut Message {
        match &mut self.kind {
            Kind::Message(message) => message,
            other => panic!("this belongs to a message, not to {other:?}"),
        }
    }
}

pub(crate) type Answerer = Box<dyn FnOnce(&Value) -> Reply + Send>;

pub(crate) enum Kind {
    Message(Message),
    Status { code: u16, error_type: String, retry_after: Option<u64> },
    Raw { status: u16, content_type: String, bytes: Vec<u8>, remember: Option<Value> },
    Hangup,
    SseError(String),
    Dynamic(Answerer),
}

impl fmt::Debug for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Message(_) => "message",
            Self::Status { .. } => "status",
            Self::Raw { .. } => "raw",
            Self::Hangup => "hangup",
            Self::SseError(_) => "sse_error",
            Self::Dynamic(_) => "from_fn",
        })
    }
}

/// A model turn before it is put on the wire.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// An array of content blocks, or a chat message object.
    pub(crate) content: Value,
    pub(crate) stop: String,
    pub(crate) usage: Usage,
    /// Unchecked JSON texts for the `input` of some blocks.
    pub(crate) input_texts: BTreeMap<usize, String>,
}

impl Message {
    fn new(content: Value, stop: &str) -> Self {
        Self {
            content,
            stop: stop.to_owned(),
            usage: Usage::default(),
            input_texts: BTreeMap::new(),
        }
    }

    /// The JSON text of the input of the block at `index`.
    pub(crate) fn input_text(&self, index: usize) -> String {
        let written = || self.content[index]["input"].to_string();
        self.input_texts.get(&index).cloned().unwrap_or_else(written)
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub(crate) input: u64,
    pub(crate) output: u64,
    pub(crate) cache_read: u64,
    pub(crate) cache_written: u64,
}

impl Default for Usage {
    fn default() -> Self {
        Self { input: 100, output: 20, cache_read: 0, cache_written: 0 }
    }
}
