//! Commands against allowed prefixes: attacks that must be refused and honest uses that must not be. They
//! are judged the way a run judges them, and what is accepted means the same to real shells.

use std::path::Path;

use lar_core::id::{CallSite, Part, RunId};
use lar_core::invocation::{Invocation, ToolCall};
use lar_core::set::CapabilitySet;
use lar_core::token::ShellToken;

use crate::lexer::compare_as_arguments;

/// Attacks and honest uses of one list of prefixes.
struct Group {
    allowed: Vec<String>,
    honest: Vec<String>,
    attacks: Vec<String>,
}

fn corpus() -> Vec<Group> {
    [
        "shell.toml",
        "shell-manuals.toml",
        "shell-operations.toml",
        "shell-daily.toml",
        "shell-tables.toml",
        "shell-off.toml",
        "shell-respelled.toml",
        "shell-fixed.toml",
        "shell-honest.toml",
    ]
    .into_iter()
    .flat_map(groups)
    .collect()
}

fn groups(file: &str) -> Vec<Group> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/corpus").join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    let table: toml::Table = text.parse().unwrap();
    let list = |group: &toml::Value, key: &str| -> Vec<String> {
        let all = group.get(key).and_then(toml::Value::as_array);
        all.into_iter().flatten().map(|one| one.as_str().unwrap().to_owned()).collect()
    };
    let groups = table["group"].as_array().unwrap().iter();
    groups
        .map(|group| Group {
            allowed: list(group, "allowed"),
            honest: list(group, "honest"),
            attacks: list(group, "attacks"),
        })
        .collect()
}

/// Why a command is refused, or nothing.
fn refusal(set: &CapabilitySet, command: &str) -> Option<String> {
    let input = serde_json::json!({ "command": command }).to_string();
    let call = ToolCall {
        site: CallSite { run: RunId::new("r").unwrap(), turn: 1, index: 0, part: Part::Call },
        tool: "shell_t".to_owned(),
        input,
        rationale: None,
    };
    let judged =
        Invocation::parse(call, set).and_then(|call| set.reserve(call)?.authorize().map(drop));
    judged.err().map(|refusal| refusal.to_string())
}

#[test]
fn no_attack_gets_through_and_no_honest_use_is_refused() {
    let (mut attacks, mut honest) = (0, 0);
    let mut wrong = Vec::new();
    let mut accepted = Vec::new();
    for group in corpus() {
        let token = ShellToken::new("t", group.allowed.iter().cloned()).build();
        let token = token.unwrap_or_else(|error| panic!("{:?}: {error}", group.allowed));
        let set = CapabilitySet::new([token]).unwrap();
        set.mark_reported();
        for command in &group.honest {
            honest += 1;
            match refusal(&set, command) {
                None => accepted.push(command.clone()),
                Some(why) => wrong.push(format!("refused: {command}\n    {why}")),
            }
        }
        for command in &group.attacks {
            attacks += 1;
            if refusal(&set, command).is_none() {
                wrong.push(format!("allowed: {command}\n    by {:?}", group.allowed));
            }
        }
    }
    let count = wrong.len();
    assert!(
        wrong.is_empty(),
        "{count} of {attacks} attacks and {honest} honest uses are judged wrongly\n{}",
        wrong.join("\n")
    );
    println!("{attacks} attacks, {honest} honest uses");
    assert!(attacks + honest >= 400, "{attacks} attacks and {honest} honest uses are too few");
    assert!(honest * 100 >= (attacks + honest) * 40, "{honest} honest uses are too few");
    for batch in accepted.chunks(48) {
        if let Err(error) = compare_as_arguments(batch) {
            panic!("{error}");
        }
    }
}
