//! The last step: what came of an effect is said to the ledger, and what the ledger doesn't take at
//! once is kept until it does.

use super::{Spent, change};
use crate::audit::commitment::Part;
use crate::audit::record::{Body, OutcomeRecord};
use crate::audit::trail::Proof;
use crate::display::first_chars;
use crate::error::Refusal;
use crate::ledger::{Conflict, LedgerError, Resolution, Resolver, RunLedger, Transition, UseState};
use crate::outcome::{Outcome, Performed, Verdict};

/// How often the ledger is asked in one go while it stands there that the use was started by this
/// very hold and that nothing was said of its end. Saying it again then says it once.
const TRIES: u32 = 3;

/// The most characters of a line that goes into a record.
const LINE: usize = 2_000;

/// A call whose end is no [`Proof`].
#[must_use = "an end that the ledger didn't take can be said again"]
#[derive(Debug)]
pub enum Unsealed {
    /// Nothing is left to be said: nothing ever began, or another process has the run and was told.
    Settled(Refusal),
    /// The ledger did not take what is known. It can be said again.
    Untold(Box<Untold>),
}

/// What is known of an effect's end, and stands in no record yet.
#[must_use = "an end that isn't said is accounted as unknown"]
#[derive(Debug)]
pub struct Untold {
    spent: Spent,
    performed: Performed,
    error: LedgerError,
}

/// What became of one attempt to say it.
enum Said {
    /// It stands in the ledger as it was said.
    AsIs,
    /// The run is another's, or over, and it stands there that the outcome was said later.
    Late(LedgerError),
    /// Not yet.
    No(LedgerError),
}

impl Spent {
    /// Seals the outcome. Whatever the outcome, the use stays spent, unless nothing ever began.
    ///
    /// Where the ledger's answer is lost, the attempt is looked up, and while it stands there as
    /// started by this very hold the outcome is said again, a few times. When another process has
    /// taken the run over in between, or the run was closed, the use was recorded as unknown there,
    /// and what this one knows is added to the record as a resolution.
    pub async fn seal(self, performed: Performed, ledger: &RunLedger) -> Result<Proof, Unsealed> {
        self.say(performed, ledger).await
    }

    async fn say(self, performed: Performed, ledger: &RunLedger) -> Result<Proof, Unsealed> {
        let (transition, record) = match &performed {
            Performed::Ended(outcome) => {
                let (fence, verdict) = (self.receipt.fence, outcome.verdict);
                (Transition::Finish { fence, verdict }, self.outcome_record(outcome))
            }
            Performed::NeverBegan { reason } => {
                let outcome = Outcome::new(Verdict::Failed, reason, "");
                let record = OutcomeRecord { outcome: None, ..self.outcome_record(&outcome) };
                (Transition::NeverBegan { fence: self.receipt.fence }, record)
            }
        };
        match (self.tell(transition, &record, ledger).await, performed) {
            (Said::AsIs, Performed::Ended(outcome)) => {
                let Self { intent, receipt, .. } = self;
                Ok(Proof::join(receipt.seq, receipt.timestamp, intent, Some(&record))
                    .with_output(outcome.output))
            }
            (Said::AsIs, Performed::NeverBegan { reason }) => {
                let given = std::sync::Arc::clone(self.capability.entry());
                given.unspend(self.capability);
                Err(Unsealed::Settled(Refusal::NeverBegan(reason)))
            }
            (Said::Late(error), _) => Err(Unsealed::Settled(error.into())),
            (Said::No(error), performed) => {
                Err(Unsealed::Untold(Box::new(Untold { spent: self, performed, error })))
            }
        }
    }

    /// Says it, and finds out what became of it when the answer is lost.
    async fn tell(
        &self,
        transition: Transition,
        record: &OutcomeRecord,
        ledger: &RunLedger,
    ) -> Said {
        let wanted = match &transition {
            Transition::NeverBegan { fence } => UseState::NeverBegan { fence: *fence },
            _ => UseState::Ended {
                fence: self.receipt.fence,
                verdict: record.outcome.unwrap_or(Verdict::Unknown),
            },
        };
        let mut tries = 0;
        loop {
            tries += 1;
            let ended = change(&self.invocation, transition.clone());
            let error = match ledger.change(ended, Body::Outcome(record.clone())).await {
                Ok(_) => return Said::AsIs,
                Err(error) => error,
            };
            match &error {
                LedgerError::Conflict(Conflict::RunLost) | LedgerError::RunClosed(_) => {
                    return self.tell_late(record, error, ledger).await;
                }
                // It was never written, or a try whose answer was lost was made after all.
                _ => {}
            }
            let started = UseState::Started { fence: self.receipt.fence };
            match ledger.attempt(&self.invocation.attempt()).await {
                Ok(Some(found)) if found.state == wanted => return Said::AsIs,
                Ok(Some(found)) if found.state == started && tries < TRIES => {}
                _ => return Said::No(error),
            }
        }
    }

    /// The word of an owner who has the run no more. Where nothing is known, `unknown` stands there
    /// already and is the truth.
    async fn tell_late(
        &self,
        record: &OutcomeRecord,
        error: LedgerError,
        ledger: &RunLedger,
    ) -> Said {
        let (fence, attempt) = (self.receipt.fence, self.invocation.attempt());
        // A use of which nothing began stays spent here, and what it was for did not succeed.
        let verdict = record.outcome.unwrap_or(Verdict::Failed);
        if verdict == Verdict::Unknown {
            return Said::Late(error);
        }
        let late = Resolution {
            run: ledger.run().clone(),
            attempt,
            by: Resolver::Owner { fence },
            verdict,
            // A resolution is never committed to.
            note: match ledger.commits_to(Part::Output) {
                true => "the process that started it told its outcome late".to_owned(),
                false => record.result_summary.clone(),
            },
        };
        match ledger.ledger().resolve(late).await {
            Ok(_) => Said::Late(error),
            // Somebody else said it before.
            Err(LedgerError::Conflict(_)) => Said::Late(error),
            Err(_) => match ledger.attempt(&attempt).await {
                Ok(Some(found)) if found.state == (UseState::Resolved { fence, verdict }) => {
                    Said::Late(error)
                }
                _ => Said::No(error),
            },
        }
    }

    fn outcome_record(&self, outcome: &Outcome) -> OutcomeRecord {
        let line = |text: &str| first_chars(text, LINE).to_owned();
        OutcomeRecord {
            token_name: self.intent.token_name.clone(),
            attempt: self.intent.attempt,
            intent_seq: self.receipt.seq,
            outcome: Some(outcome.verdict),
            reason: outcome.reason.as_deref().map(line),
            result_summary: line(&outcome.summary),
            output_digest: Some(outcome.output_digest),
            output_bytes: outcome.output_bytes,
            stderr_digest: outcome.stderr_digest,
            exit_code: outcome.exit_code,
            http_status: outcome.http_status,
            program: outcome.program.clone(),
            tier: outcome.tier.map(String::from),
            duration_ms: outcome.duration_ms,
        }
    }
}

impl Untold {
    /// Says it again: as the outcome while the run is this one's, as a resolution when it isn't any
    /// more.
    pub async fn say(self, ledger: &RunLedger) -> Result<Proof, Unsealed> {
        self.spent.say(self.performed, ledger).await
    }

    /// Why the ledger didn't take it.
    pub fn error(&self) -> &LedgerError {
        &self.error
    }

    /// The token.
    pub fn token_name(&self) -> &str {
        self.spent.token.name()
    }

    /// How it ended and in what words; no verdict where nothing began.
    pub fn known(&self) -> (Option<Verdict>, &str) {
        match &self.performed {
            Performed::Ended(outcome) => (Some(outcome.verdict), &outcome.summary),
            Performed::NeverBegan { reason } => (None, reason),
        }
    }
}

impl From<Unsealed> for Refusal {
    fn from(unsealed: Unsealed) -> Self {
        match unsealed {
            Unsealed::Settled(refusal) => refusal,
            Unsealed::Untold(untold) => Self::Ledger(untold.error),
        }
    }
}
