//! Many callers of one process share its writer: each is told of its own change once that is durable,
//! and where the file doesn't keep up, callers wait instead of a queue that grows.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::Connection;

use crate::support::*;

/// More than may queue up.
const CALLERS: u32 = 2_500;
/// How many commands may wait, and how many are taken out at once.
const QUEUE: usize = 1_024 + 256;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_callers_each_see_their_own_durable_acknowledgement() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("ledger.db");
    let ledger = open(&path);
    let hold = start(ledger.as_ref(), "r", vec![granted("t", CALLERS)]).await;
    // What another connection sees is what was committed.
    let other = Arc::new(Mutex::new(Connection::open(&path).unwrap()));
    let callers: Vec<_> = (1..=CALLERS)
        .map(|turn| {
            let (ledger, hold, other) = (Arc::clone(&ledger), hold.clone(), Arc::clone(&other));
            tokio::spawn(async move {
                let turn = u64::from(turn);
                let receipt = step(ledger.as_ref(), &hold, turn, START).await.unwrap();
                let stands: (Vec<u8>, i64) = tokio::task::block_in_place(|| {
                    let id = attempt(&hold.run, turn);
                    let other = other.lock().unwrap();
                    let hash = "SELECT hash FROM records WHERE seq = ?1";
                    let seq = "SELECT seq FROM attempts WHERE id = ?1";
                    let hash = other.query_row(hash, [receipt.seq], |row| row.get(0)).unwrap();
                    let id = id.digest().as_bytes();
                    (hash, other.query_row(seq, [id], |row| row.get(0)).unwrap())
                });
                assert_eq!(stands.0, receipt.hash.as_bytes());
                assert_eq!(stands.1, i64::try_from(receipt.seq).unwrap(), "it is one's own");
                (receipt.seq, receipt.uses_left)
            })
        })
        .collect();
    let (mut records, mut left) = (BTreeSet::new(), BTreeSet::new());
    for caller in callers {
        let (seq, uses) = caller.await.unwrap();
        records.insert(seq);
        left.insert(uses);
    }
    assert_eq!(records, (2..=u64::from(CALLERS) + 1).collect());
    assert_eq!(left, (0..CALLERS).collect());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_wait_for_a_place_in_the_queue() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("ledger.db");
    let ledger = open(&path);
    let hold = start(ledger.as_ref(), "r", vec![granted("t", CALLERS + 1)]).await;
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let callers: Vec<_> = (1..=CALLERS)
        .map(|turn| {
            let (ledger, hold) = (Arc::clone(&ledger), hold.clone());
            tokio::spawn(async move {
                step(ledger.as_ref(), &hold, u64::from(turn), START).await.unwrap();
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(2)).await;
    // Who is no longer waited for and has no place yet leaves nothing.
    for caller in &callers {
        caller.abort();
    }
    for caller in callers {
        assert!(caller.await.is_err());
    }
    other.execute_batch("ROLLBACK").unwrap();
    step(ledger.as_ref(), &hold, u64::from(CALLERS) + 1, START).await.unwrap();
    let made = ledger.attempts(&hold.run).await.unwrap().len();
    assert!(made > QUEUE / 2 && made <= QUEUE + 1, "{made} were taken up");
}
