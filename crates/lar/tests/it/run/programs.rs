//! Ordinary programs behind all walls: each does its work at tier A with what its token and its profile
//! say, and no more.

use serde_json::{Value, json};
use standin::kube::{Pod, Server};

use crate::support::{Ended, Lab, call, command, done, on_path, request, serve, skip, tier_a};

/// A shell token named `sh` that begins with these words, in the lab's own directory.
pub fn token(allowed: &[&str], more: &str) -> String {
    let allowed = serde_json::to_string(allowed).unwrap();
    format!(
        "[[token]]\nkind = \"shell\"\nname = \"sh\"\nmax_uses = 20\nallowed = {allowed}\n{more}\n"
    )
}

/// Whether all of these are here, and the walls can be had.
pub fn ready(programs: &[&str]) -> bool {
    if !tier_a() {
        return false;
    }
    let missing: Vec<_> = programs.iter().filter(|name| on_path(name).is_none()).collect();
    if !missing.is_empty() {
        skip(&format!("not installed: {missing:?}"));
    }
    missing.is_empty()
}

/// Expects that each command succeeded at tier A, and returns the words that the model was told.
pub fn all_work(lab: &Lab, commands: &[&str], env: &[(&str, &str)]) -> Vec<String> {
    let tool = |(index, line): (usize, &&str)| {
        let id = format!("toolu_{index}");
        standin::Reply::tool_use(&id, "shell_sh", json!({"command": line}))
    };
    let turns = commands.iter().enumerate().map(tool).chain([standin::Reply::text("Done.")]);
    let model = standin::messages::Server::start(turns.collect::<Vec<_>>());
    let mut run = lab.against(&model);
    for (name, value) in env {
        run = run.env(name, value);
    }
    let ended = run.go().exits(0);
    let told = told(&model);
    let proofs = ended.proofs();
    for (index, line) in commands.iter().enumerate() {
        let proof = proofs.get(index).unwrap_or_else(|| panic!("{line}: {:#}", ended.trail()));
        assert_eq!(proof["outcome"], "succeeded", "{line}: {}", told[index]);
        assert_eq!(proof["tier"], "A", "{line}");
    }
    assert_eq!(ended.complaints(), Vec::<String>::new());
    told
}

/// What the model was told of each call.
fn told(model: &standin::messages::Server) -> Vec<String> {
    let last = model.requests().pop().unwrap().json();
    let messages = last["messages"].as_array().unwrap();
    let blocks = messages.iter().filter(|message| message["role"] == "user");
    let blocks = blocks.filter_map(|message| message["content"].as_array()).flatten();
    let text = |block: &Value| match &block["content"] {
        Value::String(text) => text.clone(),
        other => other[0]["text"].as_str().unwrap_or_default().to_owned(),
    };
    blocks.filter(|block| block["type"] == "tool_result").map(text).collect()
}

#[test]
fn the_programs_of_every_day() {
    if !ready(&["find", "tar", "grep", "sed", "awk", "sort", "cat", "ls", "du", "jq"]) {
        return;
    }
    let lab = Lab::new(&token(
        &[
            "find",
            "tar -cf out/all.tar",
            "tar -tf out/all.tar",
            "grep",
            "sed",
            "awk",
            "sort",
            "cat",
            "ls",
            "du",
            "jq",
        ],
        "writes = [\"out\"]",
    ));
    lab.write("data.json", r#"{"items": [{"name": "one"}, {"name": "two"}]}"#);
    lab.write("lines", "b 2\na 1\n");
    let told = all_work(
        &lab,
        &[
            "find . -name '*.json'",
            "tar -cf out/all.tar lines data.json",
            "tar -tf out/all.tar",
            "grep -rn two data.json",
            "sed -n 's/a/x/p' lines",
            "awk '$2 > 1' lines",
            "sort -k 2 lines",
            "cat lines",
            "ls -la",
            "du -sh .",
            "jq '.items[].name' data.json",
        ],
        &[],
    );
    for (index, part) in [(0, "./data.json"), (2, "lines"), (4, "x 1"), (5, "b 2"), (10, "\"two\"")]
    {
        assert!(told[index].contains(part), "{part}: {}", told[index]);
    }
}

#[test]
fn python_reads_its_own_library_and_nothing_of_the_home() {
    if !ready(&["python3"]) {
        return;
    }
    let lab = Lab::new(&token(&["python3 work.py"], "writes = [\"out\"]"));
    lab.write(".secret", "of the home");
    lab.write(
        "work.py",
        "import json, ssl, sqlite3, subprocess, pathlib, sys, urllib.request\n\
         pathlib.Path('out/made').write_text('made')\n\
         print(json.dumps({'version': sys.version_info[0]}))\n\
         try:\n    subprocess.run(['/bin/sh', '-c', 'true'])\n    print('started a shell')\n\
         except (PermissionError, FileNotFoundError):\n    print('no shell')\n",
    );
    let told = all_work(&lab, &["python3 work.py"], &[]);
    assert!(told[0].contains("\"version\": 3") && told[0].contains("no shell"), "{}", told[0]);
    assert_eq!(lab.read_made("made"), "made");
}

#[test]
fn git_looks_at_a_repository() {
    if !ready(&["git"]) {
        return;
    }
    let lab = Lab::new(&token(&["git status", "git log", "git diff", "git show --stat"], ""));
    let git = |arguments: &[&str]| {
        let mut command = std::process::Command::new("git");
        command.args(["-c", "user.name=A", "-c", "user.email=a@example.com"]).args(arguments);
        let output = command.current_dir(lab.dir()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    lab.write("file", "one\n");
    git(&["init", "-q"]);
    git(&["add", "file"]);
    git(&["commit", "-qm", "First"]);
    lab.write("file", "two\n");
    let told = all_work(
        &lab,
        &["git status --porcelain", "git log --oneline", "git diff", "git show --stat HEAD"],
        &[],
    );
    for (index, part) in [(0, " M file"), (1, "First"), (2, "+two"), (3, "file | 1 +")] {
        assert!(told[index].contains(part), "{part}: {}", told[index]);
    }
}

#[test]
fn curl_reaches_the_host_of_its_url_and_no_other() {
    if !ready(&["curl"]) {
        return;
    }
    let page = |text: &'static str| {
        serve(move |mut stream, _| {
            request(&mut stream);
            let length = text.len();
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}"
            );
            let _ = std::io::Write::write_all(&mut stream, answer.as_bytes());
        })
    };
    let (port, other) = (page("hello from loopback"), page("not meant"));
    let url = format!("http://127.0.0.1:{port}");
    let named = format!("http://localhost:{port}");
    let allowed = [format!("curl -sS '{url}/"), format!("curl -sS '{named}/")];
    let lab = Lab::new(&token(&[&allowed[0], &allowed[1]], ""));
    let (first, second) = (format!("curl -sS {url}/health"), format!("curl -sS {named}/"));
    let told = all_work(&lab, &[&first, &second], &[]);
    assert!(told.iter().all(|text| text.contains("hello from loopback")), "{told:?}");

    // A program that was tricked finds the other port shut.
    let lab = Lab::new(&token(
        &["./tricked"],
        &format!("network = [\"127.0.0.1:{port}\"]\nalso_runs = [\"curl\"]"),
    ));
    crate::support::script(
        &lab,
        "tricked",
        &format!("curl -sS {url} && curl -sS --max-time 5 http://127.0.0.1:{other}"),
    );
    let manifest = lab.read("manifest.toml").replace("also_runs", "writes = [\"out\"]\nalso_runs");
    lab.write("manifest.toml", manifest);
    let ended = lab.replay(&[command("./tricked"), done()]).go().exits(0);
    assert_eq!(ended.proofs()[0]["exit_code"], 7, "{:#}", ended.trail());
}

#[test]
fn cargo_reads_a_workspace() {
    if !ready(&["cargo"]) {
        return;
    }
    let line = "cargo metadata --no-deps --format-version 1 --offline";
    let lab = Lab::new(&token(&[line], ""));
    lab.write(
        "Cargo.toml",
        "[package]\nname = \"tiny\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
    );
    std::fs::create_dir(lab.path("src")).unwrap();
    lab.write("src/lib.rs", "");
    let held = ["HOME", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"];
    let env: Vec<(String, String)> = held
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)))
        .collect();
    let env: Vec<(&str, &str)> = env.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let told = all_work(&lab, &[line], &env);
    assert!(told[0].contains("\"name\":\"tiny\""), "{}", told[0]);
}

#[test]
fn kubectl_reaches_the_server_of_its_context_and_no_other() {
    if !ready(&["kubectl"]) {
        return;
    }
    let server = Server::builder().pod(Pod::new("shop", "checkout-0").logs("it is slow\n")).start();
    let other = Server::builder().start();
    let lab = Lab::new(&token(&["kubectl get pods -n shop", "kubectl logs -n shop"], ""));
    std::fs::create_dir(lab.path(".kube")).unwrap();
    // A second context with a credential of its own, which is nobody's business here.
    let config = server.kubeconfig("shop").replace(
        "contexts:\n",
        "- name: other\n  user:\n    token: the-other-token\ncontexts:\n- name: other\n  context:\n    \
             cluster: other\n    user: other\n",
    );
    let config = config.replace(
        "clusters:\n",
        &format!("clusters:\n- name: other\n  cluster:\n    server: {}\n", other.url()),
    );
    lab.write(".kube/config", config);
    let told = all_work(
        &lab,
        &["kubectl get pods -n shop -o wide", "kubectl logs -n shop checkout-0 --tail=5"],
        &[],
    );
    assert!(told[0].contains("checkout-0") && told[1].contains("it is slow"), "{told:?}");
    assert!(server.writes().is_empty() && other.requests().is_empty());
}

#[test]
fn psql_reads_from_a_real_server() {
    if !ready(&["psql"]) {
        return;
    }
    let options = pgserver::Options { tcp: true, ..pgserver::Options::default() };
    let Some(server) = pgserver::start_with_or_skip(options) else { return };
    server.sql("postgres", "CREATE TABLE orders (id int); INSERT INTO orders VALUES (7)");
    let port = server.port().unwrap().to_string();
    let lab = Lab::new(&token(&["psql -c 'SELECT"], ""));
    let told = all_work(
        &lab,
        &["psql -c 'SELECT id FROM orders'"],
        &[("PGHOST", "127.0.0.1"), ("PGPORT", &port), ("PGUSER", "postgres")],
    );
    assert!(told[0].contains("(1 row)"), "{}", told[0]);
}

#[test]
fn what_a_program_may_reach_stands_in_its_proof() {
    if !ready(&["true"]) {
        return;
    }
    let lab = Lab::new(&token(&["true"], ""));
    let ended: Ended = lab.replay(&[call("shell_sh", json!({"command": "true"})), done()]).go();
    assert_eq!(ended.proofs()[0]["tier"], "A");
}
