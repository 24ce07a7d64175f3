//! The build's own commands, run as `cargo xtask COMMAND`. What CI runs is here, so that the same
//! command on a developer's machine says the same thing.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool that reports to whoever started it"
)]

mod fuzz;
mod install;
mod linearity;
mod process;
mod python;
mod report;
mod test;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  test [--install] [--quick] [--fuzz-seconds N]
        every check that CI runs, one after the other; exits with 1 when any of them fails
        --install         first install what the tests need and is missing (Debian, as root;
                          implied by CI=true). Without it nothing is installed, and what is
                          skipped is named with the reason
        --quick           leave the fuzz targets out
        --fuzz-seconds N  how long each fuzz target runs (default 10; 0 leaves them out)
  tidy
        the rules of the house that no compiler knows
  linearity [--kills N] [--store NAME] [--scenario NAME] [--seed N] [--worker PROGRAM]
        kill N processes (default 500) while they spend tokens, and count the effects of each
        token; docs/linearity.md says how to try another system
  fuzz [--seconds N] [TARGET...] [-- LIBFUZZER_ARGUMENT...]
        run the fuzz targets, all or those named, for N seconds each (default 600)
";

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let command = words.next().unwrap_or_default();
    let words: Vec<String> = words.collect();
    let root = root();
    let done = match command.as_str() {
        "test" => test::Options::parse(&words, in_ci()).map(|options| test::run(&root, &options)),
        "tidy" if words.is_empty() => Ok(tidy::run(&root)),
        "tidy" => Err("`tidy` takes no argument".to_owned()),
        "linearity" => linearity::run(&root, &words).map(|()| true),
        "fuzz" => fuzz::Options::parse(&words).and_then(|options| fuzz::run(&root, &options)),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(true)
        }
        "" => Err("no command is given".to_owned()),
        other => Err(format!("there is no command `{other}`")),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("error: {message}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// The repository. Cargo's run-time variable comes first: a target directory that two checkouts
/// share may hold the program that the other one built.
fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().map_or(package.clone(), Path::to_path_buf)
}

fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}
