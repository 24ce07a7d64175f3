//! The scope of a database token: which statements, on which database, and how much may come back.
//!
//! The address isn't here in a form that anything shows: it may hold a password. The runtime reads it
//! when a run starts and teaches it to the redactor.

use std::time::Duration;

use serde::Serialize;

use super::lexer;
use super::secret::SecretSource;
use super::sql::{Dialect, SqlScope};
use crate::action::DatabaseAction;
use crate::error::Refusal;
use crate::token::{AttenuateError, TokenError};

/// How many rows come back when the token doesn't say.
pub const DEFAULT_ROW_LIMIT: u32 = 1_000;

/// The most rows that a token can let come back.
pub const MAX_ROW_LIMIT: u32 = 100_000;

/// How long a statement may take when the token doesn't say: 30 seconds.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// What kind of database it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// A PostgreSQL server.
    Postgres,
    /// A SQLite file.
    Sqlite,
}

impl Engine {
    /// What an address means: `sqlite:FILE` is a file, anything else a PostgreSQL server's.
    pub fn of(dsn: &str) -> Self {
        if sqlite_path(dsn).is_some() { Self::Sqlite } else { Self::Postgres }
    }

    /// Its name, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL",
            Self::Sqlite => "SQLite",
        }
    }
}

/// The path in `sqlite:FILE` or `sqlite://FILE`.
pub fn sqlite_path(dsn: &str) -> Option<&str> {
    let rest = dsn.strip_prefix("sqlite:")?;
    Some(rest.strip_prefix("//").unwrap_or(rest))
}

/// Statements on one database.
#[derive(Debug, Clone, Serialize)]
pub struct DatabaseScope {
    /// Where the address comes from.
    pub dsn: SecretSource,
    /// What is at that address.
    pub engine: Engine,
    /// The file, for SQLite. It is no secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Kinds of statements that are allowed, or beginnings of such, as they were written.
    pub allowed_patterns: Vec<String>,
    /// Functions that may be called beyond those known to be harmless.
    pub functions: Vec<String>,
    /// The most rows that come back.
    pub row_limit: u32,
    /// After this time the statement is ended.
    #[serde(rename = "timeout_ms", serialize_with = "super::wait::as_millis")]
    pub timeout: Duration,
    /// The judge.
    #[serde(skip)]
    pub sql: SqlScope,
}

impl DatabaseScope {
    /// Reads the patterns by the rules of the engine.
    pub fn new(
        dsn: SecretSource,
        engine: Engine,
        file: Option<String>,
        allowed_patterns: &[String],
        functions: &[String],
    ) -> Result<Self, TokenError> {
        let fail = |field: &'static str, message: String| TokenError::Field { field, message };
        if allowed_patterns.is_empty() {
            return Err(fail(
                "allowed_patterns",
                "list at least one kind of statement, such as `SELECT`".into(),
            ));
        }
        let dialect = match engine {
            Engine::Postgres => Dialect::Postgres,
            Engine::Sqlite => Dialect::Sqlite,
        };
        let sql = SqlScope::new(dialect, allowed_patterns, functions).map_err(|(index, why)| {
            let pattern = allowed_patterns.get(index).map_or("", String::as_str);
            let pattern = super::lexer::visible(pattern, 120);
            fail("allowed_patterns", format!("`{pattern}`: {why}"))
        })?;
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '$');
        if let Some(odd) = functions.iter().find(|name| name.is_empty() || !name.chars().all(plain))
        {
            let odd = super::lexer::visible(odd, 60);
            return Err(fail(
                "functions",
                format!(
                    "`{odd}` is not a function's name, such as `order_total` or `reports.monthly`"
                ),
            ));
        }
        Ok(Self {
            dsn,
            engine,
            file,
            allowed_patterns: allowed_patterns.to_vec(),
            functions: functions.to_vec(),
            row_limit: DEFAULT_ROW_LIMIT,
            timeout: DEFAULT_TIMEOUT,
            sql,
        })
    }

    /// Keeps these patterns alone, where they are provably no more.
    pub(crate) fn attenuate(&mut self, patterns: Vec<String>) -> Result<(), AttenuateError> {
        let file = self.file.clone();
        let dsn = self.dsn.clone();
        let narrower = Self::new(dsn, self.engine, file, &patterns, &self.functions)?;
        if let Some(index) = narrower.sql.first_beyond(&self.sql) {
            return Err(AttenuateError::Unproved {
                field: "allowed_patterns",
                text: patterns.get(index).map_or_else(String::new, |it| lexer::visible(it, 120)),
                why: format!("allowed are {}; begin as one of them does", self.patterns()),
            });
        }
        (self.allowed_patterns, self.sql) = (narrower.allowed_patterns, narrower.sql);
        Ok(())
    }

    /// Whether the query is one statement of an allowed kind.
    pub fn permits(&self, action: &DatabaseAction) -> Result<(), Refusal> {
        self.sql.permits(action.query.as_str()).map_err(|why| {
            Refusal::QueryNotAllowed(format!("{why}; allowed are {}", self.patterns()))
        })
    }

    /// The patterns, for a sentence.
    pub fn patterns(&self) -> String {
        let quoted: Vec<String> = self.allowed_patterns.iter().map(|p| format!("`{p}`")).collect();
        format!("statements of the kind {}", quoted.join(" or "))
    }

    /// One line for people.
    pub fn summary(&self) -> String {
        let place = match (&self.file, &self.dsn) {
            (Some(file), _) => format!("the SQLite file {file}"),
            (None, SecretSource::Env(name)) => format!("the database of `{name}`"),
            (None, SecretSource::File(path)) => format!("the database of file {path}"),
            (None, SecretSource::Value(_)) => "a PostgreSQL database".to_owned(),
        };
        format!("{} on {place}", self.patterns())
    }
}
