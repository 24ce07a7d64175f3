//! Two thousand random secrets in every form that programs print, cut into pieces at random.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use lar_core::redact::Redactor;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

fn percent(text: &str) -> String {
    let mut all = String::new();
    for byte in text.bytes() {
        match byte.is_ascii_alphanumeric() {
            true => all.push(char::from(byte)),
            false => write!(all, "%{byte:02X}").unwrap(),
        }
    }
    all
}

fn forms(secret: &str) -> Vec<String> {
    let mut all = vec![secret.to_owned(), percent(secret)];
    for before in ["", "x", "xy"] {
        let bytes = [before, secret].concat();
        all.extend([
            STANDARD.encode(&bytes),
            STANDARD_NO_PAD.encode(&bytes),
            URL_SAFE_NO_PAD.encode(&bytes),
        ]);
    }
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    all.extend([hex.to_uppercase(), hex]);
    let quoted = serde_json::to_string(secret).unwrap();
    all.push(quoted[1..quoted.len() - 1].to_owned());
    all
}

/// The middle of a form: the edges of base64 share bits with what is around.
fn middle(form: &str) -> &str {
    &form[2..form.len() - 3]
}

#[test]
fn two_thousand_random_secrets_pass_in_no_form_and_no_pieces() {
    let secret = "[!-~]{16,40}";
    let batch = (
        proptest::collection::vec(secret, 20),
        proptest::collection::vec(1_usize..200, 8),
        "[ -~\n]{0,12}",
    );
    // Other secrets each time: a hundred batches of twenty.
    let mut runner =
        TestRunner::new(Config { cases: 100, max_shrink_iters: 0, ..Config::default() });
    let law = |(secrets, sizes, filler): (Vec<String>, Vec<usize>, String)| {
        let mut builder = Redactor::builder();
        for (index, secret) in secrets.iter().enumerate() {
            builder.add(&format!("s{index}"), &secret.clone().into()).unwrap();
        }
        let redactor = builder.build().unwrap();
        let all: Vec<String> = secrets.iter().flat_map(|secret| forms(secret)).collect();
        let text = all.join(&filler) + "\n" + &all.join(" ");
        let mut stream = redactor.stream();
        let mut out = Vec::new();
        let mut rest = text.as_bytes();
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at((*size).min(rest.len()));
            stream.feed(piece, &mut out);
            rest = after;
        }
        stream.finish(&mut out);
        let out = String::from_utf8(out).unwrap();
        for form in &all {
            prop_assert!(!out.contains(middle(form)), "`{}` is in `{}`", form, out);
        }
        Ok(())
    };
    runner.run(&batch, law).unwrap();
}
