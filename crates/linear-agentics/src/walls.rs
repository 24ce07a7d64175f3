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

/// Files and directories that are the run's own.
pub(crate) struct Own<'a> {
    /// The ledger's file, where it is one.
    pub(crate) ledger: Option<PathBuf>,
    /// The manifest, which tokens may read.
    pub(crate) manifest: Option<&'a Path>,
    /// Where outputs are kept.
    pub(crate) kept: Option<&'a Path>,
}

/// Checks that no token may write what the run trusts or read what is its own, and hides that from
/// programs.
pub(crate) fn fit(
    mut walls: Walls,
    tokens: &[Token],
    programs: &Programs,
    workdir: &Path,
    own: Own<'_>,
) -> Result<Walls, ConfineError> {
    let mut overlaps = overlaps(tokens, programs, workdir, &own.trusted());
    overlaps.extend(exposed(tokens, workdir, &own.alone(), walls.tier()));
    if !overlaps.is_empty() {
        return Err(ConfineError::Overlaps(overlaps));
    }
    walls.hide(own.hidden());
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

impl Own<'_> {
    /// What no token may write.
    fn trusted(&self) -> Vec<(PathBuf, &'static str)> {
        let mut all = self.alone();
        all.extend(self.manifest.map(|path| (path.to_owned(), "the manifest")));
        all
    }

    /// What no token may read either: the ledger, the state directory with its keys, and kept outputs.
    fn alone(&self) -> Vec<(PathBuf, &'static str)> {
        let mut all: Vec<(PathBuf, &str)> = Vec::new();
        all.extend(self.ledger.clone().map(|path| (path, "the ledger")));
        all.extend(state_directory().map(|path| (path, "the state directory with the keys")));
        all.extend(self.kept.map(|path| (path.to_owned(), "the directory of kept outputs")));
        all
    }

    /// What no program may read: the ledger with its companions, the state directory, and kept outputs.
    fn hidden(&self) -> Vec<PathBuf> {
        let beside = |path: &Path| {
            ["", "-wal", "-shm", "-journal"].map(|ending| {
                let mut name = path.as_os_str().to_owned();
                name.push(ending);
                PathBuf::from(name)
            })
        };
        let ledger = self.ledger.as_deref().into_iter().flat_map(beside);
        ledger.chain(state_directory()).chain(self.kept.map(Path::to_owned)).collect()
    }
}

fn state_directory() -> Option<PathBuf> {
    default_ledger().ok()?.parent().map(Path::to_owned)
}
