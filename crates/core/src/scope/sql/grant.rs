//! What the patterns of a scope grant, taken together, to a statement that one of them matched.

use std::collections::BTreeSet;

use super::functions::is_harmless;
use super::prefix::SqlPrefix;
use super::{Dialect, is_one_of};

/// What the prefixes of a scope grant to a statement that one of them matched.
pub(super) struct Grant<'a> {
    pub(super) dialect: Dialect,
    /// Kinds that are granted whole.
    pub(super) kinds: BTreeSet<String>,
    pub(super) matched: &'a SqlPrefix,
    functions: &'a BTreeSet<String>,
    named: BTreeSet<String>,
    /// Whether only the tables that the prefix names may be read and written.
    pub(super) confined: bool,
}

/// Functions of MySQL's schema `sys` that only compute.
const SYS: &str = "extract_schema_from_file_name extract_table_from_file_name format_bytes format_path format_statement \
    format_time list_add list_drop quote_identifier version_major version_minor version_patch";

impl<'a> Grant<'a> {
    pub(super) fn new(
        dialect: Dialect,
        prefixes: &'a [SqlPrefix],
        matched: &'a SqlPrefix,
        functions: &'a BTreeSet<String>,
    ) -> Self {
        let bare = prefixes.iter().filter(|prefix| prefix.is_bare());
        let mut kinds: BTreeSet<String> = bare.map(SqlPrefix::kind).collect();
        // These say how a query begins; what they are for is reading.
        if kinds.contains("WITH") || kinds.contains("EXPLAIN") {
            kinds.insert("SELECT".to_owned());
        }
        let reads = is_one_of(&matched.kind(), "DESCRIBE EXPLAIN SELECT TABLE VALUES WITH")
            || matched.names_word("SELECT");
        let confined = matched.is_confined() && !kinds.contains("SELECT");
        if reads {
            kinds.insert("SELECT".to_owned());
        }
        Self { dialect, kinds, matched, functions, named: matched.named_functions(), confined }
    }

    /// Whether a statement of this kind may stand anywhere in the text.
    pub(super) fn allows(&self, kind: &str) -> bool {
        self.kinds.contains(kind) || self.matched.names_word(kind)
    }

    /// Whether a function may be called, named by the parts of its name as the server compares them.
    pub(super) fn allows_function(&self, parts: &[String]) -> bool {
        if self.functions.contains(&parts.join(".").to_ascii_lowercase()) {
            return true;
        }
        match parts {
            [name] => is_harmless(self.dialect, name) || self.named.contains(name),
            [schema, name] if matches!(self.dialect, Dialect::Postgres | Dialect::Unknown) => {
                (schema == "pg_catalog"
                    && (is_harmless(self.dialect, name) || self.named.contains(name)))
                    || (schema == "information_schema" && name == "_pg_expandarray")
            }
            [schema, name] if self.dialect == Dialect::MySql && schema == "sys" => {
                is_one_of(name, SYS)
            }
            _ => false,
        }
    }

    /// Whether the matched prefix itself asks for a lock.
    pub(super) fn may_lock(&self) -> bool {
        self.matched.names_word("FOR") || self.matched.names_word("LOCK")
    }
}
