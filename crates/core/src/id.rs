//! Identities: of a ledger, of a grant in it, of a run, and of one attempt within it.

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

/// The name of a grant. A named one has 1 to 64 of ASCII letters, digits, `.`, `_` and `-`, and
/// begins with a letter or a digit. The grant that an anonymous run has of its own is called
/// `run/` and the run's id, which no named one can be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct GrantId(String);

/// The text can't be the name of a grant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a grant's id is 1 to 64 letters, digits, `.`, `_` and `-` (ASCII), and begins with a letter or \
     a digit, such as `release-2.3.1`"
)]
pub struct GrantIdError;

const OF_RUN: &str = "run/";

impl GrantId {
    /// Checks and wraps the name of a named grant.
    pub fn new(text: impl Into<String>) -> Result<Self, GrantIdError> {
        let text = text.into();
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let fits = (1..=64).contains(&text.len())
            && text.bytes().all(plain)
            && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        if fits { Ok(Self(text)) } else { Err(GrantIdError) }
    }

    /// The grant that an anonymous run has of its own.
    pub fn of_run(run: &RunId) -> Self {
        Self(format!("{OF_RUN}{run}"))
    }

    /// Whether it was issued by a person under a name of its own.
    pub fn is_named(&self) -> bool {
        !self.0.starts_with(OF_RUN)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for GrantId {
    type Error = GrantIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.strip_prefix(OF_RUN) {
            Some(run) => RunId::new(run).map(|run| Self::of_run(&run)).map_err(|_| GrantIdError),
            None => Self::new(text),
        }
    }
}

impl fmt::Display for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which ledger: 128 random bits that it was given when it was made, as 32 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct LedgerId(String);

/// The text can't be the id of a ledger.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a ledger's id is 32 of `0-9` and `a-f`, as `lar grants issue` and `lar ledger show` print it"
)]
pub struct LedgerIdError;

impl LedgerId {
    /// Checks and wraps an id.
    pub fn new(text: impl Into<String>) -> Result<Self, LedgerIdError> {
        let text = text.into();
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() == 32 && text.bytes().all(digit) {
            Ok(Self(text))
        } else {
            Err(LedgerIdError)
        }
    }

    /// The id of these random bits.
    pub fn of_random(bits: [u8; 16]) -> Self {
        Self(hex::encode(bits))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for LedgerId {
    type Error = LedgerIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(text)
    }
}

impl fmt::Display for LedgerId {
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

    #[test]
    fn a_named_grant_is_never_taken_for_a_runs_own() {
        let run = RunId::new("20261125-101010-0a1b2c3d").unwrap();
        let own = GrantId::of_run(&run);
        assert!(!own.is_named());
        assert!(GrantId::new(own.as_str()).is_err());
        assert_eq!(GrantId::try_from(own.as_str().to_owned()), Ok(own));
        assert!(GrantId::new("release-2.3.1").unwrap().is_named());
        for bad in ["", "-x", ".x", "a b", "a/b", "run/", "ü", &"a".repeat(65)] {
            assert!(GrantId::new(bad).is_err(), "{bad}");
        }
        assert!(GrantId::try_from("run/A".to_owned()).is_err());
    }

    #[test]
    fn a_ledgers_id_is_its_digits() {
        let id = LedgerId::of_random([0xab; 16]);
        assert_eq!(LedgerId::new(id.as_str()), Ok(id));
        for bad in ["", "AB", &"g".repeat(32), &"a".repeat(31)] {
            assert!(LedgerId::new(bad).is_err(), "{bad}");
        }
    }
}
