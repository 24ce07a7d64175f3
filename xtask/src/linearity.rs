//! Runs the linearity benchmark, a program of its own: this one stays free of what it tries.

use std::path::Path;

use crate::process::Line;

/// How many processes CI kills.
const KILLS: &str = "500";

/// Builds the benchmark, its worker and the command line, whose witnesses it asks, and runs it with these arguments.
///
/// # Errors
/// Says how it ended, where a promise was broken or the check was not seen to fail.
pub fn run(root: &Path, words: &[String]) -> Result<(), String> {
    Line::cargo()
        .args(["build", "--package", "linearity", "--package", "lar", "--bins"])
        .run(root)?;
    let driver = ["run", "--quiet", "--package", "linearity", "--bin", "linearity", "--"];
    Line::cargo().args(driver).args(words.iter().cloned()).run(root)
}

/// The run of CI.
pub fn short(root: &Path) -> Result<(), String> {
    run(root, &["--kills".to_owned(), KILLS.to_owned()])
}
