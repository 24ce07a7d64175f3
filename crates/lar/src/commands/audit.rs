//! `lar audit`: the records of runs, listed, shown and verified.

mod verify;

use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Subcommand;
use linear_agentics::display::{Mode, clip, escape, escape_bytes};
use linear_agentics::ledger::RunSummary;
use linear_agentics::report::visible_json;
use linear_agentics::{Ledger, LedgerError, default_ledger, open_ledger, read_trail, table};
use serde_json::json;

use crate::output::{Exit, complain, println, say, stdout_width};

/// How many records are read at once.
const PAGE: u64 = 512;

/// List, show and verify the records of runs
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
        ledger: LedgerFile,
        /// Print them as JSON
        #[arg(long)]
        json: bool,
    },
    /// Everything that a run did, was refused and never used
    Show {
        /// The run: its id, a beginning that fits no other, or `latest`
        run: String,
        #[command(flatten)]
        ledger: LedgerFile,
        /// Print the audit trail as JSON
        #[arg(long)]
        json: bool,
        /// Print the exact bytes of the records, one a line, to be verified elsewhere
        #[arg(long, conflicts_with = "json")]
        records: bool,
    },
    /// Whether records are complete and unchanged
    Verify(verify::Args),
}

/// Which ledger.
#[derive(Debug, clap::Args)]
struct LedgerFile {
    /// The ledger's file, instead of the one in the state directory
    #[arg(long = "ledger", value_name = "FILE")]
    path: Option<PathBuf>,
}

/// Lists, shows or verifies.
pub fn run(args: Args) -> Exit {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(_) => {
            complain("the system gives no event queue; check the limit on open files");
            return Exit::Error;
        }
    };
    let done = runtime.block_on(async {
        match args.command {
            Command::List { ledger, json } => list(&ledger, json).await,
            Command::Show { run, ledger, json, records } => {
                show(&run, &ledger, json, records).await
            }
            Command::Verify(args) => verify::run(args).await,
        }
    });
    done.unwrap_or_else(|exit| exit)
}

async fn list(ledger: &LedgerFile, as_json: bool) -> Result<Exit, Exit> {
    let runs = match ledger.open()? {
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

async fn show(wanted: &str, file: &LedgerFile, as_json: bool, records: bool) -> Result<Exit, Exit> {
    let Some(ledger) = file.open()? else {
        complain(&format!("there is no run `{}`: nothing was run yet", escape(wanted, Mode::Line)));
        return Err(Exit::Usage);
    };
    let runs = ledger.runs().await.map_err(|error| failed(&error))?;
    let summary = find(&runs, wanted)?;
    let run = &summary.run;
    if records {
        return print_records(ledger.as_ref(), run).await;
    }
    let flaw = verify::flaw(ledger.as_ref(), summary).await;
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

/// The run that is meant by an id, by the beginning of one, or by `latest`.
fn find<'a>(runs: &'a [RunSummary], wanted: &str) -> Result<&'a RunSummary, Exit> {
    let shown = clip(&escape(wanted, Mode::Line), 80);
    let exact = |run: &&RunSummary| run.run.as_str() == wanted;
    if let Some(run) = runs.iter().find(exact) {
        return Ok(run);
    }
    if wanted == "latest" {
        return runs.first().ok_or_else(|| {
            complain("there are no runs yet; `lar run MANIFEST` makes one");
            Exit::Usage
        });
    }
    let fits = |run: &&RunSummary| !wanted.is_empty() && run.run.as_str().starts_with(wanted);
    let found: Vec<&RunSummary> = runs.iter().filter(fits).collect();
    match found.as_slice() {
        [run] => Ok(run),
        [] => {
            complain(&format!(
                "the ledger has no run `{shown}`; `lar audit list` shows those there are"
            ));
            Err(Exit::Usage)
        }
        several => {
            let names: Vec<&str> = several.iter().take(5).map(|run| run.run.as_str()).collect();
            complain(&format!(
                "`{shown}` fits {} runs ({} …); write more of the id",
                several.len(),
                names.join(", ")
            ));
            Err(Exit::Usage)
        }
    }
}

fn failed(error: &LedgerError) -> Exit {
    complain(&error.to_string());
    Exit::Error
}

impl LedgerFile {
    /// Opens the ledger. Reading makes no new one: `None` when nothing was ever run.
    fn open(&self) -> Result<Option<Arc<dyn Ledger>>, Exit> {
        let path: PathBuf = match &self.path {
            Some(path) => path.clone(),
            None => default_ledger().map_err(|error| {
                complain(&error.to_string());
                Exit::Usage
            })?,
        };
        match (path.exists(), &self.path) {
            (false, None) => return Ok(None),
            (false, Some(path)) => {
                let shown = escape(&path.to_string_lossy(), Mode::Line);
                complain(&format!("there is no ledger `{shown}`; name the file that the run used"));
                return Err(Exit::Usage);
            }
            (true, _) => {}
        }
        open(&path).map(Some)
    }
}

fn open(path: &Path) -> Result<Arc<dyn Ledger>, Exit> {
    open_ledger(Some(path)).map_err(|error| {
        complain(&error.to_string());
        Exit::Error
    })
}
