//! What is known too late, or while the ledger doesn't answer, isn't lost; and what another holds
//! comes back.

use std::sync::Arc;

use lar_core::approval::NoApprover;
use lar_core::call::{Spent, Unsealed};
use lar_core::error::Refusal;
use lar_core::id::{CallSite, Part, RunId};
use lar_core::invocation::{Invocation, ToolCall};
use lar_core::ledger::{Granted, Ledger, RunLedger, Taking, UseState};
use lar_core::outcome::{Outcome, Performed, Verdict};
use lar_core::set::CapabilitySet;
use lar_core::token::WaitToken;
use memory_ledger::Memory;

struct Held {
    memory: Arc<Memory>,
    ledger: RunLedger,
    set: CapabilitySet,
}

async fn held() -> Held {
    let memory = Arc::new(Memory::default());
    let token = WaitToken::new("x", 5).build().unwrap();
    let run = RunId::new("run").unwrap();
    let tokens = vec![Granted::of(&token).unwrap()];
    let opened = memory_ledger::open(memory.as_ref(), &run, tokens).await.unwrap();
    let set = CapabilitySet::new([token]).unwrap();
    set.mark_reported();
    Held { ledger: RunLedger::new(Arc::clone(&memory) as _, opened.hold), memory, set }
}

fn call(turn: u64) -> ToolCall {
    ToolCall {
        site: CallSite { run: RunId::new("run").unwrap(), turn, index: 0, part: Part::Call },
        tool: "wait_x".into(),
        input: "{\"seconds\":1}".into(),
        rationale: None,
    }
}

async fn spend(held: &Held, turn: u64) -> Result<Spent, Refusal> {
    let invocation = Invocation::parse(call(turn), &held.set)?;
    let authorized = held.set.reserve(invocation)?.authorize()?;
    let approved = authorized.approve(&NoApprover(String::new()), &held.ledger).await?;
    approved.spend(&held.ledger).await
}

fn succeeded() -> Performed {
    Performed::Ended(Outcome::new(Verdict::Succeeded, "done", ""))
}

/// Another process takes the run over, whose process it thinks is gone, and closes it.
async fn take_and_close(held: &Held) {
    let taking = Taking {
        run: held.ledger.run().clone(),
        owner: "other 2 2".to_owned(),
        lease_ms: 60_000,
        gone: Some("test 1 1".to_owned()),
        definitions: None,
        runner: None,
    };
    let hold = held.memory.take_run(taking).await.unwrap().hold;
    let closing = lar_core::ledger::Closing {
        hold,
        stop_reason: "error".to_owned(),
        details: Default::default(),
        openings: Vec::new(),
        keep_journal: false,
    };
    held.memory.close_run(closing).await.unwrap();
}

#[tokio::test]
async fn a_word_that_comes_after_the_run_was_taken_and_closed_is_recorded() {
    let held = held().await;
    let spent = spend(&held, 1).await.unwrap();
    let attempt = spent.invocation().attempt();
    take_and_close(&held).await;
    assert!(spent.seal(succeeded(), &held.ledger).await.is_err(), "the run isn't ours any more");
    let found = held.ledger.attempt(&attempt).await.unwrap().unwrap();
    assert!(
        matches!(found.state, UseState::Resolved { verdict: Verdict::Succeeded, .. }),
        "{:?}",
        found.state
    );
}

#[tokio::test]
async fn an_end_that_the_ledger_did_not_take_at_once_is_said_again() {
    let held = held().await;
    let spent = spend(&held, 1).await.unwrap();
    held.memory.refuse_next(2);
    let proof = spent.seal(succeeded(), &held.ledger).await.unwrap();
    assert_eq!(proof.outcome(), Verdict::Succeeded);
    let found = held.ledger.attempt(&proof.attempt()).await.unwrap().unwrap();
    assert!(matches!(found.state, UseState::Ended { verdict: Verdict::Succeeded, .. }));
}

#[tokio::test]
async fn an_end_that_the_ledger_does_not_take_is_kept_until_it_does() {
    let held = held().await;
    let spent = spend(&held, 1).await.unwrap();
    held.memory.refuse_next(100);
    let Err(Unsealed::Untold(untold)) = spent.seal(succeeded(), &held.ledger).await else {
        panic!("it can't have been taken");
    };
    assert_eq!(untold.known(), (Some(Verdict::Succeeded), "done"));
    held.memory.refuse_next(0);
    let proof = untold.say(&held.ledger).await.unwrap();
    assert_eq!(proof.outcome(), Verdict::Succeeded);
}

#[tokio::test]
async fn an_end_that_was_kept_is_said_after_the_run_was_closed() {
    let held = held().await;
    let spent = spend(&held, 1).await.unwrap();
    let attempt = spent.invocation().attempt();
    held.memory.refuse_next(100);
    let Err(Unsealed::Untold(untold)) = spent.seal(succeeded(), &held.ledger).await else {
        panic!("it can't have been taken");
    };
    held.memory.refuse_next(0);
    take_and_close(&held).await;
    assert!(matches!(untold.say(&held.ledger).await, Err(Unsealed::Settled(_))));
    let found = held.ledger.attempt(&attempt).await.unwrap().unwrap();
    assert!(matches!(found.state, UseState::Resolved { verdict: Verdict::Succeeded, .. }));
}

#[tokio::test]
async fn nothing_began_is_said_again_too_and_gives_the_use_back_once() {
    let held = held().await;
    let spent = spend(&held, 1).await.unwrap();
    held.memory.refuse_next(1);
    let never = Performed::NeverBegan { reason: "no connection".to_owned() };
    let Err(Unsealed::Settled(refusal)) = spent.seal(never, &held.ledger).await else {
        panic!("nothing began");
    };
    assert_eq!(refusal.error_type(), "NeverBeganError");
    assert_eq!(held.set.uses_left("x"), Some(1));
}

/// A use that another attempt holds is not gone: when it comes back it can be spent.
#[tokio::test]
async fn a_use_that_is_held_elsewhere_is_not_used_up() {
    use lar_core::audit::record::{ApprovalRequested, Body};
    use lar_core::ledger::{Change, Transition};
    let held = held().await;
    let other = Invocation::parse(call(9), &held.set).unwrap();
    let change = |transition| Change {
        attempt: other.attempt(),
        token: "x".to_owned(),
        action: other.digest(),
        transition,
    };
    let record = Body::ApprovalRequest(ApprovalRequested {
        token_name: "x".to_owned(),
        attempt: Some(other.attempt()),
        action_digest: Some(other.digest()),
        message: "may it".to_owned(),
        shown: None,
        question: None,
    });
    let hold = change(Transition::Reserve { lease_ms: 60_000 });
    let fence = held.ledger.change(hold, record.clone()).await.unwrap().fence;
    let refusal = spend(&held, 1).await.unwrap_err();
    assert!(matches!(refusal, Refusal::NoUseFree { .. }), "{refusal:?}");
    assert!(refusal.to_string().contains("free at this moment"), "{refusal}");
    held.ledger.change(change(Transition::Release { fence }), record).await.unwrap();
    let _ = spend(&held, 2).await.unwrap();
}

/// The same within the process: what another call holds may come back.
#[tokio::test]
async fn a_use_that_another_call_holds_is_not_called_spent() {
    let held = held().await;
    let reserve = |turn| held.set.reserve(Invocation::parse(call(turn), &held.set).unwrap());
    let first = reserve(1).unwrap();
    let refusal = reserve(2).unwrap_err();
    assert!(matches!(refusal, Refusal::NoUseFree { .. }), "{refusal:?}");
    drop(first);
    let _ = spend(&held, 3).await.unwrap();
    let refusal = reserve(4).unwrap_err();
    assert!(matches!(refusal, Refusal::TokenReused { .. }), "{refusal:?}");
}
