//! How a person is asked while the run can be stopped and the caller can go away.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lar_core::approval::{Answer, ApprovalGate, ApprovalRequest};
use tokio::sync::watch;

use crate::event::{Event, Observer};
use crate::stop::Stop;

/// A gate that stops waiting when the run is stopped or nobody waits for the call any more, and tells
/// those who watch.
#[derive(Clone)]
pub(super) struct Stoppable {
    gate: Arc<dyn ApprovalGate>,
    stop: Stop,
    observer: Arc<dyn Observer>,
    /// Whoever waits for the call, where it is one call's gate.
    caller: Option<Listener>,
}

impl Stoppable {
    pub(super) fn new(
        gate: Arc<dyn ApprovalGate>,
        stop: Stop,
        observer: Arc<dyn Observer>,
    ) -> Self {
        Self { gate, stop, observer, caller: None }
    }

    /// The gate for one call.
    pub(super) fn on_behalf_of(&self, caller: &Listener) -> Self {
        Self { caller: Some(caller.clone()), ..self.clone() }
    }

    async fn stopped(&self) {
        let alone = async {
            match &self.caller {
                Some(caller) => caller.alone().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.stop.wait() => {}
            () = alone => {}
        }
    }
}

#[async_trait]
impl ApprovalGate for Stoppable {
    fn patience(&self) -> Duration {
        self.gate.patience()
    }

    async fn ask(&self, request: &ApprovalRequest) -> Answer {
        self.observer.notice(Event::Asking { token: &request.token_name });
        let answer = tokio::select! {
            // The stop wins over a yes that comes at the same moment.
            biased;
            () = self.stopped() => Answer::Stopped,
            answer = self.gate.ask(request) => answer,
        };
        let approved = matches!(answer, Answer::Yes { .. });
        self.observer.notice(Event::Answered { approved });
        answer
    }
}

/// The caller's end of a call: dropping it says that nobody waits for the call any more.
pub(super) struct Caller {
    _held: watch::Sender<()>,
}

/// The call's end.
#[derive(Clone)]
pub(super) struct Listener(watch::Receiver<()>);

/// Both ends for one call.
pub(super) fn line() -> (Caller, Listener) {
    let (sender, receiver) = watch::channel(());
    (Caller { _held: sender }, Listener(receiver))
}

impl Listener {
    /// Whether nobody waits for the call any more.
    pub(super) fn is_alone(&self) -> bool {
        self.0.has_changed().is_err()
    }

    async fn alone(&self) {
        let mut receiver = self.0.clone();
        // Nothing is ever sent: it ends when the other end is dropped.
        while receiver.changed().await.is_ok() {}
    }
}
