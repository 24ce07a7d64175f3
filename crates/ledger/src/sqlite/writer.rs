//! The writer thread: takes what has queued up, commits it at once, answers each caller.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lar_core::ledger::LedgerError;
use lar_core::time::Timestamp;
use rusqlite::Connection;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};

use super::known::Known;
use super::log::Integrator;
use super::queue;
use super::schema::PATIENCE;
use super::thread::Thread;
use super::unavailable;
use crate::seen::{LastSeen, Sight};

/// How many commands may wait before callers do.
const QUEUE: usize = 1024;
/// How long the file is waited for after a commit that failed.
const AFTER_FAILURE: Duration = Duration::from_millis(250);
/// How many commands share one commit at the most.
const BATCH: usize = 256;

/// For how long those are waited for who were answered last, by a thread that stays awake: waking it would take
/// about as long, and a commit takes longer.
const LINGER: Duration = Duration::from_micros(50);

/// What work finds within its transaction.
pub(super) struct Within<'t> {
    pub(super) connection: &'t Connection,
    pub(super) known: &'t mut Known,
    pub(super) log: &'t mut Integrator,
    /// The ledger's time.
    pub(super) now: Timestamp,
}

/// What the thread is asked to do within a transaction. It answers with what is to be said once all is
/// on disk.
type Work = Box<dyn FnOnce(&mut Within<'_>) -> (Answer, Result<(), LedgerError>) + Send>;

/// An answer that waits for the commit.
type Answer = Box<dyn FnOnce(Result<(), LedgerError>) + Send>;

/// Why work gave no value.
pub(super) enum Failed {
    /// It was refused, or could not be read, before anything was written.
    Refused(LedgerError),
    /// A write failed, so that the whole transaction must be given up.
    Spoilt(LedgerError),
}

impl From<LedgerError> for Failed {
    fn from(error: LedgerError) -> Self {
        Self::Refused(error)
    }
}

/// Work, and how to refuse it when no transaction could be begun.
struct Command {
    work: Work,
    refuse: Answer,
}

/// A handle on the thread. Dropping it lets the thread finish what is queued and end.
#[derive(Debug)]
pub(super) struct Writer {
    queue: mpsc::Sender<Command>,
    _thread: Thread,
}

impl Writer {
    pub(super) fn start(
        connection: Connection,
        log: Integrator,
        seen: Option<LastSeen>,
    ) -> Result<Self, LedgerError> {
        let (queue, commands) = mpsc::channel(QUEUE);
        let work = move || run(connection, log, seen, commands);
        Ok(Self { queue, _thread: Thread::start("lar-ledger", work)? })
    }

    /// Queues some work and waits for the answer, which comes after the commit. When the queue is
    /// full, the caller waits for a place.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Within<'_>) -> Result<T, Failed> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let gone = || LedgerError::Unavailable("its writer has stopped; start again".to_owned());
        let (reply, answer) = oneshot::channel();
        // Whichever of the two is called takes the sender; the other is dropped.
        let reply = Arc::new(Mutex::new(Some(reply)));
        let send = move |reply: &Mutex<Option<oneshot::Sender<Result<T, LedgerError>>>>, value| {
            let reply = reply.lock().unwrap_or_else(PoisonError::into_inner).take();
            // A caller that has gone away loses its answer; what was committed stays.
            drop(reply.map(|reply| reply.send(value)));
        };
        let command = Command {
            refuse: Box::new({
                let reply = Arc::clone(&reply);
                move |failed| {
                    let none = "no transaction could be begun".to_owned();
                    let none = LedgerError::Unavailable(none);
                    send(&reply, Err(failed.err().unwrap_or(none)));
                }
            }),
            work: Box::new(move |within| {
                let (value, whole) = match work(within) {
                    Ok(value) => (Ok(value), Ok(())),
                    Err(Failed::Refused(error)) => (Err(error), Ok(())),
                    Err(Failed::Spoilt(error)) => (Err(error.clone()), Err(error)),
                };
                let answer: Answer = Box::new(move |committed| send(&reply, committed.and(value)));
                (answer, whole)
            }),
        };
        self.queue.send(command).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

/// The thread's end of the queue.
struct Commands {
    queue: mpsc::Receiver<Command>,
    /// When it began to linger.
    since: Option<Instant>,
}

impl queue::Queue for Commands {
    type Command = Command;

    fn wait(&mut self) -> Option<Command> {
        self.since = None;
        let answered = Instant::now();
        while answered.elapsed() < LINGER {
            match self.queue.try_recv() {
                Err(TryRecvError::Empty) => std::thread::yield_now(),
                other => return other.ok(),
            }
        }
        self.queue.blocking_recv()
    }

    fn next(&mut self) -> Option<Command> {
        self.queue.try_recv().ok()
    }

    fn waiting(&self) -> usize {
        self.queue.len()
    }

    fn linger(&mut self) -> bool {
        let since = self.since.get_or_insert_with(Instant::now);
        std::thread::yield_now();
        since.elapsed() < LINGER
    }
}

fn run(
    mut connection: Connection,
    mut log: Integrator,
    mut seen: Option<LastSeen>,
    queue: mpsc::Receiver<Command>,
) {
    let mut known = Known::default();
    let make = |batch, more: &mut dyn FnMut() -> Option<Command>| {
        commit(&mut connection, &mut log, &mut known, &mut seen, batch, more)
    };
    let tell = |answer: Answer, result: &Result<(), LedgerError>| answer(result.clone());
    queue::serve(&mut Commands { queue, since: None }, BATCH, make, tell);
    // Closing the last connection folds the log into the file, so that a copy of it is complete.
    if let Err((_, error)) = connection.close() {
        tracing::warn!(%error, "the ledger was not closed cleanly");
    }
}

/// Makes the whole batch in one transaction. A command that is refused changes nothing and doesn't
/// hold the others up; when the commit itself fails, nobody is told that anything happened.
fn commit(
    connection: &mut Connection,
    log: &mut Integrator,
    known: &mut Known,
    seen: &mut Option<LastSeen>,
    batch: Vec<Command>,
    more: &mut dyn FnMut() -> Option<Command>,
) -> (Result<(), LedgerError>, Vec<Answer>) {
    let mut answers: Vec<Answer> = Vec::with_capacity(batch.len());
    let result = transact(connection, log, known, batch, more, &mut answers);
    if result.is_err() {
        known.forget();
        log.forget();
    }
    let result = result.map(|sight| {
        log.committed();
        if let (Some(seen), Some(sight)) = (seen, sight) {
            // What is kept beside the ledger is a help and no part of it: the commit stands.
            if let Err(error) = seen.note(sight, None) {
                tracing::warn!(%error, "what was last seen of the ledger is not kept");
            }
        }
    });
    // Who has waited in vain for the file asks again soon, to end its run. It needn't wait as long a
    // second time; when the file is free again, so is the patience.
    let patience = match &result {
        Ok(()) => PATIENCE,
        Err(_) => AFTER_FAILURE,
    };
    let _ = connection.busy_timeout(patience);
    (result, answers)
}

fn transact(
    connection: &mut Connection,
    log: &mut Integrator,
    known: &mut Known,
    batch: Vec<Command>,
    more: &mut dyn FnMut() -> Option<Command>,
    answers: &mut Vec<Answer>,
) -> Result<Option<Sight>, LedgerError> {
    let begun = connection
        .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
        .map_err(|error| unavailable(&error))
        .and_then(|mut transaction| {
            let same = known.begin(&transaction)?;
            let now = log.begin(&transaction, same)?;
            transaction.set_drop_behavior(rusqlite::DropBehavior::Rollback);
            Ok((transaction, now))
        });
    let (transaction, now) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            for command in batch {
                answers.push(command.refuse);
            }
            return Err(error);
        }
    };
    let before = transaction.total_changes();
    let mut within = Within { connection: &transaction, known, log, now };
    let mut whole = Ok(());
    let mut batch = batch.into_iter();
    // Those who come while others are worked on are worked on too.
    while let Some(command) = batch.next().or_else(|| {
        let goes_on = whole.is_ok() && !transaction.is_autocommit();
        if goes_on { more() } else { None }
    }) {
        // SQLite rolls the whole transaction back on some errors, a full disk among them. What
        // follows would then commit by itself, one by one, so nothing follows.
        if whole.is_err() || transaction.is_autocommit() {
            answers.push(command.refuse);
            continue;
        }
        let (answer, written) = (command.work)(&mut within);
        answers.push(answer);
        whole = written;
    }
    // Dropping the transaction rolls back what was written of it.
    whole?;
    if transaction.is_autocommit() {
        return Err(LedgerError::Unavailable(
            "a write failed and nothing was kept; check the disk and run again".to_owned(),
        ));
    }
    if transaction.total_changes() == before {
        // All was refused.
        return Ok(None);
    }
    // One signature for all that the batch holds, in the same transaction: a record is never durable
    // without a signed head that covers it.
    let sight = log.seal(&transaction, now)?;
    transaction.commit().map_err(|error| unavailable(&error))?;
    Ok(Some(sight))
}
