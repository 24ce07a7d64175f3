//! What became of an action whose outcome is unknown, when its target is asked.

use lar_core::audit::record::{Body, Intent};
use lar_core::id::RunId;
use lar_core::ledger::{Attempt, Ledger, LedgerError};
use lar_runtime::agent::read_records;
use lar_runtime::tools::{Operator, Programs, TargetAnswer};

/// Asks the target of an attempt how it ended: the cluster, of a deployment by `kubectl`. It is only read,
/// with the operator's `kubectl` and kubeconfig, and nothing is written anywhere: whoever has a proof says
/// so by [`Ledger::resolve`].
///
/// # Errors
/// When the ledger doesn't answer, or its records don't hold.
pub async fn ask_target(
    ledger: &dyn Ledger,
    run: &RunId,
    attempt: &Attempt,
) -> Result<TargetAnswer, LedgerError> {
    let (records, _) = read_records(ledger, run).await?;
    let intent = records.iter().find_map(|record| match &record.body {
        Body::Intent(intent) if is_of(intent, attempt) => Some(intent),
        _ => None,
    });
    let missing =
        || LedgerError::Damaged(format!("attempt `{}` of run `{run}` has no intent", attempt.id));
    let Intent { token_name, args, .. } = intent.ok_or_else(missing)?;
    let (programs, operator) = (Programs::from_environment(), Operator::from_environment());
    Ok(lar_runtime::tools::ask_target(token_name, args, &attempt.id, &programs, &operator).await)
}

fn is_of(intent: &Intent, attempt: &Attempt) -> bool {
    intent.attempt == attempt.id
        && intent.token_name == attempt.token
        && intent.action_digest == attempt.action
}
