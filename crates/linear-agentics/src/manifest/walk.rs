//! Holds a manifest against its schema and tells everything that is wrong with its shape at once:
//! unknown keys, missing ones, wrong types, values outside their bounds.

use std::ops::Range;

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Diagnostic, Sink};
use super::suggest::{listed, nearest, unknown_key};
use super::value::shown;

/// Which table is being read.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// How messages call it, such as "`[budget]`" or "token `pods`".
    pub label: String,
    /// Its kind of table, such as `budget`, `token` or `secret`.
    pub table: &'static str,
}

impl Place {
    pub fn new(table: &'static str, label: impl Into<String>) -> Self {
        Self { label: label.into(), table }
    }
}

/// Walks tables along the schema.
pub(super) struct Walker<'w> {
    pub schema: &'static Value,
    pub sink: &'w mut Sink,
}

impl Walker<'_> {
    /// Follows a reference to its definition.
    pub fn definition(&self, schema: &'static Value) -> &'static Value {
        let target =
            schema.get("$ref").and_then(Value::as_str).and_then(|name| name.strip_prefix('#'));
        target.and_then(|pointer| self.schema.pointer(pointer)).unwrap_or(schema)
    }

    /// Judges one value.
    pub fn value(
        &mut self,
        schema: &'static Value,
        value: &Spanned<DeValue<'_>>,
        key: &str,
        place: &Place,
    ) {
        let schema = self.definition(schema);
        if is_tagged(schema) {
            return self.tagged(schema, value, key, place);
        }
        if let Some(choices) = choices(schema) {
            return self.choice(&choices, value, key, place);
        }
        let fits = match (type_of(schema), value.get_ref()) {
            ("string", DeValue::String(_))
            | ("boolean", DeValue::Boolean(_))
            | ("integer", DeValue::Integer(_))
            | ("number", DeValue::Integer(_) | DeValue::Float(_)) => true,
            ("array", DeValue::Array(items)) => {
                if let Some(of) = schema.get("items") {
                    items.iter().for_each(|item| self.value(of, item, key, place));
                }
                true
            }
            ("object", DeValue::Table(table)) => {
                let inner = Place::new("headers", format!("`{key}` of {}", place.label));
                self.table(schema, table, value.span(), if known(schema) { place } else { &inner });
                true
            }
            _ => false,
        };
        if fits {
            self.bounds(schema, value, key);
        } else {
            self.wrong_type(schema, value, key);
        }
    }

    /// Judges a table: its keys, then their values.
    pub fn table(
        &mut self,
        schema: &'static Value,
        table: &DeTable<'_>,
        span: Range<usize>,
        place: &Place,
    ) {
        self.keys(schema, table, span, place);
        let properties = schema.get("properties");
        for (key, value) in table {
            let own = properties.and_then(|p| p.get(key.get_ref().as_ref()));
            let other = schema.get("additionalProperties").filter(|other| other.is_object());
            if let Some(schema) = own.or(other) {
                self.value(schema, value, key.get_ref(), place);
            }
        }
    }

    /// Judges the keys of a table: unknown ones and missing ones.
    pub fn keys(
        &mut self,
        schema: &'static Value,
        table: &DeTable<'_>,
        span: Range<usize>,
        place: &Place,
    ) {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
            return;
        };
        let known: Vec<&str> =
            properties.keys().map(String::as_str).filter(|key| !table.contains_key(*key)).collect();
        let unknown =
            || table.iter().filter(|(key, _)| !properties.contains_key(key.get_ref().as_ref()));
        for (key, value) in unknown() {
            self.sink.push(unknown_key(key, value, &known, properties, place));
        }
        // A key that is only misspelt is not told a second time as missing.
        let meant: Vec<&str> =
            unknown().filter_map(|(key, _)| nearest(key.get_ref(), &known)).collect();
        let required = schema.get("required").and_then(Value::as_array);
        for key in required.into_iter().flatten().filter_map(Value::as_str) {
            if table.contains_key(key) || meant.contains(&key) {
                continue;
            }
            let about =
                properties.get(key).and_then(|s| s.get("description").and_then(Value::as_str));
            let one = match place.table {
                "root" => Diagnostic::new(None, format!("`[{key}]` is missing"))
                    .help("every run has limits: add `[budget]` with `max_steps` and `timeout`"),
                _ => {
                    Diagnostic::new(span.clone(), format!("`{key}` is missing in {}", place.label))
                        .help(format!(
                            "`{key}`: {}",
                            first_sentence(about.unwrap_or("it is required"))
                        ))
                }
            };
            self.sink.push(one);
        }
    }

    /// Judges a table whose `kind` says which of several it is.
    fn tagged(
        &mut self,
        schema: &'static Value,
        value: &Spanned<DeValue<'_>>,
        key: &str,
        place: &Place,
    ) {
        let DeValue::Table(table) = value.get_ref() else {
            return self.wrong_type(schema, value, key);
        };
        let variants = || schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
        let kinds: Vec<&str> = variants().filter_map(kind_of).collect();
        let one_of = format!("the kinds are {}", listed(&kinds));
        let Some(kind) = table.get("kind") else {
            let missing = format!("`kind` is missing in {}", place.label);
            return self.sink.push(Diagnostic::new(value.span(), missing).help(one_of));
        };
        let DeValue::String(name) = kind.get_ref() else {
            return self.wrong_type(&STRING, kind, "kind");
        };
        let Some(variant) = variants().find(|variant| kind_of(variant) == Some(name)) else {
            let one = if place.table == "inner" && is_any_kind(name) {
                let message = format!("a token of kind `{}` takes no secret", shown(name));
                Diagnostic::new(kind.span(), message)
            } else {
                let near = nearest(name, &kinds).map(|kind| format!("; did you mean `{kind}`?"));
                let message = format!("unknown kind `{}`{}", shown(name), near.unwrap_or_default());
                Diagnostic::new(kind.span(), message)
            };
            return self.sink.push(one.help(one_of));
        };
        let inner =
            Place { table: if name == "secret" { "secret" } else { place.table }, ..place.clone() };
        self.keys(variant, table, value.span(), &inner);
        for (key, value) in table {
            let key = key.get_ref().as_ref();
            let Some(schema) = variant.get("properties").and_then(|p| p.get(key)) else {
                continue;
            };
            if key == "inner" {
                let label = format!("the inner token of {}", place.label);
                self.value(schema, value, key, &Place::new("inner", label));
            } else if key != "kind" {
                self.value(schema, value, key, &inner);
            }
        }
    }

    fn choice(&mut self, choices: &[&str], value: &Spanned<DeValue<'_>>, key: &str, place: &Place) {
        let DeValue::String(name) = value.get_ref() else {
            return self.wrong_type(&STRING, value, key);
        };
        if choices.contains(&name.as_ref()) {
            return;
        }
        let near = nearest(name, choices).map(|near| format!("; did you mean `{near}`?"));
        let message = format!(
            "`{}` is no `{key}` of {}{}",
            shown(name),
            place.label,
            near.unwrap_or_default()
        );
        let help = format!("`{key}` is one of {}", listed(choices));
        self.sink.push(Diagnostic::new(value.span(), message).help(help));
    }

    fn wrong_type(&mut self, schema: &Value, value: &Spanned<DeValue<'_>>, key: &str) {
        let found = match value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        let example = schema.get("examples").and_then(|all| all.get(0));
        let (expected, help) = match (type_of(schema), value.get_ref()) {
            ("string", DeValue::Datetime(_)) => ("a string", Some("put it in quotes".to_owned())),
            ("string", _) => {
                ("a string", example.map(|example| format!("write it like `{example}`")))
            }
            ("boolean", DeValue::String(_)) => {
                ("`true` or `false`", Some("write it without quotes".to_owned()))
            }
            ("boolean", _) => ("`true` or `false`", None),
            ("integer", DeValue::String(_)) => {
                ("an integer", Some("write the number without quotes".to_owned()))
            }
            ("integer", _) => ("an integer", None),
            ("number", _) => {
                ("a number", example.map(|example| format!("write it like `{example}`")))
            }
            ("array", DeValue::Table(_)) => {
                ("an array of tables", Some(format!("write `[[{key}]]` with two brackets")))
            }
            ("array", _) => ("an array", Some(format!("put it in brackets: `{key} = [\"…\"]`"))),
            ("object", DeValue::Array(_)) => {
                ("a table", Some(format!("write `[{key}]` with one bracket")))
            }
            _ => ("a table", None),
        };
        let message = format!("`{}` must be {expected}, not {found}", shown(key));
        let one = Diagnostic::new(value.span(), message);
        self.sink.push(match help {
            Some(help) => one.help(help),
            None => one,
        });
    }

    fn bounds(&mut self, schema: &Value, value: &Spanned<DeValue<'_>>, key: &str) {
        let least = |name: &str| schema.get(name).and_then(Value::as_u64);
        let message = match value.get_ref() {
            DeValue::Integer(integer) if type_of(schema) == "integer" => {
                let number = i128::from_str_radix(integer.as_str(), integer.radix()).ok();
                let (min, max) = (least("minimum"), least("maximum"));
                let number = number.unwrap_or(i128::MAX);
                match (min, max) {
                    (Some(min), _) if number < min.into() => {
                        Some(format!("`{key}` is {number}; it must be at least {min}"))
                    }
                    (_, Some(max)) if number > max.into() => {
                        Some(format!("`{key}` is {integer}; it must be at most {max}"))
                    }
                    _ => None,
                }
            }
            DeValue::Array(items) if least("minItems") > Some(items.len() as u64) => {
                Some(format!("`{key}` is empty; list at least one"))
            }
            DeValue::String(text) if text.is_empty() && least("minLength") > Some(0) => {
                Some(format!("`{key}` is empty"))
            }
            _ => None,
        };
        if let Some(message) = message {
            self.sink.push(Diagnostic::new(value.span(), message));
        }
    }
}

static STRING: std::sync::LazyLock<Value> =
    std::sync::LazyLock::new(|| serde_json::json!({"type": "string"}));

fn known(schema: &Value) -> bool {
    schema.get("properties").is_some()
}

fn type_of(schema: &Value) -> &str {
    // Where the schema doesn't say, it means one of several tables.
    schema.get("type").and_then(Value::as_str).unwrap_or("object")
}

fn is_tagged(schema: &Value) -> bool {
    schema.pointer("/oneOf/0/properties/kind").is_some()
}

fn kind_of(variant: &Value) -> Option<&str> {
    variant.pointer("/properties/kind/const").and_then(Value::as_str)
}

fn is_any_kind(name: &str) -> bool {
    matches!(name, "shell" | "http" | "file" | "deploy" | "secret" | "wait" | "database")
}

/// The words of which a value must be one, if the schema lists them.
fn choices(schema: &'static Value) -> Option<Vec<&'static str>> {
    let listed = schema.get("enum").or_else(|| schema.get("oneOf")).and_then(Value::as_array)?;
    listed
        .iter()
        .map(|one| one.as_str().or_else(|| one.get("const").and_then(Value::as_str)))
        .collect()
}

fn first_sentence(text: &str) -> String {
    let text = text.split(['\n', ';']).next().unwrap_or(text);
    text.split(". ").next().unwrap_or(text).trim_end_matches('.').to_owned()
}
