//! The four states of a call. Each step consumes the state before it, so that a double spend, a
//! skipped approval or a forged proof does not compile.
//!
//! ```text
//! Reserved --authorize--> Authorized --approve--> Approved --spend--> Spent --seal--> Proof
//! ```
//!
//! Dropping any state before [`Approved::spend`] gives the capability back. After it, nothing does
//! but the ledger's word that nothing ever began.

mod sealing;
mod signed;

use std::sync::Arc;

use serde_json::Value;

use crate::approval::{Answer, ApprovalGate, ApprovalRequest};
use crate::audit::record::{Approval, ApprovalRequested, Body, Intent, Record, Recovery};
use crate::capability::{Capability, Held};
use crate::error::Refusal;
use crate::invocation::Invocation;
use crate::ledger::{
    Change, Conflict, Fence, LedgerError, Receipt, RunLedger, Transition, UseState,
};
use crate::outcome::Performed;
use crate::token::Token;

pub use sealing::{Unsealed, Untold};

/// A capability is held for this invocation. Whether it may act isn't judged yet.
#[must_use = "dropping a reservation gives the capability back"]
#[derive(Debug)]
pub struct Reserved {
    held: Held,
    invocation: Invocation,
}

/// The invocation lies within the token's scope.
#[must_use = "dropping an authorization gives the capability back"]
#[derive(Debug)]
pub struct Authorized {
    held: Held,
    token: Arc<Token>,
    invocation: Invocation,
}

/// A human said yes to exactly this, or none needs to.
#[must_use = "dropping an approval gives the capability back"]
#[derive(Debug)]
pub struct Approved {
    held: Held,
    token: Arc<Token>,
    invocation: Invocation,
    /// The hold in the ledger and the record of the yes.
    consent: Option<Consent>,
}

#[derive(Debug, Clone, Copy)]
struct Consent {
    fence: Fence,
    /// The record of the yes.
    seq: u64,
}

/// The use is spent, and the ledger says so durably. The effect may begin.
#[must_use = "a spent use whose outcome isn't sealed is accounted as unknown"]
#[derive(Debug)]
pub struct Spent {
    capability: Capability,
    token: Arc<Token>,
    invocation: Invocation,
    intent: Intent,
    receipt: Receipt,
}

impl Reserved {
    pub(crate) fn new(held: Held, invocation: Invocation) -> Self {
        Self { held, invocation }
    }

    /// Judges the scope. Pure and total.
    pub fn authorize(self) -> Result<Authorized, Refusal> {
        let Some(token) = self.held.entry().map(|entry| Arc::clone(entry.token())) else {
            return Err(Refusal::Stopped);
        };
        token.permits(self.invocation.action())?;
        Ok(Authorized { held: self.held, token, invocation: self.invocation })
    }
}

impl Authorized {
    /// What was judged.
    pub fn invocation(&self) -> &Invocation {
        &self.invocation
    }

    /// The token.
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// Asks a human where the token says so. The use is first held in the ledger, so that two hosts
    /// never ask two people for one use, and the yes is bound to the digest of this very action.
    pub async fn approve(
        self,
        gate: &dyn ApprovalGate,
        ledger: &RunLedger,
    ) -> Result<Approved, Refusal> {
        if !self.token.requires_approval() {
            let Self { held, token, invocation } = self;
            return Ok(Approved { held, token, invocation, consent: None });
        }
        if let Some(approvers) = self.token.approvers().cloned() {
            return signed::approve(self, approvers, gate, ledger).await;
        }
        let message = format!("{} ({})", self.invocation.tool(), self.token.scope().summary());
        let request = self.request(&message);
        let asked = Body::ApprovalRequest(ApprovalRequested {
            token_name: self.token.name().to_owned(),
            attempt: Some(self.invocation.attempt()),
            action_digest: Some(self.invocation.digest()),
            message: message.clone(),
            question: None,
            shown: None,
        });
        // The hold outlasts the answer by a minute, for the way from the yes to the spend.
        let lease = gate.patience().saturating_add(std::time::Duration::from_secs(60));
        let lease_ms = crate::scope::wait::millis(lease);
        let held = self.commit(ledger, Transition::Reserve { lease_ms }, asked).await?;
        let fence = held.fence;
        if held.approved_until.is_some() {
            // A person approved this very attempt before a crash, and the approval still holds.
            let seq = approval_of(ledger, &self.invocation).await?;
            let Self { held, token, invocation } = self;
            let consent = Some(Consent { fence, seq });
            return Ok(Approved { held, token, invocation, consent });
        }

        let answer = gate.ask(&request).await;
        let (approved, approver, identity) = match &answer {
            Answer::Yes { approver, .. } => {
                (true, approver.name.as_str(), approver.identity.as_str())
            }
            Answer::No { approver } => (false, approver.name.as_str(), approver.identity.as_str()),
            Answer::Silence | Answer::Nobody { .. } | Answer::Stopped => (false, "none", "none"),
        };
        let decided = Body::Approval(Approval {
            token_name: self.token.name().to_owned(),
            attempt: Some(self.invocation.attempt()),
            action_digest: Some(self.invocation.digest()),
            message,
            approved,
            approver: approver.to_owned(),
            approver_identity: identity.to_owned(),
            statements: Vec::new(),
        });
        // The yes holds as long as the use is held for it.
        let transition = if approved {
            Transition::Approve { not_after: held.timestamp.plus_millis(lease_ms) }
        } else {
            Transition::Release { fence }
        };
        let seq = self.commit(ledger, transition, decided).await?.seq;

        let name = self.token.name();
        // Whoever denied it, and be it by silence: a model that asks again and again wears people out.
        if !matches!(answer, Answer::Yes { .. } | Answer::Stopped)
            && let Some(entry) = self.held.entry()
        {
            entry.note_denied();
        }
        match answer {
            Answer::Yes { .. } => {
                let Self { held, token, invocation } = self;
                Ok(Approved { held, token, invocation, consent: Some(Consent { fence, seq }) })
            }
            Answer::No { approver } => Err(Refusal::ApprovalDenied(format!(
                "`{}` did not approve this use of token `{name}`",
                approver.name
            ))),
            Answer::Silence => Err(Refusal::ApprovalTimeout(format!(
                "nobody approved this use of token `{name}` within {} seconds",
                gate.patience().as_secs()
            ))),
            Answer::Nobody { why } => Err(Refusal::ApprovalDenied(format!(
                "token `{name}` needs a human's approval: {why}"
            ))),
            Answer::Stopped => Err(Refusal::Stopped),
        }
    }

    fn request(&self, message: &str) -> ApprovalRequest {
        ApprovalRequest {
            token_name: self.token.name().to_owned(),
            scope: self.token.scope().summary(),
            message: message.to_owned(),
            lines: self.invocation.action().lines(),
            action_digest: Some(self.invocation.digest()),
            // The one that is held here counts as left: it isn't spent.
            uses_left: self.held.entry().map_or(0, |entry| entry.uses_left().saturating_add(1)),
            rationale: self.invocation.rationale().map(ToOwned::to_owned),
            choices: Vec::new(),
        }
    }

    async fn commit(
        &self,
        ledger: &RunLedger,
        transition: Transition,
        record: Body,
    ) -> Result<Receipt, Refusal> {
        let change = change(&self.invocation, transition);
        ledger.change(change, record).await.map_err(|error| refused(&self.token, error))
    }
}

impl Approved {
    /// Gives back what was held for a call that nobody waits for any more, and with it the yes.
    pub async fn withdraw(self, ledger: &RunLedger) -> Result<(), LedgerError> {
        let Some(Consent { fence, .. }) = self.consent else {
            return Ok(());
        };
        let released = change(&self.invocation, Transition::Release { fence });
        let record = Body::Recovery(Recovery {
            token_name: self.token.name().to_owned(),
            attempt: self.invocation.attempt(),
            state: "released".to_owned(),
            message: "nobody waited for it any more before it was started; the use was given back"
                .to_owned(),
        });
        ledger.change(released, record).await.map(drop)
    }

    /// Spends the use: the point of no return. The intent is durable when this returns `Ok`.
    ///
    /// When the ledger's answer is lost, the attempt is looked up, and what stands there counts. It is
    /// never tried again: where it can't be told, the use is taken for spent and nothing is done.
    pub async fn spend(self, ledger: &RunLedger) -> Result<Spent, Refusal> {
        let Self { held, token, invocation, consent } = self;
        let intent = Intent {
            token_name: token.name().to_owned(),
            scope: token.scope().summary(),
            tool: invocation.tool().to_owned(),
            attempt: invocation.attempt(),
            args: serde_json::to_value(invocation.action()).unwrap_or(Value::Null),
            action_digest: invocation.digest(),
            approval_seq: consent.map(|consent| consent.seq),
        };
        let transition = Transition::Start { held: consent.map(|consent| consent.fence) };
        let begun = change(&invocation, transition);
        let receipt = match ledger.change(begun, Body::Intent(intent.clone())).await {
            Ok(receipt) => receipt,
            Err(error) if !error.leaves_doubt() => return Err(refused(&token, error)),
            Err(error) => match started(ledger, &invocation).await {
                Some(receipt) => receipt,
                None => {
                    // It may have been written, or be written yet, so the capability never goes back.
                    if let Some(lost) = held.take() {
                        lost.entry().note_lost();
                    }
                    return Err(Refusal::Ledger(error));
                }
            },
        };
        let Some(capability) = held.take() else {
            return Err(Refusal::Stopped);
        };
        capability.entry().note_spent();
        let spent = Spent { capability, token, invocation, intent, receipt };
        match spent.token.expires().filter(|end| spent.receipt.timestamp >= *end) {
            None => Ok(spent),
            // The ledger knows the end of what was granted, not that of what was narrowed from it.
            Some(end) => {
                let why = format!("token `{}` expired at {end}", spent.token.name());
                let never = Performed::NeverBegan { reason: why.clone() };
                match spent.seal(never, ledger).await.map_err(Refusal::from) {
                    Err(Refusal::NeverBegan(_)) | Ok(_) => Err(Refusal::TokenClosed(why)),
                    Err(other) => Err(other),
                }
            }
        }
    }
}

impl Spent {
    /// What is to be done.
    pub fn invocation(&self) -> &Invocation {
        &self.invocation
    }

    /// The token.
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// The number of the record of the intent.
    pub fn seq(&self) -> u64 {
        self.receipt.seq
    }
}

fn change(invocation: &Invocation, transition: Transition) -> Change {
    Change {
        attempt: invocation.attempt(),
        token: invocation.token_name().to_owned(),
        action: invocation.digest(),
        transition,
    }
}

/// The record in which this attempt was approved last.
async fn approval_of(ledger: &RunLedger, invocation: &Invocation) -> Result<u64, Refusal> {
    const PAGE: u64 = 512;
    let (attempt, digest) = (Some(invocation.attempt()), Some(invocation.digest()));
    let (mut from, mut found) = (1, None);
    loop {
        let page = ledger.ledger().records(ledger.run(), from, PAGE).await?;
        for sealed in &page {
            if let Ok(Record { body: Body::Approval(yes), .. }) = sealed.read()
                && yes.approved
                && (yes.attempt, yes.action_digest) == (attempt, digest)
            {
                found = Some(sealed.seq);
            }
        }
        if let Some(last) = page.last() {
            from = last.seq + 1;
            continue;
        }
        let lost = "an approval stands in no record; restore the ledger from a backup";
        return found.ok_or_else(|| LedgerError::Damaged(lost.to_owned()).into());
    }
}

/// Whether a start whose answer was lost was made: by this very hold, for this very action.
async fn started(ledger: &RunLedger, invocation: &Invocation) -> Option<Receipt> {
    let found = ledger.attempt(&invocation.attempt()).await.ok()??;
    let UseState::Started { fence } = found.state else {
        return None;
    };
    if found.holder != ledger.hold().fence || found.action != invocation.digest() {
        return None;
    }
    let records = ledger.ledger().records(ledger.run(), found.seq, 1).await.ok()?;
    let record = records.into_iter().next().filter(|record| record.seq == found.seq)?;
    let timestamp = record.read().ok()?.timestamp;
    Some(Receipt {
        seq: record.seq,
        hash: record.hash,
        timestamp,
        fence,
        uses_left: 0,
        approved_until: None,
    })
}

/// What a conflict means for the model.
fn refused(token: &Token, error: LedgerError) -> Refusal {
    let LedgerError::Conflict(conflict) = error else {
        return Refusal::Ledger(error);
    };
    match conflict {
        // The ledger doesn't say which, and what is only held may come back.
        Conflict::NoUseLeft => Refusal::NoUseFree { token: token.name().to_owned() },
        Conflict::AlreadyAttempted => {
            Refusal::TokenReused { token: token.name().to_owned(), max_uses: token.max_uses() }
        }
        Conflict::Expired(at) => {
            Refusal::TokenClosed(format!("token `{}` expired at {at}", token.name()))
        }
        Conflict::GrantExpired(at) => {
            Refusal::TokenClosed(format!("token `{}`: its grant expired at {at}", token.name()))
        }
        Conflict::Revoked => {
            Refusal::TokenClosed(format!("token `{}`: its grant was revoked", token.name()))
        }
        conflict @ (Conflict::Quarantined | Conflict::Locked) => {
            Refusal::TokenClosed(format!("token `{}`: {conflict}", token.name()))
        }
        Conflict::LeaseExpired | Conflict::Fenced | Conflict::ApprovalExpired(_) => {
            Refusal::ApprovalTimeout(format!(
                "the hold on token `{}` ran out before it was spent",
                token.name()
            ))
        }
        other => Refusal::Ledger(LedgerError::Conflict(other)),
    }
}
