//! What was only reserved can't be approved.
use lar_core::approval::ApprovalGate;
use lar_core::call::Reserved;
use lar_core::ledger::RunLedger;

async fn skip(reserved: Reserved, gate: &dyn ApprovalGate, ledger: &RunLedger) {
    let _ = reserved.approve(gate, ledger).await;
}

fn main() {}
