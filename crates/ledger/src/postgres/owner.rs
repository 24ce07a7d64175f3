//! What only the owner of the ledger may do: issue and revoke grants, and begin an epoch. Plain
//! statements, which the database refuses to every other role.

use lar_core::ledger::transact;
use lar_core::ledger::{ClockReset, Grant, GrantId, Identity, Issuing, LedgerError};
use lar_core::time::Timestamp;
use tokio_postgres::types::ToSql;

use super::row;
use super::session::{Sessions, within};
use super::snapshot::Snapshot;
use super::trouble::Trouble;

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
    let (grant, _) = transact::issue(&mut seen, now, issuing)?;
    let mut object = sessions.get().await?;
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
    within(transaction.commit()).await?;
    Ok(grant)
}

pub(super) async fn revoke(sessions: &Sessions, grant: &GrantId, reason: &str) -> Result<Grant> {
    let mut object = sessions.get().await?;
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
    within(transaction.execute(sql, &[&grant.as_str(), &reason.as_bytes()])).await?;
    within(transaction.commit()).await?;
    drop(object);
    let found = super::read::grant(sessions, grant).await?;
    Ok(found.ok_or_else(|| LedgerError::UnknownGrant(grant.to_string()))?)
}

pub(super) async fn bump_epoch(sessions: &Sessions) -> Result<Identity> {
    let mut object = sessions.get().await?;
    let transaction = within(object.transaction()).await?;
    // As for a revocation, but of every grant: it waits for those who are about to start.
    within(transaction.batch_execute("LOCK lar.tokens IN EXCLUSIVE MODE")).await?;
    let sql = "UPDATE lar.ledger SET epoch = epoch + 1 RETURNING id, epoch";
    let row = within(transaction.query_one(sql, &[])).await?;
    within(transaction.commit()).await?;
    Ok(super::read::identity_of(&row)?)
}

pub(super) async fn reset_clock(sessions: &Sessions) -> Result<ClockReset> {
    let mut object = sessions.get().await?;
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
