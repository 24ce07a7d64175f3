//! What `lar check` says about a set, as data and as text.

use std::fmt;

use serde::Serialize;

use super::worst::count;

/// The worst that a set could do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The limits of the whole run, one sentence each.
    pub limits: Vec<String>,
    /// One entry a token, candidates last, in the manifest's order.
    pub tokens: Vec<TokenReport>,
    /// What to look at about the set as a whole.
    pub warnings: Vec<Warning>,
}

/// The worst that one token could do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenReport {
    /// The token's name.
    pub token: String,
    /// The tool that the model sees.
    pub tool: String,
    /// The token's kind, as in the manifest.
    pub kind: &'static str,
    /// Whether it is held only after a person granted it.
    pub candidate: bool,
    /// How many uses it has.
    pub max_uses: u32,
    /// Whether a human must approve every use.
    pub needs_human: bool,
    /// Who must approve by a signature, in words; absent where whoever sits at the terminal does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approvers: Option<String>,
    /// What it can do.
    pub can: Vec<Ability>,
    /// What to look at.
    pub warnings: Vec<Warning>,
}

/// One thing that a token can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ability {
    /// Which sort of thing.
    pub verb: Verb,
    /// What, to be read after the verb.
    pub what: String,
}

/// The sorts of things that tokens can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Start a program.
    Run,
    /// Connect to something.
    Reach,
    /// Read files or variables.
    Read,
    /// Change files.
    Write,
    /// Change what is deployed.
    Deploy,
    /// Pass the time.
    Wait,
}

/// Something that deserves a second look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// A stable name for programs, such as `wide-prefix`.
    pub code: &'static str,
    /// What is dangerous, and what would be better.
    pub message: String,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Run => "run",
            Self::Reach => "reach",
            Self::Read => "read",
            Self::Write => "write",
            Self::Deploy => "deploy",
            Self::Wait => "wait",
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.limits {
            writeln!(f, "{line}")?;
        }
        for warning in &self.warnings {
            writeln!(f, "warning: {}", warning.message)?;
        }
        for token in &self.tokens {
            writeln!(f, "\n{token}")?;
        }
        Ok(())
    }
}

impl fmt::Display for TokenReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let uses = count(u64::from(self.max_uses), "time");
        let human = match &self.approvers {
            Some(people) => format!("each approved by {people}"),
            None if self.needs_human => "each with a human's yes".to_owned(),
            None => "without asking".to_owned(),
        };
        let granted = if self.candidate { ", once a human has granted it" } else { "" };
        write!(f, "{} ({}): {uses}, {human}{granted}", self.token, self.tool)?;
        for Ability { verb, what } in &self.can {
            write!(f, "\n  can {verb} {what}")?;
        }
        for warning in &self.warnings {
            write!(f, "\n  warning: {}", warning.message)?;
        }
        Ok(())
    }
}
