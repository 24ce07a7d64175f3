//! Why a run can't be started.

use lar_core::json::JsonRefusal;
use lar_core::ledger::LedgerError;
use lar_core::set::SetError;
use lar_runtime::journal::JournalError;
use lar_runtime::model::ModelError;
use lar_runtime::secrets::SecretError;
use lar_runtime::tools::ClusterError;

/// A run can't be started. Nothing was executed or spent.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// The tokens don't form a set.
    #[error(transparent)]
    Set(#[from] SetError),
    /// A secret can't be had.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The programs that the tokens run can't be confined as demanded, or could write what the run
    /// trusts.
    #[error(transparent)]
    Confine(#[from] lar_runtime::confine::ConfineError),
    /// A deployment's cluster can't be told.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The model can't be opened.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The ledger can't be opened or written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The ledger's address can't be used.
    #[error("the ledger's address can't be used: {0}")]
    Address(#[from] lar_ledger::AddressError),
    /// The run can't be gone on with.
    #[error(transparent)]
    Resume(#[from] JournalError),
    /// Outputs can't be kept.
    #[error("outputs can't be kept in the directory that was named ({0}); name another")]
    Kept(std::io::ErrorKind),
    /// A token demands witnesses and none are named.
    #[error(
        "a token demands witnesses (`witness`) and the run names none; add `[witnessing]`, in \
         Python `witnesses`"
    )]
    NoWitness,
    /// Witnesses can't be asked.
    #[error("{0}")]
    Witness(String),
    /// A cost limit can't be kept.
    #[error(
        "`max_cost_usd` is set and the price of model `{0}` is unknown; add it under `[[price]]`, or \
         limit `max_tokens` instead"
    )]
    NoPrice(String),
    /// The state directory can't be told.
    #[error("neither `XDG_STATE_HOME` nor `HOME` is an absolute path; name a file with `--ledger`")]
    NoStateDirectory,
    /// A definition can't be written down.
    #[error("a token can't be recorded: {0}")]
    Record(#[from] JsonRefusal),
    /// The grant was issued with other definitions.
    #[error(
        "grant `{grant}` was issued with other definitions than these; run with those, or issue \
         another grant:\n  {}", .lines.join("\n  ")
    )]
    OtherDefinitions {
        /// The grant.
        grant: String,
        /// Where they differ.
        lines: Vec<String>,
    },
    /// No grant is named.
    #[error("no grant is named; say `id` under `[grant]`, or `--grant ID`")]
    NoGrant,
    /// Somebody is excluded from approving, and it isn't known who.
    #[error(
        "an approver must be somebody else than whoever starts the run, and `{0}` is no name of an \
         approver; say who starts it with `--runner NAME`, such as an approver's name or that of a pipeline"
    )]
    UnknownRunner(String),
    /// The runner's name can't be one.
    #[error("`{0}` is no name of a runner: between 1 and 128 printable characters")]
    BadRunner(String),
    /// An agent without limits.
    #[error("an agent needs a budget; say `max_steps` and a timeout")]
    NoBudget,
    /// The run was stopped before it began.
    #[error("the run was stopped before it began; nothing was started")]
    Stopped,
    /// The system gives no random numbers or no working directory.
    #[error("{0}")]
    System(&'static str),
}
