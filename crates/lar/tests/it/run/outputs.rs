//! What a run leaves for people and programs.

use std::io::Read;
use std::process::Stdio;

use serde_json::{Value, json};
use standin::Reply;
use standin::messages::Server;

use crate::support::{Lab, calls, command, done, shell, turn};

#[test]
fn the_result_and_the_trail_have_their_documented_shape() {
    let lab = Lab::new(&format!(
        "{}[[token]]\nkind = \"wait\"\nname = \"rest\"\nmax_seconds = 3\n",
        shell(&["echo", "false"], "max_uses = 5")
    ));
    let turns = [
        calls([
            ("shell_sh", json!({"command": "echo hi"})),
            ("shell_sh", json!({"command": "false"})),
        ]),
        command("rm x"),
        done(),
    ];
    let ended = lab.replay(&turns).args(["--audit", "audit.json"]).go().exits(0);
    let result = ended.json();
    let keys =
        |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    for key in [
        "run",
        "stop_reason",
        "error",
        "final_message",
        "steps_taken",
        "budget_remaining",
        "tokens_unused",
    ] {
        assert!(result.get(key).is_some(), "`{key}` is missing: {result}");
    }
    assert_eq!(result["tokens_unused"], json!(["rest"]));
    let trail: Value = serde_json::from_str(&lab.read("audit.json")).unwrap();
    assert_eq!(trail, result["audit_trail"]);
    let mut top = keys(&trail);
    top.sort();
    assert_eq!(top, ["approvals", "errors", "negotiations", "proofs", "run"]);
    for key in [
        "token_name",
        "scope",
        "args",
        "timestamp",
        "result_summary",
        "duration_ms",
        "outcome",
        "output_digest",
    ] {
        assert!(
            trail["proofs"][0].get(key).is_some(),
            "`{key}` is missing: {}",
            trail["proofs"][0]
        );
    }
    for key in ["token_name", "error_type", "message", "timestamp"] {
        assert!(
            trail["errors"][0].get(key).is_some(),
            "`{key}` is missing: {}",
            trail["errors"][0]
        );
    }
    let accounts = trail["run"]["accounts"].as_array().unwrap();
    let of = |name: &str| accounts.iter().find(|a| a["token_name"] == name).unwrap().clone();
    let sh = of("sh");
    let numbers =
        ["granted", "succeeded", "failed", "unknown", "unused"].map(|k| sh[k].as_u64().unwrap());
    assert_eq!(numbers, [5, 1, 1, 0, 3]);
    assert_eq!(of("rest")["unused"], 1);
}

#[test]
fn people_get_progress_a_result_and_a_table() {
    let lab = Lab::new(&shell(&["echo"], "max_uses = 5"));
    let words = json!({"type": "text", "text": "I look\nfirst \u{1b}[31m."});
    let uses = json!({"type": "tool_use", "id": "toolu_1", "name": "shell_sh", "input": {"command": "echo hi"}});
    let turns = [turn(vec![words, uses], "tool_use"), command("rm x"), done()];
    let ended = lab.replay(&turns).for_people().go().exits(0);
    assert!(
        ended.stderr.contains("shell_sh") && ended.stderr.contains("echo hi"),
        "{}",
        ended.stderr
    );
    assert!(
        ended.stderr.contains("succeeded") && ended.stderr.contains("CommandNotAllowedError"),
        "{}",
        ended.stderr
    );
    assert!(
        ended.stdout.contains("complete") && ended.stdout.contains("Done."),
        "{}",
        ended.stdout
    );
    assert!(
        ended.stdout.contains("2 taken") && ended.stdout.contains("38 left"),
        "{}",
        ended.stdout
    );
    for text in [&ended.stdout, &ended.stderr] {
        assert!(!text.contains('\u{1b}'), "no terminal, no colour: {text:?}");
    }
    for cell in ["spend", "refusal", "exit 0, 3 bytes"] {
        assert!(ended.stdout.contains(cell), "`{cell}` is not in the table: {}", ended.stdout);
    }
}

#[test]
fn reports_are_written_for_ci() {
    let lab = Lab::new(&format!(
        "{}{}",
        shell(&["echo"], "max_uses = 5\nrequired = true"),
        "[[token]]\nkind = \"wait\"\nname = \"rest\"\nmax_seconds = 3\nrequired = true\n"
    ));
    let hostile = "echo '<script>&]]>' '| `x` [y](http://z)'";
    let turns = [command(hostile), command("rm <b>x</b>"), done()];
    let ended = lab.replay(&turns).args(["--report", "report.md"]).go().exits(1);
    let error = ended.json()["error"].as_str().unwrap().to_owned();
    assert!(error.contains("never spent with success") && error.contains("rest"), "{error}");
    let markdown = lab.read("report.md");
    assert!(markdown.contains("rest") && markdown.contains("sh"), "{markdown}");
    // Whatever the model wrote stands in code spans, which it can't end.
    for line in markdown.lines() {
        let outside = outside_code(line);
        assert!(!outside.contains(['<', '[', ']', '`']), "{line}");
    }
    lab.replay(&turns).args(["--report", "report.xml"]).go().exits(1);
    let xml = lab.read("report.xml");
    assert!(xml.starts_with("<?xml") && xml.contains("<testsuite"), "{xml}");
    assert!(xml.contains("<failure") && xml.contains("rest"), "{xml}");
    assert!(!xml.contains("<script>") && !xml.contains("<b>"), "{xml}");
    well_formed(&xml);
    let ended = lab.replay(&turns).args(["--report", "report.pdf"]).go().exits(2);
    assert!(ended.stderr.contains(".md") && ended.stderr.contains(".xml"), "{}", ended.stderr);
}

/// What of a Markdown line stands in no code span: one is closed by as many backticks as opened it
/// (CommonMark 0.31, 6.1).
fn outside_code(line: &str) -> String {
    let (mut outside, mut rest) = (String::new(), line);
    while let Some(at) = rest.find('`') {
        outside.push_str(&rest[..at]);
        let after = rest[at..].trim_start_matches('`');
        let fence = &rest[at..rest.len() - after.len()];
        let mut inside = after;
        loop {
            let end = inside.find(fence).expect("a code span ends");
            let beyond = inside[end..].trim_start_matches('`');
            let run = inside.len() - end - beyond.len();
            inside = beyond;
            if run == fence.len() {
                break;
            }
        }
        rest = inside;
    }
    outside + rest
}

/// A small check of XML: tags nest, and nothing else is a tag.
fn well_formed(xml: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = xml;
    while let Some((text, after)) = rest.split_once('<') {
        for (at, _) in text.match_indices('&') {
            let entity = &text[at..];
            assert!(
                ["&amp;", "&lt;", "&gt;", "&quot;", "&apos;", "&#"]
                    .iter()
                    .any(|e| entity.starts_with(e)),
                "{entity:.40}"
            );
        }
        let (tag, after) = after.split_once('>').expect("a tag ends");
        rest = after;
        let name = tag.trim_start_matches('/').split([' ', '/', '\n']).next().unwrap();
        if tag.starts_with('?') || tag.starts_with('!') || tag.ends_with('/') {
            continue;
        }
        match tag.strip_prefix('/') {
            Some(_) => assert_eq!(open.pop(), Some(name)),
            None => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?} stay open");
}

#[test]
fn a_required_token_that_was_spent_with_success_is_enough() {
    let lab = Lab::new(&shell(&["echo", "false"], "max_uses = 5\nrequired = true"));
    lab.replay(&[command("false"), done()]).go().exits(1);
    lab.replay(&[command("echo x"), done()]).go().exits(0);
}

#[test]
fn a_recorded_session_replays_to_the_same_calls() {
    let lab = Lab::new(&shell(&["echo"], "max_uses = 5"));
    let novel = json!({"type": "novel", "x": {"b": 1.50, "a": [null]}});
    let server = Server::start([
        Reply::message(
            json!([
                novel,
                {"type": "text", "text": "I look. Ω"},
                {"type": "tool_use", "id": "toolu_1", "name": "shell_sh", "input": {"command": "echo 'one'"}},
                {"type": "tool_use", "id": "toolu_2", "name": "shell_sh", "input": {"command": "rm x"}},
            ]),
            "tool_use",
        ),
        Reply::tool_use("toolu_3", "shell_sh", json!({})).input_text(0, "{\"command\": \"echo"),
        Reply::text("All is well."),
    ]);
    let recorded = lab.against(&server).args(["--record", "rec.jsonl"]).go().exits(0);
    assert_eq!(server.refusals(), Vec::<String>::new());
    assert_eq!(lab.read("rec.jsonl").lines().count(), 3);
    use std::os::unix::fs::MetadataExt;
    let mode = std::fs::metadata(lab.path("rec.jsonl")).unwrap().mode() & 0o777;
    assert_eq!(mode, 0o600, "a session is private");

    let replayed = lab.run().args(["--replay", "rec.jsonl"]).go().exits(0);
    assert_eq!(recorded.complaints(), replayed.complaints());
    let actions = |proofs: Vec<Value>| -> Vec<Value> {
        proofs
            .iter()
            .map(|proof| json!([proof["action_digest"], proof["args"], proof["outcome"]]))
            .collect()
    };
    assert_eq!(actions(recorded.proofs()), actions(replayed.proofs()));
    let (first, second) = (recorded.json(), replayed.json());
    assert_eq!(first["final_message"], second["final_message"]);
    assert_eq!(first["steps_taken"], second["steps_taken"]);
    assert_eq!(
        first["audit_trail"]["run"]["end"]["model_tokens"],
        second["audit_trail"]["run"]["end"]["model_tokens"]
    );
}

#[test]
fn a_wrong_manifest_or_command_line_is_told_at_its_place() {
    let lab = Lab::new(&shell(&["echo"], "max_use = 2"));
    let ended = lab.replay(&[done()]).go().exits(2);
    assert!(
        ended.stderr.contains("max_use") && ended.stderr.contains("max_uses"),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains("manifest.toml"), "{}", ended.stderr);
    assert!(!lab.path("ledger.db").exists(), "nothing was begun");
    let lab = Lab::new(&shell(&["echo"], ""));
    lab.run().args(["--nonsense"]).go().exits(2);
    lab.run().args(["--replay", "a", "--model", "b"]).go().exits(2);
    std::fs::remove_file(lab.path("manifest.toml")).unwrap();
    let ended = lab.run().go().exits(2);
    assert!(ended.stderr.contains("manifest.toml"), "{}", ended.stderr);
}

#[test]
fn the_task_is_the_first_message_or_a_default() {
    let first = |lab: &Lab, args: &[&str]| {
        let server = Server::start([Reply::text("Done.")]);
        lab.against(&server).args(args.iter().copied()).go().exits(0);
        assert_eq!(server.refusals(), Vec::<String>::new());
        server.requests()[0].json()["messages"][0].to_string()
    };
    let lab = Lab::new(&shell(&["echo"], ""));
    assert!(first(&lab, &[]).contains("Do the work."));
    assert!(first(&lab, &["--task", "Something else."]).contains("Something else."));
    let bare =
        Lab::whole(&format!("[budget]\nmax_steps = 1\ntimeout = \"1m\"\n{}", shell(&["echo"], "")));
    first(&bare, &[]);
    // An empty task is none: the API refuses an empty message.
    first(&bare, &["--task", ""]);
}

#[test]
fn a_person_can_play_the_model() {
    use std::io::Write;
    let lab = Lab::new(&shell(&["echo"], ""));
    let run = lab.run().args(["--model", "human"]);
    let mut command = run.command(&[]);
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let (out, err) = (crate::support::drain(out), crate::support::drain(err));
    let mut stdin = child.stdin.take().unwrap();
    let _ = stdin.write_all(b"shell_sh {\"command\": \"echo hi\"}\ndone\n");
    drop(stdin);
    let code = crate::support::reap(&mut child);
    let err = String::from_utf8(err.join().unwrap()).unwrap();
    let out = String::from_utf8(out.join().unwrap()).unwrap();
    assert_eq!(code, Some(0), "{err}\n{out}");
    let result: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(result["audit_trail"]["proofs"][0]["outcome"], "succeeded", "{err}");
}

#[test]
fn a_result_that_is_lost_on_the_way_is_an_error() {
    let lab = Lab::new(&shell(&["echo"], ""));
    lab.replay(&[done()]);
    let to = |file: &str, args: &[&str]| {
        let mut command = lab.bare("ledger.db").command(&[]);
        command.args(args).stdin(Stdio::null()).stderr(Stdio::piped());
        command.stdout(std::fs::OpenOptions::new().write(true).open(file).unwrap());
        command.output().unwrap()
    };
    let full = to("/dev/full", &[]);
    let said = String::from_utf8_lossy(&full.stderr).into_owned();
    assert_eq!(full.status.code(), Some(1), "{said}");
    assert!(said.contains("can't be written to stdout"), "{said}");
    assert_eq!(to("/dev/null", &[]).status.code(), Some(0));
    // The run itself is whole.
    assert_eq!(lab.trails()[0].run.stop_reason.as_deref(), Some("complete"));
}

#[test]
fn json_on_a_terminal_holds_nothing_that_it_obeys() {
    let lab = Lab::new(&shell(&["echo"], ""));
    let words = "\u{9b}2J\u{202e}\u{200b}";
    let turn = turn(vec![json!({"type": "text", "text": words})], "end_turn");
    let ended = lab.replay(&[turn]).go().exits(0);
    assert!(!ended.stdout.contains(['\u{9b}', '\u{202e}', '\u{200b}']), "{:?}", ended.stdout);
    assert_eq!(ended.json()["final_message"], words, "and says the same");
}

#[test]
fn where_nothing_can_be_written_is_told_before_anything_is_spent() {
    let lab = Lab::new(&shell(&["touch"], ""));
    let run = lab.replay(&[command("touch made"), done()]);
    for (args, says) in [
        (["--audit", "none/audit.json"], "there is no directory `none`"),
        (["--report", "none/report.md"], "there is no directory `none`"),
        (["--audit", "."], "is a directory"),
        (["--record", "none/rec.jsonl"], "(entity not found)"),
    ] {
        let ended = run.clone().args(args).go().exits(2);
        assert!(ended.stderr.contains(says), "{args:?}: {}", ended.stderr);
        assert!(!lab.made("made").exists(), "{args:?}");
    }
    run.args(["--audit", "audit.json"]).go().exits(0);
    assert!(lab.made("made").exists() && lab.path("audit.json").exists());
}

#[test]
fn a_pipe_that_nobody_reads_holds_nobody_up() {
    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::fs::{CWD, Mode, OFlags};

    let lab = Lab::new(&shell(&["touch"], ""));
    let refused = std::iter::repeat_with(|| command("rm x")).take(20);
    let turns: Vec<_> = refused.chain([done()]).collect();
    let run = lab.replay(&turns);
    let pipe = lab.path("audit.pipe");
    rustix::fs::mkfifoat(CWD, &pipe, Mode::RUSR | Mode::WUSR).unwrap();
    let ended = run.clone().args(["--audit", "audit.pipe"]).go().exits(1);
    assert!(ended.stderr.contains("nobody reads the pipe `audit.pipe`"), "{}", ended.stderr);
    assert!(ended.stderr.contains("lar audit list"), "{}", ended.stderr);
    assert_eq!(ended.json()["stop_reason"], "complete", "the run itself went on to its end");

    // A reader that is there gets all of it, however slow it is and however little the pipe holds.
    let reader = rustix::fs::open(&pipe, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).unwrap();
    let held = rustix::pipe::fcntl_setpipe_size(&reader, 4096).unwrap();
    let reader = std::thread::spawn(move || {
        poll(&mut [PollFd::new(&reader, PollFlags::IN)], None).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(100));
        rustix::fs::fcntl_setfl(&reader, OFlags::empty()).unwrap();
        let mut text = String::new();
        std::fs::File::from(reader).read_to_string(&mut text).unwrap();
        text
    });
    let ended = run.args(["--audit", "audit.pipe"]).go().exits(0);
    let text = reader.join().unwrap();
    assert!(text.len() > held, "{} bytes", text.len());
    let trail: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(trail, ended.json()["audit_trail"]);
}
