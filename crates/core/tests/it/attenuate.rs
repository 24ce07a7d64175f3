//! A narrowed token never allows what the token doesn't, and holders together never have more uses
//! than were granted.

use std::time::Duration;

use lar_core::approval::NoApprover;
use lar_core::error::Refusal;
use lar_core::id::{CallSite, Part, RunId};
use lar_core::invocation::{Invocation, ToolCall};
use lar_core::ledger::{GrantId, Granted, RunLedger};
use lar_core::outcome::{Outcome, Performed, Verdict};
use lar_core::scope::FileMode;
use lar_core::set::{CapabilitySet, SplitError};
use lar_core::time::Timestamp;
use lar_core::token::{
    AttenuateError, DatabaseToken, DeployToken, FileToken, HttpToken, Narrowing, SecretToken,
    ShellToken, Token, WaitToken,
};
use memory_ledger::Memory;
use proptest::prelude::*;

fn call(token: &Token, turn: u64, input: &str) -> ToolCall {
    ToolCall {
        site: CallSite { run: RunId::new("run").unwrap(), turn, index: 0, part: Part::Call },
        tool: token.tool_name(),
        input: input.to_owned(),
        rationale: None,
    }
}

/// What one token alone says of an input.
fn judge(token: &Token, input: &str) -> Result<(), Refusal> {
    let set = CapabilitySet::new([token.clone()]).unwrap();
    set.mark_reported();
    let invocation = Invocation::parse(call(token, 1, input), &set)?;
    set.reserve(invocation)?.authorize().map(drop)
}

/// What its own scope says, without that of the token from which it was narrowed: the proof itself.
fn judge_alone(token: &Token, input: &str) -> Result<(), Refusal> {
    let set = CapabilitySet::new([token.clone()]).unwrap();
    set.mark_reported();
    let invocation = Invocation::parse(call(token, 1, input), &set)?;
    token.scope().permits(invocation.action())
}

fn command(words: &str) -> String {
    serde_json::json!({ "command": words }).to_string()
}

const PROGRAMS: [&str; 8] =
    ["kubectl", "git", "psql", "find", "tar", "curl", "unknown-tool", "sqlite3"];
const WORDS: [&str; 32] = [
    "get",
    "pods",
    "logs",
    "-n",
    "prod",
    "--server=evil",
    "-o",
    "json",
    "log",
    "diff",
    "--output=f",
    "-c",
    "'SELECT",
    "'SELECT a'",
    "'SELECT a FROM t'",
    "'DELETE FROM t'",
    ".",
    "-name",
    "x",
    "-delete",
    "-exec",
    "cf",
    "a.tar",
    "--to-command=sh",
    "http://h/a",
    "'http://h",
    "-X",
    "POST",
    "'a",
    "--",
    "t.db",
    "config",
];

fn words(most: usize) -> impl Strategy<Value = String> {
    let program = proptest::sample::select(PROGRAMS.to_vec());
    let rest = proptest::collection::vec(proptest::sample::select(WORDS.to_vec()), 0..most);
    (program, rest).prop_map(|(program, rest)| {
        let mut line = program.to_owned();
        rest.iter().for_each(|word| {
            line.push(' ');
            line.push_str(word);
        });
        line
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    /// The child's prefix is the parent's with more words, or any other; the command goes on from the
    /// child's.
    #[test]
    fn a_narrowed_command_is_allowed_by_the_token(
        parent in words(3), child in words(5), longer in any::<bool>(),
        more in proptest::collection::vec(proptest::sample::select(WORDS.to_vec()), 0..4),
    ) {
        let Ok(token) = ShellToken::new("t", [parent.clone()]).build() else { return Ok(()) };
        let child = match longer {
            true => format!("{parent} {}", child.split_once(' ').map_or("", |(_, rest)| rest)),
            false => child,
        };
        let Ok(narrow) = token.attenuate(&Narrowing::new().allowed([child.clone()])) else {
            return Ok(());
        };
        let mut line = child;
        more.iter().for_each(|word| line.push_str(&format!(" {word}")));
        for line in [line.clone(), format!("{line}'")] {
            let input = command(&line);
            if judge(&narrow, &input).is_ok() {
                prop_assert!(judge(&token, &input).is_ok(), "{} / {line}", parent);
            }
            if judge_alone(&narrow, &input).is_ok() {
                prop_assert!(judge(&token, &input).is_ok(), "unproved: {parent} / {line}");
            }
        }
    }

    #[test]
    fn a_narrowed_path_is_allowed_by_the_token(
        roots in proptest::collection::vec("/[ab](/[ab]){0,2}", 1..3),
        kept in proptest::collection::vec("/[ab](/[ab]){0,3}", 1..3),
        path in "(/?[ab.]){1,5}", write in any::<bool>(),
    ) {
        let token = FileToken::new("t", roots, FileMode::ReadWrite).build().unwrap();
        let narrowing = Narrowing::new().paths(kept.clone()).mode(FileMode::Read);
        let Ok(narrow) = token.attenuate(&narrowing) else { return Ok(()) };
        let input = match write {
            true => serde_json::json!({ "operation": "write", "path": path, "content": "x" }),
            false => serde_json::json!({ "operation": "read", "path": path }),
        };
        if judge(&narrow, &input.to_string()).is_ok() {
            prop_assert!(!write);
            prop_assert!(judge(&token, &input.to_string()).is_ok());
            if path.starts_with('/') {
                let parts: Vec<&str> = path.split('/').filter(|it| !["", "."].contains(it)).collect();
                let lies = |kept: &String| {
                    let kept: Vec<&str> = kept.split('/').filter(|it| !it.is_empty()).collect();
                    parts.starts_with(&kept)
                };
                prop_assert!(kept.iter().any(lies), "{path} / {kept:?}");
            }
        }
    }

    #[test]
    fn a_narrowed_statement_is_allowed_by_the_token(
        parent in proptest::sample::select(STATEMENTS.to_vec()),
        child in proptest::sample::select(STATEMENTS.to_vec()),
        asked in proptest::sample::select(STATEMENTS.to_vec()),
        more in proptest::sample::select(vec!["", " FROM t", " FROM u", " WHERE a = 1", "; DROP TABLE t"]),
    ) {
        let token = DatabaseToken::from_env("t", "DSN", [parent]).build().unwrap();
        let Ok(narrow) = token.attenuate(&Narrowing::new().patterns([child])) else { return Ok(()) };
        let input = serde_json::json!({ "query": format!("{asked}{more}") }).to_string();
        if judge_alone(&narrow, &input).is_ok() {
            prop_assert!(judge(&token, &input).is_ok(), "{parent} / {child} / {input}");
        }
    }
}

const STATEMENTS: [&str; 12] = [
    "SELECT",
    "SELECT a",
    "SELECT a FROM t",
    "SELECT lo_export(1, 'f')",
    "UPDATE t SET",
    "UPDATE t SET a = 1",
    "DELETE FROM t",
    "INSERT INTO t",
    "WITH x AS (SELECT 1) SELECT",
    "SELECT 1 FOR UPDATE",
    "EXPLAIN",
    "TABLE t",
];

#[test]
fn what_is_wider_or_unproved_is_refused_with_the_reason() {
    let pods = ShellToken::new("pods", ["kubectl get", "git commit -m 'fix"]).max_uses(3);
    let ends = Timestamp::from_millis(1_000);
    let pods = pods.expires(ends).timeout(Duration::from_secs(9)).build().unwrap();
    let api = HttpToken::new("api", "https://h/x", ["GET", "POST"]).build().unwrap();
    let files = FileToken::new("f", ["/etc/app"], FileMode::Read).build().unwrap();
    let new = Narrowing::new;
    let cases = [
        (&pods, new().max_uses(4), "`max_uses`: 4 is not between 1 and 3"),
        (&pods, new().max_uses(0), "not between 1 and 3"),
        (&pods, new().expires(Timestamp::from_millis(1_001)), "`expires`: the token ends at"),
        (&pods, new().timeout(Duration::from_secs(10)), "`timeout`: the token allows 9s"),
        (&pods, new().allowed(["kubectl"]), "can't be proved"),
        // Naming a flag would unlock it.
        (&pods, new().allowed(["kubectl get pods --server=x"]), "`--server=x` at character 18"),
        // Whose value would come from the model.
        (&pods, new().allowed(["kubectl get pods -o"]), "can't be proved"),
        // What an open word goes on with is judged by the token's own beginning.
        (&pods, new().allowed(["git commit -m 'fix: a"]), "can't be proved"),
        (&pods, new().allowed(Vec::<String>::new()), "`allowed`"),
        (&pods, new().methods(["GET"]), "a shell token has nothing of that name"),
        (&api, new().methods(["DELETE"]), "`DELETE` is not one of GET, POST"),
        (&api, new().methods(Vec::<String>::new()), "no method is listed"),
        (&files, new().paths(["/etc"]), "`allowed_paths`"),
        (&files, new().paths(["/etc/app/../passwd"]), "`allowed_paths`"),
        (&files, new().mode(FileMode::ReadWrite), "the token allows read only"),
        (&files, new().mode(FileMode::Write), "the token allows read only"),
    ];
    for (token, narrowing, expected) in cases {
        let error = token.attenuate(&narrowing).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert!(matches!(
        pods.attenuate(&new().allowed(["kubectl"])),
        Err(AttenuateError::Unproved { field: "allowed", .. })
    ));
}

#[test]
fn every_kind_can_be_narrowed() {
    let slack = HttpToken::new("slack", "https://h/x", ["GET", "POST"]).build().unwrap();
    let slack = SecretToken::from_env("s", "TOKEN", slack).header("Authorization").build().unwrap();
    let slack = slack.attenuate(&Narrowing::new().methods(["get"]).max_bytes(10)).unwrap();
    assert!(judge(&slack, r#"{"method":"GET"}"#).is_ok());
    assert!(judge(&slack, r#"{"method":"POST"}"#).is_err());

    let wait = WaitToken::new("w", 9).max_uses(3).build().unwrap();
    let wait = wait.attenuate(&Narrowing::new().max_seconds(4).requires_approval()).unwrap();
    assert!(judge(&wait, r#"{"seconds":4}"#).is_ok() && judge(&wait, r#"{"seconds":5}"#).is_err());
    assert!(wait.requires_approval() && wait.max_uses() == 3);
    // What was narrowed once is narrowed further, and never widened again.
    let less = wait.attenuate(&Narrowing::new().max_seconds(2).max_uses(1)).unwrap();
    assert!(judge(&less, r#"{"seconds":3}"#).is_err() && less.requires_approval());
    assert!(less.attenuate(&Narrowing::new().max_seconds(3)).is_err());

    let deploy = DeployToken::kubectl("app", "prod", "app:v2").rollback_to("app:v1").max_uses(2);
    let deploy = deploy.build().unwrap();
    let once = deploy.attenuate(&Narrowing::new().max_uses(1)).unwrap();
    assert_eq!(once.rollback().unwrap().max_uses(), 1);
    assert!(deploy.attenuate(&Narrowing::new().timeout(Duration::from_secs(1))).is_err());

    // What it may do is part of what is pinned.
    let token = WaitToken::new("w", 9).build().unwrap();
    let narrow = token.attenuate(&Narrowing::new().max_seconds(4)).unwrap();
    assert_ne!(token.digest().unwrap(), narrow.digest().unwrap());
}

#[test]
fn a_file_token_keeps_its_root() {
    let token = FileToken::new("f", ["/srv/data"], FileMode::ReadWrite).build().unwrap();
    let kept = token.attenuate(&Narrowing::new().paths(["/srv/data/in"])).unwrap();
    for (input, allowed) in [
        (r#"{"operation":"read","path":"/srv/data/in/x"}"#, true),
        (r#"{"operation":"read","path":"in/x"}"#, true),
        (r#"{"operation":"read","path":"/srv/data/out"}"#, false),
        (r#"{"operation":"read","path":"out"}"#, false),
        (r#"{"operation":"read","path":"/srv/data/inside"}"#, false),
    ] {
        assert_eq!(judge(&kept, input).is_ok(), allowed, "{input}");
    }
}

async fn spend(
    set: &CapabilitySet,
    run: &RunLedger,
    turn: u64,
    input: &str,
) -> Result<(), Refusal> {
    let token = set.token("x").unwrap();
    let invocation = Invocation::parse(call(&token, turn, input), set)?;
    let gate = NoApprover(String::new());
    let approved = set.reserve(invocation)?.authorize()?.approve(&gate, run).await?;
    let spent = approved.spend(run).await?;
    let done = Performed::Ended(Outcome::new(Verdict::Succeeded, "", ""));
    Ok(spent.seal(done, run).await.map(drop)?)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

async fn held(token: &Token) -> (std::sync::Arc<Memory>, RunLedger) {
    let ledger = std::sync::Arc::new(Memory::default());
    let (run, tokens) = (RunId::new("run").unwrap(), vec![Granted::of(token).unwrap()]);
    let opened = memory_ledger::open(ledger.as_ref(), &run, tokens).await.unwrap();
    (ledger.clone(), RunLedger::new(ledger, opened.hold))
}

proptest! {
    /// However narrowed shares are split off and split again, and whoever spends: never more than was
    /// granted.
    #[test]
    fn all_holders_together_never_have_more_than_the_grant(
        uses in 1u32..10,
        steps in proptest::collection::vec((0usize..6, 0u32..6, 1u64..6, any::<bool>()), 0..25),
    ) {
        block_on(async {
            let token = WaitToken::new("x", 5).max_uses(uses).build().unwrap();
            let (ledger, run) = held(&token).await;
            let mut sets = vec![CapabilitySet::new([token]).unwrap()];
            let mut effects = 0;
            for (turn, (which, count, seconds, spends)) in (1u64..).zip(steps) {
                let set = sets[which % sets.len()].clone();
                let before = set.uses_left("x").unwrap();
                if spends {
                    let input = format!("{{\"seconds\":{seconds}}}");
                    effects += u32::from(spend(&set, &run, turn, &input).await.is_ok());
                } else {
                    let narrowing = Narrowing::new().max_seconds(seconds);
                    match set.split([("x", count, narrowing)]) {
                        Ok(child) => {
                            assert_eq!(child.token("x").unwrap().max_uses(), count);
                            assert_eq!(child.uses_left("x"), Some(count));
                            sets.push(child);
                        }
                        Err(_) => assert_eq!(set.uses_left("x"), Some(before), "nothing moved"),
                    }
                }
                let all: u32 = sets.iter().map(|set| set.uses_left("x").unwrap()).sum();
                assert_eq!(all + effects, uses);
                let grant = GrantId::of_run(&RunId::new("run").unwrap());
                assert_eq!(ledger.left(&grant, "x") + effects, uses);
            }
            sets.iter().for_each(CapabilitySet::mark_reported);
        });
    }
}

#[test]
fn a_narrowing_that_is_refused_moves_nothing() {
    let token = WaitToken::new("x", 5).max_uses(3).build().unwrap();
    let other = WaitToken::new("y", 5).build().unwrap();
    let set = CapabilitySet::new([token, other]).unwrap();
    set.mark_reported();
    let wider = Narrowing::new().max_seconds(6);
    let error = set.split([("y", 1, Narrowing::new()), ("x", 1, wider)]).unwrap_err();
    assert!(matches!(&error, SplitError::Narrowing { token, .. } if token == "x"), "{error}");
    assert_eq!((set.uses_left("x"), set.uses_left("y")), (Some(3), Some(1)));
}

#[test]
fn an_earlier_end_holds_by_the_ledgers_clock() {
    block_on(async {
        let token = WaitToken::new("x", 5).max_uses(3).build().unwrap();
        let (ledger, run) = held(&token).await;
        let set = CapabilitySet::new([token]).unwrap();
        set.mark_reported();
        ledger.set_clock(5_000);
        let ends = Narrowing::new().expires(Timestamp::from_millis(6_000));
        let child = set.split([("x", 2, ends)]).unwrap();
        child.mark_reported();
        spend(&child, &run, 1, "{\"seconds\":1}").await.unwrap();
        ledger.set_clock(6_000);
        let late = spend(&child, &run, 2, "{\"seconds\":1}").await.unwrap_err();
        assert!(matches!(&late, Refusal::TokenClosed(why) if why.contains("expired at")), "{late}");
        // Nothing began, so the use isn't lost; the token itself goes on.
        let grant = GrantId::of_run(&RunId::new("run").unwrap());
        assert_eq!((ledger.left(&grant, "x"), child.uses_left("x")), (2, Some(1)));
        spend(&set, &run, 3, "{\"seconds\":1}").await.unwrap();
    });
}
