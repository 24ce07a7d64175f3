//! Runs the fuzz targets with cargo-fuzz, on the stable compiler.
//!
//! The compiler's sanitizers need a nightly one. They are off: the targets look for panics and broken
//! laws, and the code under them has no `unsafe`.

use std::fs;
use std::path::Path;

use crate::install;
use crate::process::{Line, on_path};
use crate::report::Report;

/// What `cargo xtask fuzz` was asked for.
#[derive(Debug, PartialEq)]
pub struct Options {
    /// Seconds for each target.
    seconds: u64,
    /// Empty means all.
    targets: Vec<String>,
    /// Handed to libFuzzer as they are.
    rest: Vec<String>,
}

impl Options {
    /// # Errors
    /// Names the word that is not understood.
    pub fn parse(words: &[String]) -> Result<Self, String> {
        // Ten minutes each is what a target runs before its parser is called done.
        let mut options = Options { seconds: 600, targets: Vec::new(), rest: Vec::new() };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--seconds" => options.seconds = seconds(word, words.next())?,
                "--" => options.rest.extend(words.by_ref().cloned()),
                flag if flag.starts_with('-') => {
                    return Err(format!("`fuzz` has no option `{flag}`"));
                }
                target => options.targets.push(target.to_owned()),
            }
        }
        Ok(options)
    }
}

/// Runs the targets until the time is over or one finds something. Returns whether all were clean.
///
/// # Errors
/// Names a target that does not exist.
pub fn run(root: &Path, options: &Options) -> Result<bool, String> {
    let known = targets(root)?;
    if let Some(unknown) = options.targets.iter().find(|name| !known.contains(name)) {
        return Err(format!(
            "there is no fuzz target `{unknown}`; there are `{}`",
            known.join("`, `")
        ));
    }
    let chosen = if options.targets.is_empty() { &known } else { &options.targets };
    let mut report = Report::default();
    steps(root, chosen, options.seconds, &options.rest, &mut report);
    println!("\n{report}");
    Ok(report.passed())
}

/// The short form for the test command.
pub fn short(root: &Path, seconds: u64, install: bool, report: &mut Report) {
    if on_path("c++").is_none() {
        return report.skip("fuzz", "libFuzzer needs a C++ compiler, and there is no `c++`");
    }
    if let Err(why) = install::subcommand(root, "fuzz", "^0.13", install) {
        return report.skip("fuzz", &why);
    }
    match targets(root) {
        Ok(targets) => steps(root, &targets, seconds, &[], report),
        Err(why) => {
            report.step("fuzz", "fuzz/Cargo.toml", || Err(why));
        }
    }
}

/// Reads a number of seconds that follows an option.
///
/// # Errors
/// Says what the option takes.
pub fn seconds(option: &str, value: Option<&String>) -> Result<u64, String> {
    value
        .and_then(|value| value.parse().ok())
        .ok_or_else(|| format!("`{option}` takes a whole number of seconds"))
}

fn steps(root: &Path, targets: &[String], seconds: u64, rest: &[String], report: &mut Report) {
    let build = Line::cargo().args(["fuzz", "build", "--sanitizer", "none"]);
    if !report.step("fuzz build", &build.shown(), || build.run(root)) {
        return;
    }
    for target in targets {
        // libFuzzer adds what it finds to the first directory; the seeds stay as they are.
        let corpus = format!("fuzz/corpus/{target}");
        let seeds = format!("fuzz/seeds/{target}");
        let name = format!("fuzz {target}");
        let mut line = Line::cargo().args(["fuzz", "run", "--sanitizer", "none", target, &corpus]);
        if root.join(&seeds).is_dir() {
            line = line.args([seeds]);
        }
        // One input that takes ten seconds is a finding too.
        let line = line
            .args(["--", "-timeout=10", "-print_final_stats=1", "-verbosity=0"])
            .args([format!("-max_total_time={seconds}")])
            .args(rest);
        report.step(&name, &line.shown(), || {
            fs::create_dir_all(root.join(&corpus))
                .map_err(|error| format!("cannot create `{corpus}`: {error}"))?;
            line.run(root)
        });
    }
}

fn targets(root: &Path) -> Result<Vec<String>, String> {
    let text = fs::read_to_string(root.join("fuzz/Cargo.toml"))
        .map_err(|error| format!("cannot read `fuzz/Cargo.toml`: {error}"))?;
    let names = names(&text).ok_or("`fuzz/Cargo.toml` is no manifest with `[[bin]]` entries")?;
    Ok(names)
}

fn names(manifest: &str) -> Option<Vec<String>> {
    let manifest: toml::Table = manifest.parse().ok()?;
    let bins = manifest.get("bin")?.as_array()?;
    bins.iter().map(|bin| Some(bin.get("name")?.as_str()?.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Options, String> {
        Options::parse(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn options() {
        let options = parse(&["--seconds", "5", "lexer", "--", "-jobs=2"]).unwrap();
        assert_eq!(options.seconds, 5);
        assert_eq!(options.targets, ["lexer"]);
        assert_eq!(options.rest, ["-jobs=2"]);
        assert_eq!(parse(&[]).unwrap().seconds, 600);
        assert!(parse(&["--seconds"]).is_err());
        assert!(parse(&["--seconds", "-1"]).is_err());
        assert!(parse(&["--minutes", "1"]).is_err());
    }

    #[test]
    fn targets_are_those_of_the_manifest() {
        let text = "[[bin]]\nname = \"a\"\n[[bin]]\nname = \"b\"\n";
        assert_eq!(names(text).unwrap(), ["a", "b"]);
        assert_eq!(names("[package]\nname = \"x\""), None);
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for target in targets(root).unwrap() {
            assert!(root.join(format!("fuzz/fuzz_targets/{target}.rs")).is_file());
        }
    }
}
