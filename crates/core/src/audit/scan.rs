//! One pass over a record's bytes: whether they are canonical JSON (RFC 8785, with whole numbers up
//! to 2^53 − 1 alone), and where its outermost fields stand.
//!
//! A verifier hashes bytes and never writes them anew, so the canonical form is checked here byte for
//! byte: keys in order and once each, no space, every character in its one spelling. It allocates
//! nothing, because a log is checked by the million.

use std::cmp::Ordering;

use crate::json::MAX_INTEGER;

/// The deepest nesting; the same as where records are made.
const MOST_DEPTH: usize = 64;

/// What is wrong with the bytes, and at which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct Flaw {
    /// In words.
    pub what: &'static str,
    /// Counted from 0.
    pub at: usize,
}

/// Reads one object and hands over each of its outermost fields: the key between its quotes, and the
/// value, both as they are written.
pub fn object<'a>(text: &'a str, mut field: impl FnMut(&'a str, &'a str)) -> Result<(), Flaw> {
    let mut scan = Scan::of(text)?;
    scan.fields(1, &mut field)?;
    if scan.at != scan.bytes.len() { scan.flaw("something follows the record") } else { Ok(()) }
}

/// Reads one value of whatever kind.
pub fn value(text: &str) -> Result<(), Flaw> {
    let mut scan = Scan::of(text)?;
    scan.value(1)?;
    if scan.at != scan.bytes.len() { scan.flaw("something follows the value") } else { Ok(()) }
}

/// A string's value without its quotes, when it is written without escapes.
pub fn plain(value: &str) -> Option<&str> {
    let inner = value.strip_prefix('"')?.strip_suffix('"')?;
    (!inner.contains('\\')).then_some(inner)
}

/// A whole number's value.
pub fn number(value: &str) -> Option<u64> {
    value.parse().ok().filter(|number| *number <= MAX_INTEGER)
}

struct Scan<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

/// Where the first quote or backslash stands, eight bytes at a time: most of a record is text.
fn quote_or_backslash(bytes: &[u8]) -> Option<usize> {
    const LOW: u64 = u64::MAX / 255;
    const HIGH: u64 = LOW << 7;
    // The lowest byte that is zero has the lowest bit set here.
    let zeros = |word: u64| word.wrapping_sub(LOW) & !word & HIGH;
    let mut at = 0;
    while let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*word);
        let found = zeros(word ^ (LOW * b'"' as u64)) | zeros(word ^ (LOW * b'\\' as u64));
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    let rest = bytes.get(at..)?;
    rest.iter().position(|byte| matches!(byte, b'"' | b'\\')).map(|found| at + found)
}

impl<'a> Scan<'a> {
    fn of(text: &'a str) -> Result<Self, Flaw> {
        let bytes = text.as_bytes();
        // No control character stands bare anywhere in canonical JSON, between its values either.
        if bytes.iter().fold(false, |bare, byte| bare | (*byte < 0x20)) {
            let at = bytes.iter().position(|byte| *byte < 0x20).unwrap_or_default();
            return Err(Flaw { what: "a control character stands bare", at });
        }
        Ok(Self { text, bytes, at: 0 })
    }

    fn flaw<T>(&self, what: &'static str) -> Result<T, Flaw> {
        Err(Flaw { what, at: self.at })
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self, byte: u8, what: &'static str) -> Result<(), Flaw> {
        if self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            self.flaw(what)
        }
    }

    fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    fn value(&mut self, depth: usize) -> Result<(), Flaw> {
        match self.peek() {
            Some(b'"') => self.string().map(drop),
            Some(b'{') => self.fields(depth + 1, &mut |_, _| {}),
            Some(b'[') => self.array(depth + 1),
            Some(b'-' | b'0'..=b'9') => self.integer(),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            _ => self.flaw("there is no canonical value"),
        }
    }

    fn fields(
        &mut self,
        depth: usize,
        field: &mut dyn FnMut(&'a str, &'a str),
    ) -> Result<(), Flaw> {
        self.enter(depth)?;
        self.take(b'{', "there is no object")?;
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        let mut before: Option<(&str, bool)> = None;
        loop {
            let start = self.at;
            let key = self.string()?;
            // Plain keys are in the order of their bytes; for others see `in_order`.
            let plain = key.is_ascii() && !key.contains('\\');
            let order = before.map(|(before, was_plain)| match plain && was_plain {
                true => before.cmp(key),
                false => in_order(before, key),
            });
            match order {
                None | Some(Ordering::Less) => {}
                Some(Ordering::Equal) => {
                    self.at = start;
                    return self.flaw("a key stands twice");
                }
                Some(Ordering::Greater) => {
                    self.at = start;
                    return self.flaw("a key stands out of order");
                }
            }
            before = Some((key, plain));
            self.take(b':', "there is no value after a key")?;
            let start = self.at;
            self.value(depth)?;
            field(key, self.since(start));
            if self.peek() == Some(b',') {
                self.at += 1;
            } else {
                return self.take(b'}', "an object doesn't end canonically");
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<(), Flaw> {
        self.enter(depth)?;
        self.at += 1;
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.value(depth)?;
            if self.peek() == Some(b',') {
                self.at += 1;
            } else {
                return self.take(b']', "an array doesn't end canonically");
            }
        }
    }

    fn enter(&self, depth: usize) -> Result<(), Flaw> {
        if depth > MOST_DEPTH { self.flaw("it is nested too deep") } else { Ok(()) }
    }

    /// Reads a string and returns what stands between its quotes.
    fn string(&mut self) -> Result<&'a str, Flaw> {
        self.take(b'"', "there is no string")?;
        let start = self.at;
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let Some(plain) = quote_or_backslash(rest) else {
                return self.flaw("a string doesn't end");
            };
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    let inner = self.since(start);
                    self.at += 1;
                    return Ok(inner);
                }
                _ => self.escape()?,
            }
        }
    }

    /// Each character that must be escaped has one spelling (RFC 8785, section 3.2.2.2).
    fn escape(&mut self) -> Result<(), Flaw> {
        let rest = self.bytes.get(self.at + 1..).unwrap_or_default();
        let long = match rest {
            [b'b' | b't' | b'n' | b'f' | b'r' | b'"' | b'\\', ..] => 2,
            [b'u', b'0', b'0', b'0', b'0'..=b'7' | b'b' | b'e' | b'f', ..]
            | [b'u', b'0', b'0', b'1', b'0'..=b'9' | b'a'..=b'f', ..] => 6,
            _ => return self.flaw("a character isn't escaped canonically"),
        };
        self.at += long;
        Ok(())
    }

    fn integer(&mut self) -> Result<(), Flaw> {
        let start = self.at;
        let digits = if self.peek() == Some(b'-') { start + 1 } else { start };
        self.at = digits;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        let magnitude = self.since(digits);
        let canonical = match magnitude.as_bytes() {
            [] => false,
            [b'0'] => digits == start,
            [first, ..] => *first != b'0' && number(magnitude).is_some(),
        };
        if canonical && !matches!(self.peek(), Some(b'.' | b'e' | b'E' | b'+')) {
            return Ok(());
        }
        self.at = start;
        self.flaw("a number isn't a whole one up to 2^53 − 1 in its one spelling")
    }

    fn word(&mut self, word: &'static str) -> Result<(), Flaw> {
        if self.bytes.get(self.at..).unwrap_or_default().starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(())
        } else {
            self.flaw("there is no canonical value")
        }
    }
}

/// The order of two keys: by UTF-16 code units of what they say (RFC 8785, section 3.2.3).
fn in_order(before: &str, key: &str) -> Ordering {
    units(before).cmp(units(key))
}

/// The UTF-16 code units of a key whose escapes were checked.
fn units(key: &str) -> impl Iterator<Item = u16> {
    let mut chars = key.chars();
    std::iter::from_fn(move || {
        let next = chars.next()?;
        if next != '\\' {
            return Some(next);
        }
        Some(match chars.next()? {
            'b' => '\u{8}',
            't' => '\t',
            'n' => '\n',
            'f' => '\u{c}',
            'r' => '\r',
            'u' => {
                let code = chars
                    .by_ref()
                    .take(4)
                    .fold(0, |code, digit| code * 16 + digit.to_digit(16).unwrap_or_default());
                char::from_u32(code).unwrap_or_default()
            }
            other => other,
        })
    })
    .flat_map(|character| {
        let mut buffer = [0; 2];
        let long = character.encode_utf16(&mut buffer).len();
        buffer.into_iter().take(long)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::json::canonical;

    fn flaw(text: &str) -> &'static str {
        object(text, |_, _| {}).unwrap_err().what
    }

    #[test]
    fn the_outermost_fields_are_handed_over_as_they_are_written() {
        let mut seen = Vec::new();
        object(r#"{"a":{"b":1},"c":"x\n","d":[1,-2]}"#, |key, value| seen.push((key, value)))
            .unwrap();
        assert_eq!(seen, [("a", r#"{"b":1}"#), ("c", r#""x\n""#), ("d", "[1,-2]")]);
        assert_eq!((plain("\"x\""), plain(r#""x\n""#), plain("x")), (Some("x"), None, None));
        assert_eq!((number("7"), number("-7"), number("9007199254740992")), (Some(7), None, None));
    }

    #[test]
    fn another_spelling_is_named() {
        for (text, what) in [
            (r#"{"a":1,"a":1}"#, "a key stands twice"),
            (r#"{"b":1,"a":1}"#, "a key stands out of order"),
            ("{\"a\": 1}", "there is no canonical value"),
            (r#"{"a":1 }"#, "an object doesn't end canonically"),
            (r#"{"a":[1 ]}"#, "an array doesn't end canonically"),
            (r#"{"a":1}x"#, "something follows the record"),
            (r#"{"a":"\u0041"}"#, "a character isn't escaped canonically"),
            (r#"{"a":"\/"}"#, "a character isn't escaped canonically"),
            (r#"{"a":"\u001F"}"#, "a character isn't escaped canonically"),
            (r#"{"a":"\u000a"}"#, "a character isn't escaped canonically"),
            ("{\"a\":\"\u{1}\"}", "a control character stands bare"),
            (r#"{"a":"x}"#, "a string doesn't end"),
            ("", "there is no object"),
            ("[]", "there is no object"),
        ] {
            assert_eq!(flaw(text), what, "{text}");
        }
        for number in ["01", "-0", "1.0", "1e3", "9007199254740992", "-9007199254740992", "-", "00"]
        {
            assert!(flaw(&format!("{{\"a\":{number}}}")).starts_with("a number"), "{number}");
        }
        object(r#"{"a":-9007199254740991,"b":0,"c":"\u0000\u000b\u001f"}"#, |_, _| {}).unwrap();
        assert_eq!(
            flaw(&format!("{{\"a\":{}1{}}}", "[".repeat(64), "]".repeat(64))),
            "it is nested too deep"
        );
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            Just(Value::Null),
            (-9_007_199_254_740_991i64..=9_007_199_254_740_991).prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..5)
                    .prop_map(|map| map.into_iter().collect::<serde_json::Map<_, _>>().into()),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_canonical_passes_and_nothing_else(value in values(), at in any::<prop::sample::Index>(), to in any::<u8>()) {
            let mut bytes = canonical(&json!({"k": value})).unwrap();
            let text = String::from_utf8(bytes.clone()).unwrap();
            prop_assert_eq!(object(&text, |_, _| {}), Ok(()));
            let at = at.index(bytes.len());
            bytes[at] = to;
            if let Ok(changed) = std::str::from_utf8(&bytes)
                && object(changed, |_, _| {}).is_ok()
            {
                // What still passes is canonical by the other implementation's word, too.
                let value: Value = serde_json::from_str(changed).unwrap();
                prop_assert_eq!(canonical(&value).unwrap(), bytes);
            }
        }

        #[test]
        fn texts_of_any_kind_never_panic(text in "\\PC{0,60}") {
            let _ = object(&text, |_, _| {});
        }
    }
}
