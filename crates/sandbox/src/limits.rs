//! Resource limits, which the new process sets for itself before it executes the program.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::confinement::Limits;

/// Sets the limits of the calling process.
pub(crate) fn apply(limits: &Limits) -> io::Result<()> {
    // A core file would write the child's memory, secrets included, to disk.
    set(Resource::Core, Some(0))?;
    set(Resource::Nofile, limits.open_files)?;
    set(Resource::Data, limits.memory)?;
    set(Resource::Nproc, limits.processes)?;
    set(Resource::Fsize, limits.file_size)
}

fn set(resource: Resource, wanted: Option<u64>) -> io::Result<()> {
    let Some(wanted) = wanted else { return Ok(()) };
    // An unprivileged process can't raise its hard limit, and a privileged one must not.
    let value = getrlimit(resource).maximum.map_or(wanted, |most| most.min(wanted));
    Ok(setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) })?)
}
