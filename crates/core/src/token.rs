//! Tokens: what a person declares. A token is data and confers nothing; authority is the
//! [`Capability`](crate::capability::Capability) that a set mints from it.

mod attenuate;
mod build;

use serde::{Deserialize, Serialize};

use crate::action::Action;
use crate::approval::Approvers;
use crate::error::Refusal;
use crate::json::{Digest, JsonRefusal, canonical};
use crate::scope::Scope;
use crate::scope::command::PrefixError;
use crate::time::Timestamp;

pub use attenuate::{AttenuateError, Narrowing};
pub use build::{
    DatabaseToken, DeployToken, FileToken, HttpToken, MultiUseDatabaseToken, MultiUseFileToken,
    MultiUseHttpToken, MultiUseShellToken, SecretToken, ShellToken, WaitToken,
};

/// The most uses that one token may grant.
pub const MAX_USES: u32 = 1_000_000;

/// What the name of a deploy token's way back ends with. `/` can't stand in a declared name.
pub const ROLLBACK_SUFFIX: &str = "/rollback";

/// A scoped, auditable permit that a person declares.
#[derive(Debug, Clone, Serialize)]
pub struct Token {
    name: String,
    scope: Scope,
    /// The scopes of the tokens that it was narrowed from, which a call must fit too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    within: Vec<Scope>,
    max_uses: u32,
    requires_approval: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    approvers: Option<Approvers>,
    required: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    witness: Option<Witness>,
    #[serde(skip)]
    examples: Examples,
}

/// When witnesses must have seen that a use is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Witness {
    /// The effect doesn't begin before enough of them have cosigned a checkpoint that holds its intent.
    BeforeEffect,
}

/// Calls that a token says it allows and refuses, checked by `lar test`. For a shell token each is a
/// command, for the others the tool's input as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Examples {
    /// These must be allowed.
    pub allows: Vec<String>,
    /// These must be refused.
    pub refuses: Vec<String>,
}

/// A token can't be made like this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The token's name doesn't fit.
    #[error("token `{name}`: {message}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it, and what would do.
        message: String,
    },
    /// One field is wrong.
    #[error("`{field}`: {message}")]
    Field {
        /// The field's name in the manifest.
        field: &'static str,
        /// What is wrong with it, and what would do.
        message: String,
    },
    /// One of the allowed prefixes is wrong.
    #[error("`allowed`: {0}")]
    Prefix(#[from] PrefixError),
}

impl TokenError {
    /// The manifest's field that is to blame.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Name { .. } => "name",
            Self::Field { field, .. } => field,
            Self::Prefix(_) => "allowed",
        }
    }
}

impl Token {
    /// The name that the issuer gave it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it allows.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Whether it allows the action: by its own scope, and by those of the tokens that it was narrowed
    /// from. Pure and total.
    pub fn permits(&self, action: &Action) -> Result<(), Refusal> {
        self.scope.permits(action)?;
        self.within.iter().try_for_each(|scope| scope.permits(action))
    }

    /// How many uses it grants.
    pub fn max_uses(&self) -> u32 {
        self.max_uses
    }

    /// Whether a human must approve each use.
    pub fn requires_approval(&self) -> bool {
        self.requires_approval
    }

    /// Who may approve, where that is not just whoever sits at the run's terminal.
    pub fn approvers(&self) -> Option<&Approvers> {
        self.approvers.as_ref()
    }

    /// The same token, each use of which these people must approve; it must be one that requires
    /// approval. What the token says by itself stays.
    #[must_use]
    pub fn or_approvers(mut self, approvers: &Approvers) -> Self {
        if self.requires_approval && self.approvers.is_none() {
            self.approvers = Some(approvers.clone());
        }
        self
    }

    /// Whether a run fails when this token was never spent with success.
    pub fn required(&self) -> bool {
        self.required
    }

    /// When it ends, by the ledger's clock.
    pub fn expires(&self) -> Option<Timestamp> {
        self.expires
    }

    /// When witnesses must have seen that a use is spent, if they must.
    pub fn witness(&self) -> Option<Witness> {
        self.witness
    }

    /// The calls that it says it allows and refuses.
    pub fn examples(&self) -> &Examples {
        &self.examples
    }

    /// The name under which the model sees it.
    pub fn tool_name(&self) -> String {
        match &self.scope {
            Scope::Shell(_) => format!("shell_{}", self.name),
            Scope::Http(_) => self.name.clone(),
            Scope::File(_) => format!("file_{}", self.name),
            Scope::Database(_) => format!("db_{}", self.name),
            Scope::Deploy(_) => format!("deploy_{}", self.name),
            // Never offered to the model; the space keeps it from ever being one of its names.
            Scope::Rollback(_) => format!("rollback {}", self.name),
            Scope::Wait(_) => format!("wait_{}", self.name),
            Scope::Secret(_) => format!("secret_{}", self.name),
        }
    }

    /// SHA-256 of the definition's canonical form: equal exactly for tokens that allow the same.
    pub fn digest(&self) -> Result<Digest, JsonRefusal> {
        Ok(Digest::of(&canonical(self)?))
    }

    /// Whether it is the way back of a deploy token, which the runtime alone uses.
    pub fn is_rollback(&self) -> bool {
        matches!(self.scope, Scope::Rollback(_))
    }

    /// The once-only way back that is minted with a deploy token, if it states one. The approval of
    /// the deployment covers it: it is shown there.
    pub fn rollback(&self) -> Option<Token> {
        let Scope::Deploy(scope) = &self.scope else {
            return None;
        };
        scope.has_rollback().then(|| Token {
            name: format!("{}{ROLLBACK_SUFFIX}", self.name),
            scope: Scope::Rollback(scope.clone()),
            within: Vec::new(),
            max_uses: self.max_uses,
            requires_approval: false,
            approvers: None,
            required: false,
            expires: self.expires,
            witness: self.witness,
            examples: Examples::default(),
        })
    }

    /// The same token with its scope changed by `resolve`: the runtime fixes here what a kubeconfig
    /// context means before the set is issued.
    #[must_use]
    pub fn with_scope(mut self, resolve: impl FnOnce(Scope) -> Scope) -> Self {
        self.scope = resolve(self.scope);
        self
    }
}
