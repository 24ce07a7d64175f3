//! Checkpoints (<https://c2sp.org/tlog-checkpoint>): the head of a log, as the text of a signed note.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::note::{Note, NoteError, NoteSigner, SignerError};
use crate::json::{Digest, MAX_INTEGER};

/// The head of a log: how many records it has, and the root over them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log.
    pub origin: String,
    /// How many records there are.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Digest,
}

impl Checkpoint {
    /// The note's text: three lines, never more.
    pub fn text(&self) -> String {
        let root = STANDARD.encode(self.root.as_bytes());
        format!("{}\n{}\n{root}\n", self.origin, self.size)
    }

    /// Signs it.
    pub fn sign(&self, signer: &dyn NoteSigner) -> Result<Note, SignerError> {
        Note::sign(self.text(), signer)
    }

    /// Reads a note's text. Lines of extensions, which ours never have, are refused.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let mut lines = text.strip_suffix('\n').unwrap_or_default().split('\n');
        let (Some(origin), Some(size), Some(root), None) =
            (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(NoteError::Checkpoint);
        };
        let number: u64 = size.parse().map_err(|_| NoteError::Checkpoint)?;
        let root = STANDARD.decode(root).map_err(|_| NoteError::Checkpoint)?;
        let root = root.try_into().map_err(|_| NoteError::Checkpoint)?;
        // One number, one spelling.
        if origin.is_empty() || number > MAX_INTEGER || number.to_string() != size {
            return Err(NoteError::Checkpoint);
        }
        let read = Self { origin: origin.to_owned(), size: number, root: Digest::from_bytes(root) };
        if read.text() != text { Err(NoteError::Checkpoint) } else { Ok(read) }
    }
}
