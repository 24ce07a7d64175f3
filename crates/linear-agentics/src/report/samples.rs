//! Trails for the tests of how they are shown, made of records as a ledger writes them.

use lar_core::audit::AuditTrail;
use lar_core::audit::chain::Checker;
use lar_core::audit::record::*;
use lar_core::id::{AttemptId, CallSite, Part, RunId};
use lar_core::json::Digest;
use lar_core::outcome::Verdict;
use lar_core::time::Timestamp;
use serde_json::{Value, json};

/// A run with one event of every sort.
pub fn whole() -> AuditTrail {
    let pods = json!({"kind": "shell", "argv": ["kubectl", "get", "pods", "-l", "app in (a, b)"]});
    let health = json!({"kind": "http", "method": "GET", "url": "https://api.internal/health"});
    let image = "registry.internal/app:v2";
    let deploy =
        json!({"kind": "deploy", "target": "staging", "image": image, "method": "kubectl"});
    let mut bodies = vec![open_body("Is the service well?")];
    bodies.push(intent(1, "pods", pods));
    bodies.push(outcome(1, "pods", Some(Verdict::Succeeded), None, "exit 0, 812 bytes", 1_234));
    bodies.push(Body::Error(ErrorRecord {
        token_name: "pods".into(),
        error_type: "CommandNotAllowedError".into(),
        message: "`;` at character 17 would need a shell; the allowed commands begin with `kubectl get pods`".into(),
        attempt: None,
        input: Some(r#"{"command":"kubectl get pods; rm -rf /"}"#.into()),
    }));
    bodies.push(intent(2, "health", health));
    bodies.push(outcome(2, "health", Some(Verdict::Failed), Some("no route"), "", 31));
    bodies.push(Body::Approval(Approval {
        token_name: "staging".into(),
        attempt: Some(attempt(3)),
        action_digest: Some(Digest::of(b"deploy")),
        message: "deploy_staging (registry.internal/app:v2 to staging)".into(),
        approved: true,
        approver: "alice".into(),
        approver_identity: "os-user".into(),
        statements: Vec::new(),
    }));
    bodies.push(intent(3, "staging", deploy));
    bodies.push(outcome(
        3,
        "staging",
        Some(Verdict::Unknown),
        Some("interrupted"),
        "killed",
        65_000,
    ));
    bodies.push(Body::Negotiation(Negotiation {
        requested_scope: "restart the deployment".into(),
        justification: "it hangs".into(),
        tokens: Vec::new(),
        granted_token: None,
        provider_type: "human".into(),
        provider: "alice".into(),
        reason: Some("`alice` granted nothing".into()),
    }));
    let account = |name: &str, granted, [succeeded, failed, unknown]: [u64; 3]| Account {
        token_name: name.into(),
        granted,
        succeeded,
        failed,
        unknown,
        unused: granted - succeeded - failed - unknown,
        ..Account::default()
    };
    bodies.push(Body::RunClose(RunClose {
        stop_reason: "error".into(),
        end: RunEnd {
            final_message: Some("It is not well.".into()),
            error: Some("required tokens were never spent with success: `health`".into()),
            steps_taken: 5,
            budget_remaining: 15,
            model_tokens: 12_345,
            cost_micro_usd: 45_600,
        },
        tokens: vec![
            account("pods", 5, [1, 0, 0]),
            account("health", 1, [0, 1, 0]),
            account("staging", 1, [0, 0, 1]),
            account("config", 1, [0, 0, 0]),
        ],
        records: bodies.len() as u64 + 1,
    }));
    trail(&bodies)
}

/// A run that was cut off after a spend.
pub fn open() -> AuditTrail {
    let args = json!({"kind": "file", "operation": "read", "root": "/etc/app", "path": "app.toml"});
    trail(&[open_body("Look."), intent(1, "pods", args)])
}

/// A run whose every text is hostile. A null character is not among it: no record holds one.
pub fn hostile() -> AuditTrail {
    let nasty = "EVIL\u{1b}[2J\u{202e}\u{200b}\r\n| a | b `c` ``` </td><script>x</script> ]]> \
                 [x](https://evil.example) @team #1 \"quote' & \u{1}\u{9b}31m\u{fffe}\u{e0041} \\| ~~~ ";
    let long = format!("{nasty}{}", "日".repeat(5_000));
    let mut bodies = vec![open_body(&long)];
    bodies.push(intent(1, nasty, json!({"kind": "shell", "argv": [nasty, long]})));
    bodies.push(outcome(1, nasty, Some(Verdict::Failed), Some(nasty), &long, u64::from(u32::MAX)));
    bodies.push(intent(
        2,
        nasty,
        json!({"kind": "http", "method": nasty, "url": nasty, "body": long}),
    ));
    bodies.push(intent(3, nasty, json!({"kind": nasty, "x": [nasty, {"y": long}]})));
    bodies.push(Body::Error(ErrorRecord {
        token_name: long.clone(),
        error_type: nasty.into(),
        message: long.clone(),
        attempt: None,
        input: Some(long.clone()),
    }));
    bodies.push(Body::Negotiation(Negotiation {
        requested_scope: long.clone(),
        justification: nasty.into(),
        tokens: Vec::new(),
        granted_token: Some(nasty.into()),
        provider_type: nasty.into(),
        provider: nasty.into(),
        reason: Some(nasty.into()),
    }));
    bodies.push(Body::Approval(Approval {
        token_name: nasty.into(),
        attempt: None,
        action_digest: None,
        message: nasty.into(),
        approved: false,
        approver: nasty.into(),
        approver_identity: nasty.into(),
        statements: Vec::new(),
    }));
    bodies.push(Body::RunClose(RunClose {
        stop_reason: nasty.into(),
        end: RunEnd {
            final_message: Some(long.clone()),
            error: Some(nasty.into()),
            ..RunEnd::default()
        },
        tokens: vec![Account {
            token_name: nasty.into(),
            granted: 1,
            succeeded: 0,
            failed: 0,
            unknown: 0,
            unused: 1,
            ..Account::default()
        }],
        records: bodies.len() as u64 + 1,
    }));
    trail(&bodies)
}

fn open_body(task: &str) -> Body {
    Body::RunOpen(RunOpen {
        model: "claude-sonnet-4-5".into(),
        task: task.into(),
        runtime: "0.1.0".into(),
        binary: None,
        manifest: None,
        grant: None,
        budget: json!({}),
        tokens: vec![TokenLine {
            name: "pods".into(),
            scope: "commands".into(),
            definition: Digest::of(b""),
            uses: 5,
            requires_approval: false,
            witness: None,
        }],
        enforcement: "none".into(),
        approvals: Vec::new(),
        runner: None,
    })
}

fn run() -> RunId {
    RunId::new("20261122-101500-0badcafe").unwrap()
}

fn attempt(turn: u64) -> AttemptId {
    AttemptId::at(&CallSite { run: run(), turn, index: 0, part: Part::Call })
}

fn intent(turn: u64, token: &str, args: Value) -> Body {
    Body::Intent(Intent {
        token_name: token.into(),
        scope: "scope".into(),
        tool: "tool".into(),
        attempt: attempt(turn),
        args,
        action_digest: Digest::of(b"action"),
        approval_seq: None,
    })
}

fn outcome(
    turn: u64,
    token: &str,
    outcome: Option<Verdict>,
    reason: Option<&str>,
    summary: &str,
    duration_ms: u64,
) -> Body {
    Body::Outcome(OutcomeRecord {
        token_name: token.into(),
        attempt: attempt(turn),
        intent_seq: 1,
        outcome,
        reason: reason.map(Into::into),
        result_summary: summary.into(),
        output_digest: Some(Digest::of(b"out")),
        output_bytes: 3,
        stderr_digest: None,
        exit_code: None,
        http_status: None,
        program: None,
        tier: None,
        duration_ms,
    })
}

fn trail(bodies: &[Body]) -> AuditTrail {
    let (mut checker, mut records, mut prev) = (Checker::default(), Vec::new(), genesis());
    for (seq, body) in (1..).zip(bodies) {
        let time = Timestamp::from_millis(1_795_342_500_000 + seq as i64 * 1_700);
        let sealed = seal(&run(), seq, prev, time, body).unwrap();
        prev = sealed.hash;
        records.push(checker.read(&sealed.bytes, &sealed.openings).unwrap());
    }
    AuditTrail::read(&records, checker.finish().unwrap().head).unwrap()
}
