//! What a crash left open: runs whose processes are gone are offered to be resumed, or sealed.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lar_core::audit::record::RunEnd;
use lar_core::id::RunId;
use lar_core::ledger::{
    Closing, Conflict, Definitions, Ledger, LedgerError, RunLedger, RunSummary, Taking,
};

use crate::stop::{Cause, Stop};

/// How long a run is held without a sign of life, in milliseconds.
pub const LEASE_MS: u64 = 60_000;

/// Names this process so that another on this machine can tell whether it still lives: the boot and
/// the pid namespace in which numbers mean the same, the process, and when it started
/// (`proc_pid_stat(5)`, field 22), because numbers are used again.
pub fn owner() -> String {
    let pid = std::process::id();
    format!("{} {pid} {}", machine(), started(pid).unwrap_or_default())
}

/// How long a run that was cut off can be resumed, by the ledger's clock, before a later start seals it
/// and deletes its journal: 7 days.
pub const RESUMABLE_MS: u64 = 7 * 24 * 3_600_000;

/// What a start found of runs that were cut off.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Sealed: they can't be resumed.
    pub sealed: Vec<RunId>,
    /// Left open: `lar resume` goes on with them.
    pub cut_off: Vec<RunSummary>,
}

/// Looks for runs whose processes are gone. One without a journal, or that has lain for
/// [`RESUMABLE_MS`], is sealed; the others are left to be resumed.
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
        if abandon(ledger, &run).await? {
            found.sealed.push(run.run);
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
    let details = RunEnd {
        error: Some("its process was gone; sealed by a later start".to_owned()),
        ..RunEnd::default()
    };
    let stop_reason = "error".to_owned();
    let closing = Closing { hold, stop_reason, details, keep_journal: false };
    match ledger.close_run(closing).await {
        Ok(_) => Ok(true),
        // Another process was quicker.
        Err(LedgerError::RunClosed(_) | LedgerError::Conflict(Conflict::RunLost)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// How a run is taken over by this process; refused while its own is alive, whatever its lease says.
pub fn taking(run: &RunSummary, definitions: Option<Definitions>) -> Result<Taking, LedgerError> {
    let Some(gone) = gone(run) else {
        return Err(LedgerError::RunHeld { run: run.run.to_string(), until: run.lease_until });
    };
    Ok(Taking { run: run.run.clone(), owner: owner(), lease_ms: LEASE_MS, gone, definitions })
}

/// `None` while the holder lives on this machine. Else the holder, when it is known to be gone; on
/// another machine, its hold must have run out.
fn gone(run: &RunSummary) -> Option<Option<String>> {
    (!lives(&run.owner)).then(|| on_this_machine(&run.owner).then(|| run.owner.clone()))
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

/// Whether the process that an owner's name stands for may still be there: when it is on another
/// machine, its lease tells, not this.
fn lives(owner: &str) -> bool {
    let mut parts = owner.split(' ');
    let (Some(on), Some(pid), Some(since)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let Ok(pid) = pid.parse::<u32>() else {
        return false;
    };
    on == machine() && started(pid).is_some_and(|now| now == since)
}

/// Whether an owner's process is, or was, where this one could see it.
fn on_this_machine(owner: &str) -> bool {
    owner.split(' ').next() == Some(&machine())
}

/// Where process numbers mean the same: this boot of this machine, and this pid namespace.
fn machine() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let namespace: String =
        namespace.to_string_lossy().chars().filter(char::is_ascii_digit).collect();
    format!("{}/{namespace}", boot.trim())
}

/// The start time of a process in clock ticks since the boot.
fn started(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in parentheses and may hold anything, so count from its end.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(19).map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_living_from_the_dead() {
        let own = owner();
        assert!(lives(&own));
        assert!(on_this_machine(&own));
        let machine = machine();
        assert!(!lives(&format!("{machine} {} 1", std::process::id())), "another of that number");
        let elsewhere = format!("other-boot/1 {} 1", std::process::id());
        assert!(!lives(&elsewhere) && !on_this_machine(&elsewhere), "its lease decides");
        assert!(!on_this_machine("nonsense"), "what can't be told is left to the lease");
    }
}
