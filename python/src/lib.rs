//! The Python front: conversion of values and mapping of errors. Every rule is the runtime's.
//!
//! What this crate never does: it judges no scope, counts no use, writes no record and starts no
//! program. A token's uses are those of a [`Session`](linear_agentics::Session), whoever asks for them.

mod action;
mod agent;
mod awaiting;
mod convert;
mod errors;
mod home;
mod kinds;
mod people;
mod records;
mod runtime;
mod set;
mod token;
mod trail;
mod verification;
mod warning;

use pyo3::prelude::*;

/// The compiled part of `linear_agentics`.
#[pymodule]
mod _native {
    use std::ffi::OsString;
    use std::path::PathBuf;

    use super::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("DEFAULT_MODEL", linear_agentics::model::DEFAULT_MODEL)?;
        errors::add(module)?;
        module.add("UnusedTokenWarning", module.py().get_type::<warning::UnusedTokenWarning>())?;
        kinds::add(module)?;
        module.add_class::<action::Action>()?;
        module.add_class::<agent::Agent>()?;
        module.add_class::<agent::Budget>()?;
        module.add_class::<people::ApprovalRequest>()?;
        module.add_class::<people::CapabilityRequest>()?;
        module.add_class::<records::Proof>()?;
        module.add_class::<records::ApprovalRecord>()?;
        module.add_class::<records::ErrorRecord>()?;
        module.add_class::<records::NegotiationRecord>()?;
        module.add_class::<set::CapabilitySet>()?;
        module.add_class::<trail::AgentResult>()?;
        module.add_class::<trail::AuditTrail>()?;
        module.add_class::<verification::Verification>()
    }

    /// Names the program that starts commands: the `lar-launcher` beside this module.
    #[pyfunction]
    fn use_helper(path: PathBuf) -> PyResult<()> {
        linear_agentics::use_helper(&path)
            .map_err(|error| errors::SandboxError::new_err(error.to_string()))
    }

    /// Runs the command line `lar`, and returns its exit code.
    #[pyfunction]
    fn run_command(py: Python<'_>, arguments: Vec<OsString>) -> u8 {
        py.detach(|| lar::run(arguments))
    }

    /// Ends what still goes on, before the interpreter exits.
    #[pyfunction]
    fn end_all(py: Python<'_>) {
        warning::leave();
        home::end_all(py);
    }
}
