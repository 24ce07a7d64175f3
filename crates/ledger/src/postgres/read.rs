//! What is known. Reading changes nothing.

use std::collections::BTreeMap;

use lar_core::audit::commitment::Opening;
use lar_core::audit::record::SealedRecord;
use lar_core::id::{AttemptId, RunId};
use lar_core::ledger::{
    Attempt, Grant, GrantId, Identity, LedgerError, LedgerId, RunSummary, TokenState,
};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::lanes::{PATIENCE, pause};
use super::row;
use super::session::Sessions;
use super::trouble::Trouble;

type Result<T> = std::result::Result<T, LedgerError>;

/// Reads, and reads again when the connection was cut.
pub(super) async fn ask(
    sessions: &Sessions,
    sql: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Row>> {
    let begun = std::time::Instant::now();
    let mut tries = 0;
    loop {
        match sessions.ask(sql, parameters).await {
            Err(Trouble::Lost(_) | Trouble::Unreached(_) | Trouble::InTheWay(_))
                if begun.elapsed() < PATIENCE =>
            {
                tries += 1;
                tokio::time::sleep(pause(tries, 1_000)).await;
            }
            answer => return answer.map_err(Trouble::into_error),
        }
    }
}

pub(super) async fn identity(sessions: &Sessions) -> Result<Identity> {
    let rows = ask(sessions, "SELECT id, epoch FROM lar.ledger", &[]).await?;
    identity_of(rows.first().ok_or_else(row::unreadable)?)
}

pub(super) fn identity_of(row: &Row) -> Result<Identity> {
    let id: String = row::get(row, "id")?;
    let ledger = LedgerId::new(id).map_err(|_| row::unreadable())?;
    Ok(Identity { ledger, epoch: row::number(row, "epoch")? })
}

pub(super) async fn run(sessions: &Sessions, run: &RunId) -> Result<RunSummary> {
    let sql = format!("{} WHERE r.id = $1", row::RUN);
    let rows = ask(sessions, &sql, &[&run.as_str()]).await?;
    let found = rows.first().ok_or_else(|| LedgerError::UnknownRun(run.to_string()))?;
    row::run(found)
}

pub(super) async fn runs(sessions: &Sessions, open: bool) -> Result<Vec<RunSummary>> {
    let only = if open { "WHERE r.stop_reason IS NULL" } else { "" };
    let sql = format!("{} {only} ORDER BY r.n DESC", row::RUN);
    ask(sessions, &sql, &[]).await?.iter().map(row::run).collect()
}

pub(super) async fn grant(sessions: &Sessions, grant: &GrantId) -> Result<Option<Grant>> {
    let sql = format!("{} WHERE g.id = $1", row::GRANT);
    let grants = ask(sessions, &sql, &[&grant.as_str()]).await?;
    let Some(found) = grants.first() else { return Ok(None) };
    let sql = format!("{} WHERE g.id = $1 ORDER BY t.position", row::TOKEN);
    let tokens = ask(sessions, &sql, &[&grant.as_str()]).await?;
    let tokens: Vec<TokenState> = tokens.iter().map(row::token).collect::<Result<_>>()?;
    row::grant(found, tokens).map(Some)
}

pub(super) async fn grants(sessions: &Sessions) -> Result<Vec<Grant>> {
    let named = "WHERE g.id NOT LIKE 'run/%'";
    let sql = format!("{} {named} ORDER BY t.position", row::TOKEN);
    let mut tokens: std::collections::BTreeMap<String, Vec<TokenState>> = Default::default();
    for row in &ask(sessions, &sql, &[]).await? {
        tokens.entry(row::get(row, "of_grant")?).or_default().push(row::token(row)?);
    }
    let sql = format!("{} {named} ORDER BY g.n DESC", row::GRANT);
    let rows = ask(sessions, &sql, &[]).await?;
    let with_tokens = |found: &Row| {
        let id: String = row::get(found, "id")?;
        row::grant(found, tokens.remove(&id).unwrap_or_default())
    };
    rows.iter().map(with_tokens).collect()
}

pub(super) async fn uses_left(sessions: &Sessions, run: &RunId, token: &str) -> Result<u32> {
    let sql = "SELECT t.uses_left FROM lar.tokens t JOIN lar.runs r ON r.grant_n = t.grant_n
        WHERE r.id = $1 AND t.name = $2";
    let rows = ask(sessions, sql, &[&run.as_str(), &token]).await?;
    let left = row::number(rows.first().ok_or_else(row::unreadable)?, "uses_left")?;
    u32::try_from(left).map_err(|_| row::unreadable())
}

pub(super) async fn attempt(
    sessions: &Sessions,
    run: &RunId,
    attempt: &AttemptId,
) -> Result<Option<Attempt>> {
    let of_run = "WHERE a.run = (SELECT n FROM lar.runs WHERE id = $1) AND a.id = $2";
    let sql = format!("{} {of_run}", row::ATTEMPT);
    let id: &[u8] = attempt.digest().as_bytes();
    let rows = ask(sessions, &sql, &[&run.as_str(), &id]).await?;
    rows.first().map(row::attempt).transpose()
}

pub(super) async fn attempts(sessions: &Sessions, run: &RunId) -> Result<Vec<Attempt>> {
    let of_run = "WHERE a.run = (SELECT n FROM lar.runs WHERE id = $1) ORDER BY a.id";
    let sql = format!("{} {of_run}", row::ATTEMPT);
    ask(sessions, &sql, &[&run.as_str()]).await?.iter().map(row::attempt).collect()
}

/// Attempts on a token of a run's grant, of whatever run, whose hold has ended.
pub(super) async fn expired_holds(
    sessions: &Sessions,
    run: &RunId,
    token: &str,
) -> Result<Vec<(RunId, Attempt)>> {
    let sql = format!(
        "SELECT r.id AS of_run, found.* FROM ({}
             JOIN lar.holds h ON h.run = a.run AND h.attempt = a.id
             WHERE h.grant_n = (SELECT grant_n FROM lar.runs WHERE id = $1) AND h.token = $2
                 AND h.lease_until < extract(epoch FROM clock_timestamp()) * 1000) AS found
         JOIN lar.runs r ON r.n = found.of_run_n ORDER BY found.id",
        row::ATTEMPT.replacen("SELECT", "SELECT a.run AS of_run_n,", 1)
    );
    let rows = ask(sessions, &sql, &[&run.as_str(), &token]).await?;
    let read = |row: &Row| {
        let id = RunId::new(row::get::<String>(row, "of_run")?).map_err(|_| row::unreadable())?;
        Ok((id, row::attempt(row)?))
    };
    rows.iter().map(read).collect()
}

pub(super) async fn records(
    sessions: &Sessions,
    run: &RunId,
    from: u64,
    limit: u64,
) -> Result<Vec<SealedRecord>> {
    let sql = "SELECT w.seq, w.hash, w.bytes FROM lar.records w
        WHERE w.run = (SELECT n FROM lar.runs WHERE id = $1) AND w.seq >= $2
        ORDER BY w.seq LIMIT $3";
    let rows = ask(sessions, sql, &[&run.as_str(), &most(from), &most(limit)]).await?;
    if rows.is_empty() {
        self::run(sessions, run).await?;
    }
    let mut opened = match (rows.first(), rows.last()) {
        (Some(first), Some(last)) => {
            openings(sessions, run, row::number(first, "seq")?, row::number(last, "seq")?).await?
        }
        _ => BTreeMap::new(),
    };
    let read = |row: &Row| {
        let (seq, hash) = (row::number(row, "seq")?, row::digest(row, "hash")?);
        let openings = opened.remove(&seq).unwrap_or_default();
        Ok(SealedRecord { seq, bytes: row::get(row, "bytes")?, hash, openings })
    };
    rows.iter().map(read).collect()
}

/// What is kept of what records commit to, by their numbers.
pub(super) async fn openings(
    sessions: &Sessions,
    run: &RunId,
    first: u64,
    last: u64,
) -> Result<BTreeMap<u64, Vec<Opening>>> {
    let sql = "SELECT w.seq, w.line FROM lar.openings w
        WHERE w.run = (SELECT n FROM lar.runs WHERE id = $1) AND w.seq BETWEEN $2 AND $3
        ORDER BY w.seq, w.place";
    let mut found = BTreeMap::<u64, Vec<Opening>>::new();
    for row in &ask(sessions, sql, &[&run.as_str(), &most(first), &most(last)]).await? {
        let opening =
            Opening::read(row::get::<String>(row, "line")?).ok_or_else(row::unreadable)?;
        found.entry(row::number(row, "seq")?).or_default().push(opening);
    }
    Ok(found)
}

pub(super) async fn journal(
    sessions: &Sessions,
    run: &RunId,
    from: u64,
    limit: u64,
) -> Result<Vec<Vec<u8>>> {
    let sql = "SELECT w.bytes FROM lar.journal w
        WHERE w.run = (SELECT n FROM lar.runs WHERE id = $1) AND w.page >= $2
        ORDER BY w.page LIMIT $3";
    let rows = ask(sessions, sql, &[&run.as_str(), &most(from), &most(limit)]).await?;
    if rows.is_empty() {
        self::run(sessions, run).await?;
    }
    rows.iter().map(|row| row::get(row, "bytes")).collect()
}

pub(super) fn most(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
