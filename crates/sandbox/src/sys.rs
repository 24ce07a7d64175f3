//! The system calls that have no safe wrapper in `rustix`. Nothing else in the project is unsafe.
//!
//! All of this runs in the helper, which has one thread and opens nothing before it gets here.

#![allow(
    unsafe_code,
    reason = "clone, exec, signal dispositions and closing unknown descriptors have no safe wrapper"
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

/// Default handling for every signal, none blocked: a program must not inherit an ignored
/// `SIGPIPE` or `SIGINT` (`execve(2)` keeps both the mask and what is ignored).
pub(crate) fn default_signals() -> io::Result<()> {
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
