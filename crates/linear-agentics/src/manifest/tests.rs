//! What a person gets for good and for bad manifests, word for word. What belongs to no room below is
//! here: whole manifests, and how errors are shown.

mod approvers;
mod keys;
mod names;
mod profiles;
mod secrets;
mod tokens;
mod values;
mod warnings;

use std::path::Path;

use lar_core::scope::{FileMode, Injection, Scope, SecretSource};
use proptest::prelude::*;

use super::*;

/// A manifest that uses every kind of token and nearly every key.
const COMPLETE: &str = r#"
[agent]
model  = "claude-sonnet-5-5"        # or openai:NAME, replay:FILE, human
system = "You are an SRE agent."
task   = "Deploy myservice v2.3.1 safely."

[budget]                            # required
max_steps    = 20                   # required
timeout      = "15m"                # required
max_tokens   = 200_000
max_cost_usd = 1.50

[approval]
timeout      = "5m"

[negotiation]
max_requests = 3

[[price]]
model = "openai:local"
input_per_mtok_usd = 0.25
output_per_mtok_usd = 1

[[token]]
kind     = "shell"
name     = "diagnostics"            # tool shell_diagnostics
allowed  = ["kubectl get pods", "kubectl logs"]
max_uses = 5
timeout  = "30s"
env      = ["KUBECONFIG"]           # beyond the default allow-list
workdir  = "./out/.."
requires_approval = false
required = true                     # the run fails if this was never spent with success
expires  = "2026-12-01T00:00:00Z"
allows   = ["kubectl get pods -n prod"]
refuses  = ["kubectl delete pod web-0"]

[[token]]
kind    = "http"                    # tool health-check: method, body
name    = "health-check"
url     = "https://staging.internal/health"
methods = ["GET"]
headers = { Accept = "application/json" }

[[token]]
kind  = "file"                      # tool file_config: operation, path, content
name  = "config"
allowed_paths = ["/etc/app", "conf"]
mode  = "read"

[[token]]
kind        = "deploy"              # tool deploy_production: no input
name        = "production"
method      = "kubectl"
target      = "production"
image       = "registry.internal/team/myservice:v2.3.1"
rollback_to = "registry.internal/team/myservice:v2.3.0"
requires_approval = true

[[token]]
kind   = "secret"                   # tool secret_notify; the inner token is not a tool of its own
name   = "notify"
env    = "SLACK_TOKEN"
header = "Authorization"
format = "Bearer {secret}"
[token.inner]
kind    = "http"
name    = "slack"
url     = "https://slack.com/api/chat.postMessage"
methods = ["POST"]

[[token]]
kind = "wait"                       # tool wait_rollout: seconds, reason
name = "rollout"
max_seconds = 120

[[candidate]]                       # may be granted at run time; same fields as [[token]]
kind    = "shell"
name    = "restart"
allowed = ["kubectl rollout restart deployment/myservice -n staging"]
"#;

const BUDGET: &str = "[budget]\nmax_steps = 20\ntimeout = \"15m\"\n";

const ALICE: &str =
    "alice@x.org ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBJGQzID8azteOHwZFGEZfjLPMqJq9hcBtCnoMi6Uzd1";

const BOB: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINIvVRUEqzuxqLHw2iu6s+h3iZYaodI3pNtJ0PTvoSvZ bob@x.org";

fn base() -> &'static Path {
    Path::new("/work/app")
}

fn read(text: &str) -> Manifest {
    Manifest::read(text, base()).unwrap_or_else(|e| panic!("{}", e.render("manifest.toml", false)))
}

fn refused(text: &str) -> String {
    Manifest::read(text, base()).unwrap_err().render("manifest.toml", false)
}

#[test]
fn the_complete_manifest_is_read() {
    let manifest = read(COMPLETE);
    assert_eq!(manifest.agent.model, DEFAULT_MODEL);
    assert_eq!(manifest.agent.task.as_deref(), Some("Deploy myservice v2.3.1 safely."));
    let budget = Budget::new(20, 15).max_tokens(200_000).max_cost_micro_usd(1_500_000);
    assert_eq!(manifest.budget, budget);
    assert_eq!(manifest.digest, Digest::of(COMPLETE.as_bytes()));
    assert_eq!(manifest.base, base());
    let tools: Vec<String> = manifest.tokens.iter().map(Token::tool_name).collect();
    let expected = [
        "shell_diagnostics",
        "health-check",
        "file_config",
        "deploy_production",
        "secret_notify",
        "wait_rollout",
    ];
    assert_eq!(tools, expected);
    assert_eq!(manifest.candidates.len(), 1);
    let [shell, http, file, deploy, secret, _] = manifest.tokens.as_slice() else { panic!() };

    assert_eq!((shell.max_uses(), shell.required(), shell.requires_approval()), (5, true, false));
    assert_eq!(shell.expires(), "2026-12-01T00:00:00Z".parse().ok());
    assert_eq!(shell.examples().refuses, ["kubectl delete pod web-0"]);
    let Scope::Shell(scope) = shell.scope() else { panic!() };
    assert_eq!(scope.workdir.as_deref(), Some("/work/app"));
    assert_eq!(
        (scope.timeout.as_secs(), scope.env.as_slice()),
        (30, &["KUBECONFIG".to_owned()][..])
    );

    let Scope::Http(scope) = http.scope() else { panic!() };
    assert_eq!(scope.headers, [("Accept".to_owned(), "application/json".to_owned())]);
    let Scope::File(scope) = file.scope() else { panic!() };
    assert_eq!(scope.mode, FileMode::Read);
    assert_eq!(scope.allowed_paths, ["/etc/app", "/work/app/conf"]);
    assert!(deploy.requires_approval() && deploy.rollback().is_some());
    let Scope::Secret(scope) = secret.scope() else { panic!() };
    assert_eq!(scope.injection, Injection::Header("Authorization".to_owned()));
    assert!(matches!(&scope.source, SecretSource::Env(name) if name == "SLACK_TOKEN"));
    assert!(matches!(scope.inner.as_ref(), Scope::Http(_)));

    let price = ModelPrice {
        model: "openai:local".to_owned(),
        input: 250_000,
        output: 1_000_000,
        cache_read: 250_000,
        cache_write: 312_500,
    };
    assert_eq!(manifest.prices, [price]);
}

#[test]
fn what_is_left_out_has_its_default() {
    let manifest = read(BUDGET);
    assert_eq!(manifest.agent.model, DEFAULT_MODEL);
    assert_eq!((manifest.agent.system, manifest.agent.task), (None, None));
    assert_eq!(manifest.budget, Budget::new(20, 15));
    assert_eq!(manifest.approval_timeout, DEFAULT_APPROVAL_TIMEOUT);
    assert_eq!(manifest.max_requests, DEFAULT_MAX_REQUESTS);
    assert!(manifest.tokens.is_empty() && manifest.candidates.is_empty());
}

#[test]
fn a_file_that_is_no_text_or_too_large_is_refused() {
    let error = Manifest::read_bytes(b"[budget]\nmax_steps = \xff\n", base()).unwrap_err();
    insta::assert_snapshot!(error.render("manifest.toml", false), @r#"
error: the manifest is not UTF-8 from here on
 --> manifest.toml:2:13
  |
2 | max_steps = 
  |             ^
  |
  = help: save it with the encoding UTF-8
"#);
    let large = format!("{BUDGET}#{}", " ".repeat(MAX_BYTES));
    let error = Manifest::read(&large, base()).unwrap_err().to_string();
    assert!(error.contains("more than the 1048576 bytes"), "{error}");
}

#[test]
fn an_error_is_one_line_or_a_picture_or_json() {
    let error = Manifest::read("[budget]\ntimout = \"1m\"\n", base()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "manifest, line 1, column 1: `max_steps` is missing in `[budget]` (the first of 2 errors)"
    );
    assert!(error.render("m", true).contains("\u{1b}["));
    assert!(!error.render("m", false).contains('\u{1b}'));
    let json = serde_json::to_value(error.diagnostics()).unwrap();
    assert_eq!(
        json[1],
        serde_json::json!({
            "message": "unknown key `timout` in `[budget]`; did you mean `timeout`?",
            "line": 2,
            "column": 1
        })
    );
}

#[test]
fn many_errors_are_cut_short() {
    let keys: String = (0..200).map(|n| format!("unknown_{n} = 1\n")).collect();
    let error = Manifest::read(&format!("{BUDGET}{keys}"), base()).unwrap_err();
    assert_eq!(error.diagnostics().len(), 50);
    assert!(error.render("m", false).ends_with("… and 150 more\n"));
}

/// Nesting, however deep, is a message and no overflow.
#[test]
fn deep_nesting_is_refused() {
    let n = 100_000;
    for text in [
        format!("a = {}", "[".repeat(n)),
        format!("a = {}{}", "[".repeat(n), "]".repeat(n)),
        format!("a = {}", "{a=".repeat(n)),
        format!("{}a = 1", "a.".repeat(n)),
        format!("[{}a]", "a.".repeat(n)),
    ] {
        let error = Manifest::read(&text, base()).unwrap_err();
        assert!(!error.render("m", false).is_empty());
    }
}

proptest! {
    /// A damaged manifest is read or refused, and a refusal can always be shown.
    #[test]
    fn no_damage_is_fatal(at in 0..COMPLETE.len(), cut in 0usize..40, put in "[ -~\n\u{fc}\u{202e}]{0,12}") {
        let mut bytes = COMPLETE.as_bytes().to_vec();
        let end = (at + cut).min(bytes.len());
        bytes.splice(at..end, put.bytes());
        if let Err(error) = Manifest::read_bytes(&bytes, base()) {
            prop_assert!(!error.diagnostics().is_empty());
            prop_assert!(error.render("manifest.toml", true).contains("error"));
        }
    }
}
