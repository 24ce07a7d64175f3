//! Why a source was refused, where, and what to do instead.

use std::fmt;
use std::ops::Range;

use super::{MAX_SOURCE_BYTES, MAX_WORDS};

/// Why a source was refused. Each name says what a shell would have seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LexErrorKind {
    /// No word at all.
    Empty,
    /// The first word, which names the program, is the empty string.
    EmptyProgram,
    /// More than [`MAX_SOURCE_BYTES`].
    TooLong,
    /// More than [`MAX_WORDS`].
    TooManyWords,
    /// One of `| & ; < > ( )`.
    Operator,
    /// A newline between words, which ends a command and begins another.
    Newline,
    /// A backtick that is neither escaped nor in single quotes, or such a dollar sign where it isn't
    /// known to be itself.
    Expansion,
    /// One of `* ? [` outside quotes.
    Glob,
    /// A `~` where some shell would put a home directory.
    Tilde,
    /// A `{` whose word holds `,` or `..`: `bash` expands it, `dash` does not.
    Brace,
    /// A `#` that begins a word.
    Comment,
    /// A reserved word of the shell as the program.
    Reserved,
    /// A `=` in the program's word: an assignment before the command.
    Assignment,
    /// A `%` that begins the program's word, quoted or not: a job of the shell.
    Job,
    /// A `$` before a single quote: `bash` decodes what stands between, `dash` does not.
    DollarQuote,
    /// A backslash with nothing after it.
    DanglingBackslash,
    /// A quote that is never closed.
    UnterminatedQuote,
    /// A NUL, which no argument can hold.
    Nul,
    /// A control character other than a tab outside quotes.
    Control,
    /// A blank, invisible or direction-changing character beyond ASCII outside quotes.
    Invisible,
}

/// A source that was refused: why, and where. The message says what to do instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LexError {
    /// Why.
    pub kind: LexErrorKind,
    /// The bytes of the source that it is about, always on character boundaries.
    pub span: Range<usize>,
    /// The same place for people: the number of the character, from 1.
    pub column: usize,
    /// The offending text, made visible.
    pub found: String,
}

impl std::error::Error for LexError {}

impl fmt::Display for LexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use LexErrorKind as K;
        let Self { kind, column, found, .. } = self;
        let (what, next) = match kind {
            K::Empty => {
                return f.write_str("the command is empty; give a program and its arguments");
            }
            K::EmptyProgram => {
                return f.write_str("the first word is empty; it must name a program");
            }
            K::TooLong => {
                return write!(
                    f,
                    "the command is longer than {MAX_SOURCE_BYTES} bytes; shorten it"
                );
            }
            K::TooManyWords => {
                return write!(f, "the command has more than {MAX_WORDS} words; use fewer");
            }
            K::Operator => ("needs a shell, and none is used", "run one program a call, or "),
            K::Newline => ("would begin a second command", "run one program a call, or "),
            K::Expansion => (
                "asks a shell to substitute, and none is used",
                "write the value out, or put it in single quotes if it is meant literally",
            ),
            K::Glob => ("is a pattern that only a shell expands", "name the files, or "),
            K::Tilde => ("is a home directory only to a shell", "write the path out, or "),
            K::Brace => ("begins a list that only a shell expands", "write the words out, or "),
            K::Comment => ("begins a comment", "leave it out, or "),
            K::Reserved => (
                "is a word of the shell's own language",
                "name a program, or quote it if a program has that name",
            ),
            K::Assignment => (
                "makes the first word an assignment, which needs a shell",
                "begin with the program",
            ),
            K::Job => ("names a shell's job", "begin with the program"),
            K::DollarQuote => (
                "begins a quote that only some shells decode",
                "put the very character, such as a tab, in plain quotes",
            ),
            K::DanglingBackslash => ("escapes nothing", "remove it, or "),
            K::UnterminatedQuote => ("opens a quote that is never closed", "close it"),
            K::Nul => ("cannot stand in an argument", "remove it"),
            K::Control => ("is a control character outside quotes", "remove it, or "),
            K::Invisible => ("cannot be seen outside quotes", "use a plain space, or "),
        };
        write!(f, "`{found}` at character {column} {what}; {next}")?;
        if next.ends_with(", or ") {
            f.write_str("quote it if it is meant literally")?;
        }
        Ok(())
    }
}
