//! What judging costs: reading a call, splitting and matching its command, and its digest.
//!
//! The floor beside it is SHA-256 of 300 bytes, about what a record holds.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench stops at the first surprise")]

use lar_core::id::{CallSite, Part, RunId};
use lar_core::invocation::{Invocation, ToolCall};
use lar_core::json::Digest;
use lar_core::scope::command::{Command, CommandScope};
use lar_core::scope::profile::Profiles;
use lar_core::scope::sql::{Dialect, SqlScope};
use lar_core::set::CapabilitySet;
use lar_core::token::ShellToken;

fn main() {
    divan::main();
}

const COMMAND: &str = "kubectl get pods -n production -l 'app in (web, api)' -o wide";

fn set() -> CapabilitySet {
    let allowed = ["kubectl describe pod", "kubectl logs", "kubectl get pods"];
    let token = ShellToken::new("pods", allowed).max_uses(1_000_000).build().unwrap();
    let set = CapabilitySet::new([token]).unwrap();
    set.mark_reported();
    set
}

fn call() -> ToolCall {
    ToolCall {
        site: CallSite { run: RunId::new("run").unwrap(), turn: 1, index: 0, part: Part::Call },
        tool: "shell_pods".into(),
        input: format!("{{\"command\":\"{COMMAND}\"}}"),
        rationale: None,
    }
}

#[divan::bench]
fn floor_sha256_of_300_bytes(bencher: divan::Bencher<'_, '_>) {
    let bytes = [7u8; 300];
    bencher.bench(|| Digest::of(divan::black_box(&bytes)));
}

/// Splitting the command and matching it against three prefixes.
#[divan::bench]
fn split_and_match(bencher: divan::Bencher<'_, '_>) {
    let scope = CommandScope::new(["kubectl logs".into(), "kubectl get pods".into()]).unwrap();
    bencher.bench(|| {
        let command = Command::parse(divan::black_box(COMMAND)).unwrap();
        scope.permits(&command).is_ok()
    });
}

/// Judging commands that were split, by the profiles of their programs.
#[divan::bench(args = PROFILED)]
fn judge_with_profile(bencher: divan::Bencher<'_, '_>, (prefix, command): (&str, &str)) {
    let scope = CommandScope::new([prefix.to_owned()]).unwrap();
    let command = Command::parse(command).unwrap();
    bencher.bench(|| assert!(scope.permits(divan::black_box(&command)).is_ok()));
}

const PROFILED: [(&str, &str); 5] = [
    ("kubectl get pods", COMMAND),
    (
        "git log",
        "git log --oneline --since='2 weeks ago' -n 20 --author=alice main..HEAD -- src/ docs/",
    ),
    (
        "timeout 5 curl",
        "timeout 5 curl -fsS -H 'Accept: application/json' --retry 3 https://host/health",
    ),
    ("tar", "tar tzvf release.tar.gz --wildcards --exclude='*.o'"),
    ("awk", "awk -F: '$3 > 1000 { n[$1]++ } END { for (k in n) print k, n[k] }' users.txt"),
];

/// Reading one shipped profile, as a token's first prefix does once in a process.
#[divan::bench]
fn read_a_profile(bencher: divan::Bencher<'_, '_>) {
    let text = include_str!("../../../profiles/kubernetes.toml");
    bencher.bench(|| Profiles::shipped().add("kubernetes", divan::black_box(text), true).is_ok());
}

/// The whole judgement: strict JSON, split, digest, reserve, match, give back.
#[divan::bench]
fn authorize(bencher: divan::Bencher<'_, '_>) {
    let set = set();
    bencher.with_inputs(call).bench_values(|call| {
        let invocation = Invocation::parse(call, &set).unwrap();
        set.reserve(invocation).unwrap().authorize().is_ok()
    });
}

/// A query as an agent sends it, judged whole: cut twice, parsed, walked.
#[divan::bench]
fn judge_a_query(bencher: divan::Bencher<'_, '_>) {
    let scope = SqlScope::new(Dialect::Postgres, &["SELECT".into()], &[]).unwrap();
    let sql = "SELECT o.id, c.name, sum(i.price) AS total FROM orders o \
        JOIN customers c ON c.id = o.customer_id JOIN items i ON i.order_id = o.id \
        WHERE o.created_at > now() - interval '7 days' AND c.country IN ('DE', 'FR') \
        GROUP BY o.id, c.name ORDER BY total DESC LIMIT 20";
    bencher.bench(|| scope.permits(divan::black_box(sql)).is_ok());
}

/// The same, where little is asked.
#[divan::bench]
fn judge_a_short_query(bencher: divan::Bencher<'_, '_>) {
    let scope = SqlScope::new(Dialect::Postgres, &["SELECT".into()], &[]).unwrap();
    bencher.bench(|| scope.permits(divan::black_box("SELECT count(*) FROM orders")).is_ok());
}
