//! One use: at most once, with its record, by whoever holds it.

use std::sync::Arc;

use lar_core::audit::chain::{Checker, check};
use lar_core::audit::record::Body;
use lar_core::ledger::{Conflict, LedgerError, Transition, UseState};
use lar_core::outcome::Verdict;

use super::{Fresh, on_every_ledger};
use crate::support::*;

on_every_ledger! {
    a_use_is_spent_once_and_its_records_hang_together,
    a_refused_change_leaves_no_trace,
    a_hold_is_spent_only_when_approved,
    a_hold_that_is_released_or_ran_out_cannot_be_spent,
    holds_that_ran_out_are_uses_again_when_they_are_needed,
    only_the_living_owner_gives_a_started_use_back,
    closing_accounts_for_every_use,
    an_expired_token_takes_no_spend,
    what_does_not_exist_is_named,
    uses_are_conserved_between_handles_and_tasks,
}

async fn a_use_is_spent_once_and_its_records_hang_together(fresh: Fresh) {
    let ledger = fresh.ledger.as_ref();
    let hold = start(ledger, "r", vec![granted("t", 1)]).await;
    let receipt = step(ledger, &hold, 1, START).await.unwrap();
    assert_eq!((receipt.seq, receipt.fence, receipt.uses_left), (2, 1, 0));
    assert_eq!(conflict(step(ledger, &hold, 1, START).await), Conflict::AlreadyAttempted);
    assert_eq!(conflict(step(ledger, &hold, 2, START).await), Conflict::NoUseLeft);
    let found = ledger.attempt(&hold.run, &attempt(&hold.run, 1)).await.unwrap().unwrap();
    assert_eq!((found.state, found.holder, found.seq), (UseState::Started { fence: 1 }, 1, 2));
    step(ledger, &hold, 1, finish(Verdict::Succeeded)).await.unwrap();
    ledger.close_run(closing(&hold)).await.unwrap();
    let records = ledger.records(&run("r"), 1, 100).await.unwrap();
    let intact = check(&records).unwrap();
    assert_eq!((intact.records, intact.closed), (4, true));
    let summary = ledger.runs().await.unwrap().remove(0);
    assert_eq!(summary.head, intact.head);
    assert_eq!(summary.stop_reason.as_deref(), Some("complete"));
    assert!(ledger.open_runs().await.unwrap().is_empty());
    assert_eq!(ledger.records(&run("r"), 3, 1).await.unwrap(), records[2..3]);
}

async fn a_refused_change_leaves_no_trace(fresh: Fresh) {
    let ledger = fresh.ledger.as_ref();
    let hold = start(ledger, "r", vec![granted("t", 1)]).await;
    for bad in [
        Transition::Finish { fence: 1, verdict: Verdict::Succeeded },
        Transition::Release { fence: 1 },
        Transition::NeverBegan { fence: 1 },
        Transition::Start { held: Some(1) },
        Transition::Approve { not_after: past() },
    ] {
        assert_eq!(conflict(step(ledger, &hold, 1, bad).await), Conflict::OutOfOrder);
    }
    let mut huge = note(&hold);
    huge.journal = Some(vec![0; lar_core::ledger::MOST_JOURNAL_BYTES + 1]);
    assert!(matches!(ledger.commit(huge).await, Err(LedgerError::BadRecord(_))));
    assert_eq!(ledger.records(&run("r"), 1, 100).await.unwrap().len(), 1);
    assert_eq!(ledger.attempt(&hold.run, &attempt(&hold.run, 1)).await.unwrap(), None);
}

async fn a_hold_is_spent_only_when_approved(fresh: Fresh) {
    let ledger = fresh.ledger.as_ref();
    let hold = start(ledger, "r", vec![with_approval("t", 1)]).await;
    assert_eq!(conflict(step(ledger, &hold, 1, START).await), Conflict::NotApproved);
    let held = step(ledger, &hold, 1, HOLD).await.unwrap();
    let fence = held.fence;
    assert_eq!(conflict(step(ledger, &hold, 2, HOLD).await), Conflict::NoUseLeft);
    let begin = Transition::Start { held: Some(fence) };
    assert_eq!(conflict(step(ledger, &hold, 1, begin.clone()).await), Conflict::NotApproved);
    step(ledger, &hold, 1, approve(&held)).await.unwrap();
    assert_eq!(conflict(step(ledger, &hold, 1, approve(&held)).await), Conflict::OutOfOrder);
    step(ledger, &hold, 1, begin.clone()).await.unwrap();
    assert_eq!(state(ledger, &hold.run, 1).await, UseState::Started { fence });
    assert!(step(ledger, &hold, 1, begin).await.is_err(), "the approval is used up");
}

async fn a_hold_that_is_released_or_ran_out_cannot_be_spent(fresh: Fresh) {
    let ledger = fresh.ledger.as_ref();
    let hold = start(ledger, "r", vec![with_approval("t", 1)]).await;
    let held = step(ledger, &hold, 1, HOLD).await.unwrap();
    step(ledger, &hold, 1, approve(&held)).await.unwrap();
    let back = step(ledger, &hold, 1, Transition::Release { fence: held.fence }).await.unwrap();
    assert_eq!(back.uses_left, 1);
    let late = Transition::Start { held: Some(held.fence) };
    assert_eq!(conflict(step(ledger, &hold, 1, late).await), Conflict::Fenced);

    let held = step(ledger, &hold, 2, Transition::Reserve { lease_ms: 1 }).await.unwrap();
    a_moment().await;
    assert_eq!(conflict(step(ledger, &hold, 2, approve(&held)).await), Conflict::LeaseExpired);
}

async fn holds_that_ran_out_are_uses_again_when_they_are_needed(fresh: Fresh) {
    let ledger = fresh.ledger.as_ref();
    let hold = start(ledger, "r", vec![with_approval("t", 1)]).await;
    let held = step(ledger, &hold, 1, Transition::Reserve { lease_ms: 1 }).await.unwrap();
    a_moment().await;
    let again = step(ledger, &hold, 2, HOLD).await.unwrap();
    assert_eq!(again.uses_left, 0);
    let late = Transition::Start { held: Some(held.fence) };
    assert_eq!(conflict(step(ledger, &hold, 1, late).await), Conflict::Fenced);
    // What happened to the hold stands in the record.
    let records = ledger.records(&hold.run, 1, 100).await.unwrap();
    check(&records).unwrap();
    let mut checker = Checker::default();
    let bodies: Vec<Body> = records
        .iter()
        .map(|record| checker.read(&record.bytes, &record.openings).unwrap().body)
        .collect();
    assert!(bodies.iter().any(|body| matches!(body, Body::Recovery(r) if r.state == "released")));
}

async fn only_the_living_owner_gives_a_started_use_back(fresh: Fresh) {
    let ledger = fresh.ledger.as_ref();
    let hold = start(ledger, "r", vec![granted("t", 1)]).await;
    step(ledger, &hold, 1, START).await.unwrap();
    let other = Transition::NeverBegan { fence: 2 };
    assert_eq!(conflict(step(ledger, &hold, 1, other).await), Conflict::Fenced);
    let back = step(ledger, &hold, 1, Transition::NeverBegan { fence: 1 }).await.unwrap();
    assert_eq!(back.uses_left, 1);
    assert_eq!(conflict(step(ledger, &hold, 1, START).await), Conflict::AlreadyAttempted);
    step(ledger, &hold, 2, START).await.unwrap();
}

async fn closing_accounts_for_every_use(fresh: Fresh) {
    let ledger = fresh.ledger.as_ref();
    let tokens = vec![granted("t", 9), granted("idle", 2), with_approval("held", 1)];
    let hold = start(ledger, "r", tokens).await;
    for (turn, verdict) in [(1, Verdict::Succeeded), (2, Verdict::Failed), (3, Verdict::Unknown)] {
        step(ledger, &hold, turn, START).await.unwrap();
        step(ledger, &hold, turn, finish(verdict)).await.unwrap();
    }
    step(ledger, &hold, 4, START).await.unwrap();
    step_on(ledger, &hold, "held", 5, HOLD).await.unwrap();
    ledger.close_run(closing(&hold)).await.unwrap();
    let records = ledger.records(&run("r"), 1, 100).await.unwrap();
    let mut checker = Checker::default();
    let last = records.iter().map(|r| checker.read(&r.bytes, &r.openings).unwrap()).last().unwrap();
    let Body::RunClose(close) = last.body else { panic!("{last:?}") };
    let accounts: Vec<_> = close
        .tokens
        .iter()
        .map(|a| (a.token_name.as_str(), a.succeeded, a.failed, a.unknown, a.unused, a.elsewhere))
        .collect();
    assert_eq!(accounts, [("t", 1, 1, 2, 5, 0), ("idle", 0, 0, 0, 2, 0), ("held", 0, 0, 0, 1, 0)]);
    assert_eq!(close.records, records.len() as u64);
    let lost = state(ledger, &hold.run, 4).await;
    assert_eq!(lost, UseState::Ended { fence: 1, verdict: Verdict::Unknown });
    assert!(matches!(ledger.commit(note(&hold)).await, Err(LedgerError::RunClosed(_))));
    assert!(matches!(ledger.renew_run(&hold).await, Err(LedgerError::RunClosed(_))));
}

async fn an_expired_token_takes_no_spend(fresh: Fresh) {
    let ledger = fresh.ledger.as_ref();
    let mut token = granted("t", 2);
    token.expires = Some(past());
    let hold = start(ledger, "r", vec![token]).await;
    assert_eq!(conflict(step(ledger, &hold, 1, START).await), Conflict::Expired(past()));
}

async fn what_does_not_exist_is_named(fresh: Fresh) {
    let ledger = fresh.ledger.as_ref();
    let nobody = lar_core::ledger::Hold { run: run("no"), fence: 1 };
    assert!(matches!(ledger.commit(note(&nobody)).await, Err(LedgerError::UnknownRun(_))));
    assert!(matches!(ledger.records(&run("no"), 1, 1).await, Err(LedgerError::UnknownRun(_))));
    assert!(matches!(ledger.journal(&run("no"), 1, 1).await, Err(LedgerError::UnknownRun(_))));
    let hold = start(ledger, "r", vec![]).await;
    let twice = ledger.open_run(opening("r", vec![])).await;
    assert!(matches!(twice, Err(LedgerError::BadRecord(_))));
    assert!(matches!(conflict(step(ledger, &hold, 1, START).await), Conflict::UnknownToken(_)));
}

/// Many tasks on two handles of one ledger, as two processes would: each use goes to one of them.
async fn uses_are_conserved_between_handles_and_tasks(fresh: Fresh) {
    let (one, two) = (Arc::clone(&fresh.ledger), (fresh.again)());
    let hold = start(one.as_ref(), "r", vec![granted("t", 7)]).await;
    let tasks: Vec<_> = (1u64..=40)
        .map(|turn| {
            let ledger = Arc::clone(if turn % 2 == 0 { &one } else { &two });
            let hold = hold.clone();
            tokio::spawn(async move { step(ledger.as_ref(), &hold, turn, START).await.is_ok() })
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
