//! What chat completions refuses.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::messages::tool_name;
use crate::provider::{History, Problem};

const FIELDS: &[&str] = &[
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "metadata",
    "model",
    "n",
    "parallel_tool_calls",
    "presence_penalty",
    "reasoning_effort",
    "response_format",
    "seed",
    "service_tier",
    "stop",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "user",
];

/// Judges a whole request.
pub(super) fn request(body: &Value, history: History<'_>) -> Result<(), Problem> {
    if body["model"].as_str().is_none_or(str::is_empty) {
        return Err(Problem::invalid("you must provide a model parameter"));
    }
    for field in body.as_object().into_iter().flat_map(Map::keys) {
        if !FIELDS.contains(&field.as_str()) {
            let message = format!("Unrecognized request argument supplied: {field}");
            return Err(Problem::invalid(message));
        }
    }
    limits(body)?;
    if body.get("stream").is_some_and(|value| !value.is_boolean()) {
        return Err(Problem::invalid("Invalid type for 'stream': expected a boolean"));
    }
    if body.get("stream_options").is_some_and(|value| !value.is_null()) && body["stream"] != true {
        return Err(Problem::invalid(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
        ));
    }
    tools(body)?;
    let Some(messages) = body["messages"].as_array() else {
        return Err(Problem::invalid("Missing required parameter: 'messages'."));
    };
    if messages.is_empty() {
        return Err(Problem::invalid(
            "Invalid 'messages': empty array. Expected an array with \
                                     minimum length 1, but got an empty array instead.",
        ));
    }
    for (index, message) in messages.iter().enumerate() {
        shape(message, &format!("messages[{index}]"), history)?;
    }
    pairs(messages)
}

fn limits(body: &Value) -> Result<(), Problem> {
    let fields = ["max_tokens", "max_completion_tokens"];
    if fields.iter().all(|field| body.get(field).is_some()) {
        return Err(Problem::invalid(
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
        ));
    }
    for field in fields {
        if body.get(field).is_some_and(|value| value.as_i64().is_none_or(|number| number < 1)) {
            let message = format!("Invalid '{field}': integer below minimum value. Expected >= 1");
            return Err(Problem::invalid(message));
        }
    }
    Ok(())
}

fn tools(body: &Value) -> Result<(), Problem> {
    let Some(tools) = body.get("tools") else {
        if body.get("tool_choice").is_some() {
            let message = "'tool_choice' is only allowed when 'tools' are specified.";
            return Err(Problem::invalid(message));
        }
        return Ok(());
    };
    let tools = tools.as_array().filter(|tools| !tools.is_empty()).ok_or_else(|| {
        Problem::invalid("Invalid 'tools': empty array. Expected an array with minimum length 1")
    })?;
    let mut names = BTreeSet::new();
    for (index, tool) in tools.iter().enumerate() {
        let wrong = |message: &str| Err(Problem::invalid(format!("tools[{index}]{message}")));
        only(tool, &["type", "function"], &format!("tools[{index}]"))?;
        if tool["type"] != "function" {
            return wrong(".type: Invalid value. Supported values are: 'function'");
        }
        let function = &tool["function"];
        let known = ["name", "description", "parameters", "strict"];
        only(function, &known, &format!("tools[{index}].function"))?;
        let name = function["name"].as_str().unwrap_or_default();
        if !tool_name(name, 64) {
            return wrong(".function.name: expected a string that matches '^[a-zA-Z0-9_-]{1,64}$'");
        }
        if !names.insert(name) {
            return wrong(".function.name: tool names must be unique");
        }
        if function.get("description").is_some_and(|text| !text.is_string()) {
            return wrong(".function.description: expected a string");
        }
        if let Some(parameters) = function.get("parameters")
            && parameters["type"] != "object"
        {
            return wrong(
                ".function.parameters: schema must be a JSON Schema of 'type: \"object\"'",
            );
        }
    }
    Ok(())
}

fn only(value: &Value, known: &[&str], at: &str) -> Result<(), Problem> {
    for field in value.as_object().into_iter().flat_map(Map::keys) {
        if !known.contains(&field.as_str()) {
            return Err(Problem::invalid(format!("Unknown parameter: '{at}.{field}'.")));
        }
    }
    Ok(())
}

/// Judges one message by itself.
fn shape(message: &Value, at: &str, history: History<'_>) -> Result<(), Problem> {
    let wrong = |text: &str| Err(Problem::invalid(format!("Invalid '{at}': {text}")));
    match message["role"].as_str() {
        Some("system" | "developer" | "user") => {
            only(message, &["role", "content", "name"], at)?;
            content(&message["content"], at)
        }
        Some("tool") => {
            only(message, &["role", "content", "tool_call_id"], at)?;
            if message["tool_call_id"].as_str().is_none_or(str::is_empty) {
                return wrong("missing 'tool_call_id'");
            }
            content(&message["content"], at)
        }
        Some("assistant") => assistant(message, at, history),
        _ => wrong(
            "unsupported role. Supported values are: 'system', 'assistant', 'user', 'tool', and \
             'developer'",
        ),
    }
}

fn content(content: &Value, at: &str) -> Result<(), Problem> {
    let part = |part: &Value| part["type"] == "image_url" || part["text"].is_string();
    match content {
        Value::String(_) => Ok(()),
        Value::Array(parts) if !parts.is_empty() && parts.iter().all(part) => Ok(()),
        _ => Err(Problem::invalid(format!(
            "Invalid value for '{at}.content': expected a string or a list of parts"
        ))),
    }
}

fn assistant(message: &Value, at: &str, history: History<'_>) -> Result<(), Problem> {
    let wrong = |text: &str| Err(Problem::invalid(format!("Invalid '{at}': {text}")));
    let mut said = !message["content"].is_null();
    if said {
        content(&message["content"], at)?;
    }
    if let Some(calls) = message.get("tool_calls") {
        let calls = calls.as_array().filter(|calls| !calls.is_empty());
        let Some(calls) = calls else {
            return wrong("'tool_calls' must not be empty");
        };
        for call in calls {
            let function = &call["function"];
            if call["type"] != "function" || call["id"].as_str().is_none_or(str::is_empty) {
                return wrong("each tool call needs an 'id' and 'type': 'function'");
            }
            if !function["name"].is_string() || !function["arguments"].is_string() {
                return wrong("a function's 'name' and 'arguments' must be strings");
            }
        }
        said = true;
    }
    if !said {
        return wrong("expected 'content' or 'tool_calls'");
    }
    let mut served = history.served.iter();
    if history.unserved_allowed || served.any(|original| same(original, message)) {
        return Ok(());
    }
    wrong("this assistant message is not one that was served, or it was changed since")
}

/// Whether `echo` says and calls what was served. Null and absent are the same, and so are an
/// absent and an empty text.
fn same(original: &Value, echo: &Value) -> bool {
    let text = |message: &Value| message["content"].as_str().unwrap_or_default().to_owned();
    text(original) == text(echo) && original["tool_calls"] == echo["tool_calls"]
}

/// Every tool call is answered once, before the next message that isn't a tool's.
fn pairs(messages: &[Value]) -> Result<(), Problem> {
    let mut open: BTreeSet<&str> = BTreeSet::new();
    for (index, message) in messages.iter().enumerate() {
        if message["role"] == "tool" {
            let id = message["tool_call_id"].as_str().unwrap_or_default();
            if !open.remove(id) {
                return Err(Problem::invalid(format!(
                    "Invalid parameter: messages[{index}] with role 'tool' must be a response to \
                     a preceding message with 'tool_calls'; '{id}' is not open."
                )));
            }
            continue;
        }
        closed(&open)?;
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            open.insert(call["id"].as_str().unwrap_or_default());
        }
    }
    closed(&open)
}

fn closed(open: &BTreeSet<&str>) -> Result<(), Problem> {
    if open.is_empty() {
        return Ok(());
    }
    let ids: Vec<&str> = open.iter().copied().collect();
    Err(Problem::invalid(format!(
        "An assistant message with 'tool_calls' must be followed by tool messages responding to \
         each 'tool_call_id'. The following tool_call_ids did not have response messages: {}",
        ids.join(", ")
    )))
}
