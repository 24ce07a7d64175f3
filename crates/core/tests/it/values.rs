//! Options that may stand before what a prefix names, with the real programs: the word after an option must be
//! its value or an operand as the profile says. Were it otherwise, a word of the prefix could become a value, or
//! a value an operand that the prefix doesn't name.

use std::path::Path;
use std::process::{Command, Stdio};

/// A file, a subcommand or a target of that name is nowhere.
const NOWHERE: &str = "no-such-word";

/// A program, what it needs between the option and an operand, and how it says that an operand is nowhere.
const PROGRAMS: [(&str, &[&str], &str); 26] = [
    ("cat", &[], "No such file"),
    ("head", &[], "No such file"),
    ("tail", &[], "No such file"),
    ("grep", &["x"], "No such file"),
    ("sed", &["p"], "No such file"),
    ("awk", &["{print}"], "o such file"),
    ("sort", &[], "No such file"),
    ("uniq", &[], "No such file"),
    ("cut", &["-f1"], "No such file"),
    ("jq", &["."], "No such file"),
    ("wc", &[], "No such file"),
    ("ls", &[], "No such file"),
    ("df", &[], "No such file"),
    ("du", &[], "No such file"),
    ("stat", &[], "No such file"),
    ("file", &[], "No such file"),
    ("diff", &["Cargo.toml"], "No such file"),
    ("tar", &["-tf"], "No such file"),
    ("cp", &["-t", "."], "No such file"),
    ("mv", &["-t", "."], "No such file"),
    ("git", &[], "is not a git command"),
    ("git log", &[], "unknown revision"),
    ("git show", &[], "unknown revision"),
    ("git diff", &[], "unknown revision"),
    ("kubectl", &[], "unknown command|before plugin name"),
    ("make", &[], "No rule to make target"),
];

/// Options after which a program says nothing of an operand that is nowhere.
const SILENT: [(&str, &str); 7] = [
    ("diff", "-N"),
    ("diff", "--new-file"),
    ("grep", "-s"),
    ("grep", "--no-messages"),
    ("jq", "-n"),
    ("jq", "--null-input"),
    ("make", "-k"),
];

/// The options of a program's or a subcommand's `before`, and whether each takes the next word for its value.
fn options(program: &str) -> Vec<(String, bool)> {
    let (program, command) = program.split_once(' ').unwrap_or((program, ""));
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../profiles");
    let mut files = std::fs::read_dir(directory).unwrap().map(|entry| {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        text.parse::<toml::Table>().unwrap()
    });
    let root = files.find_map(|mut file| file.remove(program)).unwrap();
    let node = if command.is_empty() { &root } else { &root["command"][command] };
    let mut tables: Vec<_> = node.get("flags").into_iter().collect();
    for set in node.get("uses").and_then(toml::Value::as_array).into_iter().flatten() {
        tables.push(&root["sets"][set.as_str().unwrap()]);
    }
    tables.push(&root["flags"]);
    let mut lists = Vec::new();
    for list in tables.into_iter().flat_map(|table| table.as_table().unwrap().values()) {
        match list {
            toml::Value::String(list) => lists.push(list.as_str()),
            by_choice => {
                let by_choice = by_choice.as_table().unwrap();
                lists.extend(by_choice.values().flat_map(toml::Value::as_str));
            }
        }
    }
    let words = lists.iter().flat_map(|list| list.split_ascii_whitespace());
    let takes = |name: &str| {
        words.clone().find_map(|word| {
            let end = word.find(['=', '?']).unwrap_or(word.len());
            let is_it = word[..end].split('|').any(|one| one == name);
            is_it.then(|| word[end..].starts_with('='))
        })
    };
    let before = node["before"].as_str().unwrap();
    let names = before.split([' ', '|', '\n']).filter(|name| !matches!(*name, "" | "-#"));
    names.map(|name| (name.to_owned(), takes(name).unwrap())).collect()
}

fn says(program: &str, words: &[&str]) -> String {
    let mut command = Command::new("timeout");
    command.args(["--signal=KILL", "2"]).args(program.split(' ')).args(words).stdin(Stdio::null());
    let output = command.env("LC_ALL", "C").output().unwrap();
    [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat()
}

#[test]
fn what_may_stand_before_a_prefixs_words_takes_the_values_that_real_programs_take() {
    let mut wrong = Vec::new();
    for (program, between, nowhere) in PROGRAMS {
        let (file, _) = program.split_once(' ').unwrap_or((program, ""));
        if Command::new(file).arg("--version").stdin(Stdio::null()).output().is_err() {
            eprintln!("skipped: `{program}` is not installed");
            continue;
        }
        let is_named = |words: &[&str]| {
            let said = says(program, words);
            nowhere.split('|').any(|nowhere| said.contains(nowhere))
        };
        let alone: Vec<&str> = between.iter().copied().chain([NOWHERE]).collect();
        if !is_named(&alone) {
            eprintln!("skipped: this `{program}` says nothing of `{nowhere}`");
            continue;
        }
        for (option, takes_value) in options(program) {
            if SILENT.contains(&(program, option.as_str())) {
                continue;
            }
            let is_wrong = match takes_value {
                true => is_named(&[&option, NOWHERE]),
                false => {
                    let words = [&[option.as_str()][..], &alone].concat();
                    !is_named(&words)
                }
            };
            if is_wrong {
                wrong.push(format!("{program} {option} (takes a value: {takes_value})"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
