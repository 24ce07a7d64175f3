//! Sends a request to the token's URL and to nowhere else.

use std::error::Error;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use lar_core::action::HttpAction;
use lar_core::outcome::{Outcome, Performed, Verdict};
use lar_core::scope::{HttpScope, Injection};
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Client, Method, Response};
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls_platform_verifier::BuilderVerifierExt as _;
use secrecy::ExposeSecret;
use tokio::sync::OnceCell;

use super::Job;
use super::capture::Capture;

/// A connection must be made within this time, or there is none.
const CONNECT: Duration = Duration::from_secs(10);

impl Job<'_> {
    pub(super) async fn http(&self, scope: &HttpScope, action: &HttpAction) -> Performed {
        let exchange = async {
            let client = client(scope).await.map_err(Cut::Never)?;
            let request = self.request(&client, scope, action).map_err(Cut::Never)?;
            let response = client.execute(request).await.map_err(Cut::Before)?;
            self.take_in(response, scope).await
        };
        let ended = |verdict, what: &str, reason: &str| {
            let summary = format!("{} {}: {what}", action.method, scope.url);
            Performed::Ended(Outcome::new(verdict, summary, "").because(reason))
        };
        let unknown = |reason: &str| ended(Verdict::Unknown, "no complete answer", reason);
        let exchange = tokio::select! {
            cause = self.stop.wait() => return unknown(cause.as_str()),
            exchange = tokio::time::timeout(scope.timeout, exchange) => exchange,
        };
        match exchange {
            Err(_) => unknown("timeout"),
            Ok(Ok(outcome)) => Performed::Ended(outcome),
            Ok(Err(Cut::Never(reason))) => Performed::NeverBegan { reason },
            Ok(Err(Cut::Before(error))) if no_connection(&error) => Performed::NeverBegan {
                reason: format!("no connection to {} was opened", scope.url),
            },
            // A connection may have been opened, but none stood that a request could be sent on: it
            // certainly did not happen.
            Ok(Err(Cut::Before(error))) if error.is_connect() => {
                let (what, reason) = match (error.is_timeout(), scope.url.scheme()) {
                    (true, _) => ("no connection stood in time", "connect timeout"),
                    (false, "https") => ("no TLS connection could be set up", "tls"),
                    (false, _) => ("no connection could be set up", "connect"),
                };
                ended(Verdict::Failed, what, reason)
            }
            Ok(Err(Cut::Before(_) | Cut::Within)) => unknown("cut"),
        }
    }

    fn request(
        &self,
        client: &Client,
        scope: &HttpScope,
        action: &HttpAction,
    ) -> Result<reqwest::Request, String> {
        let method = Method::from_bytes(action.method.as_bytes())
            .map_err(|_| format!("`{}` is not a method", action.method))?;
        let writes = matches!(action.method.as_str(), "POST" | "PUT" | "PATCH" | "DELETE");
        let mut request = client
            .request(method, scope.url.clone())
            .build()
            .map_err(|_| "the request can't be built".to_owned())?;
        let headers = request.headers_mut();
        for (name, value) in &action.headers {
            headers.append(header_name(name)?, header_value(name, value)?);
        }
        if writes && !headers.contains_key("idempotency-key") {
            let value = header_value("Idempotency-Key", &self.attempt)?;
            headers.insert(HeaderName::from_static("idempotency-key"), value);
        }
        if action.body.is_some() && !headers.contains_key("content-type") {
            let json = HeaderValue::from_static("application/json");
            headers.insert(HeaderName::from_static("content-type"), json);
        }
        if let Some(injected) = &self.injected
            && let Injection::Header(name) = &injected.scope.injection
        {
            let mut value = header_value(name, injected.value.expose_secret())?;
            value.set_sensitive(true);
            headers.insert(header_name(name)?, value);
        }
        if let Some(body) = &action.body {
            *request.body_mut() = Some(body.as_str().to_owned().into());
        }
        Ok(request)
    }

    /// Reads the answer to its end, keeping no more than the cap.
    async fn take_in(&self, mut response: Response, scope: &HttpScope) -> Result<Outcome, Cut> {
        let status = response.status();
        let redactor = self.tools.redactor();
        let header = |name: &str| {
            let value = response.headers().get(name)?;
            let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
            Some(redactor.redact(&text).into_owned())
        };
        let (kind, location) = (header("content-type"), header("location"));
        // All of it is read, so that the answer is known to be whole, and redacted before it is cut,
        // so that the cut leaves no part of a secret.
        let mut capture = Capture::new(redactor, self.tools.kept.as_ref()).keeping(scope.max_body);
        while let Some(chunk) = response.chunk().await.map_err(|_| Cut::Within)? {
            capture.feed(&chunk);
        }
        let body = capture.finish();
        let dropped = body.bytes.saturating_sub(scope.max_body);
        let mut text = format!("HTTP {status}\n");
        for (name, value) in [("content-type", &kind), ("location", &location)] {
            if let Some(value) = value {
                text.push_str(&format!("{name}: {value}\n"));
            }
        }
        text.push('\n');
        text.push_str(&body.text);
        if dropped > 0 {
            text.push_str(&format!("\n… {dropped} bytes beyond the token's cap left out …"));
        }
        let summary = format!("HTTP {status}, {} bytes", body.bytes);
        let mut outcome = Outcome::new(Verdict::Succeeded, summary, text);
        outcome.http_status = Some(status.as_u16());
        outcome.output_digest = body.digest;
        outcome.output_bytes = body.bytes;
        Ok(outcome)
    }
}

/// Where an exchange broke off.
enum Cut {
    /// Nothing was tried yet, for this reason.
    Never(String),
    /// Before the head of the answer was in.
    Before(reqwest::Error),
    /// Within its body.
    Within,
}

/// A client that can reach this URL's host at the addresses which were looked up and checked here,
/// once, and nothing else: no proxy, no redirect, no second try.
async fn client(scope: &HttpScope) -> Result<Client, String> {
    let url = &scope.url;
    let host = url.host().ok_or("the URL names no host")?;
    let port = url.port_or_known_default().unwrap_or(443);
    let builder = Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(CONNECT)
        .user_agent(concat!("linear-agent-runtime/", env!("CARGO_PKG_VERSION")));
    let builder = match &scope.tls_roots {
        None => builder.tls_backend_preconfigured(tls().await?),
        Some(pem) => {
            let roots = reqwest::Certificate::from_pem_bundle(pem.as_bytes())
                .ok()
                .filter(|roots| !roots.is_empty())
                .ok_or("the certificates in `tls_roots` can't be read")?;
            builder.tls_certs_only(roots)
        }
    };
    let builder = match host {
        // An address that a person wrote is the address that is meant.
        url::Host::Ipv4(_) | url::Host::Ipv6(_) => builder,
        url::Host::Domain(name) => {
            let found = tokio::time::timeout(CONNECT, tokio::net::lookup_host((name, port))).await;
            let addresses: Vec<SocketAddr> = match found {
                Ok(Ok(addresses)) => addresses.collect(),
                Ok(Err(_)) | Err(_) => return Err(format!("the name `{name}` can't be resolved")),
            };
            if let Some(odd) = addresses.iter().find(|address| never_meant(address.ip())) {
                return Err(format!(
                    "`{name}` resolves to {}, which no service has; check the name server",
                    odd.ip()
                ));
            }
            builder.dns_resolver(Arc::new(Fixed(addresses)))
        }
    };
    builder.build().map_err(|_| "the HTTP client can't be set up".to_owned())
}

/// How servers are recognised: by the authorities that the machine trusts, read once in a process, on a
/// thread where reading holds nobody up.
async fn tls() -> Result<ClientConfig, String> {
    static READ: OnceCell<ClientConfig> = OnceCell::const_new();
    let read = || async {
        let reading = tokio::task::spawn_blocking(|| {
            ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()?
                .with_platform_verifier()
                .map(|verified| verified.with_no_client_auth())
        });
        match reading.await {
            Ok(Ok(config)) => Ok(config),
            Ok(Err(_)) => Err("the machine's certificate authorities can't be read".to_owned()),
            Err(_) => Err("no thread could be had to read certificates".to_owned()),
        }
    };
    READ.get_or_try_init(read).await.cloned()
}

/// Answers every question with the addresses that were checked.
struct Fixed(Vec<SocketAddr>);

impl reqwest::dns::Resolve for Fixed {
    fn resolve(&self, _: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let addresses: reqwest::dns::Addrs = Box::new(self.0.clone().into_iter());
        Box::pin(std::future::ready(Ok(addresses)))
    }
}

/// Addresses that a host name has no business resolving to: link-local ones (cloud metadata
/// services live there), unspecified ones, multicast. Loopback and private ones are the operator's
/// choice.
fn never_meant(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            v4.is_link_local() || v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast()
        }
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => never_meant(IpAddr::V4(v4)),
            None => v6.is_unicast_link_local() || v6.is_unspecified() || v6.is_multicast(),
        },
    }
}

/// Whether the error proves that no connection was opened.
fn no_connection(error: &reqwest::Error) -> bool {
    if !error.is_connect() {
        return false;
    }
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            return matches!(
                io.kind(),
                ErrorKind::ConnectionRefused
                    | ErrorKind::HostUnreachable
                    | ErrorKind::NetworkUnreachable
                    | ErrorKind::AddrNotAvailable
                    | ErrorKind::TimedOut
            );
        }
        source = cause.source();
    }
    // A time-out may have struck within the TLS handshake, on a connection that was opened.
    false
}

fn header_name(name: &str) -> Result<HeaderName, String> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{name}` is not a header name"))
}

/// The value is never in the message: it may be a secret.
fn header_value(name: &str, value: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_str(value)
        .map_err(|_| format!("the value for header `{name}` holds a character that can't be sent"))
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use reqwest::dns::{Name, Resolve};

    use super::*;

    #[tokio::test]
    async fn whatever_name_is_asked_for_the_checked_address_is_the_answer() {
        let checked: SocketAddr = "10.0.0.7:443".parse().unwrap();
        let fixed = Fixed(vec![checked]);
        for name in ["api.internal", "localhost", "elsewhere.example"] {
            let found = fixed.resolve(Name::from_str(name).unwrap()).await.unwrap();
            assert_eq!(found.collect::<Vec<_>>(), [checked], "{name}");
        }
    }

    #[test]
    fn names_do_not_lead_to_metadata_services() {
        for odd in [
            "169.254.169.254",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "fe80::1",
            "ff02::1",
            "::ffff:169.254.169.254",
        ] {
            assert!(never_meant(odd.parse().unwrap()), "{odd}");
        }
        for chosen in ["127.0.0.1", "10.1.2.3", "192.168.1.1", "8.8.8.8", "::1", "fd00::1"] {
            assert!(!never_meant(chosen.parse().unwrap()), "{chosen}");
        }
    }

    #[test]
    fn a_value_cannot_begin_another_header() {
        for bad in ["a\r\nHost: evil", "a\nb", "a\rb", "a\0b", "\u{7f}"] {
            let error = header_value("X-Token", bad).unwrap_err();
            assert!(error.contains("X-Token") && !error.contains("evil"), "{error}");
        }
        assert!(header_name("X\r\nHost").is_err());
        assert!(header_value("X-Token", "a b\tc").is_ok());
    }

    #[tokio::test]
    async fn roots_that_are_none_are_an_error() {
        let methods = ["GET".to_owned()];
        let mut scope = HttpScope::new("https://127.0.0.1/", &methods, &[]).unwrap();
        scope.tls_roots = Some("-----BEGIN CERTIFICATE-----\nAA\n".to_owned());
        assert!(client(&scope).await.unwrap_err().contains("tls_roots"));
    }
}
