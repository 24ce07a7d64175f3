//! Deployments from the manifest to the cluster: one approved patch, and the way back.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use linear_agentics::manifest::Manifest;
use linear_agentics::{Event, LedgerPlace, Observer, RunOptions, start};
use rustix::process::{Signal, getpid, kill_process};
use serde_json::json;
use standin::kube::{Deployment, Rollout, Server};

use crate::pty::Terminal;
use crate::support::{Ended, LAR, Lab, Run, call, done, eventually, script, skip};

const V1: &str = "registry.test/team/web:v1";
const V2: &str = "registry.test/team/web:v2";

fn deploy() -> serde_json::Value {
    call("deploy_prod", json!({}))
}

fn token(more: &str) -> String {
    format!(
        "[[token]]\nkind = \"deploy\"\nname = \"prod\"\ntarget = \"prod\"\nimage = \"{V2}\"\n\
         rollback_to = \"{V1}\"\nrequires_approval = true\n{more}\n"
    )
}

/// A cluster, and a lab whose home has the way to it; `None` where there is no `kubectl`.
fn cluster(rollout: Rollout) -> Option<(Server, Lab)> {
    let path = std::env::var_os("PATH").unwrap();
    if !std::env::split_paths(&path).any(|folder| folder.join("kubectl").is_file()) {
        skip("there is no `kubectl`");
        return None;
    }
    let web = Deployment::new("prod", "web").container("web", V1).rollout_to(V2, rollout);
    let builder = Server::builder().tick(Duration::from_millis(20));
    let server = builder.deployment(web).start();
    let lab = Lab::new(&token("method = \"kubectl\"\ntimeout = \"60s\""));
    std::fs::create_dir(lab.path(".kube")).unwrap();
    lab.write(".kube/config", server.kubeconfig("default"));
    Some((server, lab))
}

#[test]
fn a_yes_sets_the_image_and_awaits_the_rollout() {
    let Some((server, lab)) = cluster(Rollout::Succeeds { after: 2 }) else {
        return;
    };
    let mut person = Terminal::start(&lab.replay(&[deploy(), deploy(), done()]));
    person.answer("yes");
    let ended = person.wait().exits(0);
    for shown in [V2, V1, "web", "prod", &server.url()] {
        assert!(ended.stderr.contains(shown), "`{shown}` is not on the screen:\n{}", ended.stderr);
    }
    assert_eq!(server.writes().len(), 1, "{:?}\n{}", ended.complaints(), ended.stderr);
    assert!(server.writes()[0].text().contains(V2));
    let errors = ended.complaints();
    assert_eq!(ended.outcomes(), ["succeeded"], "{errors:?}");
    assert!(errors[0].starts_with("TokenReusedError"), "{errors:?}");
    assert!(!format!("{ended:?}").contains("standin-token"));
    std::fs::remove_dir_all(lab.path(".kube")).unwrap();
    let found = crate::support::find_bytes(lab.dir(), "standin-token");
    assert_eq!(found, None, "the cluster's token is in no file of the run");
}

#[test]
fn a_no_touches_nothing() {
    let Some((server, lab)) = cluster(Rollout::Succeeds { after: 1 }) else {
        return;
    };
    let mut person = Terminal::start(&lab.replay(&[deploy(), done()]));
    person.answer("no");
    person.wait().exits(0);
    assert_eq!(server.writes().len(), 0);
}

#[test]
fn a_failed_rollout_goes_back_once() {
    let Some((server, lab)) = cluster(Rollout::DeadlineExceeded { after: 1 }) else {
        return;
    };
    let mut person = Terminal::start(&lab.replay(&[deploy(), done()]));
    person.answer("yes");
    let ended = person.wait().exits(0);
    assert_eq!(ended.stderr.matches("approval needed").count(), 1, "one yes covers the way back");
    let images: Vec<bool> = server.writes().iter().map(|write| write.text().contains(V1)).collect();
    assert_eq!(images, [false, true], "to the new image and back to the old one");
    assert_eq!(ended.outcomes(), ["failed", "succeeded"]);
    let names: Vec<_> = ended.proofs().iter().map(|p| p["token_name"].clone()).collect();
    assert_eq!(names, ["prod", "prod/rollback"]);
    assert!(ended.stderr.contains("rolling back"), "{}", ended.stderr);
}

/// Killed while the rollout is under way, its outcome is unknown until the cluster is asked, which says
/// so once.
#[test]
fn what_a_crash_left_unknown_is_asked_of_the_cluster() {
    let Some((server, lab)) = cluster(Rollout::Succeeds { after: 2_000 }) else {
        return;
    };
    let manifest = lab.read("manifest.toml").replace("requires_approval = true\n", "");
    lab.write("manifest.toml", manifest);
    let running = lab.replay(&[deploy(), done()]).start();
    eventually("the patch was applied", || server.deployment("prod", "web").images["web"] == V2);
    running.signal(Signal::KILL);
    running.wait();
    let lar = |words: &[&str]| lar(&lab, words);
    lar(&["resume", "latest", "--abandon"]).exits(0);
    let ask = ["audit", "resolve", "latest", "--ask-target"];
    let early = lar(&ask).exits(5);
    assert!(early.stderr.contains("under way; ask again later"), "{}", early.stderr);
    for _ in 0..2_000 {
        server.look("prod", "web");
    }
    let asked = lar(&[&ask[..], &["--json"]].concat()).exits(0).json();
    assert_eq!(asked[0]["outcome"], "succeeded");
    let shown = lar(&["audit", "show", "latest", "--json"]).exits(0).json();
    let resolution = &shown["proofs"][0]["resolution"];
    assert_eq!(
        (&resolution["by"], &resolution["outcome"]),
        (&json!("target"), &json!("succeeded"))
    );
    assert!(resolution["name"].as_str().unwrap().contains(&server.url()), "{resolution}");
    assert_eq!(shown["proofs"][0]["outcome"], "unknown", "the record of then stays");
    lar(&["audit", "verify"]).exits(0);
    let nothing = lar(&ask).exits(0);
    assert!(nothing.stderr.contains("no unknown outcome"), "{}", nothing.stderr);
    assert_eq!(server.writes().len(), 1, "asking changes nothing");
}

#[test]
fn a_context_that_is_not_there_is_told_at_the_start() {
    let Some((server, lab)) = cluster(Rollout::Succeeds { after: 1 }) else {
        return;
    };
    let manifest = lab.read("manifest.toml").replace("timeout = \"60s\"", "context = \"staging\"");
    lab.write("manifest.toml", manifest);
    let ended = lab.replay(&[deploy(), done()]).go().exits(2);
    assert!(ended.stderr.contains("`staging`"), "{}", ended.stderr);
    assert!(server.writes().is_empty() && !lab.made("made").exists());
}

#[test]
fn a_failed_command_is_undone_once() {
    let argv = "method = \"command\"\nargv = [\"./deploy\", \"--image={image}\", \"to\", \"{target}\"]\n\
        rollback_argv = [\"./deploy\", \"--back={image}\", \"to\", \"{target}\"]\n\
        writes = [\"out\"]";
    let lab = Lab::new(&token(argv).replace("requires_approval = true\n", ""));
    script(&lab, "deploy", "echo \"$@\" >> calls; case $1 in --back=*) exit 0;; *) exit 3;; esac");
    let ended = lab.replay(&[deploy(), done()]).go().exits(0);
    assert_eq!(lab.read_made("calls"), format!("--image={V2} to prod\n--back={V1} to prod\n"));
    assert_eq!(ended.outcomes(), ["failed", "succeeded"]);
}

/// Whoever watches, and ends the process as a crash would, between a failed deployment and its way back.
struct Dies;

impl Observer for Dies {
    fn notice(&self, event: Event<'_>) {
        if matches!(event, Event::RollingBack { .. }) {
            kill_process(getpid(), Signal::KILL).unwrap();
        }
    }
}

const CUT_OFF: &str = "LAR_TEST_CUT_OFF";

#[test]
#[ignore = "it is the process that the tests below start, which is cut off"]
fn dies_before_the_way_back() {
    let lab = std::path::PathBuf::from(std::env::var_os(CUT_OFF).expect("the lab is named"));
    linear_agentics::use_helper(LAR.as_ref()).unwrap();
    let text = std::fs::read_to_string(lab.join("manifest.toml")).unwrap();
    let manifest = Manifest::read(&text, &lab).unwrap();
    let options = RunOptions::from_manifest(&manifest)
        .ledger(LedgerPlace::from(lab.join("ledger.db")))
        .model(format!("replay:{}", lab.join("session.jsonl").display()))
        .observer(std::sync::Arc::new(Dies));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async { start(options).await.unwrap().run().await.unwrap() });
}

/// A run that was cut off when its deployment had failed and its way back had not begun.
fn cut_off(lab: &Lab, turns: &[serde_json::Value]) {
    drop(lab.replay(turns));
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "run::deploy::dies_before_the_way_back", "--ignored"]);
    command.env_clear().env("PATH", crate::support::path()).env("HOME", lab.dir());
    let ended = command.env(CUT_OFF, lab.dir()).current_dir(lab.dir()).output().unwrap();
    assert_eq!(ended.status.signal(), Some(9), "{ended:?}");
}

fn lar(lab: &Lab, words: &[&str]) -> Ended {
    let ledger = ["--ledger", "ledger.db"];
    Run::at(lab.dir(), words).args(ledger).env("HOME", lab.dir().to_str().unwrap()).go()
}

fn by_command() -> Lab {
    let argv = "method = \"command\"\nargv = [\"./deploy\", \"--image={image}\"]\n\
        rollback_argv = [\"./deploy\", \"--back={image}\"]\nwrites = [\"out\"]";
    let lab = Lab::new(&token(argv).replace("requires_approval = true\n", ""));
    script(&lab, "deploy", "echo \"$@\" >> calls; case $1 in --back=*) exit 0;; *) exit 3;; esac");
    lab
}

#[test]
fn a_way_back_that_a_crash_came_before_is_taken_once() {
    let lab = by_command();
    cut_off(&lab, &[deploy(), done()]);
    assert_eq!(lab.read_made("calls"), format!("--image={V2}\n"));
    let ended = lar(&lab, &["resume", "latest", "--json"]).exits(0);
    assert_eq!(lab.read_made("calls"), format!("--image={V2}\n--back={V1}\n"));
    assert_eq!(ended.outcomes(), ["failed", "succeeded"]);
    assert!(ended.stderr.contains("rolling back"), "{}", ended.stderr);
    lar(&lab, &["audit", "verify"]).exits(0);
}

#[test]
fn a_way_back_that_is_given_up_is_named() {
    let lab = by_command();
    cut_off(&lab, &[deploy(), done()]);
    let word = "the rollout of token `prod` failed and its way back was never begun";
    let ended = lar(&lab, &["resume", "latest", "--abandon"]).exits(0);
    assert!(ended.stderr.contains(word), "{}", ended.stderr);
    let shown = lar(&lab, &["audit", "show", "latest", "--json"]).exits(0).json();
    assert!(shown["run"]["end"]["error"].as_str().unwrap().contains(word), "{}", shown["run"]);
    assert_eq!(lab.read_made("calls"), format!("--image={V2}\n"));
}

/// What others have done in between isn't undone.
#[test]
fn a_late_way_back_leaves_what_was_changed_since() {
    let Some((server, lab)) = cluster(Rollout::DeadlineExceeded { after: 1 }) else {
        return;
    };
    let manifest = lab.read("manifest.toml").replace("requires_approval = true\n", "");
    lab.write("manifest.toml", manifest);
    cut_off(&lab, &[deploy(), done()]);
    let v3 = "web=registry.test/team/web:v3";
    let mut kubectl = std::process::Command::new("kubectl");
    kubectl.args(["-n", "prod", "set", "image", "deployment/web", v3]).env("HOME", lab.dir());
    let ran = kubectl.env_remove("KUBECONFIG").output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
    let ended = lar(&lab, &["resume", "latest", "--json"]).exits(0);
    assert_eq!(ended.outcomes(), ["failed", "failed"]);
    let proofs = ended.proofs();
    assert_eq!(proofs[1]["reason"], "changed since", "{proofs:?}");
    assert!(proofs[1]["result_summary"].as_str().unwrap().contains("web:v3"), "{proofs:?}");
    assert_eq!(server.deployment("prod", "web").images["web"], "registry.test/team/web:v3");
}

#[test]
fn the_model_supplies_nothing() {
    let argv = "method = \"command\"\nargv = [\"./deploy\", \"{image}\"]";
    let tables = token(argv).replace("requires_approval = true\n", "");
    let lab = Lab::new(&tables.replace(&format!("rollback_to = \"{V1}\"\n"), ""));
    script(&lab, "deploy", "echo \"$@\" >> calls");
    let turns = [
        call("deploy_prod", json!({"image": "evil:v9"})),
        call("deploy_prod/rollback", json!({})),
        call("prod", json!({})),
        done(),
    ];
    let ended = lab.replay(&turns).go().exits(0);
    assert!(!lab.made("calls").exists() && ended.proofs().is_empty());
    assert_eq!(ended.errors().len(), 3);
}
