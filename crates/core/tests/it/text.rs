//! Laws of the modules that read and show hostile text. `PROPTEST_CASES` sets how many cases each
//! is tried with.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test may stop at the first surprise, its helpers too"
)]

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use lar_core::display::{self, Mode};
use lar_core::json::{self, Limits};
use lar_core::redact::Redactor;
use proptest::prelude::*;
use serde_json::Value;

/// Characters that stand on the borders of what `display` tells apart.
fn tricky_char() -> impl Strategy<Value = char> {
    prop_oneof![
        4 => any::<char>(),
        4 => proptest::sample::select("ab‹›U+0x2039 \\\n\t\r\u{1b}".chars().collect::<Vec<_>>()),
        2 => proptest::char::range('\u{2000}', '\u{206f}'),
        2 => proptest::char::range('\u{300}', '\u{303}'),
        1 => proptest::char::range('\u{fff0}', '\u{ffff}'),
        1 => proptest::char::range('\u{e0000}', '\u{e0fff}'),
        1 => proptest::char::range('\u{80}', '\u{a0}'),
    ]
}

fn tricky_text() -> impl Strategy<Value = String> {
    proptest::collection::vec(tricky_char(), 0..40).prop_map(String::from_iter)
}

/// Reads the rendering back, which is possible only if no two inputs share one.
fn unescape(shown: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = shown;
    while let Some(at) = rest.find('‹') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let end = at + rest[at..].find('›').expect("an escape is closed");
        let code = &rest[at + '‹'.len_utf8()..end];
        if let Some(hex) = code.strip_prefix("U+") {
            let c = char::from_u32(u32::from_str_radix(hex, 16).unwrap()).unwrap();
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        } else {
            bytes.push(u8::from_str_radix(code.strip_prefix("0x").unwrap(), 16).unwrap());
        }
        rest = &rest[end + '›'.len_utf8()..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(u32::from(c),
            0xad | 0x34f | 0x61c | 0x115f | 0x1160 | 0x17b4 | 0x17b5 | 0x180b..=0x180e
            | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x2064 | 0x2066..=0x2069 | 0x3164
            | 0xfe00..=0xfe0f | 0xfeff | 0xffa0 | 0xfff9..=0xfffb | 0xe0000..=0xe01ef)
}

proptest! {
    #[test]
    fn no_two_texts_render_the_same(text in tricky_text()) {
        for mode in [Mode::Line, Mode::Block] {
            prop_assert_eq!(unescape(&display::escape(&text, mode)), text.as_bytes());
        }
    }

    #[test]
    fn no_two_byte_strings_render_the_same(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        prop_assert_eq!(unescape(&display::escape_bytes(&bytes, Mode::Line)), bytes);
    }

    #[test]
    fn nothing_harmful_is_shown(text in tricky_text()) {
        let line = display::escape(&text, Mode::Line);
        prop_assert!(!line.chars().any(is_harmful), "{:?}", line);
        let block = display::escape(&text, Mode::Block);
        prop_assert!(!block.chars().any(|c| is_harmful(c) && c != '\n' && c != '\t'), "{:?}", block);
    }

    #[test]
    fn clipped_text_fits_and_says_so(text in tricky_text(), columns in 18_usize..60) {
        let line = display::escape(&text, Mode::Line);
        let clipped = display::clip(&line, columns);
        prop_assert!(display::width(&clipped) <= columns);
        if clipped != line {
            let (kept, note) = clipped.rsplit_once("‹+").expect("a note");
            prop_assert!(line.starts_with(kept));
            prop_assert!(note.ends_with("characters›") || note == "1 character›");
            prop_assert_eq!(kept.matches('‹').count(), kept.matches('›').count()
                - stray_closings(kept));
        }
    }
}

/// `›` outside an escape is an ordinary character.
fn stray_closings(text: &str) -> usize {
    let mut open = false;
    let mut stray = 0;
    for c in text.chars() {
        match c {
            '‹' => open = true,
            '›' if open => open = false,
            '›' => stray += 1,
            _ => {}
        }
    }
    stray
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[^\0]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::btree_map("[a-c\"\\\\é]{0,3}", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Writes every character of every key by number, so that equal keys look different.
fn key_by_number(key: &str) -> String {
    let units: String = key.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
    format!("\"{units}\"")
}

proptest! {
    #[test]
    fn what_any_writer_writes_is_read(value in json_value()) {
        let text = serde_json::to_string_pretty(&value).unwrap();
        prop_assert!(json::check(&text, &Limits::default()).is_ok(), "{}", text);
    }

    #[test]
    fn fields_are_kept_to_the_byte(
        map in proptest::collection::btree_map("[a-z]{1,4}", json_value(), 0..5),
    ) {
        let parts: BTreeMap<&String, String> =
            map.iter().map(|(k, v)| (k, serde_json::to_string(v).unwrap())).collect();
        let body: Vec<String> = parts.iter().map(|(k, v)| format!("\"{k}\" :{v} ")).collect();
        let fields = json::fields(&format!("{{{}}}", body.join(",")), &Limits::default()).unwrap();
        prop_assert_eq!(fields.len(), parts.len());
        for (key, text) in parts {
            prop_assert_eq!(fields[key].get(), text);
        }
    }

    #[test]
    fn a_doubled_key_is_refused_however_it_is_written(
        key in "[^\0\"\\\\\\p{Cc}]{0,6}",
        depth in 0_usize..20,
        between in json_value(),
    ) {
        let object = format!("{{\"{key}\":1,\"\u{1}\":{between},{}:2}}", key_by_number(&key))
            .replace('\u{1}', "another key");
        let text = format!("{}{object}{}", "[".repeat(depth), "]".repeat(depth));
        let refusal = json::check(&text, &Limits::default());
        prop_assert!(
            matches!(refusal, Err(json::JsonRefusal::DuplicateKey { .. })),
            "{:?}", refusal
        );
    }

    #[test]
    fn hostile_text_never_panics(text in "[\\[\\]{}\":,\\\\ud80n0-9eE.+\\- \0]{0,60}") {
        let _ = json::fields(&text, &Limits::default());
    }

    #[test]
    fn canonical_bytes_are_one_for_one(a in json_value(), b in json_value()) {
        if let (Ok(of_a), Ok(of_b)) = (json::canonical(&a), json::canonical(&b)) {
            prop_assert_eq!(a == b, of_a == of_b);
            // The canonical bytes say everything that the value says.
            prop_assert_eq!(serde_json::from_slice::<Value>(&of_a).unwrap(), a);
        }
    }

    #[test]
    fn integers_share_no_canonical_bytes(n in (1_u64 << 53) - 50..(1 << 53) + 50) {
        match json::canonical(&n) {
            Ok(bytes) => prop_assert_eq!(bytes, n.to_string().into_bytes()),
            Err(_) => prop_assert!(n > json::MAX_INTEGER),
        }
    }
}

/// Encodings as their specifications have them, written apart from the ones under test.
fn encodings(secret: &str) -> Vec<String> {
    let bytes = secret.as_bytes();
    let mut all = vec![secret.to_owned(), hex::encode(bytes), hex::encode_upper(bytes)];
    for before in 0..3 {
        for after in 0..3 {
            let text = [&b"ab"[..before], bytes, &b"yz"[..after]].concat();
            all.push(STANDARD.encode(&text));
            all.push(URL_SAFE_NO_PAD.encode(&text));
        }
    }
    all.push(bytes.iter().map(|b| format!("%{b:02X}")).collect());
    all.push(bytes.iter().map(|b| format!("%{b:02x}")).collect());
    let unreserved = |b: &u8| b.is_ascii_alphanumeric() || b"-._~".contains(b);
    let keep = |b: &u8| {
        if unreserved(b) { char::from(*b).into() } else { format!("%{b:02X}") }
    };
    all.push(bytes.iter().map(keep).collect());
    let json = serde_json::to_string(secret).unwrap();
    all.push(json[1..json.len() - 1].to_owned());
    all.push(json[1..json.len() - 1].replace('/', "\\/"));
    all.push(secret.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect());
    all
}

fn redactor(secrets: &[String]) -> Redactor {
    let mut builder = Redactor::builder();
    for (index, secret) in secrets.iter().enumerate() {
        builder.add(&format!("S{index}"), &secret.as_str().into()).unwrap();
    }
    builder.build().unwrap()
}

/// Secrets of few letters, so that they overlap, begin and repeat one another.
fn crowded_secrets() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec("[ab]{8,12}", 1..4)
}

fn cut(text: &[u8], cuts: &[usize]) -> Vec<Vec<u8>> {
    let mut rest = text;
    let mut chunks = Vec::new();
    for cut in cuts.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (chunk, after) = rest.split_at((*cut).clamp(1, rest.len()));
        chunks.push(chunk.to_vec());
        rest = after;
    }
    chunks
}

fn streamed(redactor: &Redactor, chunks: &[Vec<u8>]) -> Vec<u8> {
    let mut stream = redactor.stream();
    let mut out = Vec::new();
    for chunk in chunks {
        stream.feed(chunk, &mut out);
    }
    stream.finish(&mut out);
    out
}

/// The plain bytes that no occurrence of a secret covers, by the slowest search there is.
fn uncovered(text: &str, secrets: &[String]) -> String {
    let mut covered = vec![false; text.len()];
    for secret in secrets {
        for at in 0..text.len() {
            if text.as_bytes()[at..].starts_with(secret.as_bytes()) {
                covered[at..at + secret.len()].fill(true);
            }
        }
    }
    text.bytes().zip(covered).filter(|(_, covered)| !covered).map(|(b, _)| char::from(b)).collect()
}

fn without_marks(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("[redacted:") {
        out.push_str(before);
        rest = after.split_once(']').unwrap().1;
    }
    out + rest
}

proptest! {
    #[test]
    fn no_encoding_of_a_secret_passes(
        secret in "[!-~äß€😀\n ]{8,40}",
        before in "[ -~\n]{0,12}",
        after in "[ -~\n]{0,12}",
        cuts in proptest::collection::vec(1_usize..20, 1..6),
    ) {
        prop_assume!(secret.trim_ascii().len() >= 8);
        let mut builder = Redactor::builder();
        builder.add("S", &secret.as_str().into()).unwrap();
        // A value such as `]aaaaaaa` is refused; that is tested by itself.
        let Ok(redactor) = builder.build() else { return Ok(()) };
        for encoded in encodings(&secret) {
            let text = format!("{before}{encoded}{after}");
            let shown = redactor.redact(&text);
            prop_assert!(shown.contains("[redacted:S]"), "{:?} in {:?}", encoded, text);
            prop_assert!(!shown.contains(&encoded), "{:?}", shown);
            prop_assert_eq!(redactor.contains(shown.as_bytes()), None, "{:?}", shown);
            prop_assert_eq!(redactor.redact(&shown), shown.as_ref());
            let chunks = cut(text.as_bytes(), &cuts);
            prop_assert_eq!(streamed(&redactor, &chunks), shown.as_bytes());
        }
    }

    #[test]
    fn exactly_what_secrets_cover_is_replaced(secrets in crowded_secrets(), text in "[ab]{0,60}") {
        let redactor = redactor(&secrets);
        let shown = redactor.redact(&text);
        prop_assert_eq!(without_marks(&shown), uncovered(&text, &secrets));
        prop_assert_eq!(redactor.contains(text.as_bytes()).is_some(), shown != text);
    }

    #[test]
    fn chunks_make_no_difference(
        secrets in crowded_secrets(),
        pieces in proptest::collection::vec((0_usize..24, "[ab \n]{0,6}"), 0..8),
        cuts in proptest::collection::vec(1_usize..30, 1..8),
    ) {
        let forms: Vec<String> = secrets.iter().flat_map(|secret| encodings(secret)).collect();
        let mut text = String::new();
        for (index, filler) in &pieces {
            let form = &forms[index % forms.len()];
            // Some forms are left half, and some are broken over lines.
            match index % 3 {
                0 => text.push_str(&form[..form.len() / 2]),
                1 => text.push_str(form),
                _ => {
                    text.push_str(&form[..form.len() / 2]);
                    text.push_str("\n  ");
                    text.push_str(&form[form.len() / 2..]);
                }
            }
            text.push_str(filler);
        }
        let redactor = redactor(&secrets);
        let whole = redactor.redact(&text);
        prop_assert_eq!(streamed(&redactor, &cut(text.as_bytes(), &cuts)), whole.as_bytes());
        prop_assert_eq!(redactor.contains(whole.as_bytes()), None);
    }

    #[test]
    fn broken_base64_is_found(secret in "[!-Z^-~]{60,200}", before in 0_usize..80, width in 16_usize..80) {
        let text = format!("{}{secret}", "#".repeat(before));
        let encoded = STANDARD.encode(text);
        let lines: Vec<&str> =
            encoded.as_bytes().chunks(width).map(|line| std::str::from_utf8(line).unwrap()).collect();
        let redactor = redactor(&[secret]);
        let shown = redactor.redact(&lines.join("\r\n")).into_owned();
        prop_assert!(shown.ends_with("[redacted:S0]"), "{}", shown);
    }
}
