//! What records commit to, in a table of its own: deleting a row takes nothing from a record.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use lar_core::audit::commitment::Opening;
use lar_core::audit::record::SealedRecord;
use lar_core::id::RunId;
use lar_core::ledger::{Erasing, LedgerError};
use rusqlite::{Connection, params};

use super::read::unreadable;
use super::unavailable;

type Result<T> = std::result::Result<T, LedgerError>;

/// Keeps what a record of the run in this row commits to.
pub(super) fn add(connection: &Connection, run: i64, record: &SealedRecord) -> Result<()> {
    for opening in &record.openings {
        connection
            .prepare_cached("INSERT INTO openings (run, seq, field, line) VALUES (?1, ?2, ?3, ?4)")
            .and_then(|mut statement| {
                statement.execute(params![run, record.seq, opening.field(), opening.line()])
            })
            .map_err(|error| unavailable(&error))?;
    }
    Ok(())
}

/// Deletes openings, and the task where that is among them: it stands in the list of runs as well.
pub(super) fn erase(
    connection: &Connection,
    run: i64,
    erasing: &Erasing,
    task: Option<&str>,
) -> Result<()> {
    let sql = "DELETE FROM openings
        WHERE run = ?1 AND (?2 IS NULL OR seq = ?2) AND (?3 IS NULL OR field = ?3)";
    connection
        .execute(sql, params![run, erasing.of, erasing.field])
        .and_then(|_| match task {
            Some(task) => {
                connection.execute("UPDATE runs SET task = ?2 WHERE n = ?1", params![run, task])
            }
            None => Ok(0),
        })
        .map(drop)
        .map_err(|error| unavailable(&error))
}

/// The records and fields of which an opening is kept.
pub(super) fn of_run(connection: &Connection, run: &RunId) -> Result<Vec<(u64, String)>> {
    let sql = "SELECT seq, field FROM openings WHERE run = (SELECT n FROM runs WHERE id = ?1)";
    let read = || -> rusqlite::Result<Vec<(u64, String)>> {
        connection
            .prepare_cached(sql)?
            .query_map([run.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect()
    };
    read().map_err(|error| unavailable(&error))
}

/// What is kept of what records commit to, by their numbers.
pub(super) fn read(
    connection: &Connection,
    run: i64,
    records: RangeInclusive<u64>,
) -> Result<BTreeMap<u64, Vec<Opening>>> {
    let mut found = BTreeMap::<u64, Vec<Opening>>::new();
    let mut collect = || -> rusqlite::Result<()> {
        let mut statement = connection.prepare_cached(
            "SELECT seq, line FROM openings WHERE run = ?1 AND seq BETWEEN ?2 AND ?3
             ORDER BY seq, field",
        )?;
        let mut rows = statement.query(params![run, records.start(), records.end()])?;
        while let Some(row) = rows.next()? {
            let line: String = row.get(1)?;
            let opening = Opening::read(line).ok_or_else(|| unreadable(1))?;
            found.entry(row.get(0)?).or_default().push(opening);
        }
        Ok(())
    };
    match collect() {
        Ok(()) => Ok(found),
        Err(error) => Err(unavailable(&error)),
    }
}
