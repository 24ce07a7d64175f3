//! Narrower tokens, for sub-agents: fewer uses, an earlier end, less of what is allowed. Never wider.
//!
//! A narrowing is taken only where it is proved that it allows no more than the token does. The token's
//! own scope is asked all the same whenever a call is judged, so that a mistake in a proof widens
//! nothing.

use std::time::Duration;

use super::{Examples, Token, TokenError};
use crate::scope::{FileMode, Scope};
use crate::time::Timestamp;

/// What is to be less. What isn't said stays as it is.
///
/// ```
/// use lar_core::token::{Narrowing, ShellToken};
/// let pods = ShellToken::new("pods", ["kubectl get"]).max_uses(5).build()?;
/// let child = pods.attenuate(&Narrowing::new().max_uses(2).allowed(["kubectl get pods -n prod"]))?;
/// assert_eq!(child.max_uses(), 2);
/// // What can't be proved to be narrower is refused, with the reason.
/// assert!(pods.attenuate(&Narrowing::new().allowed(["kubectl get --server=x"])).is_err());
/// assert!(pods.attenuate(&Narrowing::new().max_uses(6)).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "a narrowing does nothing until a token is attenuated by it"]
pub struct Narrowing {
    pub(crate) uses: Option<u32>,
    expires: Option<Timestamp>,
    approval: bool,
    timeout: Option<Duration>,
    allowed: Option<Vec<String>>,
    methods: Option<Vec<String>>,
    paths: Option<Vec<String>>,
    mode: Option<FileMode>,
    max_bytes: Option<u64>,
    patterns: Option<Vec<String>>,
    row_limit: Option<u32>,
    max_seconds: Option<u64>,
}

/// A token can't be narrowed like this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttenuateError {
    /// It would allow more than the token does.
    #[error("`{field}`: {message}")]
    Wider {
        /// What was to be narrowed.
        field: &'static str,
        /// What is more, and what would do.
        message: String,
    },
    /// It can't be proved to allow no more than the token does.
    #[error("`{field}`: `{text}` can't be proved to allow no more than the token does: {why}")]
    Unproved {
        /// What was to be narrowed.
        field: &'static str,
        /// What was said.
        text: String,
        /// What is missing, and what would do.
        why: String,
    },
    /// A token of this kind has no such thing.
    #[error("`{field}`: a {kind} token has nothing of that name to narrow; leave it out")]
    NotOfKind {
        /// What was to be narrowed.
        field: &'static str,
        /// The token's kind.
        kind: &'static str,
    },
    /// No token can be made like this.
    #[error(transparent)]
    Token(#[from] TokenError),
}

macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident($field:ident: $type:ty);)*) => {
        $($(#[$doc])* pub fn $name(mut self, $field: $type) -> Self {
            self.$field = Some($field);
            self
        })*
    };
}

impl Narrowing {
    /// Nothing less yet.
    pub fn new() -> Self {
        Self::default()
    }

    setters! {
        /// At most so many uses.
        max_uses(uses: u32);
        /// Ends at that moment, by the ledger's clock.
        expires(expires: Timestamp);
        /// Ends each call after this time.
        timeout(timeout: Duration);
        /// Reads, writes, or both.
        mode(mode: FileMode);
        /// At most so many bytes of a file, or of a request's or an answer's body.
        max_bytes(max_bytes: u64);
        /// At most so many rows.
        row_limit(row_limit: u32);
        /// A pause of at most so many seconds.
        max_seconds(max_seconds: u64);
    }

    /// A human must approve every use.
    pub fn requires_approval(mut self) -> Self {
        self.approval = true;
        self
    }

    /// Commands that begin with one of these.
    pub fn allowed(mut self, prefixes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.allowed = Some(prefixes.into_iter().map(Into::into).collect());
        self
    }

    /// Requests with one of these methods.
    pub fn methods(mut self, methods: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.methods = Some(methods.into_iter().map(Into::into).collect());
        self
    }

    /// Files at or beneath these absolute paths.
    pub fn paths(mut self, paths: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.paths = Some(paths.into_iter().map(Into::into).collect());
        self
    }

    /// Statements of these kinds, or that begin like this.
    pub fn patterns(mut self, patterns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.patterns = Some(patterns.into_iter().map(Into::into).collect());
        self
    }

    /// Narrows a scope. Says whether there was anything to do.
    fn scope(mut self, scope: &mut Scope) -> Result<bool, AttenuateError> {
        let before = self.left_over().len();
        self.apply(scope)?;
        match self.left_over().as_slice() {
            [] => Ok(before > 0),
            [field, ..] => Err(AttenuateError::NotOfKind { field, kind: scope.kind() }),
        }
    }

    fn apply(&mut self, scope: &mut Scope) -> Result<(), AttenuateError> {
        match scope {
            Scope::Shell(shell) => {
                if let Some(allowed) = self.allowed.take() {
                    shell.commands = shell.commands.attenuate(allowed)?;
                }
                lower("timeout", self.timeout.take(), &mut shell.timeout)
            }
            Scope::Http(http) => {
                if let Some(methods) = self.methods.take() {
                    let methods: Vec<String> =
                        methods.iter().map(|method| method.to_ascii_uppercase()).collect();
                    if let Some(more) = methods.iter().find(|method| !http.methods.contains(method))
                    {
                        let mine = http.methods.join(", ");
                        return Err(wider("methods", format!("`{more}` is not one of {mine}")));
                    }
                    http.methods.retain(|method| methods.contains(method));
                    if http.methods.is_empty() {
                        return Err(wider("methods", "no method is listed".to_owned()));
                    }
                }
                lower("timeout", self.timeout.take(), &mut http.timeout)?;
                lower("max_bytes", self.max_bytes.take(), &mut http.max_body)
            }
            Scope::File(file) => {
                if let Some(paths) = self.paths.take() {
                    file.confine(&paths)?;
                }
                if let Some(mode) = self.mode.take() {
                    if mode != file.mode && file.mode != FileMode::ReadWrite {
                        let has = file.mode.as_str();
                        return Err(wider("mode", format!("the token allows {has} only")));
                    }
                    file.mode = mode;
                }
                lower("max_bytes", self.max_bytes.take(), &mut file.max_bytes)
            }
            Scope::Database(database) => {
                if let Some(patterns) = self.patterns.take() {
                    database.attenuate(patterns)?;
                }
                lower("row_limit", self.row_limit.take(), &mut database.row_limit)?;
                lower("timeout", self.timeout.take(), &mut database.timeout)
            }
            Scope::Wait(wait) => {
                lower("max_seconds", self.max_seconds.take(), &mut wait.max_seconds)
            }
            Scope::Secret(secret) => self.apply(&mut secret.inner),
            // One deployment, of which every part is stated: there is nothing to leave out.
            Scope::Deploy(_) | Scope::Rollback(_) => Ok(()),
        }
    }

    /// What no kind of scope has taken.
    fn left_over(&self) -> Vec<&'static str> {
        let fields = [
            ("timeout", self.timeout.is_some()),
            ("allowed", self.allowed.is_some()),
            ("methods", self.methods.is_some()),
            ("allowed_paths", self.paths.is_some()),
            ("mode", self.mode.is_some()),
            ("max_bytes", self.max_bytes.is_some()),
            ("allowed_patterns", self.patterns.is_some()),
            ("row_limit", self.row_limit.is_some()),
            ("max_seconds", self.max_seconds.is_some()),
        ];
        fields.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect()
    }
}

impl Token {
    /// A token of the same name that allows provably no more than this one, for a sub-agent. Its uses are
    /// this token's: [`CapabilitySet::split`](crate::set::CapabilitySet::split) moves them.
    ///
    /// # Errors
    ///
    /// When it would allow more, or can't be proved to allow no more.
    pub fn attenuate(&self, to: &Narrowing) -> Result<Token, AttenuateError> {
        let mut token = self.clone();
        if to.clone().scope(&mut token.scope)? {
            token.within.push(self.scope.clone());
            // They were said of the wider token.
            token.examples = Examples::default();
        }
        if let Some(uses) = to.uses {
            if uses == 0 || uses > self.max_uses {
                let most = self.max_uses;
                return Err(wider("max_uses", format!("{uses} is not between 1 and {most}")));
            }
            token.max_uses = uses;
        }
        if let Some(end) = to.expires {
            if let Some(own) = self.expires.filter(|own| end > *own) {
                return Err(wider("expires", format!("the token ends at {own}")));
            }
            token.expires = Some(end);
        }
        token.requires_approval |= to.approval;
        Ok(token)
    }
}

fn wider(field: &'static str, message: String) -> AttenuateError {
    AttenuateError::Wider { field, message }
}

/// Takes a lower limit in place of the present one.
fn lower<T: PartialOrd + std::fmt::Debug>(
    field: &'static str,
    to: Option<T>,
    limit: &mut T,
) -> Result<(), AttenuateError> {
    match to {
        Some(to) if to > *limit => Err(wider(field, format!("the token allows {limit:?}"))),
        Some(to) => {
            *limit = to;
            Ok(())
        }
        None => Ok(()),
    }
}
