//! Tokens for databases: the words stand, and say that this version has none.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::errors::SetupError;
use crate::token::{LinearToken, MultiUseToken};

const NONE_YET: &str = "this version has no database tokens; use `MultiUseShellToken(…, allowed=[\"psql -c 'SELECT\"])`";

/// One query on a database. This version has none: declaring it raises `SetupError`.
///
/// Example:
///     >>> MultiUseShellToken("read-db", allowed=["psql -c 'SELECT"], max_uses=10)  # instead
#[pyclass(frozen, extends = LinearToken, module = "linear_agentics.tokens")]
pub struct DatabaseToken;

#[pymethods]
impl DatabaseToken {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        Err(SetupError::new_err(NONE_YET))
    }
}

/// Queries on a database. This version has none: declaring it raises `SetupError`.
///
/// Example:
///     >>> MultiUseShellToken("read-db", allowed=["psql -c 'SELECT"], max_uses=10)  # instead
#[pyclass(frozen, extends = MultiUseToken, module = "linear_agentics.tokens")]
pub struct MultiUseDatabaseToken;

#[pymethods]
impl MultiUseDatabaseToken {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        Err(SetupError::new_err(NONE_YET))
    }
}
