//! From the model's bytes to a canonical action with a digest.

use std::sync::Arc;

use serde::Serialize;

use crate::action::{
    Action, Content, DatabaseAction, FileAction, FileOperation, HttpAction, Param, SecretAction,
    ShellAction, WaitAction,
};
use crate::audit::commitment::{self, Blinding};
use crate::audit::room::MOST_ACTION_BYTES;
use crate::error::Refusal;
use crate::id::{AttemptId, CallSite};
use crate::json::{self, Digest, Fields, JsonRefusal, Limits};
use crate::scope::command::Command;
use crate::scope::{FileScope, HttpScope, Scope, ShellScope};
use crate::set::CapabilitySet;
use crate::token::Token;

/// A tool call as the model sent it. Nothing in it is trusted.
#[derive(Debug, Clone)]
pub struct ToolCall {
    /// Its place in the run.
    pub site: CallSite,
    /// The tool's name.
    pub tool: String,
    /// The input's exact JSON text.
    pub input: String,
    /// What the model said beside it.
    pub rationale: Option<String>,
}

/// A tool call that was understood: what would happen, and the digest of that. It is not yet judged.
#[derive(Debug, Clone)]
pub struct Invocation {
    site: CallSite,
    attempt: AttemptId,
    tool: String,
    token_name: String,
    action: Action,
    digest: Digest,
    rationale: Option<String>,
}

impl Invocation {
    /// Reads a call against the tools of a set.
    pub fn parse(call: ToolCall, set: &CapabilitySet) -> Result<Self, Refusal> {
        let entry = set.find(&call.tool, call.site.part)?;
        let action = read(entry.token().scope(), &call.input)?;
        Self::new(call, entry.token(), action)
    }

    fn new(call: ToolCall, token: &Token, action: Action) -> Result<Self, Refusal> {
        let bytes = bound(token.name(), &action).map_err(|error| {
            Refusal::InvalidInput(format!("the input can't be recorded: {error}"))
        })?;
        if bytes.len() > MOST_ACTION_BYTES {
            return Err(Refusal::InvalidInput(format!(
                "field `{}` makes the action {} bytes long in the record, and at most \
                 {MOST_ACTION_BYTES} fit; make it shorter",
                widest(&action),
                bytes.len()
            )));
        }
        let digest = Digest::of(&bytes);
        Ok(Self {
            attempt: AttemptId::at(&call.site),
            site: call.site,
            tool: call.tool,
            token_name: token.name().to_owned(),
            action,
            digest,
            rationale: call.rationale,
        })
    }

    /// Where the records of a run commit to what is done: with the digest of that commitment, so that nobody
    /// who guesses what was done learns from the digest that it was that.
    ///
    /// # Errors
    /// When the action has no canonical form.
    pub fn blinded(mut self, blinding: Option<&Arc<Blinding>>) -> Result<Self, Refusal> {
        let unrecordable = |error: JsonRefusal| {
            Refusal::InvalidInput(format!("the input can't be recorded: {error}"))
        };
        let Some(blinding) = blinding else { return Ok(self) };
        let args = blinding.action(&self.attempt, &self.action).map_err(unrecordable)?;
        if let Some(args) = args {
            self.digest = commitment::blinded(&args, &self.token_name).map_err(unrecordable)?;
        }
        Ok(self)
    }

    /// The tool that was called.
    pub fn tool(&self) -> &str {
        &self.tool
    }

    /// The token that the tool stands for.
    pub fn token_name(&self) -> &str {
        &self.token_name
    }

    /// What would happen.
    pub fn action(&self) -> &Action {
        &self.action
    }

    /// SHA-256 of the token's name and the action's canonical form.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Its place in the run.
    pub fn site(&self) -> &CallSite {
        &self.site
    }

    /// The attempt that this is.
    pub fn attempt(&self) -> AttemptId {
        self.attempt
    }

    /// What the model said beside it.
    pub fn rationale(&self) -> Option<&str> {
        self.rationale.as_deref()
    }
}

/// The canonical form that an approval binds to.
fn bound(token: &str, action: &Action) -> Result<Vec<u8>, JsonRefusal> {
    #[derive(Serialize)]
    struct Bound<'a> {
        action: &'a Action,
        token: &'a str,
    }
    json::canonical(&Bound { action, token })
}

/// The field of the input that can make an action long: long texts are recorded by their digests, so
/// that what is left are many words, many parameters, or a path.
fn widest(action: &Action) -> &'static str {
    match action {
        Action::Shell(_) => "command",
        Action::Http(_) => "body",
        Action::File(_) => "path",
        Action::Database(_) => "params",
        Action::Deploy(_) | Action::Rollback(_) => "argv",
        Action::Wait(_) => "reason",
        Action::Secret(secret) => widest(&secret.inner),
    }
}

/// Reads an input by the kind of the scope that it is for.
fn read(scope: &Scope, input: &str) -> Result<Action, Refusal> {
    let mut all = json::fields(input, &limits(scope)).map_err(invalid)?;
    let fields = &mut all;
    let action = match scope {
        Scope::Shell(scope) => Action::Shell(shell(scope, fields)?),
        Scope::Http(scope) => Action::Http(http(scope, fields)?),
        Scope::File(scope) => Action::File(file(scope, fields)?),
        Scope::Database(_) => Action::Database(database(fields)?),
        Scope::Deploy(scope) => Action::Deploy(scope.action()),
        Scope::Rollback(scope) => Action::Rollback(scope.rollback_action()),
        Scope::Wait(_) => Action::Wait(WaitAction {
            seconds: json::take_u64(fields, "seconds").map_err(invalid)?,
            reason: json::take_optional_string(fields, "reason")
                .map_err(invalid)?
                .map(Content::from),
        }),
        Scope::Secret(scope) => {
            let injection = scope.injection.clone();
            let inner = match scope.inner.as_ref() {
                Scope::Shell(inner) => Action::Shell(shell(inner, fields)?),
                Scope::Http(inner) => Action::Http(http(inner, fields)?),
                other => {
                    return Err(Refusal::TokenScope(format!(
                        "a secret can't go into a {} action",
                        other.kind()
                    )));
                }
            };
            Action::Secret(SecretAction { injection, inner: Box::new(inner) })
        }
    };
    json::finish(fields, known(scope)).map_err(invalid)?;
    Ok(action)
}

fn invalid(error: JsonRefusal) -> Refusal {
    Refusal::InvalidInput(error.to_string())
}

/// The fields that an input may have.
fn known(scope: &Scope) -> &'static [&'static str] {
    match scope {
        Scope::Shell(_) => &["command"],
        Scope::Http(_) => &["method", "body"],
        Scope::File(_) => &["operation", "path", "content"],
        Scope::Database(_) => &["query", "params"],
        Scope::Deploy(_) | Scope::Rollback(_) => &[],
        Scope::Wait(_) => &["seconds", "reason"],
        Scope::Secret(scope) => known(&scope.inner),
    }
}

/// How large an input may be: the text that it carries, at six bytes of JSON for one (`\u0000`),
/// and room for the rest.
fn limits(scope: &Scope) -> Limits {
    let carried = match scope {
        Scope::Http(scope) => scope.max_body,
        Scope::File(scope) => scope.max_bytes,
        Scope::Secret(scope) => return limits(&scope.inner),
        Scope::Shell(_)
        | Scope::Database(_)
        | Scope::Deploy(_)
        | Scope::Rollback(_)
        | Scope::Wait(_) => 0,
    };
    let bytes = carried.saturating_mul(6).saturating_add(1 << 18);
    Limits { max_bytes: usize::try_from(bytes).unwrap_or(usize::MAX), ..Limits::default() }
}

fn shell(scope: &ShellScope, fields: &mut Fields) -> Result<ShellAction, Refusal> {
    let command = json::take_string(fields, "command").map_err(invalid)?;
    let command =
        Command::parse(&command).map_err(|error| Refusal::CommandNotAllowed(error.to_string()))?;
    Ok(scope.action(command))
}

fn http(scope: &HttpScope, fields: &mut Fields) -> Result<HttpAction, Refusal> {
    let method = match json::take_optional_string(fields, "method").map_err(invalid)? {
        Some(method) => method.to_ascii_uppercase(),
        None => match scope.methods.as_slice() {
            [only] => only.clone(),
            several => {
                return Err(Refusal::InvalidInput(format!(
                    "field `method` is missing; it is one of {}",
                    several.join(", ")
                )));
            }
        },
    };
    // A model fills every field of a schema: an empty text is no body where none can be.
    let bare = matches!(method.as_str(), "GET" | "HEAD" | "OPTIONS");
    let body = json::take_optional_raw(fields, "body")
        .map(|raw| raw.get().to_owned())
        .filter(|text| text != "null" && !(bare && text == "\"\""));
    Ok(HttpAction {
        method,
        url: scope.url.to_string(),
        headers: scope.headers.clone(),
        body: body.map(Content::from),
    })
}

fn file(scope: &FileScope, fields: &mut Fields) -> Result<FileAction, Refusal> {
    let operation = match json::take_string(fields, "operation").map_err(invalid)?.as_str() {
        "read" => FileOperation::Read,
        "write" => FileOperation::Write,
        _ => {
            return Err(Refusal::InvalidInput(
                "field `operation` must be `read` or `write`".to_owned(),
            ));
        }
    };
    let path = json::take_string(fields, "path").map_err(invalid)?;
    // An empty text says nothing of a read.
    let content = json::take_optional_string(fields, "content")
        .map_err(invalid)?
        .filter(|text| operation == FileOperation::Write || !text.is_empty());
    match (operation, &content) {
        (FileOperation::Write, None) => {
            return Err(Refusal::InvalidInput(
                "field `content` is missing; a write needs it".to_owned(),
            ));
        }
        (FileOperation::Read, Some(_)) => {
            return Err(Refusal::InvalidInput(
                "field `content` goes with `write` only; leave it out".to_owned(),
            ));
        }
        (FileOperation::Write, Some(_)) | (FileOperation::Read, None) => {}
    }
    let (root, path) = scope.locate(&path)?;
    Ok(FileAction { operation, root, path, content: content.map(Content::from) })
}

/// The most parameters that a query may have.
const MOST_PARAMS: usize = 1_000;

fn database(fields: &mut Fields) -> Result<DatabaseAction, Refusal> {
    let query = json::take_string(fields, "query").map_err(invalid)?;
    let mut params = Vec::new();
    if let Some(list) = json::take_optional_raw(fields, "params").filter(|raw| raw.get() != "null")
    {
        let wrong = || {
            Refusal::InvalidInput(format!(
                "field `params` must be a list of at most {MOST_PARAMS} texts, numbers, truth values or nulls"
            ))
        };
        let items: Vec<Box<serde_json::value::RawValue>> =
            serde_json::from_str(list.get()).map_err(|_| wrong())?;
        if items.len() > MOST_PARAMS {
            return Err(wrong());
        }
        for item in items {
            let text = item.get();
            params.push(match text.as_bytes().first() {
                Some(b'n') => Param::Null,
                Some(b't') => Param::Bool(true),
                Some(b'f') => Param::Bool(false),
                Some(b'"') => {
                    let text: String = serde_json::from_str(text).map_err(|_| wrong())?;
                    if text.contains('\0') {
                        return Err(Refusal::InvalidInput(
                            "field `params`: a text holds a NUL, which no database takes"
                                .to_owned(),
                        ));
                    }
                    Param::Text(text.into())
                }
                Some(b'-' | b'0'..=b'9') => Param::Number(text.to_owned()),
                _ => return Err(wrong()),
            });
        }
    }
    Ok(DatabaseAction { query: query.into(), params })
}
