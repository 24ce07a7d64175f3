//! Parts of a set for sub-agents: uses are moved, never copied, and perhaps narrowed.

use std::sync::{Arc, PoisonError};

use super::{CapabilitySet, Entry};
use crate::token::{AttenuateError, Narrowing, Token};

/// What is split off of one token: so many uses, and perhaps less of what is allowed.
#[derive(Debug, Clone)]
pub struct Share<'a> {
    token: &'a str,
    uses: u32,
    narrowing: Option<Narrowing>,
}

impl<'a> From<(&'a str, u32)> for Share<'a> {
    fn from((token, uses): (&'a str, u32)) -> Self {
        Self { token, uses, narrowing: None }
    }
}

impl<'a> From<&(&'a str, u32)> for Share<'a> {
    fn from(share: &(&'a str, u32)) -> Self {
        Self::from(*share)
    }
}

impl<'a> From<(&'a str, u32, Narrowing)> for Share<'a> {
    fn from((token, uses, narrowing): (&'a str, u32, Narrowing)) -> Self {
        Self { token, uses, narrowing: Some(narrowing) }
    }
}

/// Uses that can't be split off. Nothing was moved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// The token can't be narrowed like this.
    #[error("token `{token}`: {why}")]
    Narrowing {
        /// The token.
        token: String,
        /// Why.
        why: AttenuateError,
    },
    /// The set has no such token.
    #[error("the set has no token `{0}`; a set is split among the tokens that it has")]
    Unknown(String),
    /// A token is named twice.
    #[error("token `{0}` is named twice; name it once with all the uses")]
    Twice(String),
    /// There are fewer uses.
    #[error("token `{token}` has {left} use(s) left; split off at most so many")]
    TooMany {
        /// The token.
        token: String,
        /// How many uses it has left.
        left: u32,
    },
}

impl CapabilitySet {
    /// Splits uses off for a sub-agent: a set that holds these uses of these tokens, and this one holds
    /// them no longer. All of them are moved or none is. Whoever spends, the ledger counts the uses of
    /// one and the same grant, and the sum over all holders never exceeds it.
    ///
    /// A share may come with a [`Narrowing`], which must be proved to allow no more than the token does.
    /// The sub-agent acts in the same run, whose grant counts every use. For a run of its own, split
    /// before this set's run is opened: each then has a grant of what its set holds.
    ///
    /// ```
    /// use lar_core::{set::CapabilitySet, token::ShellToken};
    /// let pods = ShellToken::new("pods", ["kubectl get pods"]).max_uses(5).build()?;
    /// let set = CapabilitySet::new([pods])?;
    /// let child = set.split([("pods", 2)])?;
    /// assert_eq!((set.uses_left("pods"), child.uses_left("pods")), (Some(3), Some(2)));
    /// assert!(set.split([("pods", 4)]).is_err());
    ///
    /// use lar_core::token::Narrowing;
    /// let prod = Narrowing::new().allowed(["kubectl get pods -n prod"]);
    /// let narrow = set.split([("pods", 1, prod)])?;
    /// assert_eq!(set.uses_left("pods"), Some(2));
    /// # set.mark_reported();
    /// # child.mark_reported();
    /// # narrow.mark_reported();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When a token is unknown, named twice, has fewer uses left, or can't be narrowed so.
    pub fn split<'a>(
        &self,
        shares: impl IntoIterator<Item = impl Into<Share<'a>>>,
    ) -> Result<Self, SplitError> {
        let entries = self.entries();
        let child = Self::default();
        let mut parts: Vec<Taken> = Vec::new();
        for share in shares {
            let Share { token: name, uses, narrowing } = share.into();
            let found =
                entries.iter().find(|entry| entry.token().name() == name && entry.offered());
            let part = match found {
                None => Err(SplitError::Unknown(name.to_owned())),
                Some(entry) if parts.iter().any(|part| Arc::ptr_eq(&part.entry, entry)) => {
                    Err(SplitError::Twice(name.to_owned()))
                }
                Some(entry) => entry.split(uses, narrowing),
            };
            let entry = match part {
                Ok(part) => {
                    parts.push(part);
                    found
                }
                Err(error) => {
                    parts.iter().for_each(Taken::give_back);
                    return Err(error);
                }
            };
            // A way back goes with its deployment and never alone: as many of it as there are.
            let back = entry.and_then(|entry| entry.token().rollback());
            let back =
                back.and_then(|back| entries.iter().find(|e| e.token().name() == back.name()));
            if let Some(back) = back
                && let Ok(part) = back.split(back.uses_left().min(uses), None)
            {
                parts.push(part);
            }
        }
        let held = parts.into_iter().map(|part| Arc::new(part.hold()));
        child.inner.entries.write().unwrap_or_else(PoisonError::into_inner).extend(held);
        Ok(child)
    }
}

/// Uses that were taken out of an entry, and the token that they are to be of.
struct Taken {
    entry: Arc<Entry>,
    token: Arc<Token>,
    ordinals: Vec<u32>,
}

impl Taken {
    /// A failed split moves nothing.
    fn give_back(&self) {
        self.entry.untake(&self.ordinals);
    }

    /// These uses alone.
    fn hold(self) -> Entry {
        self.entry.part(self.token, self.ordinals)
    }
}

impl Entry {
    /// Takes so many uses out, of this token or of a narrower one.
    fn split(
        self: &Arc<Self>,
        uses: u32,
        narrowing: Option<Narrowing>,
    ) -> Result<Taken, SplitError> {
        let name = || self.token().name().to_owned();
        let token = match narrowing {
            None => Arc::clone(self.token()),
            Some(narrowing) => self
                .token()
                .attenuate(&narrowing.max_uses(uses))
                .map(Arc::new)
                .map_err(|why| SplitError::Narrowing { token: name(), why })?,
        };
        let taken = self.take(uses);
        let ordinals = taken.map_err(|left| SplitError::TooMany { token: name(), left })?;
        Ok(Taken { entry: Arc::clone(self), token, ordinals })
    }
}
