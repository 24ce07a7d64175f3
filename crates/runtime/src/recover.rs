//! Seals what a crash left open. A run whose process is gone is closed: what it only held is given
//! back, what it had started is recorded as unknown and stays spent.

use std::fs;

use lar_core::audit::record::RunEnd;
use lar_core::id::RunId;
use lar_core::ledger::{Closing, Ledger, LedgerError};

/// Names this process so that another on this machine can tell whether it still lives: the boot,
/// the process, and when it started (`proc_pid_stat(5)`, field 22), because numbers are used again.
pub fn owner() -> String {
    let pid = std::process::id();
    format!("{} {pid} {}", boot(), started(pid).unwrap_or_default())
}

/// Closes the runs whose processes are gone, and returns their names.
pub async fn recover(ledger: &dyn Ledger) -> Result<Vec<RunId>, LedgerError> {
    let mut sealed = Vec::new();
    for run in ledger.runs().await? {
        if run.stop_reason.is_some() || lives(&run.owner) {
            continue;
        }
        let details = RunEnd {
            error: Some("its process was gone; sealed by a later start".to_owned()),
            ..RunEnd::default()
        };
        let closing = Closing { run: run.run.clone(), stop_reason: "error".to_owned(), details };
        match ledger.close_run(closing).await {
            Ok(_) => sealed.push(run.run),
            // Another process was quicker.
            Err(LedgerError::RunClosed(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sealed)
}

/// Whether the process that an owner's name stands for is still there. When that can't be told, it
/// is: a run is never sealed under a living process.
fn lives(owner: &str) -> bool {
    let mut parts = owner.split(' ');
    let (Some(on), Some(pid), Some(since)) = (parts.next(), parts.next(), parts.next()) else {
        return true;
    };
    let Ok(pid) = pid.parse::<u32>() else {
        return true;
    };
    if on != boot() {
        return false;
    }
    started(pid).is_some_and(|now| now == since)
}

fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|text| text.trim().to_owned())
        .unwrap_or_else(|_| "unknown".to_owned())
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
        let boot = boot();
        assert!(!lives(&format!("{boot} {} 1", std::process::id())), "another of that number");
        assert!(!lives(&format!("other-boot {} 1", std::process::id())));
        assert!(lives("nonsense"), "what can't be told is left alone");
    }
}
