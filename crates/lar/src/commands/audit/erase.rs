//! `lar audit erase`: deletes what records commit to (`[audit] commit`). The records stay, and so does every
//! proof of them.

use std::io::IsTerminal;

use linear_agentics::display::{Mode, clip, escape};
use linear_agentics::ledger::Erasing;
use serde_json::json;

use crate::commands::store::{LedgerChoice, failed, find};
use crate::output::{Exit, complain, println, say};

/// Delete what a run's records commit to, and keep every proof
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Only what the manifest committed to can be erased ([audit] commit). What is deleted can't \
be had back: the record then says \"(erased)\", `lar audit verify` still says ok, and a further record says who \
erased what, and when. A journal that was kept goes as well. Copies are not the ledger's: bundles that were \
exported, backups, and on PostgreSQL the server's write-ahead log."
)]
pub struct Args {
    /// The run, which must have ended: its id, a beginning that fits no other, or `latest`
    run: String,
    /// The record whose fields are erased; without one, those of all records
    seq: Option<u64>,
    /// The field that is erased, as it stands under `committed` in the record; without one, all of them
    #[arg(long)]
    field: Option<String>,
    /// Don't ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    ledger: LedgerChoice,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Erases.
pub async fn run(args: Args) -> Result<Exit, Exit> {
    let ledger = args.ledger.existing().await?;
    let runs = ledger.runs().await.map_err(|error| failed(&error))?;
    let run = find(&runs, &args.run)?.run.clone();
    let field = args.field.as_deref().map(|field| clip(&escape(field, Mode::Line), 80));
    let what = match (&field, args.seq) {
        (None, None) => "everything that its records commit to".to_owned(),
        (None, Some(seq)) => format!("what record {seq} commits to"),
        (Some(field), None) => format!("`{field}` of all records"),
        (Some(field), Some(seq)) => format!("`{field}` of record {seq}"),
    };
    if !args.yes {
        if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
            complain("what is erased can't be had back; say `--yes` where nobody can be asked");
            return Err(Exit::Usage);
        }
        say(&format!("erase {what} of run {run} for good? [y/N]"));
        let mut answer = String::new();
        let read = std::io::stdin().read_line(&mut answer);
        if read.is_err() || !matches!(answer.trim(), "y" | "Y" | "yes") {
            say("nothing was erased");
            return Err(Exit::Refused);
        }
    }
    let erasing = Erasing {
        run: run.clone(),
        of: args.seq,
        field: args.field.clone(),
        by: linear_agentics::account(),
    };
    let erased = ledger.erase(erasing).await.map_err(|error| failed(&error))?;
    if args.json {
        println(&format!("{:#}", json!({"run": run, "erased": erased})));
    } else if erased > 0 {
        println(&format!("erased {erased} values of run {run}; its proofs hold as before"));
    }
    if erased == 0 {
        complain(&format!(
            "there is nothing to erase: run `{run}` commits to no such field, or it was erased before"
        ));
        return Err(Exit::Usage);
    }
    Ok(Exit::Complete)
}
