//! Starts a program as a child and ends everything that it started.
//!
//! The order, from the parent's call to the last event:
//!
//! 1. [`init`], first thing in `main`, opens this very binary as a descriptor. If the process was
//!    started as the helper it becomes the helper there and never returns.
//! 2. [`spawn`] starts that descriptor with `posix_spawn`, an empty environment and one end of a
//!    socket pair as its standard input, and writes the [`ChildSpec`] to the socket.
//! 3. The helper closes every other descriptor, takes a session of its own, becomes the reaper of
//!    whatever its descendants orphan, and sets `no_new_privs`.
//! 4. It opens the program, compares it with the identity that was checked, and makes one process.
//!    That takes a session of its own, its resource limits and default signal handling, and
//!    executes the descriptor that was compared: [`Event::Started`], or [`Event::ExecFailed`].
//! 5. The program ends: [`Event::Exited`] or [`Event::Signaled`], at once.
//! 6. Whatever it left behind is killed and reaped, daemons included: [`Event::Emptied`]. The same
//!    happens on [`Child::kill`], and when the parent dies (its end of the socket closes).
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
//! What it does not do yet is said by [`enforcement`]: there is no kernel confinement. A hostile
//! child with the same user id can signal the helper itself; if the helper is lost, the control
//! socket ends without [`Event::Emptied`], and the caller must record that as unknown.
//!
//! Because of `no_new_privs`, `sudo` and every other set-user-ID program or file capability does
//! nothing for a child.

mod child;
mod confinement;
mod event;
#[cfg(target_os = "linux")]
mod helper;
#[cfg(target_os = "linux")]
mod limits;
mod spec;
#[cfg(target_os = "linux")]
mod sys;
#[cfg(target_os = "linux")]
mod tree;

pub use child::{Child, EventError, SpawnError, init, spawn, use_helper};
pub use confinement::{Confinement, Enforcement, Limits, enforcement};
pub use event::{Event, EventDecoder, KILL, ProtocolError};
pub use spec::{ChildSpec, FileIdentity, SpecError};
