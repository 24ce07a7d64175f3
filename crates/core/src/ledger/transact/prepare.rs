//! What of an entry can be done before a ledger's transaction, by whoever asks.

use super::Result;
use crate::audit::record::{Body, Unsealed};
use crate::id::RunId;
use crate::ledger::run::{Change, Entry, Hold};
use crate::ledger::{LedgerError, MOST_JOURNAL_BYTES};

/// An entry whose record is written but for its place in the run.
#[derive(Debug, Clone)]
pub struct Prepared {
    pub(super) hold: Hold,
    pub(super) unlock: Vec<String>,
    pub(super) what: What,
    pub(super) journal: Option<Vec<u8>>,
}

/// A change has its record.
#[derive(Debug, Clone)]
pub(super) enum What {
    Nothing,
    Record(Unsealed),
    Change(Change, Unsealed),
}

/// Checks an entry for all that doesn't depend on what the ledger holds, and writes its record.
pub fn prepare(entry: Entry) -> Result<Prepared> {
    let Entry { hold, change, unlock, record, openings, journal } = entry;
    let record = record.map(|body| unsealed(&hold.run, &body, openings)).transpose()?;
    let what = match (change, record) {
        (Some(change), Some(record)) => What::Change(change, record),
        (Some(_), None) => {
            return Err(LedgerError::BadRecord("a change comes with its record".to_owned()));
        }
        (None, Some(record)) => What::Record(record),
        (None, None) => What::Nothing,
    };
    if let Some(bytes) = journal.as_ref().filter(|bytes| bytes.len() > MOST_JOURNAL_BYTES) {
        return Err(LedgerError::BadRecord(format!(
            "a page of the journal has {} bytes; at most {MOST_JOURNAL_BYTES} fit",
            bytes.len()
        )));
    }
    Ok(Prepared { hold, unlock, what, journal })
}

/// Writes a record without its place.
pub fn unsealed(
    run: &RunId,
    body: &Body,
    openings: Vec<crate::audit::commitment::Opening>,
) -> Result<Unsealed> {
    Unsealed::new(run, body, openings).map_err(|error| LedgerError::BadRecord(error.to_string()))
}
