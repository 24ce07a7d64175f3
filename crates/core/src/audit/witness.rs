//! What a witness does (<https://c2sp.org/tlog-witness>): it cosigns a log's checkpoint when that only
//! adds to the one that it cosigned last, and so sees to it that there is one log and that it never goes
//! back. The request's form and the rule stand here; whoever serves it keeps what was cosigned.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::checkpoint::Checkpoint;
use super::note::{KeyKind, Note, NoteKey, Signed};
use super::scan;
use super::tree::verify_consistency;
use crate::json::Digest;

/// The most bytes that a request may have.
pub const MOST_BYTES: usize = 64 << 10;

/// The most hashes that a consistency proof may have.
const MOST_HASHES: usize = 63;

/// The body of `add-checkpoint`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// The size of the checkpoint that the witness cosigned last, as the log knows it.
    pub old: u64,
    /// The proof that the new one only adds to it.
    pub proof: Vec<Digest>,
    /// The new one, as a signed note.
    pub checkpoint: String,
}

impl AddCheckpoint {
    /// The body's text.
    pub fn text(&self) -> String {
        let line = |hash: &Digest| format!("{}\n", STANDARD.encode(hash.as_bytes()));
        let proof: String = self.proof.iter().map(line).collect();
        format!("old {}\n{proof}\n{}", self.old, self.checkpoint)
    }

    /// Reads a body.
    pub fn parse(text: &str) -> Option<Self> {
        let (head, checkpoint) = text.split_once("\n\n")?;
        let mut lines = head.split('\n');
        let old = scan::number(lines.next()?.strip_prefix("old ")?)?;
        let hash = |line: &str| STANDARD.decode(line).ok()?.try_into().ok().map(Digest::from_bytes);
        let proof: Vec<Digest> = lines.take(MOST_HASHES + 1).map(hash).collect::<Option<_>>()?;
        let read = Self { old, proof, checkpoint: checkpoint.to_owned() };
        // One request, one spelling.
        (read.proof.len() <= MOST_HASHES && read.text() == text).then_some(read)
    }
}

/// Why a checkpoint isn't cosigned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unwitnessable {
    /// It isn't a request.
    #[error("it is not a request to add a checkpoint")]
    Malformed,
    /// The witness doesn't know the log.
    #[error("the log is not known here")]
    UnknownLog,
    /// None of the log's keys signed it.
    #[error("no known key of the log signed it")]
    Unsigned,
    /// The log took another one for the last than it was. It asks again with this size.
    #[error("the checkpoint that was cosigned last has {size} records")]
    OtherSize {
        /// The size of the one that was cosigned last.
        size: u64,
    },
    /// It has as many records as the last one, and another root.
    #[error("another checkpoint of {size} records was cosigned before: the log was forked")]
    Forked {
        /// The size of both.
        size: u64,
    },
    /// The proof doesn't show that it only adds to the last one.
    #[error("the proof doesn't lead from the checkpoint that was cosigned last to this one")]
    Inconsistent,
}

impl Unwitnessable {
    /// The HTTP status that says so.
    pub fn status(&self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::UnknownLog => 404,
            Self::Unsigned => 403,
            Self::OtherSize { .. } | Self::Forked { .. } => 409,
            Self::Inconsistent => 422,
        }
    }

    /// Whether a signed checkpoint was shown that can't be of the same log: worth keeping.
    pub fn accuses(&self) -> bool {
        matches!(self, Self::Forked { .. } | Self::Inconsistent)
    }
}

/// Whether a witness that knows these keys of logs, and that cosigned `known` last, may cosign what is
/// asked for. Who gets an `Ok` keeps the new checkpoint durably before the cosignature is shown to
/// anybody, and asks about no other one meanwhile.
///
/// # Errors
/// Says why not. What was known stays.
pub fn judge(
    request: &AddCheckpoint,
    keys: &[NoteKey],
    known: impl FnOnce(&str) -> Option<Checkpoint>,
) -> Result<(Note, Checkpoint), Unwitnessable> {
    let note = Note::parse(&request.checkpoint).map_err(|_| Unwitnessable::Malformed)?;
    let new = Checkpoint::parse(note.text()).map_err(|_| Unwitnessable::Malformed)?;
    let mut of_log = keys.iter().filter(|key| key.name() == new.origin).peekable();
    if of_log.peek().is_none() {
        return Err(Unwitnessable::UnknownLog);
    }
    let signed = |key: &NoteKey| {
        key.kind() == KeyKind::Ed25519 && matches!(key.check(&note), Signed::Valid { .. })
    };
    if !of_log.any(signed) {
        return Err(Unwitnessable::Unsigned);
    }
    if request.old > new.size {
        return Err(Unwitnessable::Malformed);
    }
    let known = known(&new.origin);
    let size = known.as_ref().map_or(0, |known| known.size);
    if request.old != size {
        return Err(Unwitnessable::OtherSize { size });
    }
    let empty = Digest::of(b"");
    let root = known.as_ref().map_or(empty, |known| known.root);
    if size == new.size && root != new.root {
        return Err(Unwitnessable::Forked { size });
    }
    verify_consistency(size, &root, new.size, &new.root, &request.proof)
        .map_err(|_| Unwitnessable::Inconsistent)?;
    Ok((note, new))
}

#[cfg(test)]
mod tests {
    use super::super::note::KeySigner;
    use super::super::tree::{Frontier, leaf_hash};
    use super::*;

    const ORIGIN: &str = "lar-ledger/test";

    fn log() -> KeySigner {
        let secret = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
        KeySigner::new(ORIGIN, KeyKind::Ed25519, secret).unwrap()
    }

    /// A checkpoint over `size` leaves that say `what`.
    fn checkpoint(size: u64, what: &str) -> Checkpoint {
        let mut tree = Frontier::default();
        for leaf in 0..size {
            tree.push(leaf_hash(format!("{what} {leaf}").as_bytes())).unwrap();
        }
        Checkpoint { origin: ORIGIN.into(), size, root: tree.root() }
    }

    fn asks(old: u64, proof: Vec<Digest>, new: &Checkpoint) -> AddCheckpoint {
        use super::super::note::NoteSigner;
        let log = log();
        assert_eq!(log.key().name(), ORIGIN);
        AddCheckpoint { old, proof, checkpoint: new.sign(&log).unwrap().to_string() }
    }

    fn judged(
        request: &AddCheckpoint,
        known: Option<Checkpoint>,
    ) -> Result<Checkpoint, Unwitnessable> {
        use super::super::note::NoteSigner;
        judge(request, &[log().key().clone()], |_| known).map(|(_, new)| new)
    }

    #[test]
    fn a_request_has_one_spelling() {
        let request = asks(3, vec![Digest::of("a"), Digest::of("b")], &checkpoint(5, "x"));
        assert_eq!(AddCheckpoint::parse(&request.text()), Some(request.clone()));
        for bad in [
            request.text().replace("old 3", "old 03"),
            request.text().replace("old 3", "old -3"),
            request.text().replace("old 3\n", "old 3\n\n"),
            request.text().replace("old 3\n", ""),
            String::new(),
        ] {
            assert_eq!(
                AddCheckpoint::parse(&bad).filter(|read| read.old == 3 && read.proof.len() == 2),
                None,
                "{bad}"
            );
        }
        let long = asks(1, vec![Digest::of("a"); 64], &checkpoint(2, "x"));
        assert_eq!(AddCheckpoint::parse(&long.text()), None);
    }

    #[test]
    fn what_only_adds_is_taken_and_nothing_else() {
        let (one, two) = (checkpoint(1, "x"), checkpoint(2, "x"));
        assert_eq!(judged(&asks(0, vec![], &one), None), Ok(one.clone()));
        let proof = vec![leaf_hash(b"x 1")];
        assert_eq!(judged(&asks(1, proof.clone(), &two), Some(one.clone())), Ok(two.clone()));
        assert_eq!(judged(&asks(2, vec![], &two), Some(two.clone())), Ok(two.clone()), "again");

        let refused = |request: AddCheckpoint, known: &Checkpoint| {
            judged(&request, Some(known.clone())).unwrap_err()
        };
        // Rolled back: by its own word, and by a lie about what was before.
        assert_eq!(refused(asks(2, vec![], &one), &two), Unwitnessable::Malformed);
        assert_eq!(refused(asks(1, vec![], &one), &two), Unwitnessable::OtherSize { size: 2 });
        assert_eq!(refused(asks(0, vec![], &one), &two), Unwitnessable::OtherSize { size: 2 });
        // Forked: at the same size, and with a longer history of another kind.
        let fork = checkpoint(2, "y");
        assert_eq!(refused(asks(2, vec![], &fork), &two), Unwitnessable::Forked { size: 2 });
        let longer = checkpoint(3, "y");
        let proof = vec![leaf_hash(b"y 2")];
        assert_eq!(refused(asks(2, proof, &longer), &two), Unwitnessable::Inconsistent);
        assert_eq!(refused(asks(1, vec![], &two), &one), Unwitnessable::Inconsistent);
        // Of somebody else.
        let other = Checkpoint { origin: "lar-ledger/other".into(), ..two.clone() };
        assert_eq!(refused(asks(2, vec![], &other), &two), Unwitnessable::UnknownLog);
        let mut forged = asks(2, vec![], &two);
        forged.checkpoint = forged.checkpoint.replace("\n2\n", "\n3\n");
        assert_eq!(refused(forged, &two), Unwitnessable::Unsigned);
    }
}
