//! The library on long input, and the program as an auditor runs it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use std::path::Path;
use std::process::Command;

use lar_core::audit::bundle::{FORMAT, Header};
use lar_core::audit::checkpoint::Checkpoint;
use lar_core::audit::note::{KeyKind, KeySigner, NoteSigner};
use lar_core::audit::policy::Policy;
use lar_core::audit::record::{Body, ErrorRecord, RunClose, RunEnd, RunOpen, genesis, seal};
use lar_core::audit::tree::Frontier;
use lar_core::audit::verify::Finding;
use lar_core::id::RunId;
use lar_core::time::Timestamp;

const ORIGIN: &str = "lar-ledger/test";

fn key(seed: u8) -> KeySigner {
    let secret = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]);
    KeySigner::new(ORIGIN, KeyKind::Ed25519, secret).unwrap()
}

/// The lines of a bundle whose run has so many records, each with a message of so many bytes.
fn lines(records: u64, message: usize) -> Vec<Vec<u8>> {
    let run = RunId::new("run").unwrap();
    let (mut tree, mut prev, mut lines) = (Frontier::default(), genesis(), vec![Vec::new()]);
    for seq in 1..=records {
        let body = if seq == 1 {
            Body::RunOpen(RunOpen {
                model: "replay".into(),
                task: "test".into(),
                runtime: "0".into(),
                binary: None,
                manifest: None,
                grant: None,
                budget: serde_json::json!({}),
                tokens: Vec::new(),
                enforcement: "none".into(),
                approvals: Vec::new(),
                runner: None,
            })
        } else if seq == records {
            Body::RunClose(RunClose {
                stop_reason: "complete".into(),
                end: RunEnd::default(),
                tokens: Vec::new(),
                records,
            })
        } else {
            Body::Error(ErrorRecord {
                token_name: "t".into(),
                error_type: "TokenScopeError".into(),
                message: "é".repeat(message / 2),
                attempt: None,
                input: None,
            })
        };
        let sealed = seal(&run, seq, prev, Timestamp::from_millis(1), &body).unwrap();
        prev = sealed.hash;
        tree.push(prev).unwrap();
        lines.push(sealed.bytes);
    }
    let checkpoint = Checkpoint { origin: ORIGIN.into(), size: records, root: tree.root() };
    let header = Header {
        bundle: FORMAT.into(),
        run,
        records,
        head: prev,
        checkpoint: checkpoint.sign(&key(1)).unwrap().to_string(),
        timestamp: None,
        epochs: Vec::new(),
    };
    lines[0] = header.line().unwrap();
    lines
}

fn joined(lines: &[Vec<u8>]) -> Vec<u8> {
    lines.iter().flat_map(|line| [line.as_slice(), b"\n"].concat()).collect()
}

fn pinned() -> Policy {
    Policy { keys: vec![key(1).key().clone()], ..Policy::default() }
}

#[test]
fn long_input_is_read_in_pieces() {
    // Larger than several pieces, with lines across their borders.
    let lines = lines(200, 60_000);
    let bytes = joined(&lines);
    assert!(bytes.len() > 10 << 20);
    let policy = pinned();
    let report = lar_verify::verify(bytes.as_slice(), &policy).unwrap();
    assert!(report.satisfies(&policy), "{report:?}");
    assert_eq!(report.records, 200);
    let mut changed = lines.clone();
    let at = changed[151].len() - 100;
    changed[151][at] = b'x';
    let report = lar_verify::verify(joined(&changed).as_slice(), &policy).unwrap();
    assert!(matches!(report.integrity, Finding::Broken { at: Some(151), .. }), "{report:?}");
}

#[test]
fn input_that_ends_within_a_line_or_never_ends_one_is_broken() {
    let policy = pinned();
    let bytes = joined(&lines(5, 10));
    for cut in (0..bytes.len()).rev().step_by(13) {
        let report = lar_verify::verify(&bytes[..cut], &policy).unwrap();
        assert!(!report.satisfies(&policy), "cut at {cut}");
        assert!(report.integrity.is_broken(), "cut at {cut}: {report:?}");
    }
    let endless = std::io::Read::take(std::io::repeat(b'x'), 1 << 40);
    assert!(lar_verify::verify(endless, &policy).unwrap().integrity.is_broken());
    let more = [bytes.as_slice(), b"\n"].concat();
    assert!(!lar_verify::verify(more.as_slice(), &policy).unwrap().satisfies(&policy));
}

/// Runs the program and gives its exit code, what it printed and what it complained about.
fn program(directory: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_lar-verify"))
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_program_says_what_holds_and_exits_accordingly() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    let write = |name: &str, text: &[u8]| std::fs::write(at.join(name), text).unwrap();
    let bytes = joined(&lines(5, 10));
    write("run.bundle", &bytes);
    write("policy.toml", format!("keys = [\"{}\"]\n", key(1).key()).as_bytes());
    write("other.toml", format!("keys = [\"{}\"]\n", key(2).key()).as_bytes());
    let (code, out, _) = program(at, &["--policy", "policy.toml", "run.bundle"]);
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("integrity     ok\n") && out.contains("authenticity  ok\n"), "{out}");
    let (code, out, _) = program(at, &["run.bundle"]);
    assert_eq!(code, 0);
    assert!(out.contains("authenticity  absent: the policy names no key"), "{out}");
    let (code, out, _) = program(at, &["--json", "--policy", "other.toml", "run.bundle"]);
    assert_eq!(code, 1);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["ok"], false);
    assert_eq!(json["integrity"], "ok");
    assert_eq!(json["authenticity"], "broken");

    write("typo.toml", b"keys = []\nkyes = []\n");
    write("witness.toml", format!("witnesses = [\"{}\"]\n", key(1).key()).as_bytes());
    write("broken.toml", b"keys = [\"x\"]\n");
    for (arguments, why) in [
        (vec!["--policy", "typo.toml", "run.bundle"], "line 2: unknown field `kyes`"),
        (vec!["--policy", "witness.toml", "run.bundle"], "a log's key"),
        (vec!["--policy", "broken.toml", "run.bundle"], "not a key of the form"),
        (vec!["--policy", "none.toml", "run.bundle"], "can't be read"),
        (vec!["none.bundle"], "can't be read"),
        (vec![], "name the file"),
        (vec!["a", "b"], "one file"),
        (vec!["--nonsense"], "no option"),
        (vec!["--policy"], "takes a file"),
        (vec!["."], "can't be read"),
    ] {
        let (code, out, complaint) = program(at, &arguments);
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}");
        assert!(complaint.contains(why), "{arguments:?}: {complaint}");
    }
    let (code, out, _) = program(at, &["--help"]);
    assert_eq!(code, 0);
    assert!(out.contains("Exit codes"));
}
