//! One integration binary for the crate: the ledger's contract, on real files and servers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod contract;
mod faults;
mod interleaving;
mod known;
mod log;
mod postgres;
mod queue;
mod seen;
mod server;
mod support;
