//! What each role may do: the owner everything, the runtime's role the transitions, a reader nothing.

use lar_core::approval::Signed;
use lar_core::ledger::{Decision, GrantId, Issuing, LedgerError, Source};
use lar_core::outcome::Verdict;
use tokio_postgres::NoTls;

use crate::server::{connect, new_database, shared};
use crate::support::*;

/// An owner's address, and one of a role that may run with the ledger.
fn owner_and_runtime() -> Option<(String, String)> {
    let owner = new_database()?;
    drop(connect(&owner));
    let database = owner.rsplit('/').next().unwrap();
    let server = shared()?;
    let role = format!("{database}_runtime");
    server.sql(database, &format!("CREATE ROLE {role} LOGIN"));
    let runtime = server.url(&role, database);
    Some((owner, runtime))
}

fn admit(url: &str, how: &str) {
    let (rest, database) = url.rsplit_once('/').unwrap();
    let role = rest.strip_prefix("postgres://").unwrap().split('@').next().unwrap();
    let owner = format!("SET ROLE {database}; SELECT lar.{how}('{role}')");
    shared().unwrap().sql(database, &owner);
}

fn issuing(name: &str) -> Issuing {
    Issuing {
        grant: GrantId::new(name).unwrap(),
        tokens: vec![granted("t", 2)],
        definitions: definitions(),
        expires: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_runtimes_role_runs_and_nothing_else() {
    let Some((owner, runtime)) = owner_and_runtime() else { return };
    let error = crate::server::try_connect(&runtime).await.err().unwrap();
    assert!(error.to_string().contains("lar.admit"), "{error}");
    admit(&runtime, "admit");
    let (owner, ledger) = (connect(&owner), connect(&runtime));
    owner.issue(issuing("g")).await.unwrap();

    // All that a run needs.
    let source = Source::Named {
        grant: GrantId::new("g").unwrap(),
        ledger: Some(ledger.identity().await.unwrap().ledger),
        definitions: definitions(),
    };
    let hold = ledger.open_run(memory_ledger::opening(&run("r"), source)).await.unwrap().hold;
    step(ledger.as_ref(), &hold, 1, START).await.unwrap();
    step(ledger.as_ref(), &hold, 1, finish(Verdict::Succeeded)).await.unwrap();
    ledger.renew_run(&hold).await.unwrap();
    ledger.close_run(closing(&hold)).await.unwrap();
    let own = start(ledger.as_ref(), "own", vec![granted("t", 1)]).await;
    step(ledger.as_ref(), &own, 1, START).await.unwrap();

    // Nothing of what the owner does.
    let lacks = |error: LedgerError| {
        assert!(error.to_string().contains("lacks a right"), "{error}");
    };
    lacks(ledger.issue(issuing("h")).await.unwrap_err());
    lacks(ledger.revoke(&GrantId::new("g").unwrap(), "no").await.unwrap_err());
    lacks(ledger.bump_epoch().await.unwrap_err());
    assert_eq!(owner.grants().await.unwrap().len(), 1);

    // And nothing past the functions: every table, every verb, and every helper.
    let (client, connection) = tokio_postgres::connect(&runtime, NoTls).await.unwrap();
    tokio::spawn(connection);
    let tables = client
        .query(
            "SELECT relname FROM pg_class WHERE relnamespace = 'lar'::regnamespace
            AND relkind = 'r'",
            &[],
        )
        .await
        .unwrap();
    assert!(tables.len() >= 10, "{}", tables.len());
    for table in &tables {
        let table: &str = table.get(0);
        for verb in [
            format!("DELETE FROM lar.{table}"),
            format!("TRUNCATE lar.{table}"),
            format!("INSERT INTO lar.{table} DEFAULT VALUES"),
            format!("DROP TABLE lar.{table}"),
            format!("ALTER TABLE lar.{table} DISABLE TRIGGER ALL"),
            format!("LOCK lar.{table} IN ACCESS EXCLUSIVE MODE"),
        ] {
            assert!(client.batch_execute(&verb).await.is_err(), "{verb}");
        }
    }
    for attempt in [
        "UPDATE lar.records SET bytes = 'x'",
        "UPDATE lar.tokens SET uses_left = granted",
        "UPDATE lar.attempts SET state = 'released'",
        "SELECT lar.recover(r, 1, 1, '{}') FROM lar.runs r",
        "SELECT lar.append(1, 0, 'x', 1, 'x', '{}', 0)",
        "SELECT lar.tick()",
        "SELECT lar.logged(1)",
        "UPDATE lar.log SET size = 0",
        "SELECT lar.integrate('me', 1, 0, '{1}', '{1}', null, 1, '{}', '{}', '{}', 'x', 'x', 1, 'k', null)",
        "SELECT lar.admit('public')",
        "CREATE TABLE lar.mine (a int)",
        "CREATE FUNCTION lar.sha256(bytea) RETURNS bytea LANGUAGE sql AS 'SELECT $1'",
        "CREATE OR REPLACE FUNCTION lar.barrier() RETURNS void LANGUAGE sql AS 'SELECT 1'",
        "SET ROLE postgres",
    ] {
        assert!(client.batch_execute(attempt).await.is_err(), "{attempt}");
    }
    // A function of the caller's own, by the name of one that the ledger calls, is not called.
    let shadow = "CREATE FUNCTION pg_temp.greatest_of() RETURNS int LANGUAGE sql AS 'SELECT 1';
        CREATE FUNCTION pg_temp.sha256(bytea) RETURNS bytea LANGUAGE sql AS 'SELECT ''\\x00''::bytea';
        SET search_path = pg_temp, pg_catalog;
        SELECT lar.renew_run('own', 1)";
    client.batch_execute(shadow).await.unwrap();
    let records = owner.records(&own.run, 1, 9).await.unwrap();
    lar_core::audit::chain::check(&records).unwrap();
}

/// What comes without a hold on the run is what may come from outside, and adds nothing to a run that has
/// ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runtime_without_a_hold_spends_and_writes_nothing() {
    let Some((_, runtime)) = owner_and_runtime() else { return };
    admit(&runtime, "admit");
    let ledger = connect(&runtime);
    let going = start(ledger.as_ref(), "r", vec![granted("t", 2)]).await;
    let ended = start(ledger.as_ref(), "s", vec![granted("t", 2)]).await;
    ledger.close_run(closing(&ended)).await.unwrap();
    let (client, connection) = tokio_postgres::connect(&runtime, NoTls).await.unwrap();
    tokio::spawn(connection);
    for name in ["r", "s"] {
        for (transition, attempt) in
            [("start", "\\x11"), ("reserve", "\\x12"), ("recover", "\\x13")]
        {
            let sql = format!(
                "SELECT code FROM lar.commit(false, '{{{name}}}', '{{NULL}}', '{{x}}',
                    ARRAY['{attempt}'::bytea], '{{t}}', '{{x}}', '{{{transition}}}', '{{NULL}}',
                    '{{60000}}', '{{NULL}}', '{{NULL}}', '{{NULL}}', '{{a}}', '{{b}}', '{{c}}', '{{d}}',
                    '{{NULL}}', '{{NULL}}')"
            );
            let code: Option<String> = client.query_one(&sql, &[]).await.unwrap().get(0);
            assert_eq!(code.as_deref(), Some("run_lost"), "{transition} in {name}");
        }
        // A record alone.
        let sql = format!(
            "SELECT code FROM lar.commit(false, '{{{name}}}', '{{NULL}}', '{{y}}', '{{NULL}}', '{{NULL}}',
                '{{NULL}}', '{{NULL}}', '{{NULL}}', '{{NULL}}', '{{NULL}}', '{{NULL}}', '{{NULL}}',
                '{{a}}', '{{b}}', '{{c}}', '{{d}}', '{{NULL}}', '{{NULL}}')"
        );
        let code: Option<String> = client.query_one(&sql, &[]).await.unwrap().get(0);
        assert_eq!(code.as_deref(), Some("run_lost"), "a record in {name}");
    }
    assert_eq!(ledger.records(&going.run, 1, 9).await.unwrap().len(), 1);
    assert_eq!(ledger.records(&ended.run, 1, 9).await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runtime_that_lies_mints_no_use_and_forges_no_chain() {
    let Some((_, runtime)) = owner_and_runtime() else { return };
    admit(&runtime, "admit");
    let ledger = connect(&runtime);
    let hold = start(ledger.as_ref(), "r", vec![granted("t", 1)]).await;
    step(ledger.as_ref(), &hold, 1, START).await.unwrap();
    let (client, connection) = tokio_postgres::connect(&runtime, NoTls).await.unwrap();
    tokio::spawn(connection);
    let now = "(floor(extract(epoch FROM clock_timestamp()) * 1000))::bigint";
    let open = "(SELECT array_agg(id) FROM lar.attempts)";
    for (code, lie) in [
        // A record that doesn't follow the last one, and one too few.
        (
            "LR003",
            format!(
                "SELECT lar.close_run({now}, 'r', 2, 1, 'complete', true, 'n', {open},
                 ARRAY['{{}}', '{{\"prev\":\"00\",\"seq\":3,\"timestamp\":\"x\"}}']::bytea[],
                 ARRAY['t'], ARRAY[0], null)"
            ),
        ),
        (
            "LR003",
            format!(
                "SELECT lar.close_run({now}, 'r', 2, 1, 'complete', true, 'n', {open}, '{{}}', '{{}}',
                 '{{}}', null)"
            ),
        ),
        // A run that is closed without sealing what was started.
        (
            "LR002",
            format!(
                "SELECT lar.close_run({now}, 'r', 2, 1, 'complete', true, 'n', '{{}}',
                 ARRAY['{{}}'::bytea], '{{}}', '{{}}', null)"
            ),
        ),
        // Accounts that say otherwise than the uses.
        (
            "LR002",
            format!(
                "SELECT lar.close_run({now}, 'r', 2, 1, 'complete', true, 'n', {open},
                 ARRAY['{{}}', '{{}}']::bytea[], ARRAY['t'], ARRAY[1], null)"
            ),
        ),
        // An outcome that isn't one: the state of a use that could be given back.
        (
            "LR003",
            "SELECT * FROM lar.commit(false, ARRAY['r'], ARRAY[1], ARRAY['n'::bytea],
                 (SELECT array_agg(id) FROM lar.attempts), ARRAY['t'], ARRAY['x'::bytea],
                 ARRAY['finish'], ARRAY[1], ARRAY[null::bigint], ARRAY[null::bigint],
                 ARRAY['reserved'], ARRAY[null], ARRAY['{\"prev\":\"'], ARRAY['\",\"seq\":'],
                 ARRAY[',\"timestamp\":\"'], ARRAY['\"}'], ARRAY[null], ARRAY[null::bytea])"
                .to_owned(),
        ),
        // A run that is taken from a living holder.
        (
            "LR002",
            format!(
                "SELECT lar.take_run({now}, 'r', 2, 1, 'somebody', 'me', 1, 'n', {open},
                 ARRAY['{{}}', '{{}}']::bytea[])"
            ),
        ),
        // A run that is opened again, with fresh uses.
        (
            "LR002",
            format!(
                "SELECT lar.open_run({now}, 'r', 'me', 't', 1, 'n', 'x', null, '{{}}', ARRAY['t'],
                 ARRAY['x'::bytea], ARRAY[9::bigint], ARRAY[null::bigint], ARRAY[false],
                 ARRAY[false], null, null)"
            ),
        ),
    ] {
        let error = client.batch_execute(&lie).await.unwrap_err();
        assert_eq!(error.code().map(|code| code.code()), Some(code), "{error:?} {lie}");
    }
    let found = conflict(step(ledger.as_ref(), &hold, 2, START).await);
    assert_eq!(found, lar_core::ledger::Conflict::NoUseLeft);
    let records = ledger.records(&hold.run, 1, 9).await.unwrap();
    assert_eq!(lar_core::audit::chain::check(&records).unwrap().records, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_reads() {
    let Some((owner, reader)) = owner_and_runtime() else { return };
    let owner = connect(&owner);
    let hold = start(owner.as_ref(), "r", vec![granted("t", 1)]).await;
    admit(&reader, "admit_reader");
    let ledger = connect(&reader);
    assert_eq!(ledger.runs().await.unwrap().len(), 1);
    assert_eq!(ledger.records(&hold.run, 1, 9).await.unwrap().len(), 1);
    let error = step(ledger.as_ref(), &hold, 1, START).await.unwrap_err();
    assert!(error.to_string().contains("lacks a right"), "{error}");
    // What the model said and read is not for whoever may read the record.
    let error = ledger.journal(&hold.run, 1, 9).await.unwrap_err();
    assert!(error.to_string().contains("lacks a right"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approver_signs_and_does_nothing_else() {
    let Some((owner, approver)) = owner_and_runtime() else { return };
    admit(&approver, "admit_approver");
    let (owner, ledger) = (connect(&owner), connect(&approver));
    let hold = start(owner.as_ref(), "r", vec![with_approval("t", 1)]).await;
    step(owner.as_ref(), &hold, 1, HOLD).await.unwrap();
    let signed = Signed { statement: "yes".to_owned(), signature: "signed".to_owned() };
    let attempt = attempt(&hold.run, 1);
    let decision = Decision { run: hold.run.clone(), attempt, signed: signed.clone() };
    assert_eq!(ledger.decide(decision).await, Ok(1));
    let heard = owner.decisions(&hold.run, &attempt).await.unwrap();
    assert_eq!(heard.signed, [signed]);
    assert_eq!(ledger.records(&hold.run, 1, 9).await.unwrap().len(), 2);
    for refused in [
        step(ledger.as_ref(), &hold, 2, HOLD).await.err(),
        ledger.renew_run(&hold).await.err(),
        ledger.open_run(opening("mine", vec![granted("t", 1)])).await.err(),
        ledger.close_run(closing(&hold)).await.err(),
        ledger.journal(&hold.run, 1, 9).await.err(),
    ] {
        let refused = refused.expect("an approver did what only a run does").to_string();
        assert!(refused.contains("lacks a right"), "{refused}");
    }
}
