//! What the records say of each other: every spend has its approval and its end, and the run's last
//! record accounts for every token.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;

use super::approvals::{Holds, Signatures};
use super::{Fields, Finding};
use crate::approval::ApproverKey;
use crate::audit::record::{RunOpen, TokenLine};
use crate::audit::scan;
use crate::display::{Mode, escape};
use crate::token::ROLLBACK_SUFFIX;

/// The types of records that are known, beside those that are looked at here.
const KINDS: [&str; 4] = ["anchor", "error", "key_rotate", "model_turn"];

/// The types that may follow the end of a run.
const FOLLOWS_THE_END: [&str; 2] = ["erasure", "resolution"];

/// The last record, as far as it is looked at.
#[derive(Deserialize)]
struct Close {
    tokens: Vec<Stated>,
    records: u64,
    stop_reason: String,
}

/// What the last record says of a token's uses.
#[derive(Deserialize)]
struct Stated {
    token_name: String,
    granted: u64,
    succeeded: u64,
    failed: u64,
    unknown: u64,
    unused: u64,
    #[serde(default)]
    expired: u64,
    #[serde(default)]
    revoked: u64,
    #[serde(default)]
    returned: u64,
    #[serde(default)]
    elsewhere: u64,
}

/// How uses of one token ended.
#[derive(Debug, Default, Clone, Copy)]
struct Count {
    succeeded: u64,
    failed: u64,
    unknown: u64,
    /// How often one was given back because nothing ever began.
    returned: u64,
}

/// What a run's first record says of a token, or a negotiation.
#[derive(Debug, Clone, Copy)]
struct Known {
    /// How many uses it grants.
    uses: u64,
    requires_approval: bool,
}

/// An approval that no spend has named yet.
#[derive(Debug)]
struct Approved {
    attempt: String,
    action: String,
    token: String,
    /// What its signatures say, where they must say something.
    holds: Option<Holds>,
}

/// What must be kept of the records that were read: what is still open, never all of it.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    tokens: HashMap<String, Known>,
    counts: HashMap<String, Count>,
    /// Spends without an outcome yet, by attempt: the token.
    started: HashMap<String, String>,
    /// Spends of which it isn't known how they ended, by attempt: the token.
    unknown: HashMap<String, String>,
    approvals: HashMap<u64, Approved>,
    signatures: Signatures,
    closed: Option<Option<Finding>>,
    stop_reason: Option<String>,
}

impl Accounts {
    /// Accounts of a verifier that knows these approvers.
    pub(super) fn new(pinned: &[ApproverKey]) -> Self {
        Self { signatures: Signatures::new(pinned), ..Self::default() }
    }

    /// Takes the run's first record; `origin` is the log's name, where that is known.
    pub(super) fn open(
        &mut self,
        run: &str,
        origin: Option<&str>,
        open: &RunOpen,
    ) -> Result<(), String> {
        for token in &open.tokens {
            let known =
                Known { uses: u64::from(token.uses), requires_approval: token.requires_approval };
            self.tokens.insert(token.name.clone(), known);
        }
        self.signatures.open(run, origin, open)
    }

    /// Takes a record that isn't the first.
    pub(super) fn record(
        &mut self,
        seq: u64,
        kind: &str,
        fields: &Fields<'_>,
        bytes: &[u8],
    ) -> Result<(), String> {
        if self.closed.is_some() && !FOLLOWS_THE_END.contains(&kind) {
            return Err("it stands after the end of the run".to_owned());
        }
        match kind {
            "erasure" if self.closed.is_none() => {
                Err("it says that something was erased before the run had ended".to_owned())
            }
            "erasure" => Ok(()),
            "run_open" => Err("a run is opened once".to_owned()),
            "intent" => self.intent(fields),
            "outcome" => self.outcome(fields),
            "recovery" => self.recovery(fields),
            "resolution" => self.resolution(fields),
            "approval_request" => match text(fields.attempt()) {
                Ok(attempt) => self.signatures.asked(&attempt, fields),
                Err(_) => Ok(()),
            },
            "approval" => self.approval(seq, fields, bytes),
            "run_resume" => self.signatures.resume(bytes),
            "negotiation" => self.negotiation(fields, bytes),
            "run_close" => {
                let close: Close = serde_json::from_slice(bytes)
                    .map_err(|_| "it doesn't say what a run ends with")?;
                if close.records != seq {
                    return Err(format!(
                        "the run's end counts {} records and there are {seq}",
                        close.records
                    ));
                }
                self.closed = Some(self.account(seq, &close));
                self.stop_reason = Some(close.stop_reason);
                Ok(())
            }
            other if KINDS.contains(&other) => Ok(()),
            other => Err(format!("its type `{}` is unknown", shown(other))),
        }
    }

    fn intent(&mut self, fields: &Fields<'_>) -> Result<(), String> {
        let token = text(fields.token_name())?;
        let attempt = text(fields.attempt())?;
        let action = text(fields.action_digest())?;
        let Some(known) = self.tokens.get(&token) else {
            return Err(format!("it spends token `{}`, which the run doesn't have", shown(&token)));
        };
        match fields.approval_seq().and_then(scan::number) {
            Some(seq) => match self.approvals.remove(&seq) {
                Some(approved)
                    if approved.attempt == attempt
                        && approved.action == action
                        && approved.token == token =>
                {
                    self.signatures.used(seq, &attempt, approved.holds.as_ref(), fields)?;
                }
                Some(_) => {
                    return Err(format!(
                        "the approval in record {seq} was given for another action"
                    ));
                }
                None => return Err(format!("record {seq} is no approval that it could use")),
            },
            None if known.requires_approval => {
                return Err(format!(
                    "token `{}` needs an approval and it names none",
                    shown(&token)
                ));
            }
            None => {}
        }
        if self.unknown.contains_key(&attempt) || self.started.insert(attempt, token).is_some() {
            return Err("the same attempt was spent before".to_owned());
        }
        Ok(())
    }

    fn outcome(&mut self, fields: &Fields<'_>) -> Result<(), String> {
        let attempt = text(fields.attempt())?;
        let Some(token) = self.started.remove(&attempt) else {
            return Err("it is the outcome of no spend that is open".to_owned());
        };
        if text(fields.token_name())? != token {
            return Err("it names another token than the spend".to_owned());
        }
        match fields.outcome() {
            // Nothing ever began, and the use came back.
            None => {
                self.counts.entry(token).or_default().returned += 1;
                Ok(())
            }
            Some(verdict) => self.count(&token, verdict, &attempt),
        }
    }

    fn recovery(&mut self, fields: &Fields<'_>) -> Result<(), String> {
        let attempt = text(fields.attempt())?;
        match fields.state().and_then(scan::plain) {
            Some("unknown") => {
                let token = self.started.remove(&attempt);
                let token = token.ok_or("it recovers a spend that isn't open")?;
                self.count(&token, "\"unknown\"", &attempt)
            }
            _ => Ok(()),
        }
    }

    fn resolution(&mut self, fields: &Fields<'_>) -> Result<(), String> {
        let attempt = text(fields.attempt())?;
        let token = self.unknown.remove(&attempt);
        let token = token.ok_or("it resolves a spend whose outcome isn't unknown")?;
        if self.closed.is_none() {
            self.counts.entry(token.clone()).or_default().unknown -= 1;
        }
        match fields.outcome() {
            Some(verdict @ ("\"succeeded\"" | "\"failed\"")) => {
                if self.closed.is_some() {
                    Ok(())
                } else {
                    self.count(&token, verdict, &attempt)
                }
            }
            _ => Err("it doesn't say how the spend ended".to_owned()),
        }
    }

    fn count(&mut self, token: &str, verdict: &str, attempt: &str) -> Result<(), String> {
        let count = self.counts.entry(token.to_owned()).or_default();
        match verdict {
            "\"succeeded\"" => count.succeeded += 1,
            "\"failed\"" => count.failed += 1,
            "\"unknown\"" => {
                count.unknown += 1;
                self.unknown.insert(attempt.to_owned(), token.to_owned());
            }
            _ => return Err("its outcome is none that is known".to_owned()),
        }
        Ok(())
    }

    fn approval(&mut self, seq: u64, fields: &Fields<'_>, bytes: &[u8]) -> Result<(), String> {
        // A question of the model's own has no attempt, and its answer confers nothing.
        let (Ok(attempt), Ok(action)) = (text(fields.attempt()), text(fields.action_digest()))
        else {
            return Ok(());
        };
        let token = text(fields.token_name())?;
        let holds = self.signatures.decided(&token, &attempt, fields, bytes)?;
        if fields.approved() != Some("true") {
            // A no takes an earlier yes back.
            self.approvals.retain(|_, approved| approved.attempt != attempt);
        } else {
            self.approvals.insert(seq, Approved { attempt, action, token, holds });
        }
        Ok(())
    }

    fn negotiation(&mut self, fields: &Fields<'_>, bytes: &[u8]) -> Result<(), String> {
        // `null` when nothing was granted.
        let Some(name) = fields.granted_token().and_then(scan::plain) else {
            return Ok(());
        };
        let granted = granted(bytes)?;
        if granted.iter().all(|line| line.name != name) {
            return Err("it doesn't say what was granted".to_owned());
        }
        for line in granted {
            if line.name != name && line.name != format!("{name}{ROLLBACK_SUFFIX}") {
                return Err(format!("it grants `{}` beside what it names", shown(&line.name)));
            }
            let requires_approval = line.requires_approval || self.signatures.bind(&line.name);
            let known = Known { uses: u64::from(line.uses), requires_approval };
            if self.tokens.insert(line.name.clone(), known).is_some() {
                return Err(format!(
                    "it grants token `{}`, which the run has already",
                    shown(&line.name)
                ));
            }
        }
        Ok(())
    }

    /// Compares what the end says with what was counted.
    fn account(&self, seq: u64, close: &Close) -> Option<Finding> {
        let broken = |reason: String| Some(Finding::Broken { at: Some(seq), reason });
        if let Some(token) = self.started.values().next() {
            return broken(format!(
                "the run ended and a spend of token `{}` has no outcome",
                shown(token)
            ));
        }
        let mut accounted = HashSet::new();
        for account in &close.tokens {
            let name = account.token_name.as_str();
            let Some(known) = self.tokens.get(name) else {
                return broken(format!(
                    "the end accounts for token `{}`, which the run doesn't have",
                    shown(name)
                ));
            };
            if !accounted.insert(name) {
                return broken(format!("the end accounts for token `{}` twice", shown(name)));
            }
            let count = self.counts.get(name).copied().unwrap_or_default();
            let stated = [account.succeeded, account.failed, account.unknown];
            if stated != [count.succeeded, count.failed, count.unknown] {
                return broken(format!(
                    "the end states {} succeeded, {} failed and {} unknown uses of token `{}`, and \
                     the records show {}, {} and {}",
                    account.succeeded,
                    account.failed,
                    account.unknown,
                    shown(name),
                    count.succeeded,
                    count.failed,
                    count.unknown
                ));
            }
            if account.returned != count.returned {
                return broken(format!(
                    "the end states that {} uses of token `{}` were given back, and the records show {}",
                    account.returned,
                    shown(name),
                    count.returned
                ));
            }
            let sum = stated
                .iter()
                .chain([&account.unused, &account.expired, &account.revoked, &account.elsewhere])
                .try_fold(0u64, |sum, n| sum.checked_add(*n));
            if sum != Some(account.granted) || known.uses != account.granted {
                return broken(format!(
                    "the uses of token `{}` don't add up to those granted",
                    shown(name)
                ));
            }
        }
        let missing = self.tokens.keys().find(|name| !accounted.contains(name.as_str()));
        missing
            .and_then(|name| broken(format!("the end doesn't account for token `{}`", shown(name))))
    }

    pub(super) fn closed(&self) -> bool {
        self.closed.is_some()
    }

    pub(super) fn stop_reason(&self) -> Option<String> {
        self.stop_reason.clone()
    }

    pub(super) fn finding(&self) -> Finding {
        match &self.closed {
            Some(Some(broken)) => broken.clone(),
            Some(None) => Finding::Ok,
            None => Finding::Absent {
                reason:
                    "the run has no end: it is still going on, was cut off, or its end was removed"
                        .to_owned(),
            },
        }
    }

    /// What is wrong with the approvals' signatures by the verifier's policy.
    pub(super) fn approvals(&self) -> Option<Finding> {
        self.signatures.finding()
    }
}

/// What a negotiation says of the tokens that it grants.
pub(super) fn granted(bytes: &[u8]) -> Result<Vec<TokenLine>, String> {
    #[derive(Deserialize)]
    struct Granted {
        #[serde(default)]
        tokens: Vec<TokenLine>,
    }
    let granted: Granted =
        serde_json::from_slice(bytes).map_err(|_| "it doesn't say what was granted")?;
    Ok(granted.tokens)
}

/// A text that is written without escapes, or as it is written.
fn text(value: Option<&str>) -> Result<String, String> {
    let value = value.ok_or("a field is missing")?;
    Ok(scan::plain(value).unwrap_or(value).to_owned())
}

fn shown(name: &str) -> String {
    escape(name, Mode::Line)
}
