//! What this host has seen of a ledger in a database. A database that was restored to an older state, or
//! failed over to a server that lacks what was acknowledged, is behind that: its uses may have been spent
//! since, and it takes no change.
//!
//! Kept are the epoch in which the runs of this host spend, the signed log's head, and the record that was
//! acknowledged here last: the log comes a moment after the records. All is looked at when the ledger is
//! opened, and the record on every new connection, since a server can be exchanged beneath a process that
//! goes on.
//!
//! Where a later epoch has begun since, somebody has taken the ledger for what it is, and nothing of what was
//! spent from here can be fresh again.

use std::sync::{Mutex, OnceLock, PoisonError};

use lar_core::id::RunId;
use lar_core::json::Digest;
use lar_core::ledger::{LedgerError, Receipt};
use tokio_postgres::{Client, Error};

use super::read::{ask, most};
use super::row;
use super::session::Sessions;
use crate::seen::{LastSeen, Mark, Sight, older};

type Result<T> = std::result::Result<T, LedgerError>;

/// What was seen, and whether the ledger was found behind it.
#[derive(Debug, Default)]
pub(super) struct Watch {
    seen: Mutex<Seen>,
    fault: OnceLock<LedgerError>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Where it is kept; nowhere when it only lives as long as this process.
    place: Option<(LastSeen, Sight)>,
    /// The latest epoch that was read before a run was opened or taken over: no spend from here is of a
    /// later one.
    epoch: u64,
    mark: Option<Mark>,
}

/// Compares the ledger with what was last seen of it, and keeps from now on what is seen.
pub(super) async fn begin(sessions: &Sessions, place: LastSeen) -> Result<()> {
    let watch = sessions.watch();
    let mark = match place.read() {
        Ok(None) => None,
        Ok(Some((sight, mark))) => {
            if let Some(what) = behind(sessions, &sight, mark.as_ref()).await? {
                watch.refuse(older(&what));
            }
            mark
        }
        // It can be read all the same.
        Err(why) => {
            watch.refuse(why);
            None
        }
    };
    let sight = now(sessions).await?;
    let mut seen = watch.seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.epoch = sight.epoch;
    seen.place = Some((place, sight));
    seen.mark = mark;
    Ok(())
}

/// What is seen now.
pub(super) async fn now(sessions: &Sessions) -> Result<Sight> {
    let sql = "SELECT l.epoch, g.size, g.root FROM lar.ledger l, lar.log g";
    let rows = ask(sessions, sql, &[]).await?;
    let found = rows.first().ok_or_else(row::unreadable)?;
    let (epoch, size) = (row::number(found, "epoch")?, row::number(found, "size")?);
    Ok(Sight { epoch, size, root: row::digest(found, "root")? })
}

/// In which way the ledger is behind what was seen, if it is.
async fn behind(sessions: &Sessions, seen: &Sight, mark: Option<&Mark>) -> Result<Option<String>> {
    let now = now(sessions).await?;
    if now.epoch > seen.epoch {
        return Ok(None);
    }
    if let Some(what) = now.behind(seen) {
        return Ok(Some(what));
    }
    if super::log::frontier(sessions, seen.size).await?.root() != seen.root {
        return Ok(Some(seen.forked()));
    }
    let Some(mark) = mark else { return Ok(None) };
    let rows = ask(sessions, MARK, &[&mark.run.as_str(), &most(mark.seq)]).await?;
    let found = rows.first().ok_or_else(row::unreadable)?;
    let hash: Option<&[u8]> = row::get(found, "hash")?;
    Ok((hash != Some(mark.hash.as_bytes().as_slice())).then(|| mark.missing()))
}

const MARK: &str = "SELECT epoch, (SELECT w.hash FROM lar.records w
        WHERE w.run = (SELECT n FROM lar.runs WHERE id = $1) AND w.seq = $2) AS hash
    FROM lar.ledger";

impl Watch {
    /// Looks, on a new connection, whether what was acknowledged last is there.
    pub(super) async fn greet(&self, client: &Client) -> std::result::Result<(), Error> {
        let (epoch, mark) = {
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            (most(seen.epoch), seen.mark.clone())
        };
        let Some(mark) = mark else { return Ok(()) };
        let found = client.query_one(MARK, &[&mark.run.as_str(), &most(mark.seq)]).await?;
        let (now, hash): (i64, Option<&[u8]>) = (found.try_get(0)?, found.try_get(1)?);
        if now <= epoch && hash != Some(mark.hash.as_bytes().as_slice()) {
            self.refuse(older(&mark.missing()));
        }
        Ok(())
    }

    /// Whether the ledger may be changed.
    pub(super) fn intact(&self) -> Result<()> {
        self.fault.get().map_or(Ok(()), |fault| Err(fault.clone()))
    }

    fn refuse(&self, why: LedgerError) {
        // What was found first stands.
        drop(self.fault.set(why));
    }

    /// Keeps what was acknowledged.
    pub(super) fn saw(&self, run: &RunId, receipt: &Receipt) {
        let mark = Mark { run: run.clone(), seq: receipt.seq, hash: receipt.hash };
        self.keep(|seen| seen.mark = Some(mark));
    }

    /// Keeps the log's head.
    pub(super) fn saw_head(&self, size: u64, root: Digest) {
        self.keep(|seen| {
            if let Some((_, sight)) = &mut seen.place {
                (sight.size, sight.root) = (size, root);
            }
        });
    }

    /// Keeps an epoch that was read before something is made in it.
    pub(super) fn saw_epoch(&self, epoch: u64) {
        if self.seen.lock().unwrap_or_else(PoisonError::into_inner).epoch >= epoch {
            return;
        }
        self.keep(|seen| {
            seen.epoch = seen.epoch.max(epoch);
            if let Some((_, sight)) = &mut seen.place {
                sight.epoch = seen.epoch;
            }
        });
    }

    fn keep(&self, change: impl FnOnce(&mut Seen)) {
        if self.fault.get().is_some() {
            return;
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut seen);
        let Seen { place, mark, .. } = &mut *seen;
        // What is kept beside the ledger is a help and no part of it: what was made stands.
        if let Some((place, sight)) = place
            && let Err(error) = place.note(*sight, mark.as_ref())
        {
            tracing::warn!(%error, "what was last seen of the ledger is not kept");
        }
    }
}
