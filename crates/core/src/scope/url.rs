//! The scope of an HTTP token: one URL, listed methods.
//!
//! The URL is the token's and the model can't change it. It is parsed once by the WHATWG rules
//! (<https://url.spec.whatwg.org/>) when the token is made; what is shown, hashed and requested is
//! that parsed form.

use std::time::Duration;

use serde::Serialize;
use url::Url;

use crate::action::HttpAction;
use crate::error::Refusal;
use crate::json::Digest;
use crate::token::TokenError;

/// How long a request may take when the token doesn't say: 30 seconds.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// How many bytes a body may have, sent or received, when the token doesn't say: 1 MiB.
pub const DEFAULT_MAX_BODY: u64 = 1 << 20;

/// The most bytes of certificates.
const MAX_ROOTS: usize = 1 << 20;

/// Methods that a token may list (RFC 9110, section 9, and PATCH of RFC 5789). CONNECT and TRACE
/// have no place in an API call.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Headers that the client itself must own: they frame the message or decide whom it reaches.
const OWNED_HEADERS: [&str; 9] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Requests to one URL with one of the listed methods.
#[derive(Debug, Clone, Serialize)]
pub struct HttpScope {
    /// The URL, parsed and written again.
    pub url: Url,
    /// The allowed methods, in upper case.
    pub methods: Vec<String>,
    /// Headers that go with every request.
    pub headers: Vec<(String, String)>,
    /// The whole request, from resolving the name to the last byte of the answer.
    #[serde(rename = "timeout_ms", serialize_with = "super::wait::as_millis")]
    pub timeout: Duration,
    /// The most bytes of a body, sent or received.
    pub max_body: u64,
    /// Certificates in PEM. Where there are some, only what they vouch for is trusted, and nothing that the
    /// system trusts. In the token's record stands their SHA-256.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "digest_of")]
    pub tls_roots: Option<String>,
}

fn digest_of<S: serde::Serializer>(pem: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&Digest::of(pem.as_deref().unwrap_or_default().as_bytes()))
}

impl HttpScope {
    /// Checks and parses the parts.
    pub fn new(
        url: &str,
        methods: &[String],
        headers: &[(String, String)],
    ) -> Result<Self, TokenError> {
        let fail = |field: &'static str, message: String| TokenError::Field { field, message };
        let parsed = Url::parse(url).map_err(|error| {
            fail("url", format!("`{url}` is not a URL ({error}); write it as `https://host/path`"))
        })?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(fail("url", format!("`{url}` is not an http or https URL")));
        }
        if parsed.host_str().is_none_or(str::is_empty) {
            return Err(fail("url", format!("`{url}` names no host")));
        }
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(fail(
                "url",
                "the URL carries a user name or password; use a secret token with a header".into(),
            ));
        }
        if parsed.fragment().is_some() {
            return Err(fail(
                "url",
                "the URL has a `#` fragment, which is never sent; remove it".into(),
            ));
        }
        if methods.is_empty() {
            return Err(fail(
                "methods",
                "no method is listed; list at least one, such as `GET`".into(),
            ));
        }
        let mut upper = Vec::new();
        for method in methods {
            let method = method.to_ascii_uppercase();
            if !METHODS.contains(&method.as_str()) {
                return Err(fail(
                    "methods",
                    format!("`{method}` is not one of {}", METHODS.join(", ")),
                ));
            }
            if !upper.contains(&method) {
                upper.push(method);
            }
        }
        for (name, value) in headers {
            check_header(name, value)?;
        }
        Ok(Self {
            url: parsed,
            methods: upper,
            headers: headers.to_vec(),
            timeout: DEFAULT_TIMEOUT,
            max_body: DEFAULT_MAX_BODY,
            tls_roots: None,
        })
    }

    /// Whether the request is within the scope.
    pub fn permits(&self, action: &HttpAction) -> Result<(), Refusal> {
        if action.url != self.url.as_str() || action.headers != self.headers {
            return Err(Refusal::TokenScope(format!(
                "this token requests `{}` and nothing else",
                self.url
            )));
        }
        if !self.methods.contains(&action.method) {
            return Err(Refusal::TokenScope(format!(
                "method `{}` is not allowed here; allowed: {}",
                action.method,
                self.methods.join(", ")
            )));
        }
        let Some(body) = &action.body else {
            return Ok(());
        };
        if matches!(action.method.as_str(), "GET" | "HEAD" | "OPTIONS") {
            return Err(Refusal::TokenScope(format!(
                "a {} request carries no body; leave `body` out",
                action.method
            )));
        }
        if body.len() as u64 > self.max_body {
            return Err(Refusal::TokenScope(format!(
                "the body has {} bytes; this token allows {}",
                body.len(),
                self.max_body
            )));
        }
        Ok(())
    }

    /// One line for people.
    pub fn summary(&self) -> String {
        format!("{} {}", self.methods.join("|"), self.url)
    }
}

/// Refuses what can't be certificates in PEM, and a private key, which has no place there.
pub(crate) fn check_roots(url: &Url, pem: &str) -> Result<(), TokenError> {
    let fail = |message: &str| TokenError::Field { field: "tls_roots", message: message.into() };
    if url.scheme() != "https" {
        return Err(fail("the URL is not https, so nothing would be checked; write `https://`"));
    }
    if pem.len() > MAX_ROOTS {
        return Err(fail("the certificates have more than 1 MiB; list those that are needed"));
    }
    if pem.contains("PRIVATE KEY-----") {
        return Err(fail("it holds a private key; it is for certificates alone"));
    }
    match pem.contains("-----BEGIN CERTIFICATE-----") {
        true => Ok(()),
        false => Err(fail("it holds no certificate in PEM (`-----BEGIN CERTIFICATE-----`)")),
    }
}

/// Refuses a header that could split the message or take over its framing.
pub(crate) fn check_header(name: &str, value: &str) -> Result<(), TokenError> {
    let fail = |message: String| TokenError::Field { field: "headers", message };
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(fail(format!("`{}` is not a header name", name.escape_default())));
    }
    if OWNED_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
        return Err(fail(format!("header `{name}` is set by the client itself; remove it")));
    }
    if value.bytes().any(|b| (b < 0x20 && b != b'\t') || b == 0x7f) {
        return Err(fail(format!("the value of header `{name}` holds a control character")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(url: &str) -> Result<HttpScope, TokenError> {
        HttpScope::new(url, &["get".into(), "POST".into()], &[])
    }

    fn action(scope: &HttpScope, method: &str, body: Option<&str>) -> HttpAction {
        HttpAction {
            method: method.into(),
            url: scope.url.to_string(),
            headers: scope.headers.clone(),
            body: body.map(Into::into),
        }
    }

    #[test]
    fn refuses_urls_that_hide_something() {
        for bad in [
            "api.internal/health",
            "ftp://host/",
            "file:///etc/passwd",
            "https://user:pw@host/",
            "https://host/#part",
            "https://",
        ] {
            assert!(scope(bad).is_err(), "{bad}");
        }
        let normal = scope("HTTPS://API.internal:443/a/../health").unwrap();
        assert_eq!(normal.url.as_str(), "https://api.internal/health");
    }

    #[test]
    fn allows_the_listed_methods_only() {
        let scope = scope("http://host/x").unwrap();
        assert!(scope.permits(&action(&scope, "GET", None)).is_ok());
        assert!(scope.permits(&action(&scope, "POST", Some("{}"))).is_ok());
        for (method, body) in [("DELETE", None), ("get", None), ("GET", Some("{}")), ("", None)] {
            assert!(scope.permits(&action(&scope, method, body)).is_err(), "{method}");
        }
        let mut elsewhere = action(&scope, "GET", None);
        elsewhere.url = "http://evil/".into();
        assert!(scope.permits(&elsewhere).is_err());
    }

    #[test]
    fn caps_the_body() {
        let mut scope = scope("http://host/x").unwrap();
        scope.max_body = 4;
        assert!(scope.permits(&action(&scope, "POST", Some("1234"))).is_ok());
        assert!(scope.permits(&action(&scope, "POST", Some("12345"))).is_err());
    }

    #[test]
    fn roots_are_certificates_for_https() {
        let url = |text: &str| Url::parse(text).unwrap();
        let certificate = "-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----\n";
        assert!(check_roots(&url("https://h/"), certificate).is_ok());
        assert!(check_roots(&url("http://h/"), certificate).is_err());
        let key = format!("{certificate}-----BEGIN EC PRIVATE KEY-----\n");
        for bad in ["", "AA", &key, &certificate.repeat(20_000)] {
            assert!(check_roots(&url("https://h/"), bad).is_err());
        }
        let mut scope = scope("https://h/").unwrap();
        let without = serde_json::to_string(&scope).unwrap();
        scope.tls_roots = Some(certificate.to_owned());
        let with = serde_json::to_string(&scope).unwrap();
        assert!(!without.contains("tls_roots") && !with.contains("BEGIN"), "{with}");
        assert!(with.contains(&Digest::of(certificate.as_bytes()).to_string()), "{with}");
    }

    #[test]
    fn a_header_cannot_split_the_message() {
        for (name, value) in
            [("X\r\nA", "b"), ("X", "a\r\nB: c"), ("Host", "evil"), ("", "a"), ("a b", "c")]
        {
            assert!(check_header(name, value).is_err(), "{name}");
        }
        assert!(check_header("X-Trace", "ok\tfine").is_ok());
    }
}
