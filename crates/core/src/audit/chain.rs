//! Whether a run's records hang together: each has the next number and names the digest of the one
//! before, byte for byte.

use super::commitment::Opening;
use super::record::{Body, MOST_BYTES, Record, SealedRecord, VERSION, genesis};
use super::tree::leaf_hash;
use crate::id::RunId;
use crate::json::{self, Digest, canonical};

/// Where a record is broken, and how.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("broken at record {seq}: {reason}")]
pub struct Broken {
    /// The number that the record should have.
    pub seq: u64,
    /// What is wrong.
    pub reason: String,
}

/// A chain that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intact {
    /// The run.
    pub run: RunId,
    /// How many records there are.
    pub records: u64,
    /// The digest of the last one.
    pub head: Digest,
    /// Whether one of them ends the run. Where none does, the run is still going on, was cut off,
    /// or its end was removed: this can't be told from the records alone.
    pub closed: bool,
}

/// Reads a run's records one after the other and stops at the first that doesn't hold. Memory is
/// flat in the number of records.
#[derive(Debug)]
pub struct Checker {
    run: Option<RunId>,
    next: u64,
    head: Digest,
    closed: bool,
}

impl Default for Checker {
    fn default() -> Self {
        Self { run: None, next: 1, head: genesis(), closed: false }
    }
}

impl Checker {
    /// Reads the next record's exact bytes, with the openings of what it commits to that are there.
    pub fn read(&mut self, bytes: &[u8], openings: &[Opening]) -> Result<Record, Broken> {
        let seq = self.next;
        let broken = |reason: &str| Broken { seq, reason: reason.to_owned() };
        let text = std::str::from_utf8(bytes).map_err(|_| broken("it is not UTF-8"))?;
        json::check(
            text,
            &json::Limits {
                max_bytes: MOST_BYTES,
                max_depth: 64,
                // The model's words stand in it as they were.
                null_characters: true,
            },
        )
        .map_err(|error| broken(&format!("it is not a record: {error}")))?;
        let record = Record::read(bytes, openings)
            .map_err(|_| broken("it is not a record of a known form"))?;
        // What was written is canonical; any other spelling of the same content was not written by
        // the ledger.
        if canonical(&record).ok().as_deref() != Some(bytes) {
            return Err(broken("its bytes are not the canonical form of what they say"));
        }
        if record.v != VERSION {
            return Err(broken("its version is unknown"));
        }
        if record.seq != seq {
            return Err(broken(&format!("it is numbered {}", record.seq)));
        }
        if record.prev != self.head {
            return Err(broken("it doesn't follow the record before it"));
        }
        if self.closed && !matches!(record.body, Body::Resolution(_) | Body::Erasure(_)) {
            return Err(broken("it stands after the end of the run"));
        }
        match (&self.run, &record.body) {
            (None, Body::RunOpen(_)) => self.run = Some(record.run.clone()),
            (None, _) => return Err(broken("a run begins with `run_open`")),
            (Some(_), Body::RunOpen(_)) => return Err(broken("a run is opened once")),
            (Some(run), _) if *run != record.run => {
                return Err(broken(&format!("it belongs to run `{}`", record.run)));
            }
            (Some(_), Body::RunClose(close)) => {
                if close.records != seq {
                    return Err(broken(&format!(
                        "the run's end counts {} records and there are {seq}",
                        close.records
                    )));
                }
                self.closed = true;
            }
            (Some(_), _) => {}
        }
        self.head = leaf_hash(bytes);
        self.next += 1;
        Ok(record)
    }

    /// What was found, after the last record.
    pub fn finish(self) -> Result<Intact, Broken> {
        let Some(run) = self.run else {
            return Err(Broken { seq: 1, reason: "there is no record".to_owned() });
        };
        Ok(Intact { run, records: self.next - 1, head: self.head, closed: self.closed })
    }
}

/// Checks records that are all at hand, their stored digests included.
pub fn check(records: &[SealedRecord]) -> Result<Intact, Broken> {
    let mut checker = Checker::default();
    for record in records {
        checker.read(&record.bytes, &record.openings)?;
        if record.hash != leaf_hash(&record.bytes) {
            return Err(Broken {
                seq: record.seq,
                reason: "its stored digest isn't that of its bytes".to_owned(),
            });
        }
    }
    checker.finish()
}
