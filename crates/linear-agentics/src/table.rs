//! An audit trail as a table for a terminal: what was done, refused, approved and asked for in the
//! order of the record, then every token accounted for, then the run.
//!
//! All text of the record may be the model's or a program's. It is escaped so that every character
//! can be seen, then cut, and never the other way round.

mod grants;

use std::fmt::Write as _;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, Width};
use lar_core::audit::AuditTrail;
use lar_core::display::width as width_of;
use lar_core::ledger::RunSummary;

use crate::report::rows::{self, Tally};

pub use grants::{grant, grant_state, grants};

/// How wide a table is when nothing is known of the terminal, in columns.
pub const DEFAULT_WIDTH: u16 = 100;
/// Below this the columns hold nothing that could be read.
const NARROWEST: u16 = 60;
/// From here on each thing has a column of its own.
const WIDE: u16 = 96;
/// `CommandNotAllowedError`, the longest of the outcomes that the runtime writes.
const LONGEST_WORD: u16 = 22;

/// The trail as text, at most `width` columns wide; [`DEFAULT_WIDTH`] without one. A terminal
/// narrower than 60 columns wraps the lines itself.
pub fn render(trail: &AuditTrail, width: Option<u16>) -> String {
    let width = width.unwrap_or(DEFAULT_WIDTH).max(NARROWEST);
    let mut out = String::new();
    // Writing to a `String` cannot fail.
    let _ = writeln!(out, "{}\n", events(trail, width));
    let tallies = rows::tallies(trail);
    if !tallies.is_empty() {
        let _ = writeln!(out, "{}\n", tokens(&tallies, width));
    }
    for line in rows::run_lines(trail) {
        let _ = writeln!(out, "{line}");
    }
    out
}

/// The runs of a ledger as text, one a row, at most `width` columns wide.
pub fn runs(runs: &[RunSummary], width: Option<u16>) -> String {
    let mut table = table(width.unwrap_or(DEFAULT_WIDTH).max(NARROWEST));
    table.set_header(["run", "opened", "ended", "records", "task"]);
    for run in runs {
        let opened = run.opened.to_string();
        table.add_row([
            run.run.to_string(),
            opened.get(..19).unwrap_or_default().replace('T', " "),
            rows::shown(run.stop_reason.as_deref().unwrap_or("open"), 32),
            run.records.to_string(),
            rows::shown(&run.task, 120),
        ]);
    }
    align(&mut table, &[3]);
    trimmed(&table)
}

fn events(trail: &AuditTrail, width: u16) -> String {
    let rows = rows::rows(trail);
    if rows.is_empty() {
        return "nothing was done, refused or asked for".to_owned();
    }
    let mut table = table(width);
    // A cell of a hostile text takes a few lines and no more; fewer columns are wider ones.
    let most = usize::from(if width >= WIDE { width } else { width.saturating_mul(2) });
    if width >= WIDE {
        table.set_header(["time", "what", "token", "action", "outcome", "took", "detail"]);
        for row in &rows {
            table.add_row([
                row.clock(),
                row.what.to_owned(),
                rows::shown(&row.token, 64),
                rows::shown(&row.action, most),
                rows::shown(&row.outcome, 64),
                row.took(),
                rows::shown(&row.detail, most),
            ]);
        }
        // A word that a person searches for is not torn, as long as it is one of ours.
        let outcome =
            rows.iter().map(|row| rows::shown(&row.outcome, 64)).map(|text| width_of(&text));
        let widest = u16::try_from(outcome.max().unwrap_or(0)).unwrap_or(LONGEST_WORD);
        if let Some(column) = table.column_mut(4) {
            let fixed = Width::Fixed(widest.min(LONGEST_WORD) + 2);
            column.set_constraint(ColumnConstraint::LowerBoundary(fixed));
        }
        align(&mut table, &[5]);
    } else {
        table.set_header(["time", "token", "action", "outcome"]);
        for row in rows {
            let outcome = [&row.outcome, &row.took(), &row.detail]
                .into_iter()
                .filter(|text| !text.is_empty())
                .map(|text| rows::shown(text, most))
                .collect::<Vec<_>>()
                .join(", ");
            let action = match row.action.is_empty() {
                true => row.what.to_owned(),
                false => format!("{}: {}", row.what, rows::shown(&row.action, most)),
            };
            table.add_row([row.clock(), rows::shown(&row.token, 64), action, outcome]);
        }
    }
    trimmed(&table)
}

fn tokens(tallies: &[Tally], width: u16) -> String {
    let mut table = table(width);
    table.set_header(["token", "granted", "succeeded", "failed", "unknown", "unused"]);
    for tally in tallies {
        let mut cells = vec![rows::shown(&tally.token, 64)];
        cells.extend(tally.numbers());
        table.add_row(cells);
    }
    align(&mut table, &[1, 2, 3, 4, 5]);
    trimmed(&table)
}

fn table(width: u16) -> Table {
    let mut table = Table::new();
    table
        .load_style(UTF8_FULL_CONDENSED.with_rounded_corners())
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width);
    table
}

fn align(table: &mut Table, columns: &[usize]) {
    for index in columns {
        if let Some(column) = table.column_mut(*index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

fn trimmed(table: &Table) -> String {
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use lar_core::display::width;

    use super::*;
    use crate::report::samples;

    #[test]
    fn a_run_is_shown_in_the_order_of_its_record() {
        insta::assert_snapshot!(render(&samples::whole(), Some(130)), @r#"
        ╭──────────┬─────────────┬─────────┬─────────────────────────────┬────────────────────────┬─────────┬────────────────────────────╮
        │ time     ┆ what        ┆ token   ┆ action                      ┆ outcome                ┆    took ┆ detail                     │
        ╞══════════╪═════════════╪═════════╪═════════════════════════════╪════════════════════════╪═════════╪════════════════════════════╡
        │ 10:15:03 ┆ spend       ┆ pods    ┆ kubectl get pods -l 'app in ┆ succeeded              ┆   1.2 s ┆ exit 0, 812 bytes          │
        │          ┆             ┆         ┆ (a, b)'                     ┆                        ┆         ┆                            │
        │ 10:15:06 ┆ refusal     ┆ pods    ┆ {"command":"kubectl get     ┆ CommandNotAllowedError ┆         ┆ `;` at character 17 would  │
        │          ┆             ┆         ┆ pods; rm -rf /"}            ┆                        ┆         ┆ need a shell; the allowed  │
        │          ┆             ┆         ┆                             ┆                        ┆         ┆ commands begin with        │
        │          ┆             ┆         ┆                             ┆                        ┆         ┆ `kubectl get pods`         │
        │ 10:15:08 ┆ spend       ┆ health  ┆ GET                         ┆ failed                 ┆   31 ms ┆ no route                   │
        │          ┆             ┆         ┆ https://api.internal/health ┆                        ┆         ┆                            │
        │ 10:15:10 ┆ error       ┆ health  ┆                             ┆ ActionFailedError      ┆         ┆ no route                   │
        │ 10:15:11 ┆ approval    ┆ staging ┆ deploy_staging              ┆ approved               ┆         ┆ by alice (os-user)         │
        │          ┆             ┆         ┆ (registry.internal/app:v2   ┆                        ┆         ┆                            │
        │          ┆             ┆         ┆ to staging)                 ┆                        ┆         ┆                            │
        │ 10:15:13 ┆ spend       ┆ staging ┆ registry.internal/app:v2 to ┆ unknown                ┆ 1 m 5 s ┆ interrupted: killed        │
        │          ┆             ┆         ┆ staging                     ┆                        ┆         ┆                            │
        │ 10:15:15 ┆ error       ┆ staging ┆                             ┆ OutcomeUnknownError    ┆         ┆ interrupted: killed        │
        │ 10:15:17 ┆ negotiation ┆         ┆ restart the deployment      ┆ nothing granted        ┆         ┆ `alice` granted nothing    │
        │          ┆             ┆         ┆                             ┆                        ┆         ┆ (by human alice); it said: │
        │          ┆             ┆         ┆                             ┆                        ┆         ┆ it hangs                   │
        ╰──────────┴─────────────┴─────────┴─────────────────────────────┴────────────────────────┴─────────┴────────────────────────────╯

        ╭─────────┬─────────┬───────────┬────────┬─────────┬────────╮
        │ token   ┆ granted ┆ succeeded ┆ failed ┆ unknown ┆ unused │
        ╞═════════╪═════════╪═══════════╪════════╪═════════╪════════╡
        │ pods    ┆       5 ┆         1 ┆      0 ┆       0 ┆      4 │
        │ health  ┆       1 ┆         0 ┆      1 ┆       0 ┆      0 │
        │ staging ┆       1 ┆         0 ┆      0 ┆       1 ┆      0 │
        │ config  ┆       1 ┆         0 ┆      0 ┆       0 ┆      1 │
        ╰─────────┴─────────┴───────────┴────────┴─────────┴────────╯

        run 20261122-101500-0badcafe: error, 5 steps taken, 15 left, 12345 model tokens, $0.0456
        why: required tokens were never spent with success: `health`
        never used: config
        from 2026-11-22T10:15:01.700Z to 2026-11-22T10:15:18.700Z
        0 model turns, 11 records, head 38b5f092d2a72a3d4b18b263ac8f72251958877bbd817ff83d065373c418e309
        "#);
    }

    #[test]
    fn a_narrow_terminal_gets_fewer_columns() {
        insta::assert_snapshot!(render(&samples::whole(), Some(72)), @r#"
        ╭──────────┬─────────┬────────────────────────┬────────────────────────╮
        │ time     ┆ token   ┆ action                 ┆ outcome                │
        ╞══════════╪═════════╪════════════════════════╪════════════════════════╡
        │ 10:15:03 ┆ pods    ┆ spend: kubectl get     ┆ succeeded, 1.2 s, exit │
        │          ┆         ┆ pods -l 'app in (a,    ┆ 0, 812 bytes           │
        │          ┆         ┆ b)'                    ┆                        │
        │ 10:15:06 ┆ pods    ┆ refusal:               ┆ CommandNotAllowedError │
        │          ┆         ┆ {"command":"kubectl    ┆ , `;` at character 17  │
        │          ┆         ┆ get pods; rm -rf /"}   ┆ would need a shell;    │
        │          ┆         ┆                        ┆ the allowed commands   │
        │          ┆         ┆                        ┆ begin with `kubectl    │
        │          ┆         ┆                        ┆ get pods`              │
        │ 10:15:08 ┆ health  ┆ spend: GET https://api ┆ failed, 31 ms, no      │
        │          ┆         ┆ .internal/health       ┆ route                  │
        │ 10:15:10 ┆ health  ┆ error                  ┆ ActionFailedError, no  │
        │          ┆         ┆                        ┆ route                  │
        │ 10:15:11 ┆ staging ┆ approval:              ┆ approved, by alice     │
        │          ┆         ┆ deploy_staging (regist ┆ (os-user)              │
        │          ┆         ┆ ry.internal/app:v2 to  ┆                        │
        │          ┆         ┆ staging)               ┆                        │
        │ 10:15:13 ┆ staging ┆ spend: registry.intern ┆ unknown, 1 m 5 s,      │
        │          ┆         ┆ al/app:v2 to staging   ┆ interrupted: killed    │
        │ 10:15:15 ┆ staging ┆ error                  ┆ OutcomeUnknownError,   │
        │          ┆         ┆                        ┆ interrupted: killed    │
        │ 10:15:17 ┆         ┆ negotiation: restart   ┆ nothing granted,       │
        │          ┆         ┆ the deployment         ┆ `alice` granted        │
        │          ┆         ┆                        ┆ nothing (by human      │
        │          ┆         ┆                        ┆ alice); it said: it    │
        │          ┆         ┆                        ┆ hangs                  │
        ╰──────────┴─────────┴────────────────────────┴────────────────────────╯

        ╭─────────┬─────────┬───────────┬────────┬─────────┬────────╮
        │ token   ┆ granted ┆ succeeded ┆ failed ┆ unknown ┆ unused │
        ╞═════════╪═════════╪═══════════╪════════╪═════════╪════════╡
        │ pods    ┆       5 ┆         1 ┆      0 ┆       0 ┆      4 │
        │ health  ┆       1 ┆         0 ┆      1 ┆       0 ┆      0 │
        │ staging ┆       1 ┆         0 ┆      0 ┆       1 ┆      0 │
        │ config  ┆       1 ┆         0 ┆      0 ┆       0 ┆      1 │
        ╰─────────┴─────────┴───────────┴────────┴─────────┴────────╯

        run 20261122-101500-0badcafe: error, 5 steps taken, 15 left, 12345 model tokens, $0.0456
        why: required tokens were never spent with success: `health`
        never used: config
        from 2026-11-22T10:15:01.700Z to 2026-11-22T10:15:18.700Z
        0 model turns, 11 records, head 38b5f092d2a72a3d4b18b263ac8f72251958877bbd817ff83d065373c418e309
        "#);
    }

    #[test]
    fn an_open_run_says_so_and_is_still_accounted() {
        insta::assert_snapshot!(render(&samples::open(), None), @r#"
        ╭──────────┬───────┬───────┬────────────────────────┬─────────┬──────┬─────────────────────────╮
        │ time     ┆ what  ┆ token ┆ action                 ┆ outcome ┆ took ┆ detail                  │
        ╞══════════╪═══════╪═══════╪════════════════════════╪═════════╪══════╪═════════════════════════╡
        │ 10:15:03 ┆ spend ┆ pods  ┆ read /etc/app/app.toml ┆ unknown ┆ 0 ms ┆ no outcome was recorded │
        ╰──────────┴───────┴───────┴────────────────────────┴─────────┴──────┴─────────────────────────╯

        ╭───────┬─────────┬───────────┬────────┬─────────┬────────╮
        │ token ┆ granted ┆ succeeded ┆ failed ┆ unknown ┆ unused │
        ╞═══════╪═════════╪═══════════╪════════╪═════════╪════════╡
        │ pods  ┆       5 ┆         0 ┆      0 ┆       1 ┆      4 │
        ╰───────┴─────────┴───────────┴────────┴─────────┴────────╯

        run 20261122-101500-0badcafe: open (still running, or it was cut off)
        from 2026-11-22T10:15:01.700Z
        0 model turns, 2 records, head 43510cb0293907052619805cafc3cab082c2a202d5b1f37a6f2f4327fbcb50ca
        "#);
    }

    #[test]
    fn no_width_is_exceeded_and_nothing_hostile_gets_through() {
        for columns in [1, 60, 72, 95, 96, 130, 400] {
            let text = render(&samples::hostile(), Some(columns));
            for line in text.lines().filter(|line| line.starts_with(['│', '╭', '╞', '╰'])) {
                assert!(width(line) <= usize::from(columns.max(NARROWEST)), "{columns}: {line}");
            }
            let unseen = |c: char| c != '\n' && (c.is_control() || "\u{202e}\u{200b}".contains(c));
            assert!(!text.contains(unseen), "{text}");
            assert!(text.contains("‹U+202E›") || columns < 130, "{text}");
            assert!(text.len() < 40_000, "{}", text.len());
        }
    }
}
