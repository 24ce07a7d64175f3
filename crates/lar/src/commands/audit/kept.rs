//! `lar audit verify --kept`: whether the outputs that were kept beside a run are those of its record.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use linear_agentics::audit::commitment::Opening;
use linear_agentics::audit::record::Record;
use linear_agentics::audit::verify::{Finding, Report};
use linear_agentics::display::{Mode, escape};
use linear_agentics::id::RunId;
use linear_agentics::{KeptOutputs, Ledger};
use serde_json::{Value, json};

use super::PAGE;
use crate::commands::store::failed;
use crate::output::{Exit, complain};

/// Looks for what the records of a run in a ledger name.
pub(super) async fn of_run(
    ledger: &dyn Ledger,
    run: &RunId,
    directory: &Path,
) -> Result<KeptOutputs, Exit> {
    let (mut found, mut next) = (KeptOutputs::default(), 1);
    loop {
        let page = ledger.records(run, next, PAGE).await.map_err(|error| failed(&error))?;
        for sealed in &page {
            next = next.max(sealed.seq.saturating_add(1));
            // What is no record was told by the verdicts.
            if let Ok(record) = sealed.read() {
                found.look(directory, &record).map_err(|error| unread(directory, &error))?;
            }
        }
        if (page.len() as u64) < PAGE {
            return Ok(found);
        }
    }
}

/// Looks for what the records in a bundle name, or bare records.
pub(super) fn of_file(path: &Path, directory: &Path) -> Result<KeptOutputs, Exit> {
    if path.as_os_str() == "-" {
        complain("`--kept` reads the file a second time; name it, instead of `-`");
        return Err(Exit::Usage);
    }
    let lines = BufReader::new(File::open(path).map_err(|error| unread(path, &error))?);
    let mut found = KeptOutputs::default();
    let mut last: Option<(Vec<u8>, Vec<Opening>)> = None;
    let mut look = |last: Option<(Vec<u8>, Vec<Opening>)>| -> Result<(), Exit> {
        let Some((bytes, openings)) = last else { return Ok(()) };
        match Record::read(&bytes, &openings) {
            Ok(record) => found.look(directory, &record).map_err(|error| unread(directory, &error)),
            // The bundle's first line; what else is no record was told by the verdicts.
            Err(_) => Ok(()),
        }
    };
    for line in lines.split(b'\n') {
        let line = line.map_err(|error| unread(path, &error))?;
        if line.first() == Some(&b'{') {
            look(last.replace((line, Vec::new())))?;
        } else if let Some((_, openings)) = &mut last
            && let Ok(line) = String::from_utf8(line)
        {
            openings.extend(Opening::read(line));
        }
    }
    look(last)?;
    Ok(found)
}

fn unread(path: &Path, error: &io::Error) -> Exit {
    let shown = escape(&path.to_string_lossy(), Mode::Line);
    complain(&format!("`{shown}` can't be read ({})", error.kind()));
    Exit::Usage
}

/// Breaks the verdict where a file has other bytes than the record names.
pub(super) fn judge(report: &mut Report, found: &KeptOutputs) {
    if let Some((at, reason)) = &found.broken
        && report.integrity.is_ok()
    {
        report.integrity = Finding::Broken { at: Some(*at), reason: reason.clone() };
    }
}

/// In words.
pub(super) fn told(found: &KeptOutputs) -> String {
    format!("{} outputs are those of the record, {} are not there", found.kept, found.absent)
}

/// For programs.
pub(super) fn as_json(found: &KeptOutputs) -> Value {
    json!({"kept": found.kept, "absent": found.absent, "broken": found.broken.is_some()})
}
