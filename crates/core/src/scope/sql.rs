//! The judge of SQL: is a text one statement, of a kind that was granted, and nothing besides?
//!
//! A text is cut twice, by our own rules and by the parser's ([`agree`]), read into a tree by `sqlparser`,
//! and every node of the tree is held against what a scope grants ([`walk`]): a node that is not known to
//! be harmless is refused. Never here: execution, a connection, a guess.
//!
//! Sources: PostgreSQL's manual 4.1 (lexical structure), chapter 9 (functions) and `psql`; MySQL's 9.1,
//! 9.7, 14 and 4.5.1 (client commands); SQLite's `lang_comment`, `lang_keywords`, `lang_corefunc` and
//! `cli`.

mod agree;
mod describe;
mod fixed;
mod functions;
mod grant;
mod judge;
mod other;
mod prefix;
mod relations;
mod respell;
mod scan;
mod walk;
mod words;

use std::collections::BTreeSet;
use std::fmt;

pub use describe::{Client, client_command};
pub use prefix::SqlPrefix;

/// The longest text that is judged, in bytes: 16 KiB. What is longer would overflow the parser's stack.
pub const MAX_SQL_BYTES: usize = 16 << 10;

/// Whose rules a text is read by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// PostgreSQL.
    Postgres,
    /// MySQL and MariaDB.
    MySql,
    /// SQLite.
    Sqlite,
    /// Not known: only what every dialect cuts alike is accepted, and it is read as PostgreSQL's.
    Unknown,
}

/// Why a text was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SqlRefusalKind {
    /// There is no statement, or it does not begin with a statement's keyword.
    NoStatement,
    /// It is of another kind than is allowed, or does not begin as a prefix does.
    OtherBeginning,
    /// A `;` with something after it.
    SecondStatement,
    /// It weakens a condition, or lengthens a list, that a prefix fixes.
    Loosens,
    /// Something that writes, locks, or runs what the scope does not name.
    Writes,
    /// A function that is known to do more than read, or that is not known.
    Function,
    /// A table outside the scope, or one that holds the server's own secrets.
    Relation,
    /// A backslash outside literals, or a command of the client's own.
    ClientCommand,
    /// A `:name` that `psql` would replace.
    Variable,
    /// A comment that MySQL or MariaDB executes.
    ExecutableComment,
    /// Text that dialects, settings or the parser cut differently.
    Ambiguous,
    /// A literal, quoted name or comment without its end.
    Unterminated,
    /// The parser does not know this form.
    NotUnderstood,
    /// The text is too long, or nested too deeply.
    TooLarge,
}

/// An SQL text that was refused: why, where, and about what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlRefusal {
    /// Why.
    pub kind: SqlRefusalKind,
    /// The number of the character in the SQL text, from 1; 0 where no place is to blame.
    pub column: usize,
    /// The offending text, made visible.
    pub found: String,
}

impl std::error::Error for SqlRefusal {}

impl fmt::Display for SqlRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use SqlRefusalKind as K;
        let Self { kind, column, found } = self;
        let (what, next) = match kind {
            K::NoStatement => {
                return f.write_str("the SQL does not begin with a statement's keyword");
            }
            K::OtherBeginning => {
                return f.write_str(
                    "the SQL is of another kind, or begins otherwise, than the scope allows",
                );
            }
            K::TooLarge => {
                return write!(f, "the SQL {found}; ask for less at once");
            }
            K::NotUnderstood if *column == 0 => {
                return f.write_str("the SQL is not understood; write it in a plainer form");
            }
            K::NotUnderstood => {
                return write!(
                    f,
                    "the SQL is not understood from `{found}` at character {column} on; {}",
                    plainer(found)
                );
            }
            K::SecondStatement => ("would begin a second statement", "send one statement a call"),
            K::Writes => (
                "goes beyond the statement that is allowed",
                "leave it out, or put it in double quotes if it is a name",
            ),
            K::Loosens => (
                "would loosen what the scope fixes before it",
                "begin with `AND`, or with another clause",
            ),
            K::Function => (
                "is not a function known to be harmless",
                "leave it out, or have the token list it",
            ),
            K::Relation => ("is a table outside the scope", "leave it out"),
            K::ClientCommand => ("is a command of the client's own", "send SQL only"),
            K::Variable => ("would be replaced by a variable", "put a space after the colon"),
            K::ExecutableComment => ("is executed by some servers", "leave it out"),
            K::Ambiguous => (
                "is read differently by different servers",
                "write it another way, for example without a backslash or a comment",
            ),
            K::Unterminated => ("is never closed", "close it"),
        };
        if *column == 0 {
            return write!(f, "`{found}` in the SQL {what}; {next}");
        }
        write!(f, "`{found}` at character {column} of the SQL {what}; {next}")
    }
}

/// How to say plainly what the parser can't read, though PostgreSQL can.
fn plainer(found: &str) -> &'static str {
    match found {
        "ROWS FROM" => "write each function as a table of its own, with a comma between",
        "SEARCH" | "CYCLE" => "carry a column with the path in the recursive query instead",
        "*" => "name the columns instead",
        _ => "write it in a plainer form",
    }
}

/// What a database token allows: kinds of statements and beginnings of such, in one dialect, and the
/// functions that may be called beyond those known to be harmless.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlScope {
    dialect: Dialect,
    prefixes: Vec<SqlPrefix>,
    functions: BTreeSet<String>,
}

impl SqlScope {
    /// Reads patterns such as `SELECT` or `UPDATE users SET`, and names of functions.
    ///
    /// # Errors
    ///
    /// The index of the pattern that is to blame, and what is wrong with it.
    pub fn new(
        dialect: Dialect,
        patterns: &[String],
        functions: &[String],
    ) -> Result<Self, (usize, SqlRefusal)> {
        let read = |(index, text): (usize, &String)| {
            SqlPrefix::new(text, dialect).map_err(|error| (index, error))
        };
        let prefixes = patterns.iter().enumerate().map(read).collect::<Result<_, _>>()?;
        let functions = functions.iter().map(|name| name.to_ascii_lowercase()).collect();
        Ok(Self { dialect, prefixes, functions })
    }

    /// Whether a text is one statement within this scope.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn permits(&self, sql: &str) -> Result<(), SqlRefusal> {
        judge::judge(sql, self.dialect, &self.prefixes, &self.functions)
    }

    /// The first of its patterns that isn't provably covered by one of `wider`'s.
    pub(crate) fn first_beyond(&self, wider: &Self) -> Option<usize> {
        let covered = |mine: &SqlPrefix| wider.prefixes.iter().any(|theirs| mine.narrows(theirs));
        self.prefixes.iter().position(|mine| !covered(mine))
    }

    /// Whether nothing that this scope permits changes a row or a definition, so that it can be held to
    /// a read-only transaction.
    pub fn only_reads(&self) -> bool {
        self.prefixes.iter().all(SqlPrefix::only_reads)
    }
}

/// The parts of a statement that whoever runs it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline<'a> {
    /// The statement without a final `;` and what follows it.
    pub statement: &'a str,
    /// Its first keyword in upper case, opening parentheses aside.
    pub verb: String,
}

impl SqlScope {
    /// Where a statement that was permitted ends, and how it begins.
    pub fn outline<'a>(&self, sql: &'a str) -> Outline<'a> {
        let tokens = scan::scan(sql, self.dialect).unwrap_or_default();
        let end = tokens.last().filter(|token| token.text == ";").map_or(sql.len(), |end| end.at);
        let verb = tokens.iter().find(|token| token.text != "(").map_or("", |first| first.text);
        Outline { statement: sql.get(..end).unwrap_or(sql), verb: verb.to_ascii_uppercase() }
    }

    /// Whether a function is known to be harmless, or is one of those that may be called all the same.
    pub fn knows_function(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        functions::is_harmless(self.dialect, &name)
            || self.functions.contains(&name)
            || self.prefixes.iter().any(|prefix| prefix.named_functions().contains(&name))
    }

    /// Whether it allows statements beyond reading and changing rows.
    pub fn defines(&self) -> bool {
        let rows =
            "DELETE DESC DESCRIBE EXPLAIN INSERT MERGE REPLACE SELECT TABLE UPDATE VALUES WITH";
        self.prefixes.iter().any(|prefix| !is_one_of(&prefix.kind(), rows))
    }
}

/// Whether a text begins with a keyword that begins SQL statements, in whatever case.
pub fn begins_statement(text: &str) -> bool {
    let text = text.trim_start();
    let end = text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len());
    text.get(..end).is_some_and(|word| is_one_of(word, STATEMENTS))
}

/// Keywords that begin a statement in one of the dialects.
const STATEMENTS: &str = "ALTER ANALYZE BEGIN CALL COMMENT COPY CREATE DELETE DESC DESCRIBE DO DROP EXECUTE EXPLAIN \
    GRANT INSERT MERGE PRAGMA REFRESH REINDEX REPLACE REVOKE SELECT SET SHOW TABLE TRUNCATE \
    UPDATE VACUUM VALUES WITH";

/// Those that only MySQL and MariaDB know.
const OF_MYSQL: &str = "CHECK CHECKSUM FLUSH KILL OPTIMIZE REPAIR";

/// Whether a word begins a statement in a dialect.
fn begins(dialect: Dialect, word: &str) -> bool {
    is_one_of(word, STATEMENTS) || dialect == Dialect::MySql && is_one_of(word, OF_MYSQL)
}

/// Commands that a client takes for itself when they begin a line.
const CLIENT_WORDS: &str = "CHARSET CLEAR CONNECT DELIMITER EDIT EGO EXIT GO HELP NOPAGER NOTEE PAGER PROMPT QUIT \
    REHASH SOURCE STATUS SYSTEM TEE USE WARNINGS";

/// Whether a blank-separated list holds a word, whatever its case.
fn is_one_of(word: &str, list: &str) -> bool {
    list.split_ascii_whitespace().any(|known| known.eq_ignore_ascii_case(word))
}
