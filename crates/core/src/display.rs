//! Hostile text made visible for a person: what cannot be seen, or would move what is seen, is
//! written out by its code point.
//!
//! An escape looks like `‹U+202E›` (a character) or `‹0xFF›` (a byte that is not UTF-8). The
//! opening mark `‹` is itself escaped wherever it stands in the text, so no text can be made that
//! looks like an escape, and two different texts never render the same in [`Mode::Line`].
//! Backslash escapes were not taken: they would need every backslash doubled, which spoils
//! commands, regular expressions and Windows paths just where a person must read them exactly,
//! and a backslash means something else again in Markdown.
//!
//! This module never removes a character, and [`clip`] says how much it cut. What it does not do:
//! quote for Markdown, HTML or XML (the renderer's work; escapes hold nothing special to them),
//! tell letters of different scripts apart that look alike, or stop letters of right-to-left
//! scripts from being laid out right to left.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthChar;

/// The most combining marks that may stand on one character; further ones are escaped.
///
/// Living scripts need three or four; piles of them paint over the lines above and below.
pub const MAX_MARKS: usize = 4;

/// What a line end and a tab become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One line: line feed and tab are escaped like every other control character.
    Line,
    /// Several lines: line feed and tab stay as they are. A carriage return is escaped.
    Block,
}

/// Renders `text` so that every character in it can be seen.
///
/// ```
/// use lar_core::display::{Mode, escape};
///
/// assert_eq!(escape("ls \u{1b}[8m-l", Mode::Line), "ls ‹U+001B›[8m-l");
/// assert_eq!(escape("a‹b", Mode::Line), "a‹U+2039›b");
/// ```
pub fn escape(text: &str, mode: Mode) -> String {
    let mut out = String::with_capacity(text.len());
    escape_into(text, mode, &mut out);
    out
}

/// Foreign text as it stands within a message of ours: at most `most` characters, then `…`, and each
/// one that can't be seen as `\\u{202e}`.
///
/// A message is escaped once more by whoever shows it, as everything is. This notation passes that
/// unchanged, where the marks of [`escape`] would be escaped themselves; it is not as strict: text
/// that holds `\\u{202e}` letter by letter looks the same.
///
/// ```
/// use lar_core::display::visible;
///
/// assert_eq!(visible("rm \u{202e}x", 64), "rm \\u{202e}x");
/// assert_eq!(visible("kubectl", 4), "kube…");
/// ```
pub fn visible(text: &str, most: usize) -> String {
    let mut out = String::with_capacity(text.len().min(most));
    for (count, c) in text.chars().enumerate() {
        if count == most {
            out.push('…');
            break;
        }
        if is_unseen(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// The first `most` characters of a text. Unlike [`visible`] and [`clip`] it escapes nothing and says
/// nothing: it is for what goes into a record, which has its bounds.
///
/// ```
/// assert_eq!(lar_core::display::first_chars("žlutý", 2), "žl");
/// ```
pub fn first_chars(text: &str, most: usize) -> &str {
    match text.char_indices().nth(most) {
        Some((end, _)) => text.split_at(end).0,
        None => text,
    }
}

/// Renders bytes that may not be UTF-8: each byte that belongs to no character is `‹0xFF›`.
pub fn escape_bytes(bytes: &[u8], mode: Mode) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        escape_into(chunk.valid(), mode, &mut out);
        for byte in chunk.invalid() {
            // Writing to a `String` cannot fail.
            let _ = write!(out, "‹0x{byte:02X}›");
        }
    }
    out
}

/// The number of terminal columns that one line of escaped text takes.
///
/// Widths are those of Unicode's East Asian Width (UAX #11), character by character, as terminals
/// count. A control character, which escaped text does not hold, counts as one.
pub fn width(line: &str) -> usize {
    line.chars().map(columns).sum()
}

/// Cuts escaped text to at most `max_cols` columns and says at its end how much was cut, as in
/// `‹+120 characters›` (an escape counts as one).
///
/// Text that fits comes back unchanged. An escape is kept whole or not at all, and a character
/// keeps its combining marks. The note is never dropped: where `max_cols` is too small for it, the
/// result is the note alone, and is wider than asked. Cut after redaction, never before, or half a
/// secret could pass.
pub fn clip(escaped: &str, max_cols: usize) -> String {
    if width(escaped) <= max_cols {
        return escaped.to_owned();
    }
    let units = units(escaped);
    let room = max_cols.saturating_sub(width(&note(units.len())));
    let mut out = String::new();
    let mut used = 0;
    let mut kept = 0;
    for unit in &units {
        used += width(unit);
        if used > room {
            break;
        }
        out.push_str(unit);
        kept += 1;
    }
    out.push_str(&note(units.len() - kept));
    out
}

/// Folds one line of escaped text into lines of at most `max_cols` columns (at least 20, so that
/// every escape fits).
///
/// A terminal folds a long line by itself, but then what follows the fold stands at the left edge,
/// where a text of many spaces could pass for a line of ours. Whoever shows foreign text folds it and
/// puts something of their own before each piece. An escape, and a character with its marks, stay
/// whole.
pub fn fold(escaped: &str, max_cols: usize) -> Vec<String> {
    let max_cols = max_cols.max(20);
    let mut lines = vec![String::new()];
    let mut used = 0;
    for unit in units(escaped) {
        let columns = width(unit);
        if used + columns > max_cols {
            lines.push(String::new());
            used = 0;
        }
        used += columns;
        if let Some(line) = lines.last_mut() {
            line.push_str(unit);
        }
    }
    lines
}

fn note(cut: usize) -> String {
    let s = if cut == 1 { "" } else { "s" };
    format!("‹+{cut} character{s}›")
}

/// Splits escaped text into what must not be torn: an escape, or a character with its marks.
fn units(escaped: &str) -> Vec<&str> {
    let mut units = Vec::new();
    let mut rest = escaped;
    while let Some(first) = rest.chars().next() {
        let length = if first == OPEN {
            rest.find(CLOSE).map_or(rest.len(), |at| at + CLOSE.len_utf8())
        } else {
            let marks = rest.chars().skip(1).take_while(|c| columns(*c) == 0);
            first.len_utf8() + marks.map(char::len_utf8).sum::<usize>()
        };
        let Some((unit, after)) = rest.split_at_checked(length) else {
            break;
        };
        units.push(unit);
        rest = after;
    }
    units
}

const OPEN: char = '‹';
const CLOSE: char = '›';

fn escape_into(text: &str, mode: Mode, out: &mut String) {
    // `None` when there is no character yet that a mark could stand on: at the start of the text,
    // at the start of a line and after an escape, a mark would change what is not the text's own.
    let mut marks: Option<usize> = None;
    for c in text.chars() {
        if mode == Mode::Block && matches!(c, '\n' | '\t') {
            out.push(c);
            marks = None;
        } else if c == OPEN || is_unseen(c) {
            push_escape(c, out);
            marks = None;
        } else if columns(c) == 0 {
            match marks {
                Some(count) if count < MAX_MARKS => {
                    out.push(c);
                    marks = Some(count + 1);
                }
                // The marks that follow an escaped one are escaped too, or they would stand on
                // the escape.
                _ => {
                    push_escape(c, out);
                    marks = None;
                }
            }
        } else {
            out.push(c);
            marks = Some(0);
        }
    }
}

fn push_escape(c: char, out: &mut String) {
    // Writing to a `String` cannot fail.
    let _ = write!(out, "{OPEN}U+{:04X}{CLOSE}", u32::from(c));
}

fn columns(c: char) -> usize {
    c.width().unwrap_or(1)
}

/// Characters that show nothing, show as a plain space without being one, or move other text.
pub(crate) fn is_unseen(c: char) -> bool {
    match c {
        ' '..='~' => false,
        // C0, DEL and C1: a terminal obeys them.
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' => true,
        // Spaces that are not the space: no word ends at them, though it looks so.
        '\u{a0}'
        | '\u{1680}'
        | '\u{2000}'..='\u{200a}'
        | '\u{202f}'
        | '\u{205f}'
        | '\u{3000}'
        | '\u{2800}' => true,
        // Bidirectional controls (UAX #9), line and paragraph separators.
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' => true,
        // Zero-width, joiners, invisible operators, deprecated format controls.
        '\u{ad}' | '\u{34f}' | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => {
            true
        }
        // Fillers that draw nothing: Hangul, Khmer, Mongolian.
        '\u{115f}'
        | '\u{1160}'
        | '\u{3164}'
        | '\u{ffa0}'
        | '\u{17b4}'
        | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' => true,
        // Variation selectors, interlinear annotation and its neighbours, object replacement.
        '\u{fe00}'..='\u{fe0f}' | '\u{fff0}'..='\u{fffc}' => true,
        // Shorthand and musical format controls.
        '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' => true,
        // Tags, further variation selectors and the rest of the plane kept for such.
        '\u{e0000}'..='\u{e0fff}' => true,
        // Noncharacters.
        '\u{fdd0}'..='\u{fdef}' => true,
        _ => u32::from(c) & 0xfffe == 0xfffe,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folded_line_loses_nothing_and_tears_nothing() {
        let text = escape(&format!("{}\u{202e}日本語e\u{301}x", "a".repeat(18)), Mode::Line);
        let lines = fold(&text, 20);
        assert_eq!(lines.concat(), text);
        assert_eq!(lines, ["a".repeat(18), "‹U+202E›日本語e\u{301}x".to_owned()]);
        assert!(lines.iter().all(|line| width(line) <= 20));
        assert_eq!(fold("", 80), [""]);
    }

    #[test]
    fn plain_text_stays_as_it_is() {
        for text in ["kubectl get pods -n prod", r"C:\temp\x", "naïve 日本語 Ж ‘’ e\u{301}", ""]
        {
            assert_eq!(escape(text, Mode::Line), text);
        }
    }

    #[test]
    fn what_hides_or_moves_text_is_written_out() {
        for (text, shown) in [
            ("a\u{202e}b", "a‹U+202E›b"),
            ("a\u{200b}b", "a‹U+200B›b"),
            ("\u{1b}[31m", "‹U+001B›[31m"),
            ("a\r\nb\tc", "a‹U+000D›‹U+000A›b‹U+0009›c"),
            ("\u{9b}0m", "‹U+009B›0m"),
            ("\u{e0041}", "‹U+E0041›"),
            ("rm\u{a0}-rf", "rm‹U+00A0›-rf"),
            ("\u{fffe}\u{10ffff}", "‹U+FFFE›‹U+10FFFF›"),
            ("❤\u{fe0f}", "❤‹U+FE0F›"),
        ] {
            assert_eq!(escape(text, Mode::Line), shown);
        }
    }

    #[test]
    fn block_keeps_lines_and_tabs_but_no_carriage_return() {
        assert_eq!(escape("a\n\tb\rc\u{7}", Mode::Block), "a\n\tb‹U+000D›c‹U+0007›");
    }

    #[test]
    fn an_escape_cannot_be_forged() {
        assert_eq!(escape("‹U+202E›", Mode::Line), "‹U+2039›U+202E›");
        assert_ne!(escape("‹U+202E›", Mode::Line), escape("\u{202e}", Mode::Line));
        assert_eq!(escape_bytes("‹0xFF›".as_bytes(), Mode::Line), "‹U+2039›0xFF›");
    }

    #[test]
    fn piled_marks_are_escaped_after_the_fourth() {
        let pile = format!("a{}b", "\u{301}".repeat(6));
        assert_eq!(escape(&pile, Mode::Line), format!("a{}‹U+0301›‹U+0301›b", "\u{301}".repeat(4)));
    }

    #[test]
    fn a_mark_never_stands_on_what_is_not_the_texts_own() {
        assert_eq!(escape("\u{338}a", Mode::Line), "‹U+0338›a");
        assert_eq!(escape("\u{200b}\u{338}", Mode::Line), "‹U+200B›‹U+0338›");
        assert_eq!(escape("x\n\u{338}", Mode::Block), "x\n‹U+0338›");
    }

    #[test]
    fn bytes_that_are_no_characters_are_shown_as_bytes() {
        assert_eq!(escape_bytes(b"a\xff\xc3(\xe2\x82", Mode::Line), "a‹0xFF›‹0xC3›(‹0xE2›‹0x82›");
        assert_eq!(escape_bytes("é\u{200b}".as_bytes(), Mode::Line), "é‹U+200B›");
        // U+FFFD written by the text itself is not a byte that could not be read.
        assert_eq!(escape_bytes("\u{fffd}".as_bytes(), Mode::Line), "\u{fffd}");
    }

    #[test]
    fn width_counts_columns() {
        assert_eq!(width("abc"), 3);
        assert_eq!(width("日本"), 4);
        assert_eq!(width("e\u{301}"), 1);
        assert_eq!(width("‹U+202E›"), 8);
    }

    #[test]
    fn clip_leaves_what_fits() {
        assert_eq!(clip("日本語", 6), "日本語");
        assert_eq!(clip("", 0), "");
    }

    #[test]
    fn clip_says_how_much_it_cut() {
        let long = "x".repeat(100);
        let clipped = clip(&long, 30);
        assert_eq!(clipped, format!("{}‹+87 characters›", "x".repeat(13)));
        assert!(width(&clipped) <= 30);
    }

    #[test]
    fn clip_never_tears_an_escape_or_a_marked_character() {
        let line = format!("ab{}", "\u{202e}".repeat(20));
        let clipped = clip(&escape(&line, Mode::Line), 32);
        assert_eq!(clipped, "ab‹U+202E›‹+19 characters›");
        let marked = "e\u{301}".repeat(40);
        assert_eq!(clip(&marked, 18), "e\u{301}e\u{301}‹+38 characters›");
    }

    #[test]
    fn clip_keeps_its_note_when_there_is_no_room() {
        assert_eq!(clip("abcdef", 2), "‹+6 characters›");
    }
}
