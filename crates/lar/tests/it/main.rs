//! The real binary, from outside: one test program for all of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stderr,
    reason = "a test stops at the first surprise, in its helpers too"
)]

mod clients;
mod commands;
mod examples;
mod pty;
mod run;
mod sql;
mod support;
