//! Whether approvals that the record calls signed were signed: by people who are listed, enough of them,
//! for this action, in time.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{Fields, Finding};
use crate::approval::{ApproverKey, Approvers, Case, Ruling, Runner, Subject};
use crate::audit::record::{Approval, Body, Record, RunOpen, RunResume};
use crate::audit::scan;
use crate::display::{Mode, escape};
use crate::id::RunId;
use crate::json::Digest;
use crate::time::Timestamp;

/// How an approval is known.
pub(super) const SIGNED: &str = "ssh-key";

/// What is known of the signed approvals of a run, while it is read.
#[derive(Debug, Default)]
pub(super) struct Signatures {
    run: Option<RunId>,
    /// The log's name; bare records don't tell it.
    origin: Option<String>,
    /// Who may approve, by token.
    policies: HashMap<String, Arc<Policy>>,
    runners: Vec<Runner>,
    /// Digests of the questions that were put, by attempt, until it is decided.
    shown: HashMap<String, Vec<Digest>>,
    /// Keys that the verifier's policy names, when it names any.
    pinned: HashSet<String>,
    /// What is wrong by the verifier's policy.
    finding: Option<Finding>,
}

#[derive(Debug)]
struct Policy {
    approvers: Approvers,
    digest: Digest,
}

/// An approval that holds.
#[derive(Debug)]
pub(super) struct Holds {
    /// Until when it may be used.
    pub(super) not_after: Timestamp,
    /// Who signed, as keys.
    by: Vec<String>,
    /// Who signed, as people, where none of them may be whoever started the run or goes on with it.
    people: Vec<String>,
}

impl Signatures {
    pub(super) fn new(pinned: &[ApproverKey]) -> Self {
        Self { pinned: pinned.iter().map(ToString::to_string).collect(), ..Self::default() }
    }

    /// Takes the run's first record.
    pub(super) fn open(
        &mut self,
        run: &str,
        origin: Option<&str>,
        open: &RunOpen,
    ) -> Result<(), String> {
        self.run = RunId::new(run).ok();
        self.origin = origin.map(str::to_owned);
        self.runners.extend(open.runner.clone());
        for policy in &open.approvals {
            let digest = policy.policy.digest().map_err(|error| error.to_string())?;
            let known = Arc::new(Policy { approvers: policy.policy.clone(), digest });
            for token in &policy.tokens {
                if self.policies.insert(token.clone(), Arc::clone(&known)).is_some() {
                    let token = escape(token, Mode::Line);
                    return Err(format!("it lists approvers of token `{token}` twice"));
                }
            }
        }
        Ok(())
    }

    /// Whether people with keys must approve the uses of a token.
    pub(super) fn bind(&self, token: &str) -> bool {
        self.policies.contains_key(token)
    }

    /// Takes the record of who goes on with the run.
    pub(super) fn resume(&mut self, bytes: &[u8]) -> Result<(), String> {
        let resume: RunResume =
            serde_json::from_slice(bytes).map_err(|_| "it doesn't say who goes on with the run")?;
        self.runners.extend(resume.runner);
        Ok(())
    }

    /// Takes a question. Its bytes within the record are its canonical form; where the record commits to it,
    /// the record says its digest.
    pub(super) fn asked(&mut self, attempt: &str, fields: &Fields<'_>) -> Result<(), String> {
        let said = fields.shown().and_then(scan::plain).and_then(|shown| shown.parse().ok());
        let shown = match fields.question().map(Digest::of) {
            Some(shown) if fields.shown().is_none() || said == Some(shown) => Some(shown),
            Some(_) => return Err("its question isn't the one that it says was shown".to_owned()),
            None => said,
        };
        if let Some(shown) = shown {
            self.shown.entry(attempt.to_owned()).or_default().push(shown);
        }
        Ok(())
    }

    /// Judges the record of a decision; `Ok(None)` where nothing needs to be signed.
    pub(super) fn decided(
        &mut self,
        token: &str,
        attempt: &str,
        fields: &Fields<'_>,
        bytes: &[u8],
    ) -> Result<Option<Holds>, String> {
        let approved = fields.approved() == Some("true");
        let signed = fields.approver_identity().and_then(scan::plain) == Some(SIGNED);
        let Some(policy) = self.policies.get(token).cloned() else {
            return match signed {
                true => Err(format!(
                    "it says that it was signed, and the run lists no approvers of token `{}`",
                    escape(token, Mode::Line)
                )),
                false => Ok(None),
            };
        };
        let shown = match approved {
            true => self.shown.get(attempt).cloned(),
            false => self.shown.remove(attempt),
        };
        if !signed {
            return match approved {
                true => Err("it isn't signed, and the run lists who must sign".to_owned()),
                false => Ok(None),
            };
        }
        let (record, timestamp) = read(bytes)?;
        let (Some(run), Some(attempt), Some(action)) =
            (self.run.clone(), record.attempt, record.action_digest)
        else {
            return Err("it doesn't say what was decided".to_owned());
        };
        // Without a checkpoint it isn't known which log it is; all statements must agree at least.
        let origin = match &self.origin {
            Some(origin) => origin.clone(),
            None => record
                .statements
                .first()
                .and_then(|signed| crate::approval::Statement::read(&signed.statement).ok())
                .map(|statement| statement.origin)
                .unwrap_or_default(),
        };
        let token = token.to_owned();
        let subject = Subject { origin, run, token, attempt, action, policy: policy.digest };
        let case = Case {
            approvers: &policy.approvers,
            runners: &self.runners,
            subject: &subject,
            shown: &shown.unwrap_or_default(),
            now: timestamp,
        };
        let judged = case.judge(&record.statements);
        if let Some((_, flaw)) = judged.flaws.first() {
            return Err(format!(
                "a statement in it doesn't count: {}",
                escape(&flaw.to_string(), Mode::Line)
            ));
        }
        match judged.ruling {
            Ruling::Yes { by, not_after, .. } if approved && by.join(", ") == record.approver => {
                let verify = |signed: &crate::approval::Signed| {
                    signed.verify(policy.approvers.keys()).ok().map(|(_, key)| key.to_string())
                };
                let keys = record.statements.iter().filter_map(verify).collect();
                let people = if policy.approvers.not_the_runner() { by } else { Vec::new() };
                Ok(Some(Holds { not_after, by: keys, people }))
            }
            Ruling::No { by, .. } if !approved && by == record.approver => Ok(None),
            Ruling::Waiting { by } if approved => Err(format!(
                "{} people signed it and {} must",
                by.len(),
                policy.approvers.required()
            )),
            _ => Err("it says something else than what is signed in it".to_owned()),
        }
    }

    /// Takes the use of an approval by a spend.
    pub(super) fn used(
        &mut self,
        seq: u64,
        attempt: &str,
        holds: Option<&Holds>,
        fields: &Fields<'_>,
    ) -> Result<(), String> {
        self.shown.remove(attempt);
        let absent = || Finding::Absent {
            reason: format!(
                "record {seq} was approved without a signature, and the policy names approvers"
            ),
        };
        let Some(holds) = holds else {
            if !self.pinned.is_empty() && self.finding.is_none() {
                self.finding = Some(absent());
            }
            return Ok(());
        };
        let time = fields.timestamp().and_then(scan::plain).and_then(|time| time.parse().ok());
        let time: Timestamp = time.ok_or("it has no time")?;
        if time > holds.not_after {
            return Err(format!("its approval, in record {seq}, ran out at {}", holds.not_after));
        }
        let runner = |person: &&String| self.runners.iter().any(|runner| runner.is(person));
        if let Some(person) = holds.people.iter().find(runner) {
            let person = escape(person, Mode::Line);
            return Err(format!(
                "`{person}` approved it, in record {seq}, and went on with the run"
            ));
        }
        let unknown = holds.by.iter().find(|key| !self.pinned.contains(*key));
        if !self.pinned.is_empty()
            && let Some(key) = unknown
            && !matches!(self.finding, Some(Finding::Broken { .. }))
        {
            let key = escape(key, Mode::Line);
            let reason = format!("it is signed by `{key}`, which the policy doesn't name");
            self.finding = Some(Finding::Broken { at: Some(seq), reason });
        }
        Ok(())
    }

    /// What is wrong by the verifier's policy.
    pub(super) fn finding(&self) -> Option<Finding> {
        self.finding.clone()
    }
}

/// The record, and when it was written.
fn read(bytes: &[u8]) -> Result<(Approval, Timestamp), String> {
    match Record::read(bytes, &[]) {
        Ok(Record { body: Body::Approval(approval), timestamp, .. }) => Ok((approval, timestamp)),
        _ => Err("it doesn't say what was decided".to_owned()),
    }
}
