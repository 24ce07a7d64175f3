//! How all that a request changes is written.

use lar_core::audit::record::SealedRecord;
use lar_core::id::RunId;
use lar_core::ledger::transact::{Changes, View};
use lar_core::ledger::{Attempt, Decision, Grant, GrantId, RunSummary, UseState};
use lar_core::time::Timestamp;
use rusqlite::params;

use super::super::log::Integrator;
use super::super::standing::next_row;
use super::super::{contradiction, known, openings, places};
use super::{Result, Store};

impl Store<'_> {
    /// Writes all that a request changes.
    pub(in super::super) fn write(&mut self, log: &mut Integrator, changes: Changes) -> Result<()> {
        if let Some(epoch) = changes.epoch {
            log.begin_epoch(self.connection, epoch)?;
            self.known.grants.clear();
        }
        if let Some(grant) = &changes.granted {
            self.add_grant(grant)?;
        }
        if let Some((grant, revocation)) = changes.revoked {
            self.execute(
                "UPDATE grants SET revoked = ?2, reason = ?3 WHERE id = ?1 AND revoked IS NULL",
                params![grant.as_str(), revocation.at.as_millis(), revocation.reason],
            )?;
            self.known.grants.remove(&grant);
        }
        for (grant, token, run) in changes.unlocked {
            let n = self.token_row(&grant, &token)?;
            self.change(
                "UPDATE tokens SET unlocked_by = ?2 WHERE n = ?1",
                params![n, run.as_str()],
            )?;
            self.known.tokens.clear();
        }
        for ((grant, token), left) in changes.left {
            self.put_left(&grant, &token, left)?;
        }
        let task = match &changes.erased {
            Some(erasing) => changes.runs.get(&erasing.run).map(|run| run.task.clone()),
            None => None,
        };
        if let Some(run) = changes.opened.as_ref().and_then(|opened| changes.runs.get(opened)) {
            self.add_run(run)?;
        }
        for (run, attempt) in &changes.attempts {
            self.put_attempt(run, attempt)?;
        }
        for (run, record) in &changes.records {
            self.add_record(log, run, record)?;
        }
        for (_, run) in changes.runs {
            self.put_run(run)?;
        }
        if let Some(erasing) = &changes.erased {
            let run = self.run_row(&erasing.run)?;
            openings::erase(self.connection, run, erasing, task.as_deref())?;
        }
        for (now, body) in &changes.own {
            log.append_own(self.connection, *now, body)?;
        }
        if let Some((run, page, bytes)) = changes.page {
            let run = self.run_row(&run)?;
            self.change(
                "INSERT INTO journal (run, page, bytes) VALUES (?1, ?2, ?3)",
                params![run, page, bytes],
            )?;
        }
        if let Some(run) = changes.journal_dropped {
            let run = self.run_row(&run)?;
            self.execute("DELETE FROM journal WHERE run = ?1", [run])?;
        }
        if let Some((Decision { run, attempt, signed }, place)) = changes.decided {
            let run = self.run_row(&run)?;
            self.change(
                "INSERT INTO decisions (run, attempt, place, statement, signature)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                params![
                    run,
                    attempt.digest().as_bytes(),
                    place,
                    signed.statement,
                    signed.signature
                ],
            )?;
        }
        Ok(())
    }

    /// Writes one row, which must be there as it is known.
    fn change(&self, sql: &str, params: impl rusqlite::Params) -> Result<()> {
        if self.execute(sql, params)? == 1 { Ok(()) } else { Err(contradiction()) }
    }

    fn add_grant(&self, grant: &Grant) -> Result<()> {
        self.change(
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
            self.change(
                concat!(
                    "INSERT INTO standing (n, granted, uses_left) SELECT ",
                    next_row!(),
                    ", ?1, ?2"
                ),
                params![granted.uses, token.uses_left],
            )?;
            self.change(
                "INSERT INTO tokens (n, grant_n, name, position, definition, expires,
                     requires_approval, candidate)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    self.connection.last_insert_rowid(),
                    n,
                    granted.name,
                    position,
                    granted.definition.as_bytes(),
                    granted.expires.map(Timestamp::as_millis),
                    granted.requires_approval,
                    granted.candidate
                ],
            )?;
        }
        Ok(())
    }

    /// The number of a token's row.
    fn token_row(&mut self, grant: &GrantId, name: &str) -> Result<i64> {
        // It is known once it was read.
        self.token(grant, name)?;
        let grant = self.grant_row(grant)?.ok_or_else(contradiction)?;
        self.known.token(grant, name).map(|(n, _)| *n).ok_or_else(contradiction)
    }

    /// Keeps how many uses of a token are left.
    fn put_left(&mut self, grant: &GrantId, name: &str, left: u32) -> Result<()> {
        let n = self.token_row(grant, name)?;
        let grant = self.grant_row(grant)?.ok_or_else(contradiction)?;
        let before = self.known.token(grant, name).map(|(_, token)| token.uses_left);
        let before = before.ok_or_else(contradiction)?;
        // What stands there already is not written.
        if before != left {
            self.change(
                "UPDATE standing SET uses_left = ?2 WHERE n = ?1 AND uses_left = ?3",
                params![n, left, before],
            )?;
            if let Some((_, token)) = self.known.token(grant, name) {
                token.uses_left = left;
            }
        }
        Ok(())
    }

    fn add_run(&mut self, run: &RunSummary) -> Result<()> {
        self.change(
            concat!(
                "INSERT INTO standing (n, fence, lease_until, seq, head, pages, places)
                 SELECT ",
                next_row!(),
                ", ?1, ?2, ?3, ?4, ?5, x''"
            ),
            params![
                run.fence,
                run.lease_until.as_millis(),
                run.records,
                run.head.as_bytes(),
                run.pages
            ],
        )?;
        let n = self.connection.last_insert_rowid();
        self.known.begun(n);
        self.change(
            "INSERT INTO runs (n, id, grant_n, owner, lease_ms, task, opened, stop_reason)
             VALUES (?1, ?2, (SELECT n FROM grants WHERE id = ?3), ?4, ?5, ?6, ?7, ?8)",
            params![
                n,
                run.run.as_str(),
                run.grant.as_str(),
                run.owner,
                run.lease_ms,
                run.task,
                run.opened.as_millis(),
                run.stop_reason,
            ],
        )
    }

    /// Keeps how a run stands, and where its last records do. The index over the open ones is touched only
    /// when it ends.
    fn put_run(&mut self, run: RunSummary) -> Result<()> {
        let Some(known::Run { n, places, summary: before }) = self.known.runs.get(&run.run) else {
            return Err(contradiction());
        };
        self.change(
            "UPDATE standing SET fence = ?2, lease_until = ?3, seq = ?4, head = ?5, pages = ?6,
                 places = ?7
             WHERE n = ?1 AND fence = ?8 AND seq = ?9",
            params![
                n,
                run.fence,
                run.lease_until.as_millis(),
                run.records,
                run.head.as_bytes(),
                run.pages,
                places,
                before.fence,
                before.records
            ],
        )?;
        if run.stop_reason != before.stop_reason {
            self.change(
                "UPDATE runs SET stop_reason = ?2 WHERE n = ?1",
                params![n, run.stop_reason],
            )?;
        }
        if run.owner != before.owner || run.lease_ms != before.lease_ms {
            self.change(
                "UPDATE runs SET owner = ?2, lease_ms = ?3 WHERE n = ?1",
                params![n, run.owner, run.lease_ms],
            )?;
        }
        if let Some(known) = self.known.runs.get_mut(&run.run) {
            known.summary = run;
        }
        Ok(())
    }

    fn add_record(
        &mut self,
        log: &mut Integrator,
        run: &RunId,
        record: &SealedRecord,
    ) -> Result<()> {
        let connection = self.connection;
        let known = self.known_run(run)?.ok_or_else(contradiction)?;
        let leaf = log.add(connection, known.n, record)?;
        places::add(connection, known.n, &mut known.places, record.seq, leaf)?;
        openings::add(connection, known.n, record)
    }

    fn put_attempt(&mut self, run: &RunId, attempt: &Attempt) -> Result<()> {
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
        let known = self.known_run(run)?.ok_or_else(contradiction)?;
        let (n, grant) = (known.n, known.summary.grant.clone());
        let token = self.token_row(&grant, &attempt.token)?;
        let sql = if self.missing == Some(attempt.id) {
            self.missing = None;
            self.known.tried(n, &attempt.id);
            "INSERT INTO attempts (run, id, token_n, action, state, fence, lease_until,
                 approved_until, resolution, holder, seq)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
        } else {
            "UPDATE attempts SET action = ?4, state = ?5, fence = ?6, lease_until = ?7,
                 approved_until = ?8, resolution = ?9, holder = ?10, seq = ?11
             WHERE run = ?1 AND id = ?2 AND token_n = ?3"
        };
        self.change(
            sql,
            params![
                n,
                attempt.id.digest().as_bytes(),
                token,
                attempt.action.as_bytes(),
                word,
                attempt.state.fence(),
                lease,
                approved.map(Timestamp::as_millis),
                resolution,
                attempt.holder,
                attempt.seq
            ],
        )
    }
}
