//! A proof that one record stands in a log, without the rest of it: the record's exact bytes on the
//! first line, and beneath it a transparency log proof (<https://c2sp.org/tlog-proof>).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::note::NoteError;
use super::scan;
use crate::json::Digest;

/// The first line beneath the record.
pub const TITLE: &str = "c2sp.org/tlog-proof@v1";

/// The most hashes that an inclusion proof can have.
const MOST_HASHES: usize = 63;

/// One record with its proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordProof {
    /// The record's exact bytes.
    pub record: String,
    /// Where it stands in the log.
    pub leaf: u64,
    /// The inclusion proof.
    pub hashes: Vec<Digest>,
    /// The signed checkpoint.
    pub checkpoint: String,
}

impl RecordProof {
    /// The file's text.
    pub fn text(&self) -> String {
        let hashes: Vec<String> = self
            .hashes
            .iter()
            .map(|hash| format!("{}\n", STANDARD.encode(hash.as_bytes())))
            .collect();
        format!(
            "{}\n{TITLE}\nindex {}\n{}\n{}",
            self.record,
            self.leaf,
            hashes.concat(),
            self.checkpoint
        )
    }

    /// Reads a file's text.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let (record, rest) = text.split_once('\n').ok_or(NoteError::Form)?;
        let rest = rest.strip_prefix(TITLE).and_then(|rest| rest.strip_prefix("\nindex "));
        let (index, rest) = rest.and_then(|rest| rest.split_once('\n')).ok_or(NoteError::Form)?;
        let leaf = scan::number(index).ok_or(NoteError::Form)?;
        let (hashes, checkpoint) = match rest.strip_prefix('\n') {
            Some(checkpoint) => ("", checkpoint),
            None => rest.split_once("\n\n").ok_or(NoteError::Form)?,
        };
        let hashes = hashes
            .lines()
            .take(MOST_HASHES + 1)
            .map(|line| {
                let bytes = STANDARD.decode(line).map_err(|_| NoteError::Form)?;
                bytes.try_into().map(Digest::from_bytes).map_err(|_| NoteError::Form)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let (record, checkpoint) = (record.to_owned(), checkpoint.to_owned());
        let read = Self { record, leaf, hashes, checkpoint };
        // One proof, one spelling.
        if read.hashes.len() > MOST_HASHES || read.text() != text {
            return Err(NoteError::Form);
        }
        Ok(read)
    }
}
