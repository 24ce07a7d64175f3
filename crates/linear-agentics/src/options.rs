//! What a run is made of, and how it is said.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lar_core::approval::ApprovalGate;
use lar_core::audit::commitment::Part;
use lar_core::budget::Budget;
use lar_core::json::Digest;
use lar_core::ledger::Ledger;
use lar_core::set::CapabilitySet;
use lar_core::token::Token;
use lar_runtime::confine::Tier;
use lar_runtime::event::{Observer, Unwatched};
use lar_runtime::journal::Origin;
use lar_runtime::model::{Model, Price, PriceTable, Prompt};
use lar_runtime::negotiate::{CapabilityProvider, HumanCapabilityProvider};
use lar_runtime::stop::Stop;
use lar_runtime::tools::Programs;
use lar_runtime::witness::Witnessing;
use url::Url;

use crate::grant::GrantChoice;
use crate::manifest::{self, Manifest};
use crate::place::LedgerPlace;

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

/// Who decides what is tried next.
pub(crate) enum Decider {
    /// A model by its name, opened when the run starts.
    Named(String),
    /// A model that the caller brings.
    Given(Box<dyn Model>),
}

/// Where the durable truth is.
#[derive(Clone)]
pub(crate) enum Store {
    /// In the user's state directory.
    Default,
    /// There.
    At(LedgerPlace),
    /// Opened by the caller, who also sealed what a crash left open in it.
    Open(Arc<dyn Ledger>),
}

/// What a run is made of.
pub struct RunOptions {
    pub(crate) tokens: Vec<Token>,
    /// Capabilities that are used as they are, instead of ones minted from `tokens`.
    pub(crate) set: Option<CapabilitySet>,
    pub(crate) candidates: Vec<Token>,
    pub(crate) max_requests: u32,
    pub(crate) budget: Option<Budget>,
    pub(crate) decider: Decider,
    pub(crate) prices: PriceTable,
    pub(crate) system: String,
    pub(crate) task: Option<String>,
    pub(crate) manifest: Option<Digest>,
    pub(crate) grant: Option<GrantChoice>,
    pub(crate) origin: Option<Origin>,
    pub(crate) keep_journal: bool,
    pub(crate) workdir: Option<PathBuf>,
    pub(crate) manifest_file: Option<PathBuf>,
    pub(crate) min_tier: Option<Tier>,
    pub(crate) witnessing: Option<Witnessing>,
    pub(crate) commit: Vec<Part>,
    pub(crate) authority: Option<Url>,
    pub(crate) kept: Option<PathBuf>,
    pub(crate) ledger: Store,
    pub(crate) programs: Option<Programs>,
    pub(crate) record: Option<PathBuf>,
    pub(crate) approvals: Approvals,
    pub(crate) runner: Option<String>,
    pub(crate) provider: Box<dyn CapabilityProvider>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) prompt: Option<Box<dyn Prompt>>,
    pub(crate) stop: Stop,
}

impl RunOptions {
    /// A run of these tokens within this budget; everything else at its default: Claude as the
    /// model, the terminal for approvals, the ledger in the user's state directory.
    pub fn new(tokens: CapabilitySet, budget: Budget) -> Self {
        // The set is minted anew for the run; this one only declared the tokens.
        tokens.mark_reported();
        let declared = tokens.tokens();
        let declared = declared.into_iter().filter(|token| !token.is_rollback()).collect();
        Self::of(declared, Some(budget))
    }

    /// A run of these very capabilities: what it spends is spent for whoever else holds the set, and
    /// it gets what the set has left. Without a budget only the tokens' uses limit it.
    pub fn sharing(set: CapabilitySet, budget: Option<Budget>) -> Self {
        let mut options = Self::of(Vec::new(), budget);
        options.set = Some(set);
        options
    }

    /// A run as a manifest declares it.
    pub fn from_manifest(manifest: &Manifest) -> Self {
        let mut options = Self::of(manifest.tokens.clone(), Some(manifest.budget));
        options.candidates = manifest.candidates.clone();
        options.max_requests = manifest.max_requests;
        options.decider = Decider::Named(manifest.agent.model.clone());
        options.system = manifest.agent.system.clone().unwrap_or_default();
        options.task = manifest.agent.task.clone();
        options.manifest = Some(manifest.digest);
        options.origin = Some(Origin {
            manifest: manifest.text.clone(),
            base: manifest.base.to_string_lossy().into_owned(),
        });
        options.grant = manifest.grant.as_ref().map(|grant| grant.choice.clone());
        options.workdir = Some(manifest.base.clone());
        options.min_tier = manifest.min_tier;
        options.witnessing = manifest.witnessing.clone();
        options.commit.clone_from(&manifest.commit);
        options.authority.clone_from(&manifest.authority);
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

    fn of(tokens: Vec<Token>, budget: Option<Budget>) -> Self {
        Self {
            tokens,
            set: None,
            candidates: Vec::new(),
            max_requests: manifest::DEFAULT_MAX_REQUESTS,
            budget,
            decider: Decider::Named(manifest::DEFAULT_MODEL.to_owned()),
            prices: PriceTable::builtin(),
            system: String::new(),
            task: None,
            manifest: None,
            grant: None,
            origin: None,
            keep_journal: false,
            workdir: None,
            manifest_file: None,
            min_tier: None,
            witnessing: None,
            commit: Vec::new(),
            authority: None,
            kept: None,
            ledger: Store::Default,
            programs: None,
            record: None,
            approvals: Approvals::Terminal { patience: manifest::DEFAULT_APPROVAL_TIMEOUT },
            runner: None,
            provider: Box::new(HumanCapabilityProvider),
            observer: Arc::new(Unwatched),
            prompt: None,
            stop: Stop::default(),
        }
    }

    /// The model: a Claude model's name, `openai:NAME`, `replay:FILE` or `human`.
    #[must_use]
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.decider = Decider::Named(model.into());
        self
    }

    /// The model itself, instead of one that is opened by its name.
    #[must_use]
    pub fn with_model(mut self, model: Box<dyn Model>) -> Self {
        self.decider = Decider::Given(model);
        self
    }

    /// The named grant whose uses the run draws from, instead of having uses of its own. It must have
    /// been issued with the same definitions ([`issue`](crate::issue)).
    #[must_use]
    pub fn grant(mut self, grant: GrantChoice) -> Self {
        self.grant = Some(grant);
        self
    }

    /// Keeps the journal when the run is closed: the model's turns and the tools' results, in the
    /// ledger. It is deleted otherwise.
    #[must_use]
    pub fn keep_journal(mut self, keep: bool) -> Self {
        self.keep_journal = keep;
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

    /// The ledger's file, or the `postgres://` address of a database that several hosts share, instead
    /// of the file in the user's state directory.
    #[must_use]
    pub fn ledger(mut self, place: impl Into<LedgerPlace>) -> Self {
        self.ledger = Store::At(place.into());
        self
    }

    /// The weakest tier of confinement with which the run may start, instead of the manifest's; A on
    /// Linux when neither says one. See [`Tier`].
    #[must_use]
    pub fn min_tier(mut self, tier: Tier) -> Self {
        self.min_tier = Some(tier);
        self
    }

    /// Who cosigns the log's head, for tokens that demand it and at the end of the run.
    #[must_use]
    pub fn witnessing(mut self, witnessing: Witnessing) -> Self {
        self.witnessing = Some(witnessing);
        self
    }

    /// What the records commit to instead of saying it, so that it can be erased later
    /// ([`Ledger::erase`]).
    #[must_use]
    pub fn commit(mut self, parts: impl IntoIterator<Item = Part>) -> Self {
        self.commit = parts.into_iter().collect();
        self
    }

    /// A time-stamping authority (RFC 3161, http or https) that states at the end of the run when the log's
    /// head was there.
    #[must_use]
    pub fn timestamp_authority(mut self, url: Url) -> Self {
        self.authority = Some(url);
        self
    }

    /// A directory in which outputs and long arguments are kept beside the record, redacted, each in a file
    /// named by its SHA-256. It is made where it isn't there. No token reaches it.
    #[must_use]
    pub fn keep_output(mut self, directory: impl Into<PathBuf>) -> Self {
        self.kept = Some(directory.into());
        self
    }

    /// The file that the manifest was read from, so that no token may write it.
    #[must_use]
    pub fn manifest_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.manifest_file = Some(path.into());
        self
    }

    /// A ledger that is open already. Whoever opened it has called [`recover`](crate::recover).
    #[must_use]
    pub fn open_ledger(mut self, ledger: Arc<dyn Ledger>) -> Self {
        self.ledger = Store::Open(ledger);
        self
    }

    /// Where programs are found, instead of the PATH at the start of the run. Runs that share it look
    /// each program up and hash it once.
    #[must_use]
    pub fn programs(mut self, programs: Programs) -> Self {
        self.programs = Some(programs);
        self
    }

    /// How long a person at the terminal may take to answer.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.approvals = Approvals::Terminal { patience };
        self
    }

    /// How often the model may ask for a further capability, denials included.
    #[must_use]
    pub fn max_requests(mut self, requests: u32) -> Self {
        self.max_requests = requests;
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

    /// The name, among approvers, of whoever starts the run. Needed where an approver must be somebody
    /// else and the account's name is none of theirs.
    #[must_use]
    pub fn runner(mut self, name: impl Into<String>) -> Self {
        self.runner = Some(name.into());
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
