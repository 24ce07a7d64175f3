//! Databases that aren't what a ledger needs: each is refused with what to do.

use lar_core::ledger::Conflict;
use tokio_postgres::NoTls;

use crate::server::{connect, new_database, shared};
use crate::support::*;

async fn refusal(url: &str) -> String {
    crate::server::try_connect(url).await.err().unwrap().to_string()
}

fn database(url: &str) -> &str {
    url.rsplit('/').next().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_ledger_is_left_alone() {
    let Some(url) = new_database() else { return };
    let server = shared().unwrap();
    server.sql(
        database(&url),
        "CREATE SCHEMA lar; CREATE TABLE lar.mine (a int);
        GRANT USAGE ON SCHEMA lar TO PUBLIC",
    );
    let error = refusal(&url).await;
    assert!(error.contains("isn't a ledger"), "{error}");
    assert_eq!(server.sql(database(&url), "SELECT count(*) FROM lar.mine"), "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_ledger_is_refused() {
    let Some(url) = new_database() else { return };
    drop(connect(&url));
    shared().unwrap().sql(database(&url), "UPDATE lar.ledger SET version = 99");
    let error = refusal(&url).await;
    assert!(error.contains("newer version"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_ledger_is_brought_up_by_its_owner_and_by_nobody_else() {
    let Some(url) = new_database() else { return };
    let ledger = connect(&url);
    let hold = start(ledger.as_ref(), "r", vec![granted("t", 2)]).await;
    step(ledger.as_ref(), &hold, 1, START).await.unwrap();
    let server = shared().unwrap();
    let name = database(&url);
    let role = format!("{name}_agents");
    server.sql("postgres", &format!("CREATE ROLE {role} LOGIN"));
    // As version 1 would have it: other functions of the same names, and rights on them.
    server.sql(
        name,
        &format!(
            "SET ROLE {name}; SELECT lar.admit('{role}');
            {first};
            CREATE OR REPLACE FUNCTION lar.barrier() RETURNS void LANGUAGE sql AS 'SELECT 1/0'",
            first = super::FIRST_VERSION
        ),
    );
    let runtime = server.url(&role, name);
    let error = refusal(&runtime).await;
    assert!(error.contains("older version") && error.contains("owner"), "{error}");
    drop(ledger);
    let owner = connect(&url);
    let summary = owner.runs().await.unwrap().remove(0);
    assert_eq!(summary.records, 2, "what was recorded is still there");
    // The role that was let in before is let in still.
    let ledger = connect(&runtime);
    step(ledger.as_ref(), &hold, 2, START).await.unwrap();
    assert_eq!(conflict(step(ledger.as_ref(), &hold, 3, START).await), Conflict::NoUseLeft);
    let barrier = server.sql(name, &format!("SET ROLE {role}; SELECT lar.barrier()"));
    assert_eq!(barrier, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeatable_reads_by_default_see_a_revocation_all_the_same() {
    let Some(url) = new_database() else { return };
    let name = database(&url);
    let set =
        format!("ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'");
    shared().unwrap().sql(name, &set);
    let ledger = connect(&url);
    let hold = start(ledger.as_ref(), "r", vec![granted("t", 2)]).await;
    let admin = shared().unwrap().url("postgres", name);
    let (client, connection) = tokio_postgres::connect(&admin, NoTls).await.unwrap();
    tokio::spawn(connection);
    // What a revocation does, step by step.
    client.batch_execute("BEGIN; SELECT FROM lar.tokens FOR NO KEY UPDATE").await.unwrap();
    let late = tokio::spawn({
        let (ledger, hold) = (std::sync::Arc::clone(&ledger), hold.clone());
        async move { step(ledger.as_ref(), &hold, 1, START).await }
    });
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    client
        .batch_execute("UPDATE lar.grants SET revoked_at = 1, revoked_why = ''; COMMIT")
        .await
        .unwrap();
    assert_eq!(conflict(late.await.unwrap()), Conflict::Revoked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_may_not_make_one_is_told_who_may() {
    let Some(url) = new_database() else { return };
    let server = shared().unwrap();
    let role = format!("{}_other", database(&url));
    server.sql("postgres", &format!("CREATE ROLE {role} LOGIN"));
    let error = refusal(&server.url(&role, database(&url))).await;
    assert!(error.contains("let the database's owner open it once"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_in_another_encoding_is_refused() {
    let Some(url) = new_database() else { return };
    let server = shared().unwrap();
    let name = format!("{}_latin", database(&url));
    server.sql("postgres", &format!("CREATE DATABASE {name} ENCODING 'LATIN1' TEMPLATE template0"));
    let error = refusal(&server.url("postgres", &name)).await;
    assert!(error.contains("UTF8"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_may_forget_is_refused_or_corrected() {
    let options = pgserver::Options::default().set("fsync", "off");
    let Some(server) = pgserver::start_with_or_skip(options) else { return };
    let error = refusal(&server.url("postgres", "postgres")).await;
    assert!(error.contains("`fsync` off"), "{error}");
    drop(server);
    // A default of the database that commits without waiting doesn't hold for the ledger: what a
    // crash right after an acknowledgement leaves has it.
    let options = pgserver::Options::default()
        .set("synchronous_commit", "off")
        .set("wal_writer_delay", "10s");
    let Some(server) = pgserver::start_with_or_skip(options) else { return };
    let ledger = connect(&server.url("postgres", "postgres"));
    let hold = start(ledger.as_ref(), "r", vec![granted("t", 1)]).await;
    step(ledger.as_ref(), &hold, 1, START).await.unwrap();
    tokio::task::block_in_place(|| {
        server.crash();
        server.start_again();
    });
    assert_eq!(conflict(step(ledger.as_ref(), &hold, 2, START).await), Conflict::NoUseLeft);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_runs_behind_is_refused() {
    let Some(url) = new_database() else { return };
    let ledger = connect(&url);
    let hold = start(ledger.as_ref(), "r", vec![granted("t", 1)]).await;
    // The ledger has seen a time an hour from now.
    shared().unwrap().sql(database(&url), "UPDATE lar.clock SET millis = millis + 3600000");
    let error = step(ledger.as_ref(), &hold, 1, START).await.unwrap_err();
    assert!(error.to_string().contains("clock is 3"), "{error}");
    let error = ledger.open_run(opening("other", vec![])).await.unwrap_err();
    assert!(error.to_string().contains("clock is 3"), "{error}");
    shared().unwrap().sql(database(&url), "UPDATE lar.clock SET millis = millis - 3600000");
    step(ledger.as_ref(), &hold, 1, START).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serializable_by_default_is_as_good() {
    let Some(url) = new_database() else { return };
    let name = database(&url);
    shared().unwrap().sql(
        name,
        &format!("ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'"),
    );
    let (one, two) = (connect(&url), connect(&url));
    let grant = lar_core::ledger::GrantId::new("g").unwrap();
    let (tokens, definitions, expires) = (vec![granted("t", 9)], definitions(), None);
    let issuing = lar_core::ledger::Issuing { grant: grant.clone(), tokens, definitions, expires };
    one.issue(issuing).await.unwrap();
    let tasks: Vec<_> = (0..24u64)
        .map(|task| {
            let ledger = std::sync::Arc::clone(if task % 2 == 0 { &one } else { &two });
            let grant = grant.clone();
            tokio::spawn(async move {
                let definitions = crate::support::definitions();
                let source = lar_core::ledger::Source::Named { grant, ledger: None, definitions };
                let opening = memory_ledger::opening(&run(&format!("r{task}")), source);
                let hold = ledger.open_run(opening).await.unwrap().hold;
                match step(ledger.as_ref(), &hold, 1, START).await {
                    Ok(_) => 1,
                    other => {
                        assert_eq!(conflict(other), Conflict::NoUseLeft);
                        0
                    }
                }
            })
        })
        .collect();
    let mut spent = 0;
    for task in tasks {
        spent += task.await.unwrap();
    }
    assert_eq!(spent, 9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_open_an_empty_database_at_once_make_one_ledger() {
    let Some(url) = new_database() else { return };
    let opening = || {
        let url = url.clone();
        tokio::spawn(async move {
            crate::server::try_connect(&url).await.unwrap().identity().await.unwrap()
        })
    };
    let (one, two) = (opening(), opening());
    assert_eq!(one.await.unwrap(), two.await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_someone_cut_out_or_changed_shows() {
    let Some(url) = new_database() else { return };
    let ledger = connect(&url);
    let hold = start(ledger.as_ref(), "r", vec![granted("t", 1)]).await;
    step(ledger.as_ref(), &hold, 1, START).await.unwrap();
    ledger.commit(note(&hold)).await.unwrap();
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
        .batch_execute("UPDATE lar.records SET bytes = bytes || ' ' WHERE seq = 2")
        .await
        .unwrap();
    let records = ledger.records(&hold.run, 1, 9).await.unwrap();
    assert!(lar_core::audit::chain::check(&records).is_err());
    client.batch_execute("UPDATE lar.attempts SET state = 'nonsense'").await.unwrap();
    let error = ledger.attempts(&hold.run).await.unwrap_err();
    assert!(error.to_string().contains("damaged"), "{error}");
}
