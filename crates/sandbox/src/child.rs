//! The parent's side: starts the helper, hands it the spec, and holds the other ends.
//!
//! Nothing here is asynchronous, and nothing here runs between a fork and an exec: the standard
//! library starts the helper with `posix_spawn`, whose cost doesn't grow with the parent's memory.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{self, ExitStatus};
use std::sync::OnceLock;
use std::time::Duration;

use crate::confinement::Tier;
use crate::event::{Event, EventDecoder, KILL, ProtocolError};
use crate::spare::{self, Ready};
use crate::spec::{ChildSpec, SpecError};

/// The binary that helpers are made of, opened once.
static HELPER: OnceLock<File> = OnceLock::new();

/// A helper that doesn't take its spec for this long is given up. It needs about a millisecond.
const HAND_OVER: Duration = Duration::from_secs(10);

/// Makes this program able to [`spawn`], and turns it into the helper when it was started as one.
///
/// To be called first thing in `main`: before any thread, before anything is opened or printed,
/// and before arguments are parsed, since a helper must not do any of that. As a helper it never
/// returns. If the program can't open itself (no `/proc`), [`spawn`] says so.
///
/// ```no_run
/// # #[allow(clippy::needless_doctest_main)]
/// fn main() {
///     lar_sandbox::init();
///     // Whatever the program does.
/// }
/// ```
pub fn init() {
    #[cfg(target_os = "linux")]
    {
        if crate::helper::is_wanted() {
            crate::helper::main();
        }
        let _ = use_helper(Path::new("/proc/self/exe"));
    }
}

/// Names the binary whose `main` calls [`init`], for programs whose own `main` can't. The file is
/// opened now and kept: replacing it later changes nothing.
///
/// # Errors
/// [`SpawnError::HelperAbsent`] when it can't be opened, [`SpawnError::HelperChosen`] when there is
/// one already.
pub fn use_helper(path: &Path) -> Result<(), SpawnError> {
    let absent = |source| SpawnError::HelperAbsent { path: path.to_owned(), source };
    #[cfg(target_os = "linux")]
    let file = {
        use rustix::fs::{Mode, OFlags};
        let opened = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        File::from(opened.map_err(|errno| absent(errno.into()))?)
    };
    #[cfg(not(target_os = "linux"))]
    let file = File::open(path).map_err(absent)?;
    HELPER.set(file).map_err(|_| SpawnError::HelperChosen)
}

/// Where the binary lies that helpers are made of, as the kernel says now; `None` before there is one.
pub fn helper() -> Option<PathBuf> {
    let file = HELPER.get()?;
    std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()
}

/// Starts `spec` through a helper. Takes about two milliseconds, in which it blocks.
///
/// The program has not started when this returns: the first event says whether it did.
///
/// # Errors
/// Nothing began in any of the cases of [`SpawnError`].
pub fn spawn(spec: &ChildSpec) -> Result<Child, SpawnError> {
    if !cfg!(target_os = "linux") {
        return Err(SpawnError::Unsupported);
    }
    let frame = spec.encode()?;
    start(spec.confinement.tier, &frame, !spec.confinement.network.listen.is_empty())
}

/// Starts a helper, hands it a frame, and takes the listeners that it opens.
pub(crate) fn start(tier: Tier, frame: &[u8], listens: bool) -> Result<Child, SpawnError> {
    let binary = HELPER.get().ok_or(SpawnError::NotInitialised)?;
    // One that waited may have been ended meanwhile, by whoever may.
    let child = match spare::take(tier).map(|ready| Child::of(ready, frame)) {
        Some(Ok(child)) => Ok(child),
        Some(Err(_)) | None => Ready::start(binary, tier).and_then(|ready| Child::of(ready, frame)),
    };
    let mut child = child.map_err(SpawnError::Failed)?;
    spare::refill(binary, tier);
    if listens {
        child.take_over().map_err(SpawnError::Failed)?;
    }
    Ok(child)
}

/// A program that was started, and everything that it starts.
///
/// Dropping it ends the tree. The events are read either here ([`next_event`](Self::next_event))
/// or from a copy of the socket ([`control`](Self::control)), not both.
#[derive(Debug)]
pub struct Child {
    control: UnixStream,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    /// `None` only while this value is being dropped.
    helper: Option<process::Child>,
    decoder: EventDecoder,
    listeners: Vec<OwnedFd>,
}

/// Why nothing was started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// The spec can't be run: the caller's mistake.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// [`init`] was not called, or the program could not open itself.
    #[error(
        "the confinement helper is not set up: call `init` first thing in `main`, with `/proc` \
         mounted, or name a helper with `use_helper`"
    )]
    NotInitialised,
    /// There is a helper already.
    #[error("the confinement helper is chosen already: choose it once, at the start")]
    HelperChosen,
    /// The helper's binary can't be opened.
    #[error("the confinement helper `{}` can't be opened: check that it is installed", path.display())]
    HelperAbsent {
        /// The path that was given.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The system would not start the helper, or the helper did not take the spec.
    #[error(
        "the confinement helper can't be started: processes, descriptors or memory may be used up"
    )]
    Failed(#[source] io::Error),
    /// Not on this system.
    #[error("programs are only started on Linux: use a Linux host")]
    Unsupported,
}

/// Why the next event can't be told.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// The control socket failed.
    #[error("the confinement helper can't be heard")]
    Read(#[from] io::Error),
    /// The helper's bytes make no sense.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
}

impl Child {
    /// The read end of the program's standard output; `None` when it was taken before. It ends
    /// when no process of the tree is left.
    pub fn take_stdout(&mut self) -> Option<OwnedFd> {
        self.stdout.take()
    }

    /// The read end of the program's standard error; as [`take_stdout`](Self::take_stdout).
    pub fn take_stderr(&mut self) -> Option<OwnedFd> {
        self.stderr.take()
    }

    /// The listeners inside the child's network, in the order of
    /// [`Network::listen`](crate::Network::listen); empty when none were asked for, when they were
    /// taken before, and when the child could not be started.
    pub fn take_listeners(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.listeners)
    }

    /// A copy of the control socket for a caller who waits for many things: read events from it
    /// with [`decoder`](Self::take_decoder), write [`KILL`] to it. Whether it blocks is a property of
    /// the socket and not of the copy.
    ///
    /// # Errors
    /// The system's error when no descriptor is left.
    pub fn control(&self) -> io::Result<UnixStream> {
        self.control.try_clone()
    }

    /// The decoder for a caller who reads events from a copy of the socket. It may hold the beginning
    /// of the first event already.
    pub fn take_decoder(&mut self) -> EventDecoder {
        std::mem::take(&mut self.decoder)
    }

    /// Waits for the next event; `None` when the helper has closed the socket.
    ///
    /// # Errors
    /// [`EventError`] when the socket fails or what it carries is no event.
    pub fn next_event(&mut self) -> Result<Option<Event>, EventError> {
        let mut buffer = [0; 1024];
        loop {
            if let Some(event) = self.decoder.next_event()? {
                return Ok(Some(event));
            }
            match self.control.read(&mut buffer) {
                Ok(0) => return Ok(None),
                Ok(count) => self.decoder.push(buffer.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Linux says this instead of the end when unread bytes were lost with the peer.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Kills the program and everything that it started. [`Event::Emptied`] says when that is done.
    /// Does nothing when the helper has ended.
    pub fn kill(&mut self) {
        // A helper that is gone has emptied the tree or was lost, which the events tell.
        let _ = self.control.write_all(&KILL);
        self.wake();
    }

    /// The helper's process id, for messages.
    #[must_use]
    pub fn helper_id(&self) -> u32 {
        self.helper.as_ref().map_or(0, process::Child::id)
    }

    /// Waits for the helper to end and reaps it; to be called after the last event.
    ///
    /// # Errors
    /// The system's error when it can't be waited for.
    pub fn wait_helper(&mut self) -> io::Result<ExitStatus> {
        match &mut self.helper {
            Some(helper) => helper.wait(),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Hands a helper its spec. Should this fail, nothing was started: the child is dropped, its socket
    /// closes, and the helper ends.
    fn of(ready: Ready, frame: &[u8]) -> io::Result<Self> {
        let Ready { mut helper, control, .. } = ready;
        let output = helper.stdout.take().map(OwnedFd::from);
        let errors = helper.stderr.take().map(OwnedFd::from);
        let mut child = Self {
            control,
            stdout: output,
            stderr: errors,
            helper: Some(helper),
            decoder: EventDecoder::default(),
            listeners: Vec::new(),
        };
        child.hand_over(frame)?;
        Ok(child)
    }

    fn hand_over(&mut self, frame: &[u8]) -> io::Result<()> {
        self.control.set_write_timeout(Some(HAND_OVER))?;
        self.control.write_all(frame)?;
        // From here on it may run, whatever becomes of this.
        let _ = self.control.set_write_timeout(None);
        Ok(())
    }

    /// Waits until the child's network stands.
    #[cfg(target_os = "linux")]
    fn take_over(&mut self) -> io::Result<()> {
        use crate::handover::{First, receive};
        self.control.set_read_timeout(Some(HAND_OVER))?;
        match receive(&self.control)? {
            First::Listeners(held) => self.listeners = held,
            First::Event(bytes) => self.decoder.push(&bytes),
        }
        self.control.set_read_timeout(None)
    }

    #[cfg(not(target_os = "linux"))]
    fn take_over(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// A child of the same user may have stopped the helper.
    fn wake(&mut self) {
        #[cfg(target_os = "linux")]
        if let Some(helper) = &mut self.helper
            && let Ok(None) = helper.try_wait()
            && let Some(pid) =
                i32::try_from(helper.id()).ok().and_then(rustix::process::Pid::from_raw)
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::CONT);
        }
    }
}

impl Drop for Child {
    /// Ends the tree by closing the socket, every copy of it included. The helper is reaped
    /// elsewhere if it is not done yet, so that this never waits.
    fn drop(&mut self) {
        let _ = self.control.shutdown(Shutdown::Both);
        self.wake();
        let Some(mut helper) = self.helper.take() else {
            return;
        };
        if let Ok(None) = helper.try_wait() {
            spare::reap(helper);
        }
    }
}
