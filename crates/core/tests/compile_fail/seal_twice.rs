//! One spend is sealed once.
use lar_core::call::Spent;
use lar_core::ledger::RunLedger;
use lar_core::outcome::Performed;

async fn twice(spent: Spent, one: Performed, two: Performed, ledger: &RunLedger) {
    let _ = spent.seal(one, ledger).await;
    let _ = spent.seal(two, ledger).await;
}

fn main() {}
