//! `lar try`: what would be decided about a call. It takes the first steps of the one path and stops
//! before a person is asked: nothing is executed, spent or recorded.

use std::io::{self, BufRead, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use linear_agentics::action::Action;
use linear_agentics::display::{Mode, clip, escape};
use linear_agentics::id::{CallSite, Part, RunId};
use linear_agentics::invocation::{Invocation, ToolCall};
use linear_agentics::manifest::Manifest;
use linear_agentics::report::visible_json;
use linear_agentics::scope::deploy::DeployMethod;
use linear_agentics::scope::{Scope, SecretSource};
use linear_agentics::tokens::Token;
use linear_agentics::{CapabilitySet, Programs, Refusal, judge, look};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::check::{now, plain};
use crate::output::{Exit, complain};

/// The longest line of `--jsonl`, in bytes.
const LONGEST: usize = 64 << 20;
/// The runtime's own tools. They confer nothing, so there is nothing to judge.
const OWN_TOOLS: [&str; 2] = ["request_approval", "request_capability"];

/// Judge one call, or many, without executing or spending anything
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Prints one JSON object a call: `decision` is `allow` or `deny`, `error` the \
error's public name, `message` says why; an allow has the `action` with its `digest`. Each call is \
judged as if it were the first. Whether a program is installed here doesn't decide: that is a \
`warning`.\n\nExit codes: 0 every call is allowed, 5 one was denied, 2 the manifest or the command \
line is wrong."
)]
pub struct Args {
    /// The manifest
    manifest: PathBuf,
    /// The tool that is called
    #[arg(required_unless_present = "jsonl", requires = "input")]
    tool: Option<String>,
    /// Its input, a JSON object
    #[arg(value_name = "JSON")]
    input: Option<String>,
    /// Read calls from stdin: one {"tool": …, "input": {…}} a line
    #[arg(long, conflicts_with_all = ["tool", "input"])]
    jsonl: bool,
    /// Judge as if every candidate had been granted
    #[arg(long)]
    with_candidates: bool,
    /// Taken as every command takes it; the answers are JSON anyway
    #[arg(long)]
    json: bool,
}

/// Judges.
pub fn run(args: Args) -> Exit {
    let manifest = match super::read_manifest(&args.manifest) {
        Ok(manifest) => manifest,
        Err(exit) => return exit,
    };
    let set = match set_of(&manifest, args.with_candidates) {
        Ok(set) => set,
        Err(exit) => return exit,
    };
    let Ok(run) = RunId::new("try") else {
        return Exit::Error;
    };
    let judge = Judge { set, run, programs: Programs::from_environment(), manifest: &manifest };
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let judged = match (args.tool, args.input) {
        (Some(tool), Some(input)) => judge.one(None, tool, input, &mut out),
        _ => judge.lines(&mut io::stdin().lock(), &mut out),
    };
    match judged.and_then(|allowed| out.flush().map(|()| allowed)) {
        Ok(true) => Exit::Complete,
        Ok(false) => Exit::Refused,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Error,
        Err(error) => {
            complain(&format!("the calls or their answers can't be passed on ({})", error.kind()));
            Exit::Error
        }
    }
}

/// A set of the manifest's tokens that nobody will miss.
pub(super) fn set_of(manifest: &Manifest, with_candidates: bool) -> Result<CapabilitySet, Exit> {
    let candidates = manifest.candidates.iter().filter(|_| with_candidates);
    let tokens = manifest.tokens.iter().chain(candidates).cloned();
    match CapabilitySet::new(tokens) {
        Ok(set) => {
            set.mark_reported();
            Ok(set)
        }
        Err(error) => {
            complain(&error.to_string());
            Err(Exit::Usage)
        }
    }
}

/// The answer about one call.
#[derive(Serialize)]
struct Answer<'a, A> {
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    tool: &'a str,
    decision: &'static str,
    error: Option<&'static str>,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<A>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolved: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requires_approval: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<String>,
}

/// A line of `--jsonl`. The input is kept as its exact text, so that what JSON readers disagree on
/// is judged and not smoothed out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    tool: String,
    input: Box<RawValue>,
}

struct Judge<'m> {
    set: CapabilitySet,
    run: RunId,
    programs: Programs,
    manifest: &'m Manifest,
}

impl Judge<'_> {
    /// Judges every line; whether all were allowed.
    fn lines(&self, calls: &mut impl BufRead, out: &mut impl Write) -> io::Result<bool> {
        let mut line = Vec::new();
        let mut all = true;
        for number in 1.. {
            match read_line(calls, &mut line)? {
                Found::End => break,
                Found::TooLong => {
                    let why = format!("line {number} is longer than {LONGEST} bytes");
                    all &= refuse(Some(number), "", &Refusal::InvalidInput(why), None, out)?;
                }
                Found::Line if line.trim_ascii().is_empty() => {}
                Found::Line => {
                    all &= match parse(number, &line) {
                        Ok(Line { tool, input }) => {
                            self.one(Some(number), tool, Box::<str>::from(input).into(), out)?
                        }
                        Err(refusal) => refuse(Some(number), "", &refusal, None, out)?,
                    };
                }
            }
        }
        Ok(all)
    }

    /// Judges one call; whether it was allowed. The capability goes back at the end, so that the
    /// next call finds the set as this one did.
    fn one(
        &self,
        line: Option<u64>,
        tool: String,
        input: String,
        out: &mut impl Write,
    ) -> io::Result<bool> {
        let own = OWN_TOOLS.contains(&tool.as_str());
        let shown = clip(&escape(&tool, Mode::Line), 128);
        let site =
            CallSite { run: self.run.clone(), turn: line.unwrap_or(1), index: 0, part: Part::Call };
        let authorized = match judge(ToolCall { site, tool, input, rationale: None }, &self.set) {
            Ok(authorized) => authorized,
            Err(refusal) => {
                let about =
                    "it is the runtime's own tool; it confers nothing, and a run answers it";
                return refuse(line, &shown, &refusal, own.then(|| about.to_owned()), out);
            }
        };
        let (token, invocation) = (authorized.token(), authorized.invocation());
        let obstacle = match look(token, invocation.action()) {
            Ok(obstacle) => obstacle,
            Err(refusal) => return refuse(line, &shown, &refusal, None, out),
        };
        let asked = if token.requires_approval() { ", once a human says yes" } else { "" };
        let (resolved, warning) = self.around(token, invocation, obstacle);
        let answer = Answer {
            line,
            tool: invocation.tool(),
            decision: "allow",
            error: None,
            message: format!("allowed by token `{}`{asked}", token.name()),
            token: Some(token.name()),
            action: Some(invocation.action()),
            resolved,
            digest: Some(invocation.digest().to_string()),
            requires_approval: Some(token.requires_approval()),
            warning,
        };
        write(&answer, out)?;
        Ok(true)
    }

    /// The file that the action comes down to on this machine, and what would stand in its way here
    /// and now.
    fn around(
        &self,
        token: &Token,
        invocation: &Invocation,
        obstacle: Option<String>,
    ) -> (Option<String>, Option<String>) {
        let mut warnings: Vec<String> = obstacle.into_iter().collect();
        let mut resolved = None;
        if let Some(program) = invocation.action().program() {
            let workdir = workdir(token.scope()).map_or(self.manifest.base.as_path(), Path::new);
            match self.programs.find(program, workdir) {
                Ok(path) => resolved = Some(plain(&path).to_string_lossy().into_owned()),
                Err(error) => warnings.push(error.to_string()),
            }
        }
        warnings.extend(unknown(token.scope(), invocation));
        match token.scope() {
            Scope::File(_) => {
                let mut lines = invocation.action().lines().into_iter();
                resolved = lines.find(|(label, _)| label == "path").map(|(_, path)| path);
            }
            Scope::Deploy(deploy) => {
                if let DeployMethod::Kubectl { cluster: None, .. } = &deploy.method {
                    let what = "a run fixes the cluster when it starts, so its digest is another";
                    warnings.push(what.to_owned());
                }
            }
            // Where it is doesn't decide; nothing is connected to.
            Scope::Database(database) => match (&database.dsn, &database.file) {
                (_, Some(file)) => {
                    resolved = Some(file.clone());
                    if !Path::new(file).is_file() {
                        warnings.push(format!("there is no file `{file}` here"));
                    }
                }
                (SecretSource::Env(name), None) if std::env::var_os(name).is_none() => {
                    warnings.push(format!("environment variable `{name}` is not set here"));
                }
                (SecretSource::File(path), None) if !Path::new(path).is_file() => {
                    warnings.push(format!("there is no file `{path}` here"));
                }
                _ => {}
            },
            Scope::Shell(_)
            | Scope::Http(_)
            | Scope::Rollback(_)
            | Scope::Wait(_)
            | Scope::Secret(_) => {}
        }
        if let Some(expires) = token.expires().filter(|expires| *expires <= now()) {
            warnings.push(format!("token `{}` expired at {expires}", token.name()));
        }
        (resolved, (!warnings.is_empty()).then(|| warnings.join("; ")))
    }
}

/// Says where only the confinement holds, because nothing is known of the program and the command goes
/// beyond its prefix.
fn unknown(scope: &Scope, invocation: &Invocation) -> Option<String> {
    let (shell, action) = match (scope, invocation.action()) {
        (Scope::Shell(shell), Action::Shell(action)) => (shell, action),
        (Scope::Secret(secret), Action::Secret(action)) => {
            match (secret.inner.as_ref(), action.inner.as_ref()) {
                (Scope::Shell(shell), Action::Shell(action)) => (shell, action),
                _ => return None,
            }
        }
        _ => return None,
    };
    let prefix = shell.commands.permits(&action.command).ok()?;
    let longer = action.command.argv().len() > prefix.words().len();
    (prefix.profile().is_none() && longer).then(|| {
        let program = clip(&escape(action.command.program(), Mode::Line), 64);
        format!("nothing is known of `{program}`, so only its confinement holds beyond the prefix")
    })
}

fn workdir(scope: &Scope) -> Option<&str> {
    match scope {
        Scope::Shell(shell) => shell.workdir.as_deref(),
        Scope::Secret(secret) => workdir(&secret.inner),
        Scope::Http(_)
        | Scope::File(_)
        | Scope::Deploy(_)
        | Scope::Rollback(_)
        | Scope::Database(_)
        | Scope::Wait(_) => None,
    }
}

fn refuse(
    line: Option<u64>,
    tool: &str,
    refusal: &Refusal,
    warning: Option<String>,
    out: &mut impl Write,
) -> io::Result<bool> {
    let answer = Answer::<()> {
        line,
        tool,
        decision: "deny",
        error: Some(refusal.error_type()),
        message: refusal.to_string(),
        token: None,
        action: None,
        resolved: None,
        digest: None,
        requires_approval: None,
        warning,
    };
    write(&answer, out)?;
    Ok(false)
}

fn write<A: Serialize>(answer: &Answer<'_, A>, out: &mut impl Write) -> io::Result<()> {
    let text = serde_json::to_string(answer)?;
    out.write_all(visible_json(&text).as_bytes())?;
    out.write_all(b"\n")
}

fn parse(number: u64, line: &[u8]) -> Result<Line, Refusal> {
    let wrong = |what: &str| Refusal::InvalidInput(format!("line {number}{what}"));
    let text = std::str::from_utf8(line).map_err(|_| wrong(" is not UTF-8"))?;
    let form = "a call is {\"tool\": \"…\", \"input\": {…}} and nothing else";
    // The library would read an array as the fields in their order.
    if !text.trim_ascii_start().starts_with('{') {
        return Err(wrong(&format!(" is not a JSON object: {form}")));
    }
    serde_json::from_str(text).map_err(|error| {
        // The library's own words may repeat what the line holds.
        let what = match error.classify() {
            serde_json::error::Category::Data => "",
            _ => ", which is not JSON from there on",
        };
        wrong(&format!(", character {}{what}: {form}", error.column()))
    })
}

/// What was read.
enum Found {
    Line,
    TooLong,
    End,
}

/// Reads a line without its end. One that is too long is read to its end and dropped.
fn read_line(from: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Found> {
    line.clear();
    let most = LONGEST as u64 + 1;
    if from.by_ref().take(most).read_until(b'\n', line)? == 0 {
        return Ok(Found::End);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        return Ok(Found::Line);
    }
    if line.len() <= LONGEST {
        return Ok(Found::Line);
    }
    loop {
        line.clear();
        let read = from.by_ref().take(1 << 20).read_until(b'\n', line)?;
        if read == 0 || line.last() == Some(&b'\n') {
            line.shrink_to(1 << 20);
            return Ok(Found::TooLong);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_one_by_one_and_a_long_one_is_dropped_whole() {
        let long = vec![b'x'; LONGEST + 1];
        let fits = vec![b'y'; LONGEST];
        let text = [b"a\n", long.as_slice(), b"\n\n", fits.as_slice(), b"\nend"].concat();
        let (mut from, mut line) = (text.as_slice(), Vec::new());
        let mut seen = Vec::new();
        loop {
            match read_line(&mut from, &mut line).unwrap() {
                Found::End => break,
                Found::TooLong => seen.push("too long".to_owned()),
                Found::Line => {
                    seen.push(format!("{} {:?}", line.len(), line.first().map(|b| char::from(*b))));
                }
            }
        }
        let last = format!("{LONGEST} Some('y')");
        assert_eq!(seen, ["1 Some('a')", "too long", "0 None", &last, "3 Some('e')"]);
    }
}
