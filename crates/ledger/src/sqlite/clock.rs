//! The ledger's time: the system's, but never behind what was given out before.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use lar_core::ledger::{CLOCK_SLACK_MS, ClockReset, LedgerError};
use lar_core::time::Timestamp;

use super::standing::log_row;
use super::{schema, unavailable};

fn system() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_millis()).ok())
        .unwrap_or(0)
}

/// The time within a transaction, by the highest one that was given out before.
pub(super) fn now(highest: i64) -> Result<Timestamp, LedgerError> {
    let slack = i64::try_from(CLOCK_SLACK_MS).unwrap_or(i64::MAX);
    let system = system();
    if system < highest.saturating_sub(slack) {
        return Err(LedgerError::Unavailable(format!(
            "the clock is {} s behind the ledger's last record; set the clock and run again, or, if it \
             is right and was ahead then, run `lar ledger reset-clock`",
            (highest - system) / 1000
        )));
    }
    Ok(Timestamp::from_millis(system.max(highest)))
}

/// Takes the system's time for right, whatever was given out before. What holds until a time that was
/// reckoned from the wrong one ends now: the holds on runs and uses, and approvals.
pub(super) fn reset(path: &Path) -> Result<ClockReset, LedgerError> {
    let mut connection = schema::open(path)?.writing?;
    let transaction = connection
        .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
        .map_err(|error| unavailable(&error))?;
    let before: i64 = transaction
        .query_row(concat!("SELECT millis FROM standing WHERE n = ", log_row!()), [], |row| {
            row.get(0)
        })
        .map_err(|error| unavailable(&error))?;
    let now = system();
    if now < before {
        for statement in [
            concat!("UPDATE standing SET millis = ?1 WHERE n = ", log_row!()),
            "UPDATE standing SET lease_until = ?1
             WHERE lease_until > ?1 AND n IN (SELECT n FROM runs WHERE stop_reason IS NULL)",
            "UPDATE attempts SET lease_until = min(lease_until, ?1 - 1),
                 approved_until = min(approved_until, ?1 - 1)
             WHERE state IN ('reserved', 'released')",
        ] {
            transaction.execute(statement, [now]).map_err(|error| unavailable(&error))?;
        }
    }
    transaction.commit().map_err(|error| unavailable(&error))?;
    Ok(ClockReset { before: Timestamp::from_millis(before), now: Timestamp::from_millis(now) })
}
