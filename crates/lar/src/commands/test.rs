//! `lar test`: the examples that a manifest's tokens carry, like unit tests for a policy.

use std::path::PathBuf;

use anstyle::{AnsiColor, Style};
use linear_agentics::display::{Mode, clip, escape};
use linear_agentics::id::{CallSite, Part, RunId};
use linear_agentics::invocation::ToolCall;
use linear_agentics::report::visible_json;
use linear_agentics::scope::Scope;
use linear_agentics::tokens::Token;
use linear_agentics::{CapabilitySet, Refusal, judge};
use serde::Serialize;
use serde_json::json;

use super::check::{YELLOW, paint};
use super::try_call::set_of;
use crate::output::{Exit, println};

const GREEN: Style = AnsiColor::Green.on_default();
const RED: Style = AnsiColor::Red.on_default();
/// The most columns of an example on its line.
const MOST: usize = 160;

/// Run the examples that a manifest's tokens carry
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 every example came out as stated, 5 one didn't, 2 the manifest \
is not valid."
)]
pub struct Args {
    /// The manifest
    manifest: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// One example and what came of it.
#[derive(Serialize)]
struct Tested {
    token: String,
    tool: String,
    /// `allow` or `deny`, as the manifest states.
    expected: &'static str,
    example: String,
    /// `allow` or `deny`, as it is.
    decision: &'static str,
    ok: bool,
    error: Option<&'static str>,
    message: Option<String>,
}

/// Tests.
pub fn run(args: Args) -> Exit {
    let manifest = match super::read_manifest(&args.manifest) {
        Ok(manifest) => manifest,
        Err(exit) => return exit,
    };
    // A candidate's examples hold or don't, whether or not anybody grants it.
    let set = match set_of(&manifest, true) {
        Ok(set) => set,
        Err(exit) => return exit,
    };
    let Ok(run) = RunId::new("test") else {
        return Exit::Error;
    };
    let mut tested = Vec::new();
    let mut untested = Vec::new();
    for token in manifest.tokens.iter().chain(&manifest.candidates) {
        let examples = token.examples();
        if examples.allows.is_empty() && examples.refuses.is_empty() {
            untested.push(token.name().to_owned());
        }
        let allows = examples.allows.iter().map(|example| ("allow", example));
        let refuses = examples.refuses.iter().map(|example| ("deny", example));
        for (expected, example) in allows.chain(refuses) {
            tested.push(one(&set, &run, token, expected, example));
        }
    }
    let failed = tested.iter().filter(|one| !one.ok).count();
    if args.json {
        let value = json!({
            "passed": tested.len() - failed, "failed": failed, "untested": untested, "examples": tested,
        });
        println(&visible_json(&format!("{value:#}")));
    } else {
        show(&tested, &untested, failed);
    }
    if failed == 0 { Exit::Complete } else { Exit::Refused }
}

fn one(
    set: &CapabilitySet,
    run: &RunId,
    token: &Token,
    expected: &'static str,
    example: &str,
) -> Tested {
    let site = CallSite { run: run.clone(), turn: 1, index: 0, part: Part::Call };
    let input = match takes_command(token.scope()) {
        true => json!({"command": example}).to_string(),
        false => example.to_owned(),
    };
    let tool = token.tool_name();
    let judged = judge(ToolCall { site, tool: tool.clone(), input, rationale: None }, set);
    let refusal: Option<Refusal> = judged.err();
    let decision = if refusal.is_none() { "allow" } else { "deny" };
    Tested {
        token: token.name().to_owned(),
        tool,
        expected,
        example: example.to_owned(),
        decision,
        ok: decision == expected,
        error: refusal.as_ref().map(Refusal::error_type),
        message: refusal.map(|refusal| refusal.to_string()),
    }
}

/// Whether an example is a command rather than the tool's input.
fn takes_command(scope: &Scope) -> bool {
    match scope {
        Scope::Shell(_) => true,
        Scope::Secret(secret) => takes_command(&secret.inner),
        Scope::Http(_)
        | Scope::File(_)
        | Scope::Deploy(_)
        | Scope::Rollback(_)
        | Scope::Database(_)
        | Scope::Wait(_) => false,
    }
}

fn show(tested: &[Tested], untested: &[String], failed: usize) {
    let mut text = String::new();
    let mut last = "";
    for one in tested {
        if one.token != last {
            text.push_str(&format!("{} ({})\n", one.token, one.tool));
            last = &one.token;
        }
        let mark = if one.ok { paint(GREEN, "ok  ") } else { paint(RED, "FAIL") };
        let claim = if one.expected == "allow" { "allows " } else { "refuses" };
        let example = clip(&escape(&one.example, Mode::Line), MOST);
        text.push_str(&format!("  {mark} {claim} {example}\n"));
        if !one.ok {
            let why = match (&one.error, &one.message) {
                (Some(error), Some(message)) => format!("{error}: {}", escape(message, Mode::Line)),
                _ => "it is allowed; narrow the token".to_owned(),
            };
            text.push_str(&format!("       {why}\n"));
        }
    }
    if !untested.is_empty() {
        let names = untested.join(", ");
        let hint = "state some with `allows` and `refuses`";
        text.push_str(&format!("{} {names}: no examples; {hint}\n", paint(YELLOW, "untested")));
    }
    let passed = tested.len() - failed;
    text.push_str(&format!("\n{passed} passed, {failed} failed"));
    println(&text);
}
