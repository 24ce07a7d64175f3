//! The log over all records of a ledger: its signed head, and the hashes that proofs are made of.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;

use super::bundle::Gap;
use super::note::{NoteSigner, SignerError};
use super::tree::{
    Frontier, ProofError, Subtree, consistency_plan, fold, inclusion_plan, node_hash, subtrees,
};
use crate::id::RunId;
use crate::json::Digest;
use crate::ledger::LedgerError;

/// How many hashes a tile holds, as a power of two (<https://c2sp.org/tlog-tiles>).
pub const TILE_HEIGHT: u8 = 8;

/// The head of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The log's name.
    pub origin: String,
    /// How many records it has.
    pub size: u64,
    /// The root over them.
    pub root: Digest,
    /// The signed checkpoint with the cosignatures of witnesses; `None` when nothing signs.
    pub checkpoint: Option<String>,
    /// The epoch of the key that signs, from 1.
    pub epoch: u64,
}

/// The key of a new epoch, and its certificate where a root is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// The public key, as `NAME+ID+BASE64`.
    pub key: String,
    /// The certificate, as a signed note.
    pub certificate: Option<String>,
}

/// A checkpoint with an authority's time-stamp over its bytes (RFC 3161).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamped {
    /// The signed note, with the cosignatures that it had then.
    pub checkpoint: String,
    /// The authority's answer, a DER-encoded `TimeStampResp`.
    pub answer: Vec<u8>,
}

/// Makes and certifies the key of a new epoch: it is told how many records the log has.
pub type Certify = Box<dyn FnOnce(u64) -> Result<NewKey, LedgerError> + Send>;

/// Whatever signs for a log, with the certificate of its key by an offline root where there is one.
#[derive(Debug, Clone)]
pub struct Signing {
    /// The signer.
    pub signer: Arc<dyn NoteSigner>,
    /// The certificate, as a signed note.
    pub certificate: Option<String>,
}

/// Gives whatever signs for the log of this origin in this epoch; a key may be made only where the
/// third argument says that none has signed in the epoch yet. It is asked before the first commit of an
/// epoch; when it fails, nothing is committed.
pub type Signers = Arc<dyn Fn(&str, u64, bool) -> Result<Signing, SignerError> + Send + Sync>;

/// A ledger's log.
///
/// # Contract
///
/// - A record is in the log before its commit is acknowledged, unless the ledger integrates records
///   later; then [`Log::positions`] gives none for those that are not in it yet, and [`Log::include`]
///   waits for them.
/// - The head is signed once a commit, or once for all that is integrated together, and never over less
///   than a head before it.
/// - What was once part of a head never changes.
#[async_trait]
pub trait Log: Send + Sync {
    /// The newest head.
    async fn head(&self) -> Result<Head, LedgerError>;

    /// Waits until a run's record is in the log, and gives a head that covers it. A ledger that commits
    /// no record without it answers at once; any other puts it there itself where nobody else does.
    async fn include(&self, run: &RunId, seq: u64) -> Result<Head, LedgerError>;

    /// Where a run's records from number `from` on stand in the log, at most `limit`, in order.
    async fn positions(
        &self,
        run: &RunId,
        from: u64,
        limit: u64,
    ) -> Result<Vec<Option<u64>>, LedgerError>;

    /// Roots of complete subtrees of height `level`, a multiple of [`TILE_HEIGHT`], from `from` on;
    /// as many as there are, at most `count`.
    async fn hashes(&self, level: u8, from: u64, count: u64) -> Result<Vec<Digest>, LedgerError>;

    /// The roots of these complete subtrees, all of one moment.
    async fn subtrees(&self, wanted: Vec<Subtree>) -> Result<Vec<Digest>, LedgerError>;

    /// The log's records from leaf `from` on, as their exact bytes, at most `limit`.
    async fn entries(&self, from: u64, limit: u64) -> Result<Vec<Vec<u8>>, LedgerError>;

    /// Keeps a checkpoint that witnesses have cosigned, unless one of a larger size is kept. Whoever
    /// calls it has checked the signatures.
    async fn witness(&self, size: u64, checkpoint: String) -> Result<(), LedgerError>;

    /// The newest cosigned checkpoint that is kept.
    async fn witnessed(&self) -> Result<Option<String>, LedgerError>;

    /// Keeps an authority's time-stamp over a checkpoint, unless one over a larger size is kept. Whoever calls
    /// it has read that it is over this checkpoint.
    async fn stamp(&self, size: u64, stamped: Stamped) -> Result<(), LedgerError>;

    /// The newest time-stamped checkpoint that is kept.
    async fn stamped(&self) -> Result<Option<Stamped>, LedgerError>;

    /// Begins the next epoch of the signing key, and records it.
    async fn rotate(&self, epoch: u64, certify: Certify) -> Result<Head, LedgerError>;

    /// The keys of all epochs that have begun to sign, oldest first.
    async fn epochs(&self) -> Result<Vec<NewKey>, LedgerError>;
}

fn damaged(_: ProofError) -> LedgerError {
    LedgerError::Damaged("the log's hashes don't fit together; restore a backup".to_owned())
}

/// The root over `count` roots that stand side by side; `count` is a power of two.
pub fn join(roots: &[Digest], count: u64) -> Option<Digest> {
    if roots.len() as u64 != count || !count.is_power_of_two() {
        return None;
    }
    let mut row = roots.to_vec();
    while row.len() > 1 {
        row = row
            .chunks_exact(2)
            .filter_map(|pair| match pair {
                [left, right] => Some(node_hash(left, right)),
                _ => None,
            })
            .collect();
    }
    row.first().copied()
}

/// The right edge of the tree of the first `size` leaves.
pub async fn frontier(log: &dyn Log, size: u64) -> Result<Frontier, LedgerError> {
    let peaks = log.subtrees(subtrees(0..size)).await?;
    Frontier::resume(size, peaks).map_err(damaged)
}

async fn roots(log: &dyn Log, plan: Vec<Range<u64>>) -> Result<Vec<Digest>, LedgerError> {
    let parts: Vec<Vec<Subtree>> = plan.into_iter().map(subtrees).collect();
    let found = log.subtrees(parts.concat()).await?;
    let mut rest = found.as_slice();
    let mut proof = Vec::with_capacity(parts.len());
    for part in parts {
        let (own, after) =
            rest.split_at_checked(part.len()).ok_or_else(|| damaged(ProofError::Length))?;
        proof.push(fold(own).ok_or_else(|| damaged(ProofError::Length))?);
        rest = after;
    }
    Ok(proof)
}

/// The inclusion proof of a leaf in the tree of `size`.
///
/// # Errors
/// When the leaf isn't in that tree, or the hashes can't be read.
pub async fn prove_inclusion(
    log: &dyn Log,
    leaf: u64,
    size: u64,
) -> Result<Vec<Digest>, LedgerError> {
    roots(log, inclusion_plan(leaf, size).map_err(damaged)?).await
}

/// The proof that the tree of `new` leaves is that of `old` with some added.
///
/// # Errors
/// When `old` is larger, or the hashes can't be read.
pub async fn prove_consistency(
    log: &dyn Log,
    old: u64,
    new: u64,
) -> Result<Vec<Digest>, LedgerError> {
    roots(log, consistency_plan(old, new).map_err(damaged)?).await
}

/// The gap over leaves that a bundle doesn't show; none over no leaves.
///
/// # Errors
/// When the hashes can't be read.
pub async fn gap(log: &dyn Log, leaves: Range<u64>) -> Result<Option<Gap>, LedgerError> {
    if leaves.is_empty() {
        return Ok(None);
    }
    let count = leaves.end - leaves.start;
    let roots = log.subtrees(Gap::plan(leaves)).await?;
    Ok(Some(Gap { leaves: count, roots }))
}
