//! The parser cuts a text into words and literals by rules of its own, which are not in every corner
//! those of the server. Here both cuts are laid side by side: ours, which refuses what servers disagree
//! on, and the parser's. Where they differ, nothing that the parser says is worth anything.

use sqlparser::tokenizer::{Location, Token as Parsed, TokenWithSpan};

use super::SqlRefusal;
use super::SqlRefusalKind;
use super::scan::{Kind, Token, refusal};

/// Checks that each token of the parser begins and ends where tokens of ours do, and holds the same.
pub(super) fn agree(
    sql: &str,
    ours: &[Token<'_>],
    theirs: &[TokenWithSpan],
) -> Result<(), SqlRefusal> {
    let differ = |at: usize, text: &str| Err(refusal(sql, SqlRefusalKind::Ambiguous, at, text));
    let mut places = Places { rest: sql.chars(), at: 0, line: 1, column: 1 };
    let mut ours = ours.iter().peekable();
    for token in theirs {
        if matches!(token.token, Parsed::Whitespace(_) | Parsed::EOF) {
            continue;
        }
        let Some(first) = ours.next() else {
            return differ(sql.len(), "the end");
        };
        let (start, end) = (places.find(token.span.start), places.find(token.span.end));
        if start != Some(first.at) {
            return differ(first.at, first.text);
        }
        let mut last = first;
        while let Some(next) = ours.next_if(|next| end.is_some_and(|end| next.at < end)) {
            if !fits(&token.token, next.kind) {
                return differ(next.at, next.text);
            }
            last = next;
        }
        if end != Some(last.at + last.text.len()) || !begins(&token.token, first, last) {
            return differ(first.at, first.text);
        }
    }
    match ours.next() {
        Some(left) => differ(left.at, left.text),
        None => Ok(()),
    }
}

/// Whether a token of the parser can begin with ours, and end with the last one.
fn begins(theirs: &Parsed, first: &Token<'_>, last: &Token<'_>) -> bool {
    let one = first.at == last.at;
    match theirs {
        // MySQL's variables.
        Parsed::Word(word) if word.value.starts_with('@') && word.quote_style.is_none() => {
            first.kind == Kind::Mark && last.kind == Kind::Word
        }
        Parsed::Word(word) => one && (first.kind == Kind::Quoted) == word.quote_style.is_some(),
        Parsed::Number(..) | Parsed::Placeholder(_) => {
            matches!(first.kind, Kind::Number | Kind::Mark) && last.kind != Kind::Quoted
        }
        Parsed::HexStringLiteral(_) => last.kind != Kind::Mark,
        // A literal may have a letter before its quote.
        Parsed::SingleQuotedString(_)
        | Parsed::DoubleQuotedString(_)
        | Parsed::DollarQuotedString(_)
        | Parsed::SingleQuotedByteStringLiteral(_)
        | Parsed::DoubleQuotedByteStringLiteral(_)
        | Parsed::NationalStringLiteral(_)
        | Parsed::EscapedStringLiteral(_) => {
            last.kind == Kind::Quoted && (one || first.kind == Kind::Word)
        }
        // What is left are marks; literals of other systems' making are not among them.
        _ => first.kind == Kind::Mark && last.kind == Kind::Mark,
    }
}

/// Whether a token of the parser can go on with one of ours.
fn fits(theirs: &Parsed, kind: Kind) -> bool {
    match theirs {
        Parsed::Number(..) | Parsed::Placeholder(_) => kind != Kind::Quoted,
        Parsed::HexStringLiteral(_) => kind != Kind::Mark,
        Parsed::Word(word) if word.value.starts_with('@') && word.quote_style.is_none() => {
            matches!(kind, Kind::Mark | Kind::Word)
        }
        Parsed::SingleQuotedByteStringLiteral(_)
        | Parsed::DoubleQuotedByteStringLiteral(_)
        | Parsed::NationalStringLiteral(_)
        | Parsed::EscapedStringLiteral(_) => kind == Kind::Quoted,
        Parsed::Word(_)
        | Parsed::SingleQuotedString(_)
        | Parsed::DoubleQuotedString(_)
        | Parsed::DollarQuotedString(_) => false,
        _ => kind == Kind::Mark,
    }
}

/// Walks through the text once, from line and column to byte.
struct Places<'a> {
    rest: std::str::Chars<'a>,
    at: usize,
    line: u64,
    column: u64,
}

impl Places<'_> {
    fn find(&mut self, place: Location) -> Option<usize> {
        while (self.line, self.column) < (place.line, place.column) {
            let c = self.rest.next()?;
            self.at += c.len_utf8();
            if c == '\n' {
                self.line += 1;
                self.column = 1;
            } else {
                self.column += 1;
            }
        }
        ((self.line, self.column) == (place.line, place.column)).then_some(self.at)
    }
}
