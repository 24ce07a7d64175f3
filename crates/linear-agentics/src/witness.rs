//! A witness of logs, to be run by somebody else than the logs: it cosigns a checkpoint that only adds to
//! the one before, and remembers durably what it cosigned. `lar witness` serves it.

mod serve;
mod store;

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use lar_core::audit::note::{KeyKind, KeySigner, NoteError, NoteKey, NoteSigner as _};
use lar_core::audit::witness::{AddCheckpoint, Unwitnessable, judge};

use crate::keys::{KeyError, read_private_key, write_private_key};
use store::Store;

pub use serve::serve;

/// A witness can't be set up or can't go on.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// Its key can't be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Its name can't be one.
    #[error("{0}")]
    Name(#[from] NoteError),
    /// What it remembers can't be read or written.
    #[error("the witness's directory `{path}`: {why}")]
    Store {
        /// The file or directory.
        path: String,
        /// What is wrong, and what to do.
        why: String,
    },
}

/// A witness with its key and with all that it has cosigned.
#[derive(Debug)]
pub struct Witness {
    signer: KeySigner,
    logs: Vec<NoteKey>,
    store: Mutex<Store>,
}

/// Why there is no cosignature.
#[derive(Debug, thiserror::Error)]
pub enum Uncosigned {
    /// The rule forbids it.
    #[error(transparent)]
    Refused(#[from] Unwitnessable),
    /// It couldn't be kept, so that it isn't given.
    #[error(transparent)]
    Failed(#[from] WitnessError),
}

impl Witness {
    /// Makes a witness with a new key in a directory that holds none.
    ///
    /// # Errors
    /// When there is one already, or it can't be written.
    pub fn create(directory: &Path, name: &str) -> Result<NoteKey, WitnessError> {
        let secret = write_private_key(&directory.join(KEY))?;
        let key = KeySigner::new(name, KeyKind::Cosignature, secret)?;
        store::write_new(&directory.join(NAME), name.as_bytes())?;
        Ok(key.key().clone())
    }

    /// Opens the witness in a directory, for the logs with these keys. No other process can open it as
    /// long as this one has it.
    ///
    /// # Errors
    /// When it can't be read. A witness that can't tell what it cosigned cosigns nothing.
    pub fn open(directory: &Path, logs: Vec<NoteKey>) -> Result<Self, WitnessError> {
        let store = Store::open(directory)?;
        let name = store::read(&directory.join(NAME))?;
        let secret = read_private_key(&directory.join(KEY))?;
        let signer = KeySigner::new(name.trim_end(), KeyKind::Cosignature, secret)?;
        Ok(Self { signer, logs, store: Mutex::new(store) })
    }

    /// The key that its cosignatures are checked with.
    pub fn key(&self) -> &NoteKey {
        self.signer.key()
    }

    /// Cosigns what a request asks for, if it may. What it cosigned is on disk before this returns.
    /// Returns the line of the signature.
    ///
    /// # Errors
    /// Says why not. Nothing has changed then.
    pub fn add_checkpoint(&self, body: &str) -> Result<String, Uncosigned> {
        let request = AddCheckpoint::parse(body).ok_or(Unwitnessable::Malformed)?;
        // One after the other: between the look at what is known and the write, nobody else writes.
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        let judged = judge(&request, &self.logs, |origin| store.latest(origin).cloned());
        let (mut note, checkpoint) = match judged {
            Ok(taken) => taken,
            Err(refusal) => {
                if refusal.accuses() {
                    store.keep_evidence(&request)?;
                }
                return Err(refusal.into());
            }
        };
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let signature = self.signer.cosign(note.text(), time);
        let line = format!("{signature}\n");
        note.add(signature);
        store.keep(checkpoint, &note.to_string())?;
        Ok(line)
    }
}

const KEY: &str = "key.pem";
const NAME: &str = "name";

#[cfg(test)]
mod tests {
    use lar_core::audit::checkpoint::Checkpoint;
    use lar_core::audit::note::{Note, NoteSignature, Signed};
    use lar_core::audit::tree::{Frontier, leaf_hash};
    use lar_core::json::Digest;

    use super::*;

    const ORIGIN: &str = "lar-ledger/test";

    fn log() -> KeySigner {
        let secret = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
        KeySigner::new(ORIGIN, KeyKind::Ed25519, secret).unwrap()
    }

    fn request(old: u64, proof: Vec<Digest>, leaves: &[&str]) -> (String, String) {
        let mut tree = Frontier::default();
        leaves.iter().for_each(|leaf| tree.push(leaf_hash(leaf.as_bytes())).unwrap());
        let size = leaves.len() as u64;
        let new = Checkpoint { origin: ORIGIN.into(), size, root: tree.root() };
        let checkpoint = new.sign(&log()).unwrap().to_string();
        (AddCheckpoint { old, proof, checkpoint: checkpoint.clone() }.text(), checkpoint)
    }

    #[test]
    fn it_remembers_what_it_cosigned_and_refuses_to_go_back() {
        let home = tempfile::tempdir().unwrap();
        let place = home.path().join("w");
        let key = Witness::create(&place, "witness.example/w1").unwrap();
        assert!(Witness::create(&place, "witness.example/w1").is_err(), "never replaced");
        let open = || Witness::open(&place, vec![log().key().clone()]);
        let witness = open().unwrap();
        assert!(open().unwrap_err().to_string().contains("another process"));
        assert_eq!(witness.key(), &key);
        let (body, checkpoint) = request(0, vec![], &["a", "b"]);
        let line = witness.add_checkpoint(&body).unwrap();
        let mut note = Note::parse(&checkpoint).unwrap();
        note.add(NoteSignature::parse(line.trim_end()).unwrap());
        assert!(
            matches!(key.check(&note), Signed::Valid { time: Some(time) } if time > 1_700_000_000)
        );

        // After a restart it still knows.
        drop(witness);
        let witness = open().unwrap();
        let refused = |body: &str| match witness.add_checkpoint(body).unwrap_err() {
            Uncosigned::Refused(refusal) => refusal,
            Uncosigned::Failed(error) => panic!("{error}"),
        };
        assert_eq!(refused(&request(0, vec![], &["a"]).0), Unwitnessable::OtherSize { size: 2 });
        assert_eq!(refused(&request(2, vec![], &["a", "x"]).0), Unwitnessable::Forked { size: 2 });
        let proof = vec![leaf_hash(b"c")];
        let forked = request(2, proof.clone(), &["a", "x", "c"]);
        assert_eq!(refused(&forked.0), Unwitnessable::Inconsistent);
        witness.add_checkpoint(&request(2, proof, &["a", "b", "c"]).0).unwrap();
        // Both forks were signed by the log: they are kept.
        let kept = std::fs::read_dir(place.join("forks")).unwrap().count();
        assert_eq!(kept, 2);
    }

    #[test]
    fn a_witness_that_lost_its_memory_doesnt_open() {
        let home = tempfile::tempdir().unwrap();
        let place = home.path().join("w");
        Witness::create(&place, "w").unwrap();
        let open = || Witness::open(&place, vec![log().key().clone()]);
        open().unwrap().add_checkpoint(&request(0, vec![], &["a"]).0).unwrap();
        let logs = place.join("logs");
        let file = std::fs::read_dir(&logs).unwrap().next().unwrap().unwrap().path();
        std::fs::write(&file, "").unwrap();
        assert!(open().unwrap_err().to_string().contains("restore"), "cut");
        // A write that fails gives no cosignature, and changes nothing.
        std::fs::remove_file(&file).unwrap();
        let witness = open().unwrap();
        std::fs::remove_dir(&logs).unwrap();
        std::fs::write(&logs, "").unwrap();
        let failed = witness.add_checkpoint(&request(0, vec![], &["a"]).0).unwrap_err();
        assert!(matches!(failed, Uncosigned::Failed(_)), "{failed}");
        std::fs::remove_file(&logs).unwrap();
        std::fs::create_dir(&logs).unwrap();
        witness.add_checkpoint(&request(0, vec![], &["b"]).0).unwrap();
    }
}
