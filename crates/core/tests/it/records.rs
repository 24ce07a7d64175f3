//! Records of a run as most tests want them; what a test is about, it changes.

use lar_core::audit::record::{
    Account, Intent, OutcomeRecord, RunClose, RunEnd, RunOpen, TokenLine,
};
use lar_core::id::AttemptId;
use lar_core::json::Digest;
use lar_core::outcome::Verdict;

/// A token that nobody must approve.
pub fn token(name: &str, uses: u32) -> TokenLine {
    TokenLine {
        name: name.into(),
        scope: "all".into(),
        definition: Digest::of(name),
        uses,
        requires_approval: false,
        witness: None,
    }
}

/// The first record of a run with these tokens.
pub fn open(tokens: Vec<TokenLine>) -> RunOpen {
    RunOpen {
        model: "replay".into(),
        task: "task".into(),
        runtime: "0".into(),
        binary: None,
        manifest: None,
        grant: None,
        budget: serde_json::json!({}),
        tokens,
        enforcement: "none".into(),
        approvals: Vec::new(),
        runner: None,
    }
}

/// The digest of what `token` does with these arguments.
pub fn digest(token: &str, args: &serde_json::Value) -> Digest {
    Digest::of_value(&serde_json::json!({"action": args, "token": token})).unwrap()
}

/// A spend that nobody approved.
pub fn intent(token: &str, attempt: AttemptId, args: serde_json::Value) -> Intent {
    Intent {
        token_name: token.into(),
        scope: "all".into(),
        tool: token.into(),
        attempt,
        action_digest: digest(token, &args),
        args,
        approval_seq: None,
    }
}

/// How the spend in record `intent_seq` ended; `None` when nothing began.
pub fn outcome(intent: &Intent, intent_seq: u64, outcome: Option<Verdict>) -> OutcomeRecord {
    OutcomeRecord {
        token_name: intent.token_name.clone(),
        attempt: intent.attempt,
        intent_seq,
        outcome,
        reason: None,
        result_summary: "fine".into(),
        output_digest: Some(Digest::of(b"")),
        output_bytes: 0,
        stderr_digest: None,
        exit_code: None,
        http_status: None,
        program: None,
        tier: None,
        duration_ms: 3,
    }
}

/// A token of which `succeeded` uses were spent and the others never.
pub fn account(name: &str, granted: u64, succeeded: u64) -> Account {
    Account {
        token_name: name.into(),
        granted,
        succeeded,
        unused: granted - succeeded,
        ..Account::default()
    }
}

/// The last record of a run of `records`, that one included.
pub fn close(tokens: Vec<Account>, records: u64) -> RunClose {
    RunClose { stop_reason: "complete".into(), end: RunEnd::default(), tokens, records }
}
