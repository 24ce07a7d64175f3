//! Each stand-in is driven by a real client: the strictness is the product here, so most tests
//! send something wrong and expect the refusal.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise, in its helpers too"
)]

mod chat;
mod kube;
mod messages;
mod program;

use futures_util::StreamExt;
use serde_json::Value;

/// What a client got: a status, headers that matter, the body, and whether it ended properly.
struct Got {
    status: u16,
    retry_after: Option<String>,
    text: String,
    chunks: usize,
    whole: bool,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }

    /// The data of every complete server-sent event.
    fn events(&self) -> Vec<Value> {
        let complete = self.text.rsplit_once("\n\n").map_or("", |(complete, _)| complete);
        let data = complete.lines().filter_map(|line| line.strip_prefix("data: "));
        data.filter(|data| *data != "[DONE]")
            .map(|data| serde_json::from_str(data).expect("an event's data is JSON"))
            .collect()
    }
}

/// Posts JSON; `Err` when the connection was closed without an answer.
async fn post(url: &str, headers: &[(&str, &str)], body: &str) -> Result<Got, reqwest::Error> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let mut request = client.post(url).body(body.to_owned());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await?;
    let status = response.status().as_u16();
    let retry_after = response.headers().get("retry-after");
    let retry_after = retry_after.map(|value| value.to_str().unwrap().to_owned());
    let (mut bytes, mut chunks, mut whole) = (Vec::new(), 0, true);
    let mut stream = response.bytes_stream();
    while let Some(piece) = stream.next().await {
        match piece {
            Ok(piece) => {
                bytes.extend_from_slice(&piece);
                chunks += 1;
            }
            Err(_) => whole = false,
        }
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(Got { status, retry_after, text, chunks, whole })
}
