//! The thread that reads, on a connection of its own: it waits for no writer and writes nothing.

use lar_core::ledger::LedgerError;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::thread::Thread;
use super::unavailable;

/// How many readers may wait before others do.
const QUEUE: usize = 64;

type Work = Box<dyn FnOnce(&Connection) + Send>;

/// A handle on the thread. Dropping it lets the thread finish what is queued and end.
#[derive(Debug)]
pub(super) struct Reader {
    queue: mpsc::Sender<Work>,
    _thread: Thread,
}

impl Reader {
    pub(super) fn start(connection: Connection) -> Result<Self, LedgerError> {
        let (queue, mut work) = mpsc::channel::<Work>(QUEUE);
        let thread = Thread::start("lar-ledger-reader", move || {
            while let Some(work) = work.blocking_recv() {
                work(&connection);
            }
        })?;
        Ok(Self { queue, _thread: thread })
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
        self.queue.send(work).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}
