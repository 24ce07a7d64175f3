//! What the tests of deployments share: an operator, a run with one token, a deployment on a server.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lar_core::approval::NoApprover;
use lar_core::audit::chain::Checker;
use lar_core::audit::record::{Body, Record};
use lar_core::audit::trail::Proof;
use lar_core::error::Refusal;
use lar_core::id::{CallSite, Part, RunId};
use lar_core::invocation::ToolCall;
use lar_core::ledger::{Granted, Ledger, RunLedger};
use lar_core::outcome::Verdict;
use lar_core::set::CapabilitySet;
use lar_core::token::{DeployToken, Token};
use lar_runtime::confine::{Tier, Walls};
use lar_runtime::dispatch::{Dispatcher, Parts};
use lar_runtime::event::Unwatched;
use lar_runtime::secrets::Secrets;
use lar_runtime::stop::Stop;
use lar_runtime::tools::{Accounts, Operator, Programs, Tools};
use standin::kube::{Builder, Deployment, Server};
use tempfile::TempDir;

pub(super) const V1: &str = "registry.test/team/web:v1";
pub(super) const V2: &str = "registry.test/team/web:v2";
pub(super) const ATTEMPT: &str = "linear-agent-runtime/attempt";

/// An operator: a home with a kubeconfig, programs, a ledger.
pub(super) struct Bench {
    pub(super) dir: TempDir,
    /// For programs of the tests that look around where no child may.
    pub(super) tier: Tier,
    pub(super) programs: Programs,
    pub(super) source: Operator,
}

/// A run with one token.
pub(super) struct Run {
    pub(super) dispatcher: Dispatcher,
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) run: RunId,
    pub(super) stop: Stop,
}

impl Bench {
    /// Programs from the directory of `kubectl` and the system's.
    pub(super) fn new(kubectl: &Path, kubeconfig: &str) -> Self {
        let bench = Self::with_programs(&[
            kubectl.parent().unwrap(),
            Path::new("/usr/bin"),
            Path::new("/bin"),
        ]);
        bench.write_kubeconfig(kubeconfig);
        bench
    }

    pub(super) fn with_programs(directories: &[&Path]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        fs::create_dir_all(home.join(".kube")).unwrap();
        let programs = Programs::new(&std::env::join_paths(directories).unwrap());
        let source = Operator::of([("HOME".to_owned(), home.to_str().unwrap().to_owned())]);
        Self { dir, tier: Tier::A, programs, source }
    }

    /// With an impostor's directory before the system's. An impostor starts programs and writes files.
    pub(super) fn unconfined(impostor: &Path) -> Self {
        let mut bench = Self::with_programs(&[impostor, Path::new("/usr/bin"), Path::new("/bin")]);
        bench.tier = Tier::C;
        bench
    }

    pub(super) fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    pub(super) fn write_kubeconfig(&self, text: &str) {
        fs::write(self.home().join(".kube/config"), text).unwrap();
    }

    /// Issues the token, as the start of a run does.
    pub(super) async fn issue(&self, token: Token) -> Run {
        let kube = Accounts::find(std::slice::from_ref(&token), &self.programs, &self.source)
            .await
            .unwrap();
        self.issue_with(token, kube).await
    }

    pub(super) async fn issue_with(&self, token: Token, kube: Accounts) -> Run {
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
    pub(super) async fn deploy(&self, token: Token) -> (Proof, Vec<Record>) {
        let run = self.issue(token).await;
        let proof = run.deploy().await.unwrap();
        (proof, run.records().await)
    }
}

impl Run {
    pub(super) async fn deploy(&self) -> Result<Proof, Refusal> {
        let site = CallSite { run: self.run.clone(), turn: 1, index: 0, part: Part::Call };
        let (tool, input) = ("deploy_prod".to_owned(), "{}".to_owned());
        self.dispatcher.dispatch(ToolCall { site, tool, input, rationale: None }).await
    }

    pub(super) async fn records(&self) -> Vec<Record> {
        let sealed = self.ledger.records(&self.run, 1, 1_000).await.unwrap();
        let mut checker = Checker::default();
        sealed.iter().map(|record| checker.read(&record.bytes, &record.openings).unwrap()).collect()
    }
}

/// Token name, verdict, reason and attempt of every outcome in the record.
pub(super) fn outcomes(
    records: &[Record],
) -> Vec<(String, Option<Verdict>, Option<String>, String)> {
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

pub(super) fn server(deployment: Deployment) -> Server {
    builder(deployment).start()
}

pub(super) fn builder(deployment: Deployment) -> Builder {
    Server::builder().tick(Duration::from_millis(20)).deployment(deployment)
}

pub(super) fn web() -> Deployment {
    Deployment::new("prod", "web")
        .container("sidecar", "registry.test/team/sidecar:v1")
        .container("web", V1)
}

pub(super) fn token() -> DeployToken {
    DeployToken::kubectl("prod", "prod", V2).rollback_to(V1).timeout(Duration::from_secs(30))
}

pub(super) fn image(server: &Server) -> String {
    server.deployment("prod", "web").images["web"].clone()
}

/// A directory with a `kubectl` that is this script; `REAL` stands for the real one.
pub(super) fn impostor(kubectl: &Path, script: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("kubectl");
    let script = script.replace("REAL", &kubectl.to_string_lossy());
    fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    dir
}
