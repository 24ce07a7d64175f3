//! The policy file: TOML that the verifier wrote, never the log.

use std::path::Path;

use lar_core::audit::policy::{Policy, PolicyError};

/// The most bytes that a policy may have.
const MOST_BYTES: u64 = 1 << 20;

/// A policy can't be used.
#[derive(Debug)]
pub enum PolicyFileError {
    /// The file can't be read.
    Unreadable(std::io::ErrorKind),
    /// It isn't a policy. The text says where and why.
    NotAPolicy(String),
    /// It demands what can't be.
    Impossible(PolicyError),
}

impl std::fmt::Display for PolicyFileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreadable(kind) => write!(f, "it can't be read ({kind})"),
            Self::NotAPolicy(why) => {
                write!(f, "{why}; `lar keys show --policy` prints one to begin with")
            }
            Self::Impossible(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for PolicyFileError {}

/// Reads a policy file.
///
/// # Errors
/// Says what is wrong with it; a policy that can't be understood is never kept in part.
pub fn read_policy(path: &Path) -> Result<Policy, PolicyFileError> {
    let unreadable = |error: std::io::Error| PolicyFileError::Unreadable(error.kind());
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > MOST_BYTES {
        return Err(PolicyFileError::NotAPolicy(format!("it has {size} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let policy: Policy = toml::from_str(&text).map_err(|error| {
        let line = error.span().and_then(|span| text.get(..span.start)).map(|before| {
            format!("line {}: ", before.bytes().filter(|byte| *byte == b'\n').count() + 1)
        });
        PolicyFileError::NotAPolicy(format!("{}{}", line.unwrap_or_default(), error.message()))
    })?;
    policy.check().map_err(PolicyFileError::Impossible)?;
    Ok(policy)
}
