//! A run with tokens, and the steps of an attempt.

use std::path::Path;
use std::sync::Arc;

use lar_core::audit::record::{Body, ErrorRecord, RunEnd};
use lar_core::id::{AttemptId, CallSite, Part, RunId};
use lar_core::json::Digest;
use lar_core::ledger::{
    Change, Closing, Conflict, Definitions, Entry, Granted, Hold, Ledger, LedgerError, Opened,
    Opening, Receipt, Source, Transition, UseState,
};
use lar_core::outcome::Verdict;
use lar_core::time::Timestamp;

pub fn open(path: &Path) -> Arc<dyn Ledger> {
    lar_ledger::open(path).unwrap()
}

pub fn run(name: &str) -> RunId {
    RunId::new(name).unwrap()
}

pub fn granted(name: &str, uses: u32) -> Granted {
    Granted {
        name: name.into(),
        definition: Digest::of(name),
        uses,
        expires: None,
        requires_approval: false,
        candidate: false,
    }
}

pub fn with_approval(name: &str, uses: u32) -> Granted {
    Granted { requires_approval: true, ..granted(name, uses) }
}

pub fn definitions() -> Definitions {
    Definitions::from_text("{\"a\":1}")
}

pub fn opening(name: &str, tokens: Vec<Granted>) -> Opening {
    memory_ledger::opening(&run(name), Source::Own { tokens, definitions: definitions() })
}

/// Opens a run with a grant of its own.
pub async fn start(ledger: &dyn Ledger, name: &str, tokens: Vec<Granted>) -> Hold {
    start_opened(ledger, name, tokens).await.hold
}

pub async fn start_opened(ledger: &dyn Ledger, name: &str, tokens: Vec<Granted>) -> Opened {
    ledger.open_run(opening(name, tokens)).await.unwrap()
}

pub fn closing(hold: &Hold) -> Closing {
    Closing {
        hold: hold.clone(),
        stop_reason: "complete".into(),
        details: RunEnd::default(),
        openings: Vec::new(),
        keep_journal: false,
    }
}

pub fn attempt(name: &RunId, turn: u64) -> AttemptId {
    AttemptId::at(&CallSite { run: name.clone(), turn, index: 0, part: Part::Call })
}

pub fn note(hold: &Hold) -> Entry {
    Entry::note(
        hold.clone(),
        Body::Error(ErrorRecord {
            token_name: "t".into(),
            error_type: "TokenScopeError".into(),
            message: "no".into(),
            attempt: None,
            input: None,
        }),
    )
}

/// One step of the attempt of `turn` on token `t`.
pub async fn step(
    ledger: &dyn Ledger,
    hold: &Hold,
    turn: u64,
    transition: Transition,
) -> Result<Receipt, LedgerError> {
    step_on(ledger, hold, "t", turn, transition).await
}

pub async fn step_on(
    ledger: &dyn Ledger,
    hold: &Hold,
    token: &str,
    turn: u64,
    transition: Transition,
) -> Result<Receipt, LedgerError> {
    let mut entry = note(hold);
    entry.change = Some(Change {
        attempt: attempt(&hold.run, turn),
        token: token.into(),
        action: Digest::of("action"),
        transition,
    });
    ledger.commit(entry).await
}

pub async fn state(ledger: &dyn Ledger, run: &RunId, turn: u64) -> UseState {
    ledger.attempt(run, &attempt(run, turn)).await.unwrap().unwrap().state
}

pub const START: Transition = Transition::Start { held: None };
pub const HOLD: Transition = Transition::Reserve { lease_ms: 60_000 };

pub fn finish(verdict: Verdict) -> Transition {
    Transition::Finish { fence: 1, verdict }
}

/// Approves for an hour from the receipt on.
pub fn approve(receipt: &Receipt) -> Transition {
    Transition::Approve { not_after: receipt.timestamp.plus_millis(3_600_000) }
}

pub fn past() -> Timestamp {
    Timestamp::from_millis(1)
}

#[track_caller]
pub fn conflict<T>(result: Result<T, LedgerError>) -> Conflict {
    match result {
        Err(LedgerError::Conflict(conflict)) => conflict,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was taken"),
    }
}

pub async fn a_moment() {
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
}
