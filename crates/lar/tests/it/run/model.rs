//! Against a strict stand-in for the Messages API: what is sent, what is waited out, what ends a run.

use std::time::Duration;

use serde_json::{Value, json};
use standin::Reply;
use standin::messages::Server;

use crate::support::{KEY, Lab, command, shell};

/// The tool results of a request's last message, as (id, text, is_error).
fn results(request: &Value) -> Vec<(String, String, bool)> {
    let last = request["messages"].as_array().unwrap().last().unwrap();
    assert_eq!(last["role"], "user");
    let results = last["content"].as_array().unwrap().iter();
    let results = results.filter(|block| block["type"] == "tool_result");
    let text = |block: &Value| match &block["content"] {
        Value::String(text) => text.clone(),
        blocks => blocks[0]["text"].as_str().unwrap().to_owned(),
    };
    results
        .map(|block| {
            let id = block["tool_use_id"].as_str().unwrap().to_owned();
            (id, text(block), block["is_error"] == true)
        })
        .collect()
}

fn tools(request: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let tools = request["tools"].as_array().into_iter().flatten();
    tools.map(|tool| (text(&tool["name"]), text(&tool["description"]))).collect()
}

#[track_caller]
fn behaved(server: &Server) {
    assert_eq!(server.refusals(), Vec::<String>::new());
    assert_eq!(server.remaining(), 0, "replies were left over");
}

#[test]
fn a_conversation_with_parallel_calls_is_what_the_api_wants() {
    let novel = json!({"type": "brand_new_block", "payload": {"of": ["a", 1, null], "z": 1.50}});
    let server = Server::builder()
        .key(KEY)
        .replies([
            Reply::message(
                json!([
                    {"type": "text", "text": "I look first."},
                    {"type": "tool_use", "id": "toolu_a", "name": "shell_sh",
                     "input": {"command": "echo one two"}},
                    {"type": "tool_use", "id": "toolu_b", "name": "shell_sh",
                     "input": {"command": "echo one; id"}},
                    {"type": "tool_use", "id": "toolu_c", "name": "shell_once",
                     "input": {"command": "false"}},
                ]),
                "tool_use",
            ),
            Reply::message(
                json!([
                    novel,
                    {"type": "tool_use", "id": "toolu_d", "name": "shell_once",
                     "input": {"command": "false"}},
                ]),
                "tool_use",
            ),
            Reply::text("All is well."),
        ])
        .start();
    let once = "[[token]]\nkind = \"shell\"\nname = \"once\"\nallowed = [\"false\"]\n";
    let lab = Lab::new(&format!("{}{once}", shell(&["echo"], "max_uses = 3")));
    let ended = lab.against(&server).go().exits(0);
    behaved(&server);

    let requests: Vec<Value> = server.requests().iter().map(|call| call.json()).collect();
    assert_eq!(requests.len(), 3);
    assert_eq!(
        requests[0]["messages"],
        json!([{"role": "user", "content": requests[0]["messages"][0]["content"]}])
    );
    assert!(requests[0]["messages"][0].to_string().contains("Do the work."));
    assert_eq!(requests[0]["stream"], true, "a person wants to see progress");
    assert!(requests[0].to_string().contains("cache_control"), "tools are cached");

    // Every call is answered, in order; what was refused or failed is marked as an error.
    let first = results(&requests[1]);
    let [(a, said, a_wrong), (b, refused, b_wrong), (c, failed, c_wrong)] = first.as_slice() else {
        panic!("{first:?}");
    };
    assert_eq!([a, b, c], ["toolu_a", "toolu_b", "toolu_c"]);
    assert!(said.contains("one two\n") && said.starts_with("succeeded"), "{said}");
    assert!(refused.contains(';'), "says which character: {refused}");
    assert!(failed.starts_with("failed (exit 1)"), "{failed}");
    assert_eq!([a_wrong, b_wrong, c_wrong], [&false, &true, &true]);

    // Definitions are refreshed: one use of three is gone, and the spent token isn't offered.
    let (before, after) = (tools(&requests[0]), tools(&requests[1]));
    let of = |tools: &[(String, String)], name: &str| {
        tools.iter().find(|tool| tool.0 == name).map(|tool| tool.1.clone())
    };
    assert!(of(&before, "shell_sh").unwrap().contains("3 of 3 uses are left"), "{before:?}");
    assert!(of(&after, "shell_sh").unwrap().contains("2 of 3 uses are left"), "{after:?}");
    assert!(of(&before, "shell_once").is_some() && of(&after, "shell_once").is_none());

    // A block of an unknown type goes back as it came, byte for byte.
    let echoed = &requests[2]["messages"][3]["content"][0];
    assert_eq!(*echoed, novel);
    let body = server.requests()[2].text();
    assert!(body.contains(r#""z":1.5"#), "{body}");
    let (_, reused, wrong) = &results(&requests[2])[0];
    assert!(reused.contains("used up") && *wrong, "{reused}");

    let result = ended.json();
    assert_eq!(result["stop_reason"], "complete");
    assert_eq!(result["final_message"], "All is well.");
    assert_eq!((&result["steps_taken"], &result["budget_remaining"]), (&json!(4), &json!(36)));
    let types: Vec<Value> = ended.errors().iter().map(|e| e["error_type"].clone()).collect();
    assert_eq!(types, ["CommandNotAllowedError", "ActionFailedError", "TokenReusedError"]);
    assert_eq!(ended.outcomes(), ["succeeded", "failed"]);
    assert!(!format!("{ended:?}").contains(KEY));
}

#[test]
fn a_refusal_says_what_is_allowed_instead() {
    let asked = [
        ("shell_sh", json!({"command": "rm -rf x"}), "git log"),
        ("shell_sh", json!({"command": "git push"}), "git log"),
        ("file_notes", json!({"operation": "write", "path": "x", "content": "y"}), "read"),
        ("file_notes", json!({"operation": "read", "path": "/etc/shadow"}), "/notes"),
        ("page", json!({"method": "DELETE"}), "GET"),
        ("shell_nope", json!({}), "`shell_sh`"),
        ("wait_pause", json!({"seconds": 99}), "3"),
    ];
    let uses = asked.iter().enumerate().map(|(at, (name, input, _))| {
        json!({"type": "tool_use", "id": format!("toolu_{at}"), "name": name, "input": input})
    });
    let reply = Reply::message(uses.collect(), "tool_use");
    let server = Server::start([reply, Reply::text("I see.")]);
    let lab = Lab::new(&format!(
        "{}[[token]]\nkind = \"file\"\nname = \"notes\"\nallowed_paths = [\"notes\"]\nmode = \"read\"\n\
         [[token]]\nkind = \"http\"\nname = \"page\"\nurl = \"http://127.0.0.1:9/\"\nmethods = [\"GET\"]\n\
         [[token]]\nkind = \"wait\"\nname = \"pause\"\nmax_seconds = 3\n",
        shell(&["git log"], "")
    ));
    let ended = lab.against(&server).go().exits(0);
    behaved(&server);
    let told = results(&server.requests()[1].json());
    assert_eq!(told.len(), asked.len());
    for ((_, input, allowed), (_, text, wrong)) in asked.iter().zip(&told) {
        assert!(*wrong && text.contains(allowed), "{input}: {text}");
    }
    assert!(ended.proofs().is_empty());
    assert_eq!(ended.errors().len(), asked.len(), "each is recorded");
}

#[test]
fn passing_faults_are_waited_out() {
    let json_type = "application/json";
    let empty = r#"{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[],
        "stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":1,"output_tokens":1}}"#;
    type Fault = (&'static str, fn() -> Reply);
    let faults: Vec<Fault> = vec![
        ("429", || Reply::status(429, "rate_limit_error", Some(1))),
        ("529", || Reply::status(529, "overloaded_error", None)),
        ("500", || Reply::status(500, "api_error", None)),
        ("hangup", Reply::hangup),
        ("cut at once", || Reply::cut_after(0)),
        ("cut in the text", || Reply::cut_after(4)),
        ("an error in the stream", || Reply::sse_error("overloaded_error")),
        ("empty body", || Reply::raw(200, "text/event-stream", "")),
        ("invalid UTF-8", || Reply::raw(200, "text/event-stream", b"event: \xff\xfe\n\n".to_vec())),
    ];
    std::thread::scope(|scope| {
        for (name, fault) in faults {
            scope.spawn(move || {
                let server = Server::start([fault(), Reply::text("All is well.")]);
                let ended = Lab::new(&shell(&["echo"], "")).against(&server).go().exits(0);
                behaved(&server);
                assert_eq!(ended.json()["final_message"], "All is well.", "{name}");
                assert!(
                    ended.stderr.contains("trying the model again"),
                    "{name}: {}",
                    ended.stderr
                );
                let requests = server.requests();
                assert_eq!(requests.len(), 2, "{name}");
                if name == "429" {
                    let waited = requests[1].at - requests[0].at;
                    assert!(
                        waited >= Duration::from_secs(1),
                        "retry-after was not kept: {waited:?}"
                    );
                }
            });
        }
        for (name, body) in [("invalid JSON", "{\"content\": ["), ("an empty content list", empty)]
        {
            scope.spawn(move || {
                let bad = Reply::raw(200, json_type, body);
                let server = Server::start([bad, Reply::text("All is well.")]);
                let ended = Lab::new(&shell(&["echo"], "")).against(&server).go().exits(0);
                behaved(&server);
                assert!(
                    ended.stderr.contains("trying the model again"),
                    "{name}: {}",
                    ended.stderr
                );
            });
        }
    });
}

#[test]
fn a_cut_turn_runs_nothing_and_is_asked_for_again() {
    let touch = json!({"command": "touch made"});
    let calls = json!([
        {"type": "tool_use", "id": "toolu_1", "name": "shell_sh", "input": touch},
        {"type": "text", "text": "This part will not reach its end because the line breaks."},
    ]);
    let lab = Lab::new(&shell(&["touch", "echo"], ""));
    // The first call is complete when the stream breaks off in the block after it.
    let cut = Reply::message(calls, "tool_use").cut(14);
    let server = Server::start([cut, Reply::text("On second thoughts, no.")]);
    let ended = lab.against(&server).go().exits(0);
    behaved(&server);
    assert!(!lab.made("made").exists(), "a call of a cut turn was made");
    assert!(ended.proofs().is_empty());
}

#[test]
fn a_service_that_never_recovers_ends_the_run_with_its_trail() {
    let overloaded = || Reply::status(529, "overloaded_error", Some(0));
    let mut replies = vec![Reply::tool_use("toolu_1", "shell_sh", json!({"command": "echo x"}))];
    replies.extend((0..5).map(|_| overloaded()));
    let server = Server::start(replies);
    let ended = Lab::new(&shell(&["echo"], "")).against(&server).go().exits(1);
    behaved(&server);
    let result = ended.json();
    assert_eq!(result["stop_reason"], "error");
    let error = result["error"].as_str().unwrap();
    assert!(error.contains("attempts: 5") && error.contains("try again later"), "{error}");
    assert_eq!(ended.outcomes(), ["succeeded"], "what was done before is in the trail");
}

#[test]
fn what_would_be_refused_again_is_not_tried_again() {
    let cases = [
        (401, "authentication_error", "ANTHROPIC_API_KEY"),
        (400, "invalid_request_error", "400"),
        (403, "permission_error", "403"),
        (404, "not_found_error", "404"),
    ];
    std::thread::scope(|scope| {
        for (status, kind, says) in cases {
            scope.spawn(move || {
                let server = Server::start([Reply::status(status, kind, None)]);
                let ended = Lab::new(&shell(&["echo"], "")).against(&server).go().exits(1);
                assert_eq!(server.requests().len(), 1, "{status} was tried again");
                let error = ended.json()["error"].as_str().unwrap().to_owned();
                assert!(error.contains(says), "{status}: {error}");
                assert!(!format!("{ended:?}").contains(KEY), "{status}: the key is shown");
            });
        }
    });
}

#[test]
fn a_service_that_repeats_the_key_does_not_get_it_shown() {
    let body = format!(r#"{{"type":"error","error":{{"type":"x","message":"bad key {KEY}"}}}}"#);
    let server = Server::start([Reply::raw(400, "application/json", body)]);
    let lab = Lab::new(&shell(&["echo"], ""));
    let ended = lab.against(&server).args(["--audit", "audit.json"]).go().exits(1);
    assert!(!format!("{ended:?}").contains(KEY), "{}", ended.stderr);
    assert_eq!(crate::support::find_bytes(lab.dir(), KEY), None);
}

#[test]
fn an_answer_that_is_cut_at_the_output_limit_is_continued() {
    let part = Reply::message(json!([{"type": "text", "text": "First half,"}]), "max_tokens");
    let server = Server::start([part, Reply::text("second half.")]);
    let ended = Lab::new(&shell(&["echo"], "")).against(&server).go().exits(0);
    behaved(&server);
    let second = server.requests()[1].json();
    let messages = second["messages"].as_array().unwrap();
    let roles: Vec<&str> =
        messages.iter().map(|message| message["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "assistant", "user"]);
    assert!(messages[1].to_string().contains("First half,"));
    assert_eq!(ended.json()["final_message"], "second half.");

    // It doesn't go on for ever.
    let part = || Reply::message(json!([{"type": "text", "text": "and"}]), "max_tokens");
    let server = Server::start([part(), part(), part(), part()]);
    let ended = Lab::new(&shell(&["echo"], "")).against(&server).go().exits(1);
    behaved(&server);
    assert!(ended.json()["error"].as_str().unwrap().contains("did not come to an end"));
}

#[test]
fn a_call_that_is_cut_at_the_output_limit_is_not_made() {
    let calls = json!([
        {"type": "tool_use", "id": "toolu_1", "name": "shell_sh", "input": {"command": "touch one"}},
        {"type": "tool_use", "id": "toolu_2", "name": "shell_sh", "input": {"command": "touch two"}},
    ]);
    let server = Server::start([Reply::message(calls, "max_tokens"), Reply::text("Enough.")]);
    let lab = Lab::new(&shell(&["touch"], "max_uses = 2"));
    let ended = lab.against(&server).go().exits(0);
    behaved(&server);
    assert!(lab.made("one").exists(), "the first call was whole");
    assert!(!lab.made("two").exists(), "the second was cut");
    let told = results(&server.requests()[1].json());
    assert_eq!((told[0].2, told[1].2), (false, true));
    assert!(told[1].1.contains("cut off"), "{told:?}");
    assert!(ended.complaints()[0].starts_with("InvalidInputError"), "{:?}", ended.complaints());
}

#[test]
fn a_model_that_refuses_ends_the_run() {
    let calls = json!([
        {"type": "text", "text": "I would rather not."},
        {"type": "tool_use", "id": "toolu_1", "name": "shell_sh", "input": {"command": "touch one"}},
    ]);
    let server = Server::start([Reply::message(calls, "refusal")]);
    let lab = Lab::new(&shell(&["touch"], ""));
    let ended = lab.against(&server).go().exits(1);
    behaved(&server);
    assert!(ended.json()["error"].as_str().unwrap().contains("refused"));
    assert!(!lab.made("one").exists(), "what a refusing model wrote before is not to be used");
}

#[test]
fn a_paused_turn_is_sent_back_and_goes_on() {
    let blocks =
        json!([{"type": "server_work", "state": {"n": 1}}, {"type": "text", "text": "Hm."}]);
    let pause = Reply::message(blocks.clone(), "pause_turn");
    let server = Server::start([pause, Reply::text("There.")]);
    let ended = Lab::new(&shell(&["echo"], "")).against(&server).go().exits(0);
    behaved(&server);
    let second = server.requests()[1].json();
    let last = second["messages"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(last["role"], "assistant", "no user message comes after it");
    assert_eq!(last["content"][0], blocks[0]);
    assert_eq!(ended.json()["final_message"], "There.");
}

#[test]
fn any_chat_completions_endpoint_will_do() {
    let server = standin::chat::Server::start([
        Reply::message(
            json!([
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "call_1", "name": "shell_sh",
                 "input": {"command": "echo one two"}},
                {"type": "tool_use", "id": "call_2", "name": "shell_sh",
                 "input": {"command": "rm x"}},
            ]),
            "tool_use",
        ),
        Reply::status(500, "server_error", None),
        Reply::text("All is well."),
    ]);
    let lab = Lab::new(&shell(&["echo"], "max_uses = 2"));
    let run = lab.run().args(["--model", "openai:llama3:8b"]);
    let run = run.env("OPENAI_BASE_URL", &format!("{}/v1", server.url()));
    let ended = run.go().exits(0);
    assert_eq!(server.refusals(), Vec::<String>::new());
    assert_eq!(server.remaining(), 0);
    let last = server.requests().last().unwrap().json();
    let told: Vec<&Value> =
        last["messages"].as_array().unwrap().iter().filter(|m| m["role"] == "tool").collect();
    assert_eq!(told.len(), 2);
    assert!(told[0]["content"].to_string().contains("one two"), "{told:?}");
    assert_eq!(ended.outcomes(), ["succeeded"]);
    assert_eq!(ended.json()["final_message"], "All is well.");
    assert_eq!(ended.trail()["run"]["model"], "openai:llama3:8b");
}

#[test]
fn a_missing_key_or_recording_is_told_before_anything_starts() {
    let lab = Lab::new(&shell(&["echo"], ""));
    let ended = lab.run().go().exits(2);
    assert!(ended.stderr.contains("`ANTHROPIC_API_KEY` is not set"), "{}", ended.stderr);
    let ended = lab.run().args(["--replay", "none.jsonl"]).go().exits(2);
    assert!(ended.stderr.contains("none.jsonl"), "{}", ended.stderr);
    let ended = lab.run().args(["--model", "ollama:x"]).go().exits(2);
    assert!(ended.stderr.contains("openai:NAME"), "{}", ended.stderr);
    let ended = lab.replay(&[command("echo x")]).go().exits(1);
    let error = ended.json()["error"].as_str().unwrap().to_owned();
    assert!(error.contains("ends after line 1"), "{error}");
    assert_eq!(ended.outcomes(), ["succeeded"]);
}
