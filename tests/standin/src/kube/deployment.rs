//! A deployment as a test describes it, with the plan that its rollouts follow.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::{Value, json};

use super::Labels;
use super::running::Running;

/// How a rollout goes. A look is a get, a list, or a tick of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rollout {
    /// This many looks find it under way, then it is complete.
    Succeeds {
        /// Looks that still find it under way.
        after: u32,
    },
    /// This many looks find it under way, then its progress deadline is exceeded.
    DeadlineExceeded {
        /// Looks that still find it under way.
        after: u32,
    },
    /// It stays under way for ever, without any condition that says so.
    Stuck,
}

/// What a patch of a deployment is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchAnswer {
    /// It is applied and answered.
    Applied,
    /// It is not applied; this status is answered (403, 409, 500, 503, ...).
    Status(u16),
    /// It is applied, and the connection is closed without an answer.
    CutAfterApply,
    /// It is not applied, and the connection is closed without an answer.
    CutBeforeApply,
    /// It is applied at once and answered only after this time.
    Slow(Duration),
}

/// A deployment to begin with: complete, at revision 1.
#[derive(Clone, Debug)]
pub struct Deployment {
    pub(super) namespace: String,
    pub(super) name: String,
    containers: Vec<(String, String)>,
    replicas: u32,
    labels: Labels,
    logs: String,
    plan: Plan,
}

impl Deployment {
    /// Three replicas, without containers yet.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            containers: Vec::new(),
            replicas: 3,
            labels: Labels::from([("app".to_owned(), name.to_owned())]),
            logs: String::new(),
            plan: Plan {
                default: Rollout::Succeeds { after: 2 },
                by_image: BTreeMap::new(),
                answers: VecDeque::new(),
            },
        }
    }

    /// Adds a container.
    #[must_use]
    pub fn container(mut self, name: &str, image: &str) -> Self {
        self.containers.push((name.to_owned(), image.to_owned()));
        self
    }

    /// How many pods it wants.
    #[must_use]
    pub fn replicas(mut self, replicas: u32) -> Self {
        self.replicas = replicas;
        self
    }

    /// How rollouts go; the default is [`Rollout::Succeeds`] after two looks.
    #[must_use]
    pub fn rollout(mut self, rollout: Rollout) -> Self {
        self.plan.default = rollout;
        self
    }

    /// How rollouts to this image go, whatever the default is.
    #[must_use]
    pub fn rollout_to(mut self, image: &str, rollout: Rollout) -> Self {
        self.plan.by_image.insert(image.to_owned(), rollout);
        self
    }

    /// What the next patches are answered, in order; after them, patches are applied.
    #[must_use]
    pub fn patches(mut self, answers: impl IntoIterator<Item = PatchAnswer>) -> Self {
        self.plan.answers.extend(answers);
        self
    }

    /// What `kubectl logs` prints for its pods.
    #[must_use]
    pub fn logs(mut self, text: &str) -> Self {
        self.logs = text.to_owned();
        self
    }

    pub(super) fn start(self) -> Running {
        let mut containers = self.containers;
        if containers.is_empty() {
            containers.push((self.name.clone(), format!("registry.test/team/{}:v1", self.name)));
        }
        let container = |(name, image)| json!({"name": name, "image": image});
        let containers: Vec<Value> = containers.into_iter().map(container).collect();
        let template =
            json!({"metadata": {"labels": self.labels}, "spec": {"containers": containers}});
        let object = json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {
                "namespace": self.namespace, "name": self.name, "labels": self.labels,
                "annotations": {},
            },
            "spec": {
                "replicas": self.replicas,
                "selector": {"matchLabels": self.labels},
                "template": template,
                "strategy": {
                    "type": "RollingUpdate",
                    "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"},
                },
                "revisionHistoryLimit": 10,
                "progressDeadlineSeconds": 600,
            },
        });
        Running::new(object, self.logs, self.plan)
    }
}

/// A deployment at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Image by container name.
    pub images: BTreeMap<String, String>,
    /// The deployment's own annotations.
    pub annotations: BTreeMap<String, String>,
    /// The annotations of its pod template.
    pub template_annotations: BTreeMap<String, String>,
    /// Counts changes of the spec, from 1.
    pub generation: u64,
    /// The last generation that the controller has seen.
    pub observed_generation: u64,
    /// Counts changes of the pod template, from 1.
    pub revision: u64,
    /// How many patches were applied, those whose answer was cut included.
    pub applied_patches: usize,
    /// Whether the current rollout is complete.
    pub complete: bool,
    /// The whole object.
    pub object: Value,
}

/// What is to happen to a deployment.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) default: Rollout,
    pub(super) by_image: BTreeMap<String, Rollout>,
    pub(super) answers: VecDeque<PatchAnswer>,
}
