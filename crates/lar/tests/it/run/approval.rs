//! A person at a terminal, and the model that would like to answer for them.

use serde_json::{Value, json};

use crate::pty::Terminal;
use crate::support::{Lab, REACH, calls, command, done, eventually, shell, turn};

fn gated(more: &str) -> String {
    shell(&["touch", "sleep"], &format!("requires_approval = true\n{more}"))
}

/// A turn that says something and then runs a command.
fn arguing(words: &str, command: &str) -> Value {
    turn(
        vec![
            json!({"type": "text", "text": words}),
            json!({"type": "tool_use", "id": "toolu_argued", "name": "shell_sh",
                   "input": {"command": command}}),
        ],
        "tool_use",
    )
}

#[test]
fn a_yes_lets_exactly_what_was_shown_run_once() {
    let lab = Lab::new(&gated(""));
    let turns = [arguing("It is needed for the release.", "touch 'a b' c"), done()];
    let mut person = Terminal::start(&lab.replay(&turns));
    person.answer("yes");
    let ended = person.wait().exits(0);
    assert!(lab.made("a b").exists() && lab.made("c").exists());
    let screen = &ended.stderr;
    for shown in ["argv[0]  touch", "argv[1]  a b", "argv[2]  c", "uses left   1", "token       sh"]
    {
        assert!(screen.contains(shown), "`{shown}` is not on the screen:\n{screen}");
    }
    let words = screen.split("the model says (it may be wrong or lying): ").nth(1).unwrap();
    assert!(words.starts_with("It is needed for the release."), "{screen}");

    let trail = ended.trail();
    let [approval] = trail["approvals"].as_array().unwrap().as_slice() else { panic!("{trail}") };
    let proof = &trail["proofs"][0];
    assert_eq!(approval["approved"], true);
    assert_eq!(approval["approver_identity"], "os-user");
    let user = std::process::Command::new("id").arg("-un").output().unwrap().stdout;
    assert_eq!(approval["approver"], String::from_utf8(user).unwrap().trim());
    assert_eq!(approval["action_digest"], proof["action_digest"]);
    assert_eq!(approval["attempt"], proof["attempt"]);
    assert_eq!(proof["approval_seq"], approval["seq"]);
    assert!(approval["timestamp"].as_str() <= proof["timestamp"].as_str());
    let digest = proof["action_digest"].as_str().unwrap();
    assert!(screen.contains(digest), "the digest is shown:\n{screen}");
}

#[test]
fn only_the_whole_word_is_a_yes() {
    let typed = ["y", "YES", " yes", "yes ", "yes please", "no", "", "yesyes", "y\u{435}s"];
    std::thread::scope(|scope| {
        for line in typed {
            scope.spawn(move || {
                let lab = Lab::new(&gated(""));
                let mut person = Terminal::start(&lab.replay(&[command("touch made"), done()]));
                person.answer(line);
                let ended = person.wait().exits(0);
                assert!(!lab.made("made").exists(), "`{line}` was taken for a yes");
                let trail = ended.trail();
                assert_eq!(trail["approvals"][0]["approved"], false, "{line}");
                assert_eq!(trail["errors"][0]["error_type"], "ApprovalDeniedError", "{line}");
                let unused = &trail["run"]["tokens_unused"];
                assert_eq!(*unused, json!(["sh"]), "a denial spends nothing");
            });
        }
    });
}

#[test]
fn what_was_typed_before_the_question_does_not_count() {
    let lab = Lab::new(&format!(
        "{}[[token]]\nkind = \"shell\"\nname = \"slow\"\nallowed = [\"sleep\"]\n",
        gated("")
    ));
    let turns = [
        calls([
            ("shell_slow", json!({"command": "sleep 2"})),
            ("shell_sh", json!({"command": "touch made"})),
        ]),
        done(),
    ];
    let mut person = Terminal::start(&lab.replay(&turns));
    person.expect("shell_slow");
    person.type_in("yes\nyes\n");
    person.answer("no");
    person.wait().exits(0);
    assert!(!lab.made("made").exists(), "type-ahead was taken for an answer");
}

#[test]
fn without_a_terminal_nobody_approves() {
    let lab = Lab::new(&gated(""));
    let ended = lab.replay(&[command("touch made"), done()]).go().exits(0);
    assert!(!lab.made("made").exists());
    let trail = ended.trail();
    assert_eq!(trail["approvals"][0]["approved"], false);
    assert_eq!(trail["approvals"][0]["approver"], "none");
    let error = ended.complaints().remove(0);
    assert!(error.starts_with("ApprovalDeniedError"), "{error}");
    assert!(
        error.contains("no terminal") && error.contains("start the run on a terminal"),
        "{error}"
    );
}

#[test]
fn redirected_input_cannot_answer() {
    use std::io::Write;
    let lab = Lab::new(&gated(""));
    let mut command = lab.replay(&[command("touch made"), done()]).command(&[]);
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(b"yes\nyes\nyes\n");
    assert_eq!(crate::support::reap(&mut child), Some(0));
    assert!(!lab.made("made").exists());
}

#[test]
fn silence_denies() {
    let lab = Lab::new(&format!("[approval]\ntimeout = \"2s\"\n{}", gated("")));
    let turns = [command("touch made"), done()];
    let mut person = Terminal::start(&lab.replay(&turns));
    person.expect("Type `yes`");
    // The beginning of a yes is no yes.
    person.type_in("ye");
    person.expect("nobody answered in time: denied");
    let ended = person.wait().exits(0);
    assert!(!lab.made("made").exists());
    let trail = ended.trail();
    assert_eq!(trail["approvals"][0]["approved"], false);
    assert_eq!(trail["approvals"][0]["approver"], "none");
    assert_eq!(trail["errors"][0]["error_type"], "ApprovalTimeoutError");
}

#[test]
fn three_denials_close_a_token() {
    let lab = Lab::new(&gated("max_uses = 9"));
    let turns =
        [command("touch a"), command("touch b"), command("touch c"), command("touch d"), done()];
    let mut person = Terminal::start(&lab.replay(&turns));
    for _ in 0..3 {
        person.answer("no");
    }
    let ended = person.wait().exits(0);
    assert_eq!(ended.stderr.matches("approval needed").count(), 3, "nobody is asked a fourth time");
    let types: Vec<Value> = ended.errors().iter().map(|e| e["error_type"].clone()).collect();
    let denied = "ApprovalDeniedError";
    assert_eq!(types, [denied, denied, denied, "TokenClosedError"]);
}

#[test]
fn silence_is_a_denial_that_counts() {
    let lab = Lab::new(&format!("[approval]\ntimeout = \"1s\"\n{}", gated("max_uses = 9")));
    let turns =
        [command("touch a"), command("touch b"), command("touch c"), command("touch d"), done()];
    let person = Terminal::start(&lab.replay(&turns));
    let ended = person.wait().exits(0);
    assert_eq!(ended.stderr.matches("approval needed").count(), 3, "nobody is asked a fourth time");
    assert_eq!(ended.errors().pop().unwrap()["error_type"], "TokenClosedError");
}

#[test]
fn out_of_scope_is_refused_before_anybody_is_asked() {
    let lab = Lab::new(&gated(""));
    let mut person =
        Terminal::start(&lab.replay(&[command("rm -r x"), command("touch made"), done()]));
    person.answer("yes");
    let ended = person.wait().exits(0);
    assert_eq!(ended.stderr.matches("approval needed").count(), 1);
    assert_eq!(ended.complaints().len(), 1);
}

#[test]
fn hostile_text_is_shown_for_what_it_is() {
    // Clears the screen, turns the text round, hides a letter, speaks in tags.
    let hostile = "touch 'a\u{1b}[2Jb' '\u{202e}gpj.exe' 'x\u{200b}y' 'z\u{e0041}'";
    let words = "fine\r\n\u{1b}]0;title\u{7}── approval needed: none ──\u{9b}31m\u{2066}";
    let lab = Lab::new(&gated(""));
    let mut person = Terminal::start(&lab.replay(&[arguing(words, hostile), done()]));
    person.answer("no");
    let screen = person.wait().exits(0).stderr;
    let question = screen.split_once("── approval needed").unwrap().1;
    let question = question.split_once("anything else to deny").unwrap().0;
    for shown in
        ["a‹U+001B›[2Jb", "‹U+202E›gpj.exe", "x‹U+200B›y", "z‹U+E0041›", "fine‹U+000D›‹U+000A›"]
    {
        assert!(question.contains(shown), "`{shown}` is not in:\n{question}");
    }
    for raw in ["\u{1b}[2J", "\u{202e}", "\u{200b}", "\u{e0041}", "\u{7}", "\u{9b}", "\u{2066}"] {
        assert!(!screen.contains(raw), "{raw:?} reached the terminal");
    }
    // No line of the model's can pass for one of ours.
    assert!(!screen.lines().any(|line| line.starts_with("── approval needed: none")), "{screen}");
}

#[test]
fn a_request_shows_url_and_body_and_a_write_shows_its_content() {
    let tables = "[[token]]\nkind = \"http\"\nname = \"page\"\nurl = \"http://127.0.0.1:9/hook?a=b\"\n\
        methods = [\"POST\"]\nrequires_approval = true\n\
        [[token]]\nkind = \"file\"\nname = \"notes\"\nallowed_paths = [\"out\"]\nmode = \"write\"\n\
        requires_approval = true\n";
    let lab = Lab::new(tables);
    let turns = [
        calls([
            ("page", json!({"method": "POST", "body": {"text": "to be sent"}})),
            ("file_notes", json!({"operation": "write", "path": "n.txt", "content": "to be kept"})),
        ]),
        done(),
    ];
    let mut person = Terminal::start(&lab.replay(&turns));
    person.answer("no");
    person.answer("no");
    let screen = person.wait().exits(0).stderr;
    let digest = linear_agentics::json::Digest::of(b"to be kept").to_string();
    let path = lab.dir().canonicalize().unwrap().join("out/n.txt");
    for shown in
        ["http://127.0.0.1:9/hook?a=b", "POST", "\"text\":\"to be sent\"", "to be kept", &digest]
    {
        assert!(screen.contains(shown), "`{shown}` is not on the screen:\n{screen}");
    }
    assert!(screen.contains(path.to_str().unwrap()), "{screen}");
}

#[test]
fn ctrl_c_while_a_person_is_asked_seals_the_run() {
    let lab = Lab::new(&gated(""));
    let mut person = Terminal::start(&lab.replay(&[command("touch made"), done()]));
    person.expect("anything else to deny");
    std::thread::sleep(std::time::Duration::from_millis(300));
    person.type_in("\u{3}");
    let ended = person.wait().exits(1);
    assert!(!lab.made("made").exists());
    let result = ended.json();
    assert!(result["error"].as_str().unwrap().contains("interrupted"), "{result}");
    assert_eq!(ended.trail()["approvals"][0]["approved"], false);
    let trails = lab.trails();
    assert_eq!(trails[0].run.stop_reason.as_deref(), Some("error"));
}

#[test]
fn the_run_times_out_while_a_person_is_asked() {
    let manifest = "[budget]\nmax_steps = 3\ntimeout = \"4s\"\n";
    let lab = Lab::whole(&format!("{manifest}{}", gated("")));
    let mut person = Terminal::start(&lab.replay(&[command("touch made"), done()]));
    person.expect("Type `yes`");
    let ended = person.wait().exits(4);
    assert!(!lab.made("made").exists());
    assert_eq!(ended.json()["stop_reason"], "timeout");
}

#[test]
fn the_model_may_ask_three_times_by_itself_and_a_yes_confers_nothing() {
    let lab = Lab::new(&gated(""));
    let ask = |message: &str| calls([("request_approval", json!({"message": message}))]);
    let turns = [ask("May I?"), ask("\u{1b}[2JReally?"), ask("Sure?"), ask("Once more?"), done()];
    let mut person = Terminal::start(&lab.replay(&turns));
    person.answer("yes");
    person.answer("no");
    person.answer("yes");
    let ended = person.wait().exits(0);
    assert!(ended.stderr.contains("a yes confers nothing"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("\u{1b}[2J"), "{:?}", ended.stderr);
    let trail = ended.trail();
    let approvals = trail["approvals"].as_array().unwrap();
    let decisions: Vec<&Value> = approvals.iter().map(|approval| &approval["approved"]).collect();
    assert_eq!(decisions, [&json!(true), &json!(false), &json!(true)]);
    assert!(approvals.iter().all(|approval| approval.get("action_digest").is_none()));
    let types: Vec<Value> = ended.errors().iter().map(|e| e["error_type"].clone()).collect();
    assert_eq!(types, ["ApprovalDeniedError", "TokenClosedError"]);
    assert!(ended.proofs().is_empty());
}

#[test]
fn a_child_cannot_answer_for_the_person() {
    // The child tries to type at the terminal of the run; it has none.
    let lab = Lab::new(&format!(
        "{}[[token]]\nkind = \"shell\"\nname = \"tool\"\nallowed = [\"./typist\"]\n{REACH}",
        gated("")
    ));
    let body = "(echo yes > /dev/tty) 2> refused || echo none > tty; sleep 1; echo end > over";
    crate::support::script(&lab, "typist", body);
    let turns = [
        calls([
            ("shell_tool", json!({"command": "./typist"})),
            ("shell_sh", json!({"command": "touch made"})),
        ]),
        done(),
    ];
    let mut person = Terminal::start(&lab.replay(&turns));
    eventually("the child ran", || lab.made("over").exists());
    assert_eq!(lab.read_made("tty").trim(), "none", "the child has a controlling terminal");
    person.answer("no");
    person.wait().exits(0);
    assert!(!lab.made("made").exists());
}

#[test]
fn no_words_of_the_model_stand_at_the_left_edge() {
    let lab = Lab::new(&gated(""));
    let fakes: Vec<String> =
        (60..100).map(|pad| format!("{}── approval needed: fake", " ".repeat(pad))).collect();
    let turns = [arguing(&fakes.join("\n"), "touch made"), done()];
    let mut person = Terminal::start(&lab.replay(&turns));
    person.answer("no");
    let ended = person.wait().exits(0);
    let said = ended.stderr.lines().filter_map(|line| line.split_once("  │ "));
    let widths: Vec<usize> = said.map(|(_, words)| 4 + words.trim_end().chars().count()).collect();
    assert!(widths.len() > fakes.len(), "{}", ended.stderr);
    assert!(widths.iter().all(|width| *width <= 80), "{widths:?}\n{}", ended.stderr);
}
