//! What each request reads, decides and changes, apart from how a store keeps it.
//!
//! A request is a pure function of what it reads through a [`View`]: it answers with all the
//! [`Changes`] that belong to it, or refuses and changes nothing. A ledger calls it inside its
//! transaction and writes the changes there. Which state follows which is [`protocol::next`]'s.

mod decisions;
mod erase;
mod prepare;
mod runs;

use std::collections::BTreeMap;

use super::LedgerError;
use super::grant::{Grant, Identity, Issuing, Revocation, TokenState};
use super::protocol::{self, Conflict, Event, GrantPosition, Position, TokenPosition, Transition};
use super::run::{Attempt, Change, Decision, Erasing, Hold, Receipt, Resolution, RunSummary};
use crate::approval::Signed;
use crate::audit::commitment::Opening;
use crate::audit::record::{
    Body, GrantIssue, GrantRevoke, LedgerEpoch, Recovery, SealedRecord, Unsealed,
};
use crate::id::{AttemptId, GrantId, RunId};
use crate::json::Digest;
use crate::time::Timestamp;

pub use decisions::decide;
pub use erase::erase;
use prepare::What;
pub use prepare::{Prepared, prepare, unsealed};
pub use runs::{close_run, open_run, renew_run, take_run};

type Result<T> = std::result::Result<T, LedgerError>;

/// What a request reads. All of it must be of one transaction.
pub trait View {
    /// Which ledger it is.
    fn identity(&mut self) -> Result<Identity>;
    /// A grant with its tokens.
    fn grant(&mut self, grant: &GrantId) -> Result<Option<Grant>>;
    /// Where a grant stands, without its definitions and tokens.
    fn position(&mut self, grant: &GrantId) -> Result<Option<GrantPosition>>;
    /// A token of a grant.
    fn token(&mut self, grant: &GrantId, name: &str) -> Result<Option<TokenState>>;
    /// A run.
    fn run(&mut self, run: &RunId) -> Result<Option<RunSummary>>;
    /// An attempt.
    fn attempt(&mut self, run: &RunId, attempt: &AttemptId) -> Result<Option<Attempt>>;
    /// All attempts of a run, in the order of their identities.
    fn attempts(&mut self, run: &RunId) -> Result<Vec<Attempt>>;
    /// Attempts on a token, of whatever run, whose hold ended before `now`.
    fn expired_holds(
        &mut self,
        grant: &GrantId,
        token: &str,
        now: Timestamp,
    ) -> Result<Vec<(RunId, Attempt)>>;
    /// The openings that are kept of a run's records: the record's number and the field.
    fn openings(&mut self, run: &RunId) -> Result<Vec<(u64, String)>>;
    /// What was signed about an attempt, in the order in which it came.
    fn decisions(&mut self, run: &RunId, attempt: &AttemptId) -> Result<Vec<Signed>>;
}

/// What a request changes, all of it or none.
#[derive(Debug, Default)]
pub struct Changes {
    /// The ledger's new epoch.
    pub epoch: Option<u64>,
    /// A grant that is new, with its tokens.
    pub granted: Option<Grant>,
    /// A grant that was revoked.
    pub revoked: Option<(GrantId, Revocation)>,
    /// Candidates that were unlocked, and the run for which.
    pub unlocked: Vec<(GrantId, String, RunId)>,
    /// Uses that are left of tokens.
    pub left: BTreeMap<(GrantId, String), u32>,
    /// A run that is new. It stands in `runs` too.
    pub opened: Option<RunId>,
    /// Runs as they stand now.
    pub runs: BTreeMap<RunId, RunSummary>,
    /// Attempts as they stand now.
    pub attempts: Vec<(RunId, Attempt)>,
    /// Records that are new, with the openings of what they commit to.
    pub records: Vec<(RunId, SealedRecord)>,
    /// Openings that go.
    pub erased: Option<Erasing>,
    /// Records of the ledger's own, which belong to no run, and when they are written.
    pub own: Vec<(Timestamp, Body)>,
    /// A page that is new: its run, its number and its bytes.
    pub page: Option<(RunId, u64, Vec<u8>)>,
    /// A run whose journal goes.
    pub journal_dropped: Option<RunId>,
    /// What was signed about an attempt, and its place, from 1.
    pub decided: Option<(Decision, u64)>,
}

/// A request while it is being decided: what it has read, and what it has changed so far.
struct Draft<'v, V> {
    view: &'v mut V,
    now: Timestamp,
    changes: Changes,
}

/// Begins a new epoch.
pub fn bump_epoch<V: View>(view: &mut V, now: Timestamp) -> Result<(Identity, Changes)> {
    let Identity { ledger, epoch } = view.identity()?;
    let epoch = epoch + 1;
    let own = vec![(now, Body::LedgerEpoch(LedgerEpoch { epoch }))];
    let changes = Changes { epoch: Some(epoch), own, ..Changes::default() };
    Ok((Identity { ledger, epoch }, changes))
}

/// Creates a named grant.
pub fn issue<V: View>(view: &mut V, now: Timestamp, issuing: Issuing) -> Result<(Grant, Changes)> {
    let Issuing { grant, tokens, definitions, expires } = issuing;
    if !grant.is_named() {
        return Err(LedgerError::BadRecord(format!("`{grant}` is the name of a run's own grant")));
    }
    if view.grant(&grant)?.is_some() {
        return Err(LedgerError::GrantExists(grant.to_string()));
    }
    let epoch = view.identity()?.epoch;
    let tokens = runs::ready(tokens)?;
    let made = Grant { id: grant, issued: now, expires, revoked: None, epoch, definitions, tokens };
    let record = Body::GrantIssue(GrantIssue {
        grant: made.id.clone(),
        epoch,
        definitions: made.definitions.digest(),
        expires,
        uses: made.tokens.iter().map(|t| (t.granted.name.clone(), t.granted.uses)).collect(),
    });
    let own = vec![(now, record)];
    let changes = Changes { granted: Some(made.clone()), own, ..Changes::default() };
    Ok((made, changes))
}

/// Ends a grant.
pub fn revoke<V: View>(
    view: &mut V,
    now: Timestamp,
    grant: &GrantId,
    reason: &str,
) -> Result<(Grant, Changes)> {
    let found = view.grant(grant)?;
    let mut found = found.ok_or_else(|| LedgerError::UnknownGrant(grant.to_string()))?;
    let mut changes = Changes::default();
    if found.revoked.is_none() {
        let revocation = Revocation { at: now, reason: reason.chars().take(400).collect() };
        let ended = GrantRevoke { grant: grant.clone(), reason: revocation.reason.clone() };
        changes.own.push((now, Body::GrantRevoke(ended)));
        found.revoked = Some(revocation.clone());
        changes.revoked = Some((grant.clone(), revocation));
    }
    Ok((found, changes))
}

/// Makes one change with its record, or a record or a page alone.
pub fn commit<V: View>(
    view: &mut V,
    now: Timestamp,
    prepared: Prepared,
) -> Result<(Receipt, Changes)> {
    let Prepared { hold, unlock, what, journal } = prepared;
    let mut draft = Draft::new(view, now);
    let grant = draft.held(&hold)?.grant.clone();
    for name in unlock {
        let token = draft.token(&grant, &name)?;
        if !token.granted.candidate || token.unlocked_by.is_some() {
            return Err(Conflict::Locked.into());
        }
        draft.changes.unlocked.push((grant.clone(), name, hold.run.clone()));
    }
    let receipt = match what {
        What::Change(change, record) => draft.change(&hold, &grant, change, record)?,
        What::Record(record) => {
            draft.append_unsealed(&hold.run, record)?;
            draft.receipt(&hold.run)?
        }
        What::Nothing => draft.receipt(&hold.run)?,
    };
    if let Some(bytes) = journal {
        let run = draft.run(&hold.run)?;
        run.pages += 1;
        let pages = run.pages;
        draft.changes.page = Some((hold.run.clone(), pages, bytes));
    }
    runs::renew(&mut draft, &hold.run)?;
    Ok((receipt, draft.changes))
}

/// Says later what became of a use whose outcome is unknown.
pub fn resolve<V: View>(
    view: &mut V,
    now: Timestamp,
    resolution: Resolution,
) -> Result<(Receipt, Changes)> {
    let (run, attempt) = (resolution.run.clone(), resolution.attempt);
    let mut draft = Draft::new(view, now);
    let grant = draft.run(&run)?.grant.clone();
    let Some(found) = draft.view.attempt(&run, &attempt)? else {
        let (run, attempt) = (run.to_string(), attempt.to_string());
        return Err(LedgerError::UnknownAttempt { run, attempt });
    };
    let (change, record) = resolution.into_change(found.token, found.action);
    let hold = Hold { run, fence: 0 };
    let record = unsealed(&hold.run, &record, Vec::new())?;
    let receipt = draft.change(&hold, &grant, change, record)?;
    Ok((receipt, draft.changes))
}

impl<'v, V: View> Draft<'v, V> {
    fn new(view: &'v mut V, now: Timestamp) -> Self {
        Self { view, now, changes: Changes::default() }
    }

    /// A run as it stands in this draft.
    fn run(&mut self, run: &RunId) -> Result<&mut RunSummary> {
        use std::collections::btree_map::Entry as Slot;
        match self.changes.runs.entry(run.clone()) {
            Slot::Occupied(slot) => Ok(slot.into_mut()),
            Slot::Vacant(slot) => {
                let found = self.view.run(run)?;
                Ok(slot.insert(found.ok_or_else(|| LedgerError::UnknownRun(run.to_string()))?))
            }
        }
    }

    /// A run that is open and held by whoever asks.
    fn held(&mut self, hold: &Hold) -> Result<&mut RunSummary> {
        let run = self.run(&hold.run)?;
        if run.stop_reason.is_some() {
            return Err(LedgerError::RunClosed(hold.run.to_string()));
        }
        if run.fence != hold.fence {
            return Err(Conflict::RunLost.into());
        }
        Ok(run)
    }

    /// A token as it stands in this draft.
    fn token(&mut self, grant: &GrantId, name: &str) -> Result<TokenState> {
        let found = self.view.token(grant, name)?;
        let mut token = found.ok_or_else(|| Conflict::UnknownToken(name.to_owned()))?;
        if let Some(left) = self.changes.left.get(&(grant.clone(), name.to_owned())) {
            token.uses_left = *left;
        }
        Ok(token)
    }

    fn receipt(&mut self, run: &RunId) -> Result<Receipt> {
        let timestamp = self.now;
        let run = self.run(run)?;
        let (seq, hash) = (run.records, run.head);
        Ok(Receipt { seq, hash, timestamp, fence: 0, uses_left: 0, approved_until: None })
    }

    /// Writes the next record of a run.
    fn append(&mut self, run: &RunId, body: &Body, openings: Vec<Opening>) -> Result<()> {
        self.append_unsealed(run, unsealed(run, body, openings)?)
    }

    fn append_unsealed(&mut self, run: &RunId, record: Unsealed) -> Result<()> {
        let now = self.now;
        let held = self.run(run)?;
        let sealed = record.seal(held.records + 1, &held.head, now);
        held.records = sealed.seq;
        held.head = sealed.hash;
        self.changes.records.push((run.clone(), sealed));
        Ok(())
    }

    /// Applies a transition to an attempt and its token, and writes the record of it.
    fn change(
        &mut self,
        hold: &Hold,
        grant: &GrantId,
        change: Change,
        record: Unsealed,
    ) -> Result<Receipt> {
        let Change { attempt, token, action, transition } = change;
        let before = self.view.attempt(&hold.run, &attempt)?;
        if before.as_ref().is_some_and(|before| before.token != token) {
            return Err(Conflict::OutOfOrder.into());
        }
        let state = before.as_ref().map(|before| before.state.clone());
        let event = Event { now: self.now, holder: hold.fence, action, transition };
        let next = match self.step(hold, grant, &token, state.clone(), &event) {
            // Holds of others that ran out are uses too; they are given back only when needed.
            Err(LedgerError::Conflict(Conflict::NoUseLeft)) => {
                if !self.expire(grant, &token)? {
                    return Err(Conflict::NoUseLeft.into());
                }
                self.step(hold, grant, &token, state, &event)?
            }
            other => other?,
        };
        self.append_unsealed(&hold.run, record)?;
        let action = before.map_or(action, |before| match before.state {
            protocol::UseState::Released { .. } => action,
            _ => before.action,
        });
        let mut receipt = self.receipt(&hold.run)?;
        receipt.fence = next.attempt.fence();
        receipt.uses_left = next.left;
        if let protocol::UseState::Reserved { approved_until, .. } = &next.attempt {
            receipt.approved_until = *approved_until;
        }
        self.put(&hold.run, grant, token, attempt, action, next, receipt.seq)?;
        Ok(receipt)
    }

    /// Asks the pure rule.
    fn step(
        &mut self,
        hold: &Hold,
        grant: &GrantId,
        token: &str,
        attempt: Option<protocol::UseState>,
        event: &Event,
    ) -> Result<protocol::Next> {
        let run = self.run(&hold.run)?.fence;
        let token = self.token(grant, token)?;
        let locked = token.is_locked_for(&hold.run);
        let found = self.view.position(grant)?;
        let grant = found.ok_or_else(|| LedgerError::UnknownGrant(grant.to_string()))?;
        let token = TokenPosition {
            granted: token.granted.uses,
            left: token.uses_left,
            expires: token.granted.expires,
            requires_approval: token.granted.requires_approval,
            locked,
        };
        Ok(protocol::next(&Position { run, grant, token, attempt }, event)?)
    }

    /// Gives back what others hold beyond their lease. Says whether there was any.
    fn expire(&mut self, grant: &GrantId, token: &str) -> Result<bool> {
        let holds = self.view.expired_holds(grant, token, self.now)?;
        let any = !holds.is_empty();
        for (run, attempt) in holds {
            self.recover(&run, grant, attempt, Transition::Expire)?;
        }
        Ok(any)
    }

    /// Seals an attempt that was left open, and says so in its run's record. `holder` is the run's
    /// present fence, so that this is refused to nobody: it is the ledger's own step.
    fn recover(
        &mut self,
        run: &RunId,
        grant: &GrantId,
        attempt: Attempt,
        transition: Transition,
    ) -> Result<()> {
        let fence = self.run(run)?.fence;
        let hold = Hold { run: run.clone(), fence };
        let message = match (&attempt.state, &transition) {
            (protocol::UseState::Started { .. }, _) => {
                "it was started and no outcome was recorded; the use is spent"
            }
            (_, Transition::Expire) => {
                "the hold on it ran out before it was started; the use was given back"
            }
            _ => "it was held and never started; the use was given back",
        };
        let event = Event { now: self.now, holder: fence, action: attempt.action, transition };
        let state = Some(attempt.state.clone());
        let next = self.step(&hold, grant, &attempt.token, state, &event)?;
        let spent = next.attempt.verdict().is_some();
        let body = Body::Recovery(Recovery {
            token_name: attempt.token.clone(),
            attempt: attempt.id,
            state: if spent { "unknown" } else { "released" }.to_owned(),
            message: message.to_owned(),
        });
        self.append(run, &body, Vec::new())?;
        let seq = self.run(run)?.records;
        let Attempt { id, token, action, .. } = attempt;
        self.put(run, grant, token, id, action, next, seq)
    }

    #[allow(clippy::too_many_arguments, reason = "they are the columns of one row")]
    fn put(
        &mut self,
        run: &RunId,
        grant: &GrantId,
        token: String,
        id: AttemptId,
        action: Digest,
        next: protocol::Next,
        seq: u64,
    ) -> Result<()> {
        let holder = self.run(run)?.fence;
        self.changes.left.insert((grant.clone(), token.clone()), next.left);
        let state = next.attempt;
        self.changes
            .attempts
            .push((run.clone(), Attempt { id, token, action, state, holder, seq }));
        Ok(())
    }
}
