//! Which file a program's name stands for: looked up once, when the run starts, in the operator's
//! PATH, and identified by what is in it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use lar_core::json::Digest;
use lar_core::outcome::ProgramIdentity;
use lar_core::scope::Scope;
use lar_core::scope::deploy::DeployMethod;
use lar_core::token::Token;
use lar_sandbox::FileIdentity;
use sha2::{Digest as _, Sha256};

/// Finds programs in a fixed list of directories that only root or the user can write.
#[derive(Debug, Clone)]
pub struct Programs {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    directories: Vec<PathBuf>,
    /// Directories of PATH that others can write, for the error message.
    left_out: Vec<PathBuf>,
    found: Mutex<HashMap<(String, PathBuf), Result<PathBuf, ProgramError>>>,
    hashed: Mutex<HashMap<PathBuf, (FileIdentity, Digest)>>,
}

/// A program can't be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    /// It is in none of the directories.
    #[error("there is no program `{name}` in PATH; install it, or name its path")]
    NotFound {
        /// The name.
        name: String,
    },
    /// It is only in a directory that others can write.
    #[error(
        "program `{name}` is only in `{}`, which others can write; tighten its mode", directory.display()
    )]
    Exposed {
        /// The name.
        name: String,
        /// The directory.
        directory: PathBuf,
    },
    /// The file can't be executed or is open to others.
    #[error("`{}` {what}", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// A program as it will be started.
#[derive(Debug, Clone)]
pub(super) struct Program {
    pub path: PathBuf,
    pub file: FileIdentity,
    pub identity: ProgramIdentity,
}

impl Programs {
    /// Programs of the operator's own PATH.
    pub fn from_environment() -> Self {
        Self::new(&std::env::var_os("PATH").unwrap_or_default())
    }

    /// Programs of these directories, separated by `:`. Relative ones and those that others can
    /// write are left out.
    pub fn new(path: &std::ffi::OsStr) -> Self {
        let (mut directories, mut left_out) = (Vec::new(), Vec::new());
        for directory in std::env::split_paths(path).filter(|directory| directory.is_absolute()) {
            match directory.metadata() {
                Ok(found) if found.is_dir() && ours(&found) => directories.push(directory),
                Ok(found) if found.is_dir() => left_out.push(directory),
                Ok(_) | Err(_) => {}
            }
        }
        let (found, hashed) = (Mutex::default(), Mutex::default());
        Self { inner: Arc::new(Inner { directories, left_out, found, hashed }) }
    }

    /// The PATH that children get.
    pub(super) fn path(&self) -> OsString {
        std::env::join_paths(&self.inner.directories).unwrap_or_default()
    }

    /// Finds a program. A name with `/` is taken from `workdir`. The first answer stands for the
    /// rest of the run.
    pub fn find(&self, name: &str, workdir: &Path) -> Result<PathBuf, ProgramError> {
        let key = if name.contains('/') { workdir.to_owned() } else { PathBuf::new() };
        let mut found = self.inner.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.entry((name.to_owned(), key)).or_insert_with(|| self.look_up(name, workdir)).clone()
    }

    fn look_up(&self, name: &str, workdir: &Path) -> Result<PathBuf, ProgramError> {
        if name.contains('/') {
            let path = workdir.join(name);
            return fit(&path).map(|()| path);
        }
        let mut unfit = None;
        for directory in &self.inner.directories {
            let path = directory.join(name);
            match path.metadata() {
                Ok(_) => match fit(&path) {
                    Ok(()) => return Ok(path),
                    Err(error) => unfit = unfit.or(Some(error)),
                },
                Err(_) => continue,
            }
        }
        if let Some(error) = unfit {
            return Err(error);
        }
        let name = name.to_owned();
        match self.inner.left_out.iter().find(|directory| directory.join(&name).exists()) {
            Some(directory) => {
                let directory = directory.clone();
                Err(ProgramError::Exposed { name, directory })
            }
            None => Err(ProgramError::NotFound { name }),
        }
    }

    /// Identifies the programs that the tokens name, on a thread of its own, so that reading them
    /// doesn't hold up the first question to the model. What can't be had is told when it is used.
    pub fn identify_in_background(&self, tokens: &[Token], workdir: &Path) {
        let mut wanted: Vec<(String, PathBuf)> = Vec::new();
        for token in tokens {
            let mut scope = token.scope();
            while let Scope::Secret(secret) = scope {
                scope = &secret.inner;
            }
            match scope {
                Scope::Shell(shell) => {
                    let at = shell.workdir.as_ref().map_or(workdir, Path::new);
                    let programs = shell.commands.prefixes().iter().map(|p| p.program().to_owned());
                    wanted.extend(programs.map(|program| (program, at.to_owned())));
                }
                Scope::Deploy(deploy) => match &deploy.method {
                    DeployMethod::Kubectl { .. } => wanted.push(("kubectl".into(), workdir.into())),
                    DeployMethod::Command { argv, .. } => {
                        wanted.extend(argv.first().map(|name| (name.clone(), workdir.to_owned())));
                    }
                },
                Scope::Http(_)
                | Scope::File(_)
                | Scope::Database(_)
                | Scope::Rollback(_)
                | Scope::Wait(_) => {}
                Scope::Secret(_) => {}
            }
        }
        wanted.sort();
        wanted.dedup();
        let programs = self.clone();
        let work = move || {
            for (name, workdir) in wanted {
                let _ = programs.identify(&name, &workdir);
            }
        };
        // Without a thread each program is identified when it is used.
        let _ = std::thread::Builder::new().name("lar-programs".to_owned()).spawn(work);
    }

    /// Finds and identifies a program. The content is read again only when the file has changed.
    pub(super) fn identify(&self, name: &str, workdir: &Path) -> Result<Program, ProgramError> {
        let path = self.find(name, workdir)?;
        let unreadable = |_| ProgramError::Unfit {
            path: path.clone(),
            what: "can't be read, so it can't be identified",
        };
        let mut opened = File::open(&path).map_err(unreadable)?;
        let file = FileIdentity::from_metadata(&opened.metadata().map_err(unreadable)?);
        let known = self.hashed().get(&path).filter(|(held, _)| *held == file).map(|(_, sum)| *sum);
        let sha256 = match known {
            Some(sum) => sum,
            None => {
                let sum = sha256(&mut opened).map_err(unreadable)?;
                // What was read must be one state of the file.
                let after = FileIdentity::from_metadata(&opened.metadata().map_err(unreadable)?);
                if after != file {
                    let what = "was changed while it was read";
                    return Err(ProgramError::Unfit { path, what });
                }
                self.hashed().insert(path.clone(), (file, sum));
                sum
            }
        };
        let identity = ProgramIdentity { path: path.to_string_lossy().into_owned(), sha256 };
        Ok(Program { path, file, identity })
    }

    fn hashed(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, (FileIdentity, Digest)>> {
        self.inner.hashed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether only root and the user can write it.
fn ours(found: &Metadata) -> bool {
    let user = rustix::process::getuid().as_raw();
    (found.uid() == 0 || found.uid() == user) && found.mode() & 0o022 == 0
}

fn fit(path: &Path) -> Result<(), ProgramError> {
    let unfit = |what| Err(ProgramError::Unfit { path: path.to_owned(), what });
    let Ok(found) = path.metadata() else {
        return unfit("can't be found");
    };
    if !found.is_file() {
        return unfit("is not a regular file");
    }
    if found.permissions().mode() & 0o111 == 0 {
        return unfit("is not executable");
    }
    if !ours(&found) {
        return unfit("can be written by others, so it can't be relied on; tighten its mode");
    }
    Ok(())
}

fn sha256(file: &mut File) -> std::io::Result<Digest> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0u8; 1 << 18];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Digest::from_bytes(hasher.finalize().into())),
            count => hasher.update(buffer.get(..count).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn looks_in_directories_that_are_ours_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (safe, open) = (dir.path().join("safe"), dir.path().join("open"));
        for directory in [&safe, &open] {
            fs::create_dir(directory).unwrap();
            fs::write(directory.join("tool"), "#!/bin/sh\n").unwrap();
            fs::set_permissions(directory.join("tool"), fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::set_permissions(&safe, fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        let path = std::env::join_paths([&open, &safe, Path::new("relative")]).unwrap();
        let programs = Programs::new(&path);
        assert_eq!(programs.find("tool", Path::new("/")).unwrap(), safe.join("tool"));

        let programs = Programs::new(open.as_os_str());
        assert!(matches!(programs.find("tool", Path::new("/")), Err(ProgramError::Exposed { .. })));
        assert!(matches!(
            programs.find("none", Path::new("/")),
            Err(ProgramError::NotFound { .. })
        ));
    }

    #[test]
    fn a_changed_program_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let tool = dir.path().join("tool");
        fs::write(&tool, "one").unwrap();
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let programs = Programs::new(dir.path().as_os_str());
        let first = programs.identify("tool", Path::new("/")).unwrap();
        assert_eq!(first.identity.sha256, Digest::of(b"one"));
        fs::write(&tool, "two!").unwrap();
        let second = programs.identify("tool", Path::new("/")).unwrap();
        assert_eq!(second.identity.sha256, Digest::of(b"two!"));
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o777)).unwrap();
        let programs = Programs::new(dir.path().as_os_str());
        assert!(programs.find("tool", Path::new("/")).is_err());
    }
}
