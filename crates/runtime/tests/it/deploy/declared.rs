//! Deployments by declared commands.

use std::fs;
use std::path::Path;
use std::time::Duration;

use lar_core::error::Refusal;
use lar_core::outcome::Verdict;
use lar_core::token::DeployToken;
use lar_runtime::tools::{ROLLBACK_FAILED, ROLLOUT_FAILED};

use super::Without;
use super::bench::{Bench, V1, V2, outcomes};
use crate::wait;

pub(super) const WITHOUT: &[Without] = &[
    ("a_command_deploys", a_command_deploys),
    ("a_failed_command_is_undone_once", a_failed_command_is_undone_once),
    ("a_failed_return_command_is_the_end", a_failed_return_command_is_the_end),
    ("a_killed_command_is_unknown", a_killed_command_is_unknown),
    (
        "a_command_that_is_not_there_gives_the_use_back",
        a_command_that_is_not_there_gives_the_use_back,
    ),
];

/// A token whose commands append a line to `log` and exit like this.
fn command(deploy: &str, back: &str) -> DeployToken {
    let words = |exit: &str| {
        let script = format!("echo \"$0\" \"$1\" >> log; {exit}");
        ["sh", "-c", &script, "{target}", "--image={image}"].map(ToOwned::to_owned)
    };
    DeployToken::command("prod", "production", V2, words(deploy))
        .rollback_to(V1)
        .rollback_argv(words(back))
        .timeout(Duration::from_secs(20))
        .writes("log")
        .also_runs("sleep")
}

fn system() -> Bench {
    let bench = Bench::with_programs(&[Path::new("/usr/bin"), Path::new("/bin")]);
    fs::write(bench.dir.path().join("log"), "").unwrap();
    bench
}

fn log_of(bench: &Bench) -> Vec<String> {
    let log = fs::read_to_string(bench.dir.path().join("log")).unwrap_or_default();
    log.lines().map(ToOwned::to_owned).collect()
}

fn a_command_deploys() {
    let bench = system();
    let (proof, records) = wait(bench.deploy(command("echo done", "exit 0").build().unwrap()));
    assert_eq!((proof.outcome(), proof.output()), (Verdict::Succeeded, "done\n"));
    assert_eq!(log_of(&bench), [format!("production --image={V2}")]);
    assert_eq!(outcomes(&records).len(), 1);
}

fn a_failed_command_is_undone_once() {
    let bench = system();
    let (proof, records) = wait(bench.deploy(command("exit 3", "exit 0").build().unwrap()));
    let ended = (proof.outcome(), proof.reason(), proof.exit_code());
    assert_eq!(ended, (Verdict::Failed, Some(ROLLOUT_FAILED), Some(3)));
    let both = [format!("production --image={V2}"), format!("production --image={V1}")];
    assert_eq!(log_of(&bench), both);
    let [_, back] = outcomes(&records).try_into().unwrap();
    assert_eq!((back.0.as_str(), back.1), ("prod/rollback", Some(Verdict::Succeeded)));
}

fn a_failed_return_command_is_the_end() {
    let bench = system();
    let (_, records) = wait(bench.deploy(command("exit 3", "exit 4").build().unwrap()));
    let [_, back] = outcomes(&records).try_into().unwrap();
    assert_eq!((back.1, back.2.as_deref()), (Some(Verdict::Failed), Some(ROLLBACK_FAILED)));
    assert_eq!(log_of(&bench).len(), 2);
}

fn a_killed_command_is_unknown() {
    let bench = system();
    let token = command("sleep 60", "exit 0").timeout(Duration::from_secs(1)).build().unwrap();
    let (proof, records) = wait(bench.deploy(token));
    assert_eq!((proof.outcome(), proof.reason()), (Verdict::Unknown, Some("timeout")));
    assert_eq!((log_of(&bench).len(), outcomes(&records).len()), (1, 1));
}

fn a_command_that_is_not_there_gives_the_use_back() {
    let bench = system();
    wait(async {
        let token = DeployToken::command("prod", "prod", V2, ["./deploy.sh"]).build().unwrap();
        let run = bench.issue(token).await;
        assert!(matches!(run.deploy().await, Err(Refusal::NeverBegan(_))));
        assert_eq!(run.dispatcher.capabilities().uses_left("prod"), Some(1));
    });
}
