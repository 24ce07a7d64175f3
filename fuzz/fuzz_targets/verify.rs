//! The verifier of bundles, records and proofs: every byte that it reads may be a forger's.
#![no_main]

use lar_core::audit::checkpoint::Checkpoint;
use lar_core::audit::note::{KeyKind, Note, NoteKey};
use lar_core::audit::policy::Policy;
use lar_core::audit::proof::RecordProof;
use lar_core::audit::verify::{Finding, Line, Verifier};
use libfuzzer_sys::fuzz_target;

/// A key whose secret the fuzzer can't guess: the base point's encoding, of which nobody signs.
const KEY: [u8; 32] = [
    0x58, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
    0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
];

fuzz_target!(|bytes: &[u8]| {
    let key = ed25519_dalek::VerifyingKey::from_bytes(&KEY).unwrap();
    let key = NoteKey::new("lar-ledger/fuzz", KeyKind::Ed25519, key).unwrap();
    let policy = Policy { keys: vec![key], ..Policy::default() };
    let mut lines = bytes.split(|byte| *byte == b'\n').peekable();
    let mut verifier = match lines.next_if(|first| Verifier::is_header(first)) {
        Some(first) => Verifier::of_bundle(&policy, first),
        None => Verifier::of_records(&policy),
    };
    for line in lines {
        verifier.accept(&Line::read(line));
    }
    let report = verifier.finish();
    assert_ne!(report.authenticity, Finding::Ok, "nobody signed it");
    assert!(!report.satisfies(&policy));
    if let Ok(text) = std::str::from_utf8(bytes) {
        assert_ne!(Verifier::of_proof(&policy, text).authenticity, Finding::Ok);
        if let Ok(note) = Note::parse(text) {
            // What was read is written again as it was.
            assert_eq!(note.to_string(), text);
            let _ = Checkpoint::parse(note.text());
        }
        if let Ok(proof) = RecordProof::parse(text) {
            assert_eq!(proof.text(), text);
        }
        let _ = text.parse::<NoteKey>();
    }
});
