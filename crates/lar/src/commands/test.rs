//! Being written.
use crate::output::Exit;
/// Being written.
#[derive(Debug, clap::Args)]
pub struct Args {}
/// Being written.
pub fn run(_: Args) -> Exit { Exit::Error }
