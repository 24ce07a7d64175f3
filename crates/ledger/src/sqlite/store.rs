//! How the requests of [`transact`](lar_core::ledger::transact) read the tables. All of it runs inside one
//! transaction.

mod write;

use lar_core::approval::Signed;
use lar_core::id::{AttemptId, RunId};
use lar_core::ledger::protocol::GrantPosition;
use lar_core::ledger::transact::View;
use lar_core::ledger::{
    Attempt, Grant, GrantId, Identity, LedgerError, LedgerId, RunSummary, TokenState,
};
use lar_core::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::known::{self, Known};
use super::read::{self, unreadable};
use super::{openings, unavailable};

type Result<T> = std::result::Result<T, LedgerError>;

/// The tables within a transaction, for one request.
pub(super) struct Store<'c> {
    connection: &'c Connection,
    known: &'c mut Known,
    /// The attempt that was looked for last, if there is no such one.
    missing: Option<AttemptId>,
}

impl<'c> Store<'c> {
    pub(super) fn new(connection: &'c Connection, known: &'c mut Known) -> Self {
        Self { connection, known, missing: None }
    }

    /// The number of a grant's row.
    fn grant_row(&self, grant: &GrantId) -> Result<Option<i64>> {
        match self.known.grants.get(grant) {
            Some((n, _)) => Ok(Some(*n)),
            None => {
                self.one("SELECT n FROM grants WHERE id = ?1", [grant.as_str()], |row| row.get(0))
            }
        }
    }

    /// A run, read unless it is known.
    fn known_run(&mut self, run: &RunId) -> Result<Option<&mut known::Run>> {
        if !self.known.runs.contains_key(run) {
            let found = self.one(read::RUN_IN_WORK, [run.as_str()], |row| {
                let position = (row.get(14)?, read::position_of(row, 15)?);
                let (n, places) = (row.get(12)?, row.get(13)?);
                Ok((known::Run { n, places, summary: read::run_of(row)? }, position))
            })?;
            let Some((found, position)) = found else {
                return Ok(None);
            };
            self.known.grants.insert(found.summary.grant.clone(), position);
            self.known.runs.insert(run.clone(), found);
        }
        Ok(self.known.runs.get_mut(run))
    }

    fn run_row(&mut self, run: &RunId) -> Result<i64> {
        let found = self.known_run(run)?;
        found.map(|run| run.n).ok_or_else(|| LedgerError::UnknownRun(run.to_string()))
    }

    fn one<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        read: impl FnOnce(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>> {
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.query_row(params, read).optional())
            .map_err(|error| unavailable(&error))
    }

    fn all<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.query_map(params, read)?.collect())
            .map_err(|error| unavailable(&error))
    }

    fn execute(&self, sql: &str, params: impl rusqlite::Params) -> Result<usize> {
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(params))
            .map_err(|error| unavailable(&error))
    }
}

impl View for Store<'_> {
    fn identity(&mut self) -> Result<Identity> {
        self.one("SELECT id, epoch FROM ledger", [], |row| {
            let id: String = row.get(0)?;
            let ledger = LedgerId::new(id).map_err(|_| unreadable(0))?;
            Ok(Identity { ledger, epoch: row.get(1)? })
        })?
        .ok_or_else(|| LedgerError::Damaged("its own row is gone; restore a backup".to_owned()))
    }

    fn grant(&mut self, grant: &GrantId) -> Result<Option<Grant>> {
        let found = self.one(
            concat!("SELECT ", read::grant!(), " FROM grants WHERE id = ?1"),
            [grant.as_str()],
            read::grant_of,
        )?;
        let Some((n, mut grant)) = found else {
            return Ok(None);
        };
        grant.tokens = self.all(
            concat!(
                "SELECT ",
                read::token!(),
                " FROM tokens t JOIN standing s ON s.n = t.n
                WHERE t.grant_n = ?1 ORDER BY t.position"
            ),
            [n],
            read::token_of,
        )?;
        Ok(Some(grant))
    }

    fn position(&mut self, grant: &GrantId) -> Result<Option<GrantPosition>> {
        if let Some((_, position)) = self.known.grants.get(grant) {
            return Ok(Some(position.clone()));
        }
        self.one(read::POSITION, [grant.as_str()], |row| read::position_of(row, 0))
    }

    fn token(&mut self, grant: &GrantId, name: &str) -> Result<Option<TokenState>> {
        let Some(grant) = self.grant_row(grant)? else {
            return Ok(None);
        };
        if let Some((_, token)) = self.known.token(grant, name) {
            return Ok(Some(token.clone()));
        }
        let found = self.one(
            concat!(
                "SELECT ",
                read::token!(),
                ", t.n FROM tokens t JOIN standing s ON s.n = t.n
                WHERE t.grant_n = ?1 AND t.name = ?2"
            ),
            params![grant, name],
            |row| Ok((row.get(8)?, read::token_of(row)?)),
        )?;
        Ok(found.map(|(n, token)| {
            self.known.tokens.entry(grant).or_default().push((n, token.clone()));
            token
        }))
    }

    fn run(&mut self, run: &RunId) -> Result<Option<RunSummary>> {
        Ok(self.known_run(run)?.map(|run| run.summary.clone()))
    }

    fn attempt(&mut self, run: &RunId, attempt: &AttemptId) -> Result<Option<Attempt>> {
        let Some(n) = self.known_run(run)?.map(|run| run.n) else {
            return Ok(None);
        };
        if self.known.lacks(n, attempt) {
            self.missing = Some(*attempt);
            return Ok(None);
        }
        let found = self.one(
            concat!(
                "SELECT ",
                read::attempt!(),
                " FROM attempts a JOIN tokens t ON t.n = a.token_n WHERE a.run = ?1 AND a.id = ?2"
            ),
            params![n, attempt.digest().as_bytes()],
            read::attempt_of,
        )?;
        if found.is_none() {
            self.missing = Some(*attempt);
        }
        Ok(found)
    }

    fn attempts(&mut self, run: &RunId) -> Result<Vec<Attempt>> {
        self.all(
            concat!(
                "SELECT ",
                read::attempt!(),
                " FROM attempts a JOIN tokens t ON t.n = a.token_n
                 WHERE a.run = (SELECT n FROM runs WHERE id = ?1) ORDER BY a.id"
            ),
            [run.as_str()],
            read::attempt_of,
        )
    }

    fn expired_holds(
        &mut self,
        grant: &GrantId,
        token: &str,
        now: Timestamp,
    ) -> Result<Vec<(RunId, Attempt)>> {
        self.all(
            concat!(
                "SELECT ",
                read::attempt!(),
                ", r.id FROM attempts a JOIN tokens t ON t.n = a.token_n JOIN runs r ON r.n = a.run
                 WHERE a.token_n = (SELECT n FROM tokens
                         WHERE grant_n = (SELECT n FROM grants WHERE id = ?1) AND name = ?2)
                     AND a.state = 'reserved' AND a.lease_until < ?3"
            ),
            params![grant.as_str(), token, now.as_millis()],
            |row| {
                let run: String = row.get(10)?;
                Ok((RunId::new(run).map_err(|_| unreadable(10))?, read::attempt_of(row)?))
            },
        )
    }

    fn openings(&mut self, run: &RunId) -> Result<Vec<(u64, String)>> {
        openings::of_run(self.connection, run)
    }

    fn decisions(&mut self, run: &RunId, attempt: &AttemptId) -> Result<Vec<Signed>> {
        self.all(
            "SELECT statement, signature FROM decisions
             WHERE run = (SELECT n FROM runs WHERE id = ?1) AND attempt = ?2 ORDER BY place",
            params![run.as_str(), attempt.digest().as_bytes()],
            |row| Ok(Signed { statement: row.get(0)?, signature: row.get(1)? }),
        )
    }
}
