//! A deployment in the server, and how it looks at each step of a rollout.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::deployment::{Plan, Rollout, Snapshot};
use super::object::{pod, short_hash};

#[derive(Clone, Debug)]
struct Revision {
    number: u64,
    template: Value,
}

/// A deployment in the server.
#[derive(Clone, Debug)]
pub(super) struct Running {
    /// Metadata and spec; the status is worked out when it is asked for.
    pub(super) object: Value,
    revisions: Vec<Revision>,
    generation: u64,
    rollout: Rollout,
    /// Looks since the spec last changed.
    looks: u32,
    pub(super) applied: usize,
    pub(super) logs: String,
    pub(super) plan: Plan,
}

/// Where a rollout is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The controller has not seen the new spec.
    Unseen,
    /// This many of the new pods are there.
    UnderWay(u64),
    Complete,
    TimedOut,
}

impl Running {
    /// Takes a whole object, complete and at revision 1.
    pub(super) fn new(object: Value, logs: String, plan: Plan) -> Self {
        let template = object["spec"]["template"].clone();
        Self {
            object,
            revisions: vec![Revision { number: 1, template }],
            generation: 1,
            rollout: Rollout::Succeeds { after: 0 },
            looks: 0,
            applied: 0,
            logs,
            plan,
        }
    }

    /// Counts one look; true when the next look may find something else.
    pub(super) fn look(&mut self) -> bool {
        let before = self.stage();
        self.looks = self.looks.saturating_add(1);
        before != self.stage()
    }

    /// Takes over a patched object, and begins a rollout when its pod template is another.
    pub(super) fn replace(&mut self, mut object: Value) {
        if let Some(fields) = object.as_object_mut() {
            fields.remove("status");
        }
        if object["spec"] != self.object["spec"] {
            self.generation += 1;
            self.looks = 0;
            self.rollout = Rollout::Succeeds { after: 0 };
        }
        let template = &object["spec"]["template"];
        if *template != self.object["spec"]["template"] {
            let containers = template["spec"]["containers"].as_array().into_iter().flatten();
            let planned = containers
                .filter_map(|container| self.plan.by_image.get(container["image"].as_str()?))
                .next();
            self.rollout = planned.copied().unwrap_or(self.plan.default);
            let number = self.revision() + 1;
            // Going back to an earlier template renumbers its replica set.
            self.revisions.retain(|revision| revision.template != *template);
            self.revisions.push(Revision { number, template: template.clone() });
        }
        self.object = object;
    }

    pub(super) fn rendered(&self) -> Value {
        let mut object = self.object.clone();
        object["metadata"]["generation"] = self.generation.into();
        if !object["metadata"]["annotations"].is_object() {
            object["metadata"]["annotations"] = json!({});
        }
        let revision = self.revision().to_string();
        object["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = revision.into();
        object["status"] = self.status();
        object
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let object = self.rendered();
        let strings = |value: &Value| -> BTreeMap<String, String> {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let fields = value.as_object().into_iter().flatten();
            fields.map(|(key, value)| (key.clone(), text(value))).collect()
        };
        let template = &object["spec"]["template"];
        let containers = template["spec"]["containers"].as_array().into_iter().flatten();
        let pair = |container: &Value| {
            let text = |key: &str| container[key].as_str().unwrap_or_default().to_owned();
            (text("name"), text("image"))
        };
        Snapshot {
            images: containers.map(pair).collect(),
            annotations: strings(&object["metadata"]["annotations"]),
            template_annotations: strings(&template["metadata"]["annotations"]),
            generation: self.generation,
            observed_generation: self.observed(),
            revision: self.revision(),
            applied_patches: self.applied,
            complete: self.stage() == Stage::Complete,
            object,
        }
    }

    /// Its replica sets, oldest first, without what the store adds.
    pub(super) fn replica_sets(&self) -> Vec<Value> {
        let newest = self.revisions.len().saturating_sub(1);
        let counts = self.counts();
        let sets = self.revisions.iter().enumerate().map(|(index, revision)| {
            let pods = match index {
                _ if index == newest => counts.updated,
                _ if index + 1 == newest => counts.total - counts.updated,
                _ => 0,
            };
            let hash = short_hash(&revision.template.to_string());
            let mut labels = revision.template["metadata"]["labels"].clone();
            labels["pod-template-hash"] = hash.as_str().into();
            let metadata = &self.object["metadata"];
            json!({
                "apiVersion": "apps/v1",
                "kind": "ReplicaSet",
                "metadata": {
                    "namespace": metadata["namespace"],
                    "name": format!("{}-{hash}", metadata["name"].as_str().unwrap_or_default()),
                    "labels": labels,
                    "annotations": {
                        "deployment.kubernetes.io/revision": revision.number.to_string(),
                    },
                    "ownerReferences": [{
                        "apiVersion": "apps/v1", "kind": "Deployment", "name": metadata["name"],
                        "uid": metadata["uid"], "controller": true, "blockOwnerDeletion": true,
                    }],
                },
                "spec": {
                    "replicas": pods,
                    "selector": {"matchLabels": labels},
                    "template": revision.template,
                },
                "status": {"replicas": pods, "readyReplicas": pods, "availableReplicas": pods},
            })
        });
        sets.collect()
    }

    /// Its pods, without what the store adds.
    pub(super) fn pods(&self) -> Vec<Value> {
        let sets = self.replica_sets();
        let members = sets.iter().flat_map(|set| {
            let count = set["spec"]["replicas"].as_u64().unwrap_or(0);
            (0..count).map(move |number| {
                let owner = set["metadata"]["name"].as_str().unwrap_or_default();
                let suffix = &short_hash(&format!("{owner}{number}"))[..5];
                let metadata = json!({
                    "namespace": set["metadata"]["namespace"],
                    "name": format!("{owner}-{suffix}"),
                    "labels": set["metadata"]["labels"],
                });
                pod(metadata, &set["spec"]["template"]["spec"], None, 0)
            })
        });
        members.collect()
    }

    fn revision(&self) -> u64 {
        self.revisions.last().map_or(1, |revision| revision.number)
    }

    fn wanted(&self) -> u64 {
        self.object["spec"]["replicas"].as_u64().unwrap_or(1)
    }

    fn stage(&self) -> Stage {
        let (after, end) = match self.rollout {
            Rollout::Succeeds { after } => (after, Stage::Complete),
            Rollout::DeadlineExceeded { after } => (after, Stage::TimedOut),
            Rollout::Stuck => (u32::MAX, Stage::Complete),
        };
        let whole_way = matches!(self.rollout, Rollout::Succeeds { .. });
        match self.looks {
            looks if looks >= after => end,
            0 => Stage::Unseen,
            looks if whole_way => {
                let share = self.wanted() * u64::from(looks) / u64::from(after);
                Stage::UnderWay(share.clamp(1, self.wanted().max(1)))
            }
            _ => Stage::UnderWay(1),
        }
    }

    fn observed(&self) -> u64 {
        match self.stage() {
            Stage::Unseen => self.generation - 1,
            _ => self.generation,
        }
    }

    fn counts(&self) -> Counts {
        let wanted = self.wanted();
        match self.stage() {
            Stage::Complete => Counts { total: wanted, updated: wanted, available: wanted },
            // The controller has not counted again: these are the old generation's numbers.
            Stage::Unseen => Counts { total: wanted, updated: 0, available: wanted },
            Stage::UnderWay(updated) => Counts { total: wanted + 1, updated, available: wanted },
            Stage::TimedOut => Counts { total: wanted + 1, updated: 1, available: wanted },
        }
    }

    fn status(&self) -> Value {
        let counts = self.counts();
        let (truth, reason, message) = match self.stage() {
            Stage::Complete => ("True", "NewReplicaSetAvailable", "has successfully progressed."),
            Stage::TimedOut => ("False", "ProgressDeadlineExceeded", "has timed out progressing."),
            _ => ("True", "ReplicaSetUpdated", "is progressing."),
        };
        let set = short_hash(&self.object["spec"]["template"].to_string());
        let name = self.object["metadata"]["name"].as_str().unwrap_or_default();
        json!({
            "observedGeneration": self.observed(),
            "replicas": counts.total,
            "updatedReplicas": counts.updated,
            "readyReplicas": counts.available,
            "availableReplicas": counts.available,
            "unavailableReplicas": counts.total - counts.available,
            "conditions": [
                {
                    "type": "Available", "status": "True", "reason": "MinimumReplicasAvailable",
                    "message": "Deployment has minimum availability.",
                },
                {
                    "type": "Progressing", "status": truth, "reason": reason,
                    "message": format!("ReplicaSet \"{name}-{set}\" {message}"),
                },
            ],
        })
    }
}

struct Counts {
    total: u64,
    updated: u64,
    available: u64,
}
