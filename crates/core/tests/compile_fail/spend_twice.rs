//! One approval spends one use.
use lar_core::call::Approved;
use lar_core::ledger::Ledger;

async fn twice(approved: Approved, ledger: &dyn Ledger) {
    let _ = approved.spend(ledger).await;
    let _ = approved.spend(ledger).await;
}

fn main() {}
