//! The program `lar`.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before anything else: this binary is also the launcher of its own children.
    linear_agentics::init();
    ExitCode::from(lar::run(std::env::args_os()))
}
