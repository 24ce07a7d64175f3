//! The subcommands, one file each. Every one has its `Args` and a `run` that says how it ended.

pub mod audit;
pub mod check;
pub mod init;
pub mod run;
pub mod schema;
pub mod test;
pub mod tools;
pub mod try_call;

use std::path::{Path, PathBuf};

use linear_agentics::manifest::Manifest;

use crate::output::{Exit, complain, stderr_is_colourful};

/// Reads a manifest, or says everything that is wrong with it.
pub fn read_manifest(path: &Path) -> Result<Manifest, Exit> {
    let shown = path.display().to_string();
    let bytes = read_capped(path).map_err(|error| {
        complain(&format!(
            "manifest `{shown}` can't be read ({}); name an existing file",
            error.kind()
        ));
        Exit::Usage
    })?;
    let base = base_of(path).ok_or_else(|| {
        complain(&format!("the directory of `{shown}` can't be found; name an existing file"));
        Exit::Usage
    })?;
    Manifest::read_bytes(&bytes, &base).map_err(|error| {
        complain(&error.render(&shown, stderr_is_colourful()));
        Exit::Usage
    })
}

/// The manifest's directory, absolute.
fn base_of(path: &Path) -> Option<PathBuf> {
    let whole = path.canonicalize().ok()?;
    whole.parent().map(Path::to_owned)
}

/// Reads a file, but not much more than a manifest may have: the reader says what is too large.
fn read_capped(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let most = linear_agentics::manifest::MAX_BYTES as u64 + 1;
    std::fs::File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}
