//! Rows as values, and what is read outside a request.

use lar_core::audit::record::SealedRecord;
use lar_core::id::{AttemptId, RunId};
use lar_core::json::Digest;
use lar_core::ledger::protocol::GrantPosition;
use lar_core::ledger::transact::View;
use lar_core::ledger::{
    Attempt, Definitions, Grant, GrantId, Granted, LedgerError, Revocation, RunSummary, TokenState,
    UseState,
};
use lar_core::outcome::Verdict;
use lar_core::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::known::Known;
use super::store::Store;
use super::{openings, places, unavailable};

type Result<T> = std::result::Result<T, LedgerError>;

pub(super) fn records(
    connection: &Connection,
    run: &RunId,
    from: u64,
    limit: u64,
) -> Result<Vec<SealedRecord>> {
    let n = row_of(connection, run)?;
    let places = places::read(connection, n, from, limit)?;
    let (Some((first, _)), Some((last, _))) = (places.first(), places.last()) else {
        return Ok(Vec::new());
    };
    let mut opened = openings::read(connection, n, *first..=*last)?;
    let mut statement = connection
        .prepare_cached("SELECT hash, bytes FROM records WHERE n = ?1 AND run = ?2 AND seq = ?3")
        .map_err(|error| unavailable(&error))?;
    let mut records = Vec::with_capacity(places.len());
    for (seq, leaf) in places {
        let found = statement
            .query_row(params![number(leaf.saturating_add(1)), n, seq], |row| {
                Ok((digest(row, 0)?, row.get(1)?))
            })
            .optional()
            .map_err(|error| unavailable(&error))?;
        // One that isn't there any more is missed by whoever follows the chain.
        if let Some((hash, bytes)) = found {
            let openings = opened.remove(&seq).unwrap_or_default();
            records.push(SealedRecord { seq, hash, bytes, openings });
        }
    }
    Ok(records)
}

pub(super) fn journal(
    connection: &Connection,
    run: &RunId,
    from: u64,
    limit: u64,
) -> Result<Vec<Vec<u8>>> {
    let n = row_of(connection, run)?;
    let read = || -> rusqlite::Result<Vec<Vec<u8>>> {
        connection
            .prepare_cached(
                "SELECT bytes FROM journal WHERE run = ?1 AND page >= ?2 ORDER BY page LIMIT ?3",
            )?
            .query_map(params![n, number(from), number(limit)], |row| row.get(0))?
            .collect()
    };
    read().map_err(|error| unavailable(&error))
}

/// The runs, latest first: all, or those that are open.
pub(super) fn runs(connection: &Connection, open: bool) -> Result<Vec<RunSummary>> {
    let which = if open { "WHERE r.stop_reason IS NULL" } else { "" };
    let read = || -> rusqlite::Result<Vec<RunSummary>> {
        connection
            .prepare_cached(&format!("SELECT {RUN} {which} ORDER BY r.n DESC"))?
            .query_map([], run_of)?
            .collect()
    };
    read().map_err(|error| unavailable(&error))
}

/// The named grants, latest first.
pub(super) fn grants(connection: &Connection) -> Result<Vec<Grant>> {
    let ids = || -> rusqlite::Result<Vec<GrantId>> {
        connection
            .prepare_cached("SELECT id FROM grants WHERE named ORDER BY n DESC")?
            .query_map([], |row| grant_id(row, 0))?
            .collect()
    };
    let mut known = Known::default();
    let mut store = Store::new(connection, &mut known);
    let ids = ids().map_err(|error| unavailable(&error))?;
    ids.iter().filter_map(|id| store.grant(id).transpose()).collect()
}

pub(super) fn row_of(connection: &Connection, run: &RunId) -> Result<i64> {
    connection
        .query_row("SELECT n FROM runs WHERE id = ?1", [run.as_str()], |row| row.get(0))
        .optional()
        .map_err(|error| unavailable(&error))?
        .ok_or_else(|| LedgerError::UnknownRun(run.to_string()))
}

pub(super) fn number(asked: u64) -> i64 {
    i64::try_from(asked).unwrap_or(i64::MAX)
}

/// The columns of a grant.
macro_rules! grant {
    () => {
        "n, id, issued, expires, revoked, reason, epoch, definitions"
    };
}

pub(super) fn grant_of(row: &Row<'_>) -> rusqlite::Result<(i64, Grant)> {
    let revoked = match time(row, 4)? {
        Some(at) => {
            Some(Revocation { at, reason: row.get::<_, Option<String>>(5)?.unwrap_or_default() })
        }
        None => None,
    };
    let grant = Grant {
        id: grant_id(row, 1)?,
        issued: Timestamp::from_millis(row.get(2)?),
        expires: time(row, 3)?,
        revoked,
        epoch: row.get(6)?,
        definitions: Definitions::from_text(row.get::<_, String>(7)?),
        tokens: Vec::new(),
    };
    Ok((row.get(0)?, grant))
}

/// The columns of token `t`, which stands as `s` says.
macro_rules! token {
    () => {
        "t.name, t.definition, s.granted, s.uses_left, t.expires, t.requires_approval, t.candidate, \
         t.unlocked_by"
    };
}

pub(super) fn token_of(row: &Row<'_>) -> rusqlite::Result<TokenState> {
    let granted = Granted {
        name: row.get(0)?,
        definition: digest(row, 1)?,
        uses: row.get(2)?,
        expires: time(row, 4)?,
        requires_approval: row.get(5)?,
        candidate: row.get(6)?,
    };
    let unlocked_by = match row.get::<_, Option<String>>(7)? {
        Some(run) => Some(RunId::new(run).map_err(|_| unreadable(7))?),
        None => None,
    };
    Ok(TokenState { granted, uses_left: row.get(3)?, unlocked_by })
}

/// Where a grant stands, of grant `g` and ledger `l`.
macro_rules! position {
    () => {
        "g.revoked IS NOT NULL, g.expires, g.epoch <> l.epoch"
    };
}
/// The columns of a run.
macro_rules! run {
    () => {
        "r.id, g.id, r.opened, r.stop_reason, s.seq, s.head, r.task, r.owner, s.fence, r.lease_ms, \
         s.lease_until, s.pages"
    };
}

/// Where a grant stands.
pub(super) const POSITION: &str =
    concat!("SELECT ", position!(), " FROM grants g, ledger l WHERE g.id = ?1");

/// The columns of a run, with the tables they are in.
pub(super) const RUN: &str =
    concat!(run!(), " FROM runs r JOIN standing s ON s.n = r.n JOIN grants g ON g.n = r.grant_n");

/// A run, the number of its row, its last places, the number of its grant's row, and where the grant stands.
pub(super) const RUN_IN_WORK: &str = concat!(
    "SELECT ",
    run!(),
    ", r.n, s.places, g.n, ",
    position!(),
    " FROM runs r JOIN standing s ON s.n = r.n JOIN grants g ON g.n = r.grant_n, ledger l
        WHERE r.id = ?1"
);

pub(super) fn position_of(row: &Row<'_>, first: usize) -> rusqlite::Result<GrantPosition> {
    Ok(GrantPosition {
        revoked: row.get(first)?,
        expires: time(row, first + 1)?,
        quarantined: row.get(first + 2)?,
    })
}

pub(super) fn run_of(row: &Row<'_>) -> rusqlite::Result<RunSummary> {
    let id: String = row.get(0)?;
    Ok(RunSummary {
        run: RunId::new(id).map_err(|_| unreadable(0))?,
        grant: grant_id(row, 1)?,
        opened: Timestamp::from_millis(row.get(2)?),
        stop_reason: row.get(3)?,
        records: row.get(4)?,
        head: digest(row, 5)?,
        task: row.get(6)?,
        owner: row.get(7)?,
        fence: row.get(8)?,
        lease_ms: row.get(9)?,
        lease_until: Timestamp::from_millis(row.get(10)?),
        pages: row.get(11)?,
    })
}

/// The columns of attempt `a` of token `t`.
macro_rules! attempt {
    () => {
        "a.id, t.name, a.action, a.state, a.fence, a.lease_until, a.approved_until, a.resolution, \
         a.holder, a.seq"
    };
}

pub(super) use {attempt, grant, token};

pub(super) fn attempt_of(row: &Row<'_>) -> rusqlite::Result<Attempt> {
    let (word, action, fence): (String, Digest, u64) = (row.get(3)?, digest(row, 2)?, row.get(4)?);
    let approved_until = time(row, 6)?;
    let state = match word.as_str() {
        "reserved" => {
            let lease_until = time(row, 5)?.ok_or_else(|| unreadable(5))?;
            UseState::Reserved { fence, lease_until, action, approved_until }
        }
        "released" => UseState::Released { fence, action, approved_until },
        "started" => UseState::Started { fence },
        "never_began" => UseState::NeverBegan { fence },
        "unknown" => match row.get::<_, Option<String>>(7)? {
            None => UseState::Ended { fence, verdict: Verdict::Unknown },
            Some(word) => UseState::Resolved { fence, verdict: verdict(&word, 7)? },
        },
        word => UseState::Ended { fence, verdict: verdict(word, 3)? },
    };
    Ok(Attempt {
        id: AttemptId::from_digest(digest(row, 0)?),
        token: row.get(1)?,
        action,
        state,
        holder: row.get(8)?,
        seq: row.get(9)?,
    })
}

fn verdict(word: &str, column: usize) -> rusqlite::Result<Verdict> {
    match word {
        "succeeded" => Ok(Verdict::Succeeded),
        "failed" => Ok(Verdict::Failed),
        _ => Err(unreadable(column)),
    }
}

fn grant_id(row: &Row<'_>, column: usize) -> rusqlite::Result<GrantId> {
    let id: String = row.get(column)?;
    GrantId::try_from(id).map_err(|_| unreadable(column))
}

fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_millis))
}

pub(super) fn digest(row: &Row<'_>, column: usize) -> rusqlite::Result<Digest> {
    let bytes: Vec<u8> = row.get(column)?;
    <[u8; 32]>::try_from(bytes.as_slice()).map(Digest::from_bytes).map_err(|_| unreadable(column))
}

/// A value that no ledger writes.
pub(super) fn unreadable(column: usize) -> rusqlite::Error {
    rusqlite::Error::IntegralValueOutOfRange(column, 0)
}
