//! What a ledger does when the file isn't what it should be: nothing, and it says why.

use std::fs;
use std::path::Path;

use lar_core::ledger::{Conflict, LedgerError};
use rusqlite::Connection;

use crate::support::*;

fn refusal(path: &Path) -> LedgerError {
    match lar_ledger::open(path) {
        Ok(_) => panic!("it was opened"),
        Err(error) => error,
    }
}

fn file() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l.db");
    (dir, path)
}

#[test]
fn another_programs_files_are_left_alone() {
    let (_dir, path) = file();
    fs::write(
        &path,
        "this is a text, and long enough to be taken for a header of SQLite ..........",
    )
    .unwrap();
    assert!(matches!(refusal(&path), LedgerError::Damaged(_)));
    assert!(fs::read_to_string(&path).unwrap().starts_with("this is a text"));

    let (_dir, path) = file();
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE mine (a)").unwrap();
    let error = refusal(&path);
    assert!(error.to_string().contains("another program's database"), "{error}");
}

#[tokio::test]
async fn a_ledger_of_another_version_is_refused() {
    for (version, said) in [(99, "newer version"), (5, "older version (tables 5")] {
        let (_dir, path) = file();
        open(&path).open_run(opening("r", vec![])).await.unwrap();
        Connection::open(&path).unwrap().pragma_update(None, "user_version", version).unwrap();
        let error = refusal(&path);
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[tokio::test]
async fn a_clock_that_runs_behind_is_refused() {
    let (_dir, path) = file();
    let ledger = open(&path);
    let hold = start(ledger.as_ref(), "r", vec![granted("t", 1)]).await;
    // The ledger has seen a time an hour from now.
    Connection::open(&path)
        .unwrap()
        .execute("UPDATE standing SET millis = millis + 3600000", [])
        .unwrap();
    let error = step(ledger.as_ref(), &hold, 1, START).await.unwrap_err();
    assert!(error.to_string().contains("clock"), "{error}");
    assert_eq!(ledger_left(&path), 1, "nothing was spent");
}

fn ledger_left(path: &Path) -> u32 {
    Connection::open(path)
        .unwrap()
        .query_row("SELECT uses_left FROM standing WHERE granted", [], |row| row.get(0))
        .unwrap()
}

#[tokio::test]
async fn damaged_pages_are_reported_as_damage() {
    let (_dir, path) = file();
    let ledger = open(&path);
    let hold = start(ledger.as_ref(), "r", vec![granted("t", 1)]).await;
    for _ in 0..200 {
        ledger.commit(note(&hold)).await.unwrap();
    }
    drop(ledger);
    let mut bytes = fs::read(&path).unwrap();
    for byte in bytes.iter_mut().skip(4096) {
        *byte = 0xAA;
    }
    fs::write(&path, bytes).unwrap();
    let error = match lar_ledger::open(&path) {
        Err(error) => error,
        Ok(ledger) => step(ledger.as_ref(), &hold, 1, START).await.unwrap_err(),
    };
    assert!(matches!(error, LedgerError::Damaged(_)), "{error}");
}

#[tokio::test]
async fn a_row_that_was_cut_shows_against_the_head() {
    let (_dir, path) = file();
    let ledger = open(&path);
    let hold = start(ledger.as_ref(), "r", vec![]).await;
    ledger.commit(note(&hold)).await.unwrap();
    Connection::open(&path).unwrap().execute("DELETE FROM records WHERE seq = 2", []).unwrap();
    let summary = ledger.runs().await.unwrap().remove(0);
    let records = ledger.records(&run("r"), 1, 10).await.unwrap();
    assert_eq!(summary.records, 2);
    assert_eq!(records.len(), 1);
    assert_ne!(records[0].hash, summary.head);
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let error = refusal(Path::new("/proc/lar/l.db"));
    assert!(error.to_string().contains("/proc/lar"), "{error}");
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_opening_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/er/l.db");
    let ledger = open(&path);
    let hold = start(ledger.as_ref(), "r", vec![granted("t", 1)]).await;
    step(ledger.as_ref(), &hold, 1, START).await.unwrap();
    let id = ledger.identity().await.unwrap();
    drop(ledger);
    let ledger = open(&path);
    assert_eq!(conflict(step(ledger.as_ref(), &hold, 2, START).await), Conflict::NoUseLeft);
    assert_eq!(ledger.identity().await.unwrap(), id, "it is the same ledger");
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
}
