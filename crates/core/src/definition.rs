//! What the model is told about a token.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::scope::database::Engine;
use crate::scope::{FileMode, Scope};
use crate::token::Token;

/// A tool in the shape of the Messages API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolDefinition {
    /// Its name.
    pub name: String,
    /// What it does, what it allows, how often, and whether a person is asked.
    pub description: String,
    /// The JSON Schema of its input.
    pub input_schema: Value,
}

/// The definition of a token's tool, with the uses that are left now.
pub fn of(token: &Token, uses_left: u32) -> ToolDefinition {
    let what = describe(token.scope());
    let uses = match (uses_left, token.max_uses()) {
        (1, 1) => "It can be used once.".to_owned(),
        (left, all) => format!("{left} of {all} uses are left; each is spent for good."),
    };
    let approval = if token.requires_approval() {
        " A human must approve each use, so say beforehand why it is needed."
    } else {
        ""
    };
    ToolDefinition {
        name: token.tool_name(),
        description: format!("{what} {uses}{approval} Anything else is refused."),
        input_schema: schema(token.scope()),
    }
}

/// The runtime's own tool with which the model asks a person a question.
pub fn request_approval() -> ToolDefinition {
    ToolDefinition {
        name: "request_approval".to_owned(),
        description:
            "Asks a human to confirm before you go on. It confers nothing: tools that need \
                      approval ask by themselves when they are called."
                .to_owned(),
        input_schema: object(
            json!({
                "message": {"type": "string", "description": "What you want confirmed, and why."}
            }),
            &["message"],
        ),
    }
}

/// The runtime's own tool with which the model asks for a further capability.
pub fn request_capability() -> ToolDefinition {
    ToolDefinition {
        name: "request_capability".to_owned(),
        description: "Asks a human for a capability that you don't have. The human chooses among \
                      prepared ones, or none. What is granted appears as a new tool."
            .to_owned(),
        input_schema: object(
            json!({
                "scope": {"type": "string", "description": "What you need to be able to do."},
                "justification": {"type": "string", "description": "Why you need it."}
            }),
            &["scope", "justification"],
        ),
    }
}

fn describe(scope: &Scope) -> String {
    match scope {
        Scope::Shell(scope) => {
            let allowed: Vec<String> = scope.allowed().map(|p| format!("`{p}`")).collect();
            format!(
                "Runs one command, without a shell: no pipes, redirections, substitutions, globs or \
                 `;`. Allowed are commands that begin with {}.",
                allowed.join(" or ")
            )
        }
        Scope::Http(scope) => format!(
            "Sends an HTTP request to {} ({}). Redirects are not followed.",
            scope.url,
            scope.methods.join(", ")
        ),
        Scope::File(scope) => {
            let what = match scope.mode {
                FileMode::Read => "Reads a file",
                FileMode::Write => "Replaces a file",
                FileMode::ReadWrite => "Reads or replaces a file",
            };
            format!(
                "{what} at or beneath {} (at most {} bytes).",
                scope.paths().join(" or "),
                scope.max_bytes
            )
        }
        Scope::Database(scope) => format!(
            "Runs one SQL statement on a {} database. Allowed are {}. At most {} rows come back. Values \
             go into `params`, for {}.",
            scope.engine.name(),
            scope.patterns(),
            scope.row_limit,
            match scope.engine {
                Engine::Postgres => "`$1`, `$2` … in the statement",
                Engine::Sqlite => "`?1`, `?2` … in the statement",
            }
        ),
        Scope::Deploy(scope) => {
            let back = match &scope.rollback_to {
                Some(image) => format!(" If the rollout fails, it returns to {image} by itself."),
                None => String::new(),
            };
            format!("Deploys {} to {}. It takes no input.{back}", scope.image, scope.target)
        }
        Scope::Rollback(scope) => scope.rollback_summary(),
        Scope::Wait(scope) => format!("Pauses for at most {} seconds.", scope.max_seconds),
        Scope::Secret(scope) => format!(
            "{} A secret is put into {}; you never see it.",
            describe(&scope.inner),
            scope.injection.summary()
        ),
    }
}

fn schema(scope: &Scope) -> Value {
    match scope {
        Scope::Shell(_) => object(
            json!({"command": {"type": "string", "description": "The command, as POSIX shell words."}}),
            &["command"],
        ),
        Scope::Http(scope) => object(
            json!({
                "method": {"type": "string", "enum": scope.methods},
                "body": {"description": "The JSON body, for methods that take one."}
            }),
            &["method"],
        ),
        Scope::File(scope) => {
            let operations: &[&str] = match scope.mode {
                FileMode::Read => &["read"],
                FileMode::Write => &["write"],
                FileMode::ReadWrite => &["read", "write"],
            };
            let mut properties = json!({
                "operation": {"type": "string", "enum": operations},
                "path": {"type": "string", "description": "The file's path."}
            });
            if scope.mode != FileMode::Read
                && let Some(map) = properties.as_object_mut()
            {
                let content = json!({"type": "string", "description": "The file's whole new content, for a write."});
                map.insert("content".to_owned(), content);
            }
            object(properties, &["operation", "path"])
        }
        Scope::Database(_) => object(
            json!({
                "query": {"type": "string", "description": "One SQL statement."},
                "params": {
                    "type": "array",
                    "items": {"type": ["string", "number", "boolean", "null"]},
                    "description": "The values of the statement's parameters, in order."
                }
            }),
            &["query"],
        ),
        Scope::Deploy(_) | Scope::Rollback(_) => object(json!({}), &[]),
        Scope::Wait(scope) => object(
            json!({
                "seconds": {"type": "integer", "minimum": 0, "maximum": scope.max_seconds},
                "reason": {"type": "string", "description": "What you wait for."}
            }),
            &["seconds"],
        ),
        Scope::Secret(scope) => schema(&scope.inner),
    }
}

fn object(properties: Value, required: &[&str]) -> Value {
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false
    })
}
