//! The threads on which the runtime's futures run, and their end.
//!
//! Python can't bear a foreign thread inside it while it ends: the thread is cut off where it waits for
//! the interpreter, and what it lets go of on its way out is let go of without the interpreter's lock.
//! So the threads are owned here and are ended, [`end`], before the interpreter goes.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use pyo3::prelude::*;
use pyo3_async_runtimes::TaskLocals;
use pyo3_async_runtimes::generic::{self, ContextExt};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task;

use crate::errors::RunStoppedError;

/// How long the end of the process waits for threads.
const LAST_WAIT: Duration = Duration::from_secs(15);

static HANDLE: OnceLock<Handle> = OnceLock::new();
static STATE: Mutex<State> = Mutex::new(State::New);

enum State {
    New,
    Running(Runtime),
    Ended,
}

/// The threads, started when they are first needed.
pub fn handle() -> PyResult<&'static Handle> {
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    match &*state {
        State::Running(_) => {}
        State::Ended => {
            return Err(RunStoppedError::new_err("the program ends; nothing more is started"));
        }
        State::New => {
            let built =
                Builder::new_multi_thread().enable_all().thread_name("linear-agentics").build();
            let runtime = built.map_err(|_| {
                RunStoppedError::new_err(
                    "the system gives no threads or event queue; check the limits on processes and open \
                     files",
                )
            })?;
            let _ = HANDLE.set(runtime.handle().clone());
            *state = State::Running(runtime);
        }
    }
    drop(state);
    HANDLE.get().ok_or_else(|| RunStoppedError::new_err("there are no threads"))
}

/// Ends the threads, and returns when none of them is in Python any more. Nothing runs afterwards.
pub fn end(py: Python<'_>) {
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    let ended = std::mem::replace(&mut *state, State::Ended);
    drop(state);
    if let State::Running(runtime) = ended {
        py.detach(|| runtime.shutdown_timeout(LAST_WAIT));
    }
}

tokio::task_local! {
    static LOCALS: TaskLocals;
}

/// The event loops of those whose calls go on. What asks back in Python is awaited on one of them,
/// wherever the runtime asks from.
#[derive(Default)]
pub struct Callers {
    going: Mutex<Vec<(u64, TaskLocals)>>,
    next: AtomicU64,
}

impl Callers {
    /// Notes the loop of the task that calls this, until what is returned is dropped.
    pub fn enter(self: &Arc<Self>) -> Caller {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        if let Some(locals) = Shared::get_task_locals() {
            self.going().push((id, locals));
        }
        Caller { id, callers: Arc::clone(self) }
    }

    /// The loop of this very task, or of the latest call that goes on.
    pub fn event_loop<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let latest = || self.going().last().map(|(_, locals)| locals.clone());
        match Shared::get_task_locals().or_else(latest) {
            Some(locals) => Ok(locals.event_loop(py)),
            None => Err(RunStoppedError::new_err("nobody waits for the call any more")),
        }
    }

    fn going(&self) -> MutexGuard<'_, Vec<(u64, TaskLocals)>> {
        self.going.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that goes on.
pub struct Caller {
    id: u64,
    callers: Arc<Callers>,
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.callers.going().retain(|(id, _)| *id != self.id);
    }
}

/// What the futures of this package run on.
pub struct Shared;

/// A task's end. One that never ran, because the program ends, has ended.
pub struct Ended(Option<task::JoinHandle<()>>);

/// Why a task came to no end.
pub struct Cut(task::JoinError);

impl Future for Ended {
    type Output = Result<(), Cut>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Some(task) => Pin::new(task).poll(context).map_err(Cut),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl generic::JoinError for Cut {
    fn is_panic(&self) -> bool {
        self.0.is_panic()
    }

    fn into_panic(self) -> Box<dyn Any + Send + 'static> {
        self.0.into_panic()
    }
}

impl generic::Runtime for Shared {
    type JoinError = Cut;
    type JoinHandle = Ended;

    fn spawn<F>(future: F) -> Ended
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Ended(HANDLE.get().map(|handle| handle.spawn(future)))
    }

    /// What is given here is short and waits at the most for the interpreter, to hand a result over. The
    /// other threads go on with the rest meanwhile; a thread of its own would only hear of it later.
    fn spawn_blocking<F>(work: F) -> Ended
    where
        F: FnOnce() + Send + 'static,
    {
        task::block_in_place(work);
        Ended(None)
    }
}

impl ContextExt for Shared {
    fn scope<F, R>(locals: TaskLocals, future: F) -> Pin<Box<dyn Future<Output = R> + Send>>
    where
        F: Future<Output = R> + Send + 'static,
    {
        Box::pin(LOCALS.scope(locals, future))
    }

    fn get_task_locals() -> Option<TaskLocals> {
        LOCALS.try_with(Clone::clone).ok()
    }
}
