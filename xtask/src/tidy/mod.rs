//! `cargo xtask tidy`: the rules of the house that no compiler and no linter knows.
//!
//! Each check is a function from text to findings and reads no file; this module reads them all.

mod house;
mod markdown;
mod rust;
mod source;
mod words;

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::Path;

/// What is wrong, where, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Beneath the repository.
    path: String,
    /// Counted from 1.
    line: usize,
    what: String,
}

impl Finding {
    fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Finding { path: path.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// Prints what is untidy. Returns whether nothing is.
pub fn run(root: &Path) -> bool {
    let findings = match read(root) {
        Ok(tree) => tree.check(),
        Err(why) => {
            println!("error: {why}");
            return false;
        }
    };
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => println!("tidy: nothing to do"),
        1 => println!("tidy: 1 finding"),
        many => println!("tidy: {many} findings"),
    }
    findings.is_empty()
}

/// The text files of the repository, and the names of all.
#[derive(Default)]
struct Tree {
    texts: Vec<(String, String)>,
    /// Files and directories, beneath the repository; the repository itself is the empty name.
    names: BTreeSet<String>,
}

impl Tree {
    fn check(&self) -> Vec<Finding> {
        let mut findings = house::check(self);
        for (path, text) in &self.texts {
            match extension(path) {
                "rs" => findings.extend(rust::check(path, text)),
                "py" | "pyi" => findings.extend(words::python(path, text)),
                "md" => findings.extend(markdown::check(path, text, &self.names)),
                _ => findings.extend(words::unfinished(path, text)),
            }
        }
        findings.sort();
        findings.dedup();
        findings
    }

    fn text(&self, path: &str) -> Option<&str> {
        let (_, text) = self.texts.iter().find(|(name, _)| name == path)?;
        Some(text)
    }
}

/// Reads what a person wrote: directories that hold build products are left out.
fn read(root: &Path) -> Result<Tree, String> {
    let mut tree = Tree::default();
    tree.names.insert(String::new());
    let mut directories = vec![String::new()];
    while let Some(directory) = directories.pop() {
        let place = root.join(&directory);
        let entries =
            fs::read_dir(&place).map_err(|e| format!("cannot read `{}`: {e}", place.display()))?;
        for entry in entries {
            let entry = entry.map_err(|e| format!("cannot read `{}`: {e}", place.display()))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = match directory.as_str() {
                "" => name.clone(),
                _ => format!("{directory}/{name}"),
            };
            // A symbolic link is neither, so that nothing is read twice and nothing outside.
            let kind = entry.file_type().map_err(|e| format!("cannot read `{path}`: {e}"))?;
            tree.names.insert(path.clone());
            if kind.is_dir() {
                if !is_product(&path, &name) {
                    directories.push(path);
                }
            } else if kind.is_file() && is_text(&path) {
                let bytes =
                    fs::read(entry.path()).map_err(|e| format!("cannot read `{path}`: {e}"))?;
                let text = String::from_utf8_lossy(&bytes).into_owned();
                tree.texts.push((path, text));
            }
        }
    }
    tree.texts.sort();
    Ok(tree)
}

fn is_product(path: &str, name: &str) -> bool {
    matches!(name, ".git" | "target" | ".venv" | "__pycache__" | "node_modules")
        || matches!(path, "dist" | "fuzz/corpus" | "fuzz/artifacts")
}

fn is_text(path: &str) -> bool {
    path == ".ci/run"
        || matches!(extension(path), "rs" | "py" | "pyi" | "md" | "toml" | "sh" | "yml" | "yaml")
}

fn extension(path: &str) -> &str {
    Path::new(path).extension().and_then(|extension| extension.to_str()).unwrap_or_default()
}

#[cfg(test)]
impl Tree {
    /// A tree of these files, their directories included in the names.
    fn of(files: &[(&str, &str)]) -> Self {
        let mut tree = Tree::default();
        for (path, text) in files {
            tree.texts.push(((*path).to_owned(), (*text).to_owned()));
            let mut name = Some(Path::new(path));
            while let Some(path) = name {
                tree.names.insert(path.to_str().unwrap().to_owned());
                name = path.parent();
            }
        }
        tree
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_says_where() {
        let finding = Finding::new("a/b.rs", 7, "what is wrong");
        assert_eq!(finding.to_string(), "a/b.rs:7: what is wrong");
    }

    #[test]
    fn every_kind_of_file_reaches_its_check() {
        let tree = Tree::of(&[
            ("a.rs", "// TODO: one\n"),
            ("b.py", "# FIXME\n"),
            ("c.md", "[gone](gone.md)\n"),
            ("d.toml", "# TODO\n"),
            (".ci/run", "# TODO\n"),
        ]);
        let findings = tree.check();
        let found: BTreeSet<_> = findings.iter().map(|f| f.path.as_str()).collect();
        let expected = ["a.rs", "b.py", "c.md", "d.toml", ".ci/run"];
        assert_eq!(found, expected.into_iter().collect());
    }

    #[test]
    fn this_repository_is_read_without_its_products() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let tree = read(root).unwrap();
        assert!(tree.text("Cargo.toml").is_some());
        assert!(tree.text("xtask/src/main.rs").is_some());
        assert!(tree.texts.iter().all(|(path, _)| !path.contains("target/")));
    }
}
