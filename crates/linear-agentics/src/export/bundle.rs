//! Writes the bundle of a run, a line at a time.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lar_core::audit::bundle::{FORMAT, Header};
use lar_core::audit::checkpoint::Checkpoint;
use lar_core::audit::log::{self, Head, Log, Stamped};
use lar_core::audit::note::Note;
use lar_core::audit::record::Body;
use lar_core::audit::tree::leaf_hash;
use lar_core::id::RunId;
use lar_core::ledger::{Ledger, LedgerError};

/// How many records are read at once.
const PAGE: u64 = 512;

/// A bundle can't be written.
#[derive(Debug, thiserror::Error)]
pub enum Incomplete {
    /// The ledger can't be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The ledger keeps no signed log.
    #[error("the ledger has no signed log yet; the next run begins one")]
    NoLog,
    /// Records are not in the log yet.
    #[error("record {0} is not in the signed log yet; try again in a second")]
    NotIntegrated(u64),
    /// The lines can't be taken.
    #[error("it can't be written out ({})", .0.kind())]
    Output(#[from] io::Error),
}

/// Hands over each line of a run's bundle, without its newline, and returns how many of the run's
/// records are in it: all that the signed log holds. Memory is flat in the number of records.
///
/// # Errors
/// When the run has records that no signed head covers, or the ledger can't be read.
pub async fn bundle(
    ledger: &dyn Ledger,
    run: &RunId,
    mut line: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<u64, Incomplete> {
    let log = ledger.log().ok_or(Incomplete::NoLog)?;
    let head = covering(ledger, log, run).await?;
    let newest = head.checkpoint.ok_or(Incomplete::NoLog)?;
    // The run may go on while it is exported: what the head covers is the bundle.
    let covered = covered(log, run, head.size).await?;
    let witnessed = witnessed(log, run, covered).await?;
    let stamped = stamped(log, run, covered, witnessed.as_ref()).await?;
    let timestamp = stamped.as_ref().map(|(_, stamped)| STANDARD.encode(&stamped.answer));
    let stamped = stamped.map(|(size, stamped)| (size, stamped.checkpoint));
    let (size, checkpoint) = stamped.or(witnessed).unwrap_or((head.size, newest));
    let last = ledger.records(run, covered, 1).await?;
    let last = last.first().filter(|_| covered > 0).ok_or(Incomplete::NotIntegrated(1))?;
    let (records, last) = (covered, leaf_hash(&last.bytes));
    let header = Header {
        bundle: FORMAT.to_owned(),
        run: run.clone(),
        records,
        head: last,
        checkpoint,
        timestamp,
        epochs: log.epochs().await?.into_iter().filter_map(|epoch| epoch.certificate).collect(),
    };
    let header = header.line().map_err(|error| LedgerError::Damaged(error.to_string()))?;
    line(&header)?;
    let seams = seams(ledger, run, records).await?;
    let (mut next, mut leaf) = (1, 0);
    while next <= records {
        let limit = PAGE.min(records - next + 1);
        let page = ledger.records(run, next, limit).await?;
        let positions = log.positions(run, next, limit).await?;
        if page.is_empty() || page.len() != positions.len() {
            return Err(LedgerError::Damaged(format!("record {next} of the run is gone")).into());
        }
        for (record, position) in page.iter().zip(positions) {
            let position = position.ok_or(Incomplete::NotIntegrated(record.seq))?;
            if position < leaf {
                let why =
                    format!("record {} stands in the log before the one it follows", record.seq);
                return Err(LedgerError::Damaged(why).into());
            }
            for part in parts(leaf..position, &seams) {
                if let Some(gap) = log::gap(log, part).await? {
                    line(gap.line().as_bytes())?;
                }
            }
            if leaf_hash(&record.bytes) != record.hash {
                let why = "its stored digest isn't that of its bytes".to_owned();
                return Err(LedgerError::Damaged(why).into());
            }
            line(&record.bytes)?;
            for opening in &record.openings {
                line(opening.line().as_bytes())?;
            }
            leaf = position + 1;
        }
        next += page.len() as u64;
    }
    for part in parts(leaf..size, &seams) {
        if let Some(gap) = log::gap(log, part).await? {
            line(gap.line().as_bytes())?;
        }
    }
    Ok(records)
}

/// The newest head. Where it doesn't cover the run yet, as ledgers that integrate later have it, one
/// that does is waited for; when none comes, what is covered is the bundle.
async fn covering(ledger: &dyn Ledger, log: &dyn Log, run: &RunId) -> Result<Head, LedgerError> {
    let head = log.head().await?;
    let next = covered(log, run, head.size).await? + 1;
    if log.positions(run, next, 1).await?.is_empty() {
        return Ok(head);
    }
    let mut last = next;
    loop {
        let page = ledger.records(run, last + 1, PAGE).await?;
        last += page.len() as u64;
        if (page.len() as u64) < PAGE {
            break;
        }
    }
    match log.include(run, last).await {
        Ok(head) => Ok(head),
        Err(LedgerError::Unavailable(_)) => log.head().await,
        Err(error) => Err(error),
    }
}

/// The sizes at which witnesses cosigned before an effect: a gap ends at each of them, so that a
/// verifier knows the root there. Sorted; there are none in a run whose tokens don't demand witnesses.
async fn seams(
    ledger: &dyn Ledger,
    run: &RunId,
    records: u64,
) -> Result<BTreeSet<u64>, LedgerError> {
    let mut found = BTreeSet::new();
    let mut next = 1;
    while next <= records {
        let page = ledger.records(run, next, PAGE.min(records - next + 1)).await?;
        for sealed in &page {
            match sealed.read().map(|record| record.body) {
                Ok(Body::RunOpen(open)) if open.tokens.iter().all(|t| t.witness.is_none()) => {
                    return Ok(found);
                }
                Ok(Body::Anchor(anchor)) => drop(found.insert(anchor.size)),
                _ => {}
            }
        }
        match page.last() {
            Some(last) => next = last.seq + 1,
            None => break,
        }
    }
    Ok(found)
}

/// A range of leaves, cut at these sizes.
fn parts(leaves: Range<u64>, seams: &BTreeSet<u64>) -> Vec<Range<u64>> {
    let (mut from, mut parts) = (leaves.start, Vec::new());
    if leaves.is_empty() {
        return parts;
    }
    for seam in seams.range(leaves.start + 1..leaves.end) {
        parts.push(from..*seam);
        from = *seam;
    }
    parts.push(from..leaves.end);
    parts
}

/// The checkpoint that witnesses have cosigned, if it covers as many of the run's records and is of this
/// log.
async fn witnessed(
    log: &dyn Log,
    run: &RunId,
    records: u64,
) -> Result<Option<(u64, String)>, LedgerError> {
    let Some(text) = log.witnessed().await? else { return Ok(None) };
    Ok(covering_size(log, run, records, &text).await?.map(|size| (size, text)))
}

/// The checkpoint that an authority has time-stamped, if it covers as many of the run's records, is of this
/// log, and is signed by as many as the one that witnesses have cosigned.
async fn stamped(
    log: &dyn Log,
    run: &RunId,
    records: u64,
    witnessed: Option<&(u64, String)>,
) -> Result<Option<(u64, Stamped)>, LedgerError> {
    let Some(stamped) = log.stamped().await? else { return Ok(None) };
    let signatures = |text: &str| Note::parse(text).map_or(0, |note| note.signatures().len());
    let enough = witnessed.map_or(0, |(_, text)| signatures(text));
    if signatures(&stamped.checkpoint) < enough {
        return Ok(None);
    }
    let size = covering_size(log, run, records, &stamped.checkpoint).await?;
    Ok(size.map(|size| (size, stamped)))
}

/// The size of a checkpoint, if it covers as many of the run's records and is of this log.
async fn covering_size(
    log: &dyn Log,
    run: &RunId,
    records: u64,
    text: &str,
) -> Result<Option<u64>, LedgerError> {
    let checkpoint = Note::parse(text).and_then(|note| Checkpoint::parse(note.text()));
    let Ok(checkpoint) = checkpoint else { return Ok(None) };
    let last = log.positions(run, records, 1).await?;
    let covers = matches!(last.as_slice(), [Some(leaf), ..] if *leaf < checkpoint.size);
    if !covers || log::frontier(log, checkpoint.size).await?.root() != checkpoint.root {
        return Ok(None);
    }
    Ok(Some(checkpoint.size))
}

/// How many of a run's records the head of this size covers.
async fn covered(log: &dyn Log, run: &RunId, size: u64) -> Result<u64, LedgerError> {
    let mut covered = 0;
    loop {
        let positions = log.positions(run, covered + 1, PAGE).await?;
        let within = positions.iter().take_while(|leaf| leaf.is_some_and(|leaf| leaf < size));
        let within = within.count() as u64;
        covered += within;
        if within < PAGE {
            return Ok(covered);
        }
    }
}
