//! Which parts of a manifest are never shown: what could be a secret, whether or not it belongs there.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::Sink;

/// Keeps out of sight what could be a secret, whether or not it belongs there.
pub(super) fn hide_values(table: &DeTable<'_>, text: &str, sink: &mut Sink) {
    for (key, value) in table {
        hide_value(sounds_secret(key.get_ref()), value, text, sink);
    }
}

/// The same by lines, for a text that isn't TOML.
pub(super) fn hide_lines(text: &str, sink: &mut Sink) {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if let Some((key, value)) = line.split_once(['=', ':'])
            && sounds_secret(key.trim().trim_matches(['"', '\'']))
        {
            let value = value.trim_end();
            let start = at + key.len() + 1;
            sink.hide(start..start + value.len());
        }
        at += line.len();
    }
}

fn hide_value(secret: bool, value: &Spanned<DeValue<'_>>, text: &str, sink: &mut Sink) {
    match value.get_ref() {
        DeValue::Table(table) => hide_values(table, text, sink),
        DeValue::Array(items) => items.iter().for_each(|item| hide_value(secret, item, text, sink)),
        DeValue::String(_) if secret => sink.hide(value.span()),
        // A user name and password in a URL.
        DeValue::String(_) => {
            let span = value.span();
            let Some(literal) = text.get(span.clone()) else {
                return;
            };
            let Some(begin) = literal.find("://").map(|at| at + 3) else {
                return;
            };
            let rest = literal.get(begin..).unwrap_or_default();
            let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
            if let Some(end) = host.rfind('@') {
                sink.hide(span.start + begin..span.start + begin + end);
            }
        }
        _ => {}
    }
}

/// Whether a key sounds as though a secret stood beside it.
fn sounds_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase().replace('-', "_");
    let part = ["secret", "passw", "passphrase", "api_key", "apikey", "credential", "private_key"];
    part.iter().any(|part| key.contains(part))
        || matches!(key.as_str(), "value" | "token" | "authorization" | "cookie" | "dsn" | "pat")
        || key.ends_with("_token")
}
