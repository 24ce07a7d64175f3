//! The log over all records: every commit puts its records into the tree and signs the new head once,
//! within the same transaction.
//!
//! The leaves' hashes stand beside the records, and of the subtrees above them those of every eighth
//! level, as tiles have them. From these the right edge and any proof are made anew, so that nothing
//! has to be kept in step: what a process remembers is only used where it is what the file says.

mod outside;

use std::sync::Arc;

use lar_core::audit::checkpoint::Checkpoint;
use lar_core::audit::epoch::KeyRotate;
use lar_core::audit::log::{self, Certify, Head, NewKey, Signers, TILE_HEIGHT};
use lar_core::audit::note::{NoteSigner, Signed, SignerError};
use lar_core::audit::record::{self, Body, SealedRecord};
use lar_core::audit::tree::{Frontier, Subtree, subtrees};
use lar_core::id::RunId;
use lar_core::json::Digest;
use lar_core::ledger::LedgerError;
use lar_core::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::read::{digest, number, row_of};
use super::unavailable;
use crate::seen::Sight;

pub(super) use outside::{stamp, stamped, witness, witnessed};

type Result<T> = std::result::Result<T, LedgerError>;

/// The name under which the log's own records stand. A run's has a time in it.
const OWN: &str = "log";

pub(super) const TABLES: &str = "
    -- The records of all runs in the order of the log; leaf 0 is row 1. Run 0 is the log itself.
    CREATE TABLE leaves (
        n    INTEGER PRIMARY KEY,
        run  INTEGER NOT NULL,
        seq  INTEGER NOT NULL,
        hash BLOB NOT NULL
    ) STRICT;

    -- The roots of complete subtrees of heights 8, 16, 24 …
    CREATE TABLE subtrees (
        level INTEGER NOT NULL,
        n     INTEGER NOT NULL,
        hash  BLOB NOT NULL,
        PRIMARY KEY (level, n)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE log (
        only       INTEGER PRIMARY KEY CHECK (only = 1),
        size       INTEGER NOT NULL,
        root       BLOB NOT NULL,
        checkpoint TEXT,
        epoch      INTEGER NOT NULL
    ) STRICT;

    -- The newest checkpoint that witnesses have cosigned, with their cosignatures.
    CREATE TABLE witnessed (
        only       INTEGER PRIMARY KEY CHECK (only = 1),
        size       INTEGER NOT NULL,
        checkpoint TEXT NOT NULL
    ) STRICT;

    CREATE TABLE epochs (
        number      INTEGER PRIMARY KEY,
        key         TEXT NOT NULL,
        certificate TEXT
    ) STRICT;

    -- Records of the log itself, which belong to no run.
    CREATE TABLE log_records (
        seq   INTEGER PRIMARY KEY,
        leaf  INTEGER NOT NULL,
        hash  BLOB NOT NULL,
        bytes BLOB NOT NULL
    ) STRICT;
";

/// What the writer remembers of the log between commits.
pub(super) struct Integrator {
    signers: Option<Signers>,
    /// The tree and its root.
    tree: (Frontier, Digest),
    /// The same as it will be once the transaction is committed.
    pending: Option<(Frontier, Digest)>,
    signer: Option<(u64, Arc<dyn NoteSigner>)>,
}

impl Integrator {
    pub(super) fn new(signers: Option<Signers>) -> Self {
        let tree = Frontier::default();
        let root = tree.root();
        Self { signers, tree: (tree, root), pending: None, signer: None }
    }

    /// Puts the records that are new into the tree, and signs the head. To be called once, last in a
    /// transaction. Returns what is seen of the ledger after it.
    pub(super) fn seal(&mut self, connection: &Connection) -> Result<Sight> {
        self.pending = None;
        let sql = "SELECT g.size, g.root, g.epoch, l.epoch, l.id FROM log g, ledger l";
        let (head, key_epoch, id): (Sight, u64, String) = one(connection, sql, [], |row| {
            let sight = Sight { epoch: row.get(3)?, size: row.get(0)?, root: digest(row, 1)? };
            Ok((sight, row.get(2)?, row.get(4)?))
        })?;
        let sql = "SELECT hash FROM leaves WHERE n > ?1 ORDER BY n";
        let leaves = rows(connection, sql, [head.size])?;
        if leaves.is_empty() {
            let sql = "SELECT coalesce(max(n), 0) FROM leaves";
            let last: u64 = one(connection, sql, [], |row| row.get(0))?;
            return if last == head.size { Ok(head) } else { Err(other_root()) };
        }
        let (known, root) = &self.tree;
        let mut tree = if known.size() == head.size && *root == head.root {
            known.clone()
        } else {
            let tree = frontier(connection, head.size)?;
            if tree.root() != head.root {
                return Err(other_root());
            }
            tree
        };
        let mut complete: Vec<(Subtree, Digest)> = Vec::new();
        for leaf in leaves {
            tree.push_and_tell(0, leaf, |subtree, root| {
                if subtree.level.is_multiple_of(TILE_HEIGHT) {
                    complete.push((subtree, root));
                }
            })
            .map_err(|error| LedgerError::Damaged(error.to_string()))?;
        }
        for (subtree, root) in complete {
            execute(
                connection,
                "INSERT INTO subtrees (level, n, hash) VALUES (?1, ?2, ?3)",
                params![subtree.level, subtree.index, root.as_bytes()],
            )?;
        }
        let sight = Sight { epoch: head.epoch, size: tree.size(), root: tree.root() };
        let checkpoint = self.sign(connection, key_epoch, &id, &sight)?;
        execute(
            connection,
            "UPDATE log SET size = ?1, root = ?2, checkpoint = ?3",
            params![sight.size, sight.root.as_bytes(), checkpoint],
        )?;
        self.pending = Some((tree, sight.root));
        Ok(sight)
    }

    /// The transaction was committed.
    pub(super) fn committed(&mut self) {
        if let Some(tree) = self.pending.take() {
            self.tree = tree;
        }
    }

    fn sign(
        &mut self,
        connection: &Connection,
        epoch: u64,
        ledger: &str,
        head: &Sight,
    ) -> Result<Option<String>> {
        let Some(signers) = &self.signers else {
            return Ok(None);
        };
        let origin = origin(ledger);
        let unsigned = |error: lar_core::audit::note::SignerError| {
            LedgerError::Unavailable(format!("nothing can be recorded unsigned: {error}"))
        };
        let checkpoint = Checkpoint { origin: origin.clone(), size: head.size, root: head.root };
        let signer = match &self.signer {
            Some((of, signer)) if *of == epoch => Arc::clone(signer),
            _ => {
                let known = key(connection, epoch)?;
                let signing = signers(&origin, epoch, known.is_none()).map_err(unsigned)?;
                let own = signing.signer.key().to_string();
                match known {
                    None => execute(
                        connection,
                        "INSERT INTO epochs (number, key, certificate) VALUES (?1, ?2, ?3)",
                        params![epoch, own, signing.certificate],
                    )?,
                    Some(known) if known == own => {}
                    Some(_) => {
                        return Err(unsigned(SignerError(
                            "the key of this epoch is another than the one that has signed before; \
                             put that one back, or begin an epoch with `lar keys rotate`"
                                .to_owned(),
                        )));
                    }
                }
                // A signer of another key than it states is found out here, and not by whoever verifies.
                let first = checkpoint.sign(signing.signer.as_ref()).map_err(unsigned)?;
                if signing.signer.key().check(&first) != (Signed::Valid { time: None }) {
                    let other = "its signature doesn't fit its key".to_owned();
                    return Err(unsigned(SignerError(other)));
                }
                self.signer = Some((epoch, Arc::clone(&signing.signer)));
                return Ok(Some(first.to_string()));
            }
        };
        Ok(Some(checkpoint.sign(signer.as_ref()).map_err(unsigned)?.to_string()))
    }
}

/// Begins the next epoch, with a record of it in the log.
pub(super) fn rotate(
    connection: &Connection,
    now: Timestamp,
    epoch: u64,
    certify: Certify,
) -> Result<()> {
    let head = head_row(connection)?;
    if epoch != head.epoch + 1 {
        return Err(LedgerError::BadRecord(format!(
            "the log is in epoch {}, so that the next one is {}",
            head.epoch,
            head.epoch + 1
        )));
    }
    let NewKey { key, certificate } = certify(head.size)?;
    let body = Body::KeyRotate(KeyRotate {
        epoch,
        key: key.clone(),
        from: head.size,
        certificate: certificate.clone(),
    });
    append_own(connection, now, &body)?;
    execute(
        connection,
        "INSERT INTO epochs (number, key, certificate) VALUES (?1, ?2, ?3)",
        params![epoch, key, certificate],
    )?;
    execute(connection, "UPDATE log SET epoch = ?1", [epoch])?;
    Ok(())
}

/// Gives a record its place in the log. Returns the leaf.
pub(super) fn add(connection: &Connection, run: i64, record: &SealedRecord) -> Result<i64> {
    execute(
        connection,
        "INSERT INTO leaves (run, seq, hash) VALUES (?1, ?2, ?3)",
        params![run, record.seq, record.hash.as_bytes()],
    )?;
    Ok(connection.last_insert_rowid() - 1)
}

/// Writes a record of the log itself.
pub(super) fn append_own(connection: &Connection, now: Timestamp, body: &Body) -> Result<()> {
    let last = connection
        .prepare_cached("SELECT seq, hash FROM log_records ORDER BY seq DESC LIMIT 1")
        .and_then(|mut statement| {
            statement.query_row([], |row| Ok((row.get::<_, u64>(0)?, digest(row, 1)?))).optional()
        })
        .map_err(|error| unavailable(&error))?;
    let (seq, prev) = last.unwrap_or_else(|| (0, record::genesis()));
    let own = RunId::new(OWN).map_err(|error| LedgerError::BadRecord(error.to_string()))?;
    let sealed = record::seal(&own, seq + 1, prev, now, body)
        .map_err(|error| LedgerError::BadRecord(error.to_string()))?;
    let leaf = add(connection, 0, &sealed)?;
    execute(
        connection,
        "INSERT INTO log_records (seq, leaf, hash, bytes) VALUES (?1, ?2, ?3, ?4)",
        params![sealed.seq, leaf, sealed.hash.as_bytes(), sealed.bytes],
    )
}

struct HeadRow {
    size: u64,
    root: Digest,
    checkpoint: Option<String>,
    epoch: u64,
}

fn head_row(connection: &Connection) -> Result<HeadRow> {
    one(connection, "SELECT size, root, checkpoint, epoch FROM log", [], |row| {
        Ok(HeadRow {
            size: row.get(0)?,
            root: digest(row, 1)?,
            checkpoint: row.get(2)?,
            epoch: row.get(3)?,
        })
    })
}

/// The key of an epoch, once it has signed.
fn key(connection: &Connection, epoch: u64) -> Result<Option<String>> {
    connection
        .prepare_cached("SELECT key FROM epochs WHERE number = ?1")
        .and_then(|mut statement| statement.query_row([epoch], |row| row.get(0)).optional())
        .map_err(|error| unavailable(&error))
}

fn origin_of(connection: &Connection) -> Result<String> {
    let id: String = one(connection, "SELECT id FROM ledger", [], |row| row.get(0))?;
    Ok(origin(&id))
}

fn origin(ledger: &str) -> String {
    format!("lar-ledger/{ledger}")
}

pub(super) fn head(connection: &Connection) -> Result<Head> {
    let HeadRow { size, root, checkpoint, epoch } = head_row(connection)?;
    Ok(Head { origin: origin_of(connection)?, size, root, checkpoint, epoch })
}

pub(super) fn positions(
    connection: &Connection,
    run: &RunId,
    from: u64,
    limit: u64,
) -> Result<Vec<Option<u64>>> {
    let n = row_of(connection, run)?;
    let read = || -> rusqlite::Result<Vec<Option<u64>>> {
        connection
            .prepare_cached(
                "SELECT leaf FROM records WHERE run = ?1 AND seq >= ?2 ORDER BY seq LIMIT ?3",
            )?
            .query_map(params![n, number(from), number(limit)], |row| row.get(0))?
            .collect()
    };
    read().map_err(|error| unavailable(&error))
}

pub(super) fn hashes(
    connection: &Connection,
    level: u8,
    from: u64,
    count: u64,
) -> Result<Vec<Digest>> {
    let end = from.saturating_add(count);
    match level {
        0 => rows(
            connection,
            "SELECT hash FROM leaves WHERE n > ?1 AND n <= ?2 ORDER BY n",
            params![number(from), number(end)],
        ),
        level => rows(
            connection,
            "SELECT hash FROM subtrees WHERE level = ?1 AND n >= ?2 AND n < ?3 ORDER BY n",
            params![level, number(from), number(end)],
        ),
    }
}

pub(super) fn entries(connection: &Connection, from: u64, limit: u64) -> Result<Vec<Vec<u8>>> {
    let read = || -> rusqlite::Result<Vec<Vec<u8>>> {
        connection
            .prepare_cached(
                "SELECT coalesce(r.bytes, o.bytes) FROM leaves l
                 LEFT JOIN records r ON r.run = l.run AND r.seq = l.seq
                 LEFT JOIN log_records o ON l.run = 0 AND o.seq = l.seq
                 WHERE l.n > ?1 ORDER BY l.n LIMIT ?2",
            )?
            .query_map(params![number(from), number(limit)], |row| row.get(0))?
            .collect()
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
    let head = head_row(connection)?;
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
    one(connection, "SELECT l.epoch, g.size, g.root FROM ledger l, log g", [], |row| {
        Ok(Sight { epoch: row.get(0)?, size: row.get(1)?, root: digest(row, 2)? })
    })
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
