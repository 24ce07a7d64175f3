//! Starts a program as a child and ends everything that it started.
//!
//! The order, from the parent's call to the last event:
//!
//! 1. [`init`], first thing in `main`, opens this very binary as a descriptor. If the process was
//!    started as the helper it becomes the helper there and never returns.
//! 2. [`spawn`] starts that descriptor with `posix_spawn`, an empty environment and one end of a
//!    socket pair as its standard input, greets it with the tier, and writes the [`ChildSpec`] to the
//!    socket. The next helper is started ahead meanwhile, and waits for its own.
//! 3. The helper closes every other descriptor and takes a session of its own. At tier A it makes a
//!    user namespace and forks the first process of the pid, network, IPC, UTS and cgroup namespaces; at
//!    the others it becomes the reaper of whatever its descendants orphan. So far nothing depends on the
//!    child. With the spec, that first process makes a mount namespace, and builds the child's file tree
//!    and network.
//! 4. The program is opened where the child will see it and compared with the identity that was
//!    checked, and one process is made. That takes a session of its own, its resource limits and
//!    default signal handling, lets go of all capabilities, enters the Landlock rules and the seccomp
//!    filter, and executes the descriptor that was compared: [`Event::Started`], or
//!    [`Event::ExecFailed`].
//! 5. The program ends: [`Event::Exited`] or [`Event::Signaled`], at once.
//! 6. Whatever it left behind is killed and reaped, daemons included: [`Event::Emptied`]. The same
//!    happens on [`Child::kill`], and when the parent dies (its end of the socket closes). At tier A
//!    the namespaces' first process does it, and the kernel where that one is ended. The kernel takes
//!    the empty namespaces down afterwards, which nobody waits for.
//!
//! A wall that can't be raised is an [`Event::ExecFailed`]: nothing here falls back to less.
//! [`probe`] finds, with a real child, which [`Tier`] can be had.
//!
//! What this crate never does:
//!
//! - It never forks the parent, and runs no code between a fork and an exec there.
//! - It never looks a program up: no `PATH`, no environment variable, no shell. A file that the
//!   kernel can't execute is not handed to `/bin/sh`.
//! - It never passes configuration or secrets in the helper's arguments or environment.
//! - It never lets a child inherit a descriptor beyond 0, 1 and 2, or the control socket.
//! - It never reports a program that did not start as an exit code.
//! - It imports no other crate of this project.
//!
//! At tier C, a hostile child with the same user id can signal the helper itself; if the helper is
//! lost, the control socket ends without [`Event::Emptied`], and the caller must record that as
//! unknown.
//!
//! Because of `no_new_privs`, `sudo` and every other set-user-ID program or file capability does
//! nothing for a child.

#[cfg(target_os = "linux")]
mod canary;
mod child;
mod confinement;
mod event;
#[cfg(target_os = "linux")]
mod handover;
#[cfg(target_os = "linux")]
mod helper;
#[cfg(target_os = "linux")]
mod landlock;
#[cfg(target_os = "linux")]
mod limits;
#[cfg(target_os = "linux")]
mod memory;
#[cfg(target_os = "linux")]
mod namespace;
mod probe;
#[cfg(target_os = "linux")]
mod program;
#[cfg(target_os = "linux")]
mod root;
#[cfg(target_os = "linux")]
mod seccomp;
mod spare;
mod spec;
#[cfg(target_os = "linux")]
mod sys;
#[cfg(target_os = "linux")]
mod tree;
mod wire;

pub use child::{Child, EventError, SpawnError, helper, init, spawn, use_helper};
pub use confinement::{Access, Confinement, Enforcement, Grant, Limits, Network, Tier};
pub use event::{Event, EventDecoder, KILL, ProtocolError};
pub use probe::{Check, Probe, TierReport, probe, try_tier};
pub use spec::{ChildSpec, FileIdentity, SpecError};
