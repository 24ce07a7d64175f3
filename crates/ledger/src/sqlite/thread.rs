//! A thread of the ledger's own, and how it ends.

use std::thread::JoinHandle;

use lar_core::ledger::LedgerError;

/// A handle on a thread that works off a queue. Dropping it waits until the thread has ended, which it
/// does when its queue is dropped: a struct that has both declares the queue before the thread.
#[derive(Debug)]
pub(super) struct Thread(Option<JoinHandle<()>>);

impl Thread {
    pub(super) fn start(
        name: &str,
        work: impl FnOnce() + Send + 'static,
    ) -> Result<Self, LedgerError> {
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(work)
            .map(|handle| Self(Some(handle)))
            .map_err(|_| LedgerError::Unavailable("no thread can be started for it".to_owned()))
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // The last handle may be dropped by the thread itself, which can't wait for its own end.
        if let Some(handle) = self.0.take()
            && handle.thread().id() != std::thread::current().id()
        {
            // A panic in the thread has already been reported to those who waited.
            let _ = handle.join();
        }
    }
}
