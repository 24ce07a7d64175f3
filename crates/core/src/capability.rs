//! Authority to act once.

use std::sync::Arc;

use crate::set::Entry;

/// Authority to act **once**, minted from a token by the set that holds it. Five uses mint five.
///
/// It can't be copied, written down or made from nothing, and every step of a call consumes the
/// value before it:
///
/// ```compile_fail
/// fn twice(capability: lar_core::capability::Capability) {
///     let copy = capability.clone();
/// }
/// ```
#[must_use = "a capability that is dropped goes back unused"]
#[derive(Debug)]
pub struct Capability {
    entry: Arc<Entry>,
    ordinal: u32,
}

impl Capability {
    /// The only constructor; called by the set, under its lock, for a number that is free.
    pub(crate) fn mint(entry: Arc<Entry>, ordinal: u32) -> Self {
        Self { entry, ordinal }
    }

    /// What it was minted from.
    pub(crate) fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }

    /// Which of the token's uses it is, from 1.
    pub fn ordinal(&self) -> u32 {
        self.ordinal
    }
}

/// A capability that goes back to its set when it is dropped before it is spent.
#[derive(Debug)]
pub(crate) struct Held(Option<Capability>);

impl Held {
    pub(crate) fn new(capability: Capability) -> Self {
        Self(Some(capability))
    }

    /// The entry, for as long as the capability is held.
    pub(crate) fn entry(&self) -> Option<&Arc<Entry>> {
        self.0.as_ref().map(Capability::entry)
    }

    /// Takes it for good: from here on it can't go back by itself.
    pub(crate) fn take(mut self) -> Option<Capability> {
        self.0.take()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(capability) = self.0.take() {
            let entry = Arc::clone(&capability.entry);
            entry.give_back(capability);
        }
    }
}
