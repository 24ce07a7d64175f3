//! What every ledger must do.

use std::sync::Arc;

use lar_core::audit::chain::{Checker, check};
use lar_core::audit::record::Body;
use lar_core::ledger::{Conflict, Ledger, LedgerError, Transition, UseState};
use lar_core::outcome::Verdict;

use crate::support::*;

fn ledger() -> (tempfile::TempDir, Arc<dyn Ledger>) {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(&dir.path().join("l.db"));
    (dir, ledger)
}

fn conflict<T>(result: Result<T, LedgerError>) -> Conflict {
    match result {
        Err(LedgerError::Conflict(conflict)) => conflict,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was taken"),
    }
}

#[tokio::test]
async fn a_use_is_spent_once_and_its_records_hang_together() {
    let (_dir, ledger) = ledger();
    ledger.open_run(opening("r", vec![granted("t", 1)])).await.unwrap();
    let receipt = step(ledger.as_ref(), "r", 1, START).await.unwrap();
    assert_eq!((receipt.seq, receipt.fence, receipt.uses_left), (2, 1, 0));
    assert_eq!(conflict(step(ledger.as_ref(), "r", 1, START).await), Conflict::AlreadyAttempted);
    assert_eq!(conflict(step(ledger.as_ref(), "r", 2, START).await), Conflict::NoUseLeft);
    step(ledger.as_ref(), "r", 1, finish(Verdict::Succeeded)).await.unwrap();
    ledger.close_run(closing("r")).await.unwrap();
    let records = ledger.records(&run("r"), 1, 100).await.unwrap();
    let intact = check(&records).unwrap();
    assert_eq!((intact.records, intact.closed), (4, true));
    let summary = ledger.runs().await.unwrap().remove(0);
    assert_eq!(summary.head, intact.head);
    assert_eq!(summary.stop_reason.as_deref(), Some("complete"));
}

#[tokio::test]
async fn a_refused_change_leaves_no_trace() {
    let (_dir, ledger) = ledger();
    ledger.open_run(opening("r", vec![granted("t", 1)])).await.unwrap();
    for bad in [
        Transition::Finish { fence: 1, verdict: Verdict::Succeeded },
        Transition::Release { fence: 1 },
        Transition::NeverBegan { fence: 1 },
        Transition::Start { held: Some(1) },
    ] {
        assert_eq!(conflict(step(ledger.as_ref(), "r", 1, bad).await), Conflict::OutOfOrder);
    }
    assert_eq!(ledger.records(&run("r"), 1, 100).await.unwrap().len(), 1);
    assert_eq!(ledger.attempt(&attempt("r", 1)).await.unwrap(), None);
}

#[tokio::test]
async fn a_hold_is_spent_only_when_approved() {
    let (_dir, ledger) = ledger();
    ledger.open_run(opening("r", vec![granted("t", 1)])).await.unwrap();
    let hold = Transition::Reserve { lease_ms: 60_000 };
    let fence = step(ledger.as_ref(), "r", 1, hold.clone()).await.unwrap().fence;
    assert_eq!(conflict(step(ledger.as_ref(), "r", 2, hold.clone()).await), Conflict::NoUseLeft);
    let start = Transition::Start { held: Some(fence) };
    assert_eq!(conflict(step(ledger.as_ref(), "r", 1, start.clone()).await), Conflict::NotApproved);
    step(ledger.as_ref(), "r", 1, Transition::Approve { fence }).await.unwrap();
    step(ledger.as_ref(), "r", 1, start).await.unwrap();
    assert_eq!(ledger.attempt(&attempt("r", 1)).await.unwrap(), Some(UseState::Started { fence }));
}

#[tokio::test]
async fn a_hold_that_is_released_or_ran_out_cannot_be_spent() {
    let (_dir, ledger) = ledger();
    ledger.open_run(opening("r", vec![granted("t", 1)])).await.unwrap();
    let fence = step(ledger.as_ref(), "r", 1, Transition::Reserve { lease_ms: 60_000 })
        .await
        .unwrap()
        .fence;
    let back = step(ledger.as_ref(), "r", 1, Transition::Release { fence }).await.unwrap();
    assert_eq!(back.uses_left, 1);
    let late = Transition::Start { held: Some(fence) };
    assert_eq!(conflict(step(ledger.as_ref(), "r", 1, late).await), Conflict::Fenced);

    let fence =
        step(ledger.as_ref(), "r", 2, Transition::Reserve { lease_ms: 1 }).await.unwrap().fence;
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    assert_eq!(
        conflict(step(ledger.as_ref(), "r", 2, Transition::Approve { fence }).await),
        Conflict::LeaseExpired
    );
}

#[tokio::test]
async fn only_the_living_owner_gives_a_started_use_back() {
    let (_dir, ledger) = ledger();
    ledger.open_run(opening("r", vec![granted("t", 1)])).await.unwrap();
    step(ledger.as_ref(), "r", 1, START).await.unwrap();
    let other = Transition::NeverBegan { fence: 2 };
    assert_eq!(conflict(step(ledger.as_ref(), "r", 1, other).await), Conflict::Fenced);
    let back = step(ledger.as_ref(), "r", 1, Transition::NeverBegan { fence: 1 }).await.unwrap();
    assert_eq!(back.uses_left, 1);
    step(ledger.as_ref(), "r", 2, START).await.unwrap();
}

#[tokio::test]
async fn closing_accounts_for_every_use() {
    let (_dir, ledger) = ledger();
    ledger.open_run(opening("r", vec![granted("t", 9), granted("idle", 2)])).await.unwrap();
    for (turn, verdict) in [(1, Verdict::Succeeded), (2, Verdict::Failed), (3, Verdict::Unknown)] {
        step(ledger.as_ref(), "r", turn, START).await.unwrap();
        step(ledger.as_ref(), "r", turn, finish(verdict)).await.unwrap();
    }
    step(ledger.as_ref(), "r", 4, START).await.unwrap();
    step(ledger.as_ref(), "r", 5, Transition::Reserve { lease_ms: 60_000 }).await.unwrap();
    ledger.close_run(closing("r")).await.unwrap();
    let records = ledger.records(&run("r"), 1, 100).await.unwrap();
    let mut checker = Checker::default();
    let last = records.iter().map(|r| checker.read(&r.bytes).unwrap()).last().unwrap();
    let Body::RunClose(close) = last.body else { panic!("{last:?}") };
    let accounts: Vec<_> = close
        .tokens
        .iter()
        .map(|a| (a.token_name.as_str(), a.succeeded, a.failed, a.unknown, a.unused))
        .collect();
    assert_eq!(accounts, [("t", 1, 1, 2, 5), ("idle", 0, 0, 0, 2)]);
    assert_eq!(close.records, records.len() as u64);
    let lost = ledger.attempt(&attempt("r", 4)).await.unwrap().unwrap();
    assert_eq!(lost, UseState::Ended { fence: 1, verdict: Verdict::Unknown });
    assert!(matches!(ledger.commit(note("r")).await, Err(LedgerError::RunClosed(_))));
}

#[tokio::test]
async fn an_expired_token_takes_no_spend_but_seals_what_was_started() {
    let (_dir, ledger) = ledger();
    let mut token = granted("t", 2);
    token.expires = Some(past());
    ledger.open_run(opening("r", vec![token])).await.unwrap();
    assert_eq!(conflict(step(ledger.as_ref(), "r", 1, START).await), Conflict::Expired(past()));
}

#[tokio::test]
async fn what_does_not_exist_is_named() {
    let (_dir, ledger) = ledger();
    assert!(matches!(ledger.commit(note("no")).await, Err(LedgerError::UnknownRun(_))));
    assert!(matches!(ledger.records(&run("no"), 1, 1).await, Err(LedgerError::UnknownRun(_))));
    ledger.open_run(opening("r", vec![])).await.unwrap();
    assert!(matches!(ledger.open_run(opening("r", vec![])).await, Err(LedgerError::BadRecord(_))));
    assert!(matches!(
        conflict(step(ledger.as_ref(), "r", 1, START).await),
        Conflict::UnknownToken(_)
    ));
}

/// Many tasks on two handles of one file, as two processes would: each use goes to one of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn uses_are_conserved_between_handles_and_tasks() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l.db");
    let (one, two) = (open(&path), open(&path));
    one.open_run(opening("r", vec![granted("t", 7)])).await.unwrap();
    let tasks: Vec<_> = (1u64..=40)
        .map(|turn| {
            let ledger = Arc::clone(if turn % 2 == 0 { &one } else { &two });
            tokio::spawn(async move { step(ledger.as_ref(), "r", turn, START).await.is_ok() })
        })
        .collect();
    let mut spent = 0;
    for task in tasks {
        spent += u32::from(task.await.unwrap());
    }
    assert_eq!(spent, 7);
    let records = two.records(&run("r"), 1, 100).await.unwrap();
    assert_eq!(check(&records).unwrap().records, 8);
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_opening_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/er/l.db");
    {
        let ledger = open(&path);
        ledger.open_run(opening("r", vec![granted("t", 1)])).await.unwrap();
        step(ledger.as_ref(), "r", 1, START).await.unwrap();
    }
    let ledger = open(&path);
    assert_eq!(conflict(step(ledger.as_ref(), "r", 2, START).await), Conflict::NoUseLeft);
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
}
