//! `lar schema`: the JSON Schema of manifests, for editors and other programs.

use linear_agentics::manifest;

use crate::output::{Exit, println};

/// Print the JSON Schema of manifests
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Taken as every command takes it; a schema is JSON anyway
    #[arg(long)]
    json: bool,
}

/// Prints it.
pub fn run(_: Args) -> Exit {
    println(&format!("{:#}", manifest::schema()));
    Exit::Complete
}
