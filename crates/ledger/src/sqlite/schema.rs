//! The file: where it may lie, how it is opened, and the tables in it.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use lar_core::ledger::LedgerError;
use rusqlite::{Connection, OpenFlags};

use super::unavailable;

/// The version of the tables. A file with a higher one was written by a newer program.
const VERSION: i64 = 1;
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
    CREATE TABLE clock (
        -- The highest time that was ever given out, in milliseconds since 1970.
        id     INTEGER PRIMARY KEY CHECK (id = 1),
        millis INTEGER NOT NULL
    ) STRICT;
    INSERT INTO clock VALUES (1, 0);

    CREATE TABLE runs (
        n           INTEGER PRIMARY KEY,
        id          TEXT NOT NULL UNIQUE,
        owner       TEXT NOT NULL,
        task        TEXT NOT NULL,
        opened      INTEGER NOT NULL,
        stop_reason TEXT,
        seq         INTEGER NOT NULL,
        head        BLOB NOT NULL
    ) STRICT;

    CREATE TABLE tokens (
        run        INTEGER NOT NULL REFERENCES runs (n),
        name       TEXT NOT NULL,
        position   INTEGER NOT NULL,
        definition BLOB NOT NULL,
        granted    INTEGER NOT NULL CHECK (granted > 0),
        uses_left  INTEGER NOT NULL CHECK (uses_left BETWEEN 0 AND granted),
        expires    INTEGER,
        PRIMARY KEY (run, name)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE attempts (
        id          BLOB PRIMARY KEY,
        run         INTEGER NOT NULL,
        token       TEXT NOT NULL,
        action      BLOB NOT NULL,
        state       TEXT NOT NULL,
        fence       INTEGER NOT NULL,
        lease_until INTEGER,
        approved    INTEGER,
        FOREIGN KEY (run, token) REFERENCES tokens (run, name)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX attempts_of_run ON attempts (run, token, state);

    CREATE TABLE records (
        run   INTEGER NOT NULL REFERENCES runs (n),
        seq   INTEGER NOT NULL,
        hash  BLOB NOT NULL,
        bytes BLOB NOT NULL,
        PRIMARY KEY (run, seq)
    ) STRICT, WITHOUT ROWID;
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
    connection.busy_timeout(Duration::from_secs(10)).map_err(|error| unavailable(&error))?;
    let set = |connection: &Connection| -> rusqlite::Result<String> {
        let mode = connection
            .pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0))?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "trusted_schema", false)?;
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
        (0, 0) => {
            let make = || -> rusqlite::Result<()> {
                let tables: i64 =
                    transaction
                        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
                if tables > 0 {
                    return Err(rusqlite::Error::InvalidQuery);
                }
                transaction.execute_batch(TABLES)?;
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
