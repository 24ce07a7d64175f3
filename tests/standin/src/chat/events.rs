//! A model turn as chat completions: chunks, or one JSON object.

use serde_json::{Value, json};

use crate::provider::pieces;
use crate::reply::Message;

/// The turn as a chat message; content blocks are translated.
pub(super) fn chat_message(message: &Message) -> Value {
    let Some(blocks) = message.content.as_array() else {
        let mut whole = message.content.clone();
        whole["role"] = "assistant".into();
        return whole;
    };
    let mut text = String::new();
    let mut calls = Vec::new();
    for (index, block) in blocks.iter().enumerate() {
        match block["type"].as_str() {
            Some("text") => text.push_str(block["text"].as_str().unwrap_or_default()),
            Some("tool_use") => calls.push(json!({
                "id": block["id"],
                "type": "function",
                "function": {"name": block["name"], "arguments": message.input_text(index)},
            })),
            _ => {}
        }
    }
    let content = if text.is_empty() && !calls.is_empty() { Value::Null } else { text.into() };
    let mut whole = json!({"role": "assistant", "content": content, "refusal": null});
    if !calls.is_empty() {
        whole["tool_calls"] = calls.into();
    }
    whole
}

/// The turn as one JSON object.
pub(super) fn plain(message: &Message, body: &Value, serial: usize) -> String {
    let mut whole = envelope(body, serial, "chat.completion");
    whole["choices"] = json!([{
        "index": 0,
        "message": chat_message(message),
        "logprobs": null,
        "finish_reason": finish_reason(message),
    }]);
    whole["usage"] = usage(message);
    whole.to_string()
}

/// The turn as server-sent chunks. The deltas of parallel calls are interleaved: only their index
/// tells them apart.
pub(super) fn events(message: &Message, body: &Value, serial: usize) -> Vec<String> {
    let with_usage = body["stream_options"]["include_usage"] == true;
    let chunk = |delta: Value, finish: Value| {
        let mut chunk = envelope(body, serial, "chat.completion.chunk");
        let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish});
        chunk["choices"] = json!([choice]);
        if with_usage {
            chunk["usage"] = Value::Null;
        }
        format!("data: {chunk}\n\n")
    };
    let whole = chat_message(message);
    let mut events = vec![chunk(json!({"role": "assistant", "content": ""}), Value::Null)];
    // Gateways keep a slow connection open with comments.
    events.push(": still working\n\n".to_owned());
    if let Some(text) = whole["content"].as_str().filter(|text| !text.is_empty()) {
        for piece in pieces(text) {
            events.push(chunk(json!({"content": piece}), Value::Null));
        }
    }
    let mut arguments = Vec::new();
    for (index, call) in whole["tool_calls"].as_array().into_iter().flatten().enumerate() {
        let mut opening = call.clone();
        opening["index"] = index.into();
        opening["function"]["arguments"] = "".into();
        events.push(chunk(json!({"tool_calls": [opening]}), Value::Null));
        let text = call["function"]["arguments"].as_str().unwrap_or_default();
        arguments.push(pieces(text).into_iter());
    }
    let mut sent = true;
    while sent {
        sent = false;
        for (index, pieces) in arguments.iter_mut().enumerate() {
            let Some(piece) = pieces.next() else { continue };
            let delta = json!({"index": index, "function": {"arguments": piece}});
            events.push(chunk(json!({"tool_calls": [delta]}), Value::Null));
            sent = true;
        }
    }
    events.push(chunk(json!({}), finish_reason(message).into()));
    if with_usage {
        let mut last = envelope(body, serial, "chat.completion.chunk");
        last["choices"] = json!([]);
        last["usage"] = usage(message);
        events.push(format!("data: {last}\n\n"));
    }
    events.push("data: [DONE]\n\n".to_owned());
    events
}

fn finish_reason(message: &Message) -> &str {
    match message.stop.as_str() {
        "end_turn" | "stop_sequence" | "pause_turn" => "stop",
        "tool_use" => "tool_calls",
        "max_tokens" => "length",
        "refusal" => "content_filter",
        other => other,
    }
}

fn envelope(body: &Value, serial: usize, object: &str) -> Value {
    json!({
        "id": format!("chatcmpl-standin{serial:06}"),
        "object": object,
        "created": 1_700_000_000,
        "model": body["model"],
        "system_fingerprint": null,
    })
}

fn usage(message: &Message) -> Value {
    let usage = message.usage;
    json!({
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read},
    })
}
