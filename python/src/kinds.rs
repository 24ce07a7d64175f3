//! The kinds of tokens: their arguments, handed to the runtime's builders, which judge them.

mod command;
mod database;
mod deploy;
mod file;
mod http;
mod secret;
mod wait;

use std::sync::Arc;
use std::time::Duration;

use linear_agentics::time::Timestamp;
use linear_agentics::tokens::{FileMode, Token, TokenError, Witness};
use pyo3::PyClass;
use pyo3::prelude::*;

use crate::errors::{self, TokenDefinitionError};
use crate::home::{self, Home};
use crate::token::{LinearToken, MultiUseToken};

/// Adds the kinds to the module.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<LinearToken>()?;
    module.add_class::<MultiUseToken>()?;
    module.add_class::<command::ShellToken>()?;
    module.add_class::<command::MultiUseShellToken>()?;
    module.add_class::<http::HttpToken>()?;
    module.add_class::<file::FileToken>()?;
    module.add_class::<file::MultiUseFileToken>()?;
    module.add_class::<database::DatabaseToken>()?;
    module.add_class::<database::MultiUseDatabaseToken>()?;
    module.add_class::<deploy::DeployToken>()?;
    module.add_class::<secret::SecretToken>()?;
    module.add_class::<secret::SecretInjection>()?;
    module.add_class::<wait::WaitToken>()
}

/// What every kind takes.
struct Common {
    uses: u32,
    requires_approval: bool,
    required: bool,
    expires: Option<Timestamp>,
    witness: Option<Witness>,
}

impl Common {
    fn new(
        uses: u32,
        requires_approval: bool,
        required: bool,
        expires: Option<&Bound<'_, PyAny>>,
        witness: Option<&str>,
    ) -> PyResult<Self> {
        let expires = expires.map(moment).transpose()?;
        let witness = match witness {
            None => None,
            Some("before-effect") => Some(Witness::BeforeEffect),
            Some(_) => {
                return Err(TokenDefinitionError::new_err("`witness`: it is `before-effect`"));
            }
        };
        Ok(Self { uses, requires_approval, required, expires, witness })
    }
}

/// Hands what every kind takes to a builder.
macro_rules! with_common {
    ($builder:expr, $common:expr) => {{
        let common: $crate::kinds::Common = $common;
        let mut builder = $builder
            .max_uses(common.uses)
            .requires_approval(common.requires_approval)
            .required(common.required);
        if let Some(moment) = common.expires {
            builder = builder.expires(moment);
        }
        if let Some(when) = common.witness {
            builder = builder.witness(when);
        }
        builder
    }};
}
use with_common;

/// What programs of a token may reach, added to its builder.
macro_rules! with_reach {
    ($builder:expr, $network:expr, $writes:expr, $reads:expr, $also_runs:expr) => {{
        let mut builder = $builder;
        type Paths = Option<Vec<std::path::PathBuf>>;
        let (writes, reads): (Paths, Paths) = ($writes, $reads);
        for endpoint in $network.into_iter().flatten() {
            builder = builder.network(endpoint);
        }
        for path in writes.into_iter().flatten() {
            builder = builder.writes(path.to_string_lossy());
        }
        for path in reads.into_iter().flatten() {
            builder = builder.reads(path.to_string_lossy());
        }
        for program in $also_runs.into_iter().flatten() {
            builder = builder.also_runs(program);
        }
        builder
    }};
}
use with_reach;

/// A token with one use, and the weakest confinement that will do while it is in no set.
fn single<T>(
    token: Result<Token, TokenError>,
    min_tier: Option<&str>,
    class: T,
) -> PyResult<PyClassInitializer<T>>
where
    T: PyClass<BaseType = LinearToken>,
{
    Ok(lone(token, min_tier)?.add_subclass(class))
}

/// A token with more than one use.
fn multi<T>(
    token: Result<Token, TokenError>,
    min_tier: Option<&str>,
    class: T,
) -> PyResult<PyClassInitializer<T>>
where
    T: PyClass<BaseType = MultiUseToken>,
{
    Ok(lone(token, min_tier)?.add_subclass(MultiUseToken).add_subclass(class))
}

fn lone(
    token: Result<Token, TokenError>,
    min_tier: Option<&str>,
) -> PyResult<PyClassInitializer<LinearToken>> {
    let min_tier = min_tier.map(home::tier).transpose()?;
    let token = token.map_err(errors::definition)?;
    Ok(PyClassInitializer::from(LinearToken::lone(token, min_tier)?))
}

/// Another object of the same class, for this token of that home.
pub fn alike(
    of: &Bound<'_, LinearToken>,
    token: &Token,
    home: &Arc<Home>,
) -> PyResult<Py<LinearToken>> {
    let py = of.py();
    let part = || PyClassInitializer::from(LinearToken::at(token.clone(), home));
    macro_rules! made {
        ($init:expr) => {
            Ok(Bound::new(py, $init)?.into_any().cast_into::<LinearToken>()?.unbind())
        };
    }
    macro_rules! first_of {
        ($($class:expr),*; $($multi:expr),*) => {
            $(if of.is_exact_instance(&type_of(py, &$class)) {
                return made!(part().add_subclass($class));
            })*
            $(if of.is_exact_instance(&type_of(py, &$multi)) {
                return made!(part().add_subclass(MultiUseToken).add_subclass($multi));
            })*
        };
    }
    if let Ok(secret) = of.cast::<secret::SecretToken>() {
        return made!(part().add_subclass(secret.get().again(py)));
    }
    first_of!(
        command::ShellToken, http::HttpToken, file::FileToken, database::DatabaseToken,
        deploy::DeployToken, wait::WaitToken;
        command::MultiUseShellToken, file::MultiUseFileToken, database::MultiUseDatabaseToken
    );
    Err(TokenDefinitionError::new_err("it is none of the kinds of tokens"))
}

fn type_of<'py, T: PyClass>(py: Python<'py>, _: &T) -> Bound<'py, pyo3::types::PyType> {
    py.get_type::<T>()
}

/// A moment: a text by RFC 3339, or a `datetime` with a time zone.
pub fn moment(value: &Bound<'_, PyAny>) -> PyResult<Timestamp> {
    let text: String = match value.extract() {
        Ok(text) => text,
        Err(_) => value.call_method0("isoformat")?.extract()?,
    };
    let wrong = |error| TokenDefinitionError::new_err(format!("`expires`: {error}"));
    text.parse().map_err(wrong)
}

/// A time in seconds, or a `timedelta`.
pub fn duration(field: &str, value: &Bound<'_, PyAny>) -> PyResult<Duration> {
    let seconds: f64 = match value.extract() {
        Ok(seconds) => seconds,
        Err(error) => value
            .call_method0("total_seconds")
            .and_then(|seconds| seconds.extract())
            .map_err(|_| error)?,
    };
    Duration::try_from_secs_f64(seconds).map_err(|_| {
        TokenDefinitionError::new_err(format!("`{field}`: {seconds} is no number of seconds"))
    })
}

/// What a file may be opened for.
pub fn file_mode(mode: &str) -> PyResult<FileMode> {
    match mode {
        "read" => Ok(FileMode::Read),
        "write" => Ok(FileMode::Write),
        "readwrite" => Ok(FileMode::ReadWrite),
        _ => Err(TokenDefinitionError::new_err("`mode`: it is `read`, `write` or `readwrite`")),
    }
}

/// The base of a kind.
macro_rules! base {
    ($slf:expr) => {
        $slf.cast::<$crate::token::LinearToken>()?.get()
    };
}
use base;
