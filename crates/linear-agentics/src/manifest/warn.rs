//! What about a token deserves a second look. Every rule is a short list of what is known to be
//! dangerous; what is on no list may be dangerous all the same.

use std::net::IpAddr;

use lar_core::scope::deploy::DeployMethod;
use lar_core::scope::{
    DeployScope, FileMode, FileScope, HttpScope, Scope, SecretSource, ShellScope,
};
use lar_core::token::Token;

use super::build::shell_of;
use super::value::visible;
use super::worst::time;
use super::{Manifest, Surroundings, Warning};

/// From so many uses on, a token is hardly use-once any more.
const MANY_USES: u32 = 100;
/// An end within this time, in milliseconds, is worth a word: a day.
const SOON: u64 = 86_400_000;

/// Directories that belong to the system.
const SYSTEM: [&str; 14] = [
    "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/opt", "/proc", "/root", "/run",
    "/sbin", "/sys", "/usr",
];
/// Names of files and directories that hold keys and credentials.
const CREDENTIALS: [&str; 12] = [
    ".aws",
    ".azure",
    ".docker",
    ".git-credentials",
    ".gnupg",
    ".kube",
    ".netrc",
    ".npmrc",
    ".pgpass",
    ".ssh",
    "gcloud",
    "shadow",
];
/// Names through which a written file comes to be executed.
const EXECUTED: [&str; 9] = [
    ".bash_profile",
    ".bashrc",
    ".git",
    ".github",
    ".gitlab-ci.yml",
    ".profile",
    ".ssh",
    ".zshrc",
    "cron.d",
];
/// Headers whose value is a credential.
const SECRET_HEADERS: [&str; 5] =
    ["authorization", "cookie", "proxy-authorization", "x-api-key", "x-auth-token"];

/// What to look at about the set as a whole.
pub(super) fn about_the_set(manifest: &Manifest) -> Vec<Warning> {
    let mut out = Vec::new();
    if manifest.tokens.is_empty() {
        let candidates =
            if manifest.candidates.is_empty() { "" } else { " until a human grants it one" };
        push(
            &mut out,
            "no-token",
            format!("the agent holds no token and can do nothing{candidates}"),
        );
    }
    if !manifest.candidates.is_empty() && manifest.max_requests == 0 {
        let message = "there are candidates, but `max_requests` is 0, so none can be asked for";
        push(&mut out, "unreachable-candidates", message);
    }
    let all = || manifest.tokens.iter().chain(&manifest.candidates);
    if manifest.approvers.is_some() && !all().any(Token::requires_approval) {
        let message = "approvers are listed, and no token requires approval; say `requires_approval = true` \
                       where they must be asked";
        push(&mut out, "unused-approvers", message);
    }
    let steps = manifest.budget.max_steps;
    let required = manifest.tokens.iter().filter(|token| token.required()).count() as u64;
    if required > steps {
        let message =
            format!("{required} tokens are required, but the run ends after {steps} calls");
        push(&mut out, "too-few-steps", message);
    }
    out
}

/// What to look at about one token.
pub(super) fn about(token: &Token, manifest: &Manifest, around: &Surroundings<'_>) -> Vec<Warning> {
    let mut out = Vec::new();
    let approved = token.requires_approval();
    scope(token.scope(), approved, &mut out);
    if let Scope::Secret(secret) = token.scope()
        && let Some(shell) = shell_of(&secret.inner)
        && shell.commands.prefixes().iter().any(|prefix| prefix.is_wide().is_some())
    {
        let message = "a wide prefix gets the secret, so the model can send it anywhere; name the \
                       exact command";
        push(&mut out, "secret-exposed", message);
    }
    if token.max_uses() > MANY_USES && !matches!(token.scope(), Scope::Wait(_)) {
        let message = format!("{} uses are many; grant as many as the job needs", token.max_uses());
        push(&mut out, "many-uses", message);
    }
    if let Some(approvers) = token.approvers()
        && approvers.not_the_runner()
        && approvers.people().len() == approvers.required() as usize
    {
        let message = "all who are listed must approve, and whoever starts the run can't; when one of them \
                       starts it, nothing can be approved";
        push(&mut out, "too-few-approvers", message);
    }
    if let (Some(end), Some(now)) = (token.expires(), around.now) {
        let run = u64::try_from(manifest.budget.timeout.as_millis()).unwrap_or(u64::MAX);
        if end <= now {
            push(&mut out, "expired", format!("it ended at {end}, so every call is refused"));
        } else if end < now.plus_millis(run) {
            let run = time(manifest.budget.timeout);
            let message = format!("it ends at {end}, within the {run} that the run may take");
            push(&mut out, "expires-within-run", message);
        } else if end < now.plus_millis(SOON) {
            push(&mut out, "expires-soon", format!("it ends at {end}, in less than a day"));
        }
    }
    if let Some(has_env) = around.has_env {
        for name in variables(token.scope()).into_iter().filter(|name| !has_env(name)) {
            push(
                &mut out,
                "unknown-env",
                format!("the environment variable `{name}` is not set here"),
            );
        }
    }
    out
}

fn scope(scope_: &Scope, approved: bool, out: &mut Vec<Warning>) {
    match scope_ {
        Scope::Shell(shell) => commands(shell, out),
        Scope::Http(http) => requests(http, approved, out),
        Scope::File(file) => files(file, approved, out),
        Scope::Deploy(deploy) => deployment(deploy, approved, out),
        Scope::Secret(secret) => {
            scope(&secret.inner, approved, out);
            if let Scope::Http(http) = secret.inner.as_ref()
                && http.url.scheme() == "http"
                && !is_loopback(http)
            {
                let message = "the secret travels unencrypted; use https";
                push(out, "secret-in-plaintext", message);
            }
        }
        Scope::Database(database) => {
            if !database.sql.only_reads() && !approved {
                let message = "it changes the database without asking anybody; set \
                               `requires_approval = true`";
                push(out, "change-without-approval", message);
            }
        }
        Scope::Rollback(_) | Scope::Wait(_) => {}
    }
}

fn commands(shell: &ShellScope, out: &mut Vec<Warning>) {
    let mut any = false;
    for prefix in shell.commands.prefixes() {
        if let Some(why) = prefix.is_wide() {
            any = true;
            push(
                out,
                "wide-prefix",
                format!("`{}` allows nearly anything: {why}", prefix.as_str()),
            );
        }
    }
    for program in shell.commands.unknown_programs() {
        let message = format!(
            "nothing is known of `{program}`, so any words may follow its prefix; only its confinement \
             holds. A profile can say more (docs/profiles.md)"
        );
        push(out, "unknown-program", message);
    }
    if any && !shell.env.is_empty() {
        let message = format!(
            "a wide prefix gets {}; what stands there, the model can send anywhere",
            shell.env.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        );
        push(out, "env-exposed", message);
    }
}

fn requests(http: &HttpScope, approved: bool, out: &mut Vec<Warning>) {
    if http.url.scheme() == "http" && !is_loopback(http) {
        let message =
            format!("{} is not encrypted; anybody on the way can read and change it", http.url);
        push(out, "plaintext", message);
    }
    if matches!(address(http), Some(IpAddr::V4(ip)) if ip.is_link_local())
        || http.url.host_str() == Some("metadata.google.internal")
    {
        let message = format!("{} is where clouds hand out credentials", http.url);
        push(out, "metadata-service", message);
    }
    let changing: Vec<&str> = http
        .methods
        .iter()
        .map(String::as_str)
        .filter(|method| matches!(*method, "DELETE" | "PUT" | "PATCH"))
        .collect();
    if !approved && !changing.is_empty() {
        let message = format!("{} without a human's yes", changing.join(", "));
        push(out, "change-without-approval", message);
    }
    for (name, _) in &http.headers {
        if SECRET_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
            let message =
                format!("header `{name}` stands in the manifest in plain text; use a secret token");
            push(out, "literal-credential", message);
        }
    }
}

fn files(file: &FileScope, approved: bool, out: &mut Vec<Warning>) {
    let reads = matches!(file.mode, FileMode::Read | FileMode::ReadWrite);
    let writes = matches!(file.mode, FileMode::Write | FileMode::ReadWrite);
    for path in &file.allowed_paths {
        let named = |list: &[&str]| path.split('/').any(|part| list.contains(&part));
        let parts = path.split('/').filter(|part| !part.is_empty()).count();
        let is_home = (path.starts_with("/home/") && parts == 2) || path == "/home";
        let is_system = SYSTEM.iter().any(|dir| {
            path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        if reads && named(&CREDENTIALS) {
            push(
                out,
                "reads-credentials",
                format!("`{path}` holds credentials, and the model can read it"),
            );
        } else if reads && (is_home || matches!(path.as_str(), "/etc" | "/root" | "/proc" | "/var"))
        {
            push(
                out,
                "reads-widely",
                format!("beneath `{path}` there are credentials; name what is needed"),
            );
        }
        if !writes || approved {
            continue;
        }
        if is_system {
            let message =
                format!("it writes beneath `{path}`, the system's own, without a human's yes");
            push(out, "system-write", message);
        } else if named(&EXECUTED) || is_home || path == "/var" {
            let message =
                format!("what is written beneath `{path}` may come to be executed; ask a human");
            push(out, "executed-write", message);
        }
    }
}

fn deployment(deploy: &DeployScope, approved: bool, out: &mut Vec<Warning>) {
    let mut names = vec![deploy.target.as_str()];
    if let DeployMethod::Kubectl { namespace, context, .. } = &deploy.method {
        names.push(namespace);
        names.extend(context.as_deref());
    }
    let production = names.into_iter().find(|name| {
        let mut words = name.split(|c: char| !c.is_ascii_alphanumeric());
        words.any(|word| {
            let word = word.to_ascii_lowercase();
            word == "live" || word == "prd" || word.starts_with("prod")
        })
    });
    if let Some(name) = production.filter(|_| !approved) {
        push(
            out,
            "production-without-approval",
            format!("it deploys to `{name}` without a human's yes"),
        );
    }
    let tag = deploy.image.rsplit('/').next().unwrap_or_default();
    if tag.ends_with(":latest") || !tag.contains([':', '@']) {
        let message =
            format!("`{}` names no fixed version, so what is deployed can change", deploy.image);
        push(out, "moving-image", message);
    }
}

fn variables(scope: &Scope) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    if let Scope::Secret(secret) = scope
        && let SecretSource::Env(name) = &secret.source
    {
        names.push(name);
    }
    if let Scope::Database(database) = scope
        && let SecretSource::Env(name) = &database.dsn
    {
        names.push(name);
    }
    names
        .extend(shell_of(scope).into_iter().flat_map(|shell| shell.env.iter().map(String::as_str)));
    names
}

fn address(http: &HttpScope) -> Option<IpAddr> {
    http.url.host_str()?.trim_matches(['[', ']']).parse().ok()
}

fn is_loopback(http: &HttpScope) -> bool {
    let host = http.url.host_str().unwrap_or_default();
    host == "localhost"
        || host.ends_with(".localhost")
        || address(http).is_some_and(|ip| ip.is_loopback())
}

fn push(out: &mut Vec<Warning>, code: &'static str, message: impl Into<String>) {
    out.push(Warning { code, message: visible(&message.into()) });
}
