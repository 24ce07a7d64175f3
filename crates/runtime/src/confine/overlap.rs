//! What a token may write must not be what the run trusts, and what it may read must not be the run's
//! own: a program, a script, its interpreter, the manifest, the ledger, a key, or configuration that
//! another token reads.

use std::path::{Path, PathBuf};

use lar_core::scope::{FileMode, Reach, Scope};
use lar_core::token::Token;
use lar_sandbox::Tier;

use super::expand;
use crate::tools::programs::Programs;

/// A scope that lies where trust is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlap {
    /// The token.
    pub token: String,
    /// What it may do there: `write` or `read`.
    pub does: &'static str,
    /// Its path.
    pub path: PathBuf,
    /// What lies there.
    pub trusted: PathBuf,
    /// What that is.
    pub what: String,
}

/// Finds every write scope of `tokens` that overlaps what the set uses or what is listed in `trusted`,
/// each with what it is (`the manifest`, `the ledger`).
pub fn overlaps(
    tokens: &[Token],
    programs: &Programs,
    workdir: &Path,
    trusted: &[(PathBuf, &str)],
) -> Vec<Overlap> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let home = home.as_deref();
    let mut held: Vec<(PathBuf, String)> =
        trusted.iter().map(|(path, what)| (path.clone(), (*what).to_owned())).collect();
    for token in tokens {
        held.extend(used(token, programs, workdir, home));
    }
    let held: Vec<(PathBuf, String)> =
        held.into_iter().filter_map(|(path, what)| Some((real(&path)?, what))).collect();
    let mut found = Vec::new();
    for token in tokens {
        for path in writes(token.scope(), home) {
            let path = workdir.join(path);
            let Ok(real) = path.canonicalize() else { continue };
            for (trusted, what) in &held {
                if trusted.starts_with(&real) || real.starts_with(trusted) {
                    found.push(Overlap {
                        token: token.name().to_owned(),
                        does: "write",
                        path: path.clone(),
                        trusted: trusted.clone(),
                        what: what.clone(),
                    });
                }
            }
        }
    }
    found.dedup();
    found
}

/// Finds every scope by which what is the run's own (the ledger, the keys) could be read: files and
/// SQLite databases that a token reads for the model at any tier, and at tier B, where nothing in a directory can be covered,
/// what a program reads.
pub fn exposed(
    tokens: &[Token],
    workdir: &Path,
    own: &[(PathBuf, &str)],
    tier: Tier,
) -> Vec<Overlap> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let own: Vec<(PathBuf, &str)> =
        own.iter().filter_map(|(path, what)| Some((real(path)?, *what))).collect();
    let mut found = Vec::new();
    for token in tokens {
        for path in reads(token.scope(), workdir, home.as_deref(), tier) {
            let path = workdir.join(path);
            let Some(place) = real(&path) else { continue };
            for (held, what) in &own {
                if held.starts_with(&place) || place.starts_with(held) {
                    found.push(Overlap {
                        token: token.name().to_owned(),
                        does: "read",
                        path: path.clone(),
                        trusted: held.clone(),
                        what: (*what).to_owned(),
                    });
                }
            }
        }
    }
    found.dedup();
    found
}

/// What a token may read.
fn reads(scope: &Scope, workdir: &Path, home: Option<&Path>, tier: Tier) -> Vec<PathBuf> {
    match scope {
        Scope::File(file) => file.allowed_paths.iter().map(PathBuf::from).collect(),
        Scope::Database(database) => database.file.iter().map(PathBuf::from).collect(),
        Scope::Secret(secret) => reads(&secret.inner, workdir, home, tier),
        other if tier == Tier::B => {
            let Some(reach) = reach(other) else { return Vec::new() };
            let at = match other {
                Scope::Shell(shell) => shell.workdir.as_ref().map_or(workdir, Path::new),
                _ => workdir,
            };
            let named = reach.reads.iter().chain(&reach.writes).map(|path| expand(path, home));
            named.chain([at.to_owned()]).collect()
        }
        _ => Vec::new(),
    }
}

/// What programs and calls of these tokens may change, without links.
pub(super) fn written(tokens: &[Token], workdir: &Path, home: Option<&Path>) -> Vec<PathBuf> {
    let all = tokens.iter().flat_map(|token| writes(token.scope(), home));
    all.filter_map(|path| real(&workdir.join(path))).collect()
}

/// A path without links, as far as it exists.
pub(super) fn real(path: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    for there in path.ancestors() {
        if let Ok(plain) = there.canonicalize() {
            return Some(plain.join(path.strip_prefix(there).ok()?));
        }
    }
    None
}

/// All of them, in words.
pub(super) fn tell(all: &[Overlap]) -> String {
    let line = |one: &Overlap| {
        format!(
            "token `{}` may {} `{}`, where {} lies (`{}`): give it a directory of its own",
            one.token,
            one.does,
            one.path.display(),
            one.what,
            one.trusted.display()
        )
    };
    all.iter().map(line).collect::<Vec<_>>().join("; ")
}

/// What a token may change.
fn writes(scope: &Scope, home: Option<&Path>) -> Vec<PathBuf> {
    match scope {
        Scope::File(file) if file.mode != FileMode::Read => {
            file.allowed_paths.iter().map(PathBuf::from).collect()
        }
        Scope::Database(database) if !database.sql.only_reads() => {
            database.file.iter().map(PathBuf::from).collect()
        }
        Scope::Secret(secret) => writes(&secret.inner, home),
        other => {
            let reach = reach(other).map(|reach| reach.writes.iter());
            reach.into_iter().flatten().map(|path| expand(path, home)).collect()
        }
    }
}

fn reach(scope: &Scope) -> Option<&Reach> {
    match scope {
        Scope::Shell(shell) => Some(&shell.reach),
        Scope::Deploy(deploy) => Some(&deploy.reach),
        _ => None,
    }
}

/// The files that a token's programs are, and what they are configured by.
fn used(
    token: &Token,
    programs: &Programs,
    workdir: &Path,
    home: Option<&Path>,
) -> Vec<(PathBuf, String)> {
    let mut scope = token.scope();
    while let Scope::Secret(secret) = scope {
        scope = &secret.inner;
    }
    let name = token.name();
    let mut all = Vec::new();
    for (program, at) in programs.of_scope(scope, workdir) {
        let Ok(found) = programs.find(&program, &at) else { continue };
        all.push((found.clone(), format!("the program `{program}` of token `{name}`")));
        if let Ok(identified) = programs.identify(&program, &at) {
            let what = format!("what starts the program `{program}` of token `{name}`");
            all.extend(identified.launch.executes.iter().map(|path| (path.clone(), what.clone())));
        }
    }
    if let Some(reach) = reach(scope) {
        for path in &reach.reads {
            let path = workdir.join(expand(path, home));
            all.push((path, format!("what token `{name}` reads")));
        }
        for path in reach.also_runs.iter().filter(|path| *path != "*") {
            let found = match path.contains('/') {
                true => Some(workdir.join(expand(path, home))),
                false => programs.find(path, workdir).ok(),
            };
            all.extend(found.map(|path| (path, format!("what token `{name}` starts"))));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use lar_core::token::{DatabaseToken, FileToken, ShellToken};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_token_may_not_write_what_the_run_trusts() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        let script = top.join("work");
        std::fs::create_dir(top.join("out")).unwrap();
        std::fs::write(&script, "#!/bin/sh\n").unwrap();
        std::fs::write(top.join("manifest.toml"), "").unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        let programs = Programs::new("/usr/bin:/bin".as_ref());
        let trusted = [(top.join("manifest.toml"), "the manifest")];
        let shell = |writes: &Path| {
            ShellToken::new("sh", ["./work"]).writes(writes.to_string_lossy()).build().unwrap()
        };
        let found = |token: Token| overlaps(&[token], &programs, &top, &trusted);
        assert_eq!(found(shell(&top.join("out"))), []);
        let whole = found(shell(&top));
        let what: Vec<&str> = whole.iter().map(|one| one.what.as_str()).collect();
        assert_eq!(what, ["the manifest", "the program `./work` of token `sh`"]);
        assert!(tell(&whole).contains("token `sh` may write"), "{}", tell(&whole));

        let file = |mode| FileToken::new("box", [top.to_string_lossy()], mode).build().unwrap();
        assert_eq!(found(file(FileMode::Read)), []);
        assert_eq!(found(file(FileMode::Write))[0].what, "the manifest");
        let config =
            ShellToken::new("a", ["true"]).reads(top.join("out").to_string_lossy()).build();
        let both = [config.unwrap(), shell(&top.join("out"))];
        let found = overlaps(&both, &programs, &top, &trusted);
        assert_eq!(found[0].what, "what token `a` reads");
    }

    #[test]
    fn the_run_s_own_files_are_read_by_no_token() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        std::fs::create_dir(top.join("out")).unwrap();
        // The keys aren't there yet, and the ledger is named from where one stands.
        let own = [(top.join("state/lar/keys"), "the keys"), (top.join("ledger.db"), "the ledger")];
        let file = |path: &Path| {
            FileToken::new("box", [path.to_string_lossy()], FileMode::Read).build().unwrap()
        };
        let of = |token: Token, tier: Tier| exposed(&[token], &top, &own, tier);
        let whole = of(file(&top), Tier::A);
        assert_eq!(
            whole.iter().map(|one| &*one.what).collect::<Vec<_>>(),
            ["the keys", "the ledger"]
        );
        assert!(tell(&whole).starts_with("token `box` may read `"), "{}", tell(&whole));
        assert_eq!(of(file(&top.join("state/lar/keys/x")), Tier::A).len(), 1);
        assert_eq!(of(file(&top.join("out")), Tier::A), []);
        // A program is held by walls that cover single files, where there are such.
        let shell = || ShellToken::new("sh", ["cat"]).build().unwrap();
        assert_eq!(of(shell(), Tier::A), []);
        assert_eq!(of(shell(), Tier::B).len(), 2);
        // Nor by way of a query.
        let query = |path: &Path| {
            let dsn = format!("sqlite:{}", path.display());
            DatabaseToken::new("db", &dsn, ["SELECT"]).build().unwrap()
        };
        std::fs::write(top.join("ledger.db"), "").unwrap();
        std::os::unix::fs::symlink(top.join("ledger.db"), top.join("out/other.db")).unwrap();
        assert_eq!(of(query(&top.join("ledger.db")), Tier::A)[0].what, "the ledger");
        assert_eq!(of(query(&top.join("out/other.db")), Tier::A)[0].what, "the ledger");
        assert_eq!(of(query(&top.join("out/orders.db")), Tier::A), []);
        let apart = ShellToken::new("sh", ["cat"]).workdir(top.join("out").to_string_lossy());
        assert_eq!(of(apart.build().unwrap(), Tier::B), []);
    }
}
