//! Any bytes are a manifest or are refused, and a refusal can always be shown: nothing panics, and
//! every place lies within the text and on the edges of characters.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use linear_agentics::manifest::{Manifest, Surroundings, worst};

fuzz_target!(|bytes: &[u8]| {
    match Manifest::read_bytes(bytes, Path::new("/work/app")) {
        Ok(manifest) => {
            let unset = |_: &str| false;
            let around = Surroundings { now: None, has_env: Some(&unset) };
            let report = worst(&manifest, &around);
            assert!(serde_json::to_string(&report).is_ok());
            assert!(!report.to_string().is_empty());
            for token in manifest.tokens.iter().chain(&manifest.candidates) {
                assert!(token.digest().is_ok(), "a token that was accepted has no canonical form");
            }
        }
        Err(error) => {
            assert!(!error.diagnostics().is_empty(), "refused without a reason");
            let text = String::from_utf8_lossy(bytes);
            for one in error.diagnostics() {
                for span in one.span.iter().chain(one.also.as_ref().map(|(span, _)| span)) {
                    assert!(text.get(span.clone()).is_some(), "{span:?} is no part of the text");
                }
            }
            let plain = error.render("manifest.toml", false);
            assert!(plain.contains("error"));
            assert!(!plain.contains('\u{1b}'), "an escape sequence reached the terminal");
            assert!(!error.render("manifest.toml", true).is_empty());
            assert!(!error.to_string().is_empty());
        }
    }
});
