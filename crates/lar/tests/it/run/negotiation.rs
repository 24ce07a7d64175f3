//! A capability that a person grants while the run goes on.

use serde_json::{Value, json};
use standin::Reply;
use standin::messages::Server;

use crate::pty::Terminal;
use crate::support::{Lab, call, done, shell};

const CANDIDATES: &str = "[[candidate]]\nkind = \"shell\"\nname = \"make\"\nallowed = [\"touch\"]\nwrites = [\"out\"]\nworkdir = \"out\"\n\
    [[candidate]]\nkind = \"shell\"\nname = \"list\"\nallowed = [\"ls\"]\nmax_uses = 2\n";

fn ask(why: &str) -> Value {
    call("request_capability", json!({"scope": "make a file", "justification": why}))
}

fn lab() -> Lab {
    Lab::new(&format!("{}{CANDIDATES}", shell(&["echo"], "")))
}

#[test]
fn a_granted_candidate_is_a_tool_from_then_on() {
    let lab = lab();
    let server = Server::start([
        // It isn't one before.
        Reply::tool_use("toolu_1", "shell_make", json!({"command": "touch early"})),
        Reply::tool_use(
            "toolu_2",
            "request_capability",
            json!({"scope": "make a file", "justification": "I must"}),
        ),
        Reply::tool_use("toolu_3", "shell_make", json!({"command": "touch made"})),
        Reply::text("Done."),
    ]);
    let mut person = Terminal::start(&lab.against(&server));
    person.answer("yes 1");
    let ended = person.wait().exits(0);
    assert_eq!(server.refusals(), Vec::<String>::new());
    assert!(lab.made("made").exists() && !lab.made("early").exists());
    let (called, answered) = ("→ request_capability", "answered");
    for shown in
        [called, "[1] make: ", "[2] list: ", "2 use(s)", "touch", "I must", "make a file", answered]
    {
        assert!(ended.stderr.contains(shown), "`{shown}` is not on the screen:\n{}", ended.stderr);
    }
    assert!(ended.stderr.contains("in the model's words  make a file"), "{}", ended.stderr);
    let names = |index: usize| -> Vec<String> {
        let request = server.requests()[index].json();
        let tools = request["tools"].as_array().unwrap().iter();
        tools.map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    };
    assert!(
        !names(0).contains(&"shell_make".to_owned())
            && names(0).contains(&"request_capability".to_owned())
    );
    assert!(names(2).contains(&"shell_make".to_owned()), "{:?}", names(2));
    assert!(!names(3).contains(&"shell_make".to_owned()), "it is spent");

    let trail = ended.trail();
    let [negotiation] = trail["negotiations"].as_array().unwrap().as_slice() else {
        panic!("{trail}")
    };
    assert_eq!(negotiation["granted_token"], "make");
    assert_eq!(negotiation["requested_scope"], "make a file");
    assert_eq!(negotiation["justification"], "I must");
    assert_eq!(negotiation["provider_type"], "human");
    assert!(negotiation["timestamp"].is_string());
    let accounts = trail["run"]["accounts"].as_array().unwrap();
    let made = accounts.iter().find(|account| account["token_name"] == "make").unwrap();
    assert_eq!((&made["granted"], &made["succeeded"]), (&json!(1), &json!(1)));
}

#[test]
fn whatever_is_not_a_choice_grants_nothing() {
    std::thread::scope(|scope| {
        for line in
            ["yes", "1", "no", "yes 0", "yes 3", "yes 1 2", "yes 01", "yes +1", "YES 1", "yes -1"]
        {
            scope.spawn(move || {
                let lab = lab();
                let turns =
                    [ask("please"), call("shell_make", json!({"command": "touch made"})), done()];
                let mut person = Terminal::start(&lab.replay(&turns));
                person.answer(line);
                let ended = person.wait().exits(0);
                assert!(!lab.made("made").exists(), "`{line}` granted something");
                let trail = ended.trail();
                assert_eq!(trail["negotiations"][0]["granted_token"], Value::Null, "{line}");
                let types: Vec<Value> =
                    ended.errors().iter().map(|e| e["error_type"].clone()).collect();
                assert_eq!(types, ["ApprovalDeniedError", "UnknownToolError"], "{line}");
            });
        }
    });
}

#[test]
fn a_candidate_is_granted_once_and_requests_are_limited() {
    let tables = format!("[negotiation]\nmax_requests = 2\n{}{CANDIDATES}", shell(&["echo"], ""));
    let lab = Lab::new(&tables);
    let turns = [ask("one"), ask("two"), ask("three"), done()];
    let mut person = Terminal::start(&lab.replay(&turns));
    person.answer("yes 1");
    // The one that is left is number one now.
    person.answer("yes 2");
    let ended = person.wait().exits(0);
    let trail = ended.trail();
    let granted: Vec<&Value> =
        trail["negotiations"].as_array().unwrap().iter().map(|n| &n["granted_token"]).collect();
    assert_eq!(granted, [&json!("make"), &Value::Null]);
    assert_eq!(ended.errors().pop().unwrap()["error_type"], "TokenClosedError");
}

#[test]
fn without_a_terminal_nothing_is_granted() {
    let ended = lab().replay(&[ask("please"), done()]).go().exits(0);
    let trail = ended.trail();
    assert_eq!(trail["negotiations"][0]["granted_token"], Value::Null);
    let reason = trail["negotiations"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("no terminal"), "{reason}");
}
