//! What the writer knows from before never stands in the place of what the file says.

use std::sync::Arc;

use lar_core::ledger::{Conflict, GrantId, Hold, Issuing, Ledger, LedgerError, Source};
use lar_core::outcome::Verdict;

use crate::contract::runs::{GONE, taking};
use crate::log::Keys;
use crate::support::*;

struct Two {
    _home: tempfile::TempDir,
    keys: Keys,
    one: Arc<dyn Ledger>,
    other: Arc<dyn Ledger>,
    hold: Hold,
}

fn grant() -> GrantId {
    GrantId::new("release").unwrap()
}

/// Two writers of one file. The one has spent two uses of a grant's five, and knows where all stands.
async fn two() -> Two {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("ledger.db");
    let keys = Keys::default();
    let open = || lar_ledger::open_signed(&path, keys.signers(), None).unwrap();
    let (one, other) = (open(), open());
    let tokens = vec![granted("t", 5)];
    let issuing = Issuing { grant: grant(), tokens, definitions: definitions(), expires: None };
    other.issue(issuing).await.unwrap();
    let hold = draw(one.as_ref(), "r").await;
    for (turn, left) in [(1, 4), (2, 3)] {
        let receipt = step(one.as_ref(), &hold, turn, START).await.unwrap();
        assert_eq!(receipt.uses_left, left);
    }
    Two { _home: home, keys, one, other, hold }
}

async fn draw(ledger: &dyn Ledger, name: &str) -> Hold {
    let source = Source::Named { grant: grant(), ledger: None, definitions: definitions() };
    ledger.open_run(memory_ledger::opening(&run(name), source)).await.unwrap().hold
}

async fn left(ledger: &dyn Ledger) -> u32 {
    ledger.grant(&grant()).await.unwrap().unwrap().tokens[0].uses_left
}

#[tokio::test]
async fn what_another_writer_took_is_gone() {
    let Two { one, other, hold, .. } = two().await;
    let second = draw(other.as_ref(), "s").await;
    for (turn, left) in [(1, 2), (2, 1)] {
        let receipt = step(other.as_ref(), &second, turn, START).await.unwrap();
        assert_eq!(receipt.uses_left, left);
    }
    assert_eq!(step(one.as_ref(), &hold, 3, START).await.unwrap().uses_left, 0);
    assert_eq!(conflict(step(one.as_ref(), &hold, 4, START).await), Conflict::NoUseLeft);
    assert_eq!(conflict(step(other.as_ref(), &second, 3, START).await), Conflict::NoUseLeft);
    // And what it did to an attempt.
    step(other.as_ref(), &hold, 1, finish(Verdict::Succeeded)).await.unwrap();
    let again = step(one.as_ref(), &hold, 1, finish(Verdict::Succeeded)).await;
    assert_eq!(conflict(again), Conflict::OutOfOrder);
    assert_eq!(conflict(step(one.as_ref(), &hold, 2, START).await), Conflict::AlreadyAttempted);
}

#[tokio::test]
async fn a_grant_that_another_writer_ended_takes_no_further_spend() {
    let Two { one, other, hold, .. } = two().await;
    other.revoke(&grant(), "a leak").await.unwrap();
    assert_eq!(conflict(step(one.as_ref(), &hold, 3, START).await), Conflict::Revoked);
    let Two { one, other, hold, .. } = two().await;
    other.bump_epoch().await.unwrap();
    assert_eq!(conflict(step(one.as_ref(), &hold, 3, START).await), Conflict::Quarantined);
    // Nor one that the same writer ended.
    let Two { one, hold, .. } = two().await;
    one.revoke(&grant(), "a leak").await.unwrap();
    assert_eq!(conflict(step(one.as_ref(), &hold, 3, START).await), Conflict::Revoked);
    let Two { one, hold, .. } = two().await;
    one.bump_epoch().await.unwrap();
    assert_eq!(conflict(step(one.as_ref(), &hold, 3, START).await), Conflict::Quarantined);
}

#[tokio::test]
async fn a_run_that_another_writer_took_over_is_lost() {
    let Two { one, other, hold, .. } = two().await;
    let taken = other.take_run(taking(&hold, GONE)).await.unwrap();
    assert_eq!(conflict(step(one.as_ref(), &hold, 3, START).await), Conflict::RunLost);
    other.close_run(closing(&taken.hold)).await.unwrap();
    let closed = step(one.as_ref(), &taken.hold, 3, START).await.unwrap_err();
    assert!(matches!(closed, LedgerError::RunClosed(_)), "{closed}");
}

#[tokio::test]
async fn what_was_not_committed_is_forgotten() {
    let Two { keys, one, hold, .. } = two().await;
    for turn in 3..6 {
        keys.fail(true);
        let unsigned = step(one.as_ref(), &hold, turn, START).await.unwrap_err();
        assert!(unsigned.to_string().contains("unsigned"), "{unsigned}");
        assert_eq!(left(one.as_ref()).await, 6 - turn as u32);
        keys.fail(false);
        // It was never made.
        let receipt = step(one.as_ref(), &hold, turn, START).await.unwrap();
        assert_eq!((receipt.uses_left, receipt.seq), (5 - turn as u32, turn + 1));
    }
    assert_eq!(conflict(step(one.as_ref(), &hold, 6, START).await), Conflict::NoUseLeft);
}

#[tokio::test]
async fn the_records_of_runs_that_grow_side_by_side_are_found_from_anywhere() {
    let Two { one, other, hold, .. } = two().await;
    let second = draw(other.as_ref(), "s").await;
    for n in 0..40 {
        one.commit(note(&hold)).await.unwrap();
        if n % 3 == 0 {
            other.commit(note(&second)).await.unwrap();
        }
    }
    let log = one.log().unwrap();
    let leaves = log.entries(0, u64::MAX).await.unwrap();
    for (name, count) in [("r", 43), ("s", 15)] {
        let all = one.records(&run(name), 1, u64::MAX).await.unwrap();
        assert_eq!(
            all.iter().map(|record| record.seq).collect::<Vec<_>>(),
            (1..=count).collect::<Vec<_>>()
        );
        for (from, limit) in
            [(1, 1), (2, 15), (16, 1), (16, 2), (17, 16), (33, 99), (43, 9), (44, 1)]
        {
            let some = one.records(&run(name), from, limit).await.unwrap();
            let expected = all.iter().skip(from as usize - 1).take(limit as usize);
            assert!(some.iter().eq(expected), "{name} {from} {limit}");
            let places = log.positions(&run(name), from, limit).await.unwrap();
            assert_eq!(places.len(), some.len());
            for (place, record) in places.iter().zip(&some) {
                assert_eq!(leaves[place.unwrap() as usize], record.bytes);
            }
        }
    }
}
