//! What is read of the log. Nothing here changes it: that is the sequencer's.

use lar_core::audit::log::{self, Head, NewKey, Stamped, TILE_HEIGHT};
use lar_core::audit::record::{self, Body, SealedRecord};
use lar_core::audit::tree::{Frontier, Subtree, subtrees};
use lar_core::id::RunId;
use lar_core::json::Digest;
use lar_core::ledger::LedgerError;
use tokio_postgres::Row;

use super::read::{ask, most};
use super::row;
use super::session::Sessions;

type Result<T> = std::result::Result<T, LedgerError>;

/// The name under which the log's own records stand. A run's has a time in it.
const RUN: &str = "log";

/// Reads where the chain of the ledger's own records ends, and the time.
pub(super) const OWN: &str = "SELECT records, head,
    greatest(at, floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint) AS now FROM lar.own";

/// The next of the ledger's own records, behind what [`OWN`] answered.
pub(super) fn seal_own(end: &Row, body: &Body) -> Result<SealedRecord> {
    let bad = |why: String| LedgerError::BadRecord(why);
    let run = RunId::new(RUN).map_err(|error| bad(error.to_string()))?;
    let (seq, prev) = (row::number(end, "records")?, row::digest(end, "head")?);
    let sealed = record::seal(&run, seq + 1, prev, row::time(end, "now")?, body);
    sealed.map_err(|error| bad(error.to_string()))
}

pub(super) async fn head(sessions: &Sessions) -> Result<Head> {
    let sql = "SELECT g.id, l.size, l.root, l.checkpoint, l.epoch FROM lar.log l, lar.ledger g";
    let rows = ask(sessions, sql, &[]).await?;
    let found = rows.first().ok_or_else(row::unreadable)?;
    Ok(Head {
        origin: format!("lar-ledger/{}", row::get::<&str>(found, "id")?),
        size: row::number(found, "size")?,
        root: row::digest(found, "root")?,
        checkpoint: row::get(found, "checkpoint")?,
        epoch: row::number(found, "epoch")?,
    })
}

/// The key of an epoch, once it has signed.
pub(super) async fn key(sessions: &Sessions, epoch: u64) -> Result<Option<String>> {
    let sql = "SELECT key FROM lar.epochs WHERE number = $1";
    let rows = ask(sessions, sql, &[&most(epoch)]).await?;
    rows.first().map(|found| row::get(found, "key")).transpose()
}

/// The records from leaf `start` to before `until`, each with its place: `w`, joined to their segments
/// `s`. The planner is made to look each piece up: there are few, and the records are many.
macro_rules! leaves {
    ($start:literal, $until:literal) => {
        concat!(
            "lar.segments s CROSS JOIN LATERAL (
                SELECT s.leaf + r.seq - s.seq AS n, r.hash, r.bytes FROM lar.records r
                WHERE r.run = s.run AND r.seq >= s.seq + greatest(",
            $start,
            " - s.leaf, 0)
                    AND r.seq < s.seq + least(s.count, ",
            $until,
            " - s.leaf)
                OFFSET 0
            ) w
            WHERE s.leaf < ",
            $until,
            " AND s.leaf >= coalesce(
                (SELECT max(x.leaf) FROM lar.segments x WHERE x.leaf <= ",
            $start,
            "), 0)"
        )
    };
}

pub(super) async fn positions(
    sessions: &Sessions,
    run: &RunId,
    from: u64,
    limit: u64,
) -> Result<Vec<Option<u64>>> {
    let sql = "SELECT (SELECT s.leaf + w.seq - s.seq FROM lar.segments s
            WHERE s.run = w.run AND s.seq <= w.seq AND s.seq + s.count > w.seq
            ORDER BY s.seq DESC LIMIT 1) AS n
        FROM lar.records w
        WHERE w.run = (SELECT n FROM lar.runs WHERE id = $1) AND w.seq >= $2
        ORDER BY w.seq LIMIT $3";
    let rows = ask(sessions, sql, &[&run.as_str(), &most(from), &most(limit)]).await?;
    if rows.is_empty() {
        super::read::run(sessions, run).await?;
    }
    let place = |found: &Row| match row::get::<Option<i64>>(found, "n")? {
        Some(n) => Ok(Some(u64::try_from(n).map_err(|_| row::unreadable())?)),
        None => Ok(None),
    };
    rows.iter().map(place).collect()
}

pub(super) async fn hashes(
    sessions: &Sessions,
    level: u8,
    from: u64,
    count: u64,
) -> Result<Vec<Digest>> {
    let (from, end) = (most(from), most(from.saturating_add(count)));
    let rows = match level {
        0 => {
            let sql = concat!(
                "SELECT w.hash FROM ",
                leaves!("$1::bigint", "$2::bigint"),
                " ORDER BY w.n"
            );
            ask(sessions, sql, &[&from, &end]).await?
        }
        level => {
            let sql = "SELECT hash FROM lar.subtrees
                WHERE level = $3 AND n >= $1 AND n < $2 ORDER BY n";
            ask(sessions, sql, &[&from, &end, &i32::from(level)]).await?
        }
    };
    rows.iter().map(|found| row::digest(found, "hash")).collect()
}

/// The roots of complete subtrees, from what is kept, with one question for all of them.
pub(super) async fn roots(sessions: &Sessions, wanted: &[Subtree]) -> Result<Vec<Digest>> {
    let (mut levels, mut from, mut until) = (Vec::new(), Vec::new(), Vec::new());
    for subtree in wanted {
        let above = subtree.level % TILE_HEIGHT;
        levels.push(i32::from(subtree.level - above));
        from.push(most(subtree.index << above));
        until.push(most((subtree.index + 1) << above));
    }
    let sql = concat!(
        "SELECT u.place, h.hash
        FROM unnest($1::integer[], $2::bigint[], $3::bigint[])
            WITH ORDINALITY AS u (level, start, until, place)
        CROSS JOIN LATERAL (
            SELECT w.n, w.hash FROM ",
        leaves!("u.start", "u.until"),
        " AND u.level = 0
            UNION ALL
            SELECT t.n, t.hash FROM lar.subtrees t
            WHERE t.level = u.level AND t.n >= u.start AND t.n < u.until
        ) h
        ORDER BY u.place, h.n"
    );
    let rows = ask(sessions, sql, &[&levels, &from, &until]).await?;
    let mut kept: Vec<Vec<Digest>> = wanted.iter().map(|_| Vec::new()).collect();
    for found in &rows {
        let place = row::number(found, "place")?.checked_sub(1);
        let place = place.and_then(|place| usize::try_from(place).ok());
        let slot = place.and_then(|place| kept.get_mut(place)).ok_or_else(row::unreadable)?;
        slot.push(row::digest(found, "hash")?);
    }
    let root = |(subtree, kept): (&Subtree, &Vec<Digest>)| {
        log::join(kept, 1 << (subtree.level % TILE_HEIGHT)).ok_or_else(missing)
    };
    wanted.iter().zip(&kept).map(root).collect()
}

/// The right edge of the tree of the first `size` leaves.
pub(super) async fn frontier(sessions: &Sessions, size: u64) -> Result<Frontier> {
    let peaks = roots(sessions, &subtrees(0..size)).await?;
    Frontier::resume(size, peaks).map_err(|error| LedgerError::Damaged(error.to_string()))
}

pub(super) async fn entries(sessions: &Sessions, from: u64, limit: u64) -> Result<Vec<Vec<u8>>> {
    let sql = concat!("SELECT w.bytes FROM ", leaves!("$1::bigint", "$2::bigint"), " ORDER BY w.n");
    let end = most(from.saturating_add(limit));
    let rows = ask(sessions, sql, &[&most(from), &end]).await?;
    rows.iter().map(|found| row::get(found, "bytes")).collect()
}

pub(super) async fn epochs(sessions: &Sessions) -> Result<Vec<NewKey>> {
    let sql = "SELECT key, certificate FROM lar.epochs ORDER BY number";
    let rows = ask(sessions, sql, &[]).await?;
    let epoch = |found: &Row| {
        Ok(NewKey { key: row::get(found, "key")?, certificate: row::get(found, "certificate")? })
    };
    rows.iter().map(epoch).collect()
}

/// The newest cosigned checkpoint.
pub(super) async fn witnessed(sessions: &Sessions) -> Result<Option<String>> {
    let rows = ask(sessions, "SELECT checkpoint FROM lar.witnessed", &[]).await?;
    rows.first().map(|found| row::get(found, "checkpoint")).transpose()
}

pub(super) async fn witness(sessions: &Sessions, size: u64, checkpoint: &str) -> Result<()> {
    let sql = "SELECT lar.witness($1, $2)";
    ask(sessions, sql, &[&most(size), &checkpoint]).await.map(drop)
}

pub(super) async fn stamp(sessions: &Sessions, size: u64, stamped: &Stamped) -> Result<()> {
    let sql = "SELECT lar.stamp($1, $2, $3)";
    ask(sessions, sql, &[&most(size), &stamped.checkpoint, &stamped.answer]).await.map(drop)
}

/// The newest time-stamped checkpoint.
pub(super) async fn stamped(sessions: &Sessions) -> Result<Option<Stamped>> {
    let rows = ask(sessions, "SELECT checkpoint, answer FROM lar.stamped", &[]).await?;
    let read = |found: &Row| {
        let (checkpoint, answer) = (row::get(found, "checkpoint")?, row::get(found, "answer")?);
        Ok(Stamped { checkpoint, answer })
    };
    rows.first().map(read).transpose()
}

fn missing() -> LedgerError {
    LedgerError::Damaged("hashes of its log are missing; restore a backup".to_owned())
}
