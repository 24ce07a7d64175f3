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

use lar_core::audit::log::Signers;
use lar_core::ledger::{Ledger, LedgerError};
pub use lar_postgres::{Address, AddressError, Environment};

/// Opens the ledger at `path`, or makes a new one there. The directory is made with mode 0700 and
/// the file with 0600.
///
/// # Errors
///
/// [`LedgerError::Unavailable`] when the file can't be opened or written, or lies on a network file
/// system, where SQLite's locks don't hold; [`LedgerError::Damaged`] when it isn't a ledger or was
/// written by a newer version.
pub fn open(path: &Path) -> Result<Arc<dyn Ledger>, LedgerError> {
    Ok(Arc::new(sqlite::Sqlite::open(path, None)?))
}

/// Opens the ledger at `path` like [`open`]; each commit is signed by whatever `signers` gives, and
/// nothing is committed unsigned.
///
/// # Errors
///
/// As [`open`].
pub fn open_signed(path: &Path, signers: Signers) -> Result<Arc<dyn Ledger>, LedgerError> {
    Ok(Arc::new(sqlite::Sqlite::open(path, Some(signers))?))
}

/// Connects to the ledger in a PostgreSQL database, and makes one there when there is none and the
/// role may. To be called within a tokio runtime, which must live as long as the ledger. No error
/// shows the address. Nothing is put into the log through it; another process may.
///
/// # Errors
///
/// [`LedgerError::Unavailable`] when the server can't be reached or the role may not use the ledger;
/// [`LedgerError::Damaged`] when the database holds something else, or a ledger of a newer version.
pub async fn connect(address: Address) -> Result<Arc<dyn Ledger>, LedgerError> {
    made(address, None).await
}

/// Like [`connect`]; as long as it is open and has written something, this process takes part in
/// putting what is committed into the log, and signs it by whatever `signers` gives.
///
/// # Errors
///
/// As [`connect`].
pub async fn connect_signed(
    address: Address,
    signers: Signers,
) -> Result<Arc<dyn Ledger>, LedgerError> {
    made(address, Some(signers)).await
}

async fn made(address: Address, signers: Option<Signers>) -> Result<Arc<dyn Ledger>, LedgerError> {
    let made = postgres::Postgres::open(address, true, signers).await?;
    made.map(|ledger| Arc::new(ledger) as _)
        .ok_or_else(|| LedgerError::Unavailable("there is no ledger in this database".to_owned()))
}

/// Like [`connect_signed`], but makes nothing: `None` where there is no ledger in the database.
pub async fn connect_existing(
    address: Address,
    signers: Signers,
) -> Result<Option<Arc<dyn Ledger>>, LedgerError> {
    let found = postgres::Postgres::open(address, false, Some(signers)).await?;
    Ok(found.map(|ledger| Arc::new(ledger) as _))
}
