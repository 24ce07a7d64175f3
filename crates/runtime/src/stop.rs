//! How a run is told to stop: one signal that everything which waits listens to.

use std::sync::Arc;

use tokio::sync::watch;

/// Why a run is stopped from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Its time is over.
    Timeout,
    /// A person or the system asked for it: Ctrl-C, SIGTERM.
    Interrupted,
}

impl Cause {
    /// The word in the record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Interrupted => "interrupted",
        }
    }
}

/// A handle on the signal. Clones are handles on the same one.
#[derive(Debug, Clone)]
pub struct Stop {
    sender: Arc<watch::Sender<Option<Cause>>>,
}

impl Default for Stop {
    fn default() -> Self {
        Self { sender: Arc::new(watch::Sender::new(None)) }
    }
}

impl Stop {
    /// Asks for the stop. The first cause stands.
    pub fn request(&self, cause: Cause) {
        self.sender.send_if_modified(|held| {
            let first = held.is_none();
            held.get_or_insert(cause);
            first
        });
    }

    /// Whether a stop was asked for, and why.
    pub fn requested(&self) -> Option<Cause> {
        *self.sender.borrow()
    }

    /// Waits until a stop is asked for.
    pub async fn wait(&self) -> Cause {
        let mut receiver = self.sender.subscribe();
        loop {
            if let Some(cause) = *receiver.borrow_and_update() {
                return cause;
            }
            if receiver.changed().await.is_err() {
                // The sender lives as long as `self`, so this is never reached.
                std::future::pending::<()>().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everybody_hears_the_first_cause() {
        let stop = Stop::default();
        let waiting = tokio::spawn({
            let stop = stop.clone();
            async move { stop.wait().await }
        });
        assert_eq!(stop.requested(), None);
        stop.request(Cause::Interrupted);
        stop.request(Cause::Timeout);
        assert_eq!(waiting.await.unwrap(), Cause::Interrupted);
        assert_eq!(stop.wait().await, Cause::Interrupted);
    }
}
