//! What things of a run are called: the run, and the ledger that nobody named.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use lar_core::id::RunId;
use lar_core::time::Timestamp;

use super::ComposeError;

/// The ledger's file in the user's state directory: `$XDG_STATE_HOME/lar/ledger.db`, or
/// `~/.local/state/lar/ledger.db` (XDG Base Directory Specification).
pub fn default_ledger() -> Result<PathBuf, ComposeError> {
    Ok(state_directory().ok_or(ComposeError::NoStateDirectory)?.join("lar/ledger.db"))
}

/// A name for a run: when it began, and 32 random bits.
pub(super) fn new_run() -> Result<RunId, ComposeError> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(0)).to_string();
    let digits: String = now.chars().filter(char::is_ascii_digit).take(14).collect();
    let (day, time) = digits.split_at_checked(8).unwrap_or((&digits, ""));
    let mut random = [0u8; 4];
    getrandom::fill(&mut random)
        .map_err(|_| ComposeError::System("the system gives no random numbers"))?;
    RunId::new(format!("{day}-{time}-{:08x}", u32::from_ne_bytes(random)))
        .map_err(|_| ComposeError::System("no name can be made for the run"))
}

/// The user's state directory: `$XDG_STATE_HOME`, or `~/.local/state`.
pub(crate) fn state_directory() -> Option<PathBuf> {
    let absolute =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
}
