//! Every commit is signed, once for all that it holds, and the log proves what it holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use lar_core::audit::checkpoint::Checkpoint;
use lar_core::audit::log::{self, Log, NewKey, Signers, Signing};
use lar_core::audit::note::{KeyKind, KeySigner, Note, NoteKey, NoteSigner, Signed, SignerError};
use lar_core::audit::tree::{leaf_hash, verify_consistency, verify_inclusion};
use lar_core::ledger::Ledger;

use crate::support::{granted, run};

fn opening(name: &str) -> lar_core::ledger::Opening {
    crate::support::opening(name, vec![granted("t", 3)])
}

fn secret(epoch: u64) -> ed25519_dalek::SigningKey {
    ed25519_dalek::SigningKey::from_bytes(&[epoch as u8; 32])
}

fn key(origin: &str, epoch: u64) -> NoteKey {
    NoteKey::new(origin, KeyKind::Ed25519, secret(epoch).verifying_key()).unwrap()
}

/// A key that counts how often it signs, and fails on demand.
#[derive(Debug)]
struct Counted {
    inner: KeySigner,
    signed: Arc<AtomicU64>,
    fails: Arc<AtomicBool>,
}

impl NoteSigner for Counted {
    fn key(&self) -> &NoteKey {
        self.inner.key()
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignerError> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(SignerError("it is locked".into()));
        }
        self.signed.fetch_add(1, Ordering::SeqCst);
        self.inner.sign(message)
    }
}

/// Counts what is signed, and fails when it is told to.
#[derive(Default, Clone)]
pub struct Keys {
    signed: Arc<AtomicU64>,
    fails: Arc<AtomicBool>,
}

impl Keys {
    pub fn fail(&self, whether: bool) {
        self.fails.store(whether, Ordering::SeqCst);
    }

    pub fn signers(&self) -> Signers {
        let Keys { signed, fails } = self.clone();
        Arc::new(move |origin, epoch, _| {
            let inner = KeySigner::new(origin, KeyKind::Ed25519, secret(epoch)).unwrap();
            let counted = Counted { inner, signed: Arc::clone(&signed), fails: Arc::clone(&fails) };
            Ok(Signing { signer: Arc::new(counted), certificate: None })
        })
    }
}

/// A key that signs for another than it states.
#[derive(Debug)]
struct Mistaken(KeySigner, KeySigner);

impl NoteSigner for Mistaken {
    fn key(&self) -> &NoteKey {
        self.0.key()
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignerError> {
        self.1.sign(message)
    }
}

async fn signed_head(ledger: &dyn Ledger, epoch: u64) -> (log::Head, Note) {
    let head = ledger.log().unwrap().head().await.unwrap();
    let note = Note::parse(head.checkpoint.as_ref().unwrap()).unwrap();
    assert_eq!(key(&head.origin, epoch).check(&note), Signed::Valid { time: None });
    let checkpoint = Checkpoint::parse(note.text()).unwrap();
    assert_eq!((checkpoint.size, checkpoint.root), (head.size, head.root));
    (head, note)
}

/// Proves each leaf and each older size of the whole log.
async fn proves_all(log: &dyn Log) {
    let head = log.head().await.unwrap();
    let entries = log.entries(0, u64::MAX).await.unwrap();
    assert_eq!(entries.len() as u64, head.size);
    // All near the borders of tiles, and some of the others.
    let chosen =
        |at: &u64| at.is_multiple_of(37) || (at % 256).abs_diff(128) > 126 || at + 2 > head.size;
    for (at, bytes) in (0u64..).zip(&entries).filter(|(at, _)| chosen(at)) {
        let proof = log::prove_inclusion(log, at, head.size).await.unwrap();
        verify_inclusion(&leaf_hash(bytes), at, head.size, &proof, &head.root).unwrap();
        let older = log::frontier(log, at).await.unwrap().root();
        let proof = log::prove_consistency(log, at, head.size).await.unwrap();
        verify_consistency(at, &older, head.size, &head.root, &proof).unwrap();
    }
}

#[tokio::test]
async fn each_commit_is_signed_and_every_record_can_be_proved() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("ledger.db");
    let keys = Keys::default();
    let ledger = lar_ledger::open_signed(&path, keys.signers(), None).unwrap();
    let empty = ledger.log().unwrap().head().await.unwrap();
    assert_eq!((empty.size, empty.checkpoint), (0, None), "opening signs nothing");
    assert_eq!(keys.signed.load(Ordering::SeqCst), 0);
    for n in 0..300 {
        ledger.open_run(opening(&format!("run-{n}"))).await.unwrap();
    }
    let (head, _) = signed_head(ledger.as_ref(), 1).await;
    assert_eq!(head.size, 300);
    let position = ledger.log().unwrap().positions(&run("run-299"), 1, 9).await.unwrap();
    assert_eq!(position, [Some(299)]);
    proves_all(ledger.log().unwrap()).await;
    // Another process finds the same log, and goes on with it.
    let other = lar_ledger::open_signed(&path, keys.signers(), None).unwrap();
    for n in 300..600 {
        let who = if n % 2 == 0 { &ledger } else { &other };
        who.open_run(opening(&format!("run-{n}"))).await.unwrap();
    }
    let (head, _) = signed_head(other.as_ref(), 1).await;
    assert_eq!(head.size, 600);
    proves_all(other.log().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_at_once_share_a_signature() {
    let home = tempfile::tempdir().unwrap();
    let keys = Keys::default();
    let ledger =
        lar_ledger::open_signed(&home.path().join("ledger.db"), keys.signers(), None).unwrap();
    let all: Vec<_> = (0..64)
        .map(|n| {
            let ledger = Arc::clone(&ledger);
            tokio::spawn(
                async move { ledger.open_run(opening(&format!("run-{n}"))).await.unwrap() },
            )
        })
        .collect();
    for one in all {
        one.await.unwrap();
    }
    let signed = keys.signed.load(Ordering::SeqCst);
    assert!(signed < 64, "{signed} signatures for 64 records");
    assert_eq!(signed_head(ledger.as_ref(), 1).await.0.size, 64);
}

#[tokio::test]
async fn what_cannot_be_signed_is_not_written() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("ledger.db");
    let keys = Keys::default();
    let ledger = lar_ledger::open_signed(&path, keys.signers(), None).unwrap();
    ledger.open_run(opening("run-1")).await.unwrap();
    keys.fails.store(true, Ordering::SeqCst);
    let error = ledger.open_run(opening("run-2")).await.unwrap_err();
    assert!(error.to_string().contains("unsigned"), "{error}");
    assert_eq!(ledger.runs().await.unwrap().len(), 1);
    keys.fails.store(false, Ordering::SeqCst);
    ledger.open_run(opening("run-2")).await.unwrap();
    assert_eq!(signed_head(ledger.as_ref(), 1).await.0.size, 2);
    proves_all(ledger.log().unwrap()).await;
}

#[tokio::test]
async fn an_epoch_ends_where_the_next_begins() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("ledger.db");
    let keys = Keys::default();
    let ledger = lar_ledger::open_signed(&path, keys.signers(), None).unwrap();
    let other = lar_ledger::open_signed(&path, keys.signers(), None).unwrap();
    ledger.open_run(opening("run-1")).await.unwrap();
    other.open_run(opening("run-2")).await.unwrap();
    let log = ledger.log().unwrap();
    let origin = log.head().await.unwrap().origin;
    let certify = |origin: &str| {
        let key = key(origin, 2).to_string();
        Box::new(move |from| {
            assert_eq!(from, 2);
            Ok(NewKey { key, certificate: Some("certificate".into()) })
        })
    };
    assert!(log.rotate(3, certify(&origin)).await.is_err(), "one after the other");
    assert_eq!(signed_head(ledger.as_ref(), 1).await.0.size, 2, "nothing was begun");
    log.rotate(2, certify(&origin)).await.unwrap();
    let (head, _) = signed_head(ledger.as_ref(), 2).await;
    assert_eq!((head.size, head.epoch), (3, 2), "the change is a record of its own");
    // A process that signed with the old key before goes over to the new one.
    other.open_run(opening("run-3")).await.unwrap();
    assert_eq!(signed_head(other.as_ref(), 2).await.0.size, 4);
    let epochs = log.epochs().await.unwrap();
    let expected = [(key(&origin, 1), None), (key(&origin, 2), Some("certificate".to_owned()))];
    let expected = expected.map(|(key, certificate)| NewKey { key: key.to_string(), certificate });
    assert_eq!(epochs, expected);
    let entry = String::from_utf8(log.entries(2, 1).await.unwrap().remove(0)).unwrap();
    assert!(
        entry.contains("\"type\":\"key_rotate\"") && entry.contains("\"run\":\"log\""),
        "{entry}"
    );
    proves_all(log).await;
}

#[tokio::test]
async fn nothing_is_committed_under_a_signature_of_another_key() {
    let home = tempfile::tempdir().unwrap();
    let signers: Signers = Arc::new(|origin, _, _| {
        let [stated, other] =
            [1, 2].map(|epoch| KeySigner::new(origin, KeyKind::Ed25519, secret(epoch)).unwrap());
        Ok(Signing { signer: Arc::new(Mistaken(stated, other)), certificate: None })
    });
    let path = home.path().join("ledger.db");
    let ledger = lar_ledger::open_signed(&path, signers, None).unwrap();
    for name in ["one", "two"] {
        let error = ledger.open_run(opening(name)).await.unwrap_err();
        assert!(error.to_string().contains("doesn't fit its key"), "{error}");
    }
    assert_eq!(ledger.runs().await.unwrap(), []);
}

#[tokio::test]
async fn a_log_that_was_edited_is_not_gone_on_with() {
    for edit in [
        "UPDATE standing SET leaves = zeroblob(length(leaves)) WHERE leaves IS NOT NULL",
        "UPDATE standing SET leaves = x'' WHERE leaves IS NOT NULL",
        "UPDATE standing SET root = zeroblob(32) WHERE root IS NOT NULL",
    ] {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("ledger.db");
        let keys = Keys::default();
        let ledger = lar_ledger::open_signed(&path, keys.signers(), None).unwrap();
        for n in 0..3 {
            ledger.open_run(opening(&format!("run-{n}"))).await.unwrap();
        }
        drop(ledger);
        let connection = rusqlite::Connection::open(&path).unwrap();
        assert_eq!(connection.execute(edit, []).unwrap(), 1);
        drop(connection);
        let ledger = lar_ledger::open_signed(&path, keys.signers(), None).unwrap();
        let error = ledger.open_run(opening("run-9")).await.unwrap_err();
        assert!(error.to_string().contains("restore a backup"), "{edit}: {error}");
        assert_eq!(ledger.runs().await.unwrap().len(), 3);
    }
}

#[tokio::test]
async fn what_is_done_to_grants_is_recorded_under_the_same_signature() {
    use lar_core::audit::record::{Body, GrantIssue, GrantRevoke, LedgerEpoch, Record};
    use lar_core::ledger::{GrantId, Issuing};
    let home = tempfile::tempdir().unwrap();
    let keys = Keys::default();
    let path = home.path().join("ledger.db");
    let ledger = lar_ledger::open_signed(&path, keys.signers(), None).unwrap();
    let grant = GrantId::new("release").unwrap();
    let definitions = crate::support::definitions();
    let tokens = vec![granted("t", 3), granted("u", 1)];
    let issuing =
        Issuing { grant: grant.clone(), tokens, definitions: definitions.clone(), expires: None };
    ledger.issue(issuing.clone()).await.unwrap();
    ledger.issue(issuing).await.unwrap_err();
    ledger.revoke(&grant, "a leak").await.unwrap();
    ledger.revoke(&grant, "again").await.unwrap();
    ledger.bump_epoch().await.unwrap();
    let log = ledger.log().unwrap();
    let bodies: Vec<Body> = log
        .entries(0, 9)
        .await
        .unwrap()
        .iter()
        .map(|bytes| serde_json::from_slice::<Record>(bytes).unwrap().body)
        .collect();
    let uses = [("t".to_owned(), 3), ("u".to_owned(), 1)].into();
    let issue = GrantIssue {
        grant: grant.clone(),
        epoch: 1,
        definitions: definitions.digest(),
        expires: None,
        uses,
    };
    assert_eq!(
        bodies,
        [
            Body::GrantIssue(issue),
            Body::GrantRevoke(GrantRevoke { grant, reason: "a leak".to_owned() }),
            Body::LedgerEpoch(LedgerEpoch { epoch: 2 }),
        ]
    );
    signed_head(ledger.as_ref(), 1).await;
    proves_all(log).await;
}
