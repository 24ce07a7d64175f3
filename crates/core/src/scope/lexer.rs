//! Splits a command into POSIX shell words, and refuses whatever would need a shell.
//!
//! Never here: expansion, substitution, a guess. Every source that is accepted means the same words to
//! `dash` and to `bash`; where the two disagree, where a person could not see the difference, or where a
//! shell would do more than split, the answer is an error that points at the character.
//!
//! Source: POSIX.1-2017, Shell Command Language, 2.2 (quoting), 2.3 (tokens), 2.4 (reserved words).

mod error;

use std::borrow::Cow;
use std::ops::Range;
use std::str::Chars;

/// What a person can't see, a command may not hold outside quotes.
pub(crate) use crate::display::is_unseen as is_invisible;
pub(crate) use crate::display::visible;
pub use error::{LexError, LexErrorKind};

/// The longest source that is read, in bytes.
pub const MAX_SOURCE_BYTES: usize = 64 * 1024;
/// The most words that one source may hold.
pub const MAX_WORDS: usize = 4096;

/// One word: what a program would receive as one element of its `argv`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The decoded text, quotes and backslashes resolved. Holds no NUL.
    pub text: String,
    /// Where the word stands in the source, in bytes, quotes included.
    pub span: Range<usize>,
    /// Whether any character of it was quoted or escaped.
    pub quoted: bool,
}

/// The last word of a prefix, whose quote was left open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// The decoded beginning of the word, whatever stood before the quote included.
    pub text: String,
    /// The quote that is open: `'` or `"`.
    pub quote: char,
    /// From the word's first byte to the end of the source.
    pub span: Range<usize>,
}

/// What [`split_prefix`] found: whole words, and perhaps one whose quote is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenPrefix {
    /// The whole words before the open one.
    pub words: Vec<Word>,
    /// The open word, if the source ends inside a quote.
    pub open: Option<Open>,
}

/// Splits a whole command into its words. There is at least one, and the first is not empty.
///
/// # Errors
///
/// Whatever would need a shell, with its kind and place.
pub fn split(source: &str) -> Result<Vec<Word>, LexError> {
    let found = Lexer::new(source)?.run(false)?;
    Ok(found.words)
}

/// Splits the beginning of a command. The last word may end inside a quote that was left open.
///
/// # Errors
///
/// As [`split`], but for the open quote.
pub fn split_prefix(source: &str) -> Result<OpenPrefix, LexError> {
    Lexer::new(source)?.run(true)
}

/// Writes a word so that [`split`] and any POSIX shell read it back as that one word.
pub fn quote(word: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-+./:,@".contains(c);
    if !word.is_empty() && word.chars().all(plain) && !is_reserved(word) {
        return Cow::Borrowed(word);
    }
    Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
}

/// POSIX's reserved words and those that `bash` adds.
fn is_reserved(word: &str) -> bool {
    matches!(
        word,
        "!" | "{"
            | "}"
            | "[["
            | "]]"
            | "case"
            | "coproc"
            | "do"
            | "done"
            | "elif"
            | "else"
            | "esac"
            | "fi"
            | "for"
            | "function"
            | "if"
            | "in"
            | "select"
            | "then"
            | "time"
            | "until"
            | "while"
    )
}

struct Lexer<'a> {
    source: &'a str,
    rest: Chars<'a>,
    words: Vec<Word>,
}

/// A word under construction.
struct Draft {
    start: usize,
    text: String,
    quoted: bool,
    /// The first unquoted `{`: where it stands in the source, and in the text.
    brace: Option<(usize, usize)>,
    open: Option<char>,
}

impl<'a> Lexer<'a> {
    fn new(source: &'a str) -> Result<Self, LexError> {
        let lexer = Self { source, rest: source.chars(), words: Vec::new() };
        if source.len() > MAX_SOURCE_BYTES {
            return Err(lexer.error(LexErrorKind::TooLong, 0..0));
        }
        Ok(lexer)
    }

    fn run(mut self, may_stay_open: bool) -> Result<OpenPrefix, LexError> {
        self.skip_empty_lines();
        loop {
            self.skip_blanks();
            // Behind the last word a newline ends the command; between words it would begin another.
            let rest = self.rest.clone();
            self.skip_empty_lines();
            if self.peek().is_none() {
                break;
            }
            self.rest = rest;
            let at = self.at();
            if self.words.len() == MAX_WORDS {
                return Err(self.error(LexErrorKind::TooManyWords, at..at));
            }
            if self.peek() == Some('\n') {
                return Err(self.error(LexErrorKind::Newline, at..at + 1));
            }
            let draft = self.word(may_stay_open)?;
            let span = draft.start..self.at();
            if let Some(quote) = draft.open {
                let open = Some(Open { text: draft.text, quote, span });
                return Ok(OpenPrefix { words: self.words, open });
            }
            self.words.push(Word { text: draft.text, span, quoted: draft.quoted });
        }
        match self.words.first() {
            None => Err(self.error(LexErrorKind::Empty, 0..0)),
            Some(program) if program.text.is_empty() => {
                Err(self.error(LexErrorKind::EmptyProgram, program.span.clone()))
            }
            Some(_) => Ok(OpenPrefix { words: self.words, open: None }),
        }
    }

    /// Removes what a shell removes before it reads on: a backslash and the newline behind it.
    fn join_lines(&mut self) {
        while let Some(rest) = self.rest.as_str().strip_prefix("\\\n") {
            self.rest = rest.chars();
        }
    }

    fn skip_blanks(&mut self) {
        self.join_lines();
        while self.peek().is_some_and(is_blank) {
            self.rest.next();
            self.join_lines();
        }
    }

    /// Skips lines that hold no word.
    fn skip_empty_lines(&mut self) {
        self.skip_blanks();
        while self.peek() == Some('\n') {
            self.rest.next();
            self.skip_blanks();
        }
    }

    /// Why a `$` would begin something, if it would. Before whatever else it is itself, to every shell.
    fn dollar(&self, in_quotes: bool) -> Option<LexErrorKind> {
        // What is joined counts: a name may stand behind the newline.
        let rest = self.rest.as_str();
        let next = rest.trim_start_matches("\\\n").chars().next();
        match next {
            None | Some(' ' | '\t' | '\n' | '/' | '\\' | '.' | ',' | ':' | '%' | ']' | '}') => None,
            Some('"' | '\'' | '|' | '&' | ';' | '<' | '>' | ')' | '=') if in_quotes => None,
            Some('\'') => Some(LexErrorKind::DollarQuote),
            _ => Some(LexErrorKind::Expansion),
        }
    }

    /// Reads one word to its end: a blank, the end of the source, or an open quote if that is allowed.
    fn word(&mut self, may_stay_open: bool) -> Result<Draft, LexError> {
        use LexErrorKind as K;
        let start = self.at();
        let is_program = self.words.is_empty();
        let mut draft =
            Draft { start, text: String::new(), quoted: false, brace: None, open: None };
        loop {
            self.join_lines();
            let Some(c) = self.peek().filter(|c| !is_blank(*c) && *c != '\n') else {
                // A newline is judged where the next word would begin.
                break;
            };
            let at = self.at();
            self.rest.next();
            let span = at..self.at();
            let refused = match c {
                '\'' | '"' => {
                    draft.quoted = true;
                    let closed = if c == '"' {
                        self.double_quoted(&mut draft.text)?
                    } else {
                        self.single_quoted(&mut draft.text)?
                    };
                    if !closed && may_stay_open {
                        draft.open = Some(c);
                        break;
                    }
                    (!closed).then_some(K::UnterminatedQuote)
                }
                '\\' => {
                    draft.quoted = true;
                    self.escaped(&mut draft.text, span.clone())?;
                    None
                }
                '|' | '&' | ';' | '<' | '>' | '(' | ')' => Some(K::Operator),
                '$' => {
                    let refused = self.dollar(false);
                    draft.text.push(c);
                    refused
                }
                '`' => Some(K::Expansion),
                // A query. To a shell it is a pattern, which only a directory named `https:` could fit.
                '?' if !is_program && draft.text.contains("://") => {
                    draft.text.push(c);
                    None
                }
                '*' | '?' | '[' => Some(K::Glob),
                // A shell expands it at a word's beginning; `bash` also after the `=` and each `:` of
                // an argument that looks like an assignment.
                '~' if draft.text.is_empty()
                    || draft.text.ends_with(['=', ':']) && is_assignment(&draft.text) =>
                {
                    Some(K::Tilde)
                }
                '#' if draft.text.is_empty() && !draft.quoted => Some(K::Comment),
                '=' if is_program => Some(K::Assignment),
                '\0' => Some(K::Nul),
                c if c.is_control() => Some(K::Control),
                c if is_invisible(c) => Some(K::Invisible),
                c => {
                    if c == '{' {
                        draft.brace.get_or_insert((at, draft.text.len()));
                    }
                    draft.text.push(c);
                    None
                }
            };
            if let Some(kind) = refused {
                return Err(self.error(kind, span));
            }
        }
        // Brace expansion needs a comma or a range; without either, `{}` and `HEAD@{1}` are plain words
        // to every shell. Quoted commas count here too, which refuses a little more than `bash` expands.
        if let Some((at, from)) = draft.brace {
            let inside = draft.text.get(from..).unwrap_or_default();
            // `bash` looks for the list up to the last closing brace.
            let inside = inside.rfind('}').and_then(|end| inside.get(..end)).unwrap_or(inside);
            if inside.contains(',') || inside.contains("..") {
                return Err(self.error(K::Brace, at..at + 1));
            }
        }
        if is_program && !draft.quoted && is_reserved(&draft.text) {
            return Err(self.error(K::Reserved, start..self.at()));
        }
        // `bash` looks for the `%` of a job after it has removed the quotes.
        if is_program && draft.text.starts_with('%') {
            return Err(self.error(K::Job, start..self.at()));
        }
        Ok(draft)
    }

    /// Everything up to the closing quote is literal. Returns whether there is one.
    fn single_quoted(&mut self, text: &mut String) -> Result<bool, LexError> {
        while let Some((at, c)) = self.take() {
            match c {
                '\'' => return Ok(true),
                '\0' => return Err(self.error(LexErrorKind::Nul, at..at + 1)),
                c => text.push(c),
            }
        }
        Ok(false)
    }

    /// A backslash escapes only `$`, a backtick, `"`, itself and a newline (POSIX 2.2.3); before
    /// anything else it is a backslash. Returns whether the quote is closed.
    fn double_quoted(&mut self, text: &mut String) -> Result<bool, LexError> {
        loop {
            self.join_lines();
            let Some((at, c)) = self.take() else {
                return Ok(false);
            };
            let kind = match (c, self.peek()) {
                ('"', _) => return Ok(true),
                ('\\', Some(next @ ('$' | '`' | '"' | '\\'))) => {
                    self.rest.next();
                    text.push(next);
                    continue;
                }
                ('\\', None) => LexErrorKind::DanglingBackslash,
                ('$', _) => match self.dollar(true) {
                    Some(kind) => kind,
                    None => {
                        text.push(c);
                        continue;
                    }
                },
                ('`', _) => LexErrorKind::Expansion,
                ('\0', _) => LexErrorKind::Nul,
                (c, _) => {
                    text.push(c);
                    continue;
                }
            };
            return Err(self.error(kind, at..at + 1));
        }
    }

    /// The character after a backslash outside quotes, literally. What a person could not see there is
    /// refused as if it were bare.
    fn escaped(&mut self, text: &mut String, backslash: Range<usize>) -> Result<(), LexError> {
        let Some((at, c)) = self.take() else {
            return Err(self.error(LexErrorKind::DanglingBackslash, backslash));
        };
        let kind = match c {
            '\0' => LexErrorKind::Nul,
            '\t' => {
                text.push(c);
                return Ok(());
            }
            c if c.is_control() => LexErrorKind::Control,
            c if is_invisible(c) => LexErrorKind::Invisible,
            c => {
                text.push(c);
                return Ok(());
            }
        };
        Err(self.error(kind, at..at + c.len_utf8()))
    }

    fn peek(&self) -> Option<char> {
        self.rest.clone().next()
    }

    fn take(&mut self) -> Option<(usize, char)> {
        let at = self.at();
        self.rest.next().map(|c| (at, c))
    }

    fn at(&self) -> usize {
        self.source.len() - self.rest.as_str().len()
    }

    fn error(&self, kind: LexErrorKind, span: Range<usize>) -> LexError {
        let before = self.source.get(..span.start).unwrap_or_default();
        let text = self.source.get(span.clone()).unwrap_or_default();
        let found = visible(text, 32);
        LexError { kind, column: before.chars().count() + 1, span, found }
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t')
}

/// Whether a shell could take a word that begins so for an assignment: a name before the first `=`.
fn is_assignment(text: &str) -> bool {
    let name = text.split_once('=').map(|(name, _)| name.strip_suffix('+').unwrap_or(name));
    name.is_some_and(|name| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &str) -> Vec<String> {
        split(source).unwrap().into_iter().map(|w| w.text).collect()
    }

    fn refused(source: &str) -> (LexErrorKind, Range<usize>) {
        let error = split(source).expect_err(source);
        (error.kind, error.span)
    }

    #[test]
    fn honest_commands_become_their_words() {
        let cases: &[(&str, &[&str])] = &[
            ("kubectl get pods -n prod", &["kubectl", "get", "pods", "-n", "prod"]),
            ("  a\t b  ", &["a", "b"]),
            ("curl https://h/x?page=2", &["curl", "https://h/x?page=2"]),
            ("curl 'https://h'/x?y", &["curl", "https://h/x?y"]),
            ("echo 'a | b; $c `d` *'", &["echo", "a | b; $c `d` *"]),
            (r#"psql -c "SELECT 'x;y'""#, &["psql", "-c", "SELECT 'x;y'"]),
            (r#"e "a\$b\`c\"d\\e\n""#, &["e", r#"a$b`c"d\e\n"#]),
            (r"e a\ b \; \$x \* \~ \#", &["e", "a b", ";", "$x", "*", "~", "#"]),
            ("e a'b'\"c\"d", &["e", "abcd"]),
            ("e '' \"\"", &["e", "", ""]),
            ("e 'two\nlines' \"two\nlines\"", &["e", "two\nlines", "two\nlines"]),
            ("list --sort-by=~created a-b=~ a:~", &["list", "--sort-by=~created", "a-b=~", "a:~"]),
            ("git show HEAD~2 HEAD^ stash@{0}", &["git", "show", "HEAD~2", "HEAD^", "stash@{0}"]),
            ("find . ! -exec ls {} +", &["find", ".", "!", "-exec", "ls", "{}", "+"]),
            (
                "k get -o jsonpath={.metadata.name}",
                &["k", "get", "-o", "jsonpath={.metadata.name}"],
            ),
            ("make CC=gcc a#b x]", &["make", "CC=gcc", "a#b", "x]"]),
            ("'time' x", &["time", "x"]),
            (r"\if x", &["if", "x"]),
            ("echo if then { }", &["echo", "if", "then", "{", "}"]),
            ("é 'ü\u{202e}' 日本", &["é", "ü\u{202e}", "日本"]),
            ("e 'it'\\''s'", &["e", "it's"]),
            ("grep \"^a$\" f$ \"$ x\" $", &["grep", "^a$", "f$", "$ x", "$"]),
            ("e \"(a|b$)\" \"$'x'\" a$/b$.", &["e", "(a|b$)", "$'x'", "a$/b$."]),
            ("\n\t\ne a\n \n", &["e", "a"]),
            ("e a \\\n  -n b\\\nc \"d\\\ne\" 'f\\\ng'", &["e", "a", "-n", "bc", "de", "f\\\ng"]),
            ("e \\\n", &["e"]),
        ];
        for (source, expected) in cases {
            assert_eq!(words(source), *expected, "{source}");
        }
    }

    #[test]
    fn whatever_needs_a_shell_is_refused_where_it_stands() {
        use LexErrorKind::*;
        let cases: &[(&str, LexErrorKind, Range<usize>)] = &[
            ("ls | sh", Operator, 3..4),
            ("ls;id", Operator, 2..3),
            ("ls&", Operator, 2..3),
            ("ls >f", Operator, 3..4),
            ("ls 2>&1", Operator, 4..5),
            ("cat <<E", Operator, 4..5),
            ("(ls)", Operator, 0..1),
            ("f() x", Operator, 1..2),
            ("diff <(a) b", Operator, 5..6),
            ("ls\nid", Newline, 2..3),
            ("\n ls \n\n id\n", Newline, 5..6),
            ("ls\\\n\nid", Newline, 4..5),
            ("e $HOME", Expansion, 2..3),
            ("e \"a $(id)\"", Expansion, 5..6),
            ("e `id`", Expansion, 2..3),
            ("e \"`id`\"", Expansion, 3..4),
            ("e $'a'", DollarQuote, 2..3),
            ("e a$b", Expansion, 3..4),
            ("e $é", Expansion, 2..3),
            ("e \"a$_\"", Expansion, 4..5),
            ("e \"$[1+1]\"", Expansion, 3..4),
            ("e $\\\nHOME", Expansion, 2..3),
            ("e \"$\\\n\\\n{x}\"", Expansion, 3..4),
            ("e a$\"b\"", Expansion, 3..4),
            ("ls *.rs", Glob, 3..4),
            ("ls a?", Glob, 4..5),
            ("ls a?://b", Glob, 4..5),
            ("https://h?x y", Glob, 9..10),
            ("ls https://a*", Glob, 12..13),
            ("ls [a]", Glob, 3..4),
            ("[ a", Glob, 0..1),
            ("a[1]=2 x", Glob, 1..2),
            ("ls ~", Tilde, 3..4),
            ("ls ~root/x", Tilde, 3..4),
            ("make X=~/y", Tilde, 7..8),
            ("make X=a:~/y", Tilde, 9..10),
            ("make X='a:'~", Tilde, 11..12),
            ("make X+=~/y", Tilde, 8..9),
            ("e {a,b}", Brace, 2..3),
            ("e x{1..3}", Brace, 3..4),
            ("e {}{a,b}", Brace, 2..3),
            ("e #c", Comment, 2..3),
            ("#c", Comment, 0..1),
            ("if true", Reserved, 0..2),
            ("! ls", Reserved, 0..1),
            ("{ ls", Reserved, 0..1),
            ("} ls", Reserved, 0..1),
            ("time ls", Reserved, 0..4),
            ("coproc ls", Reserved, 0..6),
            ("FOO=bar ls", Assignment, 3..4),
            ("FOO+=bar ls", Assignment, 4..5),
            ("é=bar ls", Assignment, 2..3),
            ("%1", Job, 0..2),
            // Found by comparing with `bash`: quotes don't help.
            ("\\%1 x", Job, 0..3),
            ("'%1'", Job, 0..4),
            // A comment and a word of the language stay such behind a joined line.
            ("e \\\n#c", Comment, 4..5),
            ("i\\\nf true", Reserved, 0..4),
            ("e a\\", DanglingBackslash, 3..4),
            ("e 'a", UnterminatedQuote, 2..3),
            ("e x\"a", UnterminatedQuote, 3..4),
            ("e a\0b", Nul, 3..4),
            ("e 'a\0b'", Nul, 4..5),
            ("e \"a\0b\"", Nul, 4..5),
            ("e \\\0", Nul, 3..4),
            ("ls\r", Control, 2..3),
            ("ls \\\r\n", Control, 4..5),
            ("ls\r\n", Control, 2..3),
            ("e \x1b[31m", Control, 2..3),
            ("e \u{85}", Control, 2..4),
            ("e\u{a0}x", Invisible, 1..3),
            ("e \u{202e}x", Invisible, 2..5),
            ("e a\u{200b}b", Invisible, 3..6),
            ("e \\\u{200b}", Invisible, 3..6),
            ("e \u{e0041}", Invisible, 2..6),
            ("", Empty, 0..0),
            (" \t ", Empty, 0..0),
            ("\n \\\n\n", Empty, 0..0),
            ("'' x", EmptyProgram, 0..2),
        ];
        for (source, kind, span) in cases {
            assert_eq!(refused(source), (*kind, span.clone()), "{source:?}");
        }
    }

    #[test]
    fn sizes_are_capped() {
        assert!(split(&format!("e {}", "a".repeat(MAX_SOURCE_BYTES - 2))).is_ok());
        assert_eq!(refused(&"a".repeat(MAX_SOURCE_BYTES + 1)).0, LexErrorKind::TooLong);
        assert_eq!(split(&"a ".repeat(MAX_WORDS)).unwrap().len(), MAX_WORDS);
        assert_eq!(refused(&"a ".repeat(MAX_WORDS + 1)).0, LexErrorKind::TooManyWords);
    }

    #[test]
    fn messages_say_what_where_and_what_next() {
        assert_eq!(
            split("é ls | sh").unwrap_err().to_string(),
            "`|` at character 6 needs a shell, and none is used; \
             run one program a call, or quote it if it is meant literally"
        );
        let shown = split("e \u{202e}x").unwrap_err().to_string();
        assert!(shown.contains(r"`\u{202e}` at character 3"), "{shown}");
        assert!(!shown.contains('\u{202e}'));
        assert!(split("e 'a").unwrap_err().to_string().starts_with("`'` at character 3 opens"));
    }

    #[test]
    fn a_prefix_may_end_inside_a_quote() {
        let found = split_prefix("psql -c 'SELECT a").unwrap();
        assert_eq!(found.words.len(), 2);
        let open = found.open.unwrap();
        assert_eq!((open.text.as_str(), open.quote, open.span), ("SELECT a", '\'', 8..17));
        let open = split_prefix("psql --command=\"SELECT \\\"x").unwrap().open.unwrap();
        assert_eq!((open.text.as_str(), open.quote), ("--command=SELECT \"x", '"'));
        let open = split_prefix("git commit -m '").unwrap().open.unwrap();
        assert_eq!(open.text, "");
        assert_eq!(split_prefix("a 'b'").unwrap().open, None);
        assert_eq!(split_prefix("a \"b $(x)").unwrap_err().kind, LexErrorKind::Expansion);
        assert_eq!(split_prefix("a \"b\\").unwrap_err().kind, LexErrorKind::DanglingBackslash);
        assert_eq!(split_prefix("a {x,'b").unwrap_err().kind, LexErrorKind::Brace);
    }

    #[test]
    fn quoted_words_read_back_as_themselves() {
        for word in
            ["", "a", "it's", "$x", "if", "a=b", "~", "\n", "a b", "\\", "\"", "é\u{202e}", "%1"]
        {
            let source = format!("e {}", quote(word));
            assert_eq!(words(&source), ["e", word]);
            if !word.is_empty() && word != "%1" {
                assert_eq!(words(&quote(word)), [word]);
            }
        }
    }
}
