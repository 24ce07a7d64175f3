//! What the writer knows of the tables from what it has read and written, so that it doesn't ask for every
//! spend anew. It holds as long as no other connection commits, which SQLite counts; whatever ends without a
//! commit is forgotten. What is written says which state it found, so that a row which is another than is known
//! here spoils the commit and spends nothing.

use std::collections::{HashMap, HashSet};

use lar_core::id::{AttemptId, GrantId, RunId};
use lar_core::ledger::protocol::GrantPosition;
use lar_core::ledger::{LedgerError, RunSummary, TokenState};
use rusqlite::Connection;

use super::unavailable;

/// How many runs are known at the most.
const MOST_RUNS: usize = 1024;
/// How many attempts are known at the most.
const MOST_ATTEMPTS: usize = 1 << 18;

/// What is known.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// SQLite's count of what other connections have committed.
    version: Option<i64>,
    pub(super) runs: HashMap<RunId, Run>,
    /// Grants, with the numbers of their rows.
    pub(super) grants: HashMap<GrantId, (i64, GrantPosition)>,
    /// Tokens with the numbers of their rows, by their grant's.
    pub(super) tokens: HashMap<i64, Vec<(i64, TokenState)>>,
    /// All attempts of runs that began here, by the numbers of the runs' rows.
    begun: HashMap<i64, HashSet<u64>>,
    /// How many those are.
    attempts: usize,
}

/// A run.
#[derive(Debug)]
pub(super) struct Run {
    /// The number of its row.
    pub(super) n: i64,
    /// The leaves that stand in its row.
    pub(super) places: Vec<u8>,
    pub(super) summary: RunSummary,
}

impl Known {
    /// To be called at the beginning of a transaction. Says whether no other connection has committed since the
    /// last time.
    pub(super) fn begin(&mut self, connection: &Connection) -> Result<bool, LedgerError> {
        let version = connection
            .prepare_cached("PRAGMA data_version")
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .map_err(|error| unavailable(&error))?;
        let same = self.version == Some(version);
        if !same || self.runs.len() >= MOST_RUNS {
            self.forget();
        }
        self.version = Some(version);
        Ok(same)
    }

    /// Forgets all.
    pub(super) fn forget(&mut self) {
        *self = Self { version: self.version, ..Self::default() };
    }

    /// A run in this row is new.
    pub(super) fn begun(&mut self, run: i64) {
        self.begun.insert(run, HashSet::new());
    }

    /// An attempt of the run in this row is new.
    pub(super) fn tried(&mut self, run: i64, attempt: &AttemptId) {
        let Some(tried) = self.begun.get_mut(&run) else {
            return;
        };
        self.attempts += usize::from(tried.insert(part_of(attempt)));
        if self.attempts >= MOST_ATTEMPTS {
            self.begun.clear();
            self.attempts = 0;
        }
    }

    /// Whether the run in this row has certainly no such attempt.
    pub(super) fn lacks(&self, run: i64, attempt: &AttemptId) -> bool {
        self.begun.get(&run).is_some_and(|tried| !tried.contains(&part_of(attempt)))
    }

    /// A token of the grant in this row.
    pub(super) fn token(&mut self, grant: i64, name: &str) -> Option<&mut (i64, TokenState)> {
        self.tokens.get_mut(&grant)?.iter_mut().find(|(_, token)| token.granted.name == name)
    }
}

/// The first bytes of an attempt's identity. Two with the same ones are looked for in the file.
fn part_of(attempt: &AttemptId) -> u64 {
    attempt.digest().as_bytes().first_chunk().map_or(0, |part| u64::from_be_bytes(*part))
}
