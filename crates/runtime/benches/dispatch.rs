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

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use lar_core::approval::NoApprover;
use lar_core::audit::record::{SealedRecord, genesis, seal};
use lar_core::id::{AttemptId, CallSite, Part, RunId};
use lar_core::invocation::ToolCall;
use lar_core::json::Digest;
use lar_core::ledger::{
    Closing, Entry, Ledger, LedgerError, Opening, Receipt, RunSummary, UseState, protocol,
};
use lar_core::redact::Redactor;
use lar_core::set::CapabilitySet;
use lar_core::time::Timestamp;
use lar_core::token::ShellToken;
use lar_runtime::dispatch::{Dispatcher, Parts};
use lar_runtime::event::Unwatched;
use lar_runtime::secrets::Secrets;
use lar_runtime::stop::Stop;
use lar_runtime::tools::{Kubeconfigs, Programs, Tools};

fn main() {
    divan::main();
}

/// The production rule and the production records, kept in memory.
#[derive(Default)]
struct Memory {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    attempts: HashMap<AttemptId, UseState>,
    seq: u64,
    head: Option<Digest>,
}

#[async_trait]
impl Ledger for Memory {
    async fn open_run(&self, _: Opening) -> Result<Receipt, LedgerError> {
        panic!("no run is opened here")
    }

    async fn commit(&self, entry: Entry) -> Result<Receipt, LedgerError> {
        let mut inner = self.inner.lock().unwrap();
        let timestamp = Timestamp::from_millis(0);
        let mut fence = 0;
        if let Some(change) = entry.change {
            let state = inner.attempts.get(&change.attempt);
            let (next, _) = protocol::next(state, &change.transition, &change.action, timestamp)?;
            fence = next.fence();
            inner.attempts.insert(change.attempt, next);
        }
        inner.seq += 1;
        let head = inner.head.unwrap_or_else(genesis);
        let record = seal(&entry.run, inner.seq, head, timestamp, &entry.record).unwrap();
        inner.head = Some(record.hash);
        Ok(Receipt { seq: inner.seq, hash: record.hash, timestamp, fence, uses_left: 1 })
    }

    async fn close_run(&self, _: Closing) -> Result<Receipt, LedgerError> {
        panic!("no run is closed here")
    }

    async fn attempt(&self, attempt: &AttemptId) -> Result<Option<UseState>, LedgerError> {
        Ok(self.inner.lock().unwrap().attempts.get(attempt).cloned())
    }

    async fn records(&self, _: &RunId, _: u64, _: u64) -> Result<Vec<SealedRecord>, LedgerError> {
        Ok(Vec::new())
    }

    async fn runs(&self) -> Result<Vec<RunSummary>, LedgerError> {
        Ok(Vec::new())
    }
}

fn dispatcher() -> Dispatcher {
    let token = ShellToken::new("x", ["no-such-program get pods"]).build().unwrap();
    let capabilities = CapabilitySet::new([token]).unwrap();
    capabilities.mark_reported();
    let tools = Tools::new(
        &capabilities.tokens(),
        Programs::new("/usr/bin".as_ref()),
        Kubeconfigs::default(),
        Secrets::default(),
        Arc::new(Redactor::default()),
        PathBuf::from("/"),
    );
    Dispatcher::new(Parts {
        run: RunId::new("run").unwrap(),
        capabilities,
        ledger: Arc::new(Memory::default()),
        approvals: Arc::new(NoApprover("a bench".to_owned())),
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
    let (runtime, dispatcher) = (runtime(), dispatcher());
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
