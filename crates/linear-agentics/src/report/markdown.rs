//! An audit trail as Markdown, for the summary page of a CI job.

use std::fmt::Write as _;

use lar_core::audit::AuditTrail;

use super::rows;

/// The most columns of one hostile text.
const MOST: usize = 300;
/// The most events that are listed: summary pages take about a megabyte.
const MOST_EVENTS: usize = 1_000;

/// The trail as Markdown (GitHub Flavored Markdown, with its tables).
///
/// Text of the record stands in code spans. `|`, which would end a table's cell, is written by its
/// code point, as characters that can't be seen are; so nothing in it becomes markup, a link or a
/// mention, whoever renders it.
pub fn render(trail: &AuditTrail) -> String {
    let mut out = String::new();
    let run = &trail.run;
    // Writing to a `String` cannot fail.
    let _ =
        writeln!(out, "## Agent run {}: {}\n", code(run.id.as_str()), code(&rows::ending(trail)));
    let _ = writeln!(out, "- task: {}", code(&run.open.task));
    let _ = writeln!(out, "- model: {}", code(&run.open.model));
    if let Some(end) = &run.end {
        let steps = rows::count(end.steps_taken, "step");
        let _ = writeln!(out, "- {steps} taken, {} left", end.budget_remaining);
        if let Some(error) = &end.error {
            let _ = writeln!(out, "- why it ended: {}", code(error));
        }
        if let Some(words) = &end.final_message {
            let _ = writeln!(out, "- the model's last words: {}", code(words));
        }
    }
    let closed = run.closed.map_or_else(String::new, |closed| format!(" to {closed}"));
    let _ = writeln!(out, "- from {}{closed}", run.opened);
    let records = rows::count(run.records, "record");
    let _ = writeln!(out, "- {records}; leaf hash of the last: {}\n", code(&run.head.to_string()));

    let tallies = rows::tallies(trail);
    if !tallies.is_empty() {
        let _ = writeln!(out, "| token | granted | succeeded | failed | unknown | unused |");
        let _ = writeln!(out, "| --- | ---: | ---: | ---: | ---: | ---: |");
        for tally in &tallies {
            let numbers = tally.numbers().join(" | ");
            let _ = writeln!(out, "| {} | {numbers} |", code(&tally.token));
        }
        let _ = writeln!(out);
    }

    let events = rows::rows(trail);
    if events.is_empty() {
        let _ = writeln!(out, "Nothing was done, refused or asked for.");
        return out;
    }
    let _ = writeln!(out, "| time (UTC) | what | token | action | outcome | took | detail |");
    let _ = writeln!(out, "| --- | --- | --- | --- | --- | ---: | --- |");
    for row in events.iter().take(MOST_EVENTS) {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} |",
            row.clock(),
            row.what,
            code(&row.token),
            code(&row.action),
            code(&row.outcome),
            row.took(),
            code(&row.detail)
        );
    }
    if let Some(more) = events.len().checked_sub(MOST_EVENTS).filter(|more| *more > 0) {
        let _ = writeln!(out, "\n… and {more} more; the audit trail holds them all.");
    }
    out
}

/// A code span that nothing inside can end: its marks are longer than any run of them in the text
/// (CommonMark, section 6.1).
fn code(text: &str) -> String {
    let text = rows::shown(text, MOST).replace('|', "‹U+007C›");
    // A span of spaces alone, or an empty one, would be no span.
    if text.trim().is_empty() {
        return String::new();
    }
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let mark = "`".repeat(longest + 1);
    let pad = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{mark}{pad}{text}{pad}{mark}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    #[test]
    fn a_run_reads_well() {
        insta::assert_snapshot!(render(&samples::whole()), @r#"
        ## Agent run `20261122-101500-0badcafe`: `error`

        - task: `Is the service well?`
        - model: `claude-sonnet-4-5`
        - 5 steps taken, 15 left
        - why it ended: `` required tokens were never spent with success: `health` ``
        - the model's last words: `It is not well.`
        - from 2026-11-22T10:15:01.700Z to 2026-11-22T10:15:18.700Z
        - 11 records; leaf hash of the last: `38b5f092d2a72a3d4b18b263ac8f72251958877bbd817ff83d065373c418e309`

        | token | granted | succeeded | failed | unknown | unused |
        | --- | ---: | ---: | ---: | ---: | ---: |
        | `pods` | 5 | 1 | 0 | 0 | 4 |
        | `health` | 1 | 0 | 1 | 0 | 0 |
        | `staging` | 1 | 0 | 0 | 1 | 0 |
        | `config` | 1 | 0 | 0 | 0 | 1 |

        | time (UTC) | what | token | action | outcome | took | detail |
        | --- | --- | --- | --- | --- | ---: | --- |
        | 10:15:03 | spend | `pods` | `kubectl get pods -l 'app in (a, b)'` | `succeeded` | 1.2 s | `exit 0, 812 bytes` |
        | 10:15:06 | refusal | `pods` | `{"command":"kubectl get pods; rm -rf /"}` | `CommandNotAllowedError` |  | `` `;` at character 17 would need a shell; the allowed commands begin with `kubectl get pods` `` |
        | 10:15:08 | spend | `health` | `GET https://api.internal/health` | `failed` | 31 ms | `no route` |
        | 10:15:10 | error | `health` |  | `ActionFailedError` |  | `no route` |
        | 10:15:11 | approval | `staging` | `deploy_staging (registry.internal/app:v2 to staging)` | `approved` |  | `by alice (os-user)` |
        | 10:15:13 | spend | `staging` | `registry.internal/app:v2 to staging` | `unknown` | 1 m 5 s | `interrupted: killed` |
        | 10:15:15 | error | `staging` |  | `OutcomeUnknownError` |  | `interrupted: killed` |
        | 10:15:17 | negotiation |  | `restart the deployment` | `nothing granted` |  | `` `alice` granted nothing (by human alice); it said: it hangs `` |
        "#);
    }

    #[test]
    fn nothing_of_the_record_becomes_markup() {
        let text = render(&samples::hostile());
        for line in text.lines() {
            // What isn't inside a span is ours: no letters of the hostile text are there.
            let outside = outside_spans(line);
            for mark in ["<", "http", "@", "[", "`", "EVIL"] {
                assert!(!outside.contains(mark), "{outside}");
            }
            if line.starts_with('|') {
                let cells = line.matches('|').count() - 1;
                assert!(cells == 6 || cells == 7, "{line}");
            }
        }
        assert!(text.contains("EVIL"));
    }

    /// The line without its code spans, as CommonMark finds them.
    #[expect(clippy::string_slice, reason = "a test stops at the first surprise")]
    fn outside_spans(line: &str) -> String {
        let run = |text: &str| text.len() - text.trim_start_matches('`').len();
        let (mut out, mut rest) = (String::new(), line);
        while let Some(open) = rest.find('`') {
            out.push_str(&rest[..open]);
            let length = run(&rest[open..]);
            let inside = &rest[open + length..];
            let mut at = 0;
            let close = loop {
                let Some(next) = inside[at..].find('`') else {
                    break None;
                };
                let found = run(&inside[at + next..]);
                if found == length {
                    break Some(at + next);
                }
                at += next + found;
            };
            match close {
                Some(close) => rest = &inside[close + length..],
                None => {
                    out.push_str(&rest[open..open + length]);
                    rest = inside;
                }
            }
        }
        out + rest
    }
}
