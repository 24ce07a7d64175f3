//! The forms in which common programs print a secret.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_encode};
use zeroize::Zeroizing;

use super::MIN_SECRET_BYTES;
use crate::display::{Mode, escape};

type Form = Zeroizing<Vec<u8>>;

/// The forms of one secret.
#[derive(Default)]
pub(super) struct Forms {
    /// Found where they stand byte for byte.
    pub(super) exact: Vec<Form>,
    /// Found also where white space breaks them: base64 and hexadecimal.
    pub(super) folded: Vec<Form>,
}

/// The value and the marks can't be told apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LikeAMark;

/// All forms of `value`, of which none can come about where a mark of `marks` was put.
pub(super) fn of(value: &[u8], marks: &[String]) -> Result<Forms, LikeAMark> {
    let inner = value.trim_ascii();
    if apart(inner, marks).len() < MIN_SECRET_BYTES {
        return Err(LikeAMark);
    }
    let mut all = Forms::default();
    encode(inner, &mut all);
    every_byte_escaped(inner, &mut all);
    if inner.len() < value.len() {
        encode(value, &mut all);
    }
    if inner.contains(&b'\n') {
        for line in inner.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii) {
            if is_telling(line) {
                encode(line, &mut all);
            }
        }
    }

    let exact = std::mem::take(&mut all.exact);
    let exact = exact.iter().map(|form| apart(form, marks));
    // Only a line, of a secret that is found as a whole, can have become too short here.
    let exact = exact.filter(|form| form.len() >= MIN_SECRET_BYTES);
    all.exact = exact.map(|form| Zeroizing::new(form.to_vec())).collect();

    let holds = |long: &[u8], short: &[u8]| long.windows(short.len()).any(|part| part == short);
    for form in all.exact.iter().chain(&all.folded) {
        if marks.iter().any(|mark| holds(mark.as_bytes(), form) || holds(form, mark.as_bytes())) {
            return Err(LikeAMark);
        }
    }
    Ok(all)
}

/// Cuts off the ends of a form that a mark could supply: a form that begins with `]` would
/// otherwise appear where a mark is followed by the rest of it.
///
/// A mark has one `[`, its first byte, and one `]`, its last; so at most one of its ends fits.
fn apart<'a>(mut form: &'a [u8], marks: &[String]) -> &'a [u8] {
    loop {
        let before = form.len();
        for mark in marks.iter().map(String::as_bytes) {
            for (head, tail) in (0..=mark.len()).filter_map(|at| mark.split_at_checked(at)) {
                form = form.strip_prefix(tail).unwrap_or(form);
                form = form.strip_suffix(head).unwrap_or(form);
            }
        }
        if form.len() == before {
            return form;
        }
    }
}

/// Whether a line of a longer secret says anything of it. The armour of a PEM file (RFC 7468)
/// and rules of dashes stand in innocent text.
fn is_telling(line: &[u8]) -> bool {
    let armour = line.starts_with(b"-----") && line.ends_with(b"-----");
    let different: BTreeSet<&u8> = line.iter().collect();
    line.len() >= MIN_SECRET_BYTES && !armour && different.len() >= 4
}

fn encode(value: &[u8], forms: &mut Forms) {
    let mut exact = |form: Vec<u8>| forms.exact.push(Zeroizing::new(form));
    exact(value.to_vec());
    for set in PERCENT_SETS {
        let upper = percent_encode(value, set).to_string();
        for form in [lower_hex(&upper), upper] {
            // application/x-www-form-urlencoded writes a space as `+`.
            exact(form.replace("%20", "+").into_bytes());
            exact(form.into_bytes());
        }
    }
    if let Ok(text) = std::str::from_utf8(value) {
        for form in escaped(text) {
            exact(form.into_bytes());
        }
    }

    forms.folded.push(Zeroizing::new(hex::encode(value).into_bytes()));
    forms.folded.push(Zeroizing::new(hex::encode_upper(value).into_bytes()));
    for (form, standard) in base64(value) {
        if standard && form.contains(['+', '/', '=']) {
            for (plus, slash, equals) in
                [("%2B", "%2F", "%3D"), ("%2b", "%2f", "%3d"), ("+", "\\/", "=")]
            {
                let form = form.replace('+', plus).replace('/', slash).replace('=', equals);
                forms.exact.push(Zeroizing::new(form.into_bytes()));
            }
        }
        forms.folded.push(Zeroizing::new(form.into_bytes()));
    }
}

/// Forms that escape even what needs none.
fn every_byte_escaped(value: &[u8], forms: &mut Forms) {
    let mut put = |form: fn(&mut String, u8) -> std::fmt::Result| {
        let mut out = String::new();
        for byte in value {
            // Writing to a `String` cannot fail.
            let _ = form(&mut out, *byte);
        }
        forms.exact.push(Zeroizing::new(out.into_bytes()));
    };
    put(|out, byte| write!(out, "%{byte:02X}"));
    put(|out, byte| write!(out, "%{byte:02x}"));
    put(|out, byte| write!(out, "\\x{byte:02X}"));
    put(|out, byte| write!(out, "\\x{byte:02x}"));
    if let Ok(text) = std::str::from_utf8(value) {
        let mut put = |form: String| forms.exact.push(Zeroizing::new(form.into_bytes()));
        put(text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect());
        put(text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect());
    }
}

/// The characters of the base64 of a longer text that depend on `value` alone, for each place that
/// the value may have in its three-byte groups, and where the text ends with it, the last character
/// and the padding too (RFC 4648, sections 4 and 5). `true` marks those of the standard alphabet.
fn base64(value: &[u8]) -> Vec<(String, bool)> {
    let mut forms = Vec::new();
    for before in 0..3_usize {
        let mut text = Zeroizing::new(vec![0; before]);
        text.extend_from_slice(value);
        // Six bits a character: those that begin within the value, less one that holds bits of
        // what comes before or after it.
        let first = (before * 8).div_ceil(6);
        let last = text.len() * 8 / 6;
        for (engine, standard) in [(STANDARD_NO_PAD, true), (URL_SAFE_NO_PAD, false)] {
            let whole = engine.encode(text.as_slice());
            let inner: String = whole.chars().take(last).skip(first).collect();
            let end: String = whole.chars().skip(first).collect();
            let padding = "=".repeat((3 - text.len() % 3) % 3);
            forms.extend([inner, format!("{end}{padding}"), end].map(|form| (form, standard)));
        }
    }
    forms
}

/// What is kept as it is: nothing but letters and digits, RFC 3986's unreserved characters,
/// JavaScript's `encodeURIComponent`, HTML forms, a path, `encodeURI`, and the URL Standard's
/// user-info, path and query.
static PERCENT_SETS: [&AsciiSet; 9] = [
    NON_ALPHANUMERIC,
    &UNRESERVED,
    &keeping(&UNRESERVED, b"!*'()"),
    &keeping(NON_ALPHANUMERIC, b"*-._"),
    &keeping(&UNRESERVED, b"/"),
    &keeping(&UNRESERVED, b"!*'();:@&=+$,/?#"),
    &escaping(&PATH, b"/:;=@[\\]|"),
    &PATH,
    &escaping(CONTROLS, b" \"#<>'"),
];

const UNRESERVED: AsciiSet = keeping(NON_ALPHANUMERIC, b"-._~");

const PATH: AsciiSet = escaping(CONTROLS, b" \"#<>?^`{}");

const fn keeping(set: &AsciiSet, mut bytes: &[u8]) -> AsciiSet {
    let mut set = set.add(0); // A copy: every set escapes the null byte.
    while let Some((byte, rest)) = bytes.split_first() {
        set = set.remove(*byte);
        bytes = rest;
    }
    set
}

const fn escaping(set: &AsciiSet, mut bytes: &[u8]) -> AsciiSet {
    let mut set = set.add(0); // A copy: every set escapes the null byte.
    while let Some((byte, rest)) = bytes.split_first() {
        set = set.add(*byte);
        bytes = rest;
    }
    set
}

fn lower_hex(percent: &str) -> String {
    let mut digits = 0;
    percent
        .chars()
        .map(|c| match (c, digits) {
            ('%', _) => {
                digits = 2;
                c
            }
            (_, 0) => c,
            _ => {
                digits -= 1;
                c.to_ascii_lowercase()
            }
        })
        .collect()
}

/// A text as it stands inside quotes or markup of others.
fn escaped(text: &str) -> Vec<String> {
    let mut forms = vec![
        escape(text, Mode::Line),
        escape(text, Mode::Block),
        text.escape_debug().to_string(),
        text.escape_default().to_string(),
        // POSIX shells: within single quotes, within double quotes, bare.
        text.replace('\'', r"'\''"),
        text.replace('\'', r#"'"'"'"#),
        backslashed(text, |c| matches!(c, '"' | '\\' | '$' | '`')),
        backslashed(text, |c| {
            c.is_ascii() && !c.is_ascii_alphanumeric() && !"%+,-./:=@_".contains(c)
        }),
        backslashed(text, |c| matches!(c, '\'' | '\\')),
    ];
    for (quote, apostrophe) in [
        ("\"", "'"),
        ("&quot;", "'"),
        ("&quot;", "&#39;"),
        ("&#34;", "&#39;"),
        ("&quot;", "&#x27;"),
        ("&quot;", "&#039;"),
        ("&quot;", "&apos;"),
    ] {
        let markup = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        forms.push(markup.replace('"', quote).replace('\'', apostrophe));
    }
    for unicode in [Unicode::Kept, Unicode::Lower, Unicode::Upper] {
        for slash in [false, true] {
            for markup in [false, true] {
                for short in [false, true] {
                    let once = json(text, unicode, slash, markup, short);
                    // JSON within a JSON string is what logs are made of.
                    forms.push(json(&once, unicode, slash, markup, short));
                    forms.push(once);
                }
            }
        }
    }
    forms
}

fn backslashed(text: &str, which: impl Fn(char) -> bool) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if which(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// What a JSON writer does with characters beyond ASCII.
#[derive(Clone, Copy, PartialEq)]
enum Unicode {
    Kept,
    Lower,
    Upper,
}

/// The inside of a JSON string (RFC 8259, section 7) as one of the many writers has it: `slash`
/// escapes `/`, `markup` escapes `<`, `>`, `&` and the line separators by number, and `short` has
/// `\b` and `\f`.
fn json(text: &str, unicode: Unicode, slash: bool, markup: bool, short: bool) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' if short => out.push_str("\\b"),
            '\u{c}' if short => out.push_str("\\f"),
            '/' if slash => out.push_str("\\/"),
            _ => {
                let numbered = c < ' '
                    || markup && matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}')
                    || unicode != Unicode::Kept && !c.is_ascii();
                if !numbered {
                    out.push(c);
                    continue;
                }
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a `String` cannot fail.
                    let _ = match unicode {
                        Unicode::Upper => write!(out, "\\u{unit:04X}"),
                        _ => write!(out, "\\u{unit:04x}"),
                    };
                }
            }
        }
    }
    out
}
