//! Tokens for databases.

use std::path::PathBuf;

use linear_agentics::tokens as runtime;
use pyo3::prelude::*;

use super::{Common, base, duration, multi, single, with_common};
use crate::action::Action;
use crate::convert;
use crate::errors::TokenDefinitionError;
use crate::token::{LinearToken, MultiUseToken};

/// One SQL statement of an allowed kind on one database. Values travel as parameters.
///
/// Args:
///     name: the name in the record; the model sees the tool `db_<name>`.
///     dsn, dsn_env, dsn_file: the database, by one of the three: `postgres://ROLE@HOST/DATABASE` or
///         `sqlite:FILE`, an environment variable of this program, or a file. It is shown nowhere.
///     allowed_patterns: kinds of statements (`SELECT`), or beginnings of such (`UPDATE users SET`).
///     functions: functions that may be called beyond those that are known to be harmless.
///     row_limit: the most rows that come back.
///     timeout: seconds for the statement.
///
/// Example:
///     >>> token = DatabaseToken("orders", dsn_env="ORDERS_DSN", allowed_patterns=["SELECT"])
///     >>> proof = await token.consume("SELECT state FROM orders WHERE id = $1", [7])
#[pyclass(frozen, extends = LinearToken, module = "linear_agentics.tokens")]
pub struct DatabaseToken;

/// SQL statements on one database, `max_uses` times. The arguments are `DatabaseToken`'s.
///
/// Example:
///     >>> token = MultiUseDatabaseToken("orders", dsn="sqlite:/srv/orders.db",
///     ...                               allowed_patterns=["SELECT"], max_uses=10)
#[pyclass(frozen, extends = MultiUseToken, module = "linear_agentics.tokens")]
pub struct MultiUseDatabaseToken;

macro_rules! database {
    ($class:ident, $make:ident, $uses:expr $(, $max_uses:ident)?) => {
        #[pymethods]
        impl $class {
            #[new]
            #[pyo3(signature = (
                name, *, allowed_patterns, dsn=None, dsn_env=None, dsn_file=None, $($max_uses,)?
                functions=None, row_limit=None, timeout=None, requires_approval=false,
                required=false, expires=None, witness=None
            ))]
            #[allow(clippy::too_many_arguments, reason = "they are keywords, each with a default")]
            fn new(
                name: &str,
                allowed_patterns: Vec<String>,
                dsn: Option<&str>,
                dsn_env: Option<&str>,
                dsn_file: Option<PathBuf>,
                $($max_uses: u32,)?
                functions: Option<Vec<String>>,
                row_limit: Option<u32>,
                timeout: Option<&Bound<'_, PyAny>>,
                requires_approval: bool,
                required: bool,
                expires: Option<&Bound<'_, PyAny>>,
                witness: Option<&str>,
            ) -> PyResult<PyClassInitializer<Self>> {
                let common = Common::new($uses, requires_approval, required, expires, witness)?;
                let builder = match (dsn, dsn_env, dsn_file) {
                    (Some(dsn), None, None) => {
                        runtime::DatabaseToken::new(name, dsn, allowed_patterns)
                    }
                    (None, Some(variable), None) => {
                        runtime::DatabaseToken::from_env(name, variable, allowed_patterns)
                    }
                    (None, None, Some(path)) => {
                        let path = path.to_string_lossy();
                        runtime::DatabaseToken::from_file(name, &path, allowed_patterns)
                    }
                    _ => {
                        return Err(TokenDefinitionError::new_err(
                            "a database is named in one place: say `dsn=`, `dsn_env=` or `dsn_file=`",
                        ));
                    }
                };
                let mut builder = with_common!(builder, common);
                for name in functions.into_iter().flatten() {
                    builder = builder.function(name);
                }
                if let Some(rows) = row_limit {
                    builder = builder.row_limit(rows);
                }
                if let Some(timeout) = timeout {
                    builder = builder.timeout(duration("timeout", timeout)?);
                }
                $make(builder.build(), None, Self)
            }

            /// Spends a use on one statement; `params` stand for `$1`, … (PostgreSQL) or `?` (SQLite).
            #[pyo3(signature = (query, params=None))]
            fn consume<'py>(
                slf: &Bound<'py, Self>,
                query: Bound<'py, PyAny>,
                params: Option<Bound<'py, PyAny>>,
            ) -> PyResult<Bound<'py, PyAny>> {
                let fields = [("query", Some(query)), ("params", params)];
                let input = convert::fields(slf.py(), &fields)?;
                base!(slf).consume_input(slf.py(), input)
            }

            /// Raises what `consume` would raise, or returns the statement that would run.
            #[pyo3(signature = (query, params=None))]
            fn check<'py>(
                slf: &Bound<'py, Self>,
                query: Bound<'py, PyAny>,
                params: Option<Bound<'py, PyAny>>,
            ) -> PyResult<Action> {
                let fields = [("query", Some(query)), ("params", params)];
                base!(slf).check_input(&convert::fields(slf.py(), &fields)?)
            }
        }
    };
}

database!(DatabaseToken, single, 1);
database!(MultiUseDatabaseToken, multi, max_uses, max_uses);
