//! What keeps a run, and what ends it: the hold, the calls that are still on their way, and the ends
//! that the ledger didn't take at once.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lar_core::audit::record::RunEnd;
use lar_core::audit::trail::Proof;
use lar_core::call::{Spent, Unsealed, Untold};
use lar_core::error::Refusal;
use lar_core::ledger::{Conflict, LedgerError, Receipt};
use lar_core::outcome::{Performed, Verdict};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::{Dispatcher, Inner};
use crate::recover;

/// How long is waited before an end is said to the ledger again: long enough for a connection that is
/// made anew, and short enough for a person who waits for the run to stop.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(50), Duration::from_millis(200), Duration::from_millis(800)];

/// Counts a call out, however it leaves.
pub(super) struct UnderWay(watch::Sender<usize>);

impl UnderWay {
    pub(super) fn count(calls: &watch::Sender<usize>) -> Self {
        calls.send_modify(|count| *count += 1);
        Self(calls.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Dispatcher {
    /// Keeps the hold on the run as long as this dispatcher, or a handle on it, lives. To be called
    /// within a tokio runtime.
    pub fn keep_hold(&self) {
        let beat = recover::keep_hold(self.inner.ledger.clone(), self.inner.stop.clone());
        let mut heart = self.inner.heart.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = heart.replace(tokio::spawn(beat)) {
            before.abort();
        }
        self.inner.runtime.get_or_init(Handle::current);
    }

    /// Stops keeping the hold, and returns when nothing of it is left: the ledger can be closed then.
    pub async fn let_go(&self) {
        let heart = self.inner.heart.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(heart) = heart {
            heart.abort();
            // It was told to end; that it did not end by itself is no error.
            let _ = heart.await;
        }
    }

    /// Whether no call is on its way.
    pub fn is_settled(&self) -> bool {
        *self.inner.under_way.borrow() == 0
    }

    /// Waits until no call is on its way, those included to which nobody listens any more.
    pub async fn settled(&self) {
        // The sender lives as long as `self`, so that waiting can't fail.
        let _ = self.inner.under_way.subscribe().wait_for(|count| *count == 0).await;
    }

    /// Ends the run: waits for the calls that are on their way, says what the ledger didn't take
    /// before, and writes the last record.
    ///
    /// # Errors
    ///
    /// When the ledger doesn't take the end. It can be called again then.
    pub async fn close(
        &self,
        stop_reason: &str,
        details: RunEnd,
        keep_journal: bool,
    ) -> Result<Receipt, LedgerError> {
        self.settled().await;
        self.let_go().await;
        self.say_untold().await;
        let closed = self.inner.ledger.close(stop_reason.to_owned(), details, keep_journal).await;
        // What was not taken before the end was accounted as unknown there, and can be said after it.
        self.say_untold().await;
        if let Ok(_) | Err(LedgerError::RunClosed(_) | LedgerError::Conflict(Conflict::RunLost)) =
            closed
        {
            self.inner.is_closed.store(true, Ordering::Release);
            self.inner.capabilities.end_run();
        }
        if let Ok(receipt) = &closed {
            self.settle(receipt.seq).await;
        }
        closed
    }

    async fn say_untold(&self) {
        for untold in self.inner.take_untold() {
            if let Err(Unsealed::Untold(untold)) = untold.say(&self.inner.ledger).await {
                self.inner.keep_untold(*untold);
            }
        }
    }
}

impl Inner {
    /// Seals a run that was dropped before its end. Its process lives, so that no later start would take
    /// it for cut off.
    pub(super) fn seal_dropped(&self) {
        let Some(runtime) = self.runtime.get().filter(|_| !self.is_closed.load(Ordering::Acquire))
        else {
            return;
        };
        let ledger = self.ledger.clone();
        let details = RunEnd {
            error: Some("the run was dropped before its end".to_owned()),
            ..RunEnd::default()
        };
        // Where the runtime ends too, the process does, and a later start seals the run.
        runtime.spawn(async move { ledger.close("error".to_owned(), details, false).await });
    }

    /// Seals an outcome. While the ledger doesn't take it, it is said again for some seconds; then it
    /// is kept until the run is closed.
    pub(super) async fn seal(&self, spent: Spent, performed: Performed) -> Result<Proof, Refusal> {
        let mut sealed = spent.seal(performed, &self.ledger).await;
        for pause in PAUSES {
            let Err(Unsealed::Untold(untold)) = sealed else {
                break;
            };
            tokio::time::sleep(pause).await;
            sealed = untold.say(&self.ledger).await;
        }
        match sealed {
            Ok(proof) => Ok(proof),
            Err(Unsealed::Untold(untold)) => {
                let error = unwritten(&untold);
                self.keep_untold(*untold);
                Err(Refusal::Ledger(error))
            }
            Err(settled) => Err(settled.into()),
        }
    }

    fn keep_untold(&self, untold: Untold) {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner).push(untold);
    }

    fn take_untold(&self) -> Vec<Untold> {
        std::mem::take(&mut *self.untold.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Why the ledger didn't take it, with what is known: should the process end now, this is the only
/// place where that stands.
fn unwritten(untold: &Untold) -> LedgerError {
    let (verdict, summary) = untold.known();
    let how = verdict.map_or("was never begun", Verdict::as_str);
    let known = format!(
        "a use of token `{}` {how} ({summary}) and stands in no record",
        untold.token_name()
    );
    match untold.error() {
        LedgerError::Unavailable(why) => LedgerError::Unavailable(format!("{why}; {known}")),
        LedgerError::Damaged(why) => LedgerError::Damaged(format!("{why}; {known}")),
        other => other.clone(),
    }
}
