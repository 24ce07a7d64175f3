//! What a witness remembers: the checkpoint of each log that it cosigned last, a file a log, written
//! whole and durably before the cosignature is given.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use lar_core::audit::checkpoint::Checkpoint;
use lar_core::audit::note::Note;
use lar_core::audit::witness::AddCheckpoint;
use lar_core::json::Digest;
use rustix::fs::{FlockOperation, flock};

use super::WitnessError;

/// How many forks are kept as evidence. One is enough to accuse a log.
const MOST_FORKS: usize = 100;

#[derive(Debug)]
pub(super) struct Store {
    directory: PathBuf,
    latest: HashMap<String, Checkpoint>,
    /// Held as long as this lives.
    _lock: File,
}

fn error(path: &Path, why: &str) -> WitnessError {
    WitnessError::Store { path: path.display().to_string(), why: why.to_owned() }
}

fn failed(path: &Path, why: &std::io::Error) -> WitnessError {
    error(path, &why.kind().to_string())
}

impl Store {
    pub(super) fn open(directory: &Path) -> Result<Self, WitnessError> {
        let logs = directory.join("logs");
        for place in [&logs, &directory.join("forks")] {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(place);
            made.map_err(|why| failed(place, &why))?;
        }
        let place = directory.join("lock");
        let lock = fs::OpenOptions::new().create(true).append(true).mode(0o600).open(&place);
        let lock = lock.map_err(|why| failed(&place, &why))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| error(directory, "another process has this witness open; end that one"))?;
        let mut latest = HashMap::new();
        for entry in fs::read_dir(&logs).map_err(|why| failed(&logs, &why))? {
            let path = entry.map_err(|why| failed(&logs, &why))?.path();
            if path.extension().is_some_and(|extension| extension == "draft") {
                continue;
            }
            let text = read(&path)?;
            let checkpoint = Note::parse(&text).and_then(|note| Checkpoint::parse(note.text()));
            let checkpoint = checkpoint.map_err(|_| {
                error(
                    &path,
                    "it is not the checkpoint that was cosigned last; restore it from a backup",
                )
            })?;
            latest.insert(checkpoint.origin.clone(), checkpoint);
        }
        Ok(Self { directory: directory.to_owned(), latest, _lock: lock })
    }

    /// The checkpoint of a log that was cosigned last.
    pub(super) fn latest(&self, origin: &str) -> Option<&Checkpoint> {
        self.latest.get(origin)
    }

    /// Keeps the next one.
    pub(super) fn keep(&mut self, checkpoint: Checkpoint, note: &str) -> Result<(), WitnessError> {
        let name = Digest::of(checkpoint.origin.as_bytes()).to_string();
        replace(&self.directory.join("logs").join(name), note.as_bytes())?;
        self.latest.insert(checkpoint.origin.clone(), checkpoint);
        Ok(())
    }

    /// Keeps a checkpoint that the log signed and that can't be of the same history.
    pub(super) fn keep_evidence(&self, request: &AddCheckpoint) -> Result<(), WitnessError> {
        let forks = self.directory.join("forks");
        let kept = fs::read_dir(&forks).map_err(|why| failed(&forks, &why))?.count();
        let path = forks.join(Digest::of(request.checkpoint.as_bytes()).to_string());
        if kept < MOST_FORKS && !path.exists() {
            replace(&path, request.text().as_bytes())?;
        }
        Ok(())
    }
}

/// Writes a file whole and durably, in the place of the one that was there.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), WitnessError> {
    let draft = path.with_extension("draft");
    let written = (|| {
        let mut file = fs::OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    })();
    written.map_err(|why| failed(path, &why))
}

/// Writes a file that wasn't there.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), WitnessError> {
    if path.exists() { Err(error(path, "it is there already")) } else { replace(path, bytes) }
}

pub(super) fn read(path: &Path) -> Result<String, WitnessError> {
    fs::read_to_string(path).map_err(|why| failed(path, &why))
}
