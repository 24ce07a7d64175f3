//! Puts what was committed into the log, and signs: one process at a time, within a second.
//!
//! Spends write nothing here. Whoever holds the lease reads which runs have got further than the log,
//! puts their records into the tree, signs the new head and publishes it in one call, which names the
//! lease's term and the size it started from. Where either has changed, nothing was done and the head
//! is read anew: a process that was held up for however long can't fork the log, and what it signed
//! then is seen by nobody.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use lar_core::audit::checkpoint::Checkpoint;
use lar_core::audit::epoch::KeyRotate;
use lar_core::audit::log::{Certify, Head, NewKey, Signers, Signing, TILE_HEIGHT};
use lar_core::audit::note::NoteSigner;
use lar_core::audit::record::Body;
use lar_core::audit::tree::{Frontier, Subtree};
use lar_core::id::RunId;
use lar_core::json::Digest;
use lar_core::ledger::LedgerError;
use tokio::time::sleep;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::log;
use super::read::{ask, most};
use super::row;
use super::session::Sessions;
use super::trouble::Trouble;

type Result<T> = std::result::Result<T, LedgerError>;

/// How long the lease lasts without being renewed.
const LEASE_MS: i64 = 5_000;
/// How often whoever leads looks for new records, and everybody else for a lease that has run out.
const LEADS: Duration = Duration::from_millis(200);
const FOLLOWS: Duration = Duration::from_secs(1);
const IN_TROUBLE: Duration = Duration::from_secs(5);
/// How long somebody who needs a record in the log leaves that to whoever leads.
const COURTESY: Duration = Duration::from_millis(600);
/// How long they wait altogether; less where this process has found out that it can't sign.
const PATIENCE: Duration = Duration::from_secs(10);
const WITHOUT_KEY: Duration = Duration::from_secs(3);
/// How many records are put into the log at once, and of how many runs, at the most.
const BATCH: u64 = 8_192;
const RUNS: i64 = 512;
/// How many times a pass does so at the most.
const ROUNDS: u32 = 16;

/// The part of a ledger that integrates. Cheap to clone.
#[derive(Clone)]
pub(super) struct Sequencer(Arc<Inner>);

struct Inner {
    sessions: Sessions,
    signers: Option<Signers>,
    /// Names this process among those that may lead.
    me: [u8; 16],
    memory: tokio::sync::Mutex<Memory>,
    /// Why this process could not do it when it last tried.
    trouble: Mutex<Option<String>>,
    begun: std::sync::Once,
}

/// What is remembered between two passes; only used where it is what the database says.
#[derive(Default)]
struct Memory {
    tree: Frontier,
    signing: Option<(u64, Signing)>,
}

/// What a pass came to.
#[derive(Debug, PartialEq, Eq)]
enum Pass {
    /// All that there was is in the log.
    Done,
    /// Another process leads.
    Follows,
}

/// A piece of a run that is to be put into the log.
struct Piece {
    run: i64,
    from: u64,
    up: u64,
}

impl Sequencer {
    pub(super) fn new(sessions: &Sessions, signers: Option<Signers>) -> Result<Self> {
        Ok(Self(Arc::new(Inner {
            sessions: sessions.clone(),
            signers,
            me: super::item::nonce()?,
            memory: tokio::sync::Mutex::default(),
            trouble: Mutex::default(),
            begun: std::sync::Once::new(),
        })))
    }

    /// Takes part from now on, as long as the ledger is open. To be called within a tokio runtime, by
    /// whoever writes: reading a ledger signs nothing.
    pub(super) fn begin(&self) {
        if self.0.signers.is_some() {
            self.0.begun.call_once(|| drop(tokio::spawn(take_part(Arc::downgrade(&self.0)))));
        }
    }

    /// Waits until a run's record is in the log; puts it there where nobody else does.
    pub(super) async fn include(&self, run: &RunId, seq: u64) -> Result<Head> {
        let begun = Instant::now();
        loop {
            match log::positions(&self.0.sessions, run, seq, 1).await?.as_slice() {
                [Some(_), ..] => return log::head(&self.0.sessions).await,
                [None, ..] => {}
                [] => {
                    let why = format!("run `{run}` has no record {seq}");
                    return Err(LedgerError::BadRecord(why));
                }
            }
            let force = begun.elapsed() >= COURTESY;
            let mut patience = PATIENCE;
            if self.0.signers.is_some()
                && let Err(error) = self.0.pass(force).await
            {
                if !matches!(error, LedgerError::Unavailable(_)) {
                    return Err(error);
                }
                patience = WITHOUT_KEY;
            }
            if begun.elapsed() >= patience {
                let trouble = self.0.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let why =
                    trouble.unwrap_or_else(|| "no process that can sign is running".to_owned());
                return Err(LedgerError::Unavailable(format!(
                    "record {seq} of run `{run}` is in the ledger and not in the signed log yet: {why}"
                )));
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Begins the next epoch of the key. The lease is taken for it, so that no record comes between
    /// the size that the certificate names and the first head of the new key.
    pub(super) async fn rotate(&self, epoch: u64, certify: Certify) -> Result<Head> {
        let this = &self.0;
        let mut memory = this.memory.lock().await;
        let lost = || {
            LedgerError::Unavailable("another process took over meanwhile; rotate again".to_owned())
        };
        let term = this.lead(true, 60_000).await?.ok_or_else(lost)?;
        let head = log::head(&this.sessions).await?;
        if epoch != head.epoch + 1 {
            return Err(LedgerError::BadRecord(format!(
                "the log is in epoch {}, so that the next one is {}",
                head.epoch,
                head.epoch + 1
            )));
        }
        // What the ledger has recorded of its own and the log doesn't hold yet comes before it.
        let own = this.behind().await?.into_iter().filter(|piece| piece.run == 0);
        let pieces: Vec<Piece> = own.collect();
        let from = head.size + pieces.iter().map(|piece| piece.up - piece.from + 1).sum::<u64>();
        let NewKey { key, certificate } = blocking(move || certify(from)).await??;
        let body = Body::KeyRotate(KeyRotate { epoch, key, from, certificate });
        let own = this.own(&body).await?;
        if this.integrate(&mut memory, term, &head, epoch, &pieces, Some(own)).await? {
            drop(memory);
            log::head(&this.sessions).await
        } else {
            Err(lost())
        }
    }
}

/// Looks again and again until the ledger is closed.
async fn take_part(inner: Weak<Inner>) {
    loop {
        let Some(this) = inner.upgrade() else { return };
        let wait = match this.pass(false).await {
            Ok(Pass::Done) => LEADS,
            Ok(Pass::Follows) => FOLLOWS,
            Err(_) => IN_TROUBLE,
        };
        drop(this);
        sleep(wait).await;
    }
}

impl Inner {
    /// Puts all that there is into the log, if this process leads. This is the protocol, from top to
    /// bottom.
    async fn pass(&self, force: bool) -> Result<Pass> {
        let mut memory = self.memory.lock().await;
        let passed = self.pass_with(&mut memory, force).await;
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let now = passed.as_ref().err().map(ToString::to_string);
        if now.is_some() && *trouble != now {
            tracing::warn!(why = now, "records are not put into the signed log");
        }
        *trouble = now;
        passed
    }

    async fn pass_with(&self, memory: &mut Memory, force: bool) -> Result<Pass> {
        // As long as others go on writing there is something: whoever waits looks again by itself.
        for _ in 0..ROUNDS {
            let Some(term) = self.lead(force, LEASE_MS).await? else {
                return Ok(Pass::Follows);
            };
            let pieces = self.behind().await?;
            if pieces.is_empty() {
                return Ok(Pass::Done);
            }
            let head = log::head(&self.sessions).await?;
            let integrated = self.integrate(memory, term, &head, head.epoch, &pieces, None).await;
            if integrated.is_err() {
                // Another host may be able to do what this one can't.
                let resign = "SELECT lar.resign($1)";
                ask(&self.sessions, resign, &[&self.me.as_slice()]).await?;
            }
            if !integrated? && !force {
                return Ok(Pass::Follows);
            }
        }
        Ok(Pass::Done)
    }

    /// The lease's term, if this process has the lease.
    async fn lead(&self, force: bool, lease_ms: i64) -> Result<Option<i64>> {
        let sql = "SELECT lar.lead($1, $2, $3) AS term";
        let rows = ask(&self.sessions, sql, &[&self.me.as_slice(), &force, &lease_ms]).await?;
        row::get(rows.first().ok_or_else(row::unreadable)?, "term")
    }

    /// What the log doesn't hold yet, a batch of it.
    async fn behind(&self) -> Result<Vec<Piece>> {
        let sql = "SELECT * FROM (
                -- The ledger's own first.
                SELECT 0::bigint AS n, 0::bigint AS at, o.records, coalesce((SELECT s.seq + s.count - 1
                    FROM lar.segments s WHERE s.run = 0 ORDER BY s.seq DESC LIMIT 1), 0) AS logged
                FROM lar.own o
                UNION ALL
                SELECT r.n, r.at, r.records, coalesce((SELECT s.seq + s.count - 1
                    FROM lar.segments s WHERE s.run = r.n ORDER BY s.seq DESC LIMIT 1), 0) AS logged
                FROM lar.runs r
                WHERE r.n IN (SELECT o.n FROM lar.runs o WHERE o.stop_reason IS NULL
                              UNION SELECT e.run FROM lar.ended e)
            ) w WHERE w.records > w.logged ORDER BY w.at LIMIT $1";
        let rows = ask(&self.sessions, sql, &[&RUNS]).await?;
        let mut room = BATCH;
        let mut pieces = Vec::new();
        for found in &rows {
            let (records, logged) = (row::number(found, "records")?, row::number(found, "logged")?);
            let count = records.saturating_sub(logged).min(room);
            if count == 0 {
                break;
            }
            room -= count;
            let run = row::get(found, "n")?;
            pieces.push(Piece { run, from: logged + 1, up: logged + count });
        }
        Ok(pieces)
    }

    /// Makes the tree and the head over what is added, signs it, and publishes both. Returns whether
    /// it was published: where the log or the lease has changed meanwhile, it wasn't.
    async fn integrate(
        &self,
        memory: &mut Memory,
        term: i64,
        head: &Head,
        epoch: u64,
        pieces: &[Piece],
        own: Option<Vec<u8>>,
    ) -> Result<bool> {
        let mut tree = if memory.tree.size() == head.size && memory.tree.root() == head.root {
            memory.tree.clone()
        } else {
            log::frontier(&self.sessions, head.size).await?
        };
        if tree.root() != head.root {
            return Err(LedgerError::Damaged(
                "its records lead to another root than the one that was signed; restore a backup"
                    .to_owned(),
            ));
        }
        let mut complete: Vec<(Subtree, Digest)> = Vec::new();
        let own_leaf = own.as_deref().map(lar_core::audit::tree::leaf_hash);
        for leaf in self.leaves(pieces).await?.into_iter().chain(own_leaf) {
            tree.push_and_tell(0, leaf, |subtree, root| {
                if subtree.level.is_multiple_of(TILE_HEIGHT) {
                    complete.push((subtree, root));
                }
            })
            .map_err(|error| LedgerError::Damaged(error.to_string()))?;
        }
        let signing = self.signing(memory, &head.origin, epoch).await?;
        let checkpoint =
            Checkpoint { origin: head.origin.clone(), size: tree.size(), root: tree.root() };
        let checkpoint = signed(checkpoint, Arc::clone(&signing.signer)).await?;

        let runs: Vec<i64> = pieces.iter().map(|piece| piece.run).collect();
        let ups: Vec<i64> = pieces.iter().map(|piece| most(piece.up)).collect();
        let levels: Vec<i32> = complete.iter().map(|(at, _)| i32::from(at.level)).collect();
        let places: Vec<i64> = complete.iter().map(|(at, _)| most(at.index)).collect();
        let hashes: Vec<&[u8]> =
            complete.iter().map(|(_, root)| root.as_bytes().as_slice()).collect();
        let root = tree.root();
        let parameters: [&(dyn ToSql + Sync); 15] = [
            &self.me.as_slice(),
            &term,
            &most(head.size),
            &runs,
            &ups,
            &own,
            &most(tree.size()),
            &levels,
            &places,
            &hashes,
            &root.as_bytes().as_slice(),
            &checkpoint,
            &most(epoch),
            &signing.signer.key().to_string(),
            &signing.certificate,
        ];
        let call = "SELECT lar.integrate($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13,
            $14, $15)";
        match self.sessions.change(call, &parameters).await {
            Ok(_) => {
                self.sessions.watch().saw_head(tree.size(), root);
                memory.tree = tree;
                Ok(true)
            }
            // It was made, or it wasn't: the head tells, which is read anew in any case.
            Err(Trouble::Stale | Trouble::InTheWay(_) | Trouble::Lost(_)) => Ok(false),
            Err(other) => Err(other.into_error()),
        }
    }

    /// The leaf hashes of what is to be added, in its order.
    async fn leaves(&self, pieces: &[Piece]) -> Result<Vec<Digest>> {
        let runs: Vec<i64> = pieces.iter().map(|piece| piece.run).collect();
        let from: Vec<i64> = pieces.iter().map(|piece| most(piece.from)).collect();
        let ups: Vec<i64> = pieces.iter().map(|piece| most(piece.up)).collect();
        let sql = "SELECT w.hash FROM unnest($1::bigint[], $2::bigint[], $3::bigint[])
                WITH ORDINALITY AS u (run, start, up, place)
            CROSS JOIN LATERAL (SELECT r.seq, r.hash FROM lar.records r
                WHERE r.run = u.run AND r.seq BETWEEN u.start AND u.up OFFSET 0) w
            ORDER BY u.place, w.seq";
        let rows = ask(&self.sessions, sql, &[&runs, &from, &ups]).await?;
        let wanted: u64 = pieces.iter().map(|piece| piece.up - piece.from + 1).sum();
        if rows.len() as u64 != wanted {
            return Err(LedgerError::Damaged(
                "a run has fewer records than it counts; check it with `lar audit verify`"
                    .to_owned(),
            ));
        }
        rows.iter().map(|found: &Row| row::digest(found, "hash")).collect()
    }

    /// Whatever signs in an epoch. A host that has another key than the one that the log names can't.
    async fn signing(&self, memory: &mut Memory, origin: &str, epoch: u64) -> Result<Signing> {
        if let Some((of, signing)) = &memory.signing
            && *of == epoch
        {
            return Ok(signing.clone());
        }
        let unsigned = |why: &str| LedgerError::Unavailable(format!("this host can't sign: {why}"));
        let signers = self.signers.clone().ok_or_else(|| unsigned("it was given no key"))?;
        let known = log::key(&self.sessions, epoch).await?;
        let (origin, first) = (origin.to_owned(), known.is_none());
        let signing = blocking(move || signers(&origin, epoch, first)).await?;
        let signing = signing.map_err(|error| unsigned(&error.to_string()))?;
        if known.is_some_and(|known| known != signing.signer.key().to_string()) {
            return Err(unsigned(
                "the log's key of this epoch was made on another host; copy it from there",
            ));
        }
        memory.signing = Some((epoch, signing.clone()));
        Ok(signing)
    }

    /// A record of the log itself, after the last one.
    async fn own(&self, body: &Body) -> Result<Vec<u8>> {
        let rows = ask(&self.sessions, log::OWN, &[]).await?;
        log::seal_own(rows.first().ok_or_else(row::unreadable)?, body).map(|sealed| sealed.bytes)
    }
}

impl std::fmt::Debug for Sequencer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sequencer").finish_non_exhaustive()
    }
}

/// Signs away from the event loop: the signer may be a program.
async fn signed(checkpoint: Checkpoint, signer: Arc<dyn NoteSigner>) -> Result<String> {
    let note = blocking(move || checkpoint.sign(signer.as_ref())).await?;
    let note = note.map_err(|error| {
        LedgerError::Unavailable(format!("nothing is published unsigned: {error}"))
    })?;
    Ok(note.to_string())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| LedgerError::Unavailable("no thread can be started".to_owned()))
}
