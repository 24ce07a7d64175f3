//! Without a ledger nothing happens, and the message says what to do.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::support::{Lab, Run, calls, command, done, eventually, shell};

/// A run whose one effect is a file.
fn touching() -> (Lab, Run) {
    let lab = Lab::new(&shell(&["touch"], "max_uses = 9"));
    let run = lab.replay(&[command("touch made"), done()]);
    (lab, run)
}

/// Expects that nothing was done and that the reason stands on stderr.
#[track_caller]
fn nothing_happens(lab: &Lab, run: &Run, says: &[&str]) {
    let ended = run.go().exits(1);
    assert!(!lab.made("made").exists(), "an effect without a ledger");
    for word in says {
        assert!(ended.stderr.contains(word), "`{word}` is not in: {}", ended.stderr);
    }
}

#[test]
fn a_file_that_is_no_database() {
    let (lab, run) = touching();
    lab.write(
        "ledger.db",
        "this is a text file, and a long enough one to be looked at as a whole\n".repeat(99),
    );
    nothing_happens(&lab, &run, &["not a SQLite database", "--ledger"]);
    assert!(lab.read("ledger.db").starts_with("this is a text"), "it is left as it was");
}

#[test]
fn another_program_s_database() {
    let (lab, run) = touching();
    let database = rusqlite::Connection::open(lab.path("ledger.db")).unwrap();
    database.execute_batch("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1);").unwrap();
    drop(database);
    nothing_happens(&lab, &run, &["another program's database", "--ledger"]);
}

#[test]
fn a_newer_program_s_ledger() {
    let (lab, run) = touching();
    run.go().exits(0);
    std::fs::remove_file(lab.made("made")).unwrap();
    let database = rusqlite::Connection::open(lab.path("ledger.db")).unwrap();
    database.pragma_update(None, "user_version", 99).unwrap();
    drop(database);
    nothing_happens(&lab, &run, &["newer version", "update the program"]);
}

#[test]
fn corrupt_pages() {
    let (lab, run) = touching();
    run.go().exits(0);
    std::fs::remove_file(lab.made("made")).unwrap();
    // Whether the run's last connection was closed in time or not, all of it stands in the file.
    let database = rusqlite::Connection::open(lab.path("ledger.db")).unwrap();
    let _ = database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    drop(database);
    let mut bytes = std::fs::read(lab.path("ledger.db")).unwrap();
    let (wal, shm) = (lab.path("ledger.db-wal"), lab.path("ledger.db-shm"));
    let _ = (std::fs::remove_file(wal), std::fs::remove_file(shm));
    assert!(bytes.len() > 8192, "{} bytes", bytes.len());
    // The head with its versions stays; the tables are gone.
    for byte in bytes.iter_mut().skip(120) {
        *byte = 0xa5;
    }
    lab.write("ledger.db", bytes);
    nothing_happens(&lab, &run, &["damaged", "backup"]);
}

#[test]
fn a_ledger_cut_short() {
    let (lab, run) = touching();
    run.go().exits(0);
    std::fs::remove_file(lab.made("made")).unwrap();
    let bytes = std::fs::read(lab.path("ledger.db")).unwrap();
    lab.write("ledger.db", &bytes[..bytes.len() / 2]);
    nothing_happens(&lab, &run, &["damaged"]);
}

#[test]
fn held_by_another_process_at_the_start() {
    let (lab, run) = touching();
    run.go().exits(0);
    std::fs::remove_file(lab.made("made")).unwrap();
    let other = rusqlite::Connection::open(lab.path("ledger.db")).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    nothing_happens(&lab, &run, &["another process held it for 10 seconds", "run again"]);
}

#[test]
fn held_by_another_process_in_the_middle() {
    let lab = Lab::new(&format!(
        "{}[[token]]\nkind = \"wait\"\nname = \"a\"\nmax_seconds = 9\n",
        shell(&["touch"], "max_uses = 9")
    ));
    let turns = [
        calls([
            ("shell_sh", json!({"command": "touch first"})),
            ("wait_a", json!({"seconds": 2})),
            ("shell_sh", json!({"command": "touch made"})),
        ]),
        done(),
    ];
    let running = lab.replay(&turns).start();
    eventually("the first call was made", || lab.made("first").exists());
    let other = rusqlite::Connection::open(lab.path("ledger.db")).unwrap();
    other.busy_timeout(Duration::from_secs(5)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let since = std::time::Instant::now();
    let ended = running.wait().exits(1);
    // It waits for the file once, not again for each thing that it would still write, and says for a
    // second more how the pause ended.
    assert!(since.elapsed() < Duration::from_secs(20), "it took {:?}", since.elapsed());
    assert!(!lab.made("made").exists(), "an effect without a durable spend");
    assert!(ended.stderr.contains("another process held it"), "{}", ended.stderr);
    drop(other);
    // What was spent is there, and what had begun can be sealed.
    let words = ["resume", "latest", "--abandon", "--ledger", "ledger.db"];
    Run::at(lab.dir(), &words).env("HOME", lab.dir().to_str().unwrap()).go().exits(0);
    let trail = &lab.trails()[0];
    assert_eq!(trail.run.stop_reason.as_deref(), Some("error"));
    assert!(!trail.proofs.is_empty());
}

#[test]
fn a_place_where_nothing_can_be_written() {
    let (lab, _) = touching();
    for place in ["/proc/ledger.db", "manifest.toml/ledger.db", "/dev/null", "."] {
        let ended = lab.bare(place).go().exits(1);
        assert!(!lab.made("made").exists());
        assert!(ended.stderr.contains("ledger"), "{place}: {}", ended.stderr);
    }
}

#[test]
fn a_read_only_directory() {
    let (lab, _) = touching();
    let Some(place) = mounted(&lab, "ro") else {
        return;
    };
    let run = lab.bare(place.0.join("ledger.db").to_str().unwrap());
    let ended = run.go().exits(1);
    assert!(!lab.made("made").exists());
    assert!(ended.stderr.contains("read-only"), "{}", ended.stderr);
}

#[test]
fn a_full_disk_at_the_start() {
    let (lab, _) = touching();
    let Some(place) = mounted(&lab, "size=64k") else {
        return;
    };
    std::fs::write(place.0.join("filler"), vec![0; 60 << 10]).unwrap();
    let run = lab.bare(place.0.join("ledger.db").to_str().unwrap());
    let ended = run.go().exits(1);
    assert!(!lab.made("made").exists());
    assert!(
        ended.stderr.contains("the disk is full") && ended.stderr.contains("free some space"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_disk_that_fills_up_in_the_middle() {
    let lab = Lab::new(&shell(&["touch"], "max_uses = 1000"));
    let Some(place) = mounted(&lab, "size=400k") else {
        return;
    };
    let whole = lab.read("manifest.toml").replace("max_steps = 40", "max_steps = 1000");
    lab.write("manifest.toml", whole);
    let mut turns: Vec<_> = (0..400).map(|n| command(&format!("touch made-{n}"))).collect();
    turns.push(done());
    lab.replay(&turns);
    let run = lab.bare(place.0.join("ledger.db").to_str().unwrap());
    let ended = run.go().exits(1);
    assert!(ended.stderr.contains("the disk is full"), "{}", ended.stderr);
    // Each file that is there has its intent in the ledger; none was made after it was full.
    let made = std::fs::read_dir(lab.path("out"))
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("made-"));
    let made = made.count();
    assert!(made < 400);
    for file in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
        let _ = std::fs::copy(place.0.join(file), lab.path(file));
    }
    let intents = lab.trails()[0].proofs.len();
    assert!(intents >= made, "{made} effects, {intents} intents");
}

#[test]
fn ledgers_are_private() {
    use std::os::unix::fs::MetadataExt;
    let (lab, _) = touching();
    let run = lab.bare("new/deep/ledger.db");
    run.go().exits(0);
    let mode = |path: &str| std::fs::metadata(lab.path(path)).unwrap().mode() & 0o777;
    assert_eq!((mode("new"), mode("new/deep"), mode("new/deep/ledger.db")), (0o700, 0o700, 0o600));
}

#[test]
fn the_default_ledger_lies_in_the_state_directory() {
    let (lab, _) = touching();
    let run = lab.without_ledger();
    run.clone().go().exits(0);
    assert!(lab.path(".local/state/lar/ledger.db").exists());
    let state = lab.path("state");
    run.env("XDG_STATE_HOME", state.to_str().unwrap()).go().exits(0);
    assert!(state.join("lar/ledger.db").exists());
}

#[test]
fn a_full_disk_can_be_read() {
    let (lab, _) = touching();
    let Some(place) = mounted(&lab, "size=1m") else {
        return;
    };
    let file = place.0.join("ledger.db");
    let file = file.to_str().unwrap();
    lab.bare(file).go().exits(0);
    std::fs::remove_file(lab.made("made")).unwrap();
    let mut size = 1 << 20;
    while std::fs::write(place.0.join("filler"), vec![0; size]).is_err() {
        size -= 4096;
    }
    let list = Run::at(lab.dir(), &["audit", "list", "--ledger", file]).go().exits(0);
    assert!(list.stdout.contains("complete"), "{}", list.stdout);
    let ended = lab.bare(file).go().exits(1);
    assert!(!lab.made("made").exists());
    assert!(ended.stderr.contains("the disk is full"), "{}", ended.stderr);
}

#[test]
fn an_older_copy_is_refused_until_a_person_accepts_it() {
    let (lab, run) = touching();
    run.go().exits(0);
    let copy = std::fs::read(lab.path("ledger.db")).unwrap();
    run.go().exits(0);
    std::fs::remove_file(lab.made("made")).unwrap();
    lab.write("ledger.db", copy);
    nothing_happens(
        &lab,
        &run,
        &["older copy", "were seen here before", "lar ledger accept-restored"],
    );
    // What it holds can be looked at.
    let at = |words: &[&str]| {
        let all = [words, &["--ledger", "ledger.db"]].concat();
        Run::at(lab.dir(), &all).env("HOME", lab.dir().to_str().unwrap()).go()
    };
    at(&["audit", "list"]).exits(0);
    let accepted = at(&["ledger", "accept-restored", "--json"]).exits(0);
    assert_eq!(accepted.json()["epoch"], 2);
    assert!(accepted.stderr.contains("take no further spend"), "{}", accepted.stderr);
    run.go().exits(0);
    assert!(lab.made("made").exists());
}

#[test]
fn a_clock_that_was_ahead() {
    let (lab, run) = touching();
    run.go().exits(0);
    std::fs::remove_file(lab.made("made")).unwrap();
    let database = rusqlite::Connection::open(lab.path("ledger.db")).unwrap();
    database.execute("UPDATE standing SET millis = millis + 3600000", []).unwrap();
    drop(database);
    nothing_happens(&lab, &run, &["the clock is 3", "lar ledger reset-clock"]);
    let words = ["ledger", "reset-clock", "--ledger", "ledger.db"];
    let reset = Run::at(lab.dir(), &words).env("HOME", lab.dir().to_str().unwrap()).go().exits(0);
    assert!(reset.stdout.contains("goes on from"), "{}", reset.stdout);
    run.go().exits(0);
    assert!(lab.made("made").exists());
}

#[test]
fn a_pipe_is_no_ledger() {
    let (lab, _) = touching();
    let pipe = lab.path("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let since = std::time::Instant::now();
    for words in [&["audit", "list"][..], &["ledger", "show"]] {
        let all = [words, &["--ledger", "pipe"]].concat();
        let ended = Run::at(lab.dir(), &all).go().exits(1);
        assert!(ended.stderr.contains("is a pipe"), "{}", ended.stderr);
    }
    lab.bare("pipe").go().exits(1);
    assert!(!lab.made("made").exists());
    assert!(since.elapsed() < Duration::from_secs(30), "{:?}", since.elapsed());
}

/// A file system of its own, unmounted when dropped.
struct Mounted(std::path::PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Mounts a tmpfs, or says by name that the test is skipped: only root may mount.
fn mounted(lab: &Lab, options: &str) -> Option<Mounted> {
    let place = lab.path("place");
    std::fs::create_dir(&place).unwrap();
    let mount = |place: &Path| {
        let mut command = std::process::Command::new("mount");
        command.args(["-t", "tmpfs", "-o", options, "none"]).arg(place);
        command.output().is_ok_and(|output| output.status.success())
    };
    if mount(&place) {
        return Some(Mounted(place));
    }
    crate::support::skip("a file system can't be mounted here, which needs root");
    None
}
