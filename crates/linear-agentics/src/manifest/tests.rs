//! What a person gets for good and for bad manifests, word for word.

use std::path::Path;

use lar_core::scope::{FileMode, Injection, Scope, SecretSource};
use lar_core::time::Timestamp;
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

const ALICE: &str =
    "alice@x.org ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBJGQzID8azteOHwZFGEZfjLPMqJq9hcBtCnoMi6Uzd1";
const BOB: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINIvVRUEqzuxqLHw2iu6s+h3iZYaodI3pNtJ0PTvoSvZ bob@x.org";

/// Two tokens under an `[approval]` table; the first requires approval.
fn approved(approval: &str, first: &str) -> String {
    format!(
        "{BUDGET}[approval]\n{approval}\n[[token]]\nkind = \"shell\"\nname = \"a\"\nallowed = [\"ls\"]\n\
         {first}\n[[token]]\nkind = \"wait\"\nname = \"b\"\nmax_seconds = 1\n[[candidate]]\n\
         kind = \"wait\"\nname = \"c\"\nmax_seconds = 1\nrequires_approval = true\n"
    )
}

#[test]
fn approvers_hold_for_all_tokens_that_ask_or_for_one() {
    let both = format!("approvers = [{ALICE:?}, {BOB:?}]\nrequired = 2\nnot_the_runner = true");
    let manifest = read(&approved(&both, "requires_approval = true"));
    let people = manifest.tokens[0].approvers().unwrap();
    assert_eq!(people.people(), ["alice@x.org", "bob@x.org"]);
    assert_eq!((people.required(), people.not_the_runner()), (2, true));
    assert_eq!(manifest.tokens[1].approvers(), None, "it asks nobody");
    assert_eq!(manifest.candidates[0].approvers(), Some(people));
    // A token's own list, which takes over who is excluded, but not how many it takes.
    let own = format!("requires_approval = true\napprovers = [{BOB:?}]");
    let manifest = read(&approved(&both, &own));
    let own = manifest.tokens[0].approvers().unwrap();
    assert_eq!((own.people(), own.required()), (vec!["bob@x.org"], 1));
    assert!(own.not_the_runner());
    // Who may approve is part of what is pinned.
    let digests: Vec<_> = ["", "required = 2", "not_the_runner = true"]
        .iter()
        .map(|more| {
            let text = format!("approvers = [{ALICE:?}, {BOB:?}]\n{more}");
            read(&approved(&text, "requires_approval = true")).tokens[0].digest().unwrap()
        })
        .collect();
    assert!(digests[0] != digests[1] && digests[1] != digests[2] && digests[0] != digests[2]);
}

#[test]
fn approvers_that_can_not_be_kept_are_told() {
    for (approval, first, says) in [
        (format!("approvers = [{ALICE:?}, \"bob\"]"), "", "write `NAME TYPE KEY`"),
        (format!("approvers = [{ALICE:?}]\nrequired = 2"), "", "1 person is listed"),
        ("required = 2".to_owned(), "", "none are listed"),
        ("not_the_runner = true".to_owned(), "", "none are listed"),
        (String::new(), &*format!("approvers = [{ALICE:?}]"), "`requires_approval` is true"),
        (
            String::new(),
            &format!("requires_approval = true\napprovers = [{ALICE:?}]\nrequired_approvals = 3"),
            "`required_approvals`: 3 approvals",
        ),
        (String::new(), "requires_approval = true\nrequired_approvals = 2", "the token lists none"),
        (
            String::new(),
            "requires_approval = true\napprovers = [\"x ssh-rsa AAAA\"]",
            "the types are `ssh-ed25519`",
        ),
    ] {
        let text = approved(&approval, first);
        let error = Manifest::read(&text, Path::new("/work/app")).unwrap_err();
        let error = error.render("m.toml", false);
        assert!(error.contains(says), "{says}\n{error}");
    }
}

#[test]
fn the_report_says_who_must_approve() {
    let text = approved(&format!("approvers = [{ALICE:?}, {BOB:?}]"), "requires_approval = true");
    let report = worst(&read(&text), &Surroundings::default()).to_string();
    assert!(
        report.contains("a (shell_a): 1 time, each approved by 1 of alice@x.org, bob@x.org"),
        "{report}"
    );
    assert!(report.contains("b (wait_b): 1 time, without asking"), "{report}");
    let codes = |text: &str| -> Vec<&'static str> {
        let report = worst(&read(text), &Surroundings::default());
        let all = report.warnings.iter().chain(report.tokens.iter().flat_map(|t| &t.warnings));
        all.map(|warning| warning.code).collect()
    };
    let text = format!("{BUDGET}[approval]\napprovers = [{ALICE:?}]\n");
    assert!(codes(&text).contains(&"unused-approvers"));
    let alone = format!("approvers = [{ALICE:?}]\nnot_the_runner = true");
    assert!(codes(&approved(&alone, "requires_approval = true")).contains(&"too-few-approvers"));
}

#[test]
fn a_secret_token_is_never_wider_than_its_inner_one() {
    let secret = |own: &str, inner: &str| {
        let text = format!(
            "{BUDGET}[[token]]\nkind = \"secret\"\nname = \"s\"\nfile = \"keys/a\"\n\
             inject_env = \"KEY\"\n{own}\n[token.inner]\nkind = \"shell\"\nname = \"i\"\n\
             allowed = [\"ls\"]\n{inner}\n"
        );
        read(&text).tokens.remove(0)
    };
    let token = secret("", "max_uses = 3\nrequires_approval = true\nallows = [\"ls -l\"]");
    assert_eq!((token.max_uses(), token.requires_approval()), (3, true));
    assert_eq!(token.examples().allows, ["ls -l"]);
    let Scope::Secret(scope) = token.scope() else { panic!() };
    assert!(matches!(&scope.source, SecretSource::File(path) if path == "/work/app/keys/a"));
    assert_eq!(secret("max_uses = 5", "").max_uses(), 5);
    assert_eq!(secret("max_uses = 5", "max_uses = 3").max_uses(), 3);
    assert_eq!(secret("max_uses = 2", "max_uses = 3").max_uses(), 2);
    assert!(secret("requires_approval = false", "requires_approval = true").requires_approval());
    let inner = format!("requires_approval = true\napprovers = [{ALICE:?}]");
    assert!(secret("", &inner).approvers().is_some());
    let (early, late) = ("2026-12-01T00:00:00Z", "2027-12-01T00:00:00Z");
    for (own, inner) in [(early, late), (late, early)] {
        let token = secret(&format!("expires = \"{own}\""), &format!("expires = \"{inner}\""));
        assert_eq!(token.expires(), early.parse().ok());
    }
    assert_eq!(secret("", &format!("expires = \"{early}\"")).expires(), early.parse().ok());
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

#[test]
fn the_worst_is_said_in_plain_words() {
    let manifest = read(COMPLETE);
    insta::assert_snapshot!(worst(&manifest, &Surroundings::default()), @r#"
the run ends after 20 tool calls and 15m
the model may use 200000 tokens and cost $1.50
9 uses without asking anybody, 1 use with a human's yes
the model may ask 3 times for 1 token more; a human decides

diagnostics (shell_diagnostics): 5 times, without asking
  can run `kubectl get pods`, with any further words
  can run `kubectl logs`, with any further words
  can read /work/app, one kubeconfig context and the system's libraries
  can reach the server of the kubeconfig's context, for up to 30s
  can run in turn kubectl.1.30, kubectl.1.31, kubectl.1.32, kubectl.1.33, kubectl.1.34
  can read the environment variables `KUBECONFIG`

health-check (health-check): 1 time, without asking
  can reach https://staging.internal/health with GET, bodies up to 1 MiB

config (file_config): 1 time, without asking
  can read files at or beneath /etc/app, /work/app/conf, up to 1 MiB each

production (deploy_production): 1 time, each with a human's yes
  can deploy registry.internal/team/myservice:v2.3.1 into container `myservice` of deployment `myservice` in namespace `production`
  can reach the cluster of the current kubeconfig context
  can deploy registry.internal/team/myservice:v2.3.0 again, when the rollout failed

notify (secret_notify): 1 time, without asking
  can reach https://slack.com/api/chat.postMessage with POST, bodies up to 1 MiB
  can read a secret from the variable `SLACK_TOKEN` (the runtime does) and put it into header `Authorization`

rollout (wait_rollout): 1 time, without asking
  can wait up to 120 seconds

restart (shell_restart): 1 time, without asking, once a human has granted it
  can run `kubectl rollout restart deployment/myservice -n staging`, with any further words
  can read /work/app, one kubeconfig context and the system's libraries
  can reach the server of the kubeconfig's context, for up to 1m
  can run in turn kubectl.1.30, kubectl.1.31, kubectl.1.32, kubectl.1.33, kubectl.1.34
"#);
}

fn codes(token: &str) -> Vec<&'static str> {
    let text = format!("{BUDGET}[[token]]\nname = \"t\"\n{token}");
    let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
    let set = |name: &str| name == "KUBECONFIG";
    let report = worst(&read(&text), &Surroundings { now: Some(now), has_env: Some(&set) });
    report
        .tokens
        .iter()
        .flat_map(|token| token.warnings.iter().map(|warning| warning.code))
        .collect()
}

#[test]
fn what_is_dangerous_is_warned_of() {
    let http = |url: &str, rest: &str| format!("kind = \"http\"\nurl = \"{url}\"\n{rest}");
    let file = |path: &str, rest: &str| {
        format!("kind = \"file\"\nallowed_paths = [\"{path}\"]\nmode = {rest}")
    };
    let deploy = |rest: &str| format!("kind = \"deploy\"\nmethod = \"kubectl\"\n{rest}");
    let secret = |inner: &str| format!("kind = \"secret\"\nenv = \"KUBECONFIG\"\n{inner}");
    let none: &[&str] = &[];
    let cases: &[(String, &[&str])] = &[
        ("kind = \"shell\"\nallowed = [\"kubectl\", \"ls -l\"]".into(), &["wide-prefix"]),
        (
            "kind = \"shell\"\nallowed = [\"bash -c\"]\nenv = [\"KUBECONFIG\"]".into(),
            &["wide-prefix", "env-exposed"],
        ),
        ("kind = \"shell\"\nallowed = [\"kubectl get pods\"]\nenv = [\"KUBECONFIG\"]".into(), none),
        (
            "kind = \"shell\"\nallowed = [\"ls -l\"]\nenv = [\"KUBE_CONFIG\"]".into(),
            &["unknown-env"],
        ),
        ("kind = \"shell\"\nallowed = [\"ls -l\"]\nmax_uses = 1000".into(), &["many-uses"]),
        (
            "kind = \"shell\"\nallowed = [\"ls -l\"]\nexpires = \"2026-11-22T12:00:00Z\"".into(),
            &["expired"],
        ),
        (
            "kind = \"shell\"\nallowed = [\"ls -l\"]\nexpires = \"2026-11-22T12:10:00Z\"".into(),
            &["expires-within-run"],
        ),
        (
            "kind = \"shell\"\nallowed = [\"ls -l\"]\nexpires = \"2026-11-23T11:00:00Z\"".into(),
            &["expires-soon"],
        ),
        (
            "kind = \"shell\"\nallowed = [\"ls -l\"]\nexpires = \"2026-11-29T11:00:00Z\"".into(),
            none,
        ),
        (http("http://api.internal/", "methods = [\"GET\"]"), &["plaintext"]),
        (http("http://127.0.0.1:8080/", "methods = [\"GET\"]"), none),
        (http("http://[::1]/", "methods = [\"GET\"]"), none),
        (http("http://localhost/", "methods = [\"GET\"]"), none),
        (http("http://localhost.evil.com/", "methods = [\"GET\"]"), &["plaintext"]),
        (http("https://169.254.169.254/", "methods = [\"GET\"]"), &["metadata-service"]),
        (http("https://h/", "methods = [\"GET\", \"DELETE\"]"), &["change-without-approval"]),
        (http("https://h/", "methods = [\"PUT\"]\nrequires_approval = true"), none),
        (
            http("https://h/", "methods = [\"GET\"]\nheaders = { Authorization = \"Bearer x\" }"),
            &["literal-credential"],
        ),
        (file("/etc/app", "\"write\""), &["system-write"]),
        (file("/etcetera", "\"write\""), none),
        (file("/etc/app", "\"write\"\nrequires_approval = true"), none),
        (file("/etc/app", "\"read\""), none),
        (file("/home/me/.ssh", "\"readwrite\""), &["reads-credentials", "executed-write"]),
        (file("/etc", "\"read\""), &["reads-widely"]),
        (file(".", "\"readwrite\""), none),
        (deploy("target = \"eu-prod-1\"\nimage = \"app:v1\""), &["production-without-approval"]),
        (
            deploy("target = \"staging\"\nimage = \"app:v1\"\ncontext = \"live\""),
            &["production-without-approval"],
        ),
        (deploy("target = \"production\"\nimage = \"app:v1\"\nrequires_approval = true"), none),
        (deploy("target = \"product\"\nimage = \"app:v1\"\nrequires_approval = true"), none),
        (deploy("target = \"staging\"\nimage = \"r:5000/app\""), &["moving-image"]),
        (
            secret(
                "inject_env = \"K\"\ninner = { kind = \"shell\", name = \"i\", allowed = [\"curl\"] }",
            ),
            &["wide-prefix", "secret-exposed"],
        ),
        (
            secret(
                "header = \"K\"\ninner = { kind = \"http\", name = \"i\", url = \"http://h/\", methods = [\"GET\"] }",
            ),
            &["plaintext", "secret-in-plaintext"],
        ),
    ];
    for (token, expected) in cases {
        assert_eq!(codes(token), *expected, "{token}");
    }
}

#[test]
fn a_set_that_cannot_work_is_warned_of() {
    let codes = |text: &str| -> Vec<&'static str> {
        let report = worst(&read(text), &Surroundings::default());
        report.warnings.iter().map(|warning| warning.code).collect()
    };
    assert_eq!(codes(BUDGET), ["no-token"]);
    assert_eq!(codes(COMPLETE), [""; 0]);
    let none = COMPLETE.replace("max_requests = 3", "max_requests = 0");
    assert_eq!(codes(&none), ["unreachable-candidates"]);
    let two = "[[token]]\nkind = \"wait\"\nname = \"a\"\nmax_seconds = 1\nrequired = true\n";
    let text = format!(
        "[budget]\nmax_steps = 1\ntimeout = \"1m\"\n{two}{}",
        two.replace("\"a\"", "\"b\"")
    );
    assert_eq!(codes(&text), ["too-few-steps"]);
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

#[test]
fn an_unknown_key_names_the_nearest() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "shell"
name = "pods"
alowed = ["kubectl get pods"]
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: unknown key `alowed` in token `pods`; did you mean `allowed`?
 --> manifest.toml:8:1
  |
8 | alowed = ["kubectl get pods"]
  | ^^^^^^
"#);
}

#[test]
fn an_unknown_key_like_nothing_lists_what_fits() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"
colour = "red"
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: unknown key `colour` in `[budget]`
 --> manifest.toml:4:1
  |
4 | colour = "red"
  | ^^^^^^
  |
  = help: what it can still hold: `max_tokens`, `max_cost_usd`
"#);
}

#[test]
fn an_unknown_table() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"
[agnet]
model = "human"
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: unknown table `[agnet]` in the manifest; did you mean `agent`?
 --> manifest.toml:4:2
  |
4 | [agnet]
  |  ^^^^^
"#);
}

#[test]
fn an_unknown_key_in_the_inner_token() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "secret"
name = "notify"
env = "SLACK_TOKEN"
header = "Authorization"
[token.inner]
kind = "http"
name = "health"
url = "https://api.internal/health"
method = ["GET"]
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: unknown key `method` in the inner token of token `notify`; did you mean `methods`?
  --> manifest.toml:14:1
   |
14 | method = ["GET"]
   | ^^^^^^
"#);
}

#[test]
fn a_later_table() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"
[witness]
url = "https://witness.internal"
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: `[witness]` isn't supported by this version
 --> manifest.toml:4:2
  |
4 | [witness]
  |  ^^^^^^^
  |
  = help: leave it out
"#);
}

#[test]
fn a_grant_by_its_name_and_ledger() {
    let head = "[budget]\nmax_steps = 20\ntimeout = \"15m\"\n[grant]\n";
    let read = |grant: &str| Manifest::read(&format!("{head}{grant}"), "/work/app".as_ref());
    let ledger = "0123456789abcdef0123456789abcdef";
    let whole =
        format!("id = \"a.b-1\"\nledger = \"{ledger}\"\nexpires = \"2026-12-01T00:00:00Z\"");
    let grant = read(&whole).unwrap().grant.unwrap();
    assert_eq!(grant.choice.id.as_str(), "a.b-1");
    assert_eq!(grant.choice.ledger.unwrap().as_str(), ledger);
    assert_eq!(grant.expires.unwrap().to_string(), "2026-12-01T00:00:00.000Z");
    for (bad, says) in [
        ("id = \"a/b\"", "`id`: a grant's id"),
        ("id = \"a\"\nledger = \"x\"", "`ledger`: a ledger's id"),
        ("id = \"a\"\nexpires = \"soon\"", "`expires`: `soon` is not a time"),
        ("ledger = \"x\"", "`id`"),
    ] {
        let told = read(bad).unwrap_err().render("manifest.toml", false);
        assert!(told.contains(says), "{told}");
    }
}

#[test]
fn approvers_without_a_name() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"
[approval]
timeout = "5m"
approvers = ["ssh-ed25519 AAAA"]
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: `approvers` under `[approval]`: `ssh-ed25519 AAAA` is not a name and a public key; write `NAME TYPE KEY`, such as `alice@example.com ssh-ed25519 AAAA…`, without options
 --> manifest.toml:6:14
  |
6 | approvers = ["ssh-ed25519 AAAA"]
  |              ^^^^^^^^^^^^^^^^^^
"#);
}

#[test]
fn a_database_in_three_wrong_ways() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "database"
name = "nowhere"
allowed_patterns = ["SELECT"]

[[token]]
kind = "database"
name = "twice"
dsn_env = "A"
dsn_file = "b"
allowed_patterns = ["SELECT"]

[[token]]
kind = "database"
name = "guess"
dsn_env = "A"
allowed_patterns = ["SELECT", "GUESS"]

[[token]]
kind = "database"
name = "leak"
dsn = "host=db password=hunter2hunter2"
allowed_patterns = ["SELECT"]
"#;
    let told = refused(text);
    for part in [
        "doesn't say where the database is: `dsn`, `dsn_env` or `dsn_file`",
        "says more than once where the database is: `dsn_env`, `dsn_file`; keep one",
        "`GUESS`: the SQL does not begin with a statement's keyword",
        "`dsn`: is no address; write `postgres://ROLE@HOST/DATABASE` or `sqlite:FILE`",
    ] {
        assert!(told.contains(part), "{part}\n{told}");
    }
    assert!(!told.contains("hunter2"), "{told}");
}

#[test]
fn an_unknown_kind() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "shel"
name = "x"
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: unknown kind `shel`; did you mean `shell`?
 --> manifest.toml:6:8
  |
6 | kind = "shel"
  |        ^^^^^^
  |
  = help: the kinds are `shell`, `http`, `file`, `database`, `deploy`, `secret`, `wait`
"#);
}

#[test]
fn no_kind() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
name = "x"
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: `kind` is missing in token `x`
 --> manifest.toml:5:1
  |
5 | [[token]]
  | ^^^^^^^^^
  |
  = help: the kinds are `shell`, `http`, `file`, `database`, `deploy`, `secret`, `wait`
"#);
}

#[test]
fn no_budget() {
    let text = r#"# A manifest.
[agent]
model = "human"
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: `[budget]` is missing
--> manifest.toml
 = help: every run has limits: add `[budget]` with `max_steps` and `timeout`
"#);
}

#[test]
fn a_missing_key_names_its_table() {
    let text = r#"[budget]
timeout = "15m"

[[token]]
kind = "http"
name = "health"
methods = ["GET"]
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: `max_steps` is missing in `[budget]`
 --> manifest.toml:1:1
  |
1 | [budget]
  | ^^^^^^^^
  |
  = help: `max_steps`: Tool calls that the model may make, refused ones included

error: `url` is missing in token `health`
 --> manifest.toml:4:1
  |
4 | [[token]]
  | ^^^^^^^^^
  |
  = help: `url`: The URL, http or https, without user name, password and fragment
"#);
}

#[test]
fn wrong_types() {
    let text = r#"[budget]
max_steps = "20"
timeout = 15

[[token]]
kind = "shell"
name = "pods"
allowed = "kubectl"
requires_approval = "yes"
expires = 2026-12-01T00:00:00Z
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: `max_steps` must be an integer, not a string
 --> manifest.toml:2:13
  |
2 | max_steps = "20"
  |             ^^^^
  |
  = help: write the number without quotes

error: `timeout` must be a string, not an integer
 --> manifest.toml:3:11
  |
3 | timeout = 15
  |           ^^
  |
  = help: write it like `"15m"`

error: `allowed` must be an array, not a string
 --> manifest.toml:8:11
  |
8 | allowed = "kubectl"
  |           ^^^^^^^^^
  |
  = help: put it in brackets: `allowed = ["…"]`

error: `requires_approval` must be `true` or `false`, not a string
 --> manifest.toml:9:21
  |
9 | requires_approval = "yes"
  |                     ^^^^^
  |
  = help: write it without quotes

error: `expires` must be a string, not a date or time
  --> manifest.toml:10:11
   |
10 | expires = 2026-12-01T00:00:00Z
   |           ^^^^^^^^^^^^^^^^^^^^
   |
   = help: put it in quotes
"#);
}

#[test]
fn a_table_with_one_bracket_too_few() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"
[token]
kind = "shell"
name = "pods"
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: `token` must be an array of tables, not a table
 --> manifest.toml:4:1
  |
4 | [token]
  | ^^^^^^^
  |
  = help: write `[[token]]` with two brackets
"#);
}

#[test]
fn a_duration_without_a_unit() {
    let text = r#"[budget]
max_steps = 20
timeout = "15"
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: `timeout`: `15` has no unit; write `15s`, `15m` or `15h`
 --> manifest.toml:3:11
  |
3 | timeout = "15"
  |           ^^^^
"#);
}

#[test]
fn a_duration_over_a_day() {
    let text = r#"[budget]
max_steps = 20
timeout = "36h"
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: `timeout`: `36h` is more than a day, the most there is
 --> manifest.toml:3:11
  |
3 | timeout = "36h"
  |           ^^^^^
"#);
}

#[test]
fn no_steps() {
    let text = r#"[budget]
max_steps = 0
timeout = "15m"
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: `max_steps` is 0; it must be at least 1
 --> manifest.toml:2:13
  |
2 | max_steps = 0
  |             ^
"#);
}

#[test]
fn money_beyond_a_millionth() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"
max_cost_usd = 0.00000_05
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: `0.0000005` has more than six decimals; a millionth is the least
 --> manifest.toml:4:16
  |
4 | max_cost_usd = 0.00000_05
  |                ^^^^^^^^^^
"#);
}

#[test]
fn negative_money() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"
max_cost_usd = -1.5
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: `-1.5` is negative; write 0 or more
 --> manifest.toml:4:16
  |
4 | max_cost_usd = -1.5
  |                ^^^^
"#);
}

#[test]
fn a_prefix_that_needs_a_shell() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "shell"
name = "pods"
allowed = ["kubectl get pods", "kubectl logs \"a b\" | grep x"]
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: token `pods`: prefix 2 of `allowed`, `kubectl logs "a b" | grep x`: `|` at character 20 needs a shell, and none is used; run one program a call, or quote it if it is meant literally
 --> manifest.toml:8:54
  |
8 | allowed = ["kubectl get pods", "kubectl logs \"a b\" | grep x"]
  |                                                      ^
  |
  = help: a command is never given to a shell, so a prefix can't need one
"#);
}

#[test]
fn two_bad_prefixes() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "shell"
name = "pods"
allowed = ["", "echo $HOME"]
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: token `pods`: prefix 1 of `allowed`, ``: it is empty; name at least a program
 --> manifest.toml:8:12
  |
8 | allowed = ["", "echo $HOME"]
  |            ^^

error: token `pods`: prefix 2 of `allowed`, `echo $HOME`: `$` at character 6 asks a shell to substitute, and none is used; write the value out, or put it in single quotes if it is meant literally
 --> manifest.toml:8:22
  |
8 | allowed = ["", "echo $HOME"]
  |                      ^
  |
  = help: a command is never given to a shell, so a prefix can't need one
"#);
}

#[test]
fn no_prefix() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "shell"
name = "pods"
allowed = []
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: `allowed` is empty; list at least one
 --> manifest.toml:8:11
  |
8 | allowed = []
  |           ^^
"#);
}

#[test]
fn a_bad_url() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "http"
name = "health"
url = "api.internal/health"
methods = ["GET"]
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: token `health`: `url`: `api.internal/health` is not a URL (relative URL without a base); write it as `https://host/path`
 --> manifest.toml:8:7
  |
8 | url = "api.internal/health"
  |       ^^^^^^^^^^^^^^^^^^^^^
"#);
}

#[test]
fn a_password_in_a_url() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "http"
name = "health"
url = "https://admin:hunter2@api.internal/health"
methods = ["GET"]
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: token `health`: `url`: the URL carries a user name or password; use a secret token with a header
 --> manifest.toml:8:7
  |
8 | url = "https://*************@api.internal/health"
  |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
"#);
}

#[test]
fn a_bad_method() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "http"
name = "health"
url = "https://api.internal/health"
methods = ["GET", "FETCH"]
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: token `health`: `methods`: `FETCH` is not one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS
 --> manifest.toml:9:19
  |
9 | methods = ["GET", "FETCH"]
  |                   ^^^^^^^
"#);
}

#[test]
fn a_bad_header() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "http"
name = "health"
url = "https://api.internal/health"
methods = ["GET"]
headers = { Accept = "text/plain", Host = "evil" }
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: token `health`: `headers`: header `Host` is set by the client itself; remove it
  --> manifest.toml:10:36
   |
10 | headers = { Accept = "text/plain", Host = "evil" }
   |                                    ^^^^
"#);
}

#[test]
fn a_bad_mode() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "file"
name = "config"
allowed_paths = ["/etc/app"]
mode = "rw"
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: `rw` is no `mode` of token `config`
 --> manifest.toml:9:8
  |
9 | mode = "rw"
  |        ^^^^
  |
  = help: `mode` is one of `read`, `write`, `readwrite`
"#);
}

#[test]
fn every_file() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "file"
name = "config"
allowed_paths = ["conf", "../../.."]
mode = "read"
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: token `config`: `allowed_paths`: `/` would allow every file; name a directory
 --> manifest.toml:8:26
  |
8 | allowed_paths = ["conf", "../../.."]
  |                          ^^^^^^^^^^
"#);
}

#[test]
fn a_tilde() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "file"
name = "config"
allowed_paths = ["~/.config"]
mode = "read"
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: token `config`: `allowed_paths`: `~` in `~/.config` is not expanded; write the path out
 --> manifest.toml:8:18
  |
8 | allowed_paths = ["~/.config"]
  |                  ^^^^^^^^^^^
"#);
}

#[test]
fn two_tokens_of_one_name() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "shell"
name = "pods"
allowed = ["ls"]

[[candidate]]
kind = "http"
name = "pods"
url = "https://api.internal/health"
methods = ["GET"]
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: two tokens are named `pods`
  --> manifest.toml:12:8
   |
 7 | name = "pods"
   |        ------ the first one
...
12 | name = "pods"
   |        ^^^^^^
   |
   = help: rename one of them
"#);
}

#[test]
fn two_tokens_of_one_tool() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "shell"
name = "pods"
allowed = ["ls"]

[[token]]
kind = "http"
name = "shell_pods"
url = "https://api.internal/health"
methods = ["GET"]
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: tokens `pods` and `shell_pods` are both the tool `shell_pods`
  --> manifest.toml:12:8
   |
 7 | name = "pods"
   |        ------ the first one
...
12 | name = "shell_pods"
   |        ^^^^^^^^^^^^
   |
   = help: rename one of them
"#);
}

#[test]
fn a_name_of_the_runtime() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "http"
name = "request_approval"
url = "https://api.internal/health"
methods = ["GET"]
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: the runtime has a tool `request_approval` of its own
 --> manifest.toml:7:8
  |
7 | name = "request_approval"
  |        ^^^^^^^^^^^^^^^^^^
  |
  = help: rename the token
"#);
}

#[test]
fn a_bad_name() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "shell"
name = "my pods"
allowed = ["ls"]
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: token `my pods`: a name is made of letters, digits, `_` and `-` (ASCII)
 --> manifest.toml:7:8
  |
7 | name = "my pods"
  |        ^^^^^^^^^
"#);
}

#[test]
fn a_bad_variable() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "shell"
name = "pods"
allowed = ["ls"]
env = ["KUBECONFIG", "LD_PRELOAD"]
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: token `pods`: `env`: `LD_PRELOAD` decides which code a program loads; a token can't pass it on
 --> manifest.toml:9:22
  |
9 | env = ["KUBECONFIG", "LD_PRELOAD"]
  |                      ^^^^^^^^^^^^
"#);
}

#[test]
fn a_secret_in_the_manifest_is_not_shown() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "secret"
name = "notify"
secret = "xoxb-0123456789"
header = "Authorization"
[token.inner]
kind = "http"
name = "health"
url = "https://api.internal/health"
methods = ["GET"]
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: `secret`: a manifest never holds a secret's value
 --> manifest.toml:8:1
  |
8 | secret = *****************
  | ^^^^^^
  |
  = help: name the environment variable that holds it with `env`, or its file with `file`
"#);
}

#[test]
fn a_secret_from_two_places_to_none() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "secret"
name = "notify"
env = "SLACK_TOKEN"
file = "token.txt"
[token.inner]
kind = "http"
name = "health"
url = "https://api.internal/health"
methods = ["GET"]
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: token `notify` doesn't say where the secret goes: `header` or `inject_env`
 --> manifest.toml:5:1
  |
5 | [[token]]
  | ^^^^^^^^^

error: token `notify` says twice where the secret comes from: `env` and `file`; keep one
 --> manifest.toml:9:8
  |
9 | file = "token.txt"
  |        ^^^^^^^^^^^
"#);
}

#[test]
fn a_secret_in_a_file_token() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "secret"
name = "x"
env = "T"
header = "A"
inner = { kind = "file", name = "f", mode = "read", allowed_paths = ["x"] }
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: a token of kind `file` takes no secret
  --> manifest.toml:10:18
   |
10 | inner = { kind = "file", name = "f", mode = "read", allowed_paths = ["x"] }
   |                  ^^^^^^
   |
   = help: the kinds are `shell`, `http`
"#);
}

#[test]
fn keys_of_the_other_method() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "deploy"
name = "prod"
method = "kubectl"
target = "prod"
image = "app:v2"
argv = ["./deploy"]
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: token `prod`: `argv` belongs to `method = "command"`
  --> manifest.toml:11:1
   |
11 | argv = ["./deploy"]
   | ^^^^
"#);
}

#[test]
fn a_command_deployment_without_argv() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "deploy"
name = "prod"
method = "command"
target = "prod"
image = "app:v2"
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: `argv` is missing in token `prod`
 --> manifest.toml:5:1
  |
5 | [[token]]
  | ^^^^^^^^^
  |
  = help: a deployment by `command` says what runs: `argv = ["program", …]`
"#);
}

#[test]
fn a_bad_rollback_argv() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "deploy"
name = "prod"
method = "command"
target = "prod"
image = "app:v2"
argv = ["./deploy", "{image}"]
rollback_to = "app:v1"
rollback_argv = ["./deploy", "{tag}"]
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: token `prod`: `rollback_argv`: `{tag}` holds a placeholder other than `{image}` and `{target}`
  --> manifest.toml:13:30
   |
13 | rollback_argv = ["./deploy", "{tag}"]
   |                              ^^^^^^^
"#);
}

#[test]
fn a_bad_time() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "shell"
name = "pods"
allowed = ["ls"]
expires = "tomorrow"
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: token `pods`: `expires`: `tomorrow` is not a time such as `2026-12-01T00:00:00Z` (RFC 3339)
 --> manifest.toml:9:11
  |
9 | expires = "tomorrow"
  |           ^^^^^^^^^^
"#);
}

#[test]
fn a_syntax_error() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"
[[token]]
kind = shell"
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: missing opening quote, expected `"`
 --> manifest.toml:5:8
  |
5 | kind = shell"
  |        ^
"#);
}

#[test]
fn a_syntax_error_beside_a_secret() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"
[[token]]
secret = "xoxb-0123456789
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: invalid basic string, expected `"`
 --> manifest.toml:5:26
  |
5 | secret =*****************
  |                          ^
"#);
}

#[test]
fn a_key_twice() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"
timeout = "20m"
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: duplicate key
 --> manifest.toml:4:1
  |
4 | timeout = "20m"
  | ^^^^^^^
"#);
}

#[test]
fn control_characters_in_a_key() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"
"a\u001b[31m\u202e" = 1
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: unknown key `a\u{1b}[31m\u{202e}` in `[budget]`
 --> manifest.toml:4:1
  |
4 | "a\u001b[31m\u202e" = 1
  | ^^^^^^^^^^^^^^^^^^^
  |
  = help: what it can still hold: `max_tokens`, `max_cost_usd`
"#);
}

#[test]
fn an_unknown_key_beside_the_right_one() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"
max_step = 5
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: unknown key `max_step` in `[budget]`; did you mean `max_steps`?
 --> manifest.toml:4:1
  |
4 | max_step = 5
  | ^^^^^^^^
"#);
}

const OWN_PROFILE: &str = "[mytool]\nsyntax = \"exact\"\noperands = \"text*\"\n\
    flags.harmless = \"-v|--verbose\"\n\n[kubectl]\noperands = \"text*\"\n\
    flags.harmless = \"-n=\"\n";

fn with_profile(entry: &str) -> Result<Manifest, ManifestError> {
    let text = format!(
        "[budget]\nmax_steps = 1\ntimeout = \"1m\"\n\n{entry}\n\n[[token]]\nkind = \"shell\"\n\
         name = \"t\"\nallowed = [\"mytool run\", \"kubectl get pods\"]\n"
    );
    let load = |path: &Path| match path.to_str() {
        Some("/work/app/own.toml") => Ok(OWN_PROFILE.as_bytes().to_vec()),
        _ => Err("can't be read; name an existing file".to_owned()),
    };
    Manifest::read_with(text.as_bytes(), "/work/app".as_ref(), &load)
}

fn allows(manifest: &Manifest, command: &str) -> bool {
    use lar_core::scope::Scope;
    use lar_core::scope::command::Command;
    match manifest.tokens[0].scope() {
        Scope::Shell(shell) => shell.commands.permits(&Command::parse(command).unwrap()).is_ok(),
        _ => panic!("a shell token"),
    }
}

#[test]
fn profiles_beside_the_manifest_add_and_tighten_and_replace_only_by_their_digest() {
    let shipped = with_profile("").unwrap();
    assert!(allows(&shipped, "mytool run --anything") && allows(&shipped, "kubectl get pods -w"));
    let report = worst(&shipped, &Surroundings::default());
    assert!(report.tokens[0].warnings.iter().any(|w| w.code == "unknown-program"));

    let own = with_profile("[[profile]]\nfile = \"own.toml\"").unwrap();
    assert!(allows(&own, "mytool run -v") && !allows(&own, "mytool run --anything"));
    assert!(allows(&own, "kubectl get pods -n a") && !allows(&own, "kubectl get pods -w"));
    let report = worst(&own, &Surroundings::default());
    assert!(!report.tokens[0].warnings.iter().any(|w| w.code == "unknown-program"));
    let digest = |manifest: &Manifest| manifest.tokens[0].digest().unwrap();
    assert_ne!(digest(&own), digest(&shipped), "what a prefix means is part of the token");

    let sha = lar_core::json::Digest::of(OWN_PROFILE.as_bytes());
    let replaced =
        with_profile(&format!("[[profile]]\nfile = \"own.toml\"\nsha256 = \"{sha}\"")).unwrap();
    assert!(allows(&replaced, "kubectl get pods -n a"));
    assert!(!allows(&replaced, "kubectl get pods -w"), "it lists one flag only");

    for (entry, says) in [
        ("[[profile]]\nfile = \"none.toml\"", "`none.toml` can't be read"),
        (
            "[[profile]]\nfile = \"own.toml\"\nsha256 = \
             \"0000000000000000000000000000000000000000000000000000000000000000\"",
            "is not the file whose SHA-256 stands here",
        ),
        ("[[profile]]\nfile = \"own.toml\"\n[[profile]]\nfile = \"own.toml\"", "already"),
        ("[[profile]]\nfil = \"own.toml\"", "fil"),
    ] {
        let error = with_profile(entry).expect_err(entry).to_string();
        assert!(error.contains(says), "{entry}: {error}");
    }
}
