//! `lar run`: the main job.

use std::path::PathBuf;
use std::sync::Arc;

use linear_agentics::manifest::Manifest;
use linear_agentics::{GrantChoice, RunOptions, Stop, Tier, Url, start};

use super::ending::{Ending, Shown, threads};
use super::grants;
use super::store::LedgerChoice;
use crate::output::{Exit, complain, say};
use crate::progress::Progress;
use crate::prompt::TerminalPrompt;

/// Run an agent on a manifest's tokens, and show what it did.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The manifest
    manifest: PathBuf,
    /// What to do, instead of the manifest's task
    #[arg(long)]
    task: Option<String>,
    /// The model, instead of the manifest's: a Claude model, openai:NAME, replay:FILE or human
    #[arg(long, conflicts_with = "replay")]
    model: Option<String>,
    /// Take the model's turns from a recorded session; every action is real
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// Write the model's turns to this file, to be replayed later
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    #[command(flatten)]
    shown: Shown,
    #[command(flatten)]
    ledger: LedgerChoice,
    /// The issued grant whose uses the run draws from, instead of the manifest's
    #[arg(long, value_name = "ID")]
    grant: Option<String>,
    /// The weakest confinement with which the run may start, instead of the manifest's: A, B or C (see
    /// `lar doctor`)
    #[arg(long, value_name = "TIER")]
    min_tier: Option<Tier>,
    /// A time-stamping authority (RFC 3161) that states at the end of the run when the log's head was
    /// there, instead of the manifest's
    #[arg(long, value_name = "URL")]
    tsa: Option<Url>,
    /// Keep outputs and long arguments in this directory, redacted, each in a file named by its SHA-256;
    /// `lar audit verify --kept` checks them
    #[arg(long, value_name = "DIR")]
    keep_output: Option<PathBuf>,
    /// Who starts the run, as a name among approvers, or of a pipeline: where the manifest says
    /// `not_the_runner`, they can't approve
    #[arg(long, value_name = "NAME")]
    runner: Option<String>,
}

/// Runs it.
pub fn run(args: Args) -> Exit {
    let manifest = match super::read_manifest(&args.manifest) {
        Ok(manifest) => manifest,
        Err(exit) => return exit,
    };
    let ending = match Ending::of(&args.shown) {
        Ok(ending) => ending,
        Err(exit) => return exit,
    };
    let runtime = match threads() {
        Ok(runtime) => runtime,
        Err(exit) => return exit,
    };
    let stop = Stop::default();
    let options = match options(&args, &manifest, stop.clone()) {
        Ok(options) => options,
        Err(exit) => return exit,
    };
    if !args.shown.json
        && let Some(exit) = offer(&runtime, &args, &manifest)
    {
        return exit;
    }
    ending.of_run(runtime, stop, start(options))
}

/// Where a run of this very manifest was cut off, asks whoever sits at the terminal whether to go on
/// with it. Nobody is asked when nobody can answer, and a ledger that can't be read is told later.
fn offer(runtime: &tokio::runtime::Runtime, args: &Args, manifest: &Manifest) -> Option<Exit> {
    use std::io::IsTerminal;
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return None;
    }
    let place = args.ledger.place();
    let run = runtime.block_on(async {
        let ledger = linear_agentics::existing_ledger(place).await.ok()??;
        let found = linear_agentics::recover::recover(ledger.as_ref()).await.ok()?;
        for run in found.cut_off {
            let first = ledger.records(&run.run, 1, 1).await.ok()?;
            let first = first.first().and_then(|record| record.read().ok());
            if let Some(linear_agentics::audit::record::Body::RunOpen(open)) =
                first.map(|record| record.body)
                && open.manifest == Some(manifest.digest)
            {
                return Some(run.run);
            }
        }
        None
    })?;
    say(&format!("run {run} of this manifest was cut off. Go on with it? [y/N]"));
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).ok()?;
    matches!(answer.trim(), "y" | "Y" | "yes")
        .then(|| super::resume::run(super::resume::Args::of(run.as_str(), place.cloned())))
}

fn options(args: &Args, manifest: &Manifest, stop: Stop) -> Result<RunOptions, Exit> {
    let mut options = RunOptions::from_manifest(manifest)
        .stop(stop)
        .observer(Arc::new(Progress::new()))
        .prompt(Box::new(TerminalPrompt));
    options = options.manifest_file(&args.manifest);
    if let Some(tier) = args.min_tier {
        options = options.min_tier(tier);
    }
    if let Some(task) = &args.task {
        options = options.task(task);
    }
    if let Some(model) = &args.model {
        options = options.model(model);
    }
    if let Some(file) = &args.replay {
        options = options.model(format!("replay:{}", file.display()));
    }
    if let Some(file) = &args.record {
        options = options.record(file);
    }
    if let Some(place) = args.ledger.place() {
        options = options.ledger(place.clone());
    }
    if let Some(directory) = &args.keep_output {
        options = options.keep_output(directory);
    }
    if let Some(url) = &args.tsa {
        if !matches!(url.scheme(), "http" | "https") {
            complain("`--tsa` is the address of an authority, http or https");
            return Err(Exit::Usage);
        }
        options = options.timestamp_authority(url.clone());
    }
    if let Some(name) = &args.runner {
        options = options.runner(name);
    }
    if let Some(id) = &args.grant {
        // The manifest's ledger belongs to the manifest's grant.
        options = options.grant(GrantChoice { id: grants::parse(id)?, ledger: None });
    }
    Ok(options.keep_journal(args.shown.keep_journal))
}
