//! The runtime's integration tests: one binary, which is also the confinement helper.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests stop at the first surprise; without libtest's harness clippy can't tell"
)]

mod deploy;

fn main() {
    lar_sandbox::init();
    let trials = deploy::tests();
    libtest_mimic::run(&libtest_mimic::Arguments::from_args(), trials).exit();
}
