//! Identities: of a run, and of one attempt within it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::json::Digest;

/// The name of a run: 1 to 64 of `a-z`, `0-9` and `-`. The runtime makes it unique.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct RunId(String);

/// The text cannot be the name of a run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a run's id is 1 to 64 of `a-z`, `0-9` and `-`; `lar audit list` shows those there are")]
pub struct RunIdError;

impl RunId {
    /// Checks and wraps a run's name.
    pub fn new(text: impl Into<String>) -> Result<Self, RunIdError> {
        let text = text.into();
        let fits = (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if fits { Ok(Self(text)) } else { Err(RunIdError) }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RunId {
    type Error = RunIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(text)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The place of a call in its run: which model turn, which call of that turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CallSite {
    /// The run.
    pub run: RunId,
    /// The model's turn, counted from 1.
    pub turn: u64,
    /// The call within the turn, counted from 0.
    pub index: u64,
    /// What the call is: the model's own, or the rollback that follows a failed deploy.
    pub part: Part,
}

/// Which part of a call an attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// What the model asked for.
    Call,
    /// The rollback that the runtime starts when that call's rollout failed.
    Rollback,
}

/// The identity of one attempt: SHA-256 over its place in the run. The same place always gives the
/// same identity, so a repeated attempt is recognised and never executed a second time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AttemptId(Digest);

impl AttemptId {
    /// The attempt at `site`.
    pub fn at(site: &CallSite) -> Self {
        let part = match site.part {
            Part::Call => "call",
            Part::Rollback => "rollback",
        };
        // Length is no concern: a run's id holds no `/`.
        let text = format!("lar attempt v1/{}/{}/{}/{part}", site.run, site.turn, site.index);
        Self(Digest::of(text.as_bytes()))
    }

    /// Wraps an identity that was read back from a ledger.
    pub fn from_digest(digest: Digest) -> Self {
        Self(digest)
    }

    /// The digest itself.
    pub fn digest(&self) -> &Digest {
        &self.0
    }
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(run: &str, turn: u64, index: u64, part: Part) -> CallSite {
        CallSite { run: RunId::new(run).unwrap(), turn, index, part }
    }

    #[test]
    fn an_attempt_is_its_place_and_nothing_else() {
        let first = AttemptId::at(&site("run-1", 1, 0, Part::Call));
        assert_eq!(first, AttemptId::at(&site("run-1", 1, 0, Part::Call)));
        for other in [
            site("run-2", 1, 0, Part::Call),
            site("run-1", 2, 0, Part::Call),
            site("run-1", 1, 1, Part::Call),
            site("run-1", 1, 0, Part::Rollback),
        ] {
            assert_ne!(first, AttemptId::at(&other));
        }
    }

    #[test]
    fn a_run_id_holds_no_surprises() {
        assert!(RunId::new("run-20261122-ab12").is_ok());
        for bad in ["", "Run", "a/b", "a b", "ü", &"a".repeat(65)] {
            assert!(RunId::new(bad).is_err(), "{bad}");
        }
    }
}
