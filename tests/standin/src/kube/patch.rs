//! Merge patches (RFC 7386) and Kubernetes' strategic merge patches.

use serde_json::{Map, Value};

/// Applies a JSON merge patch: objects are merged, null removes, anything else replaces.
pub(super) fn merge(target: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    let target = as_object(target);
    for (key, value) in fields {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key).or_insert(Value::Null), value);
        }
    }
}

/// Applies a strategic merge patch: like a merge patch, but some lists are merged by a key. The
/// error says what the patch lacks.
pub(super) fn strategic(target: &mut Value, patch: &Value) -> Result<(), String> {
    let Some(fields) = patch.as_object() else {
        *target = patch.clone();
        return Ok(());
    };
    match fields.get("$patch").and_then(Value::as_str) {
        Some("replace") => {
            let mut fields = fields.clone();
            fields.remove("$patch");
            *target = Value::Object(fields);
            return Ok(());
        }
        Some("delete") => {
            *target = Value::Null;
            return Ok(());
        }
        _ => {}
    }
    let target = as_object(target);
    for (key, value) in fields {
        if key.starts_with('$') {
            // Orders and retained keys only matter to lists that are longer than ours.
            continue;
        }
        match (value, merge_key(key)) {
            (Value::Null, _) => {
                target.remove(key);
            }
            (Value::Array(items), Some(name)) => {
                let list = target.entry(key).or_insert(Value::Null);
                merge_list(list, items, name, key)?;
            }
            _ => strategic(target.entry(key).or_insert(Value::Null), value)?,
        }
    }
    Ok(())
}

/// The field by which the items of a list are told apart; other lists are replaced as a whole.
fn merge_key(list: &str) -> Option<&'static str> {
    match list {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "env"
        | "volumes"
        | "imagePullSecrets" => Some("name"),
        "ports" => Some("containerPort"),
        "volumeMounts" => Some("mountPath"),
        "volumeDevices" => Some("devicePath"),
        "conditions" => Some("type"),
        "hostAliases" => Some("ip"),
        "ownerReferences" => Some("uid"),
        "topologySpreadConstraints" => Some("topologyKey"),
        _ => None,
    }
}

fn merge_list(list: &mut Value, items: &[Value], name: &str, at: &str) -> Result<(), String> {
    if !list.is_array() {
        *list = Value::Array(Vec::new());
    }
    let Some(list) = list.as_array_mut() else {
        return Ok(());
    };
    if items.iter().any(|item| item["$patch"] == "replace") {
        list.clear();
    }
    for item in items {
        if item["$patch"] == "replace" {
            continue;
        }
        let Some(key) = item.get(name) else {
            return Err(format!("map: {item} does not contain declared merge key: {name} in {at}"));
        };
        let found = list.iter().position(|old| old.get(name) == Some(key));
        match found {
            Some(index) if item["$patch"] == "delete" => {
                list.remove(index);
            }
            Some(index) => strategic(&mut list[index], item)?,
            None if item["$patch"] == "delete" => {}
            None => {
                let mut new = Value::Null;
                strategic(&mut new, item)?;
                list.push(new);
            }
        }
    }
    Ok(())
}

fn as_object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("it was just made an object")
}

#[cfg(test)]
mod tests {
    use super::{merge, strategic};
    use serde_json::json;

    #[test]
    fn strategic_patches_find_containers_by_name() {
        let mut spec = json!({
            "containers": [{"name": "a", "image": "a:1", "tty": true}, {"name": "b", "image": "b:1"}],
            "tolerations": [{"key": "x"}],
        });
        let patch = json!({
            "containers": [{"name": "b", "image": "b:2"}, {"name": "a", "tty": null}],
            "tolerations": [],
        });
        strategic(&mut spec, &patch).unwrap();
        let expected = json!({
            "containers": [{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:2"}],
            "tolerations": [],
        });
        assert_eq!(spec, expected);
        let nameless = json!({"containers": [{"image": "c:1"}]});
        assert!(strategic(&mut spec, &nameless).is_err());
        let delete = json!({"containers": [{"name": "a", "$patch": "delete"}]});
        strategic(&mut spec, &delete).unwrap();
        assert_eq!(spec["containers"], json!([{"name": "b", "image": "b:2"}]));
    }

    #[test]
    fn merge_patches_replace_lists() {
        let mut spec = json!({"containers": [{"name": "a", "image": "a:1"}], "paused": true});
        merge(&mut spec, &json!({"containers": [{"image": "a:2"}], "paused": null}));
        assert_eq!(spec, json!({"containers": [{"image": "a:2"}]}));
    }
}
