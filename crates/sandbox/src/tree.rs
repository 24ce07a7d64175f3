//! Ends a tree of processes, whatever its members do to live on.
//!
//! The helper is a child subreaper: a process whose parent dies becomes the helper's own child, so
//! that no descendant can leave the tree, by `setsid` or a double fork or otherwise. The tree is
//! empty exactly when the helper has no child left (`ECHILD`); that, and not what a look at `/proc`
//! shows, is the end of it.
//!
//! The main program's group is killed first, which the kernel does in one step that no fork can
//! slip through. What has left the group is then stopped before it is killed: a stopped process
//! keeps its place under the process limit, so that a fork bomb can't replace what it loses. (One
//! of 300 processes, each in a session of its own, ends in 3 s on two cores; killed without being
//! stopped first it took up to 160 s.)
//!
//! Never a process that is not ours: a process id is signalled only while it can't be reused, as
//! an unreaped child of the helper or through a descriptor (`pidfd_open(2)`).

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, getpid, kill_process, kill_process_group,
    pidfd_open, pidfd_send_signal, setpriority_process, wait,
};

use crate::event::Event;
use crate::sys;

/// Most trees are gone this soon after their group was killed, without a look at `/proc`.
const GROUP_GRACE: Duration = Duration::from_millis(5);
/// How often to go over what still runs and stop it, before killing what was found. Counted and not
/// timed: among a thousand busy processes a single round can take seconds, and killing before all
/// stand still gives a bomb its places back. Two rounds are the rule; the limit is for processes
/// that wake each other or wait for a disk.
const FREEZE_ROUNDS: usize = 64;
/// Between rounds, for processes that the kernel can't end at once (waiting for a disk).
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// The processes below the helper.
pub(crate) struct Tree {
    /// The program itself, until it is reaped. Unreaped it keeps its process group's id taken.
    main: Option<Pid>,
    signals: OwnedFd,
}

impl Tree {
    /// `signals` becomes readable when a child of this process ends.
    pub(crate) fn new(main: Pid, signals: OwnedFd) -> Self {
        Self { main: Some(main), signals }
    }

    pub(crate) fn signals(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }

    /// Reaps orphans that ended while the program runs, so that they don't fill the process table.
    /// True when the program itself has ended; it is not reaped then.
    pub(crate) fn main_ended(&mut self) -> bool {
        self.drain();
        while let Some(pid) = sys::peek_ended() {
            if Some(pid) == self.main {
                return true;
            }
            let _ = rustix::process::waitpid(Some(pid), WaitOptions::NOHANG);
        }
        false
    }

    /// How the program ended, once [`main_ended`](Self::main_ended) says that it did.
    pub(crate) fn reap_main(&mut self) -> Option<Event> {
        let (_, status) =
            rustix::process::waitpid(self.main.take(), WaitOptions::empty()).ok()??;
        Some(ending(status))
    }

    /// Kills and reaps everything; returns when nothing is left. Reports how the program ended, and that
    /// nothing is left: together where both are so at once, since whoever listens is woken by each report.
    pub(crate) fn end(mut self, mut report: impl FnMut(&[Event])) {
        if let Some(main) = self.main {
            let _ = kill_process_group(main, Signal::KILL);
        }
        let grace = Instant::now() + GROUP_GRACE;
        loop {
            if self.reap(&mut report) {
                return;
            }
            let now = Instant::now();
            if now >= grace {
                break;
            }
            self.pause(grace - now);
        }
        // Where it is allowed, come before the crowd that is to be ended.
        let _ = setpriority_process(None, -20);
        let mut pause = Duration::from_millis(1);
        loop {
            let _ = (0..FREEZE_ROUNDS).any(|_| !signal_all(Signal::STOP));
            signal_all(Signal::KILL);
            if self.reap(&mut report) {
                return;
            }
            self.pause(pause);
            if self.reap(&mut report) {
                return;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Reaps what has ended; true when no child is left at all.
    fn reap(&mut self, report: &mut impl FnMut(&[Event])) -> bool {
        self.drain();
        let mut events = Vec::new();
        let is_empty = loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    if Some(pid) == self.main {
                        self.main = None;
                        events.push(ending(status));
                    }
                }
                Ok(None) => break false,
                Err(Errno::INTR) => {}
                Err(_) => break true,
            }
        };
        if is_empty {
            events.push(Event::Emptied);
        }
        if !events.is_empty() {
            report(&events);
        }
        is_empty
    }

    fn pause(&self, most: Duration) {
        let timeout = Timespec::try_from(most).ok();
        let mut watched = [PollFd::new(&self.signals, PollFlags::IN)];
        let _ = rustix::event::poll(&mut watched, timeout.as_ref());
    }

    fn drain(&self) {
        let mut buffer = [0_u8; 1024];
        while matches!(rustix::io::read(&self.signals, &mut buffer), Ok(count) if count > 0) {}
    }
}

fn ending(status: WaitStatus) -> Event {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Event::Exited { code },
        (None, signal) => Event::Signaled { signal: signal.unwrap_or(0) },
    }
}

/// One process as `/proc/PID/stat` shows it (`proc_pid_stat(5)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Process {
    pid: i32,
    parent: i32,
    state: u8,
    started: u64,
}

/// Sends `signal` to every descendant that it could still change; true when there was one.
fn signal_all(signal: Signal) -> bool {
    let helper = getpid().as_raw_nonzero().get();
    // A child of ours keeps its process id until we reap it, and nobody is reaped in here.
    for child in listed_children(helper) {
        let _ = kill_process(child, signal);
    }
    let mut changed = false;
    let mut by_parent: HashMap<i32, Vec<Process>> = HashMap::new();
    for pid in newest_first() {
        let Some(process) = look(pid) else { continue };
        if process.parent == helper {
            // At once, before the rest is read: this one may be about to fork and be gone.
            if is_changed_by(process.state, signal)
                && let Some(pid) = Pid::from_raw(pid)
            {
                changed = true;
                let _ = kill_process(pid, signal);
            }
        }
        by_parent.entry(process.parent).or_default().push(process);
    }
    let mut seen = HashSet::from([helper]);
    let mut generation = vec![helper];
    while let Some(parent) = generation.pop() {
        for process in by_parent.get(&parent).into_iter().flatten() {
            if !seen.insert(process.pid) {
                continue;
            }
            generation.push(process.pid);
            if parent != helper && is_changed_by(process.state, signal) {
                changed = true;
                signal_grandchild(process, helper, signal);
            }
        }
    }
    changed
}

/// Signals a process that its own parent could reap at any time, without ever hitting a stranger
/// who got its number: the descriptor holds the process, and the second look confirms which it is.
fn signal_grandchild(process: &Process, helper: i32, signal: Signal) {
    let Some(pid) = Pid::from_raw(process.pid) else {
        return;
    };
    let held = pidfd_open(pid, PidfdFlags::empty());
    let same = look(process.pid).is_some_and(|now| {
        now.started == process.started && (now.parent == process.parent || now.parent == helper)
    });
    if !same {
        return;
    }
    match held {
        Ok(held) => {
            let _ = pidfd_send_signal(held, signal);
        }
        // Before 5.3, or filtered: the moment since the second look is all the risk there is.
        Err(Errno::NOSYS | Errno::PERM) => {
            let _ = kill_process(pid, signal);
        }
        Err(_) => {}
    }
}

/// Zombies and dead processes are past signals, and a stopped one can't be stopped again.
fn is_changed_by(state: u8, signal: Signal) -> bool {
    match state {
        b'Z' | b'X' | b'x' => false,
        b'T' | b't' => signal != Signal::STOP,
        _ => true,
    }
}

/// The helper's own children, as the kernel lists them: quick, but only complete when nothing
/// moves, and absent from some kernels (`CONFIG_PROC_CHILDREN`).
fn listed_children(helper: i32) -> Vec<Pid> {
    let list = fs::read_to_string(format!("/proc/self/task/{helper}/children")).unwrap_or_default();
    list.split_ascii_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
}

fn newest_first() -> Vec<i32> {
    let mut pids: Vec<i32> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable_by(|a, b| b.cmp(a));
    pids
}

fn look(pid: i32) -> Option<Process> {
    parse_stat(pid, &fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// The name stands in parentheses and is the process's own choice, so that the fields are counted
/// from the last closing one.
fn parse_stat(pid: i32, stat: &[u8]) -> Option<Process> {
    let name_end = stat.iter().rposition(|&byte| byte == b')')?;
    let (_, rest) = stat.split_at_checked(name_end + 1)?;
    let mut fields = std::str::from_utf8(rest).ok()?.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    let parent = fields.next()?.parse().ok()?;
    // Fields 3 and 4 are read; the start time is field 22.
    let started = fields.nth(17)?.parse().ok()?;
    Some(Process { pid, parent, state, started })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_does_not_hide_the_parent() {
        let stat = b"42 (x) R 1 (y\n) S 7 42 42 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 987 1 1\n";
        let process = parse_stat(42, stat).unwrap();
        assert_eq!(process, Process { pid: 42, parent: 7, state: b'S', started: 987 });
    }

    #[test]
    fn this_process_is_seen_as_it_is() {
        let me = getpid().as_raw_nonzero().get();
        let process = look(me).unwrap();
        let parent = rustix::process::getppid().unwrap().as_raw_nonzero().get();
        assert_eq!(process.parent, parent);
        assert!(newest_first().contains(&me));
        assert!(process.started > 0);
    }

    #[test]
    fn nothing_is_made_of_nonsense() {
        for stat in [&b""[..], b")", b"1 (a)", b"1 (a) S", b"1 (a) S x", b"1 (a) S 1 2 3"] {
            assert_eq!(parse_stat(1, stat), None);
        }
    }
}
