//! What every kind of token has.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use linear_agentics::tokens::{Narrowing, Token};
use linear_agentics::{CapabilitySet, Tier, definition};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::action::Action;
use crate::awaiting;
use crate::convert;
use crate::errors::{self, TokenClosedError};
use crate::home::Home;
use crate::kinds;
use crate::records::Proof;
use crate::warning;

/// A scoped permit for one action, spent when it is used.
///
/// The kinds (`ShellToken`, `HttpToken`, ...) are made; this is what all of them are. A token can't be
/// copied or pickled: a copy would be a second use.
///
/// Example:
///     >>> token = ShellToken("read-pods", allowed=["kubectl get pods"])
///     >>> token.uses_remaining, token.consumed
///     (1, False)
///     >>> token.check("kubectl get pods -n prod").argv
///     ['kubectl', 'get', 'pods', '-n', 'prod']
#[pyclass(subclass, frozen, weakref, module = "linear_agentics.tokens")]
pub struct LinearToken {
    token: Token,
    home: Mutex<Arc<Home>>,
}

/// A token with more than one use; each is spent for good.
///
/// Example:
///     >>> token = MultiUseShellToken("pods", allowed=["kubectl get pods"], max_uses=5)
///     >>> isinstance(token, MultiUseToken), token.uses_remaining
///     (True, 5)
#[pyclass(subclass, frozen, extends = LinearToken, module = "linear_agentics.tokens")]
pub struct MultiUseToken;

impl LinearToken {
    /// A token of its own, in no set.
    pub fn lone(token: Token, min_tier: Option<Tier>) -> PyResult<Self> {
        let set = CapabilitySet::new([token.clone()]).map_err(errors::set)?;
        Ok(Self { token, home: Mutex::new(Home::lone(set, min_tier)) })
    }

    /// A token whose uses are in that home.
    pub fn at(token: Token, home: &Arc<Home>) -> Self {
        Self { token, home: Mutex::new(Arc::clone(home)) }
    }

    pub fn token(&self) -> &Token {
        &self.token
    }

    pub fn home(&self) -> Arc<Home> {
        Arc::clone(&self.home.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Says where its uses are from now on.
    pub fn move_to(&self, home: &Arc<Home>) {
        *self.home.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(home);
    }

    /// Locks it away until somebody grants it to an agent of that home: its uses are that home's.
    pub fn become_candidate(&self, home: &Arc<Home>) -> PyResult<()> {
        let own = self.home();
        own.same_process()?;
        let (name, set) = (self.token.name(), own.session.set());
        if Arc::ptr_eq(&own, home) {
            return Ok(());
        }
        if !own.is_lone || set.uses_left(name) != Some(self.token.max_uses()) {
            return Err(TokenClosedError::new_err(format!(
                "token `{name}` belongs to another set or was used already; declare another as a \
                 candidate"
            )));
        }
        let _ = set.take(name).map(|set| set.mark_reported());
        self.move_to(home);
        Ok(())
    }

    /// Judges an input without doing anything.
    pub fn check_input(&self, input: &str) -> PyResult<Action> {
        let home = self.home();
        home.same_process()?;
        let invocation = home.session.check(&self.token.tool_name(), input);
        let refused = |refusal| errors::refused(refusal, self.token.name());
        Ok(Action::new(invocation.map_err(refused)?))
    }

    /// A coroutine that spends a use on an input.
    pub fn consume_input<'py>(
        &self,
        py: Python<'py>,
        input: String,
    ) -> PyResult<Bound<'py, PyAny>> {
        let home = self.home();
        home.same_process()?;
        let (tool, name) = (self.token.tool_name(), self.token.name().to_owned());
        awaiting::coroutine(py, async move {
            let proof = home.dispatch(&tool, &input).await;
            Ok(Proof::new(proof.map_err(|error| errors::call(error, &name))?))
        })
    }

    /// A coroutine that spends the way back.
    pub fn roll_back<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let home = self.home();
        home.same_process()?;
        let name = self.token.name().to_owned();
        awaiting::coroutine(py, async move {
            let proof = home.rollback(&name).await;
            Ok(Proof::new(proof.map_err(|error| errors::call(error, &name))?))
        })
    }

    /// Moves uses to a narrower token of its own.
    fn part(&self, slf: &Bound<'_, Self>, uses: Option<u32>, to: Narrowing) -> PyResult<Py<Self>> {
        let (home, name) = (self.home(), self.token.name());
        home.same_process()?;
        let closed = |why: &str| TokenClosedError::new_err(format!("token `{name}` {why}"));
        if home.session.is_open() {
            return Err(closed(
                "is in use; attenuate it before its first use, or after `await capabilities.close()`",
            ));
        }
        if home.settings.grant.is_some() {
            return Err(closed("draws on an issued grant, which pins it as it is; use `split`"));
        }
        let set = home.session.set();
        let left = set.uses_left(name).ok_or_else(|| closed("belongs to another by now"))?;
        let share = (name, uses.unwrap_or(left.max(1)), to);
        let part = set.split([share]).map_err(errors::split)?;
        let token = part.token(name).ok_or_else(|| closed("has no use left"))?;
        kinds::alike(slf, &token, &Home::lone(part, home.settings.min_tier))
    }

    fn uses_left(&self) -> u32 {
        // A candidate that nobody has granted is in no set, and has all its uses yet.
        self.home().session.set().uses_left(self.token.name()).unwrap_or(self.token.max_uses())
    }
}

#[pymethods]
impl LinearToken {
    /// The name that stands in the record.
    #[getter]
    fn name(&self) -> &str {
        self.token.name()
    }

    /// What it allows, in one line.
    #[getter]
    fn scope(&self) -> String {
        self.token.scope().summary()
    }

    /// Its kind: `shell`, `http`, `file`, `database`, `deploy`, `secret` or `wait`.
    #[getter]
    fn kind(&self) -> &'static str {
        self.token.scope().kind()
    }

    /// The name under which the model sees it.
    #[getter]
    fn tool_name(&self) -> String {
        self.token.tool_name()
    }

    /// Whether a person must approve each use.
    #[getter]
    fn requires_approval(&self) -> bool {
        self.token.requires_approval()
    }

    /// Whether a run fails when no use of it was spent with success.
    #[getter]
    fn required(&self) -> bool {
        self.token.required()
    }

    /// How many uses it grants.
    #[getter]
    fn max_uses(&self) -> u32 {
        self.token.max_uses()
    }

    /// How many uses this process may still spend.
    #[getter]
    fn uses_remaining(&self) -> u32 {
        self.uses_left()
    }

    /// Whether every use is spent.
    #[getter]
    fn consumed(&self) -> bool {
        self.uses_left() == 0
    }

    /// The proof of the latest use; `None` before the first.
    #[getter]
    fn proof(&self) -> Option<Proof> {
        self.home().session.proof(self.token.name()).map(Proof::new)
    }

    /// The tool that the model is offered, in the Messages API's shape: `name`, `description` and
    /// `input_schema`.
    fn to_tool_definition<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::to_python(py, &definition::of(&self.token, self.uses_left()))
    }

    /// Spends a use, and returns the proof of what came of it. Each kind has arguments of its own; by
    /// their names they are the same as a model's.
    #[pyo3(signature = (*args, **kwargs))]
    fn consume<'py>(
        slf: &Bound<'py, Self>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        slf.get().consume_input(slf.py(), named(slf.py(), args, kwargs)?)
    }

    /// Raises what `consume` would raise, or returns what would be done. Nothing is spent.
    #[pyo3(signature = (*args, **kwargs))]
    fn check(
        slf: &Bound<'_, Self>,
        args: &Bound<'_, PyTuple>,
        kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Action> {
        slf.get().check_input(&named(slf.py(), args, kwargs)?)
    }

    /// A narrower token of the same name, for a sub-agent, with `max_uses` of this token's uses (all that
    /// are left without it), which this one has no longer. What isn't said stays as it is. It must be
    /// proved to allow no more than this token does; `TokenDefinitionError` says what can't be.
    ///
    /// Args:
    ///     max_uses: how many uses go over.
    ///     expires, timeout: an earlier end, a shorter time.
    ///     requires_approval: a person must approve each use.
    ///     allowed: of commands, longer prefixes.
    ///     methods, allowed_paths, mode, allowed_patterns: fewer of them.
    ///     max_bytes, row_limit, max_seconds: lower limits; `max_bytes` of a file or of a body.
    ///
    /// Example:
    ///     >>> pods = MultiUseShellToken("pods", allowed=["kubectl get"], max_uses=5)
    ///     >>> prod = pods.attenuate(max_uses=2, allowed=["kubectl get pods -n prod"])
    ///     >>> pods.uses_remaining, prod.uses_remaining
    ///     (3, 2)
    #[pyo3(signature = (
        *, max_uses=None, expires=None, requires_approval=false, timeout=None, allowed=None,
        methods=None, allowed_paths=None, mode=None, max_bytes=None, allowed_patterns=None,
        row_limit=None, max_seconds=None
    ))]
    #[allow(clippy::too_many_arguments, reason = "they are keywords, each with a default")]
    fn attenuate(
        slf: &Bound<'_, Self>,
        max_uses: Option<u32>,
        expires: Option<&Bound<'_, PyAny>>,
        requires_approval: bool,
        timeout: Option<&Bound<'_, PyAny>>,
        allowed: Option<Vec<String>>,
        methods: Option<Vec<String>>,
        allowed_paths: Option<Vec<PathBuf>>,
        mode: Option<&str>,
        max_bytes: Option<u64>,
        allowed_patterns: Option<Vec<String>>,
        row_limit: Option<u32>,
        max_seconds: Option<u64>,
    ) -> PyResult<Py<LinearToken>> {
        let mut to = Narrowing::new();
        macro_rules! narrow {
            ($($field:expr => $method:ident;)*) => {
                $(if let Some(value) = $field {
                    to = to.$method(value);
                })*
            };
        }
        let paths = allowed_paths.map(|paths| {
            paths.iter().map(|path| path.to_string_lossy().into_owned()).collect::<Vec<_>>()
        });
        narrow! {
            expires.map(kinds::moment).transpose()? => expires;
            timeout.map(|time| kinds::duration("timeout", time)).transpose()? => timeout;
            allowed => allowed;
            methods => methods;
            paths => paths;
            mode.map(kinds::file_mode).transpose()? => mode;
            max_bytes => max_bytes;
            allowed_patterns => patterns;
            row_limit => row_limit;
            max_seconds => max_seconds;
        }
        if requires_approval {
            to = to.requires_approval();
        }
        slf.get().part(slf, max_uses, to)
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let token = slf.get();
        let approval = if token.requires_approval() { ", requires approval" } else { "" };
        Ok(format!(
            "<{} {:?}: {}, {} of {} uses left{approval}>",
            slf.get_type().name()?,
            token.name(),
            token.scope(),
            token.uses_left(),
            token.max_uses(),
        ))
    }

    #[pyo3(signature = (*_arguments))]
    fn __reduce_ex__(&self, _arguments: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.__reduce__()
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err(format!(
            "token `{}` can't be copied or pickled: a copy would be a second use; declare a token \
             where it is used",
            self.token.name()
        )))
    }

    fn __deepcopy__(&self, _memo: &Bound<'_, PyDict>) -> PyResult<()> {
        self.__reduce__()
    }
}

/// Arguments by their names, as a tool's input.
fn named(
    py: Python<'_>,
    args: &Bound<'_, PyTuple>,
    kwargs: Option<&Bound<'_, PyDict>>,
) -> PyResult<String> {
    if !args.is_empty() {
        return Err(PyTypeError::new_err("say each argument with its name"));
    }
    convert::to_json(kwargs.unwrap_or(&PyDict::new(py)))
}

impl Drop for LinearToken {
    fn drop(&mut self) {
        let home = self.home.get_mut().unwrap_or_else(PoisonError::into_inner);
        let name = self.token.name();
        let set = home.session.set();
        // One whose uses all went to others is not unused.
        let untouched = set.uses_left(name).is_some_and(|left| left > 0)
            && set.unused_tokens().iter().any(|n| n == name);
        warning::dropped(name, untouched && !home.reported.load(Ordering::Relaxed));
    }
}
