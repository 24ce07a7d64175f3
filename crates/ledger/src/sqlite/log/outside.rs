//! What others say of the log's head: the newest checkpoint that witnesses have cosigned, and the newest that an
//! authority has time-stamped.

use lar_core::audit::log::Stamped;
use rusqlite::{Connection, OptionalExtension, params};

use super::super::read::number;
use super::super::standing::log_row;
use super::{Result, execute, unavailable};

/// Keeps a cosigned checkpoint, unless a newer one is kept.
pub(in super::super) fn witness(
    connection: &Connection,
    size: u64,
    checkpoint: &str,
) -> Result<()> {
    execute(
        connection,
        concat!(
            "INSERT INTO witnessed SELECT 1, ?1, ?2 FROM standing s WHERE s.n = ",
            log_row!(),
            " AND s.size >= ?1
         ON CONFLICT (only) DO UPDATE SET size = excluded.size, checkpoint = excluded.checkpoint
         WHERE size < excluded.size
            OR size = excluded.size AND length(checkpoint) < length(excluded.checkpoint)"
        ),
        params![number(size), checkpoint],
    )
}

pub(in super::super) fn witnessed(connection: &Connection) -> Result<Option<String>> {
    connection
        .prepare_cached("SELECT checkpoint FROM witnessed")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)).optional())
        .map_err(|error| unavailable(&error))
}

/// Keeps a time-stamped checkpoint, unless a newer one is kept.
pub(in super::super) fn stamp(connection: &Connection, size: u64, stamped: &Stamped) -> Result<()> {
    execute(
        connection,
        concat!(
            "INSERT INTO stamped SELECT 1, ?1, ?2, ?3 FROM standing s WHERE s.n = ",
            log_row!(),
            " AND s.size >= ?1
         ON CONFLICT DO UPDATE SET size = excluded.size, checkpoint = excluded.checkpoint,
             answer = excluded.answer WHERE stamped.size <= excluded.size"
        ),
        params![size, stamped.checkpoint, stamped.answer],
    )
}

/// The newest time-stamped checkpoint.
pub(in super::super) fn stamped(connection: &Connection) -> Result<Option<Stamped>> {
    connection
        .prepare_cached("SELECT checkpoint, answer FROM stamped")
        .and_then(|mut statement| {
            let read = |row: &rusqlite::Row<'_>| {
                Ok(Stamped { checkpoint: row.get(0)?, answer: row.get(1)? })
            };
            statement.query_row([], read).optional()
        })
        .map_err(|error| unavailable(&error))
}
