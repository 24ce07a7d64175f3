//! What a token allows: a closed set of kinds, matched exhaustively.
//!
//! A scope judges an [`Action`](crate::action::Action) that is already canonical. Judging is pure
//! and total: the same scope and action always give the same answer, and there is no input for
//! which there is none.

pub mod command;
pub mod database;
pub mod deploy;
pub mod endpoint;
pub mod lexer;
pub mod needs;
pub mod path;
pub mod profile;
pub mod reach;
pub mod secret;
pub mod shell;
pub mod sql;
pub mod url;
pub mod wait;

use serde::Serialize;

use crate::action::Action;
use crate::error::Refusal;

pub use database::DatabaseScope;
pub use deploy::DeployScope;
pub use endpoint::{Endpoint, EndpointError};
pub use path::{FileMode, FileScope};
pub use reach::Reach;
pub use secret::{Injection, SecretScope, SecretSource};
pub use shell::ShellScope;
pub use url::HttpScope;
pub use wait::WaitScope;

/// The kinds of things that a token can allow.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Scope {
    /// Commands that begin with an allowed prefix.
    Shell(ShellScope),
    /// Requests to one URL.
    Http(HttpScope),
    /// Files beneath allowed paths.
    File(FileScope),
    /// Statements on one database.
    Database(DatabaseScope),
    /// One deployment.
    Deploy(DeployScope),
    /// The return from a deployment that failed. Minted with a [`Scope::Deploy`], never by itself.
    Rollback(DeployScope),
    /// A pause.
    Wait(WaitScope),
    /// A shell or HTTP scope with a secret put in at the last moment.
    Secret(SecretScope),
}

impl Scope {
    /// Whether `action` lies within this scope.
    pub fn permits(&self, action: &Action) -> Result<(), Refusal> {
        match (self, action) {
            (Self::Shell(scope), Action::Shell(action)) => scope.permits(action),
            (Self::Http(scope), Action::Http(action)) => scope.permits(action),
            (Self::File(scope), Action::File(action)) => scope.permits(action),
            (Self::Database(scope), Action::Database(action)) => scope.permits(action),
            (Self::Deploy(scope), Action::Deploy(action)) => scope.permits(&scope.action(), action),
            (Self::Rollback(scope), Action::Rollback(action)) => {
                scope.permits(&scope.rollback_action(), action)
            }
            (Self::Wait(scope), Action::Wait(action)) => scope.permits(action),
            (Self::Secret(scope), Action::Secret(action)) => scope.permits(action),
            (
                Self::Shell(_)
                | Self::Http(_)
                | Self::File(_)
                | Self::Database(_)
                | Self::Deploy(_)
                | Self::Rollback(_)
                | Self::Wait(_)
                | Self::Secret(_),
                _,
            ) => Err(Refusal::TokenScope(format!(
                "a {} token can't do a {} action",
                self.kind(),
                action.kind()
            ))),
        }
    }

    /// The kind's name, as in the manifest.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Shell(_) => "shell",
            Self::Http(_) => "http",
            Self::File(_) => "file",
            Self::Database(_) => "database",
            Self::Deploy(_) => "deploy",
            Self::Rollback(_) => "rollback",
            Self::Wait(_) => "wait",
            Self::Secret(_) => "secret",
        }
    }

    /// The scope in one line, as the audit trail and the approval prompt show it.
    pub fn summary(&self) -> String {
        match self {
            Self::Shell(scope) => scope.summary(),
            Self::Http(scope) => scope.summary(),
            Self::File(scope) => scope.summary(),
            Self::Database(scope) => scope.summary(),
            Self::Deploy(scope) => scope.summary(),
            Self::Rollback(scope) => scope.rollback_summary(),
            Self::Wait(scope) => scope.summary(),
            Self::Secret(scope) => scope.summary(),
        }
    }
}
