//! Where a confined program may connect to: a host and a port, as a person writes them.

use core::net::IpAddr;
use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// A TCP address that is granted: `api.internal:6443`, `10.0.0.5:5432`, `[::1]:80`, or every host
/// below a domain, `*.amazonaws.com:443`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    host: Host,
    port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Host {
    Address(IpAddr),
    /// In lower case, without a final dot.
    Name(String),
    /// What follows the `*.`.
    Below(String),
}

/// Why a text is no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` {why}", text.escape_debug())]
pub struct EndpointError {
    text: String,
    why: &'static str,
}

impl Endpoint {
    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The host, when it is an address.
    pub fn address(&self) -> Option<IpAddr> {
        match self.host {
            Host::Address(address) => Some(address),
            Host::Name(_) | Host::Below(_) => None,
        }
    }

    /// The host, when it is exactly one name.
    pub fn name(&self) -> Option<&str> {
        match &self.host {
            Host::Name(name) => Some(name),
            Host::Address(_) | Host::Below(_) => None,
        }
    }

    /// Whether it stands for every host below a domain.
    pub fn is_wildcard(&self) -> bool {
        matches!(self.host, Host::Below(_))
    }

    /// Whether a connection to this host and port is granted. A name is compared without regard to
    /// case; a `*` stands for one label or several, never for none.
    ///
    /// ```
    /// use lar_core::scope::Endpoint;
    /// let endpoint: Endpoint = "*.amazonaws.com:443".parse().unwrap();
    /// assert!(endpoint.permits("s3.eu-west-1.amazonaws.com", 443));
    /// assert!(!endpoint.permits("amazonaws.com", 443));
    /// assert!(!endpoint.permits("s3.amazonaws.com.evil.test", 443));
    /// ```
    pub fn permits(&self, host: &str, port: u16) -> bool {
        if port != self.port {
            return false;
        }
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        match &self.host {
            Host::Address(address) => bare.unwrap_or(&host).parse() == Ok(*address),
            Host::Name(name) => host == *name,
            Host::Below(domain) => {
                let above = host.strip_suffix(domain.as_str());
                let above = above.and_then(|above| above.strip_suffix('.'));
                above.is_some_and(is_name)
            }
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let fail = |why| EndpointError { text: text.to_owned(), why };
        let (host, port) =
            text.rsplit_once(':').ok_or_else(|| fail("has no port: write `host:port`"))?;
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = match port.parse::<u16>() {
            Ok(port) if port > 0 && digits => port,
            _ => return Err(fail("has no port from 1 to 65535: write `host:port`")),
        };
        let lower = host.to_ascii_lowercase();
        let bracketed = lower.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let host = if let Some(inner) = bracketed {
            let address = inner.parse::<core::net::Ipv6Addr>();
            Host::Address(address.map_err(|_| fail("has no IPv6 address in its brackets"))?.into())
        } else if let Ok(address) = lower.parse::<core::net::Ipv4Addr>() {
            Host::Address(address.into())
        } else if lower.contains(':') {
            return Err(fail("has more than one `:`; an IPv6 address stands in brackets"));
        } else if let Some(domain) = lower.strip_prefix("*.") {
            if !is_name(domain) || !domain.contains('.') {
                return Err(fail("needs a domain of at least two labels after `*.`"));
            }
            Host::Below(domain.to_owned())
        } else if is_name(&lower) && !is_numeric(&lower) {
            Host::Name(lower)
        } else {
            return Err(fail("is no host name and no address: write `host:port`"));
        };
        Ok(Self { host, port })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Address(IpAddr::V4(address)) => write!(f, "{address}:{}", self.port),
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
            Host::Below(domain) => write!(f, "*.{domain}:{}", self.port),
        }
    }
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Labels of letters, digits, `-` and `_`, each at most 63 long (RFC 1123, and what is in use).
fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        !label.is_empty() && label.len() <= 63 && label.bytes().all(plain)
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// What some resolvers would read as an address in another notation, such as `127.1` or `0x7f000001`.
fn is_numeric(text: &str) -> bool {
    let last = text.rsplit('.').next().unwrap_or_default();
    let hexadecimal = last
        .strip_prefix("0x")
        .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()));
    hexadecimal || last.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_meant() {
        for text in
            ["api.internal:6443", "10.0.0.5:5432", "[::1]:80", "*.amazonaws.com:443", "localhost:1"]
        {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        let endpoint: Endpoint = "API.Internal:6443".parse().unwrap();
        assert!(endpoint.permits("api.internal.", 6443) && !endpoint.permits("api.internal", 443));
        let address: Endpoint = "[::1]:80".parse().unwrap();
        assert!(address.permits("[::1]", 80) && address.permits("0:0::1", 80));
        assert!(!address.permits("127.0.0.1", 80));
    }

    #[test]
    fn what_could_mean_something_else_is_refused() {
        for text in [
            "",
            "api",
            "api:",
            "api:0",
            "api:65536",
            "api:+1",
            ":80",
            "a b:80",
            "http://a:80",
            "::1:80",
            "*:443",
            "*.com:443",
            "a.*.com:443",
            "127.1:80",
            "2130706433:80",
            "0x7f000001:80",
            "user@host:80",
            "host/path:80",
            "-\u{e9}:80",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_wildcard_stands_for_what_is_below_and_nothing_else() {
        let endpoint: Endpoint = "*.example.com:443".parse().unwrap();
        assert!(endpoint.permits("a.example.com", 443) && endpoint.permits("a.B.example.com", 443));
        for host in [
            "example.com",
            ".example.com",
            "aexample.com",
            "a.example.com.evil.test",
            "a/.example.com",
            "a..example.com",
            "evil.test#.example.com",
        ] {
            assert!(!endpoint.permits(host, 443), "{host}");
        }
    }
}
