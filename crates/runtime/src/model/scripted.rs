//! A tiny HTTP server for the tests of this module: it plays scripted answers, one connection
//! each, and keeps what it was asked.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Message, Progress, ToolDefinition, TurnRequest, UserBlock};

/// What one connection gets.
pub(super) enum Answer {
    /// Status, extra header lines (each ended with CRLF), body; then the connection closes.
    Whole(u16, &'static str, String),
    /// A stream of these events' data, well ended.
    Events(Vec<String>),
    /// The same, chunked and cut before the end.
    Cut(Vec<String>),
    /// The same, then silence.
    Silence(Vec<String>),
    /// The connection is closed without a byte.
    Slam,
}

/// The running server.
pub(super) struct Scripted {
    pub url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    pub(super) async fn start(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        tokio::spawn(async move {
            for answer in answers {
                let (stream, _) = listener.accept().await.unwrap();
                serve(stream, answer, &log).await;
            }
        });
        Self { url, asked }
    }

    /// Heads and bodies of the requests so far.
    pub(super) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// The body of the request with this number.
    pub(super) fn body(&self, at: usize) -> serde_json::Value {
        let asked = self.asked();
        let (_, body) = asked[at].split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap()
    }
}

async fn serve(mut stream: TcpStream, answer: Answer, log: &Mutex<Vec<String>>) {
    let mut request = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let read = stream.read(&mut piece).await.unwrap();
        request.extend_from_slice(&piece[..read]);
        let text = String::from_utf8_lossy(&request);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            assert!(read > 0, "the request ended early");
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| {
                line.to_lowercase().strip_prefix("content-length: ").map(str::to_owned)
            })
            .map_or(0, |length| length.parse().unwrap());
        if body.len() >= length {
            break;
        }
    }
    log.lock().unwrap().push(String::from_utf8(request).unwrap());
    let (events, end) = match answer {
        Answer::Slam => return,
        Answer::Whole(status, headers, body) => {
            let head = format!(
                "HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            // The client may have seen enough and gone away.
            let _ = stream.write_all(head.as_bytes()).await;
            let _ = stream.write_all(body.as_bytes()).await;
            let _ = stream.shutdown().await;
            return;
        }
        Answer::Events(events) => (events, "0\r\n\r\n"),
        Answer::Cut(events) => (events, ""),
        Answer::Silence(events) => (events, "silence"),
    };
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n\
                transfer-encoding: chunked\r\nconnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    for event in events {
        let event = format!(": keep-alive\nevent: x\ndata: {event}\n\n");
        // Two chunks for each event, so that lines are cut in the middle.
        let (a, b) = event.split_at(event.len() / 2);
        for piece in [a, b] {
            let chunk = format!("{:x}\r\n{piece}\r\n", piece.len());
            if stream.write_all(chunk.as_bytes()).await.is_err() {
                return;
            }
        }
    }
    if end == "silence" {
        tokio::time::sleep(Duration::from_secs(30)).await;
    } else {
        let _ = stream.write_all(end.as_bytes()).await;
    }
}

/// A progress that keeps what it saw.
#[derive(Default)]
pub(super) struct Log(pub Mutex<Vec<String>>);

impl Progress for Log {
    fn text(&self, delta: &str) {
        self.0.lock().unwrap().push(format!("text {delta}"));
    }
    fn retrying(&self, why: &str, _: Duration) {
        self.0.lock().unwrap().push(format!("retrying {why}"));
    }
}

impl Log {
    pub(super) fn text(&self) -> String {
        self.0.lock().unwrap().join("|")
    }
}

/// A conversation of one task and one tool.
pub(super) fn conversation() -> (Vec<ToolDefinition>, Vec<Message>) {
    let tool = ToolDefinition {
        name: "probe".to_owned(),
        description: "probes".to_owned(),
        input_schema: serde_json::json!({"type": "object"}),
    };
    let task = Message::User(vec![UserBlock::Text("the task".to_owned())]);
    (vec![tool], vec![task])
}

pub(super) fn request<'a>(tools: &'a [ToolDefinition], messages: &'a [Message]) -> TurnRequest<'a> {
    TurnRequest { system: "be good", tools, messages, max_output_tokens: 100 }
}
