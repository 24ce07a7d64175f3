//! The errors, by the names under which the record states them. Their texts are the runtime's own.

use linear_agentics::{
    ComposeError, ConfineError, LedgerError as Ledger, Refusal, SessionError, SetError, SplitError,
    tokens,
};
use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;

/// Declares the errors and adds them to the module: name, base, and what `help()` says.
macro_rules! errors {
    ($($name:ident($base:ty): $doc:literal;)*) => {
        $(create_exception!(linear_agentics, $name, $base, $doc);)*

        /// Adds the errors to the module.
        pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
            $(module.add(stringify!($name), module.py().get_type::<$name>())?;)*
            // An error that is about no token says so.
            module.py().get_type::<LinearAgenticsError>().setattr("token_name", module.py().None())
        }
    };
}

errors! {
    LinearAgenticsError(PyException):
        "Everything that this package raises of its own. `token_name` is the token that it is about, or None.";
    TokenError(LinearAgenticsError):
        "A call on a token that did not happen. Nothing was started, and nothing was spent.";
    TokenDefinitionError(TokenError):
        "The token can't be declared like this; the message names the argument and what would do.";
    TokenReusedError(TokenError): "Every use of the token was spent; a use is never given twice.";
    TokenClosedError(TokenError):
        "The token can't be used now: it expired, was denied three times, or belongs to another.";
    TokenScopeError(TokenError): "The call lies outside what the token allows.";
    CommandNotAllowedError(TokenScopeError):
        "The command begins like none of the allowed ones, or would need a shell.";
    FileAccessError(TokenScopeError): "The path or the operation lies outside the allowed ones.";
    QueryNotAllowedError(TokenScopeError): "The query is none of the allowed ones.";
    UnknownToolError(TokenError): "No tool of that name is offered; the message lists those that are.";
    InvalidInputError(TokenError): "The input is not what the tool takes; the message names the field.";
    NeverBeganError(TokenError):
        "The use was spent, nothing outside was touched, and the use was given back.";
    SecretExposedError(TokenError): "The call spells a secret, which must not spread.";
    BudgetExhaustedError(LinearAgenticsError): "The steps, model tokens or money are used up.";
    BudgetTimeoutError(LinearAgenticsError): "The time of the budget is over.";
    ApprovalDeniedError(LinearAgenticsError): "A person said no, or nobody could be asked.";
    ApprovalTimeoutError(LinearAgenticsError): "Nobody answered in time, which denies.";
    LedgerError(LinearAgenticsError):
        "The ledger can't be reached, is damaged, or doesn't agree. Without it nothing is done.";
    VerificationError(LedgerError):
        "The records don't hold; `verification` has the four verdicts.";
    SandboxError(LinearAgenticsError):
        "The kernel can't confine commands as the run demands, or they can't be started at all.";
    ModelError(LinearAgenticsError): "The model can't be opened as asked.";
    SetupError(LinearAgenticsError):
        "The run can't be started: a secret, a cluster or a setting is wrong. Nothing was spent.";
    RunStoppedError(LinearAgenticsError): "The run is being stopped; nothing more is started.";
    ForkedError(LinearAgenticsError):
        "The process was forked; a token doesn't cross a fork, because both sides would hold it.";
}

/// A refusal as the error of its public name, with the token that it is about as the record has it.
pub fn refused(refusal: Refusal, token: &str) -> PyErr {
    let error = named(refusal);
    Python::attach(|py| {
        // It only says more; the error is the same without it.
        let _ = error.value(py).setattr("token_name", token);
    });
    error
}

fn named(refusal: Refusal) -> PyErr {
    let message = refusal.to_string();
    match refusal {
        Refusal::UnknownTool { .. } => UnknownToolError::new_err(message),
        Refusal::InvalidInput(_) => InvalidInputError::new_err(message),
        Refusal::TokenReused { .. } | Refusal::NoUseFree { .. } => {
            TokenReusedError::new_err(message)
        }
        Refusal::TokenClosed(_) => TokenClosedError::new_err(message),
        Refusal::CommandNotAllowed(_) => CommandNotAllowedError::new_err(message),
        Refusal::FileAccess(_) => FileAccessError::new_err(message),
        Refusal::QueryNotAllowed(_) => QueryNotAllowedError::new_err(message),
        Refusal::TokenScope(_) => TokenScopeError::new_err(message),
        Refusal::ApprovalDenied(_) => ApprovalDeniedError::new_err(message),
        Refusal::ApprovalTimeout(_) => ApprovalTimeoutError::new_err(message),
        Refusal::BudgetExhausted(_) => BudgetExhaustedError::new_err(message),
        Refusal::BudgetTimeout(_) => BudgetTimeoutError::new_err(message),
        Refusal::NeverBegan(_) => NeverBeganError::new_err(message),
        Refusal::SecretExposed(_) => SecretExposedError::new_err(message),
        Refusal::Stopped => RunStoppedError::new_err(message),
        Refusal::Ledger(_) => LedgerError::new_err(message),
    }
}

/// What a session says about a call on a token.
pub fn call(error: SessionError, token: &str) -> PyErr {
    match error {
        SessionError::Refused(refusal) => refused(refusal, token),
        other => session(other),
    }
}

/// What a session says.
pub fn session(error: SessionError) -> PyErr {
    match error {
        SessionError::Refused(refusal) => named(refusal),
        SessionError::Compose(error) => compose(error),
        SessionError::Ledger(error) => ledger(error),
        SessionError::Busy => TokenClosedError::new_err(error.to_string()),
    }
}

/// What keeps a run from starting.
pub fn compose(error: ComposeError) -> PyErr {
    let message = error.to_string();
    match error {
        ComposeError::Ledger(_) | ComposeError::NoStateDirectory => LedgerError::new_err(message),
        ComposeError::Model(_) | ComposeError::NoPrice(_) => ModelError::new_err(message),
        ComposeError::Confine(ConfineError::Overlaps(_)) => SetupError::new_err(message),
        ComposeError::Confine(_) => SandboxError::new_err(message),
        _ => SetupError::new_err(message),
    }
}

/// What the ledger says.
pub fn ledger(error: Ledger) -> PyErr {
    LedgerError::new_err(error.to_string())
}

/// A token that can't be made.
pub fn definition(error: tokens::TokenError) -> PyErr {
    TokenDefinitionError::new_err(error.to_string())
}

/// Uses that can't be split off.
pub fn split(error: SplitError) -> PyErr {
    match error {
        SplitError::Narrowing { .. } => TokenDefinitionError::new_err(error.to_string()),
        _ => TokenClosedError::new_err(error.to_string()),
    }
}

/// Tokens that don't go together.
pub fn set(error: SetError) -> PyErr {
    TokenDefinitionError::new_err(error.to_string())
}
