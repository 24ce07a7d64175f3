//! The one path. Everything that acts goes through [`Dispatcher::dispatch`]: the agent loop, a loop
//! of the caller's own, and a dry run, which takes the same first steps and stops before the fourth.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use lar_core::approval::{Answer, ApprovalGate, ApprovalRequest};
use lar_core::audit::record::{Body, ErrorRecord};
use lar_core::audit::trail::Proof;
use lar_core::call::{Approved, Authorized};
use lar_core::error::Refusal;
use lar_core::id::{AttemptId, CallSite, Part, RunId};
use lar_core::invocation::{Invocation, ToolCall};
use lar_core::ledger::{Ledger, RunLedger};
use lar_core::outcome::Verdict;
use lar_core::redact::Redactor;
use lar_core::set::CapabilitySet;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::event::{Event, Observer};
use crate::journal::Carried;
use crate::recover;
use crate::stop::Stop;
use crate::tools::{ROLLOUT_FAILED, Tools};
use crate::words::spelled_in;

/// How much of a refused input goes into the record, in characters.
const INPUT_KEPT: usize = 1_000;

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
    stop: Stop,
    observer: Arc<dyn Observer>,
    /// Tokens of which a use was spent with success.
    succeeded: Mutex<BTreeSet<String>>,
    /// Calls between their spend and their seal.
    under_way: watch::Sender<usize>,
    /// What keeps the hold on the run.
    heart: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(heart) = self.heart.get_mut().unwrap_or_else(PoisonError::into_inner) {
            heart.abort();
        }
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
    /// What carries actions out.
    pub tools: Tools,
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
        let approvals = Stoppable {
            gate: parts.approvals,
            stop: parts.stop.clone(),
            observer: Arc::clone(&parts.observer),
        };
        Self {
            inner: Arc::new(Inner {
                capabilities: parts.capabilities,
                ledger: parts.ledger,
                approvals,
                tools: parts.tools,
                stop: parts.stop,
                observer: parts.observer,
                succeeded: Mutex::default(),
                under_way: watch::Sender::new(0),
                heart: Mutex::default(),
            }),
        }
    }

    /// Keeps the hold on the run as long as this dispatcher, or a handle on it, lives. To be called
    /// within a tokio runtime.
    pub fn keep_hold(&self) {
        let beat = recover::keep_hold(self.inner.ledger.clone(), self.inner.stop.clone());
        let mut heart = self.inner.heart.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = heart.replace(tokio::spawn(beat)) {
            before.abort();
        }
    }

    /// Stops keeping the hold, and returns when nothing of it is left: the ledger can be closed then.
    pub async fn let_go(&self) {
        let heart = self.inner.heart.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(heart) = heart {
            heart.abort();
            // It was told to end; that it did not end by itself is no error.
            let _ = heart.await;
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

    /// The path itself. Up to `approve`, dropping the future gives everything back; from `spend` on
    /// the rest runs to its end whoever is still listening.
    fn walk(&self, call: ToolCall) -> Walk<'_> {
        Box::pin(async move {
            let (this, site) = (&self.inner, call.site.clone());
            let authorized = self.judge(call)?;
            let approved = authorized.approve(&this.approvals, &this.ledger).await?;
            if this.stop.requested().is_some() {
                return Err(Refusal::Stopped);
            }
            this.under_way.send_modify(|count| *count += 1);
            let rest = tokio::spawn({
                let dispatcher = self.clone();
                async move {
                    let _ended = Ended(&dispatcher.inner.under_way);
                    let proof = dispatcher.inner.finish(approved).await?;
                    dispatcher.inner.observer.notice(Event::CallSealed(&proof));
                    dispatcher.roll_back(&proof, &site).await;
                    Ok(proof)
                }
            });
            rest.await.unwrap_or(Err(Refusal::Stopped))
        })
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
        let authorized = judge(call, &self.inner.capabilities)?;
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
    async fn roll_back(&self, proof: &Proof, site: &CallSite) {
        let this = &self.inner;
        let failed = proof.reason() == Some(ROLLOUT_FAILED);
        let token = this.capabilities.token(proof.token_name());
        let Some(back) = token.filter(|_| failed).and_then(|token| token.rollback()) else {
            return;
        };
        if this.stop.requested().is_some() {
            return;
        }
        this.observer.notice(Event::RollingBack { token: proof.token_name() });
        let call = ToolCall {
            site: CallSite { part: Part::Rollback, ..site.clone() },
            tool: back.tool_name(),
            input: "{}".to_owned(),
            rationale: None,
        };
        // Its result stands in the record and is shown to those who watch; the deployment's own
        // proof isn't changed by it. Boxed, because a path that can lead to itself has no size.
        let _ = Box::pin(self.dispatch(call)).await;
    }

    /// Records a refused call and tells those who watch.
    pub async fn refuse(
        &self,
        site: &CallSite,
        tool: &str,
        input: &str,
        refusal: &Refusal,
    ) -> Result<(), Refusal> {
        let name = self.capabilities().tokens().into_iter().find(|token| token.tool_name() == tool);
        let name = match &name {
            Some(token) => token.name(),
            None => tool,
        };
        // A secret that only the words of a command spelled stands in the input in another form.
        let input = match refusal {
            Refusal::SecretExposed(_) => None,
            _ => Some(clip(&self.redactor().redact(input), INPUT_KEPT)),
        };
        self.refused(name, tool, Some((AttemptId::at(site), input)), refusal).await
    }

    /// Records that the run can't go on after a turn of the model, and tells those who watch.
    pub async fn refuse_turn(&self, turn: u64, refusal: &Refusal) -> Result<(), Refusal> {
        let name = format!("turn {turn}");
        self.refused(&name, &name, None, refusal).await
    }

    async fn refused(
        &self,
        name: &str,
        tool: &str,
        call: Option<(AttemptId, Option<String>)>,
        refusal: &Refusal,
    ) -> Result<(), Refusal> {
        // A refusal may repeat what the model wrote.
        let (name, tool) = (self.redactor().redact(name), self.redactor().redact(tool));
        let message = refusal.to_string();
        let message = self.redactor().redact(&message);
        let error_type = refusal.error_type();
        self.inner.observer.notice(Event::CallRefused {
            tool: &tool,
            error_type,
            message: &message,
        });
        // What was spent and given back has its own record; and a ledger that just failed is not
        // asked again, which can take long where another process holds it.
        if matches!(refusal, Refusal::NeverBegan(_)) || refusal.is_without_ledger() {
            return Ok(());
        }
        let (attempt, input) = call.unzip();
        let input = input.flatten();
        let record = ErrorRecord {
            token_name: clip(&name, 128),
            error_type: error_type.to_owned(),
            message: message.into_owned(),
            attempt,
            input,
        };
        self.record(Body::Error(record)).await
    }

    /// Whether no call is between its spend and its seal.
    pub fn is_settled(&self) -> bool {
        *self.inner.under_way.borrow() == 0
    }

    /// Waits until no call is between its spend and its seal, those included to which nobody listens
    /// any more. To be awaited before the run is closed.
    pub async fn settled(&self) {
        // The sender lives as long as `self`, so that waiting can't fail.
        let _ = self.inner.under_way.subscribe().wait_for(|count| *count == 0).await;
    }

    /// Writes a record of the run.
    pub async fn record(&self, body: Body) -> Result<(), Refusal> {
        let this = &self.inner;
        this.ledger.note(body).await?;
        Ok(())
    }

    /// Waits until the run's records up to `seq`, its last, are in the signed log: who ends a run can
    /// export and prove it at once. Says so when they don't come: they are in the ledger, and no
    /// signature covers them yet.
    pub async fn settle(&self, seq: u64) {
        if let Some(log) = self.ledger().log()
            && let Err(error) = log.include(self.run(), seq).await
        {
            self.inner.observer.notice(Event::LogBehind { why: &error.to_string() });
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
    let invocation = Invocation::parse(call, capabilities)?;
    let reserved = capabilities.reserve(invocation)?;
    reserved.authorize()
}

impl Inner {
    fn redactor(&self) -> &Redactor {
        self.tools.redactor()
    }

    /// From the point of no return to the proof.
    async fn finish(&self, approved: Approved) -> Result<Proof, Refusal> {
        let spent = approved.spend(&self.ledger).await?;
        let performed = self.tools.perform(&spent, &self.stop).await;
        let proof = spent.seal(performed, &self.ledger).await?;
        if proof.outcome() == Verdict::Succeeded {
            let mut succeeded = self.succeeded.lock().unwrap_or_else(PoisonError::into_inner);
            succeeded.insert(proof.token_name().to_owned());
        }
        Ok(proof)
    }
}

/// Counts a call out, however it leaves.
struct Ended<'a>(&'a watch::Sender<usize>);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
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

/// A gate that stops waiting when the run is stopped, and tells those who watch.
struct Stoppable {
    gate: Arc<dyn ApprovalGate>,
    stop: Stop,
    observer: Arc<dyn Observer>,
}

#[async_trait]
impl ApprovalGate for Stoppable {
    fn patience(&self) -> std::time::Duration {
        self.gate.patience()
    }

    async fn ask(&self, request: &ApprovalRequest) -> Answer {
        self.observer.notice(Event::Asking { token: &request.token_name });
        let answer = tokio::select! {
            // The stop wins over a yes that comes at the same moment.
            biased;
            _ = self.stop.wait() => Answer::Stopped,
            answer = self.gate.ask(request) => answer,
        };
        let approved = matches!(answer, Answer::Yes { .. });
        self.observer.notice(Event::Answered { approved });
        answer
    }
}

/// The first `most` characters.
pub(crate) fn clip(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => text.split_at(end).0.to_owned(),
        None => text.to_owned(),
    }
}
