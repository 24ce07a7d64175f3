use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::post;

/// The program with a script, and the address that it printed.
fn start(arguments: &[&str]) -> (Child, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_standin"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let url = line.trim().strip_prefix("listening on ").expect("it says where it listens");
    (child, url.to_owned())
}

#[tokio::test]
async fn it_serves_a_script_logs_and_ends_with_its_input() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let script = json!({"replies": [
        {"tool": {"id": "call_1", "name": "look", "input": {"x": 1}}},
        {"status": 429, "error_type": "rate_limit_error", "retry_after": 3},
    ]});
    std::fs::write(path("script.json"), script.to_string()).unwrap();
    let (mut child, url) =
        start(&["chat", "--script", &path("script.json"), "--log", &path("log.jsonl")]);
    let url = format!("{url}/v1/chat/completions");
    let headers = [("content-type", "application/json")];
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]}).to_string();
    let got = post(&url, &headers, &body).await.unwrap().json();
    assert_eq!(got["choices"][0]["message"]["tool_calls"][0]["function"]["name"], "look");
    let got = post(&url, &headers, &body).await.unwrap();
    assert_eq!((got.status, got.retry_after.as_deref()), (429, Some("3")));
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    let log = std::fs::read_to_string(path("log.jsonl")).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[1]["status"], 429);
}

#[tokio::test]
async fn it_serves_a_cluster_and_writes_its_kubeconfig() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let script = json!({
        "token": "t0", "tick_ms": 10, "forbid": [["delete", "pods"]],
        "deployments": [{"namespace": "prod", "name": "web", "containers": {"web": "r/web:v1"},
            "rollout": {"succeeds": 1}, "rollout_to": {"r/web:v2": "stuck"},
            "patches": ["applied", 409, "cut_after_apply", {"slow_ms": 5}]}],
        "pods": [{"namespace": "prod", "name": "job-0", "waiting": "Error", "restarts": 2}],
        "events": [{"namespace": "prod", "about": "Pod/job-0", "type": "Warning", "reason": "R",
            "message": "m"}],
    });
    std::fs::write(path("script.json"), script.to_string()).unwrap();
    let (script, config) = (path("script.json"), path("config"));
    let (mut child, url) =
        start(&["kube", "--script", &script, "--kubeconfig", &config, "--namespace", "prod"]);
    let config = std::fs::read_to_string(config).unwrap();
    assert!(config.contains(&url) && config.contains("t0") && config.contains("namespace: prod"));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let pods = client.get(format!("{url}/api/v1/pods")).bearer_auth("t0").send().await.unwrap();
    assert!(pods.text().await.unwrap().contains("job-0"));
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_script_with_an_unknown_field_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script.json");
    std::fs::write(&script, r#"{"replies": [{"txet": "typo"}]}"#).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_standin"));
    let output = command.arg("messages").arg("--script").arg(&script).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("unknown field `txet`"));
}
