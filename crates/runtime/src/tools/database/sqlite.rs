//! SQLite: the file, opened anew, read-only unless the scope writes, with an authorizer as a second lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lar_core::action::{DatabaseAction, Param};
use lar_core::scope::DatabaseScope;
use lar_core::scope::sql::SqlScope;
use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthAction, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Error, InterruptHandle, OpenFlags, ToSql};

use super::rows::{LONGEST_VALUE, Value};
use super::{Answer, Failure};
use crate::tools::Job;

impl Job<'_> {
    pub(super) async fn sqlite(
        &self,
        scope: &DatabaseScope,
        action: &DatabaseAction,
    ) -> Result<Answer, Failure> {
        let connection = open(scope).map_err(Failure::NeverBegan)?;
        let interrupt = connection.get_interrupt_handle();
        let (scope, action) = (scope.clone(), action.clone());
        let timeout = scope.timeout;
        // Set right before COMMIT, so that a stop that comes later doesn't call it rolled back.
        let committing = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&committing);
        let mut work =
            tokio::task::spawn_blocking(move || run(&connection, &scope, &action, &flag));
        let end = |interrupt: &InterruptHandle| interrupt.interrupt();
        let reason = tokio::select! {
            done = &mut work => return done.unwrap_or(Err(Failure::Unknown)),
            cause = self.stop.wait() => cause.as_str(),
            () = tokio::time::sleep(timeout) => "timeout",
        };
        end(&interrupt);
        // The interrupted statement comes back at once; what it says is what happened.
        match work.await {
            Ok(Err(Failure::RolledBack { text, .. })) => Err(Failure::RolledBack { reason, text }),
            Ok(other) => other,
            Err(_) if committing.load(Ordering::Acquire) => Err(Failure::Unknown),
            Err(_) => Err(Failure::RolledBack { reason, text: String::new() }),
        }
    }
}

fn open(scope: &DatabaseScope) -> Result<Connection, String> {
    let path = scope.file.as_deref().unwrap_or_default();
    let reads = scope.sql.only_reads();
    // Without SQLITE_OPEN_URI a name is only ever a path; without SQLITE_OPEN_CREATE none is made.
    let mode =
        if reads { OpenFlags::SQLITE_OPEN_READ_ONLY } else { OpenFlags::SQLITE_OPEN_READ_WRITE };
    let set_up = || -> Result<Connection, Error> {
        let mut connection =
            Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(scope.timeout)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, !reads)?;
        connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
        connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, 16 << 20)?;
        // Reading the header tells a database from any other file.
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        let sql = scope.sql.clone();
        connection.authorizer(Some(move |context: rusqlite::hooks::AuthContext<'_>| {
            if permits(&sql, reads, &context.action) {
                Authorization::Allow
            } else {
                Authorization::Deny
            }
        }))?;
        Ok(connection)
    };
    set_up().map_err(|error| {
        let code =
            error.sqlite_error_code().map_or_else(String::new, |code| format!(" ({code:?})"));
        format!(
            "the SQLite file `{path}` can't be opened{code}; check that it is there and a database"
        )
    })
}

/// What a statement may do once SQLite has compiled it, whatever its text looked like.
fn permits(sql: &SqlScope, reads: bool, action: &AuthAction<'_>) -> bool {
    match action {
        AuthAction::Select | AuthAction::Read { .. } | AuthAction::Recursive => true,
        AuthAction::Transaction { .. } => true,
        AuthAction::Function { function_name } => sql.knows_function(function_name),
        AuthAction::Pragma { pragma_name, .. } => {
            sql.knows_function(&format!("pragma_{pragma_name}"))
        }
        AuthAction::Insert { .. } | AuthAction::Update { .. } | AuthAction::Delete { .. } => !reads,
        // Definitions are for scopes that name them; their statements touch the schema in many ways.
        _ => !reads && sql.defines(),
    }
}

fn run(
    connection: &Connection,
    scope: &DatabaseScope,
    action: &DatabaseAction,
    committing: &AtomicBool,
) -> Result<Answer, Failure> {
    let failed = |error: Error| rolled_back(&error);
    let reads = scope.sql.only_reads();
    let begin = if reads { "BEGIN" } else { "BEGIN IMMEDIATE" };
    connection.execute_batch(begin).map_err(failed)?;
    let answer = fetch(connection, scope, action).map_err(failed)?;
    committing.store(true, Ordering::Release);
    match connection.execute_batch("COMMIT") {
        Ok(()) => Ok(answer),
        // SQLite says of a commit that failed whether the transaction is still open.
        Err(error) if !connection.is_autocommit() => Err(rolled_back(&error)),
        Err(_) => Err(Failure::Unknown),
    }
}

fn fetch(
    connection: &Connection,
    scope: &DatabaseScope,
    action: &DatabaseAction,
) -> Result<Answer, Error> {
    let mut statement = connection.prepare(action.query.as_str())?;
    let params: Vec<Bound<'_>> = action.params.iter().map(Bound).collect();
    let params = rusqlite::params_from_iter(params);
    let count = statement.column_count();
    if count == 0 {
        return Ok(Answer::of_change(statement.execute(params)? as u64));
    }
    let columns = statement.column_names().map(str::to_owned).collect();
    let mut answer = Answer::of_columns(columns);
    let mut rows = statement.query(params)?;
    while let Some(row) = rows.next()? {
        let values = (0..count).map(|index| row.get_ref(index).map(shown));
        if !answer.push(values.collect::<Result<_, _>>()?, scope.row_limit) {
            break;
        }
    }
    Ok(answer)
}

fn shown(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::number(number.to_string()),
        ValueRef::Real(number) => Value::number(number.to_string()),
        ValueRef::Text(bytes) => {
            let mut text = String::from_utf8_lossy(bytes).into_owned();
            if let Some((end, _)) = text.char_indices().nth(LONGEST_VALUE) {
                text.truncate(end);
                text.push_str("… cut");
            }
            Value::Text(text)
        }
        ValueRef::Blob(bytes) => {
            Value::Text(format!("a blob of {} bytes; ask for hex(…)", bytes.len()))
        }
    }
}

/// What SQLite said, for the model: it is about the model's own statement.
fn rolled_back(error: &Error) -> Failure {
    Failure::RolledBack { reason: "rolled_back", text: error.to_string() }
}

/// A value on its way in.
struct Bound<'a>(&'a Param);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self.0 {
            Param::Null => ToSqlOutput::from(rusqlite::types::Null),
            Param::Bool(yes) => ToSqlOutput::from(*yes),
            Param::Number(text) => match (text.parse::<i64>(), text.parse::<f64>()) {
                (Ok(whole), _) => ToSqlOutput::from(whole),
                (Err(_), Ok(real)) => ToSqlOutput::from(real),
                (Err(_), Err(_)) => ToSqlOutput::from(text.as_str()),
            },
            Param::Text(text) => ToSqlOutput::from(text.as_str()),
        })
    }
}
