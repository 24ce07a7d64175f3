//! The scope of a shell token: which commands, and what surrounds them when they run.

use std::time::Duration;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use super::command::CommandScope;
use super::needs::Found;
use super::reach::Reach;
use crate::action::ShellAction;
use crate::error::Refusal;

/// How long a command may run when the token doesn't say: 60 seconds.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// Commands that begin with one of the allowed prefixes, and the surroundings they get.
#[derive(Debug, Clone)]
pub struct ShellScope {
    /// The allowed prefixes.
    pub commands: CommandScope,
    /// Names of environment variables that the child gets beyond the default allow-list.
    pub env: Vec<String>,
    /// The working directory; the manifest's directory when absent.
    pub workdir: Option<String>,
    /// After this time the command and all it started are killed.
    pub timeout: Duration,
    /// What the command may reach while it runs.
    pub reach: Reach,
    /// What the needs of its programs come to here; empty until the run starts.
    pub found: Vec<Found>,
}

impl ShellScope {
    /// Whether the command is within the scope. The words that are judged are those that run.
    pub fn permits(&self, action: &ShellAction) -> Result<(), Refusal> {
        self.commands
            .permits(&action.command)
            .map(|_| ())
            .map_err(|refusal| Refusal::CommandNotAllowed(refusal.to_string()))
    }

    /// The allowed prefixes as they were written.
    pub fn allowed(&self) -> impl Iterator<Item = &str> {
        self.commands.prefixes().iter().map(|prefix| prefix.as_str())
    }

    /// One line for people.
    pub fn summary(&self) -> String {
        let allowed: Vec<String> = self.allowed().map(|prefix| format!("`{prefix}`")).collect();
        format!("commands that begin with {}", allowed.join(" or "))
    }
}

impl Serialize for ShellScope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("ShellScope", 5)?;
        out.serialize_field("allowed", &self.allowed().collect::<Vec<_>>())?;
        // What the prefixes mean is part of what was granted.
        out.serialize_field("profiles", &self.commands.profile_digests())?;
        out.serialize_field("env", &self.env)?;
        out.serialize_field("workdir", &self.workdir)?;
        out.serialize_field("timeout_ms", &super::wait::millis(self.timeout))?;
        out.serialize_field("reach", &self.reach)?;
        out.end()
    }
}
