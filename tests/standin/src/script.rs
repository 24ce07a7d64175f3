//! Scripts as JSON files, for the binary `standin`.
//!
//! For `messages` and `chat`, an object:
//!
//! ```json
//! {"key": "sk-test", "unserved_history": false, "replies": [
//!   {"text": "I look first."},
//!   {"tool": {"id": "toolu_1", "name": "shell_look", "input": {"command": "uptime"}}},
//!   {"message": [{"type": "text", "text": "Done."}], "stop_reason": "end_turn",
//!    "usage": {"input": 10, "output": 5}},
//!   {"chat": {"role": "assistant", "content": "Done."}, "finish_reason": "stop"},
//!   {"status": 529, "error_type": "overloaded_error", "retry_after": 1},
//!   {"raw": {"status": 200, "content_type": "application/json", "body": "{"}},
//!   {"sse_error": "overloaded_error"},
//!   {"hangup": true}
//! ]}
//! ```
//!
//! A reply may also have `delay_ms` (silence before it), `cut` (the connection is dropped after so
//! many events) and `pause` (`[events, milliseconds]`).
//!
//! For `kube`, an object:
//!
//! ```json
//! {"token": "t", "tick_ms": 50, "forbid": [["delete", "pods"]],
//!  "deployments": [{"namespace": "prod", "name": "web", "containers": {"web": "r/web:v1"},
//!    "replicas": 3, "logs": "hello\n", "rollout": {"succeeds": 2},
//!    "rollout_to": {"r/web:v2": {"deadline_exceeded": 2}, "r/web:v3": "stuck"},
//!    "patches": ["applied", 409, "cut_after_apply", "cut_before_apply", {"slow_ms": 500}]}],
//!  "pods": [{"namespace": "prod", "name": "job-0", "image": "r/job:v1", "container": "main",
//!    "labels": {"app": "job"}, "waiting": "CrashLoopBackOff", "restarts": 7, "logs": "..."}],
//!  "events": [{"namespace": "prod", "about": "Pod/job-0", "type": "Warning",
//!    "reason": "BackOff", "message": "back-off restarting"}],
//!  "objects": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}]}
//! ```
//!
//! Every field may be left out; a field that isn't known is an error.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::Reply;
use crate::kube::{self, Deployment, PatchAnswer, Pod, Rollout};
use crate::provider::{Builder, Wire};

/// Sets up a model API from a script.
///
/// # Errors
/// A message that says which part of the script can't be read.
pub fn provider<W: Wire>(mut builder: Builder<W>, script: &Value) -> Result<Builder<W>, String> {
    let fields = fields(script, "the script", &["key", "unserved_history", "replies"])?;
    if let Some(key) = fields.get("key") {
        builder = builder.key(text(key, "`key`")?);
    }
    if fields.get("unserved_history").is_some_and(|value| value == true) {
        builder = builder.unserved_history();
    }
    let replies: Result<Vec<Reply>, String> = items(fields.get("replies")).map(reply).collect();
    Ok(builder.replies(replies?))
}

/// Sets up a Kubernetes API server from a script.
///
/// # Errors
/// A message that says which part of the script can't be read.
pub fn kube(mut builder: kube::Builder, script: &Value) -> Result<kube::Builder, String> {
    let known = ["token", "tick_ms", "forbid", "deployments", "pods", "events", "objects"];
    let fields = fields(script, "the script", &known)?;
    if let Some(token) = fields.get("token") {
        builder = builder.token(text(token, "`token`")?);
    }
    if let Some(tick) = fields.get("tick_ms") {
        builder = builder.tick(Duration::from_millis(number(tick, "`tick_ms`")?));
    }
    for pair in items(fields.get("forbid")) {
        let (verb, resource) = (text(&pair[0], "a verb")?, text(&pair[1], "a resource")?);
        builder = builder.forbid(verb, resource);
    }
    for item in items(fields.get("deployments")) {
        builder = builder.deployment(deployment(item)?);
    }
    for item in items(fields.get("pods")) {
        builder = builder.pod(pod(item)?);
    }
    for item in items(fields.get("events")) {
        let field = |key: &str| text(&item[key], key);
        builder = builder.event(
            field("namespace")?,
            field("about")?,
            field("type")?,
            field("reason")?,
            field("message")?,
        );
    }
    for item in items(fields.get("objects")) {
        builder = builder.object(item.clone());
    }
    Ok(builder)
}

fn reply(item: &Value) -> Result<Reply, String> {
    let known = [
        "text",
        "tool",
        "message",
        "stop_reason",
        "usage",
        "chat",
        "finish_reason",
        "status",
        "error_type",
        "retry_after",
        "raw",
        "sse_error",
        "hangup",
        "delay_ms",
        "cut",
        "pause",
    ];
    let fields = fields(item, "a reply", &known)?;
    let optional =
        |key: &str, default| fields.get(key).map_or(Ok(default), |value| text(value, key));
    let mut reply = if let Some(said) = fields.get("text") {
        Reply::text(text(said, "`text`")?)
    } else if let Some(tool) = fields.get("tool") {
        let (id, name) = (text(&tool["id"], "`tool.id`")?, text(&tool["name"], "`tool.name`")?);
        Reply::tool_use(id, name, tool["input"].clone())
    } else if let Some(blocks) = fields.get("message") {
        if !blocks.is_array() {
            return Err("`message` is not a list of content blocks".to_owned());
        }
        Reply::message(blocks.clone(), optional("stop_reason", "end_turn")?)
    } else if let Some(message) = fields.get("chat") {
        if !message.is_object() {
            return Err("`chat` is not a message object".to_owned());
        }
        Reply::chat(message.clone(), optional("finish_reason", "stop")?)
    } else if let Some(code) = fields.get("status") {
        let retry_after = fields.get("retry_after").and_then(Value::as_u64);
        Reply::status(status(code)?, optional("error_type", "api_error")?, retry_after)
    } else if let Some(raw) = fields.get("raw") {
        let content_type = text(&raw["content_type"], "`raw.content_type`")?;
        Reply::raw(status(&raw["status"])?, content_type, text(&raw["body"], "`raw.body`")?)
    } else if let Some(error_type) = fields.get("sse_error") {
        Reply::sse_error(text(error_type, "`sse_error`")?)
    } else if fields.contains_key("hangup") {
        Reply::hangup()
    } else {
        return Err(format!("this reply says nothing: {item}"));
    };
    if let Some(usage) = fields.get("usage") {
        if !(fields.contains_key("message") || fields.contains_key("text")) {
            return Err("`usage` belongs to a `message` or a `text`".to_owned());
        }
        reply = reply.usage(number(&usage["input"], "input")?, number(&usage["output"], "output")?);
    }
    if let Some(delay) = fields.get("delay_ms") {
        reply = reply.after(Duration::from_millis(number(delay, "`delay_ms`")?));
    }
    if let Some(events) = fields.get("cut") {
        reply = reply.cut(count(events, "`cut`")?);
    }
    if let Some(pause) = fields.get("pause") {
        let time = Duration::from_millis(number(&pause[1], "`pause`")?);
        reply = reply.pause(count(&pause[0], "`pause`")?, time);
    }
    Ok(reply)
}

fn deployment(item: &Value) -> Result<Deployment, String> {
    let known =
        ["namespace", "name", "containers", "replicas", "logs", "rollout", "rollout_to", "patches"];
    let fields = fields(item, "a deployment", &known)?;
    let name = text(&item["name"], "a deployment's `name`")?;
    let mut deployment = Deployment::new(text(&item["namespace"], "a `namespace`")?, name);
    for (name, image) in item["containers"].as_object().into_iter().flatten() {
        deployment = deployment.container(name, text(image, "an image")?);
    }
    if let Some(replicas) = fields.get("replicas") {
        let replicas = u32::try_from(number(replicas, "`replicas`")?).map_err(|e| e.to_string())?;
        deployment = deployment.replicas(replicas);
    }
    if let Some(logs) = fields.get("logs") {
        deployment = deployment.logs(text(logs, "`logs`")?);
    }
    if let Some(plan) = fields.get("rollout") {
        deployment = deployment.rollout(rollout(plan)?);
    }
    for (image, plan) in item["rollout_to"].as_object().into_iter().flatten() {
        deployment = deployment.rollout_to(image, rollout(plan)?);
    }
    let answers: Result<Vec<_>, String> = items(fields.get("patches")).map(patch_answer).collect();
    Ok(deployment.patches(answers?))
}

fn rollout(plan: &Value) -> Result<Rollout, String> {
    if plan == "stuck" {
        return Ok(Rollout::Stuck);
    }
    let looks = |value: &Value| value.as_u64().and_then(|number| u32::try_from(number).ok());
    let succeeds = looks(&plan["succeeds"]).map(|after| Rollout::Succeeds { after });
    let exceeded = looks(&plan["deadline_exceeded"]);
    let exceeded = exceeded.map(|after| Rollout::DeadlineExceeded { after });
    succeeds.or(exceeded).ok_or_else(|| {
        format!("a rollout is `stuck`, `succeeds` or `deadline_exceeded`, not {plan}")
    })
}

fn patch_answer(item: &Value) -> Result<PatchAnswer, String> {
    match item.as_str() {
        Some("applied") => return Ok(PatchAnswer::Applied),
        Some("cut_after_apply") => return Ok(PatchAnswer::CutAfterApply),
        Some("cut_before_apply") => return Ok(PatchAnswer::CutBeforeApply),
        _ => {}
    }
    if let Some(time) = item["slow_ms"].as_u64() {
        return Ok(PatchAnswer::Slow(Duration::from_millis(time)));
    }
    status(item).map(PatchAnswer::Status)
}

fn pod(item: &Value) -> Result<Pod, String> {
    let known =
        ["namespace", "name", "image", "container", "labels", "waiting", "restarts", "logs"];
    let fields = fields(item, "a pod", &known)?;
    let name = text(&item["name"], "a pod's `name`")?;
    let mut pod = Pod::new(text(&item["namespace"], "a `namespace`")?, name);
    if let Some(image) = fields.get("image") {
        pod = pod.image(text(image, "`image`")?);
    }
    if let Some(container) = fields.get("container") {
        pod = pod.container(text(container, "`container`")?);
    }
    for (key, value) in item["labels"].as_object().into_iter().flatten() {
        pod = pod.label(key, text(value, "a label")?);
    }
    if let Some(reason) = fields.get("waiting") {
        let restarts = item["restarts"].as_u64().unwrap_or(0);
        let restarts = u32::try_from(restarts).map_err(|error| error.to_string())?;
        pod = pod.waiting(text(reason, "`waiting`")?, restarts);
    }
    if let Some(logs) = fields.get("logs") {
        pod = pod.logs(text(logs, "`logs`")?);
    }
    Ok(pod)
}

fn fields<'a>(
    value: &'a Value,
    what: &str,
    known: &[&str],
) -> Result<&'a Map<String, Value>, String> {
    let fields = value.as_object().ok_or_else(|| format!("{what} is not an object: {value}"))?;
    match fields.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(format!("{what} has the unknown field `{key}`; it may have {known:?}")),
        None => Ok(fields),
    }
}

fn items(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(value: &'a Value, what: &str) -> Result<&'a str, String> {
    value.as_str().ok_or_else(|| format!("{what} is not a string: {value}"))
}

fn number(value: &Value, what: &str) -> Result<u64, String> {
    value.as_u64().ok_or_else(|| format!("{what} is not a whole number: {value}"))
}

fn count(value: &Value, what: &str) -> Result<usize, String> {
    usize::try_from(number(value, what)?).map_err(|error| error.to_string())
}

fn status(value: &Value) -> Result<u16, String> {
    let code = number(value, "a status")?;
    let fits = u16::try_from(code).ok().filter(|code| (200..600).contains(code));
    fits.ok_or_else(|| format!("{code} is not an HTTP status that can be answered"))
}
