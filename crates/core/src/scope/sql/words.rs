//! The words once more, without the tree.

use super::functions::is_dangerous;
use super::grant::Grant;
use super::scan::{Kind, Token, plain, refusal};
use super::{SqlRefusal, SqlRefusalKind, is_one_of};

/// How many statements and clauses of a tree are spelled with these keywords.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Spelled {
    pub(super) inserts: usize,
    pub(super) updates: usize,
    pub(super) deletes: usize,
    pub(super) intos: usize,
}

/// Looks at the words once more, without the tree: what writes, locks or is known to be dangerous
/// must not stand where the tree has no such node. A parser that took one for something else would
/// be caught here.
pub(super) fn compare(
    sql: &str,
    grant: &Grant<'_>,
    tree: Spelled,
    tokens: &[Token<'_>],
) -> Result<(), SqlRefusal> {
    let (mut inserts, mut updates, mut deletes, mut intos) = (0, 0, 0, 0);
    for (index, token) in tokens.iter().enumerate() {
        let near = |index: Option<usize>| index.and_then(|index| tokens.get(index));
        let (before, after) = (near(index.checked_sub(1)), near(Some(index + 1)));
        let word = |token: Option<&Token<'_>>, list: &str| {
            token.is_some_and(|token| is_one_of(token.text, list))
        };
        let is = |keyword: &str| token.text.eq_ignore_ascii_case(keyword);
        if token.may_name()
            && word(after, "(")
            && !word(before, ".")
            && is_dangerous(grant.dialect, &plain(token.text))
            && !grant.allows_function(&[plain(token.text)])
        {
            return Err(refusal(sql, SqlRefusalKind::Function, token.at, token.text));
        }
        if token.kind != Kind::Word || word(before, ". AS") {
            continue;
        }
        let fresh = before.is_none() || word(before, "( ) ANALYZE EXPLAIN VERBOSE");
        intos += usize::from(is("INTO"));
        inserts += usize::from(is("INSERT") && word(after, "INTO"));
        deletes += usize::from(is("DELETE") && word(after, "FROM"));
        updates += usize::from(is("UPDATE") && fresh && after.is_some_and(Token::may_name));
        let locks =
            is("FOR") && word(after, "UPDATE SHARE NO KEY") || is("LOCK") && word(after, "IN");
        let beyond = intos > tree.intos + usize::from(grant.matched.names_word("INTO"))
            || inserts > tree.inserts
            || deletes > tree.deletes
            || updates > tree.updates
            || (locks && !grant.may_lock());
        if beyond {
            return Err(refusal(sql, SqlRefusalKind::Writes, token.at, token.text));
        }
    }
    Ok(())
}
