//! Statements of which no tree is walked: definitions, grants, `SHOW` and the like, which a token has to
//! name outright. Their words are judged: one that writes beyond the kind is refused wherever it stands
//! outside a literal.

use super::functions::is_dangerous;
use super::scan::{Kind, Token, plain, refusal};
use super::{Dialect, OF_MYSQL, SqlRefusal, SqlRefusalKind, is_one_of};

/// Words that write, or that begin something that does. PostgreSQL lets them stand inside a `WITH`.
const WRITES: &str = "ALTER CALL COPY CREATE DELETE DO DROP DUMPFILE EXECUTE GRANT INSERT INTO MERGE OUTFILE \
    PROGRAM REVOKE TRUNCATE UPDATE";

/// Judges what stands after the first `named` tokens, which the scope itself wrote.
pub(super) fn judge(
    sql: &str,
    dialect: Dialect,
    tokens: &[Token<'_>],
    named: usize,
) -> Result<(), SqlRefusal> {
    use SqlRefusalKind as K;
    let kind = match tokens.first() {
        Some(first) => first.text,
        None => return Err(refusal(sql, K::NoStatement, 0, "")),
    };
    if let Some(beyond) = asks_beyond(kind, tokens).filter(|at| *at >= named)
        && let Some(token) = tokens.get(beyond)
    {
        return Err(refusal(sql, K::Writes, token.at, token.text));
    }
    // What a prefix says is done once, and not to another table too.
    let is_said = named > if is_one_of(kind, "FLUSH KILL") { 1 } else { 2 };
    let names_object = names_object(kind, tokens, named);
    let mut before = "";
    for (index, token) in tokens.iter().enumerate() {
        let after = tokens.get(index + 1).map_or("", |next| next.text);
        let refused = if token.text == ";" && !after.is_empty() {
            Some(K::SecondStatement)
        } else if index < named {
            None
        } else if token.text == "," && is_said && is_one_of(kind, OF_MYSQL)
            || names_object && (token.text == "," || is_one_of(token.text, "CASCADE"))
            || token.kind == Kind::Word
                && !kind.eq_ignore_ascii_case("SHOW")
                && goes_beyond(kind, index, before, token.text, after)
        {
            Some(K::Writes)
        } else if token.may_name() && after == "(" && is_refused(dialect, kind, token) {
            Some(K::Function)
        } else {
            None
        };
        if let Some(reason) = refused {
            return Err(refusal(sql, reason, token.at, token.text));
        }
        before = token.text;
    }
    Ok(())
}

/// Whether the scope names what is emptied or removed, so that nothing more may be.
fn names_object(kind: &str, tokens: &[Token<'_>], named: usize) -> bool {
    let is_word = |token: &Token<'_>| {
        is_one_of(
            token.text,
            "TABLE ONLY IF EXISTS INDEX VIEW MATERIALIZED SEQUENCE SCHEMA CONCURRENTLY TEMPORARY",
        )
    };
    is_one_of(kind, "TRUNCATE DROP") && tokens.iter().take(named).skip(1).any(|one| !is_word(one))
}

/// The word with which a `SHOW` or a `PRAGMA` asks for more than a look: for the passwords of accounts and the
/// changes of all tables, or to set something.
fn asks_beyond(kind: &str, tokens: &[Token<'_>]) -> Option<usize> {
    let is = |index: usize, list: &str| tokens.get(index).is_some_and(|t| is_one_of(t.text, list));
    if kind.eq_ignore_ascii_case("SHOW") {
        let accounts = is(1, "CREATE") && is(2, "USER SERVER")
            || is(1, "GRANTS") && is(2, "FOR") && !is(3, "CURRENT_USER CURRENT_ROLE")
            || is(1, "BINLOG RELAYLOG") && is(2, "EVENTS");
        return accounts.then_some(2);
    }
    if !kind.eq_ignore_ascii_case("PRAGMA") {
        return None;
    }
    // A name of a schema may stand before it.
    let name = if is(2, ".") { 3 } else { 1 };
    let is_asked = matches!(tokens.get(name + 1).map(|next| next.text), None | Some(";"));
    match tokens.get(name)? {
        token if is_one_of(token.text, ACTING) => Some(name),
        token if is_one_of(token.text, ASKING) => is(name + 1, "=").then_some(name + 1),
        _ => (!is_asked).then_some(name + 1),
    }
}

/// Pragmas of SQLite that do something without a value.
const ACTING: &str = "data_store_directory incremental_vacuum optimize shrink_memory temp_store_directory wal_checkpoint";

/// Those that look, at what stands in their parentheses.
const ASKING: &str = "foreign_key_check foreign_key_list index_info index_list index_xinfo integrity_check \
    quick_check table_info table_list table_xinfo";

/// Whether a word outside literals does more than a statement of this kind may.
fn goes_beyond(kind: &str, index: usize, before: &str, word: &str, after: &str) -> bool {
    let is = |text: &str, keyword: &str| text.eq_ignore_ascii_case(keyword);
    // Row locks: FOR [KEY] SHARE, LOCK IN SHARE MODE. FOR UPDATE is caught as UPDATE.
    if is(word, "SHARE") {
        return ["FOR", "KEY", "IN"].iter().any(|k| is(before, k));
    }
    // `INSERT OR REPLACE` overwrites rows; `replace(...)` is a function.
    if is(word, "REPLACE") {
        return is(kind, "INSERT") && after != "(";
    }
    if !is_one_of(word, WRITES) {
        return false;
    }
    let fits = match kind.to_ascii_uppercase().as_str() {
        "INSERT" => (is(word, "INTO") && index <= 3) || (is(word, "DO") && is(after, "NOTHING")),
        "REPLACE" => is(word, "INTO") && index <= 2,
        "MERGE" => (is(word, "INTO") && index == 1) || is(before, "THEN"),
        // A foreign key's ON DELETE and ON UPDATE; ALTER TABLE drops and alters columns.
        "CREATE" => is(before, "ON") && (is(word, "DELETE") || is(word, "UPDATE")),
        "ALTER" => {
            is(word, "ALTER")
                || is(word, "DROP")
                || (is(before, "ON") && (is(word, "DELETE") || is(word, "UPDATE")))
        }
        _ => false,
    };
    !fits
}

fn is_refused(dialect: Dialect, kind: &str, token: &Token<'_>) -> bool {
    // A sequence may be drawn from where rows are written.
    let name = plain(token.text);
    is_dangerous(dialect, &name) || (name == "nextval" && !is_one_of(kind, "CREATE ALTER"))
}
