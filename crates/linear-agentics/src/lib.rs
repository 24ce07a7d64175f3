//! Linear Agent Runtime: give an AI agent exactly the capabilities it needs, nothing more, and prove
//! what it did.
//!
//! Each action that an agent may take is a token with a scope. A use of it is spent at most once,
//! durably before the action begins, and recorded with its outcome; what can't be known is called
//! unknown.
//!
//! ```no_run
//! use linear_agentics::{Budget, CapabilitySet, RunOptions, start};
//! use linear_agentics::tokens::{HttpToken, ShellToken};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     linear_agentics::init(); // first: this program also serves as its children's launcher
//!     tokio::runtime::Runtime::new()?.block_on(async {
//!         let tokens = CapabilitySet::new([
//!             ShellToken::new("read-pods", ["kubectl get pods"]).max_uses(5).build()?,
//!             HttpToken::new("health", "https://api.internal/health", ["GET"]).build()?,
//!         ])?;
//!         let options = RunOptions::new(tokens, Budget::new(20, 15)).task("Is the service well?");
//!         let result = start(options).await?.run().await?;
//!         println!("{}", result.audit_trail.to_json());
//!         Ok(())
//!     })
//! }
//! ```
//!
//! The parts: [`tokens`] to declare, [`manifest`] to read them from TOML, [`start`] to run an agent,
//! [`AuditTrail`] for what it did, [`table`] and [`report`] to show it.

pub mod approvals;
mod check;
mod compose;
pub mod export;
mod grant;
mod kept;
pub mod keys;
pub mod manifest;
mod options;
mod place;
pub mod report;
mod resolve;
mod session;
pub mod table;
mod walls;
pub mod witness;

pub use check::{check_run, check_trail, flaw_of};
pub use compose::{ComposeError, default_ledger, resume, start};
pub use grant::{GrantChoice, difference, issue};
pub use kept::KeptOutputs;
pub use lar_core::approval::{
    self, Answer, ApprovalGate, ApprovalRequest, Approver, Approvers, NoApprover,
};
pub use lar_core::audit::trail::Proof;
pub use lar_core::audit::{self, AuditTrail};
pub use lar_core::budget::Budget;
pub use lar_core::error::Refusal;
pub use lar_core::ledger::{Ledger, LedgerError};
pub use lar_core::set::{CapabilitySet, SetError, Share, SplitError};
pub use lar_core::{
    action, definition, display, id, invocation, json, ledger, outcome, scope, time,
};
pub use lar_runtime::agent::{Agent, AgentResult, StopReason, read_trail};
pub use lar_runtime::approval::{TerminalGate, account, confirm_at_terminal};
pub use lar_runtime::confine::{self, ConfineError, Tier, Walls};
pub use lar_runtime::dispatch::{Dispatcher, judge, told};
pub use lar_runtime::event::{Event, Observer, Unwatched};
pub use lar_runtime::negotiate::{
    CapabilityProvider, CapabilityRequest, Choice, HumanCapabilityProvider,
};
pub use lar_runtime::stop::{Cause, Stop};
pub use lar_runtime::timestamp::{TimestampError, timestamp};
pub use lar_runtime::tools::{Programs, TargetAnswer, look};
pub use lar_runtime::witness::{Cosigned, Unwitnessed, Witnesses, Witnessing, WitnessingError};
pub use lar_runtime::{journal, model, recover};
pub use options::RunOptions;
pub use place::{LedgerPlace, accept_restored, existing_ledger, open_ledger};
pub use resolve::ask_target;
pub use session::{MakeOptions, Session, SessionError};
pub use url::Url;

/// Tokens, by the names under which they are declared.
pub mod tokens {
    pub use lar_core::scope::FileMode;
    pub use lar_core::token::{
        AttenuateError, DatabaseToken, DeployToken, FileToken, HttpToken, MultiUseDatabaseToken,
        MultiUseFileToken, MultiUseHttpToken, MultiUseShellToken, Narrowing, SecretToken,
        ShellToken, Token, TokenError, WaitToken, Witness,
    };
}

/// Makes this program able to start children: it is also the launcher that confines them. Call it
/// first in `main`, before threads, files and arguments. See [`lar_sandbox::init`].
pub fn init() {
    lar_sandbox::init();
}

/// Names the program whose `main` calls [`init`], for one whose own `main` can't: a Python extension
/// names the `lar-launcher` that lies beside it. See [`lar_sandbox::use_helper`].
///
/// # Errors
///
/// When it can't be opened, or when there is a helper already.
pub fn use_helper(path: &std::path::Path) -> Result<(), lar_sandbox::SpawnError> {
    lar_sandbox::use_helper(path)
}

/// Where the program lies that starts children: this one, or the one that [`use_helper`] named.
pub fn launcher() -> Option<std::path::PathBuf> {
    lar_sandbox::helper()
}
