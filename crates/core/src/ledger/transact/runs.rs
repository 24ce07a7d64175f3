//! Opening, taking over, renewing and closing a run.

use std::collections::{BTreeMap, BTreeSet};

use super::{Changes, Draft, Result, View};
use crate::audit::record::{Account, Body, RunClose, RunResume, genesis};
use crate::id::{GrantId, RunId};
use crate::ledger::LedgerError;
use crate::ledger::grant::{Definitions, Grant, Granted, TokenState};
use crate::ledger::protocol::Transition;
use crate::ledger::run::{
    Attempt, Closing, Hold, Opened, Opening, Receipt, RunSummary, Source, Taking,
};
use crate::outcome::Verdict;
use crate::time::Timestamp;
use crate::token::MAX_USES;

/// Opens a run.
pub fn open_run<V: View>(
    view: &mut V,
    now: Timestamp,
    opening: Opening,
) -> Result<(Opened, Changes)> {
    let Opening { run, owner, lease_ms, source, record, openings, journal } = opening;
    let Body::RunOpen(open) = &record else {
        return Err(LedgerError::BadRecord("a run begins with `run_open`".to_owned()));
    };
    let task = open.task.clone();
    if view.run(&run)?.is_some() {
        return Err(LedgerError::BadRecord(format!("there is a run `{run}` already")));
    }
    let mut draft = Draft::new(view, now);
    let grant = match source {
        Source::Own { tokens, definitions } => {
            let id = GrantId::of_run(&run);
            let epoch = draft.view.identity()?.epoch;
            let tokens = ready(tokens)?;
            let made =
                Grant { id, issued: now, expires: None, revoked: None, epoch, definitions, tokens };
            draft.changes.granted = Some(made.clone());
            made
        }
        Source::Named { grant, ledger, definitions } => {
            let identity = draft.view.identity()?;
            if let Some(wanted) = ledger.filter(|wanted| *wanted != identity.ledger) {
                let (wanted, found) = (wanted.to_string(), identity.ledger.to_string());
                return Err(LedgerError::OtherLedger { wanted, found });
            }
            let found = draft.view.grant(&grant)?.filter(|_| grant.is_named());
            let found = found.ok_or_else(|| LedgerError::UnknownGrant(grant.to_string()))?;
            stands(&found, identity.epoch, now)?;
            same_definitions(&found, &definitions)?;
            found
        }
    };
    let opened = RunSummary {
        run: run.clone(),
        grant: grant.id.clone(),
        opened: now,
        stop_reason: None,
        records: 0,
        head: genesis(),
        task,
        owner,
        fence: 1,
        lease_ms,
        lease_until: now.plus_millis(lease_ms),
        pages: u64::from(journal.is_some()),
    };
    draft.changes.runs.insert(run.clone(), opened);
    draft.changes.opened = Some(run.clone());
    draft.changes.page = journal.map(|bytes| (run.clone(), 1, bytes));
    draft.append(&run, &record, openings)?;
    let receipt = draft.receipt(&run)?;
    let hold = Hold { run, fence: 1 };
    let opened = Opened { hold, receipt, grant: grant.id, tokens: grant.tokens };
    Ok((opened, draft.changes))
}

/// Takes over a run whose holder is gone.
pub fn take_run<V: View>(
    view: &mut V,
    now: Timestamp,
    taking: Taking,
) -> Result<(Opened, Changes)> {
    let Taking { run: id, owner, lease_ms, gone, definitions, runner } = taking;
    let mut draft = Draft::new(view, now);
    let run = draft.run(&id)?;
    if run.stop_reason.is_some() {
        return Err(LedgerError::RunClosed(id.to_string()));
    }
    let vouched = gone.as_deref() == Some(run.owner.as_str());
    if !vouched && now <= run.lease_until {
        return Err(LedgerError::RunHeld { run: id.to_string(), until: run.lease_until });
    }
    run.fence += 1;
    run.owner = owner;
    run.lease_ms = lease_ms;
    let (fence, grant) = (run.fence, run.grant.clone());
    if let Some(definitions) = definitions {
        let found = draft.view.grant(&grant)?;
        let found = found.ok_or_else(|| LedgerError::UnknownGrant(grant.to_string()))?;
        same_definitions(&found, &definitions)?;
    }
    let why = if vouched { "its process was gone" } else { "its hold had run out" };
    let resumed = Body::RunResume(RunResume { fence, reason: why.to_owned(), runner });
    draft.append(&id, &resumed, Vec::new())?;
    seal_open(&mut draft, &id, &grant)?;
    renew(&mut draft, &id)?;
    let receipt = draft.receipt(&id)?;
    let found = draft.view.grant(&grant)?;
    let found = found.ok_or_else(|| LedgerError::UnknownGrant(grant.to_string()))?;
    let mut tokens = found.tokens;
    for token in &mut tokens {
        let key = (grant.clone(), token.granted.name.clone());
        token.uses_left = draft.changes.left.get(&key).copied().unwrap_or(token.uses_left);
    }
    let opened = Opened { hold: Hold { run: id, fence }, receipt, grant, tokens };
    Ok((opened, draft.changes))
}

/// Holds a run for as long again as it was opened for.
pub fn renew_run<V: View>(
    view: &mut V,
    now: Timestamp,
    hold: &Hold,
) -> Result<(Timestamp, Changes)> {
    let mut draft = Draft::new(view, now);
    draft.held(hold)?;
    let until = renew(&mut draft, &hold.run)?;
    Ok((until, draft.changes))
}

pub(super) fn renew<V: View>(draft: &mut Draft<'_, V>, run: &RunId) -> Result<Timestamp> {
    let now = draft.now;
    let run = draft.run(run)?;
    run.lease_until = now.plus_millis(run.lease_ms).max(run.lease_until);
    Ok(run.lease_until)
}

/// Ends a run.
pub fn close_run<V: View>(
    view: &mut V,
    now: Timestamp,
    closing: Closing,
) -> Result<(Receipt, Changes)> {
    let Closing { hold, stop_reason, details, openings, keep_journal } = closing;
    let mut draft = Draft::new(view, now);
    let grant = draft.held(&hold)?.grant.clone();
    // The run is over, so a hold is given back whether or not its lease has run out.
    seal_open(&mut draft, &hold.run, &grant)?;
    let body = Body::RunClose(RunClose {
        stop_reason: stop_reason.clone(),
        end: details,
        tokens: accounts(&mut draft, &hold.run, &grant)?,
        records: draft.run(&hold.run)?.records + 1,
    });
    draft.append(&hold.run, &body, openings)?;
    let run = draft.run(&hold.run)?;
    run.stop_reason = Some(stop_reason);
    if !keep_journal {
        run.pages = 0;
        draft.changes.journal_dropped = Some(hold.run.clone());
    }
    let receipt = draft.receipt(&hold.run)?;
    Ok((receipt, draft.changes))
}

/// Seals every attempt of a run that is held or was started and has no outcome.
fn seal_open<V: View>(draft: &mut Draft<'_, V>, run: &RunId, grant: &GrantId) -> Result<()> {
    for attempt in draft.view.attempts(run)? {
        if attempt.state.is_open() {
            draft.recover(run, grant, attempt, Transition::Recover)?;
        }
    }
    Ok(())
}

/// What became of every token that the run could use.
fn accounts<V: View>(
    draft: &mut Draft<'_, V>,
    run: &RunId,
    grant: &GrantId,
) -> Result<Vec<Account>> {
    let mut attempts: BTreeMap<_, Attempt> =
        draft.view.attempts(run)?.into_iter().map(|attempt| (attempt.id, attempt)).collect();
    for (of, attempt) in &draft.changes.attempts {
        if of == run {
            attempts.insert(attempt.id, attempt.clone());
        }
    }
    let found = draft.view.grant(grant)?;
    let found = found.ok_or_else(|| LedgerError::UnknownGrant(grant.to_string()))?;
    let now = draft.now;
    let mut accounts = Vec::new();
    for token in found.tokens.into_iter().filter(|token| !token.is_locked_for(run)) {
        let name = token.granted.name;
        let left = draft.changes.left.get(&(grant.clone(), name.clone())).copied();
        let count = |verdict: Verdict| {
            let of_token = attempts.values().filter(|attempt| attempt.token == name);
            of_token.filter(|attempt| attempt.state.verdict() == Some(verdict)).count() as u64
        };
        let (succeeded, failed, unknown) =
            (count(Verdict::Succeeded), count(Verdict::Failed), count(Verdict::Unknown));
        let granted = u64::from(token.granted.uses);
        let left = u64::from(left.unwrap_or(token.uses_left));
        // What is neither left nor this run's was spent, or is held, by other runs of the grant.
        let elsewhere = granted.saturating_sub(left + succeeded + failed + unknown);
        let ended = [found.expires, token.granted.expires].into_iter().flatten();
        let (unused, expired, revoked) = match found.revoked {
            Some(_) => (0, 0, left),
            None if ended.min().is_some_and(|end| now >= end) => (0, left, 0),
            None => (left, 0, 0),
        };
        let given_back = |attempt: &&Attempt| {
            attempt.token == name
                && matches!(attempt.state, crate::ledger::UseState::NeverBegan { .. })
        };
        let returned = attempts.values().filter(given_back).count() as u64;
        let token_name = name;
        accounts.push(Account {
            token_name,
            granted,
            succeeded,
            failed,
            unknown,
            unused,
            expired,
            revoked,
            returned,
            elsewhere,
        });
    }
    Ok(accounts)
}

/// Tokens of a new grant, none of them used.
pub(super) fn ready(tokens: Vec<Granted>) -> Result<Vec<TokenState>> {
    let mut names = BTreeSet::new();
    for token in &tokens {
        if token.uses == 0 || token.uses > MAX_USES {
            return Err(LedgerError::BadRecord(format!(
                "token `{}` grants {} uses; between 1 and {MAX_USES} fit",
                token.name, token.uses
            )));
        }
        if !names.insert(token.name.clone()) {
            return Err(LedgerError::BadRecord(format!("two tokens are named `{}`", token.name)));
        }
    }
    let ready =
        |granted: Granted| TokenState { uses_left: granted.uses, granted, unlocked_by: None };
    Ok(tokens.into_iter().map(ready).collect())
}

/// Whether a grant takes a further run.
fn stands(grant: &Grant, epoch: u64, now: Timestamp) -> Result<()> {
    let why = if let Some(revoked) = &grant.revoked {
        format!("it was revoked at {} ({}); issue another", revoked.at, revoked.reason)
    } else if let Some(end) = grant.expires.filter(|end| now >= *end) {
        format!("it expired at {end}; issue another")
    } else if grant.epoch != epoch {
        format!(
            "it was issued in epoch {} and the ledger is in epoch {epoch}; see what was done with \
             `lar audit list`, then issue another",
            grant.epoch
        )
    } else {
        return Ok(());
    };
    Err(LedgerError::GrantEnded { grant: grant.id.to_string(), why })
}

fn same_definitions(grant: &Grant, definitions: &Definitions) -> Result<()> {
    if grant.definitions == *definitions {
        return Ok(());
    }
    Err(LedgerError::OtherDefinitions(grant.id.to_string()))
}
