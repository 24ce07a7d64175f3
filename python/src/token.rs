//! What every kind of token has.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use linear_agentics::tokens::Token;
use linear_agentics::{CapabilitySet, definition};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::action::Action;
use crate::awaiting;
use crate::convert;
use crate::errors;
use crate::home::Home;
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
    pub fn lone(token: Token) -> PyResult<Self> {
        let set = CapabilitySet::new([token.clone()]).map_err(errors::set)?;
        Ok(Self { token, home: Mutex::new(Home::lone(set)) })
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
            return Err(errors::TokenClosedError::new_err(format!(
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
        Ok(Action::new(invocation.map_err(errors::refused)?))
    }

    /// A coroutine that spends a use on an input.
    pub fn consume_input<'py>(
        &self,
        py: Python<'py>,
        input: String,
    ) -> PyResult<Bound<'py, PyAny>> {
        let home = self.home();
        home.same_process()?;
        let tool = self.token.tool_name();
        awaiting::coroutine(py, async move {
            let proof = home.dispatch(&tool, &input).await.map_err(errors::session)?;
            Ok(Proof::new(proof))
        })
    }

    /// A coroutine that spends the way back.
    pub fn roll_back<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let home = self.home();
        home.same_process()?;
        let name = self.token.name().to_owned();
        awaiting::coroutine(py, async move {
            let proof = home.rollback(&name).await.map_err(errors::session)?;
            Ok(Proof::new(proof))
        })
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
        Err(pyo3::exceptions::PyTypeError::new_err(format!(
            "token `{}` can't be copied or pickled: a copy would be a second use; declare a token \
             where it is used",
            self.token.name()
        )))
    }

    fn __deepcopy__(&self, _memo: &Bound<'_, PyDict>) -> PyResult<()> {
        self.__reduce__()
    }
}

impl Drop for LinearToken {
    fn drop(&mut self) {
        let home = self.home.get_mut().unwrap_or_else(PoisonError::into_inner);
        let name = self.token.name();
        let set = home.session.set();
        let untouched =
            set.uses_left(name).is_some() && set.unused_tokens().iter().any(|n| n == name);
        warning::dropped(name, untouched && !home.reported.load(Ordering::Relaxed));
    }
}
