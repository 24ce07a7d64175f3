//! The writer thread: takes what has queued up, commits it at once, answers each caller.

use std::sync::Mutex;
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use lar_core::audit::record::SealedRecord;
use lar_core::id::{AttemptId, RunId};
use lar_core::ledger::{Closing, Entry, LedgerError, Opening, Receipt, RunSummary, UseState};
use lar_core::time::Timestamp;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{apply, read, unavailable};

/// How many commands may wait before callers do.
const QUEUE: usize = 1024;
/// How many commands share one commit at the most.
const BATCH: usize = 256;
/// How far the clock may run behind the highest time in the ledger before it is refused.
const CLOCK_SLACK_MS: i64 = 5_000;

type Reply<T> = oneshot::Sender<Result<T, LedgerError>>;

/// What the thread is asked to do.
#[derive(Debug)]
pub(super) enum Command {
    Open(Box<Opening>, Reply<Receipt>),
    Commit(Box<Entry>, Reply<Receipt>),
    Close(Box<Closing>, Reply<Receipt>),
    Attempt(AttemptId, Reply<Option<UseState>>),
    Records { run: RunId, from: u64, limit: u64, reply: Reply<Vec<SealedRecord>> },
    Runs(Reply<Vec<RunSummary>>),
}

/// A handle on the thread. Dropping it lets the thread finish what is queued and end.
#[derive(Debug)]
pub(super) struct Writer {
    queue: Option<mpsc::Sender<Command>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub(super) fn start(connection: Connection) -> Result<Self, LedgerError> {
        let (queue, commands) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("lar-ledger".to_owned())
            .spawn(move || run(connection, commands))
            .map_err(|_| LedgerError::Unavailable("no thread can be started for it".to_owned()))?;
        Ok(Self { queue: Some(queue), thread: Mutex::new(Some(thread)) })
    }

    /// Queues a command and waits for the answer, which comes after the commit.
    pub(super) async fn ask<T>(
        &self,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<T, LedgerError> {
        let gone = || LedgerError::Unavailable("its writer has stopped; start again".to_owned());
        let (reply, answer) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or_else(gone)?;
        queue.send(command(reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        let thread = self.thread.get_mut().ok().and_then(Option::take);
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
        {
            // A panic in the writer has already been reported to those who waited.
            let _ = thread.join();
        }
    }
}

/// An answer that waits for the commit.
type Answer = Box<dyn FnOnce(Result<(), LedgerError>) + Send>;

fn run(mut connection: Connection, mut commands: mpsc::Receiver<Command>) {
    while let Some(first) = commands.blocking_recv() {
        let mut batch = vec![first];
        while batch.len() < BATCH
            && let Ok(next) = commands.try_recv()
        {
            batch.push(next);
        }
        commit(&mut connection, batch);
    }
    // Closing the last connection folds the log into the file, so that a copy of it is complete.
    if let Err((_, error)) = connection.close() {
        tracing::warn!(%error, "the ledger was not closed cleanly");
    }
}

/// Makes the whole batch in one transaction. A command that is refused changes nothing and doesn't
/// hold the others up; when the commit itself fails, nobody is told that anything happened.
fn commit(connection: &mut Connection, batch: Vec<Command>) {
    let mut answers: Vec<Answer> = Vec::with_capacity(batch.len());
    let result = transact(connection, batch, &mut answers);
    for answer in answers {
        answer(result.clone());
    }
}

fn transact(
    connection: &mut Connection,
    batch: Vec<Command>,
    answers: &mut Vec<Answer>,
) -> Result<(), LedgerError> {
    let begun = connection
        .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
        .map_err(|error| unavailable(&error))
        .and_then(|mut transaction| {
            let now = tick(&transaction)?;
            transaction.set_drop_behavior(rusqlite::DropBehavior::Rollback);
            Ok((transaction, now))
        });
    let (mut transaction, now) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            for command in batch {
                answers.push(refuse(command));
            }
            return Err(error);
        }
    };
    for command in batch {
        // SQLite rolls the whole transaction back on some errors, a full disk among them. What
        // follows would then commit by itself, one by one, so nothing follows.
        if transaction.is_autocommit() {
            answers.push(refuse(command));
            continue;
        }
        answers.push(match command {
            Command::Open(opening, reply) => {
                answer(reply, within(&mut transaction, |c| apply::open_run(c, now, &opening)))
            }
            Command::Commit(entry, reply) => {
                answer(reply, within(&mut transaction, |c| apply::commit(c, now, &entry)))
            }
            Command::Close(closing, reply) => {
                answer(reply, within(&mut transaction, |c| apply::close_run(c, now, &closing)))
            }
            Command::Attempt(attempt, reply) => {
                answer(reply, read::attempt(&transaction, &attempt))
            }
            Command::Records { run, from, limit, reply } => {
                answer(reply, read::records(&transaction, &run, from, limit))
            }
            Command::Runs(reply) => answer(reply, read::runs(&transaction)),
        });
    }
    if transaction.is_autocommit() {
        return Err(LedgerError::Unavailable(
            "a write failed and nothing was kept; check the disk and run again".to_owned(),
        ));
    }
    transaction.commit().map_err(|error| unavailable(&error))
}

/// Makes one change whole or not at all.
fn within<T>(
    transaction: &mut rusqlite::Transaction<'_>,
    change: impl FnOnce(&Connection) -> Result<T, LedgerError>,
) -> Result<T, LedgerError> {
    let savepoint = transaction.savepoint().map_err(|error| unavailable(&error))?;
    // An error drops the savepoint, which rolls it back.
    let value = change(&savepoint)?;
    savepoint.commit().map_err(|error| unavailable(&error))?;
    Ok(value)
}

fn answer<T: Send + 'static>(reply: Reply<T>, value: Result<T, LedgerError>) -> Answer {
    // A caller that has gone away loses its answer; what was committed stays.
    Box::new(move |committed| drop(reply.send(committed.and(value))))
}

fn refuse(command: Command) -> Answer {
    fn with<T: Send + 'static>(reply: Reply<T>) -> Answer {
        let unknown = Err(LedgerError::Unavailable("no transaction could be begun".to_owned()));
        answer(reply, unknown)
    }
    match command {
        Command::Open(_, reply) | Command::Commit(_, reply) | Command::Close(_, reply) => {
            with(reply)
        }
        Command::Attempt(_, reply) => with(reply),
        Command::Records { reply, .. } => with(reply),
        Command::Runs(reply) => with(reply),
    }
}

/// The ledger's time: the system's, but never behind what was given out before.
fn tick(connection: &Connection) -> Result<Timestamp, LedgerError> {
    let highest: i64 = connection
        .prepare_cached("SELECT millis FROM clock")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .map_err(|error| unavailable(&error))?;
    let system = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_millis()).ok())
        .unwrap_or(0);
    if system < highest.saturating_sub(CLOCK_SLACK_MS) {
        return Err(LedgerError::Unavailable(format!(
            "the clock is {} s behind the ledger's last record; set the clock and run again",
            (highest - system) / 1000
        )));
    }
    let now = system.max(highest);
    if now != highest {
        connection
            .prepare_cached("UPDATE clock SET millis = ?1")
            .and_then(|mut statement| statement.execute([now]))
            .map_err(|error| unavailable(&error))?;
    }
    Ok(Timestamp::from_millis(now))
}
