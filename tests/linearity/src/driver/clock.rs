//! A clock that jumps: the processes see it through `libfaketime`, which reads an offset from a file.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::slot::Random;

/// Where Debian and others put the library.
const PLACES: [&str; 4] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/faketime/libfaketime.so.1",
    "/usr/lib64/faketime/libfaketime.so.1",
];

/// The shim, and the file that it reads.
#[derive(Debug)]
pub struct Clock {
    library: &'static str,
    file: PathBuf,
}

impl Clock {
    /// Finds the library.
    ///
    /// # Errors
    ///
    /// Says what is missing.
    pub fn find(directory: &Path) -> Result<Self, String> {
        let library =
            PLACES.into_iter().find(|place| Path::new(place).is_file()).ok_or_else(|| {
                "`libfaketime` is not installed; `cargo xtask test --install` installs it"
                    .to_owned()
            })?;
        let clock = Self { library, file: directory.join("clock") };
        clock.set(0);
        Ok(clock)
    }

    /// What a process must be told.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("LD_PRELOAD", self.library.to_owned()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
    }

    fn set(&self, seconds: i64) {
        let new = self.file.with_extension("new");
        fs::write(&new, format!("{seconds:+}\n")).unwrap();
        fs::rename(&new, &self.file).unwrap();
    }

    /// Jumps until told to stop: forward past the end of holds, back by less and by more than the
    /// ledger takes. At the end it stands as far ahead as it ever was.
    pub fn jump(&self, mut random: Random, done: impl Fn() -> bool) {
        let mut ahead = 0;
        while !done() {
            match random.below(10) {
                0..=3 => {
                    ahead += 130;
                    self.set(ahead);
                }
                4..=7 => self.set(ahead - 3),
                _ => {
                    self.set(ahead - 60);
                    std::thread::sleep(Duration::from_millis(random.below(60)));
                    self.set(ahead);
                }
            }
            std::thread::sleep(Duration::from_millis(40 + random.below(120)));
        }
        self.set(ahead);
    }
}
