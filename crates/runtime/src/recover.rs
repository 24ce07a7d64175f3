//! What a crash left open: runs whose processes are gone are offered to be resumed, or sealed.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lar_core::audit::record::{Body, RunEnd};
use lar_core::audit::room::{MOST_ERROR_BYTES, first_bytes};
use lar_core::id::RunId;
use lar_core::ledger::{
    Closing, Conflict, Definitions, Ledger, LedgerError, RunLedger, RunSummary, Taking,
};

use lar_core::token::ROLLBACK_SUFFIX;

use crate::agent::read_records;
use crate::stop::{Cause, Stop};
use crate::tools::ROLLOUT_FAILED;

/// How long a run is held without a sign of life, in milliseconds.
pub const LEASE_MS: u64 = 60_000;

/// Names this process so that another on this machine can tell whether it still lives: the boot and
/// the pid namespace in which numbers mean the same, the process, and when it started
/// (`proc_pid_stat(5)`, field 22), because numbers are used again.
pub fn owner() -> String {
    let pid = std::process::id();
    let since = i32::try_from(pid).ok().and_then(Seen::of).map(|seen| seen.since);
    format!("{} {pid} {}", machine().unwrap_or_default(), since.unwrap_or_default())
}

/// How long a run that was cut off can be resumed, by the ledger's clock, before a later start seals it
/// and deletes its journal: 7 days.
pub const RESUMABLE_MS: u64 = 7 * 24 * 3_600_000;

/// After so many runs that can't be sealed, the others are left to a later start.
const MOST_FAILURES: usize = 3;

/// What a start found of runs that were cut off.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Sealed: they can't be resumed.
    pub sealed: Vec<RunId>,
    /// Left open: `lar resume` goes on with them.
    pub cut_off: Vec<RunSummary>,
    /// Left open, because the ledger didn't take their end. A later start tries again.
    pub failed: Vec<(RunId, LedgerError)>,
}

/// Looks for runs whose processes are gone. One without a journal, or that has lain for
/// [`RESUMABLE_MS`], is sealed; the others are left to be resumed. A run that can't be sealed keeps none
/// of the others from it.
pub async fn recover(ledger: &dyn Ledger) -> Result<Recovered, LedgerError> {
    let mut found = Recovered::default();
    for run in ledger.open_runs().await? {
        let Some(gone) = gone(&run) else {
            continue;
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let until = run.lease_until.plus_millis(RESUMABLE_MS).as_millis();
        if run.pages > 0 && now <= until.unsigned_abs().into() {
            // Of a process on another machine it is known only when its hold has run out.
            if gone.is_some() || now > run.lease_until.as_millis().unsigned_abs().into() {
                found.cut_off.push(run);
            }
            continue;
        }
        match abandon(ledger, &run).await {
            Ok(true) => found.sealed.push(run.run),
            Ok(false) => {}
            Err(error) => found.failed.push((run.run, error)),
        }
        // A ledger that is away would be waited for once for each of them.
        if found.failed.len() >= MOST_FAILURES {
            break;
        }
    }
    Ok(found)
}

/// Seals a run whose process is gone: what it only held is given back, what it had started is recorded
/// as unknown and stays spent, and its journal goes. Says whether this call did it.
pub async fn abandon(ledger: &dyn Ledger, run: &RunSummary) -> Result<bool, LedgerError> {
    let hold = match ledger.take_run(taking(run, None)?).await {
        Ok(opened) => opened.hold,
        // It lives on another machine, or another process was quicker.
        Err(LedgerError::RunHeld { .. } | LedgerError::RunClosed(_)) => return Ok(false),
        Err(error) => return Err(error),
    };
    let mut error = "its process was gone; sealed by a later start".to_owned();
    // A record that can't be read keeps nothing from being sealed.
    for token in ways_back(ledger, &run.run).await.unwrap_or_default() {
        error.push_str("; ");
        error.push_str(&never_returned(&token));
    }
    let error = Some(first_bytes(&error, MOST_ERROR_BYTES).to_owned());
    let details = RunEnd { error, ..RunEnd::default() };
    let stop_reason = "error".to_owned();
    let openings = Vec::new();
    let closing = Closing { hold, stop_reason, details, openings, keep_journal: false };
    match ledger.close_run(closing).await {
        Ok(_) => Ok(true),
        // Another process was quicker.
        Err(LedgerError::RunClosed(_) | LedgerError::Conflict(Conflict::RunLost)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The tokens whose rollout failed in this run and whose way back was never begun.
pub async fn ways_back(ledger: &dyn Ledger, run: &RunId) -> Result<Vec<String>, LedgerError> {
    let (records, _) = read_records(ledger, run).await?;
    let mut failed: BTreeMap<String, u64> = BTreeMap::new();
    let mut declared: Vec<&str> = Vec::new();
    for record in &records {
        match &record.body {
            Body::RunOpen(open) => {
                declared = open.tokens.iter().map(|token| token.name.as_str()).collect();
            }
            Body::Outcome(outcome) if outcome.reason.as_deref() == Some(ROLLOUT_FAILED) => {
                let back = format!("{}{ROLLBACK_SUFFIX}", outcome.token_name);
                if declared.contains(&back.as_str()) {
                    *failed.entry(outcome.token_name.clone()).or_default() += 1;
                }
            }
            Body::Intent(intent) => {
                if let Some(token) = intent.token_name.strip_suffix(ROLLBACK_SUFFIX)
                    && let Some(left) = failed.get_mut(token)
                {
                    *left = left.saturating_sub(1);
                }
            }
            _ => {}
        }
    }
    Ok(failed.into_iter().filter(|(_, left)| *left > 0).map(|(token, _)| token).collect())
}

/// What is said of a way back that was never begun.
pub fn never_returned(token: &str) -> String {
    format!(
        "the rollout of token `{token}` failed and its way back was never begun: see to it yourself"
    )
}

/// How a run is taken over by this process; refused while its own is alive, whatever its lease says.
pub fn taking(run: &RunSummary, definitions: Option<Definitions>) -> Result<Taking, LedgerError> {
    let Some(gone) = gone(run) else {
        return Err(LedgerError::RunHeld { run: run.run.to_string(), until: run.lease_until });
    };
    let (owner, lease_ms) = (owner(), LEASE_MS);
    Ok(Taking { run: run.run.clone(), owner, lease_ms, gone, definitions, runner: None })
}

/// `None` while the holder lives on this machine. Else the holder, when it is known to be gone; where
/// that can't be told, its hold must have run out.
fn gone(run: &RunSummary) -> Option<Option<String>> {
    match life(&run.owner) {
        Life::Lives => None,
        Life::Gone => Some(Some(run.owner.clone())),
        Life::Unseen => Some(None),
    }
}

/// Holds the run while it waits for a model or a person. Every commit does so too, so a renewal that
/// fails is no harm by itself; when another process has the run, nothing more can be done here.
pub(crate) async fn keep_hold(held: RunLedger, stop: Stop) {
    loop {
        tokio::time::sleep(Duration::from_millis(LEASE_MS / 3)).await;
        let renewed = held.ledger().renew_run(held.hold()).await;
        if let Err(LedgerError::Conflict(_) | LedgerError::RunClosed(_)) = renewed {
            stop.request(Cause::Interrupted);
            return;
        }
    }
}

/// What can be told of the process that an owner's name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    /// It is there.
    Lives,
    /// It is certainly gone.
    Gone,
    /// It was on another machine, or nothing can be seen of it here: its lease tells.
    Unseen,
}

fn life(owner: &str) -> Life {
    let mut parts = owner.split(' ');
    let (Some(on), Some(pid), Some(since)) = (parts.next(), parts.next(), parts.next()) else {
        return Life::Unseen;
    };
    let Some(pid) = pid.parse().ok().and_then(rustix::process::Pid::from_raw) else {
        return Life::Unseen;
    };
    // What a process couldn't say of itself is no ground to say anything of it.
    if since.is_empty() || machine().as_deref() != Some(on) {
        return Life::Unseen;
    }
    match Seen::of(pid.as_raw_nonzero().get()) {
        Some(seen) if seen.since == since && !seen.is_dead => Life::Lives,
        // Another process of that number, or its remains.
        Some(_) => Life::Gone,
        // `/proc` may hide other users' processes (`hidepid`), but the kernel tells whether they exist.
        None => match rustix::process::test_kill_process(pid) {
            Err(rustix::io::Errno::SRCH) => Life::Gone,
            Ok(()) | Err(_) => Life::Unseen,
        },
    }
}

/// Where process numbers and start times mean the same: this boot of this machine, this pid namespace
/// and this time namespace. `None` where `/proc` doesn't say.
fn machine() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = |name: &str| {
        let link = fs::read_link(format!("/proc/self/ns/{name}")).ok()?;
        let digits: String = link.to_string_lossy().chars().filter(char::is_ascii_digit).collect();
        (!digits.is_empty()).then_some(digits)
    };
    let pids = namespace("pid")?;
    // Kernels before 5.6 have only one.
    let times = namespace("time").unwrap_or_default();
    (!boot.trim().is_empty()).then(|| format!("{}/{pids}/{times}", boot.trim()))
}

/// What `/proc` shows of a process.
struct Seen {
    /// When it started, in clock ticks since the boot.
    since: String,
    /// Whether only its remains are there.
    is_dead: bool,
}

impl Seen {
    /// `proc_pid_stat(5)`.
    fn of(pid: i32) -> Option<Self> {
        Self::read(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    fn read(stat: &str) -> Option<Self> {
        // The second field is the name in parentheses and may hold anything, so count from its end.
        let (_, rest) = stat.rsplit_once(')')?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?;
        let threads: u64 = fields.nth(16)?.parse().ok()?;
        let since = fields.nth(1)?.to_owned();
        // A process whose first thread has ended is shown as a zombie while others run.
        let is_dead = matches!(state, "Z" | "X" | "x") && threads <= 1;
        Some(Self { since, is_dead })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_living_from_the_dead() {
        let own = owner();
        assert_eq!(life(&own), Life::Lives);
        let machine = machine().unwrap();
        let another = format!("{machine} {} 1", std::process::id());
        assert_eq!(life(&another), Life::Gone, "another of that number");
        let elsewhere = format!("other-boot/1 {} 1", std::process::id());
        assert_eq!(life(&elsewhere), Life::Unseen, "its lease decides");
        assert_eq!(life("nonsense"), Life::Unseen, "what can't be told is left to the lease");
        // A process that could read nothing of itself, where there is no `/proc`.
        for blind in ["/ 1 ", " 1 1", "/", &format!("{machine} {} ", std::process::id())] {
            assert_eq!(life(blind), Life::Unseen, "{blind:?}");
        }
    }

    #[test]
    fn a_process_that_was_never_reaped_is_gone() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let machine = machine().unwrap();
        let dead = loop {
            let seen = Seen::of(pid).unwrap();
            if seen.is_dead {
                break format!("{machine} {pid} {}", seen.since);
            }
            std::thread::yield_now();
        };
        assert_eq!(life(&dead), Life::Gone, "a zombie does nothing more");
        child.wait().unwrap();
        assert_eq!(life(&dead), Life::Gone);
    }

    #[test]
    fn a_zombie_with_threads_is_not_dead() {
        let stat = |state: &str, threads: u32| {
            format!("7 (a) b) {state} 1 7 7 0 -1 4 0 0 0 0 0 0 0 0 20 0 {threads} 0 4242 0 0")
        };
        for (state, threads, is_dead) in
            [("Z", 1, true), ("Z", 3, false), ("X", 1, true), ("S", 1, false), ("T", 1, false)]
        {
            let seen = Seen::read(&stat(state, threads)).unwrap();
            assert_eq!((seen.is_dead, seen.since.as_str()), (is_dead, "4242"), "{state} {threads}");
        }
    }

    /// One run that can't be sealed keeps no other from it.
    #[tokio::test]
    async fn a_run_that_cannot_be_sealed_blocks_no_other() {
        use lar_core::ledger::Source;
        let memory = memory_ledger::Memory::default();
        let machine = machine().unwrap();
        for name in ["first", "second"] {
            let run = RunId::new(name).unwrap();
            let definitions = Definitions::from_text("{}");
            let source = Source::Own { tokens: Vec::new(), definitions };
            let mut opening = memory_ledger::opening(&run, source);
            opening.owner = format!("{machine} {} 1", std::process::id());
            memory.open_run(opening).await.unwrap();
        }
        memory.refuse_next(1);
        let recovered = recover(&memory).await.unwrap();
        assert_eq!((recovered.sealed.len(), recovered.failed.len()), (1, 1));
    }
}
