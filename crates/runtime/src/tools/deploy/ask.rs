//! Asks a target what became of an action whose outcome is unknown. It is only read, and only what
//! proves something counts.
//!
//! A deployment by `kubectl` bears the attempt that patched it last. Where that is the one that is asked
//! about, its patch was applied, and the rollout's state tells how it ended. Where it is another or none,
//! nothing is proved: the patch may not have been applied, or another came after it, or it is still on
//! its way. No other target can be asked: a request that is sent again under its idempotency key is an
//! effect where the server doesn't know the key any more, and what a command did is known to nobody.

use lar_core::display::first_chars;
use lar_core::id::AttemptId;
use lar_core::outcome::Verdict;
use lar_core::redact::Redactor;
use lar_core::scope::deploy::Cluster;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;

use super::super::accounts::Operator;
use super::super::child::{self, How, Ran};
use super::super::programs::Programs;
use super::answer::last_line;
use super::cluster::{self, Frozen};
use super::kubectl::{ANNOTATION, REQUEST};
use super::place::Place;
use crate::stop::Stop;

/// What a target says of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetAnswer {
    /// It proves how the attempt ended.
    Proves {
        /// The target, in words.
        target: String,
        /// Succeeded or failed.
        verdict: Verdict,
        /// What it said, in one line.
        how: String,
    },
    /// Nothing is proved.
    ProvesNothing {
        /// Why, in one line.
        why: String,
    },
}

/// A deployment by `kubectl`, as its intent was recorded.
#[derive(Debug, Deserialize)]
struct Deployed {
    image: String,
    namespace: String,
    deployment: String,
    container: String,
    cluster: Option<Cluster>,
}

/// Asks the target of an attempt on token `token`, whose recorded action is `action`, under the
/// operator's authority.
pub async fn ask_target(
    token: &str,
    action: &Value,
    attempt: &AttemptId,
    programs: &Programs,
    operator: &Operator,
) -> TargetAnswer {
    let text = |field: &str| action.get(field).and_then(Value::as_str).unwrap_or_default();
    let asked = match (text("kind"), text("method")) {
        ("deploy" | "rollback", "kubectl") => match Deployed::deserialize(action) {
            Ok(deployed) => ask(token, &deployed, attempt, programs, operator).await,
            Err(_) => {
                Err("its record names no deployment that this version understands".to_owned())
            }
        },
        (kind, _) => Err(cannot(kind).to_owned()),
    };
    asked.unwrap_or_else(|why| TargetAnswer::ProvesNothing { why })
}

/// Why a target of this kind can't be asked.
fn cannot(kind: &str) -> &'static str {
    match kind {
        "http" => {
            "a server can't be asked: the request would have to be sent again, and one that doesn't know \
             its `Idempotency-Key` any more would do it twice; look it up there by that key"
        }
        "deploy" | "rollback" => {
            "a declared command leaves nothing behind that it could be known by"
        }
        _ => "only a deployment by `kubectl` bears the attempt by which it can be asked",
    }
}

async fn ask(
    token: &str,
    deployed: &Deployed,
    attempt: &AttemptId,
    programs: &Programs,
    operator: &Operator,
) -> Result<TargetAnswer, String> {
    let recorded = deployed.cluster.as_ref().ok_or("its record names no cluster")?;
    let source = operator.kubeconfig();
    let resolved = cluster::resolve(token, Some(&recorded.context), programs, &source).await;
    let (frozen, secrets) = resolved.map_err(|error| error.to_string())?;
    // Who asks may be another user, but not somewhere else.
    let place = |cluster: &Cluster| (cluster.server.clone(), cluster.ca_sha256.clone());
    if place(&frozen.cluster) != place(recorded) {
        return Err(format!(
            "context `{}` leads to another cluster than the one that was deployed to, {}",
            recorded.context, recorded.server
        ));
    }
    let State { bears, image, rollout } = look(deployed, &frozen, secrets, programs).await?;
    let Deployed { image: wanted, namespace, deployment, container, .. } = deployed;
    if bears != attempt.to_string() {
        return Err(match bears.as_str() {
            "" => {
                "the deployment bears no attempt: the patch was not applied, or its annotation was \
                   removed, or it is still on its way"
                    .to_owned()
            }
            other => format!(
                "the deployment bears another attempt, {}: this one's patch was not applied, or that one \
                 came after it",
                first_chars(other, 64)
            ),
        });
    }
    if &image != wanted {
        return Err(format!(
            "the deployment bears this attempt, but container `{container}` has image {} since, so that \
             it isn't known how the rollout of {wanted} ended",
            first_chars(&image, 300)
        ));
    }
    let (verdict, how) = match rollout {
        Rollout::Complete => (Verdict::Succeeded, "is rolled out"),
        Rollout::DeadlineExceeded => (Verdict::Failed, "exceeded its progress deadline"),
        Rollout::UnderWay => {
            return Err(format!(
                "the deployment bears this attempt, and the rollout of {wanted} is under way; ask again \
                 later"
            ));
        }
    };
    Ok(TargetAnswer::Proves {
        target: format!("deployment {namespace}/{deployment} at {}", recorded.server),
        verdict,
        how: format!("it bears this attempt, and the rollout of {wanted} {how}"),
    })
}

/// A deployment at one moment.
#[derive(Debug, PartialEq, Eq)]
struct State {
    /// The attempt that patched it last.
    bears: String,
    /// The image of the container.
    image: String,
    rollout: Rollout,
}

/// Where a rollout is.
#[derive(Debug, PartialEq, Eq)]
enum Rollout {
    UnderWay,
    Complete,
    DeadlineExceeded,
}

/// Reads the deployment, all of it in one answer.
async fn look(
    deployed: &Deployed,
    frozen: &Frozen,
    secrets: Vec<SecretString>,
    programs: &Programs,
) -> Result<State, String> {
    let mut redactor = Redactor::builder();
    for secret in &secrets {
        redactor.add("kubeconfig", secret).map_err(|error| error.to_string())?;
    }
    let redactor = redactor.build().map_err(|error| error.to_string())?;
    let place = Place::new(frozen)
        .map_err(|error| format!("no private directory for `kubectl` ({})", error.kind()))?;
    let Deployed { namespace, deployment, container, .. } = deployed;
    let query = format!(
        "-o=jsonpath={{.metadata.namespace}}{{\"\\n\"}}{{.metadata.name}}{{\"\\n\"}}\
         {{.metadata.generation}}{{\"\\n\"}}{{.spec.replicas}}{{\"\\n\"}}{{.status}}{{\"\\n\"}}\
         {{.metadata.annotations['{ANNOTATION}']}}{{\"\\n\"}}\
         {{.spec.template.spec.containers[?(@.name==\"{container}\")].image}}"
    );
    let order = place.order(
        programs,
        &["get"],
        (namespace.as_str(), deployment.as_str()),
        &[&query],
        REQUEST,
    );
    let end = match child::run(programs, &redactor, None, None, &Stop::default(), order).await {
        Ran::NeverBegan(reason) => return Err(format!("`kubectl` can't be run: {reason}")),
        Ran::Ended(end) => end,
    };
    if !matches!(end.how, How::Exited(0)) {
        return Err(format!("the deployment can't be read: {}", last_line(&end)));
    }
    State::read(&end.stdout.text, namespace, deployment)
        .ok_or_else(|| "the cluster's answer can't be understood".to_owned())
}

impl State {
    /// Reads the answer. Each line is one value, so that a value with a line in it is none.
    fn read(text: &str, namespace: &str, deployment: &str) -> Option<Self> {
        let mut lines = text.split('\n');
        let mut line = || lines.next();
        if (line()?, line()?) != (namespace, deployment) {
            return None;
        }
        let (generation, replicas) = (line()?.parse().ok()?, line()?.parse().ok()?);
        let status = serde_json::from_str::<Status>(line()?).ok()?;
        let (bears, image) = (line()?.to_owned(), line()?.to_owned());
        let rollout = status.rollout(generation, replicas);
        (lines.next().is_none() && !image.is_empty()).then_some(Self { bears, image, rollout })
    }
}

/// `DeploymentStatus` of the Kubernetes API (apps/v1). What is zero is left out there.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    observed_generation: u64,
    replicas: u64,
    updated_replicas: u64,
    available_replicas: u64,
    conditions: Vec<Condition>,
}

#[derive(Debug, Deserialize)]
struct Condition {
    r#type: String,
    #[serde(default)]
    reason: String,
}

impl Status {
    /// Where the rollout is, by the rule of `kubectl rollout status`.
    fn rollout(&self, generation: u64, wanted: u64) -> Rollout {
        let timed_out = |condition: &Condition| {
            condition.r#type == "Progressing" && condition.reason == "ProgressDeadlineExceeded"
        };
        if self.observed_generation < generation {
            Rollout::UnderWay
        } else if self.conditions.iter().any(timed_out) {
            Rollout::DeadlineExceeded
        } else if self.updated_replicas < wanted
            || self.replicas > self.updated_replicas
            || self.available_replicas < self.updated_replicas
        {
            Rollout::UnderWay
        } else {
            Rollout::Complete
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPLETE: &str = r#"{"observedGeneration":2,"replicas":3,"updatedReplicas":3,"availableReplicas":3,
        "conditions":[{"type":"Progressing","reason":"NewReplicaSetAvailable"}]}"#;

    fn answer(lines: &[&str]) -> Option<State> {
        let lines: Vec<String> = lines.iter().map(|line| line.replace('\n', "")).collect();
        State::read(&lines.join("\n"), "prod", "web")
    }

    #[test]
    fn an_answer_is_read_whole_or_not_at_all() {
        let read = answer(&["prod", "web", "2", "3", COMPLETE, "ab12", "web:v2"]).unwrap();
        assert_eq!((read.bears.as_str(), read.image.as_str()), ("ab12", "web:v2"));
        assert_eq!(read.rollout, Rollout::Complete);
        for other in [
            &["prod", "api", "2", "3", COMPLETE, "ab12", "web:v2"][..],
            &["prod", "web", "", "3", COMPLETE, "ab12", "web:v2"],
            &["prod", "web", "2", "", COMPLETE, "ab12", "web:v2"],
            &["prod", "web", "2", "3", "", "ab12", "web:v2"],
            &["prod", "web", "2", "3", "map[replicas:3]", "ab12", "web:v2"],
            &["prod", "web", "2", "3", COMPLETE, "ab12", ""],
            &["prod", "web", "2", "3", COMPLETE, "ab12"],
            // An annotation of two lines, the second of which would be the image.
            &["prod", "web", "2", "3", COMPLETE, "ab12", "web:v2", "web:v1"],
            &[],
        ] {
            assert_eq!(answer(other), None, "{other:?}");
        }
    }

    #[test]
    fn a_rollout_is_where_kubectl_says_it_is() {
        let at = |status: &str, generation| {
            serde_json::from_str::<Status>(status).unwrap().rollout(generation, 3)
        };
        assert_eq!(at(COMPLETE, 2), Rollout::Complete);
        assert_eq!(at(COMPLETE, 3), Rollout::UnderWay, "the controller hasn't seen it");
        assert_eq!(at("{}", 1), Rollout::UnderWay);
        for (field, value) in [
            (r#""updatedReplicas":3"#, r#""updatedReplicas":2"#),
            (r#""replicas":3"#, r#""replicas":4"#),
            (r#""availableReplicas":3"#, r#""availableReplicas":2"#),
        ] {
            assert_eq!(at(&COMPLETE.replacen(field, value, 1), 2), Rollout::UnderWay, "{value}");
        }
        let late = COMPLETE.replace("NewReplicaSetAvailable", "ProgressDeadlineExceeded");
        assert_eq!(at(&late, 2), Rollout::DeadlineExceeded);
        assert_eq!(at(&late, 3), Rollout::UnderWay, "that was said of the rollout before");
    }
}
