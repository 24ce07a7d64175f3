//! The durable truth about uses and records.
//!
//! This crate implements [`lar_core::ledger::Ledger`] and decides nothing: which state follows
//! which is the pure rule of [`lar_core::ledger::protocol`], called inside the transaction, or put in
//! the database's own words and checked against it. It never runs an action, asks a person or talks
//! to a model.

mod postgres;
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

/// Connects to the ledger in a PostgreSQL database (`postgres://ROLE@HOST/DATABASE`), and makes one
/// there when there is none and the role may. To be called within a tokio runtime, which must live as
/// long as the ledger. No error shows the address.
///
/// # Errors
///
/// [`LedgerError::Unavailable`] when the address can't be read, the server can't be reached, or the
/// role may not use the ledger; [`LedgerError::Damaged`] when the database holds something else, or a
/// ledger of a newer version.
pub async fn connect(address: &str) -> Result<Arc<dyn Ledger>, LedgerError> {
    Ok(Arc::new(postgres::Postgres::open(address).await?))
}
