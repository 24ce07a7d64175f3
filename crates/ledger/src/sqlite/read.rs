//! What is read inside the transaction.

use lar_core::audit::record::{Account, SealedRecord};
use lar_core::id::{AttemptId, RunId};
use lar_core::json::Digest;
use lar_core::ledger::{LedgerError, RunSummary, UseState};
use lar_core::outcome::Verdict;
use lar_core::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::unavailable;

type Result<T> = std::result::Result<T, LedgerError>;

pub(super) fn attempt(connection: &Connection, attempt: &AttemptId) -> Result<Option<UseState>> {
    connection
        .prepare_cached(
            "SELECT state, fence, lease_until, approved, action FROM attempts WHERE id = ?1",
        )
        .and_then(|mut statement| {
            statement.query_row([attempt.digest().as_bytes()], state_of).optional()
        })
        .map_err(|error| unavailable(&error))
}

pub(super) fn records(
    connection: &Connection,
    run: &RunId,
    from: u64,
    limit: u64,
) -> Result<Vec<SealedRecord>> {
    let n: Option<i64> = connection
        .query_row("SELECT n FROM runs WHERE id = ?1", [run.as_str()], |row| row.get(0))
        .optional()
        .map_err(|error| unavailable(&error))?;
    let Some(n) = n else {
        return Err(LedgerError::UnknownRun(run.to_string()));
    };
    let read = || -> rusqlite::Result<Vec<SealedRecord>> {
        connection
            .prepare_cached(
                "SELECT seq, hash, bytes FROM records WHERE run = ?1 AND seq >= ?2
                 ORDER BY seq LIMIT ?3",
            )?
            .query_map(params![n, from, limit.min(i64::MAX as u64)], |row| {
                Ok(SealedRecord { seq: row.get(0)?, hash: digest(row, 1)?, bytes: row.get(2)? })
            })?
            .collect()
    };
    read().map_err(|error| unavailable(&error))
}

pub(super) fn runs(connection: &Connection) -> Result<Vec<RunSummary>> {
    let read = || -> rusqlite::Result<Vec<RunSummary>> {
        connection
            .prepare_cached(
                "SELECT id, opened, stop_reason, seq, head, task, owner FROM runs ORDER BY n DESC",
            )?
            .query_map([], |row| {
                let id: String = row.get(0)?;
                Ok(RunSummary {
                    run: RunId::new(id).map_err(|_| unreadable(0))?,
                    opened: Timestamp::from_millis(row.get(1)?),
                    stop_reason: row.get(2)?,
                    records: row.get(3)?,
                    head: digest(row, 4)?,
                    task: row.get(5)?,
                    owner: row.get(6)?,
                })
            })?
            .collect()
    };
    read().map_err(|error| unavailable(&error))
}

/// Attempts of a run that are held or were started and not sealed.
pub(super) fn unfinished(
    connection: &Connection,
    n: i64,
) -> Result<Vec<(AttemptId, String, UseState)>> {
    let read = || -> rusqlite::Result<Vec<_>> {
        connection
            .prepare_cached(
                "SELECT state, fence, lease_until, approved, action, id, token FROM attempts
                 WHERE run = ?1 AND state IN ('reserved', 'started') ORDER BY id",
            )?
            .query_map([n], |row| {
                Ok((AttemptId::from_digest(digest(row, 5)?), row.get(6)?, state_of(row)?))
            })?
            .collect()
    };
    read().map_err(|error| unavailable(&error))
}

/// What became of every token of a run.
pub(super) fn accounts(connection: &Connection, n: i64) -> Result<Vec<Account>> {
    let read = || -> rusqlite::Result<Vec<Account>> {
        connection
            .prepare_cached(
                "SELECT t.name, t.granted, t.uses_left,
                        (SELECT count(*) FROM attempts a WHERE a.run = t.run AND a.token = t.name
                             AND a.state = 'succeeded'),
                        (SELECT count(*) FROM attempts a WHERE a.run = t.run AND a.token = t.name
                             AND a.state = 'failed'),
                        (SELECT count(*) FROM attempts a WHERE a.run = t.run AND a.token = t.name
                             AND a.state = 'unknown')
                 FROM tokens t WHERE t.run = ?1 ORDER BY t.position",
            )?
            .query_map([n], |row| {
                Ok(Account {
                    token_name: row.get(0)?,
                    granted: row.get(1)?,
                    unused: row.get(2)?,
                    succeeded: row.get(3)?,
                    failed: row.get(4)?,
                    unknown: row.get(5)?,
                })
            })?
            .collect()
    };
    read().map_err(|error| unavailable(&error))
}

/// Reads a state from columns 0 to 4: state, fence, lease_until, approved, action.
fn state_of(row: &Row<'_>) -> rusqlite::Result<UseState> {
    let word: String = row.get(0)?;
    let fence = row.get(1)?;
    Ok(match word.as_str() {
        "reserved" => UseState::Reserved {
            fence,
            lease_until: Timestamp::from_millis(row.get(2)?),
            approved: row.get(3)?,
            action: digest(row, 4)?,
        },
        "released" => UseState::Released { fence },
        "started" => UseState::Started { fence },
        "never_began" => UseState::NeverBegan { fence },
        "succeeded" => UseState::Ended { fence, verdict: Verdict::Succeeded },
        "failed" => UseState::Ended { fence, verdict: Verdict::Failed },
        "unknown" => UseState::Ended { fence, verdict: Verdict::Unknown },
        _ => return Err(unreadable(0)),
    })
}

pub(super) fn digest(row: &Row<'_>, column: usize) -> rusqlite::Result<Digest> {
    let bytes: Vec<u8> = row.get(column)?;
    <[u8; 32]>::try_from(bytes.as_slice()).map(Digest::from_bytes).map_err(|_| unreadable(column))
}

fn unreadable(column: usize) -> rusqlite::Error {
    rusqlite::Error::IntegralValueOutOfRange(column, 0)
}
