//! Shows on stderr what a run is doing, while it does it. All text of the model and of children is
//! escaped here.

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressStyle};
use linear_agentics::approval::Awaited;
use linear_agentics::approvals::short;
use linear_agentics::display::{Mode, clip, escape, fold};
use linear_agentics::outcome::Verdict;
use linear_agentics::{Event, Observer};

use crate::output::{say, stderr_width};

/// How wide a shown input may be, in columns.
const INPUT_COLUMNS: usize = 100;

/// Watches a run.
pub struct Progress {
    state: Mutex<State>,
}

struct State {
    spinner: Option<ProgressBar>,
    terminal: bool,
    /// The model's text of this turn, line by line.
    pending: String,
    since: Instant,
}

impl Progress {
    /// Watches on stderr, with a spinner when it is a terminal.
    pub fn new() -> Self {
        let state = State {
            spinner: None,
            terminal: std::io::stderr().is_terminal(),
            pending: String::new(),
            since: Instant::now(),
        };
        Self { state: Mutex::new(state) }
    }
}

impl Observer for Progress {
    fn notice(&self, event: Event<'_>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.show(event);
    }
}

impl State {
    fn show(&mut self, event: Event<'_>) {
        match event {
            Event::Confined { tier } => self.line(&format!("programs are confined at {tier}")),
            Event::TurnStarted { turn } => {
                self.since = Instant::now();
                self.spin(&format!("turn {turn}: the model is thinking"));
            }
            Event::ModelText(text) => self.words(text),
            Event::Retrying { why, wait } => {
                self.pending.clear();
                self.line(&format!(
                    "  trying the model again in {:.1} s: {}",
                    wait.as_secs_f32(),
                    escape(why, Mode::Line)
                ));
            }
            Event::CallStarted { tool, input } => {
                self.flush();
                self.since = Instant::now();
                let input = shown_input(input);
                self.line(&format!("  → {} {input}", escape(tool, Mode::Line)));
                self.spin("working");
            }
            Event::CallSealed(proof) => {
                let (mark, colour) = match proof.outcome() {
                    Verdict::Succeeded => ("✓", AnsiColor::Green),
                    Verdict::Failed => ("✗", AnsiColor::Red),
                    Verdict::Unknown => ("?", AnsiColor::Yellow),
                };
                let took = Duration::from_millis(proof.duration_ms());
                let word = paint(colour, &format!("{mark} {}", proof.outcome().as_str()));
                let summary = escape(proof.result_summary(), Mode::Line);
                self.line(&format!("    {word} in {}: {summary}", time(took)));
            }
            Event::CallAnswered { answer, .. } => {
                let took = time(self.since.elapsed());
                let word = paint(AnsiColor::Green, "✓ answered");
                self.line(&format!("    {word} in {took}: {}", escape(answer, Mode::Line)));
            }
            Event::CallRefused { error_type, message, .. } => {
                self.flush();
                let took = time(self.since.elapsed());
                let word = paint(AnsiColor::Red, &format!("✗ {error_type}"));
                let why = escape(message, Mode::Line);
                self.line(&format!("    {word} in {took}: {why}"));
            }
            Event::Asking { .. } => {
                self.flush();
                self.rest();
            }
            Event::Waiting(waiting) => {
                self.flush();
                self.rest();
                self.line(&awaited(waiting));
            }
            Event::Answered { approved } => {
                let word = if approved { "approved" } else { "not approved" };
                self.line(&format!("    {word}"));
            }
            Event::RollingBack { token } => {
                self.line(&format!("  ← rolling back {}", escape(token, Mode::Line)));
            }
            Event::LogBehind { why } => {
                let word = paint(AnsiColor::Yellow, "not signed yet");
                self.line(&format!("{word}: {}", escape(why, Mode::Line)));
            }
            Event::NotKept { why } => {
                self.line(&format!("not all outputs were kept: {}", escape(why, Mode::Line)));
            }
            Event::Unstamped { why } => {
                self.line(&format!("unstamped: {}", escape(why, Mode::Line)));
            }
            Event::Unwitnessed { why } => {
                let word = paint(AnsiColor::Yellow, "unwitnessed");
                self.line(&format!("{word}: {}", escape(why, Mode::Line)));
            }
            Event::CutOff { run } => {
                self.line(&format!(
                    "run {run} was cut off; `lar resume {run}` goes on with it, and with --abandon seals it"
                ));
            }
            Event::Recovered { run } => {
                self.line(&format!(
                    "sealed run {run}, whose process was gone (lar audit show {run})"
                ));
            }
            Event::NotRecovered { run, why } => {
                self.line(&format!(
                    "run {run}, whose process was gone, could not be sealed: {}",
                    escape(why, Mode::Line)
                ));
            }
            _ => {}
        }
    }

    /// Shows the model's text as whole lines, so that a line of it can't be mistaken for ours.
    fn words(&mut self, text: &str) {
        self.pending.push_str(text);
        while let Some((line, rest)) = self.pending.split_once('\n') {
            let (line, rest) = (line.to_owned(), rest.to_owned());
            self.pending = rest;
            self.said(&line);
        }
        // A line without an end must not grow without one.
        if self.pending.len() > 4_096 {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let rest = std::mem::take(&mut self.pending);
        if !rest.is_empty() {
            self.said(&rest);
        }
    }

    /// Folds a long line itself: what the terminal folds begins at its left edge, where a text of
    /// many spaces could pass for a line of ours.
    fn said(&self, line: &str) {
        let line = escape(line, Mode::Line);
        let lines = match self.terminal {
            true => fold(&line, stderr_width().saturating_sub(4)),
            false => vec![line],
        };
        for line in lines {
            self.line(&format!("  │ {line}"));
        }
    }

    fn line(&self, text: &str) {
        match &self.spinner {
            Some(spinner) => spinner.suspend(|| say(text)),
            None => say(text),
        }
    }

    fn spin(&mut self, message: &str) {
        if !self.terminal {
            return;
        }
        let spinner = self.spinner.get_or_insert_with(|| {
            let spinner = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
                spinner.set_style(style);
            }
            spinner.enable_steady_tick(Duration::from_millis(120));
            spinner
        });
        spinner.reset_elapsed();
        spinner.set_message(message.to_owned());
    }

    /// Leaves the terminal to somebody else.
    fn rest(&mut self) {
        if let Some(spinner) = self.spinner.take() {
            spinner.finish_and_clear();
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.flush();
        self.rest();
    }
}

fn paint(colour: AnsiColor, text: &str) -> String {
    let style = Style::new().fg_color(Some(colour.into()));
    format!("{style}{text}{style:#}")
}

fn time(duration: Duration) -> String {
    match duration.as_millis() {
        millis @ 0..1_000 => format!("{millis} ms"),
        _ => format!("{:.1} s", duration.as_secs_f32()),
    }
}

/// Who is waited for, and how they answer.
fn awaited(waiting: &Awaited<'_>) -> String {
    let id = short(&waiting.attempt);
    let token = escape(waiting.token_name, Mode::Line);
    match (waiting.flaw, waiting.by) {
        (Some(flaw), _) => {
            format!("    a decision doesn't count: {}", escape(&flaw.to_string(), Mode::Line))
        }
        (None, []) => {
            let people = escape(&waiting.approvers.summary(), Mode::Line);
            format!(
                "  token {token} needs the approval of {people}; it waits for `lar approve {id}` on this ledger"
            )
        }
        (None, by) => {
            let (count, required) = (by.len(), waiting.approvers.required());
            format!("    approved by {}: {count} of {required}", escape(&by.join(", "), Mode::Line))
        }
    }
}

/// The beginning of an input. It is cut before it is escaped: what a model sends may be megabytes
/// long, and a hundred columns of it are shown.
fn shown_input(input: &str) -> String {
    let most = 4 * INPUT_COLUMNS;
    let (beginning, left) = match input.char_indices().nth(most) {
        Some((end, _)) => input.split_at(end),
        None => (input, ""),
    };
    let shown = clip(&escape(&one_line(beginning), Mode::Line), INPUT_COLUMNS);
    match left.len() {
        0 => shown,
        more => format!("{shown} and {more} more bytes"),
    }
}

/// JSON text on one line: its own line breaks stand between values only.
fn one_line(json: &str) -> String {
    json.split('\n').map(str::trim).collect::<Vec<_>>().join(" ")
}
