//! Grants: an issued set of tokens that runs draw from.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::RunId;
use crate::json::{Digest, JsonRefusal, canonical};
use crate::time::Timestamp;
use crate::token::Token;

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

/// Which ledger it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// Its id.
    pub ledger: LedgerId,
    /// Its epoch, from 1. A grant of an older epoch takes no spend.
    pub epoch: u64,
}

/// A token as a grant states it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Granted {
    /// The token's name.
    pub name: String,
    /// SHA-256 of its definition.
    pub definition: Digest,
    /// How many uses it grants.
    pub uses: u32,
    /// When it ends.
    pub expires: Option<Timestamp>,
    /// Whether a use must be held and approved before it is started.
    pub requires_approval: bool,
    /// Whether it is a candidate, or the way back of one: no run has it until a person unlocks it for
    /// that run.
    pub candidate: bool,
}

impl Granted {
    /// A token that may be used from the beginning.
    pub fn of(token: &Token) -> Result<Self, JsonRefusal> {
        Ok(Self {
            name: token.name().to_owned(),
            definition: token.digest()?,
            uses: token.max_uses(),
            expires: token.expires(),
            requires_approval: token.requires_approval(),
            candidate: false,
        })
    }

    /// A candidate.
    pub fn candidate(token: &Token) -> Result<Self, JsonRefusal> {
        Ok(Self { candidate: true, ..Self::of(token)? })
    }
}

/// All that a grant pins, as canonical JSON. A run with other definitions can't draw from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definitions(String);

impl Definitions {
    /// The canonical form of what is pinned.
    pub fn of(pinned: &impl Serialize) -> Result<Self, JsonRefusal> {
        let bytes = canonical(pinned)?;
        // Canonical JSON is UTF-8 by construction, so nothing is replaced here.
        Ok(Self(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Wraps a text that was read back from a ledger.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The canonical JSON.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its SHA-256.
    pub fn digest(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }
}

/// What creates a named grant.
#[derive(Debug, Clone)]
pub struct Issuing {
    /// Its name.
    pub grant: GrantId,
    /// Its tokens in the order of their declaration, candidates and ways back included.
    pub tokens: Vec<Granted>,
    /// What it pins.
    pub definitions: Definitions,
    /// When it ends.
    pub expires: Option<Timestamp>,
}

/// A grant, and what is left of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Its name.
    pub id: GrantId,
    /// When it was issued, by the ledger's clock.
    pub issued: Timestamp,
    /// When it ends.
    pub expires: Option<Timestamp>,
    /// When and why it was revoked.
    pub revoked: Option<Revocation>,
    /// The epoch in which it was issued.
    pub epoch: u64,
    /// What it pins.
    pub definitions: Definitions,
    /// Its tokens, in the order of their declaration.
    pub tokens: Vec<TokenState>,
}

/// The end of a grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Revocation {
    /// When, by the ledger's clock.
    pub at: Timestamp,
    /// Why, in the words of whoever did it.
    pub reason: String,
}

/// A token of a grant, and what is left of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenState {
    /// What was granted.
    #[serde(flatten)]
    pub granted: Granted,
    /// Uses that are neither held nor spent.
    pub uses_left: u32,
    /// The one run for which a person unlocked it, if it is a candidate.
    pub unlocked_by: Option<RunId>,
}

impl TokenState {
    /// Whether this run may not use it.
    pub fn is_locked_for(&self, run: &RunId) -> bool {
        self.granted.candidate && self.unlocked_by.as_ref() != Some(run)
    }
}

impl Grant {
    /// The token of that name.
    pub fn token(&self, name: &str) -> Option<&TokenState> {
        self.tokens.iter().find(|token| token.granted.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
