//! Spends that witnesses must have seen before their effect.

use lar_core::audit::checkpoint::Checkpoint;
use lar_core::audit::note::{KeyKind, KeySigner, NoteSigner};
use lar_core::audit::policy::Policy;
use lar_core::audit::record::{Account, Anchor, Body, Intent, TokenLine};
use lar_core::audit::tree::Frontier;
use lar_core::audit::verify::{Finding, Line, Report, Verifier};
use lar_core::id::AttemptId;
use lar_core::json::Digest;
use lar_core::outcome::Verdict;
use lar_core::token::Witness;

use crate::bundle::{Log, ORIGIN, chain, signer};
use crate::records;

const RUN: &str = "20261125-120000-0badcafe";

fn attempt() -> AttemptId {
    AttemptId::from_digest(Digest::of("attempt"))
}

fn witness() -> KeySigner {
    signer(9, "witness.example/w1", KeyKind::Cosignature)
}

fn open() -> Body {
    let token = TokenLine { witness: Some(Witness::BeforeEffect), ..records::token("deploy", 2) };
    Body::RunOpen(records::open(vec![token]))
}

fn spend() -> Intent {
    records::intent("deploy", attempt(), serde_json::json!({}))
}

fn intent() -> Body {
    Body::Intent(spend())
}

fn outcome(verdict: Option<Verdict>) -> Body {
    Body::Outcome(records::outcome(&spend(), 2, verdict))
}

fn close(count: u64, succeeded: u64) -> Body {
    let account = records::account("deploy", 2, succeeded);
    Body::RunClose(records::close(vec![Account { returned: 1 - succeeded, ..account }], count))
}

/// What a witness cosigned over the first `size` records, of which the last says `other` if that is
/// given.
fn anchor(size: usize, other: Option<Body>, by: &KeySigner) -> Body {
    let mut bodies = vec![open(), intent()];
    if let Some(other) = other {
        bodies[1] = other;
    }
    let mut tree = Frontier::default();
    for record in &chain(RUN, bodies)[..size] {
        tree.push(record.hash).unwrap();
    }
    let checkpoint = Checkpoint { origin: ORIGIN.into(), size: size as u64, root: tree.root() };
    let mut note = checkpoint.sign(&signer(1, ORIGIN, KeyKind::Ed25519)).unwrap();
    let cosigned = by.cosign(note.text(), 1_780_000_000);
    note.add(cosigned);
    Body::Anchor(Anchor {
        attempt: attempt(),
        intent_seq: 2,
        size: size as u64,
        checkpoint: note.to_string(),
    })
}

fn verified(bodies: Vec<Body>) -> Report {
    let log = Log::new(&[(RUN, bodies)]);
    let mut note = log.checkpoint().sign(&signer(1, ORIGIN, KeyKind::Ed25519)).unwrap();
    let cosigned = witness().cosign(note.text(), 1_780_000_001);
    note.add(cosigned);
    let policy = Policy {
        keys: vec![signer(1, ORIGIN, KeyKind::Ed25519).key().clone()],
        witnesses: vec![witness().key().clone()],
        ..Policy::default()
    };
    let lines = log.bundle(RUN, &note, Vec::new());
    let mut verifier = Verifier::of_bundle(&policy, &lines[0]);
    lines[1..].iter().for_each(|line| verifier.accept(&Line::read(line)));
    verifier.finish()
}

#[test]
fn what_the_witnesses_saw_before_the_effect_is_witnessed() {
    let whole = |anchor: Body| {
        verified(vec![open(), intent(), anchor, outcome(Some(Verdict::Succeeded)), close(5, 1)])
    };
    let report = whole(anchor(2, None, &witness()));
    assert_eq!((&report.integrity, &report.witnessing), (&Finding::Ok, &Finding::Ok), "{report:?}");
    assert_eq!(report.completeness, Finding::Ok);

    let broken = |report: Report, why: &str| match report.witnessing {
        Finding::Broken { at: Some(3), reason } => assert!(reason.contains(why), "{reason}"),
        other => panic!("{other}"),
    };
    broken(whole(anchor(1, None, &witness())), "doesn't hold the intent");
    let other = outcome(None);
    broken(whole(anchor(2, Some(other), &witness())), "another history");
    let mut lies = anchor(2, None, &witness());
    if let Body::Anchor(anchor) = &mut lies {
        anchor.size = 3;
    }
    broken(whole(lies), "another than it says");
    // Cosigned by nobody that the policy names: not broken, and never ok.
    let report = whole(anchor(2, None, &signer(8, "other.example", KeyKind::Cosignature)));
    assert!(matches!(report.witnessing, Finding::Absent { .. }), "{}", report.witnessing);
}

#[test]
fn an_effect_that_nobody_saw_coming_breaks_the_record() {
    let report = verified(vec![open(), intent(), outcome(Some(Verdict::Succeeded)), close(4, 1)]);
    match report.integrity {
        Finding::Broken { at: Some(3), reason } => {
            assert!(reason.contains("witnesses"), "{reason}")
        }
        other => panic!("{other}"),
    }
    // Where nothing began, nothing had to be seen.
    let report = verified(vec![open(), intent(), outcome(None), close(4, 0)]);
    assert_eq!((&report.integrity, &report.completeness), (&Finding::Ok, &Finding::Ok));
    // An anchor belongs to one spend, and to the right one.
    let report = verified(vec![open(), anchor(2, None, &witness()), close(3, 0)]);
    assert!(report.integrity.is_broken());
}
