//! What was last seen of a ledger on this machine, kept apart from it: a ledger that was replaced by an
//! older copy is behind it, and its uses may have been spent since.
//!
//! It is written after each commit, so that it is never ahead of what is durable, and isn't waited for:
//! a loss of power can lose the last of it. Who replaces both has to be caught by a witness.

use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use lar_core::json::Digest;
use lar_core::ledger::{LedgerError, LedgerId};

/// What is seen of a ledger at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sight {
    pub(crate) epoch: u64,
    /// How many records its log has.
    pub(crate) size: u64,
    /// The root over them.
    pub(crate) root: Digest,
}

/// The length of what is written, so that a shorter number leaves nothing of a longer one.
const LENGTH: usize = 128;

/// The place where it is kept.
#[derive(Debug)]
pub(crate) struct LastSeen {
    path: PathBuf,
    file: Option<File>,
}

impl LastSeen {
    /// The one of this ledger.
    pub(crate) fn of(directory: &Path, ledger: &LedgerId) -> Self {
        Self { path: directory.join(ledger.as_str()), file: None }
    }

    /// What was last seen, if anything was.
    pub(crate) fn read(&self) -> Result<Option<Sight>, LedgerError> {
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.cannot(&error)),
        };
        // A loss of power can leave an empty file.
        if text.trim_matches(['\0', '\n', ' ']).is_empty() {
            return Ok(None);
        }
        parse(&text).map(Some).ok_or_else(|| {
            LedgerError::Unavailable(format!(
                "what was last seen of it can't be read; if nobody has replaced the ledger, delete `{}` \
                 and run again",
                self.path.display()
            ))
        })
    }

    /// Refuses a ledger that is behind what was last seen, or went another way from there. `root_at`
    /// tells its root over so many records. `now` is asked after what was seen is read: another process
    /// may commit in between, and then the ledger is ahead.
    pub(crate) fn check(
        &mut self,
        now: impl FnOnce() -> Result<Sight, LedgerError>,
        root_at: impl FnOnce(u64) -> Result<Digest, LedgerError>,
    ) -> Result<(), LedgerError> {
        let Some(seen) = self.read()? else {
            return Ok(());
        };
        let now = now()?;
        let what = if now.size < seen.size {
            format!("it has {} records, and {} were seen here before", now.size, seen.size)
        } else if now.epoch < seen.epoch {
            format!("it is in epoch {}, and epoch {} was seen here before", now.epoch, seen.epoch)
        } else if root_at(seen.size)? != seen.root {
            format!("its first {} records are others than were seen here before", seen.size)
        } else {
            return Ok(());
        };
        Err(LedgerError::Damaged(format!(
            "an older copy has taken its place: {what}, so that uses which were spent would be fresh \
             again. Put the newer one back; or, if that one is lost, go on with `lar ledger \
             accept-restored`, after which no grant issued so far takes a further spend"
        )))
    }

    /// Keeps what is seen now.
    pub(crate) fn note(&mut self, sight: Sight) -> Result<(), LedgerError> {
        if self.file.is_none() {
            self.file = Some(self.open().map_err(|error| self.cannot(&error))?);
        }
        let line = format!("epoch {} size {} root {}", sight.epoch, sight.size, sight.root);
        let line = format!("{line:<width$}\n", width = LENGTH - 1);
        match &self.file {
            Some(file) => {
                file.write_all_at(line.as_bytes(), 0).map_err(|error| self.cannot(&error))
            }
            None => Ok(()),
        }
    }

    fn open(&self) -> std::io::Result<File> {
        if let Some(directory) = self.path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        }
        fs::OpenOptions::new().create(true).write(true).truncate(false).mode(0o600).open(&self.path)
    }

    fn cannot(&self, error: &std::io::Error) -> LedgerError {
        LedgerError::Unavailable(format!("`{}`: {}", self.path.display(), error.kind()))
    }
}

fn parse(text: &str) -> Option<Sight> {
    let mut words = text.split_whitespace();
    let mut value = |name: &str| words.next().filter(|word| *word == name).and(words.next());
    let (epoch, size, root) = (value("epoch")?, value("size")?, value("root")?);
    let (epoch, size) = (epoch.parse().ok()?, size.parse().ok()?);
    let sight = Sight { epoch, size, root: root.parse().ok()? };
    words.next().is_none().then_some(sight)
}
