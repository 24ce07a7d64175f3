//! How the requests of [`transact`](lar_core::ledger::transact) read and change the tables. All of it
//! runs inside one transaction.

use lar_core::approval::Signed;
use lar_core::id::{AttemptId, RunId};
use lar_core::ledger::protocol::GrantPosition;
use lar_core::ledger::transact::{Changes, View};
use lar_core::ledger::{
    Attempt, Decision, Grant, GrantId, Identity, LedgerError, LedgerId, RunSummary, TokenState,
    UseState,
};
use lar_core::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, named_params, params};

use super::read::{self, unreadable};
use super::{log, openings, unavailable};

type Result<T> = std::result::Result<T, LedgerError>;

/// The tables within a transaction, for one request.
pub(super) struct Store<'c> {
    connection: &'c Connection,
    read: Read,
}

/// What the request has read so far. Only its own writes come after that, all at once at its end, so
/// that nothing of it is read a second time.
#[derive(Default)]
struct Read {
    /// Runs with the numbers of their rows.
    runs: Vec<(RunId, i64)>,
    /// Grants with the numbers of their rows.
    grants: Vec<(GrantId, i64)>,
    /// Where grants stand.
    positions: Vec<(GrantId, GrantPosition)>,
    /// Tokens by their grant's row, with the uses that are left.
    tokens: Vec<(i64, String, u32)>,
}

fn known<K: PartialEq, V: Clone>(all: &[(K, V)], wanted: &K) -> Option<V> {
    all.iter().find(|(key, _)| key == wanted).map(|(_, value)| value.clone())
}

impl<'c> Store<'c> {
    pub(super) fn new(connection: &'c Connection) -> Self {
        Self { connection, read: Read::default() }
    }

    /// The number of a grant's row.
    fn grant_row(&self, grant: &GrantId) -> Result<Option<i64>> {
        match known(&self.read.grants, grant) {
            Some(n) => Ok(Some(n)),
            None => {
                self.one("SELECT n FROM grants WHERE id = ?1", [grant.as_str()], |row| row.get(0))
            }
        }
    }

    fn run_row(&self, run: &RunId) -> Result<i64> {
        match known(&self.read.runs, run) {
            Some(n) => Ok(n),
            None => self
                .one("SELECT n FROM runs WHERE id = ?1", [run.as_str()], |row| row.get(0))?
                .ok_or_else(|| LedgerError::UnknownRun(run.to_string())),
        }
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

    /// Writes all that a request changes.
    pub(super) fn write(&self, changes: Changes) -> Result<()> {
        if let Some(epoch) = changes.epoch {
            self.execute("UPDATE ledger SET epoch = ?1", [epoch])?;
        }
        if let Some(grant) = &changes.granted {
            self.add_grant(grant)?;
        }
        if let Some((grant, revocation)) = changes.revoked {
            self.execute(
                "UPDATE grants SET revoked = ?2, reason = ?3 WHERE id = ?1 AND revoked IS NULL",
                params![grant.as_str(), revocation.at.as_millis(), revocation.reason],
            )?;
        }
        for (grant, token, run) in changes.unlocked {
            self.execute(
                "UPDATE tokens SET unlocked_by = ?3
                 WHERE grant_n = (SELECT n FROM grants WHERE id = ?1) AND name = ?2",
                params![grant.as_str(), token, run.as_str()],
            )?;
        }
        for ((grant, token), left) in changes.left {
            let grant = self.grant_row(&grant)?;
            let is_that = |(of, name, uses): &(i64, String, u32)| {
                Some(*of) == grant && *name == token && *uses == left
            };
            // What stands there already is not written.
            if !self.read.tokens.iter().any(is_that) {
                self.execute(
                    "UPDATE tokens SET uses_left = ?3 WHERE grant_n = ?1 AND name = ?2",
                    params![grant, token, left],
                )?;
            }
        }
        for run in changes.runs.values() {
            match &changes.opened {
                Some(opened) if *opened == run.run => self.add_run(run)?,
                _ => self.put_run(run)?,
            }
        }
        for (run, attempt) in &changes.attempts {
            self.put_attempt(run, attempt)?;
        }
        for (run, record) in &changes.records {
            let run = self.run_row(run)?;
            let leaf = log::add(self.connection, run, record)?;
            self.execute(
                "INSERT INTO records (run, seq, leaf, hash, bytes) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![run, record.seq, leaf, record.hash.as_bytes(), record.bytes],
            )?;
            openings::add(self.connection, run, record)?;
        }
        if let Some(erasing) = &changes.erased {
            let task = changes.runs.get(&erasing.run).map(|run| run.task.as_str());
            openings::erase(self.connection, self.run_row(&erasing.run)?, erasing, task)?;
        }
        for (now, body) in &changes.own {
            log::append_own(self.connection, *now, body)?;
        }
        if let Some((run, page, bytes)) = changes.page {
            self.execute(
                "INSERT INTO journal (run, page, bytes) VALUES (?1, ?2, ?3)",
                params![self.run_row(&run)?, page, bytes],
            )?;
        }
        if let Some(run) = changes.journal_dropped {
            self.execute("DELETE FROM journal WHERE run = ?1", [self.run_row(&run)?])?;
        }
        if let Some((Decision { run, attempt, signed }, place)) = changes.decided {
            self.execute(
                "INSERT INTO decisions (run, attempt, place, statement, signature)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                params![
                    self.run_row(&run)?,
                    attempt.digest().as_bytes(),
                    place,
                    signed.statement,
                    signed.signature
                ],
            )?;
        }
        Ok(())
    }

    fn add_grant(&self, grant: &Grant) -> Result<()> {
        self.execute(
            "INSERT INTO grants (id, named, issued, expires, epoch, definitions)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                grant.id.as_str(),
                grant.id.is_named(),
                grant.issued.as_millis(),
                grant.expires.map(Timestamp::as_millis),
                grant.epoch,
                grant.definitions.as_str()
            ],
        )?;
        let n = self.connection.last_insert_rowid();
        for (position, token) in (0i64..).zip(&grant.tokens) {
            let granted = &token.granted;
            self.execute(
                "INSERT INTO tokens (grant_n, name, position, definition, granted, uses_left, expires,
                     requires_approval, candidate)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                params![
                    n,
                    granted.name,
                    position,
                    granted.definition.as_bytes(),
                    granted.uses,
                    token.uses_left,
                    granted.expires.map(Timestamp::as_millis),
                    granted.requires_approval,
                    granted.candidate
                ],
            )?;
        }
        Ok(())
    }

    /// Keeps how a run stands. The index over the open ones is touched only when it ends.
    fn put_run(&self, run: &RunSummary) -> Result<()> {
        let n = self.run_row(&run.run)?;
        self.execute(
            "UPDATE runs SET owner = ?2, fence = ?3, lease_ms = ?4, lease_until = ?5, seq = ?6,
                 head = ?7, pages = ?8
             WHERE n = ?1",
            params![
                n,
                run.owner,
                run.fence,
                run.lease_ms,
                run.lease_until.as_millis(),
                run.records,
                run.head.as_bytes(),
                run.pages
            ],
        )?;
        if let Some(reason) = &run.stop_reason {
            self.execute("UPDATE runs SET stop_reason = ?2 WHERE n = ?1", params![n, reason])?;
        }
        Ok(())
    }

    fn add_run(&self, run: &RunSummary) -> Result<()> {
        self.execute(
            "INSERT INTO runs (id, grant_n, owner, fence, lease_ms, lease_until, task, opened,
                 stop_reason, seq, head, pages)
             VALUES (:id, (SELECT n FROM grants WHERE id = :grant), :owner, :fence, :lease_ms,
                 :lease_until, :task, :opened, :stop_reason, :seq, :head, :pages)",
            named_params! {
                ":id": run.run.as_str(),
                ":grant": run.grant.as_str(),
                ":owner": run.owner,
                ":fence": run.fence,
                ":lease_ms": run.lease_ms,
                ":lease_until": run.lease_until.as_millis(),
                ":task": run.task,
                ":opened": run.opened.as_millis(),
                ":stop_reason": run.stop_reason,
                ":seq": run.records,
                ":head": run.head.as_bytes(),
                ":pages": run.pages,
            },
        )
        .map(drop)
    }

    fn put_attempt(&self, run: &RunId, attempt: &Attempt) -> Result<()> {
        let mut resolution = None;
        let (word, lease, approved) = match &attempt.state {
            UseState::Reserved { lease_until, approved_until, .. } => {
                ("reserved", Some(lease_until.as_millis()), *approved_until)
            }
            UseState::Released { approved_until, .. } => ("released", None, *approved_until),
            UseState::Started { .. } => ("started", None, None),
            UseState::Ended { verdict, .. } => (verdict.as_str(), None, None),
            UseState::Resolved { verdict, .. } => {
                resolution = Some(verdict.as_str());
                ("unknown", None, None)
            }
            UseState::NeverBegan { .. } => ("never_began", None, None),
        };
        self.execute(
            "INSERT INTO attempts (run, id, grant_n, token, action, state, fence, lease_until,
                 approved_until, resolution, holder, seq)
             SELECT n, :id, grant_n, :token, :action, :state, :fence, :lease_until, :approved_until,
                 :resolution, :holder, :seq FROM runs WHERE n = :run
             ON CONFLICT (run, id) DO UPDATE SET action = excluded.action, state = excluded.state,
                 fence = excluded.fence, lease_until = excluded.lease_until,
                 approved_until = excluded.approved_until, resolution = excluded.resolution,
                 holder = excluded.holder, seq = excluded.seq",
            named_params! {
                ":run": self.run_row(run)?,
                ":id": attempt.id.digest().as_bytes(),
                ":token": attempt.token,
                ":action": attempt.action.as_bytes(),
                ":state": word,
                ":fence": attempt.state.fence(),
                ":lease_until": lease,
                ":approved_until": approved.map(Timestamp::as_millis),
                ":resolution": resolution,
                ":holder": attempt.holder,
                ":seq": attempt.seq,
            },
        )
        .map(drop)
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
            &format!("SELECT {} FROM grants WHERE id = ?1", read::GRANT),
            [grant.as_str()],
            read::grant_of,
        )?;
        let Some((n, mut grant)) = found else {
            return Ok(None);
        };
        grant.tokens = self.all(
            &format!("SELECT {} FROM tokens WHERE grant_n = ?1 ORDER BY position", read::TOKEN),
            [n],
            read::token_of,
        )?;
        Ok(Some(grant))
    }

    fn position(&mut self, grant: &GrantId) -> Result<Option<GrantPosition>> {
        if let Some(position) = known(&self.read.positions, grant) {
            return Ok(Some(position));
        }
        self.one(read::POSITION, [grant.as_str()], |row| read::position_of(row, 0))
    }

    fn token(&mut self, grant: &GrantId, name: &str) -> Result<Option<TokenState>> {
        let Some(n) = self.grant_row(grant)? else {
            return Ok(None);
        };
        let found = self.one(
            &format!("SELECT {} FROM tokens WHERE grant_n = ?1 AND name = ?2", read::TOKEN),
            params![n, name],
            read::token_of,
        )?;
        if let Some(token) = &found {
            self.read.tokens.push((n, name.to_owned(), token.uses_left));
        }
        Ok(found)
    }

    fn run(&mut self, run: &RunId) -> Result<Option<RunSummary>> {
        let found = self.one(read::RUN_IN_WORK, [run.as_str()], |row| {
            let (n, grant_n): (i64, i64) = (row.get(12)?, row.get(13)?);
            Ok((read::run_of(row)?, n, grant_n, read::position_of(row, 14)?))
        })?;
        Ok(found.map(|(found, n, grant_n, position)| {
            self.read.runs.push((found.run.clone(), n));
            self.read.grants.push((found.grant.clone(), grant_n));
            self.read.positions.push((found.grant.clone(), position));
            found
        }))
    }

    fn attempt(&mut self, run: &RunId, attempt: &AttemptId) -> Result<Option<Attempt>> {
        let n = match self.run_row(run) {
            Ok(n) => n,
            Err(LedgerError::UnknownRun(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        self.one(
            &format!("SELECT {} FROM attempts WHERE run = ?1 AND id = ?2", read::ATTEMPT),
            params![n, attempt.digest().as_bytes()],
            read::attempt_of,
        )
    }

    fn attempts(&mut self, run: &RunId) -> Result<Vec<Attempt>> {
        self.all(
            &format!(
                "SELECT {} FROM attempts WHERE run = (SELECT n FROM runs WHERE id = ?1) ORDER BY id",
                read::ATTEMPT
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
            &format!(
                "SELECT {}, (SELECT id FROM runs WHERE n = attempts.run) FROM attempts
                 WHERE grant_n = (SELECT n FROM grants WHERE id = ?1) AND token = ?2
                     AND state = 'reserved' AND lease_until < ?3",
                read::ATTEMPT
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
