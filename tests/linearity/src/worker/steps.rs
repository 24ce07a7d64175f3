//! Named steps at which this process kills itself, and the moments in between.

use std::fs::File;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where the process dies: at the step of that name, when it is reached for the `count`th time.
#[derive(Debug)]
pub struct Steps {
    deadly: Option<(String, u64)>,
    seen: AtomicU64,
    random: Mutex<u64>,
}

impl Steps {
    /// Reads `NAME:COUNT` from `LINEARITY_STEP`, and the seed of what is random.
    pub fn from_env() -> Self {
        let step = std::env::var("LINEARITY_STEP").ok();
        let deadly = step.and_then(|step| {
            let (name, count) = step.rsplit_once(':')?;
            Some((name.to_owned(), count.parse().ok()?))
        });
        let seed = std::env::var("LINEARITY_SEED").ok().and_then(|seed| seed.parse().ok());
        Self { deadly, seen: AtomicU64::new(0), random: Mutex::new(seed.unwrap_or(7) | 1) }
    }

    /// A step is reached. No destructor runs and nothing is flushed where it is the deadly one: the
    /// signal is the one that the driver sends at other moments.
    pub fn at(&self, step: &str) {
        if let Some((name, count)) = &self.deadly
            && name == step
            && self.seen.fetch_add(1, Ordering::SeqCst) + 1 == *count
        {
            let me = rustix::process::getpid();
            rustix::process::kill_process(me, rustix::process::Signal::KILL).unwrap();
            // Another thread may run on for a moment, this one must not.
            loop {
                std::thread::park();
            }
        }
    }

    /// A number below `most` (xorshift).
    pub fn below(&self, most: u64) -> u64 {
        let mut random = self.random.lock().unwrap();
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        *random % most
    }
}

/// A file that only grows, a line at a time, each by one `write` (`O_APPEND`).
#[derive(Debug)]
pub struct Lines(File);

impl Lines {
    /// Opens the file that a variable names.
    pub fn from_env(variable: &str) -> Option<Self> {
        let path = std::env::var_os(variable)?;
        Some(Self(File::options().create(true).append(true).open(path).unwrap()))
    }

    /// Adds a line.
    pub fn add(&self, line: &str) {
        (&self.0).write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}
