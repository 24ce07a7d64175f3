//! What a dry run says would happen.

use linear_agentics::invocation::Invocation;
use pyo3::prelude::*;
use pyo3::types::PyAny;
use serde_json::Value;

use crate::convert;

/// What a call would do, as a dry run (`token.check`) found it. Nothing was done or spent.
///
/// Example:
///     >>> action = token.check("kubectl get pods -n prod")
///     >>> action.kind, action.argv
///     ('shell', ['kubectl', 'get', 'pods', '-n', 'prod'])
///     >>> len(action.digest)
///     64
#[pyclass(frozen, module = "linear_agentics")]
pub struct Action {
    invocation: Invocation,
}

impl Action {
    pub fn new(invocation: Invocation) -> Self {
        Self { invocation }
    }

    fn value(&self) -> Value {
        serde_json::to_value(self.invocation.action()).unwrap_or(Value::Null)
    }

    fn field<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
        let value = self.value();
        let inner = value.get("inner").unwrap_or(&value);
        let found = inner.get(name).or_else(|| value.get(name)).filter(|value| !value.is_null());
        found.map(|value| convert::to_python(py, value)).transpose()
    }
}

#[pymethods]
impl Action {
    /// The token that would be spent.
    #[getter]
    fn token_name(&self) -> &str {
        self.invocation.token_name()
    }

    /// The tool that was called.
    #[getter]
    fn tool(&self) -> &str {
        self.invocation.tool()
    }

    /// `shell`, `http`, `file`, `database`, `deploy`, `secret` or `wait`.
    #[getter]
    fn kind(&self) -> &'static str {
        self.invocation.action().kind()
    }

    /// SHA-256 of exactly what would run; an approval is bound to it.
    #[getter]
    fn digest(&self) -> String {
        self.invocation.digest().to_string()
    }

    /// The words of a command; `None` where no command is run.
    #[getter]
    fn argv<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.field(py, "argv")
    }

    /// The URL of a request; `None` where none is sent.
    #[getter]
    fn url<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.field(py, "url")
    }

    /// The method of a request, or of a deployment.
    #[getter]
    fn method<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.field(py, "method")
    }

    /// The path of a file, as it would be opened; `None` where none is.
    #[getter]
    fn path(&self) -> Option<String> {
        let lines = self.invocation.action().lines();
        lines.into_iter().find(|(label, _)| label == "path").map(|(_, path)| path)
    }

    /// Everything that would happen, as a person is shown it: labels and values.
    #[getter]
    fn lines(&self) -> Vec<(String, String)> {
        self.invocation.action().lines()
    }

    /// The canonical action, of which `digest` is taken.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::to_python(py, self.invocation.action())
    }

    fn __repr__(&self) -> String {
        let lines = self.invocation.action().lines();
        let words: Vec<String> =
            lines.iter().map(|(label, value)| format!("{label}={value:?}")).collect();
        format!("<Action {} of {:?}: {}>", self.kind(), self.token_name(), words.join(" "))
    }
}
