//! `lar-verify`: checks an exported bundle, offline, against a policy of the verifier's own.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use lar_core::audit::policy::Policy;
use lar_core::display::{Mode, escape};

const USAGE: &str = "\
Checks an exported audit bundle, or bare records, offline.

Usage: lar-verify [--policy FILE] [--json] FILE

  FILE           a bundle (`lar audit export RUN --format bundle`) or records, one a line; `-` is stdin
  --policy FILE  the keys that you know and what you demand (TOML); without it no key is known,
                 and authenticity is `absent`
  --json         print the verdicts as JSON

Four verdicts are given, each `ok`, `absent` or `broken`: integrity, authenticity, witnessing,
completeness. Exit codes: 0 everything that the policy demands holds, 1 something doesn't, 2 the
command line, the policy or the file can't be used.
";

struct Arguments {
    file: PathBuf,
    policy: Option<PathBuf>,
    json: bool,
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        return print(USAGE, ExitCode::SUCCESS);
    }
    match parse(arguments).and_then(|arguments| check(&arguments)) {
        Ok((report, holds)) => {
            print(&report, if holds { ExitCode::SUCCESS } else { ExitCode::from(1) })
        }
        Err(why) => {
            let _ = writeln!(io::stderr(), "lar-verify: {why}");
            ExitCode::from(2)
        }
    }
}

fn parse(arguments: Vec<std::ffi::OsString>) -> Result<Arguments, String> {
    let (mut file, mut policy, mut json) = (None, None, false);
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        if argument == "--json" {
            json = true;
        } else if argument == "--policy" {
            policy = Some(arguments.next().ok_or("`--policy` takes a file")?.into());
        } else if argument != "-" && argument.to_string_lossy().starts_with('-') {
            let shown = escape(&argument.to_string_lossy(), Mode::Line);
            return Err(format!("there is no option `{shown}`; see `lar-verify --help`"));
        } else if file.replace(argument.into()).is_some() {
            return Err("give one file; see `lar-verify --help`".to_owned());
        }
    }
    let file = file.ok_or("name the file to check; see `lar-verify --help`")?;
    Ok(Arguments { file, policy, json })
}

fn check(arguments: &Arguments) -> Result<(String, bool), String> {
    let policy = match &arguments.policy {
        Some(path) => lar_verify::read_policy(path)
            .map_err(|error| format!("the policy `{}`: {error}", shown(path)))?,
        None => Policy::default(),
    };
    let unreadable =
        |error: io::Error| format!("`{}` can't be read ({})", shown(&arguments.file), error.kind());
    let input: Box<dyn Read> = if arguments.file.as_os_str() == "-" {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(&arguments.file).map_err(unreadable)?)
    };
    let report = lar_verify::verify(input, &policy).map_err(unreadable)?;
    let text = if arguments.json {
        escape(&format!("{:#}", lar_verify::json(&report, &policy)), Mode::Block)
    } else {
        lar_verify::text(&report, &policy)
    };
    Ok((format!("{text}\n"), report.satisfies(&policy)))
}

fn shown(path: &Path) -> String {
    escape(&path.to_string_lossy(), Mode::Line)
}

/// A reader that went away is told nothing, and the verdict stays what it is only if it was heard.
fn print(text: &str, code: ExitCode) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => code,
        Err(_) => ExitCode::from(2),
    }
}
