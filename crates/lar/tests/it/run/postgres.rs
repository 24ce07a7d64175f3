//! Runs on a ledger in PostgreSQL: hosts share it, roles keep to their part, the address stays hidden.

use pgserver::{Options, Server};
use serde_json::Value;

use crate::support::{Ended, Lab, Run, command, done};

const OWNER: &str = "0wner-s3cret";
const AGENTS: &str = "ag3nts-s3cret";

/// A server with an empty database, its owner `ops`, and a role `agents` that runs. Both need a
/// password.
fn server() -> Option<Server> {
    let hba = "local all postgres trust\nlocal all all scram-sha-256\n".to_owned();
    let server = pgserver::start_with_or_skip(Options { hba: Some(hba), ..Options::default() })?;
    server.sql("postgres", &format!("CREATE ROLE ops LOGIN PASSWORD '{OWNER}'"));
    server.sql("postgres", &format!("CREATE ROLE agents LOGIN PASSWORD '{AGENTS}'"));
    server.sql("postgres", "CREATE DATABASE ledger OWNER ops");
    Some(server)
}

fn lab() -> Lab {
    // Hosts have the manifest in different directories, so that the token names none.
    let token =
        "[[token]]\nkind = \"shell\"\nname = \"sh\"\nallowed = [\"touch\"]\nwrites = [\"out\"]\n";
    let lab = Lab::new(&format!("[grant]\nid = \"release-2.3.1\"\n{token}"));
    let turns: Vec<String> =
        [command("touch out/made"), done()].iter().map(Value::to_string).collect();
    lab.write("session.jsonl", turns.join("\n"));
    lab
}

/// A command on the server's ledger, as one of the two roles.
fn on(server: &Server, lab: &Lab, role: &str, words: &[&str]) -> Run {
    let address = server.url(role, "ledger");
    let password = if role == "ops" { OWNER } else { AGENTS };
    Run::at(lab.dir(), words)
        .args(["--ledger", &address])
        .env("HOME", lab.dir().to_str().unwrap())
        .env("PGPASSWORD", password)
}

/// What nobody may see in anything that is printed.
#[track_caller]
fn hides(ended: Ended) -> Ended {
    for secret in [OWNER, AGENTS, "agents@", "ops@", "%2F", "wr0ng"] {
        assert!(!ended.stdout.contains(secret), "{}", ended.stdout);
        assert!(!ended.stderr.contains(secret), "{}", ended.stderr);
    }
    ended
}

const RUN: [&str; 5] = ["run", "manifest.toml", "--json", "--replay", "session.jsonl"];

#[test]
fn hosts_that_share_a_grant_act_once() {
    let Some(server) = server() else { return };
    let (one, two) = (lab(), lab());
    let issue = ["grants", "issue", "manifest.toml", "--json"];
    let issued = hides(on(&server, &one, "ops", &issue).go()).exits(0).json();
    server.sql("ledger", "SET ROLE ops; SELECT lar.admit('agents')");

    // Two hosts at the same moment, and a third time later.
    let running = [&one, &two].map(|lab| on(&server, lab, "agents", &RUN).start());
    for running in running {
        hides(running.wait()).exits(0);
    }
    let made = [&one, &two].iter().filter(|lab| lab.made("made").exists()).count();
    assert_eq!(made, 1);
    let third = lab();
    let ended = on(&server, &third, "agents", &RUN).go().exits(0);
    assert_eq!(ended.errors()[0]["error_type"], "TokenReusedError");
    assert!(!third.made("made").exists());

    // Everything that reads a ledger reads this one.
    let show = ["grants", "show", "release-2.3.1", "--json"];
    let shown = on(&server, &one, "agents", &show).go().exits(0).json();
    assert_eq!(shown["tokens"][0]["uses_left"], 0);
    assert_eq!(shown["ledger"], issued["ledger"]);
    let list = on(&server, &one, "agents", &["audit", "list", "--json"]).go().exits(0).json();
    assert_eq!(list.as_array().unwrap().len(), 3);
    on(&server, &one, "agents", &["audit", "show", "latest"]).go().exits(0);
    on(&server, &one, "agents", &["audit", "verify"]).go().exits(0);
    let identity = on(&server, &one, "agents", &["ledger", "show", "--json"]).go().exits(0).json();
    assert_eq!(identity["ledger"], issued["ledger"]);

    // What is the owner's stays the owner's.
    for words in [
        &["grants", "issue", "manifest.toml", "--grant", "other"][..],
        &["grants", "revoke", "release-2.3.1", "--reason", "none"],
        &["ledger", "epoch"],
    ] {
        let refused = hides(on(&server, &one, "agents", words).go()).exits(1);
        assert!(refused.stderr.contains("lacks a right"), "{}", refused.stderr);
    }
    let epoch = on(&server, &one, "ops", &["ledger", "epoch", "--json"]).go().exits(0).json();
    assert_eq!(epoch["epoch"], 2);
    let late = on(&server, &one, "agents", &RUN).go().exits(5);
    assert!(late.stderr.contains("epoch"), "{}", late.stderr);
}

#[test]
fn what_cannot_be_reached_or_used_is_said_without_the_address() {
    let Some(server) = server() else { return };
    let lab = lab();
    let made = || lab.made("made").exists();

    // Reading makes nothing.
    let empty = hides(on(&server, &lab, "ops", &["audit", "list"]).go()).exits(2);
    assert!(empty.stderr.contains("no ledger in this database"), "{}", empty.stderr);
    let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname = 'lar'";
    assert_eq!(server.sql("ledger", schemas), "0");
    // A role that may not make a ledger is told who may.
    let early = hides(on(&server, &lab, "agents", &RUN).go()).exits(1);
    assert!(early.stderr.contains("may not make one"), "{}", early.stderr);

    let wrong = on(&server, &lab, "agents", &RUN).env("PGPASSWORD", "wr0ng").go();
    let wrong = hides(wrong).exits(1);
    assert!(wrong.stderr.contains("refused the login"), "{}", wrong.stderr);
    let inside = server.url("agents", "ledger").replace("agents@", "agents:wr0ng@");
    let words = [&RUN[..], &["--ledger", &inside]].concat();
    let inside = hides(Run::at(lab.dir(), &words).go()).exits(1);
    assert!(inside.stderr.contains("refused the login"), "{}", inside.stderr);
    for bad in ["postgres://agents@h/ledger?sslmode=prefer", "postgres://", "postgres:/x@h/d"] {
        let words = [&RUN[..], &["--ledger", bad]].concat();
        let bad = hides(Run::at(lab.dir(), &words).go()).exits(2);
        assert!(bad.stderr.contains("address"), "{}", bad.stderr);
    }

    server.stop();
    let gone = hides(on(&server, &lab, "ops", &RUN).go()).exits(1);
    assert!(gone.stderr.contains("nothing listens there"), "{}", gone.stderr);
    assert!(!made());
}

#[test]
fn a_run_is_exported_proved_and_compared_as_on_a_file() {
    let Some(server) = server() else { return };
    let lab = lab();
    on(&server, &lab, "ops", &["grants", "issue", "manifest.toml"]).go().exits(0);
    server.sql("ledger", "SET ROLE ops; SELECT lar.admit('agents')");
    on(&server, &lab, "agents", &RUN).go().exits(0);
    let run = |words: &[&str]| hides(on(&server, &lab, "agents", words).go());
    let policy = run(&["keys", "show", "--policy"]).exits(0).stdout;
    lab.write("policy.toml", policy);
    run(&["audit", "export", "latest", "--out", "old.bundle"]).exits(0);
    let file = |file: &str| {
        Run::at(lab.dir(), &["audit", "verify", file, "--policy", "policy.toml", "--json"]).go()
    };
    let verdict = file("old.bundle").exits(0).json()["runs"][0].take();
    for judged in ["integrity", "authenticity", "completeness"] {
        assert_eq!(verdict[judged], "ok", "{verdict}");
    }
    run(&["audit", "verify", "--policy", "policy.toml"]).exits(0);
    let proof = run(&["audit", "prove", "latest", "2"]).exits(0).stdout;
    lab.write("one.proof", proof);
    file("one.proof").exits(0);

    // A new key takes over, and another run goes on in the same log.
    run(&["keys", "rotate"]).exits(0);
    on(&server, &lab, "agents", &RUN).go().exits(0);
    let said = run(&["audit", "diff", "old.bundle"]).exits(0).stdout;
    assert!(said.contains("consistent"), "{said}");
    run(&["audit", "export", "latest", "--out", "new.bundle"]).exits(0);
    let verdict = file("new.bundle").exits(1).json()["runs"][0].take();
    assert_eq!(verdict["authenticity"], "broken", "the policy doesn't know the new key");
    lab.write("policy.toml", run(&["keys", "show", "--policy"]).exits(0).stdout);
    file("new.bundle").exits(0);
    file("old.bundle").exits(0);

    // Another host has no key: it spends, and what isn't signed yet is never called good.
    let other = self::lab();
    let ended = on(&server, &other, "agents", &RUN).for_people().go();
    assert!(ended.stderr.contains("not in the signed log yet"), "{}", ended.stderr);
    let verify = ["audit", "verify", "latest", "--policy", "policy.toml", "--json"];
    other.write("policy.toml", lab.read("policy.toml"));
    let verdict = hides(on(&server, &other, "agents", &verify).go()).exits(1).json();
    assert_eq!(verdict["runs"][0]["integrity"], "ok", "{verdict}");
    assert_eq!(verdict["runs"][0]["authenticity"], "absent", "{verdict}");
    // A host with the key puts it in.
    let verdict = run(&verify).exits(0).json();
    assert_eq!(verdict["runs"][0]["authenticity"], "ok", "{verdict}");
    on(&server, &other, "agents", &verify).go().exits(0);
}

#[test]
fn a_run_whose_host_died_is_gone_on_with_on_another() {
    let Some(server) = server() else { return };
    let token = "[[token]]\nkind = \"shell\"\nname = \"sh\"\nallowed = [\"touch\", \"sleep\"]\n\
                 writes = [\"out\"]\nmax_uses = 9\n";
    let [one, two] = [(), ()].map(|()| {
        let lab = Lab::new(token);
        let turns =
            [command("touch out/first"), command("sleep 59"), command("touch out/third"), done()];
        let turns: Vec<String> = turns.iter().map(Value::to_string).collect();
        lab.write("session.jsonl", turns.join("\n"));
        lab
    });
    on(&server, &one, "ops", &["grants", "issue", "manifest.toml", "--grant", "g"]).go().exits(0);
    server.sql("ledger", "SET ROLE ops; SELECT lar.admit('agents')");

    let running = on(&server, &one, "agents", &RUN).start();
    let started = "SELECT count(*) FROM lar.attempts WHERE state = 'started' AND seq > 3";
    crate::support::eventually("the slow action is under way", || {
        one.made("first").exists() && server.sql("ledger", started) == "1"
    });
    running.signal(rustix::process::Signal::KILL);
    assert_eq!(running.wait().code, None);
    // The host went down with it: nobody can see its processes, and its hold has yet to run out.
    server.sql("ledger", "UPDATE lar.runs SET owner = 'another-host 1 1'");
    let words = ["resume", "latest", "--json", "--manifest", "manifest.toml"];
    let resume = on(&server, &two, "agents", &words).args(["--replay", "session.jsonl"]);
    let early = hides(resume.go());
    assert_ne!(early.code, Some(0));
    assert!(early.stderr.contains("is held until"), "{}", early.stderr);
    assert!(!two.made("third").exists());
    // A minute later it has.
    let ran_out = "UPDATE lar.runs SET
        lease_until = floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint - 1";
    server.sql("ledger", ran_out);
    two.write("idle.jsonl", done().to_string());
    let words = ["run", "manifest.toml", "--replay", "idle.jsonl"];
    let notice = on(&server, &two, "agents", &words).go();
    assert!(notice.stderr.contains("lar resume"), "a run says so: {}", notice.stderr);
    let words = ["audit", "list", "--json"];
    let runs = on(&server, &two, "agents", &words).go().exits(0).json();
    let cut_off = runs.as_array().unwrap().iter().find(|run| run["stop_reason"].is_null());
    let id = cut_off.unwrap()["run"].as_str().unwrap().to_owned();
    let words = ["resume", &id, "--json", "--manifest", "manifest.toml"];
    let resume = on(&server, &two, "agents", &words).args(["--replay", "session.jsonl"]);
    let ended = hides(resume.go()).exits(0);
    assert_eq!(ended.outcomes(), ["succeeded", "unknown", "succeeded"]);
    assert!(two.made("third").exists() && !two.made("first").exists(), "nothing is done twice");
    assert_eq!(ended.json()["audit_trail"]["run"]["resumed"], 1);
    on(&server, &two, "agents", &["audit", "show", &id]).go().exits(0);
}
