//! Runs one program to its end: starts it through the confinement helper, takes in what it writes,
//! and ends it and all that it started when time is over or the run is stopped.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use lar_core::outcome::ProgramIdentity;
use lar_core::redact::Redactor;
use lar_sandbox::{Child, ChildSpec, Event, EventDecoder, Tier};
use rustix::process::{Resource, getrlimit};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{Semaphore, watch};

use super::Job;
use super::capture::{Capture, Captured};
use super::programs::{Programs, Seen};
use crate::confine::{Broker, Confined, Surroundings, Walls};
use crate::kept::Kept;
use crate::stop::Stop;

/// How long what a tree wrote is still read after its end.
const LAST_OUTPUT: Duration = Duration::from_secs(1);
/// How often the helper is woken while it is to kill the tree, and how many times before it is given
/// up: a tree that forks as fast as it can takes seconds to end.
const WAKE: Duration = Duration::from_millis(250);
const WAKES: u32 = 240;

/// What to run.
pub(super) struct Order {
    /// The words; the first names the program.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// Where.
    pub workdir: PathBuf,
    /// For how long at the most.
    pub timeout: Duration,
    /// What it may reach.
    pub around: Surroundings,
}

/// What came of it.
pub(super) enum Ran {
    /// Not one instruction of it ran.
    NeverBegan(String),
    /// It ran.
    Ended(Box<End>),
}

/// Descriptors of this process that a program needs at the most while it is started and runs.
const DESCRIPTORS: u64 = 16;

/// Places for programs that run at once. Whoever comes when all are taken waits: a program that can't be
/// started, or heard, for want of descriptors is worse than one that starts later.
fn places() -> &'static Semaphore {
    static PLACES: OnceLock<Semaphore> = OnceLock::new();
    PLACES.get_or_init(|| {
        let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) / DESCRIPTORS;
        Semaphore::new(usize::try_from(most.clamp(4, 256)).unwrap_or(4))
    })
}

/// How it ended, and what it wrote.
pub(super) struct End {
    pub how: How,
    pub stdout: Captured,
    pub stderr: Captured,
    /// The file that was executed; `None` where it isn't known whether one was.
    pub program: Option<ProgramIdentity>,
    /// What stood around it.
    pub tier: Option<Tier>,
}

/// A program that was handed to the launcher.
struct Running {
    child: Child,
    program: ProgramIdentity,
    broker: Option<Broker>,
    /// Goes with the child.
    private: Option<tempfile::TempDir>,
    tier: Tier,
}

/// Looks the program up, puts up its walls, and hands it to the launcher.
fn start(
    programs: &Programs,
    walls: Option<&Walls>,
    seen: Option<&Seen>,
    order: Order,
) -> Result<Running, String> {
    let name = order.argv.first().map(String::as_str).unwrap_or_default();
    let program = programs.identify(name, &order.workdir).map_err(|error| error.to_string())?;
    if seen.is_some_and(|seen| seen.differs_from(name, &program)) {
        return Err(format!(
            "the program `{name}` is another file than when it was approved, and was not run; ask \
             again"
        ));
    }
    let mut launch = program.launch;
    let confined = match walls {
        Some(walls) => walls.around(&launch, &order.workdir, &order.around, programs)?,
        None => Confined::for_the_operator(&launch),
    };
    let mut argv: Vec<OsString> = order.argv.into_iter().map(OsString::from).collect();
    if !launch.words.is_empty() {
        argv.splice(..1, launch.words.drain(..));
    }
    let mut env = order.env;
    env.retain(|(name, _)| !confined.env.iter().any(|(other, _)| other == name));
    env.extend(confined.env);
    let tier = confined.confinement.tier;
    let spec = ChildSpec {
        program: launch.program,
        expected: launch.file,
        pinned: confined.pinned,
        argv,
        env,
        workdir: order.workdir,
        confinement: confined.confinement,
    };
    let child = lar_sandbox::spawn(&spec).map_err(|error| error.to_string())?;
    let (broker, private) = (confined.broker, confined.private);
    Ok(Running { child, program: program.identity, broker, private, tier })
}

/// How a program ended.
pub(super) enum How {
    /// By itself, with this code.
    Exited(i32),
    /// By a signal that isn't ours.
    Signaled(i32),
    /// We killed it, for this reason.
    Killed(&'static str),
    /// The helper was lost, so it isn't known.
    Lost,
}

impl Job<'_> {
    /// Runs a program to its end. Nothing that it started is left when this returns.
    pub(super) async fn run(&self, order: Order) -> Ran {
        let tools = self.tools;
        let (walls, kept, seen) = (Some(&tools.walls), tools.kept.as_ref(), self.seen.cloned());
        let (programs, redactor) = (&tools.programs, tools.redactor());
        // Jobs run in tasks of the dispatcher's own.
        run_as_seen(programs, redactor, walls, kept, self.stop, seen, order, At::Here).await
    }
}

/// The same for who has no job yet. Without walls the program acts for the operator, and reaches what
/// the operator reaches; no word of the model's may be among what it is given.
pub(super) async fn run(
    programs: &Programs,
    redactor: &Redactor,
    walls: Option<&Walls>,
    kept: Option<&Kept>,
    stop: &Stop,
    order: Order,
) -> Ran {
    run_as_seen(programs, redactor, walls, kept, stop, None, order, At::Elsewhere).await
}

/// The same, and only as long as the program is what it was when a person said yes to it.
#[allow(clippy::too_many_arguments, reason = "two callers say the same in fewer words")]
async fn run_as_seen(
    programs: &Programs,
    redactor: &Redactor,
    walls: Option<&Walls>,
    kept: Option<&Kept>,
    stop: &Stop,
    seen: Option<Seen>,
    order: Order,
    at: At,
) -> Ran {
    // Held until nothing of the program is left.
    let _place = tokio::select! {
        place = places().acquire() => place,
        cause = stop.wait() => {
            let cause = cause.as_str();
            return Ran::NeverBegan(format!("the run ended ({cause}) before there was a place for it"));
        }
    };
    let programs = programs.clone();
    let walls = walls.cloned();
    let timeout = order.timeout;
    let work = move || start(&programs, walls.as_ref(), seen.as_ref(), order);
    let running = match begun(held_up(at, work).await, redactor) {
        Ok(running) => running,
        Err(ran) => return ran,
    };
    let Running { mut child, program, broker, private, tier } = running;
    let (program, tier) = (Some(program), Some(tier));
    let serving = broker.map(|broker| broker.serve(child.take_listeners()));
    if let Some(Err(_)) = serving {
        // Dropping the child ends it; what it may have done in this moment it did without a network.
        return lost(redactor, program, tier);
    }
    let decoder = child.take_decoder();
    let pipes = (child.take_stdout(), child.take_stderr());
    let control = child.control().and_then(|control| {
        control.set_nonblocking(true)?;
        UnixStream::from_std(control)
    });
    // Without a way to hear the helper nothing can be known; dropping the child ends the tree.
    let Ok(control) = control else {
        return lost(redactor, program, tier);
    };
    let (over, ended) = watch::channel(false);
    let reading = async {
        tokio::join!(
            take_in(pipes.0, Capture::new(redactor, kept), ended.clone()),
            take_in(pipes.1, Capture::new(redactor, kept), ended.clone()),
        )
    };
    tokio::pin!(reading);
    let mut written = None;
    let told = {
        let hearing = listen(stop, &mut child, control, decoder, timeout);
        tokio::pin!(hearing);
        loop {
            tokio::select! {
                outputs = &mut reading, if written.is_none() => written = Some(outputs),
                told = &mut hearing => break told,
            }
        }
    };
    let (stdout, stderr) = match written {
        Some(outputs) => outputs,
        // Somebody outside of the tree may hold the pipes, or the helper was lost and the tree
        // lives: what the pipes hold is taken in, and the rest is not waited for.
        None => match tokio::time::timeout(LAST_OUTPUT, &mut reading).await {
            Ok(outputs) => outputs,
            Err(_) => {
                let _ = over.send(true);
                reading.await
            }
        },
    };
    drop((serving, private));
    // Whatever it was, it is over. The helper may still take namespaces down, or be stopped for ever:
    // dropping the child reaps it on a thread of its own.
    drop(child);
    match told {
        Told::Failed(reason) => Ran::NeverBegan(reason),
        Told::Ended(how) => Ran::Ended(Box::new(End { how, stdout, stderr, program, tier })),
    }
}

/// Where a start holds a thread up.
#[derive(Clone, Copy)]
enum At {
    /// In this task, which must be one of a runtime: a local set can't hand its others over.
    Here,
    /// On a thread of its own.
    Elsewhere,
}

/// Starts a program. Handing that to another thread and back takes longer than most starts, so that it is
/// done here where other threads can go on with the rest meanwhile. `None` where it broke off.
async fn held_up<T: Send + 'static>(
    at: At,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    match (at, Handle::current().runtime_flavor()) {
        (At::Here, RuntimeFlavor::MultiThread) => {
            tokio::task::block_in_place(|| catch_unwind(AssertUnwindSafe(work)).ok())
        }
        _ => tokio::task::spawn_blocking(work).await.ok(),
    }
}

/// What came of starting it. Where the work broke off, the program may run all the same, so that the
/// use isn't given back.
fn begun(started: Option<Result<Running, String>>, redactor: &Redactor) -> Result<Running, Ran> {
    match started {
        Some(Ok(running)) => Ok(running),
        Some(Err(reason)) => Err(Ran::NeverBegan(reason)),
        None => Err(lost(redactor, None, None)),
    }
}

/// It isn't known what became of it.
fn lost(redactor: &Redactor, program: Option<ProgramIdentity>, tier: Option<Tier>) -> Ran {
    let nothing = Capture::new(redactor, None).finish();
    let (stdout, stderr) = (nothing.clone(), nothing);
    Ran::Ended(Box::new(End { how: How::Lost, stdout, stderr, program, tier }))
}

/// Hears the helper out, and has the tree killed when its time is over. A program of the same
/// account may stop the helper again and again, so it is woken until it has done its work.
async fn listen(
    stop: &Stop,
    child: &mut Child,
    mut control: UnixStream,
    mut decoder: EventDecoder,
    timeout: Duration,
) -> Told {
    let mut buffer = [0u8; 1024];
    let mut ended: Option<How> = None;
    let mut killed: Option<&'static str> = None;
    let deadline = tokio::time::sleep(timeout);
    tokio::pin!(deadline);
    let mut wakes = tokio::time::interval(WAKE);
    let mut woken = 0;
    loop {
        let count = tokio::select! {
            cause = stop.wait(), if killed.is_none() => {
                killed = Some(cause.as_str());
                child.kill();
                continue;
            }
            () = &mut deadline, if killed.is_none() => {
                killed = Some("timeout");
                child.kill();
                continue;
            }
            _ = wakes.tick(), if killed.is_some() => {
                woken += 1;
                if woken > WAKES {
                    return Told::Ended(How::Lost);
                }
                child.kill();
                continue;
            }
            count = control.read(&mut buffer) => count.unwrap_or(0),
        };
        if count == 0 {
            return Told::Ended(How::Lost);
        }
        decoder.push(buffer.get(..count).unwrap_or_default());
        loop {
            match decoder.next_event() {
                Ok(None) => break,
                Ok(Some(Event::Started)) => {}
                Ok(Some(Event::ExecFailed { message, .. })) => return Told::Failed(message),
                Ok(Some(Event::Exited { code })) => ended = Some(How::Exited(code)),
                Ok(Some(Event::Signaled { signal })) => {
                    ended = Some(match killed {
                        Some(why) => How::Killed(why),
                        None => How::Signaled(signal),
                    });
                }
                Ok(Some(Event::Emptied)) => return Told::Ended(ended.unwrap_or(How::Lost)),
                Err(_) => return Told::Ended(How::Lost),
            }
        }
    }
}

/// What the helper told.
enum Told {
    Failed(String),
    Ended(How),
}

/// Reads a pipe to its end, or until it is over all the same.
async fn take_in(
    pipe: Option<OwnedFd>,
    mut capture: Capture,
    mut over: watch::Receiver<bool>,
) -> Captured {
    let Some(Ok(mut pipe)) = pipe.map(pipe::Receiver::from_owned_fd) else {
        return capture.finish();
    };
    let mut buffer = vec![0u8; 64 << 10];
    loop {
        let read = tokio::select! {
            biased;
            _ = over.wait_for(|over| *over) => break,
            read = pipe.read(&mut buffer) => read,
        };
        let Ok(count @ 1..) = read else {
            break;
        };
        capture.feed(buffer.get(..count).unwrap_or_default());
    }
    capture.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn break_off() {
        let broken = held_up(At::Here, || panic!("a fault")).await;
        let Err(Ran::Ended(end)) = begun(broken, &Redactor::default()) else {
            panic!("it may run");
        };
        assert!(matches!(end.how, How::Lost) && end.program.is_none());
    }

    #[tokio::test]
    async fn a_start_that_broke_off_gives_no_use_back() {
        break_off().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_start_that_broke_off_where_it_was_asked_for_gives_no_use_back() {
        break_off().await;
        tokio::spawn(break_off()).await.unwrap();
    }
}
