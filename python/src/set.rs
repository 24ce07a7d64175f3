//! A set of tokens, as an agent or a loop of the caller's own holds it.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use linear_agentics::CapabilitySet as Set;
use pyo3::exceptions::{PyKeyError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use crate::action::Action;
use crate::agent::Budget;
use crate::awaiting;
use crate::convert;
use crate::errors::{self, TokenClosedError};
use crate::home::{self, Home, Settings};
use crate::kinds;
use crate::records::Proof;
use crate::token::LinearToken;
use crate::trail::AuditTrail;

/// What an agent, or a loop of your own, may do: a set of tokens.
///
/// A token belongs to one set. The set's record is one run of the ledger: it begins with the first
/// call and ends with `close()`, with `async with`, or when the program exits.
///
/// Args:
///     tokens: the tokens; their tools' names must differ.
///     budget: limits the calls of a loop of your own; an `Agent` brings its own.
///     approval_gate: who is asked for approval; the terminal without it.
///     ledger: the ledger's file, or the ``postgres://`` address of one that hosts share, instead of
///         the file in your state directory.
///     grant: the id of a grant (`lar grants issue`), whose uses every run with it draws from.
///     min_tier: the weakest confinement of commands that will do, as an agent's.
///     approvers: SSH public keys of people who approve by a signature (`lar approve`), each with a name,
///         as in ``"alice@example.com ssh-ed25519 AAAA…"``; then no gate is asked about a use.
///     required_approvals: how many of these people must approve.
///     not_the_runner: whether whoever starts the run can't be one of them.
///     runner: the name, among approvers, of whoever starts the run.
///     witnesses: who cosigns the ledger's log: a dict of URLs and keys (as `lar witness init` prints them).
///     required_witnesses: how many of them must; all of them without it.
///     witness_timeout: seconds that they may take together.
///
/// Example:
///     >>> capabilities = CapabilitySet([
///     ...     ShellToken("read-pods", allowed=["kubectl get pods"]),
///     ...     HttpToken("health", url="https://api.internal/health", methods=["GET"]),
///     ... ])
///     >>> capabilities.unused_tokens()
///     ['read-pods', 'health']
///     >>> async with capabilities:
///     ...     proof = await capabilities.dispatch("shell_read-pods", {"command": "kubectl get pods"})
#[pyclass(frozen, weakref, module = "linear_agentics")]
pub struct CapabilitySet {
    home: Arc<Home>,
    tokens: Mutex<Vec<Py<LinearToken>>>,
}

impl CapabilitySet {
    pub fn home(&self) -> &Arc<Home> {
        &self.home
    }

    fn held(&self) -> MutexGuard<'_, Vec<Py<LinearToken>>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn names(&self) -> Vec<String> {
        self.held().iter().map(|token| token.get().token().name().to_owned()).collect()
    }

    fn find(&self, py: Python<'_>, name: &str) -> PyResult<Py<LinearToken>> {
        let held = self.held();
        let found = held.iter().find(|token| token.get().token().name() == name);
        found.map(|token| token.clone_ref(py)).ok_or_else(|| {
            drop(held);
            PyKeyError::new_err(format!(
                "there is no token `{name}`; the tokens are {}",
                self.names().join(", ")
            ))
        })
    }
}

/// Tokens out of anything that can be gone through.
pub fn tokens_of(tokens: &Bound<'_, PyAny>) -> PyResult<Vec<Py<LinearToken>>> {
    let each = |token: PyResult<Bound<'_, PyAny>>| match token?.cast_into::<LinearToken>() {
        Ok(token) => Ok(token.unbind()),
        Err(error) => {
            let kind = error.into_inner().get_type().name()?.to_string();
            Err(PyTypeError::new_err(format!(
                "a token is wanted, such as `ShellToken`, not `{kind}`"
            )))
        }
    };
    tokens.try_iter()?.map(each).collect()
}

impl CapabilitySet {
    /// What a set that is split off has in common with this one.
    fn settings(&self, py: Python<'_>) -> Settings {
        let held = &self.home.settings;
        Settings {
            ledger: held.ledger.clone(),
            gate: held.gate.as_ref().map(|gate| gate.clone_ref(py)),
            budget: held.budget,
            grant: held.grant.clone(),
            min_tier: held.min_tier,
            approvers: held.approvers.clone(),
            runner: held.runner.clone(),
            witnessing: held.witnessing.clone(),
            ..Settings::default()
        }
    }

    fn split_uses(&self, uses: &Bound<'_, PyDict>) -> PyResult<Self> {
        let py = uses.py();
        let uses: Vec<(String, u32)> = uses
            .iter()
            .map(|(name, count)| Ok((name.extract()?, count.extract()?)))
            .collect::<PyResult<_>>()?;
        let held =
            uses.iter().map(|(name, _)| self.find(py, name)).collect::<PyResult<Vec<_>>>()?;
        if let Some((name, _)) = uses.iter().find(|(_, count)| *count == 0) {
            return Err(PyValueError::new_err(format!("`{name}`: split off one use or more")));
        }
        let wanted: Vec<(&str, u32)> =
            uses.iter().map(|(name, count)| (name.as_str(), *count)).collect();
        let set = self.home.session.set().split(&wanted).map_err(errors::split)?;
        let home = Home::new(set, self.settings(py));
        let tokens = held
            .iter()
            .map(|token| kinds::alike(token.bind(py), token.get().token(), &home))
            .collect::<PyResult<_>>()?;
        Ok(Self { home, tokens: Mutex::new(tokens) })
    }
}

/// A token that can go into a set: its uses are its own yet.
fn lone(token: &LinearToken) -> PyResult<Set> {
    let home = token.home();
    home.same_process()?;
    let (name, set) = (token.token().name(), home.session.set());
    if !home.is_lone || set.uses_left(name) != Some(token.token().max_uses()) {
        return Err(TokenClosedError::new_err(format!(
            "token `{name}` belongs to another set or was used already; a use is granted once, so \
             declare another token"
        )));
    }
    Ok(set.clone())
}

#[pymethods]
impl CapabilitySet {
    #[new]
    #[pyo3(signature = (
        tokens=None, *, budget=None, approval_gate=None, ledger=None, grant=None, min_tier=None,
        approvers=None, required_approvals=1, not_the_runner=false, runner=None, witnesses=None,
        required_witnesses=None, witness_timeout=None
    ))]
    #[allow(
        clippy::too_many_arguments,
        reason = "they are the keyword arguments of a Python class"
    )]
    fn new(
        tokens: Option<&Bound<'_, PyAny>>,
        budget: Option<&Bound<'_, Budget>>,
        approval_gate: Option<Py<PyAny>>,
        ledger: Option<PathBuf>,
        grant: Option<&str>,
        min_tier: Option<&str>,
        approvers: Option<Vec<String>>,
        required_approvals: u32,
        not_the_runner: bool,
        runner: Option<String>,
        witnesses: Option<&Bound<'_, PyDict>>,
        required_witnesses: Option<usize>,
        witness_timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let witnessing = home::witnesses(witnesses, required_witnesses, witness_timeout)?;
        let approvers = home::approvers(approvers, required_approvals, not_the_runner)?;
        let grant = grant.map(home::grant).transpose()?;
        let min_tier = min_tier.map(home::tier).transpose()?;
        let tokens = tokens.map(tokens_of).transpose()?.unwrap_or_default();
        let sets = tokens.iter().map(|token| lone(token.get())).collect::<PyResult<Vec<_>>>()?;
        let set = Set::join(&sets).map_err(errors::set)?;
        let budget = budget.map(|budget| budget.get().budget());
        let home = Home::new(
            set,
            Settings {
                ledger,
                gate: approval_gate,
                budget,
                grant,
                min_tier,
                approvers,
                runner,
                witnessing,
                ..Settings::default()
            },
        );
        for token in &tokens {
            token.get().move_to(&home);
        }
        Ok(Self { home, tokens: Mutex::new(tokens) })
    }

    /// The tokens, in the order in which they were declared.
    #[getter]
    fn tokens<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let held: Vec<_> = self.held().iter().map(|token| token.clone_ref(py)).collect();
        PyTuple::new(py, held)
    }

    /// The token of that name; `KeyError` when there is none.
    fn get_token(&self, py: Python<'_>, name: &str) -> PyResult<Py<LinearToken>> {
        self.find(py, name)
    }

    /// Adds a token. A run that is open has its tokens already, so `close()` it first.
    fn add_token(&self, token: Py<LinearToken>) -> PyResult<()> {
        self.home.same_process()?;
        if self.home.session.is_open() {
            return Err(TokenClosedError::new_err(
                "the set is in use; `await capabilities.close()` first, then add the token",
            ));
        }
        let set = lone(token.get())?;
        if let Some(approvers) = &self.home.settings.approvers {
            set.resolve(|token| token.or_approvers(approvers));
        }
        self.home.session.set().absorb(&set).map_err(errors::set)?;
        token.get().move_to(&self.home);
        self.held().push(token);
        Ok(())
    }

    /// The tools that a model is offered now, in the Messages API's shape: those with a use left.
    fn to_tool_definitions<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::to_python(py, &self.home.session.set().tool_definitions())
    }

    /// Names of the tokens of which no use was spent. Asking tells you, so that nothing warns later.
    fn unused_tokens(&self) -> Vec<String> {
        self.home.reported.store(true, Ordering::Relaxed);
        self.home.session.set().unused_tokens()
    }

    /// Splits a set off for another agent: of tokens by their names, which move there with what is left
    /// of their uses, or of some uses by a dict of names and numbers, of which that set gets tokens of
    /// its own. This set has them no longer: uses are never doubled.
    ///
    /// Example:
    ///     >>> mine = CapabilitySet([MultiUseShellToken("pods", allowed=["kubectl get pods"], max_uses=5)])
    ///     >>> theirs = mine.split({"pods": 2})
    ///     >>> mine.get_token("pods").uses_remaining, theirs.get_token("pods").uses_remaining
    ///     (3, 2)
    #[pyo3(signature = (*names))]
    fn split(&self, py: Python<'_>, names: &Bound<'_, PyTuple>) -> PyResult<Self> {
        self.home.same_process()?;
        if self.home.session.is_open() {
            return Err(TokenClosedError::new_err(
                "the set is in use; `await capabilities.close()` first, then split it",
            ));
        }
        if names.len() == 1
            && let Ok(uses) = names.get_item(0)?.cast_into::<PyDict>()
        {
            return self.split_uses(&uses);
        }
        let names: Vec<String> = match names.len() {
            1 if names.get_item(0)?.is_instance_of::<PyList>() => names.get_item(0)?.extract()?,
            _ => names.extract()?,
        };
        let moved: Vec<_> =
            names.iter().map(|name| self.find(py, name)).collect::<PyResult<Vec<_>>>()?;
        let taken: Vec<Set> =
            names.iter().filter_map(|name| self.home.session.set().take(name)).collect();
        for set in &taken {
            set.mark_reported();
        }
        let set = Set::join(&taken).map_err(errors::set)?;
        let home = Home::new(set, self.settings(py));
        for token in &moved {
            token.get().move_to(&home);
        }
        self.held().retain(|token| !names.iter().any(|name| name == token.get().token().name()));
        Ok(Self { home, tokens: Mutex::new(moved) })
    }

    /// Takes a model's call along the one path: judged, approved where the token says so, spent,
    /// carried out and recorded. `tool_input` is the model's JSON text, or a dict.
    fn dispatch<'py>(
        &self,
        py: Python<'py>,
        tool_name: String,
        tool_input: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.home.same_process()?;
        let input = convert::input(tool_input)?;
        let home = Arc::clone(&self.home);
        awaiting::coroutine(py, async move {
            let proof = home.dispatch(&tool_name, &input).await;
            let refused = |error| errors::call(error, &home.token_of(&tool_name));
            Ok(Proof::new(proof.map_err(refused)?))
        })
    }

    /// Raises what `dispatch` would raise, or returns what would be done.
    fn check(&self, tool_name: &str, tool_input: &Bound<'_, PyAny>) -> PyResult<Action> {
        self.home.same_process()?;
        let input = convert::input(tool_input)?;
        let invocation = self.home.session.check(tool_name, &input);
        let refused = |refusal| errors::refused(refusal, &self.home.token_of(tool_name));
        Ok(Action::new(invocation.map_err(refused)?))
    }

    /// The record of the set's latest run, as far as it goes; `None` before the first call.
    fn audit_trail<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let home = Arc::clone(&self.home);
        awaiting::coroutine(py, async move {
            let ledger = home.open_ledger().await.map_err(errors::session)?;
            let trail = home.session.trail().await.map_err(errors::session)?;
            Ok(trail.map(|trail| AuditTrail::new(trail, ledger)))
        })
    }

    /// Ends the run that the calls have opened, and returns its trail; `None` when none is open. The
    /// next call opens another, on what is left.
    #[pyo3(signature = (stop_reason="complete"))]
    fn close<'py>(&self, py: Python<'py>, stop_reason: &str) -> PyResult<Bound<'py, PyAny>> {
        if stop_reason != "complete" && stop_reason != "error" {
            return Err(pyo3::exceptions::PyValueError::new_err(
                "`stop_reason`: it is `complete` or `error`",
            ));
        }
        self.home.reported.store(true, Ordering::Relaxed);
        let (home, stop_reason) = (Arc::clone(&self.home), stop_reason.to_owned());
        awaiting::coroutine(py, async move {
            let ledger = home.open_ledger().await.map_err(errors::session)?;
            let trail = home.session.close(&stop_reason).await.map_err(errors::session)?;
            Ok(trail.map(|trail| AuditTrail::new(trail, ledger)))
        })
    }

    fn __aenter__<'py>(slf: Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let (py, set) = (slf.py(), slf.unbind());
        awaiting::coroutine(py, async move { Ok(set) })
    }

    #[pyo3(signature = (kind, _error, _trace))]
    fn __aexit__<'py>(
        &self,
        py: Python<'py>,
        kind: &Bound<'py, PyAny>,
        _error: &Bound<'py, PyAny>,
        _trace: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let reason = if kind.is_none() { "complete" } else { "error" };
        let home = Arc::clone(&self.home);
        self.home.reported.store(true, Ordering::Relaxed);
        awaiting::coroutine(py, async move {
            home.session.close(reason).await.map_err(errors::session)?;
            Ok(false)
        })
    }

    fn __len__(&self) -> usize {
        self.held().len()
    }

    fn __contains__(&self, name: &str) -> bool {
        self.names().iter().any(|held| held == name)
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(self.tokens(py)?.try_iter()?.into_any())
    }

    fn __repr__(&self) -> String {
        let set = self.home.session.set();
        let left = |name: &String| format!("{name} ({})", set.uses_left(name).unwrap_or(0));
        let tokens: Vec<String> = self.names().iter().map(left).collect();
        format!("<CapabilitySet with uses left of {}>", tokens.join(", "))
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(pyo3::exceptions::PyTypeError::new_err(
            "a set of tokens can't be copied or pickled: its uses would be doubled",
        ))
    }
}
