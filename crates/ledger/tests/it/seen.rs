//! What is read of a file, and when it is taken for what it isn't: an older copy of itself, a file that
//! nobody can write, and what is no file.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lar_core::ledger::{Conflict, Hold, Ledger, LedgerError, Taking};
use rusqlite::Connection;

use crate::support::*;

/// A directory with a ledger's file, and beside it the directory in which it is kept what was seen.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(place.dir.path().join("ledger")).unwrap();
        place
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("ledger/l.db")
    }

    fn seen(&self) -> PathBuf {
        self.dir.path().join("seen")
    }

    fn open(&self) -> Arc<dyn Ledger> {
        let keys = crate::log::Keys::default();
        lar_ledger::open_signed(&self.file(), keys.signers(), Some(&self.seen())).unwrap()
    }

    /// Copies the file, which must be closed.
    fn copy(&self) -> Vec<u8> {
        fs::read(self.file()).unwrap()
    }

    fn put_back(&self, bytes: &[u8]) {
        fs::write(self.file(), bytes).unwrap();
        for end in ["-wal", "-shm"] {
            let _ = fs::remove_file(self.dir.path().join(format!("ledger/l.db{end}")));
        }
    }
}

/// Opens a run and spends once; returns the copy of the file from before the spend.
async fn spend_behind_a_copy(place: &Place) -> (Hold, Vec<u8>) {
    let ledger = place.open();
    let hold = start(ledger.as_ref(), "r", vec![granted("t", 1)]).await;
    drop(ledger);
    let copy = place.copy();
    let ledger = place.open();
    step(ledger.as_ref(), &hold, 1, START).await.unwrap();
    drop(ledger);
    (hold, copy)
}

#[tokio::test]
async fn an_older_copy_takes_no_spend_until_it_is_accepted() {
    let place = Place::new();
    let (hold, copy) = spend_behind_a_copy(&place).await;
    place.put_back(&copy);
    let ledger = place.open();
    let error = step(ledger.as_ref(), &hold, 1, START).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, LedgerError::Damaged(_)), "{text}");
    assert!(text.contains("it has 1 records, and 2 were seen"), "{text}");
    assert!(text.contains("lar ledger accept-restored"), "{text}");
    assert_eq!(ledger.runs().await.unwrap()[0].records, 1, "it can be read");
    drop(ledger);
    // It is refused again and again, until the operator says otherwise.
    let ledger = place.open();
    ledger.open_run(opening("other", vec![])).await.unwrap_err();
    drop(ledger);
    let identity = lar_ledger::accept_restored(&place.file(), &place.seen()).unwrap();
    assert_eq!(identity.epoch, 2);
    let ledger = place.open();
    assert_eq!(ledger.identity().await.unwrap(), identity);
    assert_eq!(conflict(step(ledger.as_ref(), &hold, 1, START).await), Conflict::Quarantined);
    let fresh = start(ledger.as_ref(), "new", vec![granted("t", 1)]).await;
    step(ledger.as_ref(), &fresh, 1, START).await.unwrap();
}

#[tokio::test]
async fn an_older_copy_that_went_on_elsewhere_is_seen_to_have_forked() {
    let place = Place::new();
    let (hold, copy) = spend_behind_a_copy(&place).await;
    place.put_back(&copy);
    // Somebody who keeps nothing of what was seen goes on with it.
    let elsewhere = lar_ledger::open(&place.file()).unwrap();
    for _ in 0..5 {
        elsewhere.commit(note(&hold)).await.unwrap();
    }
    drop(elsewhere);
    let error = step(place.open().as_ref(), &hold, 1, START).await.unwrap_err();
    assert!(error.to_string().contains("its first 2 records are others"), "{error}");
}

#[tokio::test]
async fn an_epoch_that_was_begun_is_not_begun_again_after_a_restore() {
    let place = Place::new();
    drop(place.open());
    let copy = place.copy();
    let ledger = place.open();
    ledger.bump_epoch().await.unwrap();
    assert_eq!(ledger.bump_epoch().await.unwrap().epoch, 3);
    drop(ledger);
    place.put_back(&copy);
    let error = place.open().bump_epoch().await.unwrap_err();
    assert!(error.to_string().contains("2 were seen here before"), "{error}");
    assert_eq!(lar_ledger::accept_restored(&place.file(), &place.seen()).unwrap().epoch, 4);
}

#[tokio::test]
async fn the_newest_file_is_taken_however_it_was_left() {
    let place = Place::new();
    let (hold, _) = spend_behind_a_copy(&place).await;
    // What was seen is written after the commit; without it, nothing is behind.
    let seen = fs::read_dir(place.seen()).unwrap().next().unwrap().unwrap().path();
    let text = fs::read_to_string(&seen).unwrap();
    assert!(text.starts_with("epoch 1 size 2 root "), "{text}");
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(seen.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(place.seen().metadata().unwrap().permissions().mode() & 0o777, 0o700);
    for content in ["", "\0\0\0\0"] {
        fs::write(&seen, content).unwrap();
        place.open().commit(note(&hold)).await.unwrap();
    }
    fs::write(&seen, "epoch 1 size").unwrap();
    let error = place.open().commit(note(&hold)).await.unwrap_err();
    assert!(error.to_string().contains("delete"), "{error}");
}

#[tokio::test]
async fn reading_writes_nothing_and_waits_for_nobody() {
    let place = Place::new();
    let ledger = place.open();
    start(ledger.as_ref(), "r", vec![granted("t", 1)]).await;
    let log = place.dir.path().join("ledger/l.db-wal");
    let before = fs::metadata(&log).unwrap();
    let other = Connection::open(place.file()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let begun = Instant::now();
    for _ in 0..50 {
        assert_eq!(ledger.runs().await.unwrap().len(), 1);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let after = fs::metadata(&log).unwrap();
    assert_eq!(before.len(), after.len());
    assert_eq!(before.modified().unwrap(), after.modified().unwrap());
}

#[tokio::test]
async fn a_clock_that_was_ahead_is_set_right_by_the_operator() {
    let place = Place::new();
    let ledger = place.open();
    let hold = start(ledger.as_ref(), "r", vec![with_approval("t", 1)]).await;
    let held = step(ledger.as_ref(), &hold, 1, HOLD).await.unwrap();
    step(ledger.as_ref(), &hold, 1, approve(&held)).await.unwrap();
    // All that was so, an hour ahead.
    Connection::open(place.file())
        .unwrap()
        .execute_batch(
            "UPDATE standing SET millis = millis + 3600000, lease_until = lease_until + 3600000;
             UPDATE attempts SET lease_until = lease_until + 3600000,
                 approved_until = approved_until + 3600000",
        )
        .unwrap();
    let begin = lar_core::ledger::Transition::Start { held: Some(held.fence) };
    let error = step(ledger.as_ref(), &hold, 1, begin.clone()).await.unwrap_err();
    assert!(error.to_string().contains("lar ledger reset-clock"), "{error}");
    assert_eq!(ledger.runs().await.unwrap().len(), 1, "it can be read all the same");
    let reset = ledger.reset_clock().await.unwrap();
    assert!(reset.before.as_millis() - reset.now.as_millis() > 3_500_000, "{reset:?}");
    a_moment().await;
    // A yes that was given by the wrong clock isn't one any more.
    let late = conflict(step(ledger.as_ref(), &hold, 1, begin).await);
    assert_eq!(late, Conflict::LeaseExpired);
    let taking = Taking {
        run: hold.run.clone(),
        owner: "another".into(),
        lease_ms: 1_000,
        gone: None,
        definitions: None,
        runner: None,
    };
    ledger.take_run(taking).await.unwrap();
    let again = ledger.reset_clock().await.unwrap();
    assert!(again.before <= again.now.plus_millis(5_000), "what is right stays: {again:?}");
}

fn refusal(path: &Path) -> String {
    let begun = Instant::now();
    let error = lar_ledger::open(path).err().unwrap().to_string();
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    error
}

#[test]
fn what_is_no_file_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let socket = dir.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for (path, what) in [
        (pipe.as_path(), "a pipe"),
        (socket.as_path(), "a socket"),
        (dir.path(), "a directory"),
        (Path::new("/dev/null"), "a device"),
        (Path::new("/dev/full"), "a device"),
    ] {
        let error = refusal(path);
        assert!(error.contains(what) && error.contains("--ledger"), "{error}");
    }
}

#[tokio::test]
async fn flipped_bytes_that_can_be_seen_are_refused_when_it_is_opened() {
    let place = Place::new();
    let ledger = lar_ledger::open(&place.file()).unwrap();
    let hold = start(ledger.as_ref(), "r", vec![granted("t", 50)]).await;
    for turn in 0..50 {
        step(ledger.as_ref(), &hold, turn, START).await.unwrap();
    }
    drop(ledger);
    let whole = place.copy();
    let mut refused = 0;
    let pages = whole.len() / 4096;
    for page in 1..pages {
        // The kind of the page, how many cells it has, and where they begin.
        for byte in [0, 3, 4, 5] {
            let mut flipped = whole.clone();
            flipped[page * 4096 + byte] ^= 0x41;
            place.put_back(&flipped);
            match lar_ledger::open(&place.file()) {
                Err(LedgerError::Damaged(_)) => refused += 1,
                Err(other) => panic!("page {page} byte {byte}: {other}"),
                Ok(_) => panic!("page {page} byte {byte}: it was opened"),
            }
        }
    }
    assert!(refused > 40, "{refused}");
    // A leaf of the tree over the records.
    place.put_back(&whole);
    Connection::open(place.file())
        .unwrap()
        .execute("UPDATE leaves SET hashes = zeroblob(512) WHERE part = 1", [])
        .unwrap();
    let ledger = lar_ledger::open(&place.file()).unwrap();
    let error = step(ledger.as_ref(), &hold, 99, START).await.unwrap_err();
    assert!(error.to_string().contains("another root"), "{error}");
}

/// A file system of its own, unmounted when dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        let done = std::process::Command::new("mount").args(["-o", &options]).arg(&self.0).status();
        assert!(done.unwrap().success());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Mounts a tmpfs, or says by name that the test is skipped: only root may mount.
fn mounted(place: &Path, options: &str) -> Option<Mounted> {
    let mut mount = std::process::Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", options, "none"]).arg(place);
    if mount.output().is_ok_and(|output| output.status.success()) {
        return Some(Mounted(place.to_owned()));
    }
    use std::io::Write as _;
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("a test");
    let _ = writeln!(
        std::io::stderr(),
        "skipped: {name}: a file system can't be mounted here, which needs root"
    );
    None
}

#[tokio::test]
async fn on_a_full_disk_nothing_begins_and_all_can_be_read() {
    let place = Place::new();
    let Some(disk) = mounted(&place.dir.path().join("ledger"), "size=600k") else { return };
    let ledger = place.open();
    let hold = start(ledger.as_ref(), "r", vec![granted("t", 10_000)]).await;
    let mut spent = 0;
    let full = loop {
        match step(ledger.as_ref(), &hold, spent, START).await {
            Ok(_) => spent += 1,
            Err(error) => break error,
        }
    };
    assert!(full.to_string().contains("the disk is full; free some space"), "{full}");
    assert!(full.leaves_doubt() && spent > 3);
    let there = ledger.attempts(&hold.run).await.unwrap();
    assert_eq!(there.len() as u64, spent, "what was acknowledged is there, and nothing else");
    drop(ledger);
    // Nor is there room for what SQLite keeps beside the file while it is open.
    let filler = place.dir.path().join("ledger/filler");
    let mut size = 600 << 10;
    while size > 0 && fs::write(&filler, vec![0; size]).is_err() {
        size -= 4096;
    }
    let ledger = place.open();
    assert_eq!(ledger.runs().await.unwrap().len(), 1);
    let there = ledger.attempts(&hold.run).await.unwrap();
    assert_eq!(there.len() as u64, spent);
    let error = step(ledger.as_ref(), &hold, spent, START).await.unwrap_err();
    assert!(error.to_string().contains("the disk is full"), "{error}");
    drop(ledger);
    // With some room again, it goes on.
    fs::remove_file(&filler).unwrap();
    disk.remount("size=4m");
    let ledger = place.open();
    step(ledger.as_ref(), &hold, spent, START).await.unwrap();
    assert_eq!(ledger.attempts(&hold.run).await.unwrap().len() as u64, spent + 1);
}

#[tokio::test]
async fn what_lies_on_a_read_only_file_system_can_be_read() {
    let place = Place::new();
    let Some(disk) = mounted(&place.dir.path().join("ledger"), "size=4m") else { return };
    let ledger = place.open();
    let hold = start(ledger.as_ref(), "r", vec![granted("t", 1)]).await;
    // What a crash leaves: the last changes stand in the log beside the file.
    let keep = place.dir.path().join("kept");
    fs::create_dir(&keep).unwrap();
    for end in ["", "-wal"] {
        let name = format!("l.db{end}");
        fs::copy(place.dir.path().join("ledger").join(&name), keep.join(&name)).unwrap();
    }
    drop(ledger);
    disk.remount("ro");
    let ledger = place.open();
    assert_eq!(ledger.runs().await.unwrap()[0].records, 1);
    let error = step(ledger.as_ref(), &hold, 1, START).await.unwrap_err();
    assert!(error.to_string().contains("read-only"), "{error}");
    drop(ledger);
    disk.remount("rw");
    for end in ["", "-wal"] {
        let name = format!("l.db{end}");
        fs::copy(keep.join(&name), place.dir.path().join("ledger").join(&name)).unwrap();
    }
    disk.remount("ro");
    let keys = crate::log::Keys::default();
    match lar_ledger::open_signed(&place.file(), keys.signers(), Some(&place.seen())) {
        Err(error) => assert!(error.to_string().contains("read-only"), "{error}"),
        Ok(ledger) => assert_eq!(ledger.runs().await.unwrap().len(), 1, "the log is not left out"),
    }
}

/// What was seen is kept by whichever process commits, and another may open the file in that moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_that_others_write_is_never_taken_for_an_older_copy() {
    let place = Place::new();
    let writing = place.open();
    let writer = tokio::spawn(async move {
        for n in 0u32.. {
            if start(writing.as_ref(), &format!("w{n}"), vec![]).await.fence == 0 {
                break;
            }
        }
    });
    for n in 0..150 {
        let ledger = place.open();
        start(ledger.as_ref(), &format!("r{n}"), vec![]).await;
    }
    writer.abort();
}
