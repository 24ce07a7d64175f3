//! An OpenAI-compatible chat-completions endpoint: `POST /v1/chat/completions`.
//!
//! The shapes follow the vendor's published reference; the limits are OpenAI's own (a tool's name
//! has at most 64 characters, `tools` is not an empty list), because the endpoints that imitate it
//! differ in being kinder. A script may hold Messages API turns, which are translated, or chat
//! messages as they stand ([`Reply::chat`]).

mod check;
mod events;

use serde_json::{Value, json};

use crate::provider::{self, History, Problem, Turn, Wire};
pub use crate::reply::Reply;
use crate::serve::Recorded;

/// Chat completions on loopback.
pub type Server = provider::Server<OpenAi>;

/// Sets up a [`Server`].
pub type Builder = provider::Builder<OpenAi>;

/// Marks chat completions.
pub struct OpenAi;

impl Wire for OpenAi {
    const PATH: &'static str = "/v1/chat/completions";

    fn headers(call: &Recorded, credential: Option<&str>) -> Result<(), Problem> {
        let Some(expected) = credential else {
            return Ok(());
        };
        match call.header("authorization").and_then(|value| value.strip_prefix("Bearer ")) {
            None => Err(Problem::new(401, "You didn't provide an API key.")),
            Some(key) if key != expected => Err(Problem::new(401, "Incorrect API key provided.")),
            Some(_) => Ok(()),
        }
    }

    fn check(body: &Value, history: History<'_>) -> Result<(), Problem> {
        check::request(body, history)
    }

    fn error(error_type: &str, message: &str, _serial: usize) -> Value {
        json!({"error": {"message": message, "type": error_type, "param": null, "code": null}})
    }

    fn error_type(status: u16) -> &'static str {
        match status {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            429 => "rate_limit_error",
            500.. => "server_error",
            _ => "invalid_request_error",
        }
    }

    fn overloaded() -> u16 {
        503
    }

    fn remember(turn: &Turn) -> Value {
        events::chat_message(&turn.0)
    }

    fn plain(turn: &Turn, body: &Value, serial: usize) -> String {
        events::plain(&turn.0, body, serial)
    }

    fn events(turn: &Turn, body: &Value, serial: usize) -> Vec<String> {
        events::events(&turn.0, body, serial)
    }

    fn error_event(error_type: &str) -> String {
        format!("data: {}\n\n", Self::error(error_type, "The server is overloaded", 0))
    }
}
