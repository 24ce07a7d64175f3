//! Every object in the server, under one resource version counter.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::deployment::Deployment;
use super::discovery::{RESOURCES, Resource};
use super::object::{self, Pod};
use super::running::Running;

/// Namespace and name; the namespace is empty for what has none.
pub(super) type Name = (String, String);

/// Everything that the server knows.
pub(super) struct Store {
    pub(super) deployments: BTreeMap<Name, Running>,
    objects: BTreeMap<(&'static str, Name), Value>,
    logs: BTreeMap<Name, String>,
    version: u64,
    created: String,
}

impl Store {
    pub(super) fn new(created: &str) -> Self {
        let mut store = Self {
            deployments: BTreeMap::new(),
            objects: BTreeMap::new(),
            logs: BTreeMap::new(),
            version: 1000,
            created: created.to_owned(),
        };
        store.namespace("default");
        store
    }

    /// The resource version of the last change.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn add_deployment(&mut self, deployment: Deployment) {
        let name = (deployment.namespace.clone(), deployment.name.clone());
        self.namespace(&name.0);
        let mut running = deployment.start();
        self.identify(&mut running.object);
        self.deployments.insert(name, running);
    }

    pub(super) fn add_pod(&mut self, pod: Pod) {
        self.logs.insert((pod.namespace.clone(), pod.name.clone()), pod.logs.clone());
        self.add(pod.object()).expect("pods are a known kind");
    }

    /// Adds any object; the error says that its kind is unknown.
    pub(super) fn add(&mut self, mut object: Value) -> Result<Value, String> {
        let kind = object["kind"].as_str().unwrap_or_default();
        let found = RESOURCES.iter().find(|resource| resource.kind == kind);
        let Some(resource) = found.filter(|resource| resource.plural != "deployments") else {
            return Err(format!("no objects of kind `{kind}` can be added here"));
        };
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let mut namespace = String::new();
        if resource.namespaced {
            let given = object["metadata"]["namespace"].as_str().unwrap_or("default");
            namespace = given.to_owned();
            object["metadata"]["namespace"] = namespace.as_str().into();
            self.namespace(&namespace);
        }
        if resource.kind == "Event" {
            for field in ["firstTimestamp", "lastTimestamp"] {
                if object[field].is_null() {
                    object[field] = self.created.as_str().into();
                }
            }
            let about = &object["involvedObject"];
            let text = |key: &str| about[key].as_str().unwrap_or_default();
            let uid = object::uid(text("kind"), text("namespace"), text("name"));
            object["involvedObject"]["uid"] = uid.into();
        }
        self.identify(&mut object);
        self.objects.insert((resource.plural, (namespace, name)), object.clone());
        Ok(object)
    }

    /// All objects of a resource, in one namespace or (with `None`) in all, by name.
    pub(super) fn list(&self, resource: &Resource, namespace: Option<&str>) -> Vec<Value> {
        let mut all: Vec<Value> = match resource.plural {
            "deployments" => self.deployments.values().map(Running::rendered).collect(),
            "replicasets" => self.owned(Running::replica_sets),
            "pods" => self.owned(Running::pods),
            _ => Vec::new(),
        };
        let stored = self.objects.iter().filter(|((plural, _), _)| *plural == resource.plural);
        all.extend(stored.map(|(_, object)| object.clone()));
        all.retain(|object| namespace.is_none_or(|name| object["metadata"]["namespace"] == name));
        all
    }

    /// One object.
    pub(super) fn get(&self, resource: &Resource, namespace: &str, name: &str) -> Option<Value> {
        let namespace = resource.namespaced.then_some(namespace);
        let mut all = self.list(resource, namespace).into_iter();
        all.find(|object| object["metadata"]["name"] == name)
    }

    /// Puts a changed object in its place and returns it as it is then shown. `None` when it is
    /// one that follows from a deployment and can't be changed by itself.
    pub(super) fn put(&mut self, resource: &Resource, mut object: Value) -> Option<Value> {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let name = named(&object);
        if let Some(running) = self.deployments.get_mut(&name)
            && resource.plural == "deployments"
        {
            running.replace(object);
            running.applied += 1;
            return Some(running.rendered());
        }
        let place = self.objects.get_mut(&(resource.plural, name))?;
        *place = object.clone();
        Some(object)
    }

    /// Removes an object, if it can be removed by itself.
    pub(super) fn remove(&mut self, resource: &Resource, namespace: &str, name: &str) {
        self.version += 1;
        let namespace = if resource.namespaced { namespace } else { "" };
        let name = (namespace.to_owned(), name.to_owned());
        if resource.plural == "deployments" {
            self.deployments.remove(&name);
        }
        self.objects.remove(&(resource.plural, name));
    }

    /// Counts a look at a deployment, after it was shown.
    pub(super) fn look(&mut self, name: &Name) {
        let Some(running) = self.deployments.get_mut(name) else {
            return;
        };
        if running.look() {
            self.version += 1;
            running.object["metadata"]["resourceVersion"] = self.version.to_string().into();
        }
    }

    /// What a pod has logged.
    pub(super) fn logs(&self, pod: &Value) -> String {
        let name = named(pod);
        let owned = || {
            let mut all = self.deployments.values();
            let owner = all.find(|running| running.pods().iter().any(|one| named(one) == name));
            owner.map(|running| running.logs.clone())
        };
        self.logs.get(&name).cloned().or_else(owned).unwrap_or_default()
    }

    fn namespace(&mut self, name: &str) {
        let key = ("namespaces", (String::new(), name.to_owned()));
        if !self.objects.contains_key(&key) {
            let mut object = json!({
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
                "spec": {"finalizers": ["kubernetes"]},
                "status": {"phase": "Active"},
            });
            self.identify(&mut object);
            self.objects.insert(key, object);
        }
    }

    fn identify(&mut self, object: &mut Value) {
        self.version += 1;
        complete(object, self.version, &self.created);
    }

    /// What follows from the deployments has their resource versions.
    fn owned(&self, parts: impl Fn(&Running) -> Vec<Value>) -> Vec<Value> {
        let mut all = Vec::new();
        for running in self.deployments.values() {
            let version = &running.object["metadata"]["resourceVersion"];
            let version = version.as_str().and_then(|text| text.parse().ok()).unwrap_or(0);
            for mut object in parts(running) {
                complete(&mut object, version, &self.created);
                all.push(object);
            }
        }
        all
    }
}

fn complete(object: &mut Value, version: u64, created: &str) {
    let (namespace, name) = named(object);
    let uid = object::uid(object["kind"].as_str().unwrap_or_default(), &namespace, &name);
    object::identify(object, &uid, version, created);
}

/// An object's namespace and name.
pub(super) fn named(object: &Value) -> Name {
    let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
    (text("namespace"), text("name"))
}
