//! The witnesses that are asked before each effect, and what they remember at the end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use lar_core::audit::checkpoint::Checkpoint;
use lar_core::audit::note::{Note, NoteKey, Signed};
use lar_core::audit::record::Anchor;
use lar_core::call::Spent;
use lar_core::json::Digest;
use lar_core::ledger::RunLedger;
use lar_runtime::stop::Stop;
use lar_runtime::witness::{self, Witnessing};

/// The file that names them, a line `KEY DIRECTORY URL` for each. They come back at another address
/// each time, so that it is read again before each question.
pub struct Witnesses {
    file: PathBuf,
    asked: Mutex<Option<(String, Arc<witness::Witnesses>)>>,
}

impl Witnesses {
    pub fn from_env() -> Self {
        let file = std::env::var_os("LINEARITY_WITNESSES").unwrap();
        Self { file: file.into(), asked: Mutex::default() }
    }

    fn text(&self) -> Result<String, String> {
        std::fs::read_to_string(&self.file).map_err(|error| format!("no witness stands: {error}"))
    }

    fn now(&self) -> Result<Arc<witness::Witnesses>, String> {
        let text = self.text()?;
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, same)) = asked.as_ref().filter(|(known, _)| *known == text) {
            return Ok(Arc::clone(same));
        }
        let named = text.lines().filter_map(|line| {
            let (key, rest) = line.split_once(' ')?;
            Some((rest.rsplit_once(' ')?.1.to_owned(), key.to_owned()))
        });
        let policy = Witnessing::new(named, Some(1), None).map_err(|error| error.to_string())?;
        let new = Arc::new(witness::Witnesses::new(policy)?);
        *asked = Some((text, Arc::clone(&new)));
        Ok(new)
    }

    /// The product's own wait before an effect.
    pub async fn before_effect(&self, spent: &Spent, run: &RunLedger) -> Result<(), String> {
        let witnesses = self.now()?;
        witness::before_effect(Some(&witnesses), spent, run, &Stop::default()).await
    }

    /// What each of them remembers, after all of them were killed.
    pub fn memories(&self) -> Result<Vec<Memory>, String> {
        let text = self.text()?;
        text.lines().map(Memory::read).collect()
    }
}

/// The last checkpoint that a witness has on its disk.
pub struct Memory {
    key: NoteKey,
    last: Option<Checkpoint>,
}

impl Memory {
    fn read(line: &str) -> Result<Self, String> {
        let (key, rest) = line.split_once(' ').ok_or("a witness without a key")?;
        let key: NoteKey = key.parse().map_err(|_| "a witness's key is none")?;
        let directory = Path::new(rest.rsplit_once(' ').ok_or("a witness without a place")?.0);
        let files = |name| {
            let files = std::fs::read_dir(directory.join(name));
            let files = files.map_err(|error| error.to_string())?;
            let paths = files.map(|file| file.map(|file| file.path()));
            paths.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())
        };
        if !files("forks")?.is_empty() {
            return Err(format!("the log was forked before witness `{}`", key.name()));
        }
        let mut last = None;
        for file in files("logs")?.iter().filter(|file| file.extension().is_none()) {
            let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
            let note = Note::parse(&text).map_err(|error| error.to_string())?;
            if !cosigned(&key, &note) {
                return Err(format!("witness `{}` remembers what it didn't cosign", key.name()));
            }
            last = Some(Checkpoint::parse(note.text()).map_err(|error| error.to_string())?);
        }
        Ok(Self { key, last })
    }
}

fn cosigned(key: &NoteKey, note: &Note) -> bool {
    matches!(key.check(note), Signed::Valid { time: Some(_) })
}

/// Roots that witnesses have cosigned, by the size of the log.
#[derive(Debug, Default)]
pub struct Vouched {
    roots: BTreeMap<u64, Digest>,
    /// The largest size that each key has cosigned on record.
    largest: BTreeMap<[u8; 4], u64>,
}

impl Vouched {
    /// Takes what a run recorded before an effect: a checkpoint over the log with the intent's place in
    /// it, cosigned by one of the witnesses at least.
    pub fn anchor(
        &mut self,
        anchor: &Anchor,
        place: u64,
        witnesses: &[Memory],
    ) -> Result<(), String> {
        let note = Note::parse(&anchor.checkpoint).map_err(|error| error.to_string())?;
        let stated = Checkpoint::parse(note.text()).map_err(|error| error.to_string())?;
        let by: Vec<_> = witnesses.iter().filter(|known| cosigned(&known.key, &note)).collect();
        if by.is_empty() || stated.size != anchor.size || place >= anchor.size {
            return Err(format!("the anchor of attempt {} doesn't hold", anchor.attempt));
        }
        for witness in by {
            let largest = self.largest.entry(witness.key.id()).or_default();
            *largest = stated.size.max(*largest);
        }
        self.stands(stated.size, stated.root)
    }

    /// Nobody has forgotten what was shown to have been cosigned.
    pub fn remembered(&mut self, witnesses: &[Memory]) -> Result<(), String> {
        for Memory { key, last } in witnesses {
            let largest = self.largest.get(&key.id()).copied().unwrap_or(0);
            let knows = last.as_ref().map_or(0, |last| last.size);
            if knows < largest {
                return Err(format!(
                    "witness `{}` has cosigned {largest} records and remembers {knows}",
                    key.name()
                ));
            }
            if let Some(last) = last {
                self.stands(last.size, last.root)?;
            }
        }
        Ok(())
    }

    fn stands(&mut self, size: u64, root: Digest) -> Result<(), String> {
        match *self.roots.entry(size).or_insert(root) == root {
            true => Ok(()),
            false => Err(format!("two roots over {size} records were cosigned")),
        }
    }

    /// A root that the log has had.
    pub fn check(&self, size: u64, root: &Digest) -> Result<(), String> {
        match self.roots.get(&size).is_none_or(|stands| stands == root) {
            true => Ok(()),
            false => Err(format!("another root over {size} records was cosigned")),
        }
    }

    /// Nothing beyond the log's end was cosigned.
    pub fn within(&self, size: u64) -> Result<(), String> {
        match self.roots.last_key_value() {
            Some((largest, _)) if *largest > size => {
                Err(format!("{largest} records were cosigned, and the log has {size}"))
            }
            _ => Ok(()),
        }
    }
}
