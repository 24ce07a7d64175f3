//! Which kubeconfig contexts a token's programs need.

use lar_core::scope::Scope;
use lar_core::scope::command::Prefix;
use lar_core::scope::deploy::DeployMethod;
use lar_core::scope::needs::choice;
use lar_core::token::Token;

/// What a profile says of a program that reads a kubeconfig.
pub(super) const KUBECONFIG: &str = "@kubeconfig";

/// A context; `None` is the current one.
pub(super) struct Wanted {
    pub(super) context: Option<String>,
    /// Whether nothing may start without it.
    pub(super) required: bool,
}

/// The contexts that a token's programs need.
pub(super) fn wanted(token: &Token) -> Vec<Wanted> {
    let mut scope = token.scope();
    while let Scope::Secret(secret) = scope {
        scope = &secret.inner;
    }
    match scope {
        Scope::Deploy(deploy) => match &deploy.method {
            DeployMethod::Kubectl { context, .. } => {
                vec![Wanted { context: context.clone(), required: true }]
            }
            DeployMethod::Command { .. } => Vec::new(),
        },
        Scope::Shell(shell) => {
            let reads = |prefix: &&Prefix| {
                let profile = prefix.profile();
                profile
                    .is_some_and(|profile| profile.needs().network.iter().any(|n| n == KUBECONFIG))
            };
            let prefixes = shell.commands.prefixes().iter().filter(reads);
            prefixes
                .map(|prefix| Wanted { context: context_in(prefix.words()), required: false })
                .collect()
        }
        _ => Vec::new(),
    }
}

/// The context that a command names.
pub(in crate::tools) fn context_in(words: &[String]) -> Option<String> {
    let choice = choice(KUBECONFIG, words)?;
    choice.strip_prefix("context=").map(ToOwned::to_owned)
}
