//! Approvals that listed people sign, apart from the run that waits for them: what is waiting, and how a
//! decision is made and given.
//!
//! Who holds a listed key reads the question from the ledger, signs what they decide with an ssh-agent
//! or a key file, and puts it into the ledger. The run judges it again before the spend.

pub mod ssh;

use lar_core::approval::{
    Approvers, Case, Judged, Question, Runner, Signed, Statement, Subject, Word,
};
use lar_core::audit::record::{ApprovalRequested, Body, Record};
use lar_core::id::{AttemptId, RunId};
use lar_core::json::{Digest, JsonRefusal};
use lar_core::ledger::{Decision, Ledger, LedgerError, RunSummary, UseState};
use lar_core::time::Timestamp;
use lar_runtime::agent::read_records;
use std::collections::BTreeMap;

/// How many digits of an attempt's identity are shown as the name of what waits.
const DIGITS: usize = 12;

/// An attempt that waits for people.
#[derive(Debug, Clone)]
pub struct Pending {
    /// The run.
    pub run: RunId,
    /// The attempt.
    pub attempt: AttemptId,
    /// The token.
    pub token: String,
    /// What is asked, in one line.
    pub message: String,
    /// When it was asked.
    pub since: Timestamp,
    /// Until when the run waits; `None` while no process waits, because the run was cut off.
    pub until: Option<Timestamp>,
    /// What listed people decide about; `None` where only the run's own terminal can answer.
    pub signed: Option<Deciding>,
}

/// What listed people decide about, and what they did so far.
#[derive(Debug, Clone)]
pub struct Deciding {
    /// Who may approve.
    pub approvers: Approvers,
    /// Who started the run and who went on with it, where they can't approve.
    pub runners: Vec<Runner>,
    /// What it is about.
    pub subject: Subject,
    /// The question as it was put last.
    pub question: Question,
    /// Digests of all questions that were put about it.
    pub shown: Vec<Digest>,
    /// What was decided so far, in the order in which it came.
    pub decisions: Vec<Signed>,
    /// The ledger's time.
    pub now: Timestamp,
}

/// Why a decision can't be given.
#[derive(Debug, thiserror::Error)]
pub enum DecideError {
    /// The ledger refused it, or can't be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// It can't be written down.
    #[error("the statement can't be written: {0}")]
    Json(#[from] JsonRefusal),
    /// It can't be signed.
    #[error(transparent)]
    Key(#[from] ssh::SshError),
    /// It would not count.
    #[error("it would not count: {0}")]
    WouldNotCount(lar_core::approval::Flaw),
    /// There are no random numbers.
    #[error("the system gives no random numbers")]
    NoRandom,
}

/// The name of a ledger's log.
pub async fn origin_of(ledger: &dyn Ledger) -> Result<String, LedgerError> {
    match ledger.log() {
        Some(log) => Ok(log.head().await?.origin),
        None => Ok(format!("lar-ledger/{}", ledger.identity().await?.ledger)),
    }
}

/// Everything in a ledger that waits for people, oldest first.
pub async fn pending(ledger: &dyn Ledger) -> Result<Vec<Pending>, LedgerError> {
    let origin = origin_of(ledger).await?;
    let mut all = Vec::new();
    for run in ledger.open_runs().await? {
        all.extend(of_run(ledger, &origin, &run).await?);
    }
    all.sort_by_key(|pending| pending.since);
    Ok(all)
}

async fn of_run(
    ledger: &dyn Ledger,
    origin: &str,
    run: &RunSummary,
) -> Result<Vec<Pending>, LedgerError> {
    let waiting: Vec<_> = ledger
        .attempts(&run.run)
        .await?
        .into_iter()
        .filter(|attempt| {
            matches!(
                attempt.state,
                UseState::Reserved { approved_until: None, .. } | UseState::Released { .. }
            )
        })
        .collect();
    if waiting.is_empty() {
        return Ok(Vec::new());
    }
    let (records, _) = read_records(ledger, &run.run).await?;
    let mut runners = Vec::new();
    let mut policies = BTreeMap::new();
    for record in &records {
        match &record.body {
            Body::RunOpen(open) => {
                runners.extend(open.runner.clone());
                for policy in &open.approvals {
                    policies.extend(policy.tokens.iter().map(|token| (token, &policy.policy)));
                }
            }
            Body::RunResume(resume) => runners.extend(resume.runner.clone()),
            _ => {}
        }
    }
    let mut found = Vec::new();
    for attempt in waiting {
        let last =
            usize::try_from(attempt.seq).ok().and_then(|seq| records.get(seq.checked_sub(1)?));
        let until = match (&attempt.state, last.map(|record| &record.body)) {
            (UseState::Reserved { lease_until, .. }, _) => Some(*lease_until),
            // Given back because its process was gone: going on with the run asks again.
            (UseState::Released { .. }, Some(Body::Recovery(_))) => None,
            _ => continue,
        };
        let asked: Vec<(&Record, &ApprovalRequested)> = records
            .iter()
            .filter_map(|record| match &record.body {
                Body::ApprovalRequest(asked) if asked.attempt == Some(attempt.id) => {
                    Some((record, asked))
                }
                _ => None,
            })
            .collect();
        let Some((record, request)) = asked.last() else { continue };
        let shown = asked.iter().filter_map(|(_, asked)| asked.shown().ok().flatten());
        let signed = match (&request.question, policies.get(&attempt.token)) {
            (Some(question), Some(approvers)) => {
                if question.action_digest != Some(attempt.action) {
                    let why = format!(
                        "the question about attempt `{}` is about another action",
                        attempt.id
                    );
                    return Err(LedgerError::Damaged(why));
                }
                let heard = ledger.decisions(&run.run, &attempt.id).await?;
                let policy =
                    approvers.digest().map_err(|error| LedgerError::Damaged(error.to_string()))?;
                Some(Deciding {
                    approvers: (*approvers).clone(),
                    runners: runners.clone(),
                    subject: Subject {
                        origin: origin.to_owned(),
                        run: run.run.clone(),
                        token: attempt.token.clone(),
                        attempt: attempt.id,
                        action: attempt.action,
                        policy,
                    },
                    question: question.clone(),
                    shown: shown.collect(),
                    decisions: heard.signed,
                    now: heard.now,
                })
            }
            _ => None,
        };
        found.push(Pending {
            run: run.run.clone(),
            attempt: attempt.id,
            token: attempt.token.clone(),
            message: request.message.clone(),
            since: record.timestamp,
            until,
            signed,
        });
    }
    Ok(found)
}

/// The name under which an attempt is called here: the first digits of its identity.
pub fn short(attempt: &AttemptId) -> String {
    attempt.to_string().chars().take(DIGITS).collect()
}

impl Pending {
    /// The name under which it is called: the first digits of the attempt.
    pub fn id(&self) -> String {
        short(&self.attempt)
    }
}

impl Deciding {
    /// Judges what was decided so far, as the run will.
    pub fn judge(&self) -> Judged {
        self.judge_all(&self.decisions)
    }

    fn judge_all(&self, decisions: &[Signed]) -> Judged {
        let case = Case {
            approvers: &self.approvers,
            runners: &self.runners,
            subject: &self.subject,
            shown: &self.shown,
            now: self.now,
        };
        case.judge(decisions)
    }

    /// What this person would sign, with a number that nobody used before.
    pub fn statement(
        &self,
        word: Word,
        approver: &str,
        not_after: Timestamp,
    ) -> Result<Statement, DecideError> {
        let shown = self.question.digest()?;
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(|_| DecideError::NoRandom)?;
        Ok(self.subject.statement(shown, word, approver, not_after, nonce))
    }

    /// Gives a decision to the ledger, after it was judged as the run will judge it. Answers what came of
    /// it.
    ///
    /// # Errors
    ///
    /// When it would not count, or the attempt waits for nothing any more.
    pub async fn decide(&self, ledger: &dyn Ledger, signed: Signed) -> Result<Judged, DecideError> {
        let mut all = self.decisions.clone();
        all.push(signed.clone());
        let judged = self.judge_all(&all);
        let ours = judged.flaws.iter().find(|(place, _)| *place == self.decisions.len());
        if let Some((_, flaw)) = ours {
            return Err(DecideError::WouldNotCount(flaw.clone()));
        }
        let Subject { run, attempt, .. } = &self.subject;
        ledger.decide(Decision { run: run.clone(), attempt: *attempt, signed }).await?;
        Ok(judged)
    }
}
