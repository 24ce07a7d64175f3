//! Response bodies that arrive in awkward pieces, stop half way, or take their time.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use futures_util::stream;

/// One thing that happens while a body is sent.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// These bytes are sent, split at odd positions.
    Send(Vec<u8>),
    /// Nothing is sent for a while.
    Wait(Duration),
    /// The connection is dropped, the body unfinished.
    Cut,
}

/// Frame sizes, in turn. They are coprime with nothing in particular: the point is that lines,
/// JSON escapes and UTF-8 sequences get torn apart.
const PIECES: [usize; 9] = [1, 7, 3, 64, 2, 29, 113, 5, 17];

/// After this many bytes larger pieces are used, so that a body of megabytes stays quick.
const SMALL_UNTIL: usize = 64 << 10;

/// A streamed response that plays `steps`.
pub(crate) fn streamed(status: u16, content_type: &str, steps: Vec<Step>) -> Response {
    let state = (split(steps), false);
    let body = stream::unfold(state, |(mut steps, failed)| async move {
        if failed {
            return None;
        }
        // A pause between two frames makes the server flush what it has, so that each frame
        // leaves as a segment of its own.
        tokio::task::yield_now().await;
        loop {
            match steps.pop_front()? {
                Step::Send(bytes) => {
                    return Some((Ok(Bytes::from(bytes)), (steps, false)));
                }
                Step::Wait(time) => tokio::time::sleep(time).await,
                Step::Cut => {
                    // What was sent before has to reach the client before the connection goes.
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    return Some((Err(io::Error::other("cut by the script")), (steps, true)));
                }
            }
        }
    });
    respond(status, content_type, Body::from_stream(body))
}

/// A response with a known length.
pub(crate) fn whole(status: u16, content_type: &str, bytes: impl Into<Bytes>) -> Response {
    respond(status, content_type, Body::from(bytes.into()))
}

/// A response that promises `bytes`, sends half of them and drops the connection.
pub(crate) fn halved(status: u16, content_type: &str, bytes: &[u8]) -> Response {
    let half = bytes[..bytes.len() / 2].to_vec();
    let response = streamed(status, content_type, vec![Step::Send(half), Step::Cut]);
    with_header(response, CONTENT_LENGTH, &bytes.len().to_string())
}

/// The response with one more header.
pub(crate) fn with_header(mut response: Response, name: HeaderName, value: &str) -> Response {
    let value = HeaderValue::from_str(value).expect("a header value");
    response.headers_mut().insert(name, value);
    response
}

fn respond(status: u16, content_type: &str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).expect("an HTTP status");
    with_header(response, CONTENT_TYPE, content_type)
}

fn split(steps: Vec<Step>) -> VecDeque<Step> {
    let mut sizes = PIECES.into_iter().cycle();
    let mut sent = 0;
    let mut split = VecDeque::new();
    for step in steps {
        let Step::Send(bytes) = step else {
            split.push_back(step);
            continue;
        };
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let size = if sent < SMALL_UNTIL { sizes.next().unwrap_or(1) } else { 8191 };
            let (piece, after) = rest.split_at(size.min(rest.len()));
            split.push_back(Step::Send(piece.to_vec()));
            sent += piece.len();
            rest = after;
        }
    }
    split
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitting_loses_nothing_and_tears_characters_apart() {
        let text = "data: {\"text\":\"añ€𝄞\"}\n\n".repeat(40);
        let pieces = split(vec![Step::Send(text.clone().into_bytes())]);
        let bytes: Vec<Vec<u8>> = pieces
            .into_iter()
            .map(|step| match step {
                Step::Send(bytes) => bytes,
                other => panic!("unexpected {other:?}"),
            })
            .collect();
        assert_eq!(bytes.concat(), text.into_bytes());
        assert!(bytes.iter().any(|piece| std::str::from_utf8(piece).is_err()));
    }
}
