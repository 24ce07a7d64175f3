//! Tokens for databases.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::{Common, Witness, check_timeout, common_setters};
use crate::scope::database::{Engine, MAX_ROW_LIMIT, sqlite_path};
use crate::scope::{DatabaseScope, Scope, SecretSource};
use crate::time::Timestamp;
use crate::token::{Token, TokenError};

/// Runs single SQL statements on one database.
///
/// ```
/// use lar_core::token::DatabaseToken;
/// let token = DatabaseToken::from_env("orders", "ORDERS_DSN", ["SELECT"]).row_limit(200).build()?;
/// assert_eq!(token.tool_name(), "db_orders");
/// # Ok::<(), lar_core::token::TokenError>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder grants nothing until `build` is called"]
pub struct DatabaseToken {
    common: Common,
    dsn: SecretSource,
    allowed_patterns: Vec<String>,
    functions: Vec<String>,
    row_limit: Option<u32>,
    timeout: Option<Duration>,
}

impl DatabaseToken {
    /// A token for the database at `dsn`: `postgres://ROLE@HOST/DATABASE`, or `sqlite:FILE`. The patterns
    /// are kinds of statements (`SELECT`) or beginnings of such (`UPDATE users SET`).
    pub fn new(
        name: &str,
        dsn: &str,
        allowed_patterns: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        Self::with(name, SecretSource::Value(SecretString::from(dsn)), allowed_patterns)
    }

    /// Takes the address of a PostgreSQL database from the runtime's environment variable `variable`.
    pub fn from_env(
        name: &str,
        variable: &str,
        allowed_patterns: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        Self::with(name, SecretSource::Env(variable.to_owned()), allowed_patterns)
    }

    /// Takes the address of a PostgreSQL database from a file.
    pub fn from_file(
        name: &str,
        path: &str,
        allowed_patterns: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        Self::with(name, SecretSource::File(path.to_owned()), allowed_patterns)
    }

    fn with(
        name: &str,
        dsn: SecretSource,
        patterns: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        Self {
            common: Common::new(name),
            dsn,
            allowed_patterns: patterns.into_iter().map(Into::into).collect(),
            functions: Vec::new(),
            row_limit: None,
            timeout: None,
        }
    }

    /// Lets a function be called that isn't known to be harmless: `order_total`, `reports.monthly`.
    pub fn function(mut self, name: impl Into<String>) -> Self {
        self.functions.push(name.into());
        self
    }

    /// Lets at most so many rows come back.
    pub fn row_limit(mut self, rows: u32) -> Self {
        self.row_limit = Some(rows);
        self
    }

    /// Ends a statement after this time.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Checks everything and makes the token.
    pub fn build(self) -> Result<Token, TokenError> {
        let (engine, file) = match &self.dsn {
            SecretSource::Value(dsn) => {
                let dsn = dsn.expose_secret();
                (Engine::of(dsn), sqlite_path(dsn).map(str::to_owned))
            }
            SecretSource::Env(_) | SecretSource::File(_) => (Engine::Postgres, None),
        };
        let fail = |field: &'static str, message: String| TokenError::Field { field, message };
        if file.as_ref().is_some_and(|path| path.is_empty() || path.contains('\0')) {
            return Err(fail("dsn", "names no file; write `sqlite:FILE`".into()));
        }
        let patterns = &self.allowed_patterns;
        let mut scope = DatabaseScope::new(self.dsn, engine, file, patterns, &self.functions)?;
        if let Some(rows) = self.row_limit {
            if rows == 0 || rows > MAX_ROW_LIMIT {
                return Err(fail(
                    "row_limit",
                    format!("{rows} is not between 1 and {MAX_ROW_LIMIT}"),
                ));
            }
            scope.row_limit = rows;
        }
        if let Some(timeout) = self.timeout {
            check_timeout(timeout)?;
            scope.timeout = timeout;
        }
        self.common.token(Scope::Database(scope))
    }
}
common_setters!(DatabaseToken);

/// A database token with more than one use: the same builder, with [`DatabaseToken::max_uses`].
pub type MultiUseDatabaseToken = DatabaseToken;
