//! A helper that is started ahead, and helpers that are waited for afterwards.
//!
//! Executing the helper's binary and making namespaces takes a good part of a start, so that the next one
//! is started while the one before works, for the tier that was asked for last. It waits for its spec like
//! any other, holds nothing of anybody's, runs one program at the most, and ends when this process does.
//! It is used only by the process, and the account, that started it.
//!
//! One thread does both, and is started with the first helper that is used.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{self, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use crate::confinement::Tier;
use crate::spec::ChildSpec;

/// A helper that waits for its spec.
pub(crate) struct Ready {
    pub(crate) helper: process::Child,
    pub(crate) control: UnixStream,
    tier: Tier,
    owner: Owner,
}

/// Who a helper was started by: what it runs inherits that.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Owner {
    process: u32,
    #[cfg(target_os = "linux")]
    account: [u32; 4],
}

/// What the thread is asked for.
enum Job {
    /// Start a helper of this tier ahead, unless there is one.
    Start(&'static File, Tier),
    /// Wait for this one's end.
    Reap(process::Child),
}

static SPARE: Mutex<Option<Ready>> = Mutex::new(None);
static KEEPER: OnceLock<Option<(u32, Sender<Job>)>> = OnceLock::new();

/// How long after a first look helpers that haven't ended are looked at again. It doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The helper that was started ahead for this tier, where there is one.
pub(crate) fn take(tier: Tier) -> Option<Ready> {
    // Whoever forked this process may have held the lock just then.
    let mut ready = SPARE.try_lock().ok()?.take()?;
    if ready.owner.process != process::id() {
        // It is the process's that this one was forked from, which has its own ends of it.
        return None;
    }
    let fits = ready.tier == tier
        && ready.owner == Owner::current()
        && matches!(ready.helper.try_wait(), Ok(None));
    if fits {
        return Some(ready);
    }
    drop(ready.control);
    reap(ready.helper);
    None
}

/// Has the next helper started ahead.
pub(crate) fn refill(binary: &'static File, tier: Tier) {
    let _ = ask(Job::Start(binary, tier));
}

/// Waits for a helper's end elsewhere, so that the caller need not.
pub(crate) fn reap(helper: process::Child) {
    if let Err(Job::Reap(mut helper)) = ask(Job::Reap(helper)) {
        // Without a thread to spare it stays a zombie until this process ends.
        let _ = std::thread::Builder::new().spawn(move || helper.wait());
    }
}

fn ask(job: Job) -> Result<(), Job> {
    let keeper = KEEPER.get_or_init(|| {
        let (sender, jobs) = channel();
        let thread = std::thread::Builder::new().name("lar-helpers".to_owned());
        thread.spawn(move || keep(&jobs)).ok()?;
        Some((process::id(), sender))
    });
    match keeper {
        // A forked process has the sender and not the thread.
        Some((owner, sender)) if *owner == process::id() => {
            sender.send(job).map_err(|unsent| unsent.0)
        }
        _ => Err(job),
    }
}

fn keep(jobs: &Receiver<Job>) {
    let mut ending: Vec<process::Child> = Vec::new();
    let mut pause = FIRST_PAUSE;
    loop {
        let job = match ending.is_empty() {
            true => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            false => jobs.recv_timeout(pause),
        };
        match job {
            Ok(Job::Start(binary, tier)) => start_ahead(binary, tier),
            Ok(Job::Reap(helper)) => {
                ending.push(helper);
                pause = FIRST_PAUSE;
                continue;
            }
            Err(RecvTimeoutError::Timeout) => pause = (pause * 2).min(LONGEST_PAUSE),
            Err(RecvTimeoutError::Disconnected) => return,
        }
        // One that is stopped for ever holds nobody up.
        ending.retain_mut(|helper| matches!(helper.try_wait(), Ok(None)));
    }
}

fn start_ahead(binary: &File, tier: Tier) {
    let is_there = || SPARE.lock().is_ok_and(|spare| spare.is_some());
    if is_there() {
        return;
    }
    // A system that has no room for it now is asked again with the next start.
    if let (Ok(ready), Ok(mut spare)) = (Ready::start(binary, tier), SPARE.lock()) {
        *spare = Some(ready);
    }
}

impl Ready {
    /// Starts a helper now. Without `pre_exec`, a user id or a directory, so that the standard library
    /// takes `posix_spawn`.
    pub(crate) fn start(binary: &File, tier: Tier) -> io::Result<Self> {
        let (mut control, theirs) = UnixStream::pair()?;
        control.write_all(&ChildSpec::greeting(tier))?;
        let mut command = Command::new(format!("/proc/self/fd/{}", binary.as_raw_fd()));
        #[cfg(target_os = "linux")]
        std::os::unix::process::CommandExt::arg0(&mut command, crate::helper::MARKER);
        let helper = command
            .env_clear()
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        Ok(Self { helper, control, tier, owner: Owner::current() })
    }
}

impl Owner {
    fn current() -> Self {
        #[cfg(target_os = "linux")]
        let account = {
            use rustix::process::{getegid, geteuid, getgid, getuid};
            [getuid().as_raw(), geteuid().as_raw(), getgid().as_raw(), getegid().as_raw()]
        };
        Self {
            process: process::id(),
            #[cfg(target_os = "linux")]
            account,
        }
    }
}
