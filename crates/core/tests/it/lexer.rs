//! The lexer against real shells: what it accepts must mean the same words to `dash` and `bash`, as
//! arguments and in command position. A shell that is not installed is named and skipped.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a helper of a test may stop at the first surprise and say what was skipped"
)]

use lar_core::scope::command::{Command as Parsed, CommandScope};
use lar_core::scope::lexer::{self, Word};
use proptest::prelude::*;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Sources judged by one process of a shell, so that starting it costs little.
const BATCH: usize = 48;
const END_OF_SOURCE: &str = "\u{1}end of source\u{1}";

/// The shells that are installed, by their full paths, because they run without our `PATH`.
fn shells() -> &'static [(&'static str, PathBuf)] {
    static SHELLS: OnceLock<Vec<(&'static str, PathBuf)>> = OnceLock::new();
    SHELLS.get_or_init(|| {
        let search = std::env::var_os("PATH").unwrap_or_default();
        let find = |name| {
            let file = std::env::split_paths(&search).map(|p| p.join(name)).find(|p| p.is_file());
            if file.is_none() {
                eprintln!(
                    "skipped: `{name}` is not installed, so the lexer was not compared with it"
                );
            }
            file.map(|file| (name, file))
        };
        ["dash", "bash"].into_iter().filter_map(find).collect()
    })
}

/// A directory whose files would show a pattern that was expanded.
fn directory() -> &'static PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("lexer-oracle");
        std::fs::create_dir_all(&path).unwrap();
        for name in ["a", "b", "ab", "x1"] {
            std::fs::write(path.join(name), "").unwrap();
        }
        path
    })
}

/// Runs one script and returns its output and what it said on stderr.
fn run(shell: &Path, script: &str) -> (Vec<u8>, String) {
    let output = Command::new(shell)
        // A script that begins with a dash would be taken for an option.
        .args(["-c", &format!(":\n{script}")])
        .env_clear()
        .env("PATH", "/nonexistent")
        .env("HOME", "/home/nobody")
        .env("LC_ALL", "C.UTF-8")
        .envs([("a", "EXPANDED"), ("x", "EXPANDED")])
        .current_dir(directory())
        .stdin(Stdio::null())
        .output();
    let output = output.unwrap();
    (output.stdout, String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A source without the blanks, empty lines and joined lines before its first word.
fn from_its_first_word(source: &str) -> &str {
    let rest = source.trim_start_matches(['\n', ' ', '\t']);
    match rest.strip_prefix("\\\n") {
        Some(rest) => from_its_first_word(rest),
        None => rest,
    }
}

/// Compares every accepted source with what the shells make of it as arguments of a builtin.
pub fn compare_as_arguments(sources: &[String]) -> Result<(), TestCaseError> {
    let mut accepted: Vec<(&String, Vec<Word>)> = Vec::new();
    for source in sources {
        if let Ok(words) = lexer::split(source) {
            accepted.push((source, words));
        }
    }
    let mut script = String::new();
    let mut expected = Vec::new();
    for (source, words) in &accepted {
        // Before a builtin's arguments an empty line would end it.
        let source = from_its_first_word(source);
        script.push_str(&format!("printf '%s\\0' {source}\nprintf '%s\\0' '{END_OF_SOURCE}'\n"));
        for text in words.iter().map(|word| word.text.as_str()).chain([END_OF_SOURCE]) {
            expected.extend_from_slice(text.as_bytes());
            expected.push(0);
        }
    }
    for (shell, file) in shells() {
        let (found, complaint) = run(file, &script);
        prop_assert!(
            found == expected,
            "{shell} reads {sources:?} otherwise\n ours: {}\n {shell}: {}\n {complaint}",
            String::from_utf8_lossy(&expected).escape_debug(),
            String::from_utf8_lossy(&found).escape_debug(),
        );
    }
    Ok(())
}

/// Compares accepted sources in command position: `bash` hands an unknown command's words to a
/// function, `dash` names the program that it could not find.
fn compare_as_commands(sources: &[String]) -> Result<(), TestCaseError> {
    let usable = |source: &&String| {
        let Ok(words) = lexer::split(source) else {
            return false;
        };
        let program = words.first().map_or("", |word| word.text.as_str());
        // A path is never looked up, and builtins would run.
        !program.contains('/') && !matches!(program, ":" | "." | "[" | "-")
    };
    let sources: Vec<&String> = sources.iter().filter(usable).collect();
    let handler = "command_not_found_handle() { printf '%s\\0' \"$@\"; }\n";
    let mut bash = handler.to_owned();
    let mut dash = String::new();
    let (mut all_words, mut programs) = (Vec::new(), Vec::new());
    for source in &sources {
        bash.push_str(&format!("{source}\nprintf '%s\\0' '{END_OF_SOURCE}'\n"));
        dash.push_str(&format!("{source}\nprintf '%s\\0' \"$?\"\n"));
        let words = lexer::split(source).unwrap();
        for text in words.iter().map(|word| word.text.as_str()).chain([END_OF_SOURCE]) {
            all_words.extend_from_slice(text.as_bytes());
            all_words.push(0);
        }
        programs.push(words.into_iter().next().unwrap().text);
    }
    for (shell, file) in shells() {
        if *shell == "bash" {
            let (found, complaint) = run(file, &bash);
            prop_assert!(
                found == all_words,
                "bash runs {sources:?} otherwise\n ours: {}\n bash: {}\n {complaint}",
                String::from_utf8_lossy(&all_words).escape_debug(),
                String::from_utf8_lossy(&found).escape_debug(),
            );
        } else {
            let (found, complaint) = run(file, &dash);
            let none_was_found = "127\0".repeat(sources.len());
            prop_assert!(
                found == none_was_found.as_bytes(),
                "dash runs {sources:?} otherwise: {} {complaint}",
                String::from_utf8_lossy(&found).escape_debug(),
            );
            let mut said = complaint.as_str();
            for program in &programs {
                let wanted = format!(": {program}: not found\n");
                let at = said.find(&wanted);
                prop_assert!(at.is_some(), "dash did not look for {program:?}: {complaint}");
                said = said.get(at.unwrap_or(0) + wanted.len()..).unwrap_or("");
            }
        }
    }
    Ok(())
}

/// Pieces that matter to a shell, far more often than plain letters.
fn piece() -> impl Strategy<Value = String> {
    let fixed =
        |list: &'static [&'static str]| proptest::sample::select(list).prop_map(str::to_owned);
    prop_oneof![
        6 => fixed(&["a", "b", "x", "1", "-", "ab", "é", "日", "с", "\u{1f600}", "a1_"]),
        5 => fixed(&[" ", "  ", "\t"]),
        4 => fixed(&["'", "\"", "\\", "''", "\"\"", "\\\\", "\\'", "\\\""]),
        2 => fixed(&["'a b'", "\"a b\"", "'$a'", "\"\\$a\"", "\\$", "'*'", "\\*", "\"`'\"", "'\n'"]),
        3 => fixed(&["~", "=", ":", "#", "{", "}", "!", "%", "^", ",", "..", "@", "+", ".", "/", "]"]),
        1 => fixed(&["{}", "{a,b}", "{1..3}", "{0}", "a=", "a=~", ":~", "=~", "!x", "#a", "~a", "%1"]),
        2 => fixed(&["$", "$ ", "$\"", "$'", "$/", "$\\", "\\\n", "\n", "\"a$\"", "a$", "$."]),
        1 => fixed(&["$", "`", "*", "?", "[", "|", "&", ";", "<", ">", "(", ")", "\n", "\r", "\u{1}"]),
        1 => fixed(&["if", "then", "time", "[[", "in", "case", "function", "\\\n", "\u{7f}", "\u{a0}",
            "\u{200b}", "'\u{1}'", "'\u{7f}'", "\"\u{1}\"", "\\\u{7f}", "'\r'", "'\u{a0}'"]),
    ]
}

fn source() -> impl Strategy<Value = String> {
    proptest::collection::vec(piece(), 1..10).prop_map(|pieces| pieces.concat())
}

/// Sources whose first characters are plain, so that what follows is tried as an argument too.
fn batch() -> impl Strategy<Value = Vec<String>> {
    let led = source().prop_map(|rest| format!("x {rest}"));
    proptest::collection::vec(prop_oneof![source(), led], 1..=BATCH)
}

/// Each case runs two shells. `PROPTEST_CASES` asks for more.
fn few() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig { cases: usual.cases / 2, max_shrink_iters: 2000, ..usual }
}

proptest! {
    #![proptest_config(few())]

    #[test]
    fn accepted_sources_are_the_same_words_to_real_shells(sources in batch()) {
        compare_as_arguments(&sources)?;
    }

    #[test]
    fn accepted_sources_are_the_same_command_to_real_shells(sources in batch()) {
        compare_as_commands(&sources)?;
    }

    #[test]
    fn spans_lie_within_the_source_and_quoting_is_reversible(source in source()) {
        match lexer::split(&source) {
            Ok(words) => {
                let mut end = 0;
                for word in &words {
                    prop_assert!(word.span.start >= end && source.get(word.span.clone()).is_some());
                    end = word.span.end;
                }
                let texts: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
                let quoted: Vec<_> = texts.iter().map(|text| lexer::quote(text)).collect();
                let again = lexer::split(&quoted.join(" ")).unwrap();
                prop_assert!(again.iter().map(|word| word.text.as_str()).eq(texts));
            }
            Err(error) => prop_assert!(source.get(error.span).is_some()),
        }
    }

    #[test]
    fn a_permitted_command_begins_with_the_words_of_its_prefix(
        prefix in source(), rest in source(),
    ) {
        let Ok(scope) = CommandScope::new([prefix.clone()]) else { return Ok(()) };
        for source in [rest.clone(), format!("{prefix}{rest}"), format!("{prefix}{rest}'"),
            format!("{prefix} {rest}")] {
            let Ok(command) = Parsed::parse(&source) else { continue };
            let Ok(by) = scope.permits(&command) else { continue };
            prop_assert!(by.profile().is_some() || command.argv().starts_with(by.words()));
            let mut words = command.argv().iter();
            // Letters of a cluster may have others among them: `-la` for `-l`.
            let holds = |word: &str, named: &str| {
                let mut letters = word.chars();
                word == named
                    || !word.starts_with("--") && named.chars().all(|c| letters.any(|l| l == c))
            };
            let mut stands = |named: &String| words.any(|word| holds(word, named));
            prop_assert!(by.words().iter().all(&mut stands));
            prop_assert!(!by.is_open() || command.argv().len() == by.words().len() + 1);
        }
    }
}

/// What was once found, or nearly was, and every construct that a shell treats in its own way.
#[test]
fn known_traps_mean_the_same_to_real_shells() {
    let traps = [
        "x https://h/p?q=1",
        "x 'http://'h?a?b",
        "x {}",
        "x a{}b",
        "x {},b}",
        "x }{",
        "x a}{b",
        "x {a}",
        "x a{b}c",
        "x {0}",
        "x @{u}",
        "x {a",
        "x }",
        "x a~b",
        "x a=b~",
        "x ''a",
        "x a#b",
        "x ''#b",
        "x \\#b",
        "x !",
        "x !a",
        "x a!b",
        "x ^a^b",
        "x %1",
        "x a=b",
        "x --a=b",
        "x if then",
        "x ]",
        "x a]",
        "x ,",
        "x ..",
        "x 'a'\\''b'",
        "x \"a\\b\\$\\`\\\"\\\\\"",
        "x \\a\\ \\\t\\é",
        "x 'с\u{81}'",
        "x с",
        "x '\u{1}\u{7f}'",
        "x \"\u{1}\u{7f}\"",
        "x '\r\n\t'",
        "x \"\n\"",
        "x '\u{a0}\u{2028}'",
        "\\if",
        "'time' a",
        "i'f'",
        "x -- -n -e",
        "x 1 2 3",
        "x -",
        "x \"\"",
        "x '' ''",
        "x a:b",
        "x a:~b:",
        "x \\~",
        "x '~'",
        "x \"~\"/a",
        "x a=\\~",
        "x a='~'",
        "x \"!\"",
        "x \u{1f600}",
        "x \\\\",
        "x $",
        "x a$ $/ $. $, $: $% $] $} $\\' $\\\\",
        "x \"$\" \"$ \" \"$'a'\" \"$|$&$;$<$>$)$=$/$.$,$:$%$]$}$\\\"\" \"$\n\"",
        "x {a$}",
        "x $\\\n",
        "x \"$\\\n\"",
        "x a\\\nb \\\n c\\\n",
        "x \"a\\\nb\" 'a\\\nb'",
        "x ''\\\n#a",
        "x a\\\n#b",
        "\n\n x a\n \n",
        "\\\nx\\\n a",
    ]
    .map(str::to_owned);
    for trap in &traps {
        if let Err(error) = lexer::split(trap) {
            assert!(
                matches!(trap.as_str(), "x {},b}" | "x a:~b:"),
                "{trap:?} was refused: {error}"
            );
        }
    }
    compare_as_arguments(&traps).unwrap();
    compare_as_commands(&traps).unwrap();
}

/// The comparison can fail: sources that our rules refuse are indeed read otherwise by some shell.
#[test]
fn refused_sources_do_differ_in_some_shell() {
    if shells().len() < 2 {
        return;
    }
    for source in [
        "{a,b}", "{1..3}", "~", "a=~", "a=b:~", "*", "a?", "$a", "\"$a\"", "$'a'", "$[1]",
        "$\\\na", "#a",
    ] {
        assert!(lexer::split(&format!("x {source}")).is_err(), "{source}");
        let literal = format!("{source}\0");
        let differs = shells().iter().any(|(_, file)| {
            run(file, &format!("printf '%s\\0' {source}")).0 != literal.as_bytes()
        });
        assert!(differs || source == "a?", "{source} is literal to every shell");
    }
}
