//! What a kubeconfig context means, fixed when the run starts.
//!
//! The pinned `kubectl` is asked once for each context, in the operator's own environment. From its
//! answer come the [`Cluster`] that people are shown and that an approval binds to, and a kubeconfig
//! with nothing but that context in it. Whatever happens to the operator's files afterwards, every
//! later `kubectl` of the run gets that one.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lar_core::json::Digest;
use lar_core::redact::{MAX_SECRET_BYTES, MIN_SECRET_BYTES, Redactor};
use lar_core::scope::Scope;
use lar_core::scope::deploy::{Cluster, DeployMethod};
use lar_core::token::Token;
use secrecy::SecretString;
use serde_json::{Map, Value, json};

use super::super::child::{self, How, Order, Ran};
use super::super::programs::Programs;
use crate::dispatch::clip;
use crate::stop::Stop;

/// How long `kubectl config view` may take. It reads a few files.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The name under which the redactor knows what is secret in a kubeconfig.
const SECRET_NAME: &str = "kubeconfig";

/// Where the operator's kubeconfig is looked for.
#[derive(Debug, Clone, Default)]
pub struct KubeconfigSource {
    /// The variable `KUBECONFIG`: files, separated by `:`.
    pub kubeconfig: Option<OsString>,
    /// The variable `HOME`: without `KUBECONFIG` it is `.kube/config` in there.
    pub home: Option<OsString>,
}

/// The kubeconfigs of a run: one for each context that a deploy token names, with nothing else in
/// it. They hold credentials; `Debug` shows none.
#[derive(Debug, Default)]
pub struct Kubeconfigs {
    by_context: BTreeMap<Option<String>, Frozen>,
    secrets: Vec<SecretString>,
}

/// A context can't be resolved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// There is no `kubectl`.
    #[error("token `{token}` deploys with `kubectl`: {message}")]
    NoKubectl {
        /// The token.
        token: String,
        /// What is wrong with the program, and what to do.
        message: String,
    },
    /// The kubeconfig doesn't say which cluster is meant.
    #[error(
        "token `{token}`: {context} can't be resolved: {message}; see `kubectl config get-contexts`, \
         and name one in the token's `context`"
    )]
    Context {
        /// The token.
        token: String,
        /// The context, in words.
        context: String,
        /// What is wrong.
        message: String,
    },
}

/// One context.
#[derive(Debug)]
pub(super) struct Frozen {
    /// What it stands for.
    pub(super) cluster: Cluster,
    /// The kubeconfig, as JSON, which is YAML too.
    pub(super) config: SecretString,
}

impl KubeconfigSource {
    /// The one that the operator's own `kubectl` would use.
    pub fn from_environment() -> Self {
        Self { kubeconfig: std::env::var_os("KUBECONFIG"), home: std::env::var_os("HOME") }
    }

    /// The only file that it is read from, if there is one.
    fn only_file(&self) -> Option<PathBuf> {
        match self.kubeconfig.as_ref().filter(|files| !files.is_empty()) {
            Some(files) => {
                let mut files = std::env::split_paths(files).filter(|file| file != Path::new(""));
                let first = files.next()?;
                files.next().is_none().then_some(first)
            }
            None => Some(Path::new(self.home.as_ref()?).join(".kube/config")),
        }
    }
}

impl Kubeconfigs {
    /// Resolves the contexts of all `kubectl` deployments among `tokens`. Without any, nothing is
    /// looked for and nothing can go wrong.
    ///
    /// # Errors
    /// [`ClusterError`] when `kubectl` is absent, or doesn't find the context.
    pub async fn resolve<'a>(
        tokens: impl IntoIterator<Item = &'a Token>,
        programs: &Programs,
        source: &KubeconfigSource,
    ) -> Result<Self, ClusterError> {
        let mut all = Self::default();
        for token in tokens {
            let Some(context) = context_of(token) else { continue };
            if all.by_context.contains_key(context) {
                continue;
            }
            let (frozen, secrets) =
                resolve(token.name(), context.as_deref(), programs, source).await?;
            all.by_context.insert(context.clone(), frozen);
            all.secrets.extend(secrets);
        }
        Ok(all)
    }

    /// The same token with its cluster stated, so that the digest of its actions covers it. A token
    /// of another kind, or one whose context was not resolved here, comes back as it was.
    #[must_use]
    pub fn pin(&self, token: Token) -> Token {
        token.with_scope(|mut scope| {
            if let Scope::Deploy(deploy) | Scope::Rollback(deploy) = &mut scope
                && let DeployMethod::Kubectl { context, cluster, .. } = &mut deploy.method
                && let Some(frozen) = self.by_context.get(context)
            {
                *cluster = Some(frozen.cluster.clone());
            }
            scope
        })
    }

    /// The credentials in the kubeconfigs, for the redactor. What is too short for it is left out.
    pub fn secrets(&self) -> Vec<(&'static str, SecretString)> {
        self.secrets.iter().map(|secret| (SECRET_NAME, secret.clone())).collect()
    }

    /// The kubeconfig of a context.
    pub(super) fn of(&self, context: Option<&str>) -> Option<&Frozen> {
        self.by_context.get(&context.map(ToOwned::to_owned))
    }
}

/// The context of a token that deploys with `kubectl`.
fn context_of(token: &Token) -> Option<&Option<String>> {
    match token.scope() {
        Scope::Deploy(scope) => match &scope.method {
            DeployMethod::Kubectl { context, .. } => Some(context),
            DeployMethod::Command { .. } => None,
        },
        _ => None,
    }
}

async fn resolve(
    token: &str,
    context: Option<&str>,
    programs: &Programs,
    source: &KubeconfigSource,
) -> Result<(Frozen, Vec<SecretString>), ClusterError> {
    let text = view(token, context, programs, source).await?;
    freeze(&text, source).map_err(|message| fault(token, context, message))
}

fn fault(token: &str, context: Option<&str>, message: String) -> ClusterError {
    let context = match context {
        Some(name) => format!("kubeconfig context `{name}`"),
        None => "the current kubeconfig context".to_owned(),
    };
    ClusterError::Context { token: token.to_owned(), context, message }
}

/// Asks `kubectl` for the context and nothing but it, with certificates inlined.
async fn view(
    token: &str,
    context: Option<&str>,
    programs: &Programs,
    source: &KubeconfigSource,
) -> Result<String, ClusterError> {
    let mut argv: Vec<String> = ["kubectl", "config", "view", "--minify", "--flatten", "--raw", "-o", "json"]
        .map(ToOwned::to_owned)
        .into();
    argv.extend(context.map(|context| format!("--context={context}")));
    let mut env = vec![("PATH".into(), programs.path())];
    env.extend(super::kubectl::PLAIN.map(|(name, value)| (name.into(), value.into())));
    env.extend(source.home.clone().map(|home| ("HOME".into(), home)));
    env.extend(source.kubeconfig.clone().map(|files| ("KUBECONFIG".into(), files)));
    // A relative KUBECONFIG is meant from where the operator stands.
    let workdir = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    let order = Order { argv, env, workdir, timeout: TIMEOUT };
    // The credentials become known by this very answer; it goes nowhere but into `freeze`.
    let ran = child::run(programs, &Redactor::default(), &Stop::default(), order).await;
    match ran {
        Ran::NeverBegan(message) => {
            Err(ClusterError::NoKubectl { token: token.to_owned(), message })
        }
        Ran::Ended(end) if matches!(end.how, How::Exited(0)) => Ok(end.stdout.text),
        Ran::Ended(end) => {
            let last = end.stderr.text.lines().rfind(|line| !line.trim().is_empty());
            let last = last.unwrap_or("`kubectl config view` did not answer");
            Err(fault(token, context, clip(last.trim_start_matches("error: "), 300)))
        }
    }
}

/// Reads the answer of [`view`].
fn freeze(text: &str, source: &KubeconfigSource) -> Result<(Frozen, Vec<SecretString>), String> {
    let unreadable = |_| "the answer of `kubectl config view` is no kubeconfig".to_owned();
    let mut view: Value = serde_json::from_str(text).map_err(unreadable)?;
    let (context, details) = entry(&mut view, "contexts", "context").ok_or("it has no context")?;
    let (_, cluster) =
        entry(&mut view, "clusters", "cluster").ok_or("its cluster is not in the kubeconfig")?;
    // A context may name no user; then there are no credentials.
    let (user, mut credentials) = entry(&mut view, "users", "user").unwrap_or_default();

    let server = word(&cluster, "server").ok_or("its cluster names no `server`")?.to_owned();
    let parsed = url::Url::parse(&server)
        .map_err(|_| "the `server` of its cluster is no URL; write `https://host:port`")?;
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err("the `server` of its cluster holds a user's name or password, which would be \
                    shown; move them to `users`"
            .to_owned());
    }
    let ca_sha256 = match word(&cluster, "certificate-authority-data") {
        Some(data) => {
            let bytes = STANDARD.decode(data).map_err(|_| "its `certificate-authority-data` is not base64")?;
            Some(Digest::of(&bytes).to_string())
        }
        None => None,
    };
    inline_token(&mut credentials, source)?;
    place_plugin(&mut credentials, source)?;
    let secrets = secrets_of(&credentials, &cluster);

    let mut meant = json!({ "cluster": "cluster", "user": "user" });
    if let (Some(namespace), Some(meant)) = (word(&details, "namespace"), meant.as_object_mut()) {
        meant.insert("namespace".to_owned(), namespace.into());
    }
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": context,
        "contexts": [{ "name": context, "context": meant }],
        "clusters": [{ "name": "cluster", "cluster": cluster }],
        "users": [{ "name": "user", "user": credentials }],
    });
    let cluster = Cluster { context, server, ca_sha256, user };
    Ok((Frozen { cluster, config: config.to_string().into() }, secrets))
}

/// Takes the only entry of a list out: its name and what it holds.
fn entry(view: &mut Value, list: &str, field: &str) -> Option<(String, Map<String, Value>)> {
    let first = view.get_mut(list)?.as_array_mut()?.first_mut()?.as_object_mut()?;
    let name = first.get("name")?.as_str()?.to_owned();
    match first.remove(field)? {
        Value::Object(held) => Some((name, held)),
        _ => None,
    }
}

fn word<'a>(map: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    map.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// `--flatten` leaves a token's file where it is. What is frozen must not change with it.
fn inline_token(user: &mut Map<String, Value>, source: &KubeconfigSource) -> Result<(), String> {
    let Some(file) = word(user, "tokenFile") else { return Ok(()) };
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
fn place_plugin(user: &mut Map<String, Value>, source: &KubeconfigSource) -> Result<(), String> {
    let Some(plugin) = user.get_mut("exec").and_then(Value::as_object_mut) else { return Ok(()) };
    if let Some(command) = word(plugin, "command").filter(|command| command.contains('/')) {
        let path = resolved(command, source)?;
        plugin.insert("command".to_owned(), path.to_string_lossy().into());
    }
    let Some(home) = source.home.as_ref().and_then(|home| home.to_str()) else { return Ok(()) };
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
fn resolved(path: &str, source: &KubeconfigSource) -> Result<PathBuf, String> {
    if path.starts_with('/') {
        return Ok(PathBuf::from(path));
    }
    let file = source.only_file().ok_or_else(|| {
        format!("`{path}` is relative, and there are several kubeconfig files; write an absolute path")
    })?;
    std::path::absolute(file.parent().unwrap_or(Path::new("/")).join(path))
        .map_err(|error| format!("`{path}` can't be made absolute ({})", error.kind()))
}

/// What must never be shown.
fn secrets_of(user: &Map<String, Value>, cluster: &Map<String, Value>) -> Vec<SecretString> {
    let mut found: Vec<String> =
        ["token", "password"].into_iter().filter_map(|key| word(user, key)).map(ToOwned::to_owned).collect();
    if let Some(key) = word(user, "client-key-data") {
        found.push(key.to_owned());
        let decoded = STANDARD.decode(key).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        found.extend(decoded);
    }
    if let Some(Value::Object(config)) = user.get("auth-provider").and_then(|held| held.get("config")) {
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
