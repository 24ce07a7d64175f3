//! One text from its bytes to a yes: cut, compared, parsed, matched with what is granted, walked.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use sqlparser::ast::{DescribeAlias, Query, SetExpr, Statement, UtilityOption, Visit};
use sqlparser::dialect::{self, Dialect as Grammar};
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token as Parsed, TokenWithSpan, Tokenizer};

use super::agree::agree;
use super::fixed::loosened;
use super::grant::Grant;
use super::prefix::SqlPrefix;
use super::respell::respelled;
use super::scan::{Kind, Token, is_name, refusal, scan};
use super::walk::Walk;
use super::words::compare;
use super::{Dialect, MAX_SQL_BYTES, SqlRefusal, SqlRefusalKind, begins, is_one_of, other};
use crate::scope::lexer::visible;

/// How deep parentheses, subqueries and the like may nest.
const MAX_DEPTH: usize = 48;

/// How many operators a text may hold. A chain of them becomes a tree as deep as it is long.
const MAX_OPERATORS: usize = 600;

/// Statements that are read into a tree. The others have to be named outright, and their words count.
pub(super) const WITH_TREE: &str =
    "( DELETE DESC DESCRIBE EXPLAIN INSERT MERGE REPLACE SELECT TABLE UPDATE VALUES WITH";

pub(super) fn judge(
    sql: &str,
    dialect: Dialect,
    prefixes: &[SqlPrefix],
    functions: &BTreeSet<String>,
) -> Result<(), SqlRefusal> {
    use SqlRefusalKind as K;
    if sql.len() > MAX_SQL_BYTES {
        return Err(whole(K::TooLarge, &format!("is longer than {MAX_SQL_BYTES} bytes")));
    }
    if let Some(at) = sql.find('\0') {
        // A server that takes the text for a C string would stop there.
        return Err(refusal(sql, K::Ambiguous, at, "\0"));
    }
    let sql = if dialect == Dialect::MySql { without_end(sql) } else { sql };
    let tokens = scan(sql, dialect)?;
    let first = single(sql, dialect, &tokens)?;
    if !is_one_of(first.text, WITH_TREE) {
        let fits = |p: &&SqlPrefix| {
            if p.is_bare() { first.text.eq_ignore_ascii_case(&p.kind()) } else { p.begins(&tokens) }
        };
        let Some(prefix) = prefixes.iter().find(fits) else {
            return Err(refusal(sql, K::OtherBeginning, 0, ""));
        };
        stays(sql, dialect, &tokens, prefix)?;
        return other::judge(sql, dialect, &tokens, prefix.len());
    }
    if tokens.iter().filter(|token| chains(token)).count() > MAX_OPERATORS {
        return Err(whole(K::TooLarge, &format!("has more than {MAX_OPERATORS} operators")));
    }

    let grammar: &dyn Grammar = match dialect {
        Dialect::Postgres | Dialect::Unknown => &dialect::PostgreSqlDialect {},
        Dialect::MySql => &dialect::MySqlDialect {},
        Dialect::Sqlite => &dialect::SQLiteDialect {},
    };
    let parsed = Tokenizer::new(grammar, sql)
        .tokenize_with_location()
        .map_err(|error| not_understood(sql, error.location.line, error.location.column))?;
    agree(sql, &tokens, &parsed)?;
    let statement = parse(sql, grammar, respelled(dialect, parsed))?;

    let kind = kind_of(&statement);
    let begins_with = |word: &str| {
        first.text.eq_ignore_ascii_case(word)
            || (word == "DESCRIBE" && first.text.eq_ignore_ascii_case("DESC"))
    };
    let explained = match statement {
        Statement::Explain { .. } => explained(&tokens),
        _ => &[],
    };
    let fits = |prefix: &&SqlPrefix| {
        if prefix.is_bare() {
            prefix.kind() == kind || begins_with(&prefix.kind())
        } else {
            prefix.begins(&tokens) || prefix.only_selects() && prefix.begins(explained)
        }
    };
    let Some(matched) = prefixes.iter().find(fits) else {
        return Err(refusal(sql, K::OtherBeginning, 0, ""));
    };
    let begun = if matched.begins(&tokens) { &tokens } else { explained };
    stays(sql, dialect, begun, matched)?;
    let grant = Grant::new(dialect, prefixes, matched, functions);
    // A prefix such as `WITH`, `TABLE` or `EXPLAIN` says how the text begins, not what it may do.
    let only_plans = matched.is_bare() && matched.kind() == "EXPLAIN" && only_plans(&statement);
    if !grant.allows(kind) && matched.kind() != kind && !only_plans {
        return Err(refusal(sql, K::Writes, 0, kind));
    }
    let mut walk = Walk::new(sql, &grant);
    if let ControlFlow::Break(refused) = statement.visit(&mut walk) {
        return Err(refused);
    }
    compare(sql, &grant, walk.spelled, &tokens)
}

/// The query that an `EXPLAIN` stands before, its options aside.
fn explained<'t, 'a>(tokens: &'t [Token<'a>]) -> &'t [Token<'a>] {
    let mut depth = 0_usize;
    let start = tokens.iter().position(|token| {
        match token.text {
            "(" => depth += 1,
            ")" => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && token.kind == Kind::Word && is_one_of(token.text, "SELECT TABLE VALUES WITH")
    });
    start.and_then(|start| tokens.get(start..)).unwrap_or_default()
}

/// Whether a statement is explained without being run.
fn only_plans(statement: &Statement) -> bool {
    // `ANALYZE` runs it, whatever stands behind that option.
    const LOOKS: &str = "BUFFERS COSTS FORMAT GENERIC_PLAN MEMORY SETTINGS SUMMARY VERBOSE";
    let looks = |option: &UtilityOption| is_one_of(&option.name.value, LOOKS);
    match statement {
        Statement::Explain { analyze, options, .. } => {
            !analyze && options.iter().flatten().all(looks)
        }
        _ => false,
    }
}

/// Whether what a prefix fixes stays fixed.
fn stays(
    sql: &str,
    dialect: Dialect,
    tokens: &[Token<'_>],
    prefix: &SqlPrefix,
) -> Result<(), SqlRefusal> {
    match loosened(dialect, tokens, prefix.len()).filter(|_| !prefix.is_bare()) {
        Some(token) => Err(refusal(sql, SqlRefusalKind::Loosens, token.at, token.text)),
        None => Ok(()),
    }
}

/// MySQL's client takes a final `\G` or `\g` for the end of a statement, and shows the result upright or
/// not. Anywhere else a backslash is refused.
fn without_end(sql: &str) -> &str {
    let text = sql.trim_end();
    text.strip_suffix("\\G").or_else(|| text.strip_suffix("\\g")).unwrap_or(sql)
}

/// The first token that isn't an opening parenthesis, once it is sure that it begins the only statement.
fn single<'t, 'a>(
    sql: &str,
    dialect: Dialect,
    tokens: &'t [Token<'a>],
) -> Result<&'t Token<'a>, SqlRefusal> {
    use SqlRefusalKind as K;
    let Some(first) = tokens.first() else {
        return Err(refusal(sql, K::NoStatement, 0, ""));
    };
    let keyword = first.kind == Kind::Word && begins(dialect, first.text);
    if !keyword && first.text != "(" {
        return Err(refusal(sql, K::NoStatement, first.at, first.text));
    }
    let inner = tokens.iter().position(|token| token.text == ";");
    match inner.filter(|index| index + 1 < tokens.len()).and_then(|index| tokens.get(index)) {
        Some(end) => Err(refusal(sql, K::SecondStatement, end.at, ";")),
        None => Ok(first),
    }
}

/// Whether a token can add a level to the tree without opening a parenthesis.
fn chains(token: &Token<'_>) -> bool {
    const WORDS: &str = "AND AT BETWEEN COLLATE EXCEPT GLOB ILIKE IN INTERSECT IS ISNULL LIKE MATCH MINUS NOT \
        NOTNULL OPERATOR OR REGEXP RLIKE SIMILAR SOUNDS UNION XOR";
    match token.kind {
        Kind::Word => is_one_of(token.text, WORDS),
        Kind::Mark => !matches!(token.text, "," | "(" | ")" | "." | ";"),
        Kind::Number | Kind::Quoted => false,
    }
}

fn parse(
    sql: &str,
    grammar: &dyn Grammar,
    tokens: Vec<TokenWithSpan>,
) -> Result<Statement, SqlRefusal> {
    let mut parser =
        Parser::new(grammar).with_recursion_limit(MAX_DEPTH).with_tokens_with_locations(tokens);
    let statement = parser.parse_statement().map_err(|error| match error {
        ParserError::RecursionLimitExceeded => {
            whole(SqlRefusalKind::TooLarge, "is nested too deeply")
        }
        // The parser says the place in its message alone.
        ParserError::ParserError(message) | ParserError::TokenizerError(message) => {
            let number = |label: &str| -> Option<u64> {
                let (_, after) = message.rsplit_once(label)?;
                let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
                after.get(..end)?.parse().ok()
            };
            let place = number("Line: ").zip(number("Column: ")).unwrap_or((0, 0));
            not_understood(sql, place.0, place.1)
        }
    })?;
    let mut next = parser.next_token();
    if next.token == Parsed::SemiColon {
        next = parser.next_token();
    }
    match next.token {
        Parsed::EOF => Ok(statement),
        _ => Err(not_understood(sql, next.span.start.line, next.span.start.column)),
    }
}

/// The kind of a statement: what it does in the end, whatever stands before it.
pub(super) fn kind_of(statement: &Statement) -> &'static str {
    match statement {
        Statement::Query(query) => kind_of_query(query),
        Statement::Insert(insert) if insert.replace_into => "REPLACE",
        Statement::Insert(_) => "INSERT",
        Statement::Update(_) => "UPDATE",
        Statement::Delete(_) => "DELETE",
        Statement::Merge(_) => "MERGE",
        Statement::Explain { statement, .. } => kind_of(statement),
        Statement::ExplainTable { describe_alias: DescribeAlias::Explain, .. } => "EXPLAIN",
        Statement::ExplainTable { .. } => "DESCRIBE",
        _ => "another kind",
    }
}

fn kind_of_query(query: &Query) -> &'static str {
    match query.body.as_ref() {
        SetExpr::Query(inner) => kind_of_query(inner),
        SetExpr::Insert(statement)
        | SetExpr::Update(statement)
        | SetExpr::Delete(statement)
        | SetExpr::Merge(statement) => kind_of(statement),
        SetExpr::Select(_)
        | SetExpr::SetOperation { .. }
        | SetExpr::Values(_)
        | SetExpr::Table(_) => "SELECT",
    }
}

fn whole(kind: SqlRefusalKind, found: &str) -> SqlRefusal {
    SqlRefusal { kind, column: 0, found: found.to_owned() }
}

/// A refusal at the parser's place, as the number of a character.
pub(super) fn character(sql: &str, line: u64, column: u64) -> usize {
    let before = usize::try_from(line.saturating_sub(1)).unwrap_or(usize::MAX);
    let lines = sql.split_inclusive('\n').take(before);
    let column = usize::try_from(column).unwrap_or(usize::MAX);
    lines.map(|line| line.chars().count()).sum::<usize>().saturating_add(column)
}

fn not_understood(sql: &str, line: u64, column: u64) -> SqlRefusal {
    let column = if line == 0 { 0 } else { character(sql, line, column) };
    let before = sql.chars().take(column.saturating_sub(1));
    let at = if column == 0 { sql.len() } else { before.map(char::len_utf8).sum() };
    let found = construct(sql, at);
    SqlRefusal { kind: SqlRefusalKind::NotUnderstood, column, found: visible(&found, 32) }
}

/// What stands at the place where the parser stopped: a word or a mark, and for `ROWS FROM` both words.
fn construct(sql: &str, at: usize) -> String {
    let (before, rest) = sql.split_at_checked(at).unwrap_or((sql, ""));
    let end = rest.find(|c: char| !is_name(c)).unwrap_or(rest.len());
    let word = match (end, rest.chars().next()) {
        (0, Some(mark)) => mark.to_string(),
        _ => rest.get(..end).unwrap_or_default().to_ascii_uppercase(),
    };
    let before = before.trim_end();
    if before.ends_with(").*") {
        return "*".to_owned();
    }
    let start = before.rfind(|c: char| !is_name(c)).map_or(0, |at| at + 1);
    match before.get(start..) {
        Some(rows) if word == "FROM" && rows.eq_ignore_ascii_case("ROWS") => "ROWS FROM".to_owned(),
        _ => word,
    }
}
