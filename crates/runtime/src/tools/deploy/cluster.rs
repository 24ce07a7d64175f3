//! What a kubeconfig context means, fixed when the run starts.
//!
//! The pinned `kubectl` is asked once for each context, about the operator's own files. From its
//! answer come the [`Cluster`] that people are shown and that an approval binds to, and a kubeconfig
//! with nothing but that context in it. Whatever happens to the operator's files afterwards, every
//! later `kubectl` of the run gets that one.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lar_core::json::Digest;
use lar_core::redact::Redactor;
use lar_core::scope::deploy::{Cluster, DeployMethod};
use lar_core::scope::needs::Found;
use lar_core::scope::{Endpoint, Scope};
use lar_core::token::Token;
use secrecy::SecretString;
use serde_json::{Map, Value, json};

use super::super::child::{self, How, Order, Ran};
use super::super::programs::Programs;
use super::credentials::{inline_token, place_plugin, secrets_of, word};
use super::place::{PLAIN, private_directory};
use super::plugin;
use super::wanted::{KUBECONFIG, Wanted, wanted};
use crate::confine::Surroundings;
use crate::stop::Stop;
use lar_core::display::first_chars;

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
pub(in crate::tools) struct Frozen {
    /// What it stands for.
    pub(super) cluster: Cluster,
    /// The kubeconfig, as JSON, which is YAML too.
    pub(super) config: SecretString,
    /// The proxy that its cluster is reached through.
    proxy: Option<String>,
}

impl Frozen {
    /// Where a `kubectl` connects to with it: the server, or the proxy that the kubeconfig names.
    pub(super) fn server(&self) -> Option<Endpoint> {
        let url = url::Url::parse(self.proxy.as_deref().unwrap_or(&self.cluster.server)).ok()?;
        let host = url.host_str()?;
        format!("{host}:{}", url.port_or_known_default()?).parse().ok()
    }
}

impl KubeconfigSource {
    /// The files that it is read from, separated by `:`.
    fn files(&self) -> Option<OsString> {
        let named = self.kubeconfig.clone().filter(|files| !files.is_empty());
        named.or_else(|| Some(Path::new(self.home.as_ref()?).join(".kube/config").into()))
    }

    /// The only one of them, if there are no others.
    pub(super) fn only_file(&self) -> Option<PathBuf> {
        let files = self.files()?;
        let mut files = std::env::split_paths(&files).filter(|file| file != Path::new(""));
        let first = files.next()?;
        files.next().is_none().then_some(first)
    }
}

impl Kubeconfigs {
    /// Resolves the contexts of all `kubectl` deployments among `tokens`. Without any, nothing is
    /// looked for and nothing can go wrong.
    ///
    /// # Errors
    /// [`ClusterError`] when `kubectl` is absent, or doesn't find the context.
    pub async fn resolve(
        tokens: &[Token],
        programs: &Programs,
        source: &KubeconfigSource,
    ) -> Result<Self, ClusterError> {
        let mut all = Self::default();
        for token in tokens {
            for Wanted { context, required } in wanted(token) {
                if all.by_context.contains_key(&context) {
                    continue;
                }
                match resolve(token.name(), context.as_deref(), programs, source).await {
                    Ok((frozen, secrets)) => {
                        all.by_context.insert(context, frozen);
                        all.secrets.extend(secrets);
                    }
                    Err(error) if required => return Err(error),
                    // The program will say so by itself when it is run.
                    Err(_) => {}
                }
            }
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

    /// Where each context leads to, and as whom.
    pub(in crate::tools) fn found(&self) -> Vec<Found> {
        let each = self.by_context.iter().map(|(context, frozen)| {
            let Cluster { context: name, server, user, .. } = &frozen.cluster;
            Found {
                need: KUBECONFIG.to_owned(),
                choice: context.as_ref().map(|context| format!("context={context}")),
                network: frozen.server().into_iter().collect(),
                credential: Some(format!("kubeconfig context `{name}`, user `{user}`, {server}")),
            }
        });
        each.collect()
    }

    /// The kubeconfig of a context.
    pub(in crate::tools) fn of(&self, context: Option<&str>) -> Option<&Frozen> {
        self.by_context.get(&context.map(ToOwned::to_owned))
    }
}

/// Resolves one context: what it stands for, and what of it must never be shown.
pub(super) async fn resolve(
    token: &str,
    context: Option<&str>,
    programs: &Programs,
    source: &KubeconfigSource,
) -> Result<(Frozen, Vec<SecretString>), ClusterError> {
    let text = view(token, context, programs, source).await?;
    let text = plugin::settle(text, source, programs)
        .await
        .map_err(|message| fault(token, context, message))?;
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
    let mut argv: Vec<String> =
        ["kubectl", "config", "view", "--minify", "--flatten", "--raw", "-o", "json"]
            .map(ToOwned::to_owned)
            .into();
    argv.extend(context.map(|context| format!("--context={context}")));
    let mut env = vec![("PATH".into(), programs.path())];
    env.extend(PLAIN.map(|(name, value)| (name.into(), value.into())));
    // Some `kubectl` ask the server for its version before anything else, to run the build that
    // fits it, and keep the answer in the home: not in the operator's.
    let home = private_directory().map_err(|error| {
        fault(token, context, format!("no private directory could be made ({})", error.kind()))
    })?;
    env.push(("HOME".into(), home.path().into()));
    env.extend(source.files().map(|files| ("KUBECONFIG".into(), files)));
    // A relative KUBECONFIG is meant from where the operator stands.
    let workdir = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    let around = Surroundings::default();
    let order = Order { argv, env, workdir, timeout: TIMEOUT, around };
    // The credentials become known by this very answer; it goes nowhere but into `freeze`.
    let ran = child::run(programs, &Redactor::default(), None, None, &Stop::default(), order).await;
    match ran {
        Ran::NeverBegan(message) => {
            Err(ClusterError::NoKubectl { token: token.to_owned(), message })
        }
        Ran::Ended(end) if matches!(end.how, How::Exited(0)) => Ok(end.stdout.text),
        Ran::Ended(end) => {
            let last = end.stderr.text.lines().rfind(|line| !line.trim().is_empty());
            let last = last.unwrap_or("`kubectl config view` did not answer");
            Err(fault(
                token,
                context,
                first_chars(last.trim_start_matches("error: "), 300).to_owned(),
            ))
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
            let bytes = STANDARD
                .decode(data)
                .map_err(|_| "its `certificate-authority-data` is not base64")?;
            Some(Digest::of(&bytes).to_string())
        }
        None => None,
    };
    inline_token(&mut credentials, source)?;
    place_plugin(&mut credentials, source)?;
    let secrets = secrets_of(&credentials, &cluster);

    let proxy = word(&cluster, "proxy-url").map(ToOwned::to_owned);
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
    Ok((Frozen { cluster, config: config.to_string().into(), proxy }, secrets))
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

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    fn view(cluster: Value, user: Value) -> String {
        json!({
            "kind": "Config",
            "apiVersion": "v1",
            "current-context": "admin@prod",
            "contexts": [{
                "name": "admin@prod",
                "context": {"cluster": "prod", "user": "admin", "namespace": "web", "extensions": []},
            }],
            "clusters": [{"name": "prod", "cluster": cluster}],
            "users": [{"name": "admin", "user": user}],
        })
        .to_string()
    }

    fn at(home: &Path) -> KubeconfigSource {
        KubeconfigSource { kubeconfig: None, home: Some(home.into()) }
    }

    fn exposed(secrets: &[SecretString]) -> Vec<&str> {
        secrets.iter().map(|secret| secret.expose_secret()).collect()
    }

    #[test]
    fn a_context_becomes_a_cluster_and_a_kubeconfig() {
        let ca = "-----BEGIN CERTIFICATE-----\n";
        let cluster = json!({
            "server": "https://api.prod.test:6443",
            "certificate-authority-data": STANDARD.encode(ca),
        });
        let key = STANDARD.encode("the operator's private key");
        let user =
            json!({"client-key-data": key, "password": "short", "token": "bearer-0123456789"});
        let (frozen, secrets) = freeze(&view(cluster, user), &at(Path::new("/home/op"))).unwrap();
        let expected = Cluster {
            context: "admin@prod".to_owned(),
            server: "https://api.prod.test:6443".to_owned(),
            ca_sha256: Some(Digest::of(ca.as_bytes()).to_string()),
            user: "admin".to_owned(),
        };
        assert_eq!(frozen.cluster, expected);
        assert_eq!(exposed(&secrets), ["bearer-0123456789", &key, "the operator's private key"]);
        let config: Value = serde_json::from_str(frozen.config.expose_secret()).unwrap();
        assert_eq!(config["current-context"], "admin@prod");
        assert_eq!(config["contexts"][0]["context"]["namespace"], "web");
        assert_eq!(config["users"][0]["user"]["token"], "bearer-0123456789");
        assert!(!format!("{frozen:?}").contains("bearer"));
    }

    #[test]
    fn what_lies_in_files_is_frozen_too() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".kube")).unwrap();
        std::fs::write(home.path().join(".kube/token"), "from-the-file-4711\n").unwrap();
        let cluster = json!({"server": "https://api.prod.test"});
        let user = json!({
            "tokenFile": "token",
            "exec": {"command": "./plugin", "env": [{"name": "AWS_SESSION_TOKEN", "value": "session-0815-4711"}]},
        });
        let text = view(cluster.clone(), user.clone());
        let (frozen, secrets) = freeze(&text, &at(home.path())).unwrap();
        assert_eq!(exposed(&secrets), ["from-the-file-4711", "session-0815-4711"]);
        let config: Value = serde_json::from_str(frozen.config.expose_secret()).unwrap();
        let held = &config["users"][0]["user"];
        assert_eq!(held["token"], "from-the-file-4711");
        assert_eq!(held.get("tokenFile"), None);
        let plugin = home.path().join(".kube/./plugin");
        assert_eq!(Path::new(held["exec"]["command"].as_str().unwrap()), plugin);
        assert_eq!(held["exec"]["env"][1], json!({"name": "HOME", "value": home.path()}));

        // With several files it can't be told from which one a path is meant.
        let several = KubeconfigSource { kubeconfig: Some("/a:/b".into()), home: None };
        let message = freeze(&text, &several).unwrap_err();
        assert!(message.contains("`token` is relative"), "{message}");
    }

    #[test]
    fn what_can_not_be_shown_or_understood_is_refused() {
        let source = at(Path::new("/home/op"));
        for (cluster, word) in [
            (json!({}), "names no `server`"),
            (json!({"server": "api"}), "is no URL"),
            (json!({"server": "https://me:secret-word@api.test"}), "holds a user's name"),
            (
                json!({"server": "https://api.test", "certificate-authority-data": "*"}),
                "not base64",
            ),
        ] {
            let message = freeze(&view(cluster, json!({})), &source).unwrap_err();
            assert!(message.contains(word) && !message.contains("secret-word"), "{message}");
        }
        for text in ["", "[]", "{}", r#"{"contexts": null}"#] {
            assert!(freeze(text, &source).is_err(), "{text}");
        }
        // No user is no fault: there are clusters without.
        let mut none: Value =
            serde_json::from_str(&view(json!({"server": "http://127.0.0.1:1"}), json!({})))
                .unwrap();
        none["users"] = Value::Null;
        assert_eq!(freeze(&none.to_string(), &source).unwrap().0.cluster.user, "");
    }
}
