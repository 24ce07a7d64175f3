//! The stand-ins as a program, for tests that are not written in Rust.
//!
//! It prints `listening on http://127.0.0.1:PORT` and serves until its standard input closes or a
//! signal ends it. The script's format is described in `script.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "test support: stopping at the first surprise is what a test wants"
)]

use std::fs::File;
use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};
use standin::{Recorded, chat, kube, messages, script};

const HELP: &str = "\
usage: standin messages|chat|kube [--script FILE.json] [--port N] [--log FILE.jsonl]
                                  [--kubeconfig FILE [--namespace NAME]]

  messages      the Anthropic Messages API, POST /v1/messages
  chat          OpenAI-compatible chat completions, POST /v1/chat/completions
  kube          a small Kubernetes API server

  --script      what to answer; without it the model APIs say that their script has run out.
                messages, chat: {\"key\": .., \"replies\": [{\"text\": ..}, {\"tool\": {\"id\", \"name\",
                \"input\"}}, {\"message\": [..], \"stop_reason\": ..}, {\"status\": 529, \"error_type\": ..,
                \"retry_after\": 1}, {\"raw\": {\"status\", \"content_type\", \"body\"}}, {\"sse_error\": ..},
                {\"hangup\": true}]}, each also with delay_ms, cut (events), pause ([events, ms])
                kube: {\"token\": .., \"deployments\": [..], \"pods\": [..], \"events\": [..],
                \"objects\": [..], \"forbid\": [[verb, resource]]}
                The whole format is documented in the source, script.rs.
  --port        listen there; a free port otherwise
  --log         append each request as one JSON object a line
  --kubeconfig  write a kubeconfig for this server (kube only; namespace `default` unless named)

It serves until standard input closes.
";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            let _ = writeln!(io::stderr(), "standin: {message}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<(), String> {
    let mut arguments = std::env::args().skip(1);
    let which = arguments.next().unwrap_or_else(|| "--help".to_owned());
    if which == "--help" || which == "-h" {
        return say(HELP);
    }
    let (mut port, mut script, mut log) = (0, json!({}), None);
    let (mut kubeconfig, mut namespace) = (None, "default".to_owned());
    while let Some(flag) = arguments.next() {
        if flag == "--help" {
            return say(HELP);
        }
        let value = arguments.next().ok_or_else(|| format!("`{flag}` needs a value"))?;
        match flag.as_str() {
            "--port" => port = value.parse().map_err(|_| format!("`{value}` is not a port"))?,
            "--script" => {
                let text = std::fs::read_to_string(&value)
                    .map_err(|error| format!("can't read `{value}`: {error}"))?;
                script = serde_json::from_str::<Value>(&text)
                    .map_err(|error| format!("`{value}` is not JSON: {error}"))?;
            }
            "--log" => log = Some(value),
            "--kubeconfig" => kubeconfig = Some(value),
            "--namespace" => namespace = value,
            _ => return Err(format!("`{flag}` is unknown; see `standin --help`")),
        }
    }
    match which.as_str() {
        "messages" => {
            let builder = script::provider(messages::Server::builder().port(port), &script)?;
            let server = builder.start();
            serve(&server.url(), log, || server.requests())
        }
        "chat" => {
            let builder = script::provider(chat::Server::builder().port(port), &script)?;
            let server = builder.start();
            serve(&server.url(), log, || server.requests())
        }
        "kube" => {
            let server = script::kube(kube::Server::builder().port(port), &script)?.start();
            if let Some(path) = kubeconfig {
                std::fs::write(&path, server.kubeconfig(&namespace))
                    .map_err(|error| format!("can't write `{path}`: {error}"))?;
            }
            serve(&server.url(), log, || server.requests())
        }
        other => Err(format!("`{other}` is not a stand-in; see `standin --help`")),
    }
}

/// Serves until standard input closes, and logs requests once they are answered.
fn serve(
    url: &str,
    log: Option<String>,
    requests: impl Fn() -> Vec<Recorded>,
) -> Result<(), String> {
    let open = |path: String| {
        let file = File::options().create(true).append(true).open(&path);
        file.map_err(|error| format!("can't write `{path}`: {error}"))
    };
    let mut log = log.map(open).transpose()?;
    say(&format!("listening on {url}\n"))?;
    let input = std::thread::spawn(|| io::copy(&mut io::stdin().take(u64::MAX), &mut io::sink()));
    let mut written = 0;
    loop {
        let ended = input.is_finished();
        if let Some(file) = &mut log {
            let all = requests();
            let fresh = all.iter().skip(written);
            // Whoever waits for an answer finds its request in the log; a watch is still open.
            for call in fresh.take_while(|call| ended || call.status.is_some() || old(call)) {
                writeln!(file, "{}", call.to_json()).map_err(|error| error.to_string())?;
                written += 1;
            }
        }
        if ended {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A request that was hung up on never gets a status.
fn old(call: &Recorded) -> bool {
    call.at.elapsed() > Duration::from_secs(1)
}

fn say(text: &str) -> Result<(), String> {
    let mut out = io::stdout();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| error.to_string())
}
