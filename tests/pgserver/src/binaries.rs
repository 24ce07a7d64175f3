//! Where PostgreSQL's programs are.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// The directory with a server's programs.
#[derive(Debug, Clone)]
pub(crate) struct Binaries(PathBuf);

impl Binaries {
    /// Looks on PATH, then where Debian puts them, the newest version first.
    pub(crate) fn find() -> Result<Self, String> {
        let path = env::var_os("PATH").unwrap_or_default();
        let on_path = env::split_paths(&path).map(|directory| directory.join("initdb"));
        // A link on PATH is followed: the other programs stand beside the one that it names.
        let on_path =
            on_path.filter_map(|file| file.canonicalize().ok()?.parent().map(Path::to_owned));
        let mut installed: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let version = entry.file_name().to_str()?.parse().ok()?;
                Some((version, entry.path().join("bin")))
            })
            .collect();
        installed.sort();
        on_path
            .chain(installed.into_iter().rev().map(|(_, directory)| directory))
            .find(|directory| {
                ["initdb", "postgres", "pg_ctl"].iter().all(|name| directory.join(name).is_file())
            })
            .map(Binaries)
            .ok_or_else(|| {
                "no PostgreSQL server is installed here; `cargo xtask test --install` installs one"
                    .to_owned()
            })
    }

    /// The path of a program. Some packages put the clients elsewhere than the server; those are
    /// looked up on PATH.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        let here = self.0.join(name);
        if here.is_file() { here } else { PathBuf::from(name) }
    }
}
