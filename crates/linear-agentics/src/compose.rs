//! Puts a run together: opens the ledger, seals what a crash left open, reads the secrets, finds the
//! programs, opens the model, and writes the first record.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lar_core::approval::ApprovalGate;
use lar_core::audit::record::{Body, RunOpen, TokenLine};
use lar_core::budget::Budget;
use lar_core::id::RunId;
use lar_core::json::{Digest, JsonRefusal};
use lar_core::ledger::{Granted, Ledger, LedgerError, Opening};
use lar_core::set::{CapabilitySet, SetError};
use lar_core::time::Timestamp;
use lar_core::token::Token;
use lar_runtime::agent::{Agent, DEFAULT_TASK};
use lar_runtime::approval::TerminalGate;
use lar_runtime::dispatch::{Dispatcher, Parts};
use lar_runtime::event::{Event, Observer, Unwatched};
use lar_runtime::model::{
    Model, ModelEnv, ModelError, ModelSpec, Price, PriceTable, Prompt, Recorder,
};
use lar_runtime::negotiate::{CapabilityProvider, HumanCapabilityProvider, Negotiator};
use lar_runtime::recover;
use lar_runtime::secrets::{SecretError, Secrets};
use lar_runtime::stop::Stop;
use lar_runtime::tools::{ClusterError, KubeconfigSource, Kubeconfigs, Programs, Tools};

use crate::manifest::{self, Manifest};

/// How a person is asked.
pub enum Approvals {
    /// At the run's own terminal.
    Terminal {
        /// How long an answer may take.
        patience: Duration,
    },
    /// By a gate of the caller's.
    Gate(Arc<dyn ApprovalGate>),
}

/// What a run is made of.
pub struct RunOptions {
    tokens: Vec<Token>,
    candidates: Vec<Token>,
    max_requests: u32,
    budget: Budget,
    model: String,
    prices: PriceTable,
    system: String,
    task: Option<String>,
    manifest: Option<Digest>,
    workdir: Option<PathBuf>,
    ledger: Option<PathBuf>,
    record: Option<PathBuf>,
    approvals: Approvals,
    provider: Box<dyn CapabilityProvider>,
    observer: Arc<dyn Observer>,
    prompt: Option<Box<dyn Prompt>>,
    stop: Stop,
}

/// A run can't be started. Nothing was executed or spent.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// The tokens don't form a set.
    #[error(transparent)]
    Set(#[from] SetError),
    /// A secret can't be had.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A deployment's cluster can't be told.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The model can't be opened.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The ledger can't be opened or written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A cost limit can't be kept.
    #[error(
        "`max_cost_usd` is set and the price of model `{0}` is unknown; add it under `[[price]]`, or \
         limit `max_tokens` instead"
    )]
    NoPrice(String),
    /// The state directory can't be told.
    #[error("neither `XDG_STATE_HOME` nor `HOME` is an absolute path; name a file with `--ledger`")]
    NoStateDirectory,
    /// A definition can't be written down.
    #[error("a token can't be recorded: {0}")]
    Record(#[from] JsonRefusal),
    /// The system gives no random numbers or no working directory.
    #[error("{0}")]
    System(&'static str),
}

impl RunOptions {
    /// A run of these tokens within this budget; everything else at its default: Claude as the
    /// model, the terminal for approvals, the ledger in the user's state directory.
    pub fn new(tokens: CapabilitySet, budget: Budget) -> Self {
        // The set is minted anew for the run; this one only declared the tokens.
        tokens.mark_reported();
        let declared = tokens.tokens();
        let declared = declared.into_iter().filter(|token| !token.is_rollback()).collect();
        Self::of(declared, budget)
    }

    /// A run as a manifest declares it.
    pub fn from_manifest(manifest: &Manifest) -> Self {
        let mut options = Self::of(manifest.tokens.clone(), manifest.budget);
        options.candidates = manifest.candidates.clone();
        options.max_requests = manifest.max_requests;
        options.model = manifest.agent.model.clone();
        options.system = manifest.agent.system.clone().unwrap_or_default();
        options.task = manifest.agent.task.clone();
        options.manifest = Some(manifest.digest);
        options.workdir = Some(manifest.base.clone());
        options.approvals = Approvals::Terminal { patience: manifest.approval_timeout };
        for price in &manifest.prices {
            options.prices = options.prices.with(
                &price.model,
                Price {
                    input: price.input,
                    output: price.output,
                    cache_read: price.cache_read,
                    cache_write: price.cache_write,
                },
            );
        }
        options
    }

    fn of(tokens: Vec<Token>, budget: Budget) -> Self {
        Self {
            tokens,
            candidates: Vec::new(),
            max_requests: manifest::DEFAULT_MAX_REQUESTS,
            budget,
            model: manifest::DEFAULT_MODEL.to_owned(),
            prices: PriceTable::builtin(),
            system: String::new(),
            task: None,
            manifest: None,
            workdir: None,
            ledger: None,
            record: None,
            approvals: Approvals::Terminal { patience: manifest::DEFAULT_APPROVAL_TIMEOUT },
            provider: Box::new(HumanCapabilityProvider),
            observer: Arc::new(Unwatched),
            prompt: None,
            stop: Stop::default(),
        }
    }

    /// The model: a Claude model's name, `openai:NAME`, `replay:FILE` or `human`.
    #[must_use]
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.model = model.into();
        self
    }

    /// The system prompt.
    #[must_use]
    pub fn system(mut self, system: impl Into<String>) -> Self {
        self.system = system.into();
        self
    }

    /// The first message of the conversation.
    #[must_use]
    pub fn task(mut self, task: impl Into<String>) -> Self {
        self.task = Some(task.into());
        self
    }

    /// The ledger's file, instead of the one in the user's state directory.
    #[must_use]
    pub fn ledger(mut self, path: impl Into<PathBuf>) -> Self {
        self.ledger = Some(path.into());
        self
    }

    /// Where the session is recorded, to be replayed later.
    #[must_use]
    pub fn record(mut self, path: impl Into<PathBuf>) -> Self {
        self.record = Some(path.into());
        self
    }

    /// How a person is asked.
    #[must_use]
    pub fn approvals(mut self, gate: Arc<dyn ApprovalGate>) -> Self {
        self.approvals = Approvals::Gate(gate);
        self
    }

    /// Tokens that may be granted while the run goes on, and who decides about them.
    #[must_use]
    pub fn candidates(mut self, tokens: Vec<Token>, provider: Box<dyn CapabilityProvider>) -> Self {
        self.candidates = tokens;
        self.provider = provider;
        self
    }

    /// Who watches.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = observer;
        self
    }

    /// Where a person plays the model, for the model `human`.
    #[must_use]
    pub fn prompt(mut self, prompt: Box<dyn Prompt>) -> Self {
        self.prompt = Some(prompt);
        self
    }

    /// The signal that stops the run.
    #[must_use]
    pub fn stop(mut self, stop: Stop) -> Self {
        self.stop = stop;
        self
    }
}

/// The ledger's file in the user's state directory: `$XDG_STATE_HOME/lar/ledger.db`, or
/// `~/.local/state/lar/ledger.db` (XDG Base Directory Specification).
pub fn default_ledger() -> Result<PathBuf, ComposeError> {
    let absolute =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .ok_or(ComposeError::NoStateDirectory)?;
    Ok(state.join("lar/ledger.db"))
}

/// Opens the ledger at `path`, or the default one.
pub fn open_ledger(path: Option<&Path>) -> Result<Arc<dyn Ledger>, ComposeError> {
    match path {
        Some(path) => Ok(lar_ledger::open(path)?),
        None => Ok(lar_ledger::open(&default_ledger()?)?),
    }
}

/// Gets a run ready: everything that can be wrong is found here, before anything is spent. To be
/// called within a tokio runtime.
pub async fn start(options: RunOptions) -> Result<Agent, ComposeError> {
    let RunOptions { budget, stop, observer, .. } = &options;
    let (budget, stop, observer) = (*budget, stop.clone(), Arc::clone(observer));
    let spec = ModelSpec::parse(&options.model)?;
    let services = ModelEnv::from_process();

    // Two slow things at once: reading certificates for the model's API, and opening the ledger.
    let opening = tokio::task::spawn_blocking({
        let (prices, services, prompt) = (options.prices, services.clone(), options.prompt);
        move || services.open(&spec, &prices, prompt)
    });
    let ledger = open_ledger(options.ledger.as_deref())?;
    for run in recover::recover(ledger.as_ref()).await? {
        observer.notice(Event::Recovered { run: &run });
    }

    let programs = Programs::from_environment();
    let workdir = match options.workdir {
        Some(workdir) => workdir,
        None => std::env::current_dir().map_err(|_| {
            ComposeError::System("the working directory is gone; change to another")
        })?,
    };
    // Which cluster a deployment goes to is fixed here, before its token is shown or recorded.
    let declared = options.tokens.iter().chain(&options.candidates);
    let kube =
        Kubeconfigs::resolve(declared, &programs, &KubeconfigSource::from_environment()).await?;
    let pin = |tokens: Vec<Token>| -> Vec<Token> {
        tokens.into_iter().map(|token| kube.pin(token)).collect()
    };
    let (tokens, candidates) = (pin(options.tokens), pin(options.candidates));
    let secrets = Secrets::read(tokens.iter().chain(&candidates))?;
    let own =
        [("ANTHROPIC_API_KEY", services.anthropic_key), ("OPENAI_API_KEY", services.openai_key)];
    let own = own.into_iter().filter_map(|(name, key)| Some((name, key?)));
    let redactor = Arc::new(secrets.redactor(own.chain(kube.secrets()))?);
    let enforcement = crate::enforcement();

    let capabilities = CapabilitySet::new(tokens)?;
    // A candidate that couldn't join the set would be found out only when a person grants it.
    let trial = CapabilitySet::new(capabilities.tokens().into_iter().filter(|t| !t.is_rollback()));
    let trial = trial?;
    trial.mark_reported();
    for candidate in &candidates {
        trial.add(candidate.clone())?;
    }
    let model = opening.await.map_err(|_| ComposeError::System("no thread can be started"))??;
    if budget.max_cost_micro_usd.is_some() && model.price().is_none() {
        capabilities.mark_reported();
        return Err(ComposeError::NoPrice(options.model));
    }
    let recorder = options.record.as_deref().map(Recorder::create).transpose()?;

    let run = new_run()?;
    // An empty message is refused by the API just as an empty conversation is.
    let task = options.task.filter(|task| !task.trim().is_empty());
    let task = task.unwrap_or_else(|| DEFAULT_TASK.to_owned());
    let opening = opening_of(
        &run,
        model.as_ref(),
        &redactor.redact(&task),
        options.manifest,
        budget,
        &capabilities.tokens(),
        &enforcement,
    )?;
    ledger.open_run(opening).await?;

    let approvals: Arc<dyn ApprovalGate> = match options.approvals {
        Approvals::Terminal { patience } => {
            Arc::new(TerminalGate::new(patience, Arc::clone(&redactor), enforcement))
        }
        Approvals::Gate(gate) => gate,
    };
    let tokens = capabilities.tokens();
    let all: Vec<Token> = tokens.iter().chain(&candidates).cloned().collect();
    programs.identify_in_background(&all, &workdir);
    let tools = Tools::new(&all, programs, kube, secrets, redactor, workdir);
    let dispatcher = Dispatcher::new(Parts {
        run,
        capabilities,
        ledger,
        approvals,
        tools,
        stop: stop.clone(),
        observer: Arc::clone(&observer),
    });
    Ok(Agent {
        model,
        dispatcher,
        negotiator: Negotiator::new(candidates, options.max_requests, options.provider),
        budget,
        system: options.system,
        task,
        stop,
        observer,
        recorder,
    })
}

/// The first record of a run, and what the ledger keeps of its tokens.
fn opening_of(
    run: &RunId,
    model: &dyn Model,
    task: &str,
    manifest: Option<Digest>,
    budget: Budget,
    tokens: &[Token],
    enforcement: &str,
) -> Result<Opening, JsonRefusal> {
    let lines = tokens.iter().map(|token| {
        Ok(TokenLine {
            name: token.name().to_owned(),
            scope: token.scope().summary(),
            definition: token.digest()?,
            uses: token.max_uses(),
            requires_approval: token.requires_approval(),
        })
    });
    Ok(Opening {
        run: run.clone(),
        owner: recover::owner(),
        tokens: tokens.iter().map(Granted::of).collect::<Result<_, _>>()?,
        record: Body::RunOpen(RunOpen {
            model: model.name().to_owned(),
            task: task.chars().take(1_000).collect(),
            runtime: env!("CARGO_PKG_VERSION").to_owned(),
            manifest,
            budget: serde_json::to_value(budget).unwrap_or_default(),
            tokens: lines.collect::<Result<_, JsonRefusal>>()?,
            enforcement: enforcement.to_owned(),
        }),
    })
}

/// A name for a run: when it began, and 32 random bits.
fn new_run() -> Result<RunId, ComposeError> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(0)).to_string();
    let digits: String = now.chars().filter(char::is_ascii_digit).take(14).collect();
    let (day, time) = digits.split_at_checked(8).unwrap_or((&digits, ""));
    let mut random = [0u8; 4];
    getrandom::fill(&mut random)
        .map_err(|_| ComposeError::System("the system gives no random numbers"))?;
    RunId::new(format!("{day}-{time}-{:08x}", u32::from_ne_bytes(random)))
        .map_err(|_| ComposeError::System("no name can be made for the run"))
}
