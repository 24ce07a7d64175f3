//! The corpus of SQL on a real PostgreSQL: what the judge allows is a read for the server too.

use linear_agentics::scope::sql::{Dialect, SqlScope};

fn corpus() -> toml::Table {
    include_str!("../../../../tests/corpus/sql.toml").parse().expect("the corpus is TOML")
}

/// What the judge allows is what the server itself takes for a read: every honest query runs as a role
/// that may only read, in a read-only transaction.
#[test]
fn what_is_allowed_runs_as_a_read_on_a_real_server() {
    let Some(server) = pgserver::start_or_skip() else { return };
    server.sql("postgres", include_str!("../../../../tests/corpus/sql-schema.sql"));
    let (mut ran, mut wrong) = (0, Vec::new());
    let corpus = corpus();
    let runs = |group: &&toml::Value| {
        let dialect = group.get("dialect").and_then(toml::Value::as_str);
        group.get("runs").is_some() && dialect == Some("postgres")
    };
    for group in corpus["group"].as_array().unwrap().iter().filter(runs) {
        for text in group["honest"].as_array().unwrap() {
            let text = text.as_str().unwrap();
            let mut psql = server.program("psql");
            psql.args(["-X", "-q", "-U", "corpus_reader", "-d", "postgres", "-c", text]);
            psql.env("PGOPTIONS", "-c default_transaction_read_only=on -c statement_timeout=5s");
            let output = psql.output().expect("psql starts");
            ran += 1;
            if !output.status.success() {
                let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                wrong.push(format!("{text}\n    {why}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(ran >= 100, "{ran} queries ran");
}

/// The table of harmless functions against the server's own word: one that it calls volatile must stand
/// in the list below, which was reviewed name by name.
#[test]
fn no_function_that_the_server_calls_volatile_is_taken_for_harmless_unseen() {
    const REVIEWED: &str = "clock_timestamp current_query currval gen_random_uuid lastval pg_blocking_pids \
        pg_collation_actual_version pg_current_wal_flush_lsn pg_current_wal_insert_lsn pg_current_wal_lsn \
        pg_database_collation_actual_version pg_database_size pg_get_wal_replay_pause_state \
        pg_indexes_size pg_is_in_recovery pg_is_wal_replay_paused pg_jit_available \
        pg_last_committed_xact pg_last_wal_receive_lsn pg_last_wal_replay_lsn \
        pg_last_xact_replay_timestamp pg_lock_status pg_notification_queue_usage pg_partition_ancestors \
        pg_partition_tree pg_prepared_xact pg_relation_size pg_safe_snapshot_blocking_pids \
        pg_sequence_last_value pg_table_size pg_tablespace_size pg_total_relation_size \
        pg_xact_commit_timestamp pg_xact_status random random_normal timeofday txid_status uuidv4 uuidv7 \
        array_sample array_shuffle \
        pg_control_checkpoint pg_control_init pg_control_recovery pg_control_system \
        pg_get_backend_memory_contexts pg_get_multixact_members pg_get_shmem_allocations \
        pg_get_wal_resource_managers pg_replication_origin_progress pg_show_replication_origin_status \
        pg_stat_get_recovery_prefetch pg_stat_get_xact_blocks_fetched pg_stat_get_xact_blocks_hit \
        pg_stat_get_xact_function_calls pg_stat_get_xact_function_self_time \
        pg_stat_get_xact_function_total_time pg_stat_get_xact_numscans pg_stat_get_xact_tuples_deleted \
        pg_stat_get_xact_tuples_fetched pg_stat_get_xact_tuples_hot_updated \
        pg_stat_get_xact_tuples_inserted pg_stat_get_xact_tuples_returned \
        pg_stat_get_xact_tuples_updated pg_stat_have_stats";
    let Some(server) = pgserver::start_or_skip() else { return };
    let volatile = server.sql(
        "postgres",
        "SELECT DISTINCT proname FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace \
         AND provolatile = 'v'",
    );
    let scope = SqlScope::new(Dialect::Postgres, &["SELECT".into()], &[]).expect("a scope");
    let mut seen = 0;
    for name in volatile.split_whitespace() {
        seen += 1;
        let allowed = scope.permits(&format!("SELECT {name}(1)")).is_ok();
        let reviewed = REVIEWED.split_whitespace().any(|known| known == name);
        assert!(!allowed || reviewed, "`{name}` is volatile and allowed");
        // What can be called can be called with what stands before a point as well.
        let field = scope.permits(&format!("SELECT (1).{name}")).is_ok();
        assert!(!field || reviewed, "`(1).{name}` is volatile and allowed");
    }
    assert!(seen > 100, "{seen} names");
}
