//! Any OpenAI-compatible chat-completions endpoint: OpenAI itself, Ollama, vLLM, gateways.
//!
//! Turns are kept in the shape of the Messages API, so that the loop, the record and a replay
//! know one form.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use futures_util::StreamExt;
use secrecy::SecretString;

use super::http::{Endpoint, EndpointSpec, Timeouts, is_event_stream};
use super::message::{TurnRequest, used_ids};
use super::openai_request::{Dialect, body};
use super::openai_stream::{ChunkFault, Completion};
use super::price::Price;
use super::retry::{Fault, Retries, RetryPolicy};
use super::service_error::ServiceError;
use super::turn::{InvalidTurn, Turn};
use super::{Model, ModelError, Progress};

const SERVICE: &str = "chat-completions API";

/// Errors inside an answer that asking again doesn't cure.
const FINAL_ERRORS: &[&str] = &[
    "invalid_request_error",
    "authentication_error",
    "permission_error",
    "insufficient_quota",
    "context_length_exceeded",
];

/// How to reach a chat-completions endpoint.
#[derive(Debug, Clone)]
pub struct OpenAiConfig {
    /// The model's name at the endpoint, without `openai:`.
    pub model: String,
    /// The key, if the endpoint wants one; sent as a bearer token to `base_url` only.
    pub key: Option<SecretString>,
    /// Where the API is; `/chat/completions` is added.
    pub base_url: String,
    /// What the model costs, if known.
    pub price: Option<Price>,
    /// When to try again.
    pub retry: RetryPolicy,
    /// How long silences are borne.
    pub timeouts: Timeouts,
}

impl OpenAiConfig {
    /// OpenAI's own endpoint with the usual bounds, no key and no price.
    pub fn new(model: impl Into<String>) -> Self {
        Self {
            model: model.into(),
            key: None,
            base_url: "https://api.openai.com/v1".to_owned(),
            price: None,
            retry: RetryPolicy::default(),
            timeouts: Timeouts::default(),
        }
    }
}

/// A model behind a chat-completions endpoint.
pub struct OpenAi {
    name: String,
    model: String,
    price: Option<Price>,
    retry: RetryPolicy,
    endpoint: Endpoint,
    /// What the endpoint was found to take; a first guess until it refuses.
    completion_tokens: AtomicBool,
    stream_options: AtomicBool,
}

impl OpenAi {
    /// Checks the address and the key's form; connects with the first turn.
    pub fn new(config: OpenAiConfig) -> Result<Self, ModelError> {
        let endpoint = Endpoint::new(EndpointSpec {
            service: SERVICE,
            base_url: &config.base_url,
            base_var: "OPENAI_BASE_URL",
            key: config.key.as_ref(),
            key_var: "OPENAI_API_KEY",
            key_header: ("authorization", "Bearer "),
            path: &["chat", "completions"],
            headers: &[],
            timeouts: config.timeouts,
        })?;
        let own = endpoint.host() == "api.openai.com";
        Ok(Self {
            name: format!("openai:{}", config.model),
            model: config.model,
            price: config.price,
            retry: config.retry,
            endpoint,
            completion_tokens: AtomicBool::new(own),
            stream_options: AtomicBool::new(true),
        })
    }

    fn dialect(&self) -> Dialect {
        Dialect {
            completion_tokens: self.completion_tokens.load(Ordering::Relaxed),
            stream_options: self.stream_options.load(Ordering::Relaxed),
        }
    }

    /// Whether the refusal was about a parameter that endpoints disagree on. If so the other way
    /// is tried next; `tried` keeps each change to one a turn, so that this ends.
    fn adapts(&self, fault: &Fault, tried: &mut Tried) -> bool {
        let Fault::Final(ModelError::Rejected { status: 400 | 422, message, .. }) = fault else {
            return false;
        };
        if message.contains("stream_options") && !std::mem::replace(&mut tried.options, true) {
            self.stream_options.store(false, Ordering::Relaxed);
            return true;
        }
        let limit = message.contains("max_tokens") || message.contains("max_completion_tokens");
        if limit && !std::mem::replace(&mut tried.limit, true) {
            self.completion_tokens.fetch_xor(true, Ordering::Relaxed);
            return true;
        }
        false
    }

    /// One request and its answer.
    async fn attempt(
        &self,
        request: &TurnRequest<'_>,
        progress: &dyn Progress,
    ) -> Result<Turn, Fault> {
        let body = body(&self.model, request, self.dialect()).map_err(|error| {
            Fault::Final(ModelError::Config(format!(
                "the request can't be written as JSON: {error}"
            )))
        })?;
        let sent = body.len();
        let response = self.endpoint.post(body).await?;
        let mut completion = Completion::default();
        if is_event_stream(&response) {
            let mut events = std::pin::pin!(self.endpoint.events(response));
            while let Some(data) = events.next().await {
                let data = data.map_err(|fault| fault.having_used(completion.used()))?;
                if self.take(&mut completion, &data, progress)? {
                    break;
                }
            }
        } else {
            let body = self.endpoint.whole(response).await?;
            let body =
                String::from_utf8(body).map_err(|_| Fault::passing("the answer is not UTF-8"))?;
            self.take(&mut completion, &body, progress)?;
        }
        let used = completion.used();
        completion
            .finish(sent, &used_ids(request.messages))
            .map_err(|invalid| unusable(&invalid).having_used(used))
    }

    fn take(
        &self,
        completion: &mut Completion,
        data: &str,
        progress: &dyn Progress,
    ) -> Result<bool, Fault> {
        completion.take(data, progress).map_err(|fault| {
            let fault = match fault {
                ChunkFault::Invalid(invalid) => unusable(&invalid),
                ChunkFault::Reported(ServiceError { kind, code, message }) => {
                    let kind = if FINAL_ERRORS.contains(&code.as_str()) || kind.is_empty() {
                        code
                    } else {
                        kind
                    };
                    self.endpoint.reported(&kind, &message, FINAL_ERRORS)
                }
            };
            fault.having_used(completion.used())
        })
    }
}

#[derive(Default)]
struct Tried {
    options: bool,
    limit: bool,
}

#[async_trait]
impl Model for OpenAi {
    fn name(&self) -> &str {
        &self.name
    }

    async fn turn(
        &self,
        request: &TurnRequest<'_>,
        progress: &dyn Progress,
    ) -> Result<Turn, ModelError> {
        let mut retries = Retries::new(&self.retry, SERVICE);
        let mut tried = Tried::default();
        loop {
            match self.attempt(request, progress).await {
                Ok(turn) => return Ok(retries.charge(turn)),
                Err(fault) if self.adapts(&fault, &mut tried) => {}
                Err(fault) => retries.after(fault, progress).await?,
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
    use super::super::scripted::{Answer, Log, Scripted, conversation, request};
    use super::super::turn::Stop;
    use super::*;
    use std::time::Duration;

    fn model(url: &str, key: Option<&str>) -> OpenAi {
        let mut config = OpenAiConfig::new("llama3");
        config.base_url = format!("{url}/v1");
        config.key = key.map(SecretString::from);
        config.retry.base = Duration::from_millis(1);
        OpenAi::new(config).unwrap()
    }

    fn hello() -> Vec<String> {
        [
            r#"{"choices":[{"index":0,"delta":{"content":"hi"}}]}"#,
            r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
            r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}"#,
            "[DONE]",
        ]
        .map(str::to_owned)
        .to_vec()
    }

    async fn ask(model: &OpenAi, progress: &dyn Progress) -> Result<Turn, ModelError> {
        let (tools, messages) = conversation();
        model.turn(&request(&tools, &messages), progress).await
    }

    #[tokio::test]
    async fn a_turn_with_and_without_a_key() {
        let server = Scripted::start(vec![Answer::Events(hello()), Answer::Events(hello())]).await;
        let log = Log::default();
        let turn = ask(&model(&server.url, Some("sk-x")), &log).await.unwrap();
        assert_eq!((turn.text().as_str(), &turn.stop), ("hi", &Stop::EndTurn));
        assert_eq!(turn.usage.total(), 7);
        assert_eq!(log.text(), "text hi");
        ask(&model(&server.url, None), &Silent).await.unwrap();
        let asked: Vec<String> = server.asked().iter().map(|a| a.to_lowercase()).collect();
        assert!(asked[0].starts_with("post /v1/chat/completions http/1.1"));
        assert!(asked[0].contains("authorization: bearer sk-x"));
        assert!(!asked[1].contains("authorization"));
        assert_eq!(server.body(0)["max_tokens"], 100);
        assert_eq!(server.body(0)["model"], "llama3");
    }

    #[tokio::test]
    async fn parameters_that_an_endpoint_refuses_are_changed_once() {
        let refuse = |name: &str| {
            let body = format!(r#"{{"error":{{"message":"Unsupported parameter: '{name}'"}}}}"#);
            Answer::Whole(400, "", body)
        };
        let server = Scripted::start(vec![
            refuse("max_tokens"),
            refuse("stream_options"),
            Answer::Events(hello()),
            Answer::Events(hello()),
        ])
        .await;
        let own = model(&server.url, None);
        ask(&own, &Silent).await.unwrap();
        assert!(server.body(0).get("max_completion_tokens").is_none());
        assert_eq!(server.body(1)["max_completion_tokens"], 100);
        assert!(server.body(2).get("stream_options").is_none());
        ask(&own, &Silent).await.unwrap();
        assert_eq!(server.body(3)["max_completion_tokens"], 100);

        let stubborn = (0..3).map(|_| refuse("max_tokens")).collect();
        let server = Scripted::start(stubborn).await;
        let error = ask(&model(&server.url, None), &Silent).await.unwrap_err();
        assert!(matches!(error, ModelError::Rejected { status: 400, .. }));
        assert_eq!(server.asked().len(), 2);
    }

    #[tokio::test]
    async fn faults_are_waited_out_or_told() {
        let mut cut = hello();
        cut.truncate(1);
        let server = Scripted::start(vec![
            Answer::Whole(503, "", "<html>busy</html>".to_owned()),
            Answer::Events(cut),
            Answer::Events(vec![r#"{"error":{"message":"boom","code":500}}"#.to_owned()]),
            Answer::Whole(
                200,
                "content-type: application/json\r\n",
                r#"{"choices":[{"message":{"content":"whole"},"finish_reason":"stop"}]}"#
                    .to_owned(),
            ),
        ])
        .await;
        let log = Log::default();
        let turn = ask(&model(&server.url, None), &log).await.unwrap();
        assert_eq!(turn.text(), "whole");
        assert!(turn.usage.estimated && turn.usage.total() > 50);
        let log = log.text();
        for why in ["503 (<html>busy</html>)", "may be cut", "it reported 500: boom"] {
            assert!(log.contains(why), "{why}: {log}");
        }

        let body = r#"{"error":{"message":"bad sk-secret-key","type":"invalid_request_error","code":"invalid_api_key"}}"#;
        let server = Scripted::start(vec![Answer::Whole(401, "", body.to_owned())]).await;
        let error = ask(&model(&server.url, Some("sk-secret-key")), &Silent).await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains("check `OPENAI_API_KEY`"), "{error}");
        assert!(!error.contains("sk-secret"), "{error}");
    }
}
