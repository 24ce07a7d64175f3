//! The contract of the durable truth about grants, runs, uses and records.
//!
//! The crate that implements it lives above this one. Here stand the trait, what goes in and comes
//! out ([`grant`], [`run`]), the pure rule of the states ([`protocol`]), and what each request reads
//! and changes ([`transact`]).

pub mod grant;
pub mod protocol;
pub mod run;
pub mod transact;

use async_trait::async_trait;

use crate::audit::log::Log;
use crate::audit::record::SealedRecord;
use crate::id::{AttemptId, RunId};
use crate::time::Timestamp;

pub use crate::id::{GrantId, LedgerId};
pub use grant::{Definitions, Grant, Granted, Identity, Issuing, Revocation, TokenState};
pub use protocol::{Conflict, Fence, Resolver, Transition, UseState};
pub use run::{
    Attempt, Change, Closing, Decision, Decisions, Entry, Erasing, Hold, Opened, Opening, Receipt,
    Resolution, RunLedger, RunSummary, Source, Taking,
};

/// A durable store of grants, runs, uses and records.
///
/// # Contract
///
/// - **Durability.** When a method returns `Ok`, what it did survives the loss of power. When it
///   returns [`LedgerError::Unavailable`] or [`LedgerError::Damaged`], it is not known whether the
///   change was made: the caller must look the attempt up ([`Ledger::attempt`]) or treat the use as
///   spent, and must never simply try again. Every other error means that nothing was changed.
/// - **Atomicity.** A change of a use's state, the record of it and the journal's page that comes
///   with it are one transaction: none is ever seen without the others.
/// - **Order.** The records of a run form one chain: each has the next number and names the digest
///   of the one before. Concurrent commits to one run are put in some order.
/// - **Linearity.** For every token of a grant, the uses that are left, held and started always add
///   up to what was granted, whatever many threads, processes and hosts do at once. Which state
///   follows which is [`protocol::next`] and nothing else: an implementation calls it inside its
///   transaction, or does in its own language what it does and is checked against it.
/// - **Serializability.** Transactions behave as if they were made one after the other.
/// - **Clock.** Times are the ledger's own and never run backwards within a run. The highest time
///   that was ever given out is kept (to the second, so that it need not be written at every spend);
///   a clock more than [`CLOCK_SLACK_MS`] behind it refuses every change.
/// - **Fences.** A run is held by one process at a time. Whoever takes it over gets a higher
///   [`Hold::fence`], and from then on every change by an older hold is refused.
/// - **Cancellation.** A future that is dropped may or may not have made its change, as after a
///   lost answer.
/// - **Records of a closed run.** Only [`Ledger::resolve`] and [`Ledger::erase`] add to them.
/// - **Openings.** What a record commits to is kept with it, in the same transaction, until it is erased.
#[async_trait]
pub trait Ledger: Send + Sync + 'static {
    // The ledger itself.

    /// Which ledger it is, and its epoch.
    async fn identity(&self) -> Result<Identity, LedgerError>;

    /// Begins a new epoch: every grant that was issued before it, those of running runs included,
    /// takes no further spend. For the operator of a replicated database after a failover that may
    /// have lost acknowledged spends.
    async fn bump_epoch(&self) -> Result<Identity, LedgerError>;

    /// Takes the present time of its clock for right, whatever was given out before: the way out when a
    /// clock was set ahead and is right again. The holds on runs and uses, and the approvals, that were
    /// reckoned from the wrong time end now. For the operator alone.
    async fn reset_clock(&self) -> Result<ClockReset, LedgerError>;

    // Grants.

    /// Creates a named grant. The only way in which one comes into being.
    async fn issue(&self, issuing: Issuing) -> Result<Grant, LedgerError>;

    /// Ends a grant: from the next spend on, on every host. What was started may still be sealed.
    /// Revoking a grant again changes nothing.
    async fn revoke(&self, grant: &GrantId, reason: &str) -> Result<Grant, LedgerError>;

    /// A grant with what is left of it.
    async fn grant(&self, grant: &GrantId) -> Result<Option<Grant>, LedgerError>;

    /// The named grants, latest first.
    async fn grants(&self) -> Result<Vec<Grant>, LedgerError>;

    // Runs.

    /// Opens a run: takes hold of it and writes its first record. An anonymous run gets a grant of
    /// its own; a run with a named grant draws from that one, and is refused when the grant is
    /// unknown, ended, in another ledger, or was issued with other definitions.
    async fn open_run(&self, opening: Opening) -> Result<Opened, LedgerError>;

    /// Takes over a run whose holder is gone: gives back what was only reserved, with a higher
    /// fence, and records what was started as unknown. Refused while its lease runs
    /// ([`LedgerError::RunHeld`]), unless the caller vouches that the holder's process is gone.
    async fn take_run(&self, taking: Taking) -> Result<Opened, LedgerError>;

    /// Holds a run for as long again as it was opened for. Commits do so too.
    async fn renew_run(&self, hold: &Hold) -> Result<Timestamp, LedgerError>;

    /// Makes one change with its record, or a record or a page of the journal alone.
    async fn commit(&self, entry: Entry) -> Result<Receipt, LedgerError>;

    /// Ends a run: gives back what was only reserved, accounts for every token, writes the last
    /// record and, unless it is to be kept, deletes the journal. What was started without a word
    /// about its outcome is accounted as unknown.
    async fn close_run(&self, closing: Closing) -> Result<Receipt, LedgerError>;

    /// Says later what became of a use whose outcome is unknown, once. No hold on the run is needed,
    /// and the run may be closed. The use stays spent.
    async fn resolve(&self, resolution: Resolution) -> Result<Receipt, LedgerError>;

    /// Deletes openings of what the records of a run commit to, with the record of it, and answers how many
    /// they were. The bytes are gone when it returns, as far as the store can see to that.
    async fn erase(&self, erasing: Erasing) -> Result<u64, LedgerError>;

    /// Keeps what somebody signed about an attempt that waits for approvals, and answers its place among
    /// them, from 1. No hold on the run is needed. Whether it counts is judged by whoever spends: from
    /// the moment at which a yes is committed ([`Transition::Approve`]) nothing more is taken
    /// ([`LedgerError::NotWaiting`]), so that all that was taken can be heard before the spend. The
    /// same again changes nothing.
    async fn decide(&self, decision: Decision) -> Result<u64, LedgerError>;

    // What is known. Reading changes nothing.

    /// What was signed about an attempt, with the ledger's time.
    async fn decisions(&self, run: &RunId, attempt: &AttemptId) -> Result<Decisions, LedgerError>;

    /// What is known of an attempt. This is how a lost answer is found out: a start whose attempt
    /// stands here as started by the asker's own hold was made.
    async fn attempt(
        &self,
        run: &RunId,
        attempt: &AttemptId,
    ) -> Result<Option<Attempt>, LedgerError>;

    /// The attempts of a run, in the order of their identities.
    async fn attempts(&self, run: &RunId) -> Result<Vec<Attempt>, LedgerError>;

    /// The records of a run from number `from` on, at most `limit`, in order.
    async fn records(
        &self,
        run: &RunId,
        from: u64,
        limit: u64,
    ) -> Result<Vec<SealedRecord>, LedgerError>;

    /// The pages of a run's journal from number `from` on (the first is 1), at most `limit`, in
    /// order.
    async fn journal(
        &self,
        run: &RunId,
        from: u64,
        limit: u64,
    ) -> Result<Vec<Vec<u8>>, LedgerError>;

    /// The runs, latest first.
    async fn runs(&self) -> Result<Vec<RunSummary>, LedgerError>;

    /// The runs that are open, latest first.
    async fn open_runs(&self) -> Result<Vec<RunSummary>, LedgerError>;

    /// The log over all records, where the ledger keeps one.
    fn log(&self) -> Option<&dyn Log> {
        None
    }
}

/// What became of a ledger's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockReset {
    /// The highest time that was given out before.
    pub before: Timestamp,
    /// The time from which it goes on.
    pub now: Timestamp,
}

/// How far the clock may run behind the highest time in the ledger before it is refused, in
/// milliseconds.
pub const CLOCK_SLACK_MS: u64 = 5_000;

/// The most bytes that one page of a journal may have: 16 MiB.
pub const MOST_JOURNAL_BYTES: usize = 16 << 20;

/// The most decisions that are kept about one attempt.
pub const MOST_DECISIONS: u64 = 64;

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
    /// Another process holds the run.
    #[error("run `{run}` is held until {until} by another process; end that one, or wait")]
    RunHeld {
        /// The run.
        run: String,
        /// When the hold ends, unless it is renewed.
        until: Timestamp,
    },
    /// The run has not ended.
    #[error(
        "run `{0}` has not ended, and what it records is still needed; erase when it has (`lar resume {0} \
         --abandon` seals one that was cut off)"
    )]
    RunOpen(String),
    /// There is no such attempt.
    #[error("run `{run}` made no attempt `{attempt}`; `lar audit show {run}` shows those it made")]
    UnknownAttempt {
        /// The run.
        run: String,
        /// The attempt.
        attempt: String,
    },
    /// The attempt waits for no decision.
    #[error("attempt `{attempt}` waits for no decision: {why}")]
    NotWaiting {
        /// The attempt.
        attempt: String,
        /// Why.
        why: String,
    },
    /// There is no such grant.
    #[error(
        "this ledger has no grant `{0}`, and a run never creates one; issue it with `lar grants issue \
         MANIFEST`, or name the ledger in which it was issued"
    )]
    UnknownGrant(String),
    /// A grant of that name was issued before.
    #[error(
        "grant `{0}` was issued before; its uses are never renewed, so issue another id, or show it \
         with `lar grants show {0}`"
    )]
    GrantExists(String),
    /// It isn't the ledger that was named.
    #[error(
        "this is ledger `{found}` and the grant lies in ledger `{wanted}`; name that one with \
         `--ledger`"
    )]
    OtherLedger {
        /// The ledger that was named.
        wanted: String,
        /// The ledger that was opened.
        found: String,
    },
    /// The grant was issued with other definitions.
    #[error(
        "grant `{0}` was issued with other definitions; run with those, or issue another grant"
    )]
    OtherDefinitions(String),
    /// The grant takes no further run.
    #[error("grant `{grant}` can't be drawn from: {why}")]
    GrantEnded {
        /// The grant.
        grant: String,
        /// Why, and what to do.
        why: String,
    },
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

impl LedgerError {
    /// Whether it is not known if the change was made.
    pub fn leaves_doubt(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Damaged(_))
    }
}
