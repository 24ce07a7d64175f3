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

use std::path::PathBuf;
use std::sync::Arc;

use lar_core::approval::NoApprover;
use lar_core::id::{CallSite, Part, RunId};
use lar_core::invocation::ToolCall;
use lar_core::ledger::{Granted, RunLedger};
use lar_core::redact::Redactor;
use lar_core::set::CapabilitySet;
use lar_core::token::ShellToken;
use lar_runtime::confine::{Tier, Walls};
use lar_runtime::dispatch::{Dispatcher, Parts};
use lar_runtime::event::Unwatched;
use lar_runtime::secrets::Secrets;
use lar_runtime::stop::Stop;
use lar_runtime::tools::{Accounts, Programs, Tools};
use memory_ledger::Memory;

fn main() {
    divan::main();
}

fn dispatcher(runtime: &tokio::runtime::Runtime) -> Dispatcher {
    let token = ShellToken::new("x", ["no-such-program get pods"]).build().unwrap();
    let capabilities = CapabilitySet::new([token]).unwrap();
    capabilities.mark_reported();
    let memory = Arc::new(Memory::default());
    let run = RunId::new("run").unwrap();
    let tokens = capabilities.tokens().iter().map(|token| Granted::of(token).unwrap()).collect();
    let opened = runtime.block_on(memory_ledger::open(memory.as_ref(), &run, tokens)).unwrap();
    let ledger = RunLedger::new(memory, opened.hold);
    let tools = Tools::new(
        &capabilities.tokens(),
        Programs::new("/usr/bin".as_ref()),
        Accounts::default(),
        Secrets::default(),
        Arc::new(Redactor::default()),
        Walls::find(Tier::C).unwrap(),
        PathBuf::from("/"),
    );
    Dispatcher::new(Parts {
        capabilities,
        ledger,
        approvals: Arc::new(NoApprover("a bench".to_owned())),
        witnesses: None,
        signatures: None,
        tools,
        stop: Stop::default(),
        observer: Arc::new(Unwatched),
    })
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
    let dispatcher = dispatcher(&runtime);
    let mut turn = 0;
    bencher.bench_local(|| {
        turn += 1;
        let call = ToolCall {
            site: CallSite { run: RunId::new("run").unwrap(), turn, index: 0, part: Part::Call },
            tool: "shell_x".into(),
            input: "{\"command\":\"no-such-program get pods -n prod\"}".into(),
            rationale: None,
        };
        let refused = runtime.block_on(dispatcher.dispatch(call)).unwrap_err();
        assert_eq!(refused.error_type(), "NeverBeganError");
    });
}
