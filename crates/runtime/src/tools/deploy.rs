//! Carries a deployment out, or the return from one: both take the same way, each as an attempt of
//! its own.
//!
//! What this never does: it takes no word of the model's (the token states everything), it repeats
//! nothing that changes something, and it doesn't decide about a rollback. A rollout that failed is
//! reported as [`ROLLOUT_FAILED`]; who called sees that, and has the way back taken once.

mod answer;
mod ask;
mod cluster;
mod command;
mod credentials;
mod kubectl;
mod place;
mod plugin;
mod wanted;

use lar_core::action::DeployAction;
use lar_core::outcome::Performed;
use lar_core::scope::deploy::DeployMethod;
use lar_core::scope::{DeployScope, Scope};

use super::Job;

pub use ask::{TargetAnswer, ask_target};
pub use cluster::ClusterError;
pub(super) use cluster::{KubeconfigSource, Kubeconfigs};
pub(super) use place::Place;
pub(super) use wanted::context_in;

/// The reason in the record of a deployment whose rollout failed: the one that has it undone.
pub const ROLLOUT_FAILED: &str = "rollout failed";

/// The reason in the record of a return that failed. It is another one, so that nothing is ever
/// undone twice.
pub const ROLLBACK_FAILED: &str = "rollback failed";

impl Job<'_> {
    pub(super) async fn deploy(&self, scope: &DeployScope, action: &DeployAction) -> Performed {
        match &action.method {
            DeployMethod::Kubectl { namespace, deployment, container, context, cluster } => {
                // What was shown and approved names the cluster. A kubeconfig that was frozen for
                // another one is as good as none.
                let frozen = self.tools.accounts.kube().of(context.as_deref());
                let Some(frozen) = frozen.filter(|held| Some(&held.cluster) == cluster.as_ref())
                else {
                    return Performed::NeverBegan {
                        reason: "the cluster was not resolved when the run started".to_owned(),
                    };
                };
                let undoes = match self.token.scope() {
                    Scope::Rollback(_) => Some(scope.image.as_str()),
                    _ => None,
                };
                let image = &action.image;
                let target = kubectl::Target { namespace, deployment, container, image, undoes };
                self.deploy_by_kubectl(scope.timeout, target, frozen).await
            }
            DeployMethod::Command { argv, .. } => self.deploy_by_command(scope, argv).await,
        }
    }

    /// The word for a rollout that ended badly.
    fn rollout_failed(&self) -> &'static str {
        match self.token.scope() {
            Scope::Rollback(_) => ROLLBACK_FAILED,
            _ => ROLLOUT_FAILED,
        }
    }
}
