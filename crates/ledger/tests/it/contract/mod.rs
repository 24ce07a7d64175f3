//! What every ledger must do. Each test gets a fresh ledger and doesn't know which one it is; a new
//! backend is one line in [`contract!`].

mod decisions;
mod grants;
mod openings;
pub mod runs;
mod uses;
mod walk;

use std::sync::Arc;

use lar_core::ledger::Ledger;

/// A ledger that nobody has used.
pub struct Fresh {
    /// It.
    pub ledger: Arc<dyn Ledger>,
    /// Another handle on the same one, as another process would have.
    pub again: Box<dyn Fn() -> Arc<dyn Ledger>>,
    /// What must live as long as it does.
    _keep: Box<dyn std::any::Any>,
}

/// The maps that the others are compared with.
fn memory() -> Option<Fresh> {
    let ledger: Arc<dyn Ledger> = Arc::new(memory_ledger::Memory::default());
    let again = Arc::clone(&ledger);
    Some(Fresh { ledger, again: Box::new(move || Arc::clone(&again)), _keep: Box::new(()) })
}

/// A new file.
fn sqlite() -> Option<Fresh> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l.db");
    let ledger = crate::support::open(&path);
    let again = Box::new(move || crate::support::open(&path));
    Some(Fresh { ledger, again, _keep: Box::new(dir) })
}

/// A new database on the server that all tests share.
fn postgres() -> Option<Fresh> {
    let url = crate::server::new_database()?;
    let again = Box::new(move || crate::server::connect(&url));
    Some(Fresh { ledger: again(), again, _keep: Box::new(()) })
}

/// Runs each test on each backend. A backend gives `None` where what it needs is absent, after it has
/// said so.
macro_rules! contract {
    ($($backend:ident: $($test:ident)::+;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $backend() {
            if let Some(fresh) = super::super::$backend() {
                super::$($test)::+(fresh).await;
            }
        }
    )*};
}

/// Makes a module a test for each backend of each function.
macro_rules! on_every_ledger {
    ($($test:ident),* $(,)?) => {$(
        mod $test {
            $crate::contract::contract! {
                memory: $test;
                sqlite: $test;
                postgres: $test;
            }
        }
    )*};
}

pub(crate) use {contract, on_every_ledger};
