//! Strict JSON: reading what the model sent, and the canonical bytes that a digest covers.
//!
//! Two programs that read one text differently are an attack, so what RFC 8259 leaves open is
//! refused here: a key that occurs twice, a lone surrogate, a null character, and nesting or size
//! beyond the [`Limits`]. Numbers are only judged where a field of ours is read; a raw value (a
//! request body, say) is checked for the same structure and then kept as its exact bytes.
//!
//! A refusal names the place, what was expected and the type of what came. It never repeats a
//! value; a key is shown escaped, and only if it is short.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::value::RawValue;

use crate::display;

mod canonical;
mod check;

pub use canonical::{Digest, NotADigest, canonical};
pub use check::check;

/// The largest integer that every JSON reader holds exactly: 2^53 − 1 (RFC 8259, section 6).
pub const MAX_INTEGER: u64 = (1 << 53) - 1;

/// How much a text may ask of its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The text's size in bytes.
    pub max_bytes: usize,
    /// How deep arrays and objects may be nested; the outermost is 1. More than 120 counts as 120.
    pub max_depth: usize,
    /// Whether a text may hold the null character (U+0000). What runs can't carry one; what is only
    /// written down can.
    pub null_characters: bool,
}

impl Default for Limits {
    /// One mebibyte, 64 deep.
    fn default() -> Self {
        Limits { max_bytes: 1 << 20, max_depth: 64, null_characters: false }
    }
}

/// The fields of one JSON object, each as its exact text.
pub type Fields = BTreeMap<String, Box<RawValue>>;

/// Reads a tool's input: one JSON object, checked as by [`check`].
///
/// ```
/// use lar_core::json::{self, Limits};
///
/// let mut fields = json::fields(r#"{"command":"ls -l"}"#, &Limits::default())?;
/// let command = json::take_string(&mut fields, "command")?;
/// json::finish(&fields, &["command"])?;
/// assert_eq!(command, "ls -l");
/// assert!(json::fields(r#"{"a":1,"\u0061":2}"#, &Limits::default()).is_err());
/// # Ok::<(), json::JsonRefusal>(())
/// ```
pub fn fields(text: &str, limits: &Limits) -> Result<Fields, JsonRefusal> {
    let kind = check(text, limits)?;
    if kind != Kind::Object {
        return Err(JsonRefusal::NotAnObject { found: kind });
    }
    serde_json::from_str(text).map_err(|error| syntax(Place::default(), &error))
}

/// Takes a string that must be there.
pub fn take_string(fields: &mut Fields, name: &'static str) -> Result<String, JsonRefusal> {
    take_optional_string(fields, name)?
        .ok_or(JsonRefusal::Missing { field: name, expected: "a string" })
}

/// Takes a string that may be missing; `null` counts as missing.
pub fn take_optional_string(
    fields: &mut Fields,
    name: &'static str,
) -> Result<Option<String>, JsonRefusal> {
    let Some((raw, found)) = take_unless_null(fields, name) else {
        return Ok(None);
    };
    if found != Kind::String {
        return Err(JsonRefusal::WrongType { field: name, expected: "a string", found });
    }
    serde_json::from_str(raw.get()).map(Some).map_err(|error| syntax(Place::field(name), &error))
}

/// Takes a whole number from 0 to 2^53 − 1 that must be there, written in digits alone.
///
/// `1.0`, `1e3` and `-0` are refused: a number that can be written in two ways can be read in two.
pub fn take_u64(fields: &mut Fields, name: &'static str) -> Result<u64, JsonRefusal> {
    take_optional_u64(fields, name)?
        .ok_or(JsonRefusal::Missing { field: name, expected: WHOLE_NUMBER })
}

/// Takes a whole number as [`take_u64`] does, that may be missing; `null` counts as missing.
pub fn take_optional_u64(
    fields: &mut Fields,
    name: &'static str,
) -> Result<Option<u64>, JsonRefusal> {
    let Some((raw, found)) = take_unless_null(fields, name) else {
        return Ok(None);
    };
    if found != Kind::Number {
        return Err(JsonRefusal::WrongType { field: name, expected: WHOLE_NUMBER, found });
    }
    let digits = raw.get();
    let number =
        if digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None };
    match number {
        Some(number) if number <= MAX_INTEGER => Ok(Some(number)),
        _ => Err(JsonRefusal::OtherNumber { field: name, expected: WHOLE_NUMBER }),
    }
}

/// Takes a value of any kind that may be missing, as its exact text; `null` is a value here.
pub fn take_optional_raw(fields: &mut Fields, name: &str) -> Option<Box<RawValue>> {
    fields.remove(name)
}

/// Refuses fields that nobody took. `known` is what the reader of the message may send instead.
pub fn finish(fields: &Fields, known: &'static [&'static str]) -> Result<(), JsonRefusal> {
    match fields.keys().next() {
        None => Ok(()),
        Some(first) => {
            Err(JsonRefusal::Unknown { field: shown_key(first), others: fields.len() - 1, known })
        }
    }
}

/// The kinds of JSON value (RFC 8259, section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the standard's own")]
pub enum Kind {
    Object,
    Array,
    String,
    Number,
    Boolean,
    Null,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Object => "an object",
            Kind::Array => "an array",
            Kind::String => "a string",
            Kind::Number => "a number",
            Kind::Boolean => "`true` or `false`",
            Kind::Null => "`null`",
        })
    }
}

/// Where in the text something stands, such as `body.items[3]`; empty for the whole of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place(String);

impl Place {
    fn field(name: &str) -> Self {
        Place(name.to_owned())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str("the input") } else { write!(f, "`{}`", self.0) }
    }
}

/// Why a JSON text was not taken, or a value has no canonical bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message says what its fields are")]
pub enum JsonRefusal {
    #[error("the input is {bytes} bytes, more than the {limit} allowed: send a shorter one")]
    TooLarge { bytes: usize, limit: usize },
    #[error("{place} is nested more than {limit} deep: send a flatter value")]
    TooDeep { place: Place, limit: usize },
    #[error("{place} holds the key `{key}` twice: send each key once")]
    DuplicateKey { place: Place, key: String },
    #[error("{place} holds a null character (U+0000): send text without it")]
    NullCharacter { place: Place },
    #[error("{place} holds a surrogate without its pair: send each character whole")]
    LoneSurrogate { place: Place },
    #[error(
        "{place} is not valid JSON (RFC 8259) at line {line}, column {column}: send one JSON value"
    )]
    Syntax { place: Place, line: usize, column: usize },
    #[error("the input must be one JSON object, but {found} came")]
    NotAnObject { found: Kind },
    #[error("field `{field}` is missing: it must be {expected}")]
    Missing { field: &'static str, expected: &'static str },
    #[error("field `{field}` must be {expected}, but {found} came")]
    WrongType { field: &'static str, expected: &'static str, found: Kind },
    #[error("field `{field}` must be {expected}, but another number came")]
    OtherNumber { field: &'static str, expected: &'static str },
    #[error("field `{field}`{} is not known here: {}", more(*.others), known_fields(.known))]
    Unknown { field: String, others: usize, known: &'static [&'static str] },
    #[error("{place} is a float, and two floats may share one text: use an integer or a string")]
    Float { place: Place },
    #[error("{place} is an integer beyond 2^53 - 1, which readers round: use a string")]
    LargeInteger { place: Place },
    #[error(
        "the value has no canonical JSON: keys must be strings that occur once, and raw JSON must stand in a string"
    )]
    NotCanonical,
}

fn more(others: usize) -> String {
    if others == 0 { String::new() } else { format!(" (and {others} more)") }
}

fn known_fields(known: &[&str]) -> String {
    if known.is_empty() {
        return "this takes no fields".to_owned();
    }
    let names: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
    format!("the fields are {}", names.join(", "))
}

const WHOLE_NUMBER: &str = "a whole number from 0 to 9007199254740991";

/// The longest key, in columns, that is shown; part of one is never shown.
const MAX_SHOWN_KEY: usize = 64;

fn shown_key(key: &str) -> String {
    let shown = display::visible(key, usize::MAX);
    if display::width(&shown) > MAX_SHOWN_KEY {
        format!("(a name of {} bytes)", key.len())
    } else {
        shown
    }
}

/// A field's value and its kind, read off its first byte; `None` for `null`.
fn take_unless_null(fields: &mut Fields, name: &str) -> Option<(Box<RawValue>, Kind)> {
    let raw = fields.remove(name)?;
    let kind = match raw.get().bytes().next()? {
        b'{' => Kind::Object,
        b'[' => Kind::Array,
        b'"' => Kind::String,
        b't' | b'f' => Kind::Boolean,
        b'n' => return None,
        _ => Kind::Number,
    };
    Some((raw, kind))
}

fn syntax(place: Place, error: &serde_json::Error) -> JsonRefusal {
    // The reader has no error codes; a test holds these words.
    let text = error.to_string();
    if text.starts_with("lone leading surrogate")
        || text.starts_with("unexpected end of hex escape")
    {
        return JsonRefusal::LoneSurrogate { place };
    }
    JsonRefusal::Syntax { place, line: error.line(), column: error.column() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        fields(text, &Limits::default()).unwrap_err().to_string()
    }

    fn read(text: &str) -> Fields {
        fields(text, &Limits::default()).unwrap()
    }

    #[test]
    fn fields_are_taken_by_type_and_name() {
        let mut input = read(
            r#" {"command":"ls \u0041\n","seconds":90,"body":{"n": 9007199254740993, "f":1.50},"why":null} "#,
        );
        assert_eq!(take_string(&mut input, "command").unwrap(), "ls A\n");
        assert_eq!(take_u64(&mut input, "seconds").unwrap(), 90);
        // The body is kept to the byte, numbers that no double holds included.
        assert_eq!(
            take_optional_raw(&mut input, "body").unwrap().get(),
            r#"{"n": 9007199254740993, "f":1.50}"#
        );
        assert_eq!(take_optional_string(&mut input, "why").unwrap(), None);
        assert_eq!(take_optional_string(&mut input, "why").unwrap(), None);
        finish(&input, &[]).unwrap();
    }

    #[test]
    fn a_key_twice_is_refused_at_any_depth() {
        assert_eq!(
            refusal(r#"{"a":1,"\u0061":2}"#),
            "the input holds the key `a` twice: send each key once"
        );
        assert_eq!(
            refusal(r#"{"body":[0,{"x":{"k":1,"k":1}}]}"#),
            "`body[1].x` holds the key `k` twice: send each key once"
        );
        read(r#"{"a":{"k":1},"b":{"k":1}}"#);
    }

    #[test]
    fn null_characters_and_lone_surrogates_are_refused_with_their_place() {
        assert_eq!(
            refusal(r#"{"argv":["x","a\u0000b"]}"#),
            "`argv[1]` holds a null character (U+0000): send text without it"
        );
        assert!(refusal(r#"{"argv":{"a\u0000b":1}}"#).starts_with("`argv` holds a null"));
        for lone in [r"\ud800", r"\ud800x", r"\ud800\u0041", r"\udc00", r"\ud83d\ud83d"] {
            assert_eq!(
                refusal(&format!(r#"{{"text":"{lone}"}}"#)),
                "`text` holds a surrogate without its pair: send each character whole",
                "{lone}"
            );
        }
        read(r#"{"text":"\ud83d\ude00"}"#);
    }

    #[test]
    fn depth_and_size_are_capped() {
        let nested =
            |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
        read(&nested(64));
        assert!(refusal(&nested(65)).contains("nested more than 64 deep"));
        // A million levels end in a refusal, not in a stack overflow.
        let hostile = "[".repeat(1 << 20);
        assert!(refusal(&hostile).contains("nested more than 64 deep"));
        let deepest = Limits { max_depth: usize::MAX, ..Limits::default() };
        assert!(matches!(check(&hostile, &deepest), Err(JsonRefusal::TooDeep { limit: 120, .. })));

        let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(1 << 20));
        assert!(refusal(&long).contains("more than the 1048576 allowed"));
        fields(&long, &Limits { max_bytes: 2 << 20, ..Limits::default() }).unwrap();
    }

    #[test]
    fn only_one_object_is_an_input() {
        assert_eq!(refusal("[1]"), "the input must be one JSON object, but an array came");
        for text in ["", "{", r#"{"a":1}x"#, "{'a':1}", r#"{"a":1,}"#, "\u{feff}{}", "{} {}"] {
            assert!(refusal(text).contains("not valid JSON"), "{text}");
        }
        assert_eq!(
            refusal("{\"a\":\n tru}"),
            "`a` is not valid JSON (RFC 8259) at line 2, column 5: send one JSON value"
        );
    }

    #[test]
    fn a_wrong_type_is_named_without_its_content() {
        let mut input = read(r#"{"command":["hunter2"],"seconds":"hunter2"}"#);
        assert_eq!(
            take_string(&mut input, "command").unwrap_err().to_string(),
            "field `command` must be a string, but an array came"
        );
        assert_eq!(
            take_u64(&mut input, "seconds").unwrap_err().to_string(),
            "field `seconds` must be a whole number from 0 to 9007199254740991, but a string came"
        );
        assert_eq!(
            take_string(&mut input, "body").unwrap_err().to_string(),
            "field `body` is missing: it must be a string"
        );
    }

    #[test]
    fn numbers_that_readers_may_round_are_refused_as_fields() {
        for number in ["-1", "-0", "1.0", "1e3", "9007199254740992", "18446744073709551616"] {
            let mut input = read(&format!(r#"{{"n":{number}}}"#));
            assert!(
                matches!(take_u64(&mut input, "n"), Err(JsonRefusal::OtherNumber { .. })),
                "{number}"
            );
        }
        let mut input = read(r#"{"n":9007199254740991}"#);
        assert_eq!(take_u64(&mut input, "n").unwrap(), MAX_INTEGER);
    }

    #[test]
    fn unknown_fields_are_named_visibly_beside_the_known_ones() {
        let input = read("{\"co\u{202e}m\":1,\"z\":2}");
        assert_eq!(
            finish(&input, &["command", "reason"]).unwrap_err().to_string(),
            "field `co\\u{202e}m` (and 1 more) is not known here: the fields are `command`, `reason`"
        );
        let long = "k".repeat(500);
        assert_eq!(
            finish(&read(&format!(r#"{{"{long}":1}}"#)), &[]).unwrap_err().to_string(),
            "field `(a name of 500 bytes)` is not known here: this takes no fields"
        );
    }
}
