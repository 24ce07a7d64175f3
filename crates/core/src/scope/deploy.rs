//! The scope of a deploy token: one deployment, every part of which the token states. The model
//! supplies nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::reach::Reach;
use crate::action::DeployAction;
use crate::error::Refusal;
use crate::token::TokenError;

/// How long a rollout may take when the token doesn't say: 5 minutes.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);

/// How the deployment is carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "method", rename_all = "snake_case")]
pub enum DeployMethod {
    /// One `kubectl patch` of a deployment's image, then its rollout is awaited.
    Kubectl {
        /// The namespace.
        namespace: String,
        /// The deployment's name.
        deployment: String,
        /// The container whose image is set.
        container: String,
        /// The kubeconfig context; the current one when absent.
        context: Option<String>,
        /// The cluster that the context meant when the token was issued, once it was resolved.
        cluster: Option<Cluster>,
    },
    /// A declared argument vector, without a shell.
    Command {
        /// The words; placeholders are already filled in.
        argv: Vec<String>,
        /// The words of the return, if there is one.
        rollback_argv: Option<Vec<String>>,
    },
}

/// What a kubeconfig context stands for: enough for a person to recognise the cluster, and part of
/// what an approval binds to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// The context's name.
    pub context: String,
    /// The API server's URL.
    pub server: String,
    /// SHA-256 of the certificate authority's PEM text, when there is one.
    pub ca_sha256: Option<String>,
    /// The user entry's name.
    pub user: String,
}

/// One deployment of one image to one target.
#[derive(Debug, Clone, Serialize)]
pub struct DeployScope {
    /// The environment's name; for `kubectl` also the namespace unless one is given.
    pub target: String,
    /// The image.
    pub image: String,
    /// The image to return to when the rollout fails.
    pub rollback_to: Option<String>,
    /// How it is done.
    #[serde(flatten)]
    pub method: DeployMethod,
    /// How long the rollout may take.
    #[serde(rename = "timeout_ms", serialize_with = "super::wait::as_millis")]
    pub timeout: Duration,
    /// What a declared command may reach while it runs; a `kubectl` reaches its cluster alone.
    pub reach: Reach,
}

/// Fills `{image}` and `{target}` into declared words.
///
/// A placeholder stands inside a word after the first, and what goes in can't begin with `-`, so
/// that it can become neither the program nor an option of it.
pub fn fill(argv: &[String], image: &str, target: &str) -> Result<Vec<String>, TokenError> {
    let fail = |message: String| TokenError::Field { field: "argv", message };
    let mut words = Vec::new();
    for (index, word) in argv.iter().enumerate() {
        if word.contains('\0') {
            return Err(fail(format!("word {index} holds a NUL byte")));
        }
        let holds = word.contains("{image}") || word.contains("{target}");
        if holds && index == 0 {
            return Err(fail("the program can't be a placeholder; name it".into()));
        }
        let mut filled = String::new();
        let mut rest = word.as_str();
        // One pass from left to right: a placeholder inside a filled-in value stays as it is.
        while let Some(open) = rest.find('{') {
            let (before, from) = rest.split_at(open);
            filled.push_str(before);
            let (value, after) = match (from.strip_prefix("{image}"), from.strip_prefix("{target}"))
            {
                (Some(after), _) => (image, after),
                (_, Some(after)) => (target, after),
                _ => {
                    return Err(fail(format!(
                        "`{word}` holds a placeholder other than `{{image}}` and `{{target}}`"
                    )));
                }
            };
            filled.push_str(value);
            rest = after;
        }
        filled.push_str(rest);
        words.push(filled);
    }
    if words.first().is_none_or(String::is_empty) {
        return Err(fail("no program is named; write `argv = [\"program\", …]`".into()));
    }
    Ok(words)
}

/// Refuses an image or target that could be taken for an option or hides something.
pub fn check_plain(field: &'static str, value: &str) -> Result<(), TokenError> {
    let fail = |message: String| TokenError::Field { field, message };
    if value.is_empty() {
        return Err(fail("is empty".into()));
    }
    if value.starts_with('-') {
        return Err(fail(format!("`{value}` begins with `-` and could be taken for an option")));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/:@+".contains(c);
    if let Some(odd) = value.chars().find(|c| !plain(*c)) {
        return Err(fail(format!("`{value}` holds `{}`", odd.escape_debug())));
    }
    Ok(())
}

/// The last path segment of an image reference without its tag or digest: `registry/team/app:v2`
/// gives `app`.
pub fn image_name(image: &str) -> &str {
    let segment = image.rsplit('/').next().unwrap_or(image);
    let without_digest = segment.split('@').next().unwrap_or(segment);
    without_digest.split(':').next().unwrap_or(without_digest)
}

impl DeployScope {
    /// What is done.
    pub fn action(&self) -> DeployAction {
        DeployAction {
            target: self.target.clone(),
            image: self.image.clone(),
            method: self.method.clone(),
            rollback_to: self.rollback_to.clone(),
            network: self.reach.network.clone(),
            writes: self.reach.writes.clone(),
        }
    }

    /// What is done to return.
    pub fn rollback_action(&self) -> DeployAction {
        let method = match &self.method {
            DeployMethod::Kubectl { .. } => self.method.clone(),
            DeployMethod::Command { rollback_argv, .. } => DeployMethod::Command {
                argv: rollback_argv.clone().unwrap_or_default(),
                rollback_argv: None,
            },
        };
        DeployAction {
            target: self.target.clone(),
            image: self.rollback_to.clone().unwrap_or_default(),
            method,
            rollback_to: None,
            network: self.reach.network.clone(),
            writes: self.reach.writes.clone(),
        }
    }

    /// Whether there is a way back that the runtime can take.
    pub fn has_rollback(&self) -> bool {
        match &self.method {
            DeployMethod::Kubectl { .. } => self.rollback_to.is_some(),
            DeployMethod::Command { rollback_argv, .. } => rollback_argv.is_some(),
        }
    }

    /// Whether `action` is exactly what this scope states.
    pub fn permits(&self, stated: &DeployAction, action: &DeployAction) -> Result<(), Refusal> {
        if action == stated {
            return Ok(());
        }
        Err(Refusal::TokenScope(format!(
            "this token deploys `{}` to `{}` and nothing else",
            self.image, self.target
        )))
    }

    /// One line for people.
    pub fn summary(&self) -> String {
        format!("deploy {} to {}", self.image, self.target)
    }

    /// One line for people, of the way back.
    pub fn rollback_summary(&self) -> String {
        match &self.rollback_to {
            Some(image) => format!("return {} to {image}", self.target),
            None => format!("return {} by the declared command", self.target),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn fills_placeholders_once_and_only_inside_words() {
        let filled = fill(&words(&["./deploy", "--image={image}", "{target}"]), "app:v2", "prod");
        assert_eq!(filled.unwrap(), words(&["./deploy", "--image=app:v2", "prod"]));
        assert!(fill(&words(&["{image}"]), "sh", "prod").is_err());
        assert!(fill(&words(&["deploy", "{user}"]), "a", "b").is_err());
        assert!(fill(&[], "a", "b").is_err());
        let nested = fill(&words(&["deploy", "{image}"]), "{target}", "prod").unwrap();
        assert_eq!(nested, words(&["deploy", "{target}"]));
    }

    #[test]
    fn an_image_cannot_become_an_option() {
        assert!(check_plain("image", "registry.internal:5000/team/app@sha256:ab").is_ok());
        for bad in ["", "--privileged", "a b", "a\nb", "a;b", "a\u{202e}b", "{target}"] {
            assert!(check_plain("image", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_deployment_is_named_after_the_image() {
        assert_eq!(image_name("registry.internal:5000/team/app:v2.3.1"), "app");
        assert_eq!(image_name("app@sha256:abcd"), "app");
        assert_eq!(image_name("app"), "app");
    }
}
