//! Whether what was signed is enough: a pure function of the statements, who may approve, and the time.
//! The runtime asks it before the spend, and a verifier asks it again.

use std::collections::BTreeSet;

use super::approvers::{Approvers, Runner};
use super::statement::{Flaw, Signed, Subject, Word};
use crate::json::Digest;
use crate::time::Timestamp;

/// What is judged.
#[derive(Debug, Clone)]
pub struct Case<'a> {
    /// Who may approve.
    pub approvers: &'a Approvers,
    /// Who started the run, and who went on with it. Where a policy excludes them and nobody is known,
    /// nobody's yes counts.
    pub runners: &'a [Runner],
    /// What it is about.
    pub subject: &'a Subject,
    /// Digests of the questions that were put about this attempt.
    pub shown: &'a [Digest],
    /// The ledger's time.
    pub now: Timestamp,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruling {
    /// It takes more.
    Waiting {
        /// Who approved so far.
        by: Vec<String>,
    },
    /// Enough people said yes and nobody said no.
    Yes {
        /// Who.
        by: Vec<String>,
        /// Which of the statements, by their place.
        places: Vec<usize>,
        /// Until when all of them hold.
        not_after: Timestamp,
    },
    /// Somebody who is listed said no.
    No {
        /// Who.
        by: String,
        /// Which of the statements, by its place.
        place: usize,
    },
}

/// The ruling, and the statements that don't count, by their place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// What came of it.
    pub ruling: Ruling,
    /// What doesn't count, and why.
    pub flaws: Vec<(usize, Flaw)>,
}

impl Case<'_> {
    /// Judges statements in the order in which they came. A no of anybody who is listed outweighs every
    /// yes, before it or after it, and doesn't run out.
    pub fn judge(&self, statements: &[Signed]) -> Judged {
        let mut flaws = Vec::new();
        let mut nonces = BTreeSet::new();
        let mut people: Vec<String> = Vec::new();
        let mut places = Vec::new();
        let mut not_after: Option<Timestamp> = None;
        let mut denied = None;
        for (place, signed) in statements.iter().enumerate() {
            let statement = match self.valid(signed) {
                Ok(statement) => statement,
                Err(flaw) => {
                    flaws.push((place, flaw));
                    continue;
                }
            };
            let approver = statement.approver;
            if !nonces.insert(statement.nonce) {
                flaws.push((place, Flaw::Replayed));
            } else if statement.decision == Word::Deny {
                denied.get_or_insert(Ruling::No { by: approver, place });
            } else if self.now > statement.not_after {
                flaws.push((place, Flaw::Expired(approver, statement.not_after)));
            } else if self.approvers.not_the_runner()
                && (self.runners.is_empty() || self.runners.iter().any(|r| r.is(&approver)))
            {
                flaws.push((place, Flaw::Runner(approver)));
            } else if people.contains(&approver) {
                flaws.push((place, Flaw::CountedBefore(approver)));
            } else if people.len() < self.approvers.required() as usize {
                people.push(approver);
                places.push(place);
                let end = statement.not_after;
                not_after = Some(not_after.map_or(end, |earlier| earlier.min(end)));
            }
        }
        let enough = people.len() >= self.approvers.required() as usize;
        let ruling = match (denied, not_after) {
            (Some(denied), _) => denied,
            (None, Some(not_after)) if enough => Ruling::Yes { by: people, places, not_after },
            (None, _) => Ruling::Waiting { by: people },
        };
        Judged { ruling, flaws }
    }

    fn valid(&self, signed: &Signed) -> Result<super::statement::Statement, Flaw> {
        let (statement, _) = signed.verify(self.approvers.keys())?;
        self.subject.covers(&statement, self.shown)?;
        Ok(statement)
    }
}
