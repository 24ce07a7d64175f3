//! Runs that were killed with SIGKILL and gone on with: nothing is done twice, the model is told what
//! can't be known, and the budget goes on where it stood.

use rustix::process::Signal;
use serde_json::{Value, json};
use standin::Reply;
use standin::messages::Server;

use crate::support::{Ended, KEY, Lab, Run, command, done, eventually, script, shell};

fn lar(lab: &Lab, words: &[&str]) -> Run {
    let ledger = ["--ledger", "ledger.db"];
    Run::at(lab.dir(), words).args(ledger).env("HOME", lab.dir().to_str().unwrap())
}

async fn lar_open(lab: &Lab) -> std::sync::Arc<dyn linear_agentics::Ledger> {
    let place = linear_agentics::LedgerPlace::from(lab.path("ledger.db"));
    linear_agentics::open_ledger(Some(&place)).await.unwrap()
}

fn resume(lab: &Lab) -> Ended {
    lar(lab, &["resume", "latest", "--json"]).go()
}

/// A lab whose actions append their word to a file that the ledger doesn't own; `slow` then waits until
/// it is killed.
fn lab(more: &str) -> Lab {
    let lab = Lab::new(&format!("{}{more}", shell(&["./act"], "max_uses = 9")));
    script(
        &lab,
        "act",
        "echo $1 >> effects; if [ \"$1\" = slow ]; then echo $$ > pid; sleep 60; fi",
    );
    lab
}

fn effects(lab: &Lab) -> Vec<String> {
    lab.read_made("effects").lines().map(str::to_owned).collect()
}

/// Starts the run and kills it while `slow` is under way.
fn cut_off(lab: &Lab, run: &Run) {
    let running = run.start();
    eventually("the slow action is under way", || {
        std::fs::read_to_string(lab.made("pid")).is_ok_and(|pid| pid.ends_with('\n'))
    });
    running.signal(Signal::KILL);
    assert_eq!(running.wait().code, None);
    eventually("the child has gone with its parent", || lab.processes().is_empty());
}

fn act(word: &str) -> Value {
    command(&format!("./act {word}"))
}

#[test]
fn what_was_done_is_not_done_again_and_the_rest_is_done() {
    let lab = lab("");
    let run = lab.replay(&[act("first"), act("slow"), act("third"), done()]);
    cut_off(&lab, &run);
    let held = std::fs::read(lab.path("ledger.db-wal")).unwrap_or_default();
    assert!(!held.is_empty(), "the log of a killed process stays");
    let ended = resume(&lab).exits(0);
    assert_eq!(effects(&lab), ["first", "slow", "third"]);
    assert_eq!(ended.outcomes(), ["succeeded", "unknown", "succeeded"]);
    let result = ended.json();
    assert_eq!(result["steps_taken"], 3, "steps carry over");
    assert_eq!(result["audit_trail"]["run"]["resumed"], 1);
    assert_eq!(result["audit_trail"]["run"]["model_turns"], 4, "no turn is asked for twice");
    assert_eq!(result["stop_reason"], "complete");
    lar(&lab, &["audit", "verify"]).go().exits(0);
    // The journal went with the run, from the file too.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let ledger = lar_open(&lab).await;
        let run = &ledger.runs().await.unwrap()[0];
        assert_eq!(run.pages, 0);
        assert!(ledger.journal(&run.run, 1, 9).await.unwrap().is_empty());
    });
    let again = resume(&lab).exits(2);
    assert!(again.stderr.contains("has ended"), "{}", again.stderr);
}

#[test]
fn the_model_is_told_what_cannot_be_known() {
    let lab = lab("");
    let use_of = |id: &str, word: &str| {
        Reply::message(
            json!([{"type": "tool_use", "id": id, "name": "shell_sh",
                    "input": {"command": format!("./act {word}")}}]),
            "tool_use",
        )
    };
    let replies = [use_of("toolu_a", "first"), use_of("toolu_b", "slow"), Reply::text("I stop.")];
    let server = Server::builder().key(KEY).replies(replies).start();
    cut_off(&lab, &lab.against(&server));
    let ended = lar(&lab, &["resume", "latest", "--json"])
        .env("ANTHROPIC_BASE_URL", &server.url())
        .env("ANTHROPIC_API_KEY", KEY)
        .go()
        .exits(0);
    assert_eq!(server.refusals(), Vec::<String>::new());
    assert_eq!(server.requests().len(), 3, "no turn was paid for twice");
    let last = server.requests()[2].json();
    let messages = last["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 5, "the whole conversation is there: {messages:?}");
    let told = messages[4]["content"][0].clone();
    assert_eq!(told["tool_use_id"], "toolu_b");
    assert_eq!(told["is_error"], true);
    assert!(told["content"].to_string().contains("unknown"), "{told}");
    assert!(messages[2]["content"].to_string().contains("succeeded"), "{messages:?}");
    assert_eq!(effects(&lab), ["first", "slow"]);
    assert_eq!(ended.json()["final_message"], "I stop.");
    // A person looks, and says what became of it.
    let listed = lar(&lab, &["audit", "resolve", "latest", "--json"]).go().exits(0).json();
    let attempt = listed[0]["attempt"].as_str().unwrap().to_owned();
    let words = ["audit", "resolve", "latest", &attempt[..12], "succeeded", "--note", "seen"];
    lar(&lab, &words).go().exits(0);
    lar(&lab, &words).go().exits(2);
    let shown = lar(&lab, &["audit", "show", "latest", "--json"]).go().exits(0).json();
    assert_eq!(shown["proofs"][1]["outcome"], "unknown");
    assert_eq!(shown["proofs"][1]["resolution"]["outcome"], "succeeded");
    assert_eq!(shown["proofs"][1]["resolution"]["note"], "seen");
    lar(&lab, &["audit", "verify"]).go().exits(0);
}

#[test]
fn a_run_that_is_going_on_cannot_be_taken() {
    let lab = lab("");
    let running = lab.replay(&[act("slow"), done()]).start();
    eventually("it is under way", || lab.made("pid").exists());
    let refused = resume(&lab).exits(5);
    assert!(refused.stderr.contains("held"), "{}", refused.stderr);
    let refused = lar(&lab, &["resume", "latest", "--abandon"]).go().exits(5);
    assert!(refused.stderr.contains("held"), "{}", refused.stderr);
    running.signal(Signal::TERM);
    running.wait().exits(1);
}

#[test]
fn a_later_run_offers_it_and_abandoning_seals_it() {
    let lab = lab("");
    cut_off(&lab, &lab.replay(&[act("slow"), done()]));
    let other = lab.replay(&[done()]).go().exits(0);
    assert!(other.stderr.contains("was cut off; `lar resume"), "{}", other.stderr);
    let runs = lar(&lab, &["audit", "list", "--json"]).go().exits(0).json();
    let run = runs[1]["run"].as_str().unwrap().to_owned();
    assert_eq!(runs[1]["stop_reason"], Value::Null);
    lar(&lab, &["resume", &run, "--abandon"]).go().exits(0);
    let shown = lar(&lab, &["audit", "show", &run, "--json"]).go().exits(0).json();
    assert_eq!(shown["run"]["stop_reason"], "error");
    assert_eq!(shown["run"]["accounts"][0]["unknown"], 1);
    assert_eq!(effects(&lab), ["slow"]);
}

#[test]
fn other_definitions_are_refused_and_the_budget_goes_on() {
    let lab = lab("");
    let whole = lab.read("manifest.toml").replace("max_steps = 40", "max_steps = 2");
    lab.write("manifest.toml", &whole);
    cut_off(&lab, &lab.replay(&[act("first"), act("slow"), act("third"), done()]));
    lab.write("wider.toml", whole.replace("\"./act\"", "\"./act\", \"rm\""));
    let wider = lar(&lab, &["resume", "latest", "--manifest", "wider.toml"]).go().exits(2);
    assert!(wider.stderr.contains("rm") && wider.stderr.contains("grant"), "{}", wider.stderr);
    resume(&lab).exits(3);
    assert_eq!(effects(&lab), ["first", "slow"], "the third is beyond the budget");
}

#[test]
fn a_named_grant_s_uses_are_the_same_after_a_crash() {
    let lab = Lab::new(&format!("[grant]\nid = \"g\"\n{}", shell(&["./act"], "max_uses = 2")));
    script(
        &lab,
        "act",
        "echo $1 >> effects; if [ \"$1\" = slow ]; then echo $$ > pid; sleep 60; fi",
    );
    lar(&lab, &["grants", "issue", "manifest.toml"]).go().exits(0);
    cut_off(&lab, &lab.replay(&[act("slow"), act("second"), act("third"), done()]));
    // The pipeline is tried again instead: the started use is spent for it too.
    let retried = lab.replay(&[act("a"), act("b"), done()]).go().exits(0);
    assert_eq!(effects(&lab), ["slow", "a"]);
    assert_eq!(retried.errors()[0]["error_type"], "TokenReusedError");
    let runs = lar(&lab, &["audit", "list", "--json"]).go().exits(0).json();
    let run = runs[1]["run"].as_str().unwrap().to_owned();
    lar(&lab, &["resume", &run, "--json"]).go().exits(0);
    assert_eq!(effects(&lab), ["slow", "a"], "nothing was left");
}

/// Killed at any moment, and gone on with until it is through: no action is done twice.
#[test]
fn killed_again_and_again_it_comes_to_its_end() {
    let lab = Lab::new(&shell(&["./act"], "max_uses = 40"));
    script(&lab, "act", "echo $1 >> effects; sleep 0.03");
    let mut turns: Vec<Value> = (0..12).map(|n| act(&n.to_string())).collect();
    turns.push(done());
    let mut running = lab.replay(&turns).start();
    eventually("the first action was made", || lab.made("effects").exists());
    let mut kills = 0;
    for round in 0u64..60 {
        std::thread::sleep(std::time::Duration::from_millis(60 + round * 37 % 260));
        running.signal(Signal::KILL);
        let ended = running.wait();
        if ended.code.is_some() {
            break;
        }
        kills += 1;
        running = lar(&lab, &["resume", "latest", "--json"]).start();
    }
    let runs = lar(&lab, &["audit", "list", "--json"]).go().exits(0).json();
    if runs[0]["stop_reason"].is_null() {
        resume(&lab).exits(0);
    }
    let mut done = effects(&lab);
    let all = done.len();
    done.sort();
    done.dedup();
    assert_eq!(done.len(), all, "after {kills} kills, some action was done twice: {done:?}");
    let trail = lar(&lab, &["audit", "show", "latest", "--json"]).go().exits(0).json();
    assert!(trail["proofs"].as_array().unwrap().len() >= all, "an effect without a record");
}
