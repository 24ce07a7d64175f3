//! A model turn on the wire: server-sent events, or one JSON object.

use serde_json::{Value, json};

use crate::provider::pieces;
use crate::reply::{Message, Usage};

/// The turn as a sequence of server-sent events, pings included.
pub(super) fn events(message: &Message, body: &Value, serial: usize) -> Vec<String> {
    let usage = message.usage;
    let mut start = envelope(body, serial);
    start["usage"] = counts(usage);
    start["usage"]["output_tokens"] = usage.output.min(1).into();
    let mut events = vec![
        event(&json!({"type": "message_start", "message": start})),
        event(&json!({"type": "ping"})),
    ];
    for (index, block) in message.content.as_array().into_iter().flatten().enumerate() {
        let (opening, deltas) = opened(message, index, block);
        events.push(event(
            &json!({"type": "content_block_start", "index": index, "content_block": opening}),
        ));
        for (position, delta) in deltas.into_iter().enumerate() {
            if position % 7 == 4 {
                events.push(event(&json!({"type": "ping"})));
            }
            let delta = json!({"type": "content_block_delta", "index": index, "delta": delta});
            events.push(event(&delta));
        }
        events.push(event(&json!({"type": "content_block_stop", "index": index})));
    }
    events.push(event(&json!({
        "type": "message_delta",
        "delta": {"stop_reason": message.stop, "stop_sequence": null},
        "usage": counts(usage),
    })));
    events.push(event(&json!({"type": "message_stop"})));
    events
}

/// The turn as one JSON object.
pub(super) fn plain(message: &Message, body: &Value, serial: usize) -> String {
    let mut whole = envelope(body, serial);
    whole["content"] = message.content.clone();
    whole["stop_reason"] = message.stop.as_str().into();
    whole["usage"] = counts(message.usage);
    let marker = |index: usize| format!("the unchecked input of block {index} goes here");
    for index in message.input_texts.keys() {
        whole["content"][*index]["input"] = marker(*index).into();
    }
    let mut text = whole.to_string();
    for (index, input) in &message.input_texts {
        text = text.replace(&Value::from(marker(*index)).to_string(), input);
    }
    text
}

/// The blocks as a client has to echo them. An unchecked input that is no JSON can't be compared,
/// so it is left out.
pub(super) fn as_echoed(message: &Message) -> Value {
    let mut blocks = message.content.clone();
    for (index, input) in &message.input_texts {
        let Some(block) = blocks[*index].as_object_mut() else {
            continue;
        };
        match serde_json::from_str(input) {
            Ok(input) => block.insert("input".to_owned(), input),
            Err(_) => block.remove("input"),
        };
    }
    blocks
}

/// One server-sent event, named after its data's `type`.
pub(super) fn event(data: &Value) -> String {
    format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap_or("message"))
}

fn envelope(body: &Value, serial: usize) -> Value {
    json!({
        "id": format!("msg_standin{serial:06}"),
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": [],
        "stop_reason": null,
        "stop_sequence": null,
    })
}

fn counts(usage: Usage) -> Value {
    json!({
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_written,
        "cache_read_input_tokens": usage.cache_read,
        "output_tokens": usage.output,
        "service_tier": "standard",
    })
}

/// A block as it is first shown, and the deltas that complete it.
fn opened(message: &Message, index: usize, block: &Value) -> (Value, Vec<Value>) {
    let mut opening = block.clone();
    let mut deltas = Vec::new();
    match block["type"].as_str().unwrap_or_default() {
        "text" => {
            opening["text"] = "".into();
            if let Some(citations) = block["citations"].as_array() {
                opening["citations"] = json!([]);
                for citation in citations {
                    deltas.push(json!({"type": "citations_delta", "citation": citation}));
                }
            }
            for piece in pieces(block["text"].as_str().unwrap_or_default()) {
                deltas.push(json!({"type": "text_delta", "text": piece}));
            }
        }
        "thinking" => {
            opening["thinking"] = "".into();
            opening["signature"] = "".into();
            for piece in pieces(block["thinking"].as_str().unwrap_or_default()) {
                deltas.push(json!({"type": "thinking_delta", "thinking": piece}));
            }
            let signature = &block["signature"];
            deltas.push(json!({"type": "signature_delta", "signature": signature}));
        }
        "tool_use" | "server_tool_use" | "mcp_tool_use" => {
            opening["input"] = json!({});
            deltas.push(json!({"type": "input_json_delta", "partial_json": ""}));
            let input = message.input_text(index);
            // The API sends no text at all for an empty input.
            if input != "{}" {
                for piece in pieces(&input) {
                    deltas.push(json!({"type": "input_json_delta", "partial_json": piece}));
                }
            }
        }
        // Any other type, known or not, comes whole in its first event.
        _ => {}
    }
    (opening, deltas)
}
