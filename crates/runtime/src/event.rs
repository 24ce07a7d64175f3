//! What a run tells those who watch it. Nothing here decides anything.

use std::time::Duration;

use lar_core::approval::Awaited;
use lar_core::audit::trail::Proof;
use lar_core::id::RunId;

use crate::confine::Tier;

/// Something that happened in a run. Texts are redacted and unescaped.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// It is known how the kernel confines the programs of the run.
    Confined {
        /// At which tier.
        tier: Tier,
    },
    /// The model is asked.
    TurnStarted {
        /// Counted from 1.
        turn: u64,
    },
    /// The model said something; a piece of its text.
    ModelText(&'a str),
    /// The model's API is tried again.
    Retrying {
        /// Why.
        why: &'a str,
        /// After how long.
        wait: Duration,
    },
    /// A call begins its way.
    CallStarted {
        /// The tool.
        tool: &'a str,
        /// The input's JSON text.
        input: &'a str,
    },
    /// A call was made and sealed.
    CallSealed(&'a Proof),
    /// A call was refused, or the model's turn was.
    CallRefused {
        /// The tool, or the turn.
        tool: &'a str,
        /// The refusal's public name.
        error_type: &'static str,
        /// Why.
        message: &'a str,
    },
    /// One of the runtime's own tools was called, and did what it is for.
    CallAnswered {
        /// The tool.
        tool: &'a str,
        /// What the model is told.
        answer: &'a str,
    },
    /// A person is about to be asked: whoever owns the terminal must leave it.
    Asking {
        /// The token.
        token: &'a str,
    },
    /// The person answered.
    Answered {
        /// Whether it was a yes.
        approved: bool,
    },
    /// People elsewhere are waited for: who may approve, who did so far, or what came and doesn't count.
    Waiting(&'a Awaited<'a>),
    /// An earlier run, whose process was gone, was sealed.
    Recovered {
        /// That run.
        run: &'a RunId,
    },
    /// An earlier run, whose process is gone, can be resumed.
    CutOff {
        /// That run.
        run: &'a RunId,
    },
    /// The run's last records are in the ledger, and not in the signed log yet.
    LogBehind {
        /// Why.
        why: &'a str,
    },
    /// Too few witnesses have cosigned that the run's last records are in the log.
    Unwitnessed {
        /// How many did, and why the others didn't.
        why: &'a str,
    },
    /// No authority has stated when the run's last records were in the log, though one was named.
    Unstamped {
        /// Why.
        why: &'a str,
    },
    /// Some outputs could not be kept beside the record.
    NotKept {
        /// Why.
        why: &'a str,
    },
    /// An earlier run, whose process was gone, could not be sealed. A later start tries again.
    NotRecovered {
        /// That run.
        run: &'a RunId,
        /// Why.
        why: &'a str,
    },
    /// A failed deployment is being undone.
    RollingBack {
        /// The token.
        token: &'a str,
    },
}

/// Somebody who watches a run. Called in order, on the run's own task: it must return at once.
pub trait Observer: Send + Sync + 'static {
    /// Takes notice.
    fn notice(&self, event: Event<'_>);
}

/// Nobody watches.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

impl Observer for Unwatched {
    fn notice(&self, _: Event<'_>) {}
}
