//! The PostgreSQL server that the tests of this binary share, each with a database of its own.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use lar_core::ledger::{Ledger, LedgerError};
use lar_ledger::{Address, Environment};
use pgserver::Server;

/// The server; `None` where there is none on this machine, which was said then.
pub fn shared() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    SERVER.get_or_init(pgserver::start_or_skip).as_ref()
}

/// The address of an empty database, as its owner.
pub fn new_database() -> Option<String> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let server = shared()?;
    let name = format!("ledger{}", COUNT.fetch_add(1, Ordering::Relaxed));
    server.sql("postgres", &format!("CREATE ROLE {name} LOGIN"));
    server.sql("postgres", &format!("CREATE DATABASE {name} OWNER {name}"));
    Some(server.url(&name, &name))
}

/// Opens the ledger there, and makes it first where there is none.
pub async fn try_connect(url: &str) -> Result<Arc<dyn Ledger>, LedgerError> {
    lar_ledger::connect(Address::parse(url, &Environment::default()).unwrap()).await
}

/// The same, for tests that run on several threads.
pub fn connect(url: &str) -> Arc<dyn Ledger> {
    let connecting = try_connect(url);
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(connecting)).unwrap()
}
