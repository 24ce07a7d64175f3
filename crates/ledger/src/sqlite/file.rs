//! The file that a ledger is: what it may be, and where it may lie.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;

use lar_core::ledger::LedgerError;

/// Kinds of file systems on which SQLite's locks don't hold between hosts (`statfs(2)`).
const NETWORK: [(i64, &str); 6] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB2"),
    (0x0102_1997, "9p"),
    (0x00c3_6400, "Ceph"),
];

/// Opens without waiting for whoever holds the other end (`open(2)`).
#[allow(clippy::cast_possible_wrap, reason = "the system's flags are small")]
const NONBLOCK: i32 = rustix::fs::OFlags::NONBLOCK.bits() as i32;

/// Refuses what is there and is no file: a pipe would be waited for, and a device never ends.
pub(super) fn refuse_kind(path: &Path) -> Result<(), LedgerError> {
    let kind = match fs::metadata(path) {
        Ok(found) => found.file_type(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(cannot(path, &error)),
    };
    if kind.is_file() {
        return Ok(());
    }
    let what = match kind {
        kind if kind.is_dir() => "a directory",
        kind if kind.is_fifo() => "a pipe",
        kind if kind.is_socket() => "a socket",
        _ => "a device",
    };
    Err(LedgerError::Unavailable(format!(
        "`{}` is {what}; name a file with `--ledger`",
        path.display()
    )))
}

/// Whether nobody can write beside a file here: its file system is read-only, or its directory is.
pub(super) fn is_read_only(path: &Path) -> bool {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    rustix::fs::access(directory, rustix::fs::Access::WRITE_OK).is_err()
}

/// The write-ahead log's path, if it holds anything.
pub(super) fn log_beside(path: &Path) -> Option<std::path::PathBuf> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let log = std::path::PathBuf::from(log);
    fs::metadata(&log).is_ok_and(|found| found.len() > 0).then_some(log)
}

/// Makes the directory with mode 0700 and the file with 0600 where they are missing.
pub(super) fn make_private(path: &Path) -> Result<(), LedgerError> {
    if let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|error| cannot(directory, &error))?;
    }
    fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        // Whatever has come here since it was looked at, nobody waits for its other end.
        .custom_flags(NONBLOCK)
        .open(path)
        .map(drop)
        .map_err(|error| cannot(path, &error))
}

/// Refuses a file that is shorter than its header says and has no log that could hold the rest: SQLite
/// would notice only when it reads what is missing (<https://sqlite.org/fileformat.html>, 1.3).
pub(super) fn refuse_cut(path: &Path) -> Result<(), LedgerError> {
    use std::io::Read;
    if log_beside(path).is_some() {
        return Ok(());
    }
    let mut header = Vec::with_capacity(100);
    let mut file = fs::File::open(path).map_err(|error| cannot(path, &error))?;
    let length = file.metadata().map_err(|error| cannot(path, &error))?.len();
    file.by_ref().take(100).read_to_end(&mut header).map_err(|error| cannot(path, &error))?;
    let number = |from: usize, to: usize| {
        header.get(from..to)?.iter().try_fold(0u64, |sum, byte| Some(sum << 8 | u64::from(*byte)))
    };
    let (Some(size), Some(changes), Some(pages), Some(valid_for)) =
        (number(16, 18), number(24, 28), number(28, 32), number(92, 96))
    else {
        return Ok(());
    };
    let size = if size == 1 { 65_536 } else { size };
    let sqlite = header.starts_with(b"SQLite format 3\0") && changes == valid_for;
    if sqlite && length < pages.saturating_mul(size) {
        return Err(LedgerError::Damaged(
            "the file was cut short; restore it from a backup".to_owned(),
        ));
    }
    Ok(())
}

pub(super) fn refuse_network(path: &Path) -> Result<(), LedgerError> {
    let found = rustix::fs::statfs(path).map_err(|error| cannot(path, &error.into()))?;
    let kind = found.f_type;
    match NETWORK.iter().find(|(magic, _)| *magic == kind) {
        Some((_, name)) => Err(LedgerError::Unavailable(format!(
            "`{}` lies on {name}, where two hosts could spend one use; use a local disk",
            path.display()
        ))),
        None => Ok(()),
    }
}

pub(super) fn cannot(path: &Path, error: &std::io::Error) -> LedgerError {
    LedgerError::Unavailable(format!("`{}`: {}", path.display(), error.kind()))
}
