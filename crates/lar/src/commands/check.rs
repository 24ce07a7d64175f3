//! `lar check`: whether a manifest is valid, and the worst that its tokens could do.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anstyle::{AnsiColor, Style};
use linear_agentics::Programs;
use linear_agentics::display::{Mode, escape};
use linear_agentics::manifest::{Manifest, Report, Surroundings, Warning, worst};
use linear_agentics::report::visible_json;
use linear_agentics::scope::Scope;
use linear_agentics::scope::deploy::DeployMethod;
use linear_agentics::time::Timestamp;
use linear_agentics::tokens::Token;
use serde::Serialize;
use serde_json::json;

use crate::output::{Exit, println, say};

/// Validate a manifest and say the worst that its tokens could do
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 valid, 1 valid with warnings and --strict was given, 2 not valid. \
A program that isn't on this machine is told and is no warning: the run may be elsewhere."
)]
pub struct Args {
    /// The manifest
    manifest: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// Fail when there are warnings
    #[arg(long)]
    strict: bool,
}

/// A program that a token may start, and where it is on this machine.
#[derive(Debug, Serialize)]
struct Found {
    program: String,
    tokens: Vec<String>,
    path: Option<PathBuf>,
    problem: Option<String>,
}

/// Checks.
pub fn run(args: Args) -> Exit {
    let manifest = match read(&args) {
        Ok(manifest) => manifest,
        Err(exit) => return exit,
    };
    let has_env = |name: &str| std::env::var_os(name).is_some();
    let around = Surroundings { now: Some(now()), has_env: Some(&has_env) };
    let report = worst(&manifest, &around);
    let programs = programs(&manifest);
    if args.json {
        let value = json!({"valid": true, "report": report, "programs": programs});
        println(&visible_json(&format!("{value:#}")));
    } else {
        show(&args.manifest, &report, &programs);
    }
    match args.strict && warnings(&report).next().is_some() {
        true => Exit::Error,
        false => Exit::Complete,
    }
}

/// The time, by this machine's clock.
pub(super) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// The same path without `.` in it.
pub(super) fn plain(path: &Path) -> PathBuf {
    path.components().collect()
}

/// What goes into the colour when the terminal takes one.
pub(super) fn paint(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// A warning's colour.
pub(super) const YELLOW: Style = AnsiColor::Yellow.on_default();

/// Reads the manifest; with `--json`, what is wrong with it goes to stdout as JSON.
fn read(args: &Args) -> Result<Manifest, Exit> {
    if !args.json {
        return super::read_manifest(&args.manifest);
    }
    let invalid = |diagnostics: serde_json::Value| {
        let value = json!({"valid": false, "diagnostics": diagnostics});
        println(&visible_json(&format!("{value:#}")));
        Exit::Usage
    };
    let unread = |what: &str| invalid(json!([{"message": format!("the manifest {what}")}]));
    let bytes = super::read_capped(&args.manifest).map_err(|what| unread(&what))?;
    let base = super::base_of(&args.manifest)
        .ok_or_else(|| unread("lies in no directory; name an existing file"))?;
    Manifest::read_with(&bytes, &base, &super::read_capped)
        .map_err(|error| invalid(json!(error.diagnostics())))
}

fn warnings(report: &Report) -> impl Iterator<Item = &Warning> {
    report.warnings.iter().chain(report.tokens.iter().flat_map(|token| &token.warnings))
}

fn show(path: &Path, report: &Report, programs: &[Found]) {
    let mut text = String::new();
    for line in report.to_string().lines() {
        match line.split_once("warning: ") {
            Some((indent, rest)) if indent.trim().is_empty() => {
                text.push_str(&format!("{indent}{} {rest}\n", paint(YELLOW, "warning:")));
            }
            _ => text.push_str(&format!("{line}\n")),
        }
    }
    if !programs.is_empty() {
        text.push_str("\non this machine\n");
    }
    for found in programs {
        let program = escape(&found.program, Mode::Line);
        let what = match (&found.path, &found.problem) {
            (Some(path), _) => escape(&path.to_string_lossy(), Mode::Line),
            (None, problem) => {
                let problem = escape(problem.as_deref().unwrap_or_default(), Mode::Line);
                format!("{}: {problem}", paint(YELLOW, "missing"))
            }
        };
        text.push_str(&format!("  {program}: {what} ({})\n", found.tokens.join(", ")));
    }
    println(text.trim_end());
    let count = warnings(report).count();
    let shown = escape(&path.to_string_lossy(), Mode::Line);
    say(&match count {
        0 => format!("\n`{shown}` is valid"),
        1 => format!("\n`{shown}` is valid, with 1 warning"),
        count => format!("\n`{shown}` is valid, with {count} warnings"),
    });
}

/// Every program that a token may start, once, in the order of the names.
fn programs(manifest: &Manifest) -> Vec<Found> {
    let mut users: BTreeMap<(String, PathBuf), Vec<String>> = BTreeMap::new();
    for token in manifest.tokens.iter().chain(&manifest.candidates) {
        for (program, workdir) in starts(token, manifest) {
            let names = users.entry((program, workdir)).or_default();
            if names.last().is_none_or(|last| last != token.name()) {
                names.push(token.name().to_owned());
            }
        }
    }
    let programs = Programs::from_environment();
    let looked_up = users.into_iter().map(|((program, workdir), tokens)| {
        let (path, problem) = match programs.find(&program, &workdir) {
            Ok(path) => (Some(plain(&path)), None),
            Err(error) => (None, Some(error.to_string())),
        };
        Found { program, tokens, path, problem }
    });
    looked_up.collect()
}

/// The programs that a token names, each with the directory in which it would start. A name without
/// `/` is looked up in PATH, whatever the directory.
fn starts(token: &Token, manifest: &Manifest) -> Vec<(String, PathBuf)> {
    let (names, workdir) = named(token.scope());
    let workdir = workdir.map_or_else(|| manifest.base.clone(), PathBuf::from);
    let place = |name: &str| {
        if name.contains('/') { workdir.clone() } else { PathBuf::new() }
    };
    names
        .into_iter()
        .map(|name| {
            let at = place(&name);
            (name, at)
        })
        .collect()
}

fn named(scope: &Scope) -> (Vec<String>, Option<&str>) {
    match scope {
        Scope::Shell(shell) => {
            let prefixes = shell.commands.prefixes().iter();
            (prefixes.map(|p| p.program().to_owned()).collect(), shell.workdir.as_deref())
        }
        Scope::Deploy(deploy) | Scope::Rollback(deploy) => match &deploy.method {
            DeployMethod::Kubectl { .. } => (vec!["kubectl".to_owned()], None),
            DeployMethod::Command { argv, rollback_argv } => {
                let all = [Some(argv), rollback_argv.as_ref()].into_iter().flatten();
                (all.filter_map(|argv| argv.first().cloned()).collect(), None)
            }
        },
        Scope::Secret(secret) => named(&secret.inner),
        Scope::Http(_) | Scope::File(_) | Scope::Database(_) | Scope::Wait(_) => (Vec::new(), None),
    }
}
