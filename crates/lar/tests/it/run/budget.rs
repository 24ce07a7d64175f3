//! Steps, time, model tokens and money.

use serde_json::json;

use crate::support::{Lab, calls, command, done, eventually, script, shell};

fn limited(budget: &str, tables: &str) -> Lab {
    Lab::whole(&format!("[budget]\n{budget}\n{tables}"))
}

fn touch(name: &str) -> (&'static str, serde_json::Value) {
    ("shell_sh", json!({"command": format!("touch {name}")}))
}

#[test]
fn a_run_that_ends_with_its_last_step_is_complete() {
    let lab = limited("max_steps = 2\ntimeout = \"2m\"", &shell(&["touch"], "max_uses = 9"));
    let ended = lab.replay(&[calls([touch("a")]), calls([touch("b")]), done()]).go().exits(0);
    let result = ended.json();
    assert_eq!(result["stop_reason"], "complete");
    assert_eq!((&result["steps_taken"], &result["budget_remaining"]), (&json!(2), &json!(0)));
}

#[test]
fn the_first_call_beyond_the_budget_stops_the_run() {
    let lab = limited("max_steps = 2\ntimeout = \"2m\"", &shell(&["touch"], "max_uses = 9"));
    let turns = [calls([touch("a")]), command("rm -r /"), calls([touch("c")]), done()];
    let ended = lab.replay(&turns).go().exits(3);
    let result = ended.json();
    assert_eq!(result["stop_reason"], "budget_exhausted");
    assert_eq!(result["steps_taken"], 2, "a refused call is a step too");
    assert!(!lab.made("c").exists());
    let last = ended.errors().pop().unwrap();
    assert_eq!(last["error_type"], "BudgetExhaustedError");
    assert_eq!(last["token_name"], "sh");
    assert_eq!(last["input"], "{\"command\":\"touch c\"}");
    assert!(ended.stderr.contains("✗ BudgetExhaustedError"), "it is seen: {}", ended.stderr);
    assert_eq!(ended.trail()["run"]["stop_reason"], "budget_exhausted");
}

#[test]
fn of_more_parallel_calls_than_steps_the_first_ones_are_made() {
    let lab = limited("max_steps = 2\ntimeout = \"2m\"", &shell(&["touch"], "max_uses = 9"));
    let turn = calls([touch("a"), touch("b"), touch("c"), touch("d")]);
    let ended = lab.replay(&[turn, done()]).go().exits(3);
    let made = ["a", "b", "c", "d"].map(|name| lab.made(name).exists());
    assert_eq!(made, [true, true, false, false]);
    let refused = ended.complaints();
    assert_eq!(refused.len(), 2, "{refused:?}");
    assert!(refused.iter().all(|line| line.starts_with("BudgetExhaustedError")), "{refused:?}");
}

#[test]
fn when_time_is_over_the_whole_tree_is_killed_and_the_run_sealed() {
    let lab = limited("max_steps = 9\ntimeout = \"6s\"", &shell(&["./work"], ""));
    // One child waits, one was sent to the background, one has left for a session of its own.
    let daemon = "setsid sh -c 'echo $$ > daemon; exec sleep 600' &";
    script(
        &lab,
        "work",
        &format!("echo $$ > main\n(sleep 600 & echo $! > back)\n{daemon}\nsleep 600"),
    );
    let ended = lab.replay(&[command("./work"), done()]).go().exits(4);
    assert_eq!(ended.json()["stop_reason"], "timeout");
    assert!(
        ["main", "back", "daemon"].iter().all(|name| lab.made(name).exists()),
        "all were there"
    );
    eventually("all are dead", || lab.processes().is_empty());
    let proof = ended.proofs().remove(0);
    assert_eq!((&proof["outcome"], &proof["reason"]), (&json!("unknown"), &json!("timeout")));
    let unknown = &ended.errors()[0];
    assert_eq!(unknown["error_type"], "OutcomeUnknownError");
    assert!(ended.trail()["run"]["closed"].is_string());
}

#[test]
fn time_is_over_while_the_model_thinks() {
    let thinking = standin::Reply::text("Too late.").after(std::time::Duration::from_secs(60));
    let server = standin::messages::Server::start([thinking]);
    let lab = limited("max_steps = 9\ntimeout = \"2s\"", &shell(&["echo"], ""));
    let ended = lab.against(&server).go().exits(4);
    assert_eq!(ended.json()["stop_reason"], "timeout");
}

#[test]
fn model_tokens_run_out() {
    // Each turn of a session counts 15 tokens.
    let lab = limited(
        "max_steps = 9\ntimeout = \"2m\"\nmax_tokens = 40",
        &shell(&["touch"], "max_uses = 9"),
    );
    let turns = ["a", "b", "c"].map(|name| calls([touch(name)]));
    let ended = lab.replay(&turns).go().exits(3);
    let made = ["a", "b", "c"].map(|name| lab.made(name).exists());
    assert_eq!(made, [true, true, false], "the turn that went beyond is not carried out");
    let last = ended.complaints().pop().unwrap();
    assert!(last.starts_with("BudgetExhaustedError") && last.contains("45 tokens"), "{last}");
    let call = ended.errors().pop().unwrap();
    assert_eq!(call["input"], "{\"command\":\"touch c\"}", "what was not carried out is recorded");
}

#[test]
fn a_count_that_no_record_can_hold_exhausts_the_budget() {
    let lab = limited("max_steps = 9\ntimeout = \"2m\"\nmax_tokens = 40", &shell(&["touch"], ""));
    let mut turn = calls([touch("a")]);
    turn["usage"] = json!({"input_tokens": u64::MAX, "output_tokens": u64::MAX});
    let ended = lab.replay(&[turn, done()]).go().exits(3);
    assert_eq!(ended.json()["stop_reason"], "budget_exhausted");
    assert!(!lab.made("a").exists());
}

#[test]
fn money_runs_out() {
    let price = "[[price]]\nmodel = \"claude-test\"\ninput_per_mtok_usd = 1000\noutput_per_mtok_usd = 1000\n";
    let tables = format!("{}{price}", shell(&["touch"], "max_uses = 9"));
    let lab = limited("max_steps = 9\ntimeout = \"2m\"\nmax_cost_usd = 0.15", &tables);
    // 120 tokens at a thousand dollars a million are 12 cents.
    let touch = |id: &str, name: &str| {
        standin::Reply::tool_use(id, "shell_sh", json!({"command": format!("touch {name}")}))
    };
    let server = standin::messages::Server::start([touch("toolu_1", "a"), touch("toolu_2", "b")]);
    let ended = lab.against(&server).args(["--model", "claude-test"]).go().exits(3);
    assert!(lab.made("a").exists() && !lab.made("b").exists());
    assert_eq!(server.refusals(), Vec::<String>::new());
    assert_eq!(ended.trail()["run"]["end"]["cost_micro_usd"], 240_000);
}

#[test]
fn a_cost_limit_without_a_price_is_refused_at_the_start() {
    let lab = limited("max_steps = 9\ntimeout = \"2m\"\nmax_cost_usd = 1", &shell(&["touch"], ""));
    let server = standin::messages::Server::start([]);
    let ended = lab.against(&server).args(["--model", "claude-nobody-knows"]).go().exits(2);
    assert!(
        ended.stderr.contains("claude-nobody-knows") && ended.stderr.contains("[[price]]"),
        "{}",
        ended.stderr
    );
    assert!(server.requests().is_empty());
}
