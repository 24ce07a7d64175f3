//! What checking a bundle of a million records of 300 bytes costs.
//!
//! The floor beside it is the Merkle tree over the same bytes alone: a hash for each leaf and each
//! node, by one thread and by two, with nothing read, compared or judged.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench stops at the first surprise")]

use std::sync::OnceLock;
use std::thread;

use lar_core::audit::bundle::{FORMAT, Header};
use lar_core::audit::checkpoint::Checkpoint;
use lar_core::audit::note::{KeyKind, KeySigner, NoteSigner};
use lar_core::audit::policy::Policy;
use lar_core::audit::record::{Body, ErrorRecord, RunClose, RunEnd, RunOpen, genesis, seal};
use lar_core::audit::tree::{Frontier, leaf_hash, node_hash};
use lar_core::id::RunId;
use lar_core::json::Digest;
use lar_core::time::Timestamp;

const RECORDS: u64 = 1_000_000;

fn main() {
    divan::main();
}

struct Made {
    bundle: Vec<u8>,
    policy: Policy,
}

fn made() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(make)
}

fn make() -> Made {
    let run = RunId::new("20261125-120000-0badcafe").unwrap();
    let open = Body::RunOpen(RunOpen {
        model: "replay".into(),
        task: "bench".into(),
        runtime: "0".into(),
        binary: None,
        manifest: None,
        grant: None,
        budget: serde_json::json!({}),
        tokens: Vec::new(),
        enforcement: "none".into(),
        approvals: Vec::new(),
        runner: None,
    });
    let error = Body::Error(ErrorRecord {
        token_name: "pods".into(),
        error_type: "CommandNotAllowedError".into(),
        message: "`kubectl delete` is not allowed".into(),
        attempt: None,
        input: Some("{\"command\":\"kubectl delete\"}".into()),
    });
    let close = Body::RunClose(RunClose {
        stop_reason: "complete".into(),
        end: RunEnd::default(),
        tokens: Vec::new(),
        records: RECORDS,
    });
    let (mut tree, mut prev, mut lines) = (Frontier::default(), genesis(), Vec::new());
    for seq in 1..=RECORDS {
        let body = if seq == 1 {
            &open
        } else if seq == RECORDS {
            &close
        } else {
            &error
        };
        let record = seal(&run, seq, prev, Timestamp::from_millis(seq as i64), body).unwrap();
        prev = record.hash;
        tree.push(record.hash).unwrap();
        lines.extend_from_slice(&record.bytes);
        lines.push(b'\n');
    }
    let secret = ed25519_dalek::SigningKey::from_bytes(&[1; 32]);
    let key = KeySigner::new("lar-ledger/bench", KeyKind::Ed25519, secret).unwrap();
    let checkpoint =
        Checkpoint { origin: "lar-ledger/bench".into(), size: RECORDS, root: tree.root() };
    let header = Header {
        bundle: FORMAT.into(),
        run,
        records: RECORDS,
        head: prev,
        checkpoint: checkpoint.sign(&key).unwrap().to_string(),
        timestamp: None,
        epochs: Vec::new(),
    };
    let bundle = [header.line().unwrap(), b"\n".to_vec(), lines].concat();
    Made { bundle, policy: Policy { keys: vec![key.key().clone()], ..Policy::default() } }
}

fn tree_of<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Digest {
    let mut tree = Frontier::default();
    for line in lines {
        tree.push(leaf_hash(line)).unwrap();
    }
    tree.root()
}

#[divan::bench(sample_count = 5)]
fn floor_tree_alone_one_thread(bencher: divan::Bencher<'_, '_>) {
    let made = made();
    let lines: Vec<&[u8]> = made.bundle.split(|b| *b == b'\n').skip(1).collect();
    bencher.bench(|| tree_of(lines.iter().copied()));
}

#[divan::bench(sample_count = 5)]
fn floor_tree_alone_two_threads(bencher: divan::Bencher<'_, '_>) {
    let made = made();
    let lines: Vec<&[u8]> = made.bundle.split(|b| *b == b'\n').skip(1).collect();
    let (left, right) = lines.split_at(1 << 19);
    bencher.bench(|| {
        thread::scope(|scope| {
            let right = scope.spawn(|| tree_of(right.iter().copied()));
            let left = tree_of(left.iter().copied());
            node_hash(&left, &right.join().unwrap())
        })
    });
}

#[divan::bench(sample_count = 5)]
fn verify(bencher: divan::Bencher<'_, '_>) {
    let made = made();
    bencher.bench(|| {
        let report = lar_verify::verify(made.bundle.as_slice(), &made.policy).unwrap();
        assert!(report.satisfies(&made.policy));
    });
}
