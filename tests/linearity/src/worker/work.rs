//! What a worker does: it seals or goes on with what was cut off, then spends what is left, an effect
//! for each use, until it is killed or nothing is left.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lar_core::approval::{Answer, ApprovalGate, ApprovalRequest, Approver};
use lar_core::audit::commitment::{self, Blinding};
use lar_core::audit::record::{Body, ErrorRecord, RunEnd, TokenLine};
use lar_core::error::Refusal;
use lar_core::id::{CallSite, Part, RunId};
use lar_core::invocation::{Invocation, ToolCall};
use lar_core::json::Digest;
use lar_core::ledger::{
    Change, Conflict, Entry, Erasing, Grant, GrantId, Ledger, LedgerError, RunLedger, Source,
    Transition,
};
use lar_core::outcome::{Outcome, Performed, Verdict};
use lar_core::set::CapabilitySet;
use lar_core::time::Timestamp;
use lar_runtime::recover;

use crate::scenario::Scenario;
use crate::steps::{Lines, Steps};
use crate::witnesses::Witnesses;
use crate::{definitions, keys, token};

/// How many calls a run makes.
const CALLS: usize = 20;

/// Why a worker goes no further with a run.
#[derive(Debug)]
pub enum Stop {
    /// The run is somebody else's, or the ledger doesn't answer: on with the next one.
    Lost(String),
    /// Something happened that must never happen.
    Broken(String),
}

impl From<LedgerError> for Stop {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Damaged(why) => Self::Broken(why),
            other => Self::Lost(other.to_string()),
        }
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Ledger(error) => error.into(),
            other => Self::Lost(other.to_string()),
        }
    }
}

/// What all tasks of a worker share.
pub struct Worker {
    pub ledger: Arc<dyn Ledger>,
    pub steps: Arc<Steps>,
    pub scenario: Scenario,
    pub effects: Lines,
    /// The control arm: the effect comes first and the mark after it.
    pub effect_first: bool,
    pub name: String,
    /// Who must have cosigned an intent before its effect begins.
    pub witnesses: Option<Witnesses>,
}

impl Worker {
    /// What every start does first.
    pub async fn recover(&self) -> Result<(), Stop> {
        let found = recover::recover(self.ledger.as_ref()).await?;
        for run in found.cut_off {
            let taking = recover::taking(&run, Some(definitions()))?;
            let opened = match self.ledger.take_run(taking).await {
                Ok(opened) => opened,
                // Another process was quicker.
                Err(LedgerError::RunHeld { .. } | LedgerError::RunClosed(_)) => continue,
                Err(error) => return Err(error.into()),
            };
            let pages = self.ledger.journal(&run.run, 1, 1).await?;
            let Some(tokens) = pages.first().and_then(|page| serde_json::from_slice(page).ok())
            else {
                return Err(Stop::Broken("a run's journal is gone".to_owned()));
            };
            // The same calls again, from the first one on: those that were made must not be repeated.
            let held = RunLedger::new(Arc::clone(&self.ledger), opened.hold);
            self.calls(&held, tokens).await?;
        }
        if !self.scenario.witnesses() && self.steps.below(4) == 0 {
            keys::rotate(self.ledger.as_ref(), &self.steps).await?;
        }
        Ok(())
    }

    /// Spends what is left.
    pub async fn spend_all(&self, task: usize) -> Result<(), Stop> {
        for number in 0.. {
            let grant = GrantId::new(format!("grant-{number}")).unwrap();
            for chunk in 0.. {
                let Some(found) = self.ledger.grant(&grant).await? else { return Ok(()) };
                // Everybody goes through the uses in the same order, so that they meet.
                let left = found.tokens.iter().filter(|token| token.uses_left > 0).take(CALLS);
                let tokens: Vec<String> = left.map(|token| token.granted.name.clone()).collect();
                if tokens.is_empty() {
                    break;
                }
                let run = format!("{}-{task}-{number}-{chunk}", self.name);
                match self.run(&run, &found, tokens).await {
                    Err(Stop::Lost(_)) | Ok(()) => {}
                    Err(broken) => return Err(broken),
                }
            }
        }
        Ok(())
    }

    async fn run(&self, name: &str, grant: &Grant, tokens: Vec<String>) -> Result<(), Stop> {
        let id = grant.id.clone();
        let source = Source::Named { grant: id, ledger: None, definitions: definitions() };
        let mut opening = memory_ledger::opening(&RunId::new(name).unwrap(), source);
        opening.owner = recover::owner();
        if let (Some(_), Body::RunOpen(open)) = (&self.witnesses, &mut opening.record) {
            // The command line verifies these runs: the end accounts for these tokens.
            let all = grant.tokens.iter().map(|state| token(&state.granted.name, &self.scenario));
            open.tokens = all.map(|token| TokenLine::of(&token, 1).unwrap()).collect();
        }
        if self.scenario.resumes() {
            opening.journal = Some(serde_json::to_vec(&tokens).unwrap());
        }
        let opened = self.ledger.open_run(opening).await?;
        // What can be erased is committed to.
        let blinding = self.witnesses.as_ref().map(|_| {
            let secret = *Digest::of(name).as_bytes();
            Arc::new(Blinding::new(commitment::Part::ALL, secret, 1))
        });
        let held = RunLedger::new(Arc::clone(&self.ledger), opened.hold).blinded(blinding);
        self.calls(&held, tokens).await
    }

    async fn calls(&self, run: &RunLedger, tokens: Vec<String>) -> Result<(), Stop> {
        for (turn, name) in (1u64..).zip(&tokens) {
            let again = self.steps.below(8) == 0;
            let (first, second) = if self.scenario.approves() {
                // Two at once, each with a yes of its own: the same call twice, or two calls.
                let other = if again { turn } else { turn + 1_000 };
                let (first, second) =
                    tokio::join!(self.call(run, turn, name), self.call(run, other, name));
                (first, Some(second))
            } else if again {
                // A client that didn't hear the answer asks again.
                let first = self.call(run, turn, name).await;
                (first, Some(self.call(run, turn, name).await))
            } else {
                (self.call(run, turn, name).await, None)
            };
            for answer in std::iter::once(first).chain(second) {
                match answer {
                    Ok(())
                    | Err(
                        Refusal::TokenReused { .. }
                        | Refusal::NoUseFree { .. }
                        | Refusal::NeverBegan(_)
                        | Refusal::ApprovalTimeout(_)
                        | Refusal::Ledger(LedgerError::Conflict(
                            Conflict::OutOfOrder | Conflict::Fenced,
                        )),
                    ) => {}
                    Err(Refusal::InvalidInput(broken)) => return Err(Stop::Broken(broken)),
                    Err(refusal) => return Err(refusal.into()),
                }
            }
        }
        run.close("complete".to_owned(), RunEnd::default(), false).await?;
        if run.blinding().is_some() && self.steps.below(2) == 0 {
            let (run, by) = (run.run().clone(), "linearity".to_owned());
            self.ledger.erase(Erasing { run, of: None, field: None, by }).await?;
        }
        Ok(())
    }

    /// One call, by the product's own path, with this benchmark's effect.
    async fn call(&self, run: &RunLedger, turn: u64, name: &str) -> Result<(), Refusal> {
        // A set of its own: what stops a second call must be the ledger, not this process's memory.
        let set = CapabilitySet::new([token(name, &self.scenario)]).unwrap();
        set.mark_reported();
        let site = CallSite { run: run.run().clone(), turn, index: 0, part: Part::Call };
        let (tool, input) = (format!("wait_{name}"), "{\"seconds\":1}".to_owned());
        let invocation = Invocation::parse(ToolCall { site, tool, input, rationale: None }, &set)?
            .blinded(run.blinding())?;
        let line = format!("{name} {}", invocation.attempt());
        let approved_change = Change {
            attempt: invocation.attempt(),
            token: name.to_owned(),
            action: invocation.digest(),
            transition: Transition::Approve { not_after: Timestamp::from_millis(i64::MAX / 2) },
        };
        let authorized = set.reserve(invocation)?.authorize()?;
        let approved = authorized.approve(&Yes(Arc::clone(&self.steps)), run).await?;
        if self.scenario.approves() {
            self.approve_again(run, approved_change).await?;
        }
        if self.effect_first {
            self.effects.add(&line);
            self.steps.at("effect");
        }
        let spent = approved.spend(run).await?;
        self.steps.at("intent");
        if !self.effect_first && self.steps.below(16) == 0 {
            // Nothing was begun, and the living owner says so: the use comes back.
            let never = Performed::NeverBegan { reason: "no connection was opened".to_owned() };
            return Ok(spent.seal(never, run).await.map(drop)?);
        }
        if let Some(witnesses) = &self.witnesses {
            self.steps.at("unwitnessed");
            if let Err(reason) = witnesses.before_effect(&spent, run).await {
                tokio::time::sleep(Duration::from_millis(20)).await;
                return Ok(spent.seal(Performed::NeverBegan { reason }, run).await.map(drop)?);
            }
            self.steps.at("witnessed");
        }
        if !self.effect_first {
            self.effects.add(&line);
            self.steps.at("effect");
        }
        tokio::time::sleep(Duration::from_micros(self.steps.below(2_000))).await;
        let done = Performed::Ended(Outcome::new(Verdict::Succeeded, "", ""));
        Ok(spent.seal(done, run).await.map(drop)?)
    }
}

impl Worker {
    /// A second yes for what was approved already, or was started meanwhile. It must never count.
    async fn approve_again(&self, run: &RunLedger, change: Change) -> Result<(), Refusal> {
        let record = Body::Error(ErrorRecord {
            token_name: change.token.clone(),
            error_type: "Twice".to_owned(),
            message: "a second yes".to_owned(),
            attempt: None,
            input: None,
        });
        let entry = Entry::change(run.hold().clone(), change, record);
        match run.ledger().commit(entry).await {
            Ok(_) => Err(Refusal::InvalidInput("a second approval was taken".to_owned())),
            Err(LedgerError::Conflict(_)) => Ok(()),
            Err(other) => Err(other.into()),
        }
    }
}

/// Says yes after a while, to whoever asks.
struct Yes(Arc<Steps>);

#[async_trait]
impl ApprovalGate for Yes {
    fn patience(&self) -> Duration {
        Duration::from_secs(60)
    }

    async fn ask(&self, _: &ApprovalRequest) -> Answer {
        tokio::time::sleep(Duration::from_micros(self.0.below(3_000))).await;
        self.0.at("asked");
        let approver = Approver { name: "alice".to_owned(), identity: "test".to_owned() };
        Answer::Yes { approver, choice: 0 }
    }
}
