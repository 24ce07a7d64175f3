//! A report for people and for programs.

use lar_core::audit::policy::{Judged, Policy};
use lar_core::audit::verify::{Commitments, Finding, Report, Timestamping};
use lar_core::display::{Mode, escape};
use serde_json::{Value, json as object};

/// The report in lines, without a newline at the end. Hostile characters are shown visibly.
pub fn text(report: &Report, policy: &Policy) -> String {
    let visible = |text: &str| escape(text, Mode::Line);
    let run = report.run.as_deref().unwrap_or("(no run)");
    let mut lines = vec![format!("run {}: {} records", visible(run), report.records)];
    if let Some(head) = report.head {
        lines.push(format!("  head          {head}"));
    }
    if let Some(checkpoint) = &report.checkpoint {
        lines.push(format!(
            "  checkpoint    {}, {} records, root {}",
            visible(&checkpoint.origin),
            checkpoint.size,
            checkpoint.root
        ));
    }
    if let Some(key) = &report.signed_by {
        lines.push(format!("  signed by     {}", visible(key)));
    }
    if report.timestamp != Timestamping::Absent {
        lines.push(format!("  time-stamp    {}", visible(&report.timestamp.to_string())));
    }
    if let Some(told) = commitments(report) {
        lines.push(format!("  commitments   {told}"));
    }
    for judged in Judged::ALL {
        let required = if policy.requires(judged) { "" } else { " (not required)" };
        let finding = visible(&report.finding(judged).to_string());
        lines.push(format!("  {:<13} {finding}{required}", judged.as_str()));
    }
    lines.join("\n")
}

/// What stands in the records as commitments; `None` where nothing does.
pub fn commitments(report: &Report) -> Option<String> {
    let Commitments { opened, erased, withheld } = report.commitments;
    let told: Vec<String> = [(opened, "opened"), (erased, "erased"), (withheld, "not shown")]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    (!told.is_empty()).then(|| told.join(", "))
}

/// The report as JSON: the four verdicts as words, and beside them why each that isn't `ok` isn't.
pub fn json(report: &Report, policy: &Policy) -> Value {
    let mut value = object!({
        "ok": report.satisfies(policy),
        "run": report.run,
        "records": report.records,
        "head": report.head,
        "closed": report.closed,
        "signed_by": report.signed_by,
    });
    let Some(fields) = value.as_object_mut() else {
        return value;
    };
    let mut reasons = serde_json::Map::new();
    for judged in Judged::ALL {
        let (word, at, reason) = match report.finding(judged) {
            Finding::Ok => ("ok", None, None),
            Finding::Absent { reason } => ("absent", None, Some(reason)),
            Finding::Broken { at, reason } => ("broken", *at, Some(reason)),
        };
        fields.insert(judged.as_str().to_owned(), object!(word));
        if let Some(reason) = reason {
            reasons.insert(judged.as_str().to_owned(), object!(reason));
            if word == "broken" {
                fields.entry("reason").or_insert(object!(reason));
            }
        }
        if let Some(at) = at {
            fields.entry("broken_at").or_insert(object!(at));
        }
    }
    fields.insert("reasons".to_owned(), Value::Object(reasons));
    match &report.timestamp {
        Timestamping::Absent => {}
        Timestamping::Stated { time } => {
            fields.insert("timestamp".to_owned(), object!({"stated": time, "judged": false}));
        }
        Timestamping::Broken { reason } => {
            fields.insert("timestamp".to_owned(), object!({"broken": reason}));
        }
    }
    if report.commitments != Commitments::default() {
        let Commitments { opened, erased, withheld } = report.commitments;
        let told = object!({"opened": opened, "erased": erased, "withheld": withheld});
        fields.insert("commitments".to_owned(), told);
    }
    if let Some(checkpoint) = &report.checkpoint {
        let checkpoint = object!({
            "origin": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root,
        });
        fields.insert("checkpoint".to_owned(), checkpoint);
    }
    value
}
