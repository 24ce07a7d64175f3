//! The one path when something breaks on the way: a caller who goes away, a ledger that doesn't
//! answer, a watcher who fails.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lar_core::approval::{Answer, ApprovalGate, ApprovalRequest, Approver};
use lar_core::audit::record::{Body, Record};
use lar_core::id::{CallSite, Part};
use lar_core::invocation::ToolCall;
use lar_core::ledger::{GrantId, Ledger};
use lar_core::outcome::Verdict;
use lar_core::scope::FileMode;
use lar_core::token::{FileToken, Token, WaitToken};
use lar_runtime::event::{Event, Observer, Unwatched};
use lar_runtime::model::RawCall;
use lar_runtime::negotiate::{CapabilityProvider, CapabilityRequest, Choice, Negotiator};
use lar_runtime::stop::Cause;
use libtest_mimic::Trial;
use tokio::sync::Semaphore;

use crate::dispatcher::{Run, open, run};
use crate::wait;

pub fn tests() -> Vec<Trial> {
    let tests: [(&str, fn()); 9] = [
        ("a_file_that_waits_for_a_thread_hears_the_stop", a_file_that_waits_hears_the_stop),
        ("a_run_that_is_dropped_is_sealed", a_run_that_is_dropped_is_sealed),
        ("what_was_granted_for_a_run_ends_with_it", what_was_granted_for_a_run_ends_with_it),
        ("whoever_decides_about_a_request_does_not_hold_the_stop_up", a_provider_hears_the_stop),
        ("nobody_is_asked_where_nothing_can_be_granted", nobody_is_asked_for_nothing),
        ("a_caller_who_goes_away_gives_the_held_use_back", a_caller_who_goes_away_gives_it_back),
        ("an_observer_that_panics_undoes_nothing", an_observer_that_panics_undoes_nothing),
        ("an_end_is_said_again_while_the_ledger_is_away", an_end_is_said_again),
        ("an_end_that_was_not_taken_is_said_when_the_run_is_closed", an_end_is_said_at_the_close),
    ];
    let trial = |(name, test): (&str, fn())| {
        Trial::test(format!("path::{name}"), move || {
            test();
            Ok(())
        })
    };
    tests.into_iter().map(trial).collect()
}

fn call_site(turn: u64) -> CallSite {
    CallSite { run: run(), turn, index: 0, part: Part::Call }
}

fn call(turn: u64, seconds: u32) -> ToolCall {
    ToolCall {
        site: call_site(turn),
        tool: "wait_x".to_owned(),
        input: format!("{{\"seconds\": {seconds}}}"),
        rationale: None,
    }
}

/// A person who says yes when there is a permit for it.
struct Slow {
    asked: Semaphore,
    answers: Semaphore,
}

#[async_trait]
impl ApprovalGate for Slow {
    fn patience(&self) -> Duration {
        Duration::from_secs(600)
    }

    async fn ask(&self, _: &ApprovalRequest) -> Answer {
        self.asked.add_permits(1);
        self.answers.acquire().await.unwrap().forget();
        let approver = Approver { name: "alice".to_owned(), identity: "os-user".to_owned() };
        Answer::Yes { approver, choice: 0 }
    }
}

fn nobody() -> Arc<dyn ApprovalGate> {
    Arc::new(lar_core::approval::NoApprover("nobody is here".to_owned()))
}

fn a_caller_who_goes_away_gives_it_back() {
    wait(async {
        let token = WaitToken::new("x", 5).requires_approval(true).build().unwrap();
        let gate = Arc::new(Slow { asked: Semaphore::new(0), answers: Semaphore::new(0) });
        let run = open(token, Arc::clone(&gate) as _, Arc::new(Unwatched)).await;
        let waiting = tokio::spawn({
            let dispatcher = run.dispatcher.clone();
            async move { dispatcher.dispatch(call(1, 0)).await }
        });
        gate.asked.acquire().await.unwrap().forget();
        let left = || run.memory.left(&GrantId::of_run(&self::run()), "x");
        assert_eq!(left(), 0, "it is held while the person thinks");
        waiting.abort();
        run.dispatcher.settled().await;
        let _ = waiting.await;
        run.dispatcher.settled().await;
        assert_eq!(left(), 1, "nobody waits for it");
        gate.answers.add_permits(1);
        let proof = run.dispatcher.dispatch(call(2, 0)).await.unwrap();
        assert_eq!(proof.outcome(), Verdict::Succeeded);
    });
}

/// Panics at every proof.
struct Broken;

impl Observer for Broken {
    fn notice(&self, event: Event<'_>) {
        assert!(!matches!(event, Event::CallSealed(_)), "the watcher fails");
    }
}

fn an_observer_that_panics_undoes_nothing() {
    wait(async {
        let token = WaitToken::new("x", 5).build().unwrap();
        let run = open(token, nobody(), Arc::new(Broken)).await;
        let proof = run.dispatcher.dispatch(call(1, 0)).await.unwrap();
        assert_eq!(proof.outcome(), Verdict::Succeeded);
    });
}

/// Takes the ledger away once the effect has begun, for so many requests.
async fn away_after_the_spend(run: &Run, requests: u64) -> tokio::task::JoinHandle<()> {
    let memory = Arc::clone(&run.memory);
    tokio::spawn(async move {
        while memory.left(&GrantId::of_run(&self::run()), "x") > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        memory.refuse_next(requests);
    })
}

fn an_end_is_said_again() {
    wait(async {
        let token = WaitToken::new("x", 5).build().unwrap();
        let run = open(token, nobody(), Arc::new(Unwatched)).await;
        let taken = away_after_the_spend(&run, 7).await;
        let proof = run.dispatcher.dispatch(call(1, 1)).await.unwrap();
        taken.await.unwrap();
        assert_eq!(proof.outcome(), Verdict::Succeeded);
        assert_eq!(outcomes(&run).await, [Some(Verdict::Succeeded)]);
    });
}

fn an_end_is_said_at_the_close() {
    wait(async {
        let token = WaitToken::new("x", 5).build().unwrap();
        let run = open(token, nobody(), Arc::new(Unwatched)).await;
        let taken = away_after_the_spend(&run, 1_000).await;
        let refusal = run.dispatcher.dispatch(call(1, 1)).await.unwrap_err();
        taken.await.unwrap();
        assert!(refusal.to_string().contains("`x` succeeded"), "{refusal}");
        run.memory.refuse_next(0);
        run.dispatcher.close("error", Default::default(), false).await.unwrap();
        assert_eq!(outcomes(&run).await, [Some(Verdict::Succeeded)]);
    });
}

/// The outcomes in the record.
async fn outcomes(run: &Run) -> Vec<Option<Verdict>> {
    let records = run.memory.records(&self::run(), 1, 100).await.unwrap();
    let records = records.iter().map(|sealed| sealed.read().unwrap());
    let outcome = |record: Record| match record.body {
        Body::Outcome(outcome) => Some(outcome.outcome),
        _ => None,
    };
    records.filter_map(outcome).collect()
}

fn a_file_that_waits_hears_the_stop() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("out");
    let path = file.to_str().unwrap().to_owned();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let token = FileToken::new("f", [path.as_str()], FileMode::Write).build().unwrap();
        let run = open(token, nobody(), Arc::new(Unwatched)).await;
        // The only thread for what blocks is taken.
        let (free, taken) = std::sync::mpsc::channel::<()>();
        let holder = tokio::task::spawn_blocking(move || taken.recv().is_ok());
        let call = ToolCall {
            tool: "file_f".to_owned(),
            input: format!(r#"{{"operation": "write", "path": "{path}", "content": "x"}}"#),
            ..call(1, 0)
        };
        let writing = tokio::spawn({
            let dispatcher = run.dispatcher.clone();
            async move { dispatcher.dispatch(call).await }
        });
        // It waits where it looks at the file, before anything is spent.
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!writing.is_finished(), "{:?}", writing.await);
        run.dispatcher.stop().request(Cause::Timeout);
        let refusal = tokio::time::timeout(Duration::from_secs(20), writing).await;
        let refusal = refusal.expect("it hears the stop").unwrap().unwrap_err();
        assert_eq!(refusal.error_type(), "RunStoppedError");
        assert_eq!(run.memory.left(&GrantId::of_run(&self::run()), "f"), 1, "nothing is spent");
        drop(free);
        let _ = holder.await;
        tokio::task::spawn_blocking(|| ()).await.unwrap();
        assert!(!file.exists(), "what never began is not done later");
    });
}

fn a_run_that_is_dropped_is_sealed() {
    wait(async {
        let token = WaitToken::new("x", 5).build().unwrap();
        let Run { memory, dispatcher, .. } = open(token, nobody(), Arc::new(Unwatched)).await;
        dispatcher.keep_hold();
        drop(dispatcher);
        for _ in 0..200 {
            if memory.open_runs().await.unwrap().is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the run is open and nobody has it");
    });
}

fn what_was_granted_for_a_run_ends_with_it() {
    wait(async {
        let token = WaitToken::new("x", 5).build().unwrap();
        let run = open(token, nobody(), Arc::new(Unwatched)).await;
        let granted = WaitToken::new("more", 5).max_uses(2).build().unwrap();
        run.set.add_for_run(granted).unwrap();
        let part = run.set.split([("more", 1)]).unwrap();
        part.mark_reported();
        assert_eq!((run.set.uses_left("more"), part.uses_left("more")), (Some(1), Some(1)));
        run.dispatcher.close("complete", Default::default(), false).await.unwrap();
        assert_eq!((run.set.uses_left("more"), part.uses_left("more")), (None, Some(0)));
        assert_eq!(run.set.uses_left("x"), Some(1), "the set's own stay");
    });
}

/// Never decides.
struct Undecided;

#[async_trait]
impl CapabilityProvider for Undecided {
    fn kind(&self) -> &str {
        "test"
    }

    async fn choose(&self, _: &CapabilityRequest, _: &[Token], _: &dyn ApprovalGate) -> Choice {
        std::future::pending().await
    }
}

fn asks_for_more() -> RawCall {
    RawCall {
        id: "toolu_1".to_owned(),
        name: "request_capability".to_owned(),
        input: r#"{"scope": "more", "justification": "because"}"#.to_owned(),
        malformed: None,
    }
}

/// Whether it is on record that the model asked and nothing was granted.
async fn is_recorded(run: &Run) -> bool {
    let records = run.memory.records(&self::run(), 1, 100).await.unwrap();
    records.iter().any(|sealed| {
        matches!(sealed.read().unwrap().body, Body::Negotiation(asked) if asked.granted_token.is_none())
    })
}

fn nobody_is_asked_for_nothing() {
    wait(async {
        let token = WaitToken::new("x", 5).build().unwrap();
        let run = open(token, nobody(), Arc::new(Unwatched)).await;
        let negotiator = Negotiator::new(Vec::new(), 3, Box::new(Undecided));
        let site = call_site(1);
        let call = asks_for_more();
        let asking = negotiator.call(&run.dispatcher, &site, &call);
        let answer = tokio::time::timeout(Duration::from_secs(20), asking).await;
        let refusal = answer.expect("nobody is waited for").unwrap().unwrap_err();
        assert!(refusal.to_string().contains("nothing that could be granted"), "{refusal}");
        assert!(is_recorded(&run).await, "the request is recorded");
    });
}

fn a_provider_hears_the_stop() {
    wait(async {
        let token = WaitToken::new("x", 5).build().unwrap();
        let run = open(token, nobody(), Arc::new(Unwatched)).await;
        let candidate = WaitToken::new("more", 5).build().unwrap();
        let negotiator = Negotiator::new(vec![candidate], 3, Box::new(Undecided));
        let call = asks_for_more();
        let site = call_site(1);
        let stop = run.dispatcher.stop().clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            stop.request(Cause::Timeout);
        });
        let asking = negotiator.call(&run.dispatcher, &site, &call);
        let answer = tokio::time::timeout(Duration::from_secs(20), asking).await;
        let refusal = answer.expect("it hears the stop").unwrap().unwrap_err();
        assert_eq!(refusal.error_type(), "RunStoppedError");
        assert!(is_recorded(&run).await, "the request is recorded");
    });
}
