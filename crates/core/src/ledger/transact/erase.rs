//! Deleting what records commit to.

use super::{Changes, Draft, Result, View};
use crate::audit::commitment::ERASED;
use crate::audit::record::{Body, Erasure};
use crate::ledger::LedgerError;
use crate::ledger::run::Erasing;
use crate::time::Timestamp;

/// Deletes openings of a run that has ended, with the record of it, and answers how many. Where there are
/// none, nothing is written.
pub fn erase<V: View>(view: &mut V, now: Timestamp, erasing: Erasing) -> Result<(u64, Changes)> {
    let kept = view.openings(&erasing.run)?;
    let taken = kept.iter().filter(|(seq, field)| erasing.takes(*seq, field)).count() as u64;
    let mut draft = Draft::new(view, now);
    let run = draft.run(&erasing.run)?;
    if run.stop_reason.is_none() {
        return Err(LedgerError::RunOpen(erasing.run.to_string()));
    }
    if taken == 0 {
        return Ok((0, Changes::default()));
    }
    if kept.iter().any(|(seq, field)| field == "task" && erasing.takes(*seq, field)) {
        run.task = ERASED.to_owned();
    }
    // A journal that was kept has the model's words and the arguments in it.
    run.pages = 0;
    let body = Body::Erasure(Erasure {
        of: erasing.of,
        field: erasing.field.clone(),
        openings: taken,
        by: erasing.by.clone(),
    });
    draft.append(&erasing.run, &body, Vec::new())?;
    draft.changes.journal_dropped = Some(erasing.run.clone());
    draft.changes.erased = Some(erasing);
    Ok((taken, draft.changes))
}
