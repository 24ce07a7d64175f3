//! A ledger in one SQLite file, safe with many threads and processes at once.
//!
//! One writer thread a process owns the connection. It takes what has queued up, makes all of it in
//! one transaction, and answers each caller after the commit is on disk (`synchronous=FULL`), so
//! that many callers share one `fsync`. Between processes, `BEGIN IMMEDIATE` is the order.

mod apply;
mod read;
mod schema;
mod writer;

use std::path::Path;

use async_trait::async_trait;
use lar_core::audit::record::SealedRecord;
use lar_core::id::{AttemptId, RunId};
use lar_core::ledger::{
    Closing, Entry, Ledger, LedgerError, Opening, Receipt, RunSummary, UseState,
};

use writer::{Command, Writer};

/// A ledger in one SQLite file.
#[derive(Debug)]
pub(crate) struct Sqlite {
    writer: Writer,
}

impl Sqlite {
    pub(crate) fn open(path: &Path) -> Result<Self, LedgerError> {
        let connection = schema::open(path)?;
        Ok(Self { writer: Writer::start(connection)? })
    }
}

#[async_trait]
impl Ledger for Sqlite {
    async fn open_run(&self, opening: Opening) -> Result<Receipt, LedgerError> {
        self.writer.ask(|reply| Command::Open(Box::new(opening), reply)).await
    }

    async fn commit(&self, entry: Entry) -> Result<Receipt, LedgerError> {
        self.writer.ask(|reply| Command::Commit(Box::new(entry), reply)).await
    }

    async fn close_run(&self, closing: Closing) -> Result<Receipt, LedgerError> {
        self.writer.ask(|reply| Command::Close(Box::new(closing), reply)).await
    }

    async fn attempt(&self, attempt: &AttemptId) -> Result<Option<UseState>, LedgerError> {
        let attempt = *attempt;
        self.writer.ask(|reply| Command::Attempt(attempt, reply)).await
    }

    async fn records(
        &self,
        run: &RunId,
        from: u64,
        limit: u64,
    ) -> Result<Vec<SealedRecord>, LedgerError> {
        let run = run.clone();
        self.writer.ask(|reply| Command::Records { run, from, limit, reply }).await
    }

    async fn runs(&self) -> Result<Vec<RunSummary>, LedgerError> {
        self.writer.ask(Command::Runs).await
    }
}

/// What SQLite's error means for the operator. Its own text is kept out: it can name paths and
/// values, and says nothing about what to do.
fn unavailable(error: &rusqlite::Error) -> LedgerError {
    use rusqlite::ErrorCode as Code;
    let Some(code) = error.sqlite_error_code() else {
        return LedgerError::Damaged(
            "a value in it can't be read; restore the file from a backup".to_owned(),
        );
    };
    let why = match code {
        Code::DiskFull => "the disk is full; free some space and run again",
        Code::DatabaseBusy | Code::DatabaseLocked => {
            "another process held it for 10 seconds; run again when that one has finished"
        }
        Code::ReadOnly => "it is read-only; check the owner and mode of the file and its directory",
        Code::CannotOpen => "it can't be opened; check that the directory exists and is yours",
        Code::PermissionDenied => "permission was denied; check the owner and mode of the file",
        Code::SystemIoFailure => "the disk reported an error; check the disk before you go on",
        Code::DatabaseCorrupt => {
            return LedgerError::Damaged(
                "its pages are corrupt; restore the file from a backup".to_owned(),
            );
        }
        Code::NotADatabase => {
            return LedgerError::Damaged(
                "the file is not a SQLite database; name another with `--ledger`".to_owned(),
            );
        }
        _ => return LedgerError::Unavailable(format!("SQLite reports {code:?}")),
    };
    LedgerError::Unavailable(why.to_owned())
}
