//! Database tokens: where the database is, and what may be asked of it.

use lar_core::scope::database::sqlite_path;
use lar_core::token::{DatabaseToken, Token};
use schemars::JsonSchema;
use serde::Deserialize;

use super::build::{Builder, with_common};
use super::diagnostic::Diagnostic;
use super::kinds::{Common, token_table};
use super::value::{DurationText, TimeText};

token_table! {
    /// Runs single SQL statements on one database, each in a session and a transaction of its own. The tool is
    /// `db_NAME`.
    DatabaseTable {
        /// The database's address: `postgres://ROLE@HOST/DATABASE`, or `sqlite:FILE`. A password doesn't belong
        /// here: use `dsn_env` or `dsn_file`. A relative file begins at the manifest's directory.
        dsn: Option<String>,
        /// The environment variable that holds the address of a PostgreSQL database.
        dsn_env: Option<String>,
        /// The file that holds the address of a PostgreSQL database; one final line break is dropped. A
        /// relative path begins at the manifest's directory.
        dsn_file: Option<String>,
        /// Kinds of statements (`SELECT`), or beginnings of such (`UPDATE users SET`), whatever their case.
        #[schemars(length(min = 1))]
        allowed_patterns: Vec<String>,
        /// Functions that may be called beyond those known to be harmless: `order_total`,
        /// `reports.monthly`.
        #[serde(default)]
        functions: Vec<String>,
        /// Rows that come back at most. Default: 1000.
        #[schemars(range(min = 1, max = 100_000))]
        row_limit: Option<u32>,
        /// After this time the statement is ended; at most a day. Default: `30s`.
        timeout: Option<DurationText>,
    }
}

impl Builder<'_, '_, '_> {
    pub(super) fn database(&mut self) -> Option<Token> {
        let table: DatabaseTable = self.reader.take(self.value)?;
        let sources =
            [("dsn", &table.dsn), ("dsn_env", &table.dsn_env), ("dsn_file", &table.dsn_file)];
        let given: Vec<&str> =
            sources.iter().filter(|(_, value)| value.is_some()).map(|(field, _)| *field).collect();
        let message = match given.as_slice() {
            [_] => None,
            [] => Some(format!(
                "{} doesn't say where the database is: `dsn`, `dsn_env` or `dsn_file`",
                self.label
            )),
            several => Some(format!(
                "{} says more than once where the database is: `{}`; keep one",
                self.label,
                several.join("`, `")
            )),
        };
        if let Some(message) = message {
            let span = given.get(1).map_or_else(|| self.value.span(), |field| self.field(field));
            self.reader.sink.push(Diagnostic::new(span, message));
            return None;
        }
        let (name, patterns) = (&table.name, table.allowed_patterns.iter());
        let mut builder = match (&table.dsn, &table.dsn_env, &table.dsn_file) {
            (Some(dsn), _, _) => {
                let dsn = match sqlite_path(dsn) {
                    Some(path) if !path.is_empty() => {
                        format!("sqlite:{}", self.path("dsn", 0, path)?)
                    }
                    Some(_) => {
                        self.fail(self.field("dsn"), "dsn", "names no file; write `sqlite:FILE`");
                        return None;
                    }
                    None => self.server(dsn)?,
                };
                DatabaseToken::new(name, &dsn, patterns)
            }
            (None, Some(variable), _) => {
                self.variable("dsn_env", variable)?;
                DatabaseToken::from_env(name, variable, patterns)
            }
            (None, None, Some(path)) => {
                DatabaseToken::from_file(name, &self.path("dsn_file", 0, path)?, patterns)
            }
            (None, None, None) => return None,
        };
        with_common!(self, builder, table.common());
        for function in table.functions {
            builder = builder.function(function);
        }
        if let Some(rows) = table.row_limit {
            builder = builder.row_limit(rows);
        }
        if let Some(timeout) = &table.timeout {
            builder = builder.timeout(self.duration(timeout)?);
        }
        self.built(builder.build())
    }

    /// An address that stands in the manifest itself, which is never repeated.
    fn server(&mut self, dsn: &str) -> Option<String> {
        if dsn.starts_with("postgres://") || dsn.starts_with("postgresql://") {
            return Some(dsn.to_owned());
        }
        let why = "is no address; write `postgres://ROLE@HOST/DATABASE` or `sqlite:FILE`";
        self.fail(self.field("dsn"), "dsn", why);
        None
    }
}
