//! The thin HTTP client of the model services: one POST, its answer whole or as events, every
//! size and every silence bounded.
//!
//! It follows no redirect and uses no proxy from the environment, so a key goes only to the
//! address that the operator named. A key never stands in an error: texts of a service are
//! searched for it.

use std::error::Error as _;
use std::time::Duration;

use eventsource_stream::{EventStreamError, Eventsource};
use futures_util::{Stream, StreamExt, stream};
use lar_core::display::visible;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Response, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};

use super::ModelError;
use super::retry::Fault;
use super::service_error::ServiceError;

/// The most bytes of one answer that are read, be it whole or streamed.
const MAX_ANSWER: usize = 16 * 1024 * 1024;
/// The most bytes of an error's body that are read.
const MAX_ERROR: usize = 64 * 1024;

/// How long silences are borne. None of these bounds a whole turn: the caller does that.
#[derive(Debug, Clone)]
pub struct Timeouts {
    /// To open a connection.
    pub connect: Duration,
    /// Until an answer begins; without streaming this is as long as the model thinks.
    pub begin: Duration,
    /// Between two pieces of an answer.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            begin: Duration::from_secs(600),
            idle: Duration::from_secs(120),
        }
    }
}

/// What an endpoint is made of.
pub(super) struct EndpointSpec<'a> {
    pub service: &'static str,
    pub base_url: &'a str,
    /// The variable that an operator sets to change the address.
    pub base_var: &'static str,
    pub key: Option<&'a SecretString>,
    pub key_var: &'static str,
    /// The header that carries the key, and what stands before it.
    pub key_header: (&'static str, &'static str),
    pub path: &'a [&'a str],
    pub headers: &'a [(&'static str, &'static str)],
    pub timeouts: Timeouts,
}

/// One address that takes POST requests.
pub(super) struct Endpoint {
    client: reqwest::Client,
    url: Url,
    key: Option<SecretString>,
    service: &'static str,
    base_var: &'static str,
    key_var: &'static str,
    timeouts: Timeouts,
}

impl Endpoint {
    /// Checks the address and the key, and opens nothing yet.
    pub(super) fn new(spec: EndpointSpec<'_>) -> Result<Self, ModelError> {
        let url = address(&spec)?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in spec.headers {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        if let Some(key) = spec.key {
            let (name, before) = spec.key_header;
            let value = format!("{before}{}", key.expose_secret().trim());
            let mut value = HeaderValue::from_str(&value).map_err(|_| {
                ModelError::Config(format!(
                    "`{}` holds a character that no HTTP header can carry; set it again",
                    spec.key_var
                ))
            })?;
            value.set_sensitive(true);
            headers.insert(HeaderName::from_static(name), value);
            if url.scheme() == "http" && !is_loopback(&url) {
                tracing::warn!(
                    "`{}` is not https: the key crosses the network in the clear",
                    spec.base_var
                );
            }
        }
        let mut builder = reqwest::Client::builder();
        if url.scheme() == "http" {
            // Redirects are off, so no TLS can follow; reading the system's CA certificates for
            // nothing would cost more than the rest of the start.
            builder = builder.tls_certs_only([]);
        }
        let client = builder
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(spec.timeouts.connect)
            .user_agent(concat!("linear-agent-runtime/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .build()
            .map_err(|error| {
                ModelError::Config(format!(
                    "the HTTP client can't be set up: {}; check that this system has CA \
                     certificates installed",
                    root_cause(&error)
                ))
            })?;
        Ok(Self {
            client,
            url,
            key: spec.key.cloned(),
            service: spec.service,
            base_var: spec.base_var,
            key_var: spec.key_var,
            timeouts: spec.timeouts,
        })
    }

    /// The host that is asked.
    pub(super) fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// Sends one request and judges the status; only a success comes back.
    pub(super) async fn post(&self, body: Vec<u8>) -> Result<Response, Fault> {
        let sent = self.client.post(self.url.clone()).body(body).send();
        let response = match tokio::time::timeout(self.timeouts.begin, sent).await {
            Err(_) => {
                return Err(Fault::passing(format!(
                    "no answer began within {} seconds",
                    self.timeouts.begin.as_secs()
                )));
            }
            Ok(Err(error)) => return Err(self.transport(&error)),
            Ok(Ok(response)) => response,
        };
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let after = retry_after(response.headers());
        // The status alone decides when the body can't be read.
        let body = self.read(response, MAX_ERROR, self.timeouts.idle).await.unwrap_or_default();
        Err(self.refusal(status, after, &body))
    }

    /// The whole answer.
    pub(super) async fn whole(&self, response: Response) -> Result<Vec<u8>, Fault> {
        self.read(response, MAX_ANSWER, self.timeouts.begin).await
    }

    /// The answer's server-sent events, each as its data. The stream ends where the answer does;
    /// whether that was too early is the reader's to judge.
    pub(super) fn events(&self, response: Response) -> impl Stream<Item = Result<String, Fault>> {
        let lines = Lines { response, chunk: Vec::new(), at: 0, seen: 0 };
        let lines = stream::try_unfold(lines, move |mut lines| async move {
            let line = lines.next(self).await?;
            Ok::<_, Fault>(line.map(|line| (line, lines)))
        });
        lines.eventsource().map(|event| match event {
            Ok(event) => Ok(event.data),
            Err(EventStreamError::Transport(fault)) => Err(fault),
            Err(EventStreamError::Utf8(_)) => Err(Fault::passing("the stream is not UTF-8")),
            Err(EventStreamError::Parser(_)) => {
                Err(Fault::passing("the stream is not server-sent events"))
            }
        })
    }

    /// An error that a service reported by `kind` inside a successful answer.
    pub(super) fn reported(&self, kind: &str, message: &str, final_kinds: &[&str]) -> Fault {
        let said = self.quote(kind, message);
        if !final_kinds.contains(&kind) {
            return Fault::passing(format!("it reported {said}"));
        }
        Fault::Final(ModelError::Rejected {
            service: self.service,
            status: 200,
            message: said,
            advice: "check the request's model, the key's rights and the account's billing".into(),
        })
    }

    async fn read(
        &self,
        mut response: Response,
        cap: usize,
        idle: Duration,
    ) -> Result<Vec<u8>, Fault> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk(&mut response, idle).await? {
            if body.len() + chunk.len() > cap {
                return Err(too_large(cap));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    async fn chunk(
        &self,
        response: &mut Response,
        idle: Duration,
    ) -> Result<Option<Vec<u8>>, Fault> {
        match tokio::time::timeout(idle, response.chunk()).await {
            Err(_) => {
                Err(Fault::passing(format!("the answer stalled for {} seconds", idle.as_secs())))
            }
            Ok(Err(error)) => Err(self.transport(&error)),
            Ok(Ok(chunk)) => Ok(chunk.map(Vec::from)),
        }
    }

    /// A fault below HTTP. All of them may pass but a request that can't even be built.
    fn transport(&self, error: &reqwest::Error) -> Fault {
        let cause = self.hide_key(root_cause(error));
        if error.is_builder() {
            return Fault::Final(ModelError::Config(format!(
                "the request to the {} can't be built: {cause}; check `{}`",
                self.service, self.base_var
            )));
        }
        if error.is_connect() || error.is_timeout() {
            let port = self.url.port_or_known_default().unwrap_or_default();
            let host = self.host();
            return Fault::passing(format!("no connection to `{host}:{port}`: {cause}"));
        }
        Fault::passing(format!("the connection was cut: {cause}"))
    }

    fn refusal(&self, status: StatusCode, after: Option<Duration>, body: &[u8]) -> Fault {
        let said = ServiceError::read(body);
        let quota = said.kind == "insufficient_quota" || said.code == "insufficient_quota";
        let message = self.quote(&said.kind, &said.message);
        let passing = matches!(status.as_u16(), 408 | 409 | 425 | 429) || status.is_server_error();
        if passing && !quota && status.as_u16() != 501 {
            return Fault::Passing {
                why: format!("it answered {} ({message})", status.as_u16()),
                after,
                usage: Default::default(),
            };
        }
        let advice = match status.as_u16() {
            300..=399 => {
                format!("redirects are not followed; set `{}` to the final address", self.base_var)
            }
            401 => format!("check `{}`", self.key_var),
            402 | 429 => "check the account's billing and quota".to_owned(),
            403 => "this key may not do that; check its rights or choose another model".to_owned(),
            404 => format!("check the model's name and `{}`", self.base_var),
            413 => "the conversation outgrew the service; allow less output per call or fewer \
                    steps"
                .to_owned(),
            _ => "asking again would not help; check the model's name and limits".to_owned(),
        };
        Fault::Final(ModelError::Rejected {
            service: self.service,
            status: status.as_u16(),
            message,
            advice,
        })
    }

    /// A service's words, fit for an error: no key, one line, not long.
    fn quote(&self, kind: &str, message: &str) -> String {
        let text = match (kind, message) {
            ("", "") => "it gave no reason".to_owned(),
            ("", message) => message.to_owned(),
            (kind, "") => kind.to_owned(),
            (kind, message) => format!("{kind}: {message}"),
        };
        visible(&self.hide_key(text), 400)
    }

    fn hide_key(&self, text: String) -> String {
        match &self.key {
            Some(key) if !key.expose_secret().trim().is_empty() => {
                text.replace(key.expose_secret().trim(), "[key]")
            }
            _ => text,
        }
    }
}

/// Whether the answer is a stream; some gateways ignore `stream` and answer whole.
pub(super) fn is_event_stream(response: &Response) -> bool {
    let kind = response.headers().get(CONTENT_TYPE);
    kind.and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.trim_start().starts_with("text/event-stream"))
}

/// Cuts the answer into lines, so that the event parser never scans an unfinished line twice: a
/// line of megabytes would otherwise cost quadratic time.
struct Lines {
    response: Response,
    chunk: Vec<u8>,
    at: usize,
    seen: usize,
}

impl Lines {
    async fn next(&mut self, endpoint: &Endpoint) -> Result<Option<Vec<u8>>, Fault> {
        let mut line = Vec::new();
        loop {
            let rest = self.chunk.get(self.at..).unwrap_or_default();
            if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                line.extend(rest.iter().take(end + 1));
                self.at += end + 1;
                return Ok(Some(line));
            }
            line.extend_from_slice(rest);
            self.at = 0;
            self.chunk.clear();
            let idle = endpoint.timeouts.idle;
            match endpoint.chunk(&mut self.response, idle).await? {
                None => return Ok((!line.is_empty()).then_some(line)),
                Some(chunk) => self.chunk = chunk,
            }
            self.seen += self.chunk.len();
            if self.seen > MAX_ANSWER {
                return Err(too_large(MAX_ANSWER));
            }
        }
    }
}

fn too_large(cap: usize) -> Fault {
    Fault::passing(format!("the answer is larger than {} MiB", cap / 1024 / 1024))
}

fn address(spec: &EndpointSpec<'_>) -> Result<Url, ModelError> {
    let wrong = |what: &str| {
        ModelError::Config(format!("`{}` {what}; write it like `https://host/path`", spec.base_var))
    };
    let mut url = Url::parse(spec.base_url.trim()).map_err(|_| wrong("is not a URL"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(wrong("is not an http or https address"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("holds a user name or password, which is not supported"));
    }
    url.set_fragment(None);
    {
        // A base that already ends with the first word of the path, such as `/v1`, keeps it once.
        let last = url.path().trim_end_matches('/').rsplit('/').next();
        let skip = usize::from(last.is_some() && last == spec.path.first().copied());
        let path: Vec<&str> = spec.path.iter().skip(skip).copied().collect();
        let mut segments = url.path_segments_mut().map_err(|()| wrong("can't carry a path"))?;
        segments.pop_if_empty().extend(path);
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Seconds (RFC 9110, 10.2.3). The form with a date is not used by these services; without
/// seconds our own backoff decides.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: f64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// The innermost reason: the outer ones repeat the URL and one another.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    while let Some(inner) = cause.and_then(|cause| cause.source()) {
        cause = Some(inner);
    }
    let text = match cause {
        Some(cause) => cause.to_string(),
        None if error.is_timeout() => "it took too long".to_owned(),
        None => "the HTTP layer gave no reason".to_owned(),
    };
    visible(&text, 200)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(base_url: &str, path: &[&str]) -> Result<Endpoint, ModelError> {
        Endpoint::new(EndpointSpec {
            service: "Test API",
            base_url,
            base_var: "TEST_BASE_URL",
            key: Some(&SecretString::from("sk-12345678")),
            key_var: "TEST_KEY",
            key_header: ("x-api-key", ""),
            path,
            headers: &[],
            timeouts: Timeouts::default(),
        })
    }

    #[test]
    fn addresses_are_joined_once_and_bad_ones_refused() {
        let url = |base| endpoint(base, &["v1", "messages"]).unwrap().url.to_string();
        for base in
            ["http://a.test/p", "http://a.test/p/", "http://a.test/p/v1", "http://a.test/p/v1/"]
        {
            assert_eq!(url(base), "http://a.test/p/v1/messages", "{base}");
        }
        assert_eq!(url("https://a.test/?x=1"), "https://a.test/v1/messages?x=1");
        for bad in ["", "a.test", "file:///x", "http://u:hunter2@a.test/"] {
            let error = endpoint(bad, &["v1"]).err().unwrap().to_string();
            assert!(error.contains("`TEST_BASE_URL`"), "{error}");
            assert!(!error.contains("hunter2"));
        }
    }

    #[test]
    fn statuses_are_judged_and_the_key_is_hidden() {
        let endpoint = endpoint("http://a.test", &["v1"]).unwrap();
        let judge = |status: u16, body: &str| {
            endpoint.refusal(StatusCode::from_u16(status).unwrap(), None, body.as_bytes())
        };
        for status in [408, 409, 429, 500, 502, 503, 504, 520, 529] {
            assert!(matches!(judge(status, "{}"), Fault::Passing { .. }), "{status}");
        }
        let body = r#"{"type":"error","error":{"type":"authentication_error","message":"bad key sk-12345678\u001b[2J"}}"#;
        for (status, says) in [
            (302, "redirects are not followed"),
            (400, "asking again would not help"),
            (401, "check `TEST_KEY`"),
            (403, "check its rights"),
            (404, "check the model's name"),
            (413, "outgrew"),
            (422, "asking again would not help"),
        ] {
            let Fault::Final(error) = judge(status, body) else {
                panic!("{status} was to be final");
            };
            let text = error.to_string();
            assert!(text.contains(says), "{text}");
            assert!(text.contains("bad key [key]\\u{1b}[2J"), "{text}");
            assert!(!format!("{error:?}").contains("12345678"));
        }
        let quota = r#"{"error":{"type":"insufficient_quota","message":"pay"}}"#;
        assert!(matches!(judge(429, quota), Fault::Final(_)));
    }

    #[test]
    fn retry_after_is_seconds() {
        let read = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(value));
            retry_after(&headers)
        };
        assert_eq!(read("7"), Some(Duration::from_secs(7)));
        assert_eq!(read("0.5"), Some(Duration::from_millis(500)));
        for odd in ["-1", "NaN", "inf", "1e300", "Wed, 21 Oct 2026 07:28:00 GMT"] {
            assert_eq!(read(odd), None, "{odd}");
        }
    }
}
