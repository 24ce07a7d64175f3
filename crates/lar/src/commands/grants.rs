//! `lar grants`: issued sets of tokens that runs draw from, on whatever host.

use std::path::PathBuf;

use clap::Subcommand;
use linear_agentics::display::{Mode, escape};
use linear_agentics::ledger::{Grant, GrantId, Identity};
use linear_agentics::{GrantChoice, RunOptions, issue, table};
use serde_json::{Value, json};

use super::ending::exit_of_start;
use super::store::{LedgerChoice, block_on, failed};
use crate::output::{Exit, complain, println, say, stdout_width};

/// Issue, list, show and revoke grants
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create the grant that a manifest names, in one ledger; every run with it draws from its uses
    Issue {
        /// The manifest
        manifest: PathBuf,
        /// The grant's id, instead of the manifest's
        #[arg(long, value_name = "ID")]
        grant: Option<String>,
        #[command(flatten)]
        ledger: LedgerChoice,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// The grants that were issued, latest first
    List {
        #[command(flatten)]
        ledger: LedgerChoice,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// What a grant allows, and what is left of it
    Show {
        /// The grant
        grant: String,
        #[command(flatten)]
        ledger: LedgerChoice,
        /// Print JSON, with all that the grant pins
        #[arg(long)]
        json: bool,
    },
    /// End a grant at once: no further spend, on any host
    Revoke {
        /// The grant
        grant: String,
        /// Why; it is kept with the grant
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
        #[command(flatten)]
        ledger: LedgerChoice,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Issues, lists, shows or revokes.
pub fn run(args: Args) -> Exit {
    block_on(async {
        match args.command {
            Command::Issue { manifest, grant, ledger, json } => {
                create(&manifest, grant.as_deref(), &ledger, json).await
            }
            Command::List { ledger, json } => list(&ledger, json).await,
            Command::Show { grant, ledger, json } => {
                let id = parse(&grant)?;
                let store = ledger.existing().await?;
                let identity = store.identity().await.map_err(|error| failed(&error))?;
                match store.grant(&id).await.map_err(|error| failed(&error))? {
                    Some(grant) => show(&identity, &grant, json),
                    None => {
                        complain(&format!(
                            "this ledger has no grant `{id}`; `lar grants list` shows those it has"
                        ));
                        return Err(Exit::Usage);
                    }
                }
                Ok(Exit::Complete)
            }
            Command::Revoke { grant, reason, ledger, json } => {
                let id = parse(&grant)?;
                let store = ledger.existing().await?;
                let revoked = store.revoke(&id, &reason).await.map_err(|error| failed(&error))?;
                let identity = store.identity().await.map_err(|error| failed(&error))?;
                if json {
                    println(&format!("{:#}", as_json(&identity, &revoked)));
                } else {
                    println(&format!("grant `{id}` is revoked: it takes no further spend"));
                }
                Ok(Exit::Complete)
            }
        }
    })
}

/// A grant's name from the command line.
pub fn parse(text: &str) -> Result<GrantId, Exit> {
    GrantId::new(text).map_err(|error| {
        complain(&format!("`{}`: {error}", escape(text, Mode::Line)));
        Exit::Usage
    })
}

async fn create(
    path: &std::path::Path,
    named: Option<&str>,
    file: &LedgerChoice,
    as_json_too: bool,
) -> Result<Exit, Exit> {
    let manifest = super::read_manifest(path)?;
    let expires = manifest.grant.as_ref().and_then(|grant| grant.expires);
    let mut options = RunOptions::from_manifest(&manifest);
    if let Some(place) = file.place() {
        options = options.ledger(place.clone());
    }
    if let Some(id) = named {
        options = options.grant(GrantChoice { id: parse(id)?, ledger: None });
    }
    let issued = issue(options, expires).await;
    let (identity, grant) = issued.map_err(|error| {
        complain(&error.to_string());
        exit_of_start(&error)
    })?;
    if as_json_too {
        println(&format!("{:#}", as_json(&identity, &grant)));
        return Ok(Exit::Complete);
    }
    show(&identity, &grant, false);
    say(&format!(
        "so that a run can't take another ledger for this one, add to the manifest:\n\n[grant]\nid     = \
         \"{}\"\nledger = \"{}\"",
        grant.id, identity.ledger
    ));
    Ok(Exit::Complete)
}

async fn list(file: &LedgerChoice, json: bool) -> Result<Exit, Exit> {
    let Some(ledger) = file.open().await? else {
        if json {
            println("[]");
        } else {
            say("there are no grants yet; `lar grants issue MANIFEST` makes one");
        }
        return Ok(Exit::Complete);
    };
    let identity = ledger.identity().await.map_err(|error| failed(&error))?;
    let grants = ledger.grants().await.map_err(|error| failed(&error))?;
    if json {
        let all: Vec<Value> = grants.iter().map(|grant| as_json(&identity, grant)).collect();
        println(&format!("{:#}", Value::Array(all)));
    } else if grants.is_empty() {
        say("there are no grants yet; `lar grants issue MANIFEST` makes one");
    } else {
        println(&table::grants(&grants, identity.epoch, stdout_width()));
    }
    Ok(Exit::Complete)
}

fn show(identity: &Identity, grant: &Grant, json: bool) {
    if json {
        println(&format!("{:#}", as_json(identity, grant)));
        return;
    }
    let state = table::grant_state(grant, identity.epoch);
    println(&format!("grant  {}\nledger {}\nstate  {state}\n", grant.id, identity.ledger));
    println(&table::grant(grant, stdout_width()));
}

fn as_json(identity: &Identity, grant: &Grant) -> Value {
    json!({
        "id": grant.id,
        "ledger": identity.ledger,
        "state": table::grant_state(grant, identity.epoch),
        "issued": grant.issued,
        "expires": grant.expires,
        "revoked": grant.revoked,
        "epoch": grant.epoch,
        "tokens": grant.tokens,
        "definitions": serde_json::from_str::<Value>(grant.definitions.as_str()).unwrap_or_default(),
        "definitions_sha256": grant.definitions.digest(),
    })
}
