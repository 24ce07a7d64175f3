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
use linear_agentics::tokens::{Token, TokenError};
use pyo3::PyClass;
use pyo3::prelude::*;

use crate::errors::{self, TokenDefinitionError};
use crate::home::Home;
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
}

impl Common {
    fn new(
        uses: u32,
        requires_approval: bool,
        required: bool,
        expires: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let expires = expires.map(moment).transpose()?;
        Ok(Self { uses, requires_approval, required, expires })
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

/// A token with one use.
fn single<T>(token: Result<Token, TokenError>, class: T) -> PyResult<PyClassInitializer<T>>
where
    T: PyClass<BaseType = LinearToken>,
{
    let token = token.map_err(errors::definition)?;
    Ok(PyClassInitializer::from(LinearToken::lone(token)?).add_subclass(class))
}

/// A token with more than one use.
fn multi<T>(token: Result<Token, TokenError>, class: T) -> PyResult<PyClassInitializer<T>>
where
    T: PyClass<BaseType = MultiUseToken>,
{
    let token = token.map_err(errors::definition)?;
    let base = PyClassInitializer::from(LinearToken::lone(token)?).add_subclass(MultiUseToken);
    Ok(base.add_subclass(class))
}

/// Another object for the same token, of the same class, with its uses elsewhere.
pub fn alike(of: &Bound<'_, LinearToken>, home: &Arc<Home>) -> PyResult<Py<LinearToken>> {
    let py = of.py();
    let part = || PyClassInitializer::from(LinearToken::at(of.get().token().clone(), home));
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
fn moment(value: &Bound<'_, PyAny>) -> PyResult<Timestamp> {
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

/// The base of a kind.
macro_rules! base {
    ($slf:expr) => {
        $slf.cast::<$crate::token::LinearToken>()?.get()
    };
}
use base;
