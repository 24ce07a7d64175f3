//! A dispatcher over a ledger in memory, for one token: for the tests and for the benchmark, which
//! takes this file as its own module.

use std::path::PathBuf;
use std::sync::Arc;

use lar_core::approval::ApprovalGate;
use lar_core::id::RunId;
use lar_core::ledger::{Granted, Ledger, RunLedger};
use lar_core::redact::Redactor;
use lar_core::set::CapabilitySet;
use lar_core::token::Token;
use lar_runtime::confine::{Tier, Walls};
use lar_runtime::dispatch::{Dispatcher, Parts};
use lar_runtime::event::Observer;
use lar_runtime::secrets::Secrets;
use lar_runtime::stop::Stop;
use lar_runtime::tools::{Accounts, Programs, Tools};
use memory_ledger::Memory;

/// An open run with its ledger.
pub struct Run {
    pub memory: Arc<Memory>,
    pub dispatcher: Dispatcher,
    pub set: CapabilitySet,
}

/// The run's id.
pub fn run() -> RunId {
    RunId::new("run").unwrap()
}

/// Opens the run.
pub async fn open(token: Token, gate: Arc<dyn ApprovalGate>, observer: Arc<dyn Observer>) -> Run {
    let capabilities = CapabilitySet::new([token]).unwrap();
    capabilities.mark_reported();
    let memory = Arc::new(Memory::default());
    let tokens = capabilities.tokens().iter().map(|token| Granted::of(token).unwrap()).collect();
    let opened = memory_ledger::open(memory.as_ref(), &run(), tokens).await.unwrap();
    let tools = Tools::new(
        &capabilities.tokens(),
        Programs::new("/usr/bin".as_ref()),
        Accounts::default(),
        Secrets::default(),
        Arc::new(Redactor::default()),
        Walls::find(Tier::C).unwrap(),
        PathBuf::from("/"),
    );
    let dispatcher = Dispatcher::new(Parts {
        capabilities: capabilities.clone(),
        ledger: RunLedger::new(Arc::clone(&memory) as Arc<dyn Ledger>, opened.hold),
        approvals: gate,
        witnesses: None,
        authority: None,
        signatures: None,
        tools,
        stop: Stop::default(),
        observer,
    });
    Run { memory, dispatcher, set: capabilities }
}
