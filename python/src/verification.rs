//! What a check of the records found: four verdicts, each judged apart.

use std::collections::BTreeMap;

use linear_agentics::audit::policy::{Judged, Policy};
use linear_agentics::audit::verify::{Finding, Report};
use pyo3::prelude::*;
use pyo3::types::PyBool;

use crate::convert;
use crate::errors::VerificationError;

/// What `AuditTrail.verify()` found: four verdicts, each `ok`, `absent` (there is nothing that it could
/// be told from) or `broken`. It is true when everything that the policy demands holds.
///
/// Example:
///     >>> found = result.audit_trail.verify()
///     >>> found.integrity, found.authenticity, found.witnessing, found.completeness
///     ('ok', 'absent', 'absent', 'ok')
///     >>> found.reasons["authenticity"]
///     'no key is known that could have signed it'
#[pyclass(frozen, module = "linear_agentics")]
pub struct Verification {
    report: Report,
    policy: Policy,
}

impl Verification {
    /// The findings, or the error that holds them.
    pub fn judged(py: Python<'_>, report: Report, policy: Policy) -> PyResult<Py<Self>> {
        let holds = report.satisfies(&policy);
        let found = Py::new(py, Self { report, policy })?;
        if holds {
            return Ok(found);
        }
        let error = VerificationError::new_err(found.get().complaint());
        error.value(py).setattr("verification", &found)?;
        Err(error)
    }

    /// What is broken, or demanded and absent.
    fn complaint(&self) -> String {
        let run = self.report.run.as_deref().unwrap_or("?");
        let wrong: Vec<String> = Judged::ALL
            .into_iter()
            .filter(|judged| {
                let finding = self.report.finding(*judged);
                finding.is_broken() || !finding.is_ok() && self.policy.requires(*judged)
            })
            .map(|judged| format!("{} is {}", judged.as_str(), self.report.finding(judged)))
            .collect();
        format!("the records of run `{run}` don't hold: {}", wrong.join("; "))
    }

    fn word(&self, judged: Judged) -> &'static str {
        match self.report.finding(judged) {
            Finding::Ok => "ok",
            Finding::Absent { .. } => "absent",
            Finding::Broken { .. } => "broken",
        }
    }
}

#[pymethods]
impl Verification {
    /// Whether everything that the policy demands holds, and nothing is broken.
    #[getter]
    fn ok(&self) -> bool {
        self.report.satisfies(&self.policy)
    }

    /// Whether the records are unchanged, in order, and those of the signed log's head.
    #[getter]
    fn integrity(&self) -> &'static str {
        self.word(Judged::Integrity)
    }

    /// Whether a key that the policy names signed the log's head; `absent` without a policy.
    #[getter]
    fn authenticity(&self) -> &'static str {
        self.word(Judged::Authenticity)
    }

    /// Whether witnesses that the policy names cosigned it.
    #[getter]
    fn witnessing(&self) -> &'static str {
        self.word(Judged::Witnessing)
    }

    /// Whether the run has its end, which accounts for every token; `absent` while it goes on.
    #[getter]
    fn completeness(&self) -> &'static str {
        self.word(Judged::Completeness)
    }

    /// Why each verdict that isn't `ok` isn't.
    #[getter]
    fn reasons(&self) -> BTreeMap<&'static str, String> {
        let why = |judged: Judged| match self.report.finding(judged) {
            Finding::Ok => None,
            Finding::Absent { reason } => Some((judged.as_str(), reason.clone())),
            Finding::Broken { at: None, reason } => Some((judged.as_str(), reason.clone())),
            Finding::Broken { at: Some(at), reason } => {
                Some((judged.as_str(), format!("record {at}: {reason}")))
            }
        };
        Judged::ALL.into_iter().filter_map(why).collect()
    }

    /// The run.
    #[getter]
    fn run_id(&self) -> Option<&str> {
        self.report.run.as_deref()
    }

    /// How many records hold together.
    #[getter]
    fn records(&self) -> u64 {
        self.report.records
    }

    /// SHA-256 of the last of them, as a leaf of the log.
    #[getter]
    fn head(&self) -> Option<String> {
        self.report.head.map(|head| head.to_string())
    }

    /// The known key that signed the log's head.
    #[getter]
    fn signed_by(&self) -> Option<&str> {
        self.report.signed_by.as_deref()
    }

    /// The findings as a dict, as `lar audit verify --json` has them.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::to_python(py, &lar_verify::json(&self.report, &self.policy))
    }

    fn __bool__(&self) -> bool {
        self.ok()
    }

    /// `verify() == True` says what `bool(verify())` says.
    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        match other.cast::<PyBool>() {
            Ok(truth) => truth.is_true() == self.ok(),
            Err(_) => other.cast::<Self>().is_ok_and(|other| other.get().report == self.report),
        }
    }

    fn __str__(&self) -> String {
        lar_verify::text(&self.report, &self.policy)
    }

    fn __repr__(&self) -> String {
        let words: Vec<String> = Judged::ALL
            .into_iter()
            .map(|judged| format!("{} {}", judged.as_str(), self.word(judged)))
            .collect();
        let run = self.report.run.as_deref().unwrap_or("?");
        format!("<Verification of run {run}: {}>", words.join(", "))
    }
}
