//! Bundles: made from a log of several runs, and checked.

use std::ops::Range;

use lar_core::audit::bundle::{FORMAT, Gap, Header};
use lar_core::audit::checkpoint::Checkpoint;
use lar_core::audit::epoch::Epoch;
use lar_core::audit::note::{KeyKind, KeySigner, Note, NoteSigner};
use lar_core::audit::policy::{Judged, Policy};
use lar_core::audit::record::{
    Approval, Body, ErrorRecord, Intent, RunClose, RunOpen, SealedRecord, TokenLine, genesis, seal,
};
use lar_core::audit::tree::{Frontier, fold, leaf_hash, subtrees};
use lar_core::audit::verify::{Finding, Line, Report, Verifier};
use lar_core::id::{AttemptId, RunId};
use lar_core::json::Digest;
use lar_core::outcome::Verdict;
use lar_core::time::Timestamp;

use crate::records;

pub const ORIGIN: &str = "lar-ledger/test";

pub fn signer(seed: u8, name: &str, kind: KeyKind) -> KeySigner {
    let secret = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]);
    KeySigner::new(name, kind, secret).unwrap()
}

fn args(n: u64) -> serde_json::Value {
    serde_json::json!({"argv": ["kubectl", "get", "pods", n.to_string()]})
}

fn attempt(run: &str, n: u64) -> AttemptId {
    AttemptId::from_digest(Digest::of(format!("{run} {n}")))
}

/// What a run of `spends` approved spends records, with an error between each two.
fn bodies(run: &str, spends: u64) -> Vec<Body> {
    let deploy = TokenLine { requires_approval: true, ..records::token("deploy", 9) };
    let mut all = vec![Body::RunOpen(RunOpen {
        task: format!("täsk of {run} \"quoted\"\n"),
        budget: serde_json::json!({"max_steps": 3}),
        ..records::open(vec![deploy, records::token("unused", 2)])
    })];
    for n in 0..spends {
        let intent = records::intent("deploy", attempt(run, n), args(n));
        all.push(Body::Approval(Approval {
            token_name: "deploy".into(),
            attempt: Some(intent.attempt),
            action_digest: Some(intent.action_digest),
            message: "may it?".into(),
            approved: true,
            approver: "alice".into(),
            approver_identity: "os-user".into(),
            statements: Vec::new(),
        }));
        let approval_seq = Some(all.len() as u64);
        all.push(Body::Intent(Intent { approval_seq, ..intent.clone() }));
        let intent_seq = all.len() as u64;
        all.push(Body::Outcome(records::outcome(&intent, intent_seq, Some(Verdict::Succeeded))));
        all.push(Body::Error(ErrorRecord {
            token_name: "unused".into(),
            error_type: "TokenScopeError".into(),
            message: "no".into(),
            attempt: None,
            input: None,
        }));
    }
    let accounts = [("deploy", 9, spends), ("unused", 2, 0)];
    let accounts = accounts.map(|(name, granted, spent)| records::account(name, granted, spent));
    let count = all.len() as u64 + 1;
    all.push(Body::RunClose(records::close(accounts.into(), count)));
    all
}

pub fn chain(run: &str, bodies: Vec<Body>) -> Vec<SealedRecord> {
    let run = RunId::new(run).unwrap();
    let mut prev = genesis();
    let seal_one = |(seq, body): (u64, Body)| {
        let sealed = seal(&run, seq, prev, Timestamp::from_millis(seq as i64), &body).unwrap();
        prev = sealed.hash;
        sealed
    };
    (1u64..).zip(bodies).map(seal_one).collect()
}

/// A log in which runs stand interleaved, as parallel runs leave it.
pub struct Log {
    leaves: Vec<(String, Vec<u8>)>,
}

impl Log {
    pub fn new(runs: &[(&str, Vec<Body>)]) -> Self {
        let mut queues: Vec<_> = runs
            .iter()
            .map(|(run, bodies)| (*run, chain(run, bodies.clone()).into_iter()))
            .collect();
        let mut leaves = Vec::new();
        loop {
            let before = leaves.len();
            for (index, (run, queue)) in queues.iter_mut().enumerate() {
                leaves.extend(queue.by_ref().take(index + 1).map(|r| (run.to_string(), r.bytes)));
            }
            if leaves.len() == before {
                return Self { leaves };
            }
        }
    }

    fn root(&self, range: Range<u64>) -> Digest {
        let mut tree = Frontier::default();
        for (_, bytes) in &self.leaves[range.start as usize..range.end as usize] {
            tree.push(leaf_hash(bytes)).unwrap();
        }
        tree.root()
    }

    pub fn checkpoint(&self) -> Checkpoint {
        let size = self.leaves.len() as u64;
        Checkpoint { origin: ORIGIN.into(), size, root: self.root(0..size) }
    }

    pub fn bundle(&self, run: &str, note: &Note, epochs: Vec<String>) -> Vec<Vec<u8>> {
        let own: Vec<(u64, &Vec<u8>)> = (0u64..)
            .zip(&self.leaves)
            .filter(|(_, (of, _))| of == run)
            .map(|(at, (_, bytes))| (at, bytes))
            .collect();
        let header = Header {
            bundle: FORMAT.into(),
            run: RunId::new(run).unwrap(),
            records: own.len() as u64,
            head: leaf_hash(own.last().unwrap().1),
            checkpoint: note.to_string(),
            timestamp: None,
            epochs,
        };
        let mut lines = vec![header.line().unwrap()];
        let mut next = 0;
        for (at, bytes) in own {
            lines.extend(self.gap(next..at));
            lines.push(bytes.clone());
            next = at + 1;
        }
        lines.extend(self.gap(next..self.leaves.len() as u64));
        lines
    }

    fn gap(&self, leaves: Range<u64>) -> Option<Vec<u8>> {
        if leaves.is_empty() {
            return None;
        }
        let roots = subtrees(leaves.clone())
            .into_iter()
            .map(|s| self.root(s.index << s.level..(s.index + 1) << s.level))
            .collect();
        let gap = Gap { leaves: leaves.end - leaves.start, roots };
        Some(gap.line().into_bytes())
    }
}

pub fn verify(policy: &Policy, lines: &[Vec<u8>]) -> Report {
    let first = lines.first().map(Vec::as_slice).unwrap_or_default();
    let (mut verifier, rest) = if Verifier::is_header(first) {
        (Verifier::of_bundle(policy, first), &lines[1..])
    } else {
        (Verifier::of_records(policy), lines)
    };
    for line in rest {
        verifier.accept(&Line::read(line));
    }
    verifier.finish()
}

fn three_runs() -> Log {
    Log::new(&[("a", bodies("a", 3)), ("b", bodies("b", 2)), ("c", bodies("c", 1))])
}

fn pinned(key: &KeySigner) -> Policy {
    Policy { keys: vec![key.key().clone()], ..Policy::default() }
}

#[test]
fn an_untouched_bundle_holds_in_all_that_it_can_show() {
    let log = three_runs();
    let key = signer(1, ORIGIN, KeyKind::Ed25519);
    let witness = signer(2, "witness.example", KeyKind::Cosignature);
    let mut note = log.checkpoint().sign(&key).unwrap();
    for run in ["a", "b", "c"] {
        let report = verify(&pinned(&key), &log.bundle(run, &note, Vec::new()));
        assert_eq!(report.integrity, Finding::Ok, "{report:?}");
        assert_eq!(report.authenticity, Finding::Ok);
        assert_eq!(report.completeness, Finding::Ok);
        assert!(matches!(report.witnessing, Finding::Absent { .. }));
        assert!(report.satisfies(&pinned(&key)));
        assert_eq!(report.run.as_deref(), Some(run));
    }
    let lines = log.bundle("b", &note, Vec::new());
    let unpinned = Policy::default();
    let report = verify(&unpinned, &lines);
    assert!(matches!(report.authenticity, Finding::Absent { .. }), "never ok without a known key");
    assert!(report.satisfies(&unpinned), "and nothing demanded it");
    let witnessed = Policy { witnesses: vec![witness.key().clone()], ..pinned(&key) };
    assert!(!verify(&witnessed, &lines).satisfies(&witnessed));
    note.add(witness.cosign(note.text(), 1_800_000_000));
    let report = verify(&witnessed, &log.bundle("b", &note, Vec::new()));
    assert_eq!(report.witnessing, Finding::Ok);
    assert!(report.satisfies(&witnessed));
}

#[test]
fn another_key_a_missing_one_and_a_forged_one_are_told_apart() {
    let log = three_runs();
    let (key, other) = (signer(1, ORIGIN, KeyKind::Ed25519), signer(9, ORIGIN, KeyKind::Ed25519));
    let policy = pinned(&key);
    let signed = log.checkpoint().sign(&other).unwrap();
    let report = verify(&policy, &log.bundle("a", &signed, Vec::new()));
    assert!(report.integrity.is_ok());
    assert!(report.authenticity.to_string().contains("which the policy doesn't name"));
    assert!(!report.satisfies(&policy));
    let good = log.checkpoint().sign(&key).unwrap().to_string();
    let forged = Note::parse(&good.replacen(ORIGIN, "lar-ledger/tesT", 1)).unwrap();
    let report = verify(&policy, &log.bundle("a", &forged, Vec::new()));
    assert!(report.authenticity.is_broken(), "{report:?}");
    let only = Policy { require: Some(vec![Judged::Integrity]), ..policy };
    assert!(!report.satisfies(&only), "what is broken is never accepted");
}

#[test]
fn a_root_certifies_the_keys_of_its_epochs_and_no_others() {
    let log = three_runs();
    let root = signer(5, "root.example", KeyKind::Ed25519);
    let (first, second) =
        (signer(1, ORIGIN, KeyKind::Ed25519), signer(2, ORIGIN, KeyKind::Ed25519));
    let certify = |number, from, key: &KeySigner, root: &KeySigner| {
        let epoch = Epoch { origin: ORIGIN.into(), number, from, key: key.key().clone() };
        assert_eq!(Epoch::parse(&epoch.text()).unwrap(), epoch);
        Note::sign(epoch.text(), root).unwrap().to_string()
    };
    let policy = Policy { roots: vec![root.key().clone()], ..Policy::default() };
    let ask = |key: &KeySigner, epochs: Vec<String>| {
        let note = log.checkpoint().sign(key).unwrap();
        verify(&policy, &log.bundle("a", &note, epochs)).authenticity
    };
    let both = vec![certify(1, 0, &first, &root), certify(2, 4, &second, &root)];
    assert_eq!(ask(&second, both.clone()), Finding::Ok);
    assert!(ask(&first, both).is_broken(), "the first key's time is over");
    assert_eq!(ask(&first, vec![certify(1, 0, &first, &root)]), Finding::Ok);
    assert!(ask(&second, vec![certify(1, 0, &first, &root)]).is_broken());
    assert!(ask(&second, vec![certify(2, 999, &second, &root)]).is_broken(), "not yet");
    let stranger = signer(6, "root.example", KeyKind::Ed25519);
    assert!(ask(&first, vec![certify(1, 0, &first, &stranger)]).is_broken());
    assert!(ask(&first, vec!["x".into()]).is_broken());
}

#[test]
fn bare_records_show_integrity_and_completeness_alone() {
    let lines: Vec<_> = chain("a", bodies("a", 2)).into_iter().map(|r| r.bytes).collect();
    let policy = Policy::default();
    let report = verify(&policy, &lines);
    assert!(report.integrity.is_ok() && report.completeness.is_ok(), "{report:?}");
    assert!(!report.authenticity.is_ok() && !report.witnessing.is_ok());
    let report = verify(&policy, &lines[..lines.len() - 1]);
    assert!(report.integrity.is_ok() && !report.completeness.is_ok() && !report.closed);
    assert!(!report.satisfies(&policy));
    assert!(report.satisfies(&Policy { allow_open: true, ..Policy::default() }));
    let empty = verify(&policy, &[]);
    assert!(empty.integrity.is_broken());
}

/// A run whose records are well chained and contradict each other.
fn contradicting(change: impl FnOnce(&mut Vec<Body>)) -> Report {
    let mut all = bodies("a", 2);
    change(&mut all);
    let lines: Vec<_> = chain("a", all).into_iter().map(|r| r.bytes).collect();
    verify(&Policy::default(), &lines)
}

#[test]
fn records_that_contradict_each_other_are_named() {
    let at = |finding: &Finding| match finding {
        Finding::Broken { at, .. } => *at,
        _ => None,
    };
    let replayed = contradicting(|all| {
        let Body::Intent(intent) = &mut all[6] else { panic!() };
        (intent.args, intent.action_digest) = (args(0), records::digest("deploy", &args(0)));
    });
    assert_eq!(at(&replayed.integrity), Some(7), "{replayed:?}");
    assert!(replayed.integrity.to_string().contains("another action"));
    let exchanged = contradicting(|all| {
        let Body::Intent(intent) = &mut all[6] else { panic!() };
        intent.args = args(0);
    });
    assert_eq!(
        at(&exchanged.integrity),
        Some(7),
        "what was approved stands there by its digest alone"
    );
    assert!(exchanged.integrity.to_string().contains("its arguments"));
    let reused = contradicting(|all| {
        let Body::Intent(intent) = &mut all[6] else { panic!() };
        intent.approval_seq = Some(2);
    });
    assert_eq!(at(&reused.integrity), Some(7), "an approval is used once");
    let unapproved = contradicting(|all| {
        let Body::Intent(intent) = &mut all[6] else { panic!() };
        intent.approval_seq = None;
    });
    assert_eq!(at(&unapproved.integrity), Some(7));
    let denied = contradicting(|all| {
        let Body::Approval(approval) = &mut all[1] else { panic!() };
        approval.approved = false;
    });
    assert_eq!(at(&denied.integrity), Some(3));
    let twice = contradicting(|all| {
        let Body::Intent(intent) = &mut all[6] else { panic!() };
        intent.attempt = attempt("a", 0);
    });
    assert_eq!(at(&twice.integrity), Some(7), "{twice:?}");
    let unknown = contradicting(|all| {
        let Body::Intent(intent) = &mut all[6] else { panic!() };
        intent.token_name = "other".into();
    });
    assert_eq!(at(&unknown.integrity), Some(7));
    type Edit = fn(&mut RunClose);
    let edits: [Edit; 6] = [
        |close| close.tokens[0].succeeded = 1,
        |close| close.tokens[0].unused = 6,
        |close| close.tokens[1].granted = 3,
        |close| drop(close.tokens.pop()),
        |close| close.tokens[1].token_name = "other".into(),
        |close| close.tokens.push(close.tokens[0].clone()),
    ];
    for edit in edits {
        let report = contradicting(|all| {
            let Some(Body::RunClose(close)) = all.last_mut() else { panic!() };
            edit(close);
        });
        assert!(report.integrity.is_ok());
        assert_eq!(at(&report.completeness), Some(10), "{report:?}");
        assert!(!report.satisfies(&Policy::default()));
    }
    let open = contradicting(|all| {
        all.remove(7);
        let Some(Body::RunClose(close)) = all.last_mut() else { panic!() };
        close.records -= 1;
    });
    assert_eq!(at(&open.completeness), Some(9), "{open:?}");
}

#[test]
fn a_subtree_root_is_that_of_its_halves() {
    let log = three_runs();
    let whole = log.root(0..8);
    assert_eq!(fold(&[log.root(0..4), log.root(4..8)]), Some(whole));
}
