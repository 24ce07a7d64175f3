//! What the strict reader takes has no doubled key, by another reader's judgement, and nothing
//! makes it panic.
#![no_main]

use lar_core::json::{self, Limits};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// The number of keys in a value in which doubled keys were merged.
fn keys(value: &Value) -> usize {
    match value {
        Value::Object(map) => map.len() + map.values().map(keys).sum::<usize>(),
        Value::Array(items) => items.iter().map(keys).sum(),
        _ => 0,
    }
}

fn holds_null(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.iter().any(|(k, v)| k.contains('\0') || holds_null(v)),
        Value::Array(items) => items.iter().any(holds_null),
        Value::String(text) => text.contains('\0'),
        _ => false,
    }
}

/// The number of keys as written: a colon outside a string follows each.
fn written_keys(text: &str) -> usize {
    let mut colons = 0;
    let mut in_string = false;
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => in_string = !in_string,
            b'\\' if in_string => {
                bytes.next();
            }
            b':' if !in_string => colons += 1,
            _ => {}
        }
    }
    colons
}

fuzz_target!(|text: &str| {
    let limits = Limits::default();
    let accepted = json::check(text, &limits).is_ok();
    match serde_json::from_str::<Value>(text) {
        Ok(value) if accepted => {
            assert_eq!(keys(&value), written_keys(text), "a doubled key was taken");
            assert!(!holds_null(&value), "a null character was taken");
            if let Ok(bytes) = json::canonical(&value) {
                let again: Value = serde_json::from_slice(&bytes).expect("canonical JSON is JSON");
                assert_eq!(again, value, "canonical JSON says something else");
            }
        }
        Ok(_) => {}
        Err(error) => assert!(!accepted, "taken, though it is not JSON: {error}"),
    }
    if let Ok(mut fields) = json::fields(text, &limits) {
        let _ = json::take_string(&mut fields, "command");
        let _ = json::take_u64(&mut fields, "seconds");
        let _ = json::finish(&fields, &["command", "seconds"]);
    }
});
