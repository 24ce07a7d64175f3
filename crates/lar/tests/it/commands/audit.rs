//! `audit list`, `audit show` and `audit verify`.

use serde_json::{Value, json};

use super::{lar, lar_with, shows_everything};
use crate::support::{Lab, call, command, done, shell};

/// A lab with two runs in its ledger; the ids, latest first.
fn two_runs() -> (Lab, [String; 2]) {
    let lab = Lab::new(&shell(&["echo"], "max_uses = 2"));
    lab.replay(&[command("echo one"), command("rm -rf /"), done()]).go().exits(0);
    let nasty = "echo '\u{202e}\u{9b}31m | ‹'";
    lab.replay(&[command(nasty), call("\u{1b}[2Jnone", json!({})), done()]).go().exits(0);
    let listed = lar(&lab, &["audit", "list", "--json", "--ledger", "ledger.db"]).exits(0).json();
    let id = |index: usize| listed[index]["run"].as_str().unwrap().to_owned();
    let ids = [id(0), id(1)];
    (lab, ids)
}

/// `lar audit …` on the lab's ledger.
fn audit(lab: &Lab, args: &[&str]) -> crate::support::Ended {
    lar(lab, &[&["audit"], args, &["--ledger", "ledger.db"]].concat())
}

fn verdicts(lab: &Lab, what: &[&str], code: i32) -> Vec<Value> {
    let ended = audit(lab, &[&["verify", "--json"], what].concat()).exits(code);
    let value = ended.json();
    assert_eq!(value["ok"], code == 0);
    value["runs"].as_array().unwrap().clone()
}

#[test]
fn runs_are_listed_and_shown() {
    let (lab, [latest, first]) = two_runs();
    let list = audit(&lab, &["list"]).exits(0).stdout;
    assert!(list.contains(&latest) && list.contains("complete") && list.contains("Do the work."));

    let shown = audit(&lab, &["show", &first]).exits(0).stdout;
    for part in ["echo one", "succeeded", "CommandNotAllowedError", "granted", &first, "complete"] {
        assert!(shown.contains(part), "{part}\n{shown}");
    }
    let nasty = audit(&lab, &["show", "latest"]).exits(0).stdout;
    shows_everything(&nasty);
    assert!(nasty.contains("‹U+202E›") && nasty.contains("‹U+001B›"), "{nasty}");

    let json = audit(&lab, &["show", "latest", "--json"]).exits(0);
    shows_everything(&json.stdout);
    let trail = json.json();
    let keys: Vec<&String> = trail.as_object().unwrap().keys().collect();
    assert_eq!(keys.len(), 5);
    for key in ["proofs", "approvals", "errors", "negotiations", "run"] {
        assert!(trail.get(key).is_some(), "{key}");
    }
    assert_eq!(trail["proofs"][0]["args"]["argv"][1], "\u{202e}\u{9b}31m | ‹");
}

#[test]
fn a_run_is_named_by_its_id_or_a_beginning_of_it() {
    let (lab, [latest, _]) = two_runs();
    audit(&lab, &["show", &latest[..latest.len() - 1], "--json"]).exits(0);
    let ended = audit(&lab, &["show", &latest[..4]]).exits(2);
    assert!(ended.stderr.contains("fits 2 runs"), "{}", ended.stderr);
    for wrong in ["none", "", "\u{1b}[2J"] {
        let ended = audit(&lab, &["show", wrong]).exits(2);
        assert!(ended.stderr.contains("the ledger has no run"), "{}", ended.stderr);
        shows_everything(&ended.stderr);
    }
}

#[test]
fn reading_makes_no_ledger() {
    let lab = Lab::new("");
    assert_eq!(lar(&lab, &["audit", "list", "--json"]).exits(0).json(), json!([]));
    assert!(lar(&lab, &["audit", "list"]).exits(0).stderr.contains("no runs yet"));
    assert_eq!(lar(&lab, &["audit", "verify", "--json"]).exits(0).json()["ok"], true);
    lar(&lab, &["audit", "show", "latest"]).exits(2);
    lar(&lab, &["audit", "verify", "latest"]).exits(2);
    for word in ["list", "verify"] {
        let ended = lar(&lab, &["audit", word, "--ledger", "none.db"]).exits(2);
        assert!(ended.stderr.contains("there is no ledger `none.db`"), "{}", ended.stderr);
    }
    let mut left: Vec<_> =
        std::fs::read_dir(lab.dir()).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["manifest.toml", "out"]);
    lab.write(
        "text.db",
        "This is no ledger, and it is long enough to be looked at as a database file.",
    );
    lar(&lab, &["audit", "list", "--ledger", "text.db"]).exits(1);
}

#[test]
fn an_untouched_ledger_verifies() {
    let (lab, [latest, first]) = two_runs();
    let all = verdicts(&lab, &[], 0);
    assert_eq!(all.len(), 2);
    for verdict in &all {
        assert_eq!((&verdict["integrity"], &verdict["completeness"]), (&json!("ok"), &json!("ok")));
        assert_eq!(
            (&verdict["authenticity"], &verdict["witnessing"]),
            (&json!("absent"), &json!("absent"))
        );
    }
    assert_eq!(verdicts(&lab, &[&first], 0)[0]["run"], json!(first));
    let head = all[0]["head"].as_str().unwrap();
    verdicts(&lab, &[&latest, "--head", head], 0);
    assert_eq!(verdicts(&lab, &[&first, "--head", head], 1)[0]["integrity"], "broken");
    let ended = audit(&lab, &["verify"]).exits(0);
    assert!(ended.stdout.contains(&format!("{first}: ")), "{}", ended.stdout);
    assert!(ended.stdout.contains("integrity     ok"), "{}", ended.stdout);
}

#[test]
fn records_verify_offline_and_show_every_change() {
    let (lab, _) = two_runs();
    // The exact bytes, a character that a terminal would obey included.
    let bytes = audit(&lab, &["show", "latest", "--records"]).exits(0).stdout;
    assert!(bytes.contains('\u{9b}'), "{bytes}");
    lab.write("run.jsonl", &bytes);
    let check = |text: &str, more: &[&str]| {
        lab.write("changed.jsonl", text);
        let args = [&["audit", "verify", "changed.jsonl", "--json"], more].concat();
        let ended = lar(&lab, &args);
        (ended.code, ended.json()["runs"][0].take())
    };
    let (code, whole) = check(&bytes, &[]);
    assert_eq!(
        (code, &whole["integrity"], &whole["completeness"]),
        (Some(0), &json!("ok"), &json!("ok"))
    );
    let stdin = lar_with(&lab, &["audit", "verify", "-", "--json"], bytes.as_bytes()).exits(0);
    assert_eq!(stdin.json()["runs"][0]["head"], whole["head"]);

    let lines: Vec<&str> = bytes.lines().collect();
    let count = lines.len();
    let without = |gone: usize| {
        let kept = lines.iter().enumerate().filter(|(index, _)| *index != gone);
        kept.map(|(_, line)| format!("{line}\n")).collect::<String>()
    };
    for gone in 0..count - 1 {
        let (code, verdict) = check(&without(gone), &[]);
        assert_eq!(
            (code, verdict["broken_at"].as_u64()),
            (Some(1), Some(gone as u64 + 1)),
            "{gone}"
        );
    }
    let cut = without(count - 1);
    let (code, verdict) = check(&cut, &[]);
    assert_eq!((code, &verdict["completeness"]), (Some(1), &json!("absent")));
    assert_eq!(check(&cut, &["--allow-open"]).0, Some(0));
    let head = whole["head"].as_str().unwrap();
    assert_eq!(check(&bytes, &["--head", head]).0, Some(0));
    assert_eq!(check(&cut, &["--allow-open", "--head", head]).0, Some(1));

    let mut swapped = lines.clone();
    swapped.swap(1, 2);
    assert_eq!(check(&swapped.join("\n"), &[]).1["broken_at"], 2);
    for changed in [
        bytes.replacen("Do the work.", "Do no work..", 1),
        bytes.replacen("succeeded", "Succeeded", 1),
        bytes.replacen("{\"", "{ \"", 1),
        bytes.replace('\n', "\r\n"),
        bytes.replacen('\n', "\n\n", 1),
        format!("{bytes}{}", lines[0]),
        format!("\u{feff}{bytes}"),
        "x".repeat(1 << 20),
        String::new(),
        "\u{0}\n".to_owned(),
    ] {
        let (code, verdict) = check(&changed, &[]);
        assert_eq!((code, &verdict["integrity"]), (Some(1), &json!("broken")), "{verdict}");
        assert!(!verdict["reason"].as_str().unwrap().is_empty());
    }
    lar(&lab, &["audit", "verify", "./none"]).exits(2);
}

/// With the number of the first run's rows.
fn of_the_first(edit: &str) -> String {
    edit.replace("FIRST", "(SELECT min(n) FROM runs)")
}

#[test]
fn a_ledger_that_was_edited_is_found_out() {
    for (what, edit, at) in [
        (
            "an end cut off",
            "DELETE FROM records WHERE n = (SELECT max(n) FROM records WHERE run = FIRST)",
            None,
        ),
        ("a record taken out", "DELETE FROM records WHERE run = FIRST AND seq = 3", Some(3)),
        ("all taken out", "DELETE FROM records WHERE run = FIRST", Some(1)),
        (
            "a text changed",
            "UPDATE records SET bytes = CAST(replace(CAST(bytes AS TEXT), 'Do the', 'Do no') AS BLOB) WHERE run = FIRST AND seq = 1",
            Some(1),
        ),
        (
            "a digest changed",
            "UPDATE records SET hash = zeroblob(32) WHERE run = FIRST AND seq = 2",
            Some(2),
        ),
        ("a digest cut", "UPDATE records SET hash = x'00' WHERE run = FIRST AND seq = 2", Some(1)),
        ("a head changed", "UPDATE standing SET head = zeroblob(32) WHERE n = FIRST", None),
        ("a count lowered", "UPDATE standing SET seq = seq - 1 WHERE n = FIRST", None),
        ("a count raised", "UPDATE standing SET seq = seq + 1 WHERE n = FIRST", None),
        ("an end forgotten", "UPDATE runs SET stop_reason = NULL WHERE n = FIRST", None),
        ("an end changed", "UPDATE runs SET stop_reason = 'error' WHERE n = FIRST", None),
    ] {
        let (lab, [latest, first]) = two_runs();
        let connection = rusqlite::Connection::open(lab.path("ledger.db")).unwrap();
        assert_eq!(connection.execute(&of_the_first(edit), []).unwrap().min(1), 1, "{what}");
        drop(connection);
        let all = verdicts(&lab, &[], 1);
        assert_eq!(
            (&all[0]["run"], &all[0]["integrity"]),
            (&json!(latest), &json!("ok")),
            "{what}"
        );
        assert_eq!(all[1]["integrity"], "broken", "{what}: {}", all[1]);
        if let Some(at) = at {
            assert_eq!(all[1]["broken_at"], at, "{what}: {}", all[1]);
        }
        verdicts(&lab, &[&latest], 0);
        let shown = audit(&lab, &["show", &first, "--json"]).exits(1);
        assert_eq!(shown.stdout, "", "{what}");
        assert!(shown.stderr.contains("can't be relied on"), "{what}: {}", shown.stderr);
        let ended = audit(&lab, &["verify", &first]).exits(1);
        assert!(ended.stdout.contains("broken at record"), "{what}: {}", ended.stdout);
    }
}

#[test]
fn a_run_without_its_end_is_open() {
    let (lab, [_, first]) = two_runs();
    let connection = rusqlite::Connection::open(lab.path("ledger.db")).unwrap();
    // As a run leaves it that was cut off before its last record.
    for edit in [
        "DELETE FROM records WHERE run = FIRST AND seq = (SELECT seq FROM standing WHERE n = FIRST)",
        "UPDATE runs SET stop_reason = NULL WHERE n = FIRST",
        "UPDATE standing SET seq = seq - 1, head = (SELECT hash FROM records WHERE run = FIRST AND seq = standing.seq - 1) WHERE n = FIRST",
    ] {
        assert_eq!(connection.execute(&of_the_first(edit), []).unwrap(), 1, "{edit}");
    }
    drop(connection);
    assert_eq!(verdicts(&lab, &[&first], 0)[0]["completeness"], "absent");
    let shown = audit(&lab, &["show", &first]).exits(0).stdout;
    assert!(shown.contains("open (still running, or it was cut off)"), "{shown}");
    assert!(audit(&lab, &["list"]).exits(0).stdout.contains("open"));
}
