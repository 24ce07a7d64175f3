//! The examples are what a newcomer runs first, so they must hold.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::pty::Terminal;
use crate::support::{LAR, Lab, Run};

const ALL: [&str; 5] =
    ["release-gate", "staged-deploy", "sre-triage", "scoped-database", "multi-cloud"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn lar(args: &[&str]) -> std::process::Output {
    std::process::Command::new(LAR).args(args).current_dir(root()).output().unwrap()
}

#[test]
fn every_manifest_is_valid_and_passes_its_own_examples() {
    for name in ALL {
        let manifest = format!("examples/{name}/manifest.toml");
        for command in ["check", "test", "tools"] {
            let ended = lar(&[command, &manifest]);
            assert!(ended.status.success(), "{command} {name}: {ended:?}");
        }
    }
}

/// What a newcomer copies must go on working, so that nothing shipped names a model of its own.
#[test]
fn everything_shipped_names_the_default_model() {
    let ours = linear_agentics::model::DEFAULT_MODEL;
    let mut files = vec![root().join("README.md"), root().join("docs/manifest.md")];
    files.push(root().join("docs/manifest.schema.json"));
    files.extend(ALL.map(|name| root().join(format!("examples/{name}/manifest.toml"))));
    for place in ["crates/lar/src/templates", "examples/loops", "python/linear_agentics"] {
        let entries = std::fs::read_dir(root().join(place)).unwrap();
        files.extend(entries.map(|entry| entry.unwrap().path()).filter(|path| {
            path.extension().is_some_and(|kind| ["toml", "py", "pyi"].iter().any(|k| kind == *k))
        }));
    }
    let mut named = 0;
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for (at, _) in text.match_indices("claude-") {
            let name: &str = &text[at..];
            let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '-');
            let name = &name[..end.unwrap_or(name.len())];
            if name.ends_with(|c: char| c.is_ascii_digit()) {
                assert_eq!(name, ours, "{}", file.display());
                named += 1;
            }
        }
    }
    assert!(named >= 15, "only {named} places name a model");
}

#[test]
fn every_call_of_a_session_is_one_that_its_manifest_knows() {
    for name in ALL {
        let session = root().join(format!("examples/{name}/session.jsonl"));
        let manifest = format!("examples/{name}/manifest.toml");
        let turns = std::fs::read_to_string(session).unwrap();
        let turns: Vec<Value> =
            turns.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let blocks = turns.iter().flat_map(|turn| turn["content"].as_array().unwrap());
        let calls: Vec<&Value> = blocks.filter(|block| block["type"] == "tool_use").collect();
        assert!(calls.len() >= 3, "{name} shows too little");
        let mut allowed = 0;
        for call in calls {
            let (tool, input) = (call["name"].as_str().unwrap(), call["input"].to_string());
            if tool.starts_with("request_") {
                continue;
            }
            let ended = lar(&["try", &manifest, "--with-candidates", tool, &input]);
            let answer: Value = serde_json::from_slice(&ended.stdout).unwrap();
            assert_ne!(answer["error"], "UnknownToolError", "{name}: {answer}");
            assert_ne!(answer["error"], "InvalidInputError", "{name}: {answer}");
            allowed += i32::from(answer["decision"] == "allow");
        }
        assert!(allowed >= 3, "{name} gets little done");
        assert_eq!(turns.last().unwrap()["stop_reason"], "end_turn", "{name}");
    }
}

#[test]
fn the_release_gate_runs_as_the_readme_says() {
    if root().join(".git").is_file() {
        crate::support::skip(
            "this checkout is a linked worktree, whose git data lies outside of it",
        );
        return;
    }
    let lab = Lab::new("");
    let (audit, ledger) = (lab.path("audit.json"), lab.path("ledger.db"));
    let mut run = Run::at(
        &root(),
        &[
            "run",
            "examples/release-gate/manifest.toml",
            "--replay",
            "examples/release-gate/session.jsonl",
            "--audit",
            audit.to_str().unwrap(),
            "--ledger",
            ledger.to_str().unwrap(),
        ],
    );
    // Cargo finds its toolchain by these.
    for name in ["HOME", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"] {
        if let Ok(value) = std::env::var(name) {
            run = run.env(name, &value);
        }
    }
    let mut person = Terminal::start(&run);
    // A no, so that the checkout stays as it was; the gate doesn't require its report.
    person.answer("no");
    let ended = person.wait().exits(0);
    let trail: Value = serde_json::from_str(&lab.read("audit.json")).unwrap();
    let outcomes: Vec<&Value> =
        trail["proofs"].as_array().unwrap().iter().map(|proof| &proof["outcome"]).collect();
    assert_eq!(outcomes, [&json!("succeeded"); 5], "{trail:#}\n{}", ended.stderr);
    let refused = trail["errors"].as_array().unwrap();
    let types: Vec<&Value> = refused.iter().map(|error| &error["error_type"]).collect();
    assert_eq!(types, ["CommandNotAllowedError", "ApprovalDeniedError"]);
    assert_eq!(trail["run"]["stop_reason"], "complete");
}
