//! What records commit to: kept with them, apart from them, and deleted for good.

use lar_core::audit::commitment::{Blinding, Part};
use lar_core::audit::record::{Body, ErrorRecord, RunEnd};
use lar_core::ledger::{Entry, Erasing, Hold, Ledger, LedgerError, RunLedger};

use super::{Fresh, on_every_ledger};
use crate::support::*;

on_every_ledger! {
    openings_come_back_with_their_records,
    what_is_erased_is_gone_and_recorded,
    nothing_of_a_run_that_goes_on_is_erased,
}

fn refused(input: &str) -> Body {
    Body::Error(ErrorRecord {
        token_name: "t".into(),
        error_type: "TokenScopeError".into(),
        message: format!("not {input}"),
        attempt: None,
        input: Some(input.into()),
    })
}

fn blinding() -> std::sync::Arc<Blinding> {
    std::sync::Arc::new(Blinding::new(Part::ALL, [3; 32], 1))
}

/// A run with two refusals and an end, all of them committed to; the first refusal comes with others in one
/// batch.
async fn recorded(fresh: &Fresh) -> Hold {
    let ledger = &fresh.ledger;
    let (blinding, mut opening) = (blinding(), opening("r", vec![granted("t", 1)]));
    opening.openings = blinding.open(&opening.record).unwrap();
    opening.journal = Some(b"a page".to_vec());
    let opened = ledger.open_run(opening).await.unwrap();
    let other = start(ledger.as_ref(), "other", vec![granted("t", 1)]).await;
    let run = RunLedger::new(std::sync::Arc::clone(ledger), opened.hold.clone());
    let run = run.blinded(Some(blinding));
    let (first, noise) = tokio::join!(run.note(refused("Ada")), ledger.commit(note(&other)));
    first.unwrap();
    noise.unwrap();
    run.note(refused("Eva")).await.unwrap();
    opened.hold
}

async fn close(fresh: &Fresh, hold: &Hold, keep_journal: bool) {
    let details = RunEnd { final_message: Some("Ada is well".into()), ..RunEnd::default() };
    let run = RunLedger::new(std::sync::Arc::clone(&fresh.ledger), hold.clone());
    let run = run.blinded(Some(std::sync::Arc::new(Blinding::new(Part::ALL, [3; 32], 2))));
    run.close("complete".into(), details, keep_journal).await.unwrap();
}

/// The fields that can be read, by record.
async fn fields(ledger: &dyn Ledger) -> Vec<(u64, String)> {
    let records = ledger.records(&run("r"), 1, 99).await.unwrap();
    let of = |record: &lar_core::audit::record::SealedRecord| {
        let text = String::from_utf8(record.bytes.clone()).unwrap();
        assert!(!text.contains("Ada") && !text.contains("Eva"), "{text}");
        let seq = record.seq;
        let named = |opening: &lar_core::audit::commitment::Opening| {
            assert!(text.contains(&opening.commitment().to_string()));
            (seq, opening.field().to_owned())
        };
        record.openings.iter().map(named).collect::<Vec<_>>()
    };
    records.iter().flat_map(of).collect()
}

fn named(fields: &[(u64, &str)]) -> Vec<(u64, String)> {
    fields.iter().map(|(seq, field)| (*seq, (*field).to_owned())).collect()
}

fn erasing(of: Option<u64>, field: Option<&str>) -> Erasing {
    Erasing { run: run("r"), of, field: field.map(str::to_owned), by: "me".into() }
}

async fn openings_come_back_with_their_records(fresh: Fresh) {
    let hold = recorded(&fresh).await;
    close(&fresh, &hold, false).await;
    let again = (fresh.again)();
    let all = [
        (1, "task"),
        (2, "input"),
        (2, "message"),
        (3, "input"),
        (3, "message"),
        (4, "final_message"),
    ];
    assert_eq!(fields(again.as_ref()).await, named(&all));
    let records = again.records(&run("r"), 2, 1).await.unwrap();
    assert_eq!(records[0].read().unwrap().body, refused("Ada"));
}

async fn what_is_erased_is_gone_and_recorded(fresh: Fresh) {
    let ledger = fresh.ledger.as_ref();
    let hold = recorded(&fresh).await;
    close(&fresh, &hold, true).await;
    assert_eq!(ledger.erase(erasing(Some(2), Some("input"))).await, Ok(1));
    assert!(ledger.journal(&run("r"), 1, 9).await.unwrap().is_empty(), "it says the same");
    let left = [(1, "task"), (2, "message"), (3, "input"), (3, "message"), (4, "final_message")];
    assert_eq!(fields(ledger).await, named(&left));
    assert_eq!(ledger.erase(erasing(Some(2), Some("input"))).await, Ok(0), "it is gone");
    assert_eq!(ledger.erase(erasing(None, Some("input"))).await, Ok(1));
    assert_eq!(ledger.erase(erasing(None, None)).await, Ok(4));
    assert_eq!(fields(ledger).await, []);
    let records = ledger.records(&run("r"), 1, 99).await.unwrap();
    lar_core::audit::chain::check(&records).unwrap();
    let erasures: Vec<_> = records
        .iter()
        .filter_map(|record| match record.read().unwrap().body {
            Body::Erasure(erasure) => Some((erasure.of, erasure.field, erasure.openings)),
            _ => None,
        })
        .collect();
    let input = Some("input".to_owned());
    assert_eq!(erasures, [(Some(2), input.clone(), 1), (None, input, 1), (None, None, 4)]);
    let listed = ledger.runs().await.unwrap();
    let summary = listed.iter().find(|summary| summary.run == run("r")).unwrap();
    assert_eq!((summary.task.as_str(), summary.records), ("(erased)", 7));
}

async fn nothing_of_a_run_that_goes_on_is_erased(fresh: Fresh) {
    let hold = recorded(&fresh).await;
    let erased = fresh.ledger.erase(erasing(None, None)).await;
    assert_eq!(erased, Err(LedgerError::RunOpen("r".into())));
    let unknown = Erasing { run: run("none"), ..erasing(None, None) };
    assert_eq!(fresh.ledger.erase(unknown).await, Err(LedgerError::UnknownRun("none".into())));
    close(&fresh, &hold, false).await;
    // A run that commits to nothing has nothing to erase.
    let plain = start(fresh.ledger.as_ref(), "plain", vec![granted("t", 1)]).await;
    fresh.ledger.commit(Entry::note(plain.clone(), refused("x"))).await.unwrap();
    fresh.ledger.close_run(closing(&plain)).await.unwrap();
    let none = Erasing { run: run("plain"), ..erasing(None, None) };
    assert_eq!(fresh.ledger.erase(none).await, Ok(0));
    assert_eq!(fresh.ledger.records(&run("plain"), 1, 9).await.unwrap().len(), 3);
}
