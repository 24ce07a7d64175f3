//! The examples with real programs behind all walls, against what stands in for a cluster, two clouds
//! and a service, and on a real PostgreSQL.

use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};
use standin::kube::Server;

use super::clouds;
use super::programs::ready;
use crate::pty::Terminal;
use crate::support::{Ended, Lab, request, serve};

/// A lab with an example's files, in which a text of the manifest is another.
fn example(name: &str, replaced: &[(&str, &str)]) -> Lab {
    let lab = Lab::new("");
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name);
    for file in ["manifest.toml", "session.jsonl"] {
        std::fs::copy(from.join(file), lab.path(file)).unwrap();
    }
    let mut manifest = lab.read("manifest.toml");
    for (old, new) in replaced {
        assert!(manifest.contains(old), "{old} is not in the manifest of {name}");
        manifest = manifest.replace(old, new);
    }
    lab.write("manifest.toml", manifest);
    lab
}

fn script(name: &str, file: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name).join(file);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A page that answers `ok`.
fn page() -> u16 {
    serve(|mut stream, _| {
        request(&mut stream);
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\nok\n";
        let _ = stream.write_all(answer);
    })
}

/// Each token that was used, with how it ended.
fn told(ended: &Ended) -> Vec<(String, String)> {
    let word = |proof: &Value, key: &str| proof[key].as_str().unwrap_or_default().to_owned();
    let proofs = ended.proofs();
    proofs.iter().map(|proof| (word(proof, "token_name"), word(proof, "outcome"))).collect()
}

/// Every program ran at tier A.
fn all_at_tier_a(ended: &Ended) {
    let proofs = ended.proofs();
    let programs = proofs.iter().filter(|proof| proof.get("program").is_some());
    for proof in programs {
        assert_eq!(proof["tier"], "A", "{proof}");
    }
}

#[test]
fn staged_deploy() {
    if !ready(&["kubectl"]) {
        return;
    }
    let cluster = script("staged-deploy", "cluster.json");
    let server = standin::script::kube(Server::builder(), &cluster).unwrap().start();
    let port = page().to_string();
    let lab = example("staged-deploy", &[("8081", &port)]);
    std::fs::create_dir(lab.path(".kube")).unwrap();
    lab.write(".kube/config", server.kubeconfig("default"));
    let run = lab.run().args(["--replay", "session.jsonl"]);
    let mut person = Terminal::start(&run);
    person.answer("yes");
    let ended = person.wait().exits(0);
    all_at_tier_a(&ended);
    let used = told(&ended);
    for name in ["diagnostics", "staging", "health-check", "production"] {
        let good = used.contains(&(name.to_owned(), "succeeded".to_owned()));
        assert!(good, "{name}: {used:?}\n{:?}", ended.complaints());
    }
    assert!(used.iter().all(|(_, outcome)| outcome == "succeeded"), "{used:?}");
    assert_eq!(server.writes().len(), 2, "staging and production, once each");
    let errors: Vec<Value> = ended.errors();
    assert!(errors.iter().all(|e| e["error_type"] == "CommandNotAllowedError"), "{errors:?}");
}

#[test]
fn sre_triage() {
    if !ready(&["kubectl"]) {
        return;
    }
    let cluster = script("sre-triage", "cluster.json");
    let server = standin::script::kube(Server::builder(), &cluster).unwrap().start();
    let port = page().to_string();
    let lab = example("sre-triage", &[("8082", &port)]);
    let config = lab.write("kubeconfig", server.kubeconfig("default"));
    let run = lab.run().args(["--replay", "session.jsonl"]);
    let ended = run.env("KUBECONFIG", config.to_str().unwrap()).go().exits(0);
    all_at_tier_a(&ended);
    let used = told(&ended);
    assert!(used.len() >= 4, "{used:?}\n{:?}", ended.complaints());
    assert!(used.iter().all(|(_, outcome)| outcome == "succeeded"), "{used:?}");
    assert!(server.writes().is_empty());
}

#[test]
fn scoped_database() {
    if !ready(&["psql"]) {
        return;
    }
    let options = pgserver::Options { tcp: true, ..pgserver::Options::default() };
    let Some(server) = pgserver::start_with_or_skip(options) else { return };
    let schema =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/scoped-database/schema.sql");
    server.sql("postgres", &std::fs::read_to_string(schema).unwrap());
    let port = server.port().unwrap().to_string();
    let lab = example("scoped-database", &[]);
    let dsn = format!("postgres://reader@127.0.0.1:{port}/postgres");
    let mut run = lab.run().args(["--replay", "session.jsonl"]).env("ORDERS_DSN", &dsn);
    for (name, value) in [
        ("PGHOST", "127.0.0.1"),
        ("PGPORT", &port),
        ("PGUSER", "reader"),
        ("PGDATABASE", "postgres"),
    ] {
        run = run.env(name, value);
    }
    let mut person = Terminal::start(&run);
    person.expect("flyway migrate".split(' ').next().unwrap());
    person.answer("no");
    let ended = person.wait().exits(0);
    all_at_tier_a(&ended);
    let used = told(&ended);
    assert!(used.len() >= 5, "{used:?}\n{:?}", ended.complaints());
    assert!(used.iter().all(|(_, outcome)| outcome == "succeeded"), "{used:?}");
    let refused: Vec<Value> = ended.errors().iter().map(|e| e["error_type"].clone()).collect();
    assert_eq!(refused, [json!("CommandNotAllowedError"), json!("ApprovalDeniedError")]);
}

#[test]
fn multi_cloud() {
    if !ready(&["aws", "gcloud"]) {
        return;
    }
    let (port, asked) = clouds::buckets();
    let lab = example("multi-cloud", &[]);
    let home = tempfile::tempdir().unwrap();
    clouds::configure(home.path(), port);
    let run = lab.run().args(["--replay", "session.jsonl"]).env("AWS_PROFILE", "reader");
    let run = run.env("HOME", home.path().to_str().unwrap());
    let mut person = Terminal::start(&run);
    // Who says yes sees as whom the command acts, and what it reaches.
    person.expect("gcloud configuration `work`, account `me@work.test`");
    person.expect("aws profile `reader`");
    person.answer("no");
    let ended = person.wait().exits(0);
    all_at_tier_a(&ended);
    let used = told(&ended);
    let count = |name: &str| used.iter().filter(|(held, _)| held == name).count();
    assert_eq!((count("aws-read"), count("gcp-read")), (2, 3), "{:?}", ended.complaints());
    assert!(used.iter().all(|(_, outcome)| outcome == "succeeded"), "{used:?}");
    let asked = asked.all();
    assert!(asked.len() >= 5 && asked.iter().all(|line| line.ends_with(" true")), "{asked:?}");
}
