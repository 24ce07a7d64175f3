//! A run with tokens, and the steps of an attempt.

use std::path::Path;
use std::sync::Arc;

use lar_core::audit::record::{Body, ErrorRecord, RunEnd, RunOpen};
use lar_core::id::{AttemptId, CallSite, Part, RunId};
use lar_core::json::Digest;
use lar_core::ledger::{
    Change, Closing, Entry, Granted, Ledger, LedgerError, Opening, Receipt, Transition,
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
    Granted { name: name.into(), definition: Digest::of(name), uses, expires: None }
}

pub fn opening(name: &str, tokens: Vec<Granted>) -> Opening {
    Opening {
        run: run(name),
        owner: "test 1 1".into(),
        tokens,
        record: Body::RunOpen(RunOpen {
            model: "replay".into(),
            task: "a task".into(),
            runtime: "0".into(),
            manifest: None,
            budget: serde_json::json!({}),
            tokens: Vec::new(),
            enforcement: "none".into(),
        }),
    }
}

pub fn closing(name: &str) -> Closing {
    Closing { run: run(name), stop_reason: "complete".into(), details: RunEnd::default() }
}

pub fn attempt(name: &str, turn: u64) -> AttemptId {
    AttemptId::at(&CallSite { run: run(name), turn, index: 0, part: Part::Call })
}

pub fn note(name: &str) -> Entry {
    Entry::note(
        run(name),
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
    name: &str,
    turn: u64,
    transition: Transition,
) -> Result<Receipt, LedgerError> {
    let mut entry = note(name);
    entry.change = Some(Change {
        attempt: attempt(name, turn),
        token: "t".into(),
        action: Digest::of("action"),
        transition,
    });
    ledger.commit(entry).await
}

pub const START: Transition = Transition::Start { held: None };

pub fn finish(verdict: Verdict) -> Transition {
    Transition::Finish { fence: 1, verdict }
}

pub fn past() -> Timestamp {
    Timestamp::from_millis(1)
}
