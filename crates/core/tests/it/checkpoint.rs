//! Checkpoints and proofs, and a second opinion on both by implementations that are not ours.

use lar_core::audit::checkpoint::Checkpoint;
use lar_core::audit::note::{KeyKind, KeySigner, Note, NoteError, NoteKey, NoteSigner, Signed};
use lar_core::audit::tree::{
    Frontier, Subtree, consistency_plan, fold, inclusion_plan, leaf_hash, subtrees,
};
use lar_core::json::Digest;
use proptest::prelude::*;
use signed_note::Verifier as _;

/// The note that the specification gives as its example, and the key it was signed with.
const EXAMPLE: &str = "example.com/behind-the-sofa\n20852163\n\
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\
    — example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n";

fn signer(seed: u8, name: &str, kind: KeyKind) -> KeySigner {
    let secret = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]);
    KeySigner::new(name, kind, secret).unwrap()
}

fn checkpoint(size: u64) -> Checkpoint {
    Checkpoint { origin: "example.com/log".into(), size, root: Digest::of(size.to_be_bytes()) }
}

#[test]
fn the_specifications_example_is_read_and_written_as_it_is() {
    let note = Note::parse(EXAMPLE).unwrap();
    assert_eq!(note.to_string(), EXAMPLE);
    let read = Checkpoint::parse(note.text()).unwrap();
    assert_eq!((read.origin.as_str(), read.size), ("example.com/behind-the-sofa", 20_852_163));
    assert_eq!(read.text(), note.text());
}

#[test]
fn only_the_key_that_is_known_counts() {
    let ours = signer(1, "example.com/log", KeyKind::Ed25519);
    let other = signer(2, "example.com/log", KeyKind::Ed25519);
    let note = checkpoint(7).sign(&ours).unwrap();
    assert_eq!(ours.key().check(&note), Signed::Valid { time: None });
    assert_eq!(other.key().check(&note), Signed::Absent);
    let changed = note.to_string().replace("\n7\n", "\n8\n");
    assert_eq!(ours.key().check(&Note::parse(&changed).unwrap()), Signed::Broken);
    let copied = ours.key().to_string().parse::<NoteKey>().unwrap();
    assert_eq!(&copied, ours.key());
    // The id is part of the key's text: another key under the same id is no key at all.
    let id = |key: &NoteKey| hex::encode(key.id());
    let forged = ours.key().to_string().replace(&id(ours.key()), &id(other.key()));
    assert_eq!(forged.parse::<NoteKey>(), Err(NoteError::Key));
    assert!(!format!("{ours:?}").contains("0101"), "a secret is never shown");
}

#[test]
fn a_witness_signs_the_time_too() {
    let witness = signer(3, "witness.example", KeyKind::Cosignature);
    let mut note = checkpoint(7).sign(&signer(1, "example.com/log", KeyKind::Ed25519)).unwrap();
    note.add(witness.cosign(note.text(), 1_700_000_000));
    assert_eq!(witness.key().check(&note), Signed::Valid { time: Some(1_700_000_000) });
    // The same key doesn't serve as a log's key.
    let as_log = witness.key().renamed("witness.example", KeyKind::Ed25519).unwrap();
    assert_eq!(as_log.check(&note), Signed::Absent);
    let mut late = Note::parse(&note.to_string()).unwrap();
    let mut signature = late.signatures()[1].clone();
    signature.signature[7] ^= 1;
    late = checkpoint(7).sign(&signer(1, "example.com/log", KeyKind::Ed25519)).unwrap();
    late.add(signature);
    assert_eq!(witness.key().check(&late), Signed::Broken);
}

#[test]
fn what_is_no_note_or_checkpoint_is_refused() {
    for bad in [
        "",
        "\n",
        "a\n",
        "a\n\n",
        "a\n\nb\n",
        "a\n\n— b\n",
        "a\n\n— b AAAA\nx\n",
        "a\r\n\n— b AAAAAAA=\n",
    ] {
        assert!(Note::parse(bad).is_err(), "{bad:?}");
    }
    let root = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";
    for bad in [
        format!("a\n1\n{root}"),
        format!("a\n01\n{root}\n"),
        format!("a\n+1\n{root}\n"),
        format!("a\n-1\n{root}\n"),
        format!("\n1\n{root}\n"),
        format!("a\n1\n{root}\nmore\n"),
        format!("a\n1\n{}\n", root.trim_end_matches('=')),
        format!("a\n1\n{}\n", root.replace("2I=", "2J=")),
        format!("a\n9007199254740992\n{root}\n"),
        "a\n1\nAAAA\n".to_owned(),
    ] {
        assert!(Checkpoint::parse(&bad).is_err(), "{bad:?}");
    }
    for bad in ["", "a+b", "a+00000000+AA==", "a b+0+AQ=="] {
        assert!(bad.parse::<NoteKey>().is_err(), "{bad:?}");
    }
}

#[test]
fn another_implementation_accepts_our_notes_and_refuses_changed_ones() {
    let ours = signer(1, "example.com/log", KeyKind::Ed25519);
    let verifier = signed_note::StandardVerifier::new(&ours.key().to_string()).unwrap();
    assert_eq!(verifier.key_id().to_be_bytes(), ours.key().id());
    let note = checkpoint(7).sign(&ours).unwrap();
    let theirs = signed_note::Note::from_bytes(note.to_string().as_bytes()).unwrap();
    let list = signed_note::VerifierList::new(vec![Box::new(verifier)]);
    let (good, bad) = theirs.verify(&list).unwrap();
    assert_eq!((good.len(), bad.len()), (1, 0));
    let changed = note.to_string().replace("\n7\n", "\n8\n");
    let theirs = signed_note::Note::from_bytes(changed.as_bytes()).unwrap();
    assert!(theirs.verify(&list).is_err());
}

/// A tree with all its hashes at hand, in our way.
struct Ours(Vec<Digest>);

impl Ours {
    fn subtree(&self, subtree: Subtree) -> Digest {
        let from = subtree.index << subtree.level;
        let mut tree = Frontier::default();
        for leaf in &self.0[from as usize..(from + (1 << subtree.level)) as usize] {
            tree.push(*leaf).unwrap();
        }
        tree.root()
    }

    fn range(&self, range: std::ops::Range<u64>) -> Digest {
        let roots: Vec<Digest> = subtrees(range).into_iter().map(|s| self.subtree(s)).collect();
        fold(&roots).unwrap()
    }
}

/// The same tree in theirs: all stored hashes in their order.
#[derive(Default)]
struct Theirs(Vec<tlog_tiles::tlog::Hash>);

impl tlog_tiles::tlog::HashReader for &Theirs {
    fn read_hashes(
        &self,
        indexes: &[u64],
    ) -> Result<Vec<tlog_tiles::tlog::Hash>, tlog_tiles::tlog::Error> {
        Ok(indexes.iter().map(|index| self.0[*index as usize]).collect())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn another_implementation_makes_the_same_trees_and_proofs(size in 1u64..120, at in any::<prop::sample::Index>(), old in any::<prop::sample::Index>()) {
        let (at, old) = (at.index(size as usize) as u64, old.index(size as usize) as u64 + 1);
        let (mut ours, mut theirs, mut tree) = (Ours(Vec::new()), Theirs::default(), Frontier::default());
        for n in 0..size {
            let record = format!("record {n}");
            ours.0.push(leaf_hash(record.as_bytes()));
            tree.push(leaf_hash(record.as_bytes())).unwrap();
            let more = tlog_tiles::tlog::stored_hashes(n, record.as_bytes(), &&theirs).unwrap();
            theirs.0.extend(more);
        }
        let root = tlog_tiles::tlog::tree_hash(size, &&theirs).unwrap();
        prop_assert_eq!(root.0, *tree.root().as_bytes());
        let proof: Vec<_> = inclusion_plan(at, size).unwrap().into_iter().map(|r| ours.range(r)).collect();
        let their_proof = tlog_tiles::tlog::prove_record(size, at, &&theirs).unwrap();
        prop_assert_eq!(proof.iter().map(|d| *d.as_bytes()).collect::<Vec<_>>(),
            their_proof.iter().map(|h| h.0).collect::<Vec<_>>());
        let proof: Vec<_> = consistency_plan(old, size).unwrap().into_iter().map(|r| ours.range(r)).collect();
        let their_proof = tlog_tiles::tlog::prove_tree(size, old, &&theirs).unwrap();
        prop_assert_eq!(proof.iter().map(|d| *d.as_bytes()).collect::<Vec<_>>(),
            their_proof.iter().map(|h| h.0).collect::<Vec<_>>());
    }

    #[test]
    fn texts_of_any_kind_never_panic(text in "(\\PC|\n){0,200}") {
        let _ = Note::parse(&text);
        let _ = Checkpoint::parse(&text);
        let _ = text.parse::<NoteKey>();
    }
}
