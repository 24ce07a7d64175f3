//! What to say of a key that nobody knows: which one was likely meant.

use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeString, DeValue};

use super::diagnostic::Diagnostic;
use super::value::shown;
use super::walk::Place;

/// Tells that a key is unknown, and what was likely meant: one of those that are still `unused`, or
/// else of all that are known.
pub(super) fn unknown_key(
    key: &Spanned<DeString<'_>>,
    value: &Spanned<DeValue<'_>>,
    unused: &[&str],
    known: &Map<String, Value>,
    place: &Place,
) -> Diagnostic {
    let (key, span) = (key.get_ref().as_ref(), key.span());
    let is_table = matches!(value.get_ref(), DeValue::Table(_) | DeValue::Array(_));
    if matches!((place.table, key), ("secret", "secret" | "value")) {
        return Diagnostic::new(span, format!("`{key}`: a manifest never holds a secret's value"))
            .help(
                "name the environment variable that holds it with `env`, or its file with `file`",
            );
    }
    let named = match (place.table, is_table) {
        ("root", true) => format!("unknown table `[{}]`", shown(key)),
        _ => format!("unknown key `{}`", shown(key)),
    };
    let all: Vec<&str> = known.keys().map(String::as_str).collect();
    let message = format!("{named} in {}", place.label);
    match (nearest(key, unused).or_else(|| nearest(key, &all)), unused) {
        (Some(near), _) => Diagnostic::new(span, format!("{message}; did you mean `{near}`?")),
        (None, []) => Diagnostic::new(span, message),
        (None, unused) => Diagnostic::new(span, message)
            .help(format!("what it can still hold: {}", listed(unused))),
    }
}

/// The known word that is most like `word`, if one is like it at all.
pub(super) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    // Only the beginning is compared: an endless key is like nothing.
    let word: String = word.chars().take(64).flat_map(char::to_lowercase).collect();
    let word = word.replace('-', "_");
    let distance = |known: &str| {
        let related = word.len() >= 3 && (known.contains(&word) || word.contains(known));
        let distance = strsim::osa_distance(&word, known);
        let close = distance * 5 <= word.chars().count().max(known.len()) * 2;
        (related || close).then_some((!close, distance))
    };
    let near = known.iter().filter_map(|known| Some((distance(known)?, *known))).min();
    near.map(|(_, known)| known)
}

/// The words as a list for people.
pub(super) fn listed(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}
