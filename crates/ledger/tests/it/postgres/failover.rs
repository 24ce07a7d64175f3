//! A primary that is lost, and a standby that takes its place: a real one, to which the primary streams.

use std::time::{Duration, Instant};

use lar_core::ledger::{Conflict, GrantId, Hold, Issuing, Ledger, Source};
use pgserver::Server;

use crate::server::connect;
use crate::support::*;

fn url(server: &Server) -> String {
    server.url("postgres", "postgres")
}

async fn draw(ledger: &dyn Ledger, grant: &str, name: &str, uses: u32) -> Hold {
    let grant = GrantId::new(grant).unwrap();
    let tokens = vec![granted("t", uses)];
    let issuing =
        Issuing { grant: grant.clone(), tokens, definitions: definitions(), expires: None };
    ledger.issue(issuing).await.unwrap();
    let source = Source::Named { grant, ledger: None, definitions: definitions() };
    ledger.open_run(memory_ledger::opening(&run(name), source)).await.unwrap().hold
}

fn wait_for_attempts(standby: &Server, count: &str) {
    let until = Instant::now() + Duration::from_secs(60);
    while standby.sql("postgres", "SELECT count(*) FROM lar.attempts") != count {
        assert!(Instant::now() < until, "the standby never got it");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_asynchronous_failover_loses_a_spend_and_a_new_epoch_quarantines_its_grant() {
    let Some(primary) = pgserver::start_or_skip() else { return };
    let ledger = connect(&url(&primary));
    let hold = draw(ledger.as_ref(), "g", "r", 2).await;
    step(ledger.as_ref(), &hold, 1, START).await.unwrap();
    let standby = tokio::task::block_in_place(|| {
        let standby = primary.standby();
        wait_for_attempts(&standby, "1");
        // The standby is cut off, and the primary acknowledges what it doesn't get.
        standby.stop();
        standby
    });
    assert_eq!(step(ledger.as_ref(), &hold, 2, START).await.unwrap().uses_left, 0);
    tokio::task::block_in_place(|| {
        primary.crash();
        standby.start_again();
        standby.promote();
    });
    let ledger = connect(&url(&standby));
    let grant = ledger.grant(&GrantId::new("g").unwrap()).await.unwrap().unwrap();
    assert_eq!(grant.tokens[0].uses_left, 1, "the use that was spent last would be fresh again");
    // What the operator does before anything runs there.
    assert_eq!(ledger.bump_epoch().await.unwrap().epoch, 2);
    assert_eq!(conflict(step(ledger.as_ref(), &hold, 2, START).await), Conflict::Quarantined);
    let source = Source::Named {
        grant: GrantId::new("g").unwrap(),
        ledger: None,
        definitions: definitions(),
    };
    let refused = ledger.open_run(memory_ledger::opening(&run("late"), source)).await.unwrap_err();
    assert!(refused.to_string().contains("epoch"), "{refused}");
    // What is left to do gets a grant of its own.
    let fresh = draw(ledger.as_ref(), "h", "s", 1).await;
    step(ledger.as_ref(), &fresh, 1, START).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_synchronous_failover_loses_nothing_that_was_acknowledged() {
    let Some(primary) = pgserver::start_or_skip() else { return };
    let ledger = connect(&url(&primary));
    let hold = draw(ledger.as_ref(), "g", "r", 100).await;
    let standby = tokio::task::block_in_place(|| {
        let standby = primary.standby();
        primary.sql("postgres", "ALTER SYSTEM SET synchronous_standby_names = '*'");
        primary.sql("postgres", "SELECT pg_reload_conf()");
        wait_for_attempts(&standby, "0");
        standby
    });
    // New connections wait for the standby from their first commit on.
    drop(ledger);
    let ledger = connect(&url(&primary));
    for turn in 1..=20 {
        step(ledger.as_ref(), &hold, turn, START).await.unwrap();
    }
    tokio::task::block_in_place(|| {
        primary.crash();
        standby.promote();
    });
    let ledger = connect(&url(&standby));
    assert_eq!(ledger.attempts(&hold.run).await.unwrap().len(), 20);
    assert_eq!(step(ledger.as_ref(), &hold, 21, START).await.unwrap().uses_left, 79);
}
