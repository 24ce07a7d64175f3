//! The child's own file tree: a small read-only root with the granted places bound into it.
//!
//! All of it happens in a mount namespace that nobody else is in. What isn't bound isn't there.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
    mount_change, move_mount, open_tree, unmount,
};

use crate::confinement::{Access, Confinement};
use crate::spec::FileIdentity;
use crate::sys::{self, MountAttributes};

/// Private and writable in every child: where, and what it is called in the store.
pub(crate) const SCRATCH: [(&str, &str); 2] = [("/tmp", "tmp"), ("/dev/shm", "shm")];

const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];
const DEVICE_LINKS: [(&str, &str); 4] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];

/// The root itself holds directories, links and a few small files, in this many bytes.
const ROOT_BYTES: u64 = 4 << 20;
/// How many files and directories the private places may hold together.
const INODES: &str = "131072";
/// What the store holds beside the private places: the root, and what covers hidden ones.
const ROOT: &str = "root";
const EMPTY_DIRECTORY: &str = "directory";
const EMPTY_FILE: &str = "file";

const READ_ONLY: MountAttributes =
    MountAttributes { read_only: true, no_exec: false, no_devices: true };
const WRITABLE: MountAttributes =
    MountAttributes { read_only: false, no_exec: true, no_devices: true };
const DEVICE: MountAttributes =
    MountAttributes { read_only: false, no_exec: true, no_devices: false };

/// Makes a mount namespace, builds the tree and moves this process into it. Nothing of the old one can be
/// reached afterwards. It begins with what is mounted now, so that it is made only for the child.
pub(crate) fn enter(walls: &Confinement, pinned: &[(PathBuf, FileIdentity)]) -> io::Result<()> {
    sys::own_mount_namespace().map_err(|error| {
        io::Error::other(format!("the kernel gives no mount namespace ({error})"))
    })?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).map_err(|errno| step("the mounts can't be made private", errno))?;
    let root = Root::new(walls.scratch_bytes)?;
    root.places(walls)?;
    for (path, identity) in pinned {
        root.pin(path, identity)?;
    }
    for path in &walls.hidden {
        root.hide(path)?;
    }
    root.devices()?;
    root.process_list()?;
    for (link, target) in walls.links.iter().map(|(link, target)| (&**link, &**target)) {
        root.link(link, target)?;
    }
    for (path, text) in &walls.texts {
        root.text(path, text)?;
    }
    root.become_root()
}

/// The new root, which isn't this process's root yet. Its paths are resolved from its own descriptor,
/// without symbolic links: an earlier child may have left some in a directory that it could write.
///
/// It and all that is private lie in one file system in memory, the store, since each takes the kernel
/// a while to make and to take down. The store itself goes with the old root, so that the child finds
/// nothing of it but the parts that are mounted.
struct Root {
    store: OwnedFd,
    top: OwnedFd,
    /// Directories that something was put into, for what is put beside it. Who mounts over one takes it
    /// out.
    parents: RefCell<HashMap<PathBuf, Rc<OwnedFd>>>,
}

/// What is mounted at a path.
enum Place<'a> {
    /// What the old tree has there.
    Bound { writable: bool },
    /// An empty directory that lives and dies with the child.
    Scratch { name: &'a str, mode: u32 },
}

impl Root {
    /// Mounts the store on top of the old root, and the new root within it. What is mounted nowhere
    /// can't be bound before Linux 6.15.
    fn new(scratch_bytes: u64) -> io::Result<Self> {
        let fail = |errno: Errno| step("the root can't be mounted", errno);
        let store = temporary(scratch_bytes.saturating_add(ROOT_BYTES))?;
        let onto = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(&store, "", CWD, "/", onto).map_err(fail)?;
        rustix::fs::mkdirat(&store, ROOT, Mode::from_raw_mode(0o755)).map_err(fail)?;
        let top = open_tree(&store, ROOT, CLONE).map_err(fail)?;
        move_mount(&top, "", &store, ROOT, onto).map_err(fail)?;
        Ok(Self { store, top, parents: RefCell::default() })
    }

    /// An empty directory of the store, as a mount that is attached nowhere yet.
    fn private(&self, name: &str, mode: u32) -> io::Result<OwnedFd> {
        let fail = |errno: Errno| step("a private directory can't be made", errno);
        let mode = Mode::from_raw_mode(mode);
        rustix::fs::mkdirat(&self.store, name, mode).map_err(fail)?;
        // What this process masks out of new files' rights is not meant here.
        rustix::fs::chmodat(&self.store, name, mode, AtFlags::empty()).map_err(fail)?;
        open_tree(&self.store, name, CLONE).map_err(fail)
    }

    /// Mounts what is granted and what is private, outer places first; where both are meant, the
    /// grant comes on top. What lies in a place that is bound already, with the same right to write,
    /// needs no mount of its own.
    fn places(&self, walls: &Confinement) -> io::Result<()> {
        let scratch =
            SCRATCH.map(|(path, name)| (Path::new(path), Place::Scratch { name, mode: 0o1777 }));
        let home =
            walls.home.iter().map(|home| (&**home, Place::Scratch { name: "home", mode: 0o700 }));
        let grants = walls.grants.iter().map(|grant| {
            let writable = grant.access == Access::Write;
            (&*grant.path, Place::Bound { writable })
        });
        let mut places: Vec<_> = scratch.into_iter().chain(home).chain(grants).collect();
        // A stable sort, which keeps grants after what is private.
        places.sort_by_key(|(path, _)| path.components().count());
        let mut done: Vec<(&Path, Option<bool>)> = Vec::new();
        for (path, place) in &places {
            match place {
                Place::Scratch { name, mode } => {
                    self.put(&self.private(name, *mode)?, path, true)?;
                    done.push((path, None));
                }
                Place::Bound { writable } => {
                    let around = done.iter().rev().find(|(outer, _)| path.starts_with(outer));
                    if around.is_none_or(|(_, held)| *held != Some(*writable)) {
                        self.bind(path, if *writable { &WRITABLE } else { &READ_ONLY })?;
                        done.push((path, Some(*writable)));
                    }
                }
            }
        }
        Ok(())
    }

    /// Binds a place of the old tree to the same path of the new one.
    fn bind(&self, path: &Path, attributes: &MountAttributes) -> io::Result<()> {
        // The path was canonical when it was granted. A link that was put there since leads elsewhere.
        let found = sys::open_canonical(path).map_err(|errno| at(path, "be bound", errno))?;
        let flags = CLONE | OpenTreeFlags::AT_RECURSIVE | OpenTreeFlags::AT_EMPTY_PATH;
        let tree = open_tree(&found, "", flags).map_err(|errno| at(path, "be bound", errno))?;
        sys::restrict_mount(tree.as_fd(), attributes, true)
            .map_err(|error| at(path, "be restricted", error))?;
        self.put(&tree, path, is_directory(&tree)?)
    }

    /// Binds one file, and only if it is the one that was checked.
    fn pin(&self, path: &Path, identity: &FileIdentity) -> io::Result<()> {
        let held = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| at(path, "be found", errno))?;
        let held = std::fs::File::from(held);
        if FileIdentity::from_metadata(&held.metadata()?) != *identity {
            return Err(Errno::STALE.into());
        }
        let tree = open_tree(&held, "", CLONE | OpenTreeFlags::AT_EMPTY_PATH)
            .map_err(|errno| at(path, "be bound", errno))?;
        sys::restrict_mount(tree.as_fd(), &READ_ONLY, false)
            .map_err(|error| at(path, "be restricted", error))?;
        self.put(&tree, path, false)
    }

    /// Puts an empty file or directory over what is at a path. What isn't there needs no cover.
    fn hide(&self, path: &Path) -> io::Result<()> {
        let covered = match self.look(path) {
            Ok(found) => found,
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(at(path, "be looked at", errno)),
        };
        // Empty and readable, so that who looks through all of a directory isn't held up there.
        let fail = |errno: Errno| at(path, "be covered", errno);
        let directory = is_directory(&covered)?;
        let (name, made) = match directory {
            true => {
                let mode = Mode::from_raw_mode(0o555);
                (EMPTY_DIRECTORY, rustix::fs::mkdirat(&self.store, EMPTY_DIRECTORY, mode))
            }
            false => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                let mode = Mode::from_raw_mode(0o444);
                let made = rustix::fs::openat(&self.store, EMPTY_FILE, flags, mode);
                (EMPTY_FILE, made.map(drop))
            }
        };
        match made {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(fail(errno)),
        }
        let cover = open_tree(&self.store, name, CLONE).map_err(fail)?;
        sys::restrict_mount(cover.as_fd(), &READ_ONLY, false)?;
        self.put(&cover, path, directory)
    }

    fn devices(&self) -> io::Result<()> {
        for name in DEVICES {
            self.bind(&Path::new("/dev").join(name), &DEVICE)?;
        }
        DEVICE_LINKS.iter().try_for_each(|(link, to)| self.link(Path::new(link), Path::new(to)))
    }

    /// The processes of the own namespace alone.
    fn process_list(&self) -> io::Result<()> {
        let fail = |errno: Errno| step("`/proc` can't be mounted", errno);
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let open = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC).map_err(fail)?;
        fsconfig_create(&open).map_err(fail)?;
        let tree = fsmount(&open, FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(fail)?;
        self.put(&tree, Path::new("/proc"), true)
    }

    fn link(&self, link: &Path, target: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(link)?;
        match rustix::fs::symlinkat(target, &parent, name) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(at(link, "be made", errno)),
        }
    }

    fn text(&self, path: &Path, text: &[u8]) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o444))
            .map_err(|errno| at(path, "be made", errno))?;
        io::Write::write_all(&mut std::fs::File::from(file), text)
    }

    /// Attaches a mount at a path, making the place for it where there is none.
    fn put(&self, mount: &OwnedFd, path: &Path, directory: bool) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        let made = if directory {
            rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))
        } else {
            let kind = FileType::RegularFile;
            rustix::fs::mknodat(&parent, name, kind, Mode::from_raw_mode(0o444), 0)
        };
        let place = match made {
            Ok(()) | Err(Errno::EXIST) => look_in(&*parent, Path::new(name)),
            Err(errno) => Err(errno),
        };
        let place = place.map_err(|errno| at(path, "be made", errno))?;
        let flags =
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        move_mount(mount, "", &place, "", flags).map_err(|errno| at(path, "be mounted", errno))?;
        // What was found beneath is covered now.
        self.parents.borrow_mut().retain(|held, _| !held.starts_with(path));
        Ok(())
    }

    /// The directory that holds a path, made with all that lead to it where they are absent.
    fn parent<'a>(&self, path: &'a Path) -> io::Result<(Rc<OwnedFd>, &'a std::ffi::OsStr)> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(at(path, "be made", Errno::INVAL));
        };
        if let Some(held) = self.parents.borrow().get(parent) {
            return Ok((Rc::clone(held), name));
        }
        let found = match self.look(parent) {
            Ok(found) => found,
            Err(_) => {
                let (above, last) = self.parent(parent)?;
                match rustix::fs::mkdirat(&above, last, Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(errno) => return Err(at(parent, "be made", errno)),
                }
                let found = look_in(&*above, Path::new(last));
                found.map_err(|errno| at(parent, "be found", errno))?
            }
        };
        let found = Rc::new(found);
        self.parents.borrow_mut().insert(parent.to_owned(), Rc::clone(&found));
        Ok((found, name))
    }

    fn look(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let inside = path.strip_prefix("/").unwrap_or(path);
        let inside = if inside.as_os_str().is_empty() { Path::new(".") } else { inside };
        look_in(&self.top, inside)
    }

    /// Makes this the root, and lets go of the old one.
    fn become_root(&self) -> io::Result<()> {
        let attributes = MountAttributes { read_only: true, no_exec: true, no_devices: true };
        sys::restrict_mount(self.top.as_fd(), &attributes, false)?;
        let fail = |errno: Errno| step("the root can't be changed", errno);
        rustix::process::fchdir(&self.top).map_err(fail)?;
        rustix::process::pivot_root(".", ".").map_err(fail)?;
        unmount(".", UnmountFlags::DETACH).map_err(fail)?;
        rustix::process::chdir("/").map_err(fail)
    }
}

const CLONE: OpenTreeFlags = OpenTreeFlags::OPEN_TREE_CLONE.union(OpenTreeFlags::OPEN_TREE_CLOEXEC);

/// Finds what is beneath a directory, without symbolic links on the way.
fn look_in(directory: impl AsFd, inside: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let ways = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    rustix::fs::openat2(directory, inside, flags, Mode::empty(), ways)
}

/// A file system in memory that is attached nowhere yet. Nothing in it can be executed.
fn temporary(bytes: u64) -> io::Result<OwnedFd> {
    let make = || {
        let open = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(&open, "mode", "755")?;
        fsconfig_set_string(&open, "size", bytes.to_string())?;
        fsconfig_set_string(&open, "nr_inodes", INODES)?;
        fsconfig_create(&open)?;
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        fsmount(&open, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
    };
    make().map_err(|errno| step("no file system in memory can be made", errno))
}

fn is_directory(file: &OwnedFd) -> io::Result<bool> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(file)?.st_mode).is_dir())
}

fn step(what: &str, errno: Errno) -> io::Error {
    io::Error::other(format!("{what} ({})", io::Error::from(errno)))
}

fn at(path: &Path, what: &str, error: impl Into<io::Error>) -> io::Error {
    io::Error::other(format!("`{}` can't {what} ({})", path.display(), error.into()))
}
