//! Tokens for deployments.

use std::time::Duration;

use super::{Common, ReachTexts, Witness, check_timeout, common_setters, reach_setters};
use crate::scope::deploy::{self, DeployMethod, check_plain, fill, image_name};
use crate::scope::{DeployScope, Scope};
use crate::time::Timestamp;
use crate::token::{Token, TokenError};

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
    reach: ReachTexts,
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
        let how =
            How::Kubectl { namespace: None, deployment: None, container: None, context: None };
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
            reach: ReachTexts::default(),
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
            reach: self.reach.build()?,
        }))
    }
}
common_setters!(DeployToken);
reach_setters!(DeployToken);

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
