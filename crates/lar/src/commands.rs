//! The subcommands, one file each. Every one has its `Args` and a `run` that says how it ended.

pub mod approvals;
pub mod audit;
pub mod check;
pub mod doctor;
pub mod ending;
pub mod grants;
pub mod init;
pub mod keys;
pub mod ledger;
pub mod resume;
pub mod run;
pub mod schema;
pub mod store;
pub mod test;
pub mod tools;
pub mod try_call;
pub mod witness;

use std::path::{Path, PathBuf};

use linear_agentics::display::{Mode, escape};
use linear_agentics::manifest::Manifest;

use crate::output::{Exit, complain, stderr_is_colourful};

/// Reads a manifest, or says everything that is wrong with it.
pub fn read_manifest(path: &Path) -> Result<Manifest, Exit> {
    let shown = escape(&path.to_string_lossy(), Mode::Line);
    let bytes = read_capped(path).map_err(|what| {
        complain(&format!("manifest `{shown}` {what}"));
        Exit::Usage
    })?;
    let base = base_of(path).ok_or_else(|| {
        complain(&format!("the directory of `{shown}` can't be found; name an existing file"));
        Exit::Usage
    })?;
    Manifest::read_with(&bytes, &base, &read_capped).map_err(|error| {
        complain(&error.render(&shown, stderr_is_colourful()));
        Exit::Usage
    })
}

/// The manifest's directory, absolute.
fn base_of(path: &Path) -> Option<PathBuf> {
    let whole = path.canonicalize().ok()?;
    whole.parent().map(Path::to_owned)
}

/// Reads a file, but not much more than a manifest may have: the reader says what is too large. A
/// pipe or a device is no manifest: it may never end, and it lies in no directory at which the
/// manifest's paths could begin.
fn read_capped(path: &Path) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let unread =
        |error: std::io::Error| format!("can't be read ({}); name an existing file", error.kind());
    if !std::fs::metadata(path).map_err(unread)?.is_file() {
        return Err("is not a regular file; name one".to_owned());
    }
    let mut bytes = Vec::new();
    let most = linear_agentics::manifest::MAX_BYTES as u64 + 1;
    let file = std::fs::File::open(path).map_err(unread)?;
    file.take(most).read_to_end(&mut bytes).map_err(unread)?;
    Ok(bytes)
}
