//! Those who decide and are written in Python: approvers, providers of capabilities, and models. What
//! they raise, and what makes no sense, is a no.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use linear_agentics::model::{
    Message, Model, ModelError, Price, Progress, Turn, TurnRequest, UserBlock,
};
use linear_agentics::tokens::Token;
use linear_agentics::{
    Answer, ApprovalGate, ApprovalRequest as Request, Approver, CapabilityProvider,
    CapabilityRequest as Wanted, Choice, HumanCapabilityProvider, RunOptions,
};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyString};
use serde_json::{Value, json};

use crate::convert;
use crate::runtime::Callers;
use crate::token::LinearToken;

/// What is put before an approver. Its texts are raw, and some are the model's: escape them before
/// they reach a terminal or a page.
#[pyclass(frozen, get_all, module = "linear_agentics")]
pub struct ApprovalRequest {
    /// The token.
    token_name: String,
    /// Its scope in words.
    scope: String,
    /// What is asked, in one line.
    message: String,
    /// Exactly what will run: labels and values. Empty when the model only asks a question.
    lines: Vec<(String, String)>,
    /// SHA-256 of what will run; `None` when nothing will.
    action_digest: Option<String>,
    /// Uses of the token that are left, this one included.
    uses_left: u32,
    /// What the model says about it. It may be a lie.
    rationale: Option<String>,
    /// Scopes to choose from, when a further capability is asked for. The answer is then an index.
    choices: Vec<String>,
}

#[pymethods]
impl ApprovalRequest {
    fn __repr__(&self) -> String {
        format!("<ApprovalRequest for token {:?}: {:?}>", self.token_name, self.message)
    }
}

/// What the model asks for, in its own words. They may be lies.
#[pyclass(frozen, get_all, module = "linear_agentics")]
pub struct CapabilityRequest {
    /// What it needs to be able to do.
    scope: String,
    /// Why.
    justification: String,
}

#[pymethods]
impl CapabilityRequest {
    fn __repr__(&self) -> String {
        format!("<CapabilityRequest {:?} because {:?}>", self.scope, self.justification)
    }
}

/// Sets who is asked: the terminal for an `ApprovalGate` that is used as it is, else the object itself.
pub fn approvals(options: RunOptions, gate: &Py<PyAny>, callers: &Arc<Callers>) -> RunOptions {
    let gate = Python::attach(|py| Gate::of(gate.bind(py), callers));
    match gate {
        (patience, None) => options.patience(patience),
        (_, Some(gate)) => options.approvals(Arc::new(gate)),
    }
}

/// An approver in Python.
struct Gate {
    gate: Py<PyAny>,
    patience: Duration,
    name: String,
    callers: Arc<Callers>,
}

impl Gate {
    fn of(gate: &Bound<'_, PyAny>, callers: &Arc<Callers>) -> (Duration, Option<Self>) {
        let patience = gate
            .getattr("timeout_seconds")
            .and_then(|seconds| seconds.extract::<f64>())
            .ok()
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .unwrap_or(Duration::from_secs(300));
        if gate.hasattr("_asks_at_the_terminal").unwrap_or(false) {
            let own = gate.call_method0("_asks_at_the_terminal").and_then(|own| own.is_truthy());
            if own.unwrap_or(false) {
                return (patience, None);
            }
        }
        let name = gate
            .getattr("approver")
            .and_then(|name| name.extract::<String>())
            .unwrap_or_else(|_| class_of(gate));
        let callers = Arc::clone(callers);
        (patience, Some(Self { gate: gate.clone().unbind(), patience, name, callers }))
    }

    fn approver(&self) -> Approver {
        Approver { name: self.name.clone(), identity: "program".to_owned() }
    }
}

#[async_trait]
impl ApprovalGate for Gate {
    fn patience(&self) -> Duration {
        self.patience
    }

    async fn ask(&self, request: &Request) -> Answer {
        let shown = ApprovalRequest {
            token_name: request.token_name.clone(),
            scope: request.scope.clone(),
            message: request.message.clone(),
            lines: request.lines.clone(),
            action_digest: request.action_digest.map(|digest| digest.to_string()),
            uses_left: request.uses_left,
            rationale: request.rationale.clone(),
            choices: request.choices.clone(),
        };
        let asked =
            ask(&self.callers, |py| self.gate.bind(py).call_method1("request_approval", (shown,)));
        let answer = match tokio::time::timeout(self.patience, asked).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(why)) => {
                return Answer::Nobody { why: format!("the approver `{}` {why}", self.name) };
            }
            Err(_) => return Answer::Silence,
        };
        Python::attach(|py| {
            let answer = answer.bind(py);
            let approver = self.approver();
            match (answer.cast::<PyBool>(), request.choices.len()) {
                (Ok(yes), 0) if yes.is_true() => Answer::Yes { approver, choice: 0 },
                (Ok(no), _) if !no.is_true() => Answer::No { approver },
                (Err(_), count) => match answer.extract::<usize>() {
                    Ok(choice) if choice < count => Answer::Yes { approver, choice },
                    _ => Answer::Nobody {
                        why: format!("the approver `{}` answered neither yes nor no", self.name),
                    },
                },
                // A yes that names no choice is none.
                _ => Answer::No { approver },
            }
        })
    }
}

/// Who decides about further capabilities: a person by default, else an object in Python.
pub fn provider(
    provider: Option<&Bound<'_, PyAny>>,
    candidates: Vec<Py<LinearToken>>,
    callers: &Arc<Callers>,
) -> Box<dyn CapabilityProvider> {
    match provider {
        Some(provider) if !provider.hasattr("_asks_a_person").unwrap_or(false) => {
            let kind = provider
                .getattr("provider_type")
                .and_then(|kind| kind.extract::<String>())
                .unwrap_or_else(|_| "program".to_owned());
            let name = class_of(provider);
            let (provider, callers) = (provider.clone().unbind(), Arc::clone(callers));
            Box::new(Provider { provider, candidates, kind, name, callers })
        }
        _ => Box::new(HumanCapabilityProvider),
    }
}

struct Provider {
    provider: Py<PyAny>,
    candidates: Vec<Py<LinearToken>>,
    kind: String,
    name: String,
    callers: Arc<Callers>,
}

#[async_trait]
impl CapabilityProvider for Provider {
    fn kind(&self) -> &str {
        &self.kind
    }

    async fn choose(
        &self,
        request: &Wanted,
        candidates: &[Token],
        _gate: &dyn ApprovalGate,
    ) -> Choice {
        let nothing = |reason: String| Choice::Nothing { provider: self.name.clone(), reason };
        let wanted = CapabilityRequest {
            scope: request.scope.clone(),
            justification: request.justification.clone(),
        };
        let asked = ask(&self.callers, |py| {
            let offered = self.candidates.iter().filter(|held| {
                let name = held.get().token().name();
                candidates.iter().any(|candidate| candidate.name() == name)
            });
            let offered: Vec<_> = offered.map(|held| held.clone_ref(py)).collect();
            self.provider.bind(py).call_method1("choose", (wanted, offered))
        });
        let answer = match asked.await {
            Ok(answer) => answer,
            Err(why) => return nothing(format!("the provider {why}")),
        };
        let name = Python::attach(|py| {
            let decided_by = self.provider.bind(py).getattr("decided_by");
            decided_by.and_then(|name| name.extract::<String>()).unwrap_or(self.name.clone())
        });
        let nothing = |reason: String| Choice::Nothing { provider: name.clone(), reason };
        let chosen = Python::attach(|py| {
            let answer = answer.bind(py);
            if answer.is_none() {
                return None;
            }
            match answer.cast::<LinearToken>() {
                Ok(token) => Some(token.get().token().name().to_owned()),
                Err(_) => Some(answer.extract::<String>().unwrap_or_default()),
            }
        });
        let Some(chosen) = chosen else {
            return nothing("the provider granted none".to_owned());
        };
        match candidates.iter().position(|candidate| candidate.name() == chosen) {
            Some(candidate) => Choice::Grant { candidate, provider: name.clone() },
            None => nothing("the provider named no candidate".to_owned()),
        }
    }
}

/// A model in Python: an async callable that takes a Messages API request and returns a response, or a
/// text.
pub struct CallableModel {
    callable: Py<PyAny>,
    name: String,
    callers: Arc<Callers>,
}

impl CallableModel {
    pub fn new(callable: &Bound<'_, PyAny>, callers: &Arc<Callers>) -> Self {
        let name = callable
            .getattr("__name__")
            .and_then(|name| name.extract::<String>())
            .unwrap_or_else(|_| class_of(callable));
        Self {
            callable: callable.clone().unbind(),
            name: format!("python:{name}"),
            callers: Arc::clone(callers),
        }
    }
}

#[async_trait]
impl Model for CallableModel {
    fn name(&self) -> &str {
        &self.name
    }

    async fn turn(
        &self,
        request: &TurnRequest<'_>,
        _progress: &dyn Progress,
    ) -> Result<Turn, ModelError> {
        let wire = json!({
            "system": request.system,
            "tools": request.tools,
            "messages": request.messages.iter().map(message).collect::<Vec<_>>(),
            "max_tokens": request.max_output_tokens,
        });
        let fail = |why: String| ModelError::Config(format!("the model `{}` {why}", self.name));
        let asked = ask(&self.callers, |py| {
            self.callable.bind(py).call1((convert::to_python(py, &wire)?,))
        });
        let answer = asked.await.map_err(fail)?;
        let record = Python::attach(|py| {
            let answer = answer.bind(py);
            match answer.cast::<PyString>() {
                Ok(text) => {
                    let text = convert::text_of(text)?;
                    let content = [json!({"type": "text", "text": text})];
                    PyResult::Ok(json!({"content": content, "stop_reason": "end_turn"}).to_string())
                }
                Err(_) if answer.hasattr("model_dump")? => {
                    convert::to_json(&answer.call_method0("model_dump")?)
                }
                Err(_) => convert::to_json(answer),
            }
        });
        let record = record.map_err(|error| fail(said(&error)))?;
        Turn::from_record(&record)
            .map_err(|error| fail(format!("answered with what is no turn: {error}")))
    }

    fn price(&self) -> Option<Price> {
        None
    }
}

/// A message in the Messages API's shape.
fn message(message: &Message) -> Value {
    match message {
        Message::User(blocks) => {
            let blocks: Vec<Value> = blocks.iter().map(block).collect();
            json!({"role": "user", "content": blocks})
        }
        Message::Assistant(blocks) => json!({"role": "assistant", "content": blocks}),
    }
}

fn block(block: &UserBlock) -> Value {
    match block {
        UserBlock::Text(text) => json!({"type": "text", "text": text}),
        UserBlock::ToolResult { tool_use_id, content, is_error } => json!({
            "type": "tool_result", "tool_use_id": tool_use_id, "content": content,
            "is_error": is_error,
        }),
    }
}

/// Calls something in Python that returns an awaitable, and awaits it on the caller's own loop. The
/// error is half a sentence: the kind of what was raised, and not its text, which may hold anything.
async fn ask(
    callers: &Callers,
    call: impl for<'py> FnOnce(Python<'py>) -> PyResult<Bound<'py, PyAny>> + Send,
) -> Result<Py<PyAny>, String> {
    static SUBMIT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let (told, heard) = tokio::sync::oneshot::channel();
    let pending = Python::attach(|py| {
        let event_loop = callers.event_loop(py)?;
        let awaitable = call(py)?;
        let get = || PyResult::Ok(py.import("linear_agentics._calls")?.getattr("submit")?.unbind());
        let submit = SUBMIT.get_or_try_init(py, get)?.bind(py);
        let told = Tell { told: std::sync::Mutex::new(Some(told)) };
        PyResult::Ok(Pending(submit.call1((awaitable, event_loop, told))?.unbind()))
    });
    let pending = pending.map_err(|error| said(&error))?;
    let answer = heard.await;
    std::mem::drop(pending);
    match answer {
        Ok(answer) => answer.map_err(|error| said(&error)),
        Err(_) => Err("gave no answer".to_owned()),
    }
}

fn said(error: &PyErr) -> String {
    Python::attach(|py| {
        let kind = error.get_type(py).name().map(|name| name.to_string()).unwrap_or_default();
        format!("raised {kind}")
    })
}

fn class_of(object: &Bound<'_, PyAny>) -> String {
    object.get_type().name().map(|name| name.to_string()).unwrap_or_default()
}

/// A call that goes on in Python; dropping it cancels it.
struct Pending(Py<PyAny>);

impl Drop for Pending {
    fn drop(&mut self) {
        let _ = Python::try_attach(|py| self.0.call_method0(py, "cancel").map(drop));
    }
}

type Told = tokio::sync::oneshot::Sender<PyResult<Py<PyAny>>>;

/// Takes the result of a call, on its loop's thread.
#[pyclass(module = "linear_agentics._native")]
struct Tell {
    told: std::sync::Mutex<Option<Told>>,
}

#[pymethods]
impl Tell {
    fn __call__(&self, future: &Bound<'_, PyAny>) {
        let told = self.told.lock().ok().and_then(|mut told| told.take());
        if let Some(told) = told {
            let _ = told.send(future.call_method0("result").map(Bound::unbind));
        }
    }
}
