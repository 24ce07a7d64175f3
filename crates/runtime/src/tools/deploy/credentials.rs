//! The credentials of a kubeconfig's user: made to stand by themselves, and told to the redactor.

use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lar_core::redact::{MAX_SECRET_BYTES, MIN_SECRET_BYTES};
use secrecy::SecretString;
use serde_json::{Map, Value, json};

use super::cluster::KubeconfigSource;

/// `--flatten` leaves a token's file where it is. What is frozen must not change with it.
pub(super) fn inline_token(
    user: &mut Map<String, Value>,
    source: &KubeconfigSource,
) -> Result<(), String> {
    let Some(file) = word(user, "tokenFile") else {
        return Ok(());
    };
    let path = resolved(file, source)?;
    let failed = |error: std::io::Error| {
        format!("its `tokenFile` `{}` can't be read ({})", path.display(), error.kind())
    };
    let mut token = String::new();
    let opened = std::fs::File::open(&path).map_err(failed)?;
    opened.take(MAX_SECRET_BYTES as u64).read_to_string(&mut token).map_err(failed)?;
    user.insert("token".to_owned(), token.trim().into());
    user.remove("tokenFile");
    Ok(())
}

/// A credential plugin acts for the operator and finds its own files in the operator's home, while
/// `kubectl` itself gets an empty one.
pub(super) fn place_plugin(
    user: &mut Map<String, Value>,
    source: &KubeconfigSource,
) -> Result<(), String> {
    let Some(plugin) = user.get_mut("exec").and_then(Value::as_object_mut) else {
        return Ok(());
    };
    if let Some(command) = word(plugin, "command").filter(|command| command.contains('/')) {
        let path = resolved(command, source)?;
        plugin.insert("command".to_owned(), path.to_string_lossy().into());
    }
    let Some(home) = source.home.as_ref().and_then(|home| home.to_str()) else {
        return Ok(());
    };
    let env = plugin.entry("env").or_insert(Value::Null);
    if !env.is_array() {
        *env = json!([]);
    }
    if let Some(env) = env.as_array_mut()
        && !env.iter().any(|variable| variable.get("name").and_then(Value::as_str) == Some("HOME"))
    {
        env.push(json!({ "name": "HOME", "value": home }));
    }
    Ok(())
}

/// `kubectl` takes a relative path from the file in which it stands, and doesn't say which that is
/// when there are several.
pub(super) fn resolved(path: &str, source: &KubeconfigSource) -> Result<PathBuf, String> {
    if path.starts_with('/') {
        return Ok(PathBuf::from(path));
    }
    let file = source.only_file().ok_or_else(|| {
        format!(
            "`{path}` is relative, and there are several kubeconfig files; write an absolute path"
        )
    })?;
    std::path::absolute(file.parent().unwrap_or(Path::new("/")).join(path))
        .map_err(|error| format!("`{path}` can't be made absolute ({})", error.kind()))
}

/// What must never be shown.
pub(super) fn secrets_of(
    user: &Map<String, Value>,
    cluster: &Map<String, Value>,
) -> Vec<SecretString> {
    let mut found: Vec<String> = ["token", "password"]
        .into_iter()
        .filter_map(|key| word(user, key))
        .map(ToOwned::to_owned)
        .collect();
    if let Some(key) = word(user, "client-key-data") {
        found.push(key.to_owned());
        let decoded = STANDARD.decode(key).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        found.extend(decoded);
    }
    if let Some(Value::Object(config)) =
        user.get("auth-provider").and_then(|held| held.get("config"))
    {
        let secret = |key: &str| key.contains("token") || key.contains("secret");
        let held = config.iter().filter(|(key, _)| secret(key));
        found.extend(held.filter_map(|(_, value)| value.as_str()).map(ToOwned::to_owned));
    }
    let plugin = user.get("exec").and_then(|plugin| plugin.get("env")).and_then(Value::as_array);
    for variable in plugin.into_iter().flatten() {
        let text = |key: &str| variable.get(key).and_then(Value::as_str).unwrap_or_default();
        let name = text("name").to_ascii_uppercase();
        if ["TOKEN", "SECRET", "PASSWORD"].iter().any(|word| name.contains(word)) {
            found.push(text("value").to_owned());
        }
    }
    let proxy = word(cluster, "proxy-url").and_then(|proxy| url::Url::parse(proxy).ok());
    found.extend(proxy.and_then(|proxy| proxy.password().map(ToOwned::to_owned)));
    found.retain(|text| text.trim().len() >= MIN_SECRET_BYTES && text.len() <= MAX_SECRET_BYTES);
    found.into_iter().map(SecretString::from).collect()
}

/// A text that is there and not empty.
pub(super) fn word<'a>(map: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    map.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
}
