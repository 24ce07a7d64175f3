//! Rust futures as Python coroutines.
//!
//! Nothing starts before the coroutine is awaited. The coroutine is made by an `async def` of the
//! package, because a bare future is refused by `TaskGroup` and warns when its loop closes.

use std::future::Future;
use std::sync::Mutex;
use std::sync::OnceLock;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::errors::ForkedError;
use crate::runtime::{self, Shared};

/// The process in which the runtime's threads were started.
static THREADS: OnceLock<u32> = OnceLock::new();

type Begin = Box<dyn for<'py> FnOnce(Python<'py>) -> PyResult<Bound<'py, PyAny>> + Send>;

/// Starts a Rust future when it is called, and returns the asyncio future of its result.
#[pyclass(module = "linear_agentics._native")]
pub struct Start {
    begin: Mutex<Option<Begin>>,
}

#[pymethods]
impl Start {
    fn __call__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let begin = self.begin.lock().ok().and_then(|mut begin| begin.take());
        match begin {
            Some(begin) => begin(py),
            None => Err(pyo3::exceptions::PyRuntimeError::new_err("cannot be awaited twice")),
        }
    }
}

/// A coroutine that awaits `future`. When it is cancelled, the future is dropped.
pub fn coroutine<'py, F, T>(py: Python<'py>, future: F) -> PyResult<Bound<'py, PyAny>>
where
    F: Future<Output = PyResult<T>> + Send + 'static,
    T: for<'a> IntoPyObject<'a> + Send + 'static,
{
    static CALL: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    wrap(py, &CALL, "call", future, ())
}

/// A coroutine that awaits `future`, which always runs to its end. When the coroutine is cancelled,
/// `stop` is called, and the cancellation goes on when the future has ended.
pub fn sealed_coroutine<'py, F, T>(
    py: Python<'py>,
    future: F,
    stop: Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>>
where
    F: Future<Output = PyResult<T>> + Send + 'static,
    T: for<'a> IntoPyObject<'a> + Send + 'static,
{
    static RUN: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    wrap(py, &RUN, "run_to_its_end", future, (stop,))
}

fn wrap<'py, F, T, A>(
    py: Python<'py>,
    cell: &'static PyOnceLock<Py<PyAny>>,
    name: &str,
    future: F,
    more: A,
) -> PyResult<Bound<'py, PyAny>>
where
    F: Future<Output = PyResult<T>> + Send + 'static,
    T: for<'a> IntoPyObject<'a> + Send + 'static,
    A: IntoPyObject<'py, Target = pyo3::types::PyTuple, Output = Bound<'py, pyo3::types::PyTuple>>,
    PyErr: From<A::Error>,
{
    let begin: Begin = Box::new(move |py| {
        same_process()?;
        runtime::handle()?;
        pyo3_async_runtimes::generic::future_into_py::<Shared, _, _>(py, future)
    });
    let start = Bound::new(py, Start { begin: Mutex::new(Some(begin)) })?;
    let get = || PyResult::Ok(py.import("linear_agentics._calls")?.getattr(name)?.unbind());
    let more = more.into_pyobject(py)?;
    let mut arguments = vec![start.into_any()];
    arguments.extend(more.iter());
    let arguments = pyo3::types::PyTuple::new(py, arguments)?;
    cell.get_or_try_init(py, get)?.bind(py).call1(arguments)
}

/// Waits for a future in a call that is no coroutine, with the interpreter free for others.
pub fn wait<F, T>(py: Python<'_>, future: F) -> PyResult<T>
where
    F: Future<Output = PyResult<T>> + Send,
    T: Send,
{
    same_process()?;
    let handle = runtime::handle()?;
    py.detach(|| handle.block_on(future))
}

/// The threads of the runtime don't live on in a process that was forked off.
pub fn same_process() -> PyResult<()> {
    let own = std::process::id();
    if *THREADS.get_or_init(|| own) == own {
        return Ok(());
    }
    Err(ForkedError::new_err(
        "this process was forked after linear_agentics had started its threads, which a fork doesn't \
         copy; use the `spawn` start method, or fork before its first call",
    ))
}

/// Whether the runtime was started, and in this very process.
pub fn is_running() -> bool {
    THREADS.get() == Some(&std::process::id())
}
