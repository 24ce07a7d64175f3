//! Runs: what opens one, what happens in it, and what ends it.

use std::sync::Arc;

use super::grant::{Definitions, Granted, TokenState};
use super::protocol::{Fence, Resolver, Transition, UseState};
use super::{Ledger, LedgerError};
use crate::approval::{Runner, Signed};
use crate::audit::commitment::{self, Blinding, Part};
use crate::audit::record::{Body, ResolutionRecord, RunClose, RunEnd};
use crate::id::{AttemptId, GrantId, LedgerId, RunId};
use crate::json::Digest;
use crate::outcome::Verdict;
use crate::time::Timestamp;

/// What opens a run.
#[derive(Debug, Clone)]
pub struct Opening {
    /// The run.
    pub run: RunId,
    /// Which process holds it, so that another on the same machine can tell whether it still lives.
    pub owner: String,
    /// How long the run is held without a sign of life, in milliseconds. After that another process
    /// may take it over.
    pub lease_ms: u64,
    /// Where its uses come from.
    pub source: Source,
    /// The `run_open` record.
    pub record: Body,
    /// The openings of what it commits to.
    pub openings: Vec<commitment::Opening>,
    /// The first page of the journal, if the run can be gone on with.
    pub journal: Option<Vec<u8>>,
}

/// Where a run's uses come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// From a grant of its own, which nobody else draws from.
    Own {
        /// Its tokens in the order of their declaration, candidates included.
        tokens: Vec<Granted>,
        /// What is pinned: a resumed run must have the same.
        definitions: Definitions,
    },
    /// From a grant that a person issued.
    Named {
        /// Its name.
        grant: GrantId,
        /// The ledger in which it must lie, when that is known.
        ledger: Option<LedgerId>,
        /// What the run would pin; it must be the same.
        definitions: Definitions,
    },
}

/// The right to add to a run: whoever holds an older fence has lost it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// The run.
    pub run: RunId,
    /// The holder's number.
    pub fence: Fence,
}

/// A run that was opened or taken over.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The right to add to it.
    pub hold: Hold,
    /// The acknowledgement of the record.
    pub receipt: Receipt,
    /// The grant that it draws from.
    pub grant: GrantId,
    /// The grant's tokens and what is left of them now.
    pub tokens: Vec<TokenState>,
}

/// What takes a run over.
#[derive(Debug, Clone)]
pub struct Taking {
    /// The run.
    pub run: RunId,
    /// Which process takes it.
    pub owner: String,
    /// How long the run is held from now on without a sign of life, in milliseconds.
    pub lease_ms: u64,
    /// The holder of whom the caller knows that its process is gone, as [`RunSummary::owner`] named
    /// it. Then its lease isn't waited for.
    pub gone: Option<String>,
    /// What the taker pins; it must be what the run's grant pins. Recovery, which only seals the
    /// run, leaves it out.
    pub definitions: Option<Definitions>,
    /// Who goes on with the run, where an approver must be somebody else.
    pub runner: Option<Runner>,
}

/// One change.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The right to make it.
    pub hold: Hold,
    /// The change of a use's state, if there is one.
    pub change: Option<Change>,
    /// Candidates of the grant that a person unlocks with this entry, for this run. Each is unlocked
    /// once.
    pub unlock: Vec<String>,
    /// What is written down. A change always has a record.
    pub record: Option<Body>,
    /// The openings of what it commits to, which are kept apart.
    pub openings: Vec<commitment::Opening>,
    /// What is needed to go on from here after a crash: opaque to the ledger, at most
    /// [`MOST_JOURNAL_BYTES`](super::MOST_JOURNAL_BYTES).
    pub journal: Option<Vec<u8>>,
}

impl Entry {
    /// A record without a change.
    pub fn note(hold: Hold, record: Body) -> Self {
        let (unlock, openings) = (Vec::new(), Vec::new());
        Self { hold, change: None, unlock, record: Some(record), openings, journal: None }
    }

    /// A page of the journal alone.
    pub fn journal(hold: Hold, page: Vec<u8>) -> Self {
        let (unlock, openings) = (Vec::new(), Vec::new());
        Self { hold, change: None, unlock, record: None, openings, journal: Some(page) }
    }

    /// A change with its record.
    pub fn change(hold: Hold, change: Change, record: Body) -> Self {
        Self { change: Some(change), ..Self::note(hold, record) }
    }
}

/// A change of the state of one use.
#[derive(Debug, Clone)]
pub struct Change {
    /// The attempt.
    pub attempt: AttemptId,
    /// The token.
    pub token: String,
    /// The digest of the action.
    pub action: Digest,
    /// What happens to the use.
    pub transition: Transition,
}

/// What ends a run.
#[derive(Debug, Clone)]
pub struct Closing {
    /// The right to end it.
    pub hold: Hold,
    /// `complete`, `budget_exhausted`, `timeout` or `error`.
    pub stop_reason: String,
    /// What the record says besides the accounts, which the ledger adds.
    pub details: RunEnd,
    /// The openings of what it commits to.
    pub openings: Vec<commitment::Opening>,
    /// Whether the journal stays.
    pub keep_journal: bool,
}

/// What became, as is known later, of a use whose outcome was unknown.
#[derive(Debug, Clone)]
pub struct Resolution {
    /// The run.
    pub run: RunId,
    /// The attempt.
    pub attempt: AttemptId,
    /// Who says so.
    pub by: Resolver,
    /// Succeeded or failed.
    pub verdict: Verdict,
    /// How that is known, in one line.
    pub note: String,
}

impl Resolution {
    /// The change of the attempt, which is of this token and did this action, and the record of it.
    pub fn into_change(self, token: String, action: Digest) -> (Change, Body) {
        let Self { attempt, by, verdict, note, .. } = self;
        let (kind, name) = match &by {
            Resolver::Owner { .. } => ("owner", "the process that started it"),
            Resolver::Person(name) => ("person", name.as_str()),
            Resolver::Target(name) => ("target", name.as_str()),
        };
        let record = Body::Resolution(ResolutionRecord {
            token_name: token.clone(),
            attempt,
            outcome: verdict,
            by: kind.to_owned(),
            name: name.to_owned(),
            note,
        });
        let transition = Transition::Resolve { by, verdict };
        (Change { attempt, token, action, transition }, record)
    }
}

/// Openings that are to be deleted, with whatever else the ledger keeps that says the same: a journal that
/// was kept, the task in the list of runs.
#[derive(Debug, Clone)]
pub struct Erasing {
    /// The run, which must have ended.
    pub run: RunId,
    /// Of which record; of all of them without it.
    pub of: Option<u64>,
    /// Of which field; of all of them without it.
    pub field: Option<String>,
    /// The name of the account that asks for it.
    pub by: String,
}

impl Erasing {
    /// Whether an opening is among them.
    pub fn takes(&self, seq: u64, field: &str) -> bool {
        self.of.is_none_or(|of| of == seq) && self.field.as_deref().is_none_or(|of| of == field)
    }
}

/// What somebody signed about an attempt that waits for approvals.
#[derive(Debug, Clone)]
pub struct Decision {
    /// The run.
    pub run: RunId,
    /// The attempt.
    pub attempt: AttemptId,
    /// What was signed.
    pub signed: Signed,
}

/// What was signed about an attempt so far.
#[derive(Debug, Clone)]
pub struct Decisions {
    /// The ledger's time.
    pub now: Timestamp,
    /// In the order in which it came.
    pub signed: Vec<Signed>,
}

/// The acknowledgement of a durable change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The number of the run's last record.
    pub seq: u64,
    /// That record's digest.
    pub hash: Digest,
    /// When it was written, by the ledger's clock.
    pub timestamp: Timestamp,
    /// The use's fence after the change; zero when no use was changed.
    pub fence: Fence,
    /// Uses of the token that are left after the change; zero when no use was changed.
    pub uses_left: u32,
    /// Until when the held use may be started because a person approved it before: an approval
    /// outlives the hold for which it was asked.
    pub approved_until: Option<Timestamp>,
}

/// A run in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunSummary {
    /// The run.
    pub run: RunId,
    /// The grant that it draws from.
    pub grant: GrantId,
    /// When it was opened.
    pub opened: Timestamp,
    /// How it ended; `None` while it is open, or when it was cut off.
    pub stop_reason: Option<String>,
    /// How many records it has.
    pub records: u64,
    /// The digest of its last record.
    pub head: Digest,
    /// Its task, cut short.
    pub task: String,
    /// Which process holds it.
    pub owner: String,
    /// The holder's number.
    pub fence: Fence,
    /// How long a sign of life holds the run, in milliseconds.
    pub lease_ms: u64,
    /// When the hold ends, unless it is renewed.
    pub lease_until: Timestamp,
    /// How many pages its journal has.
    pub pages: u64,
}

/// What is known of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The attempt.
    pub id: AttemptId,
    /// The token.
    pub token: String,
    /// The digest of the action.
    pub action: Digest,
    /// Where its use stands.
    pub state: UseState,
    /// The fence of the hold on the run by which it was last changed.
    pub holder: Fence,
    /// The number of the record that came with the last change.
    pub seq: u64,
}

/// A ledger with the hold on one run: all that the path of a call needs. Clones are handles on the
/// same hold.
#[derive(Clone)]
pub struct RunLedger {
    ledger: Arc<dyn Ledger>,
    hold: Hold,
    blinding: Option<Arc<Blinding>>,
}

impl RunLedger {
    /// Joins a ledger and a hold that it gave.
    pub fn new(ledger: Arc<dyn Ledger>, hold: Hold) -> Self {
        Self { ledger, hold, blinding: None }
    }

    /// Commits to fields of what is recorded, instead of writing them.
    #[must_use]
    pub fn blinded(mut self, blinding: Option<Arc<Blinding>>) -> Self {
        self.blinding = blinding;
        self
    }

    /// What the records commit to, if they commit to anything.
    pub fn blinding(&self) -> Option<&Arc<Blinding>> {
        self.blinding.as_ref()
    }

    /// Whether the records commit to a part instead of saying it.
    pub fn commits_to(&self, part: Part) -> bool {
        self.blinding.as_ref().is_some_and(|blinding| blinding.covers(part))
    }

    /// The ledger.
    pub fn ledger(&self) -> &Arc<dyn Ledger> {
        &self.ledger
    }

    /// The hold.
    pub fn hold(&self) -> &Hold {
        &self.hold
    }

    /// The run.
    pub fn run(&self) -> &RunId {
        &self.hold.run
    }

    /// Makes a change with its record.
    pub async fn change(&self, change: Change, record: Body) -> Result<Receipt, LedgerError> {
        self.commit(Entry::change(self.hold.clone(), change, record)).await
    }

    /// Makes an entry, with the openings of what its record commits to.
    pub async fn commit(&self, mut entry: Entry) -> Result<Receipt, LedgerError> {
        if let Some(record) = &entry.record {
            entry.openings = self.openings(record)?;
        }
        self.ledger.commit(entry).await
    }

    /// Ends the run.
    pub async fn close(
        &self,
        stop_reason: String,
        details: RunEnd,
        keep_journal: bool,
    ) -> Result<Receipt, LedgerError> {
        // The accounts are the ledger's, and no part of them is committed to.
        let record = Body::RunClose(RunClose {
            stop_reason: String::new(),
            end: details.clone(),
            tokens: Vec::new(),
            records: 0,
        });
        let openings = self.openings(&record)?;
        let hold = self.hold.clone();
        let closing = Closing { hold, stop_reason, details, openings, keep_journal };
        self.ledger.close_run(closing).await
    }

    fn openings(&self, record: &Body) -> Result<Vec<commitment::Opening>, LedgerError> {
        match &self.blinding {
            Some(blinding) => {
                blinding.open(record).map_err(|error| LedgerError::BadRecord(error.to_string()))
            }
            None => Ok(Vec::new()),
        }
    }

    /// Writes a record.
    pub async fn note(&self, record: Body) -> Result<Receipt, LedgerError> {
        self.commit(Entry::note(self.hold.clone(), record)).await
    }

    /// What is known of an attempt of the run.
    pub async fn attempt(&self, attempt: &AttemptId) -> Result<Option<Attempt>, LedgerError> {
        self.ledger.attempt(&self.hold.run, attempt).await
    }
}
