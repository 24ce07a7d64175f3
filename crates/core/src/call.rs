//! The four states of a call. Each step consumes the state before it, so that a double spend, a
//! skipped approval or a forged proof does not compile.
//!
//! ```text
//! Reserved --authorize--> Authorized --approve--> Approved --spend--> Spent --seal--> Proof
//! ```
//!
//! Dropping any state before [`Approved::spend`] gives the capability back. After it, nothing does
//! but the ledger's word that nothing ever began.

use serde_json::Value;

use crate::approval::{Answer, ApprovalGate, ApprovalRequest};
use crate::audit::record::{Approval, ApprovalRequested, Body, Intent, OutcomeRecord};
use crate::audit::trail::Proof;
use crate::capability::{Capability, Held};
use crate::error::Refusal;
use crate::invocation::Invocation;
use crate::json::Digest;
use crate::ledger::{Change, Conflict, Entry, Fence, Ledger, LedgerError, Receipt, Transition};
use crate::outcome::{Outcome, Performed, Verdict};
use crate::token::Token;

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
    token: Token,
    invocation: Invocation,
}

/// A human said yes to exactly this, or none needs to.
#[must_use = "dropping an approval gives the capability back"]
#[derive(Debug)]
pub struct Approved {
    held: Held,
    token: Token,
    invocation: Invocation,
    /// The hold in the ledger and the record of the yes.
    consent: Option<Consent>,
}

#[derive(Debug, Clone, Copy)]
struct Consent {
    fence: Fence,
    seq: u64,
}

/// The use is spent, and the ledger says so durably. The effect may begin.
#[must_use = "a spent use whose outcome isn't sealed is accounted as unknown"]
#[derive(Debug)]
pub struct Spent {
    capability: Capability,
    token: Token,
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
        let Some(token) = self.held.entry().map(|entry| entry.token().clone()) else {
            return Err(Refusal::Stopped);
        };
        token.scope().permits(self.invocation.action())?;
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
        ledger: &dyn Ledger,
    ) -> Result<Approved, Refusal> {
        if !self.token.requires_approval() {
            let Self { held, token, invocation } = self;
            return Ok(Approved { held, token, invocation, consent: None });
        }
        let message = format!("{} ({})", self.invocation.tool(), self.token.scope().summary());
        let request = self.request(&message);
        let asked = Body::ApprovalRequest(ApprovalRequested {
            token_name: self.token.name().to_owned(),
            attempt: Some(self.invocation.attempt()),
            action_digest: Some(self.invocation.digest()),
            message: message.clone(),
        });
        // The hold outlasts the answer by a minute, for the way from the yes to the spend.
        let lease = gate.patience().saturating_add(std::time::Duration::from_secs(60));
        let lease_ms = crate::scope::wait::millis(lease);
        let fence = self.commit(ledger, Transition::Reserve { lease_ms }, asked).await?.fence;

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
        });
        let transition =
            if approved { Transition::Approve { fence } } else { Transition::Release { fence } };
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
        ledger: &dyn Ledger,
        transition: Transition,
        record: Body,
    ) -> Result<Receipt, Refusal> {
        let entry = entry(&self.invocation, transition, record);
        ledger.commit(entry).await.map_err(|error| refused(&self.held, &self.token, error))
    }
}

impl Approved {
    /// Spends the use: the point of no return. The intent is durable when this returns `Ok`.
    ///
    /// When the ledger's answer is lost, the use is taken for spent and nothing is done: it is never
    /// tried again, and the capability doesn't go back.
    pub async fn spend(self, ledger: &dyn Ledger) -> Result<Spent, Refusal> {
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
        let change = entry(&invocation, transition, Body::Intent(intent.clone()));
        let receipt = match ledger.commit(change).await {
            Ok(receipt) => receipt,
            Err(error @ (LedgerError::Conflict(_) | LedgerError::BadRecord(_))) => {
                return Err(refused(&held, &token, error));
            }
            Err(error) => {
                // It is not known whether the spend was written, so the capability never goes back.
                drop(held.take());
                return Err(Refusal::Ledger(error));
            }
        };
        let Some(capability) = held.take() else {
            return Err(Refusal::Stopped);
        };
        capability.entry().note_spent();
        Ok(Spent { capability, token, invocation, intent, receipt })
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

    /// Seals the outcome. Whatever the outcome, the use stays spent, unless nothing ever began.
    pub async fn seal(self, performed: Performed, ledger: &dyn Ledger) -> Result<Proof, Refusal> {
        let fence = self.receipt.fence;
        match performed {
            Performed::Ended(outcome) => {
                let record = self.outcome_record(&outcome);
                let transition = Transition::Finish { fence, verdict: outcome.verdict };
                let body = Body::Outcome(record.clone());
                ledger.commit(entry(&self.invocation, transition, body)).await?;
                let Self { intent, receipt, .. } = self;
                Ok(Proof::join(receipt.seq, receipt.timestamp, intent, Some(&record))
                    .with_output(outcome.output))
            }
            Performed::NeverBegan { reason } => {
                let outcome = Outcome::new(Verdict::Failed, &reason, "");
                let record = OutcomeRecord { outcome: None, ..self.outcome_record(&outcome) };
                let transition = Transition::NeverBegan { fence };
                let body = Body::Outcome(record);
                ledger.commit(entry(&self.invocation, transition, body)).await?;
                let given = std::sync::Arc::clone(self.capability.entry());
                given.unspend(self.capability);
                Err(Refusal::NeverBegan(reason))
            }
        }
    }

    fn outcome_record(&self, outcome: &Outcome) -> OutcomeRecord {
        OutcomeRecord {
            token_name: self.intent.token_name.clone(),
            attempt: self.intent.attempt,
            intent_seq: self.receipt.seq,
            outcome: Some(outcome.verdict),
            reason: outcome.reason.clone(),
            result_summary: outcome.summary.clone(),
            output_digest: outcome.output_digest,
            output_bytes: outcome.output_bytes,
            stderr_digest: outcome.stderr_digest,
            exit_code: outcome.exit_code,
            http_status: outcome.http_status,
            program: outcome.program.clone(),
            duration_ms: outcome.duration_ms,
        }
    }
}

fn entry(invocation: &Invocation, transition: Transition, record: Body) -> Entry {
    let action: Digest = invocation.digest();
    Entry {
        run: invocation.site().run.clone(),
        change: Some(Change {
            attempt: invocation.attempt(),
            token: invocation.token_name().to_owned(),
            action,
            transition,
        }),
        grants: Vec::new(),
        record,
    }
}

/// What a conflict means for the model.
fn refused(held: &Held, token: &Token, error: LedgerError) -> Refusal {
    let LedgerError::Conflict(conflict) = error else {
        return Refusal::Ledger(error);
    };
    match conflict {
        Conflict::NoUseLeft => match held.entry() {
            Some(entry) => {
                entry.note_exhausted();
                entry.used_up()
            }
            None => Refusal::Stopped,
        },
        Conflict::AlreadyAttempted => {
            Refusal::TokenReused { token: token.name().to_owned(), max_uses: token.max_uses() }
        }
        Conflict::Expired(at) => {
            Refusal::TokenClosed(format!("token `{}` expired at {at}", token.name()))
        }
        Conflict::LeaseExpired | Conflict::Fenced => Refusal::ApprovalTimeout(format!(
            "the hold on token `{}` ran out before it was spent",
            token.name()
        )),
        other => Refusal::Ledger(LedgerError::Conflict(other)),
    }
}
