//! Runs: held by one process, taken over by another, resolved later, journaled.

use lar_core::audit::chain::check;
use lar_core::ledger::{
    Conflict, Definitions, Entry, Hold, LedgerError, Resolution, Resolver, Taking, Transition,
    UseState,
};
use lar_core::outcome::Verdict;

use super::{Fresh, on_every_ledger};
use crate::support::*;

on_every_ledger! {
    a_run_is_taken_over_only_when_its_holder_is_gone,
    a_run_whose_lease_ran_out_can_be_taken,
    whoever_lost_the_run_changes_nothing,
    taking_over_seals_what_was_open_and_never_gives_back_what_was_started,
    an_approval_survives_the_holder,
    an_unknown_outcome_is_resolved_later_and_once,
    the_journal_is_kept_with_the_records_and_goes_with_the_run,
    a_commit_holds_the_run,
}

pub fn taking(hold: &Hold, gone: Option<&str>) -> Taking {
    Taking {
        run: hold.run.clone(),
        owner: "other 2 2".to_owned(),
        lease_ms: 60_000,
        gone: gone.map(ToOwned::to_owned),
        definitions: Some(definitions()),
        runner: None,
    }
}

pub const GONE: Option<&str> = Some("test 1 1");

async fn a_run_is_taken_over_only_when_its_holder_is_gone(fresh: Fresh) {
    let (ledger, other) = (fresh.ledger.as_ref(), (fresh.again)());
    let hold = start(ledger, "r", vec![granted("t", 3)]).await;
    for bad in [None, Some("somebody 3 3")] {
        let held = other.take_run(taking(&hold, bad)).await.unwrap_err();
        assert!(matches!(held, LedgerError::RunHeld { .. }), "{held}");
    }
    let changed = Taking { definitions: Some(Definitions::from_text("{}")), ..taking(&hold, GONE) };
    let refused = other.take_run(changed).await.unwrap_err();
    assert!(matches!(refused, LedgerError::OtherDefinitions(_)), "{refused}");
    let taken = other.take_run(taking(&hold, GONE)).await.unwrap();
    assert_eq!(taken.hold.fence, hold.fence + 1);
    assert_eq!(taken.tokens[0].uses_left, 3);
    // It has another holder now, whose process is not the one that is known to be gone.
    let twice = ledger.take_run(taking(&hold, GONE)).await.unwrap_err();
    assert!(matches!(twice, LedgerError::RunHeld { .. }), "{twice}");
    other.close_run(closing(&taken.hold)).await.unwrap();
    let closed = ledger.take_run(taking(&hold, GONE)).await.unwrap_err();
    assert!(matches!(closed, LedgerError::RunClosed(_)), "{closed}");
}

async fn a_run_whose_lease_ran_out_can_be_taken(fresh: Fresh) {
    let ledger = fresh.ledger.as_ref();
    let opening = lar_core::ledger::Opening { lease_ms: 1, ..opening("r", vec![]) };
    let hold = ledger.open_run(opening).await.unwrap().hold;
    a_moment().await;
    ledger.take_run(taking(&hold, None)).await.unwrap();
    let unknown = Hold { run: run("none"), fence: 1 };
    let refused = ledger.take_run(taking(&unknown, None)).await.unwrap_err();
    assert!(matches!(refused, LedgerError::UnknownRun(_)), "{refused}");
}

async fn whoever_lost_the_run_changes_nothing(fresh: Fresh) {
    let ledger = fresh.ledger.as_ref();
    let old = start(ledger, "r", vec![granted("t", 3)]).await;
    step(ledger, &old, 1, START).await.unwrap();
    ledger.take_run(taking(&old, GONE)).await.unwrap();
    let before = ledger.records(&old.run, 1, 100).await.unwrap();
    for transition in [START, HOLD, finish(Verdict::Succeeded), Transition::NeverBegan { fence: 1 }]
    {
        assert_eq!(conflict(step(ledger, &old, 2, transition).await), Conflict::RunLost);
    }
    let late = finish(Verdict::Succeeded);
    assert_eq!(conflict(step(ledger, &old, 1, late).await), Conflict::RunLost);
    assert_eq!(conflict(ledger.commit(note(&old)).await), Conflict::RunLost);
    let page = Entry::journal(old.clone(), vec![1]);
    assert_eq!(conflict(ledger.commit(page).await), Conflict::RunLost);
    assert_eq!(conflict(ledger.renew_run(&old).await), Conflict::RunLost);
    assert_eq!(conflict(ledger.close_run(closing(&old)).await), Conflict::RunLost);
    assert_eq!(ledger.records(&old.run, 1, 100).await.unwrap(), before);
}

async fn taking_over_seals_what_was_open_and_never_gives_back_what_was_started(fresh: Fresh) {
    let ledger = fresh.ledger.as_ref();
    let hold = start(ledger, "r", vec![granted("t", 3), with_approval("held", 1)]).await;
    step(ledger, &hold, 1, START).await.unwrap();
    step(ledger, &hold, 2, START).await.unwrap();
    step(ledger, &hold, 2, finish(Verdict::Succeeded)).await.unwrap();
    let held = step_on(ledger, &hold, "held", 3, HOLD).await.unwrap();
    let taken = ledger.take_run(taking(&hold, GONE)).await.unwrap();
    let left: Vec<u32> = taken.tokens.iter().map(|token| token.uses_left).collect();
    assert_eq!(left, [1, 1], "what was started is spent, what was held is not");
    let unknown = UseState::Ended { fence: 1, verdict: Verdict::Unknown };
    assert_eq!(state(ledger, &hold.run, 1).await, unknown);
    let kept = UseState::Ended { fence: 1, verdict: Verdict::Succeeded };
    assert_eq!(state(ledger, &hold.run, 2).await, kept);
    assert!(matches!(state(ledger, &hold.run, 3).await, UseState::Released { fence: 2, .. }));
    for turn in [1, 2] {
        let again = step(ledger, &taken.hold, turn, START).await;
        assert_eq!(conflict(again), Conflict::AlreadyAttempted, "it is never executed again");
    }
    let late = Transition::Start { held: Some(held.fence) };
    let late = step_on(ledger, &taken.hold, "held", 3, late).await;
    assert_eq!(conflict(late), Conflict::Fenced);
    check(&ledger.records(&hold.run, 1, 100).await.unwrap()).unwrap();
}

async fn an_approval_survives_the_holder(fresh: Fresh) {
    let ledger = fresh.ledger.as_ref();
    let hold = start(ledger, "r", vec![with_approval("t", 1)]).await;
    let held = step(ledger, &hold, 1, HOLD).await.unwrap();
    assert_eq!(held.approved_until, None);
    step(ledger, &hold, 1, approve(&held)).await.unwrap();
    let taken = ledger.take_run(taking(&hold, GONE)).await.unwrap();
    let again = step(ledger, &taken.hold, 1, HOLD).await.unwrap();
    assert!(again.approved_until.is_some(), "nobody needs to be asked again");
    assert!(again.fence > held.fence);
    step(ledger, &taken.hold, 1, Transition::Start { held: Some(again.fence) }).await.unwrap();
}

async fn an_unknown_outcome_is_resolved_later_and_once(fresh: Fresh) {
    let (ledger, other) = (fresh.ledger.as_ref(), (fresh.again)());
    let hold = start(ledger, "r", vec![granted("t", 3)]).await;
    step(ledger, &hold, 1, START).await.unwrap();
    step(ledger, &hold, 2, START).await.unwrap();
    let resolution = |turn: u64, by: Resolver, verdict: Verdict| Resolution {
        run: hold.run.clone(),
        attempt: attempt(&hold.run, turn),
        by,
        verdict,
        note: "seen in the cluster".to_owned(),
    };
    let person = || Resolver::Person("ann".to_owned());
    let early = ledger.resolve(resolution(1, person(), Verdict::Succeeded)).await;
    assert_eq!(conflict(early), Conflict::OutOfOrder, "its owner may still speak");
    let taken = ledger.take_run(taking(&hold, GONE)).await.unwrap();
    // The old owner comes back and knows how it ended.
    let wrong = ledger.resolve(resolution(1, Resolver::Owner { fence: 9 }, Verdict::Failed)).await;
    assert_eq!(conflict(wrong), Conflict::Fenced);
    let owner = Resolver::Owner { fence: 1 };
    ledger.resolve(resolution(1, owner, Verdict::Succeeded)).await.unwrap();
    let known = UseState::Resolved { fence: 1, verdict: Verdict::Succeeded };
    assert_eq!(state(ledger, &hold.run, 1).await, known);
    let twice = ledger.resolve(resolution(1, person(), Verdict::Failed)).await;
    assert_eq!(conflict(twice), Conflict::OutOfOrder);
    // A person says it when the run is long closed.
    ledger.close_run(closing(&taken.hold)).await.unwrap();
    let nothing = other.resolve(resolution(2, person(), Verdict::Unknown)).await;
    assert_eq!(conflict(nothing), Conflict::OutOfOrder);
    other.resolve(resolution(2, person(), Verdict::Failed)).await.unwrap();
    let none = other.resolve(resolution(7, person(), Verdict::Failed)).await.unwrap_err();
    assert!(matches!(none, LedgerError::UnknownAttempt { .. }), "{none}");
    let records = ledger.records(&hold.run, 1, 100).await.unwrap();
    let intact = check(&records).unwrap();
    assert!(intact.closed);
    assert_eq!(ledger.runs().await.unwrap()[0].head, intact.head);
}

async fn the_journal_is_kept_with_the_records_and_goes_with_the_run(fresh: Fresh) {
    let ledger = fresh.ledger.as_ref();
    let first = lar_core::ledger::Opening {
        journal: Some(b"about".to_vec()),
        ..opening("opened-with-one", vec![])
    };
    let hold = ledger.open_run(first).await.unwrap().hold;
    ledger.commit(Entry::journal(hold.clone(), b"next".to_vec())).await.unwrap();
    let pages = ledger.journal(&hold.run, 1, 9).await.unwrap();
    assert_eq!(pages, [b"about".to_vec(), b"next".to_vec()]);
    ledger.close_run(closing(&hold)).await.unwrap();
    for (name, keep) in [("gone", false), ("kept", true)] {
        let hold = start(ledger, name, vec![]).await;
        let alone = Entry::journal(hold.clone(), b"first".to_vec());
        let receipt = ledger.commit(alone).await.unwrap();
        assert_eq!(receipt.seq, 1, "a page alone is no record");
        let mut both = note(&hold);
        both.journal = Some(b"second".to_vec());
        ledger.commit(both).await.unwrap();
        let pages = ledger.journal(&hold.run, 1, 100).await.unwrap();
        assert_eq!(pages, [b"first".to_vec(), b"second".to_vec()]);
        assert_eq!(ledger.journal(&hold.run, 2, 1).await.unwrap(), [b"second".to_vec()]);
        assert_eq!(ledger.open_runs().await.unwrap()[0].pages, 2);
        let mut closing = closing(&hold);
        closing.keep_journal = keep;
        ledger.close_run(closing).await.unwrap();
        let left = ledger.journal(&hold.run, 1, 100).await.unwrap().len();
        assert_eq!(left, if keep { 2 } else { 0 });
    }
}

async fn a_commit_holds_the_run(fresh: Fresh) {
    let ledger = fresh.ledger.as_ref();
    let hold = start(ledger, "r", vec![]).await;
    let until = |runs: Vec<lar_core::ledger::RunSummary>| runs[0].lease_until;
    let first = until(ledger.runs().await.unwrap());
    a_moment().await;
    ledger.commit(note(&hold)).await.unwrap();
    let second = until(ledger.runs().await.unwrap());
    assert!(second > first);
    a_moment().await;
    let renewed = ledger.renew_run(&hold).await.unwrap();
    assert!(renewed > second);
    assert_eq!(until(ledger.runs().await.unwrap()), renewed);
}
