//! The helper: a process with one thread and an empty environment that runs one program.
//!
//! At tier A it makes the namespaces while there is nothing to run yet, stays outside of them, relays what
//! their first process tells, and kills that one when the parent wants it. At the others it starts the
//! program by itself and keeps the tree of its processes together ([`Tree`]).
//!
//! It never starts a thread, never reads an environment variable, and says nothing on the output
//! that it hands to the program: whatever it has to say goes to the control socket.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{
    DumpableBehavior, Signal, WaitOptions, getpid, kill_process, set_child_subreaper,
    set_dumpable_behavior, setsid, waitpid,
};

use crate::confinement::Tier;
use crate::event::{Event, EventDecoder};
use crate::handover::{self, First};
use crate::namespace;
use crate::program::{failed, start};
use crate::seccomp::Filters;
use crate::spec::ChildSpec;
use crate::sys::{self, exit_now};
use crate::tree::Tree;

/// The whole command line of a helper. Nothing else is ever passed by it.
pub(crate) const MARKER: &str = "lar-confine";

/// The exit code when the helper could not do its work; the control socket says why.
pub(crate) const HELPER_FAILED: i32 = 125;

/// How long the namespaces' first process may take to say a last word before it is killed. It needs
/// about a millisecond.
const LAST_WORD: Duration = Duration::from_secs(2);

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
    sys::close_inherited()?;
    let control = rustix::io::fcntl_dupfd_cloexec(&stdin, 3)?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok((UnixStream::from(control), null))
}

/// The story from the greeting to the empty tree.
fn run(mut control: UnixStream, null: OwnedFd) -> i32 {
    match settle(&mut control) {
        Ok((Tier::A, signals)) => run_in_namespaces(control, signals, &null),
        Ok((tier, signals)) => run_here(tier, control, signals, &null),
        Err(event) => give_up(control, &event),
    }
}

fn give_up(mut control: UnixStream, event: &Event) -> i32 {
    send(&mut control, event);
    HELPER_FAILED
}

/// Makes this process the one that nothing below it can leave, and that no signal but `SIGKILL`
/// and `SIGSTOP` disturbs. What to run is read by nobody before that.
fn settle(control: &mut UnixStream) -> Result<(Tier, OwnedFd), Event> {
    let settled = (|| {
        let _ = rustix::thread::set_name(c"lar-confine");
        let signals = sys::child_signals()?;
        sys::default_signals();
        setsid()?;
        // When memory runs out, a child goes before anything else does. It inherits this.
        let _ = std::fs::write("/proc/self/oom_score_adj", "500");
        let tier = ChildSpec::read_greeting(control)?;
        match tier {
            Tier::A => {
                when_asked(control, namespace::own_user).map_err(no_namespaces)?;
                namespace::bound_capabilities()?;
            }
            Tier::B | Tier::C => set_child_subreaper(Some(getpid()))?,
        }
        rustix::thread::set_no_new_privs(true)?;
        // From here on no process of the same user can read this one's memory, where secrets will be.
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
        rustix::process::umask(Mode::from_raw_mode(0o022));
        Ok((tier, signals))
    })();
    settled.map_err(|error: io::Error| told(&error))
}

/// Does something ahead. What the system has no room for now is tried once more when there is something to
/// run, and only then is a failure told.
fn when_asked<T>(control: &UnixStream, make: impl Fn() -> io::Result<T>) -> io::Result<T> {
    make().or_else(|_| {
        let mut asked = [PollFd::new(control, PollFlags::IN)];
        while matches!(rustix::event::poll(&mut asked, None), Err(Errno::INTR)) {}
        make()
    })
}

fn told(error: &io::Error) -> Event {
    failed(error.raw_os_error().unwrap_or(0), error)
}

fn no_namespaces(error: io::Error) -> io::Error {
    io::Error::other(format!("confinement at tier A can't be had: {error}; see `lar doctor`"))
}

/// Tiers B and C: the program is this process's child, in the system's own namespaces.
fn run_here(tier: Tier, mut control: UnixStream, signals: OwnedFd, null: &OwnedFd) -> i32 {
    let filters = Filters::make();
    let job = ChildSpec::read(tier, &mut control).map_err(|error| told(&error));
    let mut tree = match job.and_then(|job| start(&job, &control, filters)) {
        Ok(main) => Tree::new(main, signals),
        Err(event) => return give_up(control, &event),
    };
    leave_output(null);
    send(&mut control, &Event::Started);
    watch(&mut tree, &mut control);
    tree.end(|events| send_all(&mut control, events));
    0
}

/// Tier A: the program is a child of the namespaces' first process, with which everything in them
/// ends. That one reads what to run, and until then this one only waits for it.
fn run_in_namespaces(mut control: UnixStream, signals: OwnedFd, null: &OwnedFd) -> i32 {
    let make = || {
        let pair = UnixStream::pair()?;
        Ok((pair, sys::fork_into_namespaces()?))
    };
    let (mut link, first) = match when_asked(&control, make) {
        Ok(((here, there), None)) => {
            drop(here);
            namespace::first_process(control, there, signals, null)
        }
        Ok(((here, there), Some(first))) => {
            drop(there);
            (here, first)
        }
        Err(error) => return give_up(control, &told(&no_namespaces(error))),
    };
    leave_output(null);
    let mut told = Told::default();
    let mut listens = [0];
    // Where that process is lost, there is nothing to take in, and the end of the socket follows.
    if link.read_exact(&mut listens).is_ok() && listens == namespace::LISTENS {
        match handover::receive(&link) {
            Ok(First::Listeners(held)) => {
                // A parent that is gone is noticed where the socket is read.
                let _ = handover::send(&control, &held);
            }
            Ok(First::Event(bytes)) => told.decoder.push(&bytes),
            Err(_) => {}
        }
    }
    relay(&mut link, &mut control, &mut told);
    // Where the tree is empty already, nobody waits for the rest.
    let _ = kill_process(first, Signal::KILL);
    let _ = waitpid(Some(first), WaitOptions::empty());
    // What it said last may still lie in the socket.
    let _ = link.set_nonblocking(true);
    while told.take(&mut link, &mut control) {}
    if !told.started {
        return HELPER_FAILED;
    }
    if !told.ended {
        send(&mut control, &Event::Signaled { signal: Signal::KILL.as_raw() });
    }
    if !told.emptied {
        send(&mut control, &Event::Emptied);
    }
    0
}

/// Passes on what the first process tells, until it is gone, or the parent wants the end or is gone.
/// Then the first process is told by the socket's end, so that it can still say whether the program
/// had begun.
fn relay(link: &mut UnixStream, control: &mut UnixStream, told: &mut Told) {
    let mut ending = false;
    loop {
        let mut watched =
            [PollFd::new(&*link, PollFlags::IN), PollFd::new(&*control, PollFlags::IN)];
        // Once the parent has spoken, nothing more is expected of it.
        let watched = match ending {
            true => watched.get_mut(..1).unwrap_or_default(),
            false => &mut watched,
        };
        let most = Timespec::try_from(LAST_WORD).ok().filter(|_| ending);
        match rustix::event::poll(watched, most.as_ref()) {
            Ok(0) => return,
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
        let ready: Vec<bool> = watched.iter().map(|one| !one.revents().is_empty()).collect();
        if ready.first() == Some(&true) && !told.take(link, control) {
            return;
        }
        if ready.get(1) == Some(&true) {
            ending = true;
            let _ = link.shutdown(Shutdown::Write);
        }
    }
}

/// What the first process has told so far. Its bytes are passed on as they are.
#[derive(Default)]
struct Told {
    decoder: EventDecoder,
    started: bool,
    ended: bool,
    emptied: bool,
}

impl Told {
    /// Passes on what lies in the socket; `false` when there will be no more.
    fn take(&mut self, link: &mut UnixStream, control: &mut UnixStream) -> bool {
        let mut buffer = [0; 1024];
        let count = match link.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return true,
            Err(_) => 0,
        };
        let bytes = buffer.get(..count).unwrap_or_default();
        self.decoder.push(bytes);
        let mut events = Vec::new();
        while let Ok(Some(event)) = self.decoder.next_event() {
            self.started |= event == Event::Started;
            self.ended |= matches!(event, Event::Exited { .. } | Event::Signaled { .. });
            self.emptied |= event == Event::Emptied;
            events.push(event);
        }
        send_all(control, &events);
        count > 0
    }
}

/// The program and its children alone then hold the output open.
fn leave_output(null: &OwnedFd) {
    let _ = rustix::stdio::dup2_stdout(null);
    let _ = rustix::stdio::dup2_stderr(null);
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

pub(crate) fn send(control: &mut UnixStream, event: &Event) {
    // A parent that is gone is noticed where the socket is read.
    let _ = control.write_all(&event.encode());
}

/// The same for what happened at once: whoever listens is woken once.
pub(crate) fn send_all(control: &mut UnixStream, events: &[Event]) {
    let bytes: Vec<u8> = events.iter().flat_map(Event::encode).collect();
    let _ = control.write_all(&bytes);
}
