//! A yes is for what was shown and for nothing else: not for other words, not for the same words once
//! more, and not for another file by the same name.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};

use crate::pty::Terminal;
use crate::support::{Lab, REACH, calls, command, done, script, shell};

fn executable(path: &Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn an_approval_for_a_never_executes_b() {
    let lab = Lab::new(&shell(&["touch"], "requires_approval = true\nmax_uses = 9\n"));
    let touch = |name: &str| ("shell_sh", json!({"command": format!("touch {name}")}));
    // Beside it in one turn, what only looks alike, and the very same once more.
    let turns = [calls([touch("made"), touch("m\u{430}de")]), command("touch made"), done()];
    let mut person = Terminal::start(&lab.replay(&turns));
    person.answer("yes");
    person.answer("no");
    person.answer("no");
    let ended = person.wait().exits(0);
    assert!(lab.made("made").exists() && !lab.made("m\u{430}de").exists());
    let trail = ended.trail();
    let approvals = trail["approvals"].as_array().unwrap();
    let decisions: Vec<&Value> = approvals.iter().map(|approval| &approval["approved"]).collect();
    assert_eq!(decisions, [&json!(true), &json!(false), &json!(false)]);
    let [proof] = trail["proofs"].as_array().unwrap().as_slice() else { panic!("{trail}") };
    for field in ["action_digest", "attempt"] {
        assert_eq!(proof[field], approvals[0][field], "{field}");
    }
    // Other words have another digest; the same words are another attempt.
    assert_ne!(approvals[1]["action_digest"], proof["action_digest"]);
    assert_eq!(approvals[2]["action_digest"], proof["action_digest"]);
    assert!(approvals[1..].iter().all(|other| other["attempt"] != proof["attempt"]), "{trail}");
}

/// What becomes of an approved `./work` that is swapped while the person thinks.
fn swapped(prepare: impl FnOnce(&Lab), swap: impl FnOnce(&Lab)) {
    let token = "[[token]]\nkind = \"shell\"\nname = \"work\"\nallowed = [\"./work\"]\n\
                 requires_approval = true\n";
    let lab = Lab::new(&format!("{token}{REACH}"));
    prepare(&lab);
    let run = calls([("shell_work", json!({"command": "./work"}))]);
    let mut person = Terminal::start(&lab.replay(&[run, done()]));
    person.expect("approval needed");
    swap(&lab);
    person.answer("yes");
    let ended = person.wait().exits(0);
    for name in ["made", "other"] {
        assert!(!lab.made(name).exists(), "`{name}` was run");
    }
    let trail = ended.trail();
    assert_eq!(trail["approvals"][0]["approved"], true);
    assert_eq!(trail["run"]["tokens_unused"], json!(["work"]), "what never began spends nothing");
    let told = ended.complaints().remove(0);
    assert!(told.contains("another file than when it was approved"), "{told}");
}

#[test]
fn a_program_that_is_rewritten_after_the_yes_is_not_run() {
    swapped(|lab| script(lab, "work", "touch made"), |lab| script(lab, "work", "touch other"));
}

#[test]
fn a_program_that_is_replaced_after_the_yes_is_not_run() {
    swapped(
        |lab| {
            script(lab, "work", "touch made");
            script(lab, "next", "touch other");
        },
        |lab| std::fs::rename(lab.path("next"), lab.path("work")).unwrap(),
    );
}

#[test]
fn a_link_that_is_turned_after_the_yes_is_not_followed() {
    use std::os::unix::fs::symlink;
    swapped(
        |lab| {
            script(lab, "one", "touch made");
            script(lab, "two", "touch other");
            symlink("one", lab.path("work")).unwrap();
        },
        |lab| {
            symlink("two", lab.path("next")).unwrap();
            std::fs::rename(lab.path("next"), lab.path("work")).unwrap();
        },
    );
}

#[test]
fn an_interpreter_that_is_replaced_after_the_yes_is_not_run() {
    let copy = |from: &str, to: &Path| {
        std::fs::copy(from, to).unwrap();
        executable(to);
    };
    swapped(
        |lab| {
            copy("/bin/sh", &lab.path("interpreter"));
            let first = lab.path("interpreter").display().to_string();
            executable(&lab.write("work", format!("#!{first}\ncd out && touch made\n")));
        },
        |lab| {
            copy("/bin/touch", &lab.path("next"));
            std::fs::rename(lab.path("next"), lab.path("interpreter")).unwrap();
        },
    );
}
