//! An audit trail as a piece of HTML for a notebook: two tables and a few lines, without scripts,
//! links or styles of the text's own.

use lar_core::audit::AuditTrail;

use super::rows::{self, shown};

/// The longest text in a cell, in columns.
const MOST: usize = 400;

/// The trail as an HTML fragment. Every text of the record is made visible, then escaped.
pub fn render(trail: &AuditTrail) -> String {
    let mut out = String::from("<div>");
    let events = rows::rows(trail);
    if events.is_empty() {
        out.push_str("<p>nothing was done, refused or asked for</p>");
    } else {
        open(&mut out, &["time", "what", "token", "action", "outcome", "took", "detail"]);
        for event in &events {
            let cells = [
                event.clock(),
                event.what.to_owned(),
                shown(&event.token, MOST),
                shown(&event.action, MOST),
                shown(&event.outcome, MOST),
                event.took(),
                shown(&event.detail, MOST),
            ];
            row(&mut out, &cells);
        }
        out.push_str("</tbody></table>");
    }
    let tallies = rows::tallies(trail);
    if !tallies.is_empty() {
        open(&mut out, &["token", "granted", "succeeded", "failed", "unknown", "unused"]);
        let known = |count: Option<u64>| count.map_or_else(String::new, |count| count.to_string());
        for tally in &tallies {
            let cells = [
                shown(&tally.token, MOST),
                known(tally.granted),
                tally.succeeded.to_string(),
                tally.failed.to_string(),
                tally.unknown.to_string(),
                known(tally.unused),
            ];
            row(&mut out, &cells);
        }
        out.push_str("</tbody></table>");
    }
    for line in rows::run_lines(trail) {
        out.push_str(&format!("<p>{}</p>", text(&line)));
    }
    out.push_str("</div>");
    out
}

fn open(out: &mut String, names: &[&str]) {
    out.push_str("<table><thead><tr>");
    for name in names {
        out.push_str(&format!("<th>{name}</th>"));
    }
    out.push_str("</tr></thead><tbody>");
}

fn row(out: &mut String, cells: &[String]) {
    out.push_str("<tr>");
    for cell in cells {
        out.push_str(&format!("<td>{}</td>", text(cell)));
    }
    out.push_str("</tr>");
}

fn text(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    for c in raw.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // A notebook may take what stands between these for a formula.
            '$' => out.push_str("&#36;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    #[test]
    fn no_text_of_the_record_becomes_markup() {
        let html = render(&samples::hostile());
        let allowed = ["div", "p", "table", "thead", "tbody", "tr", "th", "td"];
        for piece in html.split('<').skip(1) {
            let tag = piece.split('>').next().unwrap();
            assert!(allowed.contains(&tag.trim_start_matches('/')), "<{tag}>");
        }
        assert!(!html.contains('\u{1b}') && !html.contains('\u{202e}'));
    }
}
