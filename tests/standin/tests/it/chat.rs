use serde_json::{Value, json};
use standin::Reply;
use standin::chat::Server;

use super::{Got, post};

async fn send(server: &Server, body: &Value) -> Got {
    let url = format!("{}/v1/chat/completions", server.url());
    let headers = [("content-type", "application/json"), ("authorization", "Bearer sk-test")];
    post(&url, &headers, &body.to_string()).await.expect("an answer")
}

fn request(messages: Value) -> Value {
    json!({"model": "gpt-oss", "messages": messages})
}

fn hello() -> Value {
    request(json!([{"role": "user", "content": "hello"}]))
}

fn calls() -> Reply {
    let blocks = json!([
        {"type": "text", "text": "Ich prüfe…"},
        {"type": "tool_use", "id": "call_1", "name": "a", "input": {"x": "ä", "y": [1, 2]}},
        {"type": "tool_use", "id": "call_2", "name": "b", "input": {}},
    ]);
    Reply::message(blocks, "tool_use").usage(11, 7)
}

#[tokio::test]
async fn a_stream_interleaves_parallel_calls() {
    let server = Server::start([calls()]);
    let mut body = hello();
    body["stream"] = true.into();
    body["stream_options"] = json!({"include_usage": true});
    let got = send(&server, &body).await;
    assert!(got.whole && got.text.ends_with("data: [DONE]\n\n"), "{}", got.text);
    let (mut text, mut arguments, mut order) = (String::new(), vec![String::new(); 2], Vec::new());
    let (mut finish, mut usage) = (Value::Null, Value::Null);
    for chunk in got.events() {
        let choice = &chunk["choices"][0];
        text += choice["delta"]["content"].as_str().unwrap_or_default();
        for call in choice["delta"]["tool_calls"].as_array().into_iter().flatten() {
            let index = call["index"].as_u64().unwrap() as usize;
            arguments[index] += call["function"]["arguments"].as_str().unwrap();
            order.push(index);
        }
        if choice["finish_reason"].is_string() {
            finish = choice["finish_reason"].clone();
        }
        if chunk["choices"] == json!([]) {
            usage = chunk["usage"].clone();
        }
    }
    assert_eq!(text, "Ich prüfe…");
    assert_eq!(arguments, ["{\"x\":\"ä\",\"y\":[1,2]}", "{}"]);
    assert!(order.windows(2).any(|pair| pair == [1, 0]), "not interleaved: {order:?}");
    assert_eq!((finish, usage["total_tokens"].as_u64()), (json!("tool_calls"), Some(18)));
}

#[tokio::test]
async fn tool_messages_have_to_answer_the_calls_that_were_served() {
    let server = Server::start([calls(), Reply::text("done")]);
    let answer = send(&server, &hello()).await.json();
    let turn = answer["choices"][0]["message"].clone();
    assert_eq!(turn["tool_calls"][1]["function"]["arguments"], "{}");
    let tool = |id: &str| json!({"role": "tool", "tool_call_id": id, "content": "ok"});
    let user = json!({"role": "user", "content": "hello"});
    let mut changed = turn.clone();
    changed["tool_calls"][0]["function"]["arguments"] = "{\"y\":[1,2],\"x\":\"ä\"}".into();
    let mut object = turn.clone();
    object["tool_calls"][0]["function"]["arguments"] = json!({});
    let cases = [
        (json!([user, turn, user]), "did not have response messages: call_1, call_2"),
        (json!([user, turn, tool("call_1"), user]), "response messages: call_2"),
        (json!([user, turn, tool("call_1"), tool("call_1"), tool("call_2")]), "'call_1'"),
        (json!([user, turn, tool("call_1"), tool("call_2"), tool("call_3")]), "'call_3'"),
        (json!([user, changed, tool("call_1"), tool("call_2")]), "changed since"),
        (json!([user, object, tool("call_1"), tool("call_2")]), "must be strings"),
        (json!([tool("call_1")]), "must be a response"),
        (json!([]), "empty array"),
        (json!([{"role": "model", "content": "x"}]), "unsupported role"),
        (json!([{"role": "user"}]), "expected a string or a list"),
    ];
    for (messages, message) in cases {
        let got = send(&server, &request(messages.clone())).await;
        assert_eq!(got.status, 400, "accepted: {messages}");
        let told = got.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(told.contains(message), "expected {message}, got {told}");
    }
    let fine = request(json!([user, turn, tool("call_2"), tool("call_1")]));
    let got = send(&server, &fine).await;
    assert_eq!(got.json()["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn tools_and_options_have_to_be_well_formed() {
    let server = Server::start([Reply::text("ok")]);
    let function = |function: Value| json!([{"type": "function", "function": function}]);
    let cases = [
        ("tools", json!([]), "empty array"),
        ("tools", json!([{"name": "a"}]), "Unknown parameter"),
        ("tools", function(json!({"name": "a.b"})), "[a-zA-Z0-9_-]"),
        ("tools", function(json!({"name": "a", "input_schema": {}})), "Unknown parameter"),
        (
            "tools",
            function(json!({"name": "a", "parameters": {"type": "array"}})),
            "'type: \"object\"'",
        ),
        ("system", json!("x"), "Unrecognized request argument"),
        ("stream_options", json!({"include_usage": true}), "when 'stream' is enabled"),
        ("max_tokens", json!(0), "below minimum"),
        ("tool_choice", json!("auto"), "when 'tools' are specified"),
    ];
    for (key, value, message) in cases {
        let mut body = hello();
        body[key] = value;
        let got = send(&server, &body).await;
        assert_eq!(got.status, 400, "accepted: {body}");
        let told = got.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(told.contains(message), "expected {message}, got {told}");
    }
    let mut body = hello();
    body["tools"] = function(json!({
        "name": "a", "description": "x", "parameters": {"type": "object", "properties": {}},
    }));
    assert_eq!(send(&server, &body).await.status, 200);
}

#[tokio::test]
async fn a_key_is_asked_for_only_when_the_test_says_so() {
    let open = Server::start([Reply::text("ok")]);
    let url = |server: &Server| format!("{}/v1/chat/completions", server.url());
    let json = [("content-type", "application/json")];
    let got = post(&url(&open), &json, &hello().to_string()).await.unwrap();
    assert_eq!(got.status, 200);
    let closed = Server::builder().key("sk-test").replies([Reply::text("ok")]).start();
    let got = post(&url(&closed), &json, &hello().to_string()).await.unwrap();
    assert_eq!((got.status, closed.remaining()), (401, 1));
    assert_eq!(send(&closed, &hello()).await.status, 200);
}
