//! Uses are conserved: whatever is reserved, dropped and spent, in whatever order, no more uses are
//! spent than were granted, and none is lost.

use std::sync::Arc;

use lar_core::approval::NoApprover;
use lar_core::audit::trail::Proof;
use lar_core::call::{Authorized, Spent};
use lar_core::error::Refusal;
use lar_core::id::{CallSite, Part, RunId};
use lar_core::invocation::{Invocation, ToolCall};
use lar_core::ledger::{GrantId, Granted, RunLedger};
use lar_core::outcome::{Outcome, Performed, Verdict};
use lar_core::set::CapabilitySet;
use lar_core::token::WaitToken;
use memory_ledger::Memory;
use proptest::prelude::*;

/// A ledger with a run that has `uses` uses of token `x`.
async fn held(uses: u32, lose_every: u64) -> (Arc<Memory>, RunLedger) {
    let ledger = Arc::new(Memory::default());
    let token = WaitToken::new("x", 5).max_uses(uses).build().unwrap();
    let run = RunId::new("run").unwrap();
    let tokens = vec![Granted::of(&token).unwrap()];
    let opened = memory_ledger::open(ledger.as_ref(), &run, tokens).await.unwrap();
    ledger.lose_every(lose_every);
    (Arc::clone(&ledger), RunLedger::new(ledger, opened.hold))
}

/// Uses of it that are left in the ledger.
fn left(ledger: &Memory) -> u32 {
    ledger.left(&GrantId::of_run(&RunId::new("run").unwrap()), "x")
}

/// What a test does with the next call.
#[derive(Debug, Clone, Copy)]
enum Deed {
    DropReserved,
    DropAuthorized,
    Succeed,
    Fail,
    NeverBegan,
    OutOfScope,
    ForgetToSeal,
    Repeat,
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    proptest::collection::vec(
        prop_oneof![
            Just(Deed::DropReserved),
            Just(Deed::DropAuthorized),
            Just(Deed::Succeed),
            Just(Deed::Fail),
            Just(Deed::NeverBegan),
            Just(Deed::OutOfScope),
            Just(Deed::ForgetToSeal),
            Just(Deed::Repeat),
        ],
        0..40,
    )
}

fn call(turn: u64, seconds: u64) -> ToolCall {
    ToolCall {
        site: CallSite { run: RunId::new("run").unwrap(), turn, index: 0, part: Part::Call },
        tool: "wait_x".into(),
        input: format!("{{\"seconds\":{seconds}}}"),
        rationale: None,
    }
}

fn judge(set: &CapabilitySet, turn: u64, seconds: u64) -> Result<Authorized, Refusal> {
    let invocation = Invocation::parse(call(turn, seconds), set)?;
    set.reserve(invocation)?.authorize()
}

async fn spend(set: &CapabilitySet, ledger: &RunLedger, turn: u64) -> Result<Spent, Refusal> {
    let gate = NoApprover(String::new());
    judge(set, turn, 1)?.approve(&gate, ledger).await?.spend(ledger).await
}

async fn seal(spent: Spent, ledger: &RunLedger, verdict: Verdict) -> Result<Proof, Refusal> {
    Ok(spent.seal(Performed::Ended(Outcome::new(verdict, "", "")), ledger).await?)
}

/// Does the deeds, and returns how many effects there would have been.
async fn run(uses: u32, lose_every: u64, deeds: &[Deed]) -> (CapabilitySet, Arc<Memory>, u32) {
    let set = CapabilitySet::new([WaitToken::new("x", 5).max_uses(uses).build().unwrap()]).unwrap();
    set.mark_reported();
    let (memory, ledger) = held(uses, lose_every).await;
    let mut effects = 0;
    for (turn, deed) in (1u64..).zip(deeds) {
        match deed {
            Deed::DropReserved => {
                if let Ok(invocation) = Invocation::parse(call(turn, 1), &set) {
                    drop(set.reserve(invocation));
                }
            }
            Deed::DropAuthorized => drop(judge(&set, turn, 1)),
            Deed::OutOfScope => assert!(judge(&set, turn, 6).is_err()),
            Deed::Succeed | Deed::Fail => {
                if let Ok(spent) = spend(&set, &ledger, turn).await {
                    effects += 1;
                    let fail = matches!(deed, Deed::Fail);
                    let verdict = if fail { Verdict::Failed } else { Verdict::Succeeded };
                    let _ = seal(spent, &ledger, verdict).await;
                }
            }
            Deed::ForgetToSeal => {
                if let Ok(spent) = spend(&set, &ledger, turn).await {
                    effects += 1;
                    drop(spent);
                }
            }
            Deed::NeverBegan => {
                if let Ok(spent) = spend(&set, &ledger, turn).await {
                    let never = Performed::NeverBegan { reason: "no connection".into() };
                    assert!(spent.seal(never, &ledger).await.is_err());
                }
            }
            Deed::Repeat => {
                // The same attempt again, as a retry after a lost answer would be.
                for _ in 0..2 {
                    if let Ok(spent) = spend(&set, &ledger, turn).await {
                        effects += 1;
                        let _ = seal(spent, &ledger, Verdict::Succeeded).await;
                    }
                }
            }
        }
    }
    (set, memory, effects)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

proptest! {
    #[test]
    fn no_more_is_spent_than_was_granted_and_nothing_is_lost(uses in 1u32..6, deeds in deeds()) {
        let (set, ledger, effects) = block_on(run(uses, 0, &deeds));
        prop_assert!(effects <= uses);
        let left = left(&ledger);
        prop_assert_eq!(left + effects, uses);
        prop_assert!(set.uses_left("x").unwrap() <= left, "the set never offers more than is left");
    }

    #[test]
    fn lost_answers_never_give_a_use_back(
        uses in 1u32..6, lose_every in 1u64..5, deeds in deeds(),
    ) {
        let (set, ledger, effects) = block_on(run(uses, lose_every, &deeds));
        let left = left(&ledger);
        prop_assert!(effects + left <= uses);
        prop_assert!(set.uses_left("x").unwrap() <= uses - effects);
    }
}

proptest! {
    /// However a set is split and its parts are split again, and whoever spends: never more than was
    /// granted, in the process and in the ledger.
    #[test]
    fn splitting_never_adds_up_to_more(
        uses in 1u32..12,
        steps in proptest::collection::vec((0usize..6, 0u32..8, any::<bool>()), 0..30),
    ) {
        block_on(async {
            let token = WaitToken::new("x", 5).max_uses(uses).build().unwrap();
            let (memory, ledger) = held(uses, 0).await;
            let mut sets = vec![CapabilitySet::new([token]).unwrap()];
            let mut effects = 0;
            for (turn, (which, count, spends)) in (1u64..).zip(steps) {
                let set = sets[which % sets.len()].clone();
                let before = set.uses_left("x").unwrap();
                if spends {
                    if let Ok(spent) = spend(&set, &ledger, turn).await {
                        effects += 1;
                        let _ = seal(spent, &ledger, Verdict::Succeeded).await;
                    }
                } else {
                    match set.split([("x", count)]) {
                        Ok(child) => {
                            assert_eq!(child.uses_left("x"), Some(count));
                            assert_eq!(set.uses_left("x"), Some(before - count));
                            sets.push(child);
                        }
                        Err(_) => {
                            assert!(count > before, "it was refused what it has");
                            assert_eq!(set.uses_left("x"), Some(before), "nothing was moved");
                        }
                    }
                }
                let held: u32 = sets.iter().map(|set| set.uses_left("x").unwrap()).sum();
                assert_eq!(held + effects, uses);
                assert_eq!(left(&memory) + effects, uses);
            }
            sets.iter().for_each(CapabilitySet::mark_reported);
        });
    }
}

#[test]
fn a_way_back_is_split_off_with_its_deployment() {
    use lar_core::token::DeployToken;
    let deploy = DeployToken::kubectl("app", "prod", "app:v2").rollback_to("app:v1").max_uses(2);
    let set = CapabilitySet::new([deploy.build().unwrap()]).unwrap();
    let child = set.split([("app", 1)]).unwrap();
    for part in [&set, &child] {
        part.mark_reported();
        assert_eq!((part.uses_left("app"), part.uses_left("app/rollback")), (Some(1), Some(1)));
    }
    for bad in
        [&[("app/rollback", 1)][..], &[("none", 1)], &[("app", 1), ("app", 0)], &[("app", 2)]]
    {
        assert!(set.split(bad).is_err(), "{bad:?}");
        assert_eq!((set.uses_left("app"), set.uses_left("app/rollback")), (Some(1), Some(1)));
    }
}

#[test]
fn one_capability_goes_to_one_of_many_threads() {
    let set = CapabilitySet::new([WaitToken::new("x", 5).build().unwrap()]).unwrap();
    set.mark_reported();
    let winners: Vec<Authorized> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16u64)
            .map(|turn| {
                scope.spawn({
                    let set = &set;
                    move || judge(set, turn, 1)
                })
            })
            .collect();
        threads.into_iter().filter_map(|thread| thread.join().unwrap().ok()).collect()
    });
    assert_eq!(winners.len(), 1);
    assert_eq!(set.uses_left("x"), Some(0));
    drop(winners);
    assert_eq!(set.uses_left("x"), Some(1), "what was not spent comes back");
}

/// Moving tokens between sets moves what is left of their uses, and makes none.
#[test]
fn joining_and_taking_conserve_uses() {
    use lar_core::set::CapabilitySet;
    use lar_core::token::{DeployToken, WaitToken};
    let lone = |name: &str, uses| {
        let token = WaitToken::new(name, 1).max_uses(uses).build().unwrap();
        let set = CapabilitySet::new([token]).unwrap();
        set.mark_reported();
        set
    };
    let (a, b) = (lone("a", 3), lone("b", 1));
    let joined = CapabilitySet::join(&[a.clone(), b.clone()]).unwrap();
    joined.mark_reported();
    assert_eq!((a.uses_left("a"), b.uses_left("b")), (None, None));
    assert_eq!((joined.uses_left("a"), joined.uses_left("b")), (Some(3), Some(1)));
    let taken = joined.take("a").unwrap();
    taken.mark_reported();
    assert_eq!((joined.uses_left("a"), taken.uses_left("a")), (None, Some(3)));
    assert!(joined.take("a").is_none());

    // What doesn't go together isn't moved.
    let (c, other) = (lone("c", 1), lone("c", 1));
    assert!(CapabilitySet::join(&[c.clone(), other.clone()]).is_err());
    assert_eq!((c.uses_left("c"), other.uses_left("c")), (Some(1), Some(1)));

    // A way back goes with its deployment and never alone.
    let deploy = DeployToken::kubectl("app", "prod", "app:v2").rollback_to("app:v1");
    let set = CapabilitySet::new([deploy.build().unwrap()]).unwrap();
    set.mark_reported();
    assert!(set.take("app/rollback").is_none());
    let taken = set.take("app").unwrap();
    taken.mark_reported();
    assert_eq!((taken.tokens().len(), set.tokens().len()), (2, 0));
}
