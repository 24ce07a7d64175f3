//! Every interleaving of callers and the writer thread: the thread's own loop, over a bounded queue of
//! `loom`'s locks in place of tokio's.

use std::collections::VecDeque;

use loom::sync::{Arc, Condvar, Mutex};

#[path = "../../src/sqlite/queue.rs"]
mod queue;

use queue::{Queue, serve};

/// How many commands may wait.
const PLACES: usize = 1;
/// How many are made together.
const MOST: usize = 2;

/// A caller's command, and where its answer goes.
struct Command {
    caller: usize,
    reply: Arc<Reply>,
}

#[derive(Default)]
struct Shared {
    waiting: VecDeque<Command>,
    senders: usize,
}

struct Bounded {
    shared: Mutex<Shared>,
    changed: Condvar,
}

struct Reply {
    answer: Mutex<Option<bool>>,
    given: Condvar,
}

impl Bounded {
    /// Waits for a place.
    fn send(&self, command: Command) {
        let mut shared = self.shared.lock().unwrap();
        while shared.waiting.len() >= PLACES {
            shared = self.changed.wait(shared).unwrap();
        }
        shared.waiting.push_back(command);
        self.changed.notify_all();
    }

    fn leave(&self) {
        self.shared.lock().unwrap().senders -= 1;
        self.changed.notify_all();
    }
}

/// The thread's end, and whether it has lingered already.
struct Commands(Arc<Bounded>, bool);

impl Queue for Commands {
    type Command = Command;

    fn wait(&mut self) -> Option<Command> {
        self.1 = false;
        let mut shared = self.0.shared.lock().unwrap();
        loop {
            if let Some(command) = shared.waiting.pop_front() {
                self.0.changed.notify_all();
                return Some(command);
            }
            if shared.senders == 0 {
                return None;
            }
            shared = self.0.changed.wait(shared).unwrap();
        }
    }

    fn next(&mut self) -> Option<Command> {
        let command = self.0.shared.lock().unwrap().waiting.pop_front();
        self.0.changed.notify_all();
        command
    }

    fn waiting(&self) -> usize {
        self.0.shared.lock().unwrap().waiting.len()
    }

    fn linger(&mut self) -> bool {
        loom::thread::yield_now();
        !std::mem::replace(&mut self.1, true)
    }
}

/// Two callers, one of whose commands makes its batch fail, and the thread that serves them.
fn explore(fails: Option<usize>) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(move || {
        let queue = Arc::new(Bounded {
            shared: Mutex::new(Shared { waiting: VecDeque::new(), senders: 2 }),
            changed: Condvar::new(),
        });
        let durable = Arc::new(Mutex::new(Vec::new()));
        let callers: Vec<_> = (0..2)
            .map(|caller| {
                let (queue, durable) = (Arc::clone(&queue), Arc::clone(&durable));
                loom::thread::spawn(move || {
                    let reply = Arc::new(Reply { answer: Mutex::new(None), given: Condvar::new() });
                    queue.send(Command { caller, reply: Arc::clone(&reply) });
                    queue.leave();
                    let mut answer = reply.answer.lock().unwrap();
                    while answer.is_none() {
                        answer = reply.given.wait(answer).unwrap();
                    }
                    // Whoever hears a yes finds it durable, and a no finds nothing.
                    let stands = durable.lock().unwrap().contains(&caller);
                    assert_eq!(*answer, Some(stands));
                })
            })
            .collect();
        let made = Arc::clone(&durable);
        let make = |mut batch: Vec<Command>, more: &mut dyn FnMut() -> Option<Command>| {
            batch.extend(std::iter::from_fn(more));
            assert!((1..=MOST).contains(&batch.len()));
            let whole = batch.iter().all(|command| Some(command.caller) != fails);
            if whole {
                made.lock().unwrap().extend(batch.iter().map(|command| command.caller));
            }
            (whole, batch)
        };
        let answer = |command: Command, whole: &bool| {
            let mut answer = command.reply.answer.lock().unwrap();
            assert!(answer.replace(*whole).is_none(), "nobody is answered twice");
            command.reply.given.notify_one();
        };
        serve(&mut Commands(queue, false), MOST, make, answer);
        for caller in callers {
            caller.join().unwrap();
        }
    });
}

#[test]
fn every_caller_hears_of_its_own_change_once_it_is_durable() {
    explore(None);
}

#[test]
fn a_batch_that_fails_is_a_no_to_all_in_it() {
    explore(Some(1));
}

/// Callers as they come, and moments at which nobody waits: before it is worked on those that have come, after that,
/// and once they are answered.
struct Script {
    events: VecDeque<Option<u32>>,
    lingered: u32,
}

impl Queue for Script {
    type Command = u32;

    fn wait(&mut self) -> Option<u32> {
        while let Some(event) = self.events.pop_front() {
            if event.is_some() {
                return event;
            }
        }
        None
    }

    fn next(&mut self) -> Option<u32> {
        self.events.pop_front().flatten()
    }

    fn waiting(&self) -> usize {
        self.events.iter().take_while(|event| event.is_some()).count()
    }

    fn linger(&mut self) -> bool {
        self.lingered += 1;
        !self.events.is_empty()
    }
}

/// What is made together of them, and how often somebody was waited for.
fn made(events: impl IntoIterator<Item = Option<u32>>) -> (Vec<Vec<u32>>, u32) {
    let mut script = Script { events: events.into_iter().collect(), lingered: 0 };
    let mut batches = Vec::new();
    let make = |mut batch: Vec<u32>, more: &mut dyn FnMut() -> Option<u32>| {
        batch.extend(std::iter::from_fn(more));
        batches.push(batch);
        ((), vec![()])
    };
    serve(&mut script, 4, make, |(), ()| {});
    (batches, script.lingered)
}

#[test]
fn those_who_were_answered_together_are_waited_for_and_nobody_else_is() {
    let alone = made([Some(1), None, None, None, Some(1), None, None]);
    assert_eq!(alone, (vec![vec![1], vec![1]], 0));
    let together = made(
        [[Some(1), Some(2)], [None, None], [None, Some(1)], [None, None], [Some(2), None]].concat(),
    );
    assert_eq!(together.0, [[1, 2], [1, 2]]);
    // Two wait while others are made, who come back to them.
    let [one, two, three] = [[Some(1), Some(2)], [None, None], [Some(3), Some(4)]];
    let groups = made([one, two, three, two, one].concat());
    assert_eq!(groups.0, [vec![1, 2], vec![3, 4, 1, 2]]);
}
