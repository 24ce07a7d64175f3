//! The Anthropic Messages API (platform.claude.com, "Messages", "Streaming messages", "Errors",
//! "Prompt caching"): a thin client that keeps every content block as it arrived.

use async_trait::async_trait;
use futures_util::StreamExt;
use lar_core::display::visible;
use secrecy::SecretString;

use super::anthropic_request::body;
use super::anthropic_stream::{Assembler, FINAL_ERRORS, StreamFault};
use super::http::{Endpoint, EndpointSpec, Timeouts, is_event_stream};
use super::message::{TurnRequest, used_ids};
use super::object::Object;
use super::price::Price;
use super::retry::{Fault, Retries, RetryPolicy};
use super::service_error::ServiceError;
use super::turn::{InvalidTurn, Turn};
use super::usage::Usage;
use super::{Model, ModelError, Progress};

const SERVICE: &str = "Anthropic API";

/// How to reach a model of the Messages API.
#[derive(Debug, Clone)]
pub struct AnthropicConfig {
    /// The model's name, sent as it is.
    pub model: String,
    /// The key; sent as `x-api-key` to `base_url` only.
    pub key: SecretString,
    /// Where the API is; `/v1/messages` is added.
    pub base_url: String,
    /// What the model costs, if known.
    pub price: Option<Price>,
    /// When to try again.
    pub retry: RetryPolicy,
    /// How long silences are borne.
    pub timeouts: Timeouts,
}

impl AnthropicConfig {
    /// The public API with the usual bounds, and no price.
    pub fn new(model: impl Into<String>, key: SecretString) -> Self {
        Self {
            model: model.into(),
            key,
            base_url: "https://api.anthropic.com".to_owned(),
            price: None,
            retry: RetryPolicy::default(),
            timeouts: Timeouts::default(),
        }
    }
}

/// A model of the Messages API.
pub struct Anthropic {
    model: String,
    price: Option<Price>,
    retry: RetryPolicy,
    endpoint: Endpoint,
}

impl Anthropic {
    /// Checks the address and the key's form; connects with the first turn.
    pub fn new(config: AnthropicConfig) -> Result<Self, ModelError> {
        let endpoint = Endpoint::new(EndpointSpec {
            service: SERVICE,
            base_url: &config.base_url,
            base_var: "ANTHROPIC_BASE_URL",
            key: Some(&config.key),
            key_var: "ANTHROPIC_API_KEY",
            key_header: ("x-api-key", ""),
            path: &["v1", "messages"],
            headers: &[("anthropic-version", "2023-06-01")],
            timeouts: config.timeouts,
        })?;
        Ok(Self { model: config.model, price: config.price, retry: config.retry, endpoint })
    }

    /// One request and its answer.
    async fn attempt(
        &self,
        request: &TurnRequest<'_>,
        streaming: bool,
        progress: &dyn Progress,
    ) -> Result<Turn, Fault> {
        let body = body(&self.model, request, streaming).map_err(|error| {
            Fault::Final(ModelError::Config(format!(
                "the request can't be written as JSON: {error}"
            )))
        })?;
        let sent = body.len();
        let response = self.endpoint.post(body).await?;
        let turn = if is_event_stream(&response) {
            self.streamed(response, progress).await?
        } else {
            self.whole(response).await?
        };
        self.accept(turn, request, sent)
    }

    async fn streamed(
        &self,
        response: reqwest::Response,
        progress: &dyn Progress,
    ) -> Result<Turn, Fault> {
        let mut events = std::pin::pin!(self.endpoint.events(response));
        let mut assembler = Assembler::default();
        while let Some(data) = events.next().await {
            let data = data.map_err(|fault| fault.having_used(assembler.used()))?;
            match assembler.event(&data, progress) {
                Ok(false) => {}
                Ok(true) => {
                    let used = assembler.used();
                    return assembler
                        .finish()
                        .map_err(|invalid| unusable(&invalid).having_used(used));
                }
                Err(fault) => {
                    let fault = match fault {
                        StreamFault::Invalid(invalid) => unusable(&invalid),
                        StreamFault::UnknownDelta => Fault::AskWhole { usage: Usage::default() },
                        StreamFault::Reported { kind, message } => {
                            self.endpoint.reported(&kind, &message, FINAL_ERRORS)
                        }
                    };
                    return Err(fault.having_used(assembler.used()));
                }
            }
        }
        Err(Fault::passing("the stream ended before `message_stop`").having_used(assembler.used()))
    }

    async fn whole(&self, response: reqwest::Response) -> Result<Turn, Fault> {
        let body = self.endpoint.whole(response).await?;
        let response: Object = serde_json::from_slice(&body)
            .map_err(|error| Fault::passing(format!("the answer is not a message: {error}")))?;
        if response.get::<String>("type").as_deref() == Some("error") {
            let error = ServiceError::read(&body);
            return Err(self.endpoint.reported(&error.kind, &error.message, FINAL_ERRORS));
        }
        Turn::build(response, Vec::new()).map_err(|invalid| unusable(&invalid))
    }

    /// The last checks that need the conversation.
    fn accept(
        &self,
        mut turn: Turn,
        request: &TurnRequest<'_>,
        sent: usize,
    ) -> Result<Turn, Fault> {
        let used = used_ids(request.messages);
        if let Some(call) = turn.calls().iter().find(|call| used.contains(&call.id)) {
            let what = format!(
                "the call id `{}` was used before in this conversation",
                visible(&call.id, 64)
            );
            return Err(unusable(&InvalidTurn(what)).having_used(turn.usage));
        }
        if turn.usage.estimated {
            turn.usage.add(Usage::estimate(sent, 0));
        }
        Ok(turn)
    }
}

#[async_trait]
impl Model for Anthropic {
    fn name(&self) -> &str {
        &self.model
    }

    async fn turn(
        &self,
        request: &TurnRequest<'_>,
        progress: &dyn Progress,
    ) -> Result<Turn, ModelError> {
        let mut retries = Retries::new(&self.retry, SERVICE);
        let mut streaming = true;
        loop {
            match self.attempt(request, streaming, progress).await {
                Ok(turn) => return Ok(retries.charge(turn)),
                Err(Fault::AskWhole { .. }) if !streaming => {
                    let fault = Fault::passing("it streamed though a whole answer was asked for");
                    retries.after(fault, progress).await?;
                }
                Err(fault) => {
                    streaming &= !matches!(fault, Fault::AskWhole { .. });
                    retries.after(fault, progress).await?;
                }
            }
        }
    }

    fn price(&self) -> Option<Price> {
        self.price
    }
}

fn unusable(invalid: &InvalidTurn) -> Fault {
    Fault::passing(format!("its answer can't be used: {invalid}"))
}

#[cfg(test)]
mod tests {
    use super::super::Silent;
    use super::super::message::Message;
    use super::super::scripted::{Answer, Log, Scripted, conversation, request};
    use super::super::turn::Stop;
    use super::*;
    use std::time::{Duration, Instant};

    const KEY: &str = "sk-ant-never-to-be-seen";

    fn model(url: &str, adjust: impl FnOnce(&mut AnthropicConfig)) -> Anthropic {
        let mut config = AnthropicConfig::new("claude-test", SecretString::from(KEY));
        config.base_url = url.to_owned();
        config.retry.base = Duration::from_millis(1);
        adjust(&mut config);
        Anthropic::new(config).unwrap()
    }

    fn events(middle: &[&str], stop: &str) -> Vec<String> {
        let mut events = vec![
            r#"{"type":"message_start","message":{"id":"m","role":"assistant","content":[],"stop_reason":null,"usage":{"input_tokens":25,"output_tokens":1}}}"#.to_owned(),
        ];
        events.extend(middle.iter().map(|event| (*event).to_owned()));
        events.push(format!(
            r#"{{"type":"message_delta","delta":{{"stop_reason":"{stop}"}},"usage":{{"output_tokens":9}}}}"#
        ));
        events.push(r#"{"type":"message_stop"}"#.to_owned());
        events
    }

    fn hello() -> Vec<String> {
        events(
            &[
                r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"héllo"}}"#,
                r#"{"type":"content_block_stop","index":0}"#,
            ],
            "end_turn",
        )
    }

    fn error(kind: &str) -> String {
        format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"said {KEY}"}}}}"#)
    }

    async fn ask(model: &Anthropic, progress: &dyn Progress) -> Result<Turn, ModelError> {
        let (tools, messages) = conversation();
        model.turn(&request(&tools, &messages), progress).await
    }

    #[tokio::test]
    async fn a_streamed_turn_arrives_with_progress_and_the_right_headers() {
        let server = Scripted::start(vec![Answer::Events(hello())]).await;
        let log = Log::default();
        let turn = ask(&model(&server.url, |_| {}), &log).await.unwrap();
        assert_eq!((turn.text().as_str(), &turn.stop), ("héllo", &Stop::EndTurn));
        assert_eq!(turn.usage.total(), 34);
        assert_eq!(log.text(), "text héllo");
        let asked = server.asked().remove(0).to_lowercase();
        assert!(asked.starts_with("post /v1/messages http/1.1"));
        for header in [
            &format!("x-api-key: {KEY}"),
            "anthropic-version: 2023-06-01",
            "content-type: application/json",
        ] {
            assert!(asked.contains(header), "{asked}");
        }
        assert_eq!(server.body(0)["stream"], true);
    }

    #[tokio::test]
    async fn passing_faults_are_waited_out() {
        let mut partial = hello();
        partial.truncate(3);
        let mut overloaded = partial.clone();
        overloaded.push(error("overloaded_error"));
        let answers = vec![
            Answer::Whole(529, "", error("overloaded_error")),
            Answer::Whole(429, "retry-after: 0\r\n", error("rate_limit_error")),
            Answer::Slam,
            Answer::Cut(partial.clone()),
            Answer::Events(partial),
            Answer::Events(overloaded),
            Answer::Events(events(&[], "end_turn")),
            Answer::Whole(200, "content-type: application/json\r\n", "{\"content\":".to_owned()),
            Answer::Events(vec!["{broken".to_owned()]),
            Answer::Events(hello()),
        ];
        let server = Scripted::start(answers).await;
        let log = Log::default();
        let model = model(&server.url, |config| config.retry.attempts = 10);
        let turn = ask(&model, &log).await.unwrap();
        assert_eq!(turn.text(), "héllo");
        assert_eq!(server.asked().len(), 10);
        let log = log.text();
        for why in [
            "it answered 529 (overloaded_error: said [key])",
            "it answered 429",
            "the connection was cut",
            "the stream ended before `message_stop`",
            "it reported overloaded_error",
            "the content list is empty",
            "the answer is not a message",
            "an event is not valid JSON",
        ] {
            assert!(log.contains(why), "{why}: {log}");
        }
        // Four attempts got as far as `message_start`, three of them without a final count.
        assert_eq!(turn.retried.total(), 26 * 3 + 34);
    }

    #[tokio::test]
    async fn attempts_end_and_the_last_reason_is_told() {
        let slams = (0..3).map(|_| Answer::Slam).collect();
        let server = Scripted::start(slams).await;
        let model = model(&server.url, |config| config.retry.attempts = 3);
        let error = ask(&model, &Silent).await.unwrap_err().to_string();
        assert!(error.contains("(attempts: 3)"), "{error}");
        // Nothing listens there any more: a connection can't be made.
        let error = ask(&model, &Silent).await.unwrap_err().to_string();
        assert!(error.contains("no connection to `127.0.0.1:"), "{error}");
    }

    #[tokio::test]
    async fn refusals_are_not_asked_again_and_never_show_the_key() {
        for (status, says) in [
            (400, "asking again would not help"),
            (401, "check `ANTHROPIC_API_KEY`"),
            (403, "check its rights"),
            (404, "check the model's name"),
            (413, "outgrew"),
            (307, "set `ANTHROPIC_BASE_URL` to the final address"),
        ] {
            let headers = "location: http://127.0.0.1:1/\r\n";
            let answers = vec![Answer::Whole(status, headers, error("some_error"))];
            let server = Scripted::start(answers).await;
            let error = ask(&model(&server.url, |_| {}), &Silent).await.unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(says), "{shown}");
            assert!(!shown.contains(KEY), "{shown}");
            assert_eq!(server.asked().len(), 1);
        }
        let server =
            Scripted::start(vec![Answer::Events(vec![error("invalid_request_error")])]).await;
        let error = ask(&model(&server.url, |_| {}), &Silent).await.unwrap_err();
        assert!(matches!(error, ModelError::Rejected { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn an_unknown_delta_is_asked_for_whole() {
        let odd = r#"{"type":"odd","v": 1.0}"#;
        let strange = events(
            &[
                r#"{"type":"content_block_start","index":0,"content_block":{"type":"odd"}}"#,
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"odd_delta","v":1}}"#,
            ],
            "end_turn",
        );
        let whole = format!(
            r#"{{"id":"m2","content":[{odd}],"stop_reason":"pause_turn","usage":{{"input_tokens":1,"output_tokens":2}}}}"#
        );
        let server = Scripted::start(vec![
            Answer::Events(strange),
            Answer::Whole(200, "content-type: application/json\r\n", whole),
        ])
        .await;
        let turn = ask(&model(&server.url, |_| {}), &Silent).await.unwrap();
        assert_eq!(turn.blocks[0].get(), odd);
        assert_eq!(turn.stop, Stop::PauseTurn);
        assert_eq!(turn.retried.input_tokens, 25);
        assert_eq!(server.body(1)["stream"], false);
    }

    #[tokio::test]
    async fn silence_is_not_waited_for_without_end() {
        let mut partial = hello();
        partial.truncate(2);
        let server = Scripted::start(vec![Answer::Silence(partial)]).await;
        let model = model(&server.url, |config| {
            config.retry.attempts = 1;
            config.timeouts.idle = Duration::from_millis(50);
        });
        let started = Instant::now();
        let error = ask(&model, &Silent).await.unwrap_err().to_string();
        assert!(error.contains("stalled"), "{error}");
        assert!(started.elapsed() < Duration::from_secs(10));
    }

    #[tokio::test]
    async fn a_flood_is_cut_off() {
        let flood = "x".repeat(17 * 1024 * 1024);
        let server = Scripted::start(vec![
            Answer::Whole(200, "content-type: application/json\r\n", flood.clone()),
            Answer::Whole(200, "content-type: text/event-stream\r\n", flood),
        ])
        .await;
        let model = model(&server.url, |config| config.retry.attempts = 2);
        let log = Log::default();
        let error = ask(&model, &log).await.unwrap_err().to_string();
        assert!(error.contains("larger than 16 MiB"), "{error}");
        assert!(log.text().contains("larger than 16 MiB"), "{}", log.text());
    }

    #[tokio::test]
    async fn a_call_of_megabytes_is_read_in_linear_time() {
        let text = "y".repeat(10 * 1024 * 1024);
        let delta = format!(
            r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"input_json_delta","partial_json":"{{\"a\":\"{text}\"}}"}}}}"#
        );
        let server = Scripted::start(vec![Answer::Events(events(
            &[
                r#"{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"t","name":"n","input":{}}}"#,
                &delta,
                r#"{"type":"content_block_stop","index":0}"#,
            ],
            "tool_use",
        ))])
        .await;
        let turn = ask(&model(&server.url, |_| {}), &Silent).await.unwrap();
        assert_eq!(turn.calls()[0].input.len(), text.len() + 8);
    }

    #[tokio::test]
    async fn an_id_of_an_earlier_turn_is_asked_again() {
        let call = |id: &str| {
            format!(
                r#"{{"content":[{{"type":"tool_use","id":"{id}","name":"probe","input":{{}}}}],"stop_reason":"tool_use","usage":{{"input_tokens":1,"output_tokens":1}}}}"#
            )
        };
        let json = "content-type: application/json\r\n";
        let server = Scripted::start(vec![
            Answer::Whole(200, json, call("t1")),
            Answer::Whole(200, json, call("t1")),
            Answer::Whole(200, json, call("t2")),
        ])
        .await;
        let model = model(&server.url, |_| {});
        let (tools, mut messages) = conversation();
        let first = model.turn(&request(&tools, &messages), &Silent).await.unwrap();
        messages.push(Message::Assistant(first.blocks));
        let second = model.turn(&request(&tools, &messages), &Silent).await.unwrap();
        assert_eq!(second.calls()[0].id, "t2");
        assert_eq!(second.retried.total(), 2);
    }

    #[tokio::test]
    async fn a_dropped_turn_leaves_the_model_usable() {
        let server = Scripted::start(vec![Answer::Slam, Answer::Events(hello())]).await;
        let model = model(&server.url, |config| {
            config.retry.base = Duration::from_secs(20);
        });
        let cut = tokio::time::timeout(Duration::from_millis(200), ask(&model, &Silent)).await;
        assert!(cut.is_err(), "the backoff was to outlast the deadline");
        assert_eq!(ask(&model, &Silent).await.unwrap().text(), "héllo");
    }

    #[test]
    fn a_key_with_a_line_break_inside_is_refused_without_showing_it() {
        let config = AnthropicConfig::new("m", SecretString::from("sk-abc\ndef"));
        let error = Anthropic::new(config).err().unwrap();
        let shown = format!("{error} {error:?}");
        assert!(shown.contains("`ANTHROPIC_API_KEY`") && !shown.contains("abc"), "{shown}");
    }
}
