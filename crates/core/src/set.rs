//! What an agent holds: the capabilities that were minted from its tokens.
//!
//! The set is the process's own view and keeps two tasks from taking one capability. What is
//! durable, and what holds between processes and hosts, is the ledger's.

mod split;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::call::Reserved;
use crate::capability::{Capability, Held};
use crate::definition::{self, ToolDefinition};
use crate::error::Refusal;
use crate::id::Part;
use crate::invocation::Invocation;
use crate::token::Token;

pub use split::{Share, SplitError};

/// Names of the runtime's own tools; no token may take one.
pub const RESERVED_NAMES: [&str; 2] = ["request_approval", "request_capability"];

/// How many denials close a token for the rest of the run.
const DENIALS: u32 = 3;

/// The capabilities of one run. Clones are handles on the same set.
#[derive(Debug, Clone, Default)]
pub struct CapabilitySet {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// In the order in which the tokens were declared.
    entries: RwLock<Vec<Arc<Entry>>>,
    /// Whether an agent reported the unused tokens, so that they need no warning.
    reported: AtomicBool,
}

/// One token of a set and what is left of it.
#[derive(Debug)]
pub(crate) struct Entry {
    token: Token,
    tool: String,
    /// Shared with the entry that takes this one's place when the scope is resolved.
    pool: Arc<Mutex<Pool>>,
    denials: Arc<AtomicU32>,
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

/// Tokens that can't form a set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// Two tokens would be the same tool.
    #[error("tokens `{first}` and `{second}` are both the tool `{tool}`; rename one")]
    Duplicate {
        /// The tool's name.
        tool: String,
        /// One token.
        first: String,
        /// The other.
        second: String,
    },
    /// Two tokens have one name.
    #[error("two tokens are named `{0}`; the record couldn't tell them apart, so rename one")]
    DuplicateName(String),
    /// The runtime has a tool of that name.
    #[error("token `{0}`: the runtime has a tool of that name; rename the token")]
    Reserved(String),
}

impl CapabilitySet {
    /// A set of these tokens.
    ///
    /// ```
    /// use lar_core::{set::CapabilitySet, token::ShellToken};
    /// let set = CapabilitySet::new([ShellToken::new("pods", ["kubectl get pods"]).build()?])?;
    /// assert_eq!(set.unused_tokens(), ["pods"]);
    /// # set.mark_reported();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(tokens: impl IntoIterator<Item = Token>) -> Result<Self, SetError> {
        let set = Self::default();
        for token in tokens {
            if let Err(error) = set.add(token) {
                // Nobody was given this set, so nobody needs to hear what it left unused.
                set.mark_reported();
                return Err(error);
            }
        }
        Ok(set)
    }

    /// Adds a token, and with a deploy token its way back.
    pub fn add(&self, token: Token) -> Result<(), SetError> {
        let rollback = token.rollback();
        self.adopt(Arc::new(Entry::new(token)))?;
        rollback.map_or(Ok(()), |token| self.adopt(Arc::new(Entry::new(token))))
    }

    fn adopt(&self, entry: Arc<Entry>) -> Result<(), SetError> {
        let (token, tool) = (&entry.token, entry.tool.clone());
        let mut entries = self.inner.entries.write().unwrap_or_else(PoisonError::into_inner);
        if RESERVED_NAMES.contains(&tool.as_str()) {
            return Err(SetError::Reserved(token.name().to_owned()));
        }
        for held in entries.iter() {
            if held.tool == tool {
                let (first, second) = (held.token.name().to_owned(), token.name().to_owned());
                return Err(SetError::Duplicate { tool, first, second });
            }
            if held.token.name() == token.name() {
                return Err(SetError::DuplicateName(token.name().to_owned()));
            }
        }
        entries.push(entry);
        Ok(())
    }

    /// Changes the tokens' scopes and leaves names and uses as they are: the runtime fixes here what
    /// a kubeconfig context means before the set is opened in a ledger.
    pub fn resolve(&self, resolve: impl Fn(Token) -> Token) {
        let mut entries = self.inner.entries.write().unwrap_or_else(PoisonError::into_inner);
        for entry in entries.iter_mut() {
            *entry = Arc::new(entry.resolved(&resolve));
        }
    }

    /// Takes a token out, and with a deploy token its way back. What is left of its uses goes with
    /// the set that is returned; this one can mint no more of them.
    pub fn take(&self, name: &str) -> Option<Self> {
        let mut entries = self.inner.entries.write().unwrap_or_else(PoisonError::into_inner);
        let token = entries.iter().find(|entry| entry.token.name() == name)?.token.clone();
        if token.is_rollback() {
            return None;
        }
        let back = token.rollback().map(|back| back.name().to_owned());
        let goes = |entry: &Arc<Entry>| {
            entry.token.name() == name || back.as_deref() == Some(entry.token.name())
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

    /// The tokens in the order of their declaration, the ways back included.
    pub fn tokens(&self) -> Vec<Token> {
        self.entries().iter().map(|entry| entry.token.clone()).collect()
    }

    /// The token of that name.
    pub fn token(&self, name: &str) -> Option<Token> {
        self.entries().iter().find(|e| e.token.name() == name).map(|e| e.token.clone())
    }

    /// The name of the token that a tool stands for.
    pub fn name_of(&self, tool: &str) -> Option<String> {
        self.entries().iter().find(|e| e.tool == tool).map(|e| e.token.name().to_owned())
    }

    /// How many uses of a token this process may still spend.
    pub fn uses_left(&self, name: &str) -> Option<u32> {
        self.entries().iter().find(|entry| entry.token.name() == name).map(|e| e.uses_left())
    }

    /// Says that no more than `left` uses of a token can be had: other runs of the grant have spent
    /// or hold the others. It only ever lowers what this process may spend.
    pub fn limit(&self, name: &str, left: u32) {
        let entries = self.entries();
        if let Some(entry) = entries.iter().find(|entry| entry.token.name() == name) {
            entry.limit(left);
        }
    }

    /// Takes up what was done with a token before a run was cut off: uses that were spent, and how often
    /// a person denied it. What is left to spend is [`CapabilitySet::limit`]'s.
    pub fn carry(&self, name: &str, spent: u32, denials: u32) {
        let entries = self.entries();
        if let Some(entry) = entries.iter().find(|entry| entry.token.name() == name) {
            entry.pool().spent += spent;
            entry.denials.fetch_add(denials, Ordering::Relaxed);
        }
    }

    /// The tools that the model is offered now: those of tokens with a use left.
    pub fn tool_definitions(&self) -> Vec<ToolDefinition> {
        self.entries()
            .iter()
            .filter(|entry| entry.offered() && entry.uses_left() > 0)
            .map(|entry| definition::of(&entry.token, entry.uses_left()))
            .collect()
    }

    /// Names of the tokens of which no use was spent. A way back that wasn't needed is no omission.
    pub fn unused_tokens(&self) -> Vec<String> {
        self.entries()
            .iter()
            .filter(|entry| entry.offered() && entry.pool().spent == 0)
            .map(|entry| entry.token.name().to_owned())
            .collect()
    }

    /// Says that the unused tokens were reported, so that dropping the set warns of nothing.
    pub fn mark_reported(&self) {
        self.inner.reported.store(true, Ordering::Relaxed);
    }

    /// Takes one capability for an invocation. Dropping what is returned gives it back.
    pub fn reserve(&self, invocation: Invocation) -> Result<Reserved, Refusal> {
        let entry = self.find(invocation.tool(), invocation.site().part)?;
        if entry.denials.load(Ordering::Relaxed) >= DENIALS {
            return Err(Refusal::TokenClosed(format!(
                "token `{}` was denied {DENIALS} times and is closed for this run",
                entry.token.name()
            )));
        }
        let Some(capability) = entry.mint() else {
            return Err(entry.used_up());
        };
        Ok(Reserved::new(Held::new(capability), invocation))
    }

    /// The entry behind a tool. A way back is found by the runtime's own calls alone, whatever name
    /// the model sends.
    pub(crate) fn find(&self, tool: &str, part: Part) -> Result<Arc<Entry>, Refusal> {
        let entries = self.entries();
        let fits = |entry: &&Arc<Entry>| {
            entry.tool == tool && entry.token.is_rollback() == (part == Part::Rollback)
        };
        if let Some(entry) = entries.iter().find(fits) {
            return Ok(Arc::clone(entry));
        }
        let known: BTreeMap<&str, ()> =
            entries.iter().filter(|e| e.offered()).map(|e| (e.tool.as_str(), ())).collect();
        let known = known.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        Err(Refusal::UnknownTool {
            tool: crate::display::visible(tool, 128),
            known: if known.is_empty() { "none".to_owned() } else { known },
        })
    }

    fn entries(&self) -> Vec<Arc<Entry>> {
        self.inner.entries.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if *self.reported.get_mut() {
            return;
        }
        let entries = self.entries.get_mut().unwrap_or_else(PoisonError::into_inner);
        for entry in entries.iter().filter(|e| e.offered() && e.pool().spent == 0) {
            tracing::warn!(token = entry.token.name(), "a token was never used");
        }
    }
}

impl Entry {
    /// Takes so many of the numbers that are free, or says how many there are.
    fn take(&self, count: u32) -> Result<Vec<u32>, u32> {
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

    fn new(token: Token) -> Self {
        let tool = token.tool_name();
        let pool = Pool { returned: Vec::new(), next: 1, held: 0, spent: 0 };
        Self { token, tool, pool: Arc::new(Mutex::new(pool)), denials: Arc::default() }
    }

    /// The same uses, of a token with another scope.
    fn resolved(&self, resolve: impl FnOnce(Token) -> Token) -> Self {
        Self {
            token: resolve(self.token.clone()),
            tool: self.tool.clone(),
            pool: Arc::clone(&self.pool),
            denials: Arc::clone(&self.denials),
        }
    }

    pub(crate) fn token(&self) -> &Token {
        &self.token
    }

    /// Why there is no capability to be had.
    fn used_up(&self) -> Refusal {
        let token = self.token.name().to_owned();
        if self.pool().held > 0 {
            return Refusal::NoUseFree { token };
        }
        Refusal::TokenReused { token, max_uses: self.token.max_uses() }
    }

    /// Whether the model may see it: a way back is the runtime's own.
    fn offered(&self) -> bool {
        !self.token.is_rollback()
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn uses_left(&self) -> u32 {
        let pool = self.pool();
        let returned = u32::try_from(pool.returned.len()).unwrap_or(u32::MAX);
        (self.token.max_uses() + 1 - pool.next).saturating_add(returned)
    }

    fn limit(&self, left: u32) {
        let over = self.uses_left().saturating_sub(left);
        let mut pool = self.pool();
        for _ in 0..over {
            if pool.returned.pop().is_none() && pool.next <= self.token.max_uses() {
                pool.next += 1;
            }
        }
    }

    fn mint(self: &Arc<Self>) -> Option<Capability> {
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
}
