//! Cuts SQL text into words, literals and marks, by the rules of its dialect.

use super::{CLIENT_WORDS, Dialect, SqlRefusal, SqlRefusalKind, is_one_of};
use crate::scope::lexer::{is_invisible, visible};

/// What an unquoted name is made of; every dialect takes anything beyond ASCII.
pub(super) fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Word,
    /// A literal or a quoted name, with its quotes.
    Quoted,
    Number,
    Mark,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
    pub(super) at: usize,
}

impl Token<'_> {
    pub(super) fn may_name(&self) -> bool {
        matches!(self.kind, Kind::Word | Kind::Quoted)
    }
}

/// A name without its quotes, in lower case.
pub(super) fn plain(name: &str) -> String {
    name.trim_matches(['"', '`', '[', ']']).to_ascii_lowercase()
}

/// Cuts a text by the rules of its dialect. Where a setting of the server would cut it otherwise, it is
/// refused, unless the other cut is one that the server rejects whole.
pub(super) fn scan(sql: &str, dialect: Dialect) -> Result<Vec<Token<'_>>, SqlRefusal> {
    let (tokens, doubt) = read(sql, dialect, false)?;
    let Some(at) = doubt else {
        return Ok(tokens);
    };
    let mut other = Scanner::new(sql, dialect, true);
    let unterminated = loop {
        match other.peek().map(|c| other.step(c)) {
            None => break false,
            Some(Ok(())) => {}
            Some(Err(why)) => break why.kind == SqlRefusalKind::Unterminated,
        }
    };
    // A client may send what stands before a `;` by itself; PostgreSQL reads a text whole first.
    let alone = dialect == Dialect::Postgres || other.tokens.iter().all(|token| token.text != ";");
    if unterminated && alone {
        return Ok(tokens);
    }
    Err(refusal(sql, SqlRefusalKind::Ambiguous, at, "\\'"))
}

/// The tokens, and the first place at which a backslash before a quote leaves a doubt.
fn read(
    sql: &str,
    dialect: Dialect,
    otherwise: bool,
) -> Result<(Vec<Token<'_>>, Option<usize>), SqlRefusal> {
    let mut scanner = Scanner::new(sql, dialect, otherwise);
    while let Some(c) = scanner.peek() {
        scanner.step(c)?;
    }
    Ok((scanner.tokens, scanner.doubt))
}

pub(super) fn refusal(sql: &str, kind: SqlRefusalKind, at: usize, found: &str) -> SqlRefusal {
    let column = sql.get(..at).map_or(0, |before| before.chars().count()) + 1;
    SqlRefusal { kind, column, found: visible(found, 32) }
}

/// Whether a hint of MySQL's only tells how to find rows, or how long to look: none sets a variable or chooses a
/// group of threads.
fn is_plain_hint(hint: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_,.()@ \t\n".contains(c);
    let upper = hint.to_ascii_uppercase();
    hint.chars().all(plain) && !upper.contains("SET_VAR") && !upper.contains("RESOURCE_GROUP")
}

struct Scanner<'a> {
    sql: &'a str,
    dialect: Dialect,
    at: usize,
    fresh_line: bool,
    tokens: Vec<Token<'a>>,
    /// How many square brackets are open.
    brackets: usize,
    /// Whether backslashes in plain literals are taken otherwise than the dialect takes them by itself.
    otherwise: bool,
    /// Where a backslash before a quote was first met whose meaning a setting decides.
    doubt: Option<usize>,
}

impl<'a> Scanner<'a> {
    fn new(sql: &'a str, dialect: Dialect, otherwise: bool) -> Self {
        let tokens = Vec::new();
        Self { sql, dialect, at: 0, fresh_line: true, tokens, brackets: 0, otherwise, doubt: None }
    }

    /// Consumes one token, blank or comment.
    fn step(&mut self, c: char) -> Result<(), SqlRefusal> {
        use Dialect::{MySql, Postgres, Sqlite, Unknown};
        use SqlRefusalKind as K;
        let rest = self.rest();
        match c {
            '\n' => {
                self.fresh_line = true;
                self.at += 1;
                Ok(())
            }
            ' ' | '\t' | '\r' | '\x0c' => {
                self.at += 1;
                Ok(())
            }
            '\'' => self.quoted(c, self.is_escape_string()),
            '"' => self.quoted(c, false),
            '`' if matches!(self.dialect, MySql | Sqlite) => self.enclosed('`'),
            '[' if self.dialect == Sqlite => self.enclosed(']'),
            '`' => self.refuse(K::Ambiguous, "`"),
            '[' if self.dialect == Unknown => self.refuse(K::Ambiguous, "["),
            '-' if rest.starts_with("--") => self.line_comment(),
            '/' if rest.starts_with("/*") => self.block_comment(),
            '#' if self.dialect != Postgres => self.refuse(K::Ambiguous, "#"),
            '$' => self.dollar(),
            '\\' => {
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                self.refuse(K::ClientCommand, rest.get(..end).unwrap_or("\\"))
            }
            ':' if rest.starts_with("::") => self.push(Kind::Mark, 2),
            // A slice of an array; `psql -c` replaces nothing.
            ':' if self.brackets > 0 && self.dialect == Postgres => self.push(Kind::Mark, 1),
            ':' => match rest.chars().nth(1) {
                Some(n) if is_name(n) || matches!(n, '\'' | '"' | '{') => {
                    let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                    self.refuse(K::Variable, rest.get(..end).unwrap_or(":"))
                }
                _ => self.push(Kind::Mark, 1),
            },
            // PostgreSQL's U&"..." spells names with escapes, which would hide a function.
            '&' if self.before().is_some_and(|b| matches!(b, 'u' | 'U'))
                && matches!(rest.chars().nth(1), Some('\'' | '"')) =>
            {
                self.refuse(K::Ambiguous, "U&")
            }
            '.' | '/' if self.fresh_line && self.dialect != Postgres => {
                self.refuse(K::ClientCommand, if c == '.' { "." } else { "/" })
            }
            '[' | ']' => {
                let open = self.brackets + usize::from(c == '[');
                self.brackets = open.saturating_sub(usize::from(c == ']'));
                self.push(Kind::Mark, 1)
            }
            c if c.is_control() || is_invisible(c) => {
                self.refuse(K::Ambiguous, rest.get(..c.len_utf8()).unwrap_or_default())
            }
            // Letters after digits begin a word of their own, as older servers cut `1INTO`.
            c if c.is_ascii_digit() => {
                let end = rest.find(|n: char| !(n.is_ascii_digit() || n == '.'));
                self.push(Kind::Number, end.unwrap_or(rest.len()))
            }
            c if is_name(c) => self.word(),
            c => self.push(Kind::Mark, c.len_utf8()),
        }
    }

    fn word(&mut self) -> Result<(), SqlRefusal> {
        let rest = self.rest();
        let goes_on = |c: char| {
            (is_name(c) && !is_invisible(c) && !c.is_control())
                || (c == '$' && self.dialect != Dialect::Unknown)
        };
        let end = rest.find(|c: char| !goes_on(c)).unwrap_or(rest.len());
        let text = rest.get(..end).unwrap_or_default();
        // The first word of all is judged as the statement's keyword instead.
        let client = self.dialect != Dialect::Postgres
            && !self.tokens.is_empty()
            && ((self.fresh_line && is_one_of(text, CLIENT_WORDS))
                || text.eq_ignore_ascii_case("DELIMITER"));
        if client {
            return self.refuse(SqlRefusalKind::ClientCommand, text);
        }
        self.push(Kind::Word, end)
    }

    /// PostgreSQL's `E'...'`: the letter is a token of its own, right before the quote.
    fn is_escape_string(&self) -> bool {
        self.dialect == Dialect::Postgres
            && self.tokens.last().is_some_and(|last| {
                last.text.eq_ignore_ascii_case("e") && last.at + last.text.len() == self.at
            })
    }

    /// A literal or quoted name in which a doubled quote stands for one. Whether a backslash escapes
    /// depends on the server and its settings, so where that would move the end, it is refused.
    fn quoted(&mut self, quote: char, escapes: bool) -> Result<(), SqlRefusal> {
        let rest = self.rest();
        let mut chars = rest.char_indices().skip(1).peekable();
        let mut escaping = false;
        while let Some((at, c)) = chars.next() {
            let escaped = escaping;
            escaping = c == '\\' && !escaped;
            if c != quote {
                continue;
            }
            let mut ends = !escaped;
            if escaped && !escapes {
                let place = self.at + at.saturating_sub(1);
                match self.dialect {
                    // Neither knows escapes there, whatever is set.
                    Dialect::Sqlite => ends = true,
                    Dialect::Postgres if quote == '"' => ends = true,
                    // `standard_conforming_strings` is on unless turned off, `NO_BACKSLASH_ESCAPES` off
                    // unless turned on.
                    Dialect::Postgres | Dialect::MySql => {
                        self.doubt.get_or_insert(place);
                        ends = (self.dialect == Dialect::Postgres) != self.otherwise;
                    }
                    Dialect::Unknown => {
                        self.at = place;
                        let found = if quote == '"' { "\\\"" } else { "\\'" };
                        return self.refuse(SqlRefusalKind::Ambiguous, found);
                    }
                }
                escaping = false;
            }
            if !ends || chars.next_if(|(_, next)| *next == quote).is_some() {
                continue;
            }
            return self.push(Kind::Quoted, at + 1);
        }
        self.refuse(SqlRefusalKind::Unterminated, if quote == '"' { "\"" } else { "'" })
    }

    /// A quoted name in backticks (a doubled one stands for one) or brackets (SQLite knows no escape).
    fn enclosed(&mut self, end: char) -> Result<(), SqlRefusal> {
        let rest = self.rest();
        let mut chars = rest.char_indices().skip(1).peekable();
        while let Some((at, c)) = chars.next() {
            if c != end || (c == '`' && chars.next_if(|(_, next)| *next == '`').is_some()) {
                continue;
            }
            return self.push(Kind::Quoted, at + 1);
        }
        self.refuse(SqlRefusalKind::Unterminated, if end == '`' { "`" } else { "[" })
    }

    /// `$1`, or PostgreSQL's `$tag$...$tag$`. Right after a name or number servers disagree.
    fn dollar(&mut self) -> Result<(), SqlRefusal> {
        let rest = self.rest();
        if self.dialect != Dialect::Postgres || self.before().is_some_and(is_name) {
            return self.refuse(SqlRefusalKind::Ambiguous, "$");
        }
        let inner = rest.strip_prefix('$').unwrap_or_default();
        let digits = inner.find(|c: char| !c.is_ascii_digit()).unwrap_or(inner.len());
        if digits > 0 {
            return self.push(Kind::Number, digits + 1);
        }
        let end = inner.find(|c: char| !is_name(c)).unwrap_or(inner.len());
        let Some(tag) = rest.get(..end + 2).filter(|tag| tag.ends_with('$')) else {
            return self.refuse(SqlRefusalKind::Ambiguous, "$");
        };
        let body = rest.strip_prefix(tag).unwrap_or_default();
        match body.find(tag) {
            Some(length) => self.push(Kind::Quoted, tag.len() * 2 + length),
            None => self.refuse(SqlRefusalKind::Unterminated, tag),
        }
    }

    fn line_comment(&mut self) -> Result<(), SqlRefusal> {
        use Dialect::{MySql, Unknown};
        let rest = self.rest();
        let text = rest.get(..rest.find('\n').unwrap_or(rest.len())).unwrap_or_default();
        // MySQL wants a blank after the dashes, else they are two minus signs. A carriage return ends
        // the comment for PostgreSQL only.
        let blank = matches!(text.chars().nth(2), None | Some(' ' | '\t'));
        if (!blank && matches!(self.dialect, MySql | Unknown)) || text.contains('\r') {
            return self.refuse(SqlRefusalKind::Ambiguous, "--");
        }
        self.skip_comment(text)
    }

    fn block_comment(&mut self) -> Result<(), SqlRefusal> {
        let rest = self.rest();
        if self.dialect == Dialect::MySql
            && let Some(hint) = rest.strip_prefix("/*+")
            && let Some((hint, _)) = hint.split_once("*/")
            && is_plain_hint(hint)
        {
            return self.skip_comment(rest.get(..hint.len() + 5).unwrap_or_default());
        }
        if ["/*!", "/*M!", "/*m!", "/*+"].iter().any(|begin| rest.starts_with(begin)) {
            return self.refuse(SqlRefusalKind::ExecutableComment, "/*");
        }
        let mut depth = 0_usize;
        let mut at = 0;
        loop {
            let left = rest.get(at..).unwrap_or_default();
            if left.starts_with("/*") {
                // Only PostgreSQL nests; elsewhere the first end counts.
                if depth > 0 && self.dialect != Dialect::Postgres {
                    return self.refuse(SqlRefusalKind::Ambiguous, "/*");
                }
                depth += 1;
                at += 2;
            } else if left.starts_with("*/") {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return self.skip_comment(rest.get(..at).unwrap_or_default());
                }
            } else if let Some(c) = left.chars().next() {
                at += c.len_utf8();
            } else {
                return self.refuse(SqlRefusalKind::Unterminated, "/*");
            }
        }
    }

    /// Clients that cut statements themselves have been wrong about quotes inside comments.
    fn skip_comment(&mut self, text: &str) -> Result<(), SqlRefusal> {
        if self.dialect != Dialect::Postgres && text.contains(['\'', '"', '`', ';', '\\']) {
            return self.refuse(SqlRefusalKind::Ambiguous, text);
        }
        self.at += text.len();
        Ok(())
    }

    fn push(&mut self, kind: Kind, length: usize) -> Result<(), SqlRefusal> {
        let text = self.rest().get(..length).unwrap_or_default();
        self.tokens.push(Token { kind, text, at: self.at });
        self.fresh_line = false;
        self.at += length;
        Ok(())
    }

    fn refuse(&self, kind: SqlRefusalKind, found: &str) -> Result<(), SqlRefusal> {
        Err(refusal(self.sql, kind, self.at, found))
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn before(&self) -> Option<char> {
        self.sql.get(..self.at).and_then(|before| before.chars().next_back())
    }

    fn rest(&self) -> &'a str {
        self.sql.get(self.at..).unwrap_or_default()
    }
}
