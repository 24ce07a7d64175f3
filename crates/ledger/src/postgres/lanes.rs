//! The way of a change to the database: many callers share a transaction, and each is answered when
//! it is committed.
//!
//! A lane is a task that takes what has queued up, makes all of it with one call, and answers each caller.
//! Where nothing has, a caller makes its change itself. A run always takes the same lane, so that its changes
//! never wait for each other's locks. When an answer is lost, the same call is made again with the same names, and the
//! database finds what was made and makes what was not: nothing is ever tried blindly.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lar_core::audit::record::{Body, Recovery, SealedRecord};
use lar_core::id::AttemptId;
use lar_core::json::Digest;
use lar_core::ledger::{Change, Conflict, LedgerError, Receipt, Transition, UseState};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::yield_now;
use tokio::time::sleep;

use super::item::{Answer, COMMIT, Columns, Item};
use super::plain;
use super::read;
use super::session::Sessions;
use super::trouble::Trouble;

/// How many lanes there are. While one waits for the disk, the other's changes are made; with more, each
/// would carry too little to share a transaction's price.
pub(super) const LANES: usize = 2;
/// How many changes may wait in a lane before callers do.
const QUEUE: usize = 512;
/// How many changes share one transaction at the most.
const BATCH: usize = 128;
/// How many times other tasks are let through, for those who were answered to ask again.
const GATHERS: u32 = 4;
/// How long a server that doesn't answer is waited for: long enough for one that starts again.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// How often a change is tried again that others were in the way of.
const TRIES: u32 = 20;

type Result<T> = std::result::Result<T, LedgerError>;

struct Job {
    item: Arc<Item>,
    reply: oneshot::Sender<Result<Answer>>,
}

#[derive(Debug)]
struct Lane {
    queue: mpsc::Sender<Job>,
    /// Held while a call is under way.
    turn: Arc<Mutex<()>>,
}

/// The lanes of a ledger. They end when this is dropped and what has queued up is made.
#[derive(Debug)]
pub(super) struct Lanes {
    lanes: Vec<Lane>,
    sessions: Sessions,
}

impl Lanes {
    /// To be called within a tokio runtime.
    pub(super) fn start(sessions: &Sessions) -> Self {
        let lanes = (0..LANES)
            .map(|_| {
                let (queue, jobs) = mpsc::channel(QUEUE);
                let turn = Arc::new(Mutex::new(()));
                tokio::spawn(carry(sessions.clone(), Arc::clone(&turn), jobs));
                Lane { queue, turn }
            })
            .collect();
        Self { lanes, sessions: sessions.clone() }
    }

    /// Makes a change, and gives back first what others hold beyond their time where it needs that.
    pub(super) async fn commit(&self, item: Item) -> Result<Receipt> {
        let item = Arc::new(item);
        for _ in 0..3 {
            match self.send(Arc::clone(&item)).await? {
                Answer::Made(receipt) => return Ok(receipt),
                Answer::Found(seq) => return self.receipt(&item, seq).await,
                Answer::Refused(error) => return Err(error),
                Answer::HoldsRanOut => self.expire(&item).await?,
            }
        }
        Err(Conflict::NoUseLeft.into())
    }

    async fn send(&self, item: Arc<Item>) -> Result<Answer> {
        let stopped = || LedgerError::Unavailable("its writer has stopped; start again".to_owned());
        let mut hasher = DefaultHasher::new();
        item.run.hash(&mut hasher);
        let place = usize::try_from(hasher.finish() % LANES as u64).unwrap_or(0);
        let lane = self.lanes.get(place).ok_or_else(stopped)?;
        // Nobody is before it: from task to task and back would take as long as the change itself.
        if let Ok(_turn) = lane.turn.try_lock() {
            let mut answers = make_and_keep(&self.sessions, &[&item]).await;
            return answers.pop().unwrap_or_else(|| Err(missing()));
        }
        let (reply, answer) = oneshot::channel();
        lane.queue.send(Job { item, reply }).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// What the acknowledgement said that was lost.
    async fn receipt(&self, item: &Item, seq: u64) -> Result<Receipt> {
        let records = read::records(&self.sessions, &item.run, seq, 1).await?;
        let record: Option<SealedRecord> = records.into_iter().find(|record| record.seq == seq);
        let gone = || LedgerError::Damaged(format!("record {seq} is missing; check it"));
        let record = record.ok_or_else(gone)?;
        let timestamp = record.read().map_err(|_| gone())?.timestamp;
        let mut receipt = Receipt {
            seq,
            hash: record.hash,
            timestamp,
            fence: 0,
            uses_left: 0,
            approved_until: None,
        };
        if let Some((attempt, token)) = item.attempt() {
            let id = AttemptId::from_digest(Digest::from_bytes(attempt));
            let found = read::attempt(&self.sessions, &item.run, &id).await?.ok_or_else(gone)?;
            item.is_still_held(&found)?;
            receipt.fence = found.state.fence();
            if let UseState::Reserved { approved_until, .. } = found.state {
                receipt.approved_until = approved_until;
            }
            receipt.uses_left = read::uses_left(&self.sessions, &item.run, token).await?;
        }
        Ok(receipt)
    }

    /// Gives back what is held of an item's token beyond its time. Each is a change of its own, in
    /// the run that holds it; whoever else does the same at once finds it done.
    async fn expire(&self, item: &Item) -> Result<()> {
        let Some((_, token)) = item.attempt() else { return Ok(()) };
        for (run, attempt) in read::expired_holds(&self.sessions, &item.run, token).await? {
            let body = Body::Recovery(Recovery {
                token_name: attempt.token.clone(),
                attempt: attempt.id,
                state: "released".to_owned(),
                message: "the hold on it ran out before it was started; the use was given back"
                    .to_owned(),
            });
            let change = Change {
                attempt: attempt.id,
                token: attempt.token,
                action: attempt.action,
                transition: Transition::Expire,
            };
            match self.send(Arc::new(Item::from_outside(run, change, &body)?)).await? {
                Answer::Refused(error) if error.leaves_doubt() => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

async fn carry(sessions: Sessions, turn: Arc<Mutex<()>>, mut jobs: mpsc::Receiver<Job>) {
    while let Some(first) = jobs.recv().await {
        let _turn = turn.lock().await;
        let mut first = Some(first);
        while let Some(job) = first {
            let mut batch = vec![job];
            while batch.len() < BATCH
                && let Ok(next) = jobs.try_recv()
            {
                batch.push(next);
            }
            let many = batch.len();
            answer(&sessions, batch).await;
            if many == 1 {
                break;
            }
            // Those who were answered come again in a moment. Whoever is first must not go alone, or all the
            // others wait for a transaction that carries one change.
            for _ in 0..GATHERS {
                if jobs.len() >= many {
                    break;
                }
                yield_now().await;
            }
            first = jobs.try_recv().ok();
        }
    }
}

async fn answer(sessions: &Sessions, batch: Vec<Job>) {
    let (items, replies): (Vec<_>, Vec<_>) =
        batch.into_iter().map(|job| (job.item, job.reply)).unzip();
    let items: Vec<&Item> = items.iter().map(AsRef::as_ref).collect();
    let answers = make_and_keep(sessions, &items).await;
    for (reply, answer) in replies.into_iter().zip(answers) {
        // A caller that has gone away loses its answer; what was committed stays.
        drop(reply.send(answer));
    }
}

/// Makes items, and keeps the last of what was acknowledged.
async fn make_and_keep(sessions: &Sessions, items: &[&Item]) -> Vec<Result<Answer>> {
    let answers = make(sessions, items).await;
    let last = items.iter().zip(&answers).rev().find_map(|(item, answer)| match answer {
        Ok(Answer::Made(receipt)) => Some((&item.run, receipt)),
        _ => None,
    });
    if let Some((run, receipt)) = last {
        sessions.watch().saw(run, receipt);
    }
    answers
}

/// Makes items, however often it takes, and answers in their order.
async fn make(sessions: &Sessions, items: &[&Item]) -> Vec<Result<Answer>> {
    let mut answers: Vec<Option<Result<Answer>>> = items.iter().map(|_| None).collect();
    let mut doubt = false;
    if let Err(failed) = insist(sessions, items, &mut answers, &mut doubt).await {
        for (item, answer) in items.iter().zip(&mut answers).filter(|(_, answer)| answer.is_none())
        {
            let mut failed = failed.clone();
            if items.len() > 1 && matches!(failed, Failed::ForOne(_)) {
                // One of those that are left is at fault. Each is tried by itself, so that it holds no other
                // up. Where an answer to all of them was lost, each may have been made.
                let mut doubt = doubt;
                let alone = std::slice::from_mut(answer);
                match insist(sessions, &[item], alone, &mut doubt).await {
                    Ok(()) => continue,
                    Err(of_it) => failed = of_it,
                }
            }
            *answer = Some(Err(failed.into_error()));
        }
    }
    answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err(missing()))).collect()
}

#[derive(Clone)]
enum Failed {
    /// The server is at fault.
    ForAll(LedgerError),
    /// It may be that one item is.
    ForOne(LedgerError),
}

impl Failed {
    fn into_error(self) -> LedgerError {
        match self {
            Self::ForAll(error) | Self::ForOne(error) => error,
        }
    }
}

/// Calls until each item has its answer. `doubt` says whether an earlier call with those that have none may have
/// been made: from then on it is asked what was made, before anything is made.
async fn insist(
    sessions: &Sessions,
    items: &[&Item],
    answers: &mut [Option<Result<Answer>>],
    doubt: &mut bool,
) -> std::result::Result<(), Failed> {
    let begun = Instant::now();
    let mut tries = 0;
    loop {
        let Err(trouble) = call(sessions, items, answers, *doubt).await else { return Ok(()) };
        tries += 1;
        let wait = match &trouble {
            Trouble::Refused(error) => return Err(Failed::ForOne(error.clone())),
            Trouble::InTheWay(_) | Trouble::Stale
                if tries < TRIES && begun.elapsed() < PATIENCE =>
            {
                pause(tries, 200)
            }
            Trouble::Lost(_) | Trouble::Unreached(_) if begun.elapsed() < PATIENCE => {
                *doubt |= matches!(trouble, Trouble::Lost(_));
                pause(tries, 1_000)
            }
            _ => return Err(Failed::ForAll(trouble.into_error())),
        };
        sleep(wait).await;
    }
}

/// Calls once for what has no answer: for what is plain the short way, and then for what is left. What may have
/// been made before takes the long way, which alone looks for that.
async fn call(
    sessions: &Sessions,
    items: &[&Item],
    answers: &mut [Option<Result<Answer>>],
    doubt: bool,
) -> std::result::Result<(), Trouble> {
    if !doubt {
        let left = left(items, answers);
        match plain::ask(sessions, &left).await {
            Ok(made) => fill(answers, made.into_iter().map(|made| made.map(Ok))),
            // Nothing was made, and the long way says why.
            Err(Trouble::Refused(_)) => {}
            Err(trouble) => return Err(trouble),
        }
    }
    let left = left(items, answers);
    if left.is_empty() {
        return Ok(());
    }
    let columns = Columns::of(&left, doubt);
    let rows = sessions.change(COMMIT, &columns.parameters()).await?;
    match in_order(&rows, &left) {
        Ok(made) => fill(answers, made.into_iter().map(Some)),
        Err(error) => fill(answers, left.iter().map(|_| Some(Err(error.clone())))),
    }
    Ok(())
}

/// The items without an answer.
fn left<'i>(items: &[&'i Item], answers: &[Option<Result<Answer>>]) -> Vec<&'i Item> {
    let open = items.iter().zip(answers).filter(|(_, answer)| answer.is_none());
    open.map(|(item, _)| *item).collect()
}

/// Puts answers where there are none, in their order.
fn fill(
    answers: &mut [Option<Result<Answer>>],
    made: impl Iterator<Item = Option<Result<Answer>>>,
) {
    let open = answers.iter_mut().filter(|answer| answer.is_none());
    for (slot, made) in open.zip(made) {
        *slot = made;
    }
}

/// A little longer each time, and not the same for everybody.
pub(super) fn pause(tries: u32, most_ms: u64) -> Duration {
    let most = (5u64 << tries.min(10)).min(most_ms);
    let mut random = [0; 8];
    let random = getrandom::fill(&mut random).map(|()| u64::from_ne_bytes(random)).unwrap_or(0);
    Duration::from_millis(most / 2 + random % (most / 2 + 1))
}

fn in_order(rows: &[tokio_postgres::Row], items: &[&Item]) -> Result<Vec<Result<Answer>>> {
    let mut answers: Vec<Result<Answer>> = items.iter().map(|_| Err(missing())).collect();
    for row in rows {
        let (place, answer) = Answer::of(row, items)?;
        if let Some(slot) = answers.get_mut(place) {
            *slot = Ok(answer);
        }
    }
    Ok(answers)
}

fn missing() -> LedgerError {
    LedgerError::Damaged("the database left an answer out; check its functions".to_owned())
}
