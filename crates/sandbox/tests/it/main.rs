//! Real children of the real helper. This binary is the tests, the helper (after `init`), the
//! programs under test (`probe …`) and the parents that are killed (`parent …`).

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests stop at the first surprise; without libtest's harness clippy can't tell"
)]

#[cfg(target_os = "linux")]
mod confined;
#[cfg(target_os = "linux")]
mod escape;
#[cfg(target_os = "linux")]
mod parent;
#[cfg(target_os = "linux")]
mod probe;
#[cfg(target_os = "linux")]
mod starting;
#[cfg(target_os = "linux")]
mod support;
#[cfg(target_os = "linux")]
mod tree;

#[cfg(target_os = "linux")]
fn main() {
    let mut arguments = std::env::args_os().skip(1).map(|word| word.into_string());
    let role = arguments.next();
    // A probe shows what a program is given, and so must not open anything first.
    if role == Some(Ok("probe".to_owned())) {
        return probe::run(&arguments.map_while(Result::ok).collect::<Vec<_>>());
    }
    lar_sandbox::init();
    if role == Some(Ok("parent".to_owned())) {
        return parent::run(&arguments.map_while(Result::ok).collect::<Vec<_>>());
    }
    let mut trials = starting::trials();
    trials.extend(tree::trials());
    trials.extend(confined::trials());
    libtest_mimic::run(&libtest_mimic::Arguments::from_args(), trials).exit();
}

#[cfg(not(target_os = "linux"))]
fn main() {}
