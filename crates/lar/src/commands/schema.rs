//! `lar schema`: the JSON Schema of manifests, for editors and other programs.

use linear_agentics::manifest;

use crate::output::{Exit, println};

/// Print the JSON Schema of manifests
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Prints it.
pub fn run(_: Args) -> Exit {
    println(&format!("{:#}", manifest::schema()));
    Exit::Complete
}
