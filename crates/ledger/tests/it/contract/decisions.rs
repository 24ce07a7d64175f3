//! What people sign about attempts that wait.

use lar_core::approval::Signed;
use lar_core::ledger::{Decision, Ledger, LedgerError, MOST_DECISIONS, Transition};
use lar_core::outcome::Verdict;

use super::{Fresh, on_every_ledger};
use crate::support::*;

on_every_ledger! {
    decisions_are_kept_in_their_order_and_once,
    a_yes_closes_the_way_for_decisions_and_recovery_opens_it,
    what_waits_for_nothing_takes_no_decision,
    there_is_an_end_to_decisions,
    of_two_at_once_each_is_heard_or_refused,
}

fn signed(text: &str) -> Signed {
    Signed { statement: text.to_owned(), signature: format!("signature of {text}") }
}

async fn decide(
    ledger: &dyn Ledger,
    name: &str,
    turn: u64,
    text: &str,
) -> Result<u64, LedgerError> {
    let run = run(name);
    let attempt = attempt(&run, turn);
    ledger.decide(Decision { run, attempt, signed: signed(text) }).await
}

async fn heard(ledger: &dyn Ledger, name: &str, turn: u64) -> Vec<String> {
    let (run, before) = (run(name), past());
    let found = ledger.decisions(&run, &attempt(&run, turn)).await.unwrap();
    assert!(found.now > before);
    found.signed.into_iter().map(|signed| signed.statement).collect()
}

async fn decisions_are_kept_in_their_order_and_once(fresh: Fresh) {
    let (ledger, again) = (fresh.ledger.as_ref(), (fresh.again)());
    let hold = start(ledger, "r", vec![with_approval("t", 2)]).await;
    step(ledger, &hold, 1, HOLD).await.unwrap();
    step(ledger, &hold, 2, HOLD).await.unwrap();
    assert_eq!(decide(again.as_ref(), "r", 1, "b").await, Ok(1));
    assert_eq!(decide(ledger, "r", 1, "a").await, Ok(2));
    assert_eq!(decide(again.as_ref(), "r", 1, "b").await, Ok(1), "the same again changes nothing");
    assert_eq!(decide(ledger, "r", 2, "of another attempt").await, Ok(1));
    assert_eq!(heard(ledger, "r", 1).await, ["b", "a"]);
    assert_eq!(heard(again.as_ref(), "r", 2).await, ["of another attempt"]);
    let kept = ledger.decisions(&hold.run, &attempt(&hold.run, 1)).await.unwrap();
    assert_eq!(kept.signed.first(), Some(&signed("b")));
    // They are no records of the run: only its holder writes those.
    assert_eq!(ledger.records(&hold.run, 1, 99).await.unwrap().len(), 3);
}

async fn a_yes_closes_the_way_for_decisions_and_recovery_opens_it(fresh: Fresh) {
    let ledger = fresh.ledger.as_ref();
    let mut hold = start(ledger, "r", vec![with_approval("t", 1)]).await;
    let held = step(ledger, &hold, 1, HOLD).await.unwrap();
    decide(ledger, "r", 1, "yes").await.unwrap();
    step(ledger, &hold, 1, approve(&held)).await.unwrap();
    let late = decide(ledger, "r", 1, "no").await.unwrap_err();
    assert!(matches!(late, LedgerError::NotWaiting { .. }), "{late}");
    assert_eq!(heard(ledger, "r", 1).await, ["yes"]);
    // The process is gone: what was said stays, and more can be said.
    let taking = super::runs::taking(&hold, super::runs::GONE);
    hold = ledger.take_run(taking).await.unwrap().hold;
    assert_eq!(decide(ledger, "r", 1, "no").await, Ok(2));
    let held = step(ledger, &hold, 1, HOLD).await.unwrap();
    assert!(held.approved_until.is_some());
    assert!(decide(ledger, "r", 1, "later").await.is_err());
    assert_eq!(heard(ledger, "r", 1).await, ["yes", "no"]);
}

async fn what_waits_for_nothing_takes_no_decision(fresh: Fresh) {
    let ledger = fresh.ledger.as_ref();
    let hold = start(ledger, "r", vec![granted("t", 2)]).await;
    let unknown = decide(ledger, "r", 1, "yes").await.unwrap_err();
    assert!(matches!(unknown, LedgerError::UnknownAttempt { .. }), "{unknown}");
    let unknown = decide(ledger, "no", 1, "yes").await.unwrap_err();
    assert!(matches!(unknown, LedgerError::UnknownRun(_)), "{unknown}");
    step(ledger, &hold, 1, START).await.unwrap();
    let started = decide(ledger, "r", 1, "yes").await.unwrap_err();
    assert!(matches!(started, LedgerError::NotWaiting { .. }), "{started}");
    step(ledger, &hold, 1, finish(Verdict::Succeeded)).await.unwrap();
    let ended = decide(ledger, "r", 1, "yes").await.unwrap_err();
    assert!(matches!(ended, LedgerError::NotWaiting { .. }), "{ended}");
    let held = step(ledger, &hold, 2, HOLD).await.unwrap();
    for bad in ["", &"x".repeat(4_097), "a\0b"] {
        let refused = decide(ledger, "r", 2, bad).await.unwrap_err();
        assert!(matches!(refused, LedgerError::BadRecord(_)), "{refused}");
    }
    step(ledger, &hold, 2, Transition::Release { fence: held.fence }).await.unwrap();
    ledger.close_run(closing(&hold)).await.unwrap();
    let closed = decide(ledger, "r", 2, "yes").await.unwrap_err();
    assert!(matches!(closed, LedgerError::RunClosed(_)), "{closed}");
    assert!(heard(ledger, "r", 2).await.is_empty());
}

async fn there_is_an_end_to_decisions(fresh: Fresh) {
    let ledger = fresh.ledger.as_ref();
    let hold = start(ledger, "r", vec![with_approval("t", 1)]).await;
    step(ledger, &hold, 1, HOLD).await.unwrap();
    for number in 0..MOST_DECISIONS {
        decide(ledger, "r", 1, &format!("{number}")).await.unwrap();
    }
    let full = decide(ledger, "r", 1, "one more").await.unwrap_err();
    assert!(matches!(full, LedgerError::NotWaiting { .. }), "{full}");
    assert_eq!(decide(ledger, "r", 1, "0").await, Ok(1));
}

/// A no that comes at the moment of the yes is either heard by whoever looks after the yes, or refused.
async fn of_two_at_once_each_is_heard_or_refused(fresh: Fresh) {
    let (ledger, again) = (fresh.ledger.as_ref(), (fresh.again)());
    let hold = start(ledger, "r", vec![with_approval("t", 20)]).await;
    for turn in 0..20 {
        let held = step(ledger, &hold, turn, HOLD).await.unwrap();
        let (no, yes) = tokio::join!(
            decide(again.as_ref(), "r", turn, "no"),
            step(ledger, &hold, turn, approve(&held))
        );
        yes.unwrap();
        let heard = heard(ledger, "r", turn).await;
        assert_eq!(heard.len(), usize::from(no.is_ok()), "{no:?}, {heard:?}");
    }
}
