//! The worst that a set could do, in plain words, and what is warned of.

use lar_core::time::Timestamp;

use super::*;

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
