//! What holds for every Rust file, and what holds for the core alone.

use super::Finding;
use super::source::{Source, words};

/// A file that is longer is two rooms.
pub const MOST_LINES: usize = 400;

/// Checks one file.
pub fn check(path: &str, text: &str) -> Vec<Finding> {
    let source = Source::read(text);
    let mut findings = Vec::new();
    length(path, &source, &mut findings);
    no_unsafe(path, &source, &mut findings);
    unfinished(path, &source, &mut findings);
    if path.starts_with("crates/core/src/") && !is_test_file(path) {
        core_is_pure(path, &source, &mut findings);
    }
    findings
}

fn length(path: &str, source: &Source, findings: &mut Vec<Finding>) {
    let lines = source.lines_of_code();
    if !is_test_file(path) && lines > MOST_LINES {
        let what = format!(
            "{lines} lines of code, {MOST_LINES} are allowed; split the file where its subject splits"
        );
        findings.push(Finding::new(path, 1, what));
    }
}

fn no_unsafe(path: &str, source: &Source, findings: &mut Vec<Finding>) {
    if path.starts_with("crates/sandbox/") {
        return;
    }
    let what = "`unsafe` outside `crates/sandbox`; use a safe wrapper, or move what needs it there";
    findings.extend(words(&source.code, "unsafe").map(|line| Finding::new(path, line, what)));
}

/// Marks may stand in code and in comments; a literal may speak of them.
fn unfinished(path: &str, source: &Source, findings: &mut Vec<Finding>) {
    findings.extend(super::words::unfinished(path, &source.code_and_comments));
    for name in ["dbg", "unimplemented", "todo"] {
        for line in words(&source.code, &format!("{name}!")) {
            let what = format!("`{name}!` is left over; remove it or write what is missing");
            findings.push(Finding::new(path, line, what));
        }
    }
}

/// What the core must not name: it has no I/O, reads no clock and starts nothing, so that what it
/// decides can be tested and repeated anywhere.
const IMPURE: [&str; 5] = ["env", "fs", "net", "process", "thread"];
const CLOCKS: [&str; 4] = ["SystemTime", "Instant::now", "Timestamp::now", "Zoned::now"];

fn core_is_pure(path: &str, source: &Source, findings: &mut Vec<Finding>) {
    let mut found = Vec::new();
    for module in IMPURE {
        let name = format!("std::{module}");
        found.extend(words(&source.code, &name).map(|line| (line, name.clone())));
    }
    for name in CLOCKS {
        found.extend(words(&source.code, name).map(|line| (line, name.to_owned())));
    }
    for (line, module) in grouped(&source.code) {
        if IMPURE.contains(&module) {
            found.push((line, format!("std::{module}")));
        }
    }
    for (line, name) in found {
        if !source.is_test(line) {
            let what = format!(
                "`{name}` in the core, which has no I/O and reads no clock; let the caller pass \
                 the value in"
            );
            findings.push(Finding::new(path, line, what));
        }
    }
}

/// The modules in each `std::{a, b::{c, d}}`, with their lines.
fn grouped(code: &str) -> Vec<(usize, &str)> {
    let mut modules = Vec::new();
    for (at, opening) in code.match_indices("std::{") {
        let (before, group) = code.split_at_checked(at + opening.len()).unwrap_or((code, ""));
        let mut line = before.matches('\n').count() + 1;
        let mut depth = 0_usize;
        let mut names = true;
        for piece in group.split_inclusive(|c: char| !c.is_alphanumeric() && c != '_') {
            let word = piece.trim_end_matches(|c: char| !c.is_alphanumeric() && c != '_');
            if depth == 0 && names && !word.is_empty() {
                modules.push((line, word));
                names = false;
            }
            match piece.chars().next_back() {
                Some('{') => depth += 1,
                Some('}') if depth == 0 => break,
                Some('}') => depth -= 1,
                Some(',') if depth == 0 => names = true,
                Some('\n') => line += 1,
                _ => {}
            }
        }
    }
    modules
}

/// Tests, benchmarks and fuzz targets are as long as what they cover.
fn is_test_file(path: &str) -> bool {
    path.split('/')
        .any(|part| matches!(part, "tests" | "benches" | "fuzz"))
        // `tests/standin` is a package of its own, and held to the same as any.
        && !path.contains("standin/src/")
        || path.ends_with("/tests.rs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn finds(path: &str, text: &str, lines: &[usize]) {
        let found: Vec<_> = check(path, text).iter().map(|f| f.line).collect();
        assert_eq!(found, lines, "{text}");
    }

    #[test]
    fn rooms_are_small() {
        let most = "f();\n".repeat(MOST_LINES);
        let more = format!("{most}g();\n");
        finds("crates/lar/src/a.rs", &most, &[]);
        finds("crates/lar/src/a.rs", &format!("{most}// comment\n\n"), &[]);
        finds("crates/lar/src/a.rs", &more, &[1]);
        finds("tests/standin/src/a.rs", &more, &[1]);
        finds("crates/lar/src/a/tests.rs", &more, &[]);
        finds("crates/lar/tests/it/a.rs", &more, &[]);
        finds("tests/standin/tests/it/a.rs", &more, &[]);
        finds("crates/lar/benches/a.rs", &more, &[]);
        finds("fuzz/fuzz_targets/a.rs", &more, &[]);
        let tested = format!("{most}#[cfg(test)]\nmod tests {{\n    fn a() {{}}\n}}\n");
        finds("crates/lar/src/a.rs", &tested, &[]);
    }

    #[test]
    fn unsafe_has_one_home() {
        let text = "#![forbid(unsafe_code)]\n// unsafe\nfn f() { unsafe { g(\"unsafe\") } }\n";
        finds("crates/core/src/a.rs", text, &[3]);
        finds("crates/core/tests/it/a.rs", text, &[3]);
        finds("crates/sandbox/src/a.rs", text, &[]);
    }

    #[test]
    fn nothing_is_left_unfinished() {
        finds("a.rs", "// TODO: x\n/* FIXME */\nlet a = \"TODO\"; // FIXME\n", &[1, 2, 3]);
        finds("a.rs", "dbg!(x);\nunimplemented!();\ntodo!()\nlet todo = 1;\n", &[1, 2, 3]);
        finds("a.rs", "// TODOS are fine, and `todo!` in prose\nf(\"dbg!(x)\");\n", &[]);
    }

    #[test]
    fn the_core_is_pure() {
        let core = "crates/core/src/a.rs";
        finds(core, "use std::fs::File;\n", &[1]);
        finds(core, "let t = std::time::Instant::now();\n", &[1]);
        finds(core, "use std::time::SystemTime;\n", &[1]);
        finds(core, "jiff::Timestamp::now()\n", &[1]);
        finds(
            core,
            "use std::{\n    fmt,\n    env, collections::{fs, env},\n    net::IpAddr};\n",
            &[3, 4],
        );
        finds(core, "use std::{fmt};\nuse crate::{fs, env};\n// std::fs\n", &[]);
        finds(core, "#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n", &[]);
        finds(core, "use std::fsx;\nuse std::process_of;\n", &[]);
        finds("crates/core/src/a/tests.rs", "use std::fs;\n", &[]);
        finds("crates/core/tests/it/a.rs", "use std::fs;\n", &[]);
        finds("crates/ledger/src/a.rs", "use std::fs;\n", &[]);
    }
}
