//! A kubeconfig's credential plugin, run once by the runtime under the operator's authority. What it
//! gives takes its place, so that no confined `kubectl` needs to run it (`ExecCredential` of
//! `client.authentication.k8s.io`).

use std::ffi::OsString;
use std::time::Duration;

use lar_core::redact::Redactor;
use serde_json::{Map, Value, json};

use super::super::child::{self, How, Order, Ran};
use super::super::programs::Programs;
use super::cluster::KubeconfigSource;
use super::credentials::{resolved, word};
use crate::confine::Surroundings;
use crate::stop::Stop;

/// How long a plugin may take: it asks a cloud.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What the runtime's own keys are named; a plugin has no use for them.
const OWN: [&str; 2] = ["ANTHROPIC_API_KEY", "OPENAI_API_KEY"];

/// Replaces the plugin of the only user in a kubeconfig by what it gives. Without one nothing changes.
pub(super) async fn settle(
    text: String,
    source: &KubeconfigSource,
    programs: &Programs,
) -> Result<String, String> {
    let Ok(mut view) = serde_json::from_str::<Value>(&text) else {
        return Ok(text);
    };
    let user = view.get_mut("users").and_then(|users| users.get_mut(0));
    let Some(user) = user.and_then(|user| user.get_mut("user")).and_then(Value::as_object_mut)
    else {
        return Ok(text);
    };
    let Some(Value::Object(plugin)) = user.remove("exec") else {
        return Ok(text);
    };
    let given = run(&plugin, source, programs).await?;
    let status = given.get("status").and_then(Value::as_object).cloned().unwrap_or_default();
    for (from, to) in [("token", "token")] {
        if let Some(value) = word(&status, from) {
            user.insert(to.to_owned(), value.into());
        }
    }
    for (from, to) in
        [("clientCertificateData", "client-certificate-data"), ("clientKeyData", "client-key-data")]
    {
        if let Some(value) = word(&status, from) {
            use base64::Engine;
            let encoded = base64::engine::general_purpose::STANDARD.encode(value);
            user.insert(to.to_owned(), encoded.into());
        }
    }
    if !user.contains_key("token") && !user.contains_key("client-key-data") {
        return Err("its credential plugin gave neither a token nor a certificate".to_owned());
    }
    Ok(view.to_string())
}

async fn run(
    plugin: &Map<String, Value>,
    source: &KubeconfigSource,
    programs: &Programs,
) -> Result<Value, String> {
    let command = word(plugin, "command").ok_or("its credential plugin names no `command`")?;
    let command = match command.contains('/') {
        true => resolved(command, source)?.to_string_lossy().into_owned(),
        false => command.to_owned(),
    };
    let texts = |key: &str| plugin.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut argv = vec![command.clone()];
    argv.extend(texts("args").iter().filter_map(|text| text.as_str().map(ToOwned::to_owned)));
    let version = word(plugin, "apiVersion").unwrap_or("client.authentication.k8s.io/v1");
    let asked = json!({
        "apiVersion": version,
        "kind": "ExecCredential",
        "spec": { "interactive": false },
    });
    let mut env: Vec<(OsString, OsString)> = std::env::vars_os()
        .filter(|(name, _)| !OWN.iter().any(|own| name == own) && name != "PATH" && name != "HOME")
        .collect();
    env.push(("PATH".into(), programs.path()));
    env.extend(source.home.clone().map(|home| ("HOME".into(), home)));
    env.push(("KUBERNETES_EXEC_INFO".into(), asked.to_string().into()));
    for variable in texts("env") {
        let text = |key: &str| variable.get(key).and_then(Value::as_str);
        if let (Some(name), Some(value)) = (text("name"), text("value")) {
            env.retain(|(held, _)| held != name);
            env.push((name.into(), value.into()));
        }
    }
    let workdir = std::env::current_dir().unwrap_or_else(|_| "/".into());
    let around = Surroundings::default();
    let order = Order { argv, env, workdir, timeout: TIMEOUT, around };
    let ran = child::run(programs, &Redactor::default(), None, None, &Stop::default(), order).await;
    let failed = |why: &str| format!("its credential plugin `{command}` {why}");
    match ran {
        Ran::NeverBegan(why) => Err(failed(&format!("can't be run: {why}"))),
        Ran::Ended(end) if matches!(end.how, How::Exited(0)) => {
            serde_json::from_str(&end.stdout.text)
                .map_err(|_| failed("did not answer with an `ExecCredential`"))
        }
        Ran::Ended(_) => Err(failed("failed; run it by hand to see why")),
    }
}
