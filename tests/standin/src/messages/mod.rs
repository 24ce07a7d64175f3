//! The Anthropic Messages API: `POST /v1/messages`, streaming and plain.
//!
//! The shapes follow the vendor's published reference: errors and their types, content blocks,
//! server-sent events, prompt caching. Beyond validating each request by itself the server
//! remembers the turns that it served, and refuses a request that echoes one of them changed.

mod check;
mod events;
mod turns;

pub(crate) use check::tool_name;

use serde_json::{Value, json};

use crate::provider::{self, History, Problem, Turn, Wire};
pub use crate::reply::Reply;
use crate::serve::Recorded;

/// The Messages API on loopback.
pub type Server = provider::Server<Anthropic>;

/// Sets up a [`Server`].
pub type Builder = provider::Builder<Anthropic>;

/// Marks the Messages API.
pub struct Anthropic;

impl Wire for Anthropic {
    const PATH: &'static str = "/v1/messages";

    fn headers(call: &Recorded, credential: Option<&str>) -> Result<(), Problem> {
        // The vendor's own client states the key as a bearer token since its version 2.
        let bearer = call.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let key = call.header("x-api-key").or(bearer).unwrap_or_default();
        if key.is_empty() {
            return Err(Problem::new(401, "x-api-key header is required"));
        }
        if credential.is_some_and(|expected| expected != key) {
            return Err(Problem::new(401, "invalid x-api-key"));
        }
        match call.header("anthropic-version") {
            None => Err(Problem::invalid("anthropic-version: header is required")),
            Some("2023-06-01" | "2026-10-21") => Ok(()),
            Some(other) => Err(Problem::invalid(format!(
                "anthropic-version: \"{other}\" is not a valid version"
            ))),
        }
    }

    fn check(body: &Value, history: History<'_>) -> Result<(), Problem> {
        check::request(body, history)
    }

    fn error(error_type: &str, message: &str, serial: usize) -> Value {
        json!({
            "type": "error",
            "error": {"type": error_type, "message": message},
            "request_id": provider::request_id(serial),
        })
    }

    fn error_type(status: u16) -> &'static str {
        match status {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            413 => "request_too_large",
            429 => "rate_limit_error",
            529 => "overloaded_error",
            500.. => "api_error",
            _ => "invalid_request_error",
        }
    }

    fn overloaded() -> u16 {
        529
    }

    fn remember(turn: &Turn) -> Value {
        events::as_echoed(&turn.0)
    }

    fn plain(turn: &Turn, body: &Value, serial: usize) -> String {
        events::plain(&turn.0, body, serial)
    }

    fn events(turn: &Turn, body: &Value, serial: usize) -> Vec<String> {
        events::events(&turn.0, body, serial)
    }

    fn error_event(error_type: &str) -> String {
        let error = json!({"type": error_type, "message": "Overloaded"});
        events::event(&json!({"type": "error", "error": error}))
    }
}
