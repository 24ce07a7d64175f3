//! What an error of the server's means: whether the change was surely not made, or may have been.

use lar_core::ledger::LedgerError;
use lar_postgres::explain;
use tokio_postgres::Error;
use tokio_postgres::error::{Severity, SqlState};

/// Why a request was not answered with what was asked for.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Surely not made, because another transaction was in the way: it may be tried again.
    InTheWay(String),
    /// Surely not made, because what was read before has changed: read it again.
    Stale,
    /// Surely not made, and it is no use to try again.
    Refused(LedgerError),
    /// The server couldn't be asked at all. Surely not made.
    Unreached(String),
    /// It may have been made: the answer is lost.
    Lost(String),
}

/// How far the clock is behind, in seconds, stands in the message of this error.
const CLOCK_BEHIND: &str = "LR001";
const STALE: &str = "LR002";
const BAD_RECORD: &str = "LR003";

impl Trouble {
    /// What the answer to a request says.
    ///
    /// An error of the plain severity means that the transaction was rolled back. Anything above
    /// may come after the commit: a server that is shut down while it waits for its standby ends the
    /// connection so.
    pub(super) fn of(error: &Error) -> Self {
        let Some(said) = error.as_db_error() else {
            return match refused_here(error) {
                Some(refusal) => Self::Refused(refusal),
                None => Self::Lost(explain(error)),
            };
        };
        // Where the severity can't be read, the worst is assumed.
        if said.parsed_severity() != Some(Severity::Error) {
            return Self::Lost(explain(error));
        }
        match said.code() {
            &SqlState::T_R_SERIALIZATION_FAILURE
            | &SqlState::T_R_DEADLOCK_DETECTED
            | &SqlState::LOCK_NOT_AVAILABLE
            // By the statement's time limit, or by the operator. A wait for a standby that is
            // cancelled ends in a warning and not here.
            | &SqlState::QUERY_CANCELED => Self::InTheWay(explain(error)),
            code if code.code() == CLOCK_BEHIND => {
                Self::Refused(LedgerError::Unavailable(format!(
                    "the server's clock is {} s behind the ledger's last record; set the clock there and \
                 run again",
                    said.message().chars().filter(char::is_ascii_digit).collect::<String>()
                )))
            }
            code if code.code() == STALE => Self::Stale,
            code if code.code() == BAD_RECORD => Self::Refused(LedgerError::Damaged(
                "a record doesn't follow the one before it; check it with `lar audit verify`"
                    .to_owned(),
            )),
            _ => Self::Refused(LedgerError::Unavailable(explain(error))),
        }
    }

    /// For those who don't try again.
    pub(super) fn into_error(self) -> LedgerError {
        match self {
            Self::Refused(error) => error,
            Self::InTheWay(why) | Self::Unreached(why) | Self::Lost(why) => {
                LedgerError::Unavailable(why)
            }
            Self::Stale => {
                LedgerError::Unavailable("others kept changing what it reads; run again".to_owned())
            }
        }
    }
}

impl From<LedgerError> for Trouble {
    fn from(error: LedgerError) -> Self {
        Self::Refused(error)
    }
}

/// A parameter that can't be sent never left this process.
fn refused_here(error: &Error) -> Option<LedgerError> {
    let text = error.to_string();
    text.starts_with("error serializing parameter")
        .then(|| LedgerError::BadRecord("it holds a value that the database can't keep".to_owned()))
}
