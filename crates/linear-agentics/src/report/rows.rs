//! What every way of showing a trail has in common: its events in the order of the record, its
//! tokens accounted for, and the run in a few lines. The texts are raw until [`shown`] escapes them.

use std::collections::BTreeSet;

use lar_core::audit::AuditTrail;
use lar_core::audit::trail::{ApprovalLine, ErrorLine, NegotiationLine, Proof};
use lar_core::display::{self, Mode};
use lar_core::outcome::Verdict;
use lar_core::time::Timestamp;
use serde_json::Value;

/// One event.
pub(crate) struct Row {
    pub seq: u64,
    pub time: Timestamp,
    /// What sort of event, in one word.
    pub what: &'static str,
    pub token: String,
    pub action: String,
    pub outcome: String,
    pub took_ms: Option<u64>,
    pub detail: String,
}

/// What became of a token's uses. What isn't known while a run is open is absent.
pub(crate) struct Tally {
    pub token: String,
    pub granted: Option<u64>,
    pub succeeded: u64,
    pub failed: u64,
    pub unknown: u64,
    pub unused: Option<u64>,
}

/// Text of the record made visible, then cut to at most `most` columns.
pub(crate) fn shown(text: &str, most: usize) -> String {
    display::clip(&display::escape(text, Mode::Line), most)
}

/// The events in the order of the record.
pub(crate) fn rows(trail: &AuditTrail) -> Vec<Row> {
    let mut rows: Vec<Row> = trail.proofs.iter().map(spend).collect();
    rows.extend(trail.approvals.iter().map(approval));
    rows.extend(trail.errors.iter().map(error));
    rows.extend(trail.negotiations.iter().map(negotiation));
    rows.sort_by_key(|row| row.seq);
    rows
}

/// Every token of the run. While it is open, what the record says so far.
pub(crate) fn tallies(trail: &AuditTrail) -> Vec<Tally> {
    if trail.run.closed.is_some() {
        let accounts = trail.run.accounts.iter();
        return accounts
            .map(|account| Tally {
                token: account.token_name.clone(),
                granted: Some(account.granted),
                succeeded: account.succeeded,
                failed: account.failed,
                unknown: account.unknown,
                unused: Some(account.unused),
            })
            .collect();
    }
    let mut tallies: Vec<Tally> = Vec::new();
    let declared = trail.run.open.tokens.iter();
    tallies.extend(declared.map(|line| Tally::new(&line.name, Some(u64::from(line.uses)))));
    let known: BTreeSet<String> = tallies.iter().map(|tally| tally.token.clone()).collect();
    let mut granted: BTreeSet<&str> = trail.proofs.iter().map(Proof::token_name).collect();
    granted
        .extend(trail.negotiations.iter().filter_map(|n| n.negotiation.granted_token.as_deref()));
    let later = granted.into_iter().filter(|name| !known.contains(*name));
    tallies.extend(later.map(|name| Tally::new(name, None)));
    for tally in &mut tallies {
        for proof in trail.proofs.iter().filter(|proof| proof.token_name() == tally.token) {
            match proof.outcome() {
                Verdict::Succeeded => tally.succeeded += 1,
                Verdict::Failed => tally.failed += 1,
                Verdict::Unknown => tally.unknown += 1,
            }
        }
        let spent = tally.succeeded + tally.failed + tally.unknown;
        tally.unused = tally.granted.map(|granted| granted.saturating_sub(spent));
    }
    tallies
}

/// The run in a few lines, escaped.
pub(crate) fn run_lines(trail: &AuditTrail) -> Vec<String> {
    let run = &trail.run;
    let mut first = format!("run {}: {}", run.id, ending(trail));
    if let Some(end) = &run.end {
        first.push_str(&format!(
            ", {} taken, {} left, {}",
            count(end.steps_taken, "step"),
            end.budget_remaining,
            count(end.model_tokens, "model token")
        ));
        if end.cost_micro_usd > 0 {
            first.push_str(&format!(", ${}", dollars(end.cost_micro_usd)));
        }
    }
    let mut lines = vec![first];
    if let Some(why) = run.end.as_ref().and_then(|end| end.error.as_ref()) {
        lines.push(format!("why: {}", shown(why, 400)));
    }
    if !run.tokens_unused.is_empty() {
        let names: Vec<String> = run.tokens_unused.iter().map(|name| shown(name, 64)).collect();
        lines.push(format!("never used: {}", names.join(", ")));
    }
    let closed = run.closed.map_or_else(String::new, |closed| format!(" to {closed}"));
    lines.push(format!("from {}{closed}", run.opened));
    lines.push(format!(
        "{}, {}, head {}",
        count(run.model_turns, "model turn"),
        count(run.records, "record"),
        run.head
    ));
    lines
}

/// How a run ended, escaped.
pub(crate) fn ending(trail: &AuditTrail) -> String {
    match &trail.run.stop_reason {
        Some(reason) => shown(reason, 64),
        None => "open (still running, or it was cut off)".to_owned(),
    }
}

/// A number and its noun.
pub(crate) fn count(number: u64, noun: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{s}")
}

/// What was done, in one line: a command as it could be typed, a request's first line, a path.
pub(crate) fn action(args: &Value) -> String {
    let text = |key: &str| args.get(key).map(plain).unwrap_or_default();
    match args.get("kind").and_then(Value::as_str).unwrap_or_default() {
        "shell" => words(args.get("argv")),
        "http" => match args.get("body") {
            Some(body) => format!("{} {} with {}", text("method"), text("url"), plain(body)),
            None => format!("{} {}", text("method"), text("url")),
        },
        "file" => match text("path").as_str() {
            "" => format!("{} {}", text("operation"), text("root")),
            path => format!("{} {}/{path}", text("operation"), text("root")),
        },
        "deploy" => format!("{} to {}", text("image"), text("target")),
        "rollback" => format!("return to {} on {}", text("image"), text("target")),
        "wait" => match args.get("reason") {
            Some(reason) => format!("{} s: {}", text("seconds"), plain(reason)),
            None => format!("{} s", text("seconds")),
        },
        "secret" => {
            format!("{} (with a secret)", args.get("inner").map(action).unwrap_or_default())
        }
        _ => args.to_string(),
    }
}

fn words(argv: Option<&Value>) -> String {
    let words = argv.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    words.iter().map(|word| quoted(&plain(word))).collect::<Vec<_>>().join(" ")
}

/// A word as a shell would read it: what could be read otherwise stands in quotes.
fn quoted(word: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-{}".contains(c);
    match !word.is_empty() && word.chars().all(bare) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// A text as it is; a long one, which is recorded by its digest, by that.
fn plain(value: &Value) -> String {
    match (value, value.get("bytes"), value.get("sha256").and_then(Value::as_str)) {
        (Value::String(text), ..) => text.clone(),
        (_, Some(bytes), Some(sha256)) => format!("<{bytes} bytes, SHA-256 {sha256}>"),
        _ => value.to_string(),
    }
}

fn spend(proof: &Proof) -> Row {
    let mut detail = proof.reason().unwrap_or_default().to_owned();
    if !proof.result_summary().is_empty() {
        if !detail.is_empty() {
            detail.push_str(": ");
        }
        detail.push_str(proof.result_summary());
    }
    Row {
        seq: proof.seq(),
        time: proof.timestamp(),
        what: "spend",
        token: proof.token_name().to_owned(),
        action: action(proof.args()),
        outcome: proof.outcome().as_str().to_owned(),
        took_ms: Some(proof.duration_ms()),
        detail,
    }
}

fn approval(line: &ApprovalLine) -> Row {
    let approval = &line.approval;
    let by = match (approval.approver.as_str(), approval.approver_identity.as_str()) {
        ("none", "none") => "nobody answered".to_owned(),
        (name, identity) => format!("by {name} ({identity})"),
    };
    Row {
        seq: line.seq,
        time: line.timestamp,
        what: "approval",
        token: approval.token_name.clone(),
        action: approval.message.clone(),
        outcome: if approval.approved { "approved" } else { "denied" }.to_owned(),
        took_ms: None,
        detail: by,
    }
}

fn error(line: &ErrorLine) -> Row {
    let error = &line.error;
    let what = match error.error_type.as_str() {
        "ActionFailedError" | "OutcomeUnknownError" | "NeverBeganError" => "error",
        _ => "refusal",
    };
    Row {
        seq: line.seq,
        time: line.timestamp,
        what,
        token: error.token_name.clone(),
        action: error.input.clone().unwrap_or_default(),
        outcome: error.error_type.clone(),
        took_ms: None,
        detail: error.message.clone(),
    }
}

fn negotiation(line: &NegotiationLine) -> Row {
    let negotiation = &line.negotiation;
    let by = match negotiation.provider.as_str() {
        "" => negotiation.provider_type.clone(),
        name => format!("{} {name}", negotiation.provider_type),
    };
    let decided = match &negotiation.reason {
        Some(reason) => format!("{reason} (by {by})"),
        None => format!("by {by}"),
    };
    Row {
        seq: line.seq,
        time: line.timestamp,
        what: "negotiation",
        token: negotiation.granted_token.clone().unwrap_or_default(),
        action: negotiation.requested_scope.clone(),
        outcome: match negotiation.granted_token {
            Some(_) => "granted".to_owned(),
            None => "nothing granted".to_owned(),
        },
        took_ms: None,
        detail: format!("{decided}; it said: {}", negotiation.justification),
    }
}

impl Row {
    /// The time of day, in UTC; the day stands with the run.
    pub fn clock(&self) -> String {
        self.time.to_string().get(11..19).unwrap_or_default().to_owned()
    }

    /// How long it took, for people.
    pub fn took(&self) -> String {
        match self.took_ms {
            None => String::new(),
            Some(ms @ 0..1_000) => format!("{ms} ms"),
            Some(ms @ 1_000..60_000) => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
            Some(ms) => format!("{} m {} s", ms / 60_000, ms % 60_000 / 1_000),
        }
    }
}

impl Tally {
    fn new(token: &str, granted: Option<u64>) -> Self {
        let token = token.to_owned();
        Self { token, granted, succeeded: 0, failed: 0, unknown: 0, unused: None }
    }

    /// The numbers as cells.
    pub fn numbers(&self) -> [String; 5] {
        let known = |number: Option<u64>| number.map_or_else(|| "?".to_owned(), |n| n.to_string());
        [
            known(self.granted),
            self.succeeded.to_string(),
            self.failed.to_string(),
            self.unknown.to_string(),
            known(self.unused),
        ]
    }
}

/// Millionths of a dollar as dollars, to the cent where that is exact enough.
fn dollars(micro: u64) -> String {
    let exact = format!("{}.{:06}", micro / 1_000_000, micro % 1_000_000);
    let (head, tail) =
        exact.split_at_checked(exact.len().saturating_sub(4)).unwrap_or((&exact, ""));
    format!("{head}{}", tail.trim_end_matches('0'))
}
