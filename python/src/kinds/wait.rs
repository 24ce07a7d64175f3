//! Tokens for pauses.

use linear_agentics::tokens as runtime;
use pyo3::prelude::*;

use super::{Common, base, single, with_common};
use crate::action::Action;
use crate::convert;
use crate::token::LinearToken;

/// A pause of at most `max_seconds`.
///
/// Example:
///     >>> token = WaitToken("rollout", max_seconds=120, max_uses=3)
///     >>> proof = await token.consume(5, reason="let the pods settle")
///     >>> proof.outcome
///     'succeeded'
#[pyclass(frozen, extends = LinearToken, module = "linear_agentics.tokens")]
pub struct WaitToken;

#[pymethods]
impl WaitToken {
    #[new]
    #[pyo3(signature = (
        name, max_seconds, *, max_uses=1, requires_approval=false, required=false, expires=None,
        witness=None
    ))]
    fn new(
        name: &str,
        max_seconds: u64,
        max_uses: u32,
        requires_approval: bool,
        required: bool,
        expires: Option<&Bound<'_, PyAny>>,
        witness: Option<&str>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let common = Common::new(max_uses, requires_approval, required, expires, witness)?;
        let builder = with_common!(runtime::WaitToken::new(name, max_seconds), common);
        single(builder.build(), None, Self)
    }

    /// Spends a use: pauses for so many whole seconds.
    #[pyo3(signature = (seconds, reason=None))]
    fn consume<'py>(
        slf: &Bound<'py, Self>,
        seconds: Bound<'py, PyAny>,
        reason: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let fields = [("seconds", Some(seconds)), ("reason", reason)];
        let input = convert::fields(slf.py(), &fields)?;
        base!(slf).consume_input(slf.py(), input)
    }

    /// Raises what `consume` would raise, or returns the pause.
    #[pyo3(signature = (seconds, reason=None))]
    fn check<'py>(
        slf: &Bound<'py, Self>,
        seconds: Bound<'py, PyAny>,
        reason: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Action> {
        let fields = [("seconds", Some(seconds)), ("reason", reason)];
        base!(slf).check_input(&convert::fields(slf.py(), &fields)?)
    }
}
