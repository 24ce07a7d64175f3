//! The program: opened and compared where the child will see it, and started behind its walls.

use std::ffi::{CString, OsStr};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::path::Path;

use ::landlock::RulesetCreated;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal, setsid};
use seccompiler::sock_filter;

use crate::confinement::Tier;
use crate::event::Event;
use crate::helper::HELPER_FAILED;
use crate::seccomp::{Filters, Sockets};
use crate::spec::{ChildSpec, FileIdentity, Job};
use crate::{canary, landlock, limits, namespace, seccomp, sys, sys::exit_now};

/// The program that was checked, ready to be executed.
struct Program {
    kind: Kind,
    argv: Vec<CString>,
    env: Vec<CString>,
}

enum Kind {
    Binary(OwnedFd),
    /// A `#!` script can't be executed by a descriptor that closes on exec: its interpreter would
    /// have nothing to open. It is executed by its path, looked at again right before.
    Script(CString),
    /// No program: what tries the walls from inside.
    Canary,
}

/// Starts the program; returns once it runs. To be called where everything around it is ready. `filters`
/// were made ahead.
pub(crate) fn start(
    job: &Job,
    control: &UnixStream,
    filters: io::Result<Filters>,
) -> Result<Pid, Event> {
    let spec = &job.spec;
    let program = if job.canary {
        Program { kind: Kind::Canary, argv: Vec::new(), env: Vec::new() }
    } else {
        open_program(spec)?
    };
    rustix::process::chdir(&spec.workdir).map_err(|errno| {
        let path = spec.workdir.display();
        let why = describe(errno);
        failed(errno.raw_os_error(), &format!("the working directory `{path}` {why}"))
    })?;
    let mut walls = Walls::ready(spec, filters).map_err(|error| unprepared(spec, &error))?;
    let mut asked = [PollFd::new(control, PollFlags::IN)];
    if matches!(rustix::event::poll(&mut asked, Some(&Timespec::default())), Ok(1..)) {
        return Err(failed(Errno::CANCELED.raw_os_error(), &"ended before the program began"));
    }
    let starter = getpid();
    sys::start(&mut || become_program(spec, &program, &mut walls, starter)).map_err(|error| {
        match error.raw_os_error() {
            Some(errno) => not_executed(spec, &program, errno),
            None => unprepared(spec, &error),
        }
    })
}

/// The walls that the new process puts itself behind, made ready before it begins.
struct Walls {
    tier: Tier,
    rules: Option<RulesetCreated>,
    filter: Vec<sock_filter>,
}

impl Walls {
    fn ready(spec: &ChildSpec, filters: io::Result<Filters>) -> io::Result<Self> {
        let confinement = &spec.confinement;
        if confinement.tier == Tier::C {
            return Ok(Self { tier: Tier::C, rules: None, filter: Vec::new() });
        }
        let sockets = match confinement.network.is_empty() {
            true => Sockets::None,
            false => Sockets::Tcp,
        };
        let in_layer =
            |layer: &str, error: io::Error| io::Error::other(format!("{layer}: {error}"));
        Ok(Self {
            tier: confinement.tier,
            rules: Some(landlock::ruleset(confinement).map_err(|e| in_layer("Landlock", e))?),
            filter: filters.map_err(|e| in_layer("seccomp", e))?.of(sockets),
        })
    }

    /// Seccomp comes last, since what raises the others is among what it refuses.
    fn raise(&mut self) -> io::Result<()> {
        if let Some(rules) = self.rules.take() {
            // At tier A the helper's are bounded already, with its namespaces.
            if self.tier != Tier::A {
                namespace::bound_capabilities()?;
            }
            namespace::drop_capabilities()?;
            landlock::enter(rules)?;
            seccomp::enter(&self.filter)?;
        }
        Ok(())
    }
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
    let mut pinned = spec.pinned.iter();
    if !pinned.all(|(path, checked)| FileIdentity::of(path).is_ok_and(|now| now == *checked)) {
        return Err(changed(spec));
    }
    let file = OwnedFd::from(metadata);
    let text = |text: &OsStr| CString::new(text.as_bytes());
    let argv = spec.argv.iter().map(|argument| text(argument)).collect::<Result<_, _>>();
    let env = spec.env.iter().map(|(name, value)| {
        let mut pair = name.clone().into_vec();
        pair.push(b'=');
        pair.extend_from_slice(value.as_bytes());
        CString::new(pair)
    });
    let kind = match is_script(&file) {
        true => text(spec.program.as_os_str()).map(Kind::Script),
        false => Ok(Kind::Binary(file)),
    };
    match (kind, argv, env.collect::<Result<_, _>>()) {
        (Ok(kind), Ok(argv), Ok(env)) => Ok(Program { kind, argv, env }),
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
/// the memory of its starter, which stands still meanwhile.
fn become_program(
    spec: &ChildSpec,
    program: &Program,
    walls: &mut Walls,
    starter: Pid,
) -> io::Error {
    let ready = (|| {
        // Apart from the starter, so that signals to the own group or session don't reach it.
        setsid()?;
        // If the helper is killed from outside, the program goes with it. The parent is looked at
        // afterwards because it may have died before the signal was asked for.
        set_parent_process_death_signal(Some(Signal::KILL))?;
        if getppid() != Some(starter) {
            exit_now(HELPER_FAILED);
        }
        limits::apply(&spec.confinement.limits)?;
        sys::unblock_signals()?;
        walls.raise()
    })();
    if let Err(error) = ready {
        return error;
    }
    match &program.kind {
        Kind::Canary => canary::sing(&spec.argv),
        Kind::Binary(file) => sys::exec_descriptor(file.as_fd(), &program.argv, &program.env),
        Kind::Script(path) => match FileIdentity::of(Path::new(&spec.program)) {
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

/// A layer that could not be had, so that nothing was started.
pub(crate) fn unprepared(spec: &ChildSpec, error: &io::Error) -> Event {
    if error.raw_os_error() == Some(Errno::STALE.raw_os_error()) {
        return changed(spec);
    }
    let tier = spec.confinement.tier.letter();
    let message = format!("confinement at tier {tier} can't be had: {error}; see `lar doctor`");
    failed(error.raw_os_error().unwrap_or(0), &message)
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
        Errno::NOENT if matches!(program.kind, Kind::Script(_)) => {
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

pub(crate) fn failed(errno: i32, message: &impl ToString) -> Event {
    Event::ExecFailed { errno, message: message.to_string() }
}
