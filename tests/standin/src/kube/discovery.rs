//! What resources there are, and how a client finds out.

use serde_json::{Value, json};

/// One resource of the API.
pub(super) struct Resource {
    /// Empty for the core group.
    pub(super) group: &'static str,
    pub(super) plural: &'static str,
    pub(super) singular: &'static str,
    pub(super) kind: &'static str,
    short: &'static [&'static str],
    pub(super) namespaced: bool,
    in_all: bool,
    subresources: &'static [(&'static str, &'static str)],
}

impl Resource {
    const fn core(
        plural: &'static str,
        singular: &'static str,
        kind: &'static str,
        short: &'static [&'static str],
    ) -> Self {
        let (group, subresources) = ("", &[]);
        Self { group, plural, singular, kind, short, namespaced: true, in_all: false, subresources }
    }

    /// The group and version as objects spell it: `v1`, `apps/v1`.
    pub(super) fn api_version(&self) -> &'static str {
        if self.group.is_empty() { "v1" } else { "apps/v1" }
    }

    /// The resource as errors spell it: `pods`, `deployments.apps`.
    pub(super) fn qualified(&self) -> String {
        match self.group {
            "" => self.plural.to_owned(),
            group => format!("{}.{group}", self.plural),
        }
    }
}

/// Every resource that the server has.
pub(super) static RESOURCES: &[Resource] = &[
    Resource {
        in_all: true,
        subresources: &[("log", "Pod"), ("status", "Pod")],
        ..Resource::core("pods", "pod", "Pod", &["po"])
    },
    Resource { in_all: true, ..Resource::core("services", "service", "Service", &["svc"]) },
    Resource::core("configmaps", "configmap", "ConfigMap", &["cm"]),
    Resource::core("secrets", "secret", "Secret", &[]),
    Resource::core("events", "event", "Event", &["ev"]),
    Resource { namespaced: false, ..Resource::core("nodes", "node", "Node", &["no"]) },
    Resource {
        namespaced: false,
        ..Resource::core("namespaces", "namespace", "Namespace", &["ns"])
    },
    Resource {
        group: "apps",
        in_all: true,
        subresources: &[("status", "Deployment"), ("scale", "Scale")],
        ..Resource::core("deployments", "deployment", "Deployment", &["deploy"])
    },
    Resource {
        group: "apps",
        in_all: true,
        ..Resource::core("replicasets", "replicaset", "ReplicaSet", &["rs"])
    },
];

/// `/version`.
pub(super) fn version(minor: u32) -> Value {
    json!({
        "major": "1",
        "minor": minor.to_string(),
        "gitVersion": format!("v1.{minor}.4"),
        "gitCommit": "0000000000000000000000000000000000000000",
        "gitTreeState": "clean",
        "buildDate": "2025-01-01T00:00:00Z",
        "goVersion": "go1.23.0",
        "compiler": "gc",
        "platform": "linux/amd64",
    })
}

/// `/api`.
pub(super) fn core_versions(host: &str) -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": host}],
    })
}

/// `/apis`.
pub(super) fn groups() -> Value {
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [apps()]})
}

/// `/apis/apps`.
pub(super) fn group() -> Value {
    let mut group = apps();
    group["kind"] = "APIGroup".into();
    group["apiVersion"] = "v1".into();
    group
}

/// `/api/v1` and `/apis/apps/v1`.
pub(super) fn resources(group: &str) -> Value {
    let mut list = Vec::new();
    for resource in RESOURCES.iter().filter(|resource| resource.group == group) {
        let mut entry = json!({
            "name": resource.plural,
            "singularName": resource.singular,
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
        });
        if !resource.short.is_empty() {
            entry["shortNames"] = resource.short.into();
        }
        if resource.in_all {
            entry["categories"] = json!(["all"]);
        }
        list.push(entry);
        for (name, kind) in resource.subresources {
            let mut entry = json!({
                "name": format!("{}/{name}", resource.plural),
                "singularName": "",
                "namespaced": resource.namespaced,
                "kind": kind,
                "verbs": ["get", "patch", "update"],
            });
            if *kind == "Scale" {
                entry["group"] = "autoscaling".into();
                entry["version"] = "v1".into();
            }
            list.push(entry);
        }
    }
    let version = if group.is_empty() { "v1" } else { "apps/v1" };
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": version,
        "resources": list,
    })
}

fn apps() -> Value {
    let version = json!({"groupVersion": "apps/v1", "version": "v1"});
    json!({"name": "apps", "versions": [version], "preferredVersion": version})
}
