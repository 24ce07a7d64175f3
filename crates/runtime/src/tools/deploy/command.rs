//! The `command` way: a declared argument vector, run as it stands.

use lar_core::outcome::{Performed, Verdict};
use lar_core::scope::DeployScope;

use super::super::child::{Order, Ran};
use super::super::{Job, environment, shell};
use crate::confine::Surroundings;

impl Job<'_> {
    /// Runs the words of the token. Exit 0 is success; any other exit says that the deployment
    /// failed. A command that was killed leaves it unknown, and then nothing is undone.
    pub(super) async fn deploy_by_command(
        &self,
        scope: &DeployScope,
        argv: &[String],
    ) -> Performed {
        let ran = self
            .run(Order {
                argv: argv.to_vec(),
                env: environment::of(&self.tools.programs.path(), &[]),
                workdir: self.tools.workdir.clone(),
                timeout: scope.timeout,
                around: Surroundings {
                    reach: scope.reach.clone(),
                    base: self.tools.workdir.clone(),
                    ..Surroundings::default()
                },
            })
            .await;
        match ran {
            Ran::NeverBegan(reason) => Performed::NeverBegan { reason },
            Ran::Ended(end) => {
                let mut outcome = shell::outcome(*end);
                if outcome.verdict == Verdict::Failed {
                    outcome.reason = Some(self.rollout_failed().to_owned());
                }
                Performed::Ended(outcome)
            }
        }
    }
}
