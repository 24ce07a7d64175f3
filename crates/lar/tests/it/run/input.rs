//! Tool inputs that are not what a tool takes: each is refused, recorded, and the run goes on.

use serde_json::{Value, json};
use standin::Reply;
use standin::messages::Server;

use crate::support::{Lab, call, command, done, shell};

fn tables() -> String {
    format!(
        "{}[[token]]\nkind = \"file\"\nname = \"notes\"\nallowed_paths = [\"notes\"]\nmode = \"readwrite\"\nmax_uses = 9\n\
         [[token]]\nkind = \"http\"\nname = \"page\"\nurl = \"http://127.0.0.1:9/\"\nmethods = [\"GET\", \"POST\"]\n\
         [[token]]\nkind = \"wait\"\nname = \"pause\"\nmax_seconds = 3\n",
        shell(&["echo"], "max_uses = 9")
    )
}

/// Runs one call after another and then a good one; returns the complaints about the others.
fn refused(calls: &[(&str, Value)]) -> Vec<String> {
    let lab = Lab::new(&tables());
    let mut turns: Vec<Value> =
        calls.iter().map(|(tool, input)| call(tool, input.clone())).collect();
    turns.extend([command("echo still here"), done()]);
    let ended = lab.replay(&turns).go().exits(0);
    assert_eq!(ended.outcomes(), ["succeeded"], "the run goes on, and only the good call spends");
    let complaints = ended.complaints();
    assert_eq!(complaints.len(), calls.len(), "{complaints:#?}");
    complaints
}

#[test]
fn what_does_not_fit_is_refused_by_the_name_of_its_field() {
    let cases = [
        ("shell_sh", json!({"command": 7}), "command"),
        ("shell_sh", json!({"command": ["echo", "x"]}), "command"),
        ("shell_sh", json!({"command": null}), "command"),
        ("shell_sh", json!({}), "command"),
        ("shell_sh", json!({"command": "echo x", "timeout": 9}), "timeout"),
        ("shell_sh", json!({"command": "echo \u{0}x"}), "command"),
        ("shell_sh", json!({"method": "GET", "body": {}}), "command"),
        ("file_notes", json!({"operation": "read"}), "path"),
        ("file_notes", json!({"operation": "chmod", "path": "x"}), "operation"),
        ("file_notes", json!({"operation": "write", "path": "x"}), "content"),
        ("file_notes", json!({"operation": "write", "path": "x", "content": {"a": 1}}), "content"),
        ("file_notes", json!({"operation": "read", "path": "x", "content": "y"}), "content"),
        ("file_notes", json!({"command": "echo x"}), "operation"),
        ("page", json!({"method": 1}), "method"),
        ("page", json!({"body": {}}), "method"),
        ("page", json!({"method": "GET", "url": "http://evil/"}), "url"),
        ("page", json!({"method": "GET", "headers": {"a": "b"}}), "headers"),
        ("wait_pause", json!({"seconds": -1}), "seconds"),
        ("wait_pause", json!({"seconds": 1.5}), "seconds"),
        ("wait_pause", json!({"seconds": "1"}), "seconds"),
        ("wait_pause", json!({"seconds": 18_446_744_073_709_551_615_u64}), "seconds"),
    ];
    let calls: Vec<_> = cases.iter().map(|(tool, input, _)| (*tool, input.clone())).collect();
    for ((tool, input, field), complaint) in cases.iter().zip(refused(&calls)) {
        assert!(complaint.starts_with("InvalidInputError"), "{tool} {input}: {complaint}");
        assert!(complaint.contains(&format!("`{field}`")), "{tool} {input}: {complaint}");
    }
}

#[test]
fn an_input_that_is_no_object_is_refused() {
    let inputs = [json!(["echo x"]), json!("echo x"), json!(7), json!(true), Value::Null];
    let calls: Vec<_> = inputs.iter().map(|input| ("shell_sh", input.clone())).collect();
    for (input, complaint) in inputs.iter().zip(refused(&calls)) {
        assert!(complaint.starts_with("InvalidInputError"), "{input}: {complaint}");
        assert!(complaint.contains("JSON object"), "{input}: {complaint}");
    }
}

#[test]
fn an_unknown_tool_is_named_with_those_there_are() {
    let names = ["sh", "SHELL_SH", "shell_sh ", "bash", "deploy_sh/rollback", "\u{1b}[2Jx"];
    let calls: Vec<_> = names.iter().map(|name| (*name, json!({"command": "echo x"}))).collect();
    let turns: Vec<Value> = calls.iter().map(|(name, input)| call(name, input.clone())).collect();
    let lab = Lab::new(&tables());
    let ended = lab.replay(&[turns, vec![done()]].concat()).go().exits(0);
    assert!(ended.proofs().is_empty());
    for (name, complaint) in names.iter().zip(ended.complaints()) {
        assert!(complaint.starts_with("UnknownToolError"), "{name}: {complaint}");
        assert!(complaint.contains("`shell_sh`") && complaint.contains("`page`"), "{complaint}");
    }
}

#[test]
fn size_and_depth_are_limited() {
    let text = "x".repeat(10 << 20);
    let deep = |depth: usize| {
        let text = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let complaints = refused(&[
        ("shell_sh", json!({"command": format!("echo {text}")})),
        ("shell_sh", json!({"command": "echo", text.as_str(): 1})),
        ("page", json!({"method": "POST", "body": text})),
        ("file_notes", json!({"operation": "write", "path": "x", "content": text})),
        ("file_notes", json!({"operation": "read", "path": text})),
        ("page", json!({"method": "POST", "body": deep(100)})),
    ]);
    for complaint in &complaints {
        assert!(complaint.len() < 1_500, "{} bytes: {:.300}", complaint.len(), complaint);
    }
    assert!(
        complaints[5].contains("nested") || complaints[5].contains("deep"),
        "{}",
        complaints[5]
    );
}

#[test]
fn a_command_that_is_too_long_for_the_record_is_only_refused() {
    for length in [30_000, 66_000, 130_000, 200_000] {
        let lab = Lab::new(&tables());
        let long = command(&format!("echo {}", "x".repeat(length)));
        let ended = lab.replay(&[long, command("echo still here"), done()]).go().exits(0);
        assert_eq!(ended.outcomes().last().map(String::as_str), Some("succeeded"), "{length}");
        assert_eq!(ended.proofs().len() + ended.errors().len(), 2, "{length}");
    }
}

#[test]
fn what_only_bytes_can_say_is_refused() {
    let inputs = [
        (r#"{"command": "echo a", "command": "echo b"}"#, "command"),
        (r#"{"command": "echo a", "c\u006fmmand": "echo b"}"#, "command"),
        (r#"{"command": "echo \ud800"}"#, ""),
        (r#"{"command": "echo \u0000"}"#, ""),
        (r#"{"command": "echo a",}"#, ""),
        (r#"{"command": "echo a""#, ""),
        (r#"{'command': 'echo a'}"#, ""),
        (r#"{"command": NaN}"#, ""),
    ];
    let mut replies: Vec<Reply> = Vec::new();
    for (at, (text, _)) in inputs.iter().enumerate() {
        let id = format!("toolu_{at}");
        replies.push(Reply::tool_use(&id, "shell_sh", json!({})).input_text(0, text));
    }
    replies.push(Reply::text("I give up."));
    let server = Server::start(replies);
    let ended = Lab::new(&tables()).against(&server).go().exits(0);
    assert_eq!(server.refusals(), Vec::<String>::new(), "what is echoed is what the API takes");
    assert_eq!(server.remaining(), 0);
    assert!(ended.proofs().is_empty());
    let complaints = ended.complaints();
    assert_eq!(complaints.len(), inputs.len(), "{complaints:#?}");
    for ((text, field), complaint) in inputs.iter().zip(complaints) {
        assert!(complaint.starts_with("InvalidInputError"), "{text}: {complaint}");
        assert!(complaint.contains(field), "{text}: {complaint}");
    }
}

#[test]
fn a_session_file_with_odd_bytes_is_refused_with_its_line() {
    let lab = Lab::new(&tables());
    let good = command("echo x").to_string();
    let bad: [&[u8]; 4] =
        [b"\xff\xfe", b"{", b"[]", b"{\"content\": [], \"stop_reason\": \"end_turn\"}"];
    for line in bad {
        lab.write("session.jsonl", [good.as_bytes(), b"\n", line, b"\n"].concat());
        let ended = lab.run().args(["--replay", "session.jsonl"]).go().exits(1);
        let error = ended.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains("line 2"), "{line:?}: {error}");
        assert_eq!(ended.outcomes(), ["succeeded"], "the trail is intact");
    }
}
