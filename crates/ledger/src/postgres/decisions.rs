//! What people sign about attempts that wait for approvals.

use lar_core::approval::{MOST_BYTES, Signed};
use lar_core::id::{AttemptId, RunId};
use lar_core::ledger::{Decision, Decisions, LedgerError};
use lar_core::time::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::read::ask;
use super::row;
use super::session::Sessions;

type Result<T> = std::result::Result<T, LedgerError>;

/// Keeps a decision. Asked again when the answer was lost: the same again changes nothing.
pub(super) async fn decide(sessions: &Sessions, decision: Decision) -> Result<u64> {
    let Decision { run, attempt, signed } = decision;
    let bad = |what: &str| {
        LedgerError::BadRecord(format!(
            "the decision {what}; statement and signature have between 1 and {MOST_BYTES} bytes each, \
             without null characters"
        ))
    };
    if signed.statement.contains('\0') || signed.signature.contains('\0') {
        return Err(bad("holds a null character"));
    }
    let sql = "SELECT * FROM lar.decide($1, $2, $3, $4)";
    let id: &[u8] = attempt.digest().as_bytes();
    let parameters: [&(dyn ToSql + Sync); 4] =
        [&run.as_str(), &id, &signed.statement, &signed.signature];
    let rows = ask(sessions, sql, &parameters).await?;
    let row = rows.first().ok_or_else(row::unreadable)?;
    let not_waiting = |why: &str| {
        Err(LedgerError::NotWaiting { attempt: attempt.to_string(), why: why.to_owned() })
    };
    match row::get::<Option<&str>>(row, "code")? {
        None => row::number(row, "place"),
        Some("unknown_run") => Err(LedgerError::UnknownRun(run.to_string())),
        Some("run_closed") => Err(LedgerError::RunClosed(run.to_string())),
        Some("unknown_attempt") => {
            let (run, attempt) = (run.to_string(), attempt.to_string());
            Err(LedgerError::UnknownAttempt { run, attempt })
        }
        Some("approved") => not_waiting("it was approved and is about to start"),
        Some("full") => not_waiting("it has as many decisions as one attempt can have"),
        Some("size") => Err(bad("is too long or empty")),
        Some(_) => not_waiting("it was started"),
    }
}

/// Reads what was decided, and then the time.
pub(super) async fn decisions(
    sessions: &Sessions,
    run: &RunId,
    attempt: &AttemptId,
) -> Result<Decisions> {
    let sql = "SELECT w.statement, w.signature FROM lar.decisions w
        WHERE w.run = (SELECT n FROM lar.runs WHERE id = $1) AND w.attempt = $2 ORDER BY w.place";
    let id: &[u8] = attempt.digest().as_bytes();
    let rows = ask(sessions, sql, &[&run.as_str(), &id]).await?;
    let read = |row: &Row| {
        Ok(Signed {
            statement: row::get(row, "statement")?,
            signature: row::get(row, "signature")?,
        })
    };
    let signed = rows.iter().map(read).collect::<Result<_>>()?;
    let sql = "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now";
    let rows = ask(sessions, sql, &[]).await?;
    let now: Timestamp = row::time(rows.first().ok_or_else(row::unreadable)?, "now")?;
    Ok(Decisions { now, signed })
}
