//! The runtime's integration tests: one binary, which is also the confinement helper.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests stop at the first surprise; without libtest's harness clippy can't tell"
)]

mod deploy;
mod dispatcher;
mod path;

fn main() {
    lar_sandbox::init();
    let mut trials = deploy::tests();
    trials.extend(path::tests());
    libtest_mimic::run(&libtest_mimic::Arguments::from_args(), trials).exit();
}

/// Waits for a future on a runtime of its own.
fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}
