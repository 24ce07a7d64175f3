//! The way to an approval where keys are listed: the question goes into the ledger, listed people sign
//! what they decide, wherever they are, and the run looks for it there.
//!
//! Nothing is taken on trust from the ledger: each statement is judged here, before the spend. From the
//! yes on the ledger takes no further decision, and what came between the last look and the yes is
//! looked at once more: a no that the ledger took is never passed over.

use super::{Approved, Authorized, Consent, approval_of};
use crate::approval::{ApprovalGate, Approvers};
use crate::approval::{
    Awaited, Case, Judged, Pause, Ruling, Runner, Signed, SignedApprovals, Subject,
};
use crate::audit::record::{Approval, ApprovalRequested, Body, ErrorRecord, Record};
use crate::error::Refusal;
use crate::id::AttemptId;
use crate::json::{Digest, JsonRefusal};
use crate::ledger::{LedgerError, Receipt, RunLedger, Transition};
use crate::scope::wait::millis;

/// What is asked about one attempt, while it is asked.
struct Asked<'a> {
    authorized: Authorized,
    ledger: &'a RunLedger,
    approvers: Approvers,
    runners: Vec<Runner>,
    subject: Subject,
    shown: Vec<Digest>,
    message: String,
    held: Receipt,
    /// How many decisions were found not to count, and noted.
    noted: usize,
}

pub(super) async fn approve(
    authorized: Authorized,
    approvers: Approvers,
    gate: &dyn ApprovalGate,
    ledger: &RunLedger,
) -> Result<Approved, Refusal> {
    let name = authorized.token.name().to_owned();
    let Some(waiting) = gate.signed() else {
        return Err(Refusal::ApprovalDenied(format!(
            "token `{name}` needs signed approvals, and this run has no way to wait for them"
        )));
    };
    let mut asked = ask(authorized, approvers, waiting, ledger).await?;
    loop {
        let judged = asked.look(waiting).await?;
        let by = match judged.0.ruling {
            Ruling::Yes { .. } => return asked.close(waiting, judged).await,
            Ruling::No { ref by, .. } => {
                let why = format!("`{by}` did not approve this use of token `{name}`");
                return Err(asked.refuse(&judged, by.clone(), Refusal::ApprovalDenied(why)).await);
            }
            Ruling::Waiting { ref by } => by.clone(),
        };
        if asked.held.approved_until.is_some() {
            // Approved before the run was cut off, and by what is known now it wouldn't be.
            let why = format!("the approval of this use of token `{name}` doesn't hold any more");
            let refusal = Refusal::ApprovalDenied(why);
            return Err(asked.refuse(&judged, "none".to_owned(), refusal).await);
        }
        let refusal = match waiting.pause(asked.held.timestamp, judged.2).await {
            Pause::Again => continue,
            Pause::Silence => Refusal::ApprovalTimeout(format!(
                "{} of {} approvals of this use of token `{name}` came within {} seconds",
                by.len(),
                asked.approvers.required(),
                waiting.patience().as_secs()
            )),
            Pause::Stopped => Refusal::Stopped,
        };
        return Err(asked.refuse(&judged, "none".to_owned(), refusal).await);
    }
}

/// Holds the use and puts the question, in one transaction.
async fn ask<'a>(
    authorized: Authorized,
    approvers: Approvers,
    waiting: &dyn SignedApprovals,
    ledger: &'a RunLedger,
) -> Result<Asked<'a>, Refusal> {
    let invocation = &authorized.invocation;
    let message = format!("{} ({})", invocation.tool(), authorized.token.scope().summary());
    let mut question = waiting.question(&authorized.request(&message));
    question.salt = ledger.blinding().and_then(|blinding| blinding.question());
    let shown = question.digest().map_err(unrecordable)?;
    let subject = Subject {
        origin: waiting.origin().to_owned(),
        run: ledger.run().clone(),
        token: authorized.token.name().to_owned(),
        attempt: invocation.attempt(),
        action: invocation.digest(),
        policy: approvers.digest().map_err(unrecordable)?,
    };
    let body = Body::ApprovalRequest(ApprovalRequested {
        token_name: authorized.token.name().to_owned(),
        attempt: Some(invocation.attempt()),
        action_digest: Some(invocation.digest()),
        message: message.clone(),
        shown: question.salt.is_some().then_some(shown),
        question: Some(question),
    });
    // The hold outlasts the answer by a minute, for the way from the yes to the spend.
    let lease = waiting.patience().saturating_add(std::time::Duration::from_secs(60));
    let held = match authorized
        .commit(ledger, Transition::Reserve { lease_ms: millis(lease) }, body)
        .await
    {
        Err(Refusal::Ledger(LedgerError::BadRecord(why))) => {
            return Err(Refusal::ApprovalDenied(format!(
                "what would run can't be put before an approver: {why}"
            )));
        }
        held => held?,
    };
    let mut all = vec![shown];
    if held.fence > 1 {
        // It was asked before the run was cut off, and answers to that question count.
        all.extend(questions(ledger, invocation.attempt()).await?);
    }
    let runners = waiting.runners().to_vec();
    let asked = Asked {
        authorized,
        ledger,
        approvers,
        runners,
        subject,
        shown: all,
        message,
        held,
        noted: 0,
    };
    waiting.announce(&asked.awaited(&[], None));
    Ok(asked)
}

/// What was judged, what it was judged of, and the ledger's time.
type Look = (Judged, Vec<Signed>, crate::time::Timestamp);

impl Asked<'_> {
    fn awaited<'b>(
        &'b self,
        by: &'b [String],
        flaw: Option<&'b crate::approval::Flaw>,
    ) -> Awaited<'b> {
        let (attempt, token_name) = (self.subject.attempt, self.subject.token.as_str());
        Awaited { attempt, token_name, approvers: &self.approvers, by, flaw }
    }

    /// Reads what was decided, judges it, and notes once what doesn't count.
    async fn look(&mut self, waiting: &dyn SignedApprovals) -> Result<Look, Refusal> {
        let ledger = self.ledger.ledger();
        let found = ledger.decisions(self.ledger.run(), &self.subject.attempt).await?;
        let case = Case {
            approvers: &self.approvers,
            runners: &self.runners,
            subject: &self.subject,
            shown: &self.shown,
            now: found.now,
        };
        let judged = case.judge(&found.signed);
        let fresh = judged.flaws.iter().filter(|(place, _)| *place >= self.noted);
        for (_, flaw) in fresh {
            waiting.announce(&self.awaited(&[], Some(flaw)));
            let record = Body::Error(ErrorRecord {
                token_name: self.subject.token.clone(),
                error_type: "ApprovalInvalidError".to_owned(),
                message: format!("a decision doesn't count: {flaw}"),
                attempt: Some(self.subject.attempt),
                input: None,
            });
            self.ledger.note(record).await?;
        }
        if self.noted < found.signed.len()
            && let Ruling::Waiting { by } = &judged.ruling
            && !by.is_empty()
        {
            waiting.announce(&self.awaited(by, None));
        }
        self.noted = found.signed.len();
        Ok((judged, found.signed, found.now))
    }

    fn record(&self, approved: bool, approver: String, statements: Vec<Signed>) -> Body {
        let identity = if statements.is_empty() { "none" } else { "ssh-key" };
        Body::Approval(Approval {
            token_name: self.subject.token.clone(),
            attempt: Some(self.subject.attempt),
            action_digest: Some(self.subject.action),
            message: self.message.clone(),
            approved,
            approver,
            approver_identity: identity.to_owned(),
            statements,
        })
    }

    /// Commits the yes, and hears what came until then.
    async fn close(
        mut self,
        waiting: &dyn SignedApprovals,
        look: Look,
    ) -> Result<Approved, Refusal> {
        let (judged, signed, _) = look;
        let fence = self.held.fence;
        let seq = match (self.held.approved_until, judged.ruling) {
            (None, Ruling::Yes { by, places, not_after }) => {
                let counted =
                    places.iter().filter_map(|place| signed.get(*place).cloned()).collect();
                let yes = self.record(true, by.join(", "), counted);
                let yes =
                    self.authorized.commit(self.ledger, Transition::Approve { not_after }, yes);
                yes.await?.seq
            }
            // The yes of before the run was cut off.
            _ => approval_of(self.ledger, &self.authorized.invocation).await?,
        };
        let last = self.look(waiting).await?;
        match &last.0.ruling {
            Ruling::Yes { .. } => {
                let Authorized { held, token, invocation } = self.authorized;
                Ok(Approved { held, token, invocation, consent: Some(Consent { fence, seq }) })
            }
            other => {
                let by = match other {
                    Ruling::No { by, .. } => by.clone(),
                    _ => "none".to_owned(),
                };
                let why = format!(
                    "the approval of this use of token `{}` was taken back before it started",
                    self.subject.token
                );
                Err(self.refuse(&last, by, Refusal::ApprovalDenied(why)).await)
            }
        }
    }

    /// Gives the use back, with the record of who did not approve it.
    async fn refuse(&self, look: &Look, approver: String, refusal: Refusal) -> Refusal {
        let (judged, signed, _) = look;
        let said = match &judged.ruling {
            Ruling::No { place, .. } => signed.get(*place).cloned().into_iter().collect(),
            _ => Vec::new(),
        };
        let no = self.record(false, approver, said);
        let release = Transition::Release { fence: self.held.fence };
        if let Err(refusal) = self.authorized.commit(self.ledger, release, no).await {
            return refusal;
        }
        if !matches!(refusal, Refusal::Stopped)
            && let Some(entry) = self.authorized.held.entry()
        {
            entry.note_denied();
        }
        refusal
    }
}

fn unrecordable(error: JsonRefusal) -> Refusal {
    Refusal::ApprovalDenied(format!("what would run can't be put before an approver: {error}"))
}

/// Digests of the questions that were put about an attempt.
async fn questions(ledger: &RunLedger, attempt: AttemptId) -> Result<Vec<Digest>, Refusal> {
    const PAGE: u64 = 512;
    let (mut from, mut found) = (1, Vec::new());
    loop {
        let page = ledger.ledger().records(ledger.run(), from, PAGE).await?;
        for sealed in &page {
            if let Ok(Record { body: Body::ApprovalRequest(asked), .. }) = sealed.read()
                && asked.attempt == Some(attempt)
                && let Ok(Some(digest)) = asked.shown()
            {
                found.push(digest);
            }
        }
        let Some(last) = page.last() else { return Ok(found) };
        from = last.seq + 1;
    }
}
