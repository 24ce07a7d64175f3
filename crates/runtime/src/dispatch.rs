//! The one path. Everything that acts goes through [`Dispatcher::dispatch`]: the agent loop, a loop
//! of the caller's own, and a dry run, which takes the same first steps and stops before the fourth.

mod ending;
mod gate;
mod refusals;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use futures_util::FutureExt;
use lar_core::approval::ApprovalGate;
use lar_core::audit::commitment::Blinding;
use lar_core::audit::record::{Body, Record};
use lar_core::audit::trail::Proof;
use lar_core::call::{Approved, Authorized, Untold};
use lar_core::error::Refusal;
use lar_core::id::{AttemptId, CallSite, Part, RunId};
use lar_core::invocation::{Invocation, ToolCall};
use lar_core::ledger::{Attempt, Ledger, LedgerError, RunLedger, UseState};
use lar_core::outcome::{Outcome, Performed, Verdict};
use lar_core::redact::Redactor;
use lar_core::set::CapabilitySet;
use reqwest::Url;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::approval::Signatures;
use crate::event::{Event, Observer};
use crate::journal::Carried;
use crate::kept::Kept;
use crate::stop::Stop;
use crate::timestamp::stamp;
use crate::tools::programs::Seen;
use crate::tools::{ROLLOUT_FAILED, Tools};
use crate::witness::{Witnesses, before_effect};
use crate::words::spelled_in;
use ending::UnderWay;
use gate::{Listener, Stoppable};

/// Carries out the calls of one run. Clones are handles on the same run.
#[derive(Clone)]
pub struct Dispatcher {
    inner: Arc<Inner>,
}

struct Inner {
    capabilities: CapabilitySet,
    ledger: RunLedger,
    approvals: Stoppable,
    tools: Tools,
    witnesses: Option<Witnesses>,
    authority: Option<Url>,
    stop: Stop,
    observer: Arc<dyn Observer>,
    /// Tokens of which a use was spent with success.
    succeeded: Mutex<BTreeSet<String>>,
    /// Calls on their way, from their judgement to their seal.
    under_way: watch::Sender<usize>,
    /// Ends that the ledger has not taken yet.
    untold: Mutex<Vec<Untold>>,
    /// What keeps the hold on the run.
    heart: Mutex<Option<JoinHandle<()>>>,
    /// Where that runs.
    runtime: OnceLock<Handle>,
    /// Whether the run has its end, or another process has the run.
    is_closed: AtomicBool,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(heart) = self.heart.get_mut().unwrap_or_else(PoisonError::into_inner) {
            heart.abort();
        }
        // However the run ended, what a person granted for it ends with it.
        self.capabilities.end_run();
        self.seal_dropped();
    }
}

/// What a dispatcher works with.
pub struct Parts {
    /// What may be done.
    pub capabilities: CapabilitySet,
    /// The durable truth, with the hold on the run.
    pub ledger: RunLedger,
    /// How a person is asked.
    pub approvals: Arc<dyn ApprovalGate>,
    /// How signed approvals are waited for, where the run can.
    pub signatures: Option<Signatures>,
    /// What carries actions out.
    pub tools: Tools,
    /// Who cosigns the log's head.
    pub witnesses: Option<Witnesses>,
    /// Who states when the log's head was there, at the end of the run.
    pub authority: Option<Url>,
    /// How the run is told to stop.
    pub stop: Stop,
    /// Who watches.
    pub observer: Arc<dyn Observer>,
}

/// A call on its way. It can lead to another, a rollback, and so has no size of its own.
type Walk<'a> = Pin<Box<dyn Future<Output = Result<Proof, Refusal>> + Send + 'a>>;

impl Dispatcher {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        let (gate, observer) = (parts.approvals, Arc::clone(&parts.observer));
        let signatures = parts.signatures;
        let approvals = Stoppable::new(gate, signatures, parts.stop.clone(), observer);
        Self {
            inner: Arc::new(Inner {
                capabilities: parts.capabilities,
                ledger: parts.ledger,
                approvals,
                tools: parts.tools,
                witnesses: parts.witnesses,
                authority: parts.authority,
                stop: parts.stop,
                observer: parts.observer,
                succeeded: Mutex::default(),
                under_way: watch::Sender::new(0),
                untold: Mutex::default(),
                heart: Mutex::default(),
                runtime: OnceLock::new(),
                is_closed: AtomicBool::new(false),
            }),
        }
    }

    /// Takes a call from the model's bytes to a sealed proof, or refuses it. A refusal is recorded
    /// before it is returned.
    pub async fn dispatch(&self, call: ToolCall) -> Result<Proof, Refusal> {
        self.announce(&call.tool, &call.input);
        let (site, tool, input) = (call.site.clone(), call.tool.clone(), call.input.clone());
        match self.walk(call).await {
            Ok(proof) => Ok(proof),
            Err(refusal) => {
                self.refuse(&site, &tool, &input, &refusal).await?;
                Err(refusal)
            }
        }
    }

    /// The path itself. Up to `approve`, dropping the future gives everything back, in the ledger too;
    /// from `spend` on the rest runs to its end whoever is still listening.
    fn walk(&self, call: ToolCall) -> Walk<'_> {
        Box::pin(async move {
            let site = call.site.clone();
            let authorized = self.judge(call)?;
            let (_caller, listener) = gate::line();
            let under_way = UnderWay::count(&self.inner.under_way);
            let rest = tokio::spawn({
                let dispatcher = self.clone();
                async move {
                    let _under_way = under_way;
                    dispatcher.go_on(authorized, &site, &listener).await
                }
            });
            rest.await.unwrap_or_else(|_| Err(Refusal::Ledger(lost(self.run()))))
        })
    }

    /// From the judgement on. A person is asked only while somebody waits for the call.
    async fn go_on(
        &self,
        authorized: Authorized,
        site: &CallSite,
        caller: &Listener,
    ) -> Result<Proof, Refusal> {
        let this = &self.inner;
        if let Some(look) = this.tools.looking(&authorized) {
            // A file system that doesn't answer holds nobody who wants to stop.
            tokio::select! {
                biased;
                looked = tokio::task::spawn_blocking(look) => match looked {
                    Ok(looked) => drop(looked?),
                    Err(_) => return Err(Refusal::Ledger(lost(self.run()))),
                },
                _ = this.stop.wait() => return Err(Refusal::Stopped),
            }
        }
        let gate = this.approvals.on_behalf_of(caller);
        let seen = match authorized.token().requires_approval() {
            true => this.tools.program_of(authorized.invocation().action()).await,
            false => None,
        };
        let approved = authorized.approve(&gate, &this.ledger).await?;
        if caller.is_alone() {
            approved.withdraw(&this.ledger).await?;
            return Err(Refusal::Stopped);
        }
        if this.stop.requested().is_some() {
            return Err(Refusal::Stopped);
        }
        let proof = this.finish(approved, seen.as_ref()).await?;
        this.tell_sealed(&proof);
        if proof.reason() == Some(ROLLOUT_FAILED) {
            self.roll_back(proof.token_name(), site).await;
        }
        Ok(proof)
    }

    /// The first steps, which touch nothing: what a dry run takes too. A call that spells a secret
    /// never acts: not in its input, escaped or not, not in what it says about it, and not in the
    /// words of a command, which may spell what the quoted bytes did not.
    pub fn judge(&self, call: ToolCall) -> Result<Authorized, Refusal> {
        let said = [Some(call.input.as_str()), call.rationale.as_deref()];
        let spelled = said.into_iter().flatten().find_map(|text| spelled_in(text, self.redactor()));
        if let Some(secret) = spelled {
            return Err(Refusal::SecretExposed(secret.to_owned()));
        }
        let blinding = self.inner.ledger.blinding();
        let authorized = judge_in(call, &self.inner.capabilities, blinding)?;
        let lines = authorized.invocation().action().lines();
        let mut found =
            lines.iter().filter_map(|(_, value)| self.redactor().contains(value.as_bytes()));
        match found.next() {
            Some(secret) => Err(Refusal::SecretExposed(secret.to_owned())),
            None => Ok(authorized),
        }
    }

    /// Tells those who watch that a call begins its way.
    pub fn announce(&self, tool: &str, input: &str) {
        let (tool, input) = (self.redactor().redact(tool), self.redactor().redact(input));
        self.inner.observer.notice(Event::CallStarted { tool: &tool, input: &input });
    }

    /// Tells those who watch what one of the runtime's own tools answered.
    pub fn answered(&self, tool: &str, answer: &str) {
        self.inner.observer.notice(Event::CallAnswered { tool, answer });
    }

    /// A rollback is an effect of its own, with its own once-only use, intent and proof, and it
    /// takes the same path.
    async fn roll_back(&self, token: &str, site: &CallSite) {
        let this = &self.inner;
        let Some(back) = this.capabilities.token(token).and_then(|token| token.rollback()) else {
            return;
        };
        let site = CallSite { part: Part::Rollback, ..site.clone() };
        let (tool, input) = (back.tool_name(), "{}".to_owned());
        if this.stop.requested().is_some() {
            // The run ends with the rollout failed, and the record names what was not done about it.
            let _ = self.refuse(&site, &tool, &input, &Refusal::Stopped).await;
            return;
        }
        this.observer.notice(Event::RollingBack { token });
        let call = ToolCall { site, tool, input, rationale: None };
        // Its result stands in the record and is shown to those who watch; the deployment's own
        // proof isn't changed by it. Boxed, because a path that can lead to itself has no size.
        let _ = Box::pin(self.dispatch(call)).await;
    }

    /// Takes the way back from a call's deployment whose rollout failed just before the run was cut off.
    /// What stands in the ledger decides: a way back that was begun then is never begun again.
    pub async fn go_back(&self, failed: &Attempt, site: &CallSite) -> Result<(), LedgerError> {
        let ledger = &self.inner.ledger;
        let records = ledger.ledger().records(ledger.run(), failed.seq, 1).await?;
        let said = records.first().and_then(|record| record.read().ok());
        let Some(Record { body: Body::Outcome(outcome), .. }) = said else { return Ok(()) };
        if outcome.reason.as_deref() != Some(ROLLOUT_FAILED) {
            return Ok(());
        }
        let back = AttemptId::at(&CallSite { part: Part::Rollback, ..site.clone() });
        let begun = ledger.attempt(&back).await?.map(|back| back.state);
        if matches!(begun, None | Some(UseState::Released { .. })) {
            self.roll_back(&outcome.token_name, site).await;
        }
        Ok(())
    }

    /// Writes a record of the run.
    pub async fn record(&self, body: Body) -> Result<(), Refusal> {
        let this = &self.inner;
        this.ledger.note(body).await?;
        Ok(())
    }

    /// Waits until the run's records up to `seq`, its last, are in the signed log and cosigned by as many
    /// witnesses as the run names: who ends a run can export and prove it at once. Says so when that
    /// doesn't come about: the records are in the ledger all the same.
    pub async fn settle(&self, seq: u64) {
        let observer = &self.inner.observer;
        if let Some(why) = self.inner.tools.kept().and_then(Kept::take_trouble) {
            observer.notice(Event::NotKept { why: &why });
        }
        let Some(log) = self.ledger().log() else { return };
        if let Err(error) = log.include(self.run(), seq).await {
            return observer.notice(Event::LogBehind { why: &error.to_string() });
        }
        let mut cosigned = None;
        if let Some(witnesses) = &self.inner.witnesses {
            match witnesses.cosign(log, self.run(), seq).await {
                Ok(found) => cosigned = Some((found.size, found.checkpoint)),
                Err(error) => observer.notice(Event::Unwitnessed { why: &error.to_string() }),
            }
        }
        if let Some(authority) = &self.inner.authority
            && let Err(why) = stamp(authority, log, cosigned).await
        {
            observer.notice(Event::Unstamped { why: &why });
        }
    }

    /// The run.
    pub fn run(&self) -> &RunId {
        self.inner.ledger.run()
    }

    /// What may be done.
    pub fn capabilities(&self) -> &CapabilitySet {
        &self.inner.capabilities
    }

    /// How the run is told to stop.
    pub fn stop(&self) -> &Stop {
        &self.inner.stop
    }

    /// The ledger, with the hold on the run.
    pub fn held(&self) -> &RunLedger {
        &self.inner.ledger
    }

    /// The ledger.
    pub fn ledger(&self) -> &Arc<dyn Ledger> {
        self.inner.ledger.ledger()
    }

    /// How a person is asked. It answers when the run is stopped, whoever stands behind it.
    pub fn approvals(&self) -> &dyn ApprovalGate {
        &self.inner.approvals
    }

    /// What takes secrets out of texts.
    pub fn redactor(&self) -> &Redactor {
        self.inner.redactor()
    }

    /// Takes up what was done before the run was cut off.
    pub fn carry(&self, carried: &Carried) {
        let mut succeeded = self.inner.succeeded.lock().unwrap_or_else(PoisonError::into_inner);
        succeeded.extend(carried.succeeded.iter().cloned());
        for token in self.inner.capabilities.tokens() {
            let of = |counts: &std::collections::BTreeMap<String, u32>| {
                counts.get(token.name()).copied().unwrap_or(0)
            };
            let (spent, denials) = (of(&carried.spent), of(&carried.denials));
            self.inner.capabilities.carry(token.name(), spent, denials);
        }
    }

    /// Names of the required tokens of which no use was spent with success.
    pub fn missing_required(&self) -> Vec<String> {
        let succeeded = self.inner.succeeded.lock().unwrap_or_else(PoisonError::into_inner);
        let tokens = self.inner.capabilities.tokens().into_iter();
        tokens
            .filter(|token| token.required() && !succeeded.contains(token.name()))
            .map(|token| token.name().to_owned())
            .collect()
    }
}

/// Reads a call, takes a capability for it and judges its scope: everything that a dry run does.
/// Dropping the answer gives the capability back.
pub fn judge(call: ToolCall, capabilities: &CapabilitySet) -> Result<Authorized, Refusal> {
    judge_in(call, capabilities, None)
}

/// The same in a run whose records may commit to what is done.
fn judge_in(
    call: ToolCall,
    capabilities: &CapabilitySet,
    blinding: Option<&Arc<Blinding>>,
) -> Result<Authorized, Refusal> {
    let invocation = Invocation::parse(call, capabilities)?.blinded(blinding)?;
    let reserved = capabilities.reserve(invocation)?;
    reserved.authorize()
}

impl Inner {
    fn redactor(&self) -> &Redactor {
        self.tools.redactor()
    }

    /// From the point of no return to the proof.
    async fn finish(&self, approved: Approved, program: Option<&Seen>) -> Result<Proof, Refusal> {
        let spent = approved.spend(&self.ledger).await?;
        let seen = before_effect(self.witnesses.as_ref(), &spent, &self.ledger, &self.stop);
        let performed = match seen.await {
            Ok(()) => unbroken(self.tools.perform(&spent, program, &self.stop)).await,
            Err(reason) => Performed::NeverBegan { reason },
        };
        let proof = self.seal(spent, performed).await?;
        if proof.outcome() == Verdict::Succeeded {
            let mut succeeded = self.succeeded.lock().unwrap_or_else(PoisonError::into_inner);
            succeeded.insert(proof.token_name().to_owned());
        }
        Ok(proof)
    }

    /// Whoever watches can't undo what was done: that they fail is no word about it.
    fn tell_sealed(&self, proof: &Proof) {
        let told = AssertUnwindSafe(|| self.observer.notice(Event::CallSealed(proof)));
        if catch_unwind(told).is_err() {
            tracing::error!(token = proof.token_name(), "the observer panicked");
        }
    }
}

/// Carries an effect out. Where that breaks off by a fault of ours, the effect may have happened.
async fn unbroken(performing: impl Future<Output = Performed>) -> Performed {
    AssertUnwindSafe(performing).catch_unwind().await.unwrap_or_else(|_| {
        let summary = "a fault within the runtime cut it off";
        Performed::Ended(Outcome::new(Verdict::Unknown, summary, "").because("runtime fault"))
    })
}

/// A call of which this process can't tell what became: its task broke off.
fn lost(run: &RunId) -> LedgerError {
    LedgerError::Unavailable(format!(
        "a fault within the runtime cut a call off; whether it was spent stands in the record, \
         which `lar audit show {run}` shows"
    ))
}

/// What the model is told of an action: how it ended, in a line, and its output. `true` stands beside
/// it when that is anything else than a success.
pub fn told(proof: &Proof) -> (String, bool) {
    let mut text = match proof.reason() {
        Some(reason) => format!("{} ({reason})", proof.outcome().as_str()),
        None => proof.outcome().as_str().to_owned(),
    };
    text.push_str(": ");
    text.push_str(proof.result_summary());
    if !proof.output().is_empty() {
        text.push_str("\n\n");
        text.push_str(proof.output());
    }
    (text, proof.outcome() != Verdict::Succeeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_effect_that_breaks_off_is_unknown_and_not_stopped() {
        let performed = unbroken(async { panic!("a fault") }).await;
        let Performed::Ended(outcome) = performed else {
            panic!("it may have begun");
        };
        assert_eq!(outcome.verdict, Verdict::Unknown);
        assert_eq!(outcome.reason.as_deref(), Some("runtime fault"));
    }
}
