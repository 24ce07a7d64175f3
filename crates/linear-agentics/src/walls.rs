//! What a run demands of the kernel, and what of its own no program of it may reach.

use std::path::{Path, PathBuf};

use lar_core::scope::Scope;
use lar_core::set::CapabilitySet;
use lar_core::token::Token;
use lar_runtime::confine::{ConfineError, Tier, Walls, exposed, overlaps};
use lar_runtime::tools::Programs;

use crate::compose::default_ledger;
use crate::options::{RunOptions, Store};

/// What is demanded: what the caller says, or the default. A set that runs no program asks for nothing.
pub(crate) fn least_tier(options: &RunOptions) -> Tier {
    let held = options.set.as_ref().map(CapabilitySet::tokens).unwrap_or_default();
    let mut all = held.iter().chain(&options.tokens).chain(&options.candidates);
    let runs_programs = all.any(|token| runs_programs(token.scope()));
    match options.min_tier {
        _ if !runs_programs => Tier::C,
        Some(tier) => tier,
        None if cfg!(target_os = "linux") => Tier::A,
        None => Tier::C,
    }
}

/// Checks that no token may write what the run trusts or read what is its own, and hides that from
/// programs.
pub(crate) fn fit(
    mut walls: Walls,
    tokens: &[Token],
    programs: &Programs,
    workdir: &Path,
    ledger: Option<PathBuf>,
    manifest: Option<&Path>,
) -> Result<Walls, ConfineError> {
    let ledger = ledger.as_deref();
    let mut overlaps = overlaps(tokens, programs, workdir, &trusted(ledger, manifest));
    overlaps.extend(exposed(tokens, workdir, &own(ledger), walls.tier()));
    if !overlaps.is_empty() {
        return Err(ConfineError::Overlaps(overlaps));
    }
    walls.hide(hidden(ledger));
    walls.guard(tokens, workdir);
    Ok(walls)
}

/// The ledger's file, where it is one.
pub(crate) fn ledger_file(store: &Store) -> Option<PathBuf> {
    match store {
        Store::Open(_) => None,
        Store::At(place) => place.file().map(Path::to_owned),
        Store::Default => default_ledger().ok(),
    }
}

fn runs_programs(scope: &Scope) -> bool {
    match scope {
        Scope::Shell(_) | Scope::Deploy(_) | Scope::Rollback(_) => true,
        Scope::Secret(secret) => runs_programs(&secret.inner),
        _ => false,
    }
}

/// The run's own files, which no token may write.
fn trusted(ledger: Option<&Path>, manifest: Option<&Path>) -> Vec<(PathBuf, &'static str)> {
    let mut all = own(ledger);
    all.extend(manifest.map(|path| (path.to_owned(), "the manifest")));
    all
}

/// The run's own files, which no token may read either: the ledger, and the state directory with its
/// keys.
fn own(ledger: Option<&Path>) -> Vec<(PathBuf, &'static str)> {
    let mut all: Vec<(PathBuf, &str)> = Vec::new();
    all.extend(ledger.map(|path| (path.to_owned(), "the ledger")));
    all.extend(state_directory().map(|path| (path, "the state directory with the keys")));
    all
}

/// What no program may read: the ledger with its companions, and the state directory.
fn hidden(ledger: Option<&Path>) -> Vec<PathBuf> {
    let beside = |path: &Path| {
        ["", "-wal", "-shm", "-journal"].map(|ending| {
            let mut name = path.as_os_str().to_owned();
            name.push(ending);
            PathBuf::from(name)
        })
    };
    ledger.into_iter().flat_map(beside).chain(state_directory()).collect()
}

fn state_directory() -> Option<PathBuf> {
    default_ledger().ok()?.parent().map(Path::to_owned)
}
