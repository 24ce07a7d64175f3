//! What people sign about an attempt that waits for approvals. The ledger keeps it and judges nothing:
//! whether it counts is for whoever spends.

use super::{Changes, Result, View};
use crate::approval;
use crate::ledger::protocol::UseState;
use crate::ledger::run::Decision;
use crate::ledger::{LedgerError, MOST_DECISIONS};

/// Puts a decision beside the attempt that it is about.
pub fn decide<V: View>(view: &mut V, decision: Decision) -> Result<(u64, Changes)> {
    let Decision { run: id, attempt, signed } = &decision;
    let Some(run) = view.run(id)? else {
        return Err(LedgerError::UnknownRun(id.to_string()));
    };
    if run.stop_reason.is_some() {
        return Err(LedgerError::RunClosed(id.to_string()));
    }
    let Some(found) = view.attempt(id, attempt)? else {
        let (run, attempt) = (id.to_string(), attempt.to_string());
        return Err(LedgerError::UnknownAttempt { run, attempt });
    };
    let not_waiting = |why: &str| {
        Err(LedgerError::NotWaiting { attempt: attempt.to_string(), why: why.to_owned() })
    };
    match found.state {
        UseState::Reserved { approved_until: None, .. } | UseState::Released { .. } => {}
        // From the yes on nothing more is taken, so that whoever spends has heard all that was said.
        UseState::Reserved { .. } => return not_waiting("it was approved and is about to start"),
        _ => return not_waiting("it was started"),
    }
    for (what, text) in [("statement", &signed.statement), ("signature", &signed.signature)] {
        if text.is_empty() || text.len() > approval::MOST_BYTES || text.contains('\0') {
            return Err(LedgerError::BadRecord(format!(
                "the {what} has {} bytes; between 1 and {} fit, without null characters",
                text.len(),
                approval::MOST_BYTES
            )));
        }
    }
    let before = view.decisions(id, attempt)?;
    if let Some(place) = before.iter().position(|known| known == signed) {
        // Given again, because the answer was lost.
        return Ok((place as u64 + 1, Changes::default()));
    }
    let place = before.len() as u64 + 1;
    if place > MOST_DECISIONS {
        return not_waiting("it has as many decisions as one attempt can have");
    }
    Ok((place, Changes { decided: Some((decision, place)), ..Changes::default() }))
}
