//! The model behind one trait: who decides what the agent tries next.
//!
//! Four kinds stand behind [`Model`]: the Anthropic Messages API, any OpenAI-compatible
//! chat-completions endpoint, a recorded session, and a person at a prompt. All of them speak
//! in content blocks of the Messages API, kept as the exact JSON that arrived.
//!
//! What this module never does: it runs no tool, spends no token, reads no clock for the run's
//! budget and trusts no byte that a model sends. Keys are never part of an error or a log line.

mod anthropic;
mod anthropic_request;
mod anthropic_stream;
mod http;
mod human;
mod message;
mod object;
mod openai;
mod openai_request;
mod openai_stream;
mod price;
mod replay;
mod retry;
#[cfg(test)]
mod scripted;
mod service_error;
mod turn;
mod usage;

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use lar_core::display::visible;
use secrecy::SecretString;

pub use anthropic::{Anthropic, AnthropicConfig};
pub use http::Timeouts;
pub use human::{Human, Prompt};
pub use message::{Message, ToolDefinition, TurnRequest, UserBlock};
pub use openai::{OpenAi, OpenAiConfig};
pub use price::{Price, PriceError, PriceTable};
pub use replay::{Recorder, Replay};
pub use retry::RetryPolicy;
pub use turn::{InvalidTurn, Malformed, RawCall, Stop, Turn};
pub use usage::Usage;

/// The model where nothing names one. The price table knows it, and what the project ships (templates,
/// examples, documentation) names it: the tests hold that. When its maker retires it, change it here and
/// follow the tests.
pub const DEFAULT_MODEL: &str = "claude-sonnet-5-5";

/// One participant that answers a conversation with the next turn.
///
/// Cancellation: dropping the future of [`Model::turn`] at any await is safe. Nothing outlives it
/// but a request that the server may still bill; no state of the model is lost.
#[async_trait]
pub trait Model: Send + Sync {
    /// The name as it is recorded, such as `claude-sonnet-5-5`, `openai:gpt-5` or
    /// `replay:session.jsonl`.
    fn name(&self) -> &str;

    /// Asks for the next turn. Passing faults (overload, rate limits, cut connections, answers
    /// that can't be read) are retried inside, a bounded number of times; the caller bounds the
    /// time by dropping the future.
    async fn turn(
        &self,
        request: &TurnRequest<'_>,
        progress: &dyn Progress,
    ) -> Result<Turn, ModelError>;

    /// What this model costs, or `None` when that is unknown (a cost limit can't be kept then).
    fn price(&self) -> Option<Price>;

    /// Whether [`TurnRequest::messages`] matters. A recording answers the same whatever was said,
    /// so a caller may then keep no conversation, which keeps memory flat over long runs.
    fn wants_history(&self) -> bool {
        true
    }

    /// Passes over turns that were taken before a run was cut off. A recording goes on after them; a
    /// model that reads the conversation has nothing to do.
    fn pass_over(&self, _turns: u64) -> Result<(), ModelError> {
        Ok(())
    }
}

/// Sees a turn while it is being made. Everything passed here is the model's own text: escape it
/// before it reaches a terminal. After [`Progress::retrying`] the turn begins anew, so text that
/// was shown before it is not part of the answer.
pub trait Progress: Send + Sync {
    /// A piece of text arrived.
    fn text(&self, _delta: &str) {}
    /// The model began to write a call of this tool.
    fn tool_started(&self, _name: &str) {}
    /// An attempt failed for this reason; the next one starts after `wait`.
    fn retrying(&self, _why: &str, _wait: Duration) {}
}

/// A [`Progress`] that nobody watches.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {}

/// Why a turn could not be had. The texts are for the operator: they say what to do next and
/// never hold a key.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The model can't be set up as asked: a missing key, an address that is none.
    #[error("{0}")]
    Config(String),
    /// The service refused the request and would refuse it again, so it was not retried.
    #[error("the {service} refused the request with status {status}: {message}; {advice}")]
    Rejected {
        /// Which service, such as `Anthropic API`.
        service: &'static str,
        /// The HTTP status, or 200 when the refusal came inside a stream.
        status: u16,
        /// What the service said, escaped and shortened.
        message: String,
        /// What the operator should do.
        advice: String,
    },
    /// Every attempt failed for a passing reason.
    #[error(
        "no usable answer came from the {service}: {why} (attempts: {attempts}); try again later"
    )]
    GaveUp {
        /// Which service.
        service: &'static str,
        /// How many attempts were made.
        attempts: u32,
        /// Why the last attempt failed.
        why: String,
        /// What the failed attempts reported as used; the service may bill it.
        usage: Usage,
    },
    /// A line of a replay file is not a response.
    #[error("replay file `{path}`, line {line}: {what}")]
    Replay {
        /// The file.
        path: String,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong with it, and what to do.
        what: String,
    },
    /// The recording ended while the agent still waited for a turn.
    #[error(
        "replay file `{path}` ends after line {line}, but the run is not over; end the recording \
         with a turn that calls no tool"
    )]
    ReplayEnded {
        /// The file.
        path: String,
        /// The last line that was read, counted from 1; 0 for an empty file.
        line: u64,
    },
    /// The person at the prompt went away.
    #[error("the prompt was closed before `done` was typed")]
    PromptClosed,
    /// A local file or the terminal failed.
    #[error("{what} ({})", .source.kind())]
    Io {
        /// What was tried, on which file, and what to do.
        what: String,
        /// The system's own reason.
        #[source]
        source: std::io::Error,
    },
}

/// Which model a manifest or a command line names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelSpec {
    /// A model of the Anthropic Messages API: a bare name, or `anthropic:NAME`.
    Anthropic(String),
    /// A model of an OpenAI-compatible endpoint: `openai:NAME`.
    OpenAi(String),
    /// A recorded session: `replay:FILE`.
    Replay(PathBuf),
    /// A person at a prompt: `human`.
    Human,
}

impl ModelSpec {
    /// Reads the `model` field: `claude-…`, `anthropic:NAME`, `openai:NAME`, `replay:FILE` or
    /// `human`. The error says which forms there are.
    pub fn parse(text: &str) -> Result<Self, ModelError> {
        let text = text.trim();
        let name = |name: &str| match name.trim() {
            "" => Err(ModelError::Config(format!("model `{text}` lacks a name after the colon"))),
            name => Ok(name.to_owned()),
        };
        match text.split_once(':') {
            Some(("anthropic", rest)) => Ok(Self::Anthropic(name(rest)?)),
            Some(("openai", rest)) => Ok(Self::OpenAi(name(rest)?)),
            Some(("replay", rest)) => Ok(Self::Replay(name(rest)?.into())),
            Some((provider, _)) => Err(ModelError::Config(format!(
                "unknown model provider `{}`; write a Claude model's name, `anthropic:NAME`, \
                 `openai:NAME` (any OpenAI-compatible endpoint), `replay:FILE` or `human`",
                visible(provider, 64)
            ))),
            None if text == "human" => Ok(Self::Human),
            None if text.is_empty() => Err(ModelError::Config(
                "the model is empty; write a Claude model's name, `openai:NAME`, `replay:FILE` or \
                 `human`"
                    .to_owned(),
            )),
            None if text.starts_with("gpt-") => Err(ModelError::Config(format!(
                "`{}` is not a Claude model; write `openai:{0}`",
                visible(text, 64)
            ))),
            None => Ok(Self::Anthropic(text.to_owned())),
        }
    }

    /// The name under which prices are listed, `None` where nothing is billed.
    pub fn priced_name(&self) -> Option<String> {
        match self {
            Self::Anthropic(name) => Some(name.clone()),
            Self::OpenAi(name) => Some(format!("openai:{name}")),
            Self::Replay(_) | Self::Human => None,
        }
    }
}

/// Where the model services are and what opens them. The one place that reads the environment.
#[derive(Debug, Clone, Default)]
pub struct ModelEnv {
    /// `ANTHROPIC_API_KEY`.
    pub anthropic_key: Option<SecretString>,
    /// `ANTHROPIC_BASE_URL`.
    pub anthropic_base_url: Option<String>,
    /// `OPENAI_API_KEY`.
    pub openai_key: Option<SecretString>,
    /// `OPENAI_BASE_URL`.
    pub openai_base_url: Option<String>,
}

impl ModelEnv {
    /// Reads the process's environment. Empty variables count as absent.
    pub fn from_process() -> Self {
        Self::from_lookup(|name| std::env::var(name).ok())
    }

    /// Reads through `lookup`, for callers that keep their own configuration.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let get = |name| {
            let value = lookup(name)?;
            let value = value.trim();
            (!value.is_empty()).then(|| value.to_owned())
        };
        Self {
            anthropic_key: get("ANTHROPIC_API_KEY").map(SecretString::from),
            anthropic_base_url: get("ANTHROPIC_BASE_URL"),
            openai_key: get("OPENAI_API_KEY").map(SecretString::from),
            openai_base_url: get("OPENAI_BASE_URL"),
        }
    }

    /// Opens the model that `spec` names. `prompt` serves [`ModelSpec::Human`] only.
    pub fn open(
        &self,
        spec: &ModelSpec,
        prices: &PriceTable,
        prompt: Option<Box<dyn Prompt>>,
    ) -> Result<Box<dyn Model>, ModelError> {
        let price = spec.priced_name().and_then(|name| prices.price(&name));
        Ok(match spec {
            ModelSpec::Anthropic(model) => {
                let key = self.anthropic_key.clone().ok_or_else(|| {
                    ModelError::Config(
                        "`ANTHROPIC_API_KEY` is not set; set it, or use `replay:FILE` or `human` \
                         as the model"
                            .to_owned(),
                    )
                })?;
                let mut config = AnthropicConfig::new(model.as_str(), key);
                if let Some(base) = &self.anthropic_base_url {
                    config.base_url = base.clone();
                }
                config.price = price;
                Box::new(Anthropic::new(config)?)
            }
            ModelSpec::OpenAi(model) => {
                let mut config = OpenAiConfig::new(model.as_str());
                config.key = self.openai_key.clone();
                if let Some(base) = &self.openai_base_url {
                    config.base_url = base.clone();
                }
                config.price = price;
                Box::new(OpenAi::new(config)?)
            }
            ModelSpec::Replay(path) => Box::new(Replay::open(path)?),
            ModelSpec::Human => Box::new(Human::new(prompt.ok_or_else(|| {
                ModelError::Config("model `human` needs a terminal to read from".to_owned())
            })?)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_are_read_and_wrong_ones_say_the_right_form() {
        let spec = |text| ModelSpec::parse(text);
        assert_eq!(
            spec("claude-sonnet-5-5").unwrap(),
            ModelSpec::Anthropic("claude-sonnet-5-5".into())
        );
        assert_eq!(spec("anthropic:my-model").unwrap(), ModelSpec::Anthropic("my-model".into()));
        assert_eq!(spec("openai:llama3:8b").unwrap(), ModelSpec::OpenAi("llama3:8b".into()));
        assert_eq!(spec("replay:a/b.jsonl").unwrap(), ModelSpec::Replay("a/b.jsonl".into()));
        assert_eq!(spec("human").unwrap(), ModelSpec::Human);
        for (wrong, says) in [
            ("ollama:llama3", "openai:NAME"),
            ("gpt-5", "write `openai:gpt-5`"),
            ("", "the model is empty"),
            ("openai:", "lacks a name"),
        ] {
            let message = spec(wrong).unwrap_err().to_string();
            assert!(message.contains(says), "{wrong}: {message}");
        }
    }

    #[test]
    fn the_environment_is_read_once_and_a_missing_key_says_what_to_do() {
        let env = ModelEnv::from_lookup(|name| match name {
            "OPENAI_API_KEY" => Some(" sk-very-secret\n".to_owned()),
            "ANTHROPIC_API_KEY" => Some(String::new()),
            _ => None,
        });
        assert!(env.anthropic_key.is_none() && env.openai_key.is_some());
        assert!(!format!("{env:?}").contains("very-secret"));
        let spec = ModelSpec::Anthropic("claude-sonnet-5-5".into());
        let error = env.open(&spec, &PriceTable::builtin(), None).err().unwrap();
        assert!(error.to_string().contains("`ANTHROPIC_API_KEY` is not set"));

        let spec = ModelSpec::OpenAi("gpt-5".into());
        let model = env.open(&spec, &PriceTable::builtin(), None).unwrap();
        assert_eq!(model.name(), "openai:gpt-5");
        assert!(model.price().is_some());
    }
}
