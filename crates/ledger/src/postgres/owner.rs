//! What only the owner of the ledger may do: issue and revoke grants, and begin an epoch. Plain
//! statements, which the database refuses to every other role. Each is recorded in the log, as one of
//! the ledger's own records.

use deadpool_postgres::Object;
use lar_core::audit::record::{Body, GrantRevoke, LedgerEpoch};
use lar_core::ledger::transact;
use lar_core::ledger::{ClockReset, Grant, GrantId, Identity, Issuing, LedgerError};
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
            requires_approval, candidate)
        VALUES ($1, $2, $3, $4, $5, $5, $6, $7, $8)";
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
    // Whoever is about to start holds its token's row and looks at the grant only then. So after this
    // nobody is, and all who come later see the end of the grant.
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
