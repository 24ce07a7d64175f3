//! The thread that reads, on a connection of its own: it waits for no writer and writes nothing.

use std::sync::Mutex;
use std::thread::JoinHandle;

use lar_core::ledger::LedgerError;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::unavailable;

/// How many readers may wait before others do.
const QUEUE: usize = 64;

type Work = Box<dyn FnOnce(&Connection) + Send>;

/// A handle on the thread. Dropping it lets the thread finish what is queued and end.
#[derive(Debug)]
pub(super) struct Reader {
    queue: Option<mpsc::Sender<Work>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Reader {
    pub(super) fn start(connection: Connection) -> Result<Self, LedgerError> {
        let (queue, mut work) = mpsc::channel::<Work>(QUEUE);
        let thread = std::thread::Builder::new()
            .name("lar-ledger-reader".to_owned())
            .spawn(move || {
                while let Some(work) = work.blocking_recv() {
                    work(&connection);
                }
            })
            .map_err(|_| LedgerError::Unavailable("no thread can be started for it".to_owned()))?;
        Ok(Self { queue: Some(queue), thread: Mutex::new(Some(thread)) })
    }

    /// Reads what was committed at one moment.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let gone = || LedgerError::Unavailable("its reader has stopped; start again".to_owned());
        let (reply, answer) = oneshot::channel();
        let work: Work = Box::new(move |connection| {
            let read = connection
                .unchecked_transaction()
                .map_err(|error| unavailable(&error))
                .and_then(|transaction| read(&transaction));
            // A caller that has gone away loses its answer.
            drop(reply.send(read));
        });
        let queue = self.queue.as_ref().ok_or_else(gone)?;
        queue.send(work).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.queue = None;
        let thread = self.thread.get_mut().ok().and_then(Option::take);
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
        {
            // A panic in the reader has already been reported to those who waited.
            let _ = thread.join();
        }
    }
}
