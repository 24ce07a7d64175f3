//! How the crates lie above each other: dependencies point down only.

use super::{Finding, Tree};

/// What a crate of ours may depend on, and what its tests may use beyond that.
struct Rule {
    name: &'static str,
    may_use: &'static [&'static str],
    tests_may_use: &'static [&'static str],
}

/// The house, from the ground up. A new crate gets its line here and its place in ARCHITECTURE.md.
const HOUSE: &[Rule] = &[
    Rule { name: "lar-core", may_use: &[], tests_may_use: &["memory-ledger"] },
    Rule { name: "lar-sandbox", may_use: &[], tests_may_use: &[] },
    Rule { name: "lar-verify", may_use: &["lar-core"], tests_may_use: &[] },
    Rule { name: "lar-postgres", may_use: &[], tests_may_use: &["pgserver"] },
    Rule {
        name: "lar-ledger",
        may_use: &["lar-core", "lar-postgres"],
        tests_may_use: &["memory-ledger", "pgserver"],
    },
    Rule {
        name: "lar-runtime",
        may_use: &["lar-core", "lar-sandbox", "lar-postgres"],
        tests_may_use: &["lar-ledger", "memory-ledger", "pgserver", "standin"],
    },
    Rule {
        name: "linear-agentics",
        may_use: &["lar-core", "lar-sandbox", "lar-ledger", "lar-runtime"],
        tests_may_use: &["memory-ledger", "pgserver", "standin"],
    },
    Rule {
        name: "lar",
        may_use: &["linear-agentics", "lar-verify"],
        tests_may_use: &["pgserver", "standin"],
    },
    Rule {
        name: "linearity",
        may_use: &[
            "lar-core",
            "lar-ledger",
            "lar-runtime",
            "linear-agentics",
            "memory-ledger",
            "pgserver",
        ],
        tests_may_use: &[],
    },
    Rule { name: "pgserver", may_use: &[], tests_may_use: &[] },
    Rule { name: "memory-ledger", may_use: &["lar-core"], tests_may_use: &[] },
    Rule {
        name: "linear-agentics-python",
        may_use: &["lar", "linear-agentics", "lar-verify"],
        tests_may_use: &[],
    },
    Rule { name: "standin", may_use: &[], tests_may_use: &[] },
    Rule { name: "xtask", may_use: &[], tests_may_use: &[] },
];

/// The one crate that states its lints in full: it cannot loosen a `forbid` that it inherits.
const OWN_LINTS: &str = "lar-sandbox";

/// Checks the manifests of the workspace's members, and that the map of the house shows them all.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Some(workspace) = tree.text("Cargo.toml").and_then(parse) else {
        return findings;
    };
    let mut members = Vec::new();
    for path in members_of(&workspace, tree) {
        let Some(text) = tree.text(&path) else {
            findings.push(Finding::new(&path, 1, "the workspace names it, but it does not exist"));
            continue;
        };
        match parse(text)
            .as_ref()
            .and_then(|manifest| Member::read(&path, text, manifest, &workspace))
        {
            Some(member) => members.push(member),
            None => findings.push(Finding::new(&path, 1, "this is no manifest of a package")),
        }
    }
    let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
    for member in &members {
        member.depends_down(&names, &mut findings);
        member.has_lints(&mut findings);
    }
    if let Some(map) = tree.text("ARCHITECTURE.md") {
        for member in &members {
            let directory = member.path.trim_end_matches("/Cargo.toml");
            if !map.contains(directory) && super::source::words(map, &member.name).next().is_none()
            {
                let what = format!(
                    "the crate `{}` is not on this page; say what it is and what it never does",
                    member.name
                );
                findings.push(Finding::new("ARCHITECTURE.md", 1, what));
            }
        }
    }
    findings
}

struct Member<'a> {
    path: String,
    text: &'a str,
    name: String,
    /// Package names, and whether only tests use them.
    dependencies: Vec<(String, bool)>,
    inherits_lints: bool,
}

impl<'a> Member<'a> {
    fn read(
        path: &str,
        text: &'a str,
        manifest: &toml::Table,
        workspace: &toml::Table,
    ) -> Option<Self> {
        let name = manifest.get("package")?.get("name")?.as_str()?;
        let mut dependencies = Vec::new();
        let targets = manifest.get("target").and_then(toml::Value::as_table);
        let tables = targets
            .into_iter()
            .flat_map(toml::Table::values)
            .filter_map(toml::Value::as_table)
            .chain([manifest]);
        for table in tables {
            for (kind, is_test) in
                [("dependencies", false), ("build-dependencies", false), ("dev-dependencies", true)]
            {
                for (key, value) in
                    table.get(kind).and_then(toml::Value::as_table).into_iter().flatten()
                {
                    dependencies.push((package(key, value, workspace), is_test));
                }
            }
        }
        let lints = manifest.get("lints").and_then(|lints| lints.get("workspace"));
        Some(Member {
            path: path.to_owned(),
            text,
            name: name.to_owned(),
            dependencies,
            inherits_lints: lints.and_then(toml::Value::as_bool) == Some(true),
        })
    }

    fn depends_down(&self, names: &[&str], findings: &mut Vec<Finding>) {
        let Some(rule) = HOUSE.iter().find(|rule| rule.name == self.name) else {
            let what = format!(
                "the crate `{}` has no place in the house; add a rule to `xtask/src/tidy/house.rs`",
                self.name
            );
            findings.push(Finding::new(&self.path, 1, what));
            return;
        };
        for (dependency, is_test) in &self.dependencies {
            let is_ours = names.contains(&dependency.as_str())
                || HOUSE.iter().any(|rule| rule.name == dependency);
            let dependency = dependency.as_str();
            let is_allowed = rule.may_use.contains(&dependency)
                || *is_test && rule.tests_may_use.contains(&dependency);
            if is_ours && !is_allowed {
                let what = format!(
                    "`{}` must not depend on `{dependency}`{}: dependencies point down only; it may \
                     use {}",
                    self.name,
                    if *is_test { " in its tests" } else { "" },
                    rule.shown(*is_test),
                );
                findings.push(Finding::new(&self.path, self.line_of(dependency), what));
            }
        }
    }

    fn has_lints(&self, findings: &mut Vec<Finding>) {
        if !self.inherits_lints && self.name != OWN_LINTS {
            let what =
                "the workspace's lints are not in force; add `[lints]` with `workspace = true`";
            findings.push(Finding::new(&self.path, 1, what));
        }
    }

    /// Where the manifest first names a package.
    fn line_of(&self, package: &str) -> usize {
        let mut lines = (1..).zip(self.text.lines());
        lines
            .find(|(_, line)| line.trim_start().starts_with(package))
            .or_else(|| (1..).zip(self.text.lines()).find(|(_, line)| line.contains(package)))
            .map_or(1, |(number, _)| number)
    }
}

impl Rule {
    fn shown(&self, in_tests: bool) -> String {
        let more = if in_tests { self.tests_may_use } else { &[] };
        let names: Vec<_> =
            self.may_use.iter().chain(more).map(|name| format!("`{name}`")).collect();
        if names.is_empty() { "none of our crates".to_owned() } else { names.join(", ") }
    }
}

fn parse(text: &str) -> Option<toml::Table> {
    text.parse().ok()
}

/// The manifests of the members; a pattern may end in `/*`.
fn members_of(workspace: &toml::Table, tree: &Tree) -> Vec<String> {
    let members = workspace
        .get("workspace")
        .and_then(|workspace| workspace.get("members"))
        .and_then(toml::Value::as_array);
    let mut paths = Vec::new();
    for pattern in members.into_iter().flatten().filter_map(toml::Value::as_str) {
        match pattern.strip_suffix('*') {
            Some(base) => paths.extend(
                tree.names
                    .iter()
                    .filter(|name| {
                        name.strip_prefix(base)
                            .and_then(|rest| rest.strip_suffix("/Cargo.toml"))
                            .is_some_and(|directory| !directory.contains('/'))
                    })
                    .cloned(),
            ),
            None => paths.push(format!("{pattern}/Cargo.toml")),
        }
    }
    paths
}

/// The package behind a dependency's key, which may be a name of the manifest's own choice.
fn package(key: &str, value: &toml::Value, workspace: &toml::Table) -> String {
    let inherited = value
        .get("workspace")
        .and_then(|_| workspace.get("workspace")?.get("dependencies")?.get(key)?.get("package"));
    value.get("package").or(inherited).and_then(toml::Value::as_str).unwrap_or(key).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKSPACE: &str = "[workspace]\nmembers = [\"crates/*\", \"xtask\"]\n\
        [workspace.dependencies]\nlar-core.path = \"crates/core\"\n\
        disguise = { path = \"crates/runtime\", package = \"lar-runtime\" }\n";
    const XTASK: &str = "[package]\nname = \"xtask\"\n[lints]\nworkspace = true\n";

    fn manifest(name: &str, rest: &str) -> String {
        format!("[package]\nname = \"{name}\"\n[lints]\nworkspace = true\n{rest}")
    }

    fn findings(path: &str, manifest: &str) -> Vec<String> {
        let tree =
            Tree::of(&[("Cargo.toml", WORKSPACE), ("xtask/Cargo.toml", XTASK), (path, manifest)]);
        check(&tree).iter().map(ToString::to_string).collect()
    }

    #[track_caller]
    fn finds(name: &str, rest: &str, line: Option<usize>) {
        let found = findings("crates/a/Cargo.toml", &manifest(name, rest));
        match line {
            None => assert_eq!(found, [""; 0], "{rest}"),
            Some(line) => {
                assert_eq!(found.len(), 1, "{found:?}");
                assert!(
                    found[0].starts_with(&format!("crates/a/Cargo.toml:{line}: ")),
                    "{found:?}"
                );
            }
        }
    }

    #[test]
    fn dependencies_point_down() {
        finds("lar-ledger", "[dependencies]\nlar-core.workspace = true\nserde = \"1\"\n", None);
        finds("lar-core", "[dependencies]\nserde = \"1\"\nlar-ledger.workspace = true\n", Some(7));
        finds("lar-runtime", "[dependencies]\nlar-ledger.workspace = true\n", Some(6));
        finds(
            "lar-runtime",
            "[dev-dependencies]\nlar-ledger.workspace = true\nstandin.workspace = true\n",
            None,
        );
        finds("lar", "[dependencies]\nlar-core.workspace = true\n", Some(6));
        finds("lar", "[build-dependencies]\nlar-core.workspace = true\n", Some(6));
        finds(
            "lar-sandbox",
            "[target.'cfg(unix)'.dependencies]\nlar-core.workspace = true\n",
            Some(6),
        );
    }

    #[test]
    fn another_name_is_no_disguise() {
        finds(
            "lar-ledger",
            "[dependencies]\nx = { path = \"../b\", package = \"lar-runtime\" }\n",
            Some(6),
        );
        let found = findings(
            "crates/a/Cargo.toml",
            &manifest("lar-ledger", "[dependencies]\ndisguise = { workspace = true }\n"),
        );
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("`lar-runtime`"), "{found:?}");
    }

    #[test]
    fn a_new_crate_gets_a_rule() {
        finds("lar-attic", "", Some(1));
    }

    #[test]
    fn lints_are_inherited() {
        let bare = |name: &str| format!("[package]\nname = \"{name}\"\n");
        assert_eq!(findings("crates/a/Cargo.toml", &bare("lar-core")).len(), 1);
        assert_eq!(findings("crates/a/Cargo.toml", &bare("lar-sandbox")), [""; 0]);
    }

    #[test]
    fn the_map_shows_every_crate() {
        let core = manifest("lar-core", "");
        let check = |map: &str| {
            check(&Tree::of(&[
                ("Cargo.toml", WORKSPACE),
                ("xtask/Cargo.toml", XTASK),
                ("crates/core/Cargo.toml", &core),
                ("ARCHITECTURE.md", map),
            ]))
        };
        assert_eq!(check("`xtask` and `crates/core`"), []);
        assert_eq!(check("xtask, lar-core"), []);
        assert_eq!(check("xtask, lar-cores").len(), 1);
    }

    #[test]
    fn members_that_are_missing_or_broken_are_named() {
        let tree = Tree::of(&[("Cargo.toml", WORKSPACE), ("crates/a/Cargo.toml", "[oops")]);
        assert_eq!(check(&tree).len(), 2);
    }
}
