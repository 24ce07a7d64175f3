//! One approval spends one use.
use lar_core::call::Approved;
use lar_core::ledger::RunLedger;

async fn twice(approved: Approved, ledger: &RunLedger) {
    let _ = approved.spend(ledger).await;
    let _ = approved.spend(ledger).await;
}

fn main() {}
