//! A secret goes where its token puts it, and comes back nowhere.

use std::io::Write;
use std::sync::{Arc, Mutex};

use serde_json::json;
use standin::Reply;
use standin::messages::Server;

use crate::pty::Terminal;
use crate::support::{Lab, REACH, find_bytes, request, script, serve};

const SECRET: &str = "s3cr3t/Value+with=signs&\"quotes\"";

/// The secret and what programs make of it.
fn forms() -> Vec<String> {
    let output = |program: &str, args: &[&str]| {
        let mut child = std::process::Command::new(program)
            .args(args)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(SECRET.as_bytes()).unwrap();
        let text = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        text.trim().replace(' ', "")
    };
    vec![
        SECRET.to_owned(),
        output("base64", &["-w0"]),
        output("od", &["-An", "-v", "-tx1"]).replace('\n', ""),
        "s3cr3t%2FValue%2Bwith%3Dsigns%26%22quotes%22".to_owned(),
        "s3cr3t/Value+with=signs&\\\"quotes\\\"".to_owned(),
    ]
}

/// Expects none of the forms in any text or file.
#[track_caller]
fn absent(lab: &Lab, texts: &[(&str, &str)]) {
    for form in forms() {
        for (name, text) in texts {
            assert!(!text.contains(&form), "`{form}` is in {name}:\n{text}");
        }
        assert_eq!(find_bytes(lab.dir(), &form), None, "{form}");
    }
}

#[test]
fn a_header_is_injected_and_its_echo_is_redacted_everywhere() {
    let seen = Arc::new(Mutex::new(String::new()));
    let port = serve({
        let seen = Arc::clone(&seen);
        move |mut stream, _| {
            *seen.lock().unwrap() = request(&mut stream);
            // The server is no friend: it says the secret back in every way it knows, and cuts it
            // across pieces.
            let body = forms().join(" | ");
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/{SECRET}\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(head.as_bytes());
            for piece in body.as_bytes().chunks(7) {
                let _ = stream.write_all(piece);
                let _ = stream.flush();
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
        }
    });
    let tables = format!(
        "[[token]]\nkind = \"secret\"\nname = \"notify\"\nenv = \"NOTIFY_TOKEN\"\nheader = \"Authorization\"\n\
         format = \"Bearer {{secret}}\"\nrequires_approval = true\n[token.inner]\nkind = \"http\"\n\
         name = \"hook\"\nurl = \"http://127.0.0.1:{port}/\"\nmethods = [\"POST\"]\n"
    );
    let lab = Lab::new(&tables);
    let server = Server::start([
        Reply::tool_use(
            "toolu_1",
            "secret_notify",
            json!({"method": "POST", "body": {"text": "hi"}}),
        ),
        Reply::text("Told."),
    ]);
    let run = lab.against(&server).env("NOTIFY_TOKEN", SECRET);
    let run = run.args(["--audit", "audit.json", "--report", "report.md", "--record", "rec.jsonl"]);
    let mut person = Terminal::start(&run);
    person.answer("yes");
    let ended = person.wait().exits(0);
    let asked = seen.lock().unwrap().clone();
    assert!(
        asked.contains(&format!("uthorization: Bearer {SECRET}\r\n").to_lowercase())
            || asked
                .to_lowercase()
                .contains(&format!("authorization: bearer {}", SECRET.to_lowercase())),
        "{asked}"
    );
    assert_eq!(ended.outcomes(), ["succeeded"]);
    let told = server.requests()[1].text();
    assert!(told.contains("notify"), "the redactor names the secret: {told}");
    absent(
        &lab,
        &[
            ("stdout", &ended.stdout),
            ("the terminal", &ended.stderr),
            ("what the model got", &told),
        ],
    );
    assert!(lab.path("audit.json").exists() && lab.path("ledger.db").exists());
}

#[test]
fn a_variable_is_injected_and_what_a_child_prints_is_redacted() {
    let tables = "[[token]]\nkind = \"secret\"\nname = \"db\"\nfile = \"password\"\ninject_env = \"DB_PASSWORD\"\n\
        [token.inner]\nkind = \"shell\"\nname = \"inner\"\nallowed = [\"./show\"]\n";
    let lab = Lab::new(&format!("{tables}{REACH}"));
    lab.write("password", format!("{SECRET}\n"));
    script(
        &lab,
        "show",
        "printf '%s\\n' \"$DB_PASSWORD\"; printf '%s' \"$DB_PASSWORD\" | base64 -w0; printf '%s' \"$DB_PASSWORD\" | od -An -v -tx1 | tr -d ' \\n' >&2; printf %s \"$DB_PASSWORD\" | wc -c",
    );
    let server = Server::start([
        Reply::tool_use("toolu_1", "secret_db", json!({"command": "./show"})),
        Reply::text("Shown."),
    ]);
    let ended = lab.against(&server).args(["--audit", "audit.json"]).go().exits(0);
    let told = server.requests()[1].text();
    assert!(told.contains(&SECRET.len().to_string()), "the child had it whole: {told}");
    std::fs::remove_file(lab.path("password")).unwrap();
    absent(
        &lab,
        &[("stdout", &ended.stdout), ("stderr", &ended.stderr), ("what the model got", &told)],
    );
}

#[test]
fn a_model_that_says_a_secret_ends_the_run_before_it_spreads() {
    let tables = "[[token]]\nkind = \"secret\"\nname = \"db\"\nenv = \"DB\"\ninject_env = \"DB_PASSWORD\"\n\
        [token.inner]\nkind = \"shell\"\nname = \"inner\"\nallowed = [\"echo\"]\n";
    let lab = Lab::new(tables);
    // It could be told by a transformation that no redactor knows.
    let blocks = json!([
        {"type": "text", "text": format!("The password is {SECRET}, I think.")},
        {"type": "tool_use", "id": "toolu_1", "name": "secret_db", "input": {"command": format!("echo '{SECRET}'")}},
    ]);
    let server = Server::start([Reply::message(blocks, "tool_use")]);
    let run = lab.against(&server).env("DB", SECRET).args([
        "--audit",
        "audit.json",
        "--record",
        "rec.jsonl",
    ]);
    let ended = run.go().exits(1);
    let error = ended.json()["error"].as_str().unwrap().to_owned();
    assert!(error.contains("holds the secret `db`"), "{error}");
    assert!(ended.proofs().is_empty());
    absent(&lab, &[("stdout", &ended.stdout), ("stderr", &ended.stderr)]);
}

#[test]
fn a_model_that_spells_a_secret_another_way_ends_the_run_all_the_same() {
    let tables = "[[token]]\nkind = \"secret\"\nname = \"db\"\nenv = \"DB\"\ninject_env = \"DB_PASSWORD\"\n\
        [token.inner]\nkind = \"shell\"\nname = \"inner\"\nallowed = [\"echo\"]\n\
        [[token]]\nkind = \"shell\"\nname = \"sh\"\nallowed = [\"echo\"]\n";
    let lab = Lab::new(tables);
    // JSON lets any character be an escape; some of them are enough to hide the whole.
    let mut escaped = String::new();
    for (at, c) in SECRET.char_indices() {
        match at % 3 {
            0 => escaped.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ if c == '"' => escaped.push_str("\\\""),
            _ => escaped.push(c),
        }
    }
    let text = |words: &str| {
        format!(r#"{{"content":[{{"type":"text","text":"{words}"}}],"stop_reason":"end_turn"}}"#)
    };
    let tool = |name: &str, input: &str| {
        format!(
            r#"{{"content":[{{"type":"tool_use","id":"toolu_1","name":"{name}","input":{input}}}],"stop_reason":"tool_use"}}"#
        )
    };
    let (head, tail) = SECRET.split_at(9);
    let halves = json!([{"type": "text", "text": head}, {"type": "text", "text": tail}]);
    let quoted = json!({"command": format!("echo '{head}''{tail}'")}).to_string();
    for (turn, what) in [
        (text(&format!("It is {escaped}.")), "its words"),
        (json!({"content": halves, "stop_reason": "end_turn"}).to_string(), "two blocks"),
        (tool("shell_sh", &format!(r#"{{"command":"echo '{escaped}'"}}"#)), "an input"),
        (tool(&escaped, "{}"), "a tool's name"),
        (tool("request_approval", &format!(r#"{{"message":"{escaped}"}}"#)), "a question"),
        (tool("shell_sh", &quoted), "a command that a quote cuts in two"),
        (format!(r#"{{"id":"{escaped}",{}"#, &text("x")[1..]), "an id"),
        (text("x").replace("end_turn", &escaped), "a stop reason"),
    ] {
        lab.write("session.jsonl", format!("{turn}\n{}\n", text("Done.")));
        let run = lab.bare("ledger.db").env("DB", SECRET);
        let run =
            run.args(["--audit", "audit.json", "--report", "report.md", "--record", "rec.jsonl"]);
        let ended = run.go().exits(1);
        std::fs::remove_file(lab.path("session.jsonl")).unwrap();
        let error = ended.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains("holds the secret `db`"), "{what}: {error}");
        assert!(ended.complaints()[0].starts_with("SecretExposedError"), "{what}");
        assert!(ended.proofs().is_empty(), "{what}");
        absent(&lab, &[("stdout", &ended.stdout), ("stderr", &ended.stderr)]);
        let kept = std::fs::read_to_string(lab.path("rec.jsonl")).unwrap_or_default();
        assert!(!kept.contains(&escaped), "{what} was recorded: {kept}");
        std::fs::remove_file(lab.path("rec.jsonl")).unwrap();
    }
}

#[test]
fn a_secret_that_is_not_there_or_too_short_is_told_at_the_start() {
    let tables = "[[token]]\nkind = \"secret\"\nname = \"db\"\nenv = \"DB\"\ninject_env = \"DB_PASSWORD\"\n\
        [token.inner]\nkind = \"shell\"\nname = \"inner\"\nallowed = [\"echo\"]\n";
    let lab = Lab::new(tables);
    let ended = lab.replay(&[crate::support::done()]).go().exits(2);
    assert!(ended.stderr.contains("`DB` is not set"), "{}", ended.stderr);
    let ended = lab.replay(&[crate::support::done()]).env("DB", "hunter2").go().exits(2);
    assert!(ended.stderr.contains("db") && !ended.stderr.contains("hunter2"), "{}", ended.stderr);
}
