//! What was only authorized can't be spent.
use lar_core::call::Authorized;
use lar_core::ledger::RunLedger;

async fn skip(authorized: Authorized, ledger: &RunLedger) {
    let _ = authorized.spend(ledger).await;
}

fn main() {}
