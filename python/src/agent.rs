//! The agent and its budget.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use linear_agentics::{
    Budget as Limits, Cause, Event, GrantChoice, Observer, RunOptions, Stop, Tier,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyString;
use serde_json::{Value, json};

use crate::awaiting;
use crate::convert;
use crate::errors;
use crate::home;
use crate::people::{self, CallableModel};
use crate::runtime::Callers;
use crate::set::{CapabilitySet, tokens_of};
use crate::token::LinearToken;
use crate::trail::AgentResult;

/// The limits of a run: steps, time, and optionally the model's tokens and cost.
///
/// Args:
///     max_steps: tool calls that the model may make, refused ones included.
///     timeout_minutes: wall-clock time of the whole run, approvals included.
///     max_tokens: the model's tokens, input and output together.
///     max_cost_usd: what the model may cost; the model's price must be known.
///
/// Example:
///     >>> Budget(max_steps=20, timeout_minutes=15)
///     Budget(max_steps=20, timeout_minutes=15.0)
#[pyclass(frozen, eq, module = "linear_agentics")]
#[derive(PartialEq)]
pub struct Budget {
    limits: Limits,
}

impl Budget {
    pub fn budget(&self) -> Limits {
        self.limits
    }
}

#[pymethods]
impl Budget {
    #[new]
    #[pyo3(signature = (max_steps, timeout_minutes, *, max_tokens=None, max_cost_usd=None))]
    fn new(
        max_steps: u64,
        timeout_minutes: f64,
        max_tokens: Option<u64>,
        max_cost_usd: Option<f64>,
    ) -> PyResult<Self> {
        let mut limits = Limits::new(max_steps, 1);
        limits.timeout = std::time::Duration::try_from_secs_f64(timeout_minutes * 60.0)
            .ok()
            .filter(|timeout| !timeout.is_zero())
            .ok_or_else(|| PyValueError::new_err("`timeout_minutes`: must be more than nothing"))?;
        limits.max_tokens = max_tokens;
        limits.max_cost_micro_usd = match max_cost_usd {
            None => None,
            Some(cost) if cost.is_finite() && (0.0..=1e9).contains(&cost) =>
            {
                #[allow(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "the range was checked"
                )]
                Some((cost * 1e6).round() as u64)
            }
            Some(_) => return Err(PyValueError::new_err("`max_cost_usd`: must not be negative")),
        };
        Ok(Self { limits })
    }

    /// Tool calls that the model may make.
    #[getter]
    fn max_steps(&self) -> u64 {
        self.limits.max_steps
    }

    /// Wall-clock time of the whole run.
    #[getter]
    fn timeout_minutes(&self) -> f64 {
        self.limits.timeout.as_secs_f64() / 60.0
    }

    /// The model's tokens; `None` for no limit.
    #[getter]
    fn max_tokens(&self) -> Option<u64> {
        self.limits.max_tokens
    }

    /// What the model may cost; `None` for no limit.
    #[getter]
    fn max_cost_usd(&self) -> Option<f64> {
        #[allow(clippy::cast_precision_loss, reason = "it came from a float and is small")]
        self.limits.max_cost_micro_usd.map(|cost| cost as f64 / 1e6)
    }

    fn __repr__(&self) -> String {
        let mut text = format!(
            "Budget(max_steps={}, timeout_minutes={:?}",
            self.limits.max_steps,
            self.timeout_minutes()
        );
        if let Some(tokens) = self.limits.max_tokens {
            text.push_str(&format!(", max_tokens={tokens}"));
        }
        if let Some(cost) = self.max_cost_usd() {
            text.push_str(&format!(", max_cost_usd={cost:?}"));
        }
        text.push(')');
        text
    }
}

/// An agent: a model that may use a set's tokens within a budget, and nothing else.
///
/// Args:
///     capabilities: what it may do.
///     budget: its limits.
///     llm_model: `claude-...`, `openai:NAME`, `replay:FILE`, or an async callable that takes a
///         Messages API request (a dict) and returns a response (a dict) or a text; `DEFAULT_MODEL`
///         without it.
///     system_prompt: what it is told beforehand.
///     task: the first message.
///     approval_gate: who is asked where a token requires approval; the terminal without it.
///     capability_provider: who decides about further capabilities; a person without it.
///     candidate_tokens: what may be granted while it runs.
///     max_negotiations: how often it may ask for one, denials included.
///     ledger: the ledger's file, or the ``postgres://`` address of one that hosts share, instead of
///         the file in your state directory.
///     grant: the id of an issued grant whose uses are drawn from.
///     min_tier: the weakest confinement of commands that will do: `A`, `B` or `C` (none). Without it the
///         set's word counts, and without that `A` on Linux.
///     on_event: called with a dict for each thing that happens, on your event loop.
///
/// Example:
///     >>> agent = Agent(capabilities=capabilities, budget=Budget(max_steps=20, timeout_minutes=15),
///     ...               system_prompt="Deploy myservice v2.3.1 safely.")
///     >>> result = await agent.run()
///     >>> print(result.audit_trail.to_json())
#[pyclass(frozen, module = "linear_agentics")]
pub struct Agent {
    capabilities: Py<CapabilitySet>,
    budget: Limits,
    model: Option<Py<PyAny>>,
    system_prompt: String,
    task: Option<String>,
    approval_gate: Option<Py<PyAny>>,
    capability_provider: Option<Py<PyAny>>,
    candidates: Vec<Py<LinearToken>>,
    max_negotiations: u32,
    ledger: Option<PathBuf>,
    grant: Option<GrantChoice>,
    min_tier: Option<Tier>,
    on_event: Option<Py<PyAny>>,
}

#[pymethods]
impl Agent {
    #[new]
    #[pyo3(signature = (
        capabilities, budget, llm_model=None, system_prompt="", task=None, approval_gate=None,
        capability_provider=None, candidate_tokens=None,
        max_negotiations=3, ledger=None, grant=None, min_tier=None, on_event=None
    ))]
    #[allow(clippy::too_many_arguments, reason = "they are keywords, each with a default")]
    fn new(
        capabilities: Bound<'_, CapabilitySet>,
        budget: &Bound<'_, Budget>,
        llm_model: Option<Py<PyAny>>,
        system_prompt: &str,
        task: Option<String>,
        approval_gate: Option<Py<PyAny>>,
        capability_provider: Option<Py<PyAny>>,
        candidate_tokens: Option<&Bound<'_, PyAny>>,
        max_negotiations: u32,
        ledger: Option<PathBuf>,
        grant: Option<&str>,
        min_tier: Option<&str>,
        on_event: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let grant = grant.map(home::grant).transpose()?;
        let min_tier = min_tier.map(home::tier).transpose()?;
        let candidate_tokens = candidate_tokens.map(tokens_of).transpose()?.unwrap_or_default();
        let own = capabilities.get().home();
        for candidate in &candidate_tokens {
            candidate.get().become_candidate(own)?;
        }
        Ok(Self {
            capabilities: capabilities.unbind(),
            budget: budget.get().limits,
            model: llm_model,
            system_prompt: system_prompt.to_owned(),
            task,
            approval_gate,
            capability_provider,
            candidates: candidate_tokens,
            max_negotiations,
            ledger,
            grant,
            min_tier,
            on_event,
        })
    }

    /// What it may do.
    #[getter]
    fn capabilities(&self, py: Python<'_>) -> Py<CapabilitySet> {
        self.capabilities.clone_ref(py)
    }

    /// Its limits.
    #[getter]
    fn budget(&self) -> Budget {
        Budget { limits: self.budget }
    }

    /// Runs to the end and seals the record, however it ends. What the set has left can be used
    /// afterwards. Cancelling stops the run: what is running is killed and recorded, and the
    /// cancellation goes on when the record is sealed.
    fn run<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let home = Arc::clone(self.capabilities.get().home());
        home.same_process()?;
        let stop = Stop::default();
        let options = self.options(py, stop.clone())?;
        let path = self.ledger.clone().or_else(|| home.settings.ledger.clone());
        let run = async move {
            let _ended = home.begin();
            let ledger = home::process_ledger(path.as_deref()).await.map_err(errors::compose)?;
            let options = options.open_ledger(Arc::clone(&ledger));
            let result = home.session.run(options).await.map_err(errors::session)?;
            home.reported.store(true, Ordering::Relaxed);
            Python::attach(|py| AgentResult::new(py, result, ledger))
        };
        let stop = Bound::new(py, StopRun { stop })?.into_any();
        awaiting::sealed_coroutine(py, run, stop)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let set = self.capabilities.bind(py).repr()?;
        Ok(format!("<Agent on {set}, at most {} steps>", self.budget.max_steps))
    }
}

impl Agent {
    fn options(&self, py: Python<'_>, stop: Stop) -> PyResult<RunOptions> {
        let home = self.capabilities.get().home();
        let (set, callers) = (home.session.set().clone(), &home.settings.callers);
        let mut options = RunOptions::sharing(set.clone(), Some(self.budget))
            .system(self.system_prompt.clone())
            .max_requests(self.max_negotiations)
            .stop(stop);
        if let Some(grant) = self.grant.as_ref().or(home.settings.grant.as_ref()) {
            options = options.grant(grant.clone());
        }
        if let Some(tier) = self.min_tier.or(home.settings.min_tier) {
            options = options.min_tier(tier);
        }
        if let Some(witnessing) = &home.settings.witnessing {
            options = options.witnessing(witnessing.clone());
        }
        if let Some(runner) = &home.settings.runner {
            options = options.runner(runner);
        }
        if let Some(task) = &self.task {
            options = options.task(task.clone());
        }
        if let Some(model) = &self.model {
            let model = model.bind(py);
            options = match model.cast::<PyString>() {
                Ok(name) => options.model(name.extract::<String>()?),
                Err(_) if model.is_callable() => {
                    options.with_model(Box::new(CallableModel::new(model, callers)))
                }
                Err(_) => {
                    return Err(errors::ModelError::new_err(
                        "`llm_model`: it is a model's name or an async callable",
                    ));
                }
            };
        }
        if let Some(gate) = self.approval_gate.as_ref().or(home.settings.gate.as_ref()) {
            options = people::approvals(options, gate, callers);
        }
        // Those that were granted in an earlier run are in the set by now.
        let open = self
            .candidates
            .iter()
            .filter(|candidate| set.uses_left(candidate.get().token().name()).is_none());
        let open: Vec<Py<LinearToken>> = open.map(|candidate| candidate.clone_ref(py)).collect();
        if !open.is_empty() {
            let asking = |candidate: &Py<LinearToken>| {
                let token = candidate.get().token().clone();
                match &home.settings.approvers {
                    Some(approvers) => token.or_approvers(approvers),
                    None => token,
                }
            };
            let tokens = open.iter().map(asking).collect();
            let provider = self.capability_provider.as_ref().map(|provider| provider.bind(py));
            options = options.candidates(tokens, people::provider(provider, open, callers));
        }
        if let Some(on_event) = &self.on_event {
            let watcher =
                Watcher { on_event: on_event.clone_ref(py), callers: Arc::clone(callers) };
            options = options.observer(Arc::new(watcher));
        }
        Ok(options)
    }
}

/// Stops a run when it is called.
#[pyclass(frozen, module = "linear_agentics._native")]
struct StopRun {
    stop: Stop,
}

#[pymethods]
impl StopRun {
    fn __call__(&self) {
        self.stop.request(Cause::Interrupted);
    }
}

/// Hands events to a callable in Python, in order, on the caller's own loop.
struct Watcher {
    on_event: Py<PyAny>,
    callers: Arc<Callers>,
}

impl Observer for Watcher {
    fn notice(&self, event: Event<'_>) {
        let event = shown(&event);
        let _ = Python::try_attach(|py| {
            let event = convert::to_python(py, &event)?;
            // A loop that is closed has nobody left who watches.
            self.callers
                .event_loop(py)?
                .call_method1("call_soon_threadsafe", (self.on_event.clone_ref(py), event))
                .map(drop)
        });
    }
}

/// An event as a dict with its `type`.
fn shown(event: &Event<'_>) -> Value {
    match event {
        Event::TurnStarted { turn } => json!({"type": "turn_started", "turn": turn}),
        Event::ModelText(text) => json!({"type": "model_text", "text": text}),
        Event::Retrying { why, wait } => {
            json!({"type": "retrying", "why": why, "wait_seconds": wait.as_secs_f64()})
        }
        Event::CallStarted { tool, input } => {
            json!({"type": "call_started", "tool": tool, "input": input})
        }
        Event::CallSealed(proof) => json!({"type": "call_sealed", "proof": proof}),
        Event::CallRefused { tool, error_type, message } => json!({
            "type": "call_refused", "tool": tool, "error_type": error_type, "message": message,
        }),
        Event::Asking { token } => json!({"type": "asking", "token_name": token}),
        Event::Answered { approved } => json!({"type": "answered", "approved": approved}),
        Event::Recovered { run } => json!({"type": "recovered", "run_id": run}),
        Event::NotRecovered { run, why } => {
            json!({"type": "not_recovered", "run_id": run, "why": why})
        }
        Event::RollingBack { token } => json!({"type": "rolling_back", "token_name": token}),
        Event::Confined { tier } => json!({"type": "confined", "tier": tier.letter().to_string()}),
        Event::LogBehind { why } => json!({"type": "log_behind", "why": why}),
        Event::NotKept { why } => json!({"type": "not_kept", "why": why}),
        Event::Unstamped { why } => json!({"type": "unstamped", "why": why}),
        Event::Unwitnessed { why } => json!({"type": "unwitnessed", "why": why}),
        Event::CutOff { run } => json!({"type": "cut_off", "run_id": run}),
        _ => json!({"type": "other"}),
    }
}
