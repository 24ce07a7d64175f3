//! Reads and replaces files beneath the allowed paths. The kernel resolves every name
//! (`openat2(2)`), so that no symbolic link and no race leads outside.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use lar_core::action::{Action, FileAction, FileOperation};
use lar_core::display::{self, clip, escape};
use lar_core::error::Refusal;
use lar_core::outcome::{Outcome, Performed, Verdict};
use lar_core::redact::Redactor;
use lar_core::scope::{FileScope, Scope};
use lar_core::token::Token;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::Job;
use super::capture::Capture;
use crate::kept::Kept;

/// Beneath the directory, and not through `/proc`'s links into other places.
const RESOLVE: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);

/// How long an operation may take to notice that the run is stopped.
const STOPPING: Duration = Duration::from_secs(1);

/// The allowed directories, opened once when the set is made: what they are renamed to or replaced
/// by later doesn't matter.
#[derive(Clone, Default)]
pub(super) struct Roots {
    pinned: Arc<BTreeMap<String, Root>>,
}

/// An allowed path: a directory, or one file in a directory.
struct Root {
    directory: OwnedFd,
    /// Set when the allowed path is a file.
    file: Option<String>,
    /// How names beneath it are resolved. A file that was no link when the set was made must not
    /// have become one to its neighbour.
    resolve: ResolveFlags,
}

impl Roots {
    pub(super) fn open(tokens: &[Token]) -> Self {
        let mut pinned = BTreeMap::new();
        for token in tokens {
            let Scope::File(scope) = token.scope() else {
                continue;
            };
            for path in &scope.allowed_paths {
                if let Ok(root) = Root::open(path) {
                    pinned.insert(path.clone(), root);
                }
            }
        }
        Self { pinned: Arc::new(pinned) }
    }
}

impl Root {
    fn open(path: &str) -> Result<Self, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(directory) => Ok(Self { directory, file: None, resolve: RESOLVE }),
            // A file, or something that a write will make: its directory is what is pinned.
            Err(Errno::NOTDIR | Errno::NOENT) => {
                let whole = Path::new(path);
                let parent = whole.parent().unwrap_or(Path::new("/"));
                let name = whole.file_name().and_then(|name| name.to_str()).ok_or(Errno::INVAL)?;
                let directory = rustix::fs::open(parent, flags, Mode::empty())?;
                let named = rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW);
                let linked = named
                    .is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Symlink);
                let resolve =
                    if linked { RESOLVE } else { RESOLVE.union(ResolveFlags::NO_SYMLINKS) };
                Ok(Self { directory, file: Some(name.to_owned()), resolve })
            }
            Err(error) => Err(error),
        }
    }
}

/// What stands between an action and its file.
#[derive(Debug)]
struct Obstacle {
    what: String,
    /// Whether the file is one that no token lets anybody have: it lies outside, or is no plain file.
    forbidden: bool,
}

impl Obstacle {
    fn forbidden(what: &str) -> Self {
        Self { what: what.to_owned(), forbidden: true }
    }
}

impl From<String> for Obstacle {
    fn from(what: String) -> Self {
        Self { what, forbidden: false }
    }
}

impl From<Errno> for Obstacle {
    fn from(error: Errno) -> Self {
        let forbidden = matches!(error, Errno::XDEV | Errno::LOOP | Errno::NXIO);
        Self { what: why(error), forbidden }
    }
}

/// Looks where an action on a file leads on this machine, before anything is spent for it; nothing is
/// opened for its content. Returns what would stand in its way here and now.
///
/// What is found can change until the action is carried out, which resolves and refuses anew.
///
/// # Errors
/// [`Refusal::FileAccess`] for a file outside the allowed path, one that isn't regular, and the target of
/// a write that has several names.
pub fn look(token: &Token, action: &Action) -> Result<Option<String>, Refusal> {
    Roots::default().look(token, action)
}

impl Roots {
    /// [`look`], from the directories that are pinned.
    pub(super) fn look(&self, token: &Token, action: &Action) -> Result<Option<String>, Refusal> {
        let (Scope::File(scope), Action::File(action)) = (token.scope(), action) else {
            return Ok(None);
        };
        let seen = at(self, action, scope.only.is_empty(), |directory, name, resolve| {
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            match action.operation {
                FileOperation::Read => {
                    regular(&rustix::fs::openat2(directory, name, flags, Mode::empty(), resolve)?)
                }
                FileOperation::Write => {
                    let (parent, leaf) = parent(directory, name, flags, resolve)?;
                    target(&parent, leaf).map(drop)
                }
            }
        });
        match seen {
            Ok(()) => Ok(None),
            Err(Obstacle { what, forbidden }) => {
                let what = format!(
                    "`{}` {what}",
                    clip(&escape(&action.whole_path(), display::Mode::Line), 256)
                );
                if forbidden { Err(Refusal::FileAccess(what)) } else { Ok(Some(what)) }
            }
        }
    }
}

/// Opens the directory that a name lies in. Returns it, and the name there.
fn parent<'n>(
    directory: &OwnedFd,
    name: &'n str,
    flags: OFlags,
    resolve: ResolveFlags,
) -> Result<(OwnedFd, &'n str), Errno> {
    let (parent, leaf) = name.rsplit_once('/').unwrap_or((".", name));
    let flags = flags | OFlags::DIRECTORY;
    let parent = rustix::fs::openat2(directory, parent, flags, Mode::empty(), resolve)?;
    Ok((parent, leaf))
}

impl Job<'_> {
    pub(super) async fn file(&self, scope: &FileScope, action: &FileAction) -> Performed {
        let (roots, action, most) = (self.tools.roots.clone(), action.clone(), scope.max_bytes);
        // What a narrowed token may name must not lead to what it may not name.
        let links = scope.only.is_empty();
        let (redactor, kept) = (Arc::clone(&self.tools.redactor), self.tools.kept.clone());
        let path = action.whole_path();
        let going = Arc::new(Going::default());
        let at_work = Arc::clone(&going);
        let mut work = tokio::task::spawn_blocking(move || {
            let result = match action.operation {
                _ if !at_work.begin() => Err("stopped before it began".to_owned().into()),
                FileOperation::Read => {
                    read(&roots, &action, links, most, &redactor, kept.as_ref(), &at_work)
                }
                FileOperation::Write => write(&roots, &action, links, &at_work),
            };
            result.unwrap_or_else(|Obstacle { what, .. }| {
                let summary = format!("{}: {what}", action.whole_path());
                Outcome::new(Verdict::Failed, summary, "").because("file error")
            })
        });
        let lost = |why: &str| {
            Outcome::new(Verdict::Unknown, format!("{path}: {why}"), "").because("interrupted")
        };
        let done = tokio::select! {
            biased;
            done = &mut work => done,
            cause = self.stop.wait() => {
                // What waits for a thread never begins.
                if !going.stop() {
                    let summary = format!("{path}: stopped before it began");
                    let failed = Outcome::new(Verdict::Failed, summary, "");
                    return Performed::Ended(failed.because(cause.as_str()));
                }
                match tokio::time::timeout(STOPPING, &mut work).await {
                    Ok(done) => done,
                    // A file system that doesn't answer can hold it for ever.
                    Err(_) => Ok(lost("the file system did not answer before the run was stopped")),
                }
            }
        };
        Performed::Ended(done.unwrap_or_else(|_| lost("the operation was lost")))
    }
}

/// Whether an operation has begun, and whether it is to stop.
#[derive(Default)]
struct Going(AtomicU8);

impl Going {
    const BEGUN: u8 = 1;
    const STOPPED: u8 = 2;

    /// Begins, unless it was stopped before.
    fn begin(&self) -> bool {
        self.0.compare_exchange(0, Self::BEGUN, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Stops it, and says whether it had begun. What had not never does.
    fn stop(&self) -> bool {
        self.0.swap(Self::STOPPED, Ordering::AcqRel) == Self::BEGUN
    }

    fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Acquire) == Self::STOPPED
    }
}

/// A file that is read only while the run isn't stopped.
struct Heard<'a> {
    file: File,
    going: &'a Going,
}

impl Read for Heard<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.going.is_stopped() {
            return Err(std::io::Error::other("the run is being stopped"));
        }
        self.file.read(buffer)
    }
}

/// Calls `with` with the root's directory and the name beneath it.
fn at<T>(
    roots: &Roots,
    action: &FileAction,
    links: bool,
    with: impl FnOnce(&OwnedFd, &str, ResolveFlags) -> Result<T, Obstacle>,
) -> Result<T, Obstacle> {
    let opened;
    let root = match roots.pinned.get(&action.root) {
        Some(root) => root,
        None => {
            opened = Root::open(&action.root)?;
            &opened
        }
    };
    let resolve = if links { root.resolve } else { root.resolve.union(ResolveFlags::NO_SYMLINKS) };
    match (&root.file, action.path.as_str()) {
        (Some(name), "") => with(&root.directory, name, resolve),
        (Some(_), _) => Err(Obstacle::forbidden("lies beneath an allowed path that is a file")),
        (None, "") => Err(Obstacle::forbidden("is a directory; name a file in it")),
        (None, path) => with(&root.directory, path, resolve),
    }
}

fn read(
    roots: &Roots,
    action: &FileAction,
    links: bool,
    most: u64,
    redactor: &Redactor,
    kept: Option<&Kept>,
    going: &Going,
) -> Result<Outcome, Obstacle> {
    at(roots, action, links, |directory, name, resolve| {
        // NONBLOCK so that a FIFO can't hold us; it is refused below.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let file = rustix::fs::openat2(directory, name, flags, Mode::empty(), resolve)?;
        regular(&file)?;
        let mut bytes = Vec::new();
        Heard { file: File::from(file), going }.take(most + 1).read_to_end(&mut bytes).map_err(
            |error| match error.kind() {
                std::io::ErrorKind::Other => error.to_string(),
                kind => kind.to_string(),
            },
        )?;
        if bytes.len() as u64 > most {
            return Err(format!("has more than the {most} bytes that the token allows").into());
        }
        let length = bytes.len();
        let mut capture = Capture::new(redactor, kept);
        capture.feed(&bytes);
        let captured = capture.finish();
        let summary = format!("read {length} bytes from {}", action.whole_path());
        let mut outcome = Outcome::new(Verdict::Succeeded, summary, captured.text);
        outcome.output_digest = captured.digest;
        outcome.output_bytes = captured.bytes;
        Ok(outcome)
    })
}

/// Replaces a file whole: a temporary file beside it, flushed, renamed over it, and the directory
/// flushed. A reader sees the old content or the new one, never a part.
fn write(
    roots: &Roots,
    action: &FileAction,
    links: bool,
    going: &Going,
) -> Result<Outcome, Obstacle> {
    let content = action.content.as_ref().map(|content| content.as_str()).unwrap_or_default();
    at(roots, action, links, |directory, name, resolve| {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let (parent, leaf) = parent(directory, name, flags, resolve)?;
        let target = target(&parent, leaf)?;
        let mut random = [0u8; 8];
        getrandom::fill(&mut random).map_err(|_| "no random name can be made".to_owned())?;
        let temporary = format!(".{:016x}.lar-tmp", u64::from_ne_bytes(random));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&parent, &temporary, flags, Mode::RUSR | Mode::WUSR)?;
        let going_on = || match going.is_stopped() {
            true => Err("stopped before it was replaced".to_owned()),
            false => Ok(()),
        };
        let replaced = fill(file, content, &target)
            .and_then(|()| going_on())
            .and_then(|()| rustix::fs::renameat(&parent, &temporary, &parent, leaf).map_err(why));
        if let Err(error) = replaced {
            // Nothing was replaced; only the temporary file is in the way.
            let _ = rustix::fs::unlinkat(&parent, &temporary, AtFlags::empty());
            return Err(error.into());
        }
        let summary = format!("wrote {} bytes to {}", content.len(), action.whole_path());
        match rustix::fs::fsync(&parent) {
            Ok(()) => Ok(Outcome::new(Verdict::Succeeded, summary, "")),
            // It stands there now; whether it will after a loss of power isn't known.
            Err(_) => Ok(Outcome::new(Verdict::Unknown, summary, "").because("not flushed")),
        }
    })
}

fn fill(file: OwnedFd, content: &str, target: &Target) -> Result<(), String> {
    let mut file = File::from(file);
    let io = |error: std::io::Error| error.kind().to_string();
    file.write_all(content.as_bytes()).map_err(io)?;
    if let Some((user, group)) = target.owner {
        let made = rustix::fs::fstat(&file).map_err(why)?;
        if (made.st_uid, made.st_gid) != (user, group) {
            std::os::unix::fs::fchown(&file, Some(user), Some(group)).map_err(|_| {
                "belongs to somebody else, to whom a new file can't be given; it is not replaced"
                    .to_owned()
            })?;
        }
    }
    rustix::fs::fchmod(file.as_fd(), target.mode).map_err(why)?;
    file.sync_all().map_err(io)
}

/// What the new file gets from the one that it replaces.
struct Target {
    mode: Mode,
    /// User and group; none where there was no file.
    owner: Option<(u32, u32)>,
}

/// Looks at the file that is to be replaced. What isn't a plain file with one name is not replaced:
/// through a hard link, content outside would seem to change.
fn target(parent: &OwnedFd, leaf: &str) -> Result<Target, Obstacle> {
    let found = match rustix::fs::statat(parent, leaf, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => found,
        Err(Errno::NOENT) => {
            let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
            return Ok(Target { mode, owner: None });
        }
        Err(error) => return Err(error.into()),
    };
    match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile if found.st_nlink == 1 => {
            let mode = Mode::from_raw_mode(found.st_mode & 0o777);
            Ok(Target { mode, owner: Some((found.st_uid, found.st_gid)) })
        }
        FileType::RegularFile => {
            Err(Obstacle::forbidden("has more than one hard link; it is not replaced"))
        }
        FileType::Symlink => Err(Obstacle::forbidden("is a symbolic link; it is not replaced")),
        _ => Err(Obstacle::forbidden("is not a regular file")),
    }
}

fn regular(file: &OwnedFd) -> Result<(), Obstacle> {
    let found = rustix::fs::fstat(file)?;
    match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => Ok(()),
        FileType::Directory => Err(Obstacle::forbidden("is a directory; name a file in it")),
        _ => Err(Obstacle::forbidden("is not a regular file")),
    }
}

fn why(error: Errno) -> String {
    match error {
        Errno::NOENT => "there is no such file or directory".to_owned(),
        Errno::ACCESS | Errno::PERM => "permission denied".to_owned(),
        Errno::XDEV | Errno::LOOP => "leads outside the allowed path".to_owned(),
        Errno::NOTDIR => "a part of the path is not a directory".to_owned(),
        Errno::NOSPC | Errno::DQUOT => "the disk is full".to_owned(),
        Errno::ROFS => "the file system is read-only".to_owned(),
        Errno::NXIO => "is not a regular file".to_owned(),
        Errno::NAMETOOLONG => "a part of the path is too long".to_owned(),
        other => std::io::Error::from(other).kind().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lar_core::scope::FileMode;
    use lar_core::token::FileToken;

    #[test]
    fn a_file_that_is_replaced_keeps_its_owner_and_mode() {
        use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.yml");
        std::fs::write(&path, "old").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        // Only root can give a file away; anybody else keeps what is his own.
        let given = chown(&path, Some(65534), Some(65534)).is_ok();
        let before = std::fs::metadata(&path).unwrap();
        let root = dir.path().to_str().unwrap().to_owned();
        let token = FileToken::new("f", [root.clone()], FileMode::Write).build().unwrap();
        let action = FileAction {
            operation: FileOperation::Write,
            root,
            path: "config.yml".to_owned(),
            content: Some("new".into()),
        };
        super::write(&Roots::open(&[token]), &action, true, &Going::default()).unwrap();
        let after = std::fs::metadata(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
        assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()));
        assert_eq!(after.mode() & 0o777, 0o640);
        assert!(!given || after.uid() == 65534);
    }

    #[test]
    fn a_file_that_became_a_link_does_not_lead_to_its_neighbour() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("report.txt"), "mine").unwrap();
        std::fs::write(at("secrets.yml"), "not mine").unwrap();
        std::os::unix::fs::symlink("report.txt", at("latest")).unwrap();
        let token = |name: &str| {
            let path = at(name).to_str().unwrap().to_owned();
            FileToken::new("f", [path], FileMode::Read).build().unwrap()
        };
        let read = |roots: &Roots, name: &str| {
            let root = at(name).to_str().unwrap().to_owned();
            let path = String::new();
            let action = FileAction { operation: FileOperation::Read, root, path, content: None };
            super::read(roots, &action, true, 100, &Redactor::default(), None, &Going::default())
                .map(|outcome| outcome.output)
        };
        let (plain, linked) =
            (Roots::open(&[token("report.txt")]), Roots::open(&[token("latest")]));
        assert_eq!(read(&plain, "report.txt").unwrap(), "mine");
        // The operator's own link goes where it went when the set was made, and on.
        assert_eq!(read(&linked, "latest").unwrap(), "mine");
        std::fs::remove_file(at("report.txt")).unwrap();
        std::os::unix::fs::symlink("secrets.yml", at("report.txt")).unwrap();
        assert!(read(&plain, "report.txt").is_err());
    }

    #[test]
    fn what_a_narrowed_token_names_leads_nowhere_else_beneath_its_root() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_str().unwrap().to_owned();
        std::fs::create_dir_all(dir.path().join("mine")).unwrap();
        std::fs::create_dir_all(dir.path().join("other")).unwrap();
        std::fs::write(dir.path().join("other/secret"), "not mine").unwrap();
        std::os::unix::fs::symlink("../other", dir.path().join("mine/link")).unwrap();
        let token = FileToken::new("f", [root.clone()], FileMode::Read).build().unwrap();
        let roots = Roots::open(&[token]);
        let path = "mine/link/secret".to_owned();
        let action = FileAction { operation: FileOperation::Read, root, path, content: None };
        let read = |links| {
            super::read(&roots, &action, links, 100, &Redactor::default(), None, &Going::default())
        };
        assert_eq!(read(true).unwrap().output, "not mine", "the whole root is granted");
        assert!(read(false).is_err());
    }
}
