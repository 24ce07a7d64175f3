//! What an agent holds: the capabilities that were minted from its tokens.
//!
//! The set is the process's own view and keeps two tasks from taking one capability. What is
//! durable, and what holds between processes and hosts, is the ledger's.

mod entry;
mod moving;
mod split;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::audit::room::{MOST_SCOPE_BYTES, MOST_TOKENS_BYTES};
use crate::call::Reserved;
use crate::capability::Held;
use crate::definition::{self, ToolDefinition};
use crate::error::Refusal;
use crate::id::Part;
use crate::invocation::Invocation;
use crate::token::Token;

use entry::DENIALS;
pub(crate) use entry::Entry;
pub use split::{Share, SplitError};

/// Names of the runtime's own tools; no token may take one.
pub const RESERVED_NAMES: [&str; 2] = ["request_approval", "request_capability"];

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
    /// Its scope is too long to be written down with each use.
    #[error(
        "token `{token}`: its scope comes to {bytes} bytes in words, and at most {MOST_SCOPE_BYTES} fit \
         into a record; split it into several tokens"
    )]
    ScopeTooLong {
        /// The token.
        token: String,
        /// The size of its scope in words.
        bytes: usize,
    },
    /// There are too many tokens, or their scopes are too long together.
    #[error(
        "the tokens come to {bytes} bytes in the record with which a run begins, and at most \
         {MOST_TOKENS_BYTES} fit; split the job into several runs, or shorten the scopes"
    )]
    TooLarge {
        /// Their size.
        bytes: usize,
    },
}

/// How many of the [`MOST_TOKENS_BYTES`] of a set a token takes, its way back included.
///
/// # Errors
///
/// When its scope is too long to be written down with each use.
pub fn bytes_of(token: &Token) -> Result<usize, SetError> {
    let back = token.rollback();
    [Some(token), back.as_ref()].into_iter().flatten().map(entry::line_bytes).sum()
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

    /// Adds a token that a person granted for one run: it ends with [`CapabilitySet::end_run`], here and
    /// wherever uses of it were split off to.
    pub fn add_for_run(&self, token: Token) -> Result<(), SetError> {
        let over = Arc::default();
        let rollback = token.rollback();
        self.adopt(Arc::new(Entry::new(token).until(&over)))?;
        let back = rollback.map(|token| Arc::new(Entry::new(token).until(&over)));
        back.map_or(Ok(()), |back| self.adopt(back))
    }

    /// Ends what was granted for a run. Its uses were that run's and are nobody's now.
    pub fn end_run(&self) {
        let mut entries = self.inner.entries.write().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|entry| !entry.ends_with_its_run());
    }

    fn adopt(&self, entry: Arc<Entry>) -> Result<(), SetError> {
        let (token, tool) = (entry.token(), entry.tool().to_owned());
        let line = entry::line_bytes(token)?;
        let mut entries = self.inner.entries.write().unwrap_or_else(PoisonError::into_inner);
        if RESERVED_NAMES.contains(&tool.as_str()) {
            return Err(SetError::Reserved(token.name().to_owned()));
        }
        for held in entries.iter() {
            if held.tool() == tool {
                let (first, second) = (held.token().name().to_owned(), token.name().to_owned());
                return Err(SetError::Duplicate { tool, first, second });
            }
            if held.token().name() == token.name() {
                return Err(SetError::DuplicateName(token.name().to_owned()));
            }
        }
        let held = entries.iter().map(|entry| entry::line_bytes(entry.token()));
        let bytes = held.sum::<Result<usize, SetError>>()? + line;
        if bytes > MOST_TOKENS_BYTES {
            return Err(SetError::TooLarge { bytes });
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

    /// The tokens in the order of their declaration, the ways back included.
    pub fn tokens(&self) -> Vec<Token> {
        self.entries().iter().map(|entry| Token::clone(entry.token())).collect()
    }

    /// The token of that name.
    pub fn token(&self, name: &str) -> Option<Arc<Token>> {
        self.named(name).map(|entry| Arc::clone(entry.token()))
    }

    /// The name of the token that a tool stands for.
    pub fn name_of(&self, tool: &str) -> Option<String> {
        self.first(|entry| entry.tool() == tool).map(|entry| entry.token().name().to_owned())
    }

    /// How many uses of a token this process may still spend.
    pub fn uses_left(&self, name: &str) -> Option<u32> {
        self.named(name).map(|entry| entry.uses_left())
    }

    /// Says that no more than `left` uses of a token can be had: other runs of the grant have spent
    /// or hold the others. It only ever lowers what this process may spend.
    pub fn limit(&self, name: &str, left: u32) {
        if let Some(entry) = self.named(name) {
            entry.limit(left);
        }
    }

    /// Takes up what was done with a token before a run was cut off: uses that were spent, and how often
    /// a person denied it. What is left to spend is [`CapabilitySet::limit`]'s.
    pub fn carry(&self, name: &str, spent: u32, denials: u32) {
        if let Some(entry) = self.named(name) {
            entry.carry(spent, denials);
        }
    }

    /// The tools that the model is offered now: those of tokens with a use left.
    pub fn tool_definitions(&self) -> Vec<ToolDefinition> {
        self.entries()
            .iter()
            .filter(|entry| entry.offered() && entry.uses_left() > 0)
            .map(|entry| definition::of(entry.token(), entry.uses_left()))
            .collect()
    }

    /// Names of the tokens of which no use was spent. A way back that wasn't needed is no omission.
    pub fn unused_tokens(&self) -> Vec<String> {
        self.entries()
            .iter()
            .filter(|entry| entry.offered() && entry.spent() == 0)
            .map(|entry| entry.token().name().to_owned())
            .collect()
    }

    /// Says that the unused tokens were reported, so that dropping the set warns of nothing.
    pub fn mark_reported(&self) {
        self.inner.reported.store(true, Ordering::Relaxed);
    }

    /// Takes one capability for an invocation. Dropping what is returned gives it back.
    pub fn reserve(&self, invocation: Invocation) -> Result<Reserved, Refusal> {
        let entry = self.find(invocation.tool(), invocation.site().part)?;
        if entry.is_closed() {
            return Err(Refusal::TokenClosed(format!(
                "token `{}` was denied {DENIALS} times and is closed for this run",
                entry.token().name()
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
        let back = part == Part::Rollback;
        let fits = |entry: &Entry| entry.tool() == tool && entry.token().is_rollback() == back;
        if let Some(entry) = self.first(fits) {
            return Ok(entry);
        }
        let entries = self.entries();
        let known: BTreeSet<&str> =
            entries.iter().filter(|entry| entry.offered()).map(|entry| entry.tool()).collect();
        let known = known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        Err(Refusal::UnknownTool {
            tool: crate::display::visible(tool, 128),
            known: if known.is_empty() { "none".to_owned() } else { known },
        })
    }

    fn named(&self, name: &str) -> Option<Arc<Entry>> {
        self.first(|entry| entry.token().name() == name)
    }

    /// The first that fits. No list is made: each call comes by here.
    fn first(&self, fits: impl Fn(&Entry) -> bool) -> Option<Arc<Entry>> {
        let entries = self.inner.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.iter().find(|entry| fits(entry)).map(Arc::clone)
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
        for entry in entries.iter().filter(|e| e.offered() && e.spent() == 0) {
            tracing::warn!(token = entry.token().name(), "a token was never used");
        }
    }
}
