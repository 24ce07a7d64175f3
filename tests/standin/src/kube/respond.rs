//! Answers in the API's own shapes.

use axum::response::Response;
use serde_json::{Value, json};

use super::discovery::Resource;
use crate::stream::whole;

/// An answer to one request: a response, or `None` to hang up.
pub(super) type Answer = Option<Response>;

/// A JSON body.
pub(super) fn json(status: u16, body: &Value) -> Answer {
    Some(whole(status, "application/json", body.to_string()))
}

/// Plain text.
pub(super) fn text(status: u16, body: impl Into<String>) -> Answer {
    Some(whole(status, "text/plain; charset=utf-8", body.into()))
}

/// A failure as a `Status` object, which kubectl prints.
pub(super) fn failure(code: u16, reason: &str, message: &str) -> Answer {
    json(code, &status_object(code, reason, message))
}

/// The `Status` object of a failure.
pub(super) fn status_object(code: u16, reason: &str, message: &str) -> Value {
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    })
}

/// 404 for an object.
pub(super) fn not_found(resource: &Resource, name: &str) -> Answer {
    let message = format!("{} \"{name}\" not found", resource.qualified());
    let mut body = status_object(404, "NotFound", &message);
    body["details"] = json!({"name": name, "group": resource.group, "kind": resource.plural});
    json(404, &body)
}

/// 403 as role-based access control words it.
pub(super) fn forbidden(verb: &str, resource: &Resource, namespace: &str, name: &str) -> Answer {
    let (qualified, plural, group) = (resource.qualified(), resource.plural, resource.group);
    let what = if name.is_empty() { qualified } else { format!("{qualified} \"{name}\"") };
    let place = match resource.namespaced {
        true => format!("in the namespace \"{namespace}\""),
        false => "at the cluster scope".to_owned(),
    };
    let message = format!(
        "{what} is forbidden: User \"test\" cannot {verb} resource \"{plural}\" in API group \
         \"{group}\" {place}"
    );
    failure(403, "Forbidden", &message)
}

/// The failure of this status for a write to one object.
pub(super) fn write_failure(
    code: u16,
    verb: &str,
    resource: &Resource,
    namespace: &str,
    name: &str,
) -> Answer {
    let what = format!("{} \"{name}\"", resource.qualified());
    match code {
        403 => forbidden(verb, resource, namespace, name),
        404 => not_found(resource, name),
        409 => {
            let message = format!(
                "Operation cannot be fulfilled on {what}: the object has been modified; please \
                 apply your changes to the latest version and try again"
            );
            failure(409, "Conflict", &message)
        }
        429 => failure(429, "TooManyRequests", "too many requests, please try again later"),
        503 => failure(503, "ServiceUnavailable", "the server is currently unable to handle it"),
        504 => failure(504, "Timeout", "the server was unable to answer in time"),
        500.. => {
            let message = "Internal error occurred: the stand-in's script says so";
            failure(code, "InternalError", message)
        }
        _ => failure(code, "Invalid", &format!("{what} is refused by the stand-in's script")),
    }
}

/// 422 for a field of an object; kubectl prints the causes.
pub(super) fn invalid(resource: &Resource, name: &str, field: &str, message: &str) -> Answer {
    let (kind, group) = (resource.kind, resource.group);
    let of = if group.is_empty() { String::new() } else { format!(".{group}") };
    let whole = format!("{kind}{of} \"{name}\" is invalid: {field}: {message}");
    let mut body = status_object(422, "Invalid", &whole);
    let cause = json!({"reason": "FieldValueInvalid", "message": message, "field": field});
    body["details"] = json!({"name": name, "group": group, "kind": kind, "causes": [cause]});
    json(422, &body)
}
