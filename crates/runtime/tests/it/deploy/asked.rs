//! A cluster is asked later what became of a deployment of which nobody knows.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lar_core::audit::trail::Proof;
use lar_core::outcome::Verdict;
use lar_runtime::stop::Cause;
use lar_runtime::tools::{TargetAnswer, ask_target};
use serde_json::json;
use standin::kube::{Deployment, PatchAnswer, Rollout, Server};

use super::WithKubectl;
use super::bench::{ATTEMPT, Bench, V1, V2, image, impostor, server, token, web};
use crate::wait;

pub(super) const WITH_KUBECTL: &[WithKubectl] = &[
    ("a_cluster_is_asked_what_became_of_it", a_cluster_is_asked_what_became_of_it),
    ("what_is_no_proof_leaves_it_unknown", what_is_no_proof_leaves_it_unknown),
    ("an_answer_that_lies_about_itself_is_none", an_answer_that_lies_about_itself_is_none),
];

/// A deployment that was stopped while its rollout was under way: its proof, which is unknown.
async fn stopped(bench: &Bench, server: &Server) -> Proof {
    let run = bench.issue(token().build().unwrap()).await;
    let stopping = async {
        while image(server) == V1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        run.stop.request(Cause::Interrupted);
    };
    let (proof, ()) = tokio::join!(run.deploy(), stopping);
    let proof = proof.unwrap();
    assert_eq!(proof.outcome(), Verdict::Unknown, "{proof:?}");
    proof
}

impl Bench {
    async fn ask(&self, proof: &Proof) -> TargetAnswer {
        ask_target("prod", proof.args(), &proof.attempt(), &self.programs, &self.source).await
    }

    /// Why nothing is proved.
    async fn unproved(&self, proof: &Proof) -> String {
        match self.ask(proof).await {
            TargetAnswer::ProvesNothing { why } => why,
            proved => panic!("it is proved: {proved:?}"),
        }
    }

    /// Asks until the rollout has come to its end.
    async fn asked(&self, proof: &Proof) -> (String, Verdict, String) {
        loop {
            match self.ask(proof).await {
                TargetAnswer::Proves { target, verdict, how } => return (target, verdict, how),
                TargetAnswer::ProvesNothing { why } => {
                    assert!(why.contains("under way; ask again"), "{why}");
                }
            }
        }
    }

    /// Runs the operator's `kubectl`.
    fn kubectl(&self, kubectl: &Path, words: &[&str]) {
        let mut command = std::process::Command::new(kubectl);
        command.args(words).arg("--kubeconfig").arg(self.home().join(".kube/config"));
        let ran = command.env("HOME", self.home()).output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
    }
}

fn a_cluster_is_asked_what_became_of_it(kubectl: PathBuf) {
    for (rollout, expected, word) in [
        (Rollout::Succeeds { after: 400 }, Verdict::Succeeded, "is rolled out"),
        (Rollout::DeadlineExceeded { after: 400 }, Verdict::Failed, "progress deadline"),
    ] {
        let server = server(web().rollout_to(V2, rollout));
        let bench = Bench::new(&kubectl, &server.kubeconfig("prod"));
        let (target, verdict, how) = wait(async {
            let proof = stopped(&bench, &server).await;
            let why = bench.unproved(&proof).await;
            assert!(why.contains("under way"), "{why}");
            for _ in 0..400 {
                server.look("prod", "web");
            }
            bench.asked(&proof).await
        });
        assert_eq!(verdict, expected, "{how}");
        assert!(target.contains("prod/web") && target.contains(&server.url()), "{target}");
        assert!(how.contains(word) && how.contains(V2), "{how}");
        assert_eq!(server.writes().len(), 1, "it is only read");
    }
}

fn what_is_no_proof_leaves_it_unknown(kubectl: PathBuf) {
    // A patch that was lost on its way: the deployment bears no attempt.
    let cut = || web().patches([PatchAnswer::CutBeforeApply]);
    let server = server(cut());
    let bench = Bench::new(&kubectl, &server.kubeconfig("prod"));
    let (proof, _) = wait(bench.deploy(token().build().unwrap()));
    assert_eq!(proof.outcome(), Verdict::Unknown);
    let why = wait(bench.unproved(&proof));
    assert!(why.contains("bears no attempt"), "{why}");
    // Another one's came after it.
    let other = format!("{ATTEMPT}={}", "ab".repeat(32));
    bench.kubectl(&kubectl, &["-n", "prod", "annotate", "deployment/web", &other]);
    let why = wait(bench.unproved(&proof));
    assert!(why.contains("another attempt, abab"), "{why}");
    // The attempt is there, and the image isn't.
    let ours = format!("{ATTEMPT}={}", proof.attempt());
    bench.kubectl(&kubectl, &["-n", "prod", "annotate", "--overwrite", "deployment/web", &ours]);
    let why = wait(bench.unproved(&proof));
    assert!(why.contains("has image registry.test/team/web:v1 since"), "{why}");
    // The context leads elsewhere, to a cluster that would say what is asked.
    let elsewhere = self::server(Deployment::new("prod", "web").container("web", V2));
    bench.write_kubeconfig(&elsewhere.kubeconfig("prod"));
    bench.kubectl(&kubectl, &["-n", "prod", "annotate", "deployment/web", &ours]);
    let why = wait(bench.unproved(&proof));
    assert!(why.contains("leads to another cluster") && why.contains(&server.url()), "{why}");
    // There is nobody, or nobody who may be asked.
    bench.write_kubeconfig(&server.kubeconfig("prod").replace("test", "other"));
    let why = wait(bench.unproved(&proof));
    assert!(why.contains("can't be resolved"), "{why}");
    bench.write_kubeconfig(&server.kubeconfig("prod"));
    drop(server);
    let why = wait(bench.unproved(&proof));
    assert!(why.contains("can't be read") && why.contains("refused"), "{why}");
}

fn an_answer_that_lies_about_itself_is_none(kubectl: PathBuf) {
    let server = server(web().patches([PatchAnswer::CutBeforeApply]));
    let bench = Bench::new(&kubectl, &server.kubeconfig("prod"));
    let (proof, _) = wait(bench.deploy(token().build().unwrap()));
    let status =
        r#"{"observedGeneration":1,"replicas":1,"updatedReplicas":1,"availableReplicas":1}"#;
    let attempt = proof.attempt();
    let honest = format!("prod\n%s\n1\n1\n{status}\n{attempt}\n{V2}");
    for (answer, proves) in [
        (honest.replace("%s", "web"), true),
        // Of another deployment; with a value in two lines; cut short; no answer at all.
        (honest.replace("%s", "api"), false),
        (honest.replace("%s", "web").replace(V2, &format!("{V2}\n{V1}")), false),
        (honest.replace("%s", "web").replace(&format!("\n{V2}"), ""), false),
        (String::new(), false),
    ] {
        let words = answer.replace('\n', "\\n").replace('"', "\\\"");
        let script =
            format!(r#"if [ "$1" = get ]; then printf "{words}"; else exec REAL "$@"; fi"#);
        let dir = impostor(&kubectl, &script);
        let mut lied = Bench::unconfined(dir.path());
        lied.source = bench.source.clone();
        let answer = wait(lied.ask(&proof));
        assert_eq!(matches!(answer, TargetAnswer::Proves { .. }), proves, "{answer:?}");
    }
    // What kind of target can be asked is said, whatever the record holds.
    for (action, word) in [
        (json!({"kind": "http", "url": "https://api.test"}), "Idempotency-Key"),
        (json!({"kind": "deploy", "method": "command"}), "declared command"),
        (json!({"kind": "shell"}), "only a deployment"),
        (json!({"kind": "deploy", "method": "kubectl"}), "understands"),
        (json!(null), "only a deployment"),
    ] {
        let asked = ask_target("prod", &action, &attempt, &bench.programs, &bench.source);
        let TargetAnswer::ProvesNothing { why } = wait(asked) else {
            panic!("{action} is proved");
        };
        assert!(why.contains(word), "{why}");
    }
}
