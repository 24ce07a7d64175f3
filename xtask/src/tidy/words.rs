//! Marks of unfinished work, in files of any kind, and the length of Python files.

use super::Finding;
use super::rust::MOST_LINES;
use super::source::words;

/// Finds marks that say that something is still to be done.
pub fn unfinished(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for mark in ["TODO", "FIXME"] {
        for line in words(text, mark) {
            let what = format!("`{mark}` is left over; do it now, or open an issue and remove it");
            findings.push(Finding::new(path, line, what));
        }
    }
    findings
}

/// Checks one Python file.
pub fn python(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = unfinished(path, text);
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .count();
    let is_test = path.split('/').any(|part| part == "tests");
    // A stub is as long as the module that it mirrors.
    let is_stub = path.ends_with(".pyi");
    if !is_test && !is_stub && lines > MOST_LINES {
        let what = format!(
            "{lines} lines of code, {MOST_LINES} are allowed; split the file where its subject splits"
        );
        findings.push(Finding::new(path, 1, what));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_files_are_small_too() {
        let most = "f()\n".repeat(MOST_LINES);
        assert_eq!(python("python/a.py", &format!("{most}\n# b\n")), []);
        assert_eq!(python("python/a.py", &format!("{most}g()\n")).len(), 1);
        assert_eq!(python("python/tests/a.py", &format!("{most}g()\n")), []);
        assert_eq!(python("python/a.pyi", &format!("{most}g()\n")), []);
        assert_eq!(python("python/a.py", "a = 1  # TODO\n").len(), 1);
    }
}
