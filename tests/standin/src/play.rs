//! One scripted reply on the wire.

use std::time::Duration;

use axum::http::HeaderName;
use axum::http::header::RETRY_AFTER;
use axum::response::Response;
use serde_json::Value;

use crate::provider::{Turn, Wire, request_id};
use crate::reply::{Kind, Reply};
use crate::stream::{Step, halved, streamed, whole, with_header};

/// Renders a reply; `None` hangs up. What a client may echo later is handed to `served`.
pub(crate) fn play<W: Wire>(
    reply: Reply,
    body: &Value,
    serial: usize,
    served: impl FnOnce(Value),
) -> Option<Response> {
    let streams = body["stream"] == true;
    match reply.kind {
        Kind::Hangup => None,
        Kind::Dynamic(_) => unreachable!("dynamic replies are worked out before they are played"),
        Kind::Status { code, error_type, retry_after } => {
            let message = format!("The script answers {code} here");
            let response = json_response(code, &W::error(&error_type, &message, serial), serial);
            Some(match retry_after {
                Some(seconds) => with_header(response, RETRY_AFTER, &seconds.to_string()),
                None => response,
            })
        }
        Kind::Raw { status, content_type, bytes, remember } => {
            remember.map(served);
            Some(match reply.cut {
                Some(_) => halved(status, &content_type, &bytes),
                None if content_type.starts_with("text/event-stream") => {
                    streamed(status, &content_type, vec![Step::Send(bytes)])
                }
                None => whole(status, &content_type, bytes),
            })
        }
        Kind::SseError(error_type) if streams => {
            let Kind::Message(message) = Reply::text("It begins well.").kind else {
                return None;
            };
            let mut events = W::events(&Turn(message), body, serial);
            events.truncate(3);
            events.push(W::error_event(&error_type));
            Some(event_stream(events, None, reply.pause, serial))
        }
        Kind::SseError(error_type) => {
            let overloaded = error_type == "overloaded_error";
            let status = if overloaded { W::overloaded() } else { 500 };
            Some(json_response(status, &W::error(&error_type, "Overloaded", serial), serial))
        }
        Kind::Message(message) => {
            let turn = Turn(message);
            if reply.cut.is_none() {
                served(W::remember(&turn));
            }
            if streams {
                let events = W::events(&turn, body, serial);
                return Some(event_stream(events, reply.cut, reply.pause, serial));
            }
            let text = W::plain(&turn, body, serial);
            Some(match reply.cut {
                Some(_) => halved(200, "application/json", text.as_bytes()),
                None => identified(whole(200, "application/json", text), serial),
            })
        }
    }
}

fn event_stream(
    events: Vec<String>,
    cut: Option<usize>,
    pause: Option<(usize, Duration)>,
    serial: usize,
) -> Response {
    let mut steps = Vec::new();
    let mut whole = true;
    for (index, event) in events.into_iter().enumerate() {
        if let Some((_, time)) = pause.filter(|(after, _)| *after == index) {
            steps.push(Step::Wait(time));
        }
        if cut == Some(index) {
            steps.push(Step::Send(event.as_bytes()[..event.len() / 2].to_vec()));
            steps.push(Step::Cut);
            whole = false;
            break;
        }
        steps.push(Step::Send(event.into_bytes()));
    }
    if whole && cut.is_some() {
        steps.push(Step::Cut);
    }
    identified(streamed(200, "text/event-stream; charset=utf-8", steps), serial)
}

/// A JSON body with the request's id.
pub(crate) fn json_response(status: u16, body: &Value, serial: usize) -> Response {
    identified(whole(status, "application/json", body.to_string()), serial)
}

fn identified(response: Response, serial: usize) -> Response {
    let id = request_id(serial);
    with_header(response, HeaderName::from_static("request-id"), &id)
}
