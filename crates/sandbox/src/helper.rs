//! The helper: a process with one thread and an empty environment that runs one program.
//!
//! It never starts a thread, never reads an environment variable, and says nothing on the output
//! that it hands to the program: whatever it has to say goes to the control socket.

use std::ffi::{CString, OsStr};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{
    DumpableBehavior, Pid, Signal, getpid, getppid, set_child_subreaper, set_dumpable_behavior,
    set_parent_process_death_signal, setsid,
};

use crate::event::Event;
use crate::spec::{ChildSpec, FileIdentity};
use crate::sys;
use crate::tree::Tree;
use crate::{limits, sys::exit_now};

/// The whole command line of a helper. Nothing else is ever passed by it.
pub(crate) const MARKER: &str = "lar-confine";

/// The exit code when the helper could not do its work; the control socket says why.
const HELPER_FAILED: i32 = 125;

/// Whether this process was started as the helper.
pub(crate) fn is_wanted() -> bool {
    let mut arguments = std::env::args_os();
    arguments.next().is_some_and(|name| name == MARKER) && arguments.next().is_none()
}

/// Runs one program as told on standard input, and ends this process.
pub(crate) fn main() -> ! {
    let code = match prepare() {
        Ok((control, null)) => run(control, null),
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            HELPER_FAILED
        }
    };
    exit_now(code)
}

/// Takes the control socket from standard input and leaves all that came from the parent.
fn prepare() -> io::Result<(UnixStream, OwnedFd)> {
    let stdin = io::stdin();
    if !FileType::from_raw_mode(rustix::fs::fstat(&stdin)?.st_mode).is_socket() {
        return Err(io::Error::other(format!(
            "`{MARKER}` is the confinement helper, which is only started by the program that it \
             belongs to; run that program by its own name"
        )));
    }
    // From here on no process of the same user can read this one's memory, where secrets will be.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    sys::close_inherited()?;
    let control = rustix::io::fcntl_dupfd_cloexec(&stdin, 3)?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok((UnixStream::from(control), null))
}

/// The story from the spec to the empty tree.
fn run(mut control: UnixStream, null: OwnedFd) -> i32 {
    let started = settle().and_then(|signals| {
        let spec = ChildSpec::read_from(&mut control).map_err(|error| failed(0, &error))?;
        let main = start(&spec, &control)?;
        Ok(Tree::new(main, signals))
    });
    let mut tree = match started {
        Ok(tree) => tree,
        Err(event) => {
            send(&mut control, &event);
            return HELPER_FAILED;
        }
    };
    // The program and its children alone now hold the output open.
    let _ = rustix::stdio::dup2_stdout(&null);
    let _ = rustix::stdio::dup2_stderr(&null);
    send(&mut control, &Event::Started);
    watch(&mut tree, &mut control);
    tree.end(|event| send(&mut control, &event));
    send(&mut control, &Event::Emptied);
    0
}

/// Makes this process the one that nothing below it can leave, and that no signal but `SIGKILL`
/// and `SIGSTOP` disturbs.
fn settle() -> Result<OwnedFd, Event> {
    let settled = (|| {
        let _ = rustix::thread::set_name(c"lar-confine");
        let signals = sys::child_signals()?;
        setsid()?;
        set_child_subreaper(Some(getpid()))?;
        rustix::thread::set_no_new_privs(true)?;
        rustix::process::umask(Mode::from_raw_mode(0o022));
        Ok(signals)
    })();
    settled.map_err(|error: io::Error| failed(0, &error))
}

/// Returns when the program has ended, or when the parent wants it ended or is gone.
fn watch(tree: &mut Tree, control: &mut UnixStream) {
    loop {
        let mut watched = [
            PollFd::from_borrowed_fd(tree.signals(), PollFlags::IN),
            PollFd::new(&*control, PollFlags::IN),
        ];
        if matches!(rustix::event::poll(&mut watched, None), Err(error) if error != Errno::INTR) {
            return;
        }
        let [_, command] = watched;
        let told = !command.revents().is_empty();
        if tree.main_ended() || told {
            return;
        }
    }
}

fn send(control: &mut UnixStream, event: &Event) {
    // A parent that is gone is noticed where the socket is read.
    let _ = control.write_all(&event.encode());
}

/// The program that was checked, ready to be executed.
struct Program {
    file: OwnedFd,
    /// A `#!` script can't be executed by a descriptor that closes on exec: its interpreter would
    /// have nothing to open. It is executed by its path, looked at again right before.
    script: Option<CString>,
    argv: Vec<CString>,
    env: Vec<CString>,
}

/// Starts the program; returns once it runs.
fn start(spec: &ChildSpec, control: &UnixStream) -> Result<Pid, Event> {
    let program = open_program(spec)?;
    rustix::process::chdir(&spec.workdir).map_err(|errno| {
        let path = spec.workdir.display();
        let why = describe(errno);
        failed(errno.raw_os_error(), &format!("the working directory `{path}` {why}"))
    })?;
    let mut asked = [PollFd::new(control, PollFlags::IN)];
    if matches!(rustix::event::poll(&mut asked, Some(&Timespec::default())), Ok(1..)) {
        return Err(failed(Errno::CANCELED.raw_os_error(), &"ended before the program began"));
    }
    let helper = getpid();
    sys::start(&mut || become_program(spec, &program, helper)).map_err(|error| {
        let errno = error.raw_os_error().unwrap_or(Errno::INVAL.raw_os_error());
        not_executed(spec, &program, errno)
    })
}

/// Opens the program and makes sure that it is the file that was checked.
fn open_program(spec: &ChildSpec) -> Result<Program, Event> {
    let path = spec.program.display();
    let wrong = |errno: Errno| {
        failed(errno.raw_os_error(), &format!("the program `{path}` {}", describe(errno)))
    };
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let file = rustix::fs::open(&spec.program, flags, Mode::empty()).map_err(wrong)?;
    let metadata = std::fs::File::from(file);
    let found = metadata.metadata().map_err(|error| failed(0, &error))?;
    if !found.is_file() {
        let errno = Errno::ACCESS.raw_os_error();
        return Err(failed(errno, &format!("`{path}` is not a regular file: name a program")));
    }
    if FileIdentity::from_metadata(&found) != spec.expected {
        return Err(changed(spec));
    }
    let file = OwnedFd::from(metadata);
    let text = |text: &OsStr| CString::new(text.as_bytes());
    let script = is_script(&file).then(|| text(spec.program.as_os_str())).transpose();
    let argv = spec.argv.iter().map(|argument| text(argument)).collect::<Result<_, _>>();
    let env = spec.env.iter().map(|(name, value)| {
        let mut pair = name.clone().into_vec();
        pair.push(b'=');
        pair.extend_from_slice(value.as_bytes());
        CString::new(pair)
    });
    match (script, argv, env.collect::<Result<_, _>>()) {
        (Ok(script), Ok(argv), Ok(env)) => Ok(Program { file, script, argv, env }),
        _ => Err(failed(Errno::INVAL.raw_os_error(), &"a NUL byte in the arguments")),
    }
}

/// Whether the file begins with `#!`. A file that can't be read can't be a working script either.
fn is_script(file: &OwnedFd) -> bool {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let mut first = [0; 2];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut first));
    read.is_ok() && first == *b"#!"
}

/// What the new process does; returns only to say why it could not execute the program. It shares
/// the memory of the helper, which stands still meanwhile.
fn become_program(spec: &ChildSpec, program: &Program, helper: Pid) -> io::Error {
    let ready = (|| {
        // Apart from the helper, so that signals to the own group or session don't reach it.
        setsid()?;
        // If the helper is killed from outside, the program goes with it. The parent is looked at
        // afterwards because it may have died before the signal was asked for.
        set_parent_process_death_signal(Some(Signal::KILL))?;
        if getppid() != Some(helper) {
            exit_now(HELPER_FAILED);
        }
        limits::apply(&spec.confinement.limits)?;
        sys::default_signals()
    })();
    if let Err(error) = ready {
        return error;
    }
    match &program.script {
        None => sys::exec_descriptor(program.file.as_fd(), &program.argv, &program.env),
        Some(path) => match FileIdentity::of(Path::new(&spec.program)) {
            // The interpreter opens the path once more: a replacement in that moment goes
            // unnoticed here.
            Ok(found) if found == spec.expected => {
                sys::exec_path(path, &program.argv, &program.env)
            }
            Ok(_) => Errno::STALE.into(),
            Err(error) => error,
        },
    }
}

fn changed(spec: &ChildSpec) -> Event {
    let path = spec.program.display();
    let message = format!(
        "the program `{path}` has changed since it was checked, and was not run: start the run \
         again if the change is meant"
    );
    failed(Errno::STALE.raw_os_error(), &message)
}

fn not_executed(spec: &ChildSpec, program: &Program, errno: i32) -> Event {
    let path = spec.program.display();
    let errno = Errno::from_raw_os_error(errno);
    let why = match errno {
        Errno::STALE => return changed(spec),
        Errno::NOENT if program.script.is_some() => {
            "names an interpreter in its first line that does not exist: install it"
        }
        Errno::NOENT => "needs a dynamic loader that does not exist: install it",
        errno => describe(errno),
    };
    failed(errno.raw_os_error(), &format!("the program `{path}` {why}"))
}

/// The second half of a sentence about a path.
fn describe(errno: Errno) -> &'static str {
    match errno {
        Errno::NOENT => "does not exist: correct the path",
        Errno::ACCESS | Errno::PERM => {
            "is not accessible or not executable for this user: check its permissions"
        }
        Errno::NOTDIR => "is not a directory or leads through a file: correct the path",
        Errno::LOOP => "leads through too many symbolic links: correct the path",
        Errno::NOEXEC => {
            "is in no format that the kernel executes: a script needs a `#!` line with its \
             interpreter"
        }
        Errno::TXTBSY => "is being written to: try again when that is done",
        Errno::TOOBIG => "can't take arguments and an environment of this size: shorten them",
        Errno::NOMEM => "needs more memory than there is: free some",
        Errno::MFILE | Errno::NFILE => "can't be opened: too many files are open",
        _ => "can't be used: the error number says why",
    }
}

fn failed(errno: i32, message: &impl ToString) -> Event {
    Event::ExecFailed { errno, message: message.to_string() }
}
