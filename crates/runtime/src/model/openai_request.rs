//! The body of a chat-completions request, made from Messages-shaped blocks
//! (developers.openai.com, "Create chat completion").

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::message::{Message, ToolDefinition, TurnRequest, UserBlock};

/// What differs between endpoints that all call themselves compatible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dialect {
    /// Whether the output limit is called `max_completion_tokens` (OpenAI's newer models take only
    /// that) or `max_tokens` (most others know only that).
    pub completion_tokens: bool,
    /// Whether `stream_options` may be sent.
    pub stream_options: bool,
}

/// The request as JSON.
pub(super) fn body(
    model: &str,
    request: &TurnRequest<'_>,
    dialect: Dialect,
) -> Result<Vec<u8>, serde_json::Error> {
    let mut messages = Vec::with_capacity(request.messages.len() + 1);
    if !request.system.is_empty() {
        messages.push(WireMessage::plain("system", request.system.into()));
    }
    for message in request.messages {
        match message {
            Message::Assistant(blocks) => messages.push(assistant(blocks)),
            Message::User(blocks) => user(blocks, &mut messages),
        }
    }
    let limit = Some(request.max_output_tokens);
    serde_json::to_vec(&WireRequest {
        model,
        stream: true,
        stream_options: dialect.stream_options.then_some(StreamOptions { include_usage: true }),
        max_completion_tokens: limit.filter(|_| dialect.completion_tokens),
        max_tokens: limit.filter(|_| !dialect.completion_tokens),
        tools: request.tools.iter().map(WireTool::from).collect(),
        messages,
    })
}

/// Text and calls of one turn; block types that this API doesn't have are left out.
fn assistant(blocks: &[Box<RawValue>]) -> WireMessage {
    #[derive(Deserialize)]
    struct Block<'a> {
        #[serde(rename = "type")]
        kind: String,
        text: Option<String>,
        id: Option<String>,
        name: Option<String>,
        #[serde(borrow)]
        input: Option<&'a RawValue>,
    }
    let mut text = String::new();
    let mut tool_calls = Vec::new();
    for block in blocks {
        let Ok(block) = serde_json::from_str::<Block<'_>>(block.get()) else {
            continue;
        };
        match (block.kind.as_str(), block.text, block.id, block.name) {
            ("text", Some(piece), _, _) => text.push_str(&piece),
            ("tool_use", _, Some(id), Some(name)) => tool_calls.push(WireCall {
                id,
                kind: "function",
                function: WireFunction {
                    name,
                    arguments: block.input.map_or("{}", RawValue::get).to_owned(),
                },
            }),
            _ => {}
        }
    }
    let content = (!text.is_empty() || tool_calls.is_empty()).then_some(text);
    WireMessage { role: "assistant", content, tool_calls, tool_call_id: None }
}

/// Results first, one message each, as the API wants them right after the calls. It has no flag
/// for errors, so the text says it.
fn user(blocks: &[UserBlock], messages: &mut Vec<WireMessage>) {
    for block in blocks {
        if let UserBlock::ToolResult { tool_use_id, content, is_error } = block {
            let content = match is_error {
                true => format!("error: {content}"),
                false => content.clone(),
            };
            messages.push(WireMessage {
                tool_call_id: Some(tool_use_id.clone()),
                ..WireMessage::plain("tool", content)
            });
        }
    }
    for block in blocks {
        match block {
            UserBlock::Text(text) if !text.is_empty() => {
                messages.push(WireMessage::plain("user", text.clone()));
            }
            _ => {}
        }
    }
}

#[derive(Serialize)]
struct WireRequest<'a> {
    model: &'a str,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<WireTool<'a>>,
    messages: Vec<WireMessage>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Serialize)]
struct WireMessage {
    role: &'static str,
    content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<WireCall>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<String>,
}

impl WireMessage {
    fn plain(role: &'static str, content: String) -> Self {
        Self { role, content: Some(content), tool_calls: Vec::new(), tool_call_id: None }
    }
}

#[derive(Serialize)]
struct WireCall {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    function: WireFunction,
}

#[derive(Serialize)]
struct WireFunction {
    name: String,
    arguments: String,
}

#[derive(Serialize)]
struct WireTool<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    function: WireDefinition<'a>,
}

#[derive(Serialize)]
struct WireDefinition<'a> {
    name: &'a str,
    description: &'a str,
    parameters: &'a serde_json::Value,
}

impl<'a> From<&'a ToolDefinition> for WireTool<'a> {
    fn from(tool: &'a ToolDefinition) -> Self {
        Self {
            kind: "function",
            function: WireDefinition {
                name: &tool.name,
                description: &tool.description,
                parameters: &tool.input_schema,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn blocks_become_chat_messages_and_errors_are_said_in_the_text() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let messages = [
            Message::User(vec![UserBlock::Text("task".into())]),
            Message::Assistant(vec![
                raw(r#"{"type":"text","text":"I look"}"#),
                raw(r#"{"type":"thinking","thinking":"x"}"#),
                raw(r#"{"type":"tool_use","id":"c1","name":"ls","input":{"a": 1.0}}"#),
            ]),
            Message::User(vec![
                UserBlock::Text("and".into()),
                UserBlock::ToolResult {
                    tool_use_id: "c1".into(),
                    content: "no".into(),
                    is_error: true,
                },
            ]),
        ];
        let tools = [ToolDefinition {
            name: "ls".into(),
            description: "d".into(),
            input_schema: json!({"type": "object"}),
        }];
        let request =
            TurnRequest { system: "sys", tools: &tools, messages: &messages, max_output_tokens: 7 };
        let read = |dialect| -> Value {
            serde_json::from_slice(&body("m", &request, dialect).unwrap()).unwrap()
        };
        let value = read(Dialect { completion_tokens: true, stream_options: true });
        assert_eq!(value["max_completion_tokens"], 7);
        assert_eq!(value["stream_options"]["include_usage"], true);
        assert_eq!(value["tools"][0]["function"]["parameters"]["type"], "object");
        assert_eq!(
            value["messages"],
            json!([
                {"role": "system", "content": "sys"},
                {"role": "user", "content": "task"},
                {"role": "assistant", "content": "I look", "tool_calls": [
                    {"id": "c1", "type": "function",
                     "function": {"name": "ls", "arguments": "{\"a\": 1.0}"}}]},
                {"role": "tool", "content": "error: no", "tool_call_id": "c1"},
                {"role": "user", "content": "and"},
            ])
        );
        let value = read(Dialect { completion_tokens: false, stream_options: false });
        assert_eq!(value["max_tokens"], 7);
        assert!(value.get("stream_options").is_none());
        assert!(value.get("max_completion_tokens").is_none());
    }
}
