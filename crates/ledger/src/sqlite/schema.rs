//! How the file is opened, and the tables in it.

use std::path::Path;
use std::time::Duration;

use lar_core::audit::record::genesis;
use lar_core::audit::tree::Frontier;
use lar_core::ledger::{LedgerError, LedgerId};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, params};

use super::standing::{self, log_row};
use super::{corrupt, file, log, places, unavailable};

/// The version of the tables. A file with a higher one was written by a newer program.
const VERSION: i64 = 6;
/// After how many pages of 4 KiB the write-ahead log is folded into the file. Whoever commits then waits for
/// it, so that it should be less than one in a hundred.
const FOLD_AFTER: i64 = 4_096;
/// How much of the file the writer may keep in memory, in KiB. Each run that spends has pages of its own, so
/// that hundreds of them would read and write theirs anew at every commit within SQLite's 2,000. With much more, SQLite
/// looks over all that it keeps whenever a page is split.
const CACHE_KIB: i64 = 8_192;
/// How long another process may hold the file. The message of the error names it.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// Marks a file as a ledger (`PRAGMA application_id`): "LARl".
const APPLICATION: i64 = 0x4c41_526c;
/// SQLite before 3.51.3 could lose a committed transaction when a WAL was reset
/// (<https://sqlite.org/changes.html>, 3.51.3).
const OLDEST_SQLITE: i32 = 3_051_003;

const TABLES: &str = "
    CREATE TABLE ledger (
        only   INTEGER PRIMARY KEY CHECK (only = 1),
        id     TEXT NOT NULL,
        epoch  INTEGER NOT NULL
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
        n                 INTEGER PRIMARY KEY,
        grant_n           INTEGER NOT NULL REFERENCES grants (n),
        name              TEXT NOT NULL,
        position          INTEGER NOT NULL,
        definition        BLOB NOT NULL,
        expires           INTEGER,
        requires_approval INTEGER NOT NULL,
        candidate         INTEGER NOT NULL,
        unlocked_by       TEXT,
        UNIQUE (grant_n, name)
    ) STRICT;

    CREATE TABLE runs (
        n           INTEGER PRIMARY KEY,
        id          TEXT NOT NULL UNIQUE,
        grant_n     INTEGER NOT NULL REFERENCES grants (n),
        owner       TEXT NOT NULL,
        lease_ms    INTEGER NOT NULL,
        task        TEXT NOT NULL,
        opened      INTEGER NOT NULL,
        stop_reason TEXT
    ) STRICT;
    CREATE INDEX open_runs ON runs (n) WHERE stop_reason IS NULL;

    -- The run comes first in the key, so that what happens together lies together. The rows that it names were
    -- read in the same transaction, and none of them is ever deleted.
    CREATE TABLE attempts (
        run            INTEGER NOT NULL,
        id             BLOB NOT NULL,
        token_n        INTEGER NOT NULL,
        action         BLOB NOT NULL,
        state          TEXT NOT NULL,
        fence          INTEGER NOT NULL,
        lease_until    INTEGER,
        approved_until INTEGER,
        resolution     TEXT,
        holder         INTEGER NOT NULL,
        seq            INTEGER NOT NULL,
        PRIMARY KEY (run, id)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX held_attempts ON attempts (token_n, lease_until) WHERE state = 'reserved';

    CREATE TABLE journal (
        run   INTEGER NOT NULL REFERENCES runs (n),
        page  INTEGER NOT NULL,
        bytes BLOB NOT NULL,
        PRIMARY KEY (run, page)
    ) STRICT;

    -- What people signed about attempts.
    CREATE TABLE decisions (
        run       INTEGER NOT NULL REFERENCES runs (n),
        attempt   BLOB NOT NULL,
        place     INTEGER NOT NULL,
        statement TEXT NOT NULL,
        signature TEXT NOT NULL,
        PRIMARY KEY (run, attempt, place)
    ) STRICT, WITHOUT ROWID;

    -- What records commit to.
    CREATE TABLE openings (
        run   INTEGER NOT NULL REFERENCES runs (n),
        seq   INTEGER NOT NULL,
        field TEXT NOT NULL,
        line  TEXT NOT NULL,
        PRIMARY KEY (run, seq, field)
    ) STRICT, WITHOUT ROWID;
";

/// A ledger's connections.
pub(super) struct Connections {
    /// The one that writes, or why there is none: the disk is full, say. What is there can be read all
    /// the same.
    pub(super) writing: Result<Connection, LedgerError>,
    /// The one that reads.
    pub(super) reading: Connection,
}

/// Opens the file, makes it when it is new, and checks that it is a ledger of a known version.
pub(super) fn open(path: &Path) -> Result<Connections, LedgerError> {
    if rusqlite::version_number() < OLDEST_SQLITE {
        return Err(LedgerError::Unavailable(format!(
            "SQLite {} can lose a committed transaction; build with 3.51.3 or later",
            rusqlite::version()
        )));
    }
    file::refuse_kind(path)?;
    let made = file::make_private(path);
    let found =
        if made.is_err() { path.metadata().is_ok_and(|found| found.len() > 0) } else { true };
    if !found {
        made?;
        return Err(file::cannot(path, &std::io::ErrorKind::NotFound.into()));
    }
    file::refuse_network(path)?;
    // NOFOLLOW refuses symbolic links in every part of the path, so the path must be a real one.
    let real = path.canonicalize().map_err(|error| file::cannot(path, &error))?;
    file::refuse_cut(&real)?;
    let opened = match made.and_then(|()| open_writing(&real)) {
        Ok(writing) => {
            let reading = connect(&real, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            Connections { writing: Ok(writing), reading }
        }
        Err(damage @ LedgerError::Damaged(_)) => return Err(damage),
        Err(why) => match open_reading_alone(&real) {
            Ok(reading) => Connections { writing: Err(why), reading },
            Err(damage @ LedgerError::Damaged(_)) => return Err(damage),
            Err(_) => return Err(why),
        },
    };
    look_for_damage(&opened.reading)?;
    Ok(opened)
}

/// Opens the connection that writes.
pub(super) fn open_writing(real: &Path) -> Result<Connection, LedgerError> {
    let mut writing = connect(real, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    prepare(&mut writing)?;
    Ok(writing)
}

/// Folds the write-ahead log into the file and empties it, so that what was deleted isn't in it any more.
pub(super) fn truncate_log(path: &Path) -> Result<(), LedgerError> {
    let real = path.canonicalize().map_err(|error| file::cannot(path, &error))?;
    let connection = open_writing(&real)?;
    let busy: bool = connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
        .map_err(|error| unavailable(&error))?;
    if busy {
        return Err(LedgerError::Unavailable(
            "what was deleted stands in its `-wal` file yet, which another process reads; do it again \
             when that one has finished"
                .to_owned(),
        ));
    }
    Ok(())
}

fn connect(path: impl AsRef<Path>, mode: OpenFlags) -> Result<Connection, LedgerError> {
    let flags = mode | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let set = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(PATIENCE)?;
        connection.pragma_update(None, "trusted_schema", false)?;
        // Each page's cells are looked over when it is read.
        connection.pragma_update(None, "cell_size_check", true)?;
        connection.set_prepared_statement_cache_capacity(64);
        // A plan doesn't depend on the values that are bound, or statements would be prepared anew for each.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        Ok(connection)
    };
    set().map_err(|error| unavailable(&error))
}

/// Opens for reading what can't be written, be it that its directory is read-only or that its disk is
/// full.
fn open_reading_alone(real: &Path) -> Result<Connection, LedgerError> {
    let known = |connection: Connection| match content(&connection)? {
        Content::Ledger => Ok(connection),
        Content::Nothing => Err(LedgerError::Unavailable("there is nothing in it".to_owned())),
    };
    let plain = connect(real, OpenFlags::SQLITE_OPEN_READ_ONLY).and_then(known);
    if !matches!(plain, Err(LedgerError::Unavailable(_))) {
        return plain;
    }
    if file::is_read_only(real) {
        if file::log_beside(real).is_some() {
            return Err(LedgerError::Unavailable(
                "its last changes stand in the `-wal` file beside it, which can't be read where \
                 nothing can be written; copy both to another directory"
                    .to_owned(),
            ));
        }
        // Nobody can change it while it is read.
        let name: String =
            real.as_os_str().as_encoded_bytes().iter().fold(String::from("file:"), |name, byte| {
                match byte {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                        name + &char::from(*byte).to_string()
                    }
                    other => name + &format!("%{other:02X}"),
                }
            });
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        return connect(name + "?immutable=1", flags).and_then(known);
    }
    // Alone with the file, SQLite needs no index beside it, for which there is no room.
    let alone = connect(real, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    alone
        .pragma_update_and_check(None, "locking_mode", "exclusive", |_| Ok(()))
        .and_then(|()| alone.pragma_update(None, "query_only", true))
        .map_err(|error| unavailable(&error))?;
    known(alone)
}

/// Up to this size, all pages of the file are looked over when it is opened, in bytes.
const LOOKED_OVER: u64 = 4 << 20;

/// Looks for damage that SQLite can see, where that takes no time. Of a larger file, each page is looked
/// over when it is read.
fn look_for_damage(connection: &Connection) -> Result<(), LedgerError> {
    let number = |name: &str| -> Result<u64, LedgerError> {
        connection
            .pragma_query_value(None, name, |row| row.get(0))
            .map_err(|error| unavailable(&error))
    };
    if number("page_count")?.saturating_mul(number("page_size")?) <= LOOKED_OVER {
        check_pages(connection, "quick_check")?;
    }
    Ok(())
}

/// Asks SQLite whether its pages are sound: `quick_check`, or the thorough `integrity_check`.
pub(super) fn check_pages(connection: &Connection, how: &str) -> Result<(), LedgerError> {
    let said: String = connection
        .query_row(&format!("PRAGMA {how}(1)"), [], |row| row.get(0))
        .map_err(|error| unavailable(&error))?;
    if said == "ok" { Ok(()) } else { Err(corrupt()) }
}

/// What is in a file.
#[derive(PartialEq)]
enum Content {
    Nothing,
    Ledger,
}

/// Refuses everything but an empty file and a ledger of this version.
fn content(connection: &Connection) -> Result<Content, LedgerError> {
    let ask = |name: &str| -> Result<i64, LedgerError> {
        connection
            .pragma_query_value(None, name, |row| row.get(0))
            .map_err(|error| unavailable(&error))
    };
    match (ask("application_id")?, ask("user_version")?) {
        (APPLICATION, VERSION) => Ok(Content::Ledger),
        (APPLICATION, newer) if newer > VERSION => Err(LedgerError::Damaged(format!(
            "it was written by a newer version (tables {newer}, this program knows {VERSION}); \
             update the program, and don't edit the file"
        ))),
        (APPLICATION, older) => Err(LedgerError::Damaged(format!(
            "it was written by an older version (tables {older}, this program writes {VERSION}); \
             read it with that version, and name another file with `--ledger`"
        ))),
        (0, 0) => {
            let tables: i64 = connection
                .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
                .map_err(|error| unavailable(&error))?;
            if tables == 0 { Ok(Content::Nothing) } else { Err(another_program()) }
        }
        _ => Err(another_program()),
    }
}

fn another_program() -> LedgerError {
    LedgerError::Damaged(
        "the file is another program's database; name another with `--ledger`".to_owned(),
    )
}

fn prepare(connection: &mut Connection) -> Result<(), LedgerError> {
    let set = |connection: &Connection| -> rusqlite::Result<String> {
        let mode = connection
            .pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0))?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "wal_autocheckpoint", FOLD_AFTER)?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        connection.pragma_update(None, "foreign_keys", true)?;
        // What is deleted, a closed run's journal, is overwritten.
        connection.pragma_update(None, "secure_delete", true)?;
        Ok(mode)
    };
    let mode = set(connection).map_err(|error| unavailable(&error))?;
    if !mode.eq_ignore_ascii_case("wal") {
        return Err(LedgerError::Unavailable(
            "its file system can't hold a write-ahead log; use a local disk".to_owned(),
        ));
    }
    if content(connection)? == Content::Ledger {
        return Ok(());
    }
    // Two processes may open a new file at once: who comes second finds the tables made.
    let transaction = connection
        .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
        .map_err(|error| unavailable(&error))?;
    if content(&transaction)? == Content::Nothing {
        let id = new_id()?;
        let make = || -> rusqlite::Result<()> {
            transaction.execute_batch(TABLES)?;
            transaction.execute_batch(standing::TABLE)?;
            transaction.execute_batch(log::TABLES)?;
            transaction.execute_batch(log::LEAVES)?;
            transaction.execute_batch(places::TABLE)?;
            transaction.execute("INSERT INTO ledger VALUES (1, ?1, 1)", [id.as_str()])?;
            transaction.execute(
                concat!(
                    "INSERT INTO standing (n, millis, written, size, root, key_epoch, own_seq,
                         own_head, leaves)
                     VALUES (",
                    log_row!(),
                    ", 0, 0, 0, ?1, 1, 0, ?2, x'')"
                ),
                params![Frontier::default().root().as_bytes(), genesis().as_bytes()],
            )?;
            transaction.pragma_update(None, "application_id", APPLICATION)?;
            transaction.pragma_update(None, "user_version", VERSION)
        };
        make().map_err(|error| unavailable(&error))?;
    }
    transaction.commit().map_err(|error| unavailable(&error))
}

fn new_id() -> Result<LedgerId, LedgerError> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits)
        .map_err(|_| LedgerError::Unavailable("the system gives no random numbers".to_owned()))?;
    Ok(LedgerId::of_random(bits))
}
