//! Why a step is refused.

use crate::time::Timestamp;

/// The asked change doesn't fit the state.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Conflict {
    /// No use is left.
    #[error("no use of this token is left")]
    NoUseLeft,
    /// There is no such token in this grant.
    #[error("the grant has no token `{0}`")]
    UnknownToken(String),
    /// The token has ended.
    #[error("the token expired at {0}")]
    Expired(Timestamp),
    /// The grant has ended.
    #[error("the grant expired at {0}")]
    GrantExpired(Timestamp),
    /// The grant was revoked.
    #[error("the grant was revoked")]
    Revoked,
    /// The grant is of an older epoch.
    #[error(
        "the grant was issued before the ledger's present epoch and takes no spend; see what was \
         done, then issue another grant"
    )]
    Quarantined,
    /// Nobody has unlocked the token, or it is unlocked already.
    #[error("the token is a candidate that nobody has granted, or that was granted before")]
    Locked,
    /// Another process holds the run by now.
    #[error("another process has taken this run over")]
    RunLost,
    /// This very attempt was made before.
    #[error("this attempt was made before; it is never executed a second time")]
    AlreadyAttempted,
    /// Somebody else holds the use by now.
    #[error("the use is no longer held by this attempt")]
    Fenced,
    /// The hold has run out.
    #[error("the hold on the use ran out while it was waited for an answer")]
    LeaseExpired,
    /// Nobody has approved it.
    #[error("the use needs an approval that was not given")]
    NotApproved,
    /// The approval has run out.
    #[error("the approval ran out at {0}")]
    ApprovalExpired(Timestamp),
    /// What would run isn't what was held and approved.
    #[error("the action isn't the one that the use was held for")]
    OtherAction,
    /// The use is in a state from which there is no such step.
    #[error("the use is in a state that this step can't follow")]
    OutOfOrder,
}
