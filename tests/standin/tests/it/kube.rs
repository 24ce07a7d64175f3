use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;
use standin::kube::{Deployment, PatchAnswer, Pod, Rollout, Server};

const V1: &str = "registry.test/team/web:v1";
const V2: &str = "registry.test/team/web:v2";

/// The kubectl to test with: `KUBECTL`, or the one on the path.
fn kubectl() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("KUBECTL") {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("kubectl")).find(|file| file.is_file())
}

/// A server, and a real kubectl with a home of its own that talks to it.
struct Bench {
    server: Server,
    kubectl: PathBuf,
    home: tempfile::TempDir,
}

impl Bench {
    /// `None`, and a line that says so, where there is no kubectl.
    fn new(test: &str, deployment: Deployment) -> Option<Self> {
        let Some(kubectl) = kubectl() else {
            // Straight to the standard error, so that the test harness doesn't swallow it.
            let line = format!("skipped: {test} needs kubectl, which is not on the path\n");
            let _ = std::io::stderr().write_all(line.as_bytes());
            return None;
        };
        let server = Server::builder()
            .tick(Duration::from_millis(20))
            .deployment(deployment)
            .pod(
                Pod::new("prod", "job-0")
                    .label("app", "job")
                    .waiting("CrashLoopBackOff", 7)
                    .logs("one\ntwo\nthree\n"),
            )
            .event("prod", "Pod/job-0", "Warning", "BackOff", "back-off restarting container")
            .forbid("delete", "pods")
            .start();
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("config"), server.kubeconfig("prod")).unwrap();
        Some(Self { server, kubectl, home })
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(&self.kubectl);
        command.env_clear().env("HOME", self.home.path());
        command.env("KUBECONFIG", self.home.path().join("config"));
        command.args(arguments).output().expect("kubectl starts")
    }

    /// What kubectl prints; it has to succeed.
    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What kubectl complains of; it has to fail.
    fn fails(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success(), "kubectl {arguments:?} went well: {said}");
        String::from_utf8(output.stderr).unwrap()
    }

    fn set_image(&self, image: &str) -> Output {
        self.run(&["patch", "deployment", "web", "-p", &patch(image)])
    }
}

fn patch(image: &str) -> String {
    let template = serde_json::json!({
        "spec": {"containers": [{"name": "web", "image": image}]},
    });
    serde_json::json!({
        "metadata": {"annotations": {"example.test/attempt": "a-1"}},
        "spec": {"template": template},
    })
    .to_string()
}

fn web() -> Deployment {
    Deployment::new("prod", "web")
        .container("web", V1)
        .container("sidecar", "registry.test/team/sidecar:v1")
        .logs("hello from web\n")
}

#[test]
fn kubectl_reads() {
    let Some(bench) = Bench::new("kubectl_reads", web()) else {
        return;
    };
    let table = bench.ok(&["get", "pods"]);
    assert!(table.starts_with("NAME "), "{table}");
    let job = table.lines().find(|line| line.starts_with("job-0")).expect("job-0 is listed");
    let cells: Vec<&str> = job.split_whitespace().collect();
    assert_eq!(cells, ["job-0", "0/1", "CrashLoopBackOff", "7", "60m"]);
    assert_eq!(table.lines().filter(|line| line.starts_with("web-")).count(), 3);
    let pods: Value = serde_json::from_str(&bench.ok(&["get", "pods", "-o", "json"])).unwrap();
    assert_eq!(pods["items"].as_array().unwrap().len(), 4);
    assert_eq!(pods["items"][0]["kind"], "Pod");
    let one = bench.ok(&["get", "pods", "-l", "app=job", "-o", "name"]);
    assert_eq!(one, "pod/job-0\n");
    assert!(bench.ok(&["get", "pods", "-A"]).contains("prod "));
    assert!(bench.run(&["get", "pods", "-n", "empty"]).stdout.is_empty());
    assert_eq!(bench.ok(&["logs", "job-0"]), "one\ntwo\nthree\n");
    assert_eq!(bench.ok(&["logs", "job-0", "--tail=1"]), "three\n");
    assert_eq!(bench.ok(&["logs", "deployment/web", "-c", "web"]), "hello from web\n");
    let described = bench.ok(&["describe", "pod", "job-0"]);
    assert!(described.contains("CrashLoopBackOff"), "{described}");
    assert!(described.contains("back-off restarting container"), "{described}");
    assert!(bench.ok(&["describe", "deployment", "web"]).contains(V1));
    let events = bench.ok(&["get", "events"]);
    assert!(events.contains("pod/job-0") && events.contains("BackOff"), "{events}");
    let deployments = bench.ok(&["get", "deployments", "-o", "wide"]);
    assert!(deployments.contains("3/3") && deployments.contains(V1), "{deployments}");
    assert!(bench.ok(&["get", "all"]).contains("replicaset.apps/web-"));
    assert!(bench.ok(&["get", "ns"]).contains("prod "));
    assert!(bench.ok(&["rollout", "history", "deployment/web"]).contains('1'));
    assert!(bench.ok(&["version"]).contains("1.32"));
    assert!(bench.fails(&["get", "pods", "no-such"]).contains("(NotFound)"));
    assert!(bench.server.writes().is_empty());
}

#[test]
fn kubectl_patches_and_follows_a_rollout() {
    let deployment = web().rollout(Rollout::Succeeds { after: 5 });
    let Some(bench) = Bench::new("kubectl_patches_and_follows_a_rollout", deployment) else {
        return;
    };
    assert!(bench.set_image(V2).status.success());
    let after = bench.server.deployment("prod", "web");
    assert_eq!((after.images["web"].as_str(), after.generation, after.revision), (V2, 2, 2));
    assert_eq!(after.images["sidecar"], "registry.test/team/sidecar:v1");
    assert_eq!(after.annotations["example.test/attempt"], "a-1");
    assert_eq!((after.complete, after.observed_generation), (false, 1));
    let told = bench.ok(&["rollout", "status", "deployment/web", "--timeout=5s"]);
    assert!(told.contains("Waiting for") && told.contains("successfully rolled out"), "{told}");
    assert!(bench.server.deployment("prod", "web").complete);
    // Going back is a change of its own; a patch that changes nothing is not.
    assert!(bench.set_image(V1).status.success());
    let back = bench.server.deployment("prod", "web");
    assert_eq!((back.generation, back.revision, back.applied_patches), (3, 3, 2));
    assert!(bench.set_image(V1).status.success());
    assert_eq!(bench.server.deployment("prod", "web").generation, 3);
    let writes = bench.server.writes();
    assert_eq!(writes.len(), 3);
    assert_eq!(writes[0].method, "PATCH");
    assert_eq!(writes[0].path, "/apis/apps/v1/namespaces/prod/deployments/web");
    assert_eq!(writes[0].header("content-type"), Some("application/strategic-merge-patch+json"));
}

#[test]
fn kubectl_sees_rollouts_fail() {
    let deployment = web()
        .rollout_to(V2, Rollout::DeadlineExceeded { after: 2 })
        .rollout_to("registry.test/team/web:v3", Rollout::Stuck);
    let Some(bench) = Bench::new("kubectl_sees_rollouts_fail", deployment) else {
        return;
    };
    assert!(bench.set_image(V2).status.success());
    let told = bench.fails(&["rollout", "status", "deployment/web", "--timeout=5s"]);
    assert!(told.contains("exceeded its progress deadline"), "{told}");
    assert!(bench.set_image("registry.test/team/web:v3").status.success());
    let start = Instant::now();
    let told = bench.fails(&["rollout", "status", "deployment/web", "--timeout=1s"]);
    assert!(told.contains("timed out") && start.elapsed() >= Duration::from_secs(1), "{told}");
    // The rollback has a plan of its own.
    assert!(bench.set_image(V1).status.success());
    let told = bench.ok(&["rollout", "status", "deployment/web", "--timeout=5s"]);
    assert!(told.contains("successfully rolled out"), "{told}");
}

#[test]
fn kubectl_sees_patches_fail() {
    let answers = [
        PatchAnswer::Status(403),
        PatchAnswer::Status(409),
        PatchAnswer::Status(500),
        PatchAnswer::CutBeforeApply,
        PatchAnswer::CutAfterApply,
    ];
    let deployment = web().patches(answers);
    let Some(bench) = Bench::new("kubectl_sees_patches_fail", deployment) else {
        return;
    };
    let images = || bench.server.deployment("prod", "web").images["web"].clone();
    for message in ["(Forbidden)", "(Conflict)", "(InternalError)", "EOF"] {
        let output = bench.set_image(V2);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && told.contains(message), "{message}: {told}");
        assert_eq!(images(), V1);
    }
    assert!(!bench.set_image(V2).status.success());
    assert_eq!(images(), V2, "the patch whose answer was cut was applied");
    assert_eq!(bench.server.deployment("prod", "web").applied_patches, 1);
    let numbers = r#"{"metadata":{"annotations":{"n":1}}}"#;
    assert!(bench.fails(&["patch", "deploy", "web", "-p", numbers]).contains("unmarshal"));
    let nameless = r#"{"spec":{"template":{"spec":{"containers":[{"image":"x"}]}}}}"#;
    bench.fails(&["patch", "deploy", "web", "-p", nameless]);
    let told = bench.fails(&["patch", "deploy", "web", "--type=merge", "-p", nameless]);
    assert!(told.contains("Required value"), "{told}");
    let stale = r#"{"metadata":{"resourceVersion":"1"}}"#;
    assert!(bench.fails(&["patch", "deploy", "web", "-p", stale]).contains("(Conflict)"));
    assert!(bench.fails(&["delete", "pod", "job-0"]).contains("(Forbidden)"));
    assert_eq!(bench.server.deployment("prod", "web").applied_patches, 1);
}

#[test]
fn kubectl_is_unauthorized_where_a_token_is_asked_for() {
    let test = "kubectl_is_unauthorized_where_a_token_is_asked_for";
    let Some(mut bench) = Bench::new(test, web()) else {
        return;
    };
    bench.server = Server::builder().token("t").start();
    std::fs::write(bench.home.path().join("config"), bench.server.kubeconfig("prod")).unwrap();
    // Over plain HTTP kubectl keeps its credentials to itself.
    assert!(bench.fails(&["get", "pods"]).contains("must be logged in"));
    assert!(bench.server.requests().iter().all(|call| call.header("authorization").is_none()));
}

#[tokio::test]
async fn the_server_is_strict_without_kubectl_too() {
    let server = Server::builder().token("t").deployment(web()).start();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/apis/apps/v1/namespaces/prod/deployments/web", server.url());
    let bare = client.get(&url).send().await.unwrap();
    assert_eq!(bare.status().as_u16(), 401);
    let status = |content_type: &'static str, body: String| {
        let request = client.patch(&url).header("authorization", "Bearer t");
        let request = request.header("content-type", content_type).body(body);
        async move { request.send().await.unwrap().status().as_u16() }
    };
    assert_eq!(status("application/json", patch(V2)).await, 415);
    assert_eq!(status("application/json-patch+json", "[]".to_owned()).await, 415);
    assert_eq!(status("application/merge-patch+json", "{".to_owned()).await, 400);
    assert_eq!(status("application/strategic-merge-patch+json", patch(V2)).await, 200);
    assert_eq!(server.deployment("prod", "web").images["web"], V2);
    assert_eq!(server.writes().len(), 4);
}
