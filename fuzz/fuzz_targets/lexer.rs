//! The lexer and the prefix matcher on hostile bytes. The first line is a prefix, the rest a command.
#![no_main]

use lar_core::scope::command::{Command, CommandScope};
use lar_core::scope::lexer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (prefix, rest) = text.split_once('\n').unwrap_or(("x", text));
    splits(text);
    splits(rest);

    let Ok(scope) = CommandScope::new([prefix.to_owned()]) else {
        return;
    };
    assert!(scope.narrows(&scope), "a scope is no wider than itself");
    for prefix in scope.prefixes() {
        let _ = prefix.is_wide();
    }
    matches(&scope, rest);
    matches(&scope, &format!("{prefix}{rest}"));
    matches(&scope, &format!("{prefix} {rest}"));
    matches(&scope, &format!("{prefix}{rest}'"));

    // Whatever a provably narrower scope permits, the wider one permits too.
    if let Ok(narrower) = CommandScope::new([format!("{prefix}{rest}")])
        && narrower.narrows(&scope)
    {
        for end in ["", " y", "'", "\"", " y'", "(1)'", " y\""] {
            if let Ok(command) = Command::parse(&format!("{prefix}{rest}{end}"))
                && narrower.permits(&command).is_ok()
            {
                assert!(
                    scope.permits(&command).is_ok(),
                    "narrower, yet it permits more"
                );
            }
        }
    }
});

fn splits(source: &str) {
    match lexer::split(source) {
        Ok(words) => {
            let mut end = 0;
            for word in &words {
                assert!(word.span.start >= end && source.get(word.span.clone()).is_some());
                assert!(!word.text.contains('\0'));
                end = word.span.end;
            }
            let quoted: Vec<_> = words.iter().map(|word| lexer::quote(&word.text)).collect();
            let source = quoted.join(" ");
            // Quotes make a source longer, perhaps beyond the cap.
            if source.len() <= lexer::MAX_SOURCE_BYTES {
                let again = lexer::split(&source).expect("quoted words are accepted");
                assert!(
                    again
                        .iter()
                        .map(|w| &w.text)
                        .eq(words.iter().map(|w| &w.text))
                );
            }
        }
        Err(error) => {
            assert!(source.get(error.span.clone()).is_some());
            let _ = error.to_string();
        }
    }
    if let Ok(found) = lexer::split_prefix(source)
        && let Some(open) = found.open
    {
        assert!(source.get(open.span).is_some());
    }
}

fn matches(scope: &CommandScope, source: &str) {
    let Ok(command) = Command::parse(source) else {
        return;
    };
    assert_eq!(command.argv().len(), command.spans().len());
    let first = scope.permits(&command);
    assert_eq!(
        first,
        scope.permits(&command),
        "the same question has one answer"
    );
    match first {
        Ok(prefix) => {
            assert!(command.argv().starts_with(prefix.words()));
            assert!(!prefix.is_open() || command.argv().len() == prefix.words().len() + 1);
        }
        Err(refusal) => {
            if let Some(span) = refusal.span.clone() {
                assert!(command.source().get(span).is_some());
            }
            assert!(refusal.to_string().len() < 16 * 1024);
        }
    }
}
