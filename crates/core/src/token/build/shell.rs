//! Tokens for commands.

use std::sync::Arc;
use std::time::Duration;

use super::{Common, ReachTexts, Witness, check_timeout, common_setters, reach_setters};
use crate::scope::Scope;
use crate::scope::command::CommandScope;
use crate::scope::profile::Profiles;
use crate::scope::secret::check_env_name;
use crate::scope::shell::{self, ShellScope};
use crate::time::Timestamp;
use crate::token::{Token, TokenError};

/// Runs commands that begin with an allowed prefix.
///
/// ```
/// use lar_core::token::ShellToken;
/// let token = ShellToken::new("read-pods", ["kubectl get pods"]).max_uses(5).build()?;
/// assert_eq!(token.tool_name(), "shell_read-pods");
/// # Ok::<(), lar_core::token::TokenError>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder grants nothing until `build` is called"]
pub struct ShellToken {
    common: Common,
    allowed: Vec<String>,
    env: Vec<String>,
    workdir: Option<String>,
    timeout: Duration,
    profiles: Arc<Profiles>,
    reach: ReachTexts,
}

impl ShellToken {
    /// A token for commands that begin with one of `allowed`.
    pub fn new(name: &str, allowed: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            common: Common::new(name),
            allowed: allowed.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            workdir: None,
            timeout: shell::DEFAULT_TIMEOUT,
            profiles: Arc::default(),
            reach: ReachTexts::default(),
        }
    }

    /// Kills the command and all that it started after this time.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Judges commands by these profiles instead of the shipped ones alone.
    pub fn profiles(mut self, profiles: Arc<Profiles>) -> Self {
        self.profiles = profiles;
        self
    }

    /// Passes the environment variable `name` on to the child.
    pub fn env(mut self, name: impl Into<String>) -> Self {
        self.env.push(name.into());
        self
    }

    /// Runs the command in this directory.
    pub fn workdir(mut self, path: impl Into<String>) -> Self {
        self.workdir = Some(path.into());
        self
    }

    /// Checks everything and makes the token.
    pub fn build(self) -> Result<Token, TokenError> {
        let commands = CommandScope::with_profiles(self.allowed, &self.profiles)?;
        for name in &self.env {
            check_env_name("env", name)?;
        }
        check_timeout(self.timeout)?;
        self.common.token(Scope::Shell(ShellScope {
            commands,
            env: self.env,
            workdir: self.workdir,
            timeout: self.timeout,
            reach: self.reach.build()?,
            found: Vec::new(),
        }))
    }
}
common_setters!(ShellToken);
reach_setters!(ShellToken);

/// A shell token with more than one use: the same builder, with [`ShellToken::max_uses`].
pub type MultiUseShellToken = ShellToken;
