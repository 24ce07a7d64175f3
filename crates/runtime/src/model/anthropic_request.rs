//! The body of a Messages API request, with its prompt-cache breakpoints.

use serde::Serialize;
use serde_json::value::RawValue;

use super::message::{Message, ToolDefinition, TurnRequest, UserBlock};

/// The request as JSON. At most four cache breakpoints, which is what the API takes: the last
/// tool, the system prompt, and the two latest user messages. The older of these two is where the
/// previous request ended, so the conversation so far is read from the cache and only the newest
/// turn is written to it.
pub(super) fn body(
    model: &str,
    request: &TurnRequest<'_>,
    streaming: bool,
) -> Result<Vec<u8>, serde_json::Error> {
    let last_tool = request.tools.len().saturating_sub(1);
    let mut to_mark = 2;
    let mut messages: Vec<WireMessage<'_>> = request
        .messages
        .iter()
        .rev()
        .map(|message| match message {
            Message::Assistant(blocks) => WireMessage {
                role: "assistant",
                content: blocks.iter().map(|raw| WireBlock::Raw(raw)).collect(),
            },
            Message::User(blocks) => {
                let mark = to_mark > 0;
                to_mark -= i32::from(mark);
                WireMessage { role: "user", content: user_blocks(blocks, mark) }
            }
        })
        .collect();
    messages.reverse();
    serde_json::to_vec(&WireRequest {
        model,
        max_tokens: request.max_output_tokens,
        stream: streaming,
        system: (!request.system.is_empty()).then(|| [text(request.system, true)]),
        tools: request
            .tools
            .iter()
            .enumerate()
            .map(|(at, tool)| WireTool { tool, cache_control: cache(at == last_tool) })
            .collect(),
        messages,
    })
}

/// The API wants all results before any text, and refuses empty texts.
fn user_blocks(blocks: &[UserBlock], mark: bool) -> Vec<WireBlock<'_>> {
    let results = blocks.iter().filter_map(|block| match block {
        UserBlock::Text(_) => None,
        UserBlock::ToolResult { tool_use_id, content, is_error } => Some(WireBlock::ToolResult {
            kind: "tool_result",
            tool_use_id,
            content,
            is_error: *is_error,
            cache_control: None,
        }),
    });
    let texts = blocks.iter().filter_map(|block| match block {
        UserBlock::Text(words) if !words.is_empty() => Some(text(words, false)),
        _ => None,
    });
    let mut content: Vec<WireBlock<'_>> = results.chain(texts).collect();
    if mark {
        match content.last_mut() {
            Some(
                WireBlock::Text { cache_control, .. } | WireBlock::ToolResult { cache_control, .. },
            ) => *cache_control = cache(true),
            Some(WireBlock::Raw(_)) | None => {}
        }
    }
    content
}

fn text(text: &str, mark: bool) -> WireBlock<'_> {
    WireBlock::Text { kind: "text", text, cache_control: cache(mark) }
}

fn cache(mark: bool) -> Option<CacheControl> {
    mark.then_some(CacheControl { kind: "ephemeral" })
}

#[derive(Serialize)]
struct WireRequest<'a> {
    model: &'a str,
    max_tokens: u32,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<[WireBlock<'a>; 1]>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<WireTool<'a>>,
    messages: Vec<WireMessage<'a>>,
}

#[derive(Serialize)]
struct WireTool<'a> {
    #[serde(flatten)]
    tool: &'a ToolDefinition,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<CacheControl>,
}

#[derive(Serialize)]
struct WireMessage<'a> {
    role: &'static str,
    content: Vec<WireBlock<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum WireBlock<'a> {
    Raw(&'a RawValue),
    Text {
        #[serde(rename = "type")]
        kind: &'static str,
        text: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    ToolResult {
        #[serde(rename = "type")]
        kind: &'static str,
        tool_use_id: &'a str,
        content: &'a str,
        is_error: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
}

#[derive(Serialize)]
struct CacheControl {
    #[serde(rename = "type")]
    kind: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_request_has_the_api_s_shape_and_at_most_four_breakpoints() {
        let raw = r#"{"type":"novel","x":1.0,"b":0,"a":0}"#;
        let assistant = || Message::Assistant(vec![RawValue::from_string(raw.to_owned()).unwrap()]);
        let result = |id: &str| UserBlock::ToolResult {
            tool_use_id: id.to_owned(),
            content: "out".to_owned(),
            is_error: true,
        };
        let tool = |name: &str| ToolDefinition {
            name: name.to_owned(),
            description: "d".to_owned(),
            input_schema: json!({"type": "object"}),
        };
        let messages = [
            Message::User(vec![UserBlock::Text("task".to_owned())]),
            assistant(),
            Message::User(vec![UserBlock::Text(String::new()), result("a")]),
            assistant(),
            Message::User(vec![UserBlock::Text("more".to_owned()), result("b")]),
        ];
        let request = TurnRequest {
            system: "sys",
            tools: &[tool("one"), tool("two")],
            messages: &messages,
            max_output_tokens: 9,
        };
        let body = String::from_utf8(body("m", &request, true).unwrap()).unwrap();
        assert!(body.contains(raw), "the block is echoed to the byte: {body}");
        assert_eq!(body.matches("cache_control").count(), 4);
        let value: serde_json::Value = serde_json::from_str(&body).unwrap();
        let mark = json!({"type": "ephemeral"});
        assert_eq!(value["system"][0]["cache_control"], mark);
        assert_eq!(value["tools"][1]["cache_control"], mark);
        assert_eq!(value["max_tokens"], 9);
        let last = &value["messages"][4]["content"];
        assert_eq!(last[0]["type"], "tool_result");
        assert_eq!(last[0]["is_error"], true);
        assert_eq!(last[1], json!({"type": "text", "text": "more", "cache_control": mark}));
        assert_eq!(value["messages"][2]["content"].as_array().unwrap().len(), 1);
        assert_eq!(value["messages"][2]["content"][0]["cache_control"], mark);
        assert!(value["messages"][0]["content"][0].get("cache_control").is_none());
    }

    #[test]
    fn what_is_empty_is_left_out() {
        let messages = [Message::User(vec![UserBlock::Text("task".to_owned())])];
        let request =
            TurnRequest { system: "", tools: &[], messages: &messages, max_output_tokens: 1 };
        let body = String::from_utf8(body("m", &request, false).unwrap()).unwrap();
        assert!(!body.contains("system") && !body.contains("tools"), "{body}");
    }
}
