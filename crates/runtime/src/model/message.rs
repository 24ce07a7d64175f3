//! What is said to a model: the conversation and the tools.

use std::collections::HashSet;

pub use lar_core::definition::ToolDefinition;
use serde_json::value::RawValue;

use super::turn::ToolUse;

/// One request for a turn.
#[derive(Debug, Clone, Copy)]
pub struct TurnRequest<'a> {
    /// The system prompt; empty for none.
    pub system: &'a str,
    /// What the model may call. Empty is allowed, but some services refuse a conversation that
    /// holds calls and defines no tool.
    pub tools: &'a [ToolDefinition],
    /// The conversation, oldest first. It begins with [`Message::User`].
    pub messages: &'a [Message],
    /// The most tokens that the answer may have.
    pub max_output_tokens: u32,
}

/// One message of the conversation.
#[derive(Debug, Clone)]
pub enum Message {
    /// What the runtime or the person says.
    User(Vec<UserBlock>),
    /// A turn of the model: [`Turn::blocks`], echoed unchanged.
    Assistant(Vec<Box<RawValue>>),
}

/// A part of a user message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserBlock {
    /// Plain text.
    Text(String),
    /// The answer to one call. Every call of a turn is answered in the message that follows it.
    ToolResult {
        /// [`RawCall::id`].
        tool_use_id: String,
        /// What happened.
        content: String,
        /// Whether the call was refused or failed.
        is_error: bool,
    },
}

/// The ids of all calls in the conversation. The API refuses an id that stands twice.
pub(super) fn used_ids(messages: &[Message]) -> HashSet<String> {
    let mut ids = HashSet::new();
    for message in messages {
        let Message::Assistant(blocks) = message else {
            continue;
        };
        for block in blocks {
            let Ok(block) = serde_json::from_str::<ToolUse<'_>>(block.get()) else {
                continue;
            };
            if block.kind == "tool_use" {
                ids.extend(block.id);
            }
        }
    }
    ids
}
