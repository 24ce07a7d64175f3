//! `check`, `test`, `tools` and `schema`.

use serde_json::json;

use super::{lar, shows_everything};
use crate::support::{Lab, script, shell};

const PODS: &str = r#"
[[token]]
kind = "shell"
name = "pods"
allowed = ["kubectl get pods"]
max_uses = 2
allows = ["kubectl get pods -n prod"]
refuses = ["kubectl delete pod web-0", "kubectl get pods; rm -rf /"]

[[token]]
kind = "http"
name = "health"
url = "https://api.internal/health"
methods = ["GET"]
allows = ['{"method": "GET"}']
refuses = ['{"method": "POST"}', '{"method": "GET", "url": "https://evil.example"}']
"#;

#[test]
fn check_says_the_worst_and_where_programs_are() {
    let lab = Lab::new("");
    script(&lab, "tool", "exit 0");
    lab.write(
        "manifest.toml",
        lab.read("manifest.toml")
            + "[[token]]\nkind = \"shell\"\nname = \"own\"\nallowed = [\"./tool\", \"no-such-program-here\"]\n",
    );
    let ended = lar(&lab, &["check", "manifest.toml"]).exits(0);
    for part in [
        "own (shell_own): 1 time",
        "can run `./tool`",
        "there is no program `no-such-program-here`",
    ] {
        assert!(ended.stdout.contains(part), "{part}\n{}", ended.stdout);
    }
    assert!(ended.stdout.contains(&lab.path("tool").canonicalize().unwrap().to_string_lossy()[..]));
    assert!(ended.stderr.contains("is valid"), "{}", ended.stderr);

    let value = lar(&lab, &["check", "manifest.toml", "--json"]).exits(0).json();
    assert_eq!(value["valid"], true);
    assert_eq!(value["report"]["tokens"][0]["tool"], "shell_own");
    let programs = value["programs"].as_array().unwrap();
    assert_eq!(programs.len(), 2);
    let missing = programs.iter().find(|one| one["program"] == "no-such-program-here").unwrap();
    assert_eq!((&missing["path"], &missing["tokens"]), (&json!(null), &json!(["own"])));
    assert!(missing["problem"].as_str().unwrap().contains("install it"));
}

#[test]
fn warnings_fail_only_when_asked_to() {
    let lab = Lab::new(&shell(&["bash -c"], ""));
    let ended = lar(&lab, &["check", "manifest.toml"]).exits(0);
    assert!(ended.stdout.contains("warning: "), "{}", ended.stdout);
    lar(&lab, &["check", "manifest.toml", "--strict"]).exits(1);
    let value = lar(&lab, &["check", "manifest.toml", "--strict", "--json"]).exits(1).json();
    assert_eq!(value["report"]["tokens"][0]["warnings"][0]["code"], "wide-prefix");
}

#[test]
fn an_invalid_manifest_is_pointed_at() {
    let lab = Lab::whole("[budget]\nmax_steps = 1\ntimeout = \"1m\"\nmax_stepz = 2\n");
    let ended = lar(&lab, &["check", "manifest.toml"]).exits(2);
    assert!(ended.stderr.contains("manifest.toml:4:1"), "{}", ended.stderr);
    assert_eq!(ended.stdout, "");
    let value = lar(&lab, &["check", "manifest.toml", "--json"]).exits(2).json();
    assert_eq!((&value["valid"], &value["diagnostics"][0]["line"]), (&json!(false), &json!(4)));

    lab.write("manifest.toml", b"[budget]\n\xff\x1b]0;evil\x07".as_slice());
    let ended = lar(&lab, &["check", "manifest.toml"]).exits(2);
    shows_everything(&ended.stderr);
    assert!(std::process::Command::new("mkfifo").arg(lab.path("pipe")).status().unwrap().success());
    for (args, says) in [
        (&["check", "none.toml"][..], "can't be read"),
        (&["test", "none.toml"], "can't be read"),
        (&["tools", "none.toml"], "can't be read"),
        (&["try", "none.toml", "x", "{}"], "can't be read"),
        (&["check", "."], "is not a regular file"),
        // Nobody writes into it: to read it is to wait for ever.
        (&["check", "pipe"], "is not a regular file"),
        (&["run", "pipe"], "is not a regular file"),
        (&["check", "/dev/zero", "--json"], ""),
    ] {
        let ended = lar(&lab, args).exits(2);
        assert!(ended.stderr.contains(says), "{args:?}: {}", ended.stderr);
    }
    let value = lar(&lab, &["check", "none.toml", "--json"]).exits(2).json();
    assert!(value["diagnostics"][0]["message"].as_str().unwrap().contains("can't be read"));
}

#[test]
fn examples_are_tests() {
    let lab = Lab::new(PODS);
    let ended = lar(&lab, &["test", "manifest.toml"]).exits(0);
    assert!(ended.stdout.contains("6 passed, 0 failed"), "{}", ended.stdout);

    let wrong = "[[candidate]]\nkind = \"shell\"\nname = \"late\"\nallowed = [\"git status\"]\n\
        allows = [\"git push\"]\nrefuses = [\"git status -s\", \"git diff \\u202e\"]\n\
        [[token]]\nkind = \"wait\"\nname = \"bare\"\nmax_seconds = 3\n";
    lab.write("manifest.toml", lab.read("manifest.toml") + wrong);
    let ended = lar(&lab, &["test", "manifest.toml"]).exits(5);
    shows_everything(&ended.stdout);
    for part in [
        "FAIL allows  git push",
        "CommandNotAllowedError: ",
        "FAIL refuses git status -s",
        "it is allowed; narrow the token",
        "untested bare: no examples",
        "7 passed, 2 failed",
    ] {
        assert!(ended.stdout.contains(part), "{part}\n{}", ended.stdout);
    }
    let value = lar(&lab, &["test", "manifest.toml", "--json"]).exits(5).json();
    assert_eq!((&value["passed"], &value["failed"]), (&json!(7), &json!(2)));
    assert_eq!(value["untested"], json!(["bare"]));
    let failed: Vec<_> =
        value["examples"].as_array().unwrap().iter().filter(|one| one["ok"] == false).collect();
    assert_eq!(failed[0]["error"], "CommandNotAllowedError");
    assert_eq!((&failed[1]["expected"], &failed[1]["decision"]), (&json!("deny"), &json!("allow")));
}

#[test]
fn tools_are_those_that_the_model_will_see() {
    let lab = Lab::new(PODS);
    let names = |lab: &Lab| -> Vec<String> {
        let value = lar(lab, &["tools", "manifest.toml", "--json"]).exits(0).json();
        let tools = value.as_array().unwrap().clone();
        for tool in &tools {
            assert_eq!(tool["input_schema"]["type"], "object");
            assert!(!tool["description"].as_str().unwrap().is_empty());
        }
        tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&lab), ["shell_pods", "health", "request_approval"]);
    let candidate = "[[candidate]]\nkind = \"wait\"\nname = \"w\"\nmax_seconds = 3\n";
    lab.write("manifest.toml", lab.read("manifest.toml") + candidate);
    assert_eq!(names(&lab), ["shell_pods", "health", "request_approval", "request_capability"]);
    let ended = lar(&lab, &["tools", "manifest.toml"]).exits(0);
    assert!(ended.stdout.contains("command (string)"), "{}", ended.stdout);
    assert!(ended.stdout.contains("2 of 2 uses are left"), "{}", ended.stdout);
    assert!(ended.stdout.contains("method (\"GET\")"), "{}", ended.stdout);
}

#[test]
fn the_schema_is_the_committed_one() {
    let ended = lar(&Lab::new(""), &["schema"]).exits(0);
    assert_eq!(ended.stdout, include_str!("../../../../../docs/manifest.schema.json"));
}
