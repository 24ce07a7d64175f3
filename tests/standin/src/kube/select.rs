//! Label and field selectors.

use serde_json::Value;

/// Which objects a request is about.
#[derive(Clone, Debug, Default)]
pub(super) struct Selection {
    labels: Vec<Requirement>,
    fields: Vec<Requirement>,
}

#[derive(Clone, Debug)]
struct Requirement {
    key: String,
    /// `None`: the key has to be there, whatever its value.
    values: Option<Vec<String>>,
    negated: bool,
}

impl Selection {
    pub(super) fn parse(labels: &str, fields: &str) -> Self {
        Self { labels: parse(labels), fields: parse(fields) }
    }

    /// Whether the object is selected.
    pub(super) fn matches(&self, object: &Value) -> bool {
        let label = |key: &str| object["metadata"]["labels"].get(key)?.as_str().map(str::to_owned);
        // A field that an object doesn't have is empty, as the real server has it.
        let field = |key: &str| {
            let value = key.split('.').fold(object, |value, part| &value[part]);
            Some(value.as_str().unwrap_or_default().to_owned())
        };
        self.labels.iter().all(|one| one.holds(label(&one.key)))
            && self.fields.iter().all(|one| one.holds(field(&one.key)))
    }
}

impl Requirement {
    fn holds(&self, value: Option<String>) -> bool {
        let plain = match (&self.values, value) {
            (None, value) => value.is_some(),
            (Some(_), None) => false,
            (Some(values), Some(value)) => values.contains(&value),
        };
        plain != self.negated
    }
}

fn parse(text: &str) -> Vec<Requirement> {
    let mut parts = Vec::new();
    let mut depth = 0;
    let mut part = String::new();
    for character in text.chars() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(std::mem::take(&mut part));
                continue;
            }
            _ => {}
        }
        part.push(character);
    }
    parts.push(part);
    let parts = parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty());
    parts.map(requirement).collect()
}

fn requirement(part: &str) -> Requirement {
    let build = |key: &str, values: Option<Vec<String>>, negated| {
        let key = key.trim().to_owned();
        Requirement { key, values, negated }
    };
    let set = |text: &str| {
        let inside = text.trim().trim_start_matches('(').trim_end_matches(')');
        Some(inside.split(',').map(|value| value.trim().to_owned()).collect())
    };
    if let Some((key, values)) = part.split_once(" notin ") {
        return build(key, set(values), true);
    }
    if let Some((key, values)) = part.split_once(" in ") {
        return build(key, set(values), false);
    }
    for (operator, negated) in [("!=", true), ("==", false), ("=", false)] {
        if let Some((key, value)) = part.split_once(operator) {
            return build(key, Some(vec![value.trim().to_owned()]), negated);
        }
    }
    match part.strip_prefix('!') {
        Some(key) => build(key, None, true),
        None => build(part, None, false),
    }
}

#[cfg(test)]
mod tests {
    use super::Selection;
    use serde_json::json;

    #[test]
    fn selectors_select() {
        let object = json!({
            "metadata": {"name": "web-0", "labels": {"app": "web", "tier": "front"}},
            "status": {"phase": "Running"},
        });
        let matches = |labels, fields| Selection::parse(labels, fields).matches(&object);
        assert!(matches("", ""));
        assert!(matches("app=web,tier in (front,back)", "metadata.name=web-0"));
        assert!(matches("app==web,!canary", "status.phase!=Failed,spec.nodeName="));
        assert!(!matches("app!=web", ""));
        assert!(!matches("tier notin (front,back)", ""));
        assert!(!matches("canary", ""));
        assert!(!matches("", "metadata.name=web-1"));
    }
}
