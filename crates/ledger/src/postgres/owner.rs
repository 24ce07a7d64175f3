//! What only the owner of the ledger may do: issue and revoke grants, and begin an epoch. Plain
//! statements, which the database refuses to every other role. Each is recorded in the log, as one of
//! the ledger's own records.

use deadpool_postgres::Object;
use lar_core::audit::commitment::{ERASED, Opening};
use lar_core::audit::record::{self, Body, Erasure, GrantRevoke, LedgerEpoch};
use lar_core::ledger::transact;
use lar_core::ledger::{ClockReset, Erasing, Grant, GrantId, Identity, Issuing, LedgerError};
use lar_core::time::Timestamp;
use tokio_postgres::Transaction;
use tokio_postgres::types::ToSql;

use super::read::most;
use super::row;
use super::session::{Sessions, within};
use super::snapshot::Snapshot;
use super::trouble::Trouble;
use crate::seen::LastSeen;

type Result<T> = std::result::Result<T, Trouble>;

/// How often a grant is decided anew because an epoch began in the meantime.
const TRIES: u32 = 10;

pub(super) async fn issue(sessions: &Sessions, issuing: Issuing) -> Result<Grant> {
    for _ in 0..TRIES {
        match try_to_issue(sessions, issuing.clone()).await {
            Err(Trouble::Stale) => {}
            answer => return answer,
        }
    }
    Err(Trouble::Stale)
}

async fn try_to_issue(sessions: &Sessions, issuing: Issuing) -> Result<Grant> {
    // Where it was issued before, this says so.
    let mut seen = Snapshot::read(sessions, None, Some(&issuing.grant)).await?;
    let now = seen.now;
    let (grant, changes) = transact::issue(&mut seen, now, issuing)?;
    let mut object = sessions.get_to_change().await?;
    let transaction = within(object.transaction()).await?;
    let sql = "INSERT INTO lar.grants (id, issued, expires, epoch, definitions)
        SELECT $1, $2, $3, epoch, $5 FROM lar.ledger WHERE epoch = $4
        ON CONFLICT DO NOTHING RETURNING n";
    let epoch = i64::try_from(grant.epoch).map_err(|_| row::unreadable())?;
    let parameters: [&(dyn ToSql + Sync); 5] = [
        &grant.id.as_str(),
        &now.as_millis(),
        &grant.expires.map(Timestamp::as_millis),
        &epoch,
        &grant.definitions.as_str(),
    ];
    let made = within(transaction.query_opt(sql, &parameters)).await?;
    let made = made.ok_or(Trouble::Stale)?;
    let n: i64 = row::get(&made, "n")?;
    let sql =
        "INSERT INTO lar.tokens (grant_n, name, position, definition, granted, uses_left, expires,
            requires_approval, candidate, epoch, grant_expires)
        SELECT g.n, $2, $3, $4, $5, $5, $6, $7, $8, g.epoch, g.expires FROM lar.grants g WHERE g.n = $1";
    for (position, token) in (1i32..).zip(&grant.tokens) {
        let granted = &token.granted;
        let parameters: [&(dyn ToSql + Sync); 8] = [
            &n,
            &granted.name,
            &position,
            &granted.definition.as_bytes().as_slice(),
            &i64::from(granted.uses),
            &granted.expires.map(Timestamp::as_millis),
            &granted.requires_approval,
            &granted.candidate,
        ];
        within(transaction.execute(sql, &parameters)).await?;
    }
    for (_, body) in &changes.own {
        append_own(&transaction, body).await?;
    }
    within(transaction.commit()).await?;
    Ok(grant)
}

/// Writes a record of the ledger's own, under the lock on its chain.
async fn append_own(transaction: &Transaction<'_>, body: &Body) -> Result<()> {
    let sql = format!("{} FOR NO KEY UPDATE", super::log::OWN);
    let end = within(transaction.query_one(&sql, &[])).await?;
    let sealed = super::log::seal_own(&end, body)?;
    let (seq, now) = (most(sealed.seq), row::time(&end, "now")?.as_millis());
    let hash = sealed.hash.as_bytes().as_slice();
    let sql = "INSERT INTO lar.records VALUES (0, $1, $2, $3, '')";
    within(transaction.execute(sql, &[&seq, &hash, &sealed.bytes])).await?;
    let sql = "UPDATE lar.own SET records = $1, head = $2, at = $3";
    within(transaction.execute(sql, &[&seq, &hash, &now])).await.map(drop)
}

pub(super) async fn revoke(sessions: &Sessions, grant: &GrantId, reason: &str) -> Result<Grant> {
    let mut object = sessions.get_to_change().await?;
    let transaction = within(object.transaction()).await?;
    // Whoever is about to start holds its token's row, or looks at the grant once it does. So after this nobody
    // is, and all who come later see the end of the grant.
    let sql = "SELECT FROM lar.tokens t JOIN lar.grants g ON g.n = t.grant_n WHERE g.id = $1
        ORDER BY t.name FOR NO KEY UPDATE OF t";
    within(transaction.query(sql, &[&grant.as_str()])).await?;
    let sql = "UPDATE lar.grants SET revoked_why = $2,
            revoked_at = floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint
        WHERE id = $1 AND revoked_at IS NULL";
    let reason: String = reason.chars().take(400).collect();
    if within(transaction.execute(sql, &[&grant.as_str(), &reason.as_bytes()])).await? > 0 {
        let ended = GrantRevoke { grant: grant.clone(), reason };
        append_own(&transaction, &Body::GrantRevoke(ended)).await?;
    }
    within(transaction.commit()).await?;
    drop(object);
    let found = super::read::grant(sessions, grant).await?;
    Ok(found.ok_or_else(|| LedgerError::UnknownGrant(grant.to_string()))?)
}

/// Deletes openings with the record of it, in one transaction, and then has the tables written anew, so that
/// the pages hold nothing of them. What the server's write-ahead log and its backups hold isn't ours to delete.
pub(super) async fn erase(sessions: &Sessions, erasing: Erasing) -> Result<u64> {
    let Erasing { run, of, field, by } = erasing.clone();
    let mut object = sessions.get_to_change().await?;
    let transaction = within(object.transaction()).await?;
    let sql = "SELECT n, stop_reason IS NOT NULL AS ended, records, head,
            greatest(lar.tick(), at) AS now FROM lar.runs WHERE id = $1 FOR UPDATE";
    let found = within(transaction.query_opt(sql, &[&run.as_str()])).await?;
    let found = found.ok_or_else(|| LedgerError::UnknownRun(run.to_string()))?;
    if !row::get::<bool>(&found, "ended")? {
        return Err(LedgerError::RunOpen(run.to_string()).into());
    }
    let n: i64 = row::get(&found, "n")?;
    let mut taken = 0;
    let mut task = false;
    let sql = "SELECT seq, place, line FROM lar.openings WHERE run = $1";
    for row in &within(transaction.query(sql, &[&n])).await? {
        let opening =
            Opening::read(row::get::<String>(row, "line")?).ok_or_else(row::unreadable)?;
        if !erasing.takes(row::number(row, "seq")?, opening.field()) {
            continue;
        }
        let (seq, place): (i64, i64) = (row::get(row, "seq")?, row::get(row, "place")?);
        let sql = "DELETE FROM lar.openings WHERE run = $1 AND seq = $2 AND place = $3";
        within(transaction.execute(sql, &[&n, &seq, &place])).await?;
        taken += 1;
        task |= opening.field() == "task";
    }
    if taken == 0 {
        return Ok(0);
    }
    within(transaction.execute("DELETE FROM lar.journal WHERE run = $1", &[&n])).await?;
    let body = Body::Erasure(Erasure { of, field, openings: taken, by });
    let (seq, now) = (row::number(&found, "records")? + 1, row::time(&found, "now")?);
    let sealed = record::seal(&run, seq, row::digest(&found, "head")?, now, &body)
        .map_err(|error| LedgerError::BadRecord(error.to_string()))?;
    let (seq, hash) = (most(sealed.seq), sealed.hash.as_bytes().as_slice());
    let sql = "INSERT INTO lar.records VALUES ($1, $2, $3, $4, '')";
    within(transaction.execute(sql, &[&n, &seq, &hash, &sealed.bytes])).await?;
    // The sequencer looks there for records of runs that have ended.
    within(transaction.execute("INSERT INTO lar.ended VALUES ($1, $2)", &[&n, &seq])).await?;
    let sql = "UPDATE lar.runs SET records = $2, head = $3, at = $4, pages = 0,
        task = CASE WHEN $5 THEN $6 ELSE task END WHERE n = $1";
    let parameters: [&(dyn ToSql + Sync); 6] =
        [&n, &seq, &hash, &now.as_millis(), &task, &ERASED.as_bytes()];
    within(transaction.execute(sql, &parameters)).await?;
    within(transaction.commit()).await?;
    let tables: &[&str] = match task {
        true => &["openings", "journal", "runs"],
        false => &["openings", "journal"],
    };
    for table in tables {
        if within(object.batch_execute(&format!("VACUUM (FULL) lar.{table}"))).await.is_err() {
            let why = format!(
                "what was asked for is deleted and recorded, but the pages it stood in are not written \
                 anew; let the owner run `VACUUM (FULL) lar.{table}` in the database"
            );
            return Err(LedgerError::Unavailable(why).into());
        }
    }
    Ok(taken)
}

pub(super) async fn bump_epoch(sessions: &Sessions) -> Result<Identity> {
    let object = sessions.get_to_change().await?;
    let identity = begin_epoch(object, 0).await?;
    sessions.watch().saw_epoch(identity.epoch);
    Ok(identity)
}

/// Takes the database for what it is, an older state as it may be.
pub(super) async fn accept_restored(sessions: &Sessions, mut seen: LastSeen) -> Result<Identity> {
    // The epochs that were seen are gone with the newer state; theirs are not begun again.
    let least = seen.read()?.map_or(0, |(seen, _)| seen.epoch);
    let identity = begin_epoch(sessions.get().await?, least).await?;
    seen.note(super::watch::now(sessions).await?, None)?;
    Ok(identity)
}

/// Begins an epoch above `least`.
async fn begin_epoch(mut object: Object, least: u64) -> Result<Identity> {
    let transaction = within(object.transaction()).await?;
    // As for a revocation, but of every grant: it waits for those who are about to start.
    within(transaction.batch_execute("LOCK lar.tokens IN EXCLUSIVE MODE")).await?;
    let sql = "UPDATE lar.ledger SET epoch = greatest(epoch, $1) + 1 RETURNING id, epoch";
    let row = within(transaction.query_one(sql, &[&most(least)])).await?;
    let identity = super::read::identity_of(&row)?;
    let begun = LedgerEpoch { epoch: identity.epoch };
    append_own(&transaction, &Body::LedgerEpoch(begun)).await?;
    within(transaction.commit()).await?;
    Ok(identity)
}

pub(super) async fn reset_clock(sessions: &Sessions) -> Result<ClockReset> {
    let mut object = sessions.get_to_change().await?;
    let transaction = within(object.transaction()).await?;
    let sql = "SELECT millis, floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now
        FROM lar.clock FOR UPDATE";
    let found = within(transaction.query_one(sql, &[])).await?;
    let (before, now) = (row::time(&found, "millis")?, row::time(&found, "now")?);
    if now < before {
        for sql in [
            "UPDATE lar.clock SET millis = $1",
            "UPDATE lar.runs SET at = least(at, $1), lease_until = least(lease_until, $1)
             WHERE stop_reason IS NULL",
            "UPDATE lar.attempts SET lease_until = least(lease_until, $1 - 1),
                 approved_until = least(approved_until, $1 - 1)
             WHERE state IN ('reserved', 'released')",
            "UPDATE lar.holds SET lease_until = least(lease_until, $1 - 1)",
        ] {
            within(transaction.execute(sql, &[&now.as_millis()])).await?;
        }
    }
    within(transaction.commit()).await?;
    Ok(ClockReset { before, now })
}
