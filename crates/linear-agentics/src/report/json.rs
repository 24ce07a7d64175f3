//! JSON that a person can look at in a terminal.

use std::borrow::Cow;
use std::fmt::Write as _;

use lar_core::display::{self, Mode};
use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};

/// The same JSON with every character written as `\u….` that can't be seen, moves other text or
/// speaks to the terminal. Every reader gets the same values as before.
///
/// ```
/// let text = linear_agentics::report::visible_json("\"a\u{202e}b\"");
/// assert_eq!(text, r#""a\u202eb""#);
/// ```
pub fn visible(json: &str) -> Cow<'_, str> {
    let plain = |c: char| matches!(c, ' '..='~' | '\n');
    if json.chars().all(plain) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        // Outside of strings there is only ASCII, so a character that isn't can take an escape.
        if plain(c)
            || display::escape(c.encode_utf8(&mut [0; 4]), Mode::Line).starts_with(c) && c != '‹'
        {
            out.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a `String` cannot fail.
            let _ = write!(out, "\\u{unit:04x}");
        }
    }
    Cow::Owned(out)
}

/// A value as JSON with so many spaces a level, or in one line.
///
/// # Errors
///
/// When it can't be written as JSON; a trail always can.
pub fn indented<T: Serialize>(
    value: &T,
    indent: Option<usize>,
) -> Result<String, serde_json::Error> {
    let Some(indent) = indent else {
        return serde_json::to_string(value);
    };
    let spaces = vec![b' '; indent];
    let mut bytes = Vec::new();
    let formatter = PrettyFormatter::with_indent(&spaces);
    value.serialize(&mut Serializer::with_formatter(&mut bytes, formatter))?;
    String::from_utf8(bytes).map_err(serde::ser::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reader_gets_the_same_values() {
        let value = serde_json::json!({
            "a\u{7f}": "\u{9b}31m é 日本 ‹ \u{e0041} \u{200b}e\u{301}",
            "b": ["\u{1b}", 1, null, "\u{feff}"]
        });
        for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            let shown = visible(&text);
            assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
            assert!(shown.contains("é 日本"), "{shown}");
            let unseen = |c: char| c.is_control() && c != '\n' || "\u{200b}\u{feff}".contains(c);
            assert!(!shown.contains(unseen), "{shown:?}");
        }
    }
}
