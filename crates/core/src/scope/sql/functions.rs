//! Which functions a query may call: a table of those known to be harmless for each dialect. What is
//! not in the table is refused unless the token names it, because a function can do anything.

use std::collections::HashSet;
use std::sync::LazyLock;

use sqlparser::ast::{Ident, ObjectName, ObjectNamePart};
use sqlparser::tokenizer::Location;

use super::Dialect;

/// Whether a name is that of a function of PostgreSQL or of an extension it comes with which takes one value
/// and does more than compute: what may not be called as `row.name`. The rest of those that take one are
/// harmless or turn types into texts (`pg_proc` of PostgreSQL 15).
pub(super) fn acts_on_one(name: &str) -> bool {
    const ACT: &str = "binary_upgrade_* brin_desummarize_* brin_summarize_* connectby* crosstab* dblink* \
        gin_clean_pending_list http_delete http_get http_head http_patch http_post http_put lo_* nextval pg_* \
        postgres_fdw_* setseed ts_stat";
    is_one_of(ACT, name) && !is_harmless(Dialect::Postgres, name)
}

/// Whether a name stands in a list, in which one that ends in `*` stands for its family.
fn is_one_of(list: &str, name: &str) -> bool {
    list.split_ascii_whitespace().any(|known| match known.strip_suffix('*') {
        Some(family) => name.starts_with(family),
        None => name == known,
    })
}

/// Whether a function of this name, in lower case and without a schema, is known to be harmless.
pub(super) fn is_harmless(dialect: Dialect, name: &str) -> bool {
    table(dialect).contains(name)
}

/// Whether a name is a function's whose harm is known, in whatever dialect. The table of harmless ones
/// decides; this is asked besides of every name before a parenthesis, wherever the parser put it.
pub(super) fn is_dangerous(dialect: Dialect, name: &str) -> bool {
    let named = is_one_of(DANGEROUS, name);
    named || (name.starts_with("pg_") && !is_harmless(dialect, name))
}

/// Names of fields that PostgreSQL's own row-returning functions have, so that `(each(x)).key` is fine.
/// Any other name after `(…).` may be a function's that is called with what stands in the parentheses.
pub(super) fn is_field(name: &str) -> bool {
    const FIELDS: &str = "alias count description dictionaries dictionary ftype identity key lexeme lexemes name n \
        ndoc nentry object_args object_names path pos positions schema sum token tokid type value weights word x y";
    FIELDS.split_ascii_whitespace().any(|field| field == name)
        || name
            .strip_prefix('f')
            .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// A name's parts as the server compares them: PostgreSQL folds unquoted letters to lower case, the
/// others compare functions and schemas without regard to case. `None` if a part isn't a plain name.
pub(super) fn parts(dialect: Dialect, name: &ObjectName) -> Option<Vec<String>> {
    name.0
        .iter()
        .map(|part| match part {
            ObjectNamePart::Identifier(ident) => Some(folded(dialect, ident)),
            ObjectNamePart::Function(_) => None,
        })
        .collect()
}

/// Where a name begins.
pub(super) fn first_place(name: &ObjectName) -> Location {
    match name.0.first() {
        Some(ObjectNamePart::Identifier(ident)) => ident.span.start,
        Some(ObjectNamePart::Function(_)) | None => Location::empty(),
    }
}

/// One name as the server compares it.
pub(super) fn folded(dialect: Dialect, ident: &Ident) -> String {
    match (dialect, ident.quote_style) {
        (Dialect::Postgres | Dialect::Unknown, Some(_)) => ident.value.clone(),
        _ => ident.value.to_ascii_lowercase(),
    }
}

/// Functions known to write, to wait, to leave the database, or to run text as SQL, and families of
/// such; a name that ends in `*` stands for its family.
const DANGEROUS: &str = "benchmark connectby* cursor_to_xml* database_to_xml* dblink* fsdir \
    fts3_tokenizer get_lock http_* load_extension load_file lo_* loread lowrite query_to_xml* readfile \
    release_lock release_all_locks schema_to_xml* set_config setval sleep sys_e* table_to_xml* ts_rewrite \
    ts_stat writefile xp_*";

fn table(dialect: Dialect) -> &'static HashSet<&'static str> {
    type Table = LazyLock<HashSet<&'static str>>;
    static POSTGRES: Table = LazyLock::new(|| read(include_str!("functions/postgres.txt")));
    static MYSQL: Table = LazyLock::new(|| read(include_str!("functions/mysql.txt")));
    static SQLITE: Table = LazyLock::new(|| read(include_str!("functions/sqlite.txt")));
    match dialect {
        Dialect::Postgres | Dialect::Unknown => &POSTGRES,
        Dialect::MySql => &MYSQL,
        Dialect::Sqlite => &SQLITE,
    }
}

fn read(text: &'static str) -> HashSet<&'static str> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.flat_map(str::split_ascii_whitespace).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_keep_their_names_where_no_function_acts() {
        for name in ["pg_read_file", "pg_sleep", "lo_import", "nextval", "setseed", "dblink"] {
            assert!(acts_on_one(name), "{name}");
        }
        for name in ["id", "name", "http_status", "sleep", "pg_size_pretty", "version", "count"] {
            assert!(!acts_on_one(name), "{name}");
        }
    }

    #[test]
    fn no_function_is_both_harmless_and_dangerous() {
        for dialect in [Dialect::Postgres, Dialect::MySql, Dialect::Sqlite] {
            for name in table(dialect) {
                assert!(!is_dangerous(dialect, name), "{dialect:?} {name}");
                assert_eq!(*name, name.to_ascii_lowercase());
            }
        }
    }

    #[test]
    fn what_writes_waits_or_reaches_out_is_in_no_table() {
        for name in [
            "pg_sleep",
            "pg_sleep_for",
            "pg_terminate_backend",
            "pg_read_file",
            "pg_ls_dir",
            "set_config",
            "nextval",
            "setval",
            "setseed",
            "pg_advisory_lock",
            "pg_notify",
            "txid_current",
            "pg_current_xact_id",
            "query_to_xml",
            "table_to_xml",
            "ts_stat",
            "ts_rewrite",
            "dblink",
            "lo_import",
            "pg_export_snapshot",
            "pg_stat_reset",
            "pg_rotate_logfile",
            "load_file",
            "sleep",
            "benchmark",
            "get_lock",
            "load_extension",
            "readfile",
            "writefile",
            "edit",
            "fsdir",
            "pg_logical_emit_message",
            "pg_create_restore_point",
            "pg_switch_wal",
            "pg_stat_file",
            "currtid2",
            "pg_nextoid",
            "binary_upgrade_set_next_pg_type_oid",
            "pg_import_system_collations",
        ] {
            for dialect in [Dialect::Postgres, Dialect::MySql, Dialect::Sqlite, Dialect::Unknown] {
                assert!(!is_harmless(dialect, name), "{dialect:?} {name}");
            }
        }
    }
}
