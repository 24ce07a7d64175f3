//! Grants: issued once in one ledger; runs draw from the same uses and never create one.

use serde_json::Value;

use crate::support::{Ended, Lab, Run, command, done, shell};

/// A manifest with a grant, and one token of `uses` uses that makes files.
fn lab(uses: u32) -> Lab {
    Lab::new(&format!(
        "[grant]\nid = \"release-2.3.1\"\n{}",
        shell(&["touch"], &format!("max_uses = {uses}"))
    ))
}

fn grants(lab: &Lab, words: &[&str]) -> Ended {
    let mut all = vec!["grants"];
    all.extend(words);
    all.extend(["--ledger", "ledger.db"]);
    Run::at(lab.dir(), &all).env("HOME", lab.dir().to_str().unwrap()).go()
}

fn issue(lab: &Lab) -> Value {
    grants(lab, &["issue", "manifest.toml", "--json"]).exits(0).json()
}

#[test]
fn a_pipeline_that_is_tried_again_does_not_act_twice() {
    let lab = lab(1);
    let issued = issue(&lab);
    assert_eq!(issued["id"], "release-2.3.1");
    assert_eq!(issued["ledger"].as_str().unwrap().len(), 32);
    let first = lab.replay(&[command("touch first"), done()]).go().exits(0);
    assert_eq!(first.trail()["run"]["grant"], "release-2.3.1");
    let second = lab.replay(&[command("touch second"), done()]).go().exits(0);
    assert!(lab.made("first").exists() && !lab.made("second").exists());
    assert_eq!(second.errors()[0]["error_type"], "TokenReusedError");
    let account = &second.trail()["run"]["accounts"][0];
    assert_eq!((&account["granted"], &account["elsewhere"]), (&1.into(), &1.into()));
    // The records of both hold for a verifier.
    Run::at(lab.dir(), &["audit", "verify", "--ledger", "ledger.db"]).go().exits(0);
    let shown = grants(&lab, &["show", "release-2.3.1", "--json"]).exits(0).json();
    assert_eq!(shown["tokens"][0]["uses_left"], 0);
    assert_eq!(shown["state"], "open");
    let list = grants(&lab, &["list"]).exits(0);
    assert!(list.stdout.contains("release-2.3.1") && list.stdout.contains("0 of 1"));
}

#[test]
fn a_run_never_creates_a_grant() {
    let lab = lab(1);
    let ended = lab.replay(&[command("touch made"), done()]).go().exits(2);
    assert!(ended.stderr.contains("no grant `release-2.3.1`"), "{}", ended.stderr);
    assert!(ended.stderr.contains("lar grants issue"), "{}", ended.stderr);
    assert!(!lab.made("made").exists());
    issue(&lab);
    // An empty ledger on a fresh runner does not mean fresh uses.
    let fresh = lab.bare("fresh.db").go().exits(2);
    assert!(fresh.stderr.contains("no grant"), "{}", fresh.stderr);
    assert!(!lab.made("made").exists());
    let twice = grants(&lab, &["issue", "manifest.toml"]).exits(2);
    assert!(twice.stderr.contains("issued before"), "{}", twice.stderr);
}

#[test]
fn another_ledger_is_refused_by_its_id() {
    let lab = lab(1);
    let id = issue(&lab)["ledger"].as_str().unwrap().to_owned();
    let whole = lab.read("manifest.toml");
    let named = |ledger: &str| {
        whole.replace(
            "id = \"release-2.3.1\"",
            &format!("id = \"release-2.3.1\"\nledger = \"{ledger}\""),
        )
    };
    lab.write("manifest.toml", named(&"0".repeat(32)));
    let ended = lab.replay(&[command("touch made"), done()]).go().exits(2);
    assert!(ended.stderr.contains(&id) && ended.stderr.contains("--ledger"), "{}", ended.stderr);
    let issuing = grants(&lab, &["issue", "manifest.toml", "--grant", "other"]).exits(0);
    assert!(
        issuing.stdout.contains("other"),
        "the id on the command line wins: {}",
        issuing.stdout
    );
    lab.write("manifest.toml", named(&id));
    lab.replay(&[command("touch made"), done()]).go().exits(0);
    assert!(lab.made("made").exists());
    lab.write("manifest.toml", named("nonsense"));
    let ended = lab.run().go().exits(2);
    assert!(ended.stderr.contains("32 of `0-9` and `a-f`"), "{}", ended.stderr);
}

#[test]
fn a_run_with_other_definitions_is_refused_with_the_difference() {
    let lab = lab(1);
    issue(&lab);
    let wider = lab.read("manifest.toml").replace("\"touch\"", "\"touch\", \"rm\"");
    lab.write("manifest.toml", wider);
    let ended = lab.replay(&[command("touch made"), done()]).go().exits(2);
    assert!(ended.stderr.contains("other definitions"), "{}", ended.stderr);
    assert!(ended.stderr.contains("tokens.sh.scope"), "{}", ended.stderr);
    assert!(ended.stderr.contains("rm"), "{}", ended.stderr);
    assert!(!lab.made("made").exists());
}

#[test]
fn a_run_behind_weaker_walls_than_were_granted_is_refused() {
    let lab = lab(1);
    issue(&lab);
    let run = lab.replay(&[command("touch made"), done()]);
    let ended = run.clone().args(["--min-tier", "C"]).go().exits(2);
    assert!(ended.stderr.contains("confinement.min_tier"), "{}", ended.stderr);
    assert!(!lab.made("made").exists());
    run.go().exits(0);
    assert!(lab.made("made").exists());
}

#[test]
fn revocation_stops_the_next_spend_and_the_next_run() {
    let lab = lab(2);
    issue(&lab);
    lab.replay(&[command("touch first"), done()]).go().exits(0);
    let revoked = grants(&lab, &["revoke", "release-2.3.1", "--reason", "a leak", "--json"]);
    assert_eq!(revoked.exits(0).json()["revoked"]["reason"], "a leak");
    let ended = lab.replay(&[command("touch second"), done()]).go().exits(5);
    assert!(ended.stderr.contains("a leak"), "{}", ended.stderr);
    assert!(!lab.made("second").exists());
}

#[test]
fn revocation_reaches_a_run_that_is_going_on() {
    let lab = Lab::new(&format!(
        "[grant]\nid = \"g\"\n{}[[token]]\nkind = \"wait\"\nname = \"a\"\nmax_seconds = 9\n",
        shell(&["touch"], "max_uses = 2")
    ));
    issue(&lab);
    let wait = crate::support::call("wait_a", serde_json::json!({"seconds": 2}));
    let turns = [command("touch first"), wait, command("touch second"), done()];
    let running = lab.replay(&turns).start();
    crate::support::eventually("the first was made", || lab.made("first").exists());
    grants(&lab, &["revoke", "g"]).exits(0);
    let ended = running.wait().exits(0);
    assert!(!lab.made("second").exists());
    assert_eq!(ended.errors()[0]["error_type"], "TokenClosedError");
}

#[test]
fn a_grant_that_has_expired_takes_no_run() {
    let lab = lab(1);
    let whole =
        lab.read("manifest.toml").replace("[grant]", "[grant]\nexpires = \"2020-01-01T00:00:00Z\"");
    lab.write("manifest.toml", whole);
    issue(&lab);
    let ended = lab.replay(&[command("touch made"), done()]).go().exits(5);
    assert!(ended.stderr.contains("expired"), "{}", ended.stderr);
}

#[test]
fn a_new_epoch_quarantines_what_was_issued() {
    let lab = lab(2);
    issue(&lab);
    lab.replay(&[command("touch first"), done()]).go().exits(0);
    let args = ["ledger", "epoch", "--json", "--ledger", "ledger.db"];
    let begin = Run::at(lab.dir(), &args).env("HOME", lab.dir().to_str().unwrap());
    assert_eq!(begin.go().exits(0).json()["epoch"], 2);
    let ended = lab.replay(&[command("touch second"), done()]).go().exits(5);
    assert!(ended.stderr.contains("epoch 1"), "{}", ended.stderr);
    assert!(!lab.made("second").exists());
    assert!(grants(&lab, &["list"]).exits(0).stdout.contains("quarantined"));
}

#[test]
fn what_is_not_there_is_named() {
    let lab = lab(1);
    assert!(grants(&lab, &["list"]).exits(2).stderr.contains("there is no ledger"));
    issue(&lab);
    let none = grants(&lab, &["show", "none"]).exits(2);
    assert!(none.stderr.contains("lar grants list"), "{}", none.stderr);
    let bad = grants(&lab, &["show", "a/b"]).exits(2);
    assert!(bad.stderr.contains("a grant's id is"), "{}", bad.stderr);
    lab.write(
        "manifest.toml",
        lab.read("manifest.toml").replace("[grant]\nid = \"release-2.3.1\"\n", ""),
    );
    let unnamed = grants(&lab, &["issue", "manifest.toml"]).exits(2);
    assert!(unnamed.stderr.contains("`[grant]`"), "{}", unnamed.stderr);
}
