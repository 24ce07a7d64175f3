//! The runtime's own tools: the model may ask a person to confirm, or to unlock a prepared
//! capability. Neither confers anything by itself; people choose from real scopes shown in full.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use lar_core::approval::{Answer, ApprovalGate, ApprovalRequest};
use lar_core::audit::record::{Approval, ApprovalRequested, Body, Negotiation, TokenLine};
use lar_core::definition;
use lar_core::display::first_chars;
use lar_core::error::Refusal;
use lar_core::id::CallSite;
use lar_core::json::{self, Fields, JsonRefusal, Limits};
use lar_core::ledger::Entry;
use lar_core::token::Token;

use crate::dispatch::Dispatcher;
use crate::journal::Carried;
use crate::model::{RawCall, ToolDefinition};

/// How often in a run the model may ask by itself for a confirmation.
const CONFIRMATIONS: u32 = 3;
/// Why nothing was granted when the run is stopped meanwhile.
const STOPPED: &str = "the run is being stopped";
/// Why nothing was granted when nobody has to be asked.
const NOTHING_LEFT: &str = "there is nothing that could be granted";
/// The most characters of what a provider says of itself and of its reasons.
const PROVIDER_KEPT: usize = 500;
/// The tool with which it does.
const CONFIRM: &str = "request_approval";
/// The tool with which it asks for a further capability.
const NEGOTIATE: &str = "request_capability";

/// What the model asks for, in its own words.
#[derive(Debug, Clone)]
pub struct CapabilityRequest {
    /// What it needs to be able to do.
    pub scope: String,
    /// Why.
    pub justification: String,
}

/// What came of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// The candidate with this index is granted.
    Grant {
        /// Which.
        candidate: usize,
        /// Who says so.
        provider: String,
    },
    /// None is granted.
    Nothing {
        /// Who says so; empty when nobody answered.
        provider: String,
        /// Why.
        reason: String,
    },
}

/// Somebody who decides about further capabilities.
#[async_trait]
pub trait CapabilityProvider: Send + Sync + 'static {
    /// The kind of decider in the record: `human`, `supervisor`.
    fn kind(&self) -> &str;

    /// Chooses one of the candidates, or none.
    async fn choose(
        &self,
        request: &CapabilityRequest,
        candidates: &[Token],
        gate: &dyn ApprovalGate,
    ) -> Choice;
}

/// A person at the run's approval gate decides.
#[derive(Debug, Clone, Copy, Default)]
pub struct HumanCapabilityProvider;

#[async_trait]
impl CapabilityProvider for HumanCapabilityProvider {
    fn kind(&self) -> &str {
        "human"
    }

    async fn choose(
        &self,
        request: &CapabilityRequest,
        candidates: &[Token],
        gate: &dyn ApprovalGate,
    ) -> Choice {
        let asked = ApprovalRequest {
            token_name: NEGOTIATE.to_owned(),
            scope: "what you choose below, and nothing else".to_owned(),
            message: "the model asks for a further capability".to_owned(),
            lines: vec![("in the model's words".to_owned(), request.scope.clone())],
            action_digest: None,
            uses_left: 0,
            rationale: Some(request.justification.clone()),
            choices: candidates.iter().map(offer).collect(),
        };
        let nothing = |provider: String, reason: &str| Choice::Nothing {
            provider,
            reason: reason.to_owned(),
        };
        match gate.ask(&asked).await {
            Answer::Yes { approver, choice } => {
                Choice::Grant { candidate: choice, provider: approver.name }
            }
            Answer::No { approver } => nothing(approver.name, "the human granted none"),
            Answer::Silence => nothing(String::new(), "nobody answered in time"),
            Answer::Nobody { why } => nothing(String::new(), &why),
            Answer::Stopped => nothing(String::new(), STOPPED),
        }
    }
}

/// A candidate in full, as a person chooses it.
fn offer(token: &Token) -> String {
    let approval = if token.requires_approval() { ", each use approved by a human" } else { "" };
    format!("{}: {}, {} use(s){approval}", token.name(), token.scope().summary(), token.max_uses())
}

/// The runtime's own tools for one run.
pub struct Negotiator {
    candidates: Mutex<Vec<Token>>,
    requests_left: AtomicU32,
    confirmations_left: AtomicU32,
    provider: Box<dyn CapabilityProvider>,
}

impl Negotiator {
    /// Candidates that may be unlocked, in at most `max_requests` requests.
    pub fn new(
        candidates: Vec<Token>,
        max_requests: u32,
        provider: Box<dyn CapabilityProvider>,
    ) -> Self {
        Self {
            candidates: Mutex::new(candidates),
            requests_left: AtomicU32::new(max_requests),
            confirmations_left: AtomicU32::new(CONFIRMATIONS),
            provider,
        }
    }

    /// Takes off what was asked for before the run was cut off.
    pub fn carry(&self, carried: &Carried) {
        for (left, used) in [
            (&self.requests_left, carried.requests),
            (&self.confirmations_left, carried.confirmations),
        ] {
            let less = left.load(Ordering::Relaxed).saturating_sub(used);
            left.store(less, Ordering::Relaxed);
        }
    }

    /// The tools that are offered now.
    pub fn tool_definitions(&self) -> Vec<ToolDefinition> {
        let mut tools = Vec::new();
        if self.confirmations_left.load(Ordering::Relaxed) > 0 {
            tools.push(definition::request_approval());
        }
        let open = self.requests_left.load(Ordering::Relaxed) > 0;
        if open && !self.candidates().is_empty() {
            tools.push(definition::request_capability());
        }
        tools
    }

    /// Answers a call of one of the runtime's own tools; `None` when it is another's.
    pub async fn call(
        &self,
        dispatcher: &Dispatcher,
        site: &CallSite,
        call: &RawCall,
    ) -> Option<Result<String, Refusal>> {
        if !matches!(call.name.as_str(), CONFIRM | NEGOTIATE) {
            return None;
        }
        dispatcher.announce(&call.name, &call.input);
        let result = match call.name.as_str() {
            CONFIRM => self.confirm(dispatcher, call).await,
            _ => self.negotiate(dispatcher, call).await,
        };
        match &result {
            Ok(answer) => dispatcher.answered(&call.name, answer),
            Err(refusal) => {
                if let Err(error) = dispatcher.refuse(site, &call.name, &call.input, refusal).await
                {
                    return Some(Err(error));
                }
            }
        }
        Some(result)
    }

    async fn confirm(&self, dispatcher: &Dispatcher, call: &RawCall) -> Result<String, Refusal> {
        let mut fields = read(&call.input)?;
        let message = json::take_string(&mut fields, "message").map_err(invalid)?;
        json::finish(&fields, &["message"]).map_err(invalid)?;
        take(&self.confirmations_left, CONFIRM)?;
        let message = first_chars(&dispatcher.redactor().redact(&message), 2_000).to_owned();
        dispatcher
            .record(Body::ApprovalRequest(ApprovalRequested {
                token_name: CONFIRM.to_owned(),
                attempt: None,
                action_digest: None,
                message: message.clone(),
                shown: None,
                question: None,
            }))
            .await?;
        let answer = dispatcher
            .approvals()
            .ask(&ApprovalRequest {
                token_name: CONFIRM.to_owned(),
                scope: "a question; a yes confers nothing".to_owned(),
                message: "the model asks you to confirm".to_owned(),
                lines: Vec::new(),
                action_digest: None,
                uses_left: 0,
                rationale: Some(message.clone()),
                choices: Vec::new(),
            })
            .await;
        let (approved, who, reply) = match &answer {
            Answer::Yes { approver, .. } => (true, Some(approver), "the human says yes".to_owned()),
            Answer::No { approver } => (false, Some(approver), "the human says no".to_owned()),
            Answer::Silence => (false, None, "nobody answered in time".to_owned()),
            Answer::Nobody { why } => (false, None, format!("nobody can be asked: {why}")),
            Answer::Stopped => (false, None, "the run is being stopped".to_owned()),
        };
        dispatcher
            .record(Body::Approval(Approval {
                token_name: CONFIRM.to_owned(),
                attempt: None,
                action_digest: None,
                message,
                approved,
                approver: who.map_or("none", |who| &who.name).to_owned(),
                approver_identity: who.map_or("none", |who| &who.identity).to_owned(),
                statements: Vec::new(),
            }))
            .await?;
        match answer {
            Answer::Yes { .. } => Ok(reply),
            Answer::Silence => Err(Refusal::ApprovalTimeout(reply)),
            Answer::Stopped => Err(Refusal::Stopped),
            Answer::No { .. } | Answer::Nobody { .. } => Err(Refusal::ApprovalDenied(reply)),
        }
    }

    async fn negotiate(&self, dispatcher: &Dispatcher, call: &RawCall) -> Result<String, Refusal> {
        let mut fields = read(&call.input)?;
        let mut words = |field: &'static str, most: usize| {
            let text = json::take_string(&mut fields, field).map_err(invalid)?;
            Ok::<_, Refusal>(first_chars(&dispatcher.redactor().redact(&text), most).to_owned())
        };
        let request = CapabilityRequest {
            scope: words("scope", 1_000)?,
            justification: words("justification", 2_000)?,
        };
        json::finish(&fields, &["scope", "justification"]).map_err(invalid)?;
        take(&self.requests_left, NEGOTIATE)?;
        let candidates = self.candidates().clone();
        let nothing =
            |why: &str| Choice::Nothing { provider: String::new(), reason: why.to_owned() };
        let choice = tokio::select! {
            // Whoever decides may take as long as they like, and the run's time is over all the same.
            biased;
            _ = dispatcher.stop().wait() => nothing(STOPPED),
            // The model is not offered this, and can call it all the same.
            () = std::future::ready(()), if candidates.is_empty() => nothing(NOTHING_LEFT),
            choice = self.provider.choose(&request, &candidates, dispatcher.approvals()) => choice,
        };
        let (granted, provider, reason) = match choice {
            Choice::Grant { candidate, provider } => match candidates.get(candidate) {
                Some(token) => (Some(token.clone()), provider, None),
                None => (None, provider, Some("there is no such candidate".to_owned())),
            },
            Choice::Nothing { provider, reason } => (None, provider, Some(reason)),
        };
        let first = |text: &str| first_chars(text, PROVIDER_KEPT).to_owned();
        let (provider, reason) = (first(&provider), reason.as_deref().map(first));
        let both =
            granted.iter().flat_map(|token| [Some(token.clone()), token.rollback()]).flatten();
        let lines = both.map(|token| TokenLine::of(&token, token.max_uses()));
        let tokens = lines.collect::<Result<_, _>>().map_err(|error| {
            Refusal::TokenScope(format!("what was granted can't be recorded: {error}"))
        })?;
        let record = Body::Negotiation(Negotiation {
            tokens,
            requested_scope: request.scope,
            justification: request.justification,
            granted_token: granted.as_ref().map(|token| token.name().to_owned()),
            provider_type: self.provider.kind().to_owned(),
            provider: if provider.is_empty() { "none".to_owned() } else { provider },
            reason: reason.clone(),
        });
        let Some(token) = granted else {
            dispatcher.record(record).await?;
            if dispatcher.stop().requested().is_some() {
                return Err(Refusal::Stopped);
            }
            return Err(Refusal::ApprovalDenied(format!(
                "no capability was granted: {}",
                reason.unwrap_or_default()
            )));
        };
        let mut entry = Entry::note(dispatcher.held().hold().clone(), record);
        let both = [Some(token.clone()), token.rollback()].into_iter().flatten();
        entry.unlock = both.map(|token| token.name().to_owned()).collect();
        // In the ledger first: what the set offers is never more than what is durable.
        dispatcher.held().commit(entry).await?;
        self.candidates().retain(|candidate| candidate.name() != token.name());
        let tool = token.tool_name();
        dispatcher
            .capabilities()
            .add_for_run(token)
            .map_err(|error| Refusal::TokenScope(error.to_string()))?;
        Ok(format!("granted: the tool `{tool}` is yours now"))
    }

    fn candidates(&self) -> std::sync::MutexGuard<'_, Vec<Token>> {
        self.candidates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes one of a limited number of requests.
fn take(left: &AtomicU32, tool: &str) -> Result<(), Refusal> {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
        .map(drop)
        .map_err(|_| Refusal::TokenClosed(format!("`{tool}` can't be called again in this run")))
}

fn read(input: &str) -> Result<Fields, Refusal> {
    json::fields(input, &Limits { max_bytes: 1 << 16, ..Limits::default() }).map_err(invalid)
}

fn invalid(error: JsonRefusal) -> Refusal {
    Refusal::InvalidInput(error.to_string())
}
