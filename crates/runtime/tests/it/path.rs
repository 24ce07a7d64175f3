//! The one path when something breaks on the way: a caller who goes away, a ledger that doesn't
//! answer, a watcher who fails.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lar_core::approval::{Answer, ApprovalGate, ApprovalRequest, Approver};
use lar_core::audit::record::{Body, Record};
use lar_core::id::{CallSite, Part, RunId};
use lar_core::invocation::ToolCall;
use lar_core::ledger::{GrantId, Granted, Ledger, RunLedger};
use lar_core::outcome::Verdict;
use lar_core::redact::Redactor;
use lar_core::set::CapabilitySet;
use lar_core::token::{Token, WaitToken};
use lar_runtime::confine::{Tier, Walls};
use lar_runtime::dispatch::{Dispatcher, Parts};
use lar_runtime::event::{Event, Observer, Unwatched};
use lar_runtime::secrets::Secrets;
use lar_runtime::stop::Stop;
use lar_runtime::tools::{Accounts, Programs, Tools};
use libtest_mimic::Trial;
use memory_ledger::Memory;
use tokio::sync::Semaphore;

use crate::wait;

pub fn tests() -> Vec<Trial> {
    let tests: [(&str, fn()); 4] = [
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

struct Run {
    memory: Arc<Memory>,
    dispatcher: Dispatcher,
}

fn run() -> RunId {
    RunId::new("run").unwrap()
}

async fn open(token: Token, gate: Arc<dyn ApprovalGate>, observer: Arc<dyn Observer>) -> Run {
    let capabilities = CapabilitySet::new([token]).unwrap();
    capabilities.mark_reported();
    let memory = Arc::new(Memory::default());
    let tokens = capabilities.tokens().iter().map(|token| Granted::of(token).unwrap()).collect();
    let opened = memory_ledger::open(memory.as_ref(), &run(), tokens).await.unwrap();
    let tools = Tools::new(
        &capabilities.tokens(),
        Programs::new("/usr/bin".as_ref()),
        Accounts::default(),
        Secrets::default(),
        Arc::new(Redactor::default()),
        Walls::find(Tier::C).unwrap(),
        PathBuf::from("/"),
    );
    let dispatcher = Dispatcher::new(Parts {
        capabilities,
        ledger: RunLedger::new(Arc::clone(&memory) as Arc<dyn Ledger>, opened.hold),
        approvals: gate,
        witnesses: None,
        tools,
        stop: Stop::default(),
        observer,
    });
    Run { memory, dispatcher }
}

fn call(turn: u64, seconds: u32) -> ToolCall {
    ToolCall {
        site: CallSite { run: run(), turn, index: 0, part: Part::Call },
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
