//! The scope of a secret token: an inner shell or HTTP scope, and where the secret goes in.
//!
//! The value isn't here unless it was given in code. It is read by the runtime, put in at the last
//! moment, and known to the redactor from then on.

use secrecy::SecretString;
use serde::{Serialize, Serializer};

use super::Scope;
use crate::action::SecretAction;
use crate::error::Refusal;
use crate::token::TokenError;

/// Where the value comes from.
#[derive(Debug, Clone)]
pub enum SecretSource {
    /// An environment variable of the runtime.
    Env(String),
    /// A file; one final line break is dropped.
    File(String),
    /// A value given in code. A manifest can't hold one.
    Value(SecretString),
}

impl Serialize for SecretSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Env(name) => serializer.collect_str(&format_args!("env:{name}")),
            Self::File(path) => serializer.collect_str(&format_args!("file:{path}")),
            // The value never leaves by this way, whatever is serialised.
            Self::Value(_) => serializer.serialize_str("value"),
        }
    }
}

/// Where the value goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "into", content = "key", rename_all = "snake_case")]
pub enum Injection {
    /// A request header of that name.
    Header(String),
    /// An environment variable of that name.
    Env(String),
}

impl Injection {
    /// One phrase for people.
    pub fn summary(&self) -> String {
        match self {
            Self::Header(name) => format!("header `{name}`"),
            Self::Env(name) => format!("environment variable `{name}`"),
        }
    }
}

/// An inner scope with a secret.
#[derive(Debug, Clone, Serialize)]
pub struct SecretScope {
    /// Where the value comes from.
    pub source: SecretSource,
    /// Where it goes.
    pub injection: Injection,
    /// What is put there: `{secret}` stands for the value.
    pub format: String,
    /// The inner token's name, for people; the inner token is not a tool of its own.
    pub inner_name: String,
    /// What may be done with it.
    pub inner: Box<Scope>,
}

impl SecretScope {
    /// Checks that the parts belong together.
    pub fn new(
        source: SecretSource,
        injection: Injection,
        format: &str,
        inner_name: &str,
        inner: Scope,
    ) -> Result<Self, TokenError> {
        let fail = |field: &'static str, message: String| TokenError::Field { field, message };
        match (&injection, &inner) {
            (Injection::Header(name), Scope::Http(http)) => {
                super::url::check_header(name, format)?;
                if http.headers.iter().any(|(held, _)| held.eq_ignore_ascii_case(name)) {
                    return Err(fail(
                        "header",
                        format!("the inner token sets header `{name}` too; remove it there"),
                    ));
                }
            }
            (Injection::Env(name), Scope::Shell(_)) => check_env_name("inject_env", name)?,
            (Injection::Header(_), _) => {
                return Err(fail("header", "a header needs an inner token of kind `http`".into()));
            }
            (Injection::Env(_), _) => {
                return Err(fail(
                    "inject_env",
                    "an environment variable needs an inner token of kind `shell`".into(),
                ));
            }
        }
        if format.matches("{secret}").count() != 1 {
            return Err(fail("format", "`{secret}` must stand in it exactly once".into()));
        }
        if format.contains('\0') {
            return Err(fail("format", "holds a NUL byte".into()));
        }
        Ok(Self {
            source,
            injection,
            format: format.to_owned(),
            inner_name: inner_name.to_owned(),
            inner: Box::new(inner),
        })
    }

    /// Whether the inner action is within the inner scope and the secret goes where it was declared.
    pub fn permits(&self, action: &SecretAction) -> Result<(), Refusal> {
        if action.injection != self.injection {
            return Err(Refusal::TokenScope(format!(
                "the secret goes into {} and nowhere else",
                self.injection.summary()
            )));
        }
        self.inner.permits(&action.inner)
    }

    /// One line for people.
    pub fn summary(&self) -> String {
        format!("{} with a secret in {}", self.inner.summary(), self.injection.summary())
    }
}

/// Refuses the name of an environment variable that decides how programs are loaded or found: such
/// a variable would turn any command into another one.
pub(crate) fn check_env_name(field: &'static str, name: &str) -> Result<(), TokenError> {
    let fail = |message: String| TokenError::Field { field, message };
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if name.is_empty() || !plain || name.as_bytes().first().is_some_and(u8::is_ascii_digit) {
        return Err(fail(format!(
            "`{}` is not the name of an environment variable",
            name.escape_default()
        )));
    }
    let decides = ["LD_", "DYLD_", "GCONV_", "BASH_FUNC_"].iter().any(|p| name.starts_with(p))
        || matches!(name, "PATH" | "IFS" | "ENV" | "BASH_ENV" | "SHELLOPTS" | "BASHOPTS" | "PS4");
    if decides {
        return Err(fail(format!(
            "`{name}` decides which code a program loads; a token can't pass it on"
        )));
    }
    if matches!(name, "ANTHROPIC_API_KEY" | "OPENAI_API_KEY") {
        return Err(fail(format!("`{name}` is the runtime's own key; no child may have it")));
    }
    Ok(())
}
