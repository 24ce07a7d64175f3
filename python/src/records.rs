//! The records of a trail as frozen values.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use linear_agentics::approval::Signed;
use linear_agentics::audit::trail::{ApprovalLine, ErrorLine, NegotiationLine};
use linear_agentics::{Proof as Sealed, told};
use pyo3::prelude::*;
use serde::Serialize;
use serde_json::Value;

use crate::convert;

/// The sealed record of one spend and its outcome.
///
/// `outcome` is `succeeded`, `failed` or `unknown`; of a failed or unknown one, `reason` says why. Only
/// the runtime makes proofs.
///
/// Example:
///     >>> proof = await token.consume("kubectl get pods")
///     >>> proof.token_name, proof.outcome, proof.exit_code
///     ('read-pods', 'succeeded', 0)
///     >>> proof.to_dict()["args"]["argv"]
///     ['kubectl', 'get', 'pods']
#[pyclass(frozen, module = "linear_agentics")]
pub struct Proof {
    proof: Sealed,
}

impl Proof {
    pub fn new(proof: Sealed) -> Self {
        Self { proof }
    }

    fn member<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
        member(py, &self.proof, name)
    }
}

/// A member of what the record's JSON holds.
fn member<'py, T: Serialize>(
    py: Python<'py>,
    record: &T,
    name: &str,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let value = written(record);
    let found = value.get(name).filter(|value| !value.is_null());
    found.map(|value| convert::to_python(py, value)).transpose()
}

/// What the record holds: two records are equal when it is.
fn written<T: Serialize>(record: &T) -> Value {
    serde_json::to_value(record).unwrap_or(Value::Null)
}

/// By its place and moment: the order of members has no say in what is equal.
fn hash<T: Serialize>(record: &T) -> u64 {
    let (mut hasher, record) = (DefaultHasher::new(), written(record));
    for field in ["seq", "timestamp"] {
        record.get(field).map(Value::to_string).hash(&mut hasher);
    }
    hasher.finish()
}

#[pymethods]
impl Proof {
    /// The token that was spent.
    #[getter]
    fn token_name(&self) -> &str {
        self.proof.token_name()
    }

    /// Its scope in words.
    #[getter]
    fn scope(&self) -> &str {
        self.proof.scope()
    }

    /// The tool that was called.
    #[getter]
    fn tool<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.member(py, "tool")
    }

    /// What was done, as a dict.
    #[getter]
    fn args<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::to_python(py, self.proof.args())
    }

    /// When the use was spent, by the ledger's clock (RFC 3339, UTC).
    #[getter]
    fn timestamp(&self) -> String {
        self.proof.timestamp().to_string()
    }

    /// `succeeded`, `failed` or `unknown`.
    #[getter]
    fn outcome(&self) -> &'static str {
        self.proof.outcome().as_str()
    }

    /// Why it did not succeed; `None` when it did.
    #[getter]
    fn reason(&self) -> Option<&str> {
        self.proof.reason()
    }

    /// One line, without secrets.
    #[getter]
    fn result_summary(&self) -> &str {
        self.proof.result_summary()
    }

    /// How long it took, in milliseconds.
    #[getter]
    fn duration_ms(&self) -> u64 {
        self.proof.duration_ms()
    }

    /// A program's exit status; `None` where no program exited.
    #[getter]
    fn exit_code(&self) -> Option<i32> {
        self.proof.exit_code()
    }

    /// A response's status; `None` where there was no response.
    #[getter]
    fn http_status(&self) -> Option<u16> {
        self.proof.http_status()
    }

    /// SHA-256 of the whole output, without secrets.
    #[getter]
    fn output_digest<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.member(py, "output_digest")
    }

    /// Its length in bytes.
    #[getter]
    fn output_bytes<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.member(py, "output_bytes")
    }

    /// SHA-256 of exactly what was done.
    #[getter]
    fn action_digest(&self) -> String {
        self.proof.action_digest().to_string()
    }

    /// The attempt's id.
    #[getter]
    fn attempt(&self) -> String {
        self.proof.attempt().to_string()
    }

    /// The program that ran, as a dict of `path` and `sha256`; `None` where none did.
    #[getter]
    fn program<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.member(py, "program")
    }

    /// How it was confined: `A`, `B` or `C` (not at all); `None` where no program ran.
    #[getter]
    fn tier<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.member(py, "tier")
    }

    /// SHA-256 of what a program wrote to its standard error, without secrets.
    #[getter]
    fn stderr_digest<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.member(py, "stderr_digest")
    }

    /// The number of the approval's record; `None` where nobody was asked.
    #[getter]
    fn approval_seq<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.member(py, "approval_seq")
    }

    /// What was said later of an unknown outcome, as a dict.
    #[getter]
    fn resolution<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.member(py, "resolution")
    }

    /// The number of the spend's record in its run.
    #[getter]
    fn seq(&self) -> u64 {
        self.proof.seq()
    }

    /// What it wrote, without secrets and cut to the cap. Empty on a proof that was read from a trail.
    #[getter]
    fn output(&self) -> &str {
        self.proof.output()
    }

    /// What a model is told of it: how it ended, in a line, and the output.
    #[getter]
    fn text(&self) -> String {
        told(&self.proof).0
    }

    /// The record as a dict.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::to_python(py, &self.proof)
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        let other = other.cast::<Self>();
        other.is_ok_and(|other| written(&other.get().proof) == written(&self.proof))
    }

    fn __hash__(&self) -> u64 {
        hash(&self.proof)
    }

    fn __repr__(&self) -> String {
        format!(
            "<Proof of {:?}: {}, {}>",
            self.proof.token_name(),
            self.proof.outcome().as_str(),
            self.proof.result_summary()
        )
    }
}

/// A kind of record: its getters are members of what it holds.
macro_rules! record {
    (
        $(#[$meta:meta])* $name:ident($line:ty): $shown:literal ($($field:expr),*);
        $($(#[doc = $doc:literal])* $get:ident: $type:ty = $value:expr;)*
    ) => {
        $(#[$meta])*
        #[pyclass(frozen, module = "linear_agentics")]
        pub struct $name {
            line: $line,
        }

        impl $name {
            pub fn new(line: $line) -> Self {
                Self { line }
            }
        }

        #[pymethods]
        impl $name {
            $(
                $(#[doc = $doc])*
                #[getter]
                fn $get(&self) -> $type {
                    let get: fn(&$line) -> $type = $value;
                    get(&self.line)
                }
            )*

            /// When it was written, by the ledger's clock (RFC 3339, UTC).
            #[getter]
            fn timestamp(&self) -> String {
                self.line.timestamp.to_string()
            }

            /// The record's number in its run.
            #[getter]
            fn seq(&self) -> u64 {
                self.line.seq
            }

            /// The record as a dict.
            fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
                convert::to_python(py, &self.line)
            }

            fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
                let other = other.cast::<Self>();
                other.is_ok_and(|other| written(&other.get().line) == written(&self.line))
            }

            fn __hash__(&self) -> u64 {
                hash(&self.line)
            }

            fn __repr__(&self) -> String {
                let shown: fn(&$line) -> String = |line| format!($shown, $($field(line)),*);
                shown(&self.line)
            }
        }
    };
}

record! {
    /// A person's decision, or that nobody made one.
    ///
    /// Example:
    ///     >>> [record] = trail.approvals
    ///     >>> record.token_name, record.approved, record.approver_identity
    ///     ('deploy-prod', True, 'os-user')
    ApprovalRecord(ApprovalLine): "<ApprovalRecord of {:?}: approved={} by {:?}>" (
        (|line: &ApprovalLine| line.approval.token_name.clone()),
        (|line: &ApprovalLine| line.approval.approved),
        (|line: &ApprovalLine| line.approval.approver.clone())
    );
    /// The token.
    token_name: String = |line| line.approval.token_name.clone();
    /// What was asked, in one line.
    message: String = |line| line.approval.message.clone();
    /// Whether it may run.
    approved: bool = |line| line.approval.approved;
    /// Who said so; `none` when nobody did.
    approver: String = |line| line.approval.approver.clone();
    /// How that is known: `os-user` is the account at the terminal, `program` an approver in Python.
    approver_identity: String = |line| line.approval.approver_identity.clone();
    /// SHA-256 of what it was about; `None` for a question of the model.
    action_digest: Option<String> = |line| line.approval.action_digest.map(|d| d.to_string());
    /// The attempt's id.
    attempt: Option<String> = |line| line.approval.attempt.map(|attempt| attempt.to_string());
    /// What listed people signed: dicts of `statement` and `signature`.
    statements: Vec<BTreeMap<&'static str, String>> = |line| {
        let signed = |signed: &Signed| {
            let Signed { statement, signature } = signed.clone();
            BTreeMap::from([("statement", statement), ("signature", signature)])
        };
        line.approval.statements.iter().map(signed).collect()
    };
}

record! {
    /// A call that was refused, or an action that did not succeed.
    ///
    /// Example:
    ///     >>> [record] = trail.errors
    ///     >>> record.error_type
    ///     'CommandNotAllowedError'
    ErrorRecord(ErrorLine): "<ErrorRecord {} of {:?}: {}>" (
        (|line: &ErrorLine| line.error.error_type.clone()),
        (|line: &ErrorLine| line.error.token_name.clone()),
        (|line: &ErrorLine| line.error.message.clone())
    );
    /// The token, or the tool's name where there is no such token.
    token_name: String = |line| line.error.token_name.clone();
    /// The error's public name, such as `CommandNotAllowedError`.
    error_type: String = |line| line.error.error_type.clone();
    /// What was wrong.
    message: String = |line| line.error.message.clone();
    /// What the model sent, without secrets and cut short.
    input: Option<String> = |line| line.error.input.clone();
    /// The attempt's id.
    attempt: Option<String> = |line| line.error.attempt.map(|attempt| attempt.to_string());
}

record! {
    /// A request for a further capability, and what came of it.
    ///
    /// Example:
    ///     >>> [record] = trail.negotiations
    ///     >>> record.requested_scope, record.granted_token
    ///     ('restart the service', None)
    NegotiationRecord(NegotiationLine): "<NegotiationRecord {:?}: granted {:?}>" (
        (|line: &NegotiationLine| line.negotiation.requested_scope.clone()),
        (|line: &NegotiationLine| line.negotiation.granted_token.clone())
    );
    /// What the model asked for, in its words.
    requested_scope: String = |line| line.negotiation.requested_scope.clone();
    /// Why, in its words.
    justification: String = |line| line.negotiation.justification.clone();
    /// The token that was granted; `None` when none was.
    granted_token: Option<String> = |line| line.negotiation.granted_token.clone();
    /// The kind of decider: `human`, `supervisor`, `program`.
    provider_type: String = |line| line.negotiation.provider_type.clone();
    /// The decider's name; `none` when nobody answered.
    provider: String = |line| line.negotiation.provider.clone();
    /// Why nothing was granted; `None` when something was.
    reason: Option<String> = |line| line.negotiation.reason.clone();
}
