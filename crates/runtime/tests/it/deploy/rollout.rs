//! How a deployment by `kubectl` goes, and how it ends.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use lar_core::audit::record::Body;
use lar_core::json::Digest;
use lar_core::outcome::Verdict;
use lar_runtime::stop::Cause;
use lar_runtime::tools::{ROLLBACK_FAILED, ROLLOUT_FAILED};
use serde_json::json;
use standin::kube::{Deployment, PatchAnswer, Rollout};

use super::WithKubectl;
use super::bench::{
    ATTEMPT, Bench, V1, V2, builder, image, impostor, outcomes, server, token, web,
};
use crate::wait;

pub(super) const WITH_KUBECTL: &[WithKubectl] = &[
    ("an_image_is_deployed_by_one_patch", an_image_is_deployed_by_one_patch),
    ("an_image_that_is_there_already_is_a_success", an_image_that_is_there_already_is_a_success),
    ("a_failed_rollout_is_undone_once", a_failed_rollout_is_undone_once),
    ("a_failed_rollback_is_the_end", a_failed_rollback_is_the_end),
    ("what_the_server_refuses_has_failed", what_the_server_refuses_has_failed),
    ("a_server_that_fails_leaves_it_unknown", a_server_that_fails_leaves_it_unknown),
    ("a_lost_answer_is_found_in_the_annotation", a_lost_answer_is_found_in_the_annotation),
    ("a_lost_request_is_unknown", a_lost_request_is_unknown),
    ("a_slow_answer_is_not_waited_for", a_slow_answer_is_not_waited_for),
    ("a_rollout_without_end_fails_in_time", a_rollout_without_end_fails_in_time),
    ("a_stop_leaves_the_rollout_unknown", a_stop_leaves_the_rollout_unknown),
    ("a_watch_that_breaks_is_no_failed_rollout", a_watch_that_breaks_is_no_failed_rollout),
];

fn an_image_is_deployed_by_one_patch(kubectl: PathBuf) {
    let server = server(web().rollout(Rollout::Succeeds { after: 4 }));
    let bench = Bench::new(&kubectl, &server.kubeconfig("elsewhere"));
    let (proof, records) = wait(bench.deploy(token().build().unwrap()));
    assert_eq!((proof.outcome(), proof.reason()), (Verdict::Succeeded, None), "{proof:?}");
    assert_eq!(proof.exit_code(), Some(0));
    assert!(proof.output().contains("deployment.apps/web patched"), "{}", proof.output());
    assert!(proof.output().contains("successfully rolled out"), "{}", proof.output());
    let now = server.deployment("prod", "web");
    assert_eq!(now.images["web"], V2);
    assert_eq!(now.images["sidecar"], "registry.test/team/sidecar:v1");
    assert_eq!(now.annotations[ATTEMPT], proof.attempt().to_string());
    assert!(now.template_annotations.is_empty(), "the annotation must start no rollout");
    assert_eq!(server.writes().len(), 1);
    // The cluster is part of what is recorded and what the digest covers.
    let cluster = &proof.args()["cluster"];
    assert_eq!(
        cluster,
        &json!({"context": "test", "server": server.url(), "ca_sha256": null, "user": "test"})
    );
    let [(name, verdict, ..)] = outcomes(&records).try_into().unwrap();
    assert_eq!((name.as_str(), verdict), ("prod", Some(Verdict::Succeeded)));
    let digest = records.iter().find_map(|record| match &record.body {
        Body::Outcome(outcome) => Some((outcome.output_digest.unwrap(), outcome.program.clone())),
        _ => None,
    });
    let (digest, program) = digest.unwrap();
    assert_eq!(digest, Digest::of(proof.output().as_bytes()));
    assert_eq!(program.unwrap().path, kubectl.to_string_lossy());
}

fn an_image_that_is_there_already_is_a_success(kubectl: PathBuf) {
    let server = server(Deployment::new("prod", "web").container("web", V2));
    let bench = Bench::new(&kubectl, &server.kubeconfig("prod"));
    let (proof, _) = wait(bench.deploy(token().build().unwrap()));
    assert_eq!(proof.outcome(), Verdict::Succeeded, "{proof:?}");
    let now = server.deployment("prod", "web");
    assert_eq!((now.generation, now.revision), (1, 1), "no rollout was started");
}

fn a_failed_rollout_is_undone_once(kubectl: PathBuf) {
    let server = server(web().rollout_to(V2, Rollout::DeadlineExceeded { after: 2 }));
    let bench = Bench::new(&kubectl, &server.kubeconfig("prod"));
    let (proof, records) = wait(bench.deploy(token().build().unwrap()));
    assert_eq!((proof.outcome(), proof.reason()), (Verdict::Failed, Some(ROLLOUT_FAILED)));
    assert_eq!(proof.exit_code(), Some(1));
    assert!(proof.result_summary().contains("progress deadline"), "{}", proof.result_summary());
    let [deploy, back] = outcomes(&records).try_into().unwrap();
    assert_eq!((deploy.0.as_str(), deploy.1), ("prod", Some(Verdict::Failed)));
    assert_eq!((back.0.as_str(), back.1), ("prod/rollback", Some(Verdict::Succeeded)));
    assert_ne!(deploy.3, back.3, "the way back is an attempt of its own");
    let now = server.deployment("prod", "web");
    assert_eq!(
        (now.images["web"].as_str(), now.annotations[ATTEMPT].as_str()),
        (V1, back.3.as_str())
    );
    assert_eq!(server.writes().len(), 2);
}

fn a_failed_rollback_is_the_end(kubectl: PathBuf) {
    let server = server(web().rollout(Rollout::DeadlineExceeded { after: 0 }));
    let bench = Bench::new(&kubectl, &server.kubeconfig("prod"));
    let (_, records) = wait(bench.deploy(token().build().unwrap()));
    let [deploy, back] = outcomes(&records).try_into().unwrap();
    assert_eq!(deploy.2.as_deref(), Some(ROLLOUT_FAILED));
    assert_eq!((back.1, back.2.as_deref()), (Some(Verdict::Failed), Some(ROLLBACK_FAILED)));
    assert_eq!(server.writes().len(), 2);
}

fn what_the_server_refuses_has_failed(kubectl: PathBuf) {
    for (status, word) in [(403, "Forbidden"), (409, "Conflict"), (404, "NotFound")] {
        let server = server(web().patches([PatchAnswer::Status(status)]));
        let bench = Bench::new(&kubectl, &server.kubeconfig("prod"));
        let (proof, records) = wait(bench.deploy(token().build().unwrap()));
        let ended = (proof.outcome(), proof.reason(), proof.exit_code());
        assert_eq!(ended, (Verdict::Failed, Some("patch refused"), Some(1)), "{proof:?}");
        assert!(proof.output().contains(word), "{}", proof.output());
        assert_eq!((image(&server).as_str(), server.writes().len()), (V1, 1));
        assert_eq!(outcomes(&records).len(), 1, "there is nothing to undo");
    }
    // Who may not read doesn't get to the patch.
    let server = builder(web()).forbid("get", "deployments").start();
    let bench = Bench::new(&kubectl, &server.kubeconfig("prod"));
    let (proof, _) = wait(bench.deploy(token().build().unwrap()));
    assert_eq!(
        (proof.outcome(), proof.reason()),
        (Verdict::Failed, Some("deployment not readable"))
    );
    assert!(server.writes().is_empty());
}

fn a_server_that_fails_leaves_it_unknown(kubectl: PathBuf) {
    // An internal error may come after the write, so it proves nothing.
    let server = server(web().patches([PatchAnswer::Status(500)]));
    let bench = Bench::new(&kubectl, &server.kubeconfig("prod"));
    let (proof, records) = wait(bench.deploy(token().build().unwrap()));
    assert_eq!((proof.outcome(), proof.reason()), (Verdict::Unknown, Some("patch answer lost")));
    assert_eq!((server.writes().len(), outcomes(&records).len()), (1, 1));
}

fn a_lost_answer_is_found_in_the_annotation(kubectl: PathBuf) {
    let server = server(web().patches([PatchAnswer::CutAfterApply]));
    let bench = Bench::new(&kubectl, &server.kubeconfig("prod"));
    let (proof, _) = wait(bench.deploy(token().build().unwrap()));
    assert_eq!(proof.outcome(), Verdict::Succeeded, "{proof:?}");
    assert!(
        proof.output().contains("the annotation says that it was applied"),
        "{}",
        proof.output()
    );
    assert_eq!((image(&server).as_str(), server.writes().len()), (V2, 1));
}

fn a_lost_request_is_unknown(kubectl: PathBuf) {
    let server = server(web().patches([PatchAnswer::CutBeforeApply]));
    let bench = Bench::new(&kubectl, &server.kubeconfig("prod"));
    let (proof, records) = wait(bench.deploy(token().build().unwrap()));
    assert_eq!((proof.outcome(), proof.reason()), (Verdict::Unknown, Some("patch answer lost")));
    assert_eq!((image(&server).as_str(), server.writes().len()), (V1, 1));
    assert_eq!(outcomes(&records).len(), 1, "what isn't known isn't undone");
}

fn a_slow_answer_is_not_waited_for(kubectl: PathBuf) {
    let server = server(web().patches([PatchAnswer::Slow(Duration::from_secs(60))]));
    let bench = Bench::new(&kubectl, &server.kubeconfig("prod"));
    let start = Instant::now();
    let token = token().timeout(Duration::from_secs(3)).build().unwrap();
    let (proof, _) = wait(bench.deploy(token));
    assert_eq!(proof.outcome(), Verdict::Succeeded, "{proof:?}");
    assert_eq!(server.writes().len(), 1);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

fn a_rollout_without_end_fails_in_time(kubectl: PathBuf) {
    let server = server(web().rollout_to(V2, Rollout::Stuck));
    let bench = Bench::new(&kubectl, &server.kubeconfig("prod"));
    let token = token().timeout(Duration::from_secs(3)).build().unwrap();
    let (proof, records) = wait(bench.deploy(token));
    assert_eq!(
        (proof.outcome(), proof.reason()),
        (Verdict::Failed, Some(ROLLOUT_FAILED)),
        "{proof:?}"
    );
    assert!((1_000..8_000).contains(&proof.duration_ms()), "{}", proof.duration_ms());
    assert_eq!(outcomes(&records).len(), 2);
    assert_eq!(image(&server), V1);
}

fn a_stop_leaves_the_rollout_unknown(kubectl: PathBuf) {
    for cause in [Cause::Interrupted, Cause::Timeout] {
        let server = server(web().rollout_to(V2, Rollout::Stuck));
        let bench = Bench::new(&kubectl, &server.kubeconfig("prod"));
        wait(async {
            let run = bench.issue(token().build().unwrap()).await;
            let stopping = async {
                while image(&server) == V1 {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                tokio::time::sleep(Duration::from_millis(300)).await;
                run.stop.request(cause);
                Instant::now()
            };
            let (proof, stopped) = tokio::join!(run.deploy(), stopping);
            let proof = proof.unwrap();
            let ended = (proof.outcome(), proof.reason(), proof.exit_code());
            assert_eq!(ended, (Verdict::Unknown, Some(cause.as_str()), None), "{proof:?}");
            assert!(stopped.elapsed() < Duration::from_secs(5));
            assert_eq!(outcomes(&run.records().await).len(), 1, "nobody undoes what was stopped");
        });
        assert_eq!((image(&server).as_str(), server.writes().len()), (V2, 1));
    }
}

fn a_watch_that_breaks_is_no_failed_rollout(kubectl: PathBuf) {
    // The real answers up to the patch, and then a connection that breaks.
    let script = r#"if [ "$1" = rollout ]; then echo 'error: unexpected EOF' >&2; exit 1; fi
exec REAL "$@""#;
    let dir = impostor(&kubectl, script);
    let server = server(web());
    let bench = Bench::unconfined(dir.path());
    bench.write_kubeconfig(&server.kubeconfig("prod"));
    let (proof, records) = wait(bench.deploy(token().build().unwrap()));
    assert_eq!((proof.outcome(), proof.reason()), (Verdict::Unknown, Some("rollout not observed")));
    assert_eq!((image(&server).as_str(), outcomes(&records).len()), (V2, 1));
}
