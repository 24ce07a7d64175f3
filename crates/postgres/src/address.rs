//! `postgres://` addresses, as libpq reads them, without what would weaken a connection silently.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret as _, SecretString};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{passfile, tls};

/// Where Debian's server, and most others, put their socket.
const SOCKETS: &str = "/var/run/postgresql";

/// Parameters that are handed on as they are
/// (<https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS>).
const HANDED_ON: [&str; 13] = [
    "application_name",
    "channel_binding",
    "connect_timeout",
    "dbname",
    "hostaddr",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "load_balance_hosts",
    "options",
    "port",
    "user",
];

/// A server, a database on it, and the role that one logs in as. It is shown nowhere: its `Debug`
/// is empty.
#[derive(Clone)]
pub struct Address {
    pub(crate) config: Config,
    /// `None` where nothing leaves this machine, or `sslmode=disable` was written.
    pub(crate) tls: Option<MakeRustlsConnect>,
}

/// What is read besides the address.
#[derive(Debug, Default, Clone)]
pub struct Environment {
    /// `PGPASSWORD`.
    pub password: Option<SecretString>,
    /// `PGPASSFILE`, or `~/.pgpass`.
    pub passfile: Option<PathBuf>,
}

impl Environment {
    /// As this process has it.
    pub fn from_process() -> Self {
        let password = std::env::var("PGPASSWORD").ok().filter(|text| !text.is_empty());
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".pgpass"));
        let passfile = std::env::var_os("PGPASSFILE").map(PathBuf::from).or_else(home);
        Self { password: password.map(SecretString::from), passfile }
    }
}

/// An address that can't be used. The text never repeats a part of it but a parameter's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It isn't an address.
    #[error("{0}; an address looks like `postgres://ROLE@HOST/DATABASE`")]
    Form(&'static str),
    /// A parameter that there isn't.
    #[error(
        "the address has a parameter `{0}`, which is not known; `docs/ledger-postgres.md` lists those \
         that are"
    )]
    Parameter(String),
    /// A parameter's value that isn't one.
    #[error("the value of the address's parameter `{name}` is not understood: {why}")]
    Value {
        /// The parameter.
        name: &'static str,
        /// What it may be.
        why: &'static str,
    },
    /// The password file can't be used.
    #[error("the password file `{path}` {why}")]
    Passfile {
        /// The file.
        path: String,
        /// What is wrong.
        why: &'static str,
    },
    /// The certificates can't be used.
    #[error("the certificates in `{path}` can't be used: {why}")]
    Certificates {
        /// The file.
        path: String,
        /// What is wrong.
        why: &'static str,
    },
    /// TLS can't be set up.
    #[error(
        "no certificates of authorities are found on this machine; name a file with `sslrootcert=`"
    )]
    NoAuthorities,
}

impl Address {
    /// Whether a text is meant as an address rather than as a file's name.
    pub fn is_meant(text: &str) -> bool {
        text.starts_with("postgres:") || text.starts_with("postgresql:")
    }

    /// Reads `postgres://ROLE[:PASSWORD]@HOST[:PORT][,HOST…]/DATABASE[?PARAMETER=VALUE…]`
    /// (<https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS>). A host
    /// that begins with `/` (written `%2F`) is the directory of a socket; without one it is
    /// `/var/run/postgresql`.
    ///
    /// `sslmode` is `disable`, or one of `require`, `verify-ca` and `verify-full`, which all mean the
    /// last: encrypted, to a server whose certificate names the host and leads to a known authority
    /// (the machine's, or those in `sslrootcert`). That is also what holds when nothing is said and
    /// the host isn't this machine. `allow` and `prefer` are refused: they fall back silently.
    ///
    /// The password is that of the address, else `PGPASSWORD`, else the line of the password file.
    pub fn parse(text: &str, environment: &Environment) -> Result<Self, AddressError> {
        let (address, query) = text.split_once('?').unwrap_or((text, ""));
        let mut config = read(address)?;
        let mut wishes = Wishes::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            wishes.take(&mut config, pair)?;
        }
        let form = AddressError::Form;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            config.host_path(SOCKETS);
        }
        if config
            .get_hosts()
            .iter()
            .any(|host| matches!(host, Host::Tcp(name) if name.contains('@')))
        {
            return Err(form("a `@` within the role or the password must be written `%40`"));
        }
        let user = config.get_user().filter(|user| !user.is_empty());
        let user = user.ok_or(form("it names no role to log in as"))?.to_owned();
        if config.get_dbname().is_none_or(str::is_empty) {
            return Err(form("it names no database"));
        }
        if config.get_password().is_none() {
            let found =
                match (&environment.password, wishes.passfile.or(environment.passfile.clone())) {
                    (Some(password), _) => Some(password.clone()),
                    (None, Some(file)) => passfile::look_up(&file, &config, &user)?,
                    (None, None) => None,
                };
            if let Some(password) = found {
                config.password(password.expose_secret());
            }
        }
        // What waits for an answer that never comes is cut off, so that it can be looked up.
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(Duration::from_secs(10));
        }
        config.tcp_user_timeout(Duration::from_secs(30));
        if config.get_application_name().is_none() {
            config.application_name("lar");
        }
        let encrypted = wishes.encrypted.unwrap_or_else(|| !is_local(&config));
        config.ssl_mode(if encrypted { SslMode::Require } else { SslMode::Disable });
        let tls = match encrypted {
            true => Some(MakeRustlsConnect::new(tls::client(wishes.root_certificates.as_deref())?)),
            false => None,
        };
        Ok(Self { config, tls })
    }
}

/// What the parameters say that isn't handed on.
#[derive(Default)]
struct Wishes {
    encrypted: Option<bool>,
    root_certificates: Option<PathBuf>,
    passfile: Option<PathBuf>,
}

impl Wishes {
    fn take(&mut self, config: &mut Config, pair: &str) -> Result<(), AddressError> {
        let form = AddressError::Form;
        let (name, value) = pair.split_once('=').ok_or(form("a parameter has no `=`"))?;
        let decode = |text| percent_decode_str(text).decode_utf8();
        let value = decode(value).map_err(|_| form("a parameter is not UTF-8"))?;
        match name {
            "sslmode" => {
                self.encrypted = Some(match &*value {
                    "disable" => false,
                    "require" | "verify-ca" | "verify-full" => true,
                    _ => {
                        let why = "it is `disable`, or `verify-full`; `allow` and `prefer` could fall \
                                   back to an open connection";
                        return Err(AddressError::Value { name: "sslmode", why });
                    }
                });
            }
            // libpq's word for the machine's own authorities, which is what holds anyway.
            "sslrootcert" if value == "system" => self.root_certificates = None,
            "sslrootcert" => self.root_certificates = Some(PathBuf::from(value.as_ref())),
            "passfile" => self.passfile = Some(PathBuf::from(value.as_ref())),
            "password" => {
                config.password(value.as_bytes());
            }
            "host" => {
                for host in value.split(',') {
                    config.host(host);
                }
            }
            name => {
                let known = HANDED_ON.iter().find(|known| **known == name);
                let known = known.ok_or_else(|| AddressError::Parameter(shown(name)))?;
                // The library reads `name=value` pairs; a quoted value can hold anything.
                let quoted = value.replace('\\', "\\\\").replace('\'', "\\'");
                let parsed: Config = format!("{known}='{quoted}'").parse().map_err(|_| {
                    AddressError::Value { name: known, why: "see the manual of PostgreSQL" }
                })?;
                merge(config, &parsed, known);
            }
        }
        Ok(())
    }
}

/// Takes over the one parameter that was read by itself.
fn merge(config: &mut Config, parsed: &Config, name: &str) {
    match name {
        "application_name" => parsed.get_application_name().map(|v| config.application_name(v)),
        "channel_binding" => Some(config.channel_binding(parsed.get_channel_binding())),
        "connect_timeout" => parsed.get_connect_timeout().map(|v| config.connect_timeout(*v)),
        "dbname" => parsed.get_dbname().map(|v| config.dbname(v)),
        "hostaddr" => {
            for address in parsed.get_hostaddrs() {
                config.hostaddr(*address);
            }
            None
        }
        "keepalives" => Some(config.keepalives(parsed.get_keepalives())),
        "keepalives_idle" => Some(config.keepalives_idle(parsed.get_keepalives_idle())),
        "keepalives_interval" => {
            parsed.get_keepalives_interval().map(|v| config.keepalives_interval(v))
        }
        "keepalives_retries" => {
            parsed.get_keepalives_retries().map(|v| config.keepalives_retries(v))
        }
        "load_balance_hosts" => Some(config.load_balance_hosts(parsed.get_load_balance_hosts())),
        "options" => parsed.get_options().map(|v| config.options(v)),
        "port" => {
            for port in parsed.get_ports() {
                config.port(*port);
            }
            None
        }
        "user" => parsed.get_user().map(|v| config.user(v)),
        _ => None,
    };
}

/// Reads the part before the parameters.
fn read(address: &str) -> Result<Config, AddressError> {
    let form = AddressError::Form;
    if !["postgres://", "postgresql://"].iter().any(|scheme| address.starts_with(scheme)) {
        return Err(form("it doesn't begin with `postgres://`"));
    }
    if address.contains('#') {
        return Err(form("a `#` within it must be written `%23`"));
    }
    address.parse().map_err(|_| form("it can't be read"))
}

/// Whether nothing leaves this machine.
fn is_local(config: &Config) -> bool {
    let loopback = |name: &str| {
        name == "localhost" || name.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
    };
    let hosts = config.get_hosts().iter().all(|host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => loopback(name),
    });
    let addresses = config.get_hostaddrs();
    if addresses.is_empty() { hosts } else { addresses.iter().all(std::net::IpAddr::is_loopback) }
}

fn shown(name: &str) -> String {
    name.chars().filter(|c| c.is_ascii_graphic()).take(32).collect()
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Address, AddressError> {
        Address::parse(text, &Environment::default())
    }

    #[test]
    fn a_socket_a_port_and_parameters_are_read() {
        let address = parse("postgres://app@%2Ftmp%2Fpg:5433/lar?application_name=x%20y").unwrap();
        assert_eq!(address.config.get_hosts(), [Host::Unix("/tmp/pg".into())]);
        assert_eq!(address.config.get_ports(), [5433]);
        assert_eq!(address.config.get_application_name(), Some("x y"));
        assert!(address.tls.is_none());
        let default = parse("postgresql://app@/lar").unwrap();
        assert_eq!(default.config.get_hosts(), [Host::Unix(SOCKETS.into())]);
        let many = parse("postgres://app@a:1,b:2/lar?sslmode=disable&connect_timeout=3").unwrap();
        assert_eq!(many.config.get_ports(), [1, 2]);
        assert_eq!(many.config.get_connect_timeout(), Some(&Duration::from_secs(3)));
    }

    #[test]
    fn another_machine_is_encrypted_unless_it_is_said() {
        for url in ["postgres://a@db.internal/l", "postgres://a@10.0.0.1/l?sslmode=require"] {
            let address = parse(url).unwrap();
            assert!(address.tls.is_some(), "{url}");
            assert_eq!(address.config.get_ssl_mode(), SslMode::Require, "{url}");
        }
        for url in
            ["postgres://a@[::1]/l", "postgres://a@localhost/l", "postgres://a@h/l?sslmode=disable"]
        {
            assert!(parse(url).unwrap().tls.is_none(), "{url}");
        }
        // A name that is this machine's doesn't make an address so.
        assert!(parse("postgres://a@localhost/l?hostaddr=10.0.0.1").unwrap().tls.is_some());
    }

    #[test]
    fn nothing_of_the_address_is_shown() {
        for url in [
            "postgres://s3cret",
            "postgres://app:s3cret@/",
            "postgres://s3cret@host",
            "postgres://app:s3cret@host:port/db",
            "postgres://app:p@s3cret@host/db",
            "postgres://app:s3cret@host/db?sslmode=s3cret",
            "postgres://app:s3cret@host/db?connect_timeout=s3cret",
            "postgres://app:s3cret@host/db?sslmode=prefer",
            "postgres://app:s3cret@host/db?s3cret",
            "postgres://app:s3cret@host/db#s3cret",
            "mysql://app:s3cret@host/db",
        ] {
            let error = parse(url).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{url}: {error}");
        }
        let good = parse("postgres://app:s3cret@127.0.0.1/db").unwrap();
        assert!(!format!("{good:?} {:?}", good.config).contains("s3cret"));
    }

    #[test]
    fn an_unknown_parameter_is_named() {
        let error = parse("postgres://a@h/l?sslmod=disable").unwrap_err();
        assert_eq!(error, AddressError::Parameter("sslmod".to_owned()));
    }

    #[test]
    fn the_password_comes_from_the_nearest_place() {
        let environment = Environment { password: Some("env".into()), passfile: None };
        let of = |url: &str| {
            let address = Address::parse(url, &environment).unwrap();
            address.config.get_password().map(<[u8]>::to_vec)
        };
        assert_eq!(of("postgres://a:own@/l").as_deref(), Some(&b"own"[..]));
        assert_eq!(of("postgres://a:p%40ss@/l").as_deref(), Some(&b"p@ss"[..]));
        assert_eq!(of("postgres://a@/l").as_deref(), Some(&b"env"[..]));
    }
}
