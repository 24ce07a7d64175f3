//! What is said of a command that no prefix permits, and of a prefix that can't be part of a scope.

use super::{Command, Prefix};
use crate::scope::lexer::{self, LexError};
use crate::scope::profile::Beyond;
use crate::scope::sql::SqlRefusal;
use std::fmt;
use std::ops::Range;

/// How many prefixes a refusal lists.
const SHOWN: usize = 8;

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefusalKind {
    /// No prefix matches.
    OutsideScope,
    /// A word follows an open-quote word.
    WordFollows,
    /// The SQL in an open-quote word is more than the prefix grants.
    Sql(SqlRefusal),
    /// A word reaches beyond the prefix, by what is known of the program.
    Beyond(Beyond),
}

/// A command that no prefix permits. Its message is meant for the model: what is wrong, and which
/// commands are allowed instead. It is safe to show, and bounded in length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandRefusal {
    /// Why.
    pub kind: RefusalKind,
    /// The word of the source that it is about, in bytes, if it is about one.
    pub span: Option<Range<usize>>,
    message: String,
}

impl CommandRefusal {
    pub(super) fn new(
        kind: RefusalKind,
        word: Option<usize>,
        command: &Command,
        prefixes: &[Prefix],
    ) -> Self {
        let span = word.and_then(|index| command.spans.get(index).cloned());
        let message = message(&kind, span.as_ref(), command, prefixes);
        Self { kind, span, message }
    }
}

impl std::error::Error for CommandRefusal {}

impl fmt::Display for CommandRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// What is wrong, and which commands are allowed instead.
fn message(
    kind: &RefusalKind,
    span: Option<&Range<usize>>,
    command: &Command,
    prefixes: &[Prefix],
) -> String {
    let source = lexer::visible(&command.source, 200);
    let mut message = match (kind, span) {
        (RefusalKind::WordFollows, Some(span)) => {
            let before = command.source.get(..span.start).unwrap_or_default();
            let word = command.source.get(span.clone()).unwrap_or_default();
            format!(
                "`{}` at character {} of `{source}` follows a word after which nothing may follow",
                lexer::visible(word, 60),
                before.chars().count() + 1,
            )
        }
        (RefusalKind::Beyond(beyond), Some(span)) => {
            let before = command.source.get(..span.start).unwrap_or_default();
            let word = command.source.get(span.clone()).unwrap_or_default();
            format!(
                "`{}` at character {} of `{source}` {}",
                lexer::visible(word, 60),
                before.chars().count() + 1,
                beyond.what(),
            )
        }
        (RefusalKind::Sql(why), _) => format!("`{source}` is refused: {why}"),
        _ => format!("`{source}` is outside the scope of this token"),
    };
    message.push_str("; allowed are commands that begin with ");
    let more = prefixes.len().saturating_sub(SHOWN);
    let last = prefixes.len().min(SHOWN).saturating_sub(1);
    for (index, prefix) in prefixes.iter().take(SHOWN).enumerate() {
        message.push_str(match index {
            0 => "",
            _ if index == last && more == 0 => " or ",
            _ => ", ",
        });
        message.push_str(&format!("`{}`", lexer::visible(&prefix.source, 120)));
    }
    if more > 0 {
        message.push_str(&format!(", or {more} more"));
    }
    message
}

/// What is wrong with a prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PrefixErrorKind {
    /// `allowed` lists nothing.
    #[error("list at least one prefix, such as `kubectl get pods`")]
    NoPrefix,
    /// The prefix is empty or blank and would allow every command.
    #[error("it is empty; name at least a program")]
    Empty,
    /// The prefix holds what only a shell understands.
    #[error("{0}")]
    NeedsShell(LexError),
    /// The quote is open in the program's word, so it would allow other programs.
    #[error("its quote is open in the program's name; close the quote")]
    OpenProgram,
    /// What is known of the program can't be read.
    #[error("{0}")]
    Profile(String),
    /// The open-quote word is SQL, and its beginning cannot be enforced.
    #[error(
        "{0}; begin with a whole statement keyword such as `SELECT`, and end after a whole word"
    )]
    Sql(SqlRefusal),
}

/// A prefix that cannot be part of a scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrefixError {
    /// Its place in `allowed`, from 0.
    pub index: usize,
    /// The prefix as written.
    pub prefix: String,
    /// What is wrong with it.
    pub kind: PrefixErrorKind,
}

impl PrefixError {
    /// The bytes of the prefix that it is about, if it is about a place.
    pub fn span(&self) -> Option<Range<usize>> {
        match &self.kind {
            PrefixErrorKind::NeedsShell(error) => Some(error.span.clone()),
            _ => None,
        }
    }
}

impl std::error::Error for PrefixError {}

impl fmt::Display for PrefixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { index, prefix, kind } = self;
        if *kind == PrefixErrorKind::NoPrefix {
            return write!(f, "`allowed` is empty; {kind}");
        }
        let prefix = lexer::visible(prefix, 120);
        write!(f, "prefix {} of `allowed`, `{prefix}`: {kind}", index + 1)
    }
}
