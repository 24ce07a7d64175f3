//! Grants: an issued set of tokens that runs draw from.

use serde::Serialize;

use crate::id::{GrantId, LedgerId, RunId};
use crate::json::{Digest, JsonRefusal, canonical};
use crate::time::Timestamp;
use crate::token::Token;

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
