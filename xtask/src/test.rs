//! `cargo xtask test`: all that must hold, one step after the other. A failed step stops none of the
//! others, so that one run says everything.

use std::path::Path;

use crate::process::Line;
use crate::report::Report;
use crate::{fuzz, install, linearity, python, tidy};

/// What `cargo xtask test` was asked for.
#[derive(Debug, PartialEq)]
pub struct Options {
    install: bool,
    quick: bool,
    fuzz_seconds: u64,
}

impl Options {
    /// # Errors
    /// Names the word that is not understood.
    pub fn parse(words: &[String], in_ci: bool) -> Result<Self, String> {
        let mut options = Options { install: in_ci, quick: false, fuzz_seconds: 10 };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--install" => options.install = true,
                "--quick" => options.quick = true,
                "--fuzz-seconds" => options.fuzz_seconds = fuzz::seconds(word, words.next())?,
                other => return Err(format!("`test` does not know `{other}`")),
            }
        }
        Ok(options)
    }
}

/// Runs every step. Returns whether none failed.
pub fn run(root: &Path, options: &Options) -> bool {
    let mut report = Report::default();

    install::system_tools(root, options.install, &mut report);
    install::clouds(root, options.install, &mut report);
    install::components(root, options.install);

    cargo(root, &mut report, "format", &["fmt", "--all", "--check"]);
    cargo(
        root,
        &mut report,
        "clippy",
        &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"],
    );
    report.step("tidy", "cargo xtask tidy", || {
        if tidy::run(root) {
            Ok(())
        } else {
            Err("rules of the house are broken, see above".to_owned())
        }
    });
    match install::subcommand(root, "deny", "^0.20", options.install) {
        // The advisory database is not asked: it needs a network that not every run has.
        Ok(()) => {
            cargo(root, &mut report, "deny", &["deny", "check", "licenses", "bans", "sources"])
        }
        Err(why) => report.skip("deny", &why),
    }
    cargo(root, &mut report, "tests", &["test", "--workspace", "--no-fail-fast"]);

    report.step("linearity", "cargo xtask linearity", || linearity::short(root));

    let forced =
        ["test", "-p", "lar-sandbox", "--features", "force-tier-c", "--test", "it", "forced"];
    cargo(root, &mut report, "tests at tier C", &forced);

    python::run(root, options.install, &mut report);

    if options.quick {
        report.skip("fuzz", "`--quick` leaves it out");
    } else if options.fuzz_seconds == 0 {
        report.skip("fuzz", "`--fuzz-seconds 0` leaves it out");
    } else {
        fuzz::short(root, options.fuzz_seconds, options.install, &mut report);
    }

    println!("\n{report}");
    report.passed()
}

fn cargo(root: &Path, report: &mut Report, name: &str, arguments: &[&str]) {
    let line = Line::cargo().args(arguments.iter().copied());
    report.step(name, &line.shown(), || line.run(root));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str], in_ci: bool) -> Result<Options, String> {
        let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        Options::parse(&words, in_ci)
    }

    #[test]
    fn nothing_is_installed_unless_asked_for() {
        assert!(!parse(&[], false).unwrap().install);
        assert!(!parse(&["--quick"], false).unwrap().install);
        assert!(parse(&["--install"], false).unwrap().install);
        assert!(parse(&[], true).unwrap().install);
    }

    #[test]
    fn options() {
        assert_eq!(parse(&[], true).unwrap().fuzz_seconds, 10);
        assert_eq!(parse(&["--fuzz-seconds", "0"], false).unwrap().fuzz_seconds, 0);
        assert!(parse(&["--fuzz-seconds"], false).is_err());
        assert!(parse(&["--instal"], false).is_err());
    }
}
