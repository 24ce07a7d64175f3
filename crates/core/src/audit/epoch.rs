//! Epochs of a log's signing key: a certificate by an offline root, itself a signed note.

use serde::{Deserialize, Serialize};

use super::checkpoint::Checkpoint;
use super::note::{KeyKind, Note, NoteKey, Signed};

/// The first line of a certificate.
const TITLE: &str = "lar-key-epoch/v1";

/// That a key signs for a log from a size on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epoch {
    /// The log.
    pub origin: String,
    /// Counted from 1.
    pub number: u64,
    /// How many records the log had when the key took over.
    pub from: u64,
    /// The key.
    pub key: NoteKey,
}

/// A record of the log itself: the next epoch begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRotate {
    /// Counted from 1.
    pub epoch: u64,
    /// The key that signs from here on, as `NAME+ID+BASE64`.
    pub key: String,
    /// How many records the log had before.
    pub from: u64,
    /// The certificate by an offline root, as a signed note.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub certificate: Option<String>,
}

impl Epoch {
    /// The note's text.
    pub fn text(&self) -> String {
        format!("{TITLE}\n{}\n{}\n{}\n{}\n", self.origin, self.number, self.from, self.key)
    }

    /// Reads a note's text.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        if lines.next()? != TITLE {
            return None;
        }
        let epoch = Self {
            origin: lines.next()?.to_owned(),
            number: super::scan::number(lines.next()?)?,
            from: super::scan::number(lines.next()?)?,
            key: lines.next()?.parse().ok()?,
        };
        (epoch.text() == text && epoch.key.kind() == KeyKind::Ed25519).then_some(epoch)
    }
}

/// The keys that these certificates give to a checkpoint's log, where a known root signed them.
///
/// A key signs for the sizes from its own epoch's beginning to that of the next. A certificate that
/// no known root signed is passed over; one that a root is said to have signed and didn't is an error.
pub(super) fn certified<'a>(
    notes: impl Iterator<Item = &'a String>,
    roots: &[NoteKey],
    checkpoint: &Checkpoint,
) -> Result<Vec<NoteKey>, String> {
    let mut epochs = Vec::new();
    for note in notes {
        let note = Note::parse(note).map_err(|error| format!("a key's certificate: {error}"))?;
        let Some(epoch) = Epoch::parse(note.text()) else {
            return Err("a key's certificate can't be read".to_owned());
        };
        if epoch.origin != checkpoint.origin || epoch.key.name() != checkpoint.origin {
            return Err("a key's certificate is for another log".to_owned());
        }
        for root in roots {
            match root.check(&note) {
                Signed::Valid { .. } => {
                    epochs.push(epoch);
                    break;
                }
                Signed::Broken => {
                    return Err(format!(
                        "the signature beneath the certificate of epoch {} isn't that of root `{}`",
                        epoch.number,
                        root.name()
                    ));
                }
                Signed::Absent => {}
            }
        }
    }
    let within = |epoch: &Epoch| {
        let later = epochs.iter().filter(|other| other.number > epoch.number);
        epoch.from <= checkpoint.size && later.map(|o| o.from).all(|end| checkpoint.size <= end)
    };
    Ok(epochs.iter().filter(|epoch| within(epoch)).map(|epoch| epoch.key.clone()).collect())
}
