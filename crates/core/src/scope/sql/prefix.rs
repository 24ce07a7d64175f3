//! The beginning of a statement that a scope grants: its tokens, to be met one by one, and what it
//! grants beyond its kind by naming it.

use std::collections::BTreeSet;

use super::judge::WITH_TREE;
use super::scan::{Kind, Token, plain, refusal, scan};
use super::{Dialect, SqlRefusal, SqlRefusalKind, begins, functions, is_one_of, judge, other};

/// A kind of statement (`SELECT`), or the beginning of one (`UPDATE users SET`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlPrefix {
    dialect: Dialect,
    /// The schema in which names without one are looked up, where it is known.
    schema: Option<String>,
    tokens: Vec<(Kind, String)>,
}

impl SqlPrefix {
    /// Reads the beginning of a statement: at least its first keyword, and whole tokens only.
    ///
    /// # Errors
    ///
    /// No statement's keyword, a `;`, a literal without its end, or text that is ambiguous.
    pub fn new(text: &str, dialect: Dialect) -> Result<Self, SqlRefusal> {
        let tokens = scan(text, dialect)?;
        if let Some(end) = tokens.iter().find(|t| t.text == ";") {
            return Err(refusal(text, SqlRefusalKind::SecondStatement, end.at, ";"));
        }
        match tokens.first() {
            Some(first) if first.kind == Kind::Word && begins(dialect, first.text) => {}
            Some(first) => {
                return Err(refusal(text, SqlRefusalKind::NoStatement, first.at, first.text));
            }
            None => return Err(refusal(text, SqlRefusalKind::NoStatement, 0, "")),
        }
        let tokens = tokens.into_iter().map(|t| (t.kind, t.text.to_owned())).collect();
        Ok(Self { dialect, schema: None, tokens })
    }

    /// The same for a session in a schema.
    pub fn within(self, schema: Option<String>) -> Self {
        Self { schema: schema.map(|name| name.to_ascii_lowercase()), ..self }
    }

    /// A table's name with the schema in which the server looks for it.
    pub(super) fn located(&self, parts: Vec<String>) -> Vec<String> {
        match (&self.schema, parts.as_slice()) {
            (Some(schema), [_]) => [schema.clone()].into_iter().chain(parts).collect(),
            _ => parts,
        }
    }

    /// Whether a whole argument is one statement that begins with these tokens and does no more than
    /// the statement they name. Words compare without regard to ASCII case, everything else exactly. A
    /// bare `SELECT` stands for every query that only reads: `WITH … SELECT`, `(SELECT …)`, `VALUES`,
    /// `TABLE`, and `EXPLAIN` of one.
    ///
    /// # Errors
    ///
    /// [`SqlRefusalKind::OtherBeginning`] if it begins otherwise; else what is wrong with it.
    pub fn permits(&self, sql: &str) -> Result<(), SqlRefusal> {
        judge::judge(sql, self.dialect, std::slice::from_ref(self), &BTreeSet::new())
    }

    /// Whether everything that this prefix permits is permitted by `wider` too, provably.
    pub fn narrows(&self, wider: &Self) -> bool {
        let tokens: Vec<_> =
            self.tokens.iter().map(|(kind, text)| Token { kind: *kind, text, at: 0 }).collect();
        // What a prefix names is granted, so a longer prefix may grant what the shorter one refuses.
        let named = |prefix: &Self| {
            let words =
                ["INTO", "SHARE", "UPDATE", "DELETE", "INSERT", "MERGE", "REPLACE", "SELECT"];
            words.iter().filter(|word| prefix.names_word(word)).count()
        };
        let functions = |prefix: &Self| -> BTreeSet<String> {
            let mut named = prefix.named_functions();
            named.retain(|name| !functions::is_harmless(self.dialect, name));
            named
        };
        // Where no tree is walked, each word that a prefix writes itself is granted: what this one writes
        // beyond the wider one must be what that permits.
        let written = || {
            is_one_of(&self.kind(), WITH_TREE)
                || other::judge("", self.dialect, &tokens, wider.len()).is_ok()
        };
        self.dialect == wider.dialect
            && self.schema == wider.schema
            && wider.begins(&tokens)
            && written()
            && (!wider.is_confined() || self.tables() == wider.tables())
            && named(self) == named(wider)
            && functions(self).is_subset(&functions(wider))
    }

    /// The statement's first keyword, in upper case.
    pub(super) fn kind(&self) -> String {
        match self.tokens.first().map(|(_, text)| text.to_ascii_uppercase()) {
            Some(short) if short == "DESC" => "DESCRIBE".to_owned(),
            kind => kind.unwrap_or_default(),
        }
    }

    /// Whether it is a kind of statement and no more.
    pub(super) fn is_bare(&self) -> bool {
        self.tokens.len() == 1
    }

    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether it grants no change of rows, definitions or settings.
    pub(super) fn only_reads(&self) -> bool {
        let writes = ["INTO", "SHARE", "UPDATE", "DELETE", "INSERT", "MERGE", "REPLACE"];
        is_one_of(&self.kind(), "SELECT WITH VALUES TABLE EXPLAIN SHOW DESC DESCRIBE")
            && !writes.iter().any(|word| self.names_word(word))
    }

    /// Whether it is the beginning of a query that only reads.
    pub(super) fn only_selects(&self) -> bool {
        is_one_of(&self.kind(), "SELECT TABLE VALUES WITH") && self.only_reads()
    }

    /// Whether tokens begin with the ones of this prefix.
    pub(super) fn begins(&self, tokens: &[Token<'_>]) -> bool {
        let same = |(token, (kind, text)): (&Token<'_>, &(Kind, String))| {
            token.kind == *kind
                && (token.text == text
                    || (*kind == Kind::Word && token.text.eq_ignore_ascii_case(text)))
        };
        tokens.len() >= self.tokens.len() && tokens.iter().zip(&self.tokens).all(same)
    }

    /// Whether it names a keyword after its first one.
    pub(super) fn names_word(&self, word: &str) -> bool {
        let mut rest = self.tokens.iter().skip(1);
        rest.any(|(kind, text)| *kind == Kind::Word && text.eq_ignore_ascii_case(word))
    }

    /// Names that it calls as functions; the last one may be going to be called.
    pub(super) fn named_functions(&self) -> BTreeSet<String> {
        let mut named = BTreeSet::new();
        for (index, (kind, text)) in self.tokens.iter().enumerate().skip(1) {
            let before = self.tokens.get(index - 1).map_or("", |(_, before)| before);
            let called = match self.tokens.get(index + 1) {
                Some((_, next)) => next == "(",
                None => !is_one_of(before, "AS FROM INTO JOIN TABLE UPDATE"),
            };
            if called && matches!(kind, Kind::Word | Kind::Quoted) {
                named.insert(plain(text));
            }
        }
        named
    }

    /// Whether it names tables. Then it grants these and no others.
    pub(super) fn is_confined(&self) -> bool {
        !self.tables().is_empty()
    }

    /// Whether it names this table, whose parts are as the server compares them.
    pub(super) fn names_table(&self, parts: &[String]) -> bool {
        let tables = self.tables();
        // Name, point, name: a table is named whole, so that no other schema's passes.
        let wanted: Vec<&str> =
            parts.iter().flat_map(|part| [part.as_str(), "."]).take(parts.len() * 2 - 1).collect();
        let starts = 0..tables.len();
        starts.into_iter().any(|start| {
            let whole = start == 0 || tables.get(start - 1).is_none_or(|before| before != ".");
            let end = start + wanted.len();
            let found = tables.get(start..end).is_some_and(|found| found == wanted);
            whole && found && tables.get(end).is_none_or(|after| after != ".")
        })
    }

    /// The tokens among which the names of its tables stand, in lower case unless quoted.
    fn tables(&self) -> Vec<String> {
        let begins = |(kind, text): &&(Kind, String)| {
            *kind == Kind::Word && is_one_of(text, "FROM INTO UPDATE TABLE JOIN")
        };
        let mut rest = self.tokens.iter().skip_while(|token| !begins(token));
        rest.next();
        rest.map(|(kind, text)| match kind {
            Kind::Quoted if self.dialect == Dialect::Postgres => text.trim_matches('"').to_owned(),
            Kind::Quoted => plain(text),
            _ => text.to_ascii_lowercase(),
        })
        .collect()
    }
}
