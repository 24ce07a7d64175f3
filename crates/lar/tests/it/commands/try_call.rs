//! `try`.

use serde_json::{Value, json};

use super::{lar, lar_with, shows_everything};
use crate::support::{Ended, Lab, call, done};

const TOKENS: &str = r#"
[[token]]
kind = "shell"
name = "touch"
allowed = ["touch"]
requires_approval = true

[[token]]
kind = "file"
name = "notes"
allowed_paths = ["notes"]
mode = "readwrite"

[[token]]
kind = "deploy"
name = "prod"
method = "command"
target = "prod"
image = "registry.internal/app:v2"
argv = ["no-such-program-here", "{image}"]
rollback_to = "registry.internal/app:v1"
rollback_argv = ["no-such-program-here", "{image}"]

[[candidate]]
kind = "wait"
name = "later"
max_seconds = 5
"#;

fn lines(ended: &Ended) -> Vec<Value> {
    ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn an_allowed_call_is_shown_and_nothing_happens() {
    let lab = Lab::new(TOKENS);
    let args = ["try", "manifest.toml", "shell_touch", r#"{"command":"touch 'made here'"}"#];
    let answer = lar(&lab, &args).exits(0).json();
    assert_eq!(answer["decision"], "allow");
    assert_eq!((&answer["error"], &answer["requires_approval"]), (&Value::Null, &json!(true)));
    assert_eq!(answer["action"]["argv"], json!(["touch", "made here"]));
    assert!(answer["resolved"].as_str().unwrap().ends_with("/touch"));
    assert_eq!(answer["digest"].as_str().unwrap().len(), 64);
    assert_eq!(answer.get("warning"), None);
    let mut left: Vec<_> =
        std::fs::read_dir(lab.dir()).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["manifest.toml", "out"], "no effect, no ledger");
}

#[test]
fn a_denied_call_says_why() {
    let lab = Lab::new(TOKENS);
    for (tool, input, error, says) in [
        ("shell_touch", r#"{"command":"touch a; rm b"}"#, "CommandNotAllowedError", "`;`"),
        ("shell_touch", r#"{"command":"rm a"}"#, "CommandNotAllowedError", "touch"),
        ("shell_touch", r#"{"path":"a"}"#, "InvalidInputError", "command"),
        (
            "shell_touch",
            r#"{"command":"touch a","command":"rm a"}"#,
            "InvalidInputError",
            "command",
        ),
        ("shell_touch", "[1", "InvalidInputError", ""),
        ("file_notes", r#"{"operation":"read","path":"/etc/shadow"}"#, "FileAccessError", "notes"),
        ("file_notes", r#"{"operation":"read","path":"notes/../../x"}"#, "FileAccessError", ""),
        ("shell_none", "{}", "UnknownToolError", "shell_touch"),
        ("wait_later", r#"{"seconds":1}"#, "UnknownToolError", ""),
        ("request_approval", r#"{"message":"please"}"#, "UnknownToolError", ""),
        // The way back is the runtime's own to take.
        ("rollback prod/rollback", "{}", "UnknownToolError", ""),
    ] {
        let answer = lar(&lab, &["try", "manifest.toml", tool, input]).exits(5).json();
        assert_eq!(answer["decision"], "deny", "{tool} {input}");
        assert_eq!(answer["error"], error, "{tool} {input}: {answer}");
        assert!(answer["message"].as_str().unwrap().contains(says), "{answer}");
        assert_eq!(answer.get("action"), None);
    }
    let args = ["try", "manifest.toml", "wait_later", r#"{"seconds":1}"#, "--with-candidates"];
    assert_eq!(lar(&lab, &args).exits(0).json()["action"]["seconds"], 1);
}

#[test]
fn what_is_not_installed_is_a_warning() {
    let lab = Lab::new(TOKENS);
    let answer = lar(&lab, &["try", "manifest.toml", "deploy_prod", "{}"]).exits(0).json();
    assert_eq!(answer["decision"], "allow");
    assert!(answer["warning"].as_str().unwrap().contains("no program `no-such-program-here`"));
}

#[test]
fn words_of_which_nothing_is_known_are_a_warning_and_known_ones_are_judged() {
    let own = "[mytool]\nflags.harmless = \"-v\"\n";
    let token =
        "[[token]]\nkind = \"shell\"\nname = \"t\"\nallowed = [\"mytool run\", \"git log\"]\n";
    let lab = Lab::new(token);
    let ask = |lab: &Lab, command: &str, exit: i32| {
        let input = json!({ "command": command }).to_string();
        lar(lab, &["try", "manifest.toml", "shell_t", &input]).exits(exit).json()
    };
    let answer = ask(&lab, "mytool run --anything", 0);
    let warning = answer["warning"].as_str().unwrap();
    assert!(warning.contains("nothing is known of `mytool`"), "{warning}");
    let answer = ask(&lab, "git log --output=f", 5);
    let message = answer["message"].as_str().unwrap();
    assert!(
        message.contains("`--output=f` at character 9 of `git log --output=f` would write a file")
            && message.contains("`mytool run` or `git log`"),
        "{message}"
    );
    let lab = Lab::new(&format!("[[profile]]\nfile = \"own.toml\"\n\n{token}"));
    std::fs::write(lab.dir().join("own.toml"), own).unwrap();
    assert!(
        ask(&lab, "mytool run --anything", 5)["message"].as_str().unwrap().contains("not known")
    );
    let warning = ask(&lab, "mytool run -v", 0)["warning"].as_str().unwrap_or_default().to_owned();
    assert!(!warning.contains("nothing is known"), "{warning}");
}

#[test]
fn the_digest_is_the_one_that_a_run_records() {
    let lab = Lab::new("[[token]]\nkind = \"shell\"\nname = \"t\"\nallowed = [\"echo\"]\n");
    let input = json!({"command": "echo 'a b' c"});
    let answer =
        lar(&lab, &["try", "manifest.toml", "shell_t", &input.to_string()]).exits(0).json();
    let ended = lab.replay(&[call("shell_t", input), done()]).go().exits(0);
    let proof = ended.proofs().remove(0);
    assert_eq!(proof["action_digest"], answer["digest"]);
    assert_eq!(proof["args"], answer["action"]);
}

#[test]
fn many_calls_are_judged_each_as_the_first() {
    let lab = Lab::new(TOKENS);
    let good = r#"{"tool":"shell_touch","input":{"command":"touch a"}}"#;
    let input = format!("{good}\n\n  \n{good}\r\n{good}");
    let ended = lar_with(&lab, &["try", "manifest.toml", "--jsonl"], input.as_bytes()).exits(0);
    let answers = lines(&ended);
    let numbers: Vec<_> = answers.iter().map(|one| one["line"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [1, 4, 5], "a use is never used up, and blank lines are no calls");
    assert!(answers.iter().all(|one| one["digest"] == answers[0]["digest"]));

    let many = format!("{good}\n").repeat(10_000);
    let ended = lar_with(&lab, &["try", "manifest.toml", "--jsonl"], many.as_bytes()).exits(0);
    assert_eq!(ended.stdout.lines().count(), 10_000);
    let none = lar_with(&lab, &["try", "manifest.toml", "--jsonl"], b"").exits(0);
    assert_eq!(none.stdout, "");
}

#[test]
fn hostile_lines_get_an_answer_each_and_the_next_is_read() {
    let lab = Lab::new(TOKENS);
    let deep = format!(
        r#"{{"tool":"shell_touch","input":{}1{}}}"#,
        r#"{"a":"#.repeat(50_000),
        "}".repeat(50_000)
    );
    let long = format!(
        r#"{{"tool":"shell_touch","input":{{"command":"touch {}"}}}}"#,
        "a".repeat(5 << 20)
    );
    let wide = format!(r#"{{"tool":"{}","input":{{}}}}"#, "t\\u202e".repeat(200_000));
    let bad: Vec<&[u8]> = vec![
        b"not json \x1b]0;x\x07",
        b"{\"tool\":\"shell_touch\"",
        b"{\"tool\":\"shell_touch\"}",
        b"{\"input\":{}}",
        b"{\"tool\":7,\"input\":{}}",
        b"{\"tool\":\"shell_touch\",\"input\":{},\"extra\":1}",
        b"{\"tool\":\"a\",\"tool\":\"shell_touch\",\"input\":{\"command\":\"touch a\"}}",
        b"{\"tool\":\"shell_touch\",\"input\":{\"command\":\"rm a\"},\"input\":{\"command\":\"touch a\"}}",
        b"{\"tool\":\"shell_touch\",\"input\":{\"command\":\"rm\",\"command\":\"touch\"}}",
        b"{\"tool\":\"shell_touch\",\"input\":{\"command\":\"touch \xff\"}}",
        b"{\"tool\":\"shell_touch\",\"input\":{\"command\":\"touch \\u0000\"}}",
        b"{\"tool\":\"shell_touch\",\"input\":{\"command\":\"touch \\ud800\"}}",
        b"{\"tool\":\"\\ud800\",\"input\":{}}",
        b"\xef\xbb\xbf{\"tool\":\"shell_touch\",\"input\":{\"command\":\"touch a\"}}",
        b"[\"shell_touch\",{\"command\":\"touch a\"}]",
        b"null",
        b"\x00",
        deep.as_bytes(),
        long.as_bytes(),
        wide.as_bytes(),
    ];
    let good =
        b"{\"tool\":\"shell_touch\",\"input\":{\"command\":\"touch '\xe2\x80\xae' '\xc2\x9b31m'\"}}";
    let mut input = bad.join(&b'\n');
    input.push(b'\n');
    input.extend_from_slice(good);
    let ended = lar_with(&lab, &["try", "manifest.toml", "--jsonl"], &input).exits(5);
    shows_everything(&ended.stdout);
    let answers = lines(&ended);
    assert_eq!(answers.len(), bad.len() + 1);
    for (index, answer) in answers.iter().enumerate().take(bad.len()) {
        assert_eq!(answer["line"], index as u64 + 1);
        assert_eq!(answer["decision"], "deny", "{answer}");
        let error = answer["error"].as_str().unwrap();
        let expected =
            if index == bad.len() - 1 { "UnknownToolError" } else { "InvalidInputError" };
        assert_eq!(error, expected, "{answer}");
        assert!(answer.to_string().len() < 2_000, "line {index}");
    }
    assert!(answers[0]["message"].as_str().unwrap().contains("line 1"));
    let last = answers.last().unwrap();
    assert_eq!(last["action"]["argv"], json!(["touch", "\u{202e}", "\u{9b}31m"]));
}

#[test]
fn the_command_line_is_checked() {
    let lab = Lab::new(TOKENS);
    for args in [
        &["try", "manifest.toml"][..],
        &["try", "manifest.toml", "shell_touch"],
        &["try", "manifest.toml", "shell_touch", "{}", "--jsonl"],
        &["try"],
    ] {
        lar(&lab, args).exits(2);
    }
}

#[test]
fn a_file_that_leads_elsewhere_is_denied_and_one_that_is_missing_is_a_warning() {
    let lab = Lab::new(TOKENS);
    std::fs::create_dir_all(lab.path("notes/dir")).unwrap();
    lab.write("outside", "not for you");
    lab.write("notes/plain", "x");
    std::os::unix::fs::symlink("plain", lab.path("notes/inside")).unwrap();
    std::os::unix::fs::symlink("../outside", lab.path("notes/link")).unwrap();
    std::os::unix::fs::symlink("..", lab.path("notes/up")).unwrap();
    std::fs::hard_link(lab.path("outside"), lab.path("notes/twice")).unwrap();
    assert!(
        std::process::Command::new("mkfifo")
            .arg(lab.path("notes/fifo"))
            .status()
            .unwrap()
            .success()
    );
    let judged = |operation: &str, path: &str| {
        let mut input = json!({"operation": operation, "path": path});
        if operation == "write" {
            input["content"] = json!("x");
        }
        let input = input.to_string();
        let ended = lar(&lab, &["try", "manifest.toml", "file_notes", &input]);
        ended.json()
    };
    for (operation, path, why) in [
        ("read", "link", "leads outside"),
        ("read", "up/outside", "leads outside"),
        ("read", "fifo", "not a regular file"),
        ("read", "dir", "is a directory"),
        ("write", "up/outside", "leads outside"),
        ("write", "twice", "more than one hard link"),
        ("write", "inside", "symbolic link"),
        ("write", "dir", "not a regular file"),
    ] {
        let answer = judged(operation, path);
        assert_eq!(answer["decision"], "deny", "{operation} {path}: {answer}");
        assert_eq!(answer["error"], "FileAccessError");
        assert!(answer["message"].as_str().unwrap().contains(why), "{operation} {path}: {answer}");
    }
    for (operation, path) in
        [("read", "plain"), ("read", "inside"), ("write", "plain"), ("write", "new")]
    {
        let answer = judged(operation, path);
        assert_eq!(
            (&answer["decision"], answer.get("warning")),
            (&json!("allow"), None),
            "{answer}"
        );
    }
    for (operation, path) in [("read", "none"), ("write", "none/new")] {
        let answer = judged(operation, path);
        assert_eq!(answer["decision"], "allow");
        assert!(answer["warning"].as_str().unwrap().contains("no such file"), "{answer}");
    }
}
