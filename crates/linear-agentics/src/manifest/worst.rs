//! The worst that a set of tokens could do, in plain words: for `lar check`, and for the person who
//! decides whether to run it.
//!
//! What is said here is an upper bound by the tokens alone. Warnings come from lists of what is known
//! to be dangerous; silence is no proof.

use lar_core::scope::deploy::DeployMethod;
use lar_core::scope::{
    DeployScope, FileMode, FileScope, HttpScope, Scope, SecretSource, ShellScope,
};
use lar_core::time::Timestamp;
use lar_core::token::Token;
use lar_runtime::confine::Tier;

use super::Manifest;
use super::report::{Ability, Report, TokenReport, Verb};
use super::value::visible;
use super::warn;

/// What is known of the place where the set would run. Both are optional: what isn't known isn't
/// warned of.
#[derive(Clone, Copy, Default)]
pub struct Surroundings<'s> {
    /// The time.
    pub now: Option<Timestamp>,
    /// Whether an environment variable of that name is set.
    pub has_env: Option<&'s dyn Fn(&str) -> bool>,
}

/// Says the worst that a manifest's set could do.
///
/// ```
/// use linear_agentics::manifest::{Manifest, Surroundings, worst};
/// let text = "[budget]\nmax_steps = 1\ntimeout = \"1m\"\n\
///     [[token]]\nkind = \"shell\"\nname = \"any\"\nallowed = [\"bash -c\"]\n";
/// let report = worst(&Manifest::read(text, "/work".as_ref())?, &Surroundings::default());
/// assert_eq!(report.tokens[0].warnings[0].code, "wide-prefix");
/// # Ok::<(), linear_agentics::manifest::ManifestError>(())
/// ```
pub fn worst(manifest: &Manifest, around: &Surroundings<'_>) -> Report {
    let held = manifest.tokens.iter().map(|token| (token, false));
    let all = held.chain(manifest.candidates.iter().map(|token| (token, true)));
    let tokens = all.map(|(token, candidate)| one(token, candidate, manifest, around)).collect();
    Report { limits: limits(manifest), tokens, warnings: warn::about_the_set(manifest) }
}

fn limits(manifest: &Manifest) -> Vec<String> {
    let budget = &manifest.budget;
    let mut lines = vec![format!(
        "the run ends after {} and {}",
        count(budget.max_steps, "tool call"),
        time(budget.timeout)
    )];
    lines.push(match (budget.max_tokens, budget.max_cost_micro_usd) {
        (None, None) => "nothing limits what the model may use or cost".to_owned(),
        (Some(tokens), None) => format!("the model may use {}", count(tokens, "token")),
        (None, Some(cost)) => format!("the model may cost {}", dollars(cost)),
        (Some(tokens), Some(cost)) => {
            format!("the model may use {} and cost {}", count(tokens, "token"), dollars(cost))
        }
    });
    let uses = |human: bool| -> u64 {
        let chosen = manifest.tokens.iter().filter(|token| token.requires_approval() == human);
        chosen.map(|token| u64::from(token.max_uses())).sum()
    };
    lines.push(format!(
        "{} without asking anybody, {} with a human's yes",
        count(uses(false), "use"),
        count(uses(true), "use")
    ));
    if !manifest.candidates.is_empty() {
        lines.push(format!(
            "the model may ask {} for {} more; a human decides",
            count(u64::from(manifest.max_requests), "time"),
            count(manifest.candidates.len() as u64, "token")
        ));
    }
    lines
}

fn one(
    token: &Token,
    candidate: bool,
    manifest: &Manifest,
    around: &Surroundings<'_>,
) -> TokenReport {
    let base = manifest.base.to_string_lossy();
    TokenReport {
        token: token.name().to_owned(),
        tool: token.tool_name(),
        kind: token.scope().kind(),
        candidate,
        max_uses: token.max_uses(),
        needs_human: token.requires_approval(),
        approvers: token.approvers().map(|approvers| visible(&approvers.summary())),
        can: abilities(token.scope(), &base, manifest.min_tier.unwrap_or(Tier::A)),
        warnings: warn::about(token, manifest, around),
    }
}

fn abilities(scope: &Scope, base: &str, least: Tier) -> Vec<Ability> {
    match scope {
        Scope::Shell(shell) => commands(shell, base, least),
        Scope::Http(http) => requests(http),
        Scope::File(file) => files(file),
        Scope::Deploy(deploy) => deployment(deploy),
        Scope::Database(database) => {
            let verb = if database.sql.only_reads() { Verb::Read } else { Verb::Write };
            let summary = database.summary();
            let what =
                format!("{summary}: whatever its role may, at most {} rows", database.row_limit);
            vec![can(verb, what)]
        }
        Scope::Rollback(deploy) => vec![can(Verb::Deploy, deploy.rollback_summary())],
        Scope::Wait(wait) => {
            vec![can(Verb::Wait, format!("up to {}", count(wait.max_seconds, "second")))]
        }
        Scope::Secret(secret) => {
            let from = match &secret.source {
                SecretSource::Env(name) => format!("the variable `{name}`"),
                SecretSource::File(path) => format!("the file `{path}`"),
                SecretSource::Value(_) => "a value given in code".to_owned(),
            };
            let into = secret.injection.summary();
            let mut all = abilities(&secret.inner, base, least);
            let what = format!("a secret from {from} (the runtime does) and put it into {into}");
            all.push(can(Verb::Read, what));
            all
        }
    }
}

fn commands(shell: &ShellScope, base: &str, least: Tier) -> Vec<Ability> {
    let mut all: Vec<Ability> = shell
        .commands
        .prefixes()
        .iter()
        .map(|prefix| {
            let what = match prefix.is_open() {
                true => format!("`{}…`, the last word to be completed", prefix.as_str()),
                false => format!("`{}`, with any further words", prefix.as_str()),
            };
            can(Verb::Run, what)
        })
        .collect();
    let place = shell.workdir.as_deref().unwrap_or(base);
    all.extend(behind_walls(shell, place, least));
    if !shell.env.is_empty() {
        let names: Vec<String> = shell.env.iter().map(|name| format!("`{name}`")).collect();
        all.push(can(Verb::Read, format!("the environment variables {}", names.join(", "))));
    }
    all
}

/// What programs reach, by the walls that stand around them: at tier A, and at every lower one that the
/// manifest accepts.
fn behind_walls(shell: &ShellScope, place: &str, least: Tier) -> Vec<Ability> {
    let how_long = time(shell.timeout);
    let listed = |first: &str, more: &[String]| {
        let all: Vec<&str> = [first].into_iter().chain(more.iter().map(String::as_str)).collect();
        all.join(", ")
    };
    let network = shell.reaches();
    let hosts = match network.is_empty() {
        true => "no host".to_owned(),
        false => network.join(", "),
    };
    let mut all = vec![
        can(Verb::Read, listed(place, &shell.reads()) + " and the system's libraries"),
        can(Verb::Reach, format!("{hosts}, for up to {how_long}")),
    ];
    let starts = shell.starts();
    if !starts.is_empty() {
        all.push(can(Verb::Run, format!("in turn {}", starts.join(", "))));
    }
    if !shell.reach.writes.is_empty() {
        all.push(can(Verb::Write, format!("{} while it runs", shell.reach.writes.join(", "))));
    }
    if least >= Tier::B {
        let ports = match network.is_empty() {
            true => "the system's process list",
            false => "the system's process list, and those ports on any host",
        };
        all.push(can(Verb::Reach, format!("besides, where only tier B can be had, {ports}")));
    }
    if least >= Tier::C {
        all.push(can(
            Verb::Reach,
            "where only tier C can be had, whatever these programs reach with your rights",
        ));
    }
    all
}

fn requests(http: &HttpScope) -> Vec<Ability> {
    let most = bytes(http.max_body);
    let what = format!("{} with {}, bodies up to {most}", http.url, http.methods.join(", "));
    vec![can(Verb::Reach, what)]
}

fn files(file: &FileScope) -> Vec<Ability> {
    let verbs: &[Verb] = match file.mode {
        FileMode::Read => &[Verb::Read],
        FileMode::Write => &[Verb::Write],
        FileMode::ReadWrite => &[Verb::Read, Verb::Write],
    };
    let most = bytes(file.max_bytes);
    let what = |verb| {
        let paths = file.allowed_paths.join(", ");
        can(verb, format!("files at or beneath {paths}, up to {most} each"))
    };
    verbs.iter().map(|verb| what(*verb)).collect()
}

fn deployment(deploy: &DeployScope) -> Vec<Ability> {
    let mut all = Vec::new();
    match &deploy.method {
        DeployMethod::Kubectl { namespace, deployment, container, context, .. } => {
            all.push(can(
                Verb::Deploy,
                format!(
                    "{} into container `{container}` of deployment `{deployment}` in namespace `{namespace}`",
                    deploy.image
                ),
            ));
            let cluster = match context {
                Some(context) => format!("the cluster of context `{context}`"),
                None => "the cluster of the current kubeconfig context".to_owned(),
            };
            all.push(can(Verb::Reach, cluster));
        }
        DeployMethod::Command { argv, rollback_argv } => {
            all.push(can(Verb::Deploy, format!("{} to {}", deploy.image, deploy.target)));
            all.push(can(Verb::Run, words(argv)));
            if let Some(argv) = rollback_argv {
                all.push(can(Verb::Run, format!("{} when that failed", words(argv))));
            }
        }
    }
    all.push(match (&deploy.rollback_to, deploy.has_rollback()) {
        (Some(image), true) => can(Verb::Deploy, format!("{image} again, when the rollout failed")),
        (None, true) => can(Verb::Deploy, "by the declared way back, when it failed"),
        (_, false) => can(Verb::Deploy, "with no way back: a failed rollout stays as it is"),
    });
    all
}

fn words(argv: &[String]) -> String {
    argv.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" ")
}

fn can(verb: Verb, what: impl Into<String>) -> Ability {
    Ability { verb, what: visible(&what.into()) }
}

pub(super) fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

fn bytes(number: u64) -> String {
    match number {
        n if n >= 1 << 20 && n % (1 << 20) == 0 => format!("{} MiB", n >> 20),
        n if n >= 1 << 10 && n % (1 << 10) == 0 => format!("{} KiB", n >> 10),
        n => count(n, "byte"),
    }
}

pub(super) fn time(duration: std::time::Duration) -> String {
    let seconds = duration.as_secs();
    let mut out = String::new();
    for (number, unit) in [(seconds / 3600, 'h'), (seconds / 60 % 60, 'm'), (seconds % 60, 's')] {
        if number > 0 {
            out.push_str(&format!("{number}{unit}"));
        }
    }
    if out.is_empty() { format!("{} ms", duration.as_millis()) } else { out }
}

fn dollars(micro: u64) -> String {
    let exact = format!("{}.{:06}", micro / 1_000_000, micro % 1_000_000);
    let cents = exact.len().saturating_sub(4);
    let (head, tail) = exact.split_at_checked(cents).unwrap_or((&exact, ""));
    format!("${head}{}", tail.trim_end_matches('0'))
}
