//! A run's records hang together, and what breaks the chain is named.

use lar_core::audit::chain::check;
use lar_core::audit::record::{
    Body, ErrorRecord, RunClose, RunEnd, RunOpen, SealedRecord, genesis, seal,
};
use lar_core::audit::tree::leaf_hash;
use lar_core::id::RunId;
use lar_core::json::Digest;
use lar_core::time::Timestamp;
use proptest::prelude::*;

fn bodies(errors: usize) -> Vec<Body> {
    let open = Body::RunOpen(RunOpen {
        model: "replay".into(),
        task: "täsk \"quoted\"\n\0".into(),
        runtime: "0".into(),
        binary: None,
        manifest: None,
        grant: None,
        budget: serde_json::json!({"max_steps": 3}),
        tokens: Vec::new(),
        enforcement: "none".into(),
        approvals: Vec::new(),
        runner: None,
    });
    let error = |n| {
        Body::Error(ErrorRecord {
            token_name: format!("t{n}"),
            error_type: "TokenScopeError".into(),
            message: "no".into(),
            attempt: None,
            input: None,
        })
    };
    let close = Body::RunClose(RunClose {
        stop_reason: "complete".into(),
        end: RunEnd::default(),
        tokens: Vec::new(),
        records: errors as u64 + 2,
    });
    let mut all = vec![open];
    all.extend((0..errors).map(error));
    all.push(close);
    all
}

fn records(run: &str, errors: usize) -> Vec<SealedRecord> {
    let run = RunId::new(run).unwrap();
    let mut prev = genesis();
    (1u64..)
        .zip(bodies(errors))
        .map(|(seq, body)| {
            let sealed = seal(&run, seq, prev, Timestamp::from_millis(seq as i64), &body).unwrap();
            prev = sealed.hash;
            sealed
        })
        .collect()
}

/// The record with other bytes and the digest that fits them.
fn altered(record: &SealedRecord, from: &str, to: &str) -> SealedRecord {
    let text = String::from_utf8(record.bytes.clone()).unwrap();
    assert!(text.contains(from), "{text}");
    let bytes = text.replacen(from, to, 1).into_bytes();
    SealedRecord { seq: record.seq, hash: leaf_hash(&bytes), bytes, openings: Vec::new() }
}

#[test]
fn an_untouched_chain_holds_and_says_whether_it_ended() {
    let all = records("run", 3);
    let intact = check(&all).unwrap();
    assert_eq!((intact.records, intact.closed), (5, true));
    assert_eq!(intact.head, all[4].hash);
    assert!(!check(&all[..4]).unwrap().closed, "a cut end shows as an open run");
    assert!(check(&[]).is_err());
}

#[test]
fn every_tampering_is_named_at_its_record() {
    let all = records("run", 3);
    let broken_at = |records: &[SealedRecord]| check(records).unwrap_err().seq;

    let mut changed = all.clone();
    changed[2] = altered(&all[2], "\"t1\"", "\"t9\"");
    assert_eq!(broken_at(&changed), 4, "the next record doesn't follow it");

    let mut last = all.clone();
    last[4] = altered(&all[4], "complete", "timeout");
    assert!(check(&last).is_ok(), "the head alone tells this: it must be kept elsewhere");
    assert_ne!(check(&last).unwrap().head, all[4].hash);

    let mut removed = all.clone();
    removed.remove(1);
    assert_eq!(broken_at(&removed), 2);

    let mut swapped = all.clone();
    swapped.swap(1, 2);
    assert_eq!(broken_at(&swapped), 2);

    let mut twice = all.clone();
    twice.insert(2, all[1].clone());
    assert_eq!(broken_at(&twice), 3);

    let mut spliced = all.clone();
    spliced[3] = records("other", 3)[3].clone();
    assert_eq!(broken_at(&spliced), 4);

    let mut spaced = all.clone();
    spaced[4] = altered(&all[4], "\"v\":1", "\"v\": 1");
    assert_eq!(broken_at(&spaced), 5, "another spelling of the same content");

    let mut doubled = all.clone();
    doubled[4] = altered(&all[4], "\"v\":1", "\"v\":1,\"v\":1");
    assert_eq!(broken_at(&doubled), 5);

    let mut stale = all.clone();
    stale[1].hash = Digest::of(b"other");
    assert_eq!(broken_at(&stale), 2);

    let mut beyond = all.clone();
    beyond.push(all[1].clone());
    assert_eq!(broken_at(&beyond), 6);
}

proptest! {
    #[test]
    fn no_flipped_bit_passes_before_the_last_record(
        at in any::<prop::sample::Index>(), bit in 0u8..8, which in 0usize..4,
    ) {
        let mut all = records("run", 3);
        let record = &mut all[which];
        let at = at.index(record.bytes.len());
        record.bytes[at] ^= 1 << bit;
        record.hash = leaf_hash(&record.bytes);
        prop_assert!(check(&all).is_err());
    }

    #[test]
    fn bytes_of_any_kind_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let record = SealedRecord { seq: 1, hash: leaf_hash(&bytes), bytes, openings: Vec::new() };
        let _ = check(&[record]);
    }
}
