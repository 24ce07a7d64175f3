//! Outputs and long arguments kept beside the record: the redacted bytes, each in a file named by the SHA-256
//! under which the record names them.
//!
//! Nothing that is kept was ever unredacted, and no run fails because something can't be kept: it says so.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use lar_core::json::Digest;

/// The most bytes of one output that are kept. What is longer stands in the record by its digest alone.
pub const MOST_BYTES: u64 = 256 << 20;

/// A directory in which outputs are kept. Clones are handles on the same one.
#[derive(Debug, Clone)]
pub struct Kept {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    next: AtomicU64,
    /// Why something was not kept, the first time.
    trouble: Mutex<Option<String>>,
}

impl Kept {
    /// A directory, which is made with mode 0700 where it isn't there.
    ///
    /// # Errors
    /// When it can't be made or written to.
    pub fn within(directory: &Path) -> io::Result<Self> {
        match DirBuilder::new().mode(0o700).create(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let directory = directory.canonicalize()?;
        let kept = Self {
            inner: Arc::new(Inner {
                directory,
                next: AtomicU64::new(0),
                trouble: Mutex::default(),
            }),
        };
        let (path, _) = kept.draft()?;
        fs::remove_file(path)?;
        Ok(kept)
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.inner.directory
    }

    /// Begins to keep an output.
    pub(crate) fn begin(&self) -> Keeping {
        match self.draft() {
            Ok((path, file)) => Keeping { kept: self.clone(), path, file: Some(file), bytes: 0 },
            Err(error) => {
                self.trouble(&error.kind().to_string());
                Keeping { kept: self.clone(), path: PathBuf::new(), file: None, bytes: 0 }
            }
        }
    }

    /// Keeps a whole text.
    pub(crate) fn keep(&self, text: &str) {
        let digest = Digest::of(text.as_bytes());
        if !text.is_empty() && !self.inner.directory.join(digest.to_string()).is_file() {
            let mut keeping = self.begin();
            keeping.write(text.as_bytes());
            keeping.finish(&digest);
        }
    }

    /// Why something was not kept, once.
    pub(crate) fn take_trouble(&self) -> Option<String> {
        self.inner.trouble.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn trouble(&self, why: &str) {
        let mut trouble = self.inner.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.get_or_insert_with(|| why.to_owned());
    }

    fn draft(&self) -> io::Result<(PathBuf, File)> {
        let number = self.inner.next.fetch_add(1, Ordering::Relaxed);
        let name = format!(".draft-{}-{number}", std::process::id());
        let path = self.inner.directory.join(name);
        // Left by a process that was killed and had the same number.
        let _ = fs::remove_file(&path);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok((path, file))
    }
}

/// An output on its way into a file. What isn't finished is removed.
pub(crate) struct Keeping {
    kept: Kept,
    path: PathBuf,
    file: Option<File>,
    bytes: u64,
}

impl Keeping {
    /// Takes the next redacted bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        let Some(file) = &mut self.file else { return };
        let why = if self.bytes > MOST_BYTES {
            format!("an output is longer than the {MOST_BYTES} bytes that are kept")
        } else if let Err(error) = file.write_all(bytes) {
            error.kind().to_string()
        } else {
            return;
        };
        self.kept.trouble(&why);
        self.discard();
    }

    /// Gives the file its name. Nothing is kept of an output without bytes.
    pub(crate) fn finish(mut self, digest: &Digest) {
        if self.bytes == 0 {
            return self.discard();
        }
        let Some(file) = self.file.take() else { return };
        let name = self.kept.inner.directory.join(digest.to_string());
        if let Err(error) = file.sync_all().and_then(|()| fs::rename(&self.path, name)) {
            self.kept.trouble(&error.kind().to_string());
            let _ = fs::remove_file(&self.path);
        }
    }

    fn discard(&mut self) {
        if self.file.take().is_some() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        self.discard();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_named_by_its_digest_and_nothing_else_is_left() {
        let place = tempfile::tempdir().unwrap();
        let kept = Kept::within(&place.path().join("outputs")).unwrap();
        kept.keep("one");
        kept.keep("one");
        kept.keep("");
        drop({
            let mut keeping = kept.begin();
            keeping.write(b"never finished");
            keeping
        });
        let mut long = kept.begin();
        long.bytes = MOST_BYTES;
        long.write(b"x");
        long.finish(&Digest::of(b"x"));
        let files: Vec<_> = fs::read_dir(kept.directory()).unwrap().map(Result::unwrap).collect();
        let [file] = files.as_slice() else { panic!("{files:?}") };
        assert_eq!(file.file_name().to_str(), Some(Digest::of(b"one").to_string().as_str()));
        assert_eq!(fs::read(file.path()).unwrap(), b"one");
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let directory = fs::metadata(kept.directory()).unwrap().permissions().mode();
        assert_eq!(directory & 0o777, 0o700);
        assert!(kept.take_trouble().unwrap().contains("longer than"));
        assert_eq!(kept.take_trouble(), None);
        fs::remove_dir_all(kept.directory()).unwrap();
        kept.keep("two");
        assert!(kept.take_trouble().is_some());
    }
}
