//! The audit trail and the result of a run.

use std::path::PathBuf;
use std::sync::Arc;

use linear_agentics::audit::AuditTrail as Trail;
use linear_agentics::audit::policy::Policy;
use linear_agentics::{AgentResult as Ended, Ledger, check_trail, report, table};
use pyo3::prelude::*;

use crate::awaiting;
use crate::convert;
use crate::errors;
use crate::records::{ApprovalRecord, ErrorRecord, NegotiationRecord, Proof};
use crate::verification::Verification;

/// Everything that a run did, was refused and never used, read from its records.
///
/// Example:
///     >>> trail = result.audit_trail
///     >>> [proof.token_name for proof in trail.proofs]
///     ['read-pods']
///     >>> print(trail.to_table())
///     >>> trail.verify()
///     <Verification of run ...: integrity ok, authenticity absent, witnessing absent, completeness ok>
#[pyclass(frozen, module = "linear_agentics")]
pub struct AuditTrail {
    trail: Arc<Trail>,
    ledger: Arc<dyn Ledger>,
}

impl AuditTrail {
    pub fn new(trail: Trail, ledger: Arc<dyn Ledger>) -> Self {
        Self { trail: Arc::new(trail), ledger }
    }
}

#[pymethods]
impl AuditTrail {
    /// The run's name, for `lar audit show`.
    #[getter]
    fn run_id(&self) -> &str {
        self.trail.run.id.as_str()
    }

    /// SHA-256 of the last record. Keep it where the ledger's owner can't reach it.
    #[getter]
    fn head(&self) -> String {
        self.trail.run.head.to_string()
    }

    /// Each spend with its outcome, in order.
    #[getter]
    fn proofs(&self) -> Vec<Proof> {
        self.trail.proofs.iter().cloned().map(Proof::new).collect()
    }

    /// Each decision of a person, in order.
    #[getter]
    fn approvals(&self) -> Vec<ApprovalRecord> {
        self.trail.approvals.iter().cloned().map(ApprovalRecord::new).collect()
    }

    /// Refusals, and actions that failed or whose outcome is unknown, in order.
    #[getter]
    fn errors(&self) -> Vec<ErrorRecord> {
        self.trail.errors.iter().cloned().map(ErrorRecord::new).collect()
    }

    /// Each request for a further capability, in order.
    #[getter]
    fn negotiations(&self) -> Vec<NegotiationRecord> {
        self.trail.negotiations.iter().cloned().map(NegotiationRecord::new).collect()
    }

    /// The trail as JSON: the arrays `proofs`, `approvals`, `errors` and `negotiations`, and the
    /// object `run`. Without an indent it is one line.
    #[pyo3(signature = (indent=Some(2)), text_signature = "($self, indent=2)")]
    fn to_json(&self, indent: Option<usize>) -> PyResult<String> {
        report::json_with_indent(self.trail.as_ref(), indent)
            .map_err(|error| pyo3::exceptions::PyValueError::new_err(error.to_string()))
    }

    /// The trail as a dict, as `to_json` has it.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::to_python(py, self.trail.as_ref())
    }

    /// The trail as a table for a terminal, at most `width` columns wide.
    #[pyo3(signature = (width=None))]
    fn to_table(&self, width: Option<u16>) -> String {
        table::render(&self.trail, width)
    }

    /// Reads the records once more and judges them as `lar audit verify` does: by themselves, by the
    /// ledger's signed log, and by whether they are those of this trail. Raises `VerificationError`
    /// where something is broken, or where something is absent that the policy demands.
    ///
    /// Args:
    ///     policy: a file that names the keys and witnesses which you know (`lar keys show --policy`
    ///         prints one). Without it no key is known, so that authenticity and witnessing are absent.
    #[pyo3(signature = (policy=None))]
    fn verify(&self, py: Python<'_>, policy: Option<PathBuf>) -> PyResult<Py<Verification>> {
        let policy = match policy {
            // The records of a run that goes on have no end yet.
            None => Policy { allow_open: true, ..Policy::default() },
            Some(path) => lar_verify::read_policy(&path).map_err(|error| {
                errors::SetupError::new_err(format!("the policy `{}`: {error}", path.display()))
            })?,
        };
        let (ledger, trail) = (Arc::clone(&self.ledger), Arc::clone(&self.trail));
        let judge = policy.clone();
        let report = awaiting::wait(py, async move {
            check_trail(ledger.as_ref(), &trail.run, &judge).await.map_err(errors::ledger)
        })?;
        Verification::judged(py, report, policy)
    }

    fn _repr_html_(&self) -> String {
        report::html(&self.trail)
    }

    fn __repr__(&self) -> String {
        format!(
            "<AuditTrail of run {}: {} proofs, {} approvals, {} errors, {} negotiations>",
            self.trail.run.id,
            self.trail.proofs.len(),
            self.trail.approvals.len(),
            self.trail.errors.len(),
            self.trail.negotiations.len(),
        )
    }
}

/// What a run of an agent came to.
///
/// Example:
///     >>> result = await agent.run()
///     >>> result.stop_reason, result.steps_taken, result.budget_remaining
///     ('complete', 3, 17)
///     >>> result.tokens_unused
///     ['deploy-prod']
#[pyclass(frozen, module = "linear_agentics")]
pub struct AgentResult {
    result: Ended,
    trail: Py<AuditTrail>,
}

impl AgentResult {
    pub fn new(py: Python<'_>, result: Ended, ledger: Arc<dyn Ledger>) -> PyResult<Self> {
        let trail = Py::new(py, AuditTrail::new(result.audit_trail.clone(), ledger))?;
        Ok(Self { result, trail })
    }
}

#[pymethods]
impl AgentResult {
    /// The run's name, for `lar audit show`.
    #[getter]
    fn run_id(&self) -> &str {
        self.result.run.as_str()
    }

    /// `complete`, `budget_exhausted`, `timeout` or `error`.
    #[getter]
    fn stop_reason(&self) -> &'static str {
        self.result.stop_reason.as_str()
    }

    /// What went wrong, when it ended in error.
    #[getter]
    fn error(&self) -> Option<&str> {
        self.result.error.as_deref()
    }

    /// The model's last words.
    #[getter]
    fn final_message(&self) -> Option<&str> {
        self.result.final_message.as_deref()
    }

    /// Tool calls made, refused ones included.
    #[getter]
    fn steps_taken(&self) -> u64 {
        self.result.steps_taken
    }

    /// Tool calls left.
    #[getter]
    fn budget_remaining(&self) -> u64 {
        self.result.budget_remaining
    }

    /// Names of the tokens of which no use was spent.
    #[getter]
    fn tokens_unused(&self) -> Vec<String> {
        self.result.tokens_unused.clone()
    }

    /// Names of the required tokens of which no use was spent with success.
    #[getter]
    fn missing_required(&self) -> Vec<String> {
        self.result.missing_required.clone()
    }

    /// The whole record.
    #[getter]
    fn audit_trail(&self, py: Python<'_>) -> Py<AuditTrail> {
        self.trail.clone_ref(py)
    }

    /// The result and the trail as a dict.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::from_json(py, &self.result.to_json())
    }

    fn _repr_html_(&self) -> String {
        report::html(&self.result.audit_trail)
    }

    fn __repr__(&self) -> String {
        format!(
            "<AgentResult of run {}: {}, {} steps taken, {} left>",
            self.result.run,
            self.result.stop_reason.as_str(),
            self.result.steps_taken,
            self.result.budget_remaining
        )
    }
}
