//! The command line of Linear Agent Runtime: one file a subcommand under `commands`; how things look
//! stands apart from what is done.
//!
//! It is a library so that the Python package has the command without a second copy of the runtime.

mod commands;
mod output;
mod progress;
mod prompt;

use std::ffi::OsString;

use clap::{Parser, Subcommand};
use output::Exit;

/// Give an AI agent exactly the capabilities it needs, nothing more, and prove what it did.
#[derive(Debug, Parser)]
#[command(name = "lar", version, arg_required_else_help = true, after_help = EXITS)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// The stable exit codes.
const EXITS: &str = "Exit codes: 0 complete, 1 the run ended in error, 2 the manifest or the command \
line is wrong, 3 budget exhausted, 4 timeout, 5 refused or denied.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run an agent on a manifest's tokens, and show what it did
    Run(commands::run::Args),
    /// Go on with a run that was cut off; what was done is never done again
    Resume(commands::resume::Args),
    /// Validate a manifest and say the worst that its tokens could do
    Check(commands::check::Args),
    /// Judge one call, or many, without executing or spending anything
    Try(commands::try_call::Args),
    /// Run the examples that a manifest's tokens carry
    Test(commands::test::Args),
    /// Show the tools that the model will see
    Tools(commands::tools::Args),
    /// List, show and verify the records of runs
    Audit(commands::audit::Args),
    /// List and show what waits for approval, and approve or deny it with a listed key
    Approvals(commands::approvals::Args),
    /// Sign with a listed key that what waits may run
    Approve(commands::approvals::DecideArgs),
    /// Sign with a listed key that what waits may not run
    Deny(commands::approvals::DecideArgs),
    /// Issue, list, show and revoke grants
    Grants(commands::grants::Args),
    /// Show a ledger's id, begin a new epoch in it, and go on after a restore or a wrong clock
    Ledger(commands::ledger::Args),
    /// Make, show and rotate the keys that sign the record
    Keys(commands::keys::Args),
    /// Cosign the checkpoints of logs, so that nobody can show two histories
    Witness(commands::witness::Args),
    /// Print the JSON Schema of manifests
    Schema(commands::schema::Args),
    /// Write a commented first manifest
    Init(commands::init::Args),
    /// Show how well programs can be confined here, and how to get what is missing
    Doctor(commands::doctor::Args),
}

/// Runs the command that the arguments name, the first of which is the program's own name, and returns
/// its exit code. The caller has said before who launches children ([`linear_agentics::init`]).
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    output::ended(command(arguments)).code()
}

fn command(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to stdout and are no error; clap writes both itself.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Complete };
        }
    };
    match cli.command {
        Command::Run(args) => commands::run::run(args),
        Command::Resume(args) => commands::resume::run(args),
        Command::Check(args) => commands::check::run(args),
        Command::Try(args) => commands::try_call::run(args),
        Command::Test(args) => commands::test::run(args),
        Command::Tools(args) => commands::tools::run(args),
        Command::Audit(args) => commands::audit::run(args),
        Command::Approvals(args) => commands::approvals::run(args),
        Command::Approve(args) => commands::approvals::approve(args),
        Command::Deny(args) => commands::approvals::deny(args),
        Command::Grants(args) => commands::grants::run(args),
        Command::Ledger(args) => commands::ledger::run(args),
        Command::Keys(args) => commands::keys::run(args),
        Command::Witness(args) => commands::witness::run(args),
        Command::Schema(args) => commands::schema::run(args),
        Command::Init(args) => commands::init::run(args),
        Command::Doctor(args) => commands::doctor::run(args),
    }
}
