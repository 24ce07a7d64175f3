//! Tokens that carry a secret.

use secrecy::SecretString;

use super::{Common, Witness, common_setters};
use crate::scope::secret::{Injection, SecretSource};
use crate::scope::{Scope, SecretScope};
use crate::time::Timestamp;
use crate::token::{Token, TokenError};

/// Wraps a shell or HTTP token and puts a secret into what it does.
///
/// ```
/// use lar_core::token::{HttpToken, SecretToken};
/// let slack = HttpToken::new("slack", "https://slack.com/api/chat.postMessage", ["POST"]).build()?;
/// let token = SecretToken::from_env("notify", "SLACK_TOKEN", slack)
///     .header("Authorization")
///     .format("Bearer {secret}")
///     .build()?;
/// assert_eq!(token.tool_name(), "secret_notify");
/// # Ok::<(), lar_core::token::TokenError>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder grants nothing until `build` is called"]
pub struct SecretToken {
    common: Common,
    source: SecretSource,
    injection: Option<Injection>,
    format: String,
    inner: Token,
}

impl SecretToken {
    /// Takes the secret from the runtime's environment variable `variable`.
    pub fn from_env(name: &str, variable: &str, inner: Token) -> Self {
        Self::with(name, SecretSource::Env(variable.to_owned()), inner)
    }

    /// Takes the secret from a file.
    pub fn from_file(name: &str, path: &str, inner: Token) -> Self {
        Self::with(name, SecretSource::File(path.to_owned()), inner)
    }

    /// Takes the secret from code. There is no way to write one into a manifest.
    pub fn from_value(name: &str, value: SecretString, inner: Token) -> Self {
        Self::with(name, SecretSource::Value(value), inner)
    }

    fn with(name: &str, source: SecretSource, inner: Token) -> Self {
        let mut common = Common::new(name);
        // The inner token's limits hold unless the wrapper is told otherwise, never less strictly.
        common.max_uses = inner.max_uses();
        common.requires_approval = inner.requires_approval();
        common.approvers = inner.approvers().cloned();
        common.expires = inner.expires();
        common.witness = inner.witness();
        Self { common, source, injection: None, format: "{secret}".to_owned(), inner }
    }

    /// Puts the secret into this request header.
    pub fn header(mut self, name: impl Into<String>) -> Self {
        self.injection = Some(Injection::Header(name.into()));
        self
    }

    /// Puts the secret into this environment variable of the child.
    pub fn inject_env(mut self, name: impl Into<String>) -> Self {
        self.injection = Some(Injection::Env(name.into()));
        self
    }

    /// What is put there; `{secret}` stands for the value.
    pub fn format(mut self, format: impl Into<String>) -> Self {
        self.format = format.into();
        self
    }

    /// Checks everything and makes the token.
    pub fn build(mut self) -> Result<Token, TokenError> {
        let Some(injection) = self.injection else {
            return Err(TokenError::Field {
                field: "header",
                message: "say where the secret goes: `header = …` or `inject_env = …`".into(),
            });
        };
        // The inner token's limits hold whatever the wrapper says.
        self.common.requires_approval |= self.inner.requires_approval();
        self.common.witness = self.common.witness.or(self.inner.witness());
        match (&self.common.approvers, self.inner.approvers()) {
            (Some(own), Some(inner)) if own != inner => {
                return Err(TokenError::Field {
                    field: "approvers",
                    message: "the inner token lists others; list them in one place".into(),
                });
            }
            (None, inner) => self.common.approvers = inner.cloned(),
            _ => {}
        }
        self.common.expires = match (self.common.expires, self.inner.expires()) {
            (Some(own), Some(inner)) => Some(own.min(inner)),
            (own, inner) => own.or(inner),
        };
        let name = self.inner.name().to_owned();
        let scope = self.inner.scope().clone();
        let scope = SecretScope::new(self.source, injection, &self.format, &name, scope)?;
        self.common.token(Scope::Secret(scope))
    }
}
common_setters!(SecretToken);
