//! Reads the secrets of a set once, when the run starts, and teaches them to the redactor.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;

use lar_core::redact::{MIN_SECRET_BYTES, Redactor, SecretRefusal};
use lar_core::scope::database::Engine;
use lar_core::scope::{Scope, SecretSource};
use lar_core::token::Token;
use lar_postgres::{Address, Environment};
use secrecy::{ExposeSecret, SecretSlice, SecretString};

/// The most bytes of a secret's file.
const MOST_BYTES: u64 = 64 << 10;

/// The values of a set's secrets, by token name.
#[derive(Debug, Default)]
pub struct Secrets {
    values: BTreeMap<String, SecretString>,
    /// What was given as the address of a token's database, and what it means.
    databases: BTreeMap<String, (SecretString, Address)>,
}

/// A secret can't be had. The value is never in the message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("token `{token}`: {message}")]
pub struct SecretError {
    /// The token.
    pub token: String,
    /// What is wrong, and what to do.
    pub message: String,
}

impl Secrets {
    /// Reads the values of all secret tokens among `tokens`.
    pub fn read<'t>(tokens: impl IntoIterator<Item = &'t Token>) -> Result<Self, SecretError> {
        let mut values = BTreeMap::new();
        let mut databases = BTreeMap::new();
        for token in tokens {
            let fail = |message: String| SecretError { token: token.name().to_owned(), message };
            match token.scope() {
                Scope::Secret(scope) => {
                    let value = from(&scope.source).map_err(fail)?;
                    values.insert(token.name().to_owned(), value);
                }
                Scope::Database(scope) if scope.engine == Engine::Postgres => {
                    let value = from(&scope.dsn).map_err(fail)?;
                    let address =
                        Address::parse(value.expose_secret(), &Environment::from_process())
                            .map_err(|error| fail(error.to_string()))?;
                    databases.insert(token.name().to_owned(), (value, address));
                }
                _ => {}
            }
        }
        Ok(Self { values, databases })
    }

    /// Where a token's database is.
    pub fn address(&self, token: &str) -> Option<&Address> {
        self.databases.get(token).map(|(_, address)| address)
    }

    /// The value of a token's secret.
    pub fn get(&self, token: &str) -> Option<&SecretString> {
        self.values.get(token)
    }

    /// What takes these secrets, and the runtime's own, out of texts.
    pub fn redactor(
        &self,
        own: impl IntoIterator<Item = (&'static str, SecretString)>,
    ) -> Result<Redactor, SecretError> {
        let mut builder = Redactor::builder();
        let fail = |name: &str, error: SecretRefusal| SecretError {
            token: name.to_owned(),
            message: error.to_string(),
        };
        for (name, value) in &self.values {
            builder.add(name, value).map_err(|error| fail(name, error))?;
        }
        for (name, (dsn, address)) in &self.databases {
            // Both the address as it was given and the password as the server gets it. One that is too
            // short to be found in texts is in none of ours.
            if dsn.expose_secret().len() >= MIN_SECRET_BYTES {
                builder.add(name, dsn).map_err(|error| fail(name, error))?;
            }
            let password = address.config().get_password().unwrap_or_default();
            if password.len() >= MIN_SECRET_BYTES {
                let password = SecretSlice::from(password.to_vec());
                builder.add_bytes(name, &password).map_err(|error| fail(name, error))?;
            }
        }
        for (name, value) in own {
            builder.add(name, &value).map_err(|error| fail(name, error))?;
        }
        builder.build().map_err(|error| fail("all", error))
    }
}

fn from(source: &SecretSource) -> Result<SecretString, String> {
    match source {
        SecretSource::Value(value) => Ok(value.clone()),
        SecretSource::Env(name) => std::env::var(name).map(SecretString::from).map_err(|_| {
            format!("environment variable `{name}` is not set (or not UTF-8); set it")
        }),
        SecretSource::File(path) => from_file(path),
    }
}

fn from_file(path: &str) -> Result<SecretString, String> {
    let failed = |error: std::io::Error| format!("file `{path}` can't be read ({})", error.kind());
    let mut text = String::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(MOST_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > MOST_BYTES {
        return Err(format!("file `{path}` has more than {MOST_BYTES} bytes"));
    }
    // An editor's final line break isn't part of the secret.
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(SecretString::from(text))
}
