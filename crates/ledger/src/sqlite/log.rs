//! The log over all records: every commit puts its records into the tree and signs the new head once,
//! within the same transaction.
//!
//! The records stand in one table in the log's order. The leaves' hashes are kept apart, and of the subtrees above
//! them those of every eighth level, as tiles have them. From these the right edge and any proof are
//! made anew, so that nothing has to be kept in step: what a process remembers is only used where it is what the
//! file says.

mod leaves;
mod outside;
mod sealing;

use lar_core::audit::log::{self, Head, NewKey, TILE_HEIGHT};
use lar_core::audit::tree::{Frontier, Subtree, subtrees};
use lar_core::id::RunId;
use lar_core::json::Digest;
use lar_core::ledger::LedgerError;
use rusqlite::{Connection, params};

use super::read::{digest, number, row_of, unreadable};
use super::standing::log_row;
use super::{places, unavailable};
use crate::seen::Sight;

pub(super) use leaves::TABLE as LEAVES;
pub(super) use outside::{stamp, stamped, witness, witnessed};
pub(super) use sealing::Integrator;

type Result<T> = std::result::Result<T, LedgerError>;

pub(super) const TABLES: &str = "
    -- The records of all runs in the order of the log; leaf 0 is row 1. Run 0 is the log itself.
    CREATE TABLE records (
        n     INTEGER PRIMARY KEY,
        run   INTEGER NOT NULL,
        seq   INTEGER NOT NULL,
        hash  BLOB NOT NULL,
        bytes BLOB NOT NULL
    ) STRICT;

    -- The roots of complete subtrees of heights 8, 16, 24 …
    CREATE TABLE subtrees (
        level INTEGER NOT NULL,
        n     INTEGER NOT NULL,
        hash  BLOB NOT NULL,
        PRIMARY KEY (level, n)
    ) STRICT, WITHOUT ROWID;

    -- The newest checkpoint that witnesses have cosigned, with their cosignatures.
    CREATE TABLE witnessed (
        only       INTEGER PRIMARY KEY CHECK (only = 1),
        size       INTEGER NOT NULL,
        checkpoint TEXT NOT NULL
    ) STRICT;

    -- The newest checkpoint that an authority time-stamped.
    CREATE TABLE stamped (
        only       INTEGER PRIMARY KEY CHECK (only = 1),
        size       INTEGER NOT NULL,
        checkpoint TEXT NOT NULL,
        answer     BLOB NOT NULL
    ) STRICT;

    CREATE TABLE epochs (
        number      INTEGER PRIMARY KEY,
        key         TEXT NOT NULL,
        certificate TEXT
    ) STRICT;
";

fn origin(ledger: &str) -> String {
    format!("lar-ledger/{ledger}")
}

pub(super) fn head(connection: &Connection) -> Result<Head> {
    let sql = concat!(
        "SELECT l.id, s.size, s.root, s.checkpoint, s.key_epoch FROM ledger l, standing s WHERE s.n = ",
        log_row!()
    );
    one(connection, sql, [], |row| {
        let id: String = row.get(0)?;
        Ok(Head {
            origin: origin(&id),
            size: row.get(1)?,
            root: digest(row, 2)?,
            checkpoint: row.get(3)?,
            epoch: row.get(4)?,
        })
    })
}

pub(super) fn positions(
    connection: &Connection,
    run: &RunId,
    from: u64,
    limit: u64,
) -> Result<Vec<Option<u64>>> {
    let n = row_of(connection, run)?;
    let places = places::read(connection, n, from, limit)?;
    let read = || -> rusqlite::Result<Vec<Option<u64>>> {
        let mut statement = connection
            .prepare_cached("SELECT 1 FROM records WHERE n = ?1 AND run = ?2 AND seq = ?3")?;
        let mut found = Vec::with_capacity(places.len());
        for (seq, leaf) in places {
            // A record that isn't there any more has no place either.
            if statement.exists(params![number(leaf.saturating_add(1)), n, seq])? {
                found.push(Some(leaf));
            }
        }
        Ok(found)
    };
    read().map_err(|error| unavailable(&error))
}

pub(super) fn hashes(
    connection: &Connection,
    level: u8,
    from: u64,
    count: u64,
) -> Result<Vec<Digest>> {
    match level {
        0 => leaves::read(connection, from, count),
        level => rows(
            connection,
            "SELECT hash FROM subtrees WHERE level = ?1 AND n >= ?2 AND n < ?3 ORDER BY n",
            params![level, number(from), number(from.saturating_add(count))],
        ),
    }
}

pub(super) fn entries(connection: &Connection, from: u64, limit: u64) -> Result<Vec<Vec<u8>>> {
    let read = || -> rusqlite::Result<Vec<Vec<u8>>> {
        let mut statement = connection
            .prepare_cached("SELECT n, bytes FROM records WHERE n > ?1 ORDER BY n LIMIT ?2")?;
        let mut rows = statement.query(params![number(from), number(limit)])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            // One that is missing would put the others into its place.
            if row.get::<_, u64>(0)? != from.saturating_add(found.len() as u64 + 1) {
                return Err(unreadable(0));
            }
            found.push(row.get(1)?);
        }
        Ok(found)
    };
    read().map_err(|error| unavailable(&error))
}

pub(super) fn epochs(connection: &Connection) -> Result<Vec<NewKey>> {
    let read = || -> rusqlite::Result<Vec<NewKey>> {
        connection
            .prepare_cached("SELECT key, certificate FROM epochs ORDER BY number")?
            .query_map([], |row| Ok(NewKey { key: row.get(0)?, certificate: row.get(1)? }))?
            .collect()
    };
    read().map_err(|error| unavailable(&error))
}

/// The roots of complete subtrees, from what is kept.
pub(super) fn roots(connection: &Connection, wanted: &[Subtree]) -> Result<Vec<Digest>> {
    let root = |subtree: &Subtree| {
        let above = subtree.level % TILE_HEIGHT;
        let count = 1 << above;
        let kept = hashes(connection, subtree.level - above, subtree.index << above, count)?;
        log::join(&kept, count).ok_or_else(|| {
            LedgerError::Damaged("hashes of its log are missing; restore a backup".to_owned())
        })
    };
    wanted.iter().map(root).collect()
}

/// Refuses a tree whose right edge isn't the one that was signed.
pub(super) fn check_edge(connection: &Connection) -> Result<()> {
    let head = sight(connection)?;
    if root_at(connection, head.size)? == head.root { Ok(()) } else { Err(other_root()) }
}

fn other_root() -> LedgerError {
    LedgerError::Damaged(
        "its records lead to another root than the one that was signed; restore a backup"
            .to_owned(),
    )
}

/// What is seen of a ledger now.
pub(super) fn sight(connection: &Connection) -> Result<Sight> {
    one(
        connection,
        concat!(
            "SELECT l.epoch, s.size, s.root FROM ledger l, standing s WHERE s.n = ",
            log_row!()
        ),
        [],
        |row| Ok(Sight { epoch: row.get(0)?, size: row.get(1)?, root: digest(row, 2)? }),
    )
}

/// The root over the first `size` leaves.
pub(super) fn root_at(connection: &Connection, size: u64) -> Result<Digest> {
    Ok(frontier(connection, size)?.root())
}

/// The right edge of the tree of the first `size` leaves.
fn frontier(connection: &Connection, size: u64) -> Result<Frontier> {
    Frontier::resume(size, roots(connection, &subtrees(0..size))?)
        .map_err(|error| LedgerError::Damaged(error.to_string()))
}

fn one<T>(
    connection: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
    read: impl FnOnce(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> Result<T> {
    connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.query_row(params, read))
        .map_err(|error| unavailable(&error))
}

fn rows(connection: &Connection, sql: &str, params: impl rusqlite::Params) -> Result<Vec<Digest>> {
    connection
        .prepare_cached(sql)
        .and_then(|mut statement| {
            statement.query_map(params, |row| digest(row, 0))?.collect::<rusqlite::Result<_>>()
        })
        .map_err(|error| unavailable(&error))
}

fn execute(connection: &Connection, sql: &str, params: impl rusqlite::Params) -> Result<()> {
    connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.execute(params))
        .map(drop)
        .map_err(|error| unavailable(&error))
}
