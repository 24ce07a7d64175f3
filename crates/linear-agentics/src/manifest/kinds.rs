//! The tables of tokens as types, one a kind, and what all kinds have.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use super::database::DatabaseTable;
use super::value::{DurationText, TimeText};

/// One token: its kind, its name, and what it allows.
#[derive(Debug, JsonSchema)]
#[schemars(tag = "kind", rename_all = "lowercase")]
#[expect(dead_code, reason = "the enum is the schema; a token is read as the type of its kind")]
pub(super) enum TokenTable {
    Shell(ShellTable),
    Http(HttpTable),
    File(FileTable),
    Database(DatabaseTable),
    Deploy(DeployTable),
    Secret(SecretTable),
    Wait(WaitTable),
}

/// The token that a secret is put into.
#[derive(Debug, JsonSchema)]
#[schemars(tag = "kind", rename_all = "lowercase")]
#[expect(dead_code, reason = "the enum is the schema; a token is read as the type of its kind")]
enum InnerKinds {
    Shell(ShellTable),
    Http(HttpTable),
}

/// The place of the inner token; the token itself is read as the type of its kind.
#[derive(Debug)]
pub(super) struct Inner;

impl<'de> Deserialize<'de> for Inner {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

impl JsonSchema for Inner {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "InnerToken".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        InnerKinds::json_schema(generator)
    }
}

/// When witnesses must have cosigned a spend.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum WitnessWord {
    BeforeEffect,
}

/// What every kind of token has.
#[derive(Debug)]
pub(super) struct Common {
    pub max_uses: Option<u32>,
    pub requires_approval: Option<bool>,
    pub approvers: Option<Vec<String>>,
    pub required_approvals: Option<u32>,
    pub not_the_runner: Option<bool>,
    pub required: Option<bool>,
    pub expires: Option<TimeText>,
    pub witness: Option<WitnessWord>,
    pub allows: Vec<String>,
    pub refuses: Vec<String>,
}

/// Declares a kind's table: what every kind has (a flattened struct would lose the refusal of
/// unknown keys), then its own.
macro_rules! token_table {
    ($(#[$about:meta])* $table:ident { $($(#[$meta:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$about])*
        #[derive(Debug, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub(super) struct $table {
            /// The token's name: letters, digits, `_` and `-`. Unique in the manifest.
            #[schemars(length(min = 1, max = 128), regex(pattern = "^[a-zA-Z0-9_-]+$"))]
            pub name: String,
            $($(#[$meta])* pub $field: $type,)*
            /// How many times it can be used; each use is spent for good. Default: 1.
            #[schemars(range(min = 1, max = 1_000_000))]
            pub max_uses: Option<u32>,
            /// Whether a human must approve every use. Default: false.
            pub requires_approval: Option<bool>,
            /// Who may approve the uses of this token, instead of those under `[approval]`: SSH public keys,
            /// each with the person's name, as in `alice@example.com ssh-ed25519 AAAA…`.
            #[schemars(length(min = 1, max = 64))]
            pub approvers: Option<Vec<String>>,
            /// How many of its `approvers` must approve. Default: 1.
            #[schemars(range(min = 1, max = 16))]
            pub required_approvals: Option<u32>,
            /// Whether whoever started the run can't be one of its `approvers`. Default: what `[approval]`
            /// says.
            pub not_the_runner: Option<bool>,
            /// Whether the run fails when this token was never spent with success. Default: false.
            pub required: Option<bool>,
            /// When the token ends.
            pub expires: Option<TimeText>,
            /// `before-effect`: nothing begins before the witnesses of `[witnessing]` have cosigned that
            /// the use is spent. When they don't, the use is given back. Default: no witness is awaited.
            pub witness: Option<crate::manifest::kinds::WitnessWord>,
            /// Examples that must be allowed, for `lar test`: a command for a shell token, else the
            /// tool's input as JSON.
            #[serde(default)]
            pub allows: Vec<String>,
            /// Examples that must be refused, for `lar test`.
            #[serde(default)]
            pub refuses: Vec<String>,
        }

        impl $table {
            /// What every kind has.
            pub fn common(&self) -> Common {
                Common {
                    max_uses: self.max_uses,
                    requires_approval: self.requires_approval,
                    approvers: self.approvers.clone(),
                    required_approvals: self.required_approvals,
                    not_the_runner: self.not_the_runner,
                    required: self.required,
                    expires: self.expires.clone(),
                    witness: self.witness,
                    allows: self.allows.clone(),
                    refuses: self.refuses.clone(),
                }
            }
        }
    };
}

pub(super) use token_table;

token_table! {
    /// Runs commands that begin with an allowed prefix, without a shell. The tool is `shell_NAME`.
    ShellTable {
        /// Beginnings of commands, compared by whole words: `kubectl get pods`. A quote that is left
        /// open allows words that begin so: `psql -c 'SELECT`.
        #[schemars(length(min = 1))]
        allowed: Vec<String>,
        /// After this time the command and all that it started are killed; at most a day. Default:
        /// `60s`.
        timeout: Option<DurationText>,
        /// Names of environment variables that the command gets beyond PATH, HOME, LANG, LC_*, TZ
        /// and TERM.
        #[serde(default)]
        env: Vec<String>,
        /// The working directory. A relative path begins at the manifest's directory, which is the
        /// default. The command may read what is in it, and change only what `writes` names.
        workdir: Option<String>,
        /// Where the command may connect to, by TCP: `host:port`, or `*.domain:port` for all hosts below,
        /// for programs that honour HTTPS_PROXY. Default: no network.
        #[serde(default)]
        network: Vec<String>,
        /// Files and directories that the command may change; they must exist. All else is read-only. A
        /// relative path begins at the manifest's directory, `~/` at the user's home.
        #[serde(default)]
        writes: Vec<String>,
        /// Files and directories that the command may read beyond its working directory and the system's
        /// libraries. A relative path begins at the manifest's directory, `~/` at the user's home.
        #[serde(default)]
        reads: Vec<String>,
        /// Programs that the command may start in turn: names that are looked up in PATH, paths,
        /// directories for all programs in them, or `*` for all programs of PATH. Default: none.
        #[serde(default)]
        also_runs: Vec<String>,
    }
}

token_table! {
    /// Sends requests to one URL. Redirects are not followed. The tool is `NAME`.
    HttpTable {
        /// The URL, http or https, without user name, password and fragment.
        url: String,
        /// The methods that may be used, such as `GET`.
        #[schemars(length(min = 1))]
        methods: Vec<String>,
        /// Headers that go with every request. A secret token adds one with a secret.
        #[serde(default)]
        headers: BTreeMap<String, String>,
        /// The whole request, from resolving the name to the last byte; at most a day. Default: `30s`.
        timeout: Option<DurationText>,
        /// Bytes of a body, sent or received. Default: 1 MiB; at most 64 MiB.
        #[schemars(range(min = 1, max = 67_108_864))]
        max_body: Option<u64>,
        /// A file with certificates in PEM: only what these vouch for is trusted, and nothing that the
        /// system trusts. A relative path begins at the manifest's directory.
        tls_roots: Option<String>,
    }
}

/// What may be done with files.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mode {
    Read,
    Write,
    ReadWrite,
}

token_table! {
    /// Reads or writes regular files at or beneath allowed paths. The tool is `file_NAME`.
    FileTable {
        /// Files and directories; a directory allows what is beneath it. A relative path begins at the
        /// manifest's directory.
        #[schemars(length(min = 1))]
        allowed_paths: Vec<String>,
        /// What may be done.
        mode: Mode,
        /// Bytes that are read or written at once. Default: 1 MiB; at most 64 MiB.
        #[schemars(range(min = 1, max = 67_108_864))]
        max_bytes: Option<u64>,
    }
}

/// How a deployment is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Method {
    Kubectl,
    Command,
}

token_table! {
    /// Carries out one deployment, every part of which stands here. The tool is `deploy_NAME` and
    /// takes no input.
    DeployTable {
        /// `kubectl` patches the image and awaits the rollout; `command` runs `argv`.
        method: Method,
        /// The environment's name; for `kubectl` also the namespace unless one is given.
        target: String,
        /// The image.
        image: String,
        /// The image to return to, once, when the rollout fails.
        rollback_to: Option<String>,
        /// How long the rollout may take; at most a day. Default: `5m`.
        timeout: Option<DurationText>,
        /// For `kubectl`: the namespace. Default: the target.
        namespace: Option<String>,
        /// For `kubectl`: the deployment. Default: the image's last path segment without its tag.
        deployment: Option<String>,
        /// For `kubectl`: the container. Default: the image's last path segment without its tag.
        container: Option<String>,
        /// For `kubectl`: the kubeconfig context. Default: the current one.
        context: Option<String>,
        /// For `command`: the program and its arguments; `{image}` and `{target}` may stand inside
        /// arguments.
        #[schemars(length(min = 1))]
        argv: Option<Vec<String>>,
        /// For `command`: what is run, once, when it failed; `{image}` is then `rollback_to`.
        #[schemars(length(min = 1))]
        rollback_argv: Option<Vec<String>>,
        /// For `command`: where it may connect to, by TCP: `host:port`, or `*.domain:port` for all hosts below,
        /// for programs that honour HTTPS_PROXY. Default: no network.
        #[serde(default)]
        network: Vec<String>,
        /// For `command`: files and directories that it may change; they must exist. All else is read-only. A
        /// relative path begins at the manifest's directory, `~/` at the user's home.
        #[serde(default)]
        writes: Vec<String>,
        /// For `command`: files and directories that it may read beyond its working directory and the system's
        /// libraries. A relative path begins at the manifest's directory, `~/` at the user's home.
        #[serde(default)]
        reads: Vec<String>,
        /// For `command`: programs that it may start in turn: names that are looked up in PATH, paths,
        /// directories for all programs in them, or `*` for all programs of PATH. Default: none.
        #[serde(default)]
        also_runs: Vec<String>,
    }
}

token_table! {
    /// Wraps a shell or HTTP token and puts a secret into it at the last moment. The tool is
    /// `secret_NAME`. The secret's value never stands in a manifest.
    SecretTable {
        /// The environment variable that holds the secret. Either this or `file`.
        env: Option<String>,
        /// The file that holds the secret; one final line break is dropped. A relative path begins at
        /// the manifest's directory.
        file: Option<String>,
        /// The request header that gets the secret. Either this or `inject_env`.
        header: Option<String>,
        /// The environment variable of the command that gets the secret.
        inject_env: Option<String>,
        /// What is put there; `{secret}` stands for the value. Default: `{secret}`.
        format: Option<String>,
        /// The token that does the work. It is not a tool of its own; its limits hold as well.
        inner: Inner,
    }
}

token_table! {
    /// Lets the agent pause. The tool is `wait_NAME`.
    WaitTable {
        /// The longest pause, in seconds; at most a day.
        #[schemars(range(min = 1, max = 86_400))]
        max_seconds: u64,
    }
}
