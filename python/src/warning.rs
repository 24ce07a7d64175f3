//! Tokens that were never used say so when they go.

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::create_exception;
use pyo3::exceptions::PyResourceWarning;
use pyo3::prelude::*;

create_exception!(
    linear_agentics,
    UnusedTokenWarning,
    PyResourceWarning,
    "A token was never used, and nobody was told. Filter it as any warning; `python -X dev` shows it."
);

/// Whether the interpreter is about to go, where a warning could only do harm.
static LEAVING: AtomicBool = AtomicBool::new(false);

/// From here on nothing warns.
pub fn leave() {
    LEAVING.store(true, Ordering::SeqCst);
}

/// Warns of a token that goes. An error that a filter makes of it can't be raised from here, so it is
/// handed to `sys.unraisablehook`, as with any destructor.
pub fn dropped(name: &str, untouched: bool) {
    if !untouched || LEAVING.load(Ordering::SeqCst) {
        return;
    }
    let message = format!("token `{name}` was never used");
    let Ok(message) = std::ffi::CString::new(message) else {
        return;
    };
    let _ = Python::try_attach(|py| {
        // The token may go while another error is on its way up.
        let pending = PyErr::take(py);
        if let Err(error) = PyErr::warn(py, &py.get_type::<UnusedTokenWarning>(), &message, 1) {
            error.write_unraisable(py, None);
        }
        if let Some(pending) = pending {
            pending.restore(py);
        }
    });
}
