//! The file: where it may lie, how it is opened, and the tables in it.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use lar_core::audit::tree::Frontier;
use lar_core::ledger::{LedgerError, LedgerId};
use rusqlite::{Connection, OpenFlags};

use super::{log, unavailable};

/// The version of the tables. A file with a higher one was written by a newer program.
const VERSION: i64 = 4;
/// How long another process may hold the file. The message of the error names it.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// Marks a file as a ledger (`PRAGMA application_id`): "LARl".
const APPLICATION: i64 = 0x4c41_526c;
/// SQLite before 3.51.3 could lose a committed transaction when a WAL was reset
/// (<https://sqlite.org/changes.html>, 3.51.3).
const OLDEST_SQLITE: i32 = 3_051_003;

/// Kinds of file systems on which SQLite's locks don't hold between hosts (`statfs(2)`).
const NETWORK: [(i64, &str); 6] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB2"),
    (0x0102_1997, "9p"),
    (0x00c3_6400, "Ceph"),
];

const TABLES: &str = "
    CREATE TABLE ledger (
        only   INTEGER PRIMARY KEY CHECK (only = 1),
        id     TEXT NOT NULL,
        epoch  INTEGER NOT NULL,
        -- The highest time that was ever given out, in milliseconds since 1970.
        millis INTEGER NOT NULL
    ) STRICT;

    CREATE TABLE grants (
        n           INTEGER PRIMARY KEY,
        id          TEXT NOT NULL UNIQUE,
        named       INTEGER NOT NULL,
        issued      INTEGER NOT NULL,
        expires     INTEGER,
        revoked     INTEGER,
        reason      TEXT,
        epoch       INTEGER NOT NULL,
        definitions TEXT NOT NULL
    ) STRICT;
    CREATE INDEX named_grants ON grants (n) WHERE named;

    CREATE TABLE tokens (
        grant_n           INTEGER NOT NULL REFERENCES grants (n),
        name              TEXT NOT NULL,
        position          INTEGER NOT NULL,
        definition        BLOB NOT NULL,
        granted           INTEGER NOT NULL CHECK (granted > 0),
        uses_left         INTEGER NOT NULL CHECK (uses_left BETWEEN 0 AND granted),
        expires           INTEGER,
        requires_approval INTEGER NOT NULL,
        candidate         INTEGER NOT NULL,
        unlocked_by       TEXT,
        PRIMARY KEY (grant_n, name)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE runs (
        n           INTEGER PRIMARY KEY,
        id          TEXT NOT NULL UNIQUE,
        grant_n     INTEGER NOT NULL REFERENCES grants (n),
        owner       TEXT NOT NULL,
        fence       INTEGER NOT NULL,
        lease_ms    INTEGER NOT NULL,
        lease_until INTEGER NOT NULL,
        task        TEXT NOT NULL,
        opened      INTEGER NOT NULL,
        stop_reason TEXT,
        seq         INTEGER NOT NULL,
        head        BLOB NOT NULL,
        pages       INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX open_runs ON runs (n) WHERE stop_reason IS NULL;

    -- The run comes first in the key, so that what happens together lies together.
    CREATE TABLE attempts (
        run            INTEGER NOT NULL REFERENCES runs (n),
        id             BLOB NOT NULL,
        grant_n        INTEGER NOT NULL,
        token          TEXT NOT NULL,
        action         BLOB NOT NULL,
        state          TEXT NOT NULL,
        fence          INTEGER NOT NULL,
        lease_until    INTEGER,
        approved_until INTEGER,
        resolution     TEXT,
        holder         INTEGER NOT NULL,
        seq            INTEGER NOT NULL,
        PRIMARY KEY (run, id),
        FOREIGN KEY (grant_n, token) REFERENCES tokens (grant_n, name)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX held_attempts ON attempts (grant_n, token, lease_until) WHERE state = 'reserved';

    CREATE TABLE records (
        run   INTEGER NOT NULL REFERENCES runs (n),
        seq   INTEGER NOT NULL,
        leaf  INTEGER NOT NULL,
        hash  BLOB NOT NULL,
        bytes BLOB NOT NULL,
        PRIMARY KEY (run, seq)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE journal (
        run   INTEGER NOT NULL REFERENCES runs (n),
        page  INTEGER NOT NULL,
        bytes BLOB NOT NULL,
        PRIMARY KEY (run, page)
    ) STRICT;
";

/// Opens the file, makes it when it is new, and checks that it is a ledger of a known version.
pub(super) fn open(path: &Path) -> Result<Connection, LedgerError> {
    if rusqlite::version_number() < OLDEST_SQLITE {
        return Err(LedgerError::Unavailable(format!(
            "SQLite {} can lose a committed transaction; build with 3.51.3 or later",
            rusqlite::version()
        )));
    }
    make_private(path)?;
    refuse_network(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    // NOFOLLOW refuses symbolic links in every part of the path, so the path must be a real one.
    let real = path.canonicalize().map_err(|error| cannot(path, &error))?;
    refuse_cut(&real)?;
    let mut connection =
        Connection::open_with_flags(real, flags).map_err(|error| unavailable(&error))?;
    prepare(&mut connection)?;
    Ok(connection)
}

fn prepare(connection: &mut Connection) -> Result<(), LedgerError> {
    let ask = |connection: &Connection, name: &str| -> Result<i64, LedgerError> {
        connection
            .pragma_query_value(None, name, |row| row.get(0))
            .map_err(|error| unavailable(&error))
    };
    connection.busy_timeout(PATIENCE).map_err(|error| unavailable(&error))?;
    let set = |connection: &Connection| -> rusqlite::Result<String> {
        let mode = connection
            .pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0))?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "trusted_schema", false)?;
        // What is deleted, a closed run's journal, is overwritten.
        connection.pragma_update(None, "secure_delete", true)?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(mode)
    };
    let mode = set(connection).map_err(|error| unavailable(&error))?;
    if !mode.eq_ignore_ascii_case("wal") {
        return Err(LedgerError::Unavailable(
            "its file system can't hold a write-ahead log; use a local disk".to_owned(),
        ));
    }
    // Two processes may open a new file at once: who comes second finds the tables made.
    let transaction = connection
        .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
        .map_err(|error| unavailable(&error))?;
    match (ask(&transaction, "application_id")?, ask(&transaction, "user_version")?) {
        (APPLICATION, VERSION) => {}
        (APPLICATION, newer) if newer > VERSION => {
            return Err(LedgerError::Damaged(format!(
                "it was written by a newer version (tables {newer}, this program knows {VERSION}); \
                 update the program, and don't edit the file"
            )));
        }
        (APPLICATION, older) => {
            return Err(LedgerError::Damaged(format!(
                "it was written by an older version (tables {older}, this program writes {VERSION}); \
                 read it with that version, and name another file with `--ledger`"
            )));
        }
        (0, 0) => {
            let id = new_id()?;
            let make = || -> rusqlite::Result<()> {
                let tables: i64 =
                    transaction
                        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
                if tables > 0 {
                    return Err(rusqlite::Error::InvalidQuery);
                }
                transaction.execute_batch(TABLES)?;
                transaction.execute_batch(log::TABLES)?;
                transaction.execute("INSERT INTO ledger VALUES (1, ?1, 1, 0)", [id.as_str()])?;
                let empty = Frontier::default().root();
                transaction
                    .execute("INSERT INTO log VALUES (1, 0, ?1, NULL, 1)", [empty.as_bytes()])?;
                transaction.pragma_update(None, "application_id", APPLICATION)?;
                transaction.pragma_update(None, "user_version", VERSION)
            };
            make().map_err(|error| match error {
                rusqlite::Error::InvalidQuery => LedgerError::Damaged(
                    "the file is another program's database; name another with `--ledger`"
                        .to_owned(),
                ),
                other => unavailable(&other),
            })?;
        }
        _ => {
            return Err(LedgerError::Damaged(
                "the file is another program's database; name another with `--ledger`".to_owned(),
            ));
        }
    }
    transaction.commit().map_err(|error| unavailable(&error))
}

fn new_id() -> Result<LedgerId, LedgerError> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits)
        .map_err(|_| LedgerError::Unavailable("the system gives no random numbers".to_owned()))?;
    Ok(LedgerId::of_random(bits))
}

/// Makes the directory with mode 0700 and the file with 0600 where they are missing.
fn make_private(path: &Path) -> Result<(), LedgerError> {
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
        .open(path)
        .map(drop)
        .map_err(|error| cannot(path, &error))
}

/// Refuses a file that is shorter than its header says and has no log that could hold the rest: SQLite
/// would notice only when it reads what is missing (<https://sqlite.org/fileformat.html>, 1.3).
fn refuse_cut(path: &Path) -> Result<(), LedgerError> {
    use std::io::Read;
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    if fs::metadata(log).is_ok_and(|log| log.len() > 0) {
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

fn refuse_network(path: &Path) -> Result<(), LedgerError> {
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

fn cannot(path: &Path, error: &std::io::Error) -> LedgerError {
    LedgerError::Unavailable(format!("`{}`: {}", path.display(), error.kind()))
}
