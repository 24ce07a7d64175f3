//! The signed log over PostgreSQL: put together by whichever host leads, and never forked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lar_core::audit::checkpoint::Checkpoint;
use lar_core::audit::log::{self, Log, NewKey, Signers, Signing};
use lar_core::audit::note::{KeyKind, KeySigner, Note, NoteKey, Signed, SignerError};
use lar_core::audit::tree::{leaf_hash, verify_consistency, verify_inclusion};
use lar_core::ledger::Ledger;
use lar_core::outcome::Verdict;
use lar_ledger::{Address, Environment};

use crate::server::new_database;
use crate::support::*;

fn secret(epoch: u64, host: u8) -> ed25519_dalek::SigningKey {
    ed25519_dalek::SigningKey::from_bytes(&[16 * host + epoch as u8; 32])
}

fn key(origin: &str, epoch: u64) -> NoteKey {
    NoteKey::new(origin, KeyKind::Ed25519, secret(epoch, 0).verifying_key()).unwrap()
}

/// A host with its own switch: off, it has no key.
fn host(host: u8, on: &Arc<AtomicBool>) -> Signers {
    let on = Arc::clone(on);
    Arc::new(move |origin, epoch, _| {
        if !on.load(Ordering::SeqCst) {
            return Err(SignerError("it has no key".into()));
        }
        let signer = KeySigner::new(origin, KeyKind::Ed25519, secret(epoch, host)).unwrap();
        Ok(Signing { signer: Arc::new(signer), certificate: None })
    })
}

fn on() -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(true))
}

async fn signed(url: &str, signers: Signers) -> Arc<dyn Ledger> {
    let address = Address::parse(url, &Environment::default()).unwrap();
    lar_ledger::connect_signed(address, signers, None).await.unwrap()
}

async fn signed_head(log: &dyn Log, epoch: u64) -> log::Head {
    let head = log.head().await.unwrap();
    let note = Note::parse(head.checkpoint.as_ref().unwrap()).unwrap();
    assert_eq!(key(&head.origin, epoch).check(&note), Signed::Valid { time: None });
    let checkpoint = Checkpoint::parse(note.text()).unwrap();
    assert_eq!((checkpoint.size, checkpoint.root), (head.size, head.root));
    head
}

/// Every record of these runs is in the log once, in its order, and can be proved.
async fn holds(ledger: &dyn Ledger, runs: &[String]) {
    let log = ledger.log().unwrap();
    for name in runs {
        let records = ledger.records(&run(name), 1, 10_000).await.unwrap();
        log.include(&run(name), records.len() as u64).await.unwrap();
    }
    let head = log.head().await.unwrap();
    let entries = log.entries(0, u64::MAX >> 1).await.unwrap();
    assert_eq!(entries.len() as u64, head.size);
    let mut all = 0;
    for name in runs {
        let records = ledger.records(&run(name), 1, 10_000).await.unwrap();
        let places = log.positions(&run(name), 1, 10_000).await.unwrap();
        assert!(places.is_sorted() && places.len() == records.len());
        for (record, place) in records.iter().zip(places) {
            assert_eq!(entries[place.unwrap() as usize], record.bytes);
            all += 1;
        }
    }
    assert_eq!(all, head.size);
    let chosen = |at: &u64| at.is_multiple_of(61) || (at % 256).abs_diff(128) > 126;
    for (at, bytes) in (0u64..).zip(&entries).filter(|(at, _)| chosen(at)) {
        let proof = log::prove_inclusion(log, at, head.size).await.unwrap();
        verify_inclusion(&leaf_hash(bytes), at, head.size, &proof, &head.root).unwrap();
        let older = log::frontier(log, at).await.unwrap().root();
        let proof = log::prove_consistency(log, at, head.size).await.unwrap();
        verify_consistency(at, &older, head.size, &head.root, &proof).unwrap();
    }
}

/// A run of `spends` uses from its beginning to its end.
async fn whole_run(ledger: &dyn Ledger, name: &str, spends: u64) {
    let hold = start(ledger, name, vec![granted("t", 1_000)]).await;
    for turn in 1..=spends {
        step(ledger, &hold, turn, START).await.unwrap();
        step(ledger, &hold, turn, finish(Verdict::Succeeded)).await.unwrap();
    }
    ledger.close_run(closing(&hold)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_committed_is_in_the_signed_log_within_a_second() {
    let Some(url) = new_database() else { return };
    let ledger = signed(&url, host(0, &on())).await;
    assert_eq!(
        ledger.log().unwrap().head().await.unwrap().checkpoint,
        None,
        "opening signs nothing"
    );
    whole_run(ledger.as_ref(), "one", 3).await;
    let begun = Instant::now();
    let log = ledger.log().unwrap();
    // Nobody asks for it, and it is there.
    while log.head().await.unwrap().size < 8 {
        assert!(begun.elapsed() < Duration::from_secs(5), "the log stays behind");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    signed_head(log, 1).await;
    holds(ledger.as_ref(), &["one".into()]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_that_write_at_once_make_one_log() {
    let Some(url) = new_database() else { return };
    let hosts = [signed(&url, host(0, &on())).await, signed(&url, host(0, &on())).await];
    let mut names = Vec::new();
    let mut tasks = Vec::new();
    for n in 0..12 {
        let (name, ledger) = (format!("run-{n}"), Arc::clone(&hosts[n % 2]));
        names.push(name.clone());
        tasks.push(tokio::spawn(async move {
            whole_run(ledger.as_ref(), &name, 30).await;
            // Both want the lease at once, again and again.
            ledger.log().unwrap().include(&run(&name), 62).await.unwrap();
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(signed_head(hosts[1].log().unwrap(), 1).await.size, 12 * 62);
    holds(hosts[0].as_ref(), &names).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_host_takes_over_when_the_leader_is_gone() {
    let Some(url) = new_database() else { return };
    let gone = signed(&url, host(0, &on())).await;
    whole_run(gone.as_ref(), "one", 1).await;
    gone.log().unwrap().include(&run("one"), 4).await.unwrap();
    // It still has the lease.
    drop(gone);
    let next = signed(&url, host(0, &on())).await;
    let hold = start(next.as_ref(), "two", vec![granted("t", 3)]).await;
    let begun = Instant::now();
    while next.log().unwrap().head().await.unwrap().size < 5 {
        assert!(begun.elapsed() < Duration::from_secs(15), "nobody took over");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    step(next.as_ref(), &hold, 1, START).await.unwrap();
    // Whoever needs a record now doesn't wait for the lease's end.
    let begun = Instant::now();
    next.log().unwrap().include(&hold.run, 2).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(4));
    holds(next.as_ref(), &["one".into(), "two".into()]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_without_the_key_spends_and_leaves_signing_to_others() {
    let Some(url) = new_database() else { return };
    let first = signed(&url, host(0, &on())).await;
    whole_run(first.as_ref(), "one", 1).await;
    first.log().unwrap().include(&run("one"), 4).await.unwrap();
    drop(first);
    // One host has no key, another has made one of its own.
    let switch = Arc::new(AtomicBool::new(false));
    let (without, other) =
        (signed(&url, host(0, &switch)).await, signed(&url, host(1, &on())).await);
    whole_run(without.as_ref(), "two", 1).await;
    whole_run(other.as_ref(), "three", 1).await;
    for (ledger, name, why) in
        [(&without, "two", "it has no key"), (&other, "three", "made on another host")]
    {
        let error = ledger.log().unwrap().include(&run(name), 4).await.unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        assert!(error.to_string().contains("not in the signed log yet"), "{error}");
    }
    assert_eq!(without.log().unwrap().positions(&run("two"), 4, 1).await.unwrap(), [None]);
    assert_eq!(signed_head(other.log().unwrap(), 1).await.size, 4);
    switch.store(true, Ordering::SeqCst);
    holds(without.as_ref(), &["one".into(), "two".into(), "three".into()]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_epoch_begins_while_others_write() {
    let Some(url) = new_database() else { return };
    let (ledger, other) = (signed(&url, host(0, &on())).await, signed(&url, host(0, &on())).await);
    whole_run(ledger.as_ref(), "one", 1).await;
    ledger.log().unwrap().include(&run("one"), 4).await.unwrap();
    let log = ledger.log().unwrap();
    let origin = log.head().await.unwrap().origin;
    let certify = |epoch| {
        let key = key(&origin, epoch).to_string();
        Box::new(move |_| Ok(NewKey { key, certificate: Some("certificate".into()) }))
            as log::Certify
    };
    assert!(log.rotate(3, certify(3)).await.is_err(), "one after the other");
    let writing = {
        let other = Arc::clone(&other);
        tokio::spawn(async move { whole_run(other.as_ref(), "two", 40).await })
    };
    let head = log.rotate(2, certify(2)).await.unwrap();
    assert_eq!(head.epoch, 2);
    writing.await.unwrap();
    other.log().unwrap().include(&run("two"), 82).await.unwrap();
    let head = signed_head(log, 2).await;
    assert_eq!(head.size, 4 + 1 + 82);
    assert_eq!(log.epochs().await.unwrap().len(), 2);
    let entries = log.entries(0, 100).await.unwrap();
    let rotations = entries
        .iter()
        .filter(|entry| String::from_utf8_lossy(entry).contains("\"type\":\"key_rotate\""));
    assert_eq!(rotations.count(), 1);
    // The log's own record is in nobody's run.
    assert_eq!(ledger.runs().await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_done_to_grants_is_recorded_under_the_same_signature() {
    use lar_core::audit::record::{Body, GrantIssue, GrantRevoke, LedgerEpoch, Record};
    use lar_core::ledger::{GrantId, Issuing};
    let Some(url) = new_database() else { return };
    let owner = signed(&url, host(0, &on())).await;
    let grant = GrantId::new("release").unwrap();
    let tokens = vec![granted("t", 3), granted("u", 1)];
    let issuing =
        Issuing { grant: grant.clone(), tokens, definitions: definitions(), expires: None };
    owner.issue(issuing.clone()).await.unwrap();
    owner.issue(issuing).await.unwrap_err();
    assert_eq!(owner.log().unwrap().head().await.unwrap().size, 0, "whoever runs signs");
    whole_run(owner.as_ref(), "one", 1).await;
    owner.log().unwrap().include(&run("one"), 4).await.unwrap();
    drop(owner);
    // What comes while nobody runs is there before the key's next epoch begins.
    let owner = signed(&url, host(0, &on())).await;
    owner.revoke(&grant, "a leak").await.unwrap();
    owner.revoke(&grant, "again").await.unwrap();
    owner.bump_epoch().await.unwrap();
    let log = owner.log().unwrap();
    let key = key(&log.head().await.unwrap().origin, 2).to_string();
    let (told, from) = std::sync::mpsc::channel();
    let certify: log::Certify = Box::new(move |from| {
        told.send(from).unwrap();
        Ok(NewKey { key, certificate: None })
    });
    let rotated = log.rotate(2, certify).await.unwrap();
    let from = from.recv().unwrap();
    assert_eq!((rotated.size, from), (from + 1, 5 + 2), "behind them");
    whole_run(owner.as_ref(), "two", 1).await;
    log.include(&run("two"), 4).await.unwrap();
    assert_eq!(signed_head(log, 2).await.size, 5 + 2 + 1 + 4);
    let entries = log.entries(0, 100).await.unwrap();
    let mut prev = lar_core::audit::record::genesis();
    let mut own = Vec::new();
    for bytes in &entries {
        let record: Record = serde_json::from_slice(bytes).unwrap();
        if record.run.as_str() == "log" {
            assert_eq!((record.seq, record.prev), (own.len() as u64 + 1, prev), "one chain");
            prev = leaf_hash(bytes);
            own.push(record.body);
        }
    }
    let uses = [("t".to_owned(), 3), ("u".to_owned(), 1)].into();
    let definitions = definitions().digest();
    let issue = GrantIssue { grant: grant.clone(), epoch: 1, definitions, expires: None, uses };
    assert_eq!(own.len(), 4);
    assert!(matches!(own.pop(), Some(Body::KeyRotate(_))));
    assert_eq!(
        own,
        [
            Body::GrantIssue(issue),
            Body::GrantRevoke(GrantRevoke { grant, reason: "a leak".to_owned() }),
            Body::LedgerEpoch(LedgerEpoch { epoch: 2 }),
        ]
    );
}

/// Two that add to the ledger's own records at once make one chain.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_many_owners_do_at_once_is_one_chain() {
    let Some(url) = new_database() else { return };
    let owner = signed(&url, host(0, &on())).await;
    let hold = start(owner.as_ref(), "r", vec![granted("t", 1)]).await;
    let mut writing = Vec::new();
    for _ in 0..4 {
        let owner = Arc::clone(&owner);
        writing.push(tokio::spawn(async move {
            for _ in 0..5 {
                owner.bump_epoch().await.unwrap();
            }
        }));
    }
    for task in writing {
        task.await.unwrap();
    }
    let log = owner.log().unwrap();
    let begun = Instant::now();
    while log.include(&hold.run, 1).await.unwrap().size < 21 {
        assert!(begun.elapsed() < Duration::from_secs(20), "the log stays behind");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut seen = Vec::new();
    for bytes in log.entries(0, 100).await.unwrap() {
        let record: lar_core::audit::record::Record = serde_json::from_slice(&bytes).unwrap();
        if record.run.as_str() == "log" {
            seen.push(record.seq);
        }
    }
    assert_eq!(seen, (1..=20).collect::<Vec<_>>());
    assert_eq!(owner.identity().await.unwrap().epoch, 21);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_resolved_after_the_end_gets_into_the_log_too() {
    let Some(url) = new_database() else { return };
    let ledger = signed(&url, host(0, &on())).await;
    let hold = start(ledger.as_ref(), "one", vec![granted("t", 3)]).await;
    step(ledger.as_ref(), &hold, 1, START).await.unwrap();
    step(ledger.as_ref(), &hold, 1, finish(Verdict::Unknown)).await.unwrap();
    ledger.close_run(closing(&hold)).await.unwrap();
    ledger.log().unwrap().include(&hold.run, 4).await.unwrap();
    let resolution = lar_core::ledger::Resolution {
        run: hold.run.clone(),
        attempt: attempt(&hold.run, 1),
        by: lar_core::ledger::Resolver::Person("alice".into()),
        verdict: Verdict::Failed,
        note: "looked".into(),
    };
    let said = ledger.resolve(resolution).await.unwrap();
    ledger.log().unwrap().include(&hold.run, said.seq).await.unwrap();
    holds(ledger.as_ref(), &["one".into()]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_edited_is_not_gone_on_with() {
    for edit in [
        "UPDATE lar.records SET hash = sha256('other') WHERE seq = 2",
        "UPDATE lar.segments SET run = run + 1000 WHERE leaf = 0",
        "UPDATE lar.log SET root = sha256('other')",
    ] {
        let Some(url) = new_database() else { return };
        let ledger = signed(&url, host(0, &on())).await;
        whole_run(ledger.as_ref(), "one", 2).await;
        ledger.log().unwrap().include(&run("one"), 6).await.unwrap();
        drop(ledger);
        let (client, connection) =
            tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client.batch_execute(edit).await.unwrap();
        let ledger = signed(&url, host(0, &on())).await;
        whole_run(ledger.as_ref(), "two", 1).await;
        let error = ledger.log().unwrap().include(&run("two"), 4).await.unwrap_err();
        assert!(error.to_string().contains("restore a backup"), "{edit}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_of_the_first_version_is_renewed_by_its_owner() {
    let Some(url) = new_database() else { return };
    let ledger = signed(&url, host(0, &on())).await;
    whole_run(ledger.as_ref(), "old", 2).await;
    drop(ledger);
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    // Whoever took part may still be at its last look.
    let cut = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()";
    client.execute(cut, &[]).await.unwrap();
    client.batch_execute(super::FIRST_VERSION).await.unwrap();
    let ledger = signed(&url, host(0, &on())).await;
    whole_run(ledger.as_ref(), "new", 1).await;
    holds(ledger.as_ref(), &["old".into(), "new".into()]).await;
}
