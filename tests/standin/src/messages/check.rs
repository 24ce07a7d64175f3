//! What the Messages API refuses in a request's top level, its tools and its cache breakpoints.

use serde_json::{Map, Value};

use super::turns;
use crate::provider::{History, Problem};

const FIELDS: &[&str] = &[
    "cache_control",
    "container",
    "inference_geo",
    "max_tokens",
    "messages",
    "metadata",
    "model",
    "output_config",
    "service_tier",
    "stop_sequences",
    "stream",
    "system",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
];

const TOOL_FIELDS: &[&str] = &[
    "allowed_callers",
    "cache_control",
    "defer_loading",
    "description",
    "eager_input_streaming",
    "input_examples",
    "input_schema",
    "name",
    "strict",
    "type",
];

/// Cache breakpoints that one request may carry.
const BREAKPOINTS: usize = 4;

/// Judges a whole request.
pub(super) fn request(body: &Value, history: History<'_>) -> Result<(), Problem> {
    for field in ["model", "max_tokens", "messages"] {
        if body.get(field).is_none() {
            return Err(Problem::invalid(format!("{field}: Field required")));
        }
    }
    only(body, FIELDS, "")?;
    if body["model"].as_str().is_none_or(str::is_empty) {
        return Err(Problem::invalid("model: Input should be a valid non-empty string"));
    }
    match body["max_tokens"].as_i64() {
        None => {
            return Err(Problem::invalid("max_tokens: Input should be a valid integer"));
        }
        Some(..1) => {
            let message = "max_tokens: Input should be greater than or equal to 1";
            return Err(Problem::invalid(message));
        }
        Some(_) => {}
    }
    options(body)?;
    system(&body["system"])?;
    tools(body)?;
    breakpoints(body)?;
    turns::messages(&body["messages"], history)
}

/// Refuses fields that `value` (an object) has and the API doesn't.
pub(super) fn only(value: &Value, known: &[&str], at: &str) -> Result<(), Problem> {
    let fields = value.as_object().into_iter().flat_map(Map::keys);
    for field in fields {
        if !known.contains(&field.as_str()) {
            let message = format!("{at}{field}: Extra inputs are not permitted");
            return Err(Problem::invalid(message));
        }
    }
    Ok(())
}

/// Refuses a text that is empty or blank.
pub(super) fn text(value: &Value, at: &str) -> Result<(), Problem> {
    let Some(text) = value.as_str() else {
        return Err(Problem::invalid(format!("{at}: Input should be a valid string")));
    };
    if text.is_empty() {
        return Err(Problem::invalid(format!("{at}: text content blocks must be non-empty")));
    }
    if text.trim().is_empty() {
        let message = format!("{at}: text content blocks must contain non-whitespace text");
        return Err(Problem::invalid(message));
    }
    Ok(())
}

fn options(body: &Value) -> Result<(), Problem> {
    let wrong = |message: &str| Err(Problem::invalid(message));
    if body.get("stream").is_some_and(|value| !value.is_boolean()) {
        return wrong("stream: Input should be a valid boolean");
    }
    for field in ["temperature", "top_p"] {
        let within = |value: &Value| value.as_f64().is_some_and(|x| (0.0..=1.0).contains(&x));
        if body.get(field).is_some_and(|value| !within(value)) {
            return wrong(&format!("{field}: Input should be a number from 0 to 1"));
        }
    }
    if let Some(sequences) = body.get("stop_sequences") {
        let blank = |value: &Value| value.as_str().is_none_or(|text| text.trim().is_empty());
        if sequences.as_array().is_none_or(|all| all.iter().any(blank)) {
            return wrong("stop_sequences: each stop sequence must contain non-whitespace");
        }
    }
    if let Some(metadata) = body.get("metadata") {
        only(metadata, &["user_id"], "metadata.")?;
    }
    if let Some(thinking) = body.get("thinking") {
        let budget = thinking["budget_tokens"].as_i64();
        match thinking["type"].as_str() {
            Some("disabled" | "adaptive") => {}
            Some("enabled") if budget.is_none_or(|budget| budget < 1024) => {
                let message = "thinking.enabled.budget_tokens: Input should be greater than or \
                               equal to 1024";
                return wrong(message);
            }
            Some("enabled") if budget >= body["max_tokens"].as_i64() => {
                return wrong("`max_tokens` must be greater than `thinking.budget_tokens`");
            }
            Some("enabled") => {}
            _ => return wrong("thinking.type: Input should be 'enabled' or 'disabled'"),
        }
    }
    Ok(())
}

fn system(system: &Value) -> Result<(), Problem> {
    match system {
        Value::Null => Ok(()),
        Value::String(_) => Ok(()),
        Value::Array(blocks) => {
            for (index, block) in blocks.iter().enumerate() {
                if block["type"] != "text" {
                    let message = format!("system.{index}.type: Input should be 'text'");
                    return Err(Problem::invalid(message));
                }
                let known = ["type", "text", "cache_control", "citations"];
                only(block, &known, &format!("system.{index}."))?;
                text(&block["text"], &format!("system.{index}.text"))?;
            }
            Ok(())
        }
        _ => Err(Problem::invalid("system: Input should be a string or a list of text blocks")),
    }
}

fn tools(body: &Value) -> Result<(), Problem> {
    let none = Vec::new();
    let tools = match body.get("tools") {
        None => &none,
        Some(Value::Array(tools)) => tools,
        Some(_) => return Err(Problem::invalid("tools: Input should be a valid list")),
    };
    let mut names: Vec<&str> = Vec::new();
    for (index, tool) in tools.iter().enumerate() {
        let at = format!("tools.{index}.custom.");
        let wrong = |message: &str| Err(Problem::invalid(format!("{at}{message}")));
        if !tool.is_object() {
            return wrong(": Input should be a valid dictionary");
        }
        if tool.get("type").is_some_and(|kind| kind != "custom") {
            let message = format!("tools.{index}: Input tag is not one that this stand-in offers");
            return Err(Problem::invalid(message));
        }
        only(tool, TOOL_FIELDS, &at)?;
        let Some(name) = tool["name"].as_str() else {
            return wrong("name: Field required");
        };
        if !tool_name(name, 128) {
            return wrong("name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'");
        }
        if names.contains(&name) {
            return Err(Problem::invalid("tools: Tool names must be unique."));
        }
        names.push(name);
        if tool.get("description").is_some_and(|description| !description.is_string()) {
            return wrong("description: Input should be a valid string");
        }
        schema(tool.get("input_schema"), &at)?;
    }
    choice(body.get("tool_choice"), &names)
}

/// Whether a tool's name fits `^[a-zA-Z0-9_-]{1,LONGEST}$`.
pub(crate) fn tool_name(name: &str, longest: usize) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (1..=longest).contains(&name.len()) && name.bytes().all(allowed)
}

fn schema(schema: Option<&Value>, at: &str) -> Result<(), Problem> {
    let wrong = |message: &str| Err(Problem::invalid(format!("{at}input_schema{message}")));
    let Some(schema) = schema else {
        return wrong(": Field required");
    };
    if !schema.is_object() {
        return wrong(": Input should be a valid dictionary");
    }
    match schema.get("type") {
        None => return wrong(".type: Field required"),
        Some(kind) if kind != "object" => return wrong(".type: Input should be 'object'"),
        Some(_) => {}
    }
    if ["oneOf", "allOf", "anyOf"].iter().any(|word| schema.get(word).is_some()) {
        return wrong(" does not support oneOf, allOf, or anyOf at the top level");
    }
    let invalid = ": JSON schema is invalid. It must match JSON Schema draft 2020-12";
    if let Some(properties) = schema.get("properties") {
        let Some(properties) = properties.as_object() else {
            return wrong(invalid);
        };
        let fits = |key: &str| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
            (1..=64).contains(&key.len()) && key.bytes().all(allowed)
        };
        if !properties.keys().all(|key| fits(key)) {
            let message =
                ".properties: Property keys should match pattern '^[a-zA-Z0-9_.-]{1,64}$'";
            return wrong(message);
        }
        if !properties.values().all(|value| value.is_object() || value.is_boolean()) {
            return wrong(invalid);
        }
    }
    if let Some(required) = schema.get("required") {
        let strings = |all: &Vec<Value>| all.iter().all(Value::is_string);
        if !required.as_array().is_some_and(strings) {
            return wrong(invalid);
        }
    }
    Ok(())
}

fn choice(choice: Option<&Value>, names: &[&str]) -> Result<(), Problem> {
    let Some(choice) = choice else { return Ok(()) };
    if names.is_empty() {
        let message = "tool_choice: may only be specified while providing tools";
        return Err(Problem::invalid(message));
    }
    only(choice, &["type", "name", "disable_parallel_tool_use"], "tool_choice.")?;
    match choice["type"].as_str() {
        Some("auto" | "any" | "none") => Ok(()),
        Some("tool") if names.iter().any(|name| choice["name"] == *name) => Ok(()),
        Some("tool") => Err(Problem::invalid("tool_choice: tool not found in provided tools")),
        _ => Err(Problem::invalid("tool_choice.type: Input tag does not match any expected tag")),
    }
}

fn breakpoints(body: &Value) -> Result<(), Problem> {
    let mut found = 0;
    for part in [&body["system"], &body["tools"], &body["messages"]] {
        for item in part.as_array().into_iter().flatten() {
            found += breakpoint(item)?;
            for block in item["content"].as_array().into_iter().flatten() {
                found += breakpoint(block)?;
                for inner in block["content"].as_array().into_iter().flatten() {
                    found += breakpoint(inner)?;
                }
            }
        }
    }
    found += breakpoint(body)?;
    if found > BREAKPOINTS {
        return Err(Problem::invalid(format!(
            "A maximum of {BREAKPOINTS} blocks with cache_control may be provided. Found {found}."
        )));
    }
    Ok(())
}

fn breakpoint(holder: &Value) -> Result<usize, Problem> {
    let Some(control) = holder.get("cache_control").filter(|control| !control.is_null()) else {
        return Ok(0);
    };
    if control["type"] != "ephemeral" {
        return Err(Problem::invalid("cache_control.type: Input should be 'ephemeral'"));
    }
    only(control, &["type", "ttl"], "cache_control.")?;
    if control.get("ttl").is_some_and(|ttl| ttl != "5m" && ttl != "1h") {
        return Err(Problem::invalid("cache_control.ttl: Input should be '5m' or '1h'"));
    }
    Ok(1)
}
