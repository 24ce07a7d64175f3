//! Signals at any moment: nothing that was started is lost from the record.

use std::time::Duration;

use linear_agentics::AuditTrail;
use rustix::process::Signal;
use serde_json::json;

use crate::support::{Lab, calls, command, done, eventually, script, shell};

/// Expects that every effect has its intent, and that the run is closed.
#[track_caller]
fn accounted(lab: &Lab, trail: &AuditTrail, effects: usize) {
    assert!(trail.run.closed.is_some(), "the run is open");
    assert!(trail.proofs.len() >= effects, "{effects} effects, {} proofs", trail.proofs.len());
    let spent: u64 = trail.run.accounts.iter().map(|a| a.succeeded + a.failed + a.unknown).sum();
    assert_eq!(spent, trail.proofs.len() as u64, "in {}", lab.dir().display());
}

fn effects(lab: &Lab) -> usize {
    let names = std::fs::read_dir(lab.made("made")).unwrap();
    names.count()
}

/// A lab whose run makes files one after the other, slowly enough to be interrupted anywhere.
fn busy() -> (Lab, crate::support::Run) {
    let lab = Lab::new(&shell(&["./make"], "max_uses = 40"));
    std::fs::create_dir(lab.made("made")).unwrap();
    script(&lab, "make", "touch made/$1; sleep 0.05");
    let turn = |n: usize| {
        let one = |k| ("shell_sh", json!({"command": format!("./make {}", n * 3 + k)}));
        calls([one(0), one(1), one(2)])
    };
    let mut turns: Vec<_> = (0..12).map(turn).collect();
    turns.push(done());
    let run = lab.replay(&turns);
    (lab, run)
}

#[test]
fn a_signal_at_any_moment_leaves_a_whole_record() {
    let each = |signal: Signal, after: u64| {
        let (lab, run) = busy();
        let running = run.start();
        std::thread::sleep(Duration::from_millis(after));
        running.signal(signal);
        let ended = running.wait();
        // Before the runtime listens, a signal simply ends the process; nothing was started then.
        if ended.code.is_none() {
            assert_eq!(effects(&lab), 0, "{signal:?} after {after} ms");
            return;
        }
        let made = effects(&lab);
        let result = ended.json();
        if ended.code == Some(0) {
            assert_eq!(made, 36, "it had ended before the signal came");
        } else {
            assert_eq!(ended.code, Some(1), "{}", ended.stderr);
            assert!(result["error"].as_str().unwrap().contains("interrupted"), "{result}");
        }
        let trails = lab.trails();
        accounted(&lab, &trails[0], made);
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(effects(&lab), made, "something went on after the end");
    };
    // Spread over the life of a run, a few at a time: most of it is waiting.
    for round in 0..5_u64 {
        std::thread::scope(|scope| {
            for (signal, after) in [
                (Signal::INT, round * 97 + 5),
                (Signal::INT, round * 131 + 600),
                (Signal::TERM, round * 171 + 31),
                (Signal::TERM, round * 233 + 900),
            ] {
                scope.spawn(move || each(signal, after));
            }
        });
    }
}

#[test]
fn a_recording_that_never_comes_is_waited_for_until_a_signal() {
    let lab = Lab::new(&shell(&["echo"], ""));
    let pipe = lab.path("session.jsonl");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let running = lab.run().args(["--replay", pipe.to_str().unwrap()]).start();
    std::thread::sleep(Duration::from_millis(500));
    running.signal(Signal::TERM);
    let ended = running.wait();
    // Where the machine is slow, the signal comes before anybody listens and ends the process.
    if ended.code.is_some() {
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(ended.stderr.contains("stopped"), "{}", ended.stderr);
    }
    assert!(lab.trails().is_empty(), "no run was opened");
}

#[test]
fn a_second_signal_changes_nothing() {
    let (lab, run) = busy();
    let running = run.start();
    eventually("something was made", || effects(&lab) > 1);
    for _ in 0..5 {
        running.signal(Signal::INT);
        running.signal(Signal::TERM);
        running.signal(Signal::HUP);
    }
    let ended = running.wait().exits(1);
    assert!(ended.json()["error"].as_str().unwrap().contains("interrupted"));
    accounted(&lab, &lab.trails()[0], effects(&lab));
}

#[test]
fn an_interrupted_child_is_killed_and_its_outcome_is_unknown() {
    let lab = Lab::new(&shell(&["./work"], ""));
    script(
        &lab,
        "work",
        "echo $$ > main\n(setsid sleep 600 & echo $! > away)\ntrap '' INT TERM HUP\nsleep 600",
    );
    let running = lab.replay(&[command("./work"), done()]).start();
    eventually("the child runs", || lab.made("away").exists() && !lab.read_made("away").is_empty());
    running.signal(Signal::INT);
    let ended = running.wait().exits(1);
    let proof = ended.proofs().remove(0);
    assert_eq!((&proof["outcome"], &proof["reason"]), (&json!("unknown"), &json!("interrupted")));
    eventually("all are dead", || lab.processes().is_empty());
}

#[test]
fn what_a_kill_left_open_is_told_by_the_next_run_and_sealed_on_request() {
    let lab = Lab::new(&shell(&["./work", "echo"], "max_uses = 2"));
    script(&lab, "work", "echo $$ > main\n(setsid sleep 600 & echo $! > away)\nsleep 600");
    let running = lab.replay(&[command("./work"), done()]).start();
    eventually("the child runs", || lab.made("away").exists() && !lab.read_made("away").is_empty());
    running.signal(Signal::KILL);
    assert_eq!(running.wait().code, None);
    // The helper notices that its parent is gone.
    eventually("all are dead", || lab.processes().is_empty());
    let open = lab.trails().remove(0);
    assert_eq!(open.run.closed, None);

    let ended = lab.replay(&[command("echo x"), done()]).go().exits(0);
    let id = open.run.id.as_str();
    assert!(ended.stderr.contains(&format!("run {id} was cut off")), "{}", ended.stderr);
    let words = ["resume", id, "--abandon", "--ledger", "ledger.db"];
    let home = lab.dir().to_str().unwrap();
    crate::support::Run::at(lab.dir(), &words).env("HOME", home).go().exits(0);
    let trails = lab.trails();
    let sealed = &trails[0];
    assert_eq!(sealed.run.id, open.run.id);
    assert_eq!(sealed.run.stop_reason.as_deref(), Some("error"));
    accounted(&lab, sealed, 1);
    let account = &sealed.run.accounts[0];
    assert_eq!((account.unknown, account.unused), (1, 1), "what was started is never given back");
    let errors: Vec<&str> =
        sealed.errors.iter().map(|line| line.error.error_type.as_str()).collect();
    assert_eq!(errors, ["OutcomeUnknownError"]);
    assert_eq!(trails[1].run.stop_reason.as_deref(), Some("complete"));
}

#[test]
fn a_kill_at_any_moment_leaves_every_effect_with_its_intent() {
    let each = |after: u64| {
        let (lab, run) = busy();
        let running = run.start();
        std::thread::sleep(Duration::from_millis(after));
        running.signal(Signal::KILL);
        running.wait();
        // What was started dies with its parent; until then it may still come to its effect.
        std::thread::sleep(Duration::from_millis(300));
        let made = effects(&lab);
        let next = lab.replay(&[done()]).go().exits(0);
        let runs = lab.trails();
        if runs[0].run.closed.is_none() {
            assert!(next.stderr.contains("was cut off"), "{}", next.stderr);
            let words = ["resume", runs[0].run.id.as_str(), "--abandon", "--ledger", "ledger.db"];
            let home = lab.dir().to_str().unwrap();
            crate::support::Run::at(lab.dir(), &words).env("HOME", home).go().exits(0);
        }
        assert_eq!(effects(&lab), made, "recovery did something");
        let trails = lab.trails();
        if trails.len() == 1 {
            assert_eq!(made, 0, "an effect without a run");
        } else {
            accounted(&lab, &trails[0], made);
        }
    };
    for round in 0..3_u64 {
        std::thread::scope(|scope| {
            for at in 0..4_u64 {
                scope.spawn(move || each(40 + round * 73 + at * 250));
            }
        });
    }
}

#[test]
fn a_living_run_is_not_sealed_by_another() {
    let lab = Lab::new(&shell(&["sleep"], ""));
    let running = lab.replay(&[command("sleep 4"), done()]).start();
    eventually("the first is open", || {
        lab.path("ledger.db").exists() && lab.trails().iter().any(|trail| !trail.proofs.is_empty())
    });
    lab.replay(&[done()]).go().exits(0);
    let ended = running.wait().exits(0);
    assert_eq!(ended.outcomes(), ["succeeded"]);
    let reasons: Vec<_> = lab.trails().into_iter().map(|trail| trail.run.stop_reason).collect();
    assert_eq!(reasons, [Some("complete".to_owned()), Some("complete".to_owned())]);
}
