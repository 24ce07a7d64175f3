//! What was only authorized can't be spent.
use lar_core::call::Authorized;
use lar_core::ledger::Ledger;

async fn skip(authorized: Authorized, ledger: &dyn Ledger) {
    let _ = authorized.spend(ledger).await;
}

fn main() {}
