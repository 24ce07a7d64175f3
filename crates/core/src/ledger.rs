//! The contract of the durable truth about uses and records.
//!
//! The crate that implements it lives above this one; here stand only the trait, what goes in and
//! comes out, and the pure rule of the states ([`protocol`]).

pub mod protocol;

use async_trait::async_trait;

use crate::audit::record::{Body, SealedRecord};
use crate::id::{AttemptId, RunId};
use crate::json::{Digest, JsonRefusal};
use crate::time::Timestamp;
use crate::token::Token;

pub use protocol::{Conflict, Fence, Transition, UseState};

/// A durable store of uses and records.
///
/// # Contract
///
/// - **Durability.** When a method returns `Ok`, what it did survives the loss of power. When it
///   returns a [`LedgerError::Conflict`], nothing was changed. When it returns any other error, it is
///   not known whether the change was made: the caller must look the attempt up
///   ([`Ledger::attempt`]) or treat the use as spent, and must never simply try again.
/// - **Atomicity.** A change of a use's state and the record of it are one transaction: neither is
///   ever seen without the other.
/// - **Order.** The records of a run form one chain: each has the next number and names the digest
///   of the one before. Concurrent commits to one run are put in some order.
/// - **Linearity.** For every token of a grant, the uses that are left, held and started always add
///   up to what was granted, whatever many threads, processes and hosts do at once.
/// - **Clock.** Times are the ledger's own and never run backwards within it.
/// - **Cancellation.** A future that is dropped may or may not have made its change, as after a
///   lost answer.
#[async_trait]
pub trait Ledger: Send + Sync + 'static {
    /// Opens a run: writes its first record and makes its tokens' uses available.
    async fn open_run(&self, opening: Opening) -> Result<Receipt, LedgerError>;

    /// Makes one change with its record, or a record alone.
    async fn commit(&self, entry: Entry) -> Result<Receipt, LedgerError>;

    /// Ends a run: gives back what was only reserved, accounts for every token, and writes the last
    /// record. What was started without a word about its outcome is accounted as unknown.
    async fn close_run(&self, closing: Closing) -> Result<Receipt, LedgerError>;

    /// What is known of an attempt.
    async fn attempt(&self, attempt: &AttemptId) -> Result<Option<UseState>, LedgerError>;

    /// The records of a run from number `from` on, at most `limit`, in order.
    async fn records(
        &self,
        run: &RunId,
        from: u64,
        limit: u64,
    ) -> Result<Vec<SealedRecord>, LedgerError>;

    /// The runs, latest first.
    async fn runs(&self) -> Result<Vec<RunSummary>, LedgerError>;
}

/// What opens a run.
#[derive(Debug, Clone)]
pub struct Opening {
    /// The run.
    pub run: RunId,
    /// Which process holds it, so that another can tell whether it still lives.
    pub owner: String,
    /// Its tokens, candidates of a negotiation not included.
    pub tokens: Vec<Granted>,
    /// The `run_open` record.
    pub record: Body,
}

/// A token as the ledger keeps it.
#[derive(Debug, Clone)]
pub struct Granted {
    /// The token's name.
    pub name: String,
    /// SHA-256 of its definition.
    pub definition: Digest,
    /// How many uses it grants.
    pub uses: u32,
    /// When it ends.
    pub expires: Option<Timestamp>,
}

impl Granted {
    /// A token as the ledger keeps it.
    pub fn of(token: &Token) -> Result<Self, JsonRefusal> {
        Ok(Self {
            name: token.name().to_owned(),
            definition: token.digest()?,
            uses: token.max_uses(),
            expires: token.expires(),
        })
    }
}

/// One change.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The run.
    pub run: RunId,
    /// The change of a use's state, if there is one.
    pub change: Option<Change>,
    /// Tokens that become available with this entry: a candidate that a person granted, and its way
    /// back.
    pub grants: Vec<Granted>,
    /// What is written down.
    pub record: Body,
}

impl Entry {
    /// A record without a change.
    pub fn note(run: RunId, record: Body) -> Self {
        Self { run, change: None, grants: Vec::new(), record }
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
    /// The run.
    pub run: RunId,
    /// `complete`, `budget_exhausted`, `timeout` or `error`.
    pub stop_reason: String,
    /// What the record says besides the accounts, which the ledger adds.
    pub details: crate::audit::record::RunEnd,
}

/// The acknowledgement of a durable change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The record's number in its run.
    pub seq: u64,
    /// The record's digest.
    pub hash: Digest,
    /// When it was written, by the ledger's clock.
    pub timestamp: Timestamp,
    /// The use's fence after the change; zero when no use was changed.
    pub fence: Fence,
    /// Uses of the token that are left after the change; zero when no use was changed.
    pub uses_left: u32,
}

/// A run in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunSummary {
    /// The run.
    pub run: RunId,
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
}

/// The ledger refused, or can't be relied on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// The change doesn't fit the state of the use. Nothing was changed.
    #[error("{0}")]
    Conflict(#[from] Conflict),
    /// There is no such run.
    #[error("the ledger has no run `{0}`; `lar audit list` shows those there are")]
    UnknownRun(String),
    /// The run has ended; nothing can be added.
    #[error("run `{0}` has ended; its record takes nothing more")]
    RunClosed(String),
    /// The record doesn't fit. Nothing was changed.
    #[error("the record can't be written: {0}")]
    BadRecord(String),
    /// The store doesn't answer, is full, locked or read-only.
    #[error("the ledger can't be written: {0}")]
    Unavailable(String),
    /// The store's content isn't what a ledger leaves.
    #[error("the ledger is damaged: {0}")]
    Damaged(String),
}
