//! The writer's side of the log: what a transaction adds to it, and the head that is signed last in it.

use std::sync::Arc;

use lar_core::audit::checkpoint::Checkpoint;
use lar_core::audit::epoch::KeyRotate;
use lar_core::audit::log::{Certify, NewKey, Signers, TILE_HEIGHT};
use lar_core::audit::note::{NoteSigner, Signed, SignerError};
use lar_core::audit::record::{self, Body, SealedRecord};
use lar_core::audit::tree::{Frontier, Subtree};
use lar_core::id::RunId;
use lar_core::json::Digest;
use lar_core::ledger::LedgerError;
use lar_core::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::super::read::digest;
use super::super::standing::log_row;
use super::super::{clock, contradiction, unavailable};
use super::{Result, execute, frontier, leaves, one, origin, other_root, rows};
use crate::seen::Sight;

/// The name under which the log's own records stand. A run's has a time in it.
const OWN: &str = "log";

/// What the writer remembers of the log between commits.
pub(in super::super) struct Integrator {
    signers: Option<Signers>,
    /// The tree and its root.
    tree: (Frontier, Digest),
    /// The same as it will be once the transaction is committed.
    pending: Option<(Frontier, Digest)>,
    signer: Option<(u64, Arc<dyn NoteSigner>)>,
    /// The ledger's own row, unless a commit has failed since it was read.
    row: Option<Row>,
    /// The leaves that are in the file and not under its head yet.
    added: Vec<Digest>,
}

/// The ledger's own row: read where another connection has written it, and written once, at the end of a
/// transaction.
struct Row {
    id: String,
    /// The highest time that was given out.
    millis: i64,
    /// How many records there are, under the head or not.
    written: u64,
    key_epoch: u64,
    sight: Sight,
    /// The hashes of the last leaves, which make no row of `leaves` yet.
    leaves: Vec<u8>,
    /// The last of the log's own records, and its hash.
    own: (u64, Digest),
}

impl Integrator {
    pub(in super::super) fn new(signers: Option<Signers>) -> Self {
        let tree = Frontier::default();
        let root = tree.root();
        let tree = (tree, root);
        Self { signers, tree, pending: None, signer: None, row: None, added: Vec::new() }
    }

    /// To be called first in a transaction. Returns its time. `same` says that no other connection has committed
    /// since the last.
    pub(in super::super) fn begin(
        &mut self,
        connection: &Connection,
        same: bool,
    ) -> Result<Timestamp> {
        self.pending = None;
        self.added.clear();
        let row = match self.row.take().filter(|_| same) {
            Some(row) => row,
            None => own_row(connection)?,
        };
        if row.written != row.sight.size {
            // Somebody without the key has added to it.
            let sql = "SELECT hash FROM records WHERE n > ?1 ORDER BY n";
            self.added = rows(connection, sql, [row.sight.size])?;
            if row.sight.size + self.added.len() as u64 != row.written {
                return Err(other_root());
            }
        }
        let now = clock::now(row.millis)?;
        self.row = Some(row);
        Ok(now)
    }

    /// Nothing was committed: what the transaction did to it is undone.
    pub(in super::super) fn forget(&mut self) {
        self.row = None;
    }

    /// Gives a record its place in the log. Returns the leaf.
    pub(in super::super) fn add(
        &mut self,
        connection: &Connection,
        run: i64,
        record: &SealedRecord,
    ) -> Result<u64> {
        let row = self.row.as_ref().ok_or_else(contradiction)?;
        let leaf = row.sight.size + self.added.len() as u64;
        execute(
            connection,
            "INSERT INTO records (n, run, seq, hash, bytes) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![leaf + 1, run, record.seq, record.hash.as_bytes(), record.bytes],
        )?;
        self.added.push(record.hash);
        Ok(leaf)
    }

    /// Writes a record of the log itself.
    pub(in super::super) fn append_own(
        &mut self,
        connection: &Connection,
        now: Timestamp,
        body: &Body,
    ) -> Result<()> {
        let (seq, prev) = self.row.as_ref().ok_or_else(contradiction)?.own;
        let own = RunId::new(OWN).map_err(|error| LedgerError::BadRecord(error.to_string()))?;
        let sealed = record::seal(&own, seq + 1, prev, now, body)
            .map_err(|error| LedgerError::BadRecord(error.to_string()))?;
        self.add(connection, 0, &sealed)?;
        if let Some(row) = &mut self.row {
            row.own = (sealed.seq, sealed.hash);
        }
        Ok(())
    }

    /// Begins an epoch of the ledger.
    pub(in super::super) fn begin_epoch(
        &mut self,
        connection: &Connection,
        epoch: u64,
    ) -> Result<()> {
        execute(connection, "UPDATE ledger SET epoch = ?1", [epoch])?;
        self.row.as_mut().ok_or_else(contradiction)?.sight.epoch = epoch;
        Ok(())
    }

    /// Begins the next epoch of the key, with a record of it in the log.
    pub(in super::super) fn rotate(
        &mut self,
        connection: &Connection,
        now: Timestamp,
        epoch: u64,
        certify: Certify,
    ) -> Result<()> {
        let row = self.row.as_ref().ok_or_else(contradiction)?;
        let from = row.sight.size;
        if epoch != row.key_epoch + 1 {
            return Err(LedgerError::BadRecord(format!(
                "the log is in epoch {}, so that the next one is {}",
                row.key_epoch,
                row.key_epoch + 1
            )));
        }
        let NewKey { key, certificate } = certify(from)?;
        let (own, stated) = (key.clone(), certificate.clone());
        let body = Body::KeyRotate(KeyRotate { epoch, key: own, from, certificate: stated });
        self.append_own(connection, now, &body)?;
        execute(
            connection,
            "INSERT INTO epochs (number, key, certificate) VALUES (?1, ?2, ?3)",
            params![epoch, key, certificate],
        )?;
        self.row.as_mut().ok_or_else(contradiction)?.key_epoch = epoch;
        Ok(())
    }

    /// Puts the records that are new into the tree, and signs the head. To be called once, last in a
    /// transaction. Returns what is seen of the ledger after it.
    pub(in super::super) fn seal(
        &mut self,
        connection: &Connection,
        now: Timestamp,
    ) -> Result<Sight> {
        let mut row = self.row.take().ok_or_else(contradiction)?;
        let head = row.sight;
        row.millis = row.millis.max(now.as_millis());
        if self.added.is_empty() {
            execute(
                connection,
                concat!("UPDATE standing SET millis = ?1 WHERE n = ", log_row!()),
                [row.millis],
            )?;
            self.row = Some(row);
            return Ok(head);
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
        for leaf in self.added.drain(..) {
            leaves::add(connection, &mut row.leaves, tree.size(), &leaf)?;
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
        let checkpoint = self.sign(connection, row.key_epoch, &row.id, &sight)?;
        execute(
            connection,
            concat!(
                "UPDATE standing SET millis = ?1, written = ?2, size = ?2, root = ?3,
                     checkpoint = ?4, key_epoch = ?5, own_seq = ?6, own_head = ?7, leaves = ?8
                 WHERE n = ",
                log_row!()
            ),
            params![
                row.millis,
                sight.size,
                sight.root.as_bytes(),
                checkpoint,
                row.key_epoch,
                row.own.0,
                row.own.1.as_bytes(),
                row.leaves
            ],
        )?;
        self.pending = Some((tree, sight.root));
        self.row = Some(Row { sight, written: sight.size, ..row });
        Ok(sight)
    }

    /// In place of [`seal`](Self::seal), where there is no key: whoever has it signs with its next commit.
    pub(in super::super) fn leave_unsealed(
        &mut self,
        connection: &Connection,
        now: Timestamp,
    ) -> Result<Sight> {
        let row = self.row.take().ok_or_else(contradiction)?;
        let written = row.sight.size + self.added.len() as u64;
        let (seq, head) = row.own;
        execute(
            connection,
            concat!(
                "UPDATE standing SET millis = max(millis, ?1), written = ?2, own_seq = ?3, own_head = ?4 WHERE n = ",
                log_row!()
            ),
            params![now.as_millis(), written, seq, head.as_bytes()],
        )?;
        Ok(row.sight)
    }

    /// The transaction was committed.
    pub(in super::super) fn committed(&mut self) {
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
        let unsigned = |error: SignerError| {
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

/// The key of an epoch, once it has signed.
fn key(connection: &Connection, epoch: u64) -> Result<Option<String>> {
    connection
        .prepare_cached("SELECT key FROM epochs WHERE number = ?1")
        .and_then(|mut statement| statement.query_row([epoch], |row| row.get(0)).optional())
        .map_err(|error| unavailable(&error))
}

fn own_row(connection: &Connection) -> Result<Row> {
    let sql = concat!(
        "SELECT l.id, s.millis, s.written, s.key_epoch, l.epoch, s.size, s.root, s.leaves,
            s.own_seq, s.own_head
        FROM ledger l, standing s WHERE s.n = ",
        log_row!()
    );
    one(connection, sql, [], |row| {
        Ok(Row {
            id: row.get(0)?,
            millis: row.get(1)?,
            written: row.get(2)?,
            key_epoch: row.get(3)?,
            sight: Sight { epoch: row.get(4)?, size: row.get(5)?, root: digest(row, 6)? },
            leaves: row.get(7)?,
            own: (row.get(8)?, digest(row, 9)?),
        })
    })
}
