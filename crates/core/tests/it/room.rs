//! What is let in fits into its record: a call that doesn't is refused with the field's name, and a set
//! that doesn't is no set.

use lar_core::audit::record::{Body, RunClose, RunEnd, RunOpen, TokenLine, genesis, seal};
use lar_core::audit::room::{MOST_ERROR_BYTES, MOST_FINAL_BYTES, first_bytes};
use lar_core::error::Refusal;
use lar_core::id::{CallSite, Part, RunId};
use lar_core::invocation::{Invocation, ToolCall};
use lar_core::ledger::{Closing, Granted, Ledger};
use lar_core::set::{CapabilitySet, SetError};
use lar_core::token::{ShellToken, Token, WaitToken};
use memory_ledger::Memory;
use serde_json::json;

fn set(tokens: Vec<Token>) -> CapabilitySet {
    let set = CapabilitySet::new(tokens).unwrap();
    set.mark_reported();
    set
}

fn refused(set: &CapabilitySet, tool: &str, input: &serde_json::Value) -> String {
    let call = ToolCall {
        site: CallSite { run: RunId::new("run").unwrap(), turn: 1, index: 0, part: Part::Call },
        tool: tool.to_owned(),
        input: input.to_string(),
        rationale: None,
    };
    match Invocation::parse(call, set).unwrap_err() {
        Refusal::InvalidInput(why) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_action_that_no_record_holds_is_refused_by_its_field() {
    let set = set(vec![ShellToken::new("say", ["echo"]).build().unwrap()]);
    let many = format!("echo {}", format!("{} ", "a".repeat(19)).repeat(2_600));
    let why = refused(&set, "shell_say", &json!({ "command": many }));
    assert!(why.contains("field `command`"), "{why}");
}

/// A token whose line takes as little room as any.
fn small(index: usize) -> Token {
    WaitToken::new(&format!("w{index}"), 1).build().unwrap()
}

#[tokio::test]
async fn a_run_of_as_many_tokens_as_fit_is_opened_and_closed() {
    let set = CapabilitySet::default();
    set.mark_reported();
    let mut many = 0;
    let refused = loop {
        match set.add(small(many)) {
            Ok(()) => many += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, SetError::TooLarge { .. }), "{refused}");
    assert!(many > 230, "several hundred are a set: {many}");

    let tokens = set.tokens();
    let line = |token: &Token| TokenLine {
        name: token.name().to_owned(),
        scope: token.scope().summary(),
        definition: token.digest().unwrap(),
        uses: token.max_uses(),
        requires_approval: false,
        witness: None,
    };
    let run = RunId::new("run").unwrap();
    let record = Body::RunOpen(RunOpen {
        model: "m".repeat(200),
        task: "\u{1}".repeat(1_000),
        runtime: "0".to_owned(),
        binary: None,
        manifest: None,
        grant: None,
        budget: Default::default(),
        tokens: tokens.iter().map(line).collect(),
        enforcement: "A (namespaces, Landlock, seccomp, resource limits)".to_owned(),
        approvals: Vec::new(),
        runner: None,
    });
    let granted: Vec<Granted> = tokens.iter().map(|token| Granted::of(token).unwrap()).collect();
    let memory = Memory::default();
    let source = lar_core::ledger::Source::Own {
        tokens: granted,
        definitions: lar_core::ledger::Definitions::from_text("{}"),
    };
    let opening = lar_core::ledger::Opening { record, ..memory_ledger::opening(&run, source) };
    let hold = memory.open_run(opening).await.unwrap().hold;
    // The worst that a model may say at the end.
    let end = RunEnd {
        final_message: Some(first_bytes(&"\u{1}".repeat(4_000), MOST_FINAL_BYTES).to_owned()),
        error: Some(first_bytes(&"\u{1}".repeat(2_000), MOST_ERROR_BYTES).to_owned()),
        ..RunEnd::default()
    };
    let stop_reason = "error".to_owned();
    let closing =
        Closing { hold, stop_reason, details: end, openings: Vec::new(), keep_journal: false };
    memory.close_run(closing).await.unwrap();
    let records = memory.records(&run, 1, 10).await.unwrap();
    let Body::RunClose(RunClose { tokens: accounts, .. }) = records[1].read().unwrap().body else {
        panic!("it is closed");
    };
    assert_eq!(accounts.len(), many, "every token is accounted for");
}

#[test]
fn a_scope_that_no_record_holds_is_no_tokens() {
    let prefixes: Vec<String> = (0..1_000).map(|index| format!("tool-{index:06} run")).collect();
    let token = ShellToken::new("wide", prefixes).build().unwrap();
    let error = CapabilitySet::new([token]).unwrap_err();
    assert!(matches!(&error, SetError::ScopeTooLong { token, .. } if token == "wide"), "{error}");
    assert!(error.to_string().contains("split it into several tokens"));
}

#[test]
fn a_record_has_a_bound() {
    let body = Body::RunClose(RunClose {
        stop_reason: "s".repeat(70_000),
        end: RunEnd::default(),
        tokens: Vec::new(),
        records: 1,
    });
    let run = RunId::new("run").unwrap();
    assert!(seal(&run, 1, genesis(), lar_core::time::Timestamp::from_millis(0), &body).is_err());
}
