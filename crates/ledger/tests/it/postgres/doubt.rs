//! What is in doubt stays in doubt until it is looked up: whatever comes between a lost answer and the
//! next one, nothing is made twice and nothing is acknowledged to who has lost it.

use std::sync::Arc;
use std::time::Duration;

use lar_core::audit::chain::check;
use lar_core::audit::record::{Body, ErrorRecord};
use lar_core::ledger::{
    Conflict, Entry, GrantId, Hold, Issuing, Ledger, Source, Taking, Transition, UseState,
};
use lar_core::outcome::Verdict;
use tokio_postgres::{Client, NoTls};

use super::proxy::{Moment, Proxy};
use crate::server::{connect, new_database, shared};
use crate::support::*;

/// A ledger behind a proxy, its address without the proxy, and the superuser in its database.
async fn through_a_proxy() -> Option<(Proxy, Arc<dyn Ledger>, String, Client)> {
    let url = new_database()?;
    let server = shared()?;
    let proxy = Proxy::start(server.socket());
    let ledger = connect(&proxy.url(&url));
    let admin = server.url("postgres", url.rsplit('/').next().unwrap());
    let (client, connection) = tokio_postgres::connect(&admin, NoTls).await.unwrap();
    tokio::spawn(connection);
    Some((proxy, ledger, url, client))
}

fn noted(hold: &Hold, message: &str) -> Entry {
    let record = Body::Error(ErrorRecord {
        token_name: "t".into(),
        error_type: "TokenScopeError".into(),
        message: message.into(),
        attempt: None,
        input: None,
    });
    Entry::note(hold.clone(), record)
}

/// Sends one record alone and two together, of which the answer is lost.
async fn lose_a_batch(
    proxy: &Proxy,
    ledger: &Arc<dyn Ledger>,
    hold: &Hold,
) -> Vec<tokio::task::JoinHandle<u64>> {
    let first = proxy.hold("the-first");
    let send = |message: &'static str| {
        let (ledger, hold) = (Arc::clone(ledger), hold.clone());
        tokio::spawn(async move { ledger.commit(noted(&hold, message)).await.unwrap().seq })
    };
    let mut sent = vec![send("the-first")];
    tokio::task::block_in_place(|| first.arrived());
    sent.extend([send("the-second"), send("the-third")]);
    tokio::time::sleep(Duration::from_millis(200)).await;
    proxy.cut("the-third", Moment::BeforeTheAnswer);
    first.go_on();
    sent
}

async fn seqs(sent: Vec<tokio::task::JoinHandle<u64>>) -> Vec<u64> {
    let mut seqs = Vec::new();
    for one in sent {
        seqs.push(one.await.unwrap());
    }
    seqs.sort_unstable();
    seqs
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_is_split_after_a_lost_answer_is_not_made_twice() {
    let Some((proxy, ledger, _, admin)) = through_a_proxy().await else { return };
    let hold = start(ledger.as_ref(), "r", vec![]).await;
    // The first time that it is asked what was made, an error comes back, as of a full disk.
    let fail_once = "CREATE SEQUENCE public.calls;
        CREATE FUNCTION public.fail_once() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
        BEGIN
            IF nextval('public.calls') = 1 THEN
                RAISE EXCEPTION 'no space' USING ERRCODE = '53100';
            END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER fail_once BEFORE UPDATE ON lar.clock FOR EACH ROW
            WHEN (OLD.millis = NEW.millis) EXECUTE FUNCTION public.fail_once()";
    admin.batch_execute(fail_once).await.unwrap();
    let sent = lose_a_batch(&proxy, &ledger, &hold).await;
    assert_eq!(seqs(sent).await, [2, 3, 4]);
    assert_eq!(proxy.cuts(), 1);
    let calls: i64 =
        admin.query_one("SELECT last_value FROM public.calls", &[]).await.unwrap().get(0);
    assert!(calls >= 2, "it was asked what was made, together and then one by one");
    let records = ledger.records(&hold.run, 1, 100).await.unwrap();
    assert_eq!(check(&records).unwrap().records, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_cancelled_is_made_again_and_its_doubt_stays() {
    let Some((proxy, ledger, _, admin)) = through_a_proxy().await else { return };
    let hold = start(ledger.as_ref(), "r", vec![]).await;
    // Whoever asks what was made waits, and is cancelled by the operator.
    admin.batch_execute("BEGIN; SELECT FROM lar.clock FOR UPDATE").await.unwrap();
    let sent = lose_a_batch(&proxy, &ledger, &hold).await;
    let cancel = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let mut cancelled = 0i64;
    for _ in 0..200 {
        // What is seen of the others stays as it was first seen in a transaction, unless it is cleared.
        admin.batch_execute("SELECT pg_stat_clear_snapshot()").await.unwrap();
        cancelled = admin.query_one(cancel, &[]).await.unwrap().get(0);
        if cancelled > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(cancelled, 1);
    tokio::time::sleep(Duration::from_millis(50)).await;
    admin.batch_execute("COMMIT").await.unwrap();
    assert_eq!(seqs(sent).await, [2, 3, 4]);
    let records = ledger.records(&hold.run, 1, 100).await.unwrap();
    assert_eq!(check(&records).unwrap().records, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_is_answered_while_the_server_goes_away_is_looked_up() {
    let Some((proxy, ledger, _, admin)) = through_a_proxy().await else { return };
    let hold = start(ledger.as_ref(), "r", vec![granted("t", 9)]).await;
    // As a server warns whose standby may not have what it commits.
    let warn = "CREATE FUNCTION public.warn() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE WARNING 'not on the standby'; RETURN NEW; END $$;
        CREATE TRIGGER warn BEFORE INSERT ON lar.attempts FOR EACH ROW EXECUTE FUNCTION public.warn()";
    admin.batch_execute(warn).await.unwrap();
    for turn in 1..=3 {
        proxy.cut("start", Moment::AfterTheAnswer);
        let receipt = step(ledger.as_ref(), &hold, turn, START).await.unwrap();
        assert_eq!((receipt.seq, u64::from(receipt.uses_left)), (turn + 1, 9 - turn));
        assert_eq!(u64::from(proxy.cuts()), turn);
    }
    let records = ledger.records(&hold.run, 1, 100).await.unwrap();
    assert_eq!(check(&records).unwrap().records, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_is_found_after_the_run_was_taken_over_is_not_acknowledged() {
    let Some((proxy, ledger, url, admin)) = through_a_proxy().await else { return };
    let hold = start(ledger.as_ref(), "r", vec![granted("t", 2)]).await;
    admin.batch_execute("BEGIN; SELECT FROM lar.clock FOR UPDATE").await.unwrap();
    proxy.cut("start", Moment::BeforeTheAnswer);
    let late = tokio::spawn({
        let (ledger, hold) = (Arc::clone(&ledger), hold.clone());
        async move { step(ledger.as_ref(), &hold, 1, START).await }
    });
    let other = connect(&url);
    let summary = loop {
        let summary = other.runs().await.unwrap().remove(0);
        if summary.records == 2 {
            break summary;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let taking = Taking {
        run: hold.run.clone(),
        owner: "another".into(),
        lease_ms: 60_000,
        gone: Some(summary.owner),
        definitions: None,
        runner: None,
    };
    other.take_run(taking).await.unwrap();
    admin.batch_execute("COMMIT").await.unwrap();
    // It was made, and the run's new holder knows that nobody can tell what came of it.
    assert_eq!(conflict(late.await.unwrap()), Conflict::RunLost);
    let unknown = UseState::Ended { fence: 1, verdict: Verdict::Unknown };
    assert_eq!(state(other.as_ref(), &hold.run, 1).await, unknown);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_under_way_is_stopped_by_a_revocation_that_comes_before_it() {
    let Some((proxy, revoking, url, _)) = through_a_proxy().await else { return };
    let ledger = connect(&url);
    let grant = GrantId::new("g").unwrap();
    let tokens = vec![granted("t", 5), with_approval("held", 1)];
    let issuing =
        Issuing { grant: grant.clone(), tokens, definitions: definitions(), expires: None };
    ledger.issue(issuing).await.unwrap();
    let source = Source::Named { grant: grant.clone(), ledger: None, definitions: definitions() };
    let hold = ledger.open_run(memory_ledger::opening(&run("r"), source)).await.unwrap().hold;
    let held = step_on(ledger.as_ref(), &hold, "held", 1, HOLD).await.unwrap();
    step_on(ledger.as_ref(), &hold, "held", 1, approve(&held)).await.unwrap();

    let paused = proxy.hold("UPDATE lar.grants");
    let revocation = tokio::spawn({
        let (ledger, grant) = (Arc::clone(&revoking), grant.clone());
        async move { ledger.revoke(&grant, "a leak").await.unwrap() }
    });
    tokio::task::block_in_place(|| paused.arrived());
    let begin = |token: &'static str, turn, transition| {
        let (ledger, hold) = (Arc::clone(&ledger), hold.clone());
        tokio::spawn(async move { step_on(ledger.as_ref(), &hold, token, turn, transition).await })
    };
    let first = begin("held", 1, Transition::Start { held: Some(held.fence) });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let second = begin("t", 2, START);
    tokio::time::sleep(Duration::from_millis(300)).await;
    paused.go_on();
    assert!(revocation.await.unwrap().revoked.is_some());
    assert_eq!(conflict(second.await.unwrap()), Conflict::Revoked);
    assert_eq!(conflict(first.await.unwrap()), Conflict::Revoked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_that_is_issued_while_an_epoch_begins_is_issued_in_the_new_one() {
    let Some((proxy, issuing, url, _)) = through_a_proxy().await else { return };
    let other = connect(&url);
    let paused = proxy.hold("INSERT INTO lar.grants");
    let grant = GrantId::new("g").unwrap();
    let issued = tokio::spawn({
        let (tokens, definitions) = (vec![granted("t", 1)], definitions());
        let grant = Issuing { grant: grant.clone(), tokens, definitions, expires: None };
        async move { issuing.issue(grant).await }
    });
    tokio::task::block_in_place(|| paused.arrived());
    other.bump_epoch().await.unwrap();
    paused.go_on();
    assert_eq!(issued.await.unwrap().unwrap().epoch, 2);
    let found = other.grant(&grant).await.unwrap().unwrap();
    assert_eq!((found.epoch, found.tokens.len()), (2, 1));
}
