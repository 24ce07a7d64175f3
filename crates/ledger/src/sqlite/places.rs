//! Where the records of a run stand in the log.
//!
//! All records lie in one table in the log's order, so that a commit writes to its end alone, however many
//! runs it serves. An index by run would be written to in as many places as there are runs. Here the leaves of
//! sixteen records at a time are one row, and those that make no sixteen yet stand in the run's own row, which
//! every record changes anyway.

use lar_core::ledger::LedgerError;
use rusqlite::{Connection, params};

use super::read::unreadable;
use super::{contradiction, unavailable};

type Result<T> = std::result::Result<T, LedgerError>;

/// How many leaves a row has.
const ROW: usize = 16;
/// The bytes of a leaf: its number, the highest byte first.
const WIDTH: usize = 8;

pub(super) const TABLE: &str = "
    CREATE TABLE places (
        run    INTEGER NOT NULL REFERENCES runs (n),
        -- Which sixteen records of the run, from 0.
        part   INTEGER NOT NULL,
        leaves BLOB NOT NULL,
        PRIMARY KEY (run, part)
    ) STRICT, WITHOUT ROWID;
";

/// Notes the leaf of a run's next record. `last` are the leaves that stand in the run's row.
pub(super) fn add(
    connection: &Connection,
    run: i64,
    last: &mut Vec<u8>,
    seq: u64,
    leaf: u64,
) -> Result<()> {
    let before = seq.checked_sub(1).ok_or_else(contradiction)?;
    if before % ROW as u64 != (last.len() / WIDTH) as u64 {
        return Err(contradiction());
    }
    last.extend_from_slice(&leaf.to_be_bytes());
    if last.len() == ROW * WIDTH {
        connection
            .prepare_cached("INSERT INTO places (run, part, leaves) VALUES (?1, ?2, ?3)")
            .and_then(|mut statement| statement.execute(params![run, before / ROW as u64, &*last]))
            .map_err(|error| unavailable(&error))?;
        last.clear();
    }
    Ok(())
}

/// The numbers and leaves of a run's records from a number on.
pub(super) fn read(
    connection: &Connection,
    run: i64,
    from: u64,
    limit: u64,
) -> Result<Vec<(u64, u64)>> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let first = from.max(1);
    let collect = || -> rusqlite::Result<Vec<(u64, u64)>> {
        // The last part stands in the run's row.
        let mut statement = connection.prepare_cached(
            "SELECT part, leaves FROM places WHERE run = ?1 AND part >= ?2
             UNION ALL
             SELECT (SELECT coalesce(max(part) + 1, 0) FROM places WHERE run = ?1), places
             FROM standing WHERE n = ?1
             ORDER BY 1",
        )?;
        let part = super::read::number((first - 1) / ROW as u64);
        let mut rows = statement.query(params![run, part])?;
        let mut found = Vec::new();
        while found.len() < limit
            && let Some(row) = rows.next()?
        {
            let (part, leaves): (u64, Vec<u8>) = (row.get(0)?, row.get(1)?);
            let begin = part.checked_mul(ROW as u64).ok_or_else(|| unreadable(0))?;
            let (leaves, []) = leaves.as_chunks::<WIDTH>() else {
                return Err(unreadable(1));
            };
            let numbered = (begin.saturating_add(1)..).zip(leaves);
            found.extend(
                numbered
                    .filter(|(seq, _)| *seq >= first)
                    .map(|(seq, leaf)| (seq, u64::from_be_bytes(*leaf)))
                    .take(limit - found.len()),
            );
        }
        Ok(found)
    };
    collect().map_err(|error| unavailable(&error))
}
