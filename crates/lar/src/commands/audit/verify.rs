//! `lar audit verify`: four verdicts on runs of a ledger, or on a file.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anstyle::{AnsiColor, Style};
use lar_verify::{commitments, json as report_json, read_policy};
use linear_agentics::audit::policy::{Judged, Policy};
use linear_agentics::audit::verify::{Finding, Report, Timestamping};
use linear_agentics::display::{Mode, escape};
use linear_agentics::ledger::RunSummary;
use linear_agentics::report::visible_json;
use linear_agentics::{KeptOutputs, check_run};
use serde_json::json;

use super::kept;
use crate::commands::check::{YELLOW, paint};
use crate::commands::store::{LedgerChoice, failed, find};
use crate::output::{Exit, complain, println, say};

const GREEN: Style = AnsiColor::Green.on_default();
const RED: Style = AnsiColor::Red.on_default();

/// Whether records are complete, unchanged, signed and witnessed
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Four verdicts, each ok, absent or broken: integrity (the records are canonical, \
chained, and those of the signed head), authenticity (a key that the policy names signed it), \
witnessing (witnesses that the policy names cosigned it), completeness (the run has its end, which \
accounts for every token). Without --policy no key is known, so that authenticity is absent.\n\nExit \
codes: 0 everything that the policy demands holds, 1 something doesn't (in a file also a run without \
its end, unless --allow-open), 2 there is no such run, file or policy."
)]
pub struct Args {
    /// A run, or a file: a bundle, or records as `lar audit show RUN --records` prints them (a file's
    /// name has a `.` or `/` in it, `-` is stdin); without it, every run
    #[arg(value_name = "RUN|FILE")]
    what: Option<String>,
    #[command(flatten)]
    ledger: LedgerChoice,
    /// The keys that are known and what is demanded, as TOML; `lar keys show --policy` prints one
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// Accept a file whose run has no end
    #[arg(long)]
    allow_open: bool,
    /// Check the outputs that were kept in this directory (`lar run --keep-output`) as well; one that isn't
    /// there breaks nothing
    #[arg(long, value_name = "DIR")]
    kept: Option<PathBuf>,
    /// The leaf hash that the last record must have
    #[arg(long, value_name = "SHA256")]
    head: Option<String>,
}

/// Verifies.
pub(super) async fn run(args: Args) -> Result<Exit, Exit> {
    let mut policy = match &args.policy {
        Some(path) => read_policy(path).map_err(|error| {
            let shown = escape(&path.to_string_lossy(), Mode::Line);
            complain(&format!("the policy `{shown}`: {}", escape(&error.to_string(), Mode::Line)));
            Exit::Usage
        })?,
        None => Policy::default(),
    };
    let file = args.what.as_deref().filter(|what| is_file(what));
    // A ledger may hold runs that are going on; a file that is handed over should be whole.
    policy.allow_open |= args.allow_open || (file.is_none() && args.policy.is_none());
    let (mut reports, mut outputs) = (Vec::new(), Vec::new());
    if let Some(file) = file {
        let mut report = in_file(Path::new(file), &policy)?;
        if let Some(directory) = &args.kept {
            outputs.push(kept::of_file(Path::new(file), directory)?);
            outputs.iter().for_each(|found| kept::judge(&mut report, found));
        }
        reports.push(report);
    } else if let Some(ledger) = args.ledger.open().await? {
        let runs = ledger.runs().await.map_err(|error| failed(&error))?;
        let chosen: Vec<&RunSummary> = match &args.what {
            Some(wanted) => vec![find(&runs, wanted)?],
            None => runs.iter().collect(),
        };
        for summary in chosen {
            let report = check_run(ledger.as_ref(), summary, &policy).await;
            let mut report = report.map_err(|error| failed(&error))?;
            report.run = Some(summary.run.to_string());
            if let Some(directory) = &args.kept {
                let found = kept::of_run(ledger.as_ref(), &summary.run, directory).await?;
                kept::judge(&mut report, &found);
                outputs.push(found);
            }
            reports.push(report);
        }
    } else if let Some(wanted) = &args.what {
        let shown = escape(wanted, Mode::Line);
        complain(&format!("there is no run `{shown}`: nothing was run yet"));
        return Err(Exit::Usage);
    }
    if let Some(head) = &args.head {
        let [report] = reports.as_mut_slice() else {
            complain("`--head` belongs to one run; name it");
            return Err(Exit::Usage);
        };
        must_end_with(report, head);
    }
    let ok = reports.iter().all(|report| report.satisfies(&policy));
    if args.json {
        let mut runs: Vec<_> = reports.iter().map(|report| report_json(report, &policy)).collect();
        for (run, found) in runs.iter_mut().zip(&outputs) {
            if let Some(fields) = run.as_object_mut() {
                fields.insert("outputs".to_owned(), kept::as_json(found));
            }
        }
        println(&visible_json(&format!("{:#}", json!({"ok": ok, "runs": runs}))));
    } else {
        show(&reports, &outputs, &policy);
    }
    Ok(if ok { Exit::Complete } else { Exit::Error })
}

/// The name of a run holds neither a dot nor a slash.
fn is_file(what: &str) -> bool {
    what == "-" || what.contains(['.', '/'])
}

/// Checks a file. Memory is flat in its length.
fn in_file(path: &Path, policy: &Policy) -> Result<Report, Exit> {
    let unread = |error: std::io::Error| {
        let shown = escape(&path.to_string_lossy(), Mode::Line);
        complain(&format!("`{shown}` can't be read ({}); name an existing file", error.kind()));
        Exit::Usage
    };
    let from: Box<dyn Read> = match path.as_os_str() == "-" {
        true => Box::new(std::io::stdin().lock()),
        false => Box::new(File::open(path).map_err(unread)?),
    };
    lar_verify::verify(from, policy).map_err(unread)
}

/// Breaks the verdict unless the last record is the one that somebody wrote down.
fn must_end_with(report: &mut Report, head: &str) {
    let found = report.head.map(|head| head.to_string()).unwrap_or_default();
    if report.integrity.is_ok() && !found.eq_ignore_ascii_case(head) {
        let reason = "it isn't the record that `--head` names".to_owned();
        report.integrity = Finding::Broken { at: Some(report.records), reason };
    }
}

fn show(reports: &[Report], outputs: &[KeptOutputs], policy: &Policy) {
    let outputs = outputs.iter().map(Some).chain(std::iter::repeat(None));
    for (report, found) in reports.iter().zip(outputs) {
        let run = escape(report.run.as_deref().unwrap_or("no run"), Mode::Line);
        let head = report.head.map(|head| format!(", head {head}")).unwrap_or_default();
        println(&format!("{run}: {} records{head}", report.records));
        if let Some(found) = found {
            println(&format!("  {:<13} {}", "outputs", kept::told(found)));
        }
        if report.timestamp != Timestamping::Absent {
            let told = escape(&report.timestamp.to_string(), Mode::Line);
            println(&format!("  {:<13} {told}", "time-stamp"));
        }
        if let Some(told) = commitments(report) {
            println(&format!("  {:<13} {told}", "commitments"));
        }
        for judged in Judged::ALL {
            let finding = report.finding(judged);
            let (word, style) = match finding {
                Finding::Ok => ("ok", GREEN),
                Finding::Absent { .. } => ("absent", YELLOW),
                Finding::Broken { .. } => ("broken", RED),
            };
            let whole = escape(&finding.to_string(), Mode::Line);
            let rest = whole.strip_prefix(word).unwrap_or_default();
            let demanded = if policy.requires(judged) { "" } else { " (not demanded)" };
            println(&format!("  {:<13} {}{rest}{demanded}", judged.as_str(), paint(style, word)));
        }
    }
    let broken = reports.iter().filter(|report| !report.satisfies(policy)).count();
    match (reports.len(), broken) {
        (0, _) => say("there are no runs yet"),
        (1, _) => {}
        (all, broken) => say(&format!("{all} runs, {} hold, {broken} don't", all - broken)),
    }
}
