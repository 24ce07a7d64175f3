//! A person plays the model at a prompt, to try a set of tools by hand.

use async_trait::async_trait;
use lar_core::display::{Mode, escape, visible};
use serde_json::{Value, json};

use super::message::{Message, ToolDefinition, TurnRequest, UserBlock};
use super::object::Object;
use super::price::Price;
use super::turn::{Turn, input_fault};
use super::{Model, ModelError, Progress};
use lar_core::display::first_chars;

/// The most characters of one text that are shown.
const MOST_SHOWN: usize = 16_384;

/// Where the person is. The program supplies a terminal, tests a script.
#[async_trait]
pub trait Prompt: Send + Sync {
    /// Shows `prompt` and reads one line without its line break; `None` when input has ended.
    /// Dropping the future must not lose a line that a later call would return.
    async fn line(&self, prompt: &str) -> std::io::Result<Option<String>>;

    /// Shows some lines. They are already escaped.
    async fn show(&self, text: &str) -> std::io::Result<()>;
}

/// The person as a model.
pub struct Human {
    prompt: Box<dyn Prompt>,
}

impl Human {
    /// A person at this prompt.
    pub fn new(prompt: Box<dyn Prompt>) -> Self {
        Self { prompt }
    }

    async fn show(&self, text: &str) -> Result<(), ModelError> {
        self.prompt.show(text).await.map_err(at_prompt)
    }

    async fn introduce(&self, request: &TurnRequest<'_>) -> Result<(), ModelError> {
        if let Some(Message::User(blocks)) = request.messages.last() {
            for block in blocks {
                let text = match block {
                    UserBlock::Text(text) => format!("> {}", shown(text)),
                    UserBlock::ToolResult { content, is_error, .. } => {
                        let word = if *is_error { "error" } else { "result" };
                        format!("{word}: {}", shown(content))
                    }
                };
                self.show(&text).await?;
            }
        }
        if request.messages.len() <= 1 {
            self.show(&overview(request.tools)).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Model for Human {
    fn name(&self) -> &str {
        "human"
    }

    async fn turn(
        &self,
        request: &TurnRequest<'_>,
        _progress: &dyn Progress,
    ) -> Result<Turn, ModelError> {
        self.introduce(request).await?;
        let mut said = String::new();
        loop {
            let line = self.prompt.line("model> ").await.map_err(at_prompt)?;
            let Some(line) = line else {
                return Err(ModelError::PromptClosed);
            };
            match Command::read(&line, request.tools) {
                Ok(Command::Nothing) => {}
                Ok(Command::Help) => self.show(&overview(request.tools)).await?,
                Ok(Command::Say(text)) => {
                    said.push_str(&text);
                    said.push('\n');
                }
                Ok(Command::Done(text)) => {
                    said.push_str(&text);
                    let text = match said.trim() {
                        "" => "done",
                        text => text,
                    };
                    return turn(text, None);
                }
                Ok(Command::Call { tool, input }) => {
                    // The number of messages grows with every turn, so the id is fresh.
                    let id = format!("toolu_human_{}", request.messages.len());
                    return turn(said.trim(), Some((&id, &tool, input)));
                }
                Err(message) => self.show(&message).await?,
            }
        }
    }

    /// People are not billed by the token.
    fn price(&self) -> Option<Price> {
        Some(Price::FREE)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Command {
    Nothing,
    Help,
    Say(String),
    Done(String),
    Call { tool: String, input: String },
}

impl Command {
    /// Reads a typed line; the error is for the person who typed it.
    fn read(line: &str, tools: &[ToolDefinition]) -> Result<Self, String> {
        let line = line.trim();
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        // `!` sends a call as it is typed, to see how it is refused.
        if let Some(tool) = word.strip_prefix('!') {
            return call(tool, if rest.is_empty() { "{}" } else { rest });
        }
        if let Some(tool) = tools.iter().find(|tool| tool.name == word) {
            return match (rest, only_text_field(&tool.input_schema)) {
                ("", _) => call(word, "{}"),
                (rest, _) if rest.starts_with('{') => call(word, rest),
                (rest, Some(field)) => call(word, &json!({ field: rest }).to_string()),
                _ => Err(format!(
                    "`{word}` takes a JSON object, such as `{word} {}`",
                    sample(&tool.input_schema)
                )),
            };
        }
        match word {
            "" => Ok(Self::Nothing),
            "help" | "tools" | "?" => Ok(Self::Help),
            "say" => Ok(Self::Say(rest.to_owned())),
            "done" => Ok(Self::Done(rest.to_owned())),
            _ => {
                let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
                Err(format!(
                    "`{}` is neither a command nor a tool; tools: {}; commands: `say TEXT`, \
                     `done [TEXT]`, `tools`",
                    visible(word, 64),
                    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
                ))
            }
        }
    }
}

fn call(tool: &str, input: &str) -> Result<Command, String> {
    match input_fault(input) {
        _ if tool.is_empty() => Err("`!` wants a tool's name right after it".to_owned()),
        Some(why) => Err(format!("{why}; nothing was sent")),
        None => Ok(Command::Call { tool: tool.to_owned(), input: input.to_owned() }),
    }
}

fn turn(text: &str, call: Option<(&str, &str, String)>) -> Result<Turn, ModelError> {
    let make = || {
        let mut blocks = Vec::new();
        if !text.is_empty() {
            blocks.push(serde_json::value::to_raw_value(&json!({"type": "text", "text": text}))?);
        }
        let stop = match &call {
            Some(_) => "tool_use",
            None => "end_turn",
        };
        if let Some((id, name, input)) = call {
            let mut block = Object::default();
            block.set("type", &"tool_use")?;
            block.set("id", &id)?;
            block.set("name", &name)?;
            block.set_raw("input", serde_json::value::RawValue::from_string(input)?);
            blocks.push(block.to_raw()?);
        }
        let mut message = Object::default();
        message.set("model", &"human")?;
        message.set("content", &blocks)?;
        message.set("stop_reason", &stop)?;
        message.set("usage", &json!({"input_tokens": 0, "output_tokens": 0}))?;
        Turn::build(message, Vec::new())
    };
    make().map_err(|invalid| ModelError::Config(format!("the line makes no turn: {invalid}")))
}

fn overview(tools: &[ToolDefinition]) -> String {
    let mut text = String::from("You are the model. Tools:\n");
    for tool in tools {
        text.push_str(&format!(
            "  {} {}\n      {}\n",
            tool.name,
            sample(&tool.input_schema),
            visible(&tool.description, 1000)
        ));
    }
    if tools.is_empty() {
        text.push_str("  none\n");
    }
    text.push_str(
        "Type `TOOL {json}` to call (a tool with one text field takes the plain text), \
         `!TOOL {json}` to send a call unchecked, `say TEXT` to explain the next call, \
         `done [TEXT]` to end, `tools` for this list.",
    );
    text
}

/// The only required field, if it is text.
fn only_text_field(schema: &Value) -> Option<String> {
    let required = schema.get("required")?.as_array()?;
    let [field] = required.as_slice() else {
        return None;
    };
    let field = field.as_str()?;
    let kind = schema.get("properties")?.get(field)?.get("type")?;
    (kind == "string").then(|| field.to_owned())
}

/// An input of the schema's shape, to copy from.
fn sample(schema: &Value) -> String {
    let fields = schema.get("properties").and_then(Value::as_object);
    let fields = fields.into_iter().flatten().map(|(name, field)| {
        let kind = field.get("type").and_then(Value::as_str).unwrap_or("…");
        format!("\"{name}\": <{kind}>")
    });
    format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
}

fn at_prompt(source: std::io::Error) -> ModelError {
    ModelError::Io { what: "the prompt can't be used".to_owned(), source }
}

/// Several lines that a person can read, of which nothing is hidden but what is cut.
fn shown(text: &str) -> String {
    let cut = first_chars(text, MOST_SHOWN);
    let more = if cut.len() < text.len() { "…" } else { "" };
    format!("{}{more}", escape(cut, Mode::Block))
}

#[cfg(test)]
mod tests {
    use super::super::Silent;
    use super::super::turn::Stop;
    use super::*;
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};

    struct Script {
        lines: Mutex<VecDeque<&'static str>>,
        shown: Arc<Mutex<String>>,
    }

    #[async_trait]
    impl Prompt for Script {
        async fn line(&self, _: &str) -> std::io::Result<Option<String>> {
            Ok(self.lines.lock().unwrap().pop_front().map(str::to_owned))
        }
        async fn show(&self, text: &str) -> std::io::Result<()> {
            self.shown.lock().unwrap().push_str(text);
            Ok(())
        }
    }

    async fn play(lines: &[&'static str]) -> (Result<Turn, ModelError>, String) {
        let shown = Arc::new(Mutex::new(String::new()));
        let human = Human::new(Box::new(Script {
            lines: Mutex::new(lines.iter().copied().collect()),
            shown: Arc::clone(&shown),
        }));
        let tools = [
            ToolDefinition {
                name: "shell_diag".into(),
                description: "runs".into(),
                input_schema: json!({"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}),
            },
            ToolDefinition {
                name: "deploy".into(),
                description: "deploys\u{1b}[2J".into(),
                input_schema: json!({"type": "object", "properties": {}}),
            },
        ];
        let messages = [Message::User(vec![UserBlock::Text("the task".into())])];
        let request =
            TurnRequest { system: "", tools: &tools, messages: &messages, max_output_tokens: 1 };
        let turn = human.turn(&request, &Silent).await;
        let shown = shown.lock().unwrap().clone();
        (turn, shown)
    }

    #[tokio::test]
    async fn calls_with_json_plain_text_and_nothing() {
        for (line, input) in [
            (r#"shell_diag {"command": "ls"}"#, r#"{"command": "ls"}"#),
            ("shell_diag kubectl get \"pods\"", r#"{"command":"kubectl get \"pods\""}"#),
            ("deploy", "{}"),
            (r#"!nonexistent {"x":1}"#, r#"{"x":1}"#),
        ] {
            let (turn, _) = play(&["say because", line]).await;
            let turn = turn.unwrap();
            assert_eq!(turn.stop, Stop::ToolUse);
            assert_eq!(turn.text(), "because");
            assert_eq!(turn.calls()[0].input, input, "{line}");
        }
    }

    #[tokio::test]
    async fn mistakes_are_explained_and_asked_again() {
        let (turn, shown) = play(&[
            "",
            "shel_diag ls",
            "deploy now",
            r#"shell_diag {"command""#,
            "tools",
            "done all well",
        ])
        .await;
        let turn = turn.unwrap();
        assert_eq!((turn.text(), turn.stop), ("all well".into(), Stop::EndTurn));
        for says in [
            "> the task",
            "`shel_diag` is neither a command nor a tool; tools: shell_diag, deploy",
            "`deploy` takes a JSON object",
            "not valid JSON",
            "\\u{1b}[2J",
            "\"command\": <string>",
        ] {
            assert!(shown.contains(says), "{says}: {shown}");
        }
        assert!(!shown.contains('\u{1b}'));
    }

    #[tokio::test]
    async fn an_ended_input_is_an_error() {
        let (turn, _) = play(&["say half"]).await;
        assert!(matches!(turn, Err(ModelError::PromptClosed)));
    }
}
