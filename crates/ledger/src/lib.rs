//! The durable truth about uses and records.
//!
//! This crate implements [`lar_core::ledger::Ledger`] and decides nothing: which state follows
//! which is the pure rule of [`lar_core::ledger::protocol`], called inside the transaction. It never
//! runs an action, asks a person or talks to a model.

mod sqlite;

use std::path::Path;
use std::sync::Arc;

use lar_core::ledger::{Ledger, LedgerError};

/// Opens the ledger at `path`, or makes a new one there. The directory is made with mode 0700 and
/// the file with 0600.
///
/// # Errors
///
/// [`LedgerError::Unavailable`] when the file can't be opened or written, or lies on a network file
/// system, where SQLite's locks don't hold; [`LedgerError::Damaged`] when it isn't a ledger or was
/// written by a newer version.
pub fn open(path: &Path) -> Result<Arc<dyn Ledger>, LedgerError> {
    Ok(Arc::new(sqlite::Sqlite::open(path)?))
}
