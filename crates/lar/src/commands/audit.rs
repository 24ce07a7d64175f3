//! `lar audit`: the records of runs, listed, shown and verified.

mod erase;
mod export;
mod kept;
mod prove;
mod resolve;
mod timestamp;
mod verify;

use std::io::{BufWriter, IsTerminal, Write};

use clap::Subcommand;
use linear_agentics::display::{Mode, clip, escape, escape_bytes};
use linear_agentics::report::visible_json;
use linear_agentics::{Ledger, flaw_of, read_trail, table};
use serde_json::json;

use super::store::{self, LedgerChoice, failed, find};
use crate::output::{Exit, complain, println, say, stdout_width};

/// How many records are read at once.
const PAGE: u64 = 512;

/// List, show, verify and export the records of runs
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The runs, latest first
    List {
        #[command(flatten)]
        ledger: LedgerChoice,
        /// Print them as JSON
        #[arg(long)]
        json: bool,
    },
    /// Everything that a run did, was refused and never used
    Show {
        /// The run: its id, a beginning that fits no other, or `latest`
        run: String,
        #[command(flatten)]
        ledger: LedgerChoice,
        /// Print the audit trail as JSON
        #[arg(long)]
        json: bool,
        /// Print the exact bytes of the records, one a line, to be verified elsewhere
        #[arg(long, conflicts_with = "json")]
        records: bool,
    },
    /// Whether records are complete, unchanged, signed and witnessed
    Verify(verify::Args),
    /// Say what became of an action whose outcome is unknown
    Resolve(resolve::Args),
    /// Delete what a run's records commit to, and keep every proof
    Erase(erase::Args),
    /// Write one run in a form that other tools read
    Export(export::Args),
    /// Prove that one record is in the log, without showing the rest
    Prove(prove::ProveArgs),
    /// Tell whether a newer checkpoint only adds to an older one
    Diff(prove::DiffArgs),
    /// Have an authority state when the log's head was there
    Timestamp(timestamp::Args),
    /// Write the log as tiles, as monitors of transparency logs read it
    Tiles(prove::TilesArgs),
}

/// Lists, shows or verifies.
pub fn run(args: Args) -> Exit {
    store::block_on(async {
        match args.command {
            Command::List { ledger, json } => list(&ledger, json).await,
            Command::Show { run, ledger, json, records } => {
                show(&run, &ledger, json, records).await
            }
            Command::Verify(args) => verify::run(args).await,
            Command::Resolve(args) => resolve::run(args).await,
            Command::Erase(args) => erase::run(args).await,
            Command::Export(args) => export::run(args).await,
            Command::Prove(args) => prove::prove(args).await,
            Command::Diff(args) => prove::diff(args).await,
            Command::Timestamp(args) => timestamp::run(args).await,
            Command::Tiles(args) => prove::tiles(args).await,
        }
    })
}

async fn list(ledger: &LedgerChoice, as_json: bool) -> Result<Exit, Exit> {
    let runs = match ledger.open().await? {
        Some(ledger) => ledger.runs().await.map_err(|error| failed(&error))?,
        None => Vec::new(),
    };
    if as_json {
        let lines: Vec<_> = runs
            .iter()
            .map(|run| {
                json!({
                    "run": run.run, "opened": run.opened, "stop_reason": run.stop_reason,
                    "records": run.records, "head": run.head, "task": run.task,
                    "grant": run.grant,
                })
            })
            .collect();
        println(&visible_json(&format!("{:#}", json!(lines))));
    } else if runs.is_empty() {
        say("there are no runs yet; `lar run MANIFEST` makes one");
    } else {
        println(&table::runs(&runs, stdout_width()));
    }
    Ok(Exit::Complete)
}

async fn show(
    wanted: &str,
    file: &LedgerChoice,
    as_json: bool,
    records: bool,
) -> Result<Exit, Exit> {
    let Some(ledger) = file.open().await? else {
        complain(&format!("there is no run `{}`: nothing was run yet", escape(wanted, Mode::Line)));
        return Err(Exit::Usage);
    };
    let runs = ledger.runs().await.map_err(|error| failed(&error))?;
    let summary = find(&runs, wanted)?;
    let run = &summary.run;
    if records {
        return print_records(ledger.as_ref(), run).await;
    }
    let flaw = flaw_of(ledger.as_ref(), summary).await;
    if let Some(flaw) = flaw.map_err(|error| failed(&error))? {
        complain(&format!(
            "the record of run `{run}` can't be relied on, {}; `lar audit show {run} --records` prints \
             what there is",
            escape(&flaw, Mode::Line)
        ));
        return Err(Exit::Error);
    }
    let trail = read_trail(ledger.as_ref(), run).await.map_err(|error| failed(&error))?;
    if as_json {
        println(&visible_json(&trail.to_json()));
        return Ok(Exit::Complete);
    }
    let line = |text: &str| clip(&escape(text, Mode::Line), 400);
    println(&format!("task: {}\n", line(&trail.run.open.task)));
    println(table::render(&trail, stdout_width()).trim_end());
    if let Some(words) = trail.run.end.as_ref().and_then(|end| end.final_message.as_deref()) {
        println(&format!("\nthe model's last words: {}", line(words)));
    }
    Ok(Exit::Complete)
}

/// Writes each record's exact bytes. A terminal, which would obey what is in them, gets them escaped.
async fn print_records(
    ledger: &dyn Ledger,
    run: &linear_agentics::id::RunId,
) -> Result<Exit, Exit> {
    let terminal = std::io::stdout().is_terminal();
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut next = 1;
    loop {
        let page = ledger.records(run, next, PAGE).await.map_err(|error| failed(&error))?;
        let last = (page.len() as u64) < PAGE;
        for sealed in page {
            next = next.max(sealed.seq.saturating_add(1));
            let written = match terminal {
                true => out.write_all(escape_bytes(&sealed.bytes, Mode::Line).as_bytes()),
                false => out.write_all(&sealed.bytes),
            };
            written.and_then(|()| out.write_all(b"\n")).map_err(|error| unwritten(&error))?;
        }
        if last {
            break;
        }
    }
    out.flush().map_err(|error| unwritten(&error))?;
    if terminal {
        say(
            "shown for people; the exact bytes go to a file: `lar audit show RUN --records > FILE`",
        );
    }
    Ok(Exit::Complete)
}

fn unwritten(error: &std::io::Error) -> Exit {
    if error.kind() != std::io::ErrorKind::BrokenPipe {
        complain(&format!("the records can't be written out ({})", error.kind()));
    }
    Exit::Error
}
