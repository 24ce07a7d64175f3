//! The system calls that have no safe wrapper in `rustix`. Nothing else in the project is unsafe.
//!
//! All of this runs in the helper, which has one thread and opens nothing before it gets here.

#![allow(
    unsafe_code,
    reason = "clone, exec, signal dispositions, mount attributes and closing unknown descriptors have \
              no safe wrapper"
)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use rustix::process::{Pid, WaitOptions};

/// For the short life between the clone and the exec; only touched pages cost anything.
const STACK: usize = 256 * 1024;

/// Closes every descriptor from 3 on. To be called before this process opens any.
pub(crate) fn close_inherited() -> io::Result<()> {
    let (first, last, flags): (u32, u32, u32) = (3, u32::MAX, 0);
    // SAFETY: closing descriptors touches no memory. No value in this process owns one of them:
    // the helper calls this before it has opened anything, and the standard library owns only 0-2.
    if unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) } == 0 {
        return Ok(());
    }
    // Kernels before 5.9 and some system call filters don't know close_range.
    let open: Vec<c_int> = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&fd| fd > 2)
        .collect();
    for fd in open {
        // SAFETY: as above. The directory's own descriptor is closed already; closing it again is
        // an error that harms nobody in a process with one thread.
        unsafe { libc::close(fd) };
    }
    Ok(())
}

/// Finds what is at a canonical path, as a descriptor that can be neither read nor written. A symbolic
/// link anywhere on the way is an error.
pub(crate) fn open_canonical(path: &std::path::Path) -> Result<OwnedFd, rustix::io::Errno> {
    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
    openat2(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::NO_SYMLINKS)
}

/// Starts a process that runs `become_program`, which executes another program or returns why it
/// could not. Returns once that is decided: the process id, or the error with nothing left behind.
///
/// The process shares this one's memory until then, and this one stands still (`clone(2)`,
/// `CLONE_VM | CLONE_VFORK`, as in `posix_spawn`). That saves the copying of page tables, and lets
/// the error come back in a variable.
pub(crate) fn start(become_program: &mut dyn FnMut() -> io::Error) -> io::Result<Pid> {
    struct Task<'a> {
        become_program: &'a mut dyn FnMut() -> io::Error,
        error: Option<io::Error>,
    }
    extern "C" fn entry(task: *mut c_void) -> c_int {
        // SAFETY: `start` passes a pointer to its own `Task` and stands still until this process
        // has executed a program or ended, so that the task lives and nobody else touches it.
        let task = unsafe { &mut *task.cast::<Task<'_>>() };
        task.error = Some((task.become_program)());
        exit_now(1)
    }

    let mut task = Task { become_program, error: None };
    let mut stack = vec![0_u128; STACK / size_of::<u128>()];
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the stack is large, aligned to 16 bytes, used downwards from its end by the new
    // process alone, and outlives its use of it because of CLONE_VFORK. This process has one
    // thread and blocks all signals, so that nothing else runs in the shared memory meanwhile.
    let pid = unsafe {
        let top = stack.as_mut_ptr_range().end;
        libc::clone(entry, top.cast(), flags, (&raw mut task).cast())
    };
    let Some(pid) = Pid::from_raw(pid).filter(|_| pid > 0) else {
        return Err(io::Error::last_os_error());
    };
    match task.error.take() {
        None => Ok(pid),
        Some(error) => {
            let _ = rustix::process::waitpid(Some(pid), WaitOptions::empty());
            Err(error)
        }
    }
}

/// Ends this process at once: no destructors, no buffers flushed twice.
pub(crate) fn exit_now(code: c_int) -> ! {
    // SAFETY: `_exit` takes no pointers and doesn't return.
    unsafe { libc::_exit(code) }
}

/// Kills every process of this one's pid namespace but itself, the first (`kill(2)` with -1): in one
/// step, which no fork slips through. To be called by that first process alone; elsewhere it would
/// reach all that its user runs. Says whether there was any.
pub(crate) fn kill_all_others() -> bool {
    // SAFETY: takes numbers alone.
    rustix::process::getpid() == Pid::INIT && unsafe { libc::kill(-1, libc::SIGKILL) } == 0
}

/// Blocks every signal and returns a descriptor that becomes readable when a child ends.
pub(crate) fn child_signals() -> io::Result<OwnedFd> {
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    // SAFETY: both sets are initialised by sigfillset and sigemptyset before they are read, and
    // live across the calls; a null old mask is allowed. A non-negative result is a fresh
    // descriptor that nobody else owns.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        if libc::sigprocmask(libc::SIG_SETMASK, &raw const all, ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        let mut child: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut child);
        libc::sigaddset(&raw mut child, libc::SIGCHLD);
        match libc::signalfd(-1, &raw const child, flags) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

/// Default handling for every signal: a program must not inherit an ignored `SIGPIPE` or `SIGINT`
/// (`execve(2)` keeps what is ignored). To be called where all are blocked.
pub(crate) fn default_signals() {
    // By the system call, because the C library's wrapper leaves out two signals that it uses itself
    // and that a program may find ignored just the same. All zeroes is the kernel's structure for
    // default handling, and no kernel's is larger than this.
    let default = [0_u64; 8];
    let set_size: usize = 8;
    for signal in 1..=libc::SIGRTMAX() {
        let none = ptr::null_mut::<u64>();
        // SAFETY: the kernel reads the structure, which lives across the call, and is given none
        // to write. No handler is installed. SIGKILL and SIGSTOP fail, being at their default.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), none, set_size) };
    }
}

/// Blocks no signal any more, which a program must not inherit either.
pub(crate) fn unblock_signals() -> io::Result<()> {
    // SAFETY: the set is initialised by sigemptyset before it is read; a null old mask is allowed.
    let result = unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut())
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A child that has ended and is not yet reaped, left as it is (`waitid(2)` with `WNOWAIT`).
pub(crate) fn peek_ended() -> Option<Pid> {
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: an all-zero siginfo_t is valid, lives across the call, and after success `si_pid` is
    // either set by the kernel or still zero.
    let pid = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        if libc::waitid(libc::P_ALL, 0, &raw mut info, flags) != 0 {
            return None;
        }
        info.si_pid()
    };
    Pid::from_raw(pid)
}

/// Executes the file behind a descriptor (`execveat(2)`, `AT_EMPTY_PATH`). Returns only to say why
/// it failed; unlike `execvp` it never turns to a shell.
pub(crate) fn exec_descriptor(
    file: BorrowedFd<'_>,
    argv: &[CString],
    env: &[CString],
) -> io::Error {
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: the path is a NUL-terminated empty string; both arrays end with a null pointer and
    // point to NUL-terminated strings that the caller borrows across the call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            env.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
    io::Error::last_os_error()
}

/// Executes the file at a path (`execve(2)`), for scripts. Returns only to say why it failed.
pub(crate) fn exec_path(path: &CStr, argv: &[CString], env: &[CString]) -> io::Error {
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: as in `exec_descriptor`; the path is a `CStr`.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

fn pointers(texts: &[CString]) -> Vec<*const c_char> {
    texts.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
}

/// Makes a user namespace in which this process, and nobody else, is itself.
pub(crate) fn own_user_namespace() -> io::Result<()> {
    // SAFETY: a user namespace is of the process and not of its memory or descriptors; this process
    // has one thread, which the call demands.
    Ok(unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWUSER) }?)
}

/// Makes a mount namespace for this process: a copy of what is mounted now.
pub(crate) fn own_mount_namespace() -> io::Result<()> {
    // SAFETY: a mount namespace is of the process and not of its memory or descriptors; this process has
    // one thread.
    Ok(unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }?)
}

/// Forks into new pid, network, IPC, UTS and cgroup namespaces. `None` in the new process, which is the
/// first of its pid namespace: when it ends, the kernel ends all others in there.
pub(crate) fn fork_into_namespaces() -> io::Result<Option<Pid>> {
    let flags = libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP
        | libc::SIGCHLD;
    let flags = libc::c_long::from(flags);
    let none: libc::c_long = 0;
    // SAFETY: without CLONE_VM and with a null stack this is a fork: the new process goes on with a
    // copy of the memory. This process has one thread, so that no lock is held in the copy.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, none, none, none, none) };
    match i32::try_from(pid) {
        Ok(0) => Ok(None),
        Ok(pid) if pid > 0 => Ok(Pid::from_raw(pid)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What a mount may not be used for.
pub(crate) struct MountAttributes {
    /// `MOUNT_ATTR_RDONLY`.
    pub(crate) read_only: bool,
    /// `MOUNT_ATTR_NOEXEC`.
    pub(crate) no_exec: bool,
    /// `MOUNT_ATTR_NODEV`.
    pub(crate) no_devices: bool,
}

/// Restricts a mount and all mounts beneath it (`mount_setattr(2)`). Set-user-ID bits never count.
pub(crate) fn restrict_mount(
    mount: BorrowedFd<'_>,
    attributes: &MountAttributes,
    beneath: bool,
) -> io::Result<()> {
    #[repr(C)]
    struct Attr {
        set: u64,
        clear: u64,
        propagation: u64,
        user_namespace: u64,
    }
    let set = [
        (attributes.read_only, libc::MOUNT_ATTR_RDONLY),
        (attributes.no_exec, libc::MOUNT_ATTR_NOEXEC),
        (attributes.no_devices, libc::MOUNT_ATTR_NODEV),
        (true, libc::MOUNT_ATTR_NOSUID),
    ];
    let set = set.into_iter().filter(|(wanted, _)| *wanted).fold(0, |all, (_, flag)| all | flag);
    let attr = Attr { set, clear: 0, propagation: 0, user_namespace: 0 };
    let flags = libc::AT_EMPTY_PATH | if beneath { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a NUL-terminated empty string; the structure is the kernel's first version
    // of it, with its own size, and both live across the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<Attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The version of the running kernel's Landlock, 0 where there is none.
pub(crate) fn landlock_version() -> i32 {
    const VERSION: u32 = 1;
    let (nothing, size) = (ptr::null::<c_void>(), 0_usize);
    // SAFETY: with the version flag the kernel takes no structure and returns a number.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, size, VERSION) };
    i32::try_from(version).unwrap_or(0).max(0)
}

/// Brings the loopback interface of this network namespace up.
pub(crate) fn loopback_up(socket: BorrowedFd<'_>) -> io::Result<()> {
    let mut request = loopback_request(0);
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: the request is an initialised `ifreq` that lives across the call.
    let result =
        unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Gives the loopback interface a further IPv4 address, the `alias`th (`netdevice(7)`).
pub(crate) fn loopback_address(
    socket: BorrowedFd<'_>,
    alias: usize,
    address: std::net::Ipv4Addr,
) -> io::Result<()> {
    let mut request = loopback_request(alias);
    let inet = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 0,
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.octets()) },
        sin_zero: [0; 8],
    };
    // SAFETY: both structures are `sockaddr`s of the same size; the request is initialised and lives
    // across the call.
    let result = unsafe {
        request.ifr_ifru.ifru_addr = std::mem::transmute::<libc::sockaddr_in, libc::sockaddr>(inet);
        libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFADDR as _, &raw const request)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Gives the loopback interface a further IPv6 address (`ipv6(7)`, `netdevice(7)`).
pub(crate) fn loopback_address_v6(
    socket: BorrowedFd<'_>,
    address: std::net::Ipv6Addr,
) -> io::Result<()> {
    /// The loopback interface is the first of every network namespace.
    const LOOPBACK: libc::c_int = 1;
    let request = libc::in6_ifreq {
        ifr6_addr: libc::in6_addr { s6_addr: address.octets() },
        ifr6_prefixlen: 128,
        ifr6_ifindex: LOOPBACK,
    };
    // SAFETY: the request is initialised and lives across the call.
    let result =
        unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFADDR as _, &raw const request) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn loopback_request(alias: usize) -> libc::ifreq {
    // SAFETY: all zeroes is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let name = if alias == 0 { "lo".to_owned() } else { format!("lo:{alias}") };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as c_char;
    }
    request
}

/// What an attempt is called, and the attempt.
pub(crate) type Forbidden = (&'static str, fn() -> io::Result<()>);

/// System calls that no confined child may make, each with harmless arguments.
pub(crate) fn forbidden() -> [Forbidden; 6] {
    fn result(value: libc::c_long) -> io::Result<()> {
        if value == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
    fn trace() -> io::Result<()> {
        // SAFETY: asks to be traced by the parent, which takes no pointer that is read.
        result(unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, ptr::null_mut::<c_void>(), 0) })
    }
    fn namespace() -> io::Result<()> {
        // SAFETY: as in `own_user_namespace`.
        result(unsafe { libc::syscall(libc::SYS_unshare, libc::CLONE_NEWUSER) })
    }
    fn memory_file() -> io::Result<()> {
        // SAFETY: the name is a NUL-terminated string.
        result(unsafe { libc::syscall(libc::SYS_memfd_create, c"canary".as_ptr(), 0) })
    }
    fn ring() -> io::Result<()> {
        // SAFETY: a null structure is an error where the call is known, and not read where it isn't.
        let made = unsafe { libc::syscall(libc::SYS_io_uring_setup, 0, ptr::null::<c_void>()) };
        match result(made) {
            // The kernel looked at the arguments, so that nothing keeps a child from it.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EFAULT | libc::EINVAL)) => {
                Ok(())
            }
            other => other,
        }
    }
    fn program_of_kernel() -> io::Result<()> {
        // SAFETY: a null structure of size 0 is an error and not read.
        let made = unsafe { libc::syscall(libc::SYS_bpf, 0, ptr::null::<c_void>(), 0) };
        match result(made) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
            other => other,
        }
    }
    fn keys() -> io::Result<()> {
        const GET_ID_OF_SESSION: [libc::c_long; 3] = [0, -3, 0];
        let [operation, session, create] = GET_ID_OF_SESSION;
        // SAFETY: takes numbers alone.
        result(unsafe { libc::syscall(libc::SYS_keyctl, operation, session, create) })
    }
    [
        ("trace", trace),
        ("new-namespace", namespace),
        ("memory-file", memory_file),
        ("ring", ring),
        ("bpf", program_of_kernel),
        ("keys", keys),
    ]
}
