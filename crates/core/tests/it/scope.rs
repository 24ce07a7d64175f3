//! A call is judged by its token's scope and by nothing else, for every kind of token.

use lar_core::call::Authorized;
use lar_core::error::Refusal;
use lar_core::id::{CallSite, Part, RunId};
use lar_core::invocation::{Invocation, ToolCall};
use lar_core::scope::FileMode;
use lar_core::set::{CapabilitySet, SetError};
use lar_core::token::{
    DatabaseToken, DeployToken, FileToken, HttpToken, SecretToken, ShellToken, Token, WaitToken,
};

fn set() -> CapabilitySet {
    let slack = HttpToken::new("slack", "https://slack.com/api/chat", ["POST"]).build().unwrap();
    let set = CapabilitySet::new([
        ShellToken::new("pods", ["kubectl get pods"]).build().unwrap(),
        HttpToken::new("api", "http://127.0.0.1/x", ["GET", "POST"]).build().unwrap(),
        FileToken::new("conf", ["/etc/app"], FileMode::ReadWrite).build().unwrap(),
        DeployToken::kubectl("prod", "production", "team/app:v2")
            .rollback_to("team/app:v1")
            .build()
            .unwrap(),
        SecretToken::from_env("notify", "TOKEN", slack).header("Authorization").build().unwrap(),
        WaitToken::new("soon", 5).build().unwrap(),
        DatabaseToken::new("orders", "sqlite:/srv/orders.db", ["SELECT"]).build().unwrap(),
    ])
    .unwrap();
    set.mark_reported();
    set
}

fn judge(tool: &str, input: &str) -> Result<Authorized, Refusal> {
    let set = set();
    let call = ToolCall {
        site: CallSite { run: RunId::new("r").unwrap(), turn: 1, index: 0, part: Part::Call },
        tool: tool.into(),
        input: input.into(),
        rationale: None,
    };
    set.reserve(Invocation::parse(call, &set)?)?.authorize()
}

#[test]
fn what_was_granted_is_allowed() {
    for (tool, input) in [
        ("shell_pods", r#"{"command":"kubectl get pods -n prod"}"#),
        ("api", r#"{"method":"get"}"#),
        ("api", r#"{"method":"POST","body":{"a":[1,9007199254740993,1.5]}}"#),
        ("file_conf", r#"{"operation":"read","path":"/etc/app/a.toml"}"#),
        ("file_conf", r#"{"operation":"write","path":"a.toml","content":""}"#),
        ("file_conf", r#"{"operation":"read","path":"a.toml","content":""}"#),
        ("deploy_prod", "{}"),
        ("secret_notify", r#"{"body":{"text":"hi"}}"#),
        ("wait_soon", r#"{"seconds":5,"reason":"rollout"}"#),
        ("db_orders", r#"{"query":"SELECT 1"}"#),
    ] {
        assert!(judge(tool, input).is_ok(), "{tool} {input}");
    }
}

#[test]
fn everything_else_is_refused_by_its_name() {
    let cases = [
        ("shell_pods", r#"{"command":"kubectl get podsx"}"#, "CommandNotAllowedError"),
        ("shell_pods", r#"{"command":"kubectl get pods; rm -rf /"}"#, "CommandNotAllowedError"),
        ("shell_pods", r#"{"command":""}"#, "CommandNotAllowedError"),
        ("shell_pods", r#"{"command":7}"#, "InvalidInputError"),
        ("shell_pods", "{}", "InvalidInputError"),
        ("shell_pods", r#"{"command":"kubectl get pods","command":"rm"}"#, "InvalidInputError"),
        ("shell_pods", r#"{"command":"kubectl get pods","path":"/"}"#, "InvalidInputError"),
        ("shell_pods", r#"["kubectl get pods"]"#, "InvalidInputError"),
        ("shell_pods", "not json", "InvalidInputError"),
        ("api", r#"{"method":"DELETE"}"#, "TokenScopeError"),
        ("api", r#"{"method":"GET","body":{}}"#, "TokenScopeError"),
        ("api", r#"{"method":"GET","url":"http://evil/"}"#, "InvalidInputError"),
        ("api", r#"{}"#, "InvalidInputError"),
        ("file_conf", r#"{"operation":"read","path":"/etc/passwd"}"#, "FileAccessError"),
        ("file_conf", r#"{"operation":"read","path":"/etc/app/../passwd"}"#, "FileAccessError"),
        ("file_conf", r#"{"operation":"delete","path":"a"}"#, "InvalidInputError"),
        ("file_conf", r#"{"operation":"write","path":"a"}"#, "InvalidInputError"),
        ("file_conf", r#"{"operation":"read","path":"a","content":"x"}"#, "InvalidInputError"),
        ("deploy_prod", r#"{"image":"evil"}"#, "InvalidInputError"),
        ("rollback prod/rollback", "{}", "UnknownToolError"),
        ("slack", r#"{"body":{}}"#, "UnknownToolError"),
        ("wait_soon", r#"{"seconds":6}"#, "TokenScopeError"),
        ("wait_soon", r#"{"seconds":1.0}"#, "InvalidInputError"),
        ("wait_soon", r#"{"seconds":-1}"#, "InvalidInputError"),
        ("db_orders", r#"{"query":"DELETE FROM orders"}"#, "QueryNotAllowedError"),
        ("db_orders", r#"{"query":"SELECT 1; SELECT 2"}"#, "QueryNotAllowedError"),
        ("db_orders", r#"{"query":7}"#, "InvalidInputError"),
        ("nothing", "{}", "UnknownToolError"),
    ];
    for (tool, input, name) in cases {
        match judge(tool, input) {
            Err(refusal) => assert_eq!(refusal.error_type(), name, "{tool} {input}: {refusal}"),
            Ok(_) => panic!("{tool} {input} was allowed"),
        }
    }
}

#[test]
fn the_model_never_sees_the_way_back() {
    let names: Vec<String> = set().tool_definitions().into_iter().map(|tool| tool.name).collect();
    assert_eq!(
        names,
        [
            "shell_pods",
            "api",
            "file_conf",
            "deploy_prod",
            "secret_notify",
            "wait_soon",
            "db_orders"
        ]
    );
    let plain =
        |name: &String| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    assert!(names.iter().all(plain));
}

#[test]
fn tools_that_would_be_confused_are_refused() {
    let shell = |name: &str| ShellToken::new(name, ["ls"]).build().unwrap();
    let http = |name: &str| HttpToken::new(name, "http://h/", ["GET"]).build();
    let of = |tokens: Vec<Token>| CapabilitySet::new(tokens).map(|_| ()).unwrap_err();
    assert!(matches!(of(vec![shell("a"), shell("a")]), SetError::Duplicate { .. }));
    assert!(matches!(of(vec![shell("a"), http("shell_a").unwrap()]), SetError::Duplicate { .. }));
    assert!(matches!(of(vec![shell("a"), http("a").unwrap()]), SetError::DuplicateName(_)));
    assert!(matches!(of(vec![http("request_approval").unwrap()]), SetError::Reserved(_)));
    for bad in ["", "a b", "ä", "a/b", &"a".repeat(129), "a\u{202e}b"] {
        assert!(http(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn the_digest_names_exactly_one_action() {
    let digest = |tool: &str, input: &str| judge(tool, input).unwrap().invocation().digest();
    let one = digest("api", r#"{"method":"POST","body":9007199254740993}"#);
    let two = digest("api", r#"{"method":"POST","body":9007199254740992}"#);
    assert_ne!(one, two);
    assert_eq!(
        digest("shell_pods", r#"{"command":"kubectl get pods  -n 'prod'"}"#),
        digest("shell_pods", r#"{"command":"kubectl get pods -n prod"}"#),
        "what runs is the same"
    );
    assert_ne!(
        digest("shell_pods", r#"{"command":"kubectl get pods -n 'a b'"}"#),
        digest("shell_pods", r#"{"command":"kubectl get pods -n a b"}"#)
    );
    let long = "x".repeat(10_000);
    let longer = "x".repeat(10_001);
    let write = |content: &str| {
        let input = format!(r#"{{"operation":"write","path":"a","content":"{content}"}}"#);
        digest("file_conf", &input)
    };
    assert_ne!(write(&long), write(&longer));
}
