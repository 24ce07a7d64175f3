//! What was last seen of a ledger on this machine, kept apart from it: a ledger that was replaced by an
//! older copy is behind it, and its uses may have been spent since.
//!
//! It is written after each commit, so that it is never ahead of what is durable, and isn't waited for:
//! a loss of power can lose the last of it. Who replaces both has to be caught by a witness.

use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use lar_core::id::RunId;
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

impl Sight {
    /// In which way this is behind what was seen before, if it is.
    pub(crate) fn behind(&self, seen: &Self) -> Option<String> {
        if self.size < seen.size {
            let (now, then) = (self.size, seen.size);
            Some(format!("it has {now} records, and {then} were seen here before"))
        } else if self.epoch < seen.epoch {
            let (now, then) = (self.epoch, seen.epoch);
            Some(format!("it is in epoch {now}, and epoch {then} was seen here before"))
        } else {
            None
        }
    }

    /// What is said where its root is another one.
    pub(crate) fn forked(&self) -> String {
        format!("its first {} records are others than were seen here before", self.size)
    }
}

/// A record that was acknowledged, where the log doesn't hold it at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) run: RunId,
    pub(crate) seq: u64,
    pub(crate) hash: Digest,
}

impl Mark {
    /// What is said where it isn't there.
    pub(crate) fn missing(&self) -> String {
        format!(
            "record {} of run `{}`, which was acknowledged here, isn't in it",
            self.seq, self.run
        )
    }
}

/// The length of what is written, so that a shorter number leaves nothing of a longer one.
const LENGTH: usize = 384;

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
    pub(crate) fn read(&self) -> Result<Option<(Sight, Option<Mark>)>, LedgerError> {
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
        let Some((seen, _)) = self.read()? else {
            return Ok(());
        };
        match now()?.behind(&seen) {
            Some(what) => Err(older(&what)),
            None if root_at(seen.size)? != seen.root => Err(older(&seen.forked())),
            None => Ok(()),
        }
    }

    /// Keeps what is seen now.
    pub(crate) fn note(&mut self, sight: Sight, mark: Option<&Mark>) -> Result<(), LedgerError> {
        if self.file.is_none() {
            self.file = Some(self.open().map_err(|error| self.cannot(&error))?);
        }
        let mut line = format!("epoch {} size {} root {}", sight.epoch, sight.size, sight.root);
        if let Some(Mark { run, seq, hash }) = mark {
            line.push_str(&format!(" run {run} seq {seq} hash {hash}"));
        }
        let mut line = line.into_bytes();
        line.resize(line.len().max(LENGTH - 1), b' ');
        line.push(b'\n');
        match &self.file {
            Some(file) => file.write_all_at(&line, 0).map_err(|error| self.cannot(&error)),
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

/// What is said of a ledger that is behind what was seen.
pub(crate) fn older(what: &str) -> LedgerError {
    LedgerError::Damaged(format!(
        "an older copy has taken its place: {what}, so that uses which were spent would be fresh \
         again. Put the newer one back; or, if that one is lost, go on with `lar ledger \
         accept-restored`, after which no grant issued so far takes a further spend"
    ))
}

fn parse(text: &str) -> Option<(Sight, Option<Mark>)> {
    let mut words = text.split_whitespace().peekable();
    let mut value = |name: &str| words.next().filter(|word| *word == name).and(words.next());
    let (epoch, size, root) = (value("epoch")?, value("size")?, value("root")?);
    let (epoch, size) = (epoch.parse().ok()?, size.parse().ok()?);
    let sight = Sight { epoch, size, root: root.parse().ok()? };
    let Some(_) = words.peek() else { return Some((sight, None)) };
    let mut value = |name: &str| words.next().filter(|word| *word == name).and(words.next());
    let (run, seq, hash) = (value("run")?, value("seq")?, value("hash")?);
    let run = RunId::new(run).ok()?;
    let mark = Mark { run, seq: seq.parse().ok()?, hash: hash.parse().ok()? };
    words.next().is_none().then_some((sight, Some(mark)))
}
