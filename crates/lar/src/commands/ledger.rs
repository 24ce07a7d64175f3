//! `lar ledger`: which ledger it is, and a new epoch for it.

use clap::Subcommand;
use linear_agentics::ledger::Identity;
use serde_json::json;

use super::store::{LedgerChoice, block_on, failed};
use crate::output::{Exit, println, say};

/// Show a ledger's id, or begin a new epoch in it
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The ledger's id and epoch
    Show {
        #[command(flatten)]
        ledger: LedgerChoice,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Begin a new epoch: every grant issued so far takes no further spend. After a failover that may
    /// have lost acknowledged spends
    Epoch {
        #[command(flatten)]
        ledger: LedgerChoice,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Shows or begins.
pub fn run(args: Args) -> Exit {
    block_on(async {
        let (file, as_json, begin) = match args.command {
            Command::Show { ledger, json } => (ledger, json, false),
            Command::Epoch { ledger, json } => (ledger, json, true),
        };
        let ledger = file.existing().await?;
        let identity = if begin { ledger.bump_epoch().await } else { ledger.identity().await };
        let Identity { ledger, epoch } = identity.map_err(|error| failed(&error))?;
        if as_json {
            println(&format!("{:#}", json!({"ledger": ledger, "epoch": epoch})));
        } else {
            println(&format!("ledger {ledger}\nepoch  {epoch}"));
        }
        if begin {
            say(
                "grants that were issued before take no further spend; see what was done with `lar \
                 audit list`, then issue others",
            );
        }
        Ok(Exit::Complete)
    })
}
