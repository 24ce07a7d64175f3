//! A server that crashes and comes back while agents spend.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use lar_core::audit::chain::check;
use lar_core::ledger::UseState;
use lar_core::outcome::Verdict;

use crate::server::connect;
use crate::support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_acknowledged_is_lost_and_nothing_is_spent_twice() {
    let Some(server) = pgserver::start_or_skip() else { return };
    let ledger = connect(&server.url("postgres", "postgres"));
    let stop = Arc::new(AtomicBool::new(false));
    let made = Arc::new(AtomicU64::new(0));
    let agents: Vec<_> = (0..8)
        .map(|agent| {
            let (ledger, stop, made) = (Arc::clone(&ledger), Arc::clone(&stop), Arc::clone(&made));
            tokio::spawn(async move {
                let ledger = ledger.as_ref();
                let hold = start(ledger, &format!("r{agent}"), vec![granted("t", 100_000)]).await;
                let mut spent = 0u32;
                while !stop.load(Ordering::Relaxed) {
                    spent += 1;
                    let turn = u64::from(spent);
                    // Both come back, however often the server went away.
                    let receipt = step(ledger, &hold, turn, START).await.unwrap();
                    assert_eq!(receipt.uses_left, 100_000 - spent);
                    step(ledger, &hold, turn, finish(Verdict::Succeeded)).await.unwrap();
                    made.fetch_add(1, Ordering::Relaxed);
                }
                (hold, spent)
            })
        })
        .collect();
    for round in 0..4 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        let server = &server;
        tokio::task::block_in_place(|| {
            if round % 2 == 0 {
                server.crash()
            } else {
                server.stop()
            }
            server.start_again();
        });
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let before = made.load(Ordering::Relaxed);
    stop.store(true, Ordering::Relaxed);
    assert!(before > 0);
    for agent in agents {
        let (hold, spent) = agent.await.unwrap();
        let records = ledger.records(&hold.run, 1, 1_000_000).await.unwrap();
        // One to open, and two for each spend: none lost, none twice.
        assert_eq!(check(&records).unwrap().records, 1 + 2 * u64::from(spent));
        let attempts = ledger.attempts(&hold.run).await.unwrap();
        assert_eq!(attempts.len(), usize::try_from(spent).unwrap());
        let done = UseState::Ended { fence: 1, verdict: Verdict::Succeeded };
        assert!(attempts.iter().all(|attempt| attempt.state == done));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stays_away_is_named_and_nothing_begins() {
    let Some(server) = pgserver::start_or_skip() else { return };
    let url = server.url("postgres", "postgres");
    let ledger = connect(&url);
    let hold = start(ledger.as_ref(), "r", vec![granted("t", 1)]).await;
    server.stop();
    let begun = std::time::Instant::now();
    let error = step(ledger.as_ref(), &hold, 1, START).await.unwrap_err();
    assert!(error.leaves_doubt() && error.to_string().contains("nothing listens"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(60));
    // Opening one says so at once.
    let begun = std::time::Instant::now();
    let error = crate::server::try_connect(&url).await.err().unwrap();
    assert!(error.to_string().contains("nothing listens"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5));
    server.start_again();
    let receipt = step(ledger.as_ref(), &hold, 1, START).await.unwrap();
    assert_eq!((receipt.seq, receipt.uses_left), (2, 0));
}
