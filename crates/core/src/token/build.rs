//! How tokens are written in code: one builder a kind, with the fields' names of the manifest.

mod database;
mod deploy;
mod file;
mod http;
mod secret;
mod shell;
mod wait;

use std::time::Duration;

use super::{Examples, MAX_USES, Token, TokenError, Witness};
use crate::approval::Approvers;
use crate::scope::{Reach, Scope};
use crate::time::Timestamp;

pub use database::{DatabaseToken, MultiUseDatabaseToken};
pub use deploy::DeployToken;
pub use file::{FileToken, MultiUseFileToken};
pub use http::{HttpToken, MultiUseHttpToken};
pub use secret::SecretToken;
pub use shell::{MultiUseShellToken, ShellToken};
pub use wait::WaitToken;

/// What every kind of token has.
#[derive(Debug, Clone)]
pub(super) struct Common {
    pub(super) name: String,
    pub(super) max_uses: u32,
    pub(super) requires_approval: bool,
    pub(super) approvers: Option<Approvers>,
    pub(super) required: bool,
    pub(super) expires: Option<Timestamp>,
    pub(super) witness: Option<Witness>,
    pub(super) examples: Examples,
}

impl Common {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            max_uses: 1,
            requires_approval: false,
            approvers: None,
            required: false,
            expires: None,
            witness: None,
            examples: Examples::default(),
        }
    }

    pub(super) fn token(self, scope: Scope) -> Result<Token, TokenError> {
        if self.max_uses == 0 || self.max_uses > MAX_USES {
            return Err(TokenError::Field {
                field: "max_uses",
                message: format!("{} is not between 1 and {MAX_USES}", self.max_uses),
            });
        }
        if self.approvers.is_some() && !self.requires_approval {
            return Err(TokenError::Field {
                field: "approvers",
                message: "nobody is asked unless `requires_approval` is true".to_owned(),
            });
        }
        let token = Token {
            name: self.name,
            scope,
            within: Vec::new(),
            max_uses: self.max_uses,
            requires_approval: self.requires_approval,
            approvers: self.approvers,
            required: self.required,
            expires: self.expires,
            witness: self.witness,
            examples: self.examples,
        };
        check_name(&token)?;
        Ok(token)
    }
}

/// A tool's name must fit what model APIs take.
fn check_name(token: &Token) -> Result<(), TokenError> {
    let fail =
        |message: String| TokenError::Name { name: token.name.escape_debug().to_string(), message };
    let tool = token.tool_name();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if token.name.is_empty() {
        return Err(fail("a token needs a name".into()));
    }
    if !token.name.bytes().all(plain) {
        return Err(fail("a name is made of letters, digits, `_` and `-` (ASCII)".into()));
    }
    if tool.len() > 128 {
        return Err(fail(format!("its tool name has {} characters; at most 128 fit", tool.len())));
    }
    Ok(())
}

/// The setters that every builder has.
macro_rules! common_setters {
    ($builder:ident) => {
        impl $builder {
            /// Grants `uses` uses instead of one; each is spent once.
            pub fn max_uses(mut self, uses: u32) -> Self {
                self.common.max_uses = uses;
                self
            }

            /// Makes a human approve every use.
            pub fn requires_approval(mut self, yes: bool) -> Self {
                self.common.requires_approval = yes;
                self
            }

            /// Makes these people approve every use, by a signature. The token must require approval.
            pub fn approvers(mut self, approvers: crate::approval::Approvers) -> Self {
                self.common.approvers = Some(approvers);
                self
            }

            /// Makes the run fail when this token was never spent with success.
            pub fn required(mut self, yes: bool) -> Self {
                self.common.required = yes;
                self
            }

            /// Ends the token at that moment of the ledger's clock.
            pub fn expires(mut self, at: Timestamp) -> Self {
                self.common.expires = Some(at);
                self
            }

            /// Lets no effect begin before witnesses have cosigned that its use is spent. The run must
            /// name witnesses.
            pub fn witness(mut self, when: Witness) -> Self {
                self.common.witness = Some(when);
                self
            }

            /// States a call that must be allowed.
            pub fn allows(mut self, example: impl Into<String>) -> Self {
                self.common.examples.allows.push(example.into());
                self
            }

            /// States a call that must be refused.
            pub fn refuses(mut self, example: impl Into<String>) -> Self {
                self.common.examples.refuses.push(example.into());
                self
            }
        }
    };
}

use common_setters;

/// What the programs of a token may reach, as it is declared.
#[derive(Debug, Clone, Default)]
pub(super) struct ReachTexts {
    pub(super) network: Vec<String>,
    pub(super) writes: Vec<String>,
    pub(super) reads: Vec<String>,
    pub(super) also_runs: Vec<String>,
}

impl ReachTexts {
    pub(super) fn build(self) -> Result<Reach, TokenError> {
        Reach::new(&self.network, self.writes, self.reads, self.also_runs)
    }
}

/// The setters of builders whose tokens run programs that the issuer names.
macro_rules! reach_setters {
    ($builder:ident) => {
        impl $builder {
            /// Lets the program connect to `host:port` by TCP; `*.domain:port` stands for all hosts
            /// below. Without one it has no network at all.
            pub fn network(mut self, endpoint: impl Into<String>) -> Self {
                self.reach.network.push(endpoint.into());
                self
            }

            /// Lets the program change this file, or what is beneath this directory. It must exist when
            /// the run starts. All else is read-only.
            pub fn writes(mut self, path: impl Into<String>) -> Self {
                self.reach.writes.push(path.into());
                self
            }

            /// Lets the program read this file, or what is beneath this directory, beyond its working
            /// directory and the system's libraries. A leading `~/` stands for the user's home.
            pub fn reads(mut self, path: impl Into<String>) -> Self {
                self.reach.reads.push(path.into());
                self
            }

            /// Lets the program start this one in turn: a name that is looked up in PATH, a path, a
            /// directory for all programs in it, or `*` for all programs of PATH.
            pub fn also_runs(mut self, program: impl Into<String>) -> Self {
                self.reach.also_runs.push(program.into());
                self
            }
        }
    };
}

use reach_setters;

fn check_timeout(timeout: Duration) -> Result<(), TokenError> {
    if timeout.is_zero() || timeout > Duration::from_secs(86_400) {
        return Err(TokenError::Field {
            field: "timeout",
            message: "must be more than nothing and at most a day".into(),
        });
    }
    Ok(())
}

/// The most that a body or a file may have: 64 MiB, which is held in memory.
const MOST_BYTES: u64 = 64 << 20;

fn check_bytes(field: &'static str, bytes: u64) -> Result<(), TokenError> {
    if bytes == 0 || bytes > MOST_BYTES {
        return Err(TokenError::Field {
            field,
            message: format!("{bytes} is not between 1 and {MOST_BYTES} (64 MiB)"),
        });
    }
    Ok(())
}
