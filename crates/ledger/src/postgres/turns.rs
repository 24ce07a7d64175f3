//! Opening, taking over and closing a run. These are rare: what is to be done is decided by the
//! core's `transact` from a snapshot, and the database makes it if nothing has changed since;
//! otherwise it is decided anew.

use std::time::Instant;

use async_trait::async_trait;
use lar_core::audit::record::Body;
use lar_core::id::RunId;
use lar_core::ledger::transact::{self, Changes, View as _};
use lar_core::ledger::{
    Closing, GrantId, Granted, LedgerError, Opened, Opening, Receipt, Source, Taking,
};
use lar_core::time::Timestamp;
use tokio::time::sleep;
use tokio_postgres::types::ToSql;

use super::item::{joined, nonce};
use super::lanes::{PATIENCE, pause};
use super::row;
use super::session::Sessions;
use super::snapshot::Snapshot;
use super::trouble::Trouble;

type Result<T> = std::result::Result<T, LedgerError>;

/// How often a request is decided anew because others changed what it reads.
const TRIES: u32 = 50;

/// A request that is decided from a snapshot.
#[async_trait]
pub(super) trait Turn: Sync {
    type Answer: Send;

    /// The run that it is about.
    fn of_run(&self) -> &RunId;

    /// Decides it and makes it once, under this name.
    async fn attempt(
        &self,
        sessions: &Sessions,
        nonce: [u8; 16],
    ) -> std::result::Result<Self::Answer, Failed<Self::Answer>>;
}

#[async_trait]
impl Turn for Opening {
    type Answer = Opened;

    fn of_run(&self) -> &RunId {
        &self.run
    }

    async fn attempt(
        &self,
        sessions: &Sessions,
        nonce: [u8; 16],
    ) -> std::result::Result<Opened, Failed<Opened>> {
        let opening = self;
        let named = match &opening.source {
            Source::Named { grant, .. } => Some(grant),
            Source::Own { .. } => None,
        };
        let mut seen = Snapshot::read(sessions, Some(&opening.run), named).await?;
        let now = seen.now;
        let (opened, changes) = transact::open_run(&mut seen, now, opening.clone())?;
        let Body::RunOpen(open) = &opening.record else { return Err(row::unreadable().into()) };
        let sealed = sealed(&changes);
        let own = changes.granted.as_ref();
        let tokens: Vec<&Granted> =
            own.iter().flat_map(|grant| &grant.tokens).map(|token| &token.granted).collect();
        let names: Vec<&str> = tokens.iter().map(|token| token.name.as_str()).collect();
        let definitions: Vec<&[u8]> =
            tokens.iter().map(|token| token.definition.as_bytes().as_slice()).collect();
        let uses: Vec<i64> = tokens.iter().map(|token| i64::from(token.uses)).collect();
        let expires: Vec<Option<i64>> =
            tokens.iter().map(|token| token.expires.map(Timestamp::as_millis)).collect();
        let approvals: Vec<bool> = tokens.iter().map(|token| token.requires_approval).collect();
        let candidates: Vec<bool> = tokens.iter().map(|token| token.candidate).collect();
        let call =
            "SELECT lar.open_run($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14,
            $15, $16, $17)";
        let parameters: [&(dyn ToSql + Sync); 17] = [
            &now.as_millis(),
            &opening.run.as_str(),
            &opening.owner,
            &open.task.as_bytes(),
            &millis(opening.lease_ms),
            &nonce.as_slice(),
            &sealed.first().ok_or_else(row::unreadable)?,
            &named.map(GrantId::as_str),
            &own.map(|grant| grant.definitions.as_str()),
            &names,
            &definitions,
            &uses,
            &expires,
            &approvals,
            &candidates,
            &opening.journal,
            &joined(&opening.openings),
        ];
        make(sessions, call, &parameters, opened).await
    }
}

#[async_trait]
impl Turn for Taking {
    type Answer = Opened;

    fn of_run(&self) -> &RunId {
        &self.run
    }

    async fn attempt(
        &self,
        sessions: &Sessions,
        nonce: [u8; 16],
    ) -> std::result::Result<Opened, Failed<Opened>> {
        let taking = self;
        let mut seen = Snapshot::read(sessions, Some(&taking.run), None).await?;
        let now = seen.now;
        let before = seen.seen().map(|run| (run.records, run.fence));
        let (opened, changes) = transact::take_run(&mut seen, now, taking.clone())?;
        let (records, fence) = before.ok_or_else(row::unreadable)?;
        let call = "SELECT lar.take_run($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
        let parameters: [&(dyn ToSql + Sync); 10] = [
            &now.as_millis(),
            &taking.run.as_str(),
            &signed(records)?,
            &signed(fence)?,
            &taking.gone,
            &taking.owner,
            &millis(taking.lease_ms),
            &nonce.as_slice(),
            &recovered(&changes),
            &sealed(&changes),
        ];
        make(sessions, call, &parameters, opened).await
    }
}

#[async_trait]
impl Turn for Closing {
    type Answer = Receipt;

    fn of_run(&self) -> &RunId {
        &self.hold.run
    }

    async fn attempt(
        &self,
        sessions: &Sessions,
        nonce: [u8; 16],
    ) -> std::result::Result<Receipt, Failed<Receipt>> {
        let (closing, run) = (self, &self.hold.run);
        let mut seen = Snapshot::read(sessions, Some(run), None).await?;
        let now = seen.now;
        let before = seen.seen().map(|run| (run.records, run.grant.clone()));
        let (receipt, changes) = transact::close_run(&mut seen, now, closing.clone())?;
        let (records, grant) = before.ok_or_else(row::unreadable)?;
        let tokens = seen.grant(&grant)?.ok_or_else(row::unreadable)?.tokens;
        let mut names = Vec::new();
        let mut lefts = Vec::new();
        for token in tokens {
            let key = (grant.clone(), token.granted.name.clone());
            let left = changes.left.get(&key).copied().unwrap_or(token.uses_left);
            names.push(token.granted.name);
            lefts.push(i64::from(left));
        }
        let call = "SELECT lar.close_run($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
        let parameters: [&(dyn ToSql + Sync); 12] = [
            &now.as_millis(),
            &run.as_str(),
            &signed(records)?,
            &signed(closing.hold.fence)?,
            &closing.stop_reason,
            &closing.keep_journal,
            &nonce.as_slice(),
            &recovered(&changes),
            &sealed(&changes),
            &names,
            &lefts,
            &joined(&closing.openings),
        ];
        make(sessions, call, &parameters, receipt).await
    }
}

/// A try that came to nothing, with its answer if it may have been made all the same.
pub(super) struct Failed<T> {
    trouble: Trouble,
    lost: Option<T>,
}

impl<T, E: Into<Trouble>> From<E> for Failed<T> {
    fn from(error: E) -> Self {
        Self { trouble: error.into(), lost: None }
    }
}

async fn make<T>(
    sessions: &Sessions,
    call: &str,
    parameters: &[&(dyn ToSql + Sync)],
    answer: T,
) -> std::result::Result<T, Failed<T>> {
    match sessions.change(call, parameters).await {
        Ok(_) => Ok(answer),
        Err(trouble @ Trouble::Lost(_)) => Err(Failed { trouble, lost: Some(answer) }),
        Err(trouble) => Err(trouble.into()),
    }
}

/// Decides and makes a request until it is made or refused. Each try has a name of its own, by which
/// one whose answer was lost is looked up before anything else is said.
pub(super) async fn insist<T: Turn>(sessions: &Sessions, turn: T) -> Result<T::Answer> {
    let begun = Instant::now();
    let mut lost: Vec<([u8; 16], T::Answer)> = Vec::new();
    let mut tries = 0;
    loop {
        let nonce = nonce()?;
        let failed = match turn.attempt(sessions, nonce).await {
            Ok(answer) => return Ok(answer),
            Err(failed) => failed,
        };
        tries += 1;
        lost.extend(failed.lost.map(|answer| (nonce, answer)));
        let mut trouble = failed.trouble;
        for place in 0..lost.len() {
            let Some((nonce, _)) = lost.get(place) else { break };
            match written(sessions, turn.of_run(), *nonce).await {
                Ok(true) => return Ok(lost.swap_remove(place).1),
                Ok(false) => {}
                // As long as it can't be looked up, it may have been made.
                Err(Trouble::Lost(why) | Trouble::Unreached(why)) => trouble = Trouble::Lost(why),
                Err(other) => return Err(other.into_error()),
            }
        }
        let wait = match &trouble {
            Trouble::Stale | Trouble::InTheWay(_)
                if tries < TRIES && begun.elapsed() < PATIENCE =>
            {
                pause(tries, 100)
            }
            Trouble::Lost(_) | Trouble::Unreached(_) if begun.elapsed() < PATIENCE => {
                pause(tries, 1_000)
            }
            _ => return Err(trouble.into_error()),
        };
        sleep(wait).await;
    }
}

async fn written(
    sessions: &Sessions,
    run: &RunId,
    nonce: [u8; 16],
) -> std::result::Result<bool, Trouble> {
    sessions.settle().await?;
    let sql = "SELECT w.seq FROM lar.records w
        WHERE w.run = (SELECT n FROM lar.runs WHERE id = $1) AND w.nonce = $2";
    Ok(!sessions.ask(sql, &[&run.as_str(), &nonce.as_slice()]).await?.is_empty())
}

fn sealed(changes: &Changes) -> Vec<&[u8]> {
    changes.records.iter().map(|(_, record)| record.bytes.as_slice()).collect()
}

/// The attempts that are sealed, in the order of their records.
fn recovered(changes: &Changes) -> Vec<&[u8]> {
    changes.attempts.iter().map(|(_, attempt)| attempt.id.digest().as_bytes().as_slice()).collect()
}

fn millis(lease_ms: u64) -> i64 {
    Timestamp::from_millis(0).plus_millis(lease_ms).as_millis()
}

fn signed(number: u64) -> Result<i64> {
    i64::try_from(number).map_err(|_| row::unreadable())
}
