//! What the two model APIs have in common: a script, a memory of what was served, refusals.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use axum::response::Response;
use serde_json::Value;

use crate::play::{json_response, play};
use crate::reply::{Answerer, Kind, Message, Reply};
use crate::serve::{Background, Recorded, lock};

/// Largest request body, as the Messages API documents it: 32 MB.
const REQUEST_LIMIT: usize = 32 << 20;

/// A running model API. Dropping it closes every connection.
pub struct Server<W: Wire> {
    background: Background,
    shared: Arc<Shared>,
    wire: PhantomData<W>,
}

impl<W: Wire> Server<W> {
    /// Starts a server that answers valid requests with these replies, in order. When they run
    /// out it answers 500 and says so.
    ///
    /// # Panics
    /// When loopback can't be listened on.
    #[must_use]
    pub fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        Self::builder().replies(replies).start()
    }

    /// A server that is yet to be set up.
    #[must_use]
    pub fn builder() -> Builder<W> {
        Builder {
            credential: None,
            port: 0,
            script: VecDeque::new(),
            otherwise: None,
            unserved_history: false,
            wire: PhantomData,
        }
    }

    /// The base address, `http://127.0.0.1:PORT`, without a path.
    #[must_use]
    pub fn url(&self) -> String {
        self.background.url()
    }

    /// Every request so far, refused ones included.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        self.background.journal.all()
    }

    /// What was refused so far, as `status: message`; a well-behaved client leaves this empty.
    #[must_use]
    pub fn refusals(&self) -> Vec<String> {
        lock(&self.shared.state).refusals.clone()
    }

    /// How many scripted replies have not been used.
    #[must_use]
    pub fn remaining(&self) -> usize {
        lock(&self.shared.state).script.len()
    }

    /// Adds a reply at the script's end.
    pub fn push(&self, reply: Reply) {
        lock(&self.shared.state).script.push_back(reply);
    }
}

type Fallback = Box<dyn Fn(&Value) -> Reply + Send + Sync>;

/// Sets up a [`Server`].
pub struct Builder<W: Wire> {
    credential: Option<String>,
    port: u16,
    script: VecDeque<Reply>,
    otherwise: Option<Fallback>,
    unserved_history: bool,
    wire: PhantomData<W>,
}

impl<W: Wire> Builder<W> {
    /// Only this key is accepted. Without it the Messages API takes any key that isn't empty, and
    /// chat completions takes any request, with a key or without.
    #[must_use]
    pub fn key(mut self, key: &str) -> Self {
        self.credential = Some(key.to_owned());
        self
    }

    /// Listens on this port; 0, the default, picks a free one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Adds replies at the script's end.
    #[must_use]
    pub fn replies(mut self, replies: impl IntoIterator<Item = Reply>) -> Self {
        self.script.extend(replies);
        self
    }

    /// Answers every request that comes after the script's end.
    #[must_use]
    pub fn otherwise(mut self, reply: impl Fn(&Value) -> Reply + Send + Sync + 'static) -> Self {
        self.otherwise = Some(Box::new(reply));
        self
    }

    /// Accepts assistant turns that this server never served, as when a run is resumed against a
    /// new server. The rules on tool calls and their results still hold.
    #[must_use]
    pub fn unserved_history(mut self) -> Self {
        self.unserved_history = true;
        self
    }

    /// Binds and serves.
    ///
    /// # Panics
    /// When loopback can't be listened on.
    #[must_use]
    pub fn start(self) -> Server<W> {
        let state = State { script: self.script, ..State::default() };
        let shared = Arc::new(Shared {
            credential: self.credential,
            otherwise: self.otherwise,
            unserved_history: self.unserved_history,
            state: Mutex::new(state),
        });
        let handled = Arc::clone(&shared);
        let background = Background::start(self.port, move |call| {
            let shared = Arc::clone(&handled);
            async move { handle::<W>(&shared, &call).await }
        });
        Server { background, shared, wire: PhantomData }
    }
}

/// How one vendor's API looks on the wire. Public only because [`Server`] names it.
pub trait Wire: Send + Sync + 'static {
    #[doc(hidden)]
    const PATH: &'static str;
    #[doc(hidden)]
    fn headers(call: &Recorded, credential: Option<&str>) -> Result<(), Problem>;
    #[doc(hidden)]
    fn check(body: &Value, history: History<'_>) -> Result<(), Problem>;
    #[doc(hidden)]
    fn error(error_type: &str, message: &str, serial: usize) -> Value;
    #[doc(hidden)]
    fn error_type(status: u16) -> &'static str;
    #[doc(hidden)]
    fn overloaded() -> u16;
    #[doc(hidden)]
    fn remember(turn: &Turn) -> Value;
    #[doc(hidden)]
    fn plain(turn: &Turn, body: &Value, serial: usize) -> String;
    #[doc(hidden)]
    fn events(turn: &Turn, body: &Value, serial: usize) -> Vec<String>;
    #[doc(hidden)]
    fn error_event(error_type: &str) -> String;
}

/// Opaque outside this crate: a scripted model turn.
pub struct Turn(pub(crate) Message);

/// Why a request is refused.
#[derive(Debug)]
pub struct Problem {
    pub(crate) status: u16,
    pub(crate) message: String,
}

impl Problem {
    pub(crate) fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// A 400.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, message)
    }
}

/// What a request's own history is compared with.
#[derive(Clone, Copy)]
pub struct History<'a> {
    pub(crate) served: &'a [Value],
    pub(crate) unserved_allowed: bool,
}

struct Shared {
    credential: Option<String>,
    otherwise: Option<Fallback>,
    unserved_history: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    script: VecDeque<Reply>,
    served: Vec<Value>,
    refusals: Vec<String>,
    serial: usize,
}

async fn handle<W: Wire>(shared: &Shared, call: &Recorded) -> Option<Response> {
    let serial = {
        let mut state = lock(&shared.state);
        state.serial += 1;
        state.serial
    };
    let body = match admit::<W>(shared, call) {
        Ok(body) => body,
        Err(problem) => {
            let line = format!("{}: {}", problem.status, problem.message);
            lock(&shared.state).refusals.push(line);
            let error_type = W::error_type(problem.status);
            let body = W::error(error_type, &problem.message, serial);
            return Some(json_response(problem.status, &body, serial));
        }
    };
    let mut reply = next::<W>(shared, &body, serial);
    while let Kind::Dynamic(answer) = reply.kind {
        let outer = (reply.delay, reply.cut, reply.pause);
        reply = worked_out::<W>(shared, answer, &body, serial);
        reply.delay += outer.0;
        reply.cut = reply.cut.or(outer.1);
        reply.pause = reply.pause.or(outer.2);
    }
    if !reply.delay.is_zero() {
        tokio::time::sleep(reply.delay).await;
    }
    play::<W>(reply, &body, serial, |blocks| lock(&shared.state).served.push(blocks))
}

/// Runs a test's own function; an assertion that fails in it must not pass for a network fault.
fn worked_out<W: Wire>(shared: &Shared, answer: Answerer, body: &Value, serial: usize) -> Reply {
    match catch_unwind(AssertUnwindSafe(|| answer(body))) {
        Ok(reply) => reply,
        Err(_) => fault::<W>(shared, serial, "a function of the stand-in's script panicked"),
    }
}

/// A mistake of the test itself, told as a 500 and among the refusals.
fn fault<W: Wire>(shared: &Shared, serial: usize, message: &str) -> Reply {
    lock(&shared.state).refusals.push(format!("500: {message}"));
    let body = W::error(W::error_type(500), message, serial);
    Reply::raw(500, "application/json", body.to_string())
}

/// Refuses what the real service refuses before any model runs.
fn admit<W: Wire>(shared: &Shared, call: &Recorded) -> Result<Value, Problem> {
    if call.path != W::PATH {
        return Err(Problem::new(404, format!("Not found: {}", call.path)));
    }
    if call.method != "POST" {
        return Err(Problem::new(405, format!("Method Not Allowed: {}", call.method)));
    }
    W::headers(call, shared.credential.as_deref())?;
    let content_type = call.header("content-type").unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        let message = format!("content-type: must be `application/json`, got `{content_type}`");
        return Err(Problem::invalid(message));
    }
    if call.body.len() > REQUEST_LIMIT {
        return Err(Problem::new(413, "Request exceeds the maximum size"));
    }
    let body: Value = serde_json::from_slice(&call.body).map_err(|error| {
        Problem::invalid(format!("The request body is not valid JSON: {error}"))
    })?;
    if !body.is_object() {
        return Err(Problem::invalid("The request body must be a JSON object"));
    }
    let state = lock(&shared.state);
    let unserved_allowed = shared.unserved_history;
    W::check(&body, History { served: &state.served, unserved_allowed })?;
    Ok(body)
}

/// The next reply; a script that has run out is an error of the test, told as a 500.
fn next<W: Wire>(shared: &Shared, body: &Value, serial: usize) -> Reply {
    let scripted = lock(&shared.state).script.pop_front();
    if let Some(reply) = scripted {
        return reply;
    }
    if let Some(otherwise) = &shared.otherwise {
        return otherwise(body);
    }
    let message = format!("the stand-in's script has run out: request {serial} was not expected");
    fault::<W>(shared, serial, &message)
}

/// The id of the n-th request, in the body of errors and in the `request-id` header.
pub(crate) fn request_id(serial: usize) -> String {
    format!("req_standin{serial:06}")
}

/// Splits text at character boundaries into pieces of odd lengths, at least one.
pub(crate) fn pieces(text: &str) -> Vec<String> {
    let mut sizes = [1, 5, 2, 11, 3, 23].into_iter().cycle();
    // A text of megabytes would otherwise become millions of events.
    let scale = 1 + text.len() / 4096;
    let mut pieces = Vec::new();
    let mut rest = text.chars().peekable();
    while rest.peek().is_some() {
        pieces.push(rest.by_ref().take(sizes.next().unwrap_or(1) * scale).collect());
    }
    if pieces.is_empty() {
        pieces.push(String::new());
    }
    pieces
}
