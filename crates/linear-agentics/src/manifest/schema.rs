//! The manifest's JSON Schema, generated from the types that are read.

use std::sync::LazyLock;

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use serde_json::Value;

use super::model::Root;

/// The schema of a manifest (JSON Schema, draft 2020-12).
///
/// ```
/// let schema = linear_agentics::manifest::schema();
/// assert_eq!(schema["required"][0], "budget");
/// ```
pub fn schema() -> Value {
    shared().clone()
}

/// The same, made once: reading a manifest is driven by it.
pub(super) fn shared() -> &'static Value {
    static SCHEMA: LazyLock<Value> = LazyLock::new(generate);
    &SCHEMA
}

fn generate() -> Value {
    let settings = SchemaSettings::draft2020_12().with_transform(WithoutNull);
    settings.into_generator().into_root_schema_for::<Root>().to_value()
}

/// TOML has no null: what is optional is left out.
#[derive(Debug, Clone)]
struct WithoutNull;

impl Transform for WithoutNull {
    fn transform(&mut self, schema: &mut Schema) {
        if let Some(map) = schema.as_object_mut() {
            if let Some(Value::Array(types)) = map.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    map.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(any)) = map.get_mut("anyOf") {
                any.retain(|one| one.get("type").is_none_or(|name| name != "null"));
                if let [Value::Object(only)] = any.as_slice() {
                    let only = only.clone();
                    map.remove("anyOf");
                    for (key, value) in only {
                        map.entry(key).or_insert(value);
                    }
                }
            }
            // An empty default says nothing that the absence of `required` doesn't.
            let empty = |value: &Value| match value {
                Value::Null => true,
                Value::Array(items) => items.is_empty(),
                Value::Object(entries) => entries.is_empty(),
                _ => false,
            };
            if map.get("default").is_some_and(empty) {
                map.remove("default");
            }
            // The lines of a doc comment are those of the source, not the reader's.
            if let Some(Value::String(text)) = map.get_mut("description") {
                *text = text.replace('\n', " ");
            }
            // These formats are of OpenAPI, and the bounds say the same.
            if map.get("format").is_some_and(|f| f.as_str().is_some_and(|f| f.starts_with("uint")))
            {
                map.remove("format");
            }
        }
        transform_subschemas(self, schema);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn committed() -> std::path::PathBuf {
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/manifest.schema.json")
    }

    #[test]
    fn the_committed_schema_is_what_the_types_say() {
        let now = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
        if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
            std::fs::write(committed(), &now).unwrap();
        }
        let held = std::fs::read_to_string(committed()).unwrap();
        assert!(
            held == now,
            "docs/manifest.schema.json is out of date; run the tests with UPDATE=1"
        );
    }

    /// Every object that lists its keys refuses others, and everything a person can write is explained.
    #[test]
    fn every_table_is_closed_and_every_key_is_described() {
        fn visit(at: &str, value: &Value, seen: &mut usize) {
            if let Some(properties) = value.get("properties").and_then(Value::as_object) {
                *seen += 1;
                assert_eq!(value.get("additionalProperties"), Some(&Value::Bool(false)), "{at}");
                for (key, schema) in properties {
                    let explained =
                        schema.get("description").is_some() || schema.get("const").is_some();
                    assert!(explained, "{at}.{key} has no description");
                }
            }
            match value {
                Value::Object(map) => {
                    map.iter().for_each(|(k, v)| visit(&format!("{at}/{k}"), v, seen))
                }
                Value::Array(items) => {
                    for (index, item) in items.iter().enumerate() {
                        visit(&format!("{at}/{index}"), item, seen);
                    }
                }
                _ => {}
            }
        }
        let schema = schema();
        let mut seen = 0;
        visit("", &schema, &mut seen);
        assert!(seen >= 12, "only {seen} tables");
        assert!(!schema.to_string().contains("null"), "TOML has no null");
    }

    #[test]
    fn a_token_is_one_of_the_kinds() {
        let schema = schema();
        let kinds: Vec<&str> = schema
            .pointer("/$defs/TokenTable/oneOf")
            .and_then(Value::as_array)
            .unwrap()
            .iter()
            .map(|one| one.pointer("/properties/kind/const").and_then(Value::as_str).unwrap())
            .collect();
        assert_eq!(kinds, ["shell", "http", "file", "database", "deploy", "secret", "wait"]);
    }
}
