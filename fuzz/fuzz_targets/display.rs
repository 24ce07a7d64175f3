//! What is shown holds nothing that hides or moves text, and says all that was there.
#![no_main]

use lar_core::display::{self, Mode};
use libfuzzer_sys::fuzz_target;

fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(u32::from(c),
            0xad | 0x34f | 0x61c | 0x115f | 0x1160 | 0x17b4 | 0x17b5 | 0x180b..=0x180e
            | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x2064 | 0x2066..=0x2069 | 0x3164
            | 0xfdd0..=0xfdef | 0xfe00..=0xfe0f | 0xfeff | 0xffa0 | 0xfff9..=0xfffb
            | 0xe0000..=0xe01ef)
        || u32::from(c) & 0xfffe == 0xfffe
}

fn unescape(shown: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = shown;
    while let Some((before, after)) = rest.split_once('‹') {
        bytes.extend_from_slice(before.as_bytes());
        let (code, after) = after.split_once('›').expect("an escape is closed");
        if let Some(hex) = code.strip_prefix("U+") {
            let code = u32::from_str_radix(hex, 16).expect("a code point");
            let c = char::from_u32(code).expect("a character");
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        } else {
            let hex = code
                .strip_prefix("0x")
                .expect("an escape is one of two kinds");
            bytes.push(u8::from_str_radix(hex, 16).expect("a byte"));
        }
        rest = after;
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

fuzz_target!(|input: (&[u8], u8)| {
    let (bytes, columns) = input;
    let line = display::escape_bytes(bytes, Mode::Line);
    assert!(!line.chars().any(is_harmful), "{line:?}");
    assert_eq!(unescape(&line), bytes);
    let block = display::escape_bytes(bytes, Mode::Block);
    assert!(
        !block
            .chars()
            .any(|c| is_harmful(c) && c != '\n' && c != '\t'),
        "{block:?}"
    );
    assert_eq!(unescape(&block), bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        assert_eq!(display::escape(text, Mode::Line), line);
    }

    // Thirty columns hold any note.
    let columns = usize::from(columns).max(30);
    let clipped = display::clip(&line, columns);
    assert!(display::width(&clipped) <= columns, "{clipped:?}");
});
