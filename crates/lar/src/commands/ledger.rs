//! `lar ledger`: which ledger it is, and what its operator does with it.

use clap::Subcommand;
use linear_agentics::ledger::{ClockReset, Identity};
use serde_json::json;

use super::store::{LedgerChoice, block_on, failed, unopened};
use crate::output::{Exit, println, say};

/// Show a ledger's id, begin a new epoch in it, and go on after a restore or a wrong clock
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
    /// Go on with an older copy of the ledger, when the newer one is lost: begins a new epoch, so that
    /// every grant issued so far takes no further spend
    AcceptRestored {
        #[command(flatten)]
        ledger: LedgerChoice,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Go on after the machine's clock was ahead and is right again: takes the present time for the
    /// ledger's, and ends the holds and approvals that were reckoned from the wrong one
    ResetClock {
        #[command(flatten)]
        ledger: LedgerChoice,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Shows or changes it.
pub fn run(args: Args) -> Exit {
    match args.command {
        Command::Show { ledger, json } => block_on(async move {
            let identity = ledger.existing().await?.identity().await;
            show(&identity.map_err(|error| failed(&error))?, json);
            Ok(Exit::Complete)
        }),
        Command::Epoch { ledger, json } => block_on(async move {
            let identity = ledger.existing().await?.bump_epoch().await;
            show(&identity.map_err(|error| failed(&error))?, json);
            say(QUARANTINED);
            Ok(Exit::Complete)
        }),
        Command::AcceptRestored { ledger, json } => block_on(async move {
            // A ledger that isn't there is not made.
            drop(ledger.existing().await?);
            let identity = linear_agentics::accept_restored(ledger.place()).await;
            show(&identity.map_err(|error| unopened(&error))?, json);
            say(QUARANTINED);
            Ok(Exit::Complete)
        }),
        Command::ResetClock { ledger, json } => block_on(async move {
            let reset = ledger.existing().await?.reset_clock().await;
            let ClockReset { before, now } = reset.map_err(|error| failed(&error))?;
            if json {
                println(&format!("{:#}", json!({"before": before, "now": now})));
            } else if now < before {
                println(&format!("the ledger's clock was at {before}, and goes on from {now}"));
                say(
                    "holds on runs and uses, and approvals, that were reckoned from the wrong time have \
                     ended",
                );
            } else {
                println(&format!(
                    "the ledger's clock is right: it was at {before}, and it is {now}"
                ));
            }
            Ok(Exit::Complete)
        }),
    }
}

const QUARANTINED: &str = "grants that were issued before take no further spend; see what was done with \
`lar audit list`, then issue others";

fn show(identity: &Identity, as_json: bool) {
    let Identity { ledger, epoch } = identity;
    if as_json {
        println(&format!("{:#}", json!({"ledger": ledger, "epoch": epoch})));
    } else {
        println(&format!("ledger {ledger}\nepoch  {epoch}"));
    }
}
