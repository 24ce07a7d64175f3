//! What the ledger keeps.

use std::collections::BTreeMap;

use lar_core::approval::Signed;
use lar_core::audit::record::SealedRecord;
use lar_core::id::{AttemptId, RunId};
use lar_core::ledger::protocol::GrantPosition;
use lar_core::ledger::transact::{Changes, View};
use lar_core::ledger::{
    Attempt, Grant, GrantId, Identity, LedgerError, LedgerId, RunSummary, TokenState, UseState,
};
use lar_core::time::Timestamp;

type Result<T> = std::result::Result<T, LedgerError>;

#[derive(Debug)]
pub struct Tables {
    epoch: u64,
    grants: Vec<Grant>,
    /// In the order in which they were opened.
    order: Vec<RunId>,
    runs: BTreeMap<RunId, RunSummary>,
    attempts: BTreeMap<(RunId, AttemptId), Attempt>,
    records: BTreeMap<RunId, Vec<SealedRecord>>,
    journals: BTreeMap<RunId, Vec<Vec<u8>>>,
    decisions: BTreeMap<(RunId, AttemptId), Vec<Signed>>,
}

impl Default for Tables {
    fn default() -> Self {
        Self {
            epoch: 1,
            grants: Vec::new(),
            order: Vec::new(),
            runs: BTreeMap::new(),
            attempts: BTreeMap::new(),
            records: BTreeMap::new(),
            journals: BTreeMap::new(),
            decisions: BTreeMap::new(),
        }
    }
}

impl Tables {
    pub fn write(&mut self, changes: Changes) {
        self.epoch = changes.epoch.unwrap_or(self.epoch);
        self.grants.extend(changes.granted);
        self.order.extend(changes.opened);
        if let Some((grant, revocation)) = changes.revoked {
            self.at(&grant).revoked = Some(revocation);
        }
        for (grant, name, run) in changes.unlocked {
            self.of(&grant, &name).unlocked_by = Some(run);
        }
        for ((grant, name), left) in changes.left {
            self.of(&grant, &name).uses_left = left;
        }
        self.runs.extend(changes.runs);
        for (run, attempt) in changes.attempts {
            self.attempts.insert((run, attempt.id), attempt);
        }
        for (run, record) in changes.records {
            self.records.entry(run).or_default().push(record);
        }
        if let Some(erasing) = changes.erased {
            for record in self.records.get_mut(&erasing.run).into_iter().flatten() {
                let seq = record.seq;
                record.openings.retain(|opening| !erasing.takes(seq, opening.field()));
            }
        }
        if let Some((run, page, bytes)) = changes.page {
            let pages = self.journals.entry(run).or_default();
            pages.push(bytes);
            assert_eq!(pages.len() as u64, page, "pages are numbered from 1");
        }
        if let Some(run) = changes.journal_dropped {
            self.journals.remove(&run);
        }
        if let Some((decision, place)) = changes.decided {
            let all = self.decisions.entry((decision.run, decision.attempt)).or_default();
            all.push(decision.signed);
            assert_eq!(all.len() as u64, place, "decisions are numbered from 1");
        }
    }

    fn at(&mut self, id: &GrantId) -> &mut Grant {
        self.grants.iter_mut().find(|grant| grant.id == *id).unwrap()
    }

    fn of(&mut self, id: &GrantId, name: &str) -> &mut TokenState {
        self.at(id).tokens.iter_mut().find(|token| token.granted.name == name).unwrap()
    }

    pub fn named(&self) -> Vec<Grant> {
        self.grants.iter().rev().filter(|grant| grant.id.is_named()).cloned().collect()
    }

    pub fn runs(&self) -> Vec<RunSummary> {
        self.order.iter().rev().filter_map(|run| self.runs.get(run)).cloned().collect()
    }

    pub fn records(&self, run: &RunId, from: u64, limit: u64) -> Result<Vec<SealedRecord>> {
        let known = self.records.get(run);
        let known = known.ok_or_else(|| LedgerError::UnknownRun(run.to_string()))?;
        let page = known.iter().filter(|record| record.seq >= from);
        Ok(page.take(usize::try_from(limit).unwrap()).cloned().collect())
    }

    pub fn journal(&self, run: &RunId, from: u64, limit: u64) -> Result<Vec<Vec<u8>>> {
        if !self.runs.contains_key(run) {
            return Err(LedgerError::UnknownRun(run.to_string()));
        }
        let pages = self.journals.get(run).into_iter().flatten();
        let skipped = usize::try_from(from.saturating_sub(1)).unwrap();
        Ok(pages.skip(skipped).take(usize::try_from(limit).unwrap()).cloned().collect())
    }
}

impl View for Tables {
    fn identity(&mut self) -> Result<Identity> {
        Ok(Identity { ledger: LedgerId::of_random([7; 16]), epoch: self.epoch })
    }

    fn grant(&mut self, grant: &GrantId) -> Result<Option<Grant>> {
        Ok(self.grants.iter().find(|known| known.id == *grant).cloned())
    }

    fn position(&mut self, grant: &GrantId) -> Result<Option<GrantPosition>> {
        let epoch = self.epoch;
        Ok(self.grant(grant)?.map(|grant| GrantPosition {
            revoked: grant.revoked.is_some(),
            expires: grant.expires,
            quarantined: grant.epoch != epoch,
        }))
    }

    fn token(&mut self, grant: &GrantId, name: &str) -> Result<Option<TokenState>> {
        Ok(self.grant(grant)?.and_then(|grant| grant.token(name).cloned()))
    }

    fn run(&mut self, run: &RunId) -> Result<Option<RunSummary>> {
        Ok(self.runs.get(run).cloned())
    }

    fn attempt(&mut self, run: &RunId, attempt: &AttemptId) -> Result<Option<Attempt>> {
        Ok(self.attempts.get(&(run.clone(), *attempt)).cloned())
    }

    fn attempts(&mut self, run: &RunId) -> Result<Vec<Attempt>> {
        let of_run = self.attempts.iter().filter(|((of, _), _)| of == run);
        Ok(of_run.map(|(_, attempt)| attempt.clone()).collect())
    }

    fn openings(&mut self, run: &RunId) -> Result<Vec<(u64, String)>> {
        let records = self.records.get(run).into_iter().flatten();
        let of = |record: &SealedRecord| {
            let fields = record.openings.iter().map(|opening| opening.field().to_owned());
            fields.map(|field| (record.seq, field)).collect::<Vec<_>>()
        };
        Ok(records.flat_map(of).collect())
    }

    fn decisions(&mut self, run: &RunId, attempt: &AttemptId) -> Result<Vec<Signed>> {
        Ok(self.decisions.get(&(run.clone(), *attempt)).cloned().unwrap_or_default())
    }

    fn expired_holds(
        &mut self,
        grant: &GrantId,
        token: &str,
        now: Timestamp,
    ) -> Result<Vec<(RunId, Attempt)>> {
        let ran_out = |attempt: &Attempt| match attempt.state {
            UseState::Reserved { lease_until, .. } => lease_until < now,
            _ => false,
        };
        let holds = self.attempts.iter().filter(|((run, _), attempt)| {
            let of_grant = self.runs.get(run).is_some_and(|run| run.grant == *grant);
            of_grant && attempt.token == token && ran_out(attempt)
        });
        Ok(holds.map(|((run, _), attempt)| (run.clone(), attempt.clone())).collect())
    }
}
