//! The API's paths and verbs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Query;
use axum::http::Uri;
use serde_json::{Value, json};

use super::Shared;
use super::discovery::{self, RESOURCES, Resource};
use super::respond::{self, Answer, failure, forbidden, not_found, text};
use super::select::Selection;
use super::store::{Store, named};
use super::table::table;
use super::watch::{Watch, watch};
use super::write::write;
use crate::serve::{Recorded, lock};

/// Answers one request.
pub(super) async fn handle(shared: Arc<Shared>, call: Recorded) -> Answer {
    if let Some(token) = &shared.token
        && call.header("authorization") != Some(&format!("Bearer {token}"))
    {
        return failure(401, "Unauthorized", "Unauthorized");
    }
    let path = call.path.clone();
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        ["version"] => respond::json(200, &discovery::version(shared.minor)),
        ["healthz" | "livez" | "readyz"] => text(200, "ok"),
        ["api"] => {
            let host = call.header("host").unwrap_or_default();
            respond::json(200, &discovery::core_versions(host))
        }
        ["apis"] => respond::json(200, &discovery::groups()),
        ["apis", "apps"] => respond::json(200, &discovery::group()),
        ["api", "v1"] => respond::json(200, &discovery::resources("")),
        ["apis", "apps", "v1"] => respond::json(200, &discovery::resources("apps")),
        ["api", "v1", rest @ ..] => resource(shared, call, "", rest).await,
        ["apis", "apps", "v1", rest @ ..] => resource(shared, call, "apps", rest).await,
        _ => text(404, "404 page not found\n"),
    }
}

/// One request about a resource, taken apart.
pub(super) struct Request {
    pub(super) resource: &'static Resource,
    /// Empty: all namespaces, or none.
    pub(super) namespace: String,
    /// Empty: the whole list.
    pub(super) name: String,
    pub(super) subresource: String,
    query: BTreeMap<String, String>,
    pub(super) call: Recorded,
}

impl Request {
    pub(super) fn query(&self, key: &str) -> &str {
        self.query.get(key).map_or("", String::as_str)
    }

    fn asked(&self, key: &str) -> bool {
        matches!(self.query(key), "true" | "1")
    }

    /// The namespace to list, if it is one.
    fn within(&self) -> Option<&str> {
        Some(self.namespace.as_str()).filter(|namespace| !namespace.is_empty())
    }

    /// Whether a table is wanted, and if so whether with whole objects.
    fn as_table(&self) -> Option<bool> {
        let accepted = self.call.header("accept").unwrap_or_default();
        let table = accepted.contains("as=Table") && accepted.contains("g=meta.k8s.io");
        table.then(|| self.query("includeObject") == "Object")
    }

    pub(super) fn verb(&self) -> &'static str {
        match (self.call.method.as_str(), self.name.is_empty()) {
            ("GET" | "HEAD", false) => "get",
            ("GET" | "HEAD", true) if self.asked("watch") => "watch",
            ("GET" | "HEAD", true) => "list",
            ("POST", _) => "create",
            ("PUT", _) => "update",
            ("PATCH", _) => "patch",
            ("DELETE", false) => "delete",
            ("DELETE", true) => "deletecollection",
            _ => "",
        }
    }
}

async fn resource(shared: Arc<Shared>, call: Recorded, group: &str, path: &[&str]) -> Answer {
    let (namespace, path) = match path {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
        _ => ("", path),
    };
    let (plural, name, subresource) = match path {
        [plural] => (*plural, "", ""),
        [plural, name] => (*plural, *name, ""),
        [plural, name, subresource] => (*plural, *name, *subresource),
        _ => return text(404, "404 page not found\n"),
    };
    let mut known = RESOURCES.iter();
    let found = known.find(|resource| resource.group == group && resource.plural == plural);
    let Some(resource) = found else {
        return text(404, "404 page not found\n");
    };
    let Some(query) = query(&call.query) else {
        return failure(400, "BadRequest", "the query can't be read");
    };
    let owned = str::to_owned;
    let (namespace, name, subresource) = (owned(namespace), owned(name), owned(subresource));
    let request = Request { resource, namespace, name, subresource, query, call };
    let verb = request.verb();
    let full = match request.subresource.as_str() {
        "" => plural.to_owned(),
        subresource => format!("{plural}/{subresource}"),
    };
    if shared.forbidden.iter().any(|(denied, what)| denied == verb && *what == full) {
        return forbidden(verb, resource, &request.namespace, &request.name);
    }
    match (verb, request.subresource.as_str()) {
        ("get", "" | "status") => get(&shared, &request),
        ("get", "log") => log(&shared, &request),
        ("get", "scale") => scale(&shared, &request),
        ("list", "") => list(&shared, &request),
        ("watch", "") => begin_watch(shared, &request),
        ("create", "") => create(&shared, &request),
        ("delete", "") => delete(&shared, &request),
        ("patch" | "update", "" | "scale") => write(&shared, &request).await,
        _ => failure(405, "MethodNotAllowed", "the server does not allow this method here"),
    }
}

fn query(text: &str) -> Option<BTreeMap<String, String>> {
    let uri: Uri = format!("/?{text}").parse().ok()?;
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&uri).ok()?;
    Some(pairs.into_iter().collect())
}

/// The object that a request names.
pub(super) fn find(store: &Store, request: &Request) -> Option<Value> {
    store.get(request.resource, &request.namespace, &request.name)
}

fn get(shared: &Shared, request: &Request) -> Answer {
    let mut store = lock(&shared.store);
    let Some(object) = find(&store, request) else {
        return not_found(request.resource, &request.name);
    };
    if request.resource.plural == "deployments" {
        store.look(&named(&object));
    }
    match request.as_table() {
        Some(whole) => {
            let shown = table(request.resource, &[object], store.version(), whole);
            respond::json(200, &shown)
        }
        None => respond::json(200, &object),
    }
}

fn list(shared: &Shared, request: &Request) -> Answer {
    let mut store = lock(&shared.store);
    let selection =
        Selection::parse(request.query("labelSelector"), request.query("fieldSelector"));
    let mut objects = store.list(request.resource, request.within());
    objects.retain(|object| selection.matches(object));
    // What the client may watch from is what it is shown, before this look moves anything on.
    let version = store.version();
    if request.resource.plural == "deployments" {
        for object in &objects {
            store.look(&named(object));
        }
    }
    if let Some(whole) = request.as_table() {
        return respond::json(200, &table(request.resource, &objects, version, whole));
    }
    for fields in objects.iter_mut().filter_map(Value::as_object_mut) {
        // The real server names the kind once, in the list.
        fields.remove("kind");
        fields.remove("apiVersion");
    }
    let body = json!({
        "kind": format!("{}List", request.resource.kind),
        "apiVersion": request.resource.api_version(),
        "metadata": {"resourceVersion": version.to_string()},
        "items": objects,
    });
    respond::json(200, &body)
}

fn begin_watch(shared: Arc<Shared>, request: &Request) -> Answer {
    if request.asked("sendInitialEvents") {
        // The client falls back to a list and a plain watch.
        let message = "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch \
                       unless the WatchList feature gate is enabled";
        return failure(422, "Invalid", message);
    }
    let seconds = request.query("timeoutSeconds").parse().unwrap_or(300);
    let labels = request.query("labelSelector");
    let about = Watch {
        resource: request.resource,
        namespace: request.within().map(str::to_owned),
        selection: Selection::parse(labels, request.query("fieldSelector")),
        since: request.query("resourceVersion").parse().unwrap_or(0),
        as_table: request.as_table(),
        timeout: Duration::from_secs(seconds),
    };
    Some(watch(shared, about))
}

fn log(shared: &Shared, request: &Request) -> Answer {
    let store = lock(&shared.store);
    let Some(pod) = find(&store, request) else {
        return not_found(request.resource, &request.name);
    };
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let names: Vec<&str> = containers.filter_map(|one| one["name"].as_str()).collect();
    let asked = request.query("container");
    if asked.is_empty() && names.len() > 1 {
        let message = format!(
            "a container name must be specified for pod {}, choose one of: [{}]",
            request.name,
            names.join(" ")
        );
        return failure(400, "BadRequest", &message);
    }
    if !asked.is_empty() && !names.contains(&asked) {
        let message = format!("container {asked} is not valid for pod {}", request.name);
        return failure(400, "BadRequest", &message);
    }
    let mut logs = store.logs(&pod);
    if let Ok(lines) = request.query("tailLines").parse::<usize>() {
        let all: Vec<&str> = logs.split_inclusive('\n').collect();
        logs = all[all.len().saturating_sub(lines)..].concat();
    }
    if let Ok(bytes) = request.query("limitBytes").parse::<usize>() {
        logs = String::from_utf8_lossy(&logs.as_bytes()[..bytes.min(logs.len())]).into_owned();
    }
    text(200, logs)
}

fn scale(shared: &Shared, request: &Request) -> Answer {
    match find(&lock(&shared.store), request) {
        Some(object) => respond::json(200, &as_scale(&object)),
        None => not_found(request.resource, &request.name),
    }
}

/// A deployment as its `scale` subresource.
pub(super) fn as_scale(object: &Value) -> Value {
    json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": object["metadata"],
        "spec": {"replicas": object["spec"]["replicas"]},
        "status": {"replicas": object["status"]["replicas"]},
    })
}

fn create(shared: &Shared, request: &Request) -> Answer {
    let Ok(mut object) = serde_json::from_slice::<Value>(&request.call.body) else {
        return failure(400, "BadRequest", "the body is not a JSON object");
    };
    if request.resource.namespaced && object["metadata"].is_object() {
        object["metadata"]["namespace"] = request.namespace.as_str().into();
    }
    let mut store = lock(&shared.store);
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    if store.get(request.resource, &request.namespace, &name).is_some() {
        let message = format!("{} \"{name}\" already exists", request.resource.qualified());
        return failure(409, "AlreadyExists", &message);
    }
    match store.add(object) {
        Ok(object) => respond::json(201, &object),
        Err(message) => failure(422, "Invalid", &message),
    }
}

fn delete(shared: &Shared, request: &Request) -> Answer {
    let mut store = lock(&shared.store);
    let Some(object) = find(&store, request) else {
        return not_found(request.resource, &request.name);
    };
    if request.query("dryRun") != "All" {
        store.remove(request.resource, &request.namespace, &request.name);
    }
    let details = json!({
        "name": request.name, "group": request.resource.group, "kind": request.resource.plural,
        "uid": object["metadata"]["uid"],
    });
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": details,
    });
    respond::json(200, &body)
}
