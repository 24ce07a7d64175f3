//! Where a token's uses are: its own session, or that of the set that it is in. And what the process
//! shares: its open ledgers, and the runs that are to be ended before it exits.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use linear_agentics::ledger::GrantId;
use linear_agentics::{
    Approvers, Budget, CapabilitySet, Cause, ComposeError, GrantChoice, Ledger, Proof, RunOptions,
    Session, SessionError, Tier, Witnessing, WitnessingError, default_ledger, open_ledger, recover,
};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::awaiting;
use crate::errors;
use crate::kinds;
use crate::people;
use crate::runtime::{self, Caller, Callers};

/// How the runs of a set are opened.
#[derive(Default)]
pub struct Settings {
    /// The ledger's file; the one in the state directory without it.
    pub ledger: Option<PathBuf>,
    /// Who is asked for approval; the terminal without it.
    pub gate: Option<Py<PyAny>>,
    /// The limits of a set that is used without an agent.
    pub budget: Option<Budget>,
    /// The issued grant whose uses are drawn from.
    pub grant: Option<GrantChoice>,
    /// The weakest confinement of commands that will do.
    pub min_tier: Option<Tier>,
    /// Whose calls go on.
    pub callers: Arc<Callers>,
    /// Who approves by a signature, whatever token of the set asks.
    pub approvers: Option<Approvers>,
    /// Who starts the runs, where that may be no approver.
    pub runner: Option<String>,
    /// Who cosigns the log's head.
    pub witnessing: Option<Witnessing>,
}

/// A tier by its letter.
pub fn tier(letter: &str) -> PyResult<Tier> {
    letter.parse().map_err(|why| errors::SandboxError::new_err(format!("`min_tier`: {why}")))
}

/// A grant by its id, in whatever ledger the runs are.
pub fn grant(id: &str) -> PyResult<GrantChoice> {
    let id = GrantId::new(id.to_owned());
    let id = id.map_err(|error| errors::SetupError::new_err(format!("`grant`: {error}")))?;
    Ok(GrantChoice { id, ledger: None })
}

/// Who approves by a signature, as it is written in Python.
pub fn approvers(
    lines: Option<Vec<String>>,
    required: u32,
    not_the_runner: bool,
) -> PyResult<Option<Approvers>> {
    let Some(lines) = lines else { return Ok(None) };
    let approvers = Approvers::new(lines, required, not_the_runner);
    let approvers =
        approvers.map_err(|error| errors::SetupError::new_err(format!("`approvers`: {error}")))?;
    Ok(Some(approvers))
}

/// Witnesses, as they are written in Python: the key of each by its URL.
pub fn witnesses(
    named: Option<&Bound<'_, PyDict>>,
    required: Option<usize>,
    timeout: Option<&Bound<'_, PyAny>>,
) -> PyResult<Option<Witnessing>> {
    let Some(named) = named else { return Ok(None) };
    let named = named
        .iter()
        .map(|(url, key)| Ok((url.extract()?, key.extract()?)))
        .collect::<PyResult<Vec<(String, String)>>>()?;
    let timeout = timeout.map(|time| kinds::duration("witness_timeout", time)).transpose()?;
    let witnessing = Witnessing::new(named, required, timeout);
    let wrong = |error: WitnessingError| {
        let field = if error.field == "required" { "required_witnesses" } else { "witnesses" };
        errors::SetupError::new_err(format!("`{field}`: {}", error.message))
    };
    witnessing.map(Some).map_err(wrong)
}

/// A session and its settings.
pub struct Home {
    pub session: Arc<Session>,
    pub settings: Arc<Settings>,
    ledger: Arc<OnceLock<Arc<dyn Ledger>>>,
    process: u32,
    /// Whether it is one token's own, and no set's.
    pub is_lone: bool,
    /// Whether somebody was told of the tokens that were never used.
    pub reported: AtomicBool,
    under_way: Arc<AtomicUsize>,
}

impl Home {
    /// The home of a token that is in no set.
    pub fn lone(set: CapabilitySet, min_tier: Option<Tier>) -> Arc<Self> {
        Self::make(set, Settings { min_tier, ..Settings::default() }, true)
    }

    /// The home of a set's tokens.
    pub fn new(set: CapabilitySet, settings: Settings) -> Arc<Self> {
        Self::make(set, settings, false)
    }

    fn make(set: CapabilitySet, settings: Settings, is_lone: bool) -> Arc<Self> {
        if let Some(approvers) = &settings.approvers {
            set.resolve(|token| token.or_approvers(approvers));
        }
        // Python warns of what is left unused.
        set.mark_reported();
        let settings = Arc::new(settings);
        let ledger: Arc<OnceLock<Arc<dyn Ledger>>> = Arc::default();
        let make = {
            let (settings, ledger) = (Arc::clone(&settings), Arc::clone(&ledger));
            move |set: CapabilitySet| {
                let mut options =
                    RunOptions::sharing(set, settings.budget).task("calls of a Python program");
                options = match ledger.get() {
                    Some(ledger) => options.open_ledger(Arc::clone(ledger)),
                    None => return Err(ComposeError::NoStateDirectory),
                };
                if let Some(tier) = settings.min_tier {
                    options = options.min_tier(tier);
                }
                if let Some(grant) = &settings.grant {
                    options = options.grant(grant.clone());
                }
                if let Some(runner) = &settings.runner {
                    options = options.runner(runner);
                }
                if let Some(witnessing) = &settings.witnessing {
                    options = options.witnessing(witnessing.clone());
                }
                if let Some(gate) = &settings.gate {
                    options = people::approvals(options, gate, &settings.callers);
                }
                Ok(options)
            }
        };
        Arc::new(Self {
            session: Arc::new(Session::new(set, Box::new(make))),
            settings,
            ledger,
            process: std::process::id(),
            is_lone,
            reported: AtomicBool::new(false),
            under_way: Arc::default(),
        })
    }

    /// A token doesn't cross a fork.
    pub fn same_process(&self) -> PyResult<()> {
        if self.process == std::process::id() {
            return awaiting::same_process();
        }
        Err(errors::ForkedError::new_err(
            "this token was declared before the process was forked, and the other side holds it too; \
             declare it after the fork",
        ))
    }

    /// What runs of this home are opened in.
    pub async fn open_ledger(&self) -> Result<Arc<dyn Ledger>, SessionError> {
        if let Some(ledger) = self.ledger.get() {
            return Ok(Arc::clone(ledger));
        }
        let ledger = process_ledger(self.settings.ledger.as_deref()).await?;
        Ok(Arc::clone(self.ledger.get_or_init(|| ledger)))
    }

    /// The token whose tool it is; the tool's own name where there is none, as in the record.
    pub fn token_of(&self, tool: &str) -> String {
        self.session.set().name_of(tool).unwrap_or_else(|| tool.to_owned())
    }

    /// Takes a call along the one path.
    pub async fn dispatch(&self, tool: &str, input: &str) -> Result<Proof, SessionError> {
        self.open_ledger().await?;
        let _ended = self.begin();
        self.session.dispatch(tool, input, None).await
    }

    /// Spends a deployment's way back.
    pub async fn rollback(&self, token: &str) -> Result<Proof, SessionError> {
        self.open_ledger().await?;
        let _ended = self.begin();
        self.session.rollback(token).await
    }

    /// Counts a call in, and out when what is returned is dropped.
    pub fn begin(&self) -> UnderWay {
        remember(&self.session, &self.under_way);
        self.under_way.fetch_add(1, Ordering::SeqCst);
        UnderWay { count: Arc::clone(&self.under_way), _caller: self.settings.callers.enter() }
    }
}

/// A call that goes on.
pub struct UnderWay {
    count: Arc<AtomicUsize>,
    _caller: Caller,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Home {
    /// Nobody can call any more, so that the run has ended.
    fn drop(&mut self) {
        if self.process != std::process::id() || !awaiting::is_running() {
            return;
        }
        if let Ok(handle) = runtime::handle()
            && locked(&USED).contains_key(&key(&self.session))
        {
            let session = Arc::clone(&self.session);
            handle.spawn(async move {
                let _ = session.close("complete").await;
                locked(&USED).remove(&key(&session));
            });
        }
    }
}

type Used = (Arc<Session>, Arc<AtomicUsize>);

/// Sessions that were used and may have a run open.
static USED: Mutex<std::collections::BTreeMap<usize, Used>> =
    Mutex::new(std::collections::BTreeMap::new());

fn key(session: &Arc<Session>) -> usize {
    Arc::as_ptr(session).addr()
}

fn remember(session: &Arc<Session>, under_way: &Arc<AtomicUsize>) {
    let used = (Arc::clone(session), Arc::clone(under_way));
    locked(&USED).entry(key(session)).or_insert(used);
}

/// How long the end of the process waits for what is being stopped.
const LAST_WAIT: Duration = Duration::from_secs(15);

/// Ends every run of this process: what still goes on is stopped and sealed. Called before the
/// interpreter exits.
pub fn end_all(py: Python<'_>) {
    if !awaiting::is_running() {
        return;
    }
    let Ok(handle) = runtime::handle() else {
        return;
    };
    let used: Vec<Used> = locked(&USED).values().cloned().collect();
    py.detach(|| {
        handle.block_on(async {
            let ends = used.into_iter().map(|(session, under_way)| {
                handle.spawn(async move {
                    let idle = under_way.load(Ordering::SeqCst) == 0 && session.is_idle();
                    session.stop(Cause::Interrupted);
                    let _ = session.close(if idle { "complete" } else { "error" }).await;
                })
            });
            let ends: Vec<_> = ends.collect();
            let all = async {
                for end in ends {
                    let _ = end.await;
                }
            };
            let _ = tokio::time::timeout(LAST_WAIT, all).await;
        });
    });
    runtime::end(py);
}

/// A ledger, opened once in this process. What a crash left open in it is sealed then.
pub async fn process_ledger(path: Option<&Path>) -> Result<Arc<dyn Ledger>, ComposeError> {
    static OPEN: OnceLock<tokio::sync::Mutex<HashMap<PathBuf, Arc<dyn Ledger>>>> = OnceLock::new();
    let path = match path {
        Some(path) => path.to_owned(),
        None => default_ledger()?,
    };
    let mut open = OPEN.get_or_init(Default::default).lock().await;
    if let Some(ledger) = open.get(&path) {
        return Ok(Arc::clone(ledger));
    }
    let ledger = open_ledger(Some(&path.as_path().into())).await?;
    recover::recover(ledger.as_ref()).await?;
    open.insert(path, Arc::clone(&ledger));
    Ok(ledger)
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
