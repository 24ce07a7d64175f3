//! What would happen: the canonical form of an invocation. It is what a person is shown, what the
//! digest is taken of, and what the tools carry out.

use serde::{Serialize, Serializer};

use crate::json::Digest;
use crate::scope::Endpoint;
use crate::scope::command::Command;
use crate::scope::deploy::DeployMethod;
use crate::scope::secret::Injection;

/// Text that is written in full while it is short, and by length and SHA-256 beyond that, so that a
/// record stays small. Either form names exactly one text.
#[derive(Clone, PartialEq, Eq)]
pub struct Content(String);

/// Up to so many bytes a text is written in full.
const INLINE: usize = 4096;

impl Content {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T: Into<String>> From<T> for Content {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Content({} bytes)", self.0.len())
    }
}

impl Serialize for Content {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Named {
            bytes: usize,
            sha256: Digest,
        }
        if self.0.len() <= INLINE {
            return serializer.serialize_str(&self.0);
        }
        Named { bytes: self.0.len(), sha256: Digest::of(self.0.as_bytes()) }.serialize(serializer)
    }
}

/// What a tool call comes down to.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Action {
    /// Run a program.
    Shell(ShellAction),
    /// Send a request.
    Http(HttpAction),
    /// Read or write a file.
    File(FileAction),
    /// Run a statement on a database.
    Database(DatabaseAction),
    /// Deploy an image.
    Deploy(DeployAction),
    /// Return from a failed deployment.
    Rollback(DeployAction),
    /// Pause.
    Wait(WaitAction),
    /// Do one of the above with a secret.
    Secret(SecretAction),
}

/// Run a program with these words; no shell is involved.
#[derive(Debug, Clone)]
pub struct ShellAction {
    /// The command, split once.
    pub command: Command,
    /// The working directory, when the token names one.
    pub workdir: Option<String>,
    /// Names of further environment variables that the child gets.
    pub env: Vec<String>,
    /// Where it may connect to.
    pub network: Vec<Endpoint>,
    /// What it may change.
    pub writes: Vec<String>,
    /// As whom it acts elsewhere, in words for people.
    pub credentials: Vec<String>,
}

impl Serialize for ShellAction {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown<'a> {
            argv: Vec<Content>,
            #[serde(skip_serializing_if = "Option::is_none")]
            workdir: &'a Option<String>,
            #[serde(skip_serializing_if = "<[String]>::is_empty")]
            env: &'a [String],
            #[serde(skip_serializing_if = "<[Endpoint]>::is_empty")]
            network: &'a [Endpoint],
            #[serde(skip_serializing_if = "<[String]>::is_empty")]
            writes: &'a [String],
            #[serde(skip_serializing_if = "<[String]>::is_empty")]
            credentials: &'a [String],
        }
        let argv = self.command.argv().iter().map(|word| word.as_str().into()).collect();
        let Self { workdir, env, network, writes, credentials, .. } = self;
        Shown { argv, workdir, env, network, writes, credentials }.serialize(serializer)
    }
}

/// Send a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HttpAction {
    /// The method, upper case.
    pub method: String,
    /// The token's URL.
    pub url: String,
    /// The token's headers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// The JSON text that is sent, exactly as the model wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Content>,
}

/// What is done with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FileOperation {
    /// Read it whole.
    Read,
    /// Replace it whole.
    Write,
}

impl FileOperation {
    /// The operation's name, as the model writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// Read or write a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileAction {
    /// Read or write.
    pub operation: FileOperation,
    /// The allowed path that it lies at or beneath.
    pub root: String,
    /// The way from there; empty when the allowed path is the file itself.
    pub path: String,
    /// What is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
}

impl FileAction {
    /// The absolute path.
    pub fn whole_path(&self) -> String {
        if self.path.is_empty() {
            self.root.clone()
        } else {
            format!("{}/{}", self.root, self.path)
        }
    }
}

/// Run a statement on a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DatabaseAction {
    /// The SQL text, exactly as the model wrote it.
    pub query: Content,
    /// The values of its parameters, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub params: Vec<Param>,
}

/// The value of a parameter. Numbers keep their text, so that none is rounded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Param {
    /// No value.
    Null,
    /// A truth value.
    Bool(bool),
    /// A number, as its JSON text.
    Number(String),
    /// A text.
    Text(Content),
}

impl Param {
    /// The value as text, which is how it travels; `None` where there is none.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Null => None,
            Self::Bool(true) => Some("true"),
            Self::Bool(false) => Some("false"),
            Self::Number(text) => Some(text),
            Self::Text(text) => Some(text.as_str()),
        }
    }
}

/// Deploy an image, or return to one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeployAction {
    /// The environment.
    pub target: String,
    /// The image.
    pub image: String,
    /// How.
    #[serde(flatten)]
    pub method: DeployMethod,
    /// The image to return to when the rollout fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback_to: Option<String>,
    /// Where a declared command may connect to; a `kubectl` reaches its cluster alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub network: Vec<Endpoint>,
    /// What a declared command may change.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub writes: Vec<String>,
}

/// Pause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WaitAction {
    /// How long, in seconds.
    pub seconds: u64,
    /// Why, in the model's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Content>,
}

/// Do something with a secret. The value is not here.
#[derive(Debug, Clone, Serialize)]
pub struct SecretAction {
    /// Where the secret goes.
    pub injection: Injection,
    /// What is done.
    pub inner: Box<Action>,
}

impl Action {
    /// The kind's name.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Shell(_) => "shell",
            Self::Http(_) => "http",
            Self::File(_) => "file",
            Self::Database(_) => "database",
            Self::Deploy(_) => "deploy",
            Self::Rollback(_) => "rollback",
            Self::Wait(_) => "wait",
            Self::Secret(_) => "secret",
        }
    }

    /// The texts that are so long that the record has their digests alone.
    pub fn long_texts(&self) -> Vec<&str> {
        let texts: Vec<&str> = match self {
            Self::Shell(shell) => shell.command.argv().iter().map(String::as_str).collect(),
            Self::Http(http) => http.body.iter().map(Content::as_str).collect(),
            Self::File(file) => file.content.iter().map(Content::as_str).collect(),
            Self::Database(database) => {
                let params = database.params.iter().filter_map(Param::as_text);
                params.chain([database.query.as_str()]).collect()
            }
            Self::Wait(wait) => wait.reason.iter().map(Content::as_str).collect(),
            Self::Secret(secret) => return secret.inner.long_texts(),
            Self::Deploy(_) | Self::Rollback(_) => Vec::new(),
        };
        texts.into_iter().filter(|text| text.len() > INLINE).collect()
    }

    /// What a person is shown before saying yes: labelled lines, unescaped. They are made from the
    /// very values that run.
    pub fn lines(&self) -> Vec<(String, String)> {
        let line = |label: &str, value: &str| (label.to_owned(), value.to_owned());
        match self {
            Self::Shell(shell) => {
                let mut lines: Vec<_> = shell
                    .command
                    .argv()
                    .iter()
                    .enumerate()
                    .map(|(index, word)| (format!("argv[{index}]"), word.clone()))
                    .collect();
                if let Some(workdir) = &shell.workdir {
                    lines.push(line("workdir", workdir));
                }
                if !shell.env.is_empty() {
                    lines.push(line("env", &shell.env.join(" ")));
                }
                lines.extend(reach_lines(&shell.network, &shell.writes));
                lines.extend(shell.credentials.iter().map(|held| line("credential", held)));
                lines
            }
            Self::Http(http) => {
                let mut lines = vec![line("method", &http.method), line("url", &http.url)];
                for (name, value) in &http.headers {
                    lines.push((format!("header {name}"), value.clone()));
                }
                if let Some(body) = &http.body {
                    lines.push(line("body", body.as_str()));
                }
                lines
            }
            Self::File(file) => {
                let mut lines = vec![
                    line("operation", file.operation.as_str()),
                    line("path", &file.whole_path()),
                ];
                if let Some(content) = &file.content {
                    lines.push(("bytes".into(), content.len().to_string()));
                    lines.push((
                        "content sha256".into(),
                        Digest::of(content.as_str().as_bytes()).to_string(),
                    ));
                    lines.push(line("content", content.as_str()));
                }
                lines
            }
            Self::Database(database) => {
                let mut lines = vec![line("query", database.query.as_str())];
                for (index, param) in database.params.iter().enumerate() {
                    let value = match param {
                        Param::Text(text) => format!("'{}'", text.as_str()),
                        other => other.as_text().unwrap_or("NULL").to_owned(),
                    };
                    lines.push((format!("${}", index + 1), value));
                }
                lines
            }
            Self::Deploy(deploy) | Self::Rollback(deploy) => deploy_lines(deploy),
            Self::Wait(wait) => vec![("seconds".into(), wait.seconds.to_string())],
            Self::Secret(secret) => {
                let mut lines = secret.inner.lines();
                lines.push(("secret into".into(), secret.injection.summary()));
                lines
            }
        }
    }

    /// The program that this action starts, as it was named, if it starts one.
    pub fn program(&self) -> Option<&str> {
        match self {
            Self::Shell(shell) => shell.command.argv().first().map(String::as_str),
            Self::Deploy(deploy) | Self::Rollback(deploy) => match &deploy.method {
                DeployMethod::Kubectl { .. } => Some("kubectl"),
                DeployMethod::Command { argv, .. } => argv.first().map(String::as_str),
            },
            Self::Secret(secret) => secret.inner.program(),
            Self::Http(_) | Self::File(_) | Self::Database(_) | Self::Wait(_) => None,
        }
    }
}

/// What a program may connect to and change, for people.
fn reach_lines(network: &[Endpoint], writes: &[String]) -> Vec<(String, String)> {
    let endpoints: Vec<String> = network.iter().map(ToString::to_string).collect();
    let reaches = match endpoints.is_empty() {
        true => "nothing".to_owned(),
        false => endpoints.join(" "),
    };
    let mut lines = vec![("network".to_owned(), reaches)];
    if !writes.is_empty() {
        lines.push(("writes".to_owned(), writes.join(" ")));
    }
    lines
}

fn deploy_lines(deploy: &DeployAction) -> Vec<(String, String)> {
    let mut lines = vec![
        ("image".to_owned(), deploy.image.clone()),
        ("target".to_owned(), deploy.target.clone()),
    ];
    let mut line = |label: &str, value: &str| lines.push((label.to_owned(), value.to_owned()));
    match &deploy.method {
        DeployMethod::Kubectl { namespace, deployment, container, context, cluster } => {
            line("namespace", namespace);
            line("deployment", deployment);
            line("container", container);
            match cluster {
                Some(cluster) => {
                    line("context", &cluster.context);
                    line("server", &cluster.server);
                    line("ca sha256", cluster.ca_sha256.as_deref().unwrap_or("none"));
                    line("user", &cluster.user);
                }
                None => line("context", context.as_deref().unwrap_or("the current one")),
            }
        }
        DeployMethod::Command { argv, rollback_argv } => {
            for (index, word) in argv.iter().enumerate() {
                line(&format!("argv[{index}]"), word);
            }
            if let Some(rollback) = rollback_argv {
                line("on failure", &rollback.join(" "));
            }
            lines.extend(reach_lines(&deploy.network, &deploy.writes));
        }
    }
    if let Some(image) = &deploy.rollback_to {
        lines.push(("on failure".into(), format!("return to {image}, once")));
    }
    lines
}
