//! The trail as rows (RFC 4180), for spreadsheets.
//!
//! A cell that a spreadsheet would take for a formula gets an apostrophe before it, so that hostile
//! text stays text.

use std::fmt::Write as _;

use lar_core::audit::AuditTrail;
use lar_core::display::{Mode, escape};
use serde_json::Value;

const COLUMNS: [&str; 12] = [
    "seq",
    "timestamp",
    "kind",
    "token_name",
    "tool",
    "outcome",
    "error_type",
    "message",
    "args",
    "approver",
    "action_digest",
    "output_digest",
];

/// One row for each spend, decision, error and negotiation, in the order of the records.
pub fn render(trail: &AuditTrail) -> String {
    let value = serde_json::to_value(trail).unwrap_or_default();
    let mut rows: Vec<(u64, &str, &Value)> = Vec::new();
    for (name, kind) in [
        ("proofs", "spend"),
        ("approvals", "approval"),
        ("errors", "error"),
        ("negotiations", "negotiation"),
    ] {
        let lines = value.get(name).and_then(Value::as_array).into_iter().flatten();
        rows.extend(
            lines.map(|line| (line.get("seq").and_then(Value::as_u64).unwrap_or(0), kind, line)),
        );
    }
    rows.sort_by_key(|(seq, ..)| *seq);
    let mut out = format!("{}\r\n", COLUMNS.join(","));
    for (seq, kind, line) in rows {
        let field = |name: &str| match line.get(name) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        let message = ["result_summary", "message", "requested_scope"]
            .into_iter()
            .map(field)
            .find(|text| !text.is_empty())
            .unwrap_or_default();
        let outcome = match kind {
            "approval" if field("approved") == "true" => "approved".to_owned(),
            "approval" => "denied".to_owned(),
            "negotiation" if field("granted_token").is_empty() => "nothing granted".to_owned(),
            "negotiation" => "granted".to_owned(),
            _ => field("outcome"),
        };
        let token = match kind {
            "negotiation" => field("granted_token"),
            _ => field("token_name"),
        };
        let approver = match kind {
            "negotiation" => field("provider"),
            _ => field("approver"),
        };
        let cells = [
            seq.to_string(),
            field("timestamp"),
            kind.to_owned(),
            token,
            field("tool"),
            outcome,
            field("error_type"),
            message,
            field("args"),
            approver,
            field("action_digest"),
            field("output_digest"),
        ];
        let cells: Vec<String> = cells.iter().map(|text| cell(text)).collect();
        // Writing to a `String` cannot fail.
        let _ = write!(out, "{}\r\n", cells.join(","));
    }
    out
}

fn cell(text: &str) -> String {
    let text = escape(text, Mode::Line);
    let formula = text.trim_start().starts_with(['=', '+', '-', '@', '|', '%']);
    let lead = if formula { "'" } else { "" };
    format!("\"{lead}{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    #[test]
    fn each_event_is_a_row_in_order() {
        let text = render(&samples::whole());
        let lines: Vec<&str> = text.split_terminator("\r\n").collect();
        assert_eq!(lines[0], COLUMNS.join(","));
        let kinds: Vec<&str> =
            lines[1..].iter().map(|line| line.split(',').nth(2).unwrap()).collect();
        assert_eq!(kinds[0], "\"spend\"");
        assert!(kinds.contains(&"\"approval\"") && kinds.contains(&"\"negotiation\""));
        assert!(text.contains("\"approved\"") && text.contains("CommandNotAllowedError"));
    }

    #[test]
    fn hostile_text_is_no_formula_and_breaks_no_row() {
        for (text, shown) in [
            ("=cmd|' /C calc'!A0", "\"'=cmd|' /C calc'!A0\""),
            (" +1", "\"' +1\""),
            ("-1", "\"'-1\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            ("say \"hi\", all", "\"say \"\"hi\"\", all\""),
            ("a\r\nb", "\"a‹U+000D›‹U+000A›b\""),
            ("\t=1", "\"‹U+0009›=1\""),
        ] {
            assert_eq!(cell(text), shown);
        }
    }
}
