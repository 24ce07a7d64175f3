//! How a person is asked while the run can be stopped and the caller can go away.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lar_core::approval::{
    Answer, ApprovalGate, ApprovalRequest, Awaited, Pause, Question, Runner, SignedApprovals,
};
use lar_core::time::Timestamp;
use tokio::sync::watch;

use crate::approval::Signatures;
use crate::event::{Event, Observer};
use crate::stop::Stop;

/// A gate that stops waiting when the run is stopped or nobody waits for the call any more, and tells
/// those who watch.
#[derive(Clone)]
pub(super) struct Stoppable {
    gate: Arc<dyn ApprovalGate>,
    /// How signed approvals are waited for, where the run can.
    signatures: Option<Signed>,
    ends: Ends,
    observer: Arc<dyn Observer>,
}

/// What ends a wait: the run is stopped, or nobody waits for the call any more.
#[derive(Clone)]
struct Ends {
    stop: Stop,
    /// Whoever waits for the call, where it is one call's gate.
    caller: Option<Listener>,
}

/// Waits for signed approvals as long as the call is waited for.
#[derive(Clone)]
struct Signed {
    signatures: Arc<Signatures>,
    ends: Ends,
}

impl Stoppable {
    pub(super) fn new(
        gate: Arc<dyn ApprovalGate>,
        signatures: Option<Signatures>,
        stop: Stop,
        observer: Arc<dyn Observer>,
    ) -> Self {
        let ends = Ends { stop, caller: None };
        let signatures = signatures
            .map(|signatures| Signed { signatures: Arc::new(signatures), ends: ends.clone() });
        Self { gate, signatures, ends, observer }
    }

    /// The gate for one call.
    pub(super) fn on_behalf_of(&self, caller: &Listener) -> Self {
        let mut gate = self.clone();
        gate.ends.caller = Some(caller.clone());
        if let Some(signatures) = &mut gate.signatures {
            signatures.ends = gate.ends.clone();
        }
        gate
    }
}

impl Ends {
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
            () = self.ends.stopped() => Answer::Stopped,
            answer = self.gate.ask(request) => answer,
        };
        let approved = matches!(answer, Answer::Yes { .. });
        self.observer.notice(Event::Answered { approved });
        answer
    }

    fn signed(&self) -> Option<&dyn SignedApprovals> {
        self.signatures.as_ref().map(|signatures| signatures as _)
    }
}

#[async_trait]
impl SignedApprovals for Signed {
    fn question(&self, request: &ApprovalRequest) -> Question {
        self.signatures.question(request)
    }

    fn origin(&self) -> &str {
        self.signatures.origin()
    }

    fn runners(&self) -> &[Runner] {
        self.signatures.runners()
    }

    fn patience(&self) -> Duration {
        self.signatures.patience()
    }

    fn announce(&self, waiting: &Awaited<'_>) {
        self.signatures.announce(waiting);
    }

    async fn pause(&self, asked: Timestamp, now: Timestamp) -> Pause {
        tokio::select! {
            biased;
            () = self.ends.stopped() => Pause::Stopped,
            pause = self.signatures.pause(asked, now) => pause,
        }
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
