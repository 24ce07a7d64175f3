//! One integration binary for the crate.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stderr,
    reason = "a test stops at the first surprise"
)]

mod anchors;
mod approvals;
mod attenuate;
mod bundle;
mod canary;
mod chain;
mod checkpoint;
mod conservation;
mod corpus;
mod foreign;
mod late;
mod lexer;
mod model;
mod records;
mod room;
mod scope;
mod sql;
mod text;
mod types;
#[cfg(target_os = "linux")]
mod values;
