//! Deployments through the one path: a real `kubectl` against an API server on loopback, and
//! declared commands. `KUBECTL` names another `kubectl` than the one in PATH.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lar_core::approval::NoApprover;
use lar_core::audit::chain::Checker;
use lar_core::audit::record::{Body, Record};
use lar_core::audit::trail::Proof;
use lar_core::error::Refusal;
use lar_core::id::{CallSite, Part, RunId};
use lar_core::invocation::ToolCall;
use lar_core::json::Digest;
use lar_core::ledger::{Granted, Ledger, RunLedger};
use lar_core::outcome::Verdict;
use lar_core::set::CapabilitySet;
use lar_core::token::{DeployToken, Token};
use lar_runtime::confine::{Tier, Walls};
use lar_runtime::dispatch::{Dispatcher, Parts};
use lar_runtime::event::Unwatched;
use lar_runtime::secrets::Secrets;
use lar_runtime::stop::{Cause, Stop};
use lar_runtime::tools::{
    Accounts, ClusterError, Operator, Programs, ROLLBACK_FAILED, ROLLOUT_FAILED, TargetAnswer,
    Tools, ask_target,
};
use libtest_mimic::Trial;
use serde_json::json;
use standin::kube::{Builder, Deployment, PatchAnswer, Rollout, Server};
use tempfile::TempDir;

use crate::wait;

const V1: &str = "registry.test/team/web:v1";
const V2: &str = "registry.test/team/web:v2";
const ATTEMPT: &str = "linear-agent-runtime/attempt";

/// A test that is given a real `kubectl`.
type WithKubectl = (&'static str, fn(PathBuf));

/// All tests of this file. Those that need `kubectl` are reported as ignored where there is none.
pub fn tests() -> Vec<Trial> {
    let with_kubectl: [WithKubectl; 21] = [
        ("an_image_is_deployed_by_one_patch", an_image_is_deployed_by_one_patch),
        (
            "an_image_that_is_there_already_is_a_success",
            an_image_that_is_there_already_is_a_success,
        ),
        ("a_failed_rollout_is_undone_once", a_failed_rollout_is_undone_once),
        ("a_failed_rollback_is_the_end", a_failed_rollback_is_the_end),
        ("what_the_server_refuses_has_failed", what_the_server_refuses_has_failed),
        ("a_server_that_fails_leaves_it_unknown", a_server_that_fails_leaves_it_unknown),
        ("a_lost_answer_is_found_in_the_annotation", a_lost_answer_is_found_in_the_annotation),
        ("a_lost_request_is_unknown", a_lost_request_is_unknown),
        ("a_slow_answer_is_not_waited_for", a_slow_answer_is_not_waited_for),
        ("a_rollout_without_end_fails_in_time", a_rollout_without_end_fails_in_time),
        ("a_stop_leaves_the_rollout_unknown", a_stop_leaves_the_rollout_unknown),
        ("a_container_that_is_not_there_is_not_added", a_container_that_is_not_there_is_not_added),
        ("a_server_that_is_gone_is_not_reached", a_server_that_is_gone_is_not_reached),
        ("the_kubeconfig_is_frozen", the_kubeconfig_is_frozen),
        ("credentials_are_never_shown", credentials_are_never_shown),
        ("kubectl_has_a_home_of_its_own", kubectl_has_a_home_of_its_own),
        ("a_context_that_is_not_there_is_named", a_context_that_is_not_there_is_named),
        ("a_watch_that_breaks_is_no_failed_rollout", a_watch_that_breaks_is_no_failed_rollout),
        ("a_cluster_is_asked_what_became_of_it", a_cluster_is_asked_what_became_of_it),
        ("what_is_no_proof_leaves_it_unknown", what_is_no_proof_leaves_it_unknown),
        ("an_answer_that_lies_about_itself_is_none", an_answer_that_lies_about_itself_is_none),
    ];
    let without: [(&str, fn()); 7] = [
        ("without_kubectl_it_says_so", without_kubectl_it_says_so),
        ("an_unresolved_cluster_is_not_touched", an_unresolved_cluster_is_not_touched),
        ("a_command_deploys", a_command_deploys),
        ("a_failed_command_is_undone_once", a_failed_command_is_undone_once),
        ("a_failed_return_command_is_the_end", a_failed_return_command_is_the_end),
        ("a_killed_command_is_unknown", a_killed_command_is_unknown),
        (
            "a_command_that_is_not_there_gives_the_use_back",
            a_command_that_is_not_there_gives_the_use_back,
        ),
    ];
    let kubectl = kubectl();
    let mut trials = Vec::new();
    for (name, test) in with_kubectl {
        let kubectl = kubectl.clone();
        let ignored = kubectl.is_none();
        let run = move || {
            test(kubectl.ok_or("there is no `kubectl`")?);
            Ok(())
        };
        trials.push(Trial::test(format!("deploy::{name}"), run).with_ignored_flag(ignored));
    }
    for (name, test) in without {
        trials.push(Trial::test(format!("deploy::{name}"), move || {
            test();
            Ok(())
        }));
    }
    trials
}

fn kubectl() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("KUBECTL") {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("kubectl")).find(|file| file.is_file())
}

/// An operator: a home with a kubeconfig, programs, a ledger.
struct Bench {
    dir: TempDir,
    /// For programs of the tests that look around where no child may.
    tier: Tier,
    programs: Programs,
    source: Operator,
}

/// A run with one token.
struct Run {
    dispatcher: Dispatcher,
    ledger: Arc<dyn Ledger>,
    run: RunId,
    stop: Stop,
}

impl Bench {
    /// Programs from the directory of `kubectl` and the system's.
    fn new(kubectl: &Path, kubeconfig: &str) -> Self {
        let bench = Self::with_programs(&[
            kubectl.parent().unwrap(),
            Path::new("/usr/bin"),
            Path::new("/bin"),
        ]);
        bench.write_kubeconfig(kubeconfig);
        bench
    }

    fn with_programs(directories: &[&Path]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        fs::create_dir_all(home.join(".kube")).unwrap();
        let programs = Programs::new(&std::env::join_paths(directories).unwrap());
        let source = Operator::of([("HOME".to_owned(), home.to_str().unwrap().to_owned())]);
        Self { dir, tier: Tier::A, programs, source }
    }

    /// With an impostor's directory before the system's. An impostor starts programs and writes files.
    fn unconfined(impostor: &Path) -> Self {
        let mut bench = Self::with_programs(&[impostor, Path::new("/usr/bin"), Path::new("/bin")]);
        bench.tier = Tier::C;
        bench
    }

    fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    fn write_kubeconfig(&self, text: &str) {
        fs::write(self.home().join(".kube/config"), text).unwrap();
    }

    /// Issues the token, as the start of a run does.
    async fn issue(&self, token: Token) -> Run {
        let kube = Accounts::find(std::slice::from_ref(&token), &self.programs, &self.source)
            .await
            .unwrap();
        self.issue_with(token, kube).await
    }

    async fn issue_with(&self, token: Token, kube: Accounts) -> Run {
        let set = CapabilitySet::new([kube.pin(token)]).unwrap();
        let secrets = Secrets::default();
        let redactor = Arc::new(secrets.redactor(kube.secrets()).unwrap());
        let ledger = lar_ledger::open(&self.dir.path().join("ledger/ledger.db")).unwrap();
        let run = RunId::new("run-1").unwrap();
        let tokens = set.tokens().iter().map(|token| Granted::of(token).unwrap()).collect();
        let opened = memory_ledger::open(ledger.as_ref(), &run, tokens).await.unwrap();
        let stop = Stop::default();
        let workdir = self.dir.path().to_owned();
        let programs = self.programs.clone();
        // At the best tier that can be had here.
        let walls = Walls::find(Tier::C).unwrap().lowered_to(self.tier);
        let tools = Tools::new(&set.tokens(), programs, kube, secrets, redactor, walls, workdir);
        // What isn't used here needs no warning.
        set.mark_reported();
        let dispatcher = Dispatcher::new(Parts {
            capabilities: set,
            ledger: RunLedger::new(Arc::clone(&ledger), opened.hold),
            approvals: Arc::new(NoApprover("nobody is here".to_owned())),
            witnesses: None,
            authority: None,
            signatures: None,
            tools,
            stop: stop.clone(),
            observer: Arc::new(Unwatched),
        });
        Run { dispatcher, ledger, run, stop }
    }

    /// Issues the token and deploys once: the deployment's proof and the run's record.
    async fn deploy(&self, token: Token) -> (Proof, Vec<Record>) {
        let run = self.issue(token).await;
        let proof = run.deploy().await.unwrap();
        (proof, run.records().await)
    }
}

impl Run {
    async fn deploy(&self) -> Result<Proof, Refusal> {
        let site = CallSite { run: self.run.clone(), turn: 1, index: 0, part: Part::Call };
        let (tool, input) = ("deploy_prod".to_owned(), "{}".to_owned());
        self.dispatcher.dispatch(ToolCall { site, tool, input, rationale: None }).await
    }

    async fn records(&self) -> Vec<Record> {
        let sealed = self.ledger.records(&self.run, 1, 1_000).await.unwrap();
        let mut checker = Checker::default();
        sealed.iter().map(|record| checker.read(&record.bytes, &record.openings).unwrap()).collect()
    }
}

/// Token name, verdict, reason and attempt of every outcome in the record.
fn outcomes(records: &[Record]) -> Vec<(String, Option<Verdict>, Option<String>, String)> {
    let outcomes = records.iter().filter_map(|record| match &record.body {
        Body::Outcome(outcome) => Some((
            outcome.token_name.clone(),
            outcome.outcome,
            outcome.reason.clone(),
            outcome.attempt.to_string(),
        )),
        _ => None,
    });
    outcomes.collect()
}

fn server(deployment: Deployment) -> Server {
    builder(deployment).start()
}

fn builder(deployment: Deployment) -> Builder {
    Server::builder().tick(Duration::from_millis(20)).deployment(deployment)
}

fn web() -> Deployment {
    Deployment::new("prod", "web")
        .container("sidecar", "registry.test/team/sidecar:v1")
        .container("web", V1)
}

fn token() -> DeployToken {
    DeployToken::kubectl("prod", "prod", V2).rollback_to(V1).timeout(Duration::from_secs(30))
}

fn image(server: &Server) -> String {
    server.deployment("prod", "web").images["web"].clone()
}

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

fn a_container_that_is_not_there_is_not_added(kubectl: PathBuf) {
    let server = server(web());
    let bench = Bench::new(&kubectl, &server.kubeconfig("prod"));
    let (proof, _) = wait(bench.deploy(token().container("wep").build().unwrap()));
    assert_eq!((proof.outcome(), proof.reason()), (Verdict::Failed, Some("container not found")));
    assert!(proof.result_summary().contains("sidecar, web"), "{}", proof.result_summary());
    assert!(server.writes().is_empty());
}

fn a_server_that_is_gone_is_not_reached(kubectl: PathBuf) {
    let gone = server(web());
    let bench = Bench::new(&kubectl, &gone.kubeconfig("prod"));
    drop(gone);
    let (proof, records) = wait(bench.deploy(token().build().unwrap()));
    assert_eq!(
        (proof.outcome(), proof.reason()),
        (Verdict::Failed, Some("cluster not reached")),
        "{proof:?}"
    );
    assert_eq!(outcomes(&records).len(), 1);
}

fn the_kubeconfig_is_frozen(kubectl: PathBuf) {
    let (meant, other) = (server(web()), server(web()));
    let bench = Bench::new(&kubectl, &meant.kubeconfig("prod"));
    let proof = wait(async {
        let run = bench.issue(token().build().unwrap()).await;
        bench.write_kubeconfig(&other.kubeconfig("prod"));
        run.deploy().await.unwrap()
    });
    assert_eq!(proof.outcome(), Verdict::Succeeded, "{proof:?}");
    assert_eq!(image(&meant), V2);
    assert!(other.requests().is_empty());
    // Another cluster is another digest, so no approval carries over.
    let again = wait(bench.deploy_elsewhere(token().build().unwrap()));
    assert_ne!(again.action_digest(), proof.action_digest());
}

impl Bench {
    /// A second operator's run with the kubeconfig as it is now.
    async fn deploy_elsewhere(&self, token: Token) -> Proof {
        fs::remove_dir_all(self.dir.path().join("ledger")).unwrap();
        self.deploy(token).await.0
    }
}

/// A directory with a `kubectl` that is this script; `REAL` stands for the real one.
fn impostor(kubectl: &Path, script: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("kubectl");
    let script = script.replace("REAL", &kubectl.to_string_lossy());
    fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

fn credentials_are_never_shown(kubectl: PathBuf) {
    // The worst `kubectl` there could be shows its whole kubeconfig wherever it can.
    let dir = impostor(
        &kubectl,
        r#"case "$1" in
config) exec REAL "$@" ;;
get) echo web ;;
*) for word in "$@"; do case "$word" in --kubeconfig=*) cat "${word#*=}"; cat "${word#*=}" >&2;; esac; done; exit 1 ;;
esac"#,
    );
    let server = server(web());
    let (bearer, password, key) = (
        "bearer-5f3a9c-very-secret",
        "pass-77c1-word-secret",
        "cHJpdmF0ZS1rZXktb2YtdGhlLW9wZXJhdG9y",
    );
    let config = server.kubeconfig("prod").replace(
        "    token: standin-token\n",
        &format!("    token: {bearer}\n    username: admin\n    password: {password}\n    client-key-data: {key}\n"),
    );
    assert!(config.contains(bearer));
    let bench = Bench::unconfined(dir.path());
    bench.write_kubeconfig(&config);
    let (proof, records) = wait(bench.deploy(token().build().unwrap()));
    assert!(proof.output().contains("[redacted:kubeconfig]"), "{}", proof.output());
    let record = format!("{records:?}");
    for secret in [bearer, password, key, "private-key-of-the-operator"] {
        assert!(!proof.output().contains(secret), "{secret} in {}", proof.output());
        assert!(!proof.result_summary().contains(secret));
        assert!(!record.contains(secret));
    }
    let kube = wait(Accounts::find(&[token().build().unwrap()], &bench.programs, &bench.source));
    let shown = format!("{:?}", kube.unwrap());
    assert!(
        !shown.contains(bearer) && !shown.contains(password) && !shown.contains(key),
        "{shown}"
    );
}

fn kubectl_has_a_home_of_its_own(kubectl: PathBuf) {
    let log = tempfile::NamedTempFile::new().unwrap();
    let script = format!(
        r#"if [ "$1" != config ]; then {{
echo "$HOME" "$(stat -c %a "$HOME" "$HOME/.." "$HOME/../config" | tr '\n' ' ')"; env | sed 's/=.*//' | sort | tr '\n' ' '; echo; }} >> {}; fi
exec REAL "$@""#,
        log.path().display()
    );
    let dir = impostor(&kubectl, &script);
    let server = server(web());
    let bench = Bench::unconfined(dir.path());
    bench.write_kubeconfig(&server.kubeconfig("prod"));
    let (proof, _) = wait(bench.deploy(token().build().unwrap()));
    assert_eq!(proof.outcome(), Verdict::Succeeded, "{proof:?}");
    let told = fs::read_to_string(log.path()).unwrap();
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 6, "a read, the patch and the watch: {told}");
    let (home, modes) = lines[0].split_once(' ').unwrap();
    assert_eq!(modes.trim(), "700 700 600");
    assert!(!Path::new(home).exists() && !Path::new(home).parent().unwrap().exists());
    // The shell adds PWD and `_` by itself.
    let names: Vec<&str> = lines[1]
        .split_whitespace()
        .filter(|name| !["PWD", "_", "OLDPWD", "SHLVL"].contains(name))
        .collect();
    assert_eq!(names, ["HOME", "KUBECTL_KUBERC", "KUBERC", "PATH"]);
    let left: Vec<OsString> = fs::read_dir(bench.home().join(".kube"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["config"], "no cache was left in the operator's home");
}

fn a_context_that_is_not_there_is_named(kubectl: PathBuf) {
    let server = server(web());
    let bench = Bench::new(&kubectl, &server.kubeconfig("prod"));
    let resolve = |token: Token| {
        wait(Accounts::find(std::slice::from_ref(&token), &bench.programs, &bench.source))
            .unwrap_err()
            .to_string()
    };
    let message = resolve(token().context("nowhere").build().unwrap());
    assert!(message.contains("`nowhere`") && message.contains("token `prod`"), "{message}");
    fs::remove_file(bench.home().join(".kube/config")).unwrap();
    let message = resolve(token().build().unwrap());
    assert!(message.contains("the current kubeconfig context can't be resolved"), "{message}");
}

fn without_kubectl_it_says_so() {
    let bench = Bench::with_programs(&[]);
    let resolved =
        wait(Accounts::find(&[token().build().unwrap()], &bench.programs, &bench.source));
    assert!(matches!(resolved, Err(ClusterError::NoKubectl { .. })), "{resolved:?}");
    // A set without such a token needs none.
    let other = DeployToken::command("prod", "prod", V2, ["true"]).build().unwrap();
    wait(Accounts::find(std::slice::from_ref(&other), &bench.programs, &bench.source)).unwrap();
}

fn an_unresolved_cluster_is_not_touched() {
    let bench = Bench::with_programs(&[Path::new("/usr/bin")]);
    wait(async {
        let run = bench.issue_with(token().build().unwrap(), Accounts::default()).await;
        assert!(matches!(run.deploy().await, Err(Refusal::NeverBegan(_))));
    });
}

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
