//! PostgreSQL: a fresh session, one transaction, the extended protocol.
//!
//! Values travel as text in both directions. For that the statement is read once to learn its columns,
//! and then run inside a projection that casts each of them; what is judged and approved is the statement
//! inside, whole.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use lar_core::action::{DatabaseAction, Param};
use lar_core::scope::DatabaseScope;
use lar_core::scope::sql::Outline;
use lar_postgres::{Connected, explain};
use tokio_postgres::types::{Format, FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Column, Error, Row, Transaction};

use super::rows::{LONGEST_VALUE, Value};
use super::{Answer, Failure};
use crate::tools::Job;

/// A session must stand within this time, or there is none.
const CONNECT: Duration = Duration::from_secs(10);

/// How many rows are asked for at once.
const BATCH: i32 = 200;

type BoxError = Box<dyn std::error::Error + Sync + Send>;

impl Job<'_> {
    pub(super) async fn postgres(
        &self,
        scope: &DatabaseScope,
        action: &DatabaseAction,
    ) -> Result<Answer, Failure> {
        let never = |why: &str| Failure::NeverBegan(format!("no session with the database: {why}"));
        let address = self
            .tools
            .secrets
            .address(self.token.name())
            .ok_or_else(|| never("its address is not at hand"))?;
        let warnings = Arc::default();
        let connecting =
            tokio::time::timeout(CONNECT.min(scope.timeout), address.connect(&warnings));
        let Connected { mut client, task } = tokio::select! {
            _ = self.stop.wait() => return Err(never("the run was stopped")),
            connected = connecting => match connected {
                Ok(Ok(connected)) => connected,
                Ok(Err(error)) => return Err(never(&explain(&error))),
                Err(_) => return Err(never("it did not answer in time")),
            }
        };
        let cancel = client.cancel_token();
        // Until COMMIT is sent, whatever ends this leaves nothing behind.
        let cut = |reason: &'static str| Failure::RolledBack { reason, text: String::new() };
        let done = tokio::select! {
            cause = self.stop.wait() => Err(cut(cause.as_str())),
            done = tokio::time::timeout(scope.timeout, run(&mut client, scope, action)) => match done {
                Ok(Ok((transaction, answer))) => Ok((transaction, answer)),
                Ok(Err(error)) => Err(rolled_back(&error)),
                Err(_) => Err(cut("timeout")),
            },
        };
        let ended = match done {
            Ok((transaction, answer)) => commit(transaction, scope.timeout).await.map(|()| answer),
            Err(failure) => {
                // The end of a session alone doesn't end what it runs.
                let _ = tokio::time::timeout(CONNECT, address.cancel(&cancel)).await;
                Err(failure)
            }
        };
        // The session ends with the client, which goes out of scope here; its task has nothing more to carry.
        task.abort();
        ended
    }
}

/// Everything up to the commit.
async fn run<'c>(
    client: &'c mut Client,
    scope: &DatabaseScope,
    action: &DatabaseAction,
) -> Result<(Transaction<'c>, Answer), Error> {
    let timeout = scope.timeout.as_millis();
    // How literals are read is what the judge took for granted.
    client
        .batch_execute(&format!(
            "SET standard_conforming_strings = on; SET statement_timeout = {timeout}; \
             SET idle_in_transaction_session_timeout = {timeout}"
        ))
        .await?;
    let reads = scope.sql.only_reads();
    let transaction = client.build_transaction().read_only(reads).start().await?;
    let outline = scope.sql.outline(action.query.as_str());
    let plain = transaction.prepare(outline.statement).await?;
    let params: Vec<Text<'_>> = action.params.iter().map(Text).collect();
    let params: Vec<&(dyn ToSql + Sync)> =
        params.iter().map(|param| param as &(dyn ToSql + Sync)).collect();
    let columns = plain.columns();
    if columns.is_empty() {
        let changed = transaction.execute(&plain, &params).await?;
        return Ok((transaction, Answer::of_change(changed)));
    }
    let mut answer =
        Answer::of_columns(columns.iter().map(|column| column.name().to_owned()).collect());
    let cast = projection(&outline, columns.len(), reads);
    let statement = match &cast {
        Some(text) => transaction.prepare(text).await?,
        None => plain.clone(),
    };
    let portal = transaction.bind(&statement, &params).await?;
    'rows: loop {
        let rows = transaction.query_portal(&portal, BATCH).await?;
        let last = rows.len() < BATCH as usize;
        for row in rows {
            let values = (0..columns.len()).zip(columns);
            let values = values.map(|(index, column)| value(&row, index, column, cast.is_some()));
            if !answer.push(values.collect::<Result<_, _>>()?, scope.row_limit) {
                break 'rows;
            }
        }
        if last {
            break;
        }
    }
    drop(portal);
    Ok((transaction, answer))
}

/// The statement inside a projection that casts its columns to text, where it can stand in one.
fn projection(outline: &Outline<'_>, columns: usize, reads: bool) -> Option<String> {
    let names: Vec<String> = (1..=columns).map(|index| format!("c{index}")).collect();
    let shown: Vec<String> = names
        .iter()
        .map(|name| format!("pg_catalog.\"left\"({name}::pg_catalog.text, {})", LONGEST_VALUE + 1))
        .collect();
    let (names, shown, inner) = (names.join(", "), shown.join(", "), outline.statement);
    match outline.verb.as_str() {
        "SELECT" | "VALUES" | "TABLE" => {
            Some(format!("SELECT {shown} FROM (\n{inner}\n) AS q({names})"))
        }
        "WITH" if reads => Some(format!("SELECT {shown} FROM (\n{inner}\n) AS q({names})")),
        "INSERT" | "UPDATE" | "DELETE" | "MERGE" => {
            Some(format!("WITH q({names}) AS (\n{inner}\n) SELECT {shown} FROM q"))
        }
        _ => None,
    }
}

/// What a column of a row holds, as JSON says it best.
fn value(row: &Row, index: usize, column: &Column, cast: bool) -> Result<Value, Error> {
    let Some(Raw(bytes)) = row.try_get::<_, Option<Raw<'_>>>(index)? else {
        return Ok(Value::Null);
    };
    let kind = column.type_();
    if !cast && !is_textual(kind) {
        return Ok(native(kind, bytes).unwrap_or_else(|| {
            Value::Text(format!("a value of type {}, not shown; cast it to text", kind.name()))
        }));
    }
    let mut text = String::from_utf8_lossy(bytes).into_owned();
    if let Some((end, _)) = text.char_indices().nth(LONGEST_VALUE) {
        text.truncate(end);
        text.push_str("… cut");
        return Ok(Value::Text(text));
    }
    Ok(match *kind {
        Type::BOOL => Value::Bool(text == "true" || text == "t"),
        Type::INT2 | Type::INT4 | Type::INT8 | Type::OID => Value::number(text),
        Type::FLOAT4 | Type::FLOAT8 | Type::NUMERIC => Value::number(text),
        Type::JSON | Type::JSONB => Value::json(text),
        _ => Value::Text(text),
    })
}

/// Types whose binary form is their text.
fn is_textual(kind: &Type) -> bool {
    matches!(*kind, Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::JSON | Type::XML)
}

/// The few types that are read in binary, where a statement can't stand in a projection.
fn native(kind: &Type, bytes: &[u8]) -> Option<Value> {
    let number = |text: String| Some(Value::number(text));
    match *kind {
        Type::BOOL => Some(Value::Bool(bytes == [1])),
        Type::INT2 => number(i16::from_be_bytes(bytes.try_into().ok()?).to_string()),
        Type::INT4 => number(i32::from_be_bytes(bytes.try_into().ok()?).to_string()),
        Type::INT8 => number(i64::from_be_bytes(bytes.try_into().ok()?).to_string()),
        _ => None,
    }
}

async fn commit(transaction: Transaction<'_>, patience: Duration) -> Result<(), Failure> {
    match tokio::time::timeout(patience, transaction.commit()).await {
        Ok(Ok(())) => Ok(()),
        // A deferred constraint speaks up here; then nothing was committed.
        Ok(Err(error)) if error.as_db_error().is_some() => Err(rolled_back(&error)),
        Ok(Err(_)) | Err(_) => Err(Failure::Unknown),
    }
}

/// What the server said, for the model: it is about the model's own statement.
fn rolled_back(error: &Error) -> Failure {
    let text = match error.as_db_error() {
        Some(said) => {
            let mut text = format!("{} (SQLSTATE {})", said.message(), said.code().code());
            if let Some(hint) = said.hint() {
                text.push_str(&format!("; {hint}"));
            }
            text
        }
        None => match std::error::Error::source(error) {
            // A parameter that doesn't fit is found before anything is sent.
            Some(_) if !error.is_closed() => "the statement's parameters don't fit it".to_owned(),
            _ => explain(error),
        },
    };
    Failure::RolledBack { reason: "rolled_back", text }
}

/// A value on its way in, as text: the server reads it by the type that the statement gives it.
#[derive(Debug)]
struct Text<'a>(&'a Param);

impl ToSql for Text<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, BoxError> {
        match self.0.as_text() {
            Some(text) => {
                out.extend_from_slice(text.as_bytes());
                Ok(IsNull::No)
            }
            None => Ok(IsNull::Yes),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

/// A value on its way out, as its bytes.
struct Raw<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, BoxError> {
        Ok(Self(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
