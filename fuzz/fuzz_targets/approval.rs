//! Signed approvals: statements, signatures and keys come from elsewhere, byte for byte.
#![no_main]

use lar_core::approval::{ApproverKey, Signed, Statement};
use libfuzzer_sys::fuzz_target;

/// Keys whose secrets the fuzzer can't guess: nobody has them.
const KEYS: [&str; 3] = [
    "alice ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFhmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZm",
    "alice ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBH7qfSlIMkK0xTv5mdrM7+vGBcdMSkDgb/d9JBjJvQBGKPNTXpe1eev9xs4VaXAcwhav8CFyKNRC79i690lF14Q=",
    "alice sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIFhmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmAAAABHNzaDo=",
];

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (statement, signature) = text.split_once('\n').unwrap_or((text, ""));
    if let Ok(read) = Statement::read(statement) {
        // One statement has one spelling.
        assert_eq!(read.to_text().unwrap(), statement);
    }
    let keys: Vec<ApproverKey> =
        KEYS.iter().map(|line| ApproverKey::read(line).unwrap()).collect();
    let signed = Signed { statement: statement.to_owned(), signature: signature.to_owned() };
    assert!(signed.verify(&keys).is_err(), "nobody signed it");
    // A flaw is shown to people: its text never fails to be made.
    if let Err(flaw) = signed.verify(&keys) {
        assert!(!flaw.to_string().is_empty());
    }
    if let Ok(key) = ApproverKey::read(text) {
        assert_eq!(ApproverKey::read(&key.to_string()).unwrap(), key);
    }
});
