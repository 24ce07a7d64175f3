//! `[audit] commit` and `lar audit erase`: what may hold data about people stands in the record as
//! commitments, and is gone from every file once it is erased, while all proofs hold.

use serde_json::Value;

use super::lar;
use crate::support::{Ended, Lab, command, done, shell, turn};

/// A word that stands in every kind of text that may be committed to.
const WORD: &str = "Lovelace";

fn lab() -> Lab {
    let manifest = format!("[audit]\ncommit = [\"all\"]\n{}", shell(&["echo"], "max_uses = 2"));
    let lab = Lab::new(&manifest);
    let words = serde_json::json!({"type": "text", "text": format!("{WORD} was greeted.")});
    let last = turn(vec![words], "end_turn");
    let turns = [command(&format!("echo {WORD}")), command(&format!("rm {WORD}")), last];
    let ended = lab.replay(&turns).args(["--task", &format!("Greet {WORD}.")]).go().exits(0);
    assert!(ended.stdout.contains(WORD), "whoever runs it sees it");
    let policy = on(&lab, &["keys", "show", "--policy"]).exits(0).stdout;
    lab.write("policy.toml", &policy);
    lab
}

fn on(lab: &Lab, args: &[&str]) -> Ended {
    lar(lab, &[args, &["--ledger", "ledger.db"]].concat())
}

fn bundle(lab: &Lab, name: &str) -> String {
    let text = on(lab, &["audit", "export", "latest"]).exits(0).stdout;
    lab.write(name, &text);
    text
}

fn verdict(lab: &Lab, what: &str, code: i32) -> Value {
    let args = ["audit", "verify", what, "--policy", "policy.toml", "--json"];
    on(lab, &args).exits(code).json()["runs"][0].take()
}

/// Files of the lab, and of the state beside it, that hold the word.
fn holding(lab: &Lab) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![lab.dir().to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if let Ok(bytes) = std::fs::read(&path)
                && bytes.windows(WORD.len()).any(|window| window == WORD.as_bytes())
            {
                found.push(path.file_name().unwrap().to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    found
}

#[test]
fn what_is_erased_is_in_no_file_and_every_proof_holds() {
    let lab = lab();
    let records = on(&lab, &["audit", "show", "latest", "--records"]).exits(0).stdout;
    assert!(!records.contains(WORD), "{records}");
    let before = bundle(&lab, "before.bundle");
    assert!(before.contains(WORD), "the openings come with it");
    let first = verdict(&lab, "before.bundle", 0);
    assert_eq!(first["commitments"]["erased"], 0, "{first}");
    assert_eq!(first["commitments"]["withheld"], 0, "{first}");
    let opened = first["commitments"]["opened"].as_u64().unwrap();
    assert!(opened > 6, "{first}");
    assert!(on(&lab, &["audit", "show", "latest"]).exits(0).stdout.contains(WORD));
    std::fs::remove_file(lab.path("before.bundle")).unwrap();
    std::fs::remove_file(lab.path("session.jsonl")).unwrap();
    assert!(!holding(&lab).is_empty(), "the ledger has it");

    // Nobody can be asked here, and what is erased can't be had back.
    on(&lab, &["audit", "erase", "latest"]).exits(2);
    let one = on(&lab, &["audit", "erase", "latest", "1", "--field", "task", "--yes"]).exits(0);
    assert!(one.stdout.contains("erased 1 value"), "{}", one.stdout);
    let told = verdict(&lab, "latest", 0);
    assert_eq!(told["commitments"]["erased"], 1, "{told}");
    on(&lab, &["audit", "erase", "latest", "--yes"]).exits(0);
    on(&lab, &["audit", "erase", "latest", "--yes"]).exits(2);
    assert_eq!(holding(&lab), [] as [String; 0]);

    let after = bundle(&lab, "after.bundle");
    assert!(!after.contains(WORD));
    for what in ["latest", "after.bundle"] {
        let told = verdict(&lab, what, 0);
        for judged in ["integrity", "authenticity", "completeness"] {
            assert_eq!(told[judged], "ok", "{told}");
        }
        assert_eq!(told["commitments"]["erased"], opened, "{told}");
        assert_eq!(told["commitments"]["withheld"], 0, "{told}");
    }
    let shown = on(&lab, &["audit", "show", "latest"]).exits(0).stdout;
    assert!(shown.contains("(erased)") && !shown.contains(WORD), "{shown}");
    let trail = on(&lab, &["audit", "show", "latest", "--json"]).exits(0).json();
    let erased = trail["proofs"][0]["erased"].as_array().unwrap();
    assert!(erased.contains(&"args".into()) && erased.contains(&"result_summary".into()));
    // What was exported before holds against the key as well: its records are the same.
    lab.write("before.bundle", before);
    verdict(&lab, "before.bundle", 0);
    lab.write("diff.bundle", lab.read("before.bundle"));
    on(&lab, &["audit", "diff", "diff.bundle"]).exits(0);
}

#[test]
fn an_opening_that_is_forged_moved_or_left_out_is_told() {
    let lab = lab();
    let whole = bundle(&lab, "run.bundle");
    let lines: Vec<&str> = whole.lines().collect();
    let opening = |line: &&&str| line.starts_with("[\"lar-opening/v1\"");
    let broken = |lines: &[String], why: &str| {
        lab.write("run.bundle", lines.join("\n") + "\n");
        let told = verdict(&lab, "run.bundle", 1);
        assert_eq!(told["integrity"], "broken", "{told}");
        assert!(told["reason"].as_str().unwrap().contains(why), "{told}");
        told["broken_at"].as_u64().unwrap()
    };
    let owned = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    for (place, line) in lines.iter().enumerate().filter(|(_, line)| opening(line)) {
        let seq: u64 =
            lines[..place].iter().filter(|line| line.starts_with('{')).count() as u64 - 1;
        let mut forged = owned(&lines);
        forged[place] = match line.contains(WORD) {
            true => line.replace(WORD, "Babbage!"),
            false => line.replacen("\"]", "0\"]", 1),
        };
        assert_eq!(broken(&forged, "opens nothing"), seq, "{line}");
        let mut renamed = owned(&lines);
        renamed[place] = line.replacen("v1\",\"", "v1\",\"a", 1);
        assert_eq!(broken(&renamed, "opens nothing"), seq);
        let mut twice = owned(&lines);
        twice.insert(place, (*line).to_owned());
        assert_eq!(broken(&twice, "stands twice"), seq);
        let mut moved = owned(&lines);
        let line = moved.remove(place);
        moved.push(line);
        let last = lines.iter().filter(|line| line.starts_with('{')).count() as u64 - 1;
        if seq != last {
            assert_eq!(broken(&moved, "opens nothing"), last);
        }
        if lines.get(place + 1).is_some_and(|next| opening(&next)) {
            let mut swapped = owned(&lines);
            swapped.swap(place, place + 1);
            assert_eq!(broken(&swapped, "another order"), seq);
        }
        let mut spaced = owned(&lines);
        spaced[place] = spaced[place].replacen("\",\"", "\", \"", 1);
        broken(&spaced, "an opening");
    }
    // Left out without a record that says so, they are not shown; nothing else changes.
    let without: Vec<&str> = lines.iter().filter(|line| !opening(line)).copied().collect();
    lab.write("run.bundle", without.join("\n") + "\n");
    let told = verdict(&lab, "run.bundle", 0);
    assert_eq!(told["commitments"]["erased"], 0);
    assert!(told["commitments"]["withheld"].as_u64().unwrap() > 6, "{told}");
    assert!(told["integrity"] == "ok" && told["completeness"] == "ok");
}

#[test]
fn the_digest_of_an_action_that_is_committed_to_says_nothing_to_who_guesses() {
    let lab = Lab::new("");
    let head = lab.read("manifest.toml");
    let digest = |commit: &str| {
        lab.write("manifest.toml", format!("{head}{commit}{}", shell(&["echo"], "")));
        let ended = lab.replay(&[command("echo 4711"), done()]).go().exits(0);
        ended.proofs()[0]["action_digest"].as_str().unwrap().to_owned()
    };
    assert_eq!(digest(""), digest(""), "without it the same action has the same digest");
    let committed = "[audit]\ncommit = [\"args\"]\n";
    assert_ne!(digest(committed), digest(committed));
}

#[test]
fn a_word_that_cannot_be_committed_to_is_named() {
    let lab = Lab::new("[audit]\ncommit = [\"everything\"]\n");
    let ended = lar(&lab, &["check", "manifest.toml"]).exits(2);
    assert!(ended.stderr.contains("everything"), "{}", ended.stderr);
}
