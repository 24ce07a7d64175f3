//! How the room in a record is divided. A record has at most [`MOST_BYTES`](super::record::MOST_BYTES);
//! what goes into one is bounded where it comes from, so that nothing which was let in ever fails to be
//! written down.
//!
//! | record | holds | at most |
//! |---|---|---|
//! | `intent` | the action, the scope in words, and fixed fields | 48 KiB + 11,000 + about 1,000 |
//! | `run_open` | a line for each token, the task (1,000 characters), and fixed fields | 52,000 + 6,000 + about 2,000 |
//! | `run_close` | an account for each token, which is always shorter than its line, and the last words | 52,000 + 12,000 + about 500 |

/// The most bytes that an action may have in its canonical form.
pub const MOST_ACTION_BYTES: usize = 48 << 10;

/// The most bytes that the scope of one token may have in words.
pub const MOST_SCOPE_BYTES: usize = 11_000;

/// The most bytes that the lines of all tokens of a set may have together.
pub const MOST_TOKENS_BYTES: usize = 52_000;

/// The most bytes of a run's last message.
pub const MOST_FINAL_BYTES: usize = 8_000;

/// The most bytes of why a run ended in error.
pub const MOST_ERROR_BYTES: usize = 4_000;

/// What a token's line has beside its name and its scope: the keys, the digest of its definition, the
/// largest number of uses, and when witnesses must have seen it.
pub(crate) const LINE_BYTES: usize = 170;

/// How many bytes a text has as canonical JSON (RFC 8785), with its quotes.
pub fn json_bytes(text: &str) -> usize {
    2 + text.chars().map(written).sum::<usize>()
}

/// The longest beginning of a text that has at most so many bytes as canonical JSON.
///
/// ```
/// use lar_core::audit::room::first_bytes;
/// assert_eq!(first_bytes("a\u{1}b", 9), "a\u{1}");
/// assert_eq!(first_bytes("short", 100), "short");
/// ```
pub fn first_bytes(text: &str, most: usize) -> &str {
    let mut bytes = 2;
    for (at, c) in text.char_indices() {
        bytes += written(c);
        if bytes > most {
            return text.split_at(at).0;
        }
    }
    text
}

fn written(c: char) -> usize {
    match c {
        '"' | '\\' | '\u{8}' | '\t' | '\n' | '\u{c}' | '\r' => 2,
        '\0'..='\u{1f}' => 6,
        other => other.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::record::{Account, MOST_BYTES, TokenLine};
    use crate::json::{Digest, canonical};
    use crate::token::{MAX_USES, Witness};

    #[test]
    fn a_text_is_counted_as_it_is_written() {
        let text: String = (0..0x300).filter_map(char::from_u32).collect();
        assert_eq!(json_bytes(&text), canonical(&text).unwrap().len());
        assert_eq!(first_bytes(&text, json_bytes(&text)), text);
        let cut = first_bytes(&text, 500);
        assert!((495..=500).contains(&canonical(cut).unwrap().len()));
    }

    #[test]
    fn a_line_is_counted_as_it_is_written_and_an_account_is_shorter() {
        let line = TokenLine {
            name: "pods".to_owned(),
            scope: "\"s\"".to_owned(),
            definition: Digest::of(b""),
            uses: MAX_USES,
            requires_approval: false,
            witness: Some(Witness::BeforeEffect),
        };
        let bytes = canonical(&line).unwrap().len() + 1;
        let counted = LINE_BYTES + json_bytes(&line.name) + json_bytes(&line.scope);
        assert!((bytes..bytes + 8).contains(&counted), "{bytes} are {counted}");
        let uses = u64::from(MAX_USES);
        let account = Account {
            token_name: line.name.clone(),
            granted: uses,
            succeeded: uses - 3,
            failed: 1,
            unknown: 1,
            unused: 0,
            expired: 1,
            revoked: 0,
            returned: 9,
            elsewhere: 1,
        };
        assert!(canonical(&account).unwrap().len() < bytes);
    }

    #[test]
    fn what_is_let_in_fits() {
        const { assert!(MOST_ACTION_BYTES + MOST_SCOPE_BYTES + 2_000 < MOST_BYTES) };
        const { assert!(MOST_TOKENS_BYTES + 6_000 + 3_000 < MOST_BYTES) };
        const { assert!(MOST_TOKENS_BYTES + MOST_FINAL_BYTES + MOST_ERROR_BYTES + 1_000 < MOST_BYTES) };
    }
}
