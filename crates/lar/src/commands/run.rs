//! `lar run`: the main job.

use std::path::PathBuf;
use std::sync::Arc;

use linear_agentics::display::{Mode, escape};
use linear_agentics::manifest::Manifest;
use linear_agentics::{
    AgentResult, Cause, ComposeError, GrantChoice, RunOptions, Stop, StopReason, report, start,
    table,
};

use super::grants;
use super::store::{LedgerChoice, exit_of};
use crate::output::{Exit, complain, println, say, stdout_width};
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
    /// Print the result and the whole trail as JSON
    #[arg(long)]
    json: bool,
    /// Write the audit trail, as JSON, to this file
    #[arg(long, value_name = "FILE")]
    audit: Option<PathBuf>,
    /// Write a report for a CI job: Markdown (.md) or JUnit (.xml)
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    #[command(flatten)]
    ledger: LedgerChoice,
    /// The issued grant whose uses the run draws from, instead of the manifest's
    #[arg(long, value_name = "ID")]
    grant: Option<String>,
}

/// Which report a file's ending asks for.
#[derive(Clone, Copy)]
enum Report {
    Markdown,
    Junit,
}

/// Runs it.
pub fn run(args: Args) -> Exit {
    let manifest = match super::read_manifest(&args.manifest) {
        Ok(manifest) => manifest,
        Err(exit) => return exit,
    };
    let report = match args.report.as_deref().map(report_kind).transpose() {
        Ok(report) => report,
        Err(exit) => return exit,
    };
    if let Some(problem) =
        [&args.audit, &args.report].into_iter().flatten().find_map(|p| misplaced(p))
    {
        complain(&problem);
        return Exit::Usage;
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(_) => {
            complain("no threads can be started; check the limits on processes");
            return Exit::Error;
        }
    };
    let stop = Stop::default();
    let options = match options(&args, &manifest, stop.clone()) {
        Ok(options) => options,
        Err(exit) => return exit,
    };
    let result = runtime.block_on(async {
        listen(stop);
        let agent = start(options).await.map_err(Failed::Start)?;
        agent.run().await.map_err(|error| Failed::Seal(error.to_string()))
    });
    // A question that still waits at the terminal must not hold the end up.
    runtime.shutdown_background();
    match result {
        Ok(result) => show(&args, report, &result),
        Err(Failed::Start(error)) => {
            complain(&error.to_string());
            exit_of_start(&error)
        }
        Err(Failed::Seal(error)) => {
            complain(&format!("{error}; what was spent is in the ledger, see `lar audit list`"));
            Exit::Error
        }
    }
}

/// How a command ends whose run can't be started.
pub fn exit_of_start(error: &ComposeError) -> Exit {
    match error {
        ComposeError::Ledger(error) => exit_of(error),
        ComposeError::System(_) => Exit::Error,
        _ => Exit::Usage,
    }
}

enum Failed {
    Start(ComposeError),
    Seal(String),
}

fn options(args: &Args, manifest: &Manifest, stop: Stop) -> Result<RunOptions, Exit> {
    let mut options = RunOptions::from_manifest(manifest)
        .stop(stop)
        .observer(Arc::new(Progress::new()))
        .prompt(Box::new(TerminalPrompt));
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
    if let Some(id) = &args.grant {
        // The manifest's ledger belongs to the manifest's grant.
        options = options.grant(GrantChoice { id: grants::parse(id)?, ledger: None });
    }
    Ok(options)
}

/// Ctrl-C and SIGTERM seal the run; what is running is killed and recorded.
fn listen(stop: Stop) {
    tokio::spawn(async move {
        use tokio::signal::unix::{SignalKind, signal};
        let (Ok(mut term), Ok(mut hup)) =
            (signal(SignalKind::terminate()), signal(SignalKind::hangup()))
        else {
            return;
        };
        loop {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = term.recv() => {}
                _ = hup.recv() => {}
            }
            stop.request(Cause::Interrupted);
        }
    });
}

/// Why a file can't be written there, as far as that can be told before the run: it is found out
/// while nothing is spent yet.
fn misplaced(path: &std::path::Path) -> Option<String> {
    let shown = escape(&path.to_string_lossy(), Mode::Line);
    if path.is_dir() {
        return Some(format!("`{shown}` is a directory; name a file in it"));
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty())?;
    (!parent.is_dir()).then(|| {
        let parent = escape(&parent.to_string_lossy(), Mode::Line);
        format!("there is no directory `{parent}` for `{shown}`; create it, or name another file")
    })
}

fn report_kind(path: &std::path::Path) -> Result<Report, Exit> {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("md") => Ok(Report::Markdown),
        Some("xml") => Ok(Report::Junit),
        _ => {
            complain("`--report` takes a file that ends in `.md` (Markdown) or `.xml` (JUnit)");
            Err(Exit::Usage)
        }
    }
}

fn show(args: &Args, report: Option<Report>, result: &AgentResult) -> Exit {
    let trail = &result.audit_trail;
    if args.json {
        println(&report::visible_json(&result.to_json()));
    } else {
        println(&summary(result));
        println(&table::render(trail, stdout_width()));
        say(&format!("the record: lar audit show {}", result.run));
    }
    let mut exit = match result.stop_reason {
        StopReason::Complete => Exit::Complete,
        StopReason::BudgetExhausted => Exit::BudgetExhausted,
        StopReason::Timeout => Exit::Timeout,
        StopReason::Error => Exit::Error,
    };
    if let Some(path) = &args.audit {
        exit = write(path, &format!("{}\n", trail.to_json()), exit);
    }
    if let (Some(path), Some(kind)) = (&args.report, report) {
        let text = match kind {
            Report::Markdown => report::markdown(trail),
            Report::Junit => report::junit(trail, &result.missing_required),
        };
        exit = write(path, &text, exit);
    }
    exit
}

fn write(path: &std::path::Path, text: &str, exit: Exit) -> Exit {
    match std::fs::write(path, text) {
        Ok(()) => exit,
        Err(error) => {
            complain(&format!("`{}` can't be written ({})", path.display(), error.kind()));
            if exit == Exit::Complete { Exit::Error } else { exit }
        }
    }
}

/// The result in a few lines.
fn summary(result: &AgentResult) -> String {
    let mut text = format!("\n{}", result.stop_reason.as_str());
    if let Some(error) = &result.error {
        text.push_str(&format!(": {}", escape(error, Mode::Line)));
    }
    text.push_str(&format!(
        "\nsteps: {} taken, {} left",
        result.steps_taken, result.budget_remaining
    ));
    if !result.tokens_unused.is_empty() {
        text.push_str(&format!("\nnever used: {}", result.tokens_unused.join(", ")));
    }
    if let Some(message) = &result.final_message {
        text.push_str(&format!("\n\n{}\n", escape(message, Mode::Block)));
    }
    text
}
