//! Foreign text made harmless before it stands in an error or at a prompt. Nothing is dropped
//! silently: what can't be shown is written as an escape.

/// One line of at most `cap` characters: control, bidirectional and invisible characters escaped,
/// line breaks too; longer text ends with `…`.
pub(super) fn line(text: &str, cap: usize) -> String {
    escaped(text.trim(), cap, false)
}

/// Several lines of at most `cap` characters; line breaks and tabs stay.
pub(super) fn lines(text: &str, cap: usize) -> String {
    escaped(text, cap, true)
}

fn escaped(text: &str, cap: usize, breaks: bool) -> String {
    let mut out = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == cap {
            out.push('…');
            break;
        }
        if (breaks && matches!(c, '\n' | '\t')) || !(c.is_control() || is_invisible(c)) {
            out.push(c);
        } else {
            out.extend(c.escape_unicode());
        }
    }
    out
}

/// Format characters that reorder, hide or tag text (Unicode general category Cf and kin).
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_a_cursor_or_hides_is_escaped_and_long_text_is_cut() {
        assert_eq!(line("a\u{1b}[2Jb\nc", 80), "a\\u{1b}[2Jb\\u{a}c");
        assert_eq!(line("x\u{202e}y\u{e0041}", 80), "x\\u{202e}y\\u{e0041}");
        assert_eq!(lines("a\n\tb\r", 80), "a\n\tb\\u{d}");
        assert_eq!(line("héllo", 2), "hé…");
    }
}
