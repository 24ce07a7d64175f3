//! How what has queued up is made together and answered: the order in which the writer thread works,
//! apart from what it works with, so that a test can try every interleaving of it (`loom`).

/// Where commands wait.
pub(super) trait Queue {
    type Command;

    /// The next command, waited for; `None` once nobody can send any more and all were taken.
    fn wait(&mut self) -> Option<Self::Command>;

    /// The next command that waits already.
    fn next(&mut self) -> Option<Self::Command>;

    /// How many commands wait already.
    fn waiting(&self) -> usize;

    /// Lets those go ahead who are about to send. Says whether to look again, which is so for a moment after
    /// [`wait`](Self::wait) came back.
    fn linger(&mut self) -> bool;
}

/// Serves a queue to its end. `make` makes at most `most` commands together, durably or not at all, and
/// says what came of it and who waits. Nobody is answered before that. It is given those that have come, and
/// asks for more once it has worked on them.
///
/// Who was just answered often asks again at once. So a moment is waited for those, and they don't come one after
/// the other to a commit each, nor in two groups of which one waits for the other's. Who asks alone waits for nobody.
pub(super) fn serve<Q: Queue, Outcome, Answer>(
    queue: &mut Q,
    most: usize,
    mut make: impl FnMut(
        Vec<Q::Command>,
        &mut dyn FnMut() -> Option<Q::Command>,
    ) -> (Outcome, Vec<Answer>),
    mut answer: impl FnMut(Answer, &Outcome),
) {
    let mut expected = 1;
    while let Some(first) = queue.wait() {
        let mut batch = vec![first];
        while batch.len() < most
            && let Some(next) = queue.next()
        {
            batch.push(next);
        }
        let mut taken = batch.len();
        let mut more = || {
            while taken < most {
                match queue.next() {
                    Some(next) => {
                        taken += 1;
                        return Some(next);
                    }
                    None if taken < expected && queue.linger() => {}
                    None => return None,
                }
            }
            None
        };
        let (outcome, waiting) = make(batch, &mut more);
        expected = taken.saturating_add(queue.waiting());
        for waits in waiting {
            answer(waits, &outcome);
        }
    }
}
