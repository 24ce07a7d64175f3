//! The durable truth about uses and records.
//!
//! This crate implements [`lar_core::ledger::Ledger`] and decides nothing: which state follows
//! which is the pure rule of [`lar_core::ledger::protocol`], called inside the transaction, or put in
//! the database's own words and checked against it. It never runs an action, asks a person or talks
//! to a model.

mod postgres;
mod seen;
mod signer;
mod sqlite;

use std::path::Path;
use std::sync::Arc;

use lar_core::audit::log::Signers;
use lar_core::ledger::{Identity, Ledger, LedgerError};
pub use lar_postgres::{Address, AddressError, Environment};
pub use signer::LogSigner;

/// Opens the ledger at `path`, or makes a new one there. The directory is made with mode 0700 and
/// the file with 0600.
///
/// # Errors
///
/// [`LedgerError::Unavailable`] when the file can't be opened, or lies on a network file system, where
/// SQLite's locks don't hold; [`LedgerError::Damaged`] when it isn't a ledger, is corrupt, or was
/// written by a newer version. A ledger that can't be written, for lack of room or right, opens where it
/// can be read, and refuses every change with the reason.
pub fn open(path: &Path) -> Result<Arc<dyn Ledger>, LedgerError> {
    Ok(Arc::new(sqlite::Sqlite::open(path, None, None)?))
}

/// Opens the ledger at `path` like [`open`]; each commit is signed by whatever `signers` gives, and
/// nothing is committed unsigned.
///
/// In the directory `seen`, which must not be the ledger's own, it is kept after each commit what was
/// last seen of the ledger. Where the ledger is behind that, because an older copy has taken its place,
/// it can be read, and every change is refused with [`LedgerError::Damaged`].
///
/// # Errors
///
/// As [`open`].
pub fn open_signed(
    path: &Path,
    signers: Signers,
    seen: Option<&Path>,
) -> Result<Arc<dyn Ledger>, LedgerError> {
    Ok(Arc::new(sqlite::Sqlite::open(path, Some(signers), seen)?))
}

/// Takes the ledger at `path` for what it is, an older copy as it may be. A new epoch begins, so that
/// no grant issued before takes a further spend, and what was last seen of it is forgotten.
///
/// # Errors
///
/// As [`open`].
pub fn accept_restored(path: &Path, seen: &Path) -> Result<Identity, LedgerError> {
    sqlite::Sqlite::accept_restored(path, seen)
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
    made(address, None, None).await
}

/// Like [`connect`]; as long as it is open and has written something, this process takes part in
/// putting what is committed into the log, and signs it by whatever `signers` gives.
///
/// In the directory `seen` it is kept what was last seen of the ledger from here. Where the database is
/// behind that, because it was restored to an older state or failed over to a server that lacks what was
/// acknowledged, it can be read, and every change is refused with [`LedgerError::Damaged`]. That is found
/// out when it is opened, and when a connection is made anew.
///
/// # Errors
///
/// As [`connect`].
pub async fn connect_signed(
    address: Address,
    signers: Signers,
    seen: Option<&Path>,
) -> Result<Arc<dyn Ledger>, LedgerError> {
    made(address, Some(signers), seen).await
}

async fn made(
    address: Address,
    signers: Option<Signers>,
    seen: Option<&Path>,
) -> Result<Arc<dyn Ledger>, LedgerError> {
    let made = postgres::Postgres::open(address, true, signers, seen).await?;
    made.map(|ledger| Arc::new(ledger) as _).ok_or_else(no_ledger)
}

fn no_ledger() -> LedgerError {
    LedgerError::Unavailable("there is no ledger in this database".to_owned())
}

/// Takes the ledger in a database for what it is, an older state as it may be. A new epoch begins, so that
/// no grant issued before takes a further spend, and what was last seen of it is forgotten. For the
/// ledger's owner.
///
/// # Errors
///
/// As [`connect`].
pub async fn accept_restored_database(
    address: Address,
    seen: &Path,
) -> Result<Identity, LedgerError> {
    postgres::Postgres::accept_restored(address, seen).await
}

/// Like [`connect_signed`], but makes nothing: `None` where there is no ledger in the database.
pub async fn connect_existing(
    address: Address,
    signers: Signers,
    seen: Option<&Path>,
) -> Result<Option<Arc<dyn Ledger>>, LedgerError> {
    let found = postgres::Postgres::open(address, false, Some(signers), seen).await?;
    Ok(found.map(|ledger| Arc::new(ledger) as _))
}
