use std::time::{Duration, Instant};

use serde_json::{Value, json};
use standin::Reply;
use standin::messages::Server;

use super::{Got, post};

const HEADERS: &[(&str, &str)] = &[
    ("x-api-key", "sk-test"),
    ("anthropic-version", "2023-06-01"),
    ("content-type", "application/json"),
];

async fn send(server: &Server, body: &Value) -> Got {
    let url = format!("{}/v1/messages?beta=true", server.url());
    post(&url, HEADERS, &body.to_string()).await.expect("an answer")
}

fn request(messages: Value) -> Value {
    json!({"model": "claude-sonnet-4-5", "max_tokens": 1000, "messages": messages})
}

fn hello() -> Value {
    request(json!([{"role": "user", "content": "hello"}]))
}

/// Puts a streamed message together again, as a client would.
fn assemble(events: &[Value]) -> Value {
    let mut blocks: Vec<Value> = Vec::new();
    let mut inputs: Vec<String> = Vec::new();
    let append = |block: &mut Value, key: &str, piece: &Value| {
        let text = block[key].as_str().unwrap().to_owned() + piece.as_str().unwrap();
        block[key] = text.into();
    };
    for event in events {
        let index = event["index"].as_u64().unwrap_or(0) as usize;
        match event["type"].as_str().unwrap() {
            "content_block_start" => {
                assert_eq!(index, blocks.len());
                blocks.push(event["content_block"].clone());
                inputs.push(String::new());
            }
            "content_block_delta" => {
                let (block, delta) = (&mut blocks[index], &event["delta"]);
                match delta["type"].as_str().unwrap() {
                    "text_delta" => append(block, "text", &delta["text"]),
                    "thinking_delta" => append(block, "thinking", &delta["thinking"]),
                    "signature_delta" => append(block, "signature", &delta["signature"]),
                    "input_json_delta" => {
                        inputs[index].push_str(delta["partial_json"].as_str().unwrap());
                    }
                    other => panic!("unexpected delta {other}"),
                }
            }
            "content_block_stop" if !inputs[index].is_empty() => {
                blocks[index]["input"] = serde_json::from_str(&inputs[index]).unwrap();
            }
            _ => {}
        }
    }
    blocks.into()
}

#[tokio::test]
async fn a_stream_holds_exactly_the_scripted_blocks() {
    let blocks = json!([
        {"type": "thinking", "thinking": "Let me look. Ω≈ç√", "signature": "c2lnbmF0dXJl"},
        {"type": "text", "text": "Ich prüfe das – 你好 𝄞 \"quoted\"\n"},
        {"type": "tool_use", "id": "toolu_1", "name": "shell_x",
         "input": {"command": "printf 'ä\\n'", "deep": {"list": [1, 2.5, null, true]}}},
        {"type": "tool_use", "id": "toolu_2", "name": "empty", "input": {}},
        {"type": "brand_new_block", "payload": {"of": ["unknown", "shape"]}},
    ]);
    let server = Server::start([Reply::message(blocks.clone(), "tool_use").usage(321, 45)]);
    let mut body = hello();
    body["stream"] = true.into();
    let got = send(&server, &body).await;
    assert_eq!((got.status, got.whole), (200, true));
    assert!(got.chunks > 50, "the stream came in {} chunks only", got.chunks);
    let events = got.events();
    assert_eq!(assemble(&events), blocks);
    let types: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!((types[0], types[types.len() - 1]), ("message_start", "message_stop"));
    assert!(types.iter().filter(|kind| **kind == "ping").count() > 1);
    assert_eq!(events[0]["message"]["usage"]["input_tokens"], 321);
    let last = events.iter().find(|event| event["type"] == "message_delta").unwrap();
    assert_eq!(last["delta"]["stop_reason"], "tool_use");
    assert_eq!(last["usage"]["output_tokens"], 45);
    assert!(server.refusals().is_empty());
}

#[tokio::test]
async fn plain_answers_and_the_end_of_the_script() {
    let reply = Reply::tool_use("toolu_1", "t", json!({})).input_text(0, "{\"a\": 1, \"a\": 2}");
    let server = Server::start([reply]);
    let got = send(&server, &hello()).await;
    assert!(got.text.contains("{\"a\": 1, \"a\": 2}"), "{}", got.text);
    assert_eq!(got.json()["stop_reason"], "tool_use");
    let got = send(&server, &hello()).await;
    assert_eq!(got.status, 500);
    assert!(got.text.contains("script has run out: request 2"), "{}", got.text);
    assert_eq!(server.requests().len(), 2);
    assert_eq!(server.requests()[0].header("X-Api-Key"), Some("sk-test"));
    assert_eq!(server.requests()[0].json(), hello());
}

#[tokio::test]
async fn headers_are_required() {
    let server = Server::builder().key("sk-test").start();
    let url = format!("{}/v1/messages", server.url());
    type Headers<'a> = &'a [(&'a str, &'a str)];
    let cases: &[(Headers<'_>, u16, &str)] = &[
        (&[], 401, "x-api-key header is required"),
        (&[("x-api-key", "")], 401, "x-api-key header is required"),
        (&[("x-api-key", "other")], 401, "invalid x-api-key"),
        (&[("x-api-key", "sk-test")], 400, "anthropic-version"),
        (&[HEADERS[0], ("anthropic-version", "1999-01-01")], 400, "not a valid version"),
        (&[HEADERS[0], HEADERS[1]], 400, "content-type"),
        (&[HEADERS[0], HEADERS[1], ("content-type", "text/plain")], 400, "content-type"),
    ];
    for (headers, status, message) in cases {
        let got = post(&url, headers, &hello().to_string()).await.unwrap();
        assert_eq!(got.status, *status, "{headers:?}");
        let error = &got.json()["error"];
        assert!(error["message"].as_str().unwrap().contains(message), "{error}");
        let kind = if *status == 401 { "authentication_error" } else { "invalid_request_error" };
        assert_eq!(error["type"], kind);
    }
    let got = post(&format!("{}/v2", server.url()), HEADERS, "{}").await.unwrap();
    assert_eq!((got.status, got.json()["error"]["type"].as_str()), (404, Some("not_found_error")));
    let got = post(&url, HEADERS, "{").await.unwrap();
    assert!(got.text.contains("not valid JSON"));
}

#[tokio::test]
async fn what_the_real_api_refuses_is_refused() {
    let server = Server::start([]);
    let with = |key: &str, value: Value| {
        let mut body = hello();
        body[key] = value;
        body
    };
    let without = |key: &str| {
        let mut body = hello();
        body.as_object_mut().unwrap().remove(key);
        body
    };
    let tool = |name: &str| json!({"name": name, "input_schema": {"type": "object"}});
    let marked =
        |text: &str| json!({"type": "text", "text": text, "cache_control": {"type": "ephemeral"}});
    let user = |content: Value| request(json!([{"role": "user", "content": content}]));
    let cases = [
        (without("model"), "model: Field required"),
        (without("max_tokens"), "max_tokens: Field required"),
        (without("messages"), "messages: Field required"),
        (with("max_tokens", json!(0)), "greater than or equal to 1"),
        (with("max_tokens", json!("9")), "valid integer"),
        (with("nonsense", json!(1)), "nonsense: Extra inputs are not permitted"),
        (with("stream", json!("yes")), "valid boolean"),
        (with("temperature", json!(1.5)), "temperature"),
        (with("messages", json!([])), "at least one message"),
        (with("messages", json!([{"role": "assistant", "content": "x"}])), "first message"),
        (with("messages", json!([{"role": "system", "content": "x"}])), "'user' or 'assistant'"),
        (with("messages", json!([{"role": "user", "content": "x", "id": 1}])), "Extra inputs"),
        (user(json!("")), "non-empty content"),
        (user(json!([])), "non-empty content"),
        (user(json!([{"type": "text", "text": ""}])), "must be non-empty"),
        (user(json!([{"type": "text", "text": " \n"}])), "non-whitespace"),
        (user(json!([{"type": "text", "text": "x", "extra": 1}])), "Extra inputs"),
        (user(json!([{"type": "made_up"}])), "does not match any of the expected tags"),
        (with("system", json!([{"type": "text", "text": ""}])), "must be non-empty"),
        (with("tools", json!([tool("a.b")])), "should match pattern"),
        (with("tools", json!([tool("")])), "should match pattern"),
        (with("tools", json!([tool(&"x".repeat(129))])), "should match pattern"),
        (with("tools", json!([tool("a"), tool("a")])), "names must be unique"),
        (with("tools", json!([{"name": "a"}])), "input_schema: Field required"),
        (with("tools", json!([{"name": "a", "input_schema": {"type": "array"}}])), "'object'"),
        (with("tools", json!([{"name": "a", "input_schema": {}}])), "type: Field required"),
        (
            with("tools", json!([{"name": "a", "uses": 1, "input_schema": {"type": "object"}}])),
            "Extra",
        ),
        (with("tool_choice", json!({"type": "auto"})), "while providing tools"),
        (
            user(json!([marked("1"), marked("2"), marked("3"), marked("4"), marked("5")])),
            "A maximum of 4 blocks with cache_control may be provided. Found 5.",
        ),
        (
            user(json!([{"type": "tool_result", "tool_use_id": "toolu_9", "content": "x"}])),
            "unexpected `tool_use_id`",
        ),
    ];
    for (body, message) in &cases {
        let got = send(&server, body).await;
        assert_eq!(got.status, 400, "not refused: {body}");
        assert_eq!(got.json()["type"], "error");
        let told = got.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(told.contains(message), "{body}\n  expected {message}\n  got {told}");
    }
    assert_eq!(server.refusals().len(), cases.len());
    let fine = json!([marked("1"), marked("2"), marked("3"), marked("4")]);
    server.push(Reply::text("ok"));
    assert_eq!(send(&server, &user(fine)).await.status, 200);
}

/// A server that has served one turn of two tool calls, and the turn.
async fn after_calls() -> (Server, Value) {
    let turn = json!([
        {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
        {"type": "novelty", "data": [1, 2]},
        {"type": "tool_use", "id": "toolu_1", "name": "a", "input": {"x": 1}},
        {"type": "tool_use", "id": "toolu_2", "name": "b", "input": {}},
    ]);
    let server = Server::start([Reply::message(turn.clone(), "tool_use"), Reply::text("done")]);
    assert_eq!(send(&server, &hello()).await.status, 200);
    (server, turn)
}

fn follow(turn: &Value, answer: Value) -> Value {
    request(json!([
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": turn},
        {"role": "user", "content": answer},
    ]))
}

fn results(ids: &[&str]) -> Value {
    let result = |id: &&str| json!({"type": "tool_result", "tool_use_id": id, "content": "ok"});
    ids.iter().map(result).collect()
}

#[tokio::test]
async fn tool_calls_and_results_have_to_pair_up() {
    let (server, turn) = after_calls().await;
    let text = json!({"type": "text", "text": "and?"});
    let mut late = results(&["toolu_1"]);
    late.as_array_mut().unwrap().push(text.clone());
    late.as_array_mut().unwrap().push(results(&["toolu_2"])[0].clone());
    let cases = [
        (json!("go on"), "without `tool_result` blocks immediately after: toolu_1, toolu_2"),
        (results(&["toolu_1"]), "immediately after: toolu_2"),
        (results(&["toolu_1", "toolu_2", "toolu_3"]), "unexpected `tool_use_id`"),
        (results(&["toolu_1", "toolu_2", "toolu_1"]), "multiple `tool_result` blocks"),
        (late, "immediately after: toolu_2"),
    ];
    for (answer, message) in cases {
        let got = send(&server, &follow(&turn, answer)).await;
        assert_eq!(got.status, 400);
        assert!(got.text.contains(message), "{}", got.text);
    }
    let mut open = follow(&turn, json!("x"));
    open["messages"].as_array_mut().unwrap().pop();
    assert!(send(&server, &open).await.text.contains("without `tool_result`"));
    // Results may be split over several user messages, and text may follow them.
    let mut fine = follow(&turn, results(&["toolu_2"]));
    let rest = json!({"role": "user", "content": [results(&["toolu_1"])[0], text]});
    fine["messages"].as_array_mut().unwrap().push(rest);
    let got = send(&server, &fine).await;
    assert_eq!(got.status, 200, "{}", got.text);
}

#[tokio::test]
async fn served_blocks_have_to_come_back_unchanged() {
    let (server, turn) = after_calls().await;
    let answer = results(&["toolu_1", "toolu_2"]);
    let changes: [fn(&mut Value); 6] = [
        |turn| turn[2]["input"]["x"] = json!(2),
        |turn| turn[2]["input"]["x"] = json!(1.0),
        |turn| turn[0]["signature"] = json!("c2lo"),
        |turn| turn[1]["data"] = json!([2, 1]),
        |turn| {
            turn.as_array_mut().unwrap().remove(1);
        },
        |turn| turn.as_array_mut().unwrap().push(json!({"type": "text", "text": "added"})),
    ];
    for change in changes {
        let mut changed = turn.clone();
        change(&mut changed);
        let got = send(&server, &follow(&changed, answer.clone())).await;
        assert_eq!(got.status, 400, "accepted: {changed}");
        assert!(got.text.contains("assistant message"), "{}", got.text);
    }
    let mut marked = turn.clone();
    marked[3]["cache_control"] = json!({"type": "ephemeral"});
    let got = send(&server, &follow(&marked, answer)).await;
    assert_eq!(got.status, 200, "{}", got.text);
}

#[tokio::test]
async fn a_turn_that_was_cut_does_not_count_as_served() {
    let server = Server::start([Reply::cut_after(4), Reply::text("again"), Reply::text("end ")]);
    let mut body = hello();
    body["stream"] = true.into();
    let got = send(&server, &body).await;
    assert_eq!((got.status, got.whole, got.events().len()), (200, false, 4));
    let echo = json!([{"type": "text", "text": "This sentence will not reach its end, and neither \
                                                 will the call."}]);
    let got = send(&server, &follow(&echo, json!("so?"))).await;
    assert!(got.text.contains("cannot be modified"), "{}", got.text);
    assert_eq!(send(&server, &hello()).await.status, 200);
    assert_eq!(send(&server, &hello()).await.status, 200);
    let mut trailing = follow(&json!([{"type": "text", "text": "end "}]), json!("x"));
    trailing["messages"].as_array_mut().unwrap().pop();
    assert!(send(&server, &trailing).await.text.contains("trailing whitespace"));
}

#[tokio::test]
async fn faults_come_as_scripted() {
    let server = Server::start([
        Reply::status(529, "overloaded_error", Some(7)),
        Reply::status(429, "rate_limit_error", None),
        Reply::sse_error("overloaded_error"),
        Reply::sse_error("overloaded_error"),
        Reply::raw(200, "application/json", "{\"type\": \"mess"),
        Reply::raw(200, "application/json", ""),
        Reply::hangup(),
        Reply::stall(Duration::from_millis(80)),
        Reply::message(json!([]), "end_turn"),
        Reply::text("half of this").cut(0),
        Reply::text("slow").pause(2, Duration::from_millis(80)),
    ]);
    let got = send(&server, &hello()).await;
    assert_eq!((got.status, got.retry_after.as_deref()), (529, Some("7")));
    assert_eq!(got.json()["error"]["type"], "overloaded_error");
    let got = send(&server, &hello()).await;
    assert_eq!((got.status, got.retry_after), (429, None));
    let mut streaming = hello();
    streaming["stream"] = true.into();
    let got = send(&server, &streaming).await;
    assert_eq!((got.status, got.whole), (200, true));
    let events = got.events();
    assert_eq!(events[events.len() - 1]["error"]["type"], "overloaded_error");
    assert_eq!(send(&server, &hello()).await.status, 529);
    assert_eq!(send(&server, &hello()).await.text, "{\"type\": \"mess");
    assert_eq!(send(&server, &hello()).await.text, "");
    let url = format!("{}/v1/messages", server.url());
    assert!(post(&url, HEADERS, &hello().to_string()).await.is_err());
    let start = Instant::now();
    assert!(post(&url, HEADERS, &hello().to_string()).await.is_err());
    assert!(start.elapsed() >= Duration::from_millis(80));
    assert_eq!(send(&server, &hello()).await.json()["content"], json!([]));
    assert!(!send(&server, &hello()).await.whole);
    let start = Instant::now();
    assert!(send(&server, &streaming).await.whole);
    assert!(start.elapsed() >= Duration::from_millis(80));
    assert_eq!(server.remaining(), 0);
    let statuses: Vec<_> = server.requests().iter().map(|call| call.status).collect();
    assert_eq!(statuses[..2], [Some(529), Some(429)]);
    assert_eq!(statuses[6], None);
}

#[test]
fn a_script_reacts_to_results_without_any_runtime_of_the_test() {
    let server = Server::builder()
        .replies([
            Reply::tool_use("toolu_1", "a", json!({})),
            Reply::from_fn(|body| {
                let result = &body["messages"][2]["content"][0]["content"];
                Reply::text(&format!("I saw {result}"))
            }),
        ])
        .otherwise(|_| Reply::text("more"))
        .start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let call = |body: Value| runtime.block_on(send(&server, &body)).json();
    let turn = call(hello())["content"].clone();
    let answer = json!([{"type": "tool_result", "tool_use_id": "toolu_1", "content": "42"}]);
    assert_eq!(call(follow(&turn, answer))["content"][0]["text"], "I saw \"42\"");
    assert_eq!(call(hello())["content"][0]["text"], "more");
    let url = server.url();
    drop(server);
    assert!(runtime.block_on(post(&url, &[], "")).is_err(), "a dropped server still answers");
}

#[tokio::test]
async fn paused_turns_come_back_joined_or_apart() {
    let server = Server::start([
        Reply::message(json!([{"type": "text", "text": "one"}]), "pause_turn"),
        Reply::message(json!([{"type": "text", "text": "two"}]), "end_turn"),
        Reply::text("three"),
        Reply::text("four"),
    ]);
    let one = json!({"role": "assistant", "content": "one"});
    let two = json!({"role": "assistant", "content": [{"type": "text", "text": "two"}]});
    let user = json!({"role": "user", "content": "hello"});
    let joined = json!({"role": "assistant", "content": [
        {"type": "text", "text": "one"}, {"type": "text", "text": "two"},
    ]});
    for messages in [
        json!([user]),
        json!([user, one]),
        json!([user, one, two, user]),
        json!([user, joined, user]),
    ] {
        let got = send(&server, &request(messages)).await;
        assert_eq!(got.status, 200, "{}", got.text);
    }
    let swapped = request(json!([user, joined, two, user, {"role": "assistant", "content": "x"}]));
    assert_eq!(send(&server, &swapped).await.status, 400);
}

#[tokio::test]
async fn an_assertion_that_fails_inside_a_script_is_told() {
    let server = Server::start([Reply::from_fn(|_| panic!("this is expected"))]);
    assert_eq!(send(&server, &hello()).await.status, 500);
    assert!(server.refusals()[0].contains("panicked"));
}
