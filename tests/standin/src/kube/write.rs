//! Patches and updates: planned answers, merging, and what the real server would refuse.

use serde_json::Value;

use super::api::{Request, as_scale, find};
use super::deployment::PatchAnswer;
use super::discovery::Resource;
use super::respond::{self, Answer, failure, invalid, not_found, write_failure};
use super::store::named;
use super::watch::version;
use super::{Shared, patch};
use crate::serve::lock;

/// A patch or an update, as the deployment's plan has it.
pub(super) async fn write(shared: &Shared, request: &Request) -> Answer {
    let answer = {
        let mut store = lock(&shared.store);
        let place = (request.namespace.clone(), request.name.clone());
        let planned = request.resource.plural == "deployments";
        let running = store.deployments.get_mut(&place).filter(|_| planned);
        running.and_then(|running| running.plan.answers.pop_front())
    };
    match answer.unwrap_or(PatchAnswer::Applied) {
        PatchAnswer::Applied => apply(shared, request),
        PatchAnswer::Status(code) => {
            let (namespace, name) = (&request.namespace, &request.name);
            write_failure(code, request.verb(), request.resource, namespace, name)
        }
        PatchAnswer::CutBeforeApply => None,
        PatchAnswer::CutAfterApply => {
            apply(shared, request);
            None
        }
        PatchAnswer::Slow(time) => {
            let answer = apply(shared, request);
            tokio::time::sleep(time).await;
            answer
        }
    }
}

fn apply(shared: &Shared, request: &Request) -> Answer {
    let mut store = lock(&shared.store);
    let Some(old) = find(&store, request) else {
        return not_found(request.resource, &request.name);
    };
    let Ok(body) = serde_json::from_slice::<Value>(&request.call.body) else {
        return failure(400, "BadRequest", "the body is not valid JSON");
    };
    let mut new = old.clone();
    let content_type = request.call.header("content-type").unwrap_or_default();
    match (request.verb(), content_type.split(';').next().unwrap_or_default().trim()) {
        ("patch", "application/strategic-merge-patch+json") => {
            if let Err(message) = patch::strategic(&mut new, &body) {
                return failure(400, "BadRequest", &message);
            }
        }
        ("patch", "application/merge-patch+json") => patch::merge(&mut new, &body),
        ("update", "application/json") if request.subresource.is_empty() => new = body.clone(),
        ("update", "application/json") => {
            new["spec"]["replicas"] = body["spec"]["replicas"].clone()
        }
        _ => {
            let message = format!(
                "the body of the request was in an unknown format - accepted media types include: \
                 application/merge-patch+json, application/strategic-merge-patch+json; got \
                 {content_type}"
            );
            return failure(415, "UnsupportedMediaType", &message);
        }
    }
    let wrong_version =
        body["metadata"].get("resourceVersion").is_some() && version(&body) != version(&old);
    if wrong_version {
        let (namespace, name) = (&request.namespace, &request.name);
        return write_failure(409, request.verb(), request.resource, namespace, name);
    }
    // Status has a door of its own, and the server's own fields are not for clients to set.
    new["status"] = old["status"].clone();
    for field in ["uid", "creationTimestamp", "generation"] {
        new["metadata"][field] = old["metadata"][field].clone();
    }
    match valid(request.resource, &old, &new) {
        Ok(()) => {}
        Err(Invalid::Unreadable(message)) => return failure(400, "BadRequest", &message),
        Err(Invalid::Field(field, message)) => {
            return invalid(request.resource, &request.name, &field, &message);
        }
    }
    if request.query("dryRun") == "All" {
        return respond::json(200, &new);
    }
    match store.put(request.resource, new) {
        Some(object) if request.subresource == "scale" => respond::json(200, &as_scale(&object)),
        Some(object) => respond::json(200, &object),
        None => failure(405, "MethodNotAllowed", "this object follows from its deployment"),
    }
}

/// Why a changed object can't be accepted.
enum Invalid {
    /// It can't be read as an object of its kind.
    Unreadable(String),
    /// A field, and what is wrong with it.
    Field(String, String),
}

/// Refuses a changed object that the real server would refuse.
fn valid(resource: &Resource, old: &Value, new: &Value) -> Result<(), Invalid> {
    let kind = resource.kind;
    let wrong = |field: &str, message: &str| -> Result<(), Invalid> {
        Err(Invalid::Field(field.to_owned(), message.to_owned()))
    };
    if named(old) != named(new) || new["kind"] != old["kind"] {
        let message = "the name, the namespace and the kind of an object can't be changed";
        return Err(Invalid::Unreadable(message.to_owned()));
    }
    let template = &new["spec"]["template"];
    for holder in [&new["metadata"], &template["metadata"]] {
        for field in ["annotations", "labels"] {
            let values = holder[field].as_object().into_iter().flatten();
            if let Some((key, _)) = values.into_iter().find(|(_, value)| !value.is_string()) {
                return Err(Invalid::Unreadable(format!(
                    "{kind} in version \"v1\" cannot be handled as a {kind}: json: cannot \
                     unmarshal the value of {field}.{key} into a Go value of type string"
                )));
            }
        }
    }
    if resource.plural != "deployments" {
        return Ok(());
    }
    if new["spec"]["selector"] != old["spec"]["selector"] {
        return wrong("spec.selector", "Invalid value: field is immutable");
    }
    if new["spec"]["replicas"].as_u64().is_none() {
        return wrong("spec.replicas", "Invalid value: must be greater than or equal to 0");
    }
    let at = "spec.template.spec.containers";
    let containers = template["spec"]["containers"].as_array().map_or(&[][..], Vec::as_slice);
    if containers.is_empty() {
        return wrong(at, "Required value");
    }
    for (index, container) in containers.iter().enumerate() {
        for field in ["name", "image"] {
            if container[field].as_str().is_none_or(str::is_empty) {
                return wrong(&format!("{at}[{index}].{field}"), "Required value");
            }
        }
    }
    Ok(())
}
