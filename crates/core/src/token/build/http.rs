//! Tokens for requests.

use std::time::Duration;

use super::{Common, Witness, check_bytes, check_timeout, common_setters};
use crate::scope::Scope;
use crate::scope::url::{HttpScope, check_roots};
use crate::time::Timestamp;
use crate::token::{Token, TokenError};

/// Sends requests to one URL.
///
/// ```
/// use lar_core::token::HttpToken;
/// let token = HttpToken::new("health", "https://api.internal/health", ["GET"]).build()?;
/// assert_eq!(token.tool_name(), "health");
/// # Ok::<(), lar_core::token::TokenError>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder grants nothing until `build` is called"]
pub struct HttpToken {
    common: Common,
    url: String,
    methods: Vec<String>,
    headers: Vec<(String, String)>,
    timeout: Option<Duration>,
    max_body: Option<u64>,
    tls_roots: Option<String>,
}

impl HttpToken {
    /// A token for `methods` on `url`.
    pub fn new(
        name: &str,
        url: &str,
        methods: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        Self {
            common: Common::new(name),
            url: url.to_owned(),
            methods: methods.into_iter().map(Into::into).collect(),
            headers: Vec::new(),
            timeout: None,
            max_body: None,
            tls_roots: None,
        }
    }

    /// Sends this header with every request.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Ends the whole request after this time.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Allows bodies, sent or received, of at most so many bytes.
    pub fn max_body(mut self, bytes: u64) -> Self {
        self.max_body = Some(bytes);
        self
    }

    /// Trusts the certificates that these vouch for, and no others: roots in PEM, one after the other.
    pub fn tls_roots(mut self, pem: impl Into<String>) -> Self {
        self.tls_roots = Some(pem.into());
        self
    }

    /// Checks everything and makes the token.
    pub fn build(self) -> Result<Token, TokenError> {
        let mut scope = HttpScope::new(&self.url, &self.methods, &self.headers)?;
        if let Some(timeout) = self.timeout {
            check_timeout(timeout)?;
            scope.timeout = timeout;
        }
        if let Some(bytes) = self.max_body {
            check_bytes("max_body", bytes)?;
            scope.max_body = bytes;
        }
        if let Some(pem) = self.tls_roots {
            check_roots(&scope.url, &pem)?;
            scope.tls_roots = Some(pem);
        }
        self.common.token(Scope::Http(scope))
    }
}
common_setters!(HttpToken);

/// An HTTP token with more than one use: the same builder, with [`HttpToken::max_uses`].
pub type MultiUseHttpToken = HttpToken;
