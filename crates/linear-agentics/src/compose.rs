//! Puts a run together: opens the ledger, seals what a crash left open, reads the secrets, finds the
//! programs, opens the model, and writes the first record.

mod error;
mod name;
mod opening;
mod people;
mod program;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lar_core::approval::{ApprovalGate, Approvers, Runner};
use lar_core::audit::commitment::Blinding;
use lar_core::budget::Budget;
use lar_core::json::Digest;
use lar_core::ledger::{Ledger, Opening, RunLedger, RunSummary, Taking};
use lar_core::redact::Redactor;
use lar_core::set::CapabilitySet;
use lar_core::token::Token;
use lar_runtime::agent::{Agent, DEFAULT_TASK, read_records};
use lar_runtime::approval::{Signatures, TerminalGate};
use lar_runtime::confine::{Tier, Walls};
use lar_runtime::dispatch::{Dispatcher, Parts};
use lar_runtime::event::{Event, Observer};
use lar_runtime::journal::{Carried, Commit, Page, Start, Tape};
use lar_runtime::kept::Kept;
use lar_runtime::model::{Model, ModelEnv, ModelError, ModelSpec, Recorder};
use lar_runtime::negotiate::{CapabilityProvider, Negotiator};
use lar_runtime::recover;
use lar_runtime::secrets::Secrets;
use lar_runtime::stop::Stop;
use lar_runtime::tools::{Accounts, Operator, Programs, Tools};
use lar_runtime::witness::{Witnesses, Witnessing};
use tokio::task::JoinHandle;
use url::Url;

use crate::approvals::origin_of;
use crate::grant::GrantChoice;
use crate::options::{Approvals, Decider, RunOptions, Store};
use crate::place::opened;
use crate::walls::{self, Own};

pub use error::ComposeError;
pub use name::default_ledger;
pub(crate) use name::state_directory;

/// Gets a run ready: everything that can be wrong is found here, before anything is spent. To be
/// called within a tokio runtime.
pub async fn start(options: RunOptions) -> Result<Agent, ComposeError> {
    ready(options, None).await
}

/// Gets a run ready that was cut off, to go on from its last durable point: with the options that it
/// was started with, whose definitions must be the same. What was done is not done again. To be called
/// within a tokio runtime.
pub async fn resume(options: RunOptions, run: &RunSummary) -> Result<Agent, ComposeError> {
    ready(options, Some(run)).await
}

async fn ready(
    mut options: RunOptions,
    cut_off: Option<&RunSummary>,
) -> Result<Agent, ComposeError> {
    let budget = options.budget.ok_or(ComposeError::NoBudget)?;
    // Slow things at once: reading certificates for the model's API, and opening the ledger.
    let mut named = None;
    let opening = match std::mem::replace(&mut options.decider, Decider::Named(String::new())) {
        Decider::Given(model) => Opened::Now(model),
        Decider::Named(name) => {
            let spec = ModelSpec::parse(&name)?;
            let (prices, prompt) = (options.prices.clone(), options.prompt.take());
            named = Some(name);
            Opened::Later(tokio::task::spawn_blocking(move || {
                ModelEnv::from_process().open(&spec, &prices, prompt)
            }))
        }
    };
    let (system, task) = (std::mem::take(&mut options.system), options.task.take());
    let (origin, keep_journal) = (options.origin.take(), options.keep_journal);
    // The third: only the first record of a run names the program.
    let binary = cut_off.is_none().then(|| tokio::task::spawn_blocking(program::own_program));
    let prepared = Prepared { binary, ..prepare(options).await? };
    let model = match opening {
        Opened::Now(model) => model,
        Opened::Later(opening) => {
            let opened = tokio::select! {
                biased;
                opened = opening => opened,
                // A recording that is a pipe may have no writer. Nothing stands in the ledger yet.
                _ = prepared.stop.wait() => {
                    prepared.capabilities.mark_reported();
                    return Err(ComposeError::Stopped);
                }
            };
            opened.map_err(|_| ComposeError::System("no thread can be started"))??
        }
    };
    if budget.max_cost_micro_usd.is_some() && model.price().is_none() {
        prepared.capabilities.mark_reported();
        return Err(ComposeError::NoPrice(model.name().to_owned()));
    }
    // An empty message is refused by the API just as an empty conversation is.
    let task = task.filter(|task| !task.trim().is_empty());
    let task = task.unwrap_or_else(|| DEFAULT_TASK.to_owned());
    let recorder = prepared.record.as_deref().map(Recorder::create).transpose()?;
    let (stop, observer) = (prepared.stop.clone(), Arc::clone(&prepared.observer));
    let ((dispatcher, negotiator), (system, task, tape, held)) = match cut_off {
        None => {
            let named = named.unwrap_or_else(|| model.name().to_owned());
            let first = Start::new(named, system.clone(), task.clone(), origin);
            let first = Page::Start(first.commit(prepared.commit.clone()));
            let acting = prepared.open(model.name(), &task, Some(first.to_bytes())).await?;
            (acting, (system, task, Tape::default(), Duration::ZERO))
        }
        Some(run) => {
            let read = Tape::read(prepared.ledger.as_ref(), &run.run).await;
            let (start, tape) = read.inspect_err(|_| prepared.capabilities.mark_reported())?;
            model.pass_over(tape.turns())?;
            let prepared = Prepared { commit: start.commit.clone(), ..prepared };
            let (dispatcher, negotiator, carried) = prepared.take(run).await?;
            ((dispatcher, negotiator), (start.system, start.task, tape, carried.held))
        }
    };
    Ok(Agent {
        model,
        dispatcher,
        negotiator,
        budget,
        system,
        task,
        stop,
        observer,
        recorder,
        tape,
        held,
        keep_journal,
    })
}

enum Opened {
    Now(Box<dyn Model>),
    Later(tokio::task::JoinHandle<Result<Box<dyn Model>, ModelError>>),
}

/// A run that has all it needs, and of which the ledger knows nothing yet.
pub(crate) struct Prepared {
    capabilities: CapabilitySet,
    candidates: Vec<Token>,
    max_requests: u32,
    min_tier: Tier,
    provider: Box<dyn CapabilityProvider>,
    budget: Option<Budget>,
    manifest: Option<Digest>,
    grant: Option<GrantChoice>,
    ledger: Arc<dyn Ledger>,
    approvals: Approvals,
    /// The name of the ledger's log, where approvals are signed.
    origin: String,
    runner: Option<Runner>,
    programs: Programs,
    accounts: Accounts,
    secrets: Secrets,
    redactor: Arc<Redactor>,
    walls: Walls,
    witnessing: Option<Witnessing>,
    witnesses: Option<Witnesses>,
    authority: Option<Url>,
    kept: Option<Kept>,
    /// What the records commit to.
    commit: Option<Commit>,
    /// The digest of this program, on its way.
    binary: Option<JoinHandle<Option<Digest>>>,
    workdir: PathBuf,
    record: Option<PathBuf>,
    pub(crate) stop: Stop,
    observer: Arc<dyn Observer>,
}

/// Everything but the model and the first record.
pub(crate) async fn prepare(options: RunOptions) -> Result<Prepared, ComposeError> {
    // Tried while the ledger is opened, with a child of its own.
    let tier = walls::least_tier(&options);
    let found = tokio::task::spawn_blocking(move || Walls::find(tier));
    let ledger_file = walls::ledger_file(&options.ledger);
    let ledger = opened(&options.ledger).await?;
    if !matches!(options.ledger, Store::Open(_)) {
        let found = recover::recover(ledger.as_ref()).await?;
        for run in &found.sealed {
            options.observer.notice(Event::Recovered { run });
        }
        for (run, error) in &found.failed {
            options.observer.notice(Event::NotRecovered { run, why: &error.to_string() });
        }
        for run in &found.cut_off {
            options.observer.notice(Event::CutOff { run: &run.run });
        }
    }
    let programs = options.programs.unwrap_or_else(Programs::from_environment);
    let workdir = match options.workdir {
        Some(workdir) => workdir,
        None => std::env::current_dir().map_err(|_| {
            ComposeError::System("the working directory is gone; change to another")
        })?,
    };
    // Which cluster a deployment goes to is fixed here, before its token is shown or recorded.
    let tokens = match &options.set {
        Some(set) => set.tokens(),
        None => options.tokens.clone(),
    };
    let declared: Vec<Token> = tokens.iter().chain(&options.candidates).cloned().collect();
    let operator = Operator::from_environment();
    let accounts = tokio::select! {
        biased;
        // Where there is nothing to be looked up, the run is opened and says itself that it was stopped.
        accounts = Accounts::find(&declared, &programs, &operator) => accounts?,
        // What was started for it ends with it.
        _ = options.stop.wait() => return Err(ComposeError::Stopped),
    };
    let candidates: Vec<Token> =
        options.candidates.into_iter().map(|token| accounts.pin(token)).collect();
    let secrets = Secrets::read(tokens.iter().chain(&candidates))?;
    let services = ModelEnv::from_process();
    let own =
        [("ANTHROPIC_API_KEY", services.anthropic_key), ("OPENAI_API_KEY", services.openai_key)];
    let own = own.into_iter().filter_map(|(name, key)| Some((name, key?)));
    let redactor = Arc::new(secrets.redactor(own.chain(accounts.secrets()))?);

    let capabilities = match options.set {
        Some(set) => {
            set.resolve(|token| accounts.pin(token));
            set
        }
        None => CapabilitySet::new(tokens.into_iter().map(|token| accounts.pin(token)))?,
    };
    // A candidate that couldn't join the set would be found out only when a person grants it.
    let trial = CapabilitySet::new(capabilities.tokens().into_iter().filter(|t| !t.is_rollback()));
    let trial = trial?;
    trial.mark_reported();
    for candidate in &candidates {
        trial.add(candidate.clone())?;
    }
    let found = found.await.map_err(|_| ComposeError::System("no thread can be started"))?;
    let all: Vec<Token> = capabilities.tokens().into_iter().chain(candidates.clone()).collect();
    let manifest = options.manifest_file.as_deref();
    let kept = options.kept.as_deref().map(Kept::within).transpose();
    let kept = kept
        .map_err(|error| ComposeError::Kept(error.kind()))
        .inspect_err(|_| capabilities.mark_reported())?;
    let walls = found
        .and_then(|found| {
            let kept = kept.as_ref().map(Kept::directory);
            let own = Own { ledger: ledger_file, manifest, kept };
            walls::fit(found, &all, &programs, &workdir, own)
        })
        .inspect_err(|_| capabilities.mark_reported())?;
    let witnesses = options.witnessing.clone().map(Witnesses::new).transpose();
    let witnesses = match witnesses {
        Ok(None) if all.iter().any(|token| token.witness().is_some()) => {
            capabilities.mark_reported();
            return Err(ComposeError::NoWitness);
        }
        Ok(witnesses) => witnesses,
        Err(why) => {
            capabilities.mark_reported();
            return Err(ComposeError::Witness(why));
        }
    };
    let all = all.iter().filter_map(Token::approvers);
    let approvers: Vec<Approvers> = all.cloned().collect();
    let runner = people::runner(&approvers, options.runner.as_deref())
        .inspect_err(|_| capabilities.mark_reported())?;
    let origin = match approvers.is_empty() {
        true => String::new(),
        false => origin_of(ledger.as_ref()).await?,
    };
    let commit = Commit::new(options.commit).map_err(|_| {
        capabilities.mark_reported();
        ComposeError::System("the system gives no random numbers")
    })?;
    options.observer.notice(Event::Confined { tier: walls.tier() });
    Ok(Prepared {
        capabilities,
        candidates,
        max_requests: options.max_requests,
        min_tier: tier,
        provider: options.provider,
        budget: options.budget,
        manifest: options.manifest,
        grant: options.grant,
        ledger,
        approvals: options.approvals,
        origin,
        runner,
        programs,
        accounts,
        secrets,
        redactor,
        walls,
        witnessing: options.witnessing,
        witnesses,
        authority: options.authority,
        kept,
        commit,
        binary: None,
        workdir,
        record: options.record,
        stop: options.stop,
        observer: options.observer,
    })
}

impl Prepared {
    /// Writes the first record: from here on the run is in the ledger. With a first page of its journal
    /// it can be gone on with after a crash.
    pub(crate) async fn open(
        mut self,
        model: &str,
        task: &str,
        journal: Option<Vec<u8>>,
    ) -> Result<(Dispatcher, Negotiator), ComposeError> {
        let run = name::new_run()?;
        let hashing = self.binary.take();
        let hashing = hashing.unwrap_or_else(|| tokio::task::spawn_blocking(program::own_program));
        let binary = hashing.await.unwrap_or(None);
        let enforcement = self.walls.tier().to_string();
        // Whoever opens a run is its first holder.
        let blinding = self.commit.as_ref().map(|commit| commit.blinding(1));
        let opening = self.opening(&run, model, task, &enforcement, binary).and_then(|opening| {
            let openings = match &blinding {
                Some(blinding) => blinding.open(&opening.record)?,
                None => Vec::new(),
            };
            Ok(Opening { journal, openings, ..opening })
        });
        let opened = match opening {
            Ok(opening) => self.draw(opening).await,
            Err(error) => Err(error.into()),
        };
        let opened = opened.inspect_err(|_| self.capabilities.mark_reported())?;
        let runners = self.runner.clone().into_iter().collect();
        self.assemble(opened, enforcement, runners, blinding)
    }

    /// Takes over a run that was cut off.
    async fn take(
        self,
        run: &RunSummary,
    ) -> Result<(Dispatcher, Negotiator, Carried), ComposeError> {
        let (records, _) = read_records(self.ledger.as_ref(), &run.run).await?;
        let carried = Carried::read(&records);
        let here = self.pinned()?;
        let taken = match recover::taking(run, Some(here.clone())) {
            Ok(taking) => {
                let runner = self.runner.clone();
                self.ledger.take_run(Taking { runner, ..taking }).await
            }
            Err(error) => Err(error),
        };
        let taken = match taken {
            Ok(taken) => Ok(taken),
            Err(error) => Err(self.explain(error, &run.grant, &here).await),
        };
        let opened = taken.inspect_err(|_| self.capabilities.mark_reported())?;
        let enforcement = self.walls.tier().to_string();
        let mut runners = people::of_records(&records);
        runners.extend(self.runner.clone());
        let blinding = self.commit.as_ref().map(|commit| commit.blinding(opened.hold.fence));
        let (dispatcher, negotiator) = self.assemble(opened, enforcement, runners, blinding)?;
        dispatcher.carry(&carried);
        negotiator.carry(&carried);
        Ok((dispatcher, negotiator, carried))
    }

    /// What acts in a run that the ledger has given.
    fn assemble(
        self,
        opened: lar_core::ledger::Opened,
        enforcement: String,
        runners: Vec<Runner>,
        blinding: Option<Arc<Blinding>>,
    ) -> Result<(Dispatcher, Negotiator), ComposeError> {
        let mut candidates = self.candidates;
        for token in &opened.tokens {
            // Unlocked candidates are this run's, from before it was cut off, or another's.
            if token.unlocked_by.is_some()
                && let Some(at) = candidates.iter().position(|c| c.name() == token.granted.name)
            {
                let candidate = candidates.remove(at);
                if !token.is_locked_for(&opened.hold.run) {
                    self.capabilities.add_for_run(candidate)?;
                }
            }
            self.capabilities.limit(&token.granted.name, token.uses_left);
        }
        let patience = match &self.approvals {
            Approvals::Terminal { patience } => *patience,
            Approvals::Gate(gate) => gate.patience(),
        };
        let signatures = Signatures {
            origin: self.origin,
            runners,
            patience,
            redactor: Arc::clone(&self.redactor),
            enforcement: enforcement.clone(),
            observer: Arc::clone(&self.observer),
        };
        let approvals: Arc<dyn ApprovalGate> = match self.approvals {
            Approvals::Terminal { patience } => {
                Arc::new(TerminalGate::new(patience, Arc::clone(&self.redactor), enforcement))
            }
            Approvals::Gate(gate) => gate,
        };
        let tokens = self.capabilities.tokens();
        let all: Vec<Token> = tokens.iter().chain(&candidates).cloned().collect();
        self.programs.identify_in_background(&all, &self.workdir);
        let tools = Tools::new(
            &all,
            self.programs,
            self.accounts,
            self.secrets,
            self.redactor,
            self.walls,
            self.workdir,
        )
        .keeping(self.kept);
        let dispatcher = Dispatcher::new(Parts {
            capabilities: self.capabilities,
            ledger: RunLedger::new(self.ledger, opened.hold).blinded(blinding),
            approvals,
            signatures: Some(signatures),
            tools,
            witnesses: self.witnesses,
            authority: self.authority,
            stop: self.stop,
            observer: self.observer,
        });
        dispatcher.keep_hold();
        Ok((dispatcher, Negotiator::new(candidates, self.max_requests, self.provider)))
    }
}
