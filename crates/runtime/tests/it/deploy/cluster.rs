//! Which cluster is meant, what is frozen of it, and what is never shown.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use lar_core::audit::trail::Proof;
use lar_core::error::Refusal;
use lar_core::outcome::Verdict;
use lar_core::token::{DeployToken, Token};
use lar_runtime::tools::{Accounts, ClusterError};

use super::bench::{Bench, V2, image, impostor, outcomes, server, token, web};
use super::{WithKubectl, Without};
use crate::wait;

pub(super) const WITH_KUBECTL: &[WithKubectl] = &[
    ("a_container_that_is_not_there_is_not_added", a_container_that_is_not_there_is_not_added),
    ("a_server_that_is_gone_is_not_reached", a_server_that_is_gone_is_not_reached),
    ("the_kubeconfig_is_frozen", the_kubeconfig_is_frozen),
    ("credentials_are_never_shown", credentials_are_never_shown),
    ("kubectl_has_a_home_of_its_own", kubectl_has_a_home_of_its_own),
    ("a_context_that_is_not_there_is_named", a_context_that_is_not_there_is_named),
];

pub(super) const WITHOUT: &[Without] = &[
    ("without_kubectl_it_says_so", without_kubectl_it_says_so),
    ("an_unresolved_cluster_is_not_touched", an_unresolved_cluster_is_not_touched),
];

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
