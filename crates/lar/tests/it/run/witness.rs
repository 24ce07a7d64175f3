//! Runs whose log is cosigned by real witnesses: `lar witness serve` in processes of their own.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::{Ended, LAR, Lab, Run, call, done};

/// A witness that runs as long as this lives.
struct Server {
    child: Child,
    url: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lar(lab: &Lab, args: &[&str]) -> Ended {
    Run::at(lab.dir(), args).env("HOME", lab.dir().to_str().unwrap()).go()
}

/// The key of the lab's log.
fn log_key(lab: &Lab) -> String {
    lar(lab, &["keys", "init", "--ledger", "ledger.db"]).exits(0);
    let shown = lar(lab, &["keys", "show", "--json", "--ledger", "ledger.db"]).exits(0).json();
    shown["keys"][0]["key"].as_str().unwrap().to_owned()
}

/// Makes a witness in the lab, and gives its key.
fn make(lab: &Lab, name: &str) -> String {
    let key = lar(lab, &["witness", "init", name, "--name", &format!("witness.example/{name}")]);
    key.exits(0).stdout.trim().to_owned()
}

/// Serves it for the log with this key, where it was before if a port is given.
fn serve(lab: &Lab, name: &str, log: &str, port: u16) -> Server {
    let listen = format!("127.0.0.1:{port}");
    let mut child = Command::new(LAR)
        .args(["witness", "serve", name, "--log", log, "--listen", &listen])
        .current_dir(lab.dir())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let url = line.trim().rsplit(' ').next().unwrap().to_owned();
    assert!(url.starts_with("http://127.0.0.1:"), "{line}");
    Server { child, url }
}

fn port(server: &Server) -> u16 {
    server.url.trim_end_matches('/').rsplit(':').next().unwrap().parse().unwrap()
}

/// A port on which nobody listens.
fn nowhere() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}/", listener.local_addr().unwrap())
}

/// Writes the manifest: a token that demands witnesses, one that doesn't, and these witnesses.
fn manifest(lab: &Lab, required: usize, witnesses: &[(&str, &str)]) {
    let witnesses: String = witnesses
        .iter()
        .map(|(url, key)| format!("[[witnessing.witness]]\nurl = \"{url}\"\nkey = \"{key}\"\n"))
        .collect();
    let token = |name: &str, more: &str| {
        format!(
            "[[token]]\nkind = \"shell\"\nname = \"{name}\"\nallowed = [\"touch\"]\nmax_uses = 3\n\
             writes = [\"out\"]\n{more}"
        )
    };
    lab.write(
        "manifest.toml",
        format!(
            "[agent]\ntask = \"Work.\"\n[budget]\nmax_steps = 9\ntimeout = \"1m\"\n\
             [witnessing]\nrequired = {required}\ntimeout = \"3s\"\n{witnesses}{}{}",
            token("seen", "witness = \"before-effect\"\n"),
            token("sh", "")
        ),
    );
}

fn seen(file: &str) -> Value {
    call("shell_seen", serde_json::json!({"command": format!("touch out/{file}")}))
}

/// The policy of a verifier who knows the log and these witnesses.
fn policy(lab: &Lab, required: usize, witnesses: &[&str]) {
    let log = lar(lab, &["keys", "show", "--policy", "--ledger", "ledger.db"]).exits(0).stdout;
    let known = log.replace("\"completeness\"]", "\"completeness\", \"witnessing\"]");
    let witnesses = serde_json::to_string(witnesses).unwrap();
    let more = format!("\nwitnesses = {witnesses}\nrequired_witnesses = {required}\n");
    lab.write("policy.toml", known + &more);
}

fn verify(lab: &Lab, code: i32) -> Value {
    let args =
        ["audit", "verify", "latest", "--policy", "policy.toml", "--json", "--ledger", "ledger.db"];
    lar(lab, &args).exits(code).json()["runs"][0].take()
}

fn records(lab: &Lab) -> Vec<Value> {
    let shown = lar(lab, &["audit", "show", "latest", "--records", "--ledger", "ledger.db"]);
    shown.exits(0).stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn an_effect_begins_when_the_witnesses_have_cosigned_its_intent() {
    let lab = Lab::new("");
    let log = log_key(&lab);
    let keys = [make(&lab, "w1"), make(&lab, "w2")];
    let servers = [serve(&lab, "w1", &log, 0), serve(&lab, "w2", &log, 0)];
    manifest(&lab, 2, &[(&servers[0].url, &keys[0]), (&servers[1].url, &keys[1])]);
    let ended = lab.replay(&[seen("one"), seen("two"), done()]).go().exits(0);
    assert_eq!(ended.outcomes(), ["succeeded", "succeeded"]);
    assert!(lab.made("one").exists() && lab.made("two").exists());
    // Each spend is followed by what the witnesses cosigned, and that by the outcome.
    let records = records(&lab);
    let types: Vec<&str> = records.iter().map(|record| record["type"].as_str().unwrap()).collect();
    let positions: Vec<usize> = (0..types.len()).filter(|at| types[*at] == "anchor").collect();
    assert_eq!(positions.len(), 2, "{types:?}");
    for at in positions {
        assert_eq!((types[at - 1], types[at + 1]), ("intent", "outcome"), "{types:?}");
        let note = records[at]["checkpoint"].as_str().unwrap();
        assert!(note.contains("witness.example/w1") && note.contains("witness.example/w2"));
        assert!(
            records[at]["size"].as_u64().unwrap() >= records[at]["intent_seq"].as_u64().unwrap()
        );
    }
    // The end is cosigned too, so that the whole run is witnessed.
    policy(&lab, 2, &[&keys[0], &keys[1]]);
    assert_eq!(verify(&lab, 0)["witnessing"], "ok");
    let other = make(&lab, "w3");
    policy(&lab, 2, &[&keys[0], &other]);
    assert_eq!(verify(&lab, 1)["witnessing"], "absent", "one of two");
    policy(&lab, 1, &[&keys[0], &other]);
    assert_eq!(verify(&lab, 0)["witnessing"], "ok");
}

#[test]
fn without_enough_witnesses_nothing_begins_and_the_use_comes_back() {
    let lab = Lab::new("");
    let log = log_key(&lab);
    let keys = [make(&lab, "w1"), make(&lab, "w2")];
    let server = serve(&lab, "w1", &log, 0);
    let gone = nowhere();
    manifest(&lab, 2, &[(&server.url, &keys[0]), (&gone, &keys[1])]);
    let plain = call("shell_sh", serde_json::json!({"command": "touch out/plain"}));
    let turns = [seen("one"), plain, done()];
    let ended = lab.replay(&turns).for_people().go().exits(0);
    assert!(!lab.made("one").exists(), "an effect without its witnesses");
    assert!(lab.made("plain").exists(), "what demands none goes on");
    assert!(ended.stderr.contains("unwitnessed"), "{}", ended.stderr);
    let records = records(&lab);
    let given = records.iter().find(|record| record["type"] == "outcome").unwrap();
    assert_eq!(given["outcome"], Value::Null, "nothing began");
    let why = given["result_summary"].as_str().unwrap();
    assert!(why.contains("1 of 2 required witnesses") && why.contains("w2"), "{why}");
    let close = records.last().unwrap();
    assert_eq!(close["tokens"][0]["unused"], 3, "the use came back: {close}");
    // Nor is the end witnessed, and nobody calls it so.
    policy(&lab, 2, &[&keys[0], &keys[1]]);
    let verdict = verify(&lab, 1);
    assert_eq!(
        (&verdict["witnessing"], &verdict["authenticity"]),
        (&"absent".into(), &"ok".into())
    );

    // One of two is enough where that is what is asked for.
    manifest(&lab, 1, &[(&server.url, &keys[0]), (&gone, &keys[1])]);
    lab.replay(&[seen("one"), done()]).go().exits(0);
    assert!(lab.made("one").exists());
    policy(&lab, 1, &[&keys[0], &keys[1]]);
    assert_eq!(verify(&lab, 0)["witnessing"], "ok");
}

#[test]
fn a_witness_that_was_killed_remembers_and_refuses_an_older_ledger() {
    let lab = Lab::new("");
    let log = log_key(&lab);
    let key = make(&lab, "w1");
    let mut server = serve(&lab, "w1", &log, 0);
    let port = port(&server);
    manifest(&lab, 1, &[(&server.url.clone(), &key)]);
    lab.replay(&[seen("one"), done()]).go().exits(0);
    let old = std::fs::read(lab.path("ledger.db")).unwrap();
    lab.replay(&[seen("two"), done()]).go().exits(0);
    // Killed without a word, and started again.
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let _server = serve(&lab, "w1", &log, port);
    lab.replay(&[seen("three"), done()]).go().exits(0);
    assert!(lab.made("three").exists());

    // Somebody puts the whole machine back to the first copy: the witness has seen more.
    std::fs::remove_dir_all(lab.path(".local/state/lar-seen")).unwrap();
    for file in ["ledger.db-wal", "ledger.db-shm"] {
        let _ = std::fs::remove_file(lab.path(file));
    }
    std::fs::write(lab.path("ledger.db"), &old).unwrap();
    let ended = lab.replay(&[seen("four"), done()]).for_people().go();
    assert!(!lab.made("four").exists());
    assert!(ended.stderr.contains("an older copy of the ledger"), "{}", ended.stderr);
    // Grown past what the witness has seen, it is another history.
    for _ in 0..4 {
        lab.replay(&[seen("five"), done()]).go();
    }
    let ended = lab.replay(&[seen("five"), done()]).for_people().go();
    assert!(!lab.made("five").exists());
    assert!(ended.stderr.contains("forked"), "{}", ended.stderr);
    let forks = std::fs::read_dir(lab.path("w1/forks")).unwrap().count();
    assert!(forks > 0, "the evidence is kept");
}

#[test]
fn a_manifest_that_demands_witnesses_names_them() {
    let lab = Lab::new(
        "[[token]]\nkind = \"wait\"\nname = \"w\"\nmax_seconds = 1\nwitness = \"before-effect\"\n",
    );
    let ended = lar(&lab, &["check", "manifest.toml"]).exits(2);
    assert!(ended.stderr.contains("[witnessing]"), "{}", ended.stderr);
    let key = make(&lab, "w1");
    for (required, witnesses, why) in [
        (2, vec![("http://127.0.0.1:1/", key.as_str())], "name more"),
        (1, vec![("ftp://127.0.0.1/", key.as_str())], "http or https"),
        (1, vec![("http://127.0.0.1:1/", key.as_str()); 2], "twice"),
        (1, vec![("http://127.0.0.1:1/", "x")], "NAME+ID+BASE64"),
    ] {
        manifest(&lab, required, &witnesses);
        let ended = lar(&lab, &["check", "manifest.toml"]).exits(2);
        assert!(ended.stderr.contains(why), "{}", ended.stderr);
    }
}
