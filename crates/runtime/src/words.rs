//! Whether words of the model hold a secret, however its JSON spells it.
//!
//! JSON lets every character be written as an escape, and a text may stand in pieces in several
//! blocks. What is searched is therefore what the words come to, not only the bytes that came.

use std::borrow::Cow;

use lar_core::redact::Redactor;

use crate::model::Turn;

/// How many layers of escapes are taken off: a block, the text of a malformed input kept in it, and
/// JSON written as a string in that.
const LAYERS: usize = 4;

/// The name of a secret that the turn holds: in its content, in inputs that are no JSON, or in what
/// stands around them (its id, its stop reason), all of which a recording would keep.
pub(crate) fn secret_in<'r>(turn: &Turn, redactor: &'r Redactor) -> Option<&'r str> {
    if redactor.is_empty() {
        return None;
    }
    // A turn that can't be written again has content all the same.
    let record = turn.to_record().unwrap_or_else(|_| {
        turn.blocks.iter().map(|block| block.get()).collect::<Vec<_>>().join(",")
    });
    spelled_in(&record, redactor).or_else(|| redactor.contains(turn.text().as_bytes()))
}

/// The name of a secret that a text holds, as it stands or behind JSON's escapes.
pub(crate) fn spelled_in<'r>(text: &str, redactor: &'r Redactor) -> Option<&'r str> {
    if redactor.is_empty() {
        return None;
    }
    let mut text = Cow::Borrowed(text);
    for _ in 0..=LAYERS {
        if let Some(name) = redactor.contains(text.as_bytes()) {
            return Some(name);
        }
        if !text.contains('\\') {
            break;
        }
        text = Cow::Owned(unescape(&text));
    }
    None
}

/// Takes one layer of JSON's escapes (RFC 8259, section 7) off a text, wherever they stand. What is
/// no escape stays as it is.
fn unescape(text: &str) -> String {
    let mut units: Vec<u16> = Vec::new();
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        if !before.is_empty() {
            flush(&mut units, &mut out);
            out.push_str(before);
        }
        let hex = escape.strip_prefix("\\u").and_then(|code| code.get(..4));
        let hex = hex.filter(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
        if let Some(unit) = hex.and_then(|hex| u16::from_str_radix(hex, 16).ok()) {
            units.push(unit);
            rest = escape.get(6..).unwrap_or_default();
            continue;
        }
        flush(&mut units, &mut out);
        let mut chars = escape.chars();
        match chars.by_ref().nth(1) {
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some(other) => out.push(other),
            None => {}
        }
        rest = chars.as_str();
    }
    flush(&mut units, &mut out);
    out.push_str(rest);
    out
}

/// Writes the UTF-16 units that stood next to one another.
fn flush(units: &mut Vec<u16>, out: &mut String) {
    let decoded = char::decode_utf16(units.drain(..));
    out.extend(decoded.map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::SecretString;

    const SECRET: &str = "Zx9-Qr7_Vt5.Kp3!é𝄞";

    fn redactor() -> Redactor {
        let mut builder = Redactor::builder();
        builder.add("db", &SecretString::from(SECRET.to_owned())).unwrap();
        builder.build().unwrap()
    }

    fn found(content: &str, more: &str) -> bool {
        let line = format!(r#"{{"content":[{content}],"stop_reason":"end_turn"{more}}}"#);
        secret_in(&Turn::from_record(&line).unwrap(), &redactor()).is_some()
    }

    /// Every other character of the text as an escape.
    fn spelled(text: &str) -> String {
        let units: Vec<u16> = text.encode_utf16().collect();
        units
            .iter()
            .enumerate()
            .map(|(at, unit)| match u8::try_from(*unit) {
                Ok(byte) if byte.is_ascii() && at % 2 == 0 => char::from(byte).to_string(),
                _ => format!("\\u{unit:04x}"),
            })
            .collect()
    }

    #[test]
    fn a_secret_in_a_call_is_found_behind_its_escapes() {
        let redactor = redactor();
        let plain = format!("{{\"reason\":\"{SECRET}\"}}");
        assert!(spelled_in(&plain, &redactor).is_some());
        let ascii: String = SECRET.chars().take_while(char::is_ascii).collect();
        let spelled = ascii.chars().map(|c| format!("\\u{:04x}", c as u32)).collect::<String>();
        let rest = SECRET.strip_prefix(&ascii).unwrap();
        let whole = format!("{{\"reason\":\"{spelled}{rest}\"}}");
        assert!(spelled_in(&whole, &redactor).is_some());
        assert!(spelled_in(r#"{"reason":"nothing"}"#, &redactor).is_none());
    }

    #[test]
    fn a_secret_is_found_however_it_is_spelled() {
        let text = |words: &str| format!(r#"{{"type":"text","text":"{words}"}}"#);
        let spelled = spelled(SECRET);
        assert_ne!(spelled, SECRET);
        assert!(found(&text(SECRET), ""));
        assert!(found(&text(&format!("it is {spelled}, I think")), ""));
        // JSON within a string, escaped again.
        assert!(found(&text(&spelled.replace('\\', "\\\\")), ""));
        let (head, tail) = SECRET.split_at(7);
        assert!(found(&format!("{},{}", text(head), text(tail)), ""), "in two blocks");
        assert!(found(&text("x"), &format!(r#","id":"{spelled}""#)), "around the content");
        let call = r#"{"type":"tool_use","id":"t","name":"n","input":{}}"#;
        let kept = serde_json::json!([{"tool_use_id": "t", "input": format!("{{bad {spelled}"), "why": "w"}]);
        assert!(
            found(call, &format!(r#","malformed_inputs":{kept}"#)),
            "in an input that is no JSON"
        );
        assert!(!found(&text("Zx9-Qr7 is not it \\u005a\\\\"), ""));
    }

    #[test]
    fn one_layer_comes_off_and_the_rest_stays() {
        assert_eq!(unescape(r"\ud834\udd1e!"), "𝄞!");
        assert_eq!(unescape("é\\n\\\\\\u0041"), "é\n\\A");
        assert_eq!(unescape("\\u00"), "u00");
        assert_eq!(unescape("end\\"), "end");
    }
}
