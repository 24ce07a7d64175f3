//! `lar audit verify`: whether records are complete and unchanged, as far as the records themselves
//! and the ledger's own count can tell.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anstyle::{AnsiColor, Style};
use linear_agentics::audit::chain::{Broken, Checker, Intact};
use linear_agentics::audit::record::{Body, MOST_BYTES};
use linear_agentics::audit::tree::leaf_hash;
use linear_agentics::display::{Mode, escape};
use linear_agentics::ledger::RunSummary;
use linear_agentics::report::visible_json;
use linear_agentics::{Ledger, LedgerError};
use serde::Serialize;
use serde_json::json;

use super::PAGE;
use crate::commands::check::{YELLOW, paint};
use crate::commands::store::{LedgerChoice, failed, find};
use crate::output::{Exit, complain, println, say};

const GREEN: Style = AnsiColor::Green.on_default();
const RED: Style = AnsiColor::Red.on_default();

/// Whether records are complete and unchanged
#[derive(Debug, clap::Args)]
#[command(after_help = "Each record names the digest of the one before, so a change, a gap or a \
wrong order breaks the chain. What only the chain's end can show (records cut off at the end) is \
checked against the ledger's own count, or in a file by the closing record and --head. Who wrote the \
records is not proved by this.\n\nExit codes: 0 everything holds, 1 something doesn't (in a file also \
a run without its end, unless --allow-open), 2 there is no such run or file.")]
pub struct Args {
    /// A run, or a file of records as `lar audit show RUN --records` prints them (a file's name has a
    /// `.` or `/` in it, `-` is stdin); without it, every run
    #[arg(value_name = "RUN|FILE")]
    what: Option<String>,
    #[command(flatten)]
    ledger: LedgerChoice,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// Accept a file whose run has no end
    #[arg(long)]
    allow_open: bool,
    /// The leaf hash that the last record must have
    #[arg(long, value_name = "SHA256")]
    head: Option<String>,
}

/// What was found about one run.
#[derive(Debug, Default, Serialize)]
struct Verdict {
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<String>,
    /// `ok` or `broken`.
    integrity: &'static str,
    /// The first record that doesn't hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    broken_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// `closed`, or `open`: still running, cut off, or its end was removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    completeness: Option<&'static str>,
    /// How many records hold.
    records: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    head: Option<String>,
}

/// Verifies.
pub(super) async fn run(args: Args) -> Result<Exit, Exit> {
    let file = args.what.as_deref().filter(|what| is_file(what));
    let mut verdicts = Vec::new();
    if let Some(file) = file {
        verdicts.push(in_file(Path::new(file))?);
    } else if let Some(ledger) = args.ledger.open().await? {
        let runs = ledger.runs().await.map_err(|error| failed(&error))?;
        let chosen: Vec<&RunSummary> = match &args.what {
            Some(wanted) => vec![find(&runs, wanted)?],
            None => runs.iter().collect(),
        };
        for summary in chosen {
            let verdict = in_ledger(ledger.as_ref(), summary).await;
            verdicts.push(verdict.map_err(|error| failed(&error))?);
        }
    } else if let Some(wanted) = &args.what {
        let shown = escape(wanted, Mode::Line);
        complain(&format!("there is no run `{shown}`: nothing was run yet"));
        return Err(Exit::Usage);
    }
    if let Some(head) = &args.head {
        let [verdict] = verdicts.as_mut_slice() else {
            complain("`--head` belongs to one run; name it");
            return Err(Exit::Usage);
        };
        verdict.must_end_with(head);
    }
    let accept_open = file.is_none() || args.allow_open;
    let ok = verdicts.iter().all(|verdict| verdict.holds(accept_open));
    if args.json {
        println(&visible_json(&format!("{:#}", json!({"ok": ok, "runs": verdicts}))));
    } else {
        show(&verdicts, accept_open);
    }
    Ok(if ok { Exit::Complete } else { Exit::Error })
}

/// What is broken about a run of the ledger, in words.
pub(super) async fn flaw(
    ledger: &dyn Ledger,
    summary: &RunSummary,
) -> Result<Option<String>, LedgerError> {
    let verdict = in_ledger(ledger, summary).await?;
    Ok(match (verdict.broken_at, verdict.reason) {
        (Some(at), Some(reason)) => Some(format!("broken at record {at}: {reason}")),
        _ => None,
    })
}

/// The name of a run holds neither a dot nor a slash.
fn is_file(what: &str) -> bool {
    what == "-" || what.contains(['.', '/'])
}

/// Checks a run's chain, and that it is what the ledger says of the run.
async fn in_ledger(ledger: &dyn Ledger, summary: &RunSummary) -> Result<Verdict, LedgerError> {
    let mut checker = Checker::default();
    let (mut next, mut stop_reason) = (1, None);
    loop {
        let page = match ledger.records(&summary.run, next, PAGE).await {
            Ok(page) => page,
            Err(LedgerError::Damaged(reason)) => {
                return Ok(Verdict::broken(Some(summary), Broken { seq: next, reason }));
            }
            Err(error) => return Err(error),
        };
        let last = (page.len() as u64) < PAGE;
        for sealed in page {
            let broken = |reason: &str| {
                let broken = Broken { seq: next, reason: reason.to_owned() };
                Ok(Verdict::broken(Some(summary), broken))
            };
            let record = match checker.read(&sealed.bytes) {
                Ok(record) => record,
                Err(error) => return Ok(Verdict::broken(Some(summary), error)),
            };
            if sealed.seq != next {
                return broken("the ledger keeps it under another number");
            }
            if record.run != summary.run {
                return broken("it belongs to another run");
            }
            let digest = leaf_hash(&sealed.bytes);
            if digest != sealed.hash {
                return broken("its stored digest isn't that of its bytes");
            }
            if next == summary.records && digest != summary.head {
                return broken("the ledger names another one as the run's last");
            }
            if let Body::RunClose(close) = record.body {
                stop_reason = Some(close.stop_reason);
            }
            next += 1;
        }
        if last {
            break;
        }
    }
    let intact = match checker.finish() {
        Ok(intact) => intact,
        Err(broken) => return Ok(Verdict::broken(Some(summary), broken)),
    };
    if intact.records < summary.records {
        let reason = format!("it is missing: the ledger counts {} records", summary.records);
        return Ok(Verdict::broken(Some(summary), Broken { seq: next, reason }));
    }
    // A run that is going on may have got further since it was listed.
    let now = match intact.records == summary.records && stop_reason == summary.stop_reason {
        true => None,
        false => ledger.runs().await?.into_iter().find(|run| run.run == summary.run),
    };
    let now = now.as_ref().unwrap_or(summary);
    if intact.records > now.records {
        let reason = format!("the ledger counts only {} records", now.records);
        return Ok(Verdict::broken(Some(summary), Broken { seq: now.records + 1, reason }));
    }
    // Where the record has no end, the run may have got one a moment ago.
    if stop_reason.is_some() && stop_reason != now.stop_reason
        || stop_reason.is_none() && now.stop_reason.is_some() && intact.records == now.records
    {
        let reason = "the ledger says otherwise about the end of the run".to_owned();
        return Ok(Verdict::broken(Some(summary), Broken { seq: intact.records, reason }));
    }
    Ok(Verdict::intact(&intact))
}

/// Checks a file of records, one a line. Memory is flat in its length.
fn in_file(path: &Path) -> Result<Verdict, Exit> {
    let shown = escape(&path.to_string_lossy(), Mode::Line);
    let unread = |error: std::io::Error| {
        complain(&format!("`{shown}` can't be read ({}); name an existing file", error.kind()));
        Exit::Usage
    };
    let mut from: Box<dyn BufRead> = match path.as_os_str() == "-" {
        true => Box::new(std::io::stdin().lock()),
        false => Box::new(BufReader::new(File::open(path).map_err(unread)?)),
    };
    let mut checker = Checker::default();
    let mut run = None;
    let mut line = Vec::new();
    let mut seq = 1;
    loop {
        line.clear();
        // One byte more than a record may have, and the end of the line.
        let read = from.by_ref().take(MOST_BYTES as u64 + 2).read_until(b'\n', &mut line);
        if read.map_err(unread)? == 0 {
            break;
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        match checker.read(&line) {
            Ok(record) => run = Some(record.run.to_string()),
            Err(broken) => {
                let verdict = Verdict::broken(None, broken);
                return Ok(Verdict { run, ..verdict });
            }
        }
        seq += 1;
    }
    Ok(match checker.finish() {
        Ok(intact) => Verdict::intact(&intact),
        Err(broken) => Verdict { records: seq - 1, ..Verdict::broken(None, broken) },
    })
}

impl Verdict {
    fn intact(intact: &Intact) -> Self {
        Self {
            run: Some(intact.run.to_string()),
            integrity: "ok",
            completeness: Some(if intact.closed { "closed" } else { "open" }),
            records: intact.records,
            head: Some(intact.head.to_string()),
            ..Self::default()
        }
    }

    fn broken(summary: Option<&RunSummary>, broken: Broken) -> Self {
        Self {
            run: summary.map(|summary| summary.run.to_string()),
            integrity: "broken",
            broken_at: Some(broken.seq),
            reason: Some(broken.reason),
            records: broken.seq.saturating_sub(1),
            ..Self::default()
        }
    }

    /// Breaks the verdict unless the last record is the one that somebody wrote down.
    fn must_end_with(&mut self, head: &str) {
        if self.head.as_ref().is_some_and(|found| !found.eq_ignore_ascii_case(head)) {
            self.integrity = "broken";
            self.broken_at = Some(self.records);
            self.reason = Some("it isn't the record that `--head` names".to_owned());
        }
    }

    fn holds(&self, accept_open: bool) -> bool {
        self.integrity == "ok" && (accept_open || self.completeness == Some("closed"))
    }
}

fn show(verdicts: &[Verdict], accept_open: bool) {
    for verdict in verdicts {
        let run = verdict.run.as_deref().unwrap_or("no run");
        let text = match (&verdict.reason, verdict.broken_at) {
            (Some(reason), Some(at)) => {
                let reason = escape(reason, Mode::Line);
                format!("{run}: {} at record {at}: {reason}", paint(RED, "broken"))
            }
            _ => {
                let ok = paint(GREEN, "ok");
                let complete = match verdict.completeness {
                    Some("closed") => "closed".to_owned(),
                    _ => {
                        let open = paint(if accept_open { YELLOW } else { RED }, "open");
                        format!("{open} (still running, cut off, or its end was removed)")
                    }
                };
                let head = verdict.head.as_deref().unwrap_or_default();
                format!("{run}: {ok}, {complete}, {} records, head {head}", verdict.records)
            }
        };
        println(&text);
    }
    let broken = verdicts.iter().filter(|verdict| !verdict.holds(accept_open)).count();
    match (verdicts.len(), broken) {
        (0, _) => say("there are no runs yet"),
        (1, _) => {}
        (all, broken) => say(&format!("{all} runs, {} hold, {broken} don't", all - broken)),
    }
}
