//! Objects as the tables that `kubectl get` prints.

use serde_json::{Value, json};

use super::discovery::Resource;

/// A `Table` of these objects; `whole` puts the objects themselves into the rows.
pub(super) fn table(resource: &Resource, objects: &[Value], version: u64, whole: bool) -> Value {
    let columns: Vec<Value> = columns(resource.plural)
        .iter()
        .map(|(name, kind, priority)| {
            let format = if *name == "Name" { "name" } else { "" };
            json!({
                "name": name, "type": kind, "format": format, "description": name,
                "priority": priority,
            })
        })
        .collect();
    let row = |object: &Value| {
        let shown = match whole {
            true => object.clone(),
            false => json!({
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": object["metadata"],
            }),
        };
        json!({"cells": cells(resource.plural, object), "object": shown})
    };
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": version.to_string()},
        "columnDefinitions": columns,
        "rows": objects.iter().map(row).collect::<Vec<_>>(),
    })
}

type Column = (&'static str, &'static str, u8);

const NAME: Column = ("Name", "string", 0);
const AGE: Column = ("Age", "string", 0);

/// Everything was made an hour before the server started, and servers don't live long.
const AN_HOUR: &str = "60m";

fn columns(plural: &str) -> &'static [Column] {
    match plural {
        "pods" => &[
            NAME,
            ("Ready", "string", 0),
            ("Status", "string", 0),
            ("Restarts", "string", 0),
            AGE,
            ("IP", "string", 1),
            ("Node", "string", 1),
        ],
        "deployments" => &[
            NAME,
            ("Ready", "string", 0),
            ("Up-to-date", "integer", 0),
            ("Available", "integer", 0),
            AGE,
            ("Containers", "string", 1),
            ("Images", "string", 1),
        ],
        "replicasets" => &[
            NAME,
            ("Desired", "integer", 0),
            ("Current", "integer", 0),
            ("Ready", "integer", 0),
            AGE,
        ],
        "events" => &[
            ("Last Seen", "string", 0),
            ("Type", "string", 0),
            ("Reason", "string", 0),
            ("Object", "string", 0),
            ("Message", "string", 0),
            ("Name", "string", 1),
        ],
        "namespaces" => &[NAME, ("Status", "string", 0), AGE],
        _ => &[NAME, AGE],
    }
}

fn cells(plural: &str, object: &Value) -> Value {
    let name = &object["metadata"]["name"];
    let (spec, status) = (&object["spec"], &object["status"]);
    let joined = |containers: &Value, key: &str| {
        let all = containers.as_array().into_iter().flatten();
        let texts: Vec<&str> = all.filter_map(|container| container[key].as_str()).collect();
        texts.join(",")
    };
    match plural {
        "pods" => {
            let containers = status["containerStatuses"].as_array().cloned().unwrap_or_default();
            let ready = containers.iter().filter(|container| container["ready"] == true).count();
            let waiting = containers.iter().find_map(|c| c["state"]["waiting"]["reason"].as_str());
            let phase = waiting.or(status["phase"].as_str()).unwrap_or("Unknown");
            let restarts: u64 = containers.iter().filter_map(|c| c["restartCount"].as_u64()).sum();
            json!([
                name,
                format!("{ready}/{}", containers.len()),
                phase,
                restarts.to_string(),
                AN_HOUR,
                status["podIP"],
                spec["nodeName"],
            ])
        }
        "deployments" => {
            let number = |value: &Value| value.as_u64().unwrap_or(0);
            let containers = &spec["template"]["spec"]["containers"];
            json!([
                name,
                format!("{}/{}", number(&status["readyReplicas"]), number(&spec["replicas"])),
                number(&status["updatedReplicas"]),
                number(&status["availableReplicas"]),
                AN_HOUR,
                joined(containers, "name"),
                joined(containers, "image"),
            ])
        }
        "replicasets" => {
            json!([name, spec["replicas"], status["replicas"], status["readyReplicas"], AN_HOUR,])
        }
        "events" => {
            let about = &object["involvedObject"];
            let text = |key: &str| about[key].as_str().unwrap_or_default();
            let about = format!("{}/{}", text("kind").to_lowercase(), text("name"));
            json!([AN_HOUR, object["type"], object["reason"], about, object["message"], name])
        }
        "namespaces" => json!([name, status["phase"], AN_HOUR]),
        _ => json!([name, AN_HOUR]),
    }
}
