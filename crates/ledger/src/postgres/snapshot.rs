//! What a rare request reads before it is decided.

use std::collections::BTreeMap;

use lar_core::approval::Signed;
use lar_core::id::{AttemptId, RunId};
use lar_core::ledger::protocol::GrantPosition;
use lar_core::ledger::transact::View;
use lar_core::ledger::{
    Attempt, CLOCK_SLACK_MS, Grant, GrantId, Identity, LedgerError, RunSummary, TokenState,
};
use lar_core::time::Timestamp;
use tokio_postgres::{IsolationLevel, Row};

use super::row;
use super::session::{Sessions, within};
use super::trouble::Trouble;

/// One run with its grant, or one grant, as they stood at one moment.
pub(super) struct Snapshot {
    /// The ledger's clock then.
    pub(super) now: Timestamp,
    identity: Identity,
    run: Option<RunSummary>,
    grants: BTreeMap<GrantId, Grant>,
    attempts: Vec<Attempt>,
}

impl Snapshot {
    /// Reads a run, its grant and its attempts, and a further grant.
    pub(super) async fn read(
        sessions: &Sessions,
        run: Option<&RunId>,
        grant: Option<&GrantId>,
    ) -> Result<Self, Trouble> {
        let mut object = sessions.get().await?;
        let begin = object
            .build_transaction()
            .isolation_level(IsolationLevel::RepeatableRead)
            .read_only(true)
            .start();
        let transaction = within(begin).await?;
        let query = |sql: String, key: String| {
            let transaction = &transaction;
            async move {
                let prepared = within(transaction.prepare_cached(&sql)).await?;
                within(transaction.query(&prepared, &[&key])).await
            }
        };
        let ledger = within(transaction.query_one(LEDGER, &[])).await?;
        let identity = super::read::identity_of(&ledger)?;
        sessions.watch().saw_epoch(identity.epoch);
        let mut now = row::time(&ledger, "now")?;
        let highest = row::time(&ledger, "millis")?;
        if now.plus_millis(CLOCK_SLACK_MS) < highest {
            let behind = (highest.as_millis() - now.as_millis()) / 1_000;
            return Err(Trouble::Refused(LedgerError::Unavailable(format!(
                "the server's clock is {behind} s behind the ledger's last record; set the clock \
                 there and run again"
            ))));
        }
        let mut found = None;
        let mut attempts = Vec::new();
        let mut wanted: Vec<GrantId> = grant.into_iter().cloned().collect();
        if let Some(run) = run {
            let rows = query(format!("{} WHERE r.id = $1", row::RUN), run.to_string()).await?;
            if let Some(row) = rows.first() {
                let summary = row::run(row)?;
                // Within a run, time never runs backwards.
                now = now.max(row::time(row, "at")?);
                wanted.push(summary.grant.clone());
                let of_run = "WHERE a.run = (SELECT n FROM lar.runs WHERE id = $1) ORDER BY a.id";
                let rows = query(format!("{} {of_run}", row::ATTEMPT), run.to_string()).await?;
                attempts = rows.iter().map(row::attempt).collect::<Result<_, _>>()?;
                found = Some(summary);
            }
        }
        let mut grants = BTreeMap::new();
        for id in wanted {
            let rows = query(format!("{} WHERE g.id = $1", row::GRANT), id.to_string()).await?;
            let Some(grant) = rows.first() else { continue };
            let of_grant = "WHERE g.id = $1 ORDER BY t.position";
            let tokens: Vec<Row> =
                query(format!("{} {of_grant}", row::TOKEN), id.to_string()).await?;
            let tokens: Vec<TokenState> =
                tokens.iter().map(row::token).collect::<Result<_, _>>()?;
            grants.insert(id, row::grant(grant, tokens)?);
        }
        within(transaction.commit()).await?;
        Ok(Self { now, identity, run: found, grants, attempts })
    }

    /// The run as it was read.
    pub(super) fn seen(&self) -> Option<&RunSummary> {
        self.run.as_ref()
    }
}

const LEDGER: &str = "SELECT l.id, l.epoch, c.millis,
        floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now
    FROM lar.ledger l CROSS JOIN lar.clock c";

impl View for Snapshot {
    // Only the owner deletes openings, and asks for them there.
    fn openings(&mut self, _: &RunId) -> Result<Vec<(u64, String)>, LedgerError> {
        Ok(Vec::new())
    }

    fn identity(&mut self) -> Result<Identity, LedgerError> {
        Ok(self.identity.clone())
    }

    fn grant(&mut self, grant: &GrantId) -> Result<Option<Grant>, LedgerError> {
        Ok(self.grants.get(grant).cloned())
    }

    fn position(&mut self, grant: &GrantId) -> Result<Option<GrantPosition>, LedgerError> {
        let epoch = self.identity.epoch;
        Ok(self.grants.get(grant).map(|grant| GrantPosition {
            revoked: grant.revoked.is_some(),
            expires: grant.expires,
            quarantined: grant.epoch != epoch,
        }))
    }

    fn token(&mut self, grant: &GrantId, name: &str) -> Result<Option<TokenState>, LedgerError> {
        Ok(self.grants.get(grant).and_then(|grant| grant.token(name)).cloned())
    }

    fn run(&mut self, run: &RunId) -> Result<Option<RunSummary>, LedgerError> {
        Ok(self.run.clone().filter(|found| found.run == *run))
    }

    fn attempt(
        &mut self,
        run: &RunId,
        attempt: &AttemptId,
    ) -> Result<Option<Attempt>, LedgerError> {
        let found = self.attempts(run)?;
        Ok(found.into_iter().find(|found| found.id == *attempt))
    }

    fn attempts(&mut self, run: &RunId) -> Result<Vec<Attempt>, LedgerError> {
        let same = self.run.as_ref().is_some_and(|found| found.run == *run);
        Ok(if same { self.attempts.clone() } else { Vec::new() })
    }

    fn expired_holds(
        &mut self,
        _: &GrantId,
        _: &str,
        _: Timestamp,
    ) -> Result<Vec<(RunId, Attempt)>, LedgerError> {
        // Only a spend gives back what others hold, and the database makes those.
        Ok(Vec::new())
    }

    fn decisions(&mut self, _: &RunId, _: &AttemptId) -> Result<Vec<Signed>, LedgerError> {
        // The database takes decisions by itself.
        Ok(Vec::new())
    }
}
