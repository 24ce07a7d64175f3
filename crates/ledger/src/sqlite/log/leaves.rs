//! The hashes of the leaves, apart from the records that they are of: who loses a record can prove the others.
//!
//! Those of sixteen leaves are one row; of the last, which make no sixteen yet, they stand in the ledger's own row,
//! which every commit changes anyway.

use lar_core::json::Digest;
use rusqlite::{Connection, params};

use super::super::read::{number, unreadable};
use super::super::standing::log_row;
use super::{Result, execute, unavailable};

/// How many hashes a row has.
const ROW: u64 = 16;
/// The bytes of a hash.
const WIDTH: usize = 32;

pub(in super::super) const TABLE: &str = "
    CREATE TABLE leaves (
        -- Which sixteen leaves of the log, from 0.
        part   INTEGER PRIMARY KEY,
        hashes BLOB NOT NULL
    ) STRICT;
";

/// Notes the hash of a leaf. `last` are those that stand in the ledger's row.
pub(super) fn add(
    connection: &Connection,
    last: &mut Vec<u8>,
    leaf: u64,
    hash: &Digest,
) -> Result<()> {
    last.extend_from_slice(hash.as_bytes());
    if leaf % ROW != ROW - 1 {
        return Ok(());
    }
    let sql = "INSERT INTO leaves (part, hashes) VALUES (?1, ?2)";
    execute(connection, sql, params![leaf / ROW, &*last])?;
    last.clear();
    Ok(())
}

/// The hashes of so many leaves.
pub(super) fn read(connection: &Connection, from: u64, count: u64) -> Result<Vec<Digest>> {
    let end = from.saturating_add(count);
    let collect = || -> rusqlite::Result<Vec<Digest>> {
        let mut statement = connection.prepare_cached(concat!(
            "SELECT part, hashes FROM leaves WHERE part >= ?1 AND part < ?2
             UNION ALL SELECT size / ?3, leaves FROM standing WHERE n = ",
            log_row!(),
            " ORDER BY 1"
        ))?;
        let parts = params![number(from / ROW), number(end.div_ceil(ROW)), number(ROW)];
        let mut rows = statement.query(parts)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let (part, hashes): (u64, Vec<u8>) = (row.get(0)?, row.get(1)?);
            let begin = part.checked_mul(ROW).ok_or_else(|| unreadable(0))?;
            let (hashes, []) = hashes.as_chunks::<WIDTH>() else {
                return Err(unreadable(1));
            };
            let wanted = (begin..).zip(hashes).filter(|(leaf, _)| (from..end).contains(leaf));
            found.extend(wanted.map(|(_, hash)| Digest::from_bytes(*hash)));
        }
        Ok(found)
    };
    collect().map_err(|error| unavailable(&error))
}
