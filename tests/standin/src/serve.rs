//! One HTTP server on a thread of its own, and the record of what it was asked.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Instant;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// The most bytes of a request body that a stand-in reads.
const BODY_LIMIT: usize = 256 << 20;

/// One request as it arrived, refused ones included.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The method, upper case.
    pub method: String,
    /// The path as it was sent, still percent-encoded, without the query.
    pub path: String,
    /// The query as it was sent, without the question mark; empty when there was none.
    pub query: String,
    /// The headers in order; names are lower case.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
    /// When the request had been read.
    pub at: Instant,
    /// The status that was answered; `None` when the connection was closed without an answer, or
    /// while the answer is still being worked out.
    pub status: Option<u16>,
}

impl Recorded {
    /// The first header of this name (in any case).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When the body is not JSON.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("the recorded body is JSON")
    }

    /// The body as text, with replacement characters where it isn't UTF-8.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// This request as one JSON object, for a log that other programs read.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let headers: serde_json::Map<_, _> =
            self.headers.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect();
        serde_json::json!({
            "method": self.method, "path": self.path, "query": self.query,
            "headers": headers, "body": self.text(), "status": self.status,
        })
    }
}

/// The requests seen so far, shared between a server's thread and the test.
#[derive(Clone, Default)]
pub(crate) struct Journal(Arc<Mutex<Vec<Recorded>>>);

impl Journal {
    pub(crate) fn all(&self) -> Vec<Recorded> {
        lock(&self.0).clone()
    }

    fn push(&self, call: Recorded) -> usize {
        let mut calls = lock(&self.0);
        calls.push(call);
        calls.len() - 1
    }

    fn answered(&self, index: usize, status: u16) {
        lock(&self.0)[index].status = Some(status);
    }
}

/// Takes a lock whether or not another test thread panicked while it held it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running server; dropping it closes every connection and joins its thread.
pub(crate) struct Background {
    pub(crate) address: SocketAddr,
    pub(crate) journal: Journal,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    /// Serves `handler` on `127.0.0.1:port` (0 picks a free one). A handler that answers `None`
    /// closes the connection without a byte of response.
    pub(crate) fn start<H, F>(port: u16, handler: H) -> Self
    where
        H: Fn(Recorded) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Option<Response>> + Send + 'static,
    {
        let listener = std::net::TcpListener::bind(("127.0.0.1", port)).expect("bind to loopback");
        listener.set_nonblocking(true).expect("make the listener non-blocking");
        let address = listener.local_addr().expect("the listener's address");
        let journal = Journal::default();
        let log = journal.clone();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let runtime = builder.enable_all().build().expect("a tokio runtime");
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).expect("a tokio listener");
                let answer = move |ConnectInfo(line): ConnectInfo<Line>, request: Request| {
                    let (handler, log) = (handler.clone(), log.clone());
                    async move { respond(handler, log, line, request).await }
                };
                let service =
                    Router::new().fallback(answer).into_make_service_with_connect_info::<Line>();
                tokio::select! {
                    _ = stopped => {}
                    _ = std::future::IntoFuture::into_future(
                        axum::serve(Lines(listener), service)
                    ) => {}
                }
            });
            runtime.shutdown_background();
        });
        Self { address, journal, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn respond<H, F>(handler: H, log: Journal, line: Line, request: Request) -> Response
where
    H: Fn(Recorded) -> F,
    F: Future<Output = Option<Response>>,
{
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_LIMIT).await else {
        line.cut();
        return Response::default();
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = head.headers.iter();
    let call = Recorded {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: headers.map(|(key, value)| (key.to_string(), text(value.as_bytes()))).collect(),
        body: body.to_vec(),
        at: Instant::now(),
        status: None,
    };
    let index = log.push(call.clone());
    match handler(call).await {
        Some(response) => {
            log.answered(index, response.status().as_u16());
            response
        }
        None => {
            line.cut();
            Response::default()
        }
    }
}

/// A connection's switch: once cut, nothing more is written and the connection is closed.
#[derive(Clone, Default)]
struct Line(Arc<AtomicBool>);

impl Line {
    fn cut(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn check(&self) -> io::Result<()> {
        if self.0.load(Ordering::SeqCst) {
            return Err(io::Error::new(io::ErrorKind::ConnectionReset, "cut by the script"));
        }
        Ok(())
    }
}

impl Connected<IncomingStream<'_, Lines>> for Line {
    fn connect_info(stream: IncomingStream<'_, Lines>) -> Self {
        stream.io().line.clone()
    }
}

/// A listener whose connections carry a [`Line`].
struct Lines(TcpListener);

impl Listener for Lines {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            if let Ok((stream, address)) = self.0.accept().await {
                // Small writes must leave as they are: the splitting is part of the test.
                let _ = stream.set_nodelay(true);
                return (Connection { stream, line: Line::default() }, address);
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

struct Connection {
    stream: TcpStream,
    line: Line,
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.line.check()?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.line.check()?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
