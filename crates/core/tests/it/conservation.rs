//! Uses are conserved: whatever is reserved, dropped and spent, in whatever order, no more uses are
//! spent than were granted, and none is lost.

use std::collections::HashMap;
use std::sync::Mutex;

use async_trait::async_trait;
use lar_core::approval::NoApprover;
use lar_core::audit::record::{Body, SealedRecord};
use lar_core::audit::trail::Proof;
use lar_core::call::{Authorized, Spent};
use lar_core::error::Refusal;
use lar_core::id::{AttemptId, CallSite, Part, RunId};
use lar_core::invocation::{Invocation, ToolCall};
use lar_core::json::Digest;
use lar_core::ledger::protocol::{self, Uses};
use lar_core::ledger::{
    Closing, Conflict, Entry, Ledger, LedgerError, Opening, Receipt, RunSummary, UseState,
};
use lar_core::outcome::{Outcome, Performed, Verdict};
use lar_core::set::CapabilitySet;
use lar_core::time::Timestamp;
use lar_core::token::WaitToken;
use proptest::prelude::*;

/// A ledger in memory, with the production rule of the states.
struct Memory {
    inner: Mutex<(u32, HashMap<AttemptId, UseState>, u64)>,
    /// Every so many commits the answer is lost, after the change was made.
    lose_every: u64,
}

impl Memory {
    fn new(uses: u32, lose_every: u64) -> Self {
        Self { inner: Mutex::new((uses, HashMap::new(), 0)), lose_every }
    }
}

#[async_trait]
impl Ledger for Memory {
    async fn open_run(&self, _: Opening) -> Result<Receipt, LedgerError> {
        unreachable!("no run is opened here")
    }

    async fn commit(&self, entry: Entry) -> Result<Receipt, LedgerError> {
        let mut inner = self.inner.lock().unwrap();
        let (left, attempts, count) = &mut *inner;
        let timestamp = Timestamp::from_millis(0);
        *count += 1;
        let mut receipt =
            Receipt { seq: *count, hash: Digest::of(b""), timestamp, fence: 0, uses_left: 0 };
        if let Some(change) = entry.change {
            let state = attempts.get(&change.attempt);
            let (next, uses) =
                protocol::next(state, &change.transition, &change.action, timestamp)?;
            match uses {
                Uses::Take if *left == 0 => return Err(Conflict::NoUseLeft.into()),
                Uses::Take => *left -= 1,
                Uses::GiveBack => *left += 1,
                Uses::Keep => {}
            }
            receipt.fence = next.fence();
            receipt.uses_left = *left;
            attempts.insert(change.attempt, next);
        }
        assert!(matches!(entry.record, Body::Intent(_) | Body::Outcome(_) | Body::Error(_)));
        if self.lose_every > 0 && *count % self.lose_every == 0 {
            return Err(LedgerError::Unavailable("the answer was lost".into()));
        }
        Ok(receipt)
    }

    async fn close_run(&self, _: Closing) -> Result<Receipt, LedgerError> {
        unreachable!("no run is closed here")
    }

    async fn attempt(&self, attempt: &AttemptId) -> Result<Option<UseState>, LedgerError> {
        Ok(self.inner.lock().unwrap().1.get(attempt).cloned())
    }

    async fn records(&self, _: &RunId, _: u64, _: u64) -> Result<Vec<SealedRecord>, LedgerError> {
        Ok(Vec::new())
    }

    async fn runs(&self) -> Result<Vec<RunSummary>, LedgerError> {
        Ok(Vec::new())
    }
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

async fn spend(set: &CapabilitySet, ledger: &Memory, turn: u64) -> Result<Spent, Refusal> {
    let gate = NoApprover(String::new());
    judge(set, turn, 1)?.approve(&gate, ledger).await?.spend(ledger).await
}

async fn seal(spent: Spent, ledger: &Memory, verdict: Verdict) -> Result<Proof, Refusal> {
    spent.seal(Performed::Ended(Outcome::new(verdict, "", "")), ledger).await
}

/// Does the deeds, and returns how many effects there would have been.
async fn run(uses: u32, lose_every: u64, deeds: &[Deed]) -> (CapabilitySet, Memory, u32) {
    let set = CapabilitySet::new([WaitToken::new("x", 5).max_uses(uses).build().unwrap()]).unwrap();
    set.mark_reported();
    let ledger = Memory::new(uses, lose_every);
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
    (set, ledger, effects)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

proptest! {
    #[test]
    fn no_more_is_spent_than_was_granted_and_nothing_is_lost(uses in 1u32..6, deeds in deeds()) {
        let (set, ledger, effects) = block_on(run(uses, 0, &deeds));
        prop_assert!(effects <= uses);
        let left = ledger.inner.lock().unwrap().0;
        prop_assert_eq!(left + effects, uses);
        prop_assert!(set.uses_left("x").unwrap() <= left, "the set never offers more than is left");
    }

    #[test]
    fn lost_answers_never_give_a_use_back(
        uses in 1u32..6, lose_every in 1u64..5, deeds in deeds(),
    ) {
        let (set, ledger, effects) = block_on(run(uses, lose_every, &deeds));
        let left = ledger.inner.lock().unwrap().0;
        prop_assert!(effects + left <= uses);
        prop_assert!(set.uses_left("x").unwrap() <= uses - effects);
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
