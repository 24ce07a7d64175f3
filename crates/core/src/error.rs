//! Why a call did not happen, in words that the model, the programmer or the operator can act on.

use crate::ledger::LedgerError;

/// A call that was refused. Nothing happened and, unless the variant says otherwise, nothing was
/// spent.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refusal {
    /// No tool of that name is offered.
    #[error("there is no tool `{tool}`; the tools are {known}")]
    UnknownTool {
        /// The name that was asked for, cut to 128 characters.
        tool: String,
        /// The names there are, ready to read.
        known: String,
    },
    /// The input is not what the tool takes.
    #[error("{0}")]
    InvalidInput(String),
    /// Every use has been spent.
    #[error(
        "token `{token}` is used up: each of its {max_uses} use(s) was spent, and a use is never given twice"
    )]
    TokenReused {
        /// The token's name.
        token: String,
        /// How many uses were granted.
        max_uses: u32,
    },
    /// No use can be had now: some are held, and may come back.
    #[error(
        "no use of token `{token}` is free at this moment: each is spent, or held by another call; try \
         later, or do without it"
    )]
    NoUseFree {
        /// The token's name.
        token: String,
    },
    /// The token can't be used now: expired, revoked, or closed after three denials.
    #[error("{0}")]
    TokenClosed(String),
    /// The command is outside the token's scope, or would need a shell.
    #[error("{0}")]
    CommandNotAllowed(String),
    /// The file or the operation on it is outside the token's scope.
    #[error("{0}")]
    FileAccess(String),
    /// The query is outside the token's scope.
    #[error("{0}")]
    QueryNotAllowed(String),
    /// Any other request outside the token's scope: a method, a body, a duration.
    #[error("{0}")]
    TokenScope(String),
    /// A human said no, or nobody could be asked.
    #[error("{0}")]
    ApprovalDenied(String),
    /// Nobody answered in time.
    #[error("{0}")]
    ApprovalTimeout(String),
    /// The run has used up its steps, model tokens or money.
    #[error("{0}")]
    BudgetExhausted(String),
    /// The run's time is over.
    #[error("{0}")]
    BudgetTimeout(String),
    /// It was spent, but nothing outside was touched, and the use came back.
    #[error("nothing was started and the use was given back: {0}")]
    NeverBegan(String),
    /// The model's answer, or what a call of it comes down to, holds a secret, which it can only have
    /// got round the redactor. Nothing is done with it and the run ends.
    #[error("the model's answer holds the secret `{0}`; the run ends before it spreads")]
    SecretExposed(String),
    /// The run is being stopped.
    #[error("the run is being stopped; nothing more is started")]
    Stopped,
    /// The durable truth can't be reached or doesn't agree.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl Refusal {
    /// The public name, as it stands in the audit trail and in Python.
    pub fn error_type(&self) -> &'static str {
        match self {
            Self::UnknownTool { .. } => "UnknownToolError",
            Self::InvalidInput(_) => "InvalidInputError",
            Self::TokenReused { .. } | Self::NoUseFree { .. } => "TokenReusedError",
            Self::TokenClosed(_) => "TokenClosedError",
            Self::CommandNotAllowed(_) => "CommandNotAllowedError",
            Self::FileAccess(_) => "FileAccessError",
            Self::QueryNotAllowed(_) => "QueryNotAllowedError",
            Self::TokenScope(_) => "TokenScopeError",
            Self::ApprovalDenied(_) => "ApprovalDeniedError",
            Self::ApprovalTimeout(_) => "ApprovalTimeoutError",
            Self::BudgetExhausted(_) => "BudgetExhaustedError",
            Self::BudgetTimeout(_) => "BudgetTimeoutError",
            Self::NeverBegan(_) => "NeverBeganError",
            Self::SecretExposed(_) => "SecretExposedError",
            Self::Stopped => "RunStoppedError",
            Self::Ledger(_) => "LedgerError",
        }
    }

    /// Whether the ledger can't be reached or relied on, so that nothing more can be recorded.
    pub fn is_without_ledger(&self) -> bool {
        matches!(self, Self::Ledger(LedgerError::Unavailable(_) | LedgerError::Damaged(_)))
    }

    /// Whether the run must end here: without the ledger nothing can be promised any more, and a
    /// secret that the model knows is not given further chances.
    pub fn ends_the_run(&self) -> bool {
        match self {
            Self::Ledger(_)
            | Self::BudgetExhausted(_)
            | Self::BudgetTimeout(_)
            | Self::SecretExposed(_)
            | Self::Stopped => true,
            Self::UnknownTool { .. }
            | Self::InvalidInput(_)
            | Self::TokenReused { .. }
            | Self::NoUseFree { .. }
            | Self::TokenClosed(_)
            | Self::CommandNotAllowed(_)
            | Self::FileAccess(_)
            | Self::QueryNotAllowed(_)
            | Self::TokenScope(_)
            | Self::ApprovalDenied(_)
            | Self::ApprovalTimeout(_)
            | Self::NeverBegan(_) => false,
        }
    }
}
