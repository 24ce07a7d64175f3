//! Which file a program's name stands for: looked up once, when the run starts, in the operator's
//! PATH, and identified by what is in it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use lar_core::json::Digest;
use lar_core::outcome::ProgramIdentity;
use lar_core::scope::Scope;
use lar_core::scope::deploy::DeployMethod;
use lar_core::token::Token;
use lar_sandbox::FileIdentity;

use super::executable::{self, Form};

/// How often the interpreter of a script may be a script itself. The kernel allows four.
const DEEPEST_SCRIPT: usize = 5;

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
pub(crate) struct Program {
    /// Where it was found.
    pub(crate) path: PathBuf,
    /// What the record says about it.
    pub(crate) identity: ProgramIdentity,
    /// What the kernel executes for it.
    pub(crate) launch: Launch,
}

/// What is executed for a program: itself, or the interpreter of a script.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    /// The binary, as a canonical path.
    pub(crate) program: PathBuf,
    /// The file that it must be.
    pub(crate) file: FileIdentity,
    /// Words that take the place of the first; none for a binary, which keeps it.
    pub(crate) words: Vec<OsString>,
    /// Scripts that the binary is to interpret, and the files that they must be.
    pub(crate) pinned: Vec<(PathBuf, FileIdentity)>,
    /// The names by which those scripts, and the binary, are called.
    pub(crate) names: Vec<PathBuf>,
    /// All files that are executed: the binary, and its loader.
    pub(crate) executes: Vec<PathBuf>,
}

/// What a program was when a person was asked about it. Their yes is for that and nothing else.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    name: String,
    program: Program,
}

impl Seen {
    /// Whether `now`, found by the same name, is another program than the one that was asked about. A
    /// binary is what its content says; a script is that, and what interprets it.
    pub(crate) fn differs_from(&self, name: &str, now: &Program) -> bool {
        let then = &self.program;
        let is_script = !now.launch.pinned.is_empty();
        let interpreter = |held: &Program| (held.launch.program.clone(), held.launch.file);
        let further =
            |held: &Program| held.launch.pinned.iter().skip(1).cloned().collect::<Vec<_>>();
        self.name == name
            && (then.identity != now.identity
                || is_script
                    && (interpreter(then) != interpreter(now) || further(then) != further(now)))
    }
}

impl Programs {
    /// What a program is now, for a question about it. `None` where it can't be had: that is told when
    /// it is to be started.
    pub(crate) fn look_at(&self, name: &str, workdir: &Path) -> Option<Seen> {
        let program = self.identify(name, workdir).ok()?;
        Some(Seen { name: name.to_owned(), program })
    }

    /// Programs of the operator's own PATH.
    pub fn from_environment() -> Self {
        Self::new(&std::env::var_os("PATH").unwrap_or_default())
    }

    /// Programs of these directories, separated by `:`. Relative ones and those that others can
    /// write are left out.
    pub fn new(path: &std::ffi::OsStr) -> Self {
        let (mut directories, mut left_out) = (Vec::new(), Vec::new());
        for directory in std::env::split_paths(path).filter(|directory| directory.is_absolute()) {
            // A child finds files by the names that they have here, in which nothing may climb.
            let climbs = directory.components().any(|part| part == Component::ParentDir);
            let directory = match directory.canonicalize() {
                Ok(plain) if climbs => plain,
                Ok(_) | Err(_) => directory,
            };
            match directory.metadata() {
                Ok(found) if found.is_dir() && ours(&found) && !is_exposed(&directory) => {
                    directories.push(directory);
                }
                Ok(found) if found.is_dir() => left_out.push(directory),
                Ok(_) | Err(_) => {}
            }
        }
        let (found, hashed) = (Mutex::default(), Mutex::default());
        Self { inner: Arc::new(Inner { directories, left_out, found, hashed }) }
    }

    /// Directories of PATH that others can write, in which nothing is looked for.
    pub fn left_out(&self) -> &[PathBuf] {
        &self.inner.left_out
    }

    /// The directories in which programs are found.
    pub fn directories(&self) -> &[PathBuf] {
        &self.inner.directories
    }

    /// The programs that a scope names, each with the directory in which it would start.
    pub(crate) fn of_scope(&self, scope: &Scope, workdir: &Path) -> Vec<(String, PathBuf)> {
        match scope {
            Scope::Shell(shell) => {
                let at = shell.workdir.as_ref().map_or(workdir, Path::new);
                let prefixes = shell.commands.prefixes().iter();
                prefixes.map(|prefix| (prefix.program().to_owned(), at.to_owned())).collect()
            }
            Scope::Deploy(deploy) => match &deploy.method {
                DeployMethod::Kubectl { .. } => vec![("kubectl".into(), workdir.into())],
                DeployMethod::Command { argv, .. } => {
                    let program = argv.first().map(|name| (name.clone(), workdir.to_owned()));
                    program.into_iter().collect()
                }
            },
            Scope::Secret(secret) => self.of_scope(&secret.inner, workdir),
            Scope::Http(_)
            | Scope::File(_)
            | Scope::Database(_)
            | Scope::Rollback(_)
            | Scope::Wait(_) => Vec::new(),
        }
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
        let mut wanted: Vec<(String, PathBuf)> =
            tokens.iter().flat_map(|token| self.of_scope(token.scope(), workdir)).collect();
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
    pub(crate) fn identify(&self, name: &str, workdir: &Path) -> Result<Program, ProgramError> {
        let path: PathBuf = self.find(name, workdir)?.components().collect();
        let (file, sha256) = self.hash(&path)?;
        let identity = ProgramIdentity { path: path.to_string_lossy().into_owned(), sha256 };
        let launch = self.launch(&path, file, workdir)?;
        Ok(Program { path, identity, launch })
    }

    /// The state of a file and the SHA-256 of its content.
    fn hash(&self, path: &Path) -> Result<(FileIdentity, Digest), ProgramError> {
        let unreadable = |_| ProgramError::Unfit {
            path: path.to_owned(),
            what: "can't be read, so it can't be identified",
        };
        let mut opened = File::open(path).map_err(unreadable)?;
        let file = FileIdentity::from_metadata(&opened.metadata().map_err(unreadable)?);
        let known = self.hashed().get(path).filter(|(held, _)| *held == file).map(|(_, sum)| *sum);
        if let Some(sum) = known {
            return Ok((file, sum));
        }
        let sum = Digest::of_reader(&mut opened).map_err(unreadable)?;
        // What was read must be one state of the file.
        let after = FileIdentity::from_metadata(&opened.metadata().map_err(unreadable)?);
        if after != file {
            let what = "was changed while it was read";
            return Err(ProgramError::Unfit { path: path.to_owned(), what });
        }
        self.hashed().insert(path.to_owned(), (file, sum));
        Ok((file, sum))
    }

    /// What is executed for a file. A script's interpreter is looked up and judged like a program, and
    /// so on while that is a script too.
    fn launch(
        &self,
        path: &Path,
        file: FileIdentity,
        workdir: &Path,
    ) -> Result<Launch, ProgramError> {
        let mut launch = Launch {
            program: path.to_owned(),
            file,
            words: Vec::new(),
            pinned: Vec::new(),
            names: Vec::new(),
            executes: Vec::new(),
        };
        for _ in 0..DEEPEST_SCRIPT {
            let current = launch.program.clone();
            launch.names.push(current.clone());
            let unfit = |what| ProgramError::Unfit { path: current.clone(), what };
            let unreadable = |_| unfit("can't be read, so it can't be identified");
            let mut opened = File::open(&current).map_err(unreadable)?;
            match executable::form(&mut opened).map_err(unreadable)? {
                Form::Binary { loader } => {
                    let real = current.canonicalize().map_err(unreadable)?;
                    launch.executes.push(real.clone());
                    launch.executes.extend(loader);
                    launch.program = real;
                    return Ok(launch);
                }
                Form::Script { interpreter, argument } => {
                    let (interpreter, words) =
                        self.interpreter(&interpreter, argument, workdir).map_err(&unfit)?;
                    fit(&interpreter)?;
                    let mut before = words;
                    // The words of an outer script stay behind the inner's, as the kernel has it.
                    if launch.words.is_empty() {
                        before.push(current.clone().into());
                    }
                    before.append(&mut launch.words);
                    launch.words = before;
                    let real = current.canonicalize().map_err(unreadable)?;
                    launch.pinned.push((real, launch.file));
                    launch.file = FileIdentity::of(&interpreter).map_err(unreadable)?;
                    launch.program = interpreter;
                }
            }
        }
        Err(ProgramError::Unfit {
            path: path.to_owned(),
            what: "is a script of a script of a script, and so on: name the program itself",
        })
    }

    /// The file of an interpreter, and the words with which it is started. `env` is resolved here, so
    /// that it is not asked a second time.
    fn interpreter(
        &self,
        interpreter: &str,
        argument: Option<String>,
        workdir: &Path,
    ) -> Result<(PathBuf, Vec<OsString>), &'static str> {
        let is_env = interpreter.starts_with('/') && interpreter.ends_with("/env");
        if !is_env {
            if !interpreter.starts_with('/') {
                return Err(
                    "is a script whose interpreter is no absolute path; write one after `#!`",
                );
            }
            let words = [Some(interpreter.to_owned()), argument];
            let words = words.into_iter().flatten().map(OsString::from).collect();
            return Ok((PathBuf::from(interpreter), words));
        }
        let argument = argument.unwrap_or_default();
        let mut words = match argument.strip_prefix("-S").map(str::trim_start) {
            Some(rest) if !rest.contains(['\'', '"', '\\', '$']) => {
                rest.split_ascii_whitespace().map(ToOwned::to_owned).collect()
            }
            Some(_) => return Err("is a script with quotes after `env -S`; name the interpreter"),
            None => vec![argument],
        };
        let name = words.first().cloned().unwrap_or_default();
        if name.is_empty() || name.starts_with('-') || name.contains(['=', ' ', '\t']) {
            return Err("is a script whose `env` line names no program; name the interpreter");
        }
        let found = self
            .find(&name, workdir)
            .map_err(|_| "is a script whose interpreter is not in PATH; install it")?;
        let words = words.drain(..).map(OsString::from).collect();
        Ok((found, words))
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

/// Whether others could put something else in the place of what is at `path`, because they can write a
/// directory on the way to it: by the names in the path, and by those that its links lead through in
/// the end. A directory that all may write and where each can rename only his own (`/tmp`) is no such
/// place for what is ours.
fn is_exposed(path: &Path) -> bool {
    const STICKY: u32 = 0o1000;
    let safe = |directory: &Path| match directory.metadata() {
        Ok(found) => {
            let user = rustix::process::getuid().as_raw();
            let owned = found.uid() == 0 || found.uid() == user;
            owned && (found.mode() & 0o022 == 0 || found.mode() & STICKY != 0)
        }
        Err(_) => false,
    };
    let Ok(real) = path.canonicalize() else {
        return true;
    };
    let on_the_way = |path: &Path| path.ancestors().skip(1).all(safe);
    !(on_the_way(path) && on_the_way(&real))
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
    // The directory that it is in, links followed, must be ours as those of PATH are.
    let real = path.canonicalize().ok();
    let directory = real.as_deref().and_then(Path::parent).and_then(|dir| dir.metadata().ok());
    if !directory.is_some_and(|directory| ours(&directory)) || is_exposed(path) {
        return unfit(
            "can be replaced by others, who can write a directory on the way to it; tighten its mode",
        );
    }
    Ok(())
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
    fn every_directory_on_the_way_must_be_ours() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("outer/inner");
        fs::create_dir_all(&inner).unwrap();
        let tool = inner.join("tool");
        fs::write(&tool, "#!/bin/sh\n").unwrap();
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        let linked = dir.path().join("bin");
        fs::create_dir(&linked).unwrap();
        std::os::unix::fs::symlink(&tool, linked.join("linked")).unwrap();
        for path in [&tool, &inner, &linked] {
            mode(path, 0o755);
        }
        let outer = dir.path().join("outer");
        for (outer_mode, is_had) in [(0o755, true), (0o777, false), (0o775, false), (0o1777, true)]
        {
            mode(&outer, outer_mode);
            let programs = Programs::new(inner.as_os_str());
            assert_eq!(programs.find("tool", Path::new("/")).is_ok(), is_had, "{outer_mode:o}");
            let programs = Programs::new(linked.as_os_str());
            assert_eq!(programs.find("linked", Path::new("/")).is_ok(), is_had, "{outer_mode:o}");
            let by_path = programs.find("outer/inner/tool", dir.path());
            assert_eq!(by_path.is_ok(), is_had, "{outer_mode:o}");
        }
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
