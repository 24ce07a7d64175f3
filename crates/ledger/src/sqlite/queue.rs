//! How what has queued up is made together and answered: the order in which the writer thread works,
//! apart from what it works with, so that a test can try every interleaving of it (`loom`).

/// Where commands wait.
pub(super) trait Queue {
    type Command;

    /// The next command, waited for; `None` once nobody can send any more and all were taken.
    fn wait(&mut self) -> Option<Self::Command>;

    /// The next command that waits already.
    fn next(&mut self) -> Option<Self::Command>;

    /// Lets those go ahead who are about to send. Says whether to look again, which is so for a moment after
    /// [`wait`](Self::wait) came back.
    fn linger(&mut self) -> bool;
}

/// Serves a queue to its end. `make` makes at most `most` commands together, durably or not at all, and
/// says what came of it and who waits. Nobody is answered before that.
///
/// Who was just answered often asks again at once. So as many as were made together last are waited for
/// a moment, and don't come one after the other to a commit each. Who asks alone waits for nobody.
pub(super) fn serve<Q: Queue, Outcome, Answer>(
    queue: &mut Q,
    most: usize,
    mut make: impl FnMut(Vec<Q::Command>) -> (Outcome, Vec<Answer>),
    mut answer: impl FnMut(Answer, &Outcome),
) {
    let mut last = 1;
    while let Some(first) = queue.wait() {
        let mut batch = vec![first];
        while batch.len() < most {
            match queue.next() {
                Some(next) => batch.push(next),
                None if batch.len() < last && queue.linger() => {}
                None => break,
            }
        }
        last = batch.len();
        let (outcome, waiting) = make(batch);
        for waits in waiting {
            answer(waits, &outcome);
        }
    }
}
