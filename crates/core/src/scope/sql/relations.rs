//! Tables that no scope gives away by a statement's kind alone: where servers keep passwords, keys and
//! what stands in their files. A role may be allowed to read them; an agent that was told to read orders
//! has no use for them.

use sqlparser::ast::{JoinOperator, TableWithJoins};

use super::functions::is_harmless;
use super::{Dialect, is_one_of};

/// Whether a table, named by the parts of its name as the server compares them, holds such secrets.
pub(super) fn is_secret(dialect: Dialect, parts: &[String]) -> bool {
    let Some(name) = parts.last() else {
        return true;
    };
    let schema = parts.iter().rev().nth(1).map(String::as_str);
    match dialect {
        Dialect::Postgres | Dialect::Unknown => is_one_of(name, POSTGRES),
        Dialect::MySql => {
            (schema == Some("mysql")
                && !is_one_of(name, PLAIN)
                && !name.starts_with("help_")
                && !name.starts_with("time_zone"))
                || (schema == Some("performance_schema")
                    && is_one_of(
                        name,
                        "replication_connection_configuration user_variables_by_thread variables_by_thread",
                    ))
                || (schema.is_none() && is_one_of(name, "global_priv user_attributes"))
        }
        // Virtual tables that read files or the file's pages, and pragmas that act, reached as tables.
        Dialect::Sqlite => {
            is_one_of(name, "fsdir zipfile readfile lsdir sqlite_dbpage")
                || (name.starts_with("pragma_") && !is_harmless(dialect, name))
        }
    }
}

/// Tables of MySQL's own schema that say how tables and indexes are made up, and which functions there are.
const PLAIN: &str = "engine_cost func gtid_executed gtid_slave_pos innodb_index_stats innodb_table_stats server_cost";

/// Password hashes, host rules, credentials of foreign servers and subscriptions, files' contents, and
/// samples of every column.
const POSTGRES: &str = "pg_authid pg_shadow pg_hba_file_rules pg_ident_file_mappings pg_file_settings \
    pg_user_mapping pg_user_mappings pg_subscription pg_largeobject pg_statistic pg_statistic_ext_data \
    user_mapping_options _pg_user_mappings";

/// Whether a table in a `FROM` is joined in ways that the servers know.
pub(super) fn is_plain_join(table: &TableWithJoins) -> bool {
    table.joins.iter().all(|join| {
        !join.global
            && matches!(
                join.join_operator,
                JoinOperator::Join(_)
                    | JoinOperator::Inner(_)
                    | JoinOperator::Left(_)
                    | JoinOperator::LeftOuter(_)
                    | JoinOperator::Right(_)
                    | JoinOperator::RightOuter(_)
                    | JoinOperator::FullOuter(_)
                    | JoinOperator::CrossJoin(_)
                    | JoinOperator::StraightJoin(_)
            )
    })
}
