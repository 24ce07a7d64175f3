//! Tokens that carry a secret.

use std::path::PathBuf;

use linear_agentics::tokens as runtime;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use secrecy::SecretString;

use super::{Common, base, single, with_common};
use crate::action::Action;
use crate::errors::{TokenClosedError, TokenDefinitionError};
use crate::token::LinearToken;

/// Where a secret goes at the last moment: into a header of the request, or into an environment
/// variable of the command. `{secret}` in `format` stands for the value.
///
/// Example:
///     >>> SecretInjection(header="Authorization", format="Bearer {secret}")
///     SecretInjection(header='Authorization', format='Bearer {secret}')
///     >>> SecretInjection(env="DATABASE_URL")
///     SecretInjection(env='DATABASE_URL', format='{secret}')
#[pyclass(frozen, eq, module = "linear_agentics.tokens")]
#[derive(PartialEq, Eq)]
pub struct SecretInjection {
    /// The header's name; `None` when the secret goes into the environment.
    #[pyo3(get)]
    header: Option<String>,
    /// The variable's name; `None` when the secret goes into a header.
    #[pyo3(get)]
    env: Option<String>,
    /// What is put there.
    #[pyo3(get)]
    format: String,
}

#[pymethods]
impl SecretInjection {
    #[new]
    #[pyo3(signature = (*, header=None, env=None, format="{secret}"))]
    fn new(header: Option<String>, env: Option<String>, format: &str) -> PyResult<Self> {
        if header.is_some() == env.is_some() {
            return Err(TokenDefinitionError::new_err(
                "a secret goes into one place: say `header=` or `env=`",
            ));
        }
        Ok(Self { header, env, format: format.to_owned() })
    }

    fn __repr__(&self) -> String {
        let (field, name) = match (&self.header, &self.env) {
            (Some(name), _) => ("header", name.as_str()),
            (None, name) => ("env", name.as_deref().unwrap_or_default()),
        };
        format!("SecretInjection({field}='{name}', format='{}')", self.format)
    }
}

/// A shell or HTTP token with a secret put in at the last moment. Neither the model nor the record
/// ever sees the secret; its usual encodings are taken out of every output.
///
/// Args:
///     name: the name in the record; the model sees the tool `secret_<name>`.
///     inner: the `ShellToken` or `HttpToken` that the secret goes into. It is no tool of its own.
///     injection: where it goes.
///     env, file, value: where it comes from, one of the three: an environment variable of this
///         program, a file, or the value itself.
///
/// Example:
///     >>> slack = HttpToken("slack", url="https://slack.com/api/chat.postMessage", methods=["POST"])
///     >>> token = SecretToken("notify", slack, env="SLACK_TOKEN",
///     ...     injection=SecretInjection(header="Authorization", format="Bearer {secret}"))
///     >>> proof = await token.consume("POST", {"channel": "#deploys", "text": "v2 is out"})
#[pyclass(frozen, extends = LinearToken, module = "linear_agentics.tokens")]
pub struct SecretToken {
    inner: Py<LinearToken>,
}

#[pymethods]
impl SecretToken {
    #[new]
    #[pyo3(signature = (
        name, inner, injection, *, env=None, file=None, value=None, max_uses=None,
        requires_approval=false, required=false, expires=None, witness=None, min_tier=None
    ))]
    #[allow(clippy::too_many_arguments, reason = "they are keywords, each with a default")]
    fn new(
        name: &str,
        inner: &Bound<'_, LinearToken>,
        injection: &SecretInjection,
        env: Option<&str>,
        file: Option<PathBuf>,
        value: Option<String>,
        max_uses: Option<u32>,
        requires_approval: bool,
        required: bool,
        expires: Option<&Bound<'_, PyAny>>,
        witness: Option<&str>,
        min_tier: Option<&str>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let token = inner.get().token().clone();
        let uses = max_uses.unwrap_or(token.max_uses());
        let home = inner.get().home();
        home.same_process()?;
        if !home.is_lone || home.session.set().uses_left(token.name()) != Some(token.max_uses()) {
            return Err(TokenClosedError::new_err(format!(
                "token `{}` was used already or belongs to another; declare one for the secret",
                token.name()
            )));
        }
        let builder = match (env, file, value) {
            (Some(variable), None, None) => runtime::SecretToken::from_env(name, variable, token),
            (None, Some(path), None) => {
                runtime::SecretToken::from_file(name, &path.to_string_lossy(), token)
            }
            (None, None, Some(value)) => {
                runtime::SecretToken::from_value(name, SecretString::from(value), token)
            }
            _ => {
                return Err(TokenDefinitionError::new_err(
                    "a secret comes from one place: say `env=`, `file=` or `value=`",
                ));
            }
        };
        let builder = match (&injection.header, &injection.env) {
            (Some(header), _) => builder.header(header),
            (None, env) => builder.inject_env(env.as_deref().unwrap_or_default()),
        };
        let common = Common::new(uses, requires_approval, required, expires, witness)?;
        let built = with_common!(builder.format(&injection.format), common).build();
        let made = single(built, min_tier, Self { inner: inner.clone().unbind() })?;
        // From here on the inner token's uses are this token's.
        let _ = home.session.set().take(inner.get().token().name()).map(|set| set.mark_reported());
        Ok(made)
    }

    /// Spends a use. The arguments are the inner token's.
    #[pyo3(signature = (*args, **kwargs))]
    fn consume<'py>(
        slf: &Bound<'py, Self>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let input = slf.get().input(slf.py(), args, kwargs)?;
        base!(slf).consume_input(slf.py(), input)
    }

    /// Raises what `consume` would raise, or returns what would be done.
    #[pyo3(signature = (*args, **kwargs))]
    fn check<'py>(
        slf: &Bound<'py, Self>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Action> {
        let input = slf.get().input(slf.py(), args, kwargs)?;
        base!(slf).check_input(&input)
    }
}

impl SecretToken {
    /// The same for another object.
    pub fn again(&self, py: Python<'_>) -> Self {
        Self { inner: self.inner.clone_ref(py) }
    }

    /// The inner token's arguments by their names.
    fn input<'py>(
        &self,
        py: Python<'py>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<String> {
        let names: &[&str] = match self.inner.bind(py).get().token().scope().kind() {
            "shell" => &["command"],
            _ => &["method", "body"],
        };
        if args.len() > names.len() {
            return Err(pyo3::exceptions::PyTypeError::new_err(format!(
                "it takes {}, in this order",
                names.join(", ")
            )));
        }
        let fields = PyDict::new(py);
        for (name, value) in names.iter().zip(args.iter()) {
            fields.set_item(name, value)?;
        }
        for (name, value) in kwargs.iter().flat_map(|kwargs| kwargs.iter()) {
            if fields.contains(&name)? {
                return Err(pyo3::exceptions::PyTypeError::new_err(format!(
                    "it got two values for `{name}`"
                )));
            }
            fields.set_item(name, value)?;
        }
        crate::convert::to_json(&fields)
    }
}
