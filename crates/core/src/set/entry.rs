//! One token of a set, and the numbers of its uses that can be minted.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::audit::room;
use crate::capability::Capability;
use crate::error::Refusal;
use crate::set::SetError;
use crate::token::Token;

/// How many denials close a token for the rest of the run.
pub(super) const DENIALS: u32 = 3;

/// One token of a set and what is left of it.
#[derive(Debug)]
pub(crate) struct Entry {
    token: Arc<Token>,
    tool: String,
    /// Shared with the entry that takes this one's place when the scope is resolved.
    pool: Arc<Mutex<Pool>>,
    denials: Arc<AtomicU32>,
    /// Set where a person granted it for one run, and true when that run is over.
    until: Option<Arc<AtomicBool>>,
}

/// Which capabilities of a token can be minted.
#[derive(Debug)]
struct Pool {
    /// Numbers that came back.
    returned: Vec<u32>,
    /// The next number that was never minted, from 1.
    next: u32,
    /// Capabilities that are held by calls, and may come back.
    held: u32,
    /// Capabilities that are spent.
    spent: u32,
}

/// How many bytes a token takes in the record with which a run begins.
pub(super) fn line_bytes(token: &Token) -> Result<usize, SetError> {
    let bytes = room::json_bytes(&token.scope().summary());
    if bytes > room::MOST_SCOPE_BYTES {
        return Err(SetError::ScopeTooLong { token: token.name().to_owned(), bytes });
    }
    Ok(room::LINE_BYTES + room::json_bytes(token.name()) + bytes)
}

impl Entry {
    pub(super) fn new(token: Token) -> Self {
        let tool = token.tool_name();
        let pool = Pool { returned: Vec::new(), next: 1, held: 0, spent: 0 };
        let (token, pool) = (Arc::new(token), Arc::new(Mutex::new(pool)));
        Self { token, tool, pool, denials: Arc::default(), until: None }
    }

    /// The same uses, of a token with another scope.
    pub(super) fn resolved(&self, resolve: impl FnOnce(Token) -> Token) -> Self {
        Self {
            token: Arc::new(resolve(Token::clone(&self.token))),
            tool: self.tool.clone(),
            pool: Arc::clone(&self.pool),
            denials: Arc::clone(&self.denials),
            until: self.until.clone(),
        }
    }

    pub(crate) fn token(&self) -> &Arc<Token> {
        &self.token
    }

    /// Why there is no capability to be had.
    pub(super) fn used_up(&self) -> Refusal {
        let token = self.token.name().to_owned();
        if self.pool().held > 0 {
            return Refusal::NoUseFree { token };
        }
        Refusal::TokenReused { token, max_uses: self.token.max_uses() }
    }

    /// The name of the tool that it is.
    pub(super) fn tool(&self) -> &str {
        &self.tool
    }

    /// Whether the model may see it: a way back is the runtime's own.
    pub(super) fn offered(&self) -> bool {
        !self.token.is_rollback()
    }

    /// The same uses, until the run for which a person granted them is over.
    pub(super) fn until(self, over: &Arc<AtomicBool>) -> Self {
        Self { until: Some(Arc::clone(over)), ..self }
    }

    /// Ends it, if it was granted for one run, and says whether it was.
    pub(super) fn ends_with_its_run(&self) -> bool {
        if let Some(over) = &self.until {
            over.store(true, Ordering::Relaxed);
        }
        self.until.is_some()
    }

    /// Whether it was granted for a run that is over.
    pub(super) fn is_over(&self) -> bool {
        self.until.as_ref().is_some_and(|over| over.load(Ordering::Relaxed))
    }

    /// Whether it was denied too often to be used again in this run.
    pub(super) fn is_closed(&self) -> bool {
        self.denials.load(Ordering::Relaxed) >= DENIALS
    }

    /// How many uses were spent.
    pub(super) fn spent(&self) -> u32 {
        self.pool().spent
    }

    /// Takes up what was done before a run was cut off.
    pub(super) fn carry(&self, spent: u32, denials: u32) {
        self.pool().spent += spent;
        self.denials.fetch_add(denials, Ordering::Relaxed);
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn uses_left(&self) -> u32 {
        if self.is_over() {
            return 0;
        }
        let pool = self.pool();
        let returned = u32::try_from(pool.returned.len()).unwrap_or(u32::MAX);
        (self.token.max_uses() + 1 - pool.next).saturating_add(returned)
    }

    pub(super) fn limit(&self, left: u32) {
        let over = self.uses_left().saturating_sub(left);
        let mut pool = self.pool();
        for _ in 0..over {
            if pool.returned.pop().is_none() && pool.next <= self.token.max_uses() {
                pool.next += 1;
            }
        }
    }

    pub(super) fn mint(self: &Arc<Self>) -> Option<Capability> {
        if self.is_over() {
            return None;
        }
        let mut pool = self.pool();
        let ordinal = match pool.returned.pop() {
            Some(ordinal) => ordinal,
            None if pool.next <= self.token.max_uses() => {
                pool.next += 1;
                pool.next - 1
            }
            None => return None,
        };
        pool.held += 1;
        drop(pool);
        Some(Capability::mint(Arc::clone(self), ordinal))
    }

    /// A capability that was never spent comes back.
    pub(crate) fn give_back(&self, capability: Capability) {
        let mut pool = self.pool();
        pool.held = pool.held.saturating_sub(1);
        pool.returned.push(capability.ordinal());
    }

    /// A spent capability of which the ledger says that nothing began comes back.
    pub(crate) fn unspend(&self, capability: Capability) {
        let mut pool = self.pool();
        pool.spent = pool.spent.saturating_sub(1);
        pool.returned.push(capability.ordinal());
    }

    pub(crate) fn note_spent(&self) {
        let mut pool = self.pool();
        pool.held = pool.held.saturating_sub(1);
        pool.spent += 1;
    }

    /// A capability of which it can't be told whether it was spent: it never comes back.
    pub(crate) fn note_lost(&self) {
        let mut pool = self.pool();
        pool.held = pool.held.saturating_sub(1);
    }

    pub(crate) fn note_denied(&self) {
        self.denials.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes so many of the numbers that are free, or says how many there are.
    pub(super) fn take(&self, count: u32) -> Result<Vec<u32>, u32> {
        let left = self.uses_left();
        let mut pool = self.pool();
        let mut taken = Vec::new();
        for _ in 0..count {
            let free = pool.returned.pop().or_else(|| {
                let fresh = (pool.next <= self.token.max_uses()).then_some(pool.next)?;
                pool.next += 1;
                Some(fresh)
            });
            match free {
                Some(ordinal) => taken.push(ordinal),
                None => {
                    pool.returned.extend(taken);
                    return Err(left);
                }
            }
        }
        Ok(taken)
    }

    /// These uses alone, of this token or of a narrower one.
    pub(super) fn part(&self, token: Arc<Token>, ordinals: Vec<u32>) -> Self {
        let next = token.max_uses() + 1;
        let pool = Pool { returned: ordinals, next, held: 0, spent: 0 };
        Self {
            token,
            tool: self.tool.clone(),
            pool: Arc::new(Mutex::new(pool)),
            // Three denials close the token for everybody who holds it.
            denials: Arc::clone(&self.denials),
            until: self.until.clone(),
        }
    }

    /// Gives back what [`Entry::take`] took.
    pub(super) fn untake(&self, ordinals: &[u32]) {
        self.pool().returned.extend(ordinals);
    }
}
