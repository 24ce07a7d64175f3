//! What the Messages API refuses in a conversation: roles, blocks, tool calls and their results,
//! and turns that were changed since they were served.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::check::{only, text};
use crate::provider::{History, Problem};

/// Judges the `messages` of a request.
pub(super) fn messages(messages: &Value, history: History<'_>) -> Result<(), Problem> {
    let Some(messages) = messages.as_array() else {
        return Err(Problem::invalid("messages: Input should be a valid list"));
    };
    if messages.is_empty() {
        return Err(Problem::invalid("messages: at least one message is required"));
    }
    let mut turns: Vec<Turn> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let at = format!("messages.{index}");
        only(message, &["role", "content"], &format!("{at}."))?;
        let assistant = match message["role"].as_str() {
            Some("user") => false,
            Some("assistant") => true,
            _ => {
                let message = format!("{at}.role: Input should be 'user' or 'assistant'");
                return Err(Problem::invalid(message));
            }
        };
        if index == 0 && assistant {
            return Err(Problem::invalid("messages: first message must use the \"user\" role"));
        }
        let last = index + 1 == messages.len();
        let blocks = blocks(&message["content"], &at, assistant && last)?;
        // The API joins messages of one role that follow each other into a single turn.
        match turns.last_mut().filter(|turn| turn.assistant == assistant) {
            Some(turn) => turn.blocks.extend(blocks),
            None => turns.push(Turn { assistant, index, blocks }),
        }
    }
    for (position, turn) in turns.iter().enumerate() {
        if turn.assistant {
            // User and assistant turns alternate by now, and the user begins.
            echoed(turn, position / 2, history)?;
        }
        for (position, block) in turn.blocks.iter().enumerate() {
            known(block, turn, position, history)?;
        }
    }
    pairs(&turns)?;
    let end = turns.last().filter(|turn| turn.assistant).and_then(|turn| turn.blocks.last());
    let trailing = |block: &Value| {
        block["type"] == "text" && block["text"].as_str().is_some_and(|t| t.trim_end() != t)
    };
    if end.is_some_and(trailing) {
        let message = "messages: final assistant content cannot end with trailing whitespace";
        return Err(Problem::invalid(message));
    }
    Ok(())
}

/// One or more messages of one role.
struct Turn {
    assistant: bool,
    /// Where its first message stands in the request.
    index: usize,
    blocks: Vec<Value>,
}

fn blocks(content: &Value, at: &str, may_be_empty: bool) -> Result<Vec<Value>, Problem> {
    let blocks = match content {
        Value::String(text) if text.is_empty() => Vec::new(),
        Value::String(text) => vec![json!({"type": "text", "text": text})],
        Value::Array(blocks) => blocks.clone(),
        Value::Null => return Err(Problem::invalid(format!("{at}.content: Field required"))),
        _ => {
            let message = format!("{at}.content: Input should be a string or a list");
            return Err(Problem::invalid(message));
        }
    };
    if blocks.is_empty() && !may_be_empty {
        return Err(Problem::invalid(format!(
            "{at}: all messages must have non-empty content except for the optional final \
             assistant message"
        )));
    }
    Ok(blocks)
}

/// An assistant turn has to be a run of served turns, block for block.
fn echoed(turn: &Turn, ordinal: usize, history: History<'_>) -> Result<(), Problem> {
    if history.unserved_allowed || composed(&turn.blocks, history.served, ordinal) {
        return Ok(());
    }
    // Say which block is to blame: the first that was never served as it stands.
    let served = |block: &Value| {
        let mut all = history.served.iter().filter_map(Value::as_array).flatten();
        all.any(|original| same(original, block))
    };
    let at = format!("messages.{}", turn.index);
    let message = match turn.blocks.iter().position(|block| !served(block)) {
        Some(position) => {
            let kind = turn.blocks[position]["type"].as_str().unwrap_or("unknown");
            format!(
                "{at}.content.{position}: `{kind}` blocks in assistant messages cannot be \
                 modified. These blocks must remain as they were in the original response."
            )
        }
        None => format!(
            "{at}: the blocks of an assistant message must be those of one response, complete \
             and in order"
        ),
    };
    Err(Problem::invalid(message))
}

/// Whether the blocks are those of served turns, one after the other. The search begins at `hint`:
/// the n-th turn of a conversation is most often the n-th that was served, and a long conversation
/// should not cost the square of its length.
fn composed(blocks: &[Value], served: &[Value], hint: usize) -> bool {
    if blocks.is_empty() {
        return true;
    }
    let hint = hint.min(served.len());
    let near = (hint..served.len()).chain(0..hint);
    let mut candidates = near.filter_map(|index| Some((index, served[index].as_array()?)));
    candidates.any(|(index, original)| {
        let Some((head, rest)) = blocks.split_at_checked(original.len()) else {
            return false;
        };
        !original.is_empty()
            && original.iter().zip(head).all(|(one, other)| same(one, other))
            && composed(rest, served, index + 1)
    })
}

/// Whether `echo` is the block that was served; a cache breakpoint may have been added to it.
fn same(original: &Value, echo: &Value) -> bool {
    if original == echo {
        return true;
    }
    if original["type"] != echo["type"] {
        return false;
    }
    let mut echo = echo.clone();
    let Some(fields) = echo.as_object_mut() else {
        return false;
    };
    if original.get("cache_control").is_none() {
        fields.remove("cache_control");
    }
    // An input that was served as text that is no JSON can't be compared.
    if original["type"] == "tool_use" && original.get("input").is_none() {
        fields.remove("input");
    }
    *original == echo
}

/// Judges one block by itself.
fn known(block: &Value, turn: &Turn, position: usize, history: History<'_>) -> Result<(), Problem> {
    let at = format!("messages.{}.content.{position}", turn.index);
    let kind = block["type"].as_str().unwrap_or_default();
    let fields: &[&str] = match (kind, turn.assistant) {
        ("text", _) => {
            text(&block["text"], &format!("{at}.text"))?;
            &["type", "text", "cache_control", "citations"]
        }
        ("image", false) => &["type", "source", "cache_control"],
        ("document", false) => {
            &["type", "source", "cache_control", "title", "context", "citations"]
        }
        ("search_result", false) => {
            &["type", "source", "title", "content", "citations", "cache_control"]
        }
        ("tool_result", false) => {
            result(block, &at)?;
            &["type", "tool_use_id", "content", "is_error", "cache_control"]
        }
        ("tool_use", true) => {
            let mut served = history.served.iter().filter_map(Value::as_array).flatten();
            if !block["input"].is_object() && !served.any(|original| original == block) {
                let message = format!("{at}.tool_use.input: Input should be a valid dictionary");
                return Err(Problem::invalid(message));
            }
            // Fields that the API itself put there may come back.
            return Ok(());
        }
        ("tool_use", false) => {
            let message = format!("{at}: `tool_use` blocks can only be in `assistant` messages");
            return Err(Problem::invalid(message));
        }
        ("tool_result", true) => {
            let message = format!("{at}: `tool_result` blocks can only be in `user` messages");
            return Err(Problem::invalid(message));
        }
        // What was served may come back, whatever it is; `echoed` has compared it.
        (_, true) if !kind.is_empty() || history.unserved_allowed => return Ok(()),
        _ => {
            return Err(Problem::invalid(format!(
                "{at}: Input tag '{kind}' found using 'type' does not match any of the expected \
                 tags"
            )));
        }
    };
    only(block, fields, &format!("{at}.{kind}."))
}

fn result(block: &Value, at: &str) -> Result<(), Problem> {
    let wrong = |message: &str| Err(Problem::invalid(format!("{at}.tool_result{message}")));
    if block["tool_use_id"].as_str().is_none_or(str::is_empty) {
        return wrong(".tool_use_id: Field required");
    }
    if block.get("is_error").is_some_and(|flag| !flag.is_boolean()) {
        return wrong(".is_error: Input should be a valid boolean");
    }
    let empty = match &block["content"] {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(parts) => {
            for (index, part) in parts.iter().enumerate() {
                match part["type"].as_str() {
                    Some("text") => text(&part["text"], &format!("{at}.content.{index}.text"))?,
                    Some("image" | "document" | "search_result") => {}
                    _ => return wrong(".content: Input tag does not match any expected tag"),
                }
            }
            parts.is_empty()
        }
        _ => return wrong(".content: Input should be a string or a list"),
    };
    if empty && block["is_error"] == true {
        return wrong(": content cannot be empty if `is_error` is true");
    }
    Ok(())
}

/// Every tool call is answered at the beginning of the very next turn, once, and nothing else is.
fn pairs(turns: &[Turn]) -> Result<(), Problem> {
    let mut ever: BTreeSet<&str> = BTreeSet::new();
    let mut open: Vec<&str> = Vec::new();
    for turn in turns {
        if turn.assistant {
            open.clear();
            for block in turn.blocks.iter().filter(|block| block["type"] == "tool_use") {
                let id = block["id"].as_str().unwrap_or_default();
                if id.is_empty() || !ever.insert(id) {
                    return Err(Problem::invalid("messages: `tool_use` ids must be unique"));
                }
                open.push(id);
            }
            continue;
        }
        answered(turn, &open)?;
        open.clear();
    }
    // A conversation can't end on a call that has no result.
    unanswered(turns.len().checked_sub(1).map_or(0, |last| turns[last].index), &open)
}

fn answered(turn: &Turn, open: &[&str]) -> Result<(), Problem> {
    let id = |block: &Value| block["tool_use_id"].as_str().unwrap_or_default().to_owned();
    let is_result = |block: &&Value| block["type"] == "tool_result";
    let leading: Vec<String> = turn.blocks.iter().take_while(is_result).map(id).collect();
    let mut seen = BTreeSet::new();
    for (position, block) in turn.blocks.iter().enumerate().filter(|(_, b)| is_result(b)) {
        let id = id(block);
        if !open.contains(&id.as_str()) {
            return Err(Problem::invalid(format!(
                "messages.{}.content.{position}: unexpected `tool_use_id` found in `tool_result` \
                 blocks: {id}. Each `tool_result` block must have a corresponding `tool_use` \
                 block in the previous message.",
                turn.index
            )));
        }
        if !seen.insert(id.clone()) {
            return Err(Problem::invalid(format!(
                "messages.{}.content.{position}: each tool_use must have a single result. Found \
                 multiple `tool_result` blocks with id: {id}",
                turn.index
            )));
        }
    }
    let missing: Vec<&str> =
        open.iter().copied().filter(|id| !leading.iter().any(|one| one == id)).collect();
    unanswered(turn.index.saturating_sub(1), &missing)
}

fn unanswered(index: usize, ids: &[&str]) -> Result<(), Problem> {
    if ids.is_empty() {
        return Ok(());
    }
    Err(Problem::invalid(format!(
        "messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately \
         after: {}. Each `tool_use` block must have a corresponding `tool_result` block in the \
         next message.",
        ids.join(", ")
    )))
}
