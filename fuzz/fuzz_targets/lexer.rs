//! The lexer, the prefix matcher and the profiles on hostile bytes. The first line is a prefix, the rest a
//! command; the first byte chooses a program of which much is known, so that its profile is reached.
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

    // Half of the inputs are about a known program.
    let known = text.bytes().next().and_then(|byte| KNOWN.get(usize::from(byte) % (KNOWN.len() * 2)));
    if let Some(known) = known
        && let Ok(scope) = CommandScope::new([(*known).to_owned()])
    {
        matches(&scope, &format!("{known} {rest}"));
        among(&scope, known, rest);
    }
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
    among(&scope, prefix, rest);

    // Whatever a provably narrower scope permits, the wider one permits too.
    if let Ok(narrower) = CommandScope::new([format!("{prefix}{rest}")])
        && narrower.narrows(&scope)
    {
        let longer = format!("{prefix}{rest}");
        let (program, after) = longer.split_once(' ').unwrap_or((&longer, ""));
        for option in ["", "-v", "-n y", "-q --no-pager", "-s"] {
            for end in ["", " y", "'", "\"", " y'", "(1)'", " y\"", " -v"] {
                if let Ok(command) = Command::parse(&format!("{program} {option} {after}{end}"))
                    && narrower.permits(&command).is_ok()
                {
                    assert!(scope.permits(&command).is_ok(), "narrower, yet it permits more");
                }
            }
        }
    }
});

/// The rest of an input among the words of a prefix, where options may stand.
fn among(scope: &CommandScope, prefix: &str, rest: &str) {
    for (at, _) in prefix.match_indices(' ') {
        let (before, after) = prefix.split_at(at);
        matches(scope, &format!("{before} {rest}{after}"));
        matches(scope, &format!("{before} {rest}{after} 1'"));
    }
}

/// Prefixes whose programs read their arguments in different ways.
const KNOWN: [&str; 16] = [
    "kubectl get pods",
    "git log",
    "tar",
    "ps",
    "find .",
    "mysql -e 'SELECT",
    "npm",
    "terraform plan",
    "timeout 5 sudo curl -s",
    "ssh host",
    "awk",
    "sed -n",
    "jq",
    "psql -c 'SELECT",
    "python -m pytest",
    "docker run",
];

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
            assert_eq!(command.argv().first(), prefix.words().first());
            let mut words = command.argv().iter();
            // Letters of a cluster may have others among them: `-la` for `-l`.
            let holds = |word: &str, named: &str| {
                let mut letters = word.chars();
                word == named
                    || !word.starts_with("--") && named.chars().all(|c| letters.any(|l| l == c))
            };
            let stands = |named: &String| words.any(|word| holds(word, named));
            assert!(prefix.words().iter().all(stands), "every word of the prefix, in its order");
            let more = command.argv().len() > prefix.words().len() + 1;
            assert!(!prefix.is_open() || !more || prefix.profile().is_some());
            // What was permitted word by word is what a recording program would receive.
            let again: Vec<_> = command.argv().iter().map(|word| lexer::quote(word)).collect();
            if let Ok(again) = Command::parse(&again.join(" ")) {
                assert_eq!(again.argv(), command.argv());
                assert!(scope.permits(&again).is_ok(), "another spelling of the same words");
            }
            assert!(!scope.profiles_of(&command).is_empty() || prefix.profile().is_none());
        }
        Err(refusal) => {
            if let Some(span) = refusal.span.clone() {
                assert!(command.source().get(span).is_some());
            }
            assert!(refusal.to_string().len() < 16 * 1024);
        }
    }
}
