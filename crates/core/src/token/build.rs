//! How tokens are written in code: one builder a kind, with the fields' names of the manifest.

use std::time::Duration;

use secrecy::SecretString;

use super::{Examples, MAX_USES, Token, TokenError};
use crate::scope::command::CommandScope;
use crate::scope::deploy::{self, DeployMethod, check_plain, fill, image_name};
use crate::scope::secret::{Injection, SecretSource, check_env_name};
use crate::scope::shell::{self, ShellScope};
use crate::scope::url::HttpScope;
use crate::scope::{DeployScope, FileMode, FileScope, Scope, SecretScope, WaitScope};
use crate::time::Timestamp;

/// What every kind of token has.
#[derive(Debug, Clone)]
struct Common {
    name: String,
    max_uses: u32,
    requires_approval: bool,
    required: bool,
    expires: Option<Timestamp>,
    examples: Examples,
}

impl Common {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            max_uses: 1,
            requires_approval: false,
            required: false,
            expires: None,
            examples: Examples::default(),
        }
    }

    fn token(self, scope: Scope) -> Result<Token, TokenError> {
        if self.max_uses == 0 || self.max_uses > MAX_USES {
            return Err(TokenError::Field {
                field: "max_uses",
                message: format!("{} is not between 1 and {MAX_USES}", self.max_uses),
            });
        }
        let token = Token {
            name: self.name,
            scope,
            max_uses: self.max_uses,
            requires_approval: self.requires_approval,
            required: self.required,
            expires: self.expires,
            examples: self.examples,
        };
        check_name(&token)?;
        Ok(token)
    }
}

/// A tool's name must fit what model APIs take.
fn check_name(token: &Token) -> Result<(), TokenError> {
    let fail = |message: String| TokenError::Name { name: token.name.escape_debug().to_string(), message };
    let tool = token.tool_name();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if token.name.is_empty() {
        return Err(fail("a token needs a name".into()));
    }
    if !token.name.bytes().all(plain) {
        return Err(fail("a name is made of letters, digits, `_` and `-` (ASCII)".into()));
    }
    if tool.len() > 128 {
        return Err(fail(format!("its tool name has {} characters; at most 128 fit", tool.len())));
    }
    Ok(())
}

/// The setters that every builder has.
macro_rules! common_setters {
    ($builder:ident) => {
        impl $builder {
            /// Grants `uses` uses instead of one; each is spent once.
            #[must_use]
            pub fn max_uses(mut self, uses: u32) -> Self {
                self.common.max_uses = uses;
                self
            }

            /// Makes a human approve every use.
            #[must_use]
            pub fn requires_approval(mut self, yes: bool) -> Self {
                self.common.requires_approval = yes;
                self
            }

            /// Makes the run fail when this token was never spent with success.
            #[must_use]
            pub fn required(mut self, yes: bool) -> Self {
                self.common.required = yes;
                self
            }

            /// Ends the token at that moment of the ledger's clock.
            #[must_use]
            pub fn expires(mut self, at: Timestamp) -> Self {
                self.common.expires = Some(at);
                self
            }

            /// States a call that must be allowed.
            #[must_use]
            pub fn allows(mut self, example: impl Into<String>) -> Self {
                self.common.examples.allows.push(example.into());
                self
            }

            /// States a call that must be refused.
            #[must_use]
            pub fn refuses(mut self, example: impl Into<String>) -> Self {
                self.common.examples.refuses.push(example.into());
                self
            }
        }
    };
}

/// Runs commands that begin with an allowed prefix.
///
/// ```
/// use lar_core::token::ShellToken;
/// let token = ShellToken::new("read-pods", ["kubectl get pods"]).max_uses(5).build()?;
/// assert_eq!(token.tool_name(), "shell_read-pods");
/// # Ok::<(), lar_core::token::TokenError>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder grants nothing until `build` is called"]
pub struct ShellToken {
    common: Common,
    allowed: Vec<String>,
    env: Vec<String>,
    workdir: Option<String>,
    timeout: Duration,
}

/// A shell token with more than one use: the same builder, with [`ShellToken::max_uses`].
pub type MultiUseShellToken = ShellToken;
/// An HTTP token with more than one use: the same builder, with [`HttpToken::max_uses`].
pub type MultiUseHttpToken = HttpToken;
/// A file token with more than one use: the same builder, with [`FileToken::max_uses`].
pub type MultiUseFileToken = FileToken;

impl ShellToken {
    /// A token for commands that begin with one of `allowed`.
    pub fn new(name: &str, allowed: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            common: Common::new(name),
            allowed: allowed.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            workdir: None,
            timeout: shell::DEFAULT_TIMEOUT,
        }
    }

    /// Kills the command and all that it started after this time.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Passes the environment variable `name` on to the child.
    pub fn env(mut self, name: impl Into<String>) -> Self {
        self.env.push(name.into());
        self
    }

    /// Runs the command in this directory.
    pub fn workdir(mut self, path: impl Into<String>) -> Self {
        self.workdir = Some(path.into());
        self
    }

    /// Checks everything and makes the token.
    pub fn build(self) -> Result<Token, TokenError> {
        let commands = CommandScope::new(self.allowed)?;
        for name in &self.env {
            check_env_name("env", name)?;
        }
        check_timeout(self.timeout)?;
        self.common.token(Scope::Shell(ShellScope {
            commands,
            env: self.env,
            workdir: self.workdir,
            timeout: self.timeout,
        }))
    }
}
common_setters!(ShellToken);

/// Sends requests to one URL.
///
/// ```
/// use lar_core::token::HttpToken;
/// let token = HttpToken::new("health", "https://api.internal/health", ["GET"]).build()?;
/// assert_eq!(token.tool_name(), "health");
/// # Ok::<(), lar_core::token::TokenError>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder grants nothing until `build` is called"]
pub struct HttpToken {
    common: Common,
    url: String,
    methods: Vec<String>,
    headers: Vec<(String, String)>,
    timeout: Option<Duration>,
    max_body: Option<u64>,
}

impl HttpToken {
    /// A token for `methods` on `url`.
    pub fn new(name: &str, url: &str, methods: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            common: Common::new(name),
            url: url.to_owned(),
            methods: methods.into_iter().map(Into::into).collect(),
            headers: Vec::new(),
            timeout: None,
            max_body: None,
        }
    }

    /// Sends this header with every request.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Ends the whole request after this time.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Allows bodies, sent or received, of at most so many bytes.
    pub fn max_body(mut self, bytes: u64) -> Self {
        self.max_body = Some(bytes);
        self
    }

    /// Checks everything and makes the token.
    pub fn build(self) -> Result<Token, TokenError> {
        let mut scope = HttpScope::new(&self.url, &self.methods, &self.headers)?;
        if let Some(timeout) = self.timeout {
            check_timeout(timeout)?;
            scope.timeout = timeout;
        }
        if let Some(bytes) = self.max_body {
            check_bytes("max_body", bytes)?;
            scope.max_body = bytes;
        }
        self.common.token(Scope::Http(scope))
    }
}
common_setters!(HttpToken);

/// Reads or writes files beneath allowed paths.
///
/// ```
/// use lar_core::{scope::FileMode, token::FileToken};
/// let token = FileToken::new("config", ["/etc/app"], FileMode::Read).build()?;
/// assert_eq!(token.tool_name(), "file_config");
/// # Ok::<(), lar_core::token::TokenError>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder grants nothing until `build` is called"]
pub struct FileToken {
    common: Common,
    allowed_paths: Vec<String>,
    mode: FileMode,
    max_bytes: Option<u64>,
}

impl FileToken {
    /// A token for files at or beneath `allowed_paths`, which are absolute.
    pub fn new(
        name: &str,
        allowed_paths: impl IntoIterator<Item = impl Into<String>>,
        mode: FileMode,
    ) -> Self {
        Self {
            common: Common::new(name),
            allowed_paths: allowed_paths.into_iter().map(Into::into).collect(),
            mode,
            max_bytes: None,
        }
    }

    /// Reads and writes at most so many bytes.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// Checks everything and makes the token.
    pub fn build(self) -> Result<Token, TokenError> {
        let mut scope = FileScope::new(&self.allowed_paths, self.mode)?;
        if let Some(bytes) = self.max_bytes {
            check_bytes("max_bytes", bytes)?;
            scope.max_bytes = bytes;
        }
        self.common.token(Scope::File(scope))
    }
}
common_setters!(FileToken);

/// Carries out one deployment, all of which the token states.
///
/// ```
/// use lar_core::token::DeployToken;
/// let token = DeployToken::kubectl("prod", "production", "registry.internal/team/app:v2")
///     .rollback_to("registry.internal/team/app:v1")
///     .requires_approval(true)
///     .build()?;
/// assert_eq!(token.tool_name(), "deploy_prod");
/// # Ok::<(), lar_core::token::TokenError>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder grants nothing until `build` is called"]
pub struct DeployToken {
    common: Common,
    target: String,
    image: String,
    rollback_to: Option<String>,
    timeout: Duration,
    how: How,
}

#[derive(Debug, Clone)]
enum How {
    Kubectl {
        namespace: Option<String>,
        deployment: Option<String>,
        container: Option<String>,
        context: Option<String>,
    },
    Command {
        argv: Vec<String>,
        rollback_argv: Option<Vec<String>>,
    },
}

impl DeployToken {
    /// Sets the image of a Kubernetes deployment and awaits the rollout.
    pub fn kubectl(name: &str, target: &str, image: &str) -> Self {
        let how = How::Kubectl { namespace: None, deployment: None, container: None, context: None };
        Self::with(name, target, image, how)
    }

    /// Runs a declared argument vector; `{image}` and `{target}` may stand inside its words.
    pub fn command(
        name: &str,
        target: &str,
        image: &str,
        argv: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        let argv = argv.into_iter().map(Into::into).collect();
        Self::with(name, target, image, How::Command { argv, rollback_argv: None })
    }

    fn with(name: &str, target: &str, image: &str, how: How) -> Self {
        Self {
            common: Common::new(name),
            target: target.to_owned(),
            image: image.to_owned(),
            rollback_to: None,
            timeout: deploy::DEFAULT_TIMEOUT,
            how,
        }
    }

    /// Returns to this image, once, when the rollout fails.
    pub fn rollback_to(mut self, image: impl Into<String>) -> Self {
        self.rollback_to = Some(image.into());
        self
    }

    /// Runs this, once, when a `command` deployment fails; `{image}` stands for `rollback_to`.
    pub fn rollback_argv(mut self, argv: impl IntoIterator<Item = impl Into<String>>) -> Self {
        if let How::Command { rollback_argv, .. } = &mut self.how {
            *rollback_argv = Some(argv.into_iter().map(Into::into).collect());
        }
        self
    }

    /// Uses this namespace instead of the target's name.
    pub fn namespace(mut self, value: impl Into<String>) -> Self {
        if let How::Kubectl { namespace, .. } = &mut self.how {
            *namespace = Some(value.into());
        }
        self
    }

    /// Patches this deployment instead of the one named like the image.
    pub fn deployment(mut self, value: impl Into<String>) -> Self {
        if let How::Kubectl { deployment, .. } = &mut self.how {
            *deployment = Some(value.into());
        }
        self
    }

    /// Sets the image of this container instead of the one named like the image.
    pub fn container(mut self, value: impl Into<String>) -> Self {
        if let How::Kubectl { container, .. } = &mut self.how {
            *container = Some(value.into());
        }
        self
    }

    /// Uses this kubeconfig context instead of the current one.
    pub fn context(mut self, value: impl Into<String>) -> Self {
        if let How::Kubectl { context, .. } = &mut self.how {
            *context = Some(value.into());
        }
        self
    }

    /// Gives the rollout this much time.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Checks everything and makes the token.
    pub fn build(self) -> Result<Token, TokenError> {
        check_plain("target", &self.target)?;
        check_plain("image", &self.image)?;
        if let Some(image) = &self.rollback_to {
            check_plain("rollback_to", image)?;
        }
        check_timeout(self.timeout)?;
        let method = match self.how {
            How::Kubectl { namespace, deployment, container, context } => {
                let image = image_name(&self.image).to_owned();
                let namespace = namespace.unwrap_or_else(|| self.target.clone());
                let deployment = deployment.unwrap_or_else(|| image.clone());
                let container = container.unwrap_or(image);
                check_dns_label("namespace", &namespace)?;
                check_dns_label("deployment", &deployment)?;
                check_dns_label("container", &container)?;
                if let Some(context) = &context {
                    check_plain("context", context)?;
                }
                DeployMethod::Kubectl { namespace, deployment, container, context, cluster: None }
            }
            How::Command { argv, rollback_argv } => {
                let back = self.rollback_to.as_deref();
                if back.is_some() && rollback_argv.is_none() {
                    return Err(TokenError::Field {
                        field: "rollback_to",
                        message: "a `command` deployment needs `rollback_argv` to return".into(),
                    });
                }
                DeployMethod::Command {
                    argv: fill(&argv, &self.image, &self.target)?,
                    rollback_argv: rollback_argv
                        .map(|argv| fill(&argv, back.unwrap_or(&self.image), &self.target))
                        .transpose()?,
                }
            }
        };
        self.common.token(Scope::Deploy(DeployScope {
            target: self.target,
            image: self.image,
            rollback_to: self.rollback_to,
            method,
            timeout: self.timeout,
        }))
    }
}
common_setters!(DeployToken);

/// Wraps a shell or HTTP token and puts a secret into what it does.
///
/// ```
/// use lar_core::token::{HttpToken, SecretToken};
/// let slack = HttpToken::new("slack", "https://slack.com/api/chat.postMessage", ["POST"]).build()?;
/// let token = SecretToken::from_env("notify", "SLACK_TOKEN", slack)
///     .header("Authorization")
///     .format("Bearer {secret}")
///     .build()?;
/// assert_eq!(token.tool_name(), "secret_notify");
/// # Ok::<(), lar_core::token::TokenError>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder grants nothing until `build` is called"]
pub struct SecretToken {
    common: Common,
    source: SecretSource,
    injection: Option<Injection>,
    format: String,
    inner: Token,
}

impl SecretToken {
    /// Takes the secret from the runtime's environment variable `variable`.
    pub fn from_env(name: &str, variable: &str, inner: Token) -> Self {
        Self::with(name, SecretSource::Env(variable.to_owned()), inner)
    }

    /// Takes the secret from a file.
    pub fn from_file(name: &str, path: &str, inner: Token) -> Self {
        Self::with(name, SecretSource::File(path.to_owned()), inner)
    }

    /// Takes the secret from code. There is no way to write one into a manifest.
    pub fn from_value(name: &str, value: SecretString, inner: Token) -> Self {
        Self::with(name, SecretSource::Value(value), inner)
    }

    fn with(name: &str, source: SecretSource, inner: Token) -> Self {
        let mut common = Common::new(name);
        // The inner token's limits hold unless the wrapper is told otherwise, never less strictly.
        common.max_uses = inner.max_uses();
        common.requires_approval = inner.requires_approval();
        common.expires = inner.expires();
        Self { common, source, injection: None, format: "{secret}".to_owned(), inner }
    }

    /// Puts the secret into this request header.
    pub fn header(mut self, name: impl Into<String>) -> Self {
        self.injection = Some(Injection::Header(name.into()));
        self
    }

    /// Puts the secret into this environment variable of the child.
    pub fn inject_env(mut self, name: impl Into<String>) -> Self {
        self.injection = Some(Injection::Env(name.into()));
        self
    }

    /// What is put there; `{secret}` stands for the value.
    pub fn format(mut self, format: impl Into<String>) -> Self {
        self.format = format.into();
        self
    }

    /// Checks everything and makes the token.
    pub fn build(mut self) -> Result<Token, TokenError> {
        let Some(injection) = self.injection else {
            return Err(TokenError::Field {
                field: "header",
                message: "say where the secret goes: `header = …` or `inject_env = …`".into(),
            });
        };
        self.common.requires_approval |= self.inner.requires_approval();
        let name = self.inner.name().to_owned();
        let scope = self.inner.scope().clone();
        let scope = SecretScope::new(self.source, injection, &self.format, &name, scope)?;
        self.common.token(Scope::Secret(scope))
    }
}
common_setters!(SecretToken);

/// Lets the agent pause.
///
/// ```
/// use lar_core::token::WaitToken;
/// assert_eq!(WaitToken::new("rollout", 120).build()?.tool_name(), "wait_rollout");
/// # Ok::<(), lar_core::token::TokenError>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder grants nothing until `build` is called"]
pub struct WaitToken {
    common: Common,
    max_seconds: u64,
}

impl WaitToken {
    /// A pause of at most `max_seconds`.
    pub fn new(name: &str, max_seconds: u64) -> Self {
        Self { common: Common::new(name), max_seconds }
    }

    /// Checks everything and makes the token.
    pub fn build(self) -> Result<Token, TokenError> {
        if self.max_seconds == 0 || self.max_seconds > 86_400 {
            return Err(TokenError::Field {
                field: "max_seconds",
                message: format!("{} is not between 1 and 86,400 (a day)", self.max_seconds),
            });
        }
        self.common.token(Scope::Wait(WaitScope { max_seconds: self.max_seconds }))
    }
}
common_setters!(WaitToken);

fn check_timeout(timeout: Duration) -> Result<(), TokenError> {
    if timeout.is_zero() || timeout > Duration::from_secs(86_400) {
        return Err(TokenError::Field {
            field: "timeout",
            message: "must be more than nothing and at most a day".into(),
        });
    }
    Ok(())
}

/// The most that a body or a file may have: 64 MiB, which is held in memory.
const MOST_BYTES: u64 = 64 << 20;

fn check_bytes(field: &'static str, bytes: u64) -> Result<(), TokenError> {
    if bytes == 0 || bytes > MOST_BYTES {
        return Err(TokenError::Field {
            field,
            message: format!("{bytes} is not between 1 and {MOST_BYTES} (64 MiB)"),
        });
    }
    Ok(())
}

/// Kubernetes names: RFC 1123 labels, with dots for deployments.
fn check_dns_label(field: &'static str, name: &str) -> Result<(), TokenError> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    let ends = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let fits = name.len() <= 253
        && name.bytes().all(plain)
        && ends(name.bytes().next())
        && ends(name.bytes().last());
    if fits {
        return Ok(());
    }
    Err(TokenError::Field {
        field,
        message: format!(
            "`{}` is not a Kubernetes name (lower-case letters, digits, `-` and `.`)",
            name.escape_debug()
        ),
    })
}
