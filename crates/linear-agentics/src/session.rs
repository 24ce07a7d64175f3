//! A set in use without the built-in loop: a program that has a loop of its own, or makes a single
//! call, takes the one path here.
//!
//! The first call opens a run in the ledger; [`Session::close`] ends it. The uses are the set's: an
//! agent that runs on the same session draws on them too, and what one has spent the other can't.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use lar_core::audit::AuditTrail;
use lar_core::audit::record::RunEnd;
use lar_core::audit::trail::Proof;
use lar_core::budget::{Budget, Meter};
use lar_core::error::Refusal;
use lar_core::id::{CallSite, Part, RunId};
use lar_core::invocation::{Invocation, ToolCall};
use lar_core::ledger::{Conflict, LedgerError};
use lar_core::set::CapabilitySet;
use lar_runtime::agent::{AgentResult, read_trail};
use lar_runtime::dispatch::{Dispatcher, judge};
use lar_runtime::event::{Event, Observer};
use lar_runtime::stop::{Cause, Stop};
use lar_runtime::tools::look;
use tokio::sync::RwLock;

use crate::compose::{ComposeError, prepare, start};
use crate::options::RunOptions;

/// What the first record names as the model when the caller decides.
const CALLER: &str = "caller";

/// A set in use. Share it by reference or in an `Arc`; calls may be made at once.
///
/// # Cancellation
///
/// - Dropping the future of a call before its spend gives everything back: the use, and where a person
///   was being asked, the hold on it in the ledger and the question. Nothing is recorded but that the
///   question came to no answer.
/// - Dropping it after the spend stops nothing: the action goes on to its end and is sealed.
///   [`Session::close`] waits for it, and [`Session::proof`] has its proof.
/// - [`Session::stop`] and the time of the budget end what is going on: children are killed with all that
///   they started, requests are dropped, and each is sealed as unknown, or as failed where nothing can
///   have happened.
/// - Dropping the future of [`Session::run`] seals the agent's run as ended in error.
/// - When [`Session::close`] fails, the run stays open and can be closed again. What is dropped without
///   it is sealed as ended in error, by this process while its runtime lives, else by a later start.
///
/// ```no_run
/// use linear_agentics::{CapabilitySet, RunOptions, Session, tokens::ShellToken};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let set = CapabilitySet::new([ShellToken::new("pods", ["kubectl get pods"]).build()?])?;
/// let session = Session::new(set, Box::new(|set| Ok(RunOptions::sharing(set, None))));
/// let proof = session.dispatch("shell_pods", r#"{"command": "kubectl get pods"}"#, None).await?;
/// println!("{}", proof.result_summary());
/// session.close("complete").await?;
/// # Ok(())
/// # }
/// ```
pub struct Session {
    set: CapabilitySet,
    options: MakeOptions,
    /// Calls hold it for reading, whoever opens or ends the run for writing.
    open: RwLock<Option<Open>>,
    /// Whether an agent has the set.
    agent: AtomicBool,
    /// How the run that is going on is told to stop, an agent's included.
    stop: Mutex<Option<Stop>>,
    /// The latest proof of each token.
    proofs: Arc<Mutex<HashMap<String, Proof>>>,
    /// The run that was opened last.
    last: Mutex<Option<(RunId, Arc<dyn lar_core::ledger::Ledger>)>>,
}

/// Says how each run of a session is opened; it is handed the session's set.
pub type MakeOptions =
    Box<dyn Fn(CapabilitySet) -> Result<RunOptions, ComposeError> + Send + Sync + 'static>;

/// A run without the built-in loop.
struct Open {
    dispatcher: Dispatcher,
    stop: Stop,
    meter: Mutex<Option<Meter>>,
    calls: AtomicU64,
    alarm: Option<tokio::task::AbortHandle>,
}

/// A call on a session that came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// It was refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The run can't be opened.
    #[error(transparent)]
    Compose(#[from] ComposeError),
    /// The record can't be ended or read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// An agent has the set.
    #[error(
        "an agent is running on this set; wait for its end, or give the call a token of its own"
    )]
    Busy,
}

impl Session {
    /// A session on `set`, of which nothing is opened yet.
    pub fn new(set: CapabilitySet, options: MakeOptions) -> Self {
        Self {
            set,
            options,
            open: RwLock::default(),
            agent: AtomicBool::new(false),
            stop: Mutex::default(),
            proofs: Arc::default(),
            last: Mutex::default(),
        }
    }

    /// What is held.
    pub fn set(&self) -> &CapabilitySet {
        &self.set
    }

    /// Whether a run is open, or an agent has the set.
    pub fn is_open(&self) -> bool {
        self.agent.load(Ordering::SeqCst)
            || self.open.try_read().map_or(true, |open| open.is_some())
    }

    /// Whether nothing goes on: no agent has the set, and no call is on its way.
    pub fn is_idle(&self) -> bool {
        let settled =
            |open: &Option<Open>| open.as_ref().is_none_or(|open| open.dispatcher.is_settled());
        !self.agent.load(Ordering::SeqCst) && self.open.try_read().is_ok_and(|open| settled(&open))
    }

    /// The latest proof of a token.
    pub fn proof(&self, token: &str) -> Option<Proof> {
        locked(&self.proofs).get(token).cloned()
    }

    /// Judges a call as [`Session::dispatch`] would, and stops before anything happens. A person's
    /// approval and the ledger's word are the only things that it can't foresee.
    pub fn check(&self, tool: &str, input: &str) -> Result<Invocation, Refusal> {
        // No run is opened for it, so its name is nobody's.
        let run = RunId::new("check").map_err(|_| Refusal::Stopped)?;
        let site = CallSite { run, turn: 0, index: 0, part: Part::Call };
        let call =
            ToolCall { site, tool: tool.to_owned(), input: input.to_owned(), rationale: None };
        let authorized = match self.open.try_read().as_ref().map(|open| open.as_ref()) {
            Ok(Some(open)) => open.dispatcher.judge(call)?,
            _ => judge(call, &self.set)?,
        };
        look(authorized.token(), authorized.invocation().action())?;
        Ok(authorized.invocation().clone())
    }

    /// Takes a call of the model, or of the program, along the one path.
    ///
    /// Dropping the future before the spend gives everything back; after it the action goes on to
    /// its end and is sealed.
    pub async fn dispatch(
        &self,
        tool: &str,
        input: &str,
        rationale: Option<&str>,
    ) -> Result<Proof, SessionError> {
        self.call(Part::Call, tool, input, rationale).await
    }

    /// Returns from a deployment: spends the once-only way back that was minted with it.
    ///
    /// The approval of the deployment is the approval of its way back, so that there is none before
    /// the deployment was spent.
    pub async fn rollback(&self, token: &str) -> Result<Proof, SessionError> {
        let found = self.set.token(token);
        let Some(back) = found.as_ref().and_then(|token| token.rollback()) else {
            return Err(Refusal::TokenScope(format!(
                "token `{token}` states no way back; give it `rollback_to`"
            ))
            .into());
        };
        if self.proof(token).is_none() {
            return Err(Refusal::TokenClosed(format!(
                "token `{token}` was not spent, so there is nothing to return from"
            ))
            .into());
        }
        self.call(Part::Rollback, &back.tool_name(), "{}", None).await
    }

    /// Runs an agent on what the set has left, to its end. `options` is a run of this session's set
    /// ([`RunOptions::sharing`]). Until it ends, calls beside it are refused.
    pub async fn run(&self, options: RunOptions) -> Result<AgentResult, SessionError> {
        if self.agent.swap(true, Ordering::SeqCst) {
            return Err(SessionError::Busy);
        }
        let _free = Free(&self.agent);
        let mut open = self.open.write().await;
        end(&mut open, "complete").await?;
        *locked(&self.stop) = Some(options.stop.clone());
        let observer = Keeping { proofs: Arc::clone(&self.proofs), next: options.observer.clone() };
        let agent = start(options.observer(Arc::new(observer))).await?;
        self.remember(&agent.dispatcher);
        Ok(agent.run().await?)
    }

    /// The record of the run that was opened last, as far as it goes; `None` before the first call.
    pub async fn trail(&self) -> Result<Option<AuditTrail>, SessionError> {
        let last = locked(&self.last).clone();
        match last {
            Some((run, ledger)) => Ok(Some(read_trail(ledger.as_ref(), &run).await?)),
            None => Ok(None),
        }
    }

    /// Waits for the calls that are under way and ends the run, with this word as the reason
    /// (`complete`, `error`). The next call opens another on what is left. When the ledger doesn't take
    /// the end, the run stays open and can be closed again.
    pub async fn close(&self, reason: &str) -> Result<Option<AuditTrail>, SessionError> {
        if end(&mut *self.open.write().await, reason).await? {
            return self.trail().await;
        }
        Ok(None)
    }

    /// Stops what is going on: children are killed, and what happened is sealed.
    pub fn stop(&self, cause: Cause) {
        if let Some(stop) = locked(&self.stop).as_ref() {
            stop.request(cause);
        }
    }

    async fn call(
        &self,
        part: Part,
        tool: &str,
        input: &str,
        rationale: Option<&str>,
    ) -> Result<Proof, SessionError> {
        loop {
            if self.agent.load(Ordering::SeqCst) {
                return Err(SessionError::Busy);
            }
            let held = self.open.read().await;
            if let Some(open) = held.as_ref() {
                return open.call(part, tool, input, rationale).await;
            }
            drop(held);
            self.begin().await?;
        }
    }

    /// Opens the run, unless somebody else has.
    async fn begin(&self) -> Result<(), SessionError> {
        let mut open = self.open.write().await;
        if open.is_some() {
            return Ok(());
        }
        let mut options = (self.options)(self.set.clone())?;
        let next = Arc::clone(&options.observer);
        options = options.observer(Arc::new(Keeping { proofs: Arc::clone(&self.proofs), next }));
        let (budget, task) = (options.budget, options.task.clone().unwrap_or_default());
        let stop = options.stop.clone();
        let prepared = prepare(options).await?;
        let (dispatcher, _) = prepared.open(CALLER, &task, None).await?;
        self.remember(&dispatcher);
        *locked(&self.stop) = Some(stop.clone());
        let alarm = budget.map(|budget: Budget| {
            let stop = stop.clone();
            let ring = async move {
                tokio::time::sleep(budget.timeout).await;
                stop.request(Cause::Timeout);
            };
            tokio::spawn(ring).abort_handle()
        });
        let meter = Mutex::new(budget.map(Meter::new));
        *open = Some(Open { dispatcher, stop, meter, calls: AtomicU64::new(0), alarm });
        Ok(())
    }

    fn remember(&self, dispatcher: &Dispatcher) {
        let ledger = Arc::clone(dispatcher.ledger());
        *locked(&self.last) = Some((dispatcher.run().clone(), ledger));
    }
}

impl Open {
    async fn call(
        &self,
        part: Part,
        tool: &str,
        input: &str,
        rationale: Option<&str>,
    ) -> Result<Proof, SessionError> {
        let index = self.calls.fetch_add(1, Ordering::Relaxed);
        let run = self.dispatcher.run().clone();
        // The model's turns are counted from 1; these calls belong to none.
        let site = CallSite { run, turn: 0, index, part };
        let step = locked(&self.meter).as_mut().map_or(Ok(()), Meter::step);
        if let Err(refusal) = step {
            self.dispatcher.refuse(&site, tool, input, &refusal).await?;
            return Err(refusal.into());
        }
        let call = ToolCall {
            site,
            tool: tool.to_owned(),
            input: input.to_owned(),
            rationale: rationale.map(ToOwned::to_owned),
        };
        match self.dispatcher.dispatch(call).await {
            Err(Refusal::Stopped) if self.stop.requested() == Some(Cause::Timeout) => {
                Err(Refusal::BudgetTimeout("the time of the budget is over".to_owned()).into())
            }
            done => Ok(done?),
        }
    }

    async fn end(&self, reason: &str) -> Result<(), LedgerError> {
        self.dispatcher.settled().await;
        let (steps_taken, budget_remaining) = match locked(&self.meter).as_ref() {
            Some(meter) => (meter.steps_taken(), meter.steps_left()),
            None => (self.calls.load(Ordering::Relaxed), 0),
        };
        let details = RunEnd { steps_taken, budget_remaining, ..RunEnd::default() };
        self.dispatcher.close(reason, details, false).await?;
        if let Some(alarm) = &self.alarm {
            alarm.abort();
        }
        Ok(())
    }
}

/// Ends the run that is open and says whether there was one. It stays open when it can't be ended now,
/// unless it isn't this process's any more.
async fn end(open: &mut Option<Open>, reason: &str) -> Result<bool, LedgerError> {
    let Some(held) = open.as_ref() else {
        return Ok(false);
    };
    let ended = held.end(reason).await;
    let is_over = match &ended {
        Ok(()) => true,
        Err(LedgerError::RunClosed(_) | LedgerError::Conflict(Conflict::RunLost)) => true,
        Err(_) => false,
    };
    if is_over {
        *open = None;
    }
    ended.map(|()| true)
}

/// Gives the set free when an agent's run ends, however it does.
struct Free<'a>(&'a AtomicBool);

impl Drop for Free<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// Keeps the latest proof of each token, and passes everything on.
struct Keeping {
    proofs: Arc<Mutex<HashMap<String, Proof>>>,
    next: Arc<dyn Observer>,
}

impl Observer for Keeping {
    fn notice(&self, event: Event<'_>) {
        if let Event::CallSealed(proof) = &event {
            locked(&self.proofs).insert(proof.token_name().to_owned(), (*proof).clone());
        }
        self.next.notice(event);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use lar_core::token::{DeployToken, Token, WaitToken};

    use super::*;

    fn session(dir: &std::path::Path, budget: Option<Budget>, uses: u32) -> Session {
        let wait = WaitToken::new("pause", 1).max_uses(uses).build().unwrap();
        session_of(dir, budget, vec![wait])
    }

    fn session_of(dir: &std::path::Path, budget: Option<Budget>, tokens: Vec<Token>) -> Session {
        let set = CapabilitySet::new(tokens).unwrap();
        set.mark_reported();
        let ledger = dir.join("ledger.db");
        let make = move |set| Ok(RunOptions::sharing(set, budget).ledger(&ledger));
        Session::new(set, Box::new(make))
    }

    const NOTHING: &str = r#"{"seconds": 0}"#;

    #[tokio::test]
    async fn an_agent_and_calls_draw_on_the_same_uses() {
        let dir = tempfile::tempdir().unwrap();
        let session = session(dir.path(), None, 3);
        session.dispatch("wait_pause", NOTHING, None).await.unwrap();
        let replay = dir.path().join("session.jsonl");
        let call = |id: u32| {
            format!(
                r#"{{"content":[{{"type":"tool_use","id":"toolu_{id}","name":"wait_pause","input":{{"seconds":0}}}}],"stop_reason":"tool_use"}}"#
            )
        };
        let done = r#"{"content":[{"type":"text","text":"Done."}],"stop_reason":"end_turn"}"#;
        let turns = [call(1), done.to_owned()].join("\n");
        std::fs::write(&replay, turns).unwrap();
        let options = RunOptions::sharing(session.set().clone(), Some(Budget::new(5, 1)))
            .ledger(dir.path().join("ledger.db"))
            .model(format!("replay:{}", replay.display()));
        let result = session.run(options).await.unwrap();
        assert_eq!(result.audit_trail.proofs.len(), 1, "{:?}", result.audit_trail.errors);
        let granted = &result.audit_trail.run.open.tokens[0];
        assert_eq!((granted.name.as_str(), granted.uses), ("pause", 2));

        session.dispatch("wait_pause", NOTHING, None).await.unwrap();
        let refused = session.dispatch("wait_pause", NOTHING, None).await.unwrap_err();
        assert!(matches!(refused, SessionError::Refused(Refusal::TokenReused { .. })));
        assert!(session.check("wait_pause", NOTHING).is_err());
        let trail = session.close("complete").await.unwrap().unwrap();
        assert_eq!((trail.proofs.len(), trail.errors.len()), (1, 1));
        assert_eq!(trail.run.stop_reason.as_deref(), Some("complete"));
    }

    #[tokio::test]
    async fn a_closed_session_opens_again_on_what_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let session = session(dir.path(), None, 2);
        for left in [1, 0] {
            session.dispatch("wait_pause", NOTHING, None).await.unwrap();
            assert_eq!(session.set().uses_left("pause"), Some(left));
            session.close("complete").await.unwrap();
        }
        assert!(session.dispatch("wait_pause", NOTHING, None).await.is_err());
    }

    #[tokio::test]
    async fn the_way_back_needs_a_way_there() {
        let dir = tempfile::tempdir().unwrap();
        let wait = WaitToken::new("pause", 1).build().unwrap();
        let deploy = DeployToken::command("app", "here", "app:v2", ["true"])
            .rollback_to("app:v1")
            .rollback_argv(["true"])
            .build()
            .unwrap();
        let session = session_of(dir.path(), None, vec![wait, deploy]);
        let refused = session.rollback("app").await.unwrap_err().to_string();
        assert!(refused.contains("was not spent"), "{refused}");
        let refused = session.rollback("pause").await.unwrap_err().to_string();
        assert!(refused.contains("states no way back"), "{refused}");
    }

    #[tokio::test]
    async fn a_budget_counts_refused_calls_too() {
        let dir = tempfile::tempdir().unwrap();
        let session = session(dir.path(), Some(Budget::new(2, 1)), 5);
        assert!(session.dispatch("wait_pause", r#"{"seconds": 9}"#, None).await.is_err());
        session.dispatch("wait_pause", NOTHING, None).await.unwrap();
        let refused = session.dispatch("wait_pause", NOTHING, None).await.unwrap_err();
        assert!(matches!(refused, SessionError::Refused(Refusal::BudgetExhausted(_))));
        let trail = session.close("error").await.unwrap().unwrap();
        let end = trail.run.end.unwrap();
        assert_eq!((end.steps_taken, end.budget_remaining), (2, 0));
    }

    #[tokio::test]
    async fn a_session_that_could_not_be_closed_is_closed_again() {
        let memory = Arc::new(memory_ledger::Memory::default());
        let set = CapabilitySet::new([WaitToken::new("pause", 1).build().unwrap()]).unwrap();
        set.mark_reported();
        let ledger = Arc::clone(&memory);
        let make = move |set| {
            let ledger = Arc::clone(&ledger) as Arc<dyn lar_core::ledger::Ledger>;
            Ok(RunOptions::sharing(set, None).open_ledger(ledger))
        };
        let session = Session::new(set, Box::new(make));
        session.dispatch("wait_pause", NOTHING, None).await.unwrap();
        memory.refuse_next(1);
        assert!(session.close("complete").await.is_err());
        assert!(session.is_open());
        let trail = session.close("complete").await.unwrap().unwrap();
        assert_eq!(trail.run.stop_reason.as_deref(), Some("complete"));
    }
}
