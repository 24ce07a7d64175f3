//! What the one path costs by itself: everything from the model's bytes to the sealed proof, with a
//! ledger in memory (no `fsync`) and a program that doesn't exist (no `exec`), so that the use is
//! spent and given back.
//!
//! The floor beside it is the hop to a blocking thread that the path can't do without.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a bench stops at the first surprise"
)]

#[allow(dead_code, reason = "the tests look at more of a run than the bench does")]
#[path = "../tests/it/dispatcher.rs"]
mod dispatcher;

use std::sync::Arc;

use lar_core::approval::NoApprover;
use lar_core::id::{CallSite, Part};
use lar_core::invocation::ToolCall;
use lar_core::token::ShellToken;
use lar_runtime::event::Unwatched;

use dispatcher::{Run, open, run};

fn main() {
    divan::main();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap()
}

#[divan::bench]
fn floor_task_and_blocking_hop(bencher: divan::Bencher<'_, '_>) {
    let runtime = runtime();
    bencher.bench_local(|| {
        runtime.block_on(async {
            tokio::spawn(async { tokio::task::spawn_blocking(|| 1).await }).await.unwrap().unwrap()
        })
    });
}

#[divan::bench]
fn dispatch_without_fsync_and_exec(bencher: divan::Bencher<'_, '_>) {
    let runtime = runtime();
    let token = ShellToken::new("x", ["no-such-program get pods"]).build().unwrap();
    let nobody = Arc::new(NoApprover("a bench".to_owned()));
    let Run { dispatcher, .. } = runtime.block_on(open(token, nobody, Arc::new(Unwatched)));
    let mut turn = 0;
    bencher.bench_local(|| {
        turn += 1;
        let call = ToolCall {
            site: CallSite { run: run(), turn, index: 0, part: Part::Call },
            tool: "shell_x".into(),
            input: "{\"command\":\"no-such-program get pods -n prod\"}".into(),
            rationale: None,
        };
        let refused = runtime.block_on(dispatcher.dispatch(call)).unwrap_err();
        assert_eq!(refused.error_type(), "NeverBeganError");
    });
}
