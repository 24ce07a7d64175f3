//! Moving tokens from set to set. What is moved is held by one set at a time, so that no use is had
//! twice.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError, RwLock};

use super::entry::Entry;
use super::{CapabilitySet, Inner, SetError};

impl CapabilitySet {
    /// Takes a token out, and with a deploy token its way back. What is left of its uses goes with
    /// the set that is returned; this one can mint no more of them.
    pub fn take(&self, name: &str) -> Option<Self> {
        let mut entries = self.inner.entries.write().unwrap_or_else(PoisonError::into_inner);
        let token = Arc::clone(entries.iter().find(|entry| entry.token().name() == name)?.token());
        if token.is_rollback() {
            return None;
        }
        let back = token.rollback().map(|back| back.name().to_owned());
        let goes = |entry: &Arc<Entry>| {
            entry.token().name() == name || back.as_deref() == Some(entry.token().name())
        };
        let (taken, kept) = entries.drain(..).partition(goes);
        *entries = kept;
        let inner = Inner { entries: RwLock::new(taken), reported: AtomicBool::new(false) };
        Some(Self { inner: Arc::new(inner) })
    }

    /// Takes the tokens of another set in, each with what is left of its uses; the other is empty
    /// afterwards. When they don't go together, nothing was moved.
    pub fn absorb(&self, other: &Self) -> Result<(), SetError> {
        let moved = other.entries();
        for (count, entry) in moved.iter().enumerate() {
            if let Err(error) = self.adopt(Arc::clone(entry)) {
                let mut entries =
                    self.inner.entries.write().unwrap_or_else(PoisonError::into_inner);
                entries.retain(|held| !moved.iter().take(count).any(|new| Arc::ptr_eq(held, new)));
                return Err(error);
            }
        }
        other.inner.entries.write().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(())
    }

    /// Joins the tokens of `others` into one set, each with what is left of its uses. The others are
    /// empty afterwards; when two tokens don't go together, nothing was moved.
    pub fn join(others: &[Self]) -> Result<Self, SetError> {
        let joined = Self::default();
        let moved = others.iter().try_for_each(|other| {
            other.entries().into_iter().try_for_each(|entry| joined.adopt(entry))
        });
        if let Err(error) = moved {
            joined.mark_reported();
            return Err(error);
        }
        for other in others {
            other.inner.entries.write().unwrap_or_else(PoisonError::into_inner).clear();
        }
        Ok(joined)
    }
}
