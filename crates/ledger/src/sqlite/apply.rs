//! What each command does inside the transaction. Which state follows which is not decided here but
//! by the pure rule in the core.

use lar_core::audit::record::{self, Body, Recovery, RunClose};
use lar_core::id::{AttemptId, RunId};
use lar_core::json::Digest;
use lar_core::ledger::protocol::{self, Uses};
use lar_core::ledger::{
    Change, Closing, Conflict, Entry, Granted, LedgerError, Opening, Receipt, UseState,
};
use lar_core::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, named_params, params};

use super::read::{accounts, attempt, digest, unfinished};
use super::unavailable;

type Result<T> = std::result::Result<T, LedgerError>;

/// Where a run's chain stands.
struct Head {
    n: i64,
    seq: u64,
    hash: Digest,
}

pub(super) fn open_run(
    connection: &Connection,
    now: Timestamp,
    opening: &Opening,
) -> Result<Receipt> {
    let Body::RunOpen(open) = &opening.record else {
        return Err(LedgerError::BadRecord("a run begins with `run_open`".to_owned()));
    };
    let genesis = record::genesis();
    let made = connection.execute(
        "INSERT INTO runs (id, owner, task, opened, seq, head) VALUES (?1, ?2, ?3, ?4, 0, ?5)",
        params![
            opening.run.as_str(),
            opening.owner,
            open.task,
            now.as_millis(),
            genesis.as_bytes()
        ],
    );
    made.map_err(|error| match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::ConstraintViolation) => {
            LedgerError::BadRecord(format!("there is a run `{}` already", opening.run))
        }
        _ => unavailable(&error),
    })?;
    let head = Head { n: connection.last_insert_rowid(), seq: 0, hash: genesis };
    for token in &opening.tokens {
        grant(connection, head.n, token)?;
    }
    append(connection, now, &opening.run, head, &opening.record)
}

pub(super) fn commit(connection: &Connection, now: Timestamp, entry: &Entry) -> Result<Receipt> {
    let head = open_head(connection, &entry.run)?;
    for token in &entry.grants {
        grant(connection, head.n, token)?;
    }
    let changed = match &entry.change {
        Some(change) => Some(transition(connection, now, head.n, change)?),
        None => None,
    };
    let mut receipt = append(connection, now, &entry.run, head, &entry.record)?;
    if let Some((fence, uses_left)) = changed {
        receipt.fence = fence;
        receipt.uses_left = uses_left;
    }
    Ok(receipt)
}

pub(super) fn close_run(
    connection: &Connection,
    now: Timestamp,
    closing: &Closing,
) -> Result<Receipt> {
    let mut head = open_head(connection, &closing.run)?;
    for (attempt, token, state) in unfinished(connection, head.n)? {
        // The run is over, so a hold is given back whether or not its lease has run out.
        let (next, uses) = match &state {
            UseState::Reserved { fence, .. } => {
                (UseState::Released { fence: fence + 1 }, Uses::GiveBack)
            }
            other => match protocol::recover(other, now) {
                Some(next) => next,
                None => continue,
            },
        };
        let lost = uses == Uses::Keep;
        put(connection, head.n, &attempt, &token, None, &next)?;
        take(connection, head.n, &token, uses)?;
        let body = Body::Recovery(Recovery {
            token_name: token,
            attempt,
            state: if lost { "unknown" } else { "released" }.to_owned(),
            message: if lost {
                "it was started and no outcome was recorded; the use is spent"
            } else {
                "it was held for an approval when the run ended; the use was given back"
            }
            .to_owned(),
        });
        let receipt = append(connection, now, &closing.run, head, &body)?;
        head = open_head(connection, &closing.run)?;
        debug_assert_eq!(head.seq, receipt.seq);
    }
    let body = Body::RunClose(RunClose {
        stop_reason: closing.stop_reason.clone(),
        end: closing.details.clone(),
        tokens: accounts(connection, head.n)?,
        records: head.seq + 1,
    });
    let n = head.n;
    let receipt = append(connection, now, &closing.run, head, &body)?;
    connection
        .execute("UPDATE runs SET stop_reason = ?2 WHERE n = ?1", params![n, closing.stop_reason])
        .map_err(|error| unavailable(&error))?;
    Ok(receipt)
}

/// The head of a run that takes more records.
fn open_head(connection: &Connection, run: &RunId) -> Result<Head> {
    let found = connection
        .prepare_cached("SELECT n, seq, head, stop_reason IS NOT NULL FROM runs WHERE id = ?1")
        .and_then(|mut statement| {
            statement
                .query_row([run.as_str()], |row| {
                    let head = Head { n: row.get(0)?, seq: row.get(1)?, hash: digest(row, 2)? };
                    Ok((head, row.get::<_, bool>(3)?))
                })
                .optional()
        })
        .map_err(|error| unavailable(&error))?;
    match found {
        None => Err(LedgerError::UnknownRun(run.to_string())),
        Some((_, true)) => Err(LedgerError::RunClosed(run.to_string())),
        Some((head, false)) => Ok(head),
    }
}

/// Writes the next record of a run.
fn append(
    connection: &Connection,
    now: Timestamp,
    run: &RunId,
    head: Head,
    body: &Body,
) -> Result<Receipt> {
    let seq = head.seq + 1;
    let sealed = record::seal(run, seq, head.hash, now, body)
        .map_err(|error| LedgerError::BadRecord(error.to_string()))?;
    let write = || -> rusqlite::Result<()> {
        connection
            .prepare_cached("INSERT INTO records (run, seq, hash, bytes) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![head.n, seq, sealed.hash.as_bytes(), sealed.bytes])?;
        connection
            .prepare_cached("UPDATE runs SET seq = ?2, head = ?3 WHERE n = ?1")?
            .execute(params![head.n, seq, sealed.hash.as_bytes()])?;
        Ok(())
    };
    write().map_err(|error| unavailable(&error))?;
    Ok(Receipt { seq, hash: sealed.hash, timestamp: now, fence: 0, uses_left: 0 })
}

fn grant(connection: &Connection, n: i64, token: &Granted) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO tokens (run, name, position, definition, granted, uses_left, expires)
             SELECT ?1, ?2, count(*), ?3, ?4, ?4, ?5 FROM tokens WHERE run = ?1",
        )
        .and_then(|mut statement| {
            statement.execute(params![
                n,
                token.name,
                token.definition.as_bytes(),
                token.uses,
                token.expires.map(Timestamp::as_millis),
            ])
        })
        .map(drop)
        .map_err(|error| unavailable(&error))
}

/// Applies a transition to an attempt and its token.
fn transition(
    connection: &Connection,
    now: Timestamp,
    n: i64,
    change: &Change,
) -> Result<(u64, u32)> {
    let state = attempt(connection, &change.attempt)?;
    let (next, uses) = protocol::next(state.as_ref(), &change.transition, &change.action, now)?;
    // A token that has ended takes no new spend; what was started may still be sealed.
    if uses == Uses::Take || matches!(next, UseState::Started { .. }) {
        let expires = connection
            .prepare_cached("SELECT expires FROM tokens WHERE run = ?1 AND name = ?2")
            .and_then(|mut statement| {
                statement
                    .query_row(params![n, change.token], |row| row.get::<_, Option<i64>>(0))
                    .optional()
            })
            .map_err(|error| unavailable(&error))?
            .ok_or_else(|| Conflict::UnknownToken(change.token.clone()))?;
        if let Some(end) = expires.map(Timestamp::from_millis).filter(|end| now >= *end) {
            return Err(Conflict::Expired(end).into());
        }
    }
    let left = take(connection, n, &change.token, uses)?;
    put(connection, n, &change.attempt, &change.token, Some(&change.action), &next)?;
    Ok((next.fence(), left))
}

/// Moves one use in or out of what is left, in one conditional update.
fn take(connection: &Connection, n: i64, token: &str, uses: Uses) -> Result<u32> {
    let by = match uses {
        Uses::Take => -1,
        Uses::GiveBack => 1,
        Uses::Keep => 0,
    };
    connection
        .prepare_cached(
            "UPDATE tokens SET uses_left = uses_left + ?3
             WHERE run = ?1 AND name = ?2 AND uses_left + ?3 BETWEEN 0 AND granted
             RETURNING uses_left",
        )
        .and_then(|mut statement| {
            statement.query_row(params![n, token, by], |row| row.get(0)).optional()
        })
        .map_err(|error| unavailable(&error))?
        .ok_or(LedgerError::Conflict(Conflict::NoUseLeft))
}

fn put(
    connection: &Connection,
    n: i64,
    attempt: &AttemptId,
    token: &str,
    action: Option<&Digest>,
    state: &UseState,
) -> Result<()> {
    let (word, lease, approved) = match state {
        UseState::Reserved { lease_until, approved, .. } => {
            ("reserved", Some(lease_until.as_millis()), Some(*approved))
        }
        UseState::Released { .. } => ("released", None, None),
        UseState::Started { .. } => ("started", None, None),
        UseState::Ended { verdict, .. } => (verdict.as_str(), None, None),
        UseState::NeverBegan { .. } => ("never_began", None, None),
    };
    connection
        .prepare_cached(
            "INSERT INTO attempts (id, run, token, action, state, fence, lease_until, approved)
             VALUES (:id, :run, :token, coalesce(:action, x''), :state, :fence, :lease, :approved)
             ON CONFLICT (id) DO UPDATE SET state = excluded.state, fence = excluded.fence,
                 lease_until = excluded.lease_until, approved = excluded.approved",
        )
        .and_then(|mut statement| {
            statement.execute(named_params! {
                ":id": attempt.digest().as_bytes(),
                ":run": n,
                ":token": token,
                ":action": action.map(|action| action.as_bytes().to_vec()),
                ":state": word,
                ":fence": state.fence(),
                ":lease": lease,
                ":approved": approved,
            })
        })
        .map(drop)
        .map_err(|error| unavailable(&error))
}
