//! `lar resume`: goes on with a run that was cut off, from its last durable point.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use linear_agentics::journal::Tape;
use linear_agentics::ledger::RunSummary;
use linear_agentics::manifest::Manifest;
use linear_agentics::{GrantChoice, Ledger, LedgerPlace, RunOptions, Stop, Tier, recover, resume};

use super::ending::{Ending, Shown, threads};
use super::store::{LedgerChoice, failed, find};
use crate::output::{Exit, complain, println, say, stderr_is_colourful};
use crate::progress::Progress;
use crate::prompt::TerminalPrompt;

/// Go on with a run that was cut off; what was done is never done again
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run: its id, a beginning that fits no other, or `latest`
    run: String,
    /// Seal it instead: what was started is recorded as unknown, what was held comes back, and its
    /// journal is deleted
    #[arg(long)]
    abandon: bool,
    /// The manifest, when it no longer lies where the run found it; its definitions must be the same
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// The recording from which the model's turns are taken, when it no longer lies where it did
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// The weakest confinement with which it may go on, when it was started with another than the
    /// manifest's
    #[arg(long, value_name = "TIER")]
    min_tier: Option<Tier>,
    /// Keep outputs and long arguments in this directory, as with `lar run --keep-output`
    #[arg(long, value_name = "DIR")]
    keep_output: Option<PathBuf>,
    /// Who goes on with the run, as with `lar run --runner`
    #[arg(long, value_name = "NAME")]
    runner: Option<String>,
    #[command(flatten)]
    shown: Shown,
    #[command(flatten)]
    ledger: LedgerChoice,
}

impl Args {
    /// Goes on with this run.
    pub fn of(run: &str, place: Option<LedgerPlace>) -> Self {
        Self {
            run: run.to_owned(),
            abandon: false,
            manifest: None,
            replay: None,
            min_tier: None,
            keep_output: None,
            runner: None,
            shown: Shown::default(),
            ledger: LedgerChoice::at(place),
        }
    }
}

/// Goes on, or seals.
pub fn run(args: Args) -> Exit {
    go(&args).unwrap_or_else(|exit| exit)
}

fn go(args: &Args) -> Result<Exit, Exit> {
    let ending = Ending::of(&args.shown)?;
    let runtime = threads()?;
    let ledger = runtime.block_on(args.ledger.existing())?;
    let runs = runtime.block_on(ledger.runs()).map_err(|error| failed(&error))?;
    let run = find(&runs, &args.run)?.clone();
    if run.stop_reason.is_some() {
        complain(&format!("run `{}` has ended; `lar audit show {}` shows it", run.run, run.run));
        return Err(Exit::Usage);
    }
    if args.abandon {
        let left = runtime.block_on(recover::ways_back(ledger.as_ref(), &run.run));
        let sealed = runtime.block_on(recover::abandon(ledger.as_ref(), &run));
        if !sealed.map_err(|error| failed(&error))? {
            complain(&format!("run `{}` is held by another process", run.run));
            return Err(Exit::Refused);
        }
        println(&format!("sealed run {}; what it had started is recorded as unknown", run.run));
        for token in left.unwrap_or_default() {
            say(&recover::never_returned(&token));
        }
        return Ok(Exit::Complete);
    }
    let stop = Stop::default();
    let options = runtime.block_on(options(args, &ledger, &run))?;
    let options = options.stop(stop.clone());
    Ok(ending.of_run(runtime, stop, async move { resume(options, &run).await }))
}

/// The options with which the run was started.
async fn options(
    args: &Args,
    ledger: &Arc<dyn Ledger>,
    run: &RunSummary,
) -> Result<RunOptions, Exit> {
    let read = Tape::read(ledger.as_ref(), &run.run).await;
    let (start, _) = read.map_err(|error| {
        complain(&error.to_string());
        Exit::Usage
    })?;
    let manifest = match (&args.manifest, &start.origin) {
        (Some(path), _) => super::read_manifest(path)?,
        (None, Some(origin)) => {
            let read = Manifest::read(&origin.manifest, Path::new(&origin.base));
            read.map_err(|error| {
                complain(&error.render("manifest", stderr_is_colourful()));
                Exit::Usage
            })?
        }
        (None, None) => {
            complain("the run was started by a program, not from a manifest; resume it from there");
            return Err(Exit::Usage);
        }
    };
    let mut options = RunOptions::from_manifest(&manifest)
        .open_ledger(Arc::clone(ledger))
        .observer(Arc::new(Progress::new()))
        .prompt(Box::new(TerminalPrompt))
        .keep_journal(args.shown.keep_journal);
    if let Some(tier) = args.min_tier {
        options = options.min_tier(tier);
    }
    options = match &args.replay {
        Some(file) => options.model(format!("replay:{}", file.display())),
        None => options.model(start.model),
    };
    if let Some(directory) = &args.keep_output {
        options = options.keep_output(directory);
    }
    if let Some(name) = &args.runner {
        options = options.runner(name);
    }
    // The run draws from the grant that it was opened with, whatever the manifest says now.
    if run.grant.is_named() {
        options = options.grant(GrantChoice { id: run.grant.clone(), ledger: None });
    }
    Ok(options)
}
