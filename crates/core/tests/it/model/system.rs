//! What is explored: a ledger, runs that draw from one token, their workers and the world.

use std::sync::LazyLock;

use lar_core::json::Digest;
use lar_core::ledger::protocol::{
    self, Conflict, Event, Fence, GrantPosition, Next, Position, Resolver, TokenPosition,
    Transition, UseState,
};
use lar_core::outcome::Verdict;
use lar_core::time::Timestamp;

/// The first holder of a run, and whoever takes it over.
const WORKERS_PER_RUN: usize = 2;
/// How long a hold lasts, by a clock that goes from 0 to [`LAST`].
const LEASE: u64 = 1;
const LAST: i64 = 2;

/// What a call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Deed {
    /// What was asked for and shown.
    Shown,
    /// Something else, put in its place after the yes.
    Swapped,
}

impl Deed {
    fn digest(self) -> Digest {
        static DIGESTS: LazyLock<[Digest; 2]> =
            LazyLock::new(|| [Digest::of("shown"), Digest::of("swapped")]);
        DIGESTS[self as usize]
    }
}

/// What is explored, with the rule that decides.
pub struct System {
    pub runs: usize,
    /// Calls of a run, one after the other.
    pub calls: usize,
    pub granted: u32,
    pub approval: bool,
    pub rule: fn(&Position, &Event) -> Result<Next, Conflict>,
    /// A mistake: the effect comes before its mark.
    pub effect_first: bool,
    /// A mistake: a start whose answer was lost is taken for made.
    pub believes_silence: bool,
}

impl Default for System {
    fn default() -> Self {
        Self {
            runs: 1,
            calls: 1,
            granted: 1,
            approval: false,
            rule: protocol::next,
            effect_first: false,
            believes_silence: false,
        }
    }
}

/// One attempt: what the ledger holds of it, and what happened in the world.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Attempt {
    state: Option<UseState>,
    /// What it does, and the hold on the run by which it was last changed.
    deed: Option<Deed>,
    holder: Fence,
    /// What really happened, which no ledger knows.
    pub effects: Vec<Deed>,
    /// What a person saw and approved.
    pub approved: Option<Deed>,
}

impl Attempt {
    pub fn succeeded(&self) -> bool {
        matches!(
            self.state,
            Some(
                UseState::Ended { verdict: Verdict::Succeeded, .. }
                    | UseState::Resolved { verdict: Verdict::Succeeded, .. }
            )
        )
    }

    pub fn is_unknown(&self) -> bool {
        self.state.as_ref().is_some_and(UseState::is_unresolved)
    }

    pub fn was_started(&self) -> bool {
        self.state.as_ref().is_some_and(|state| state.verdict().is_some())
    }

    /// Whether it takes one of the uses.
    pub fn takes(&self) -> bool {
        self.was_started() || matches!(self.state, Some(UseState::Reserved { .. }))
    }
}

/// A run and its calls.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Run {
    pub fence: Fence,
    pub attempts: Vec<Attempt>,
    /// Whether whoever took it over found something open.
    pub recovered: bool,
}

/// Where a worker stands with its present call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Phase {
    Ready,
    /// The use is held, and a person is asked.
    Held(Fence),
    /// A person said yes.
    Approved(Fence),
    /// The answer to a start was lost.
    Doubt(Option<Fence>),
    /// The intent is durable.
    Started(Fence),
    /// The effect has happened.
    Acted(Fence),
    /// The run was lost before the outcome could be recorded.
    Late(Fence),
    /// It makes no more calls, or was killed.
    Over,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Worker {
    run: usize,
    holder: Fence,
    call: usize,
    phase: Phase,
}

/// Everything at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    now: i64,
    revoked: bool,
    pub left: u32,
    pub runs: Vec<Run>,
    workers: Vec<Worker>,
    /// A use came back that had been started, and not by its living owner's word.
    pub refunded: bool,
    /// A fence fell.
    pub fell: bool,
    /// Somebody who had lost the run changed something.
    pub late: bool,
}

impl State {
    pub fn new(system: &System) -> Self {
        let attempts = vec![Attempt::default(); system.calls];
        let runs = vec![Run { fence: 1, attempts, recovered: false }; system.runs];
        let worker = |run| Worker { run, holder: 1, call: 0, phase: Phase::Ready };
        Self {
            now: 0,
            revoked: false,
            left: system.granted,
            runs,
            workers: (0..system.runs).map(worker).collect(),
            refunded: false,
            fell: false,
            late: false,
        }
    }

    pub fn attempts(&self) -> impl Iterator<Item = &Attempt> {
        self.runs.iter().flat_map(|run| &run.attempts)
    }
}

/// What a worker asks of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Request {
    Reserve,
    Approve,
    Release,
    Start(Deed),
    Succeeded,
    NeverBegan,
    LateWord,
}

/// What happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Act {
    /// The clock goes on.
    Tick,
    /// The grant is revoked.
    Revoke,
    /// A hold that ran out is given back, because somebody needs the use.
    Expire { run: usize, call: usize },
    /// A person says how an unknown outcome turned out.
    Resolve { run: usize, call: usize },
    /// Another process takes the run over, whether the first is dead or only silent, and seals what
    /// is open. It makes the same calls again.
    Take { run: usize },
    /// A worker is killed.
    Crash { worker: usize },
    /// A worker asks, by a clock that is perhaps behind, and perhaps never hears the answer.
    Ask { worker: usize, request: Request, behind: bool, lost: bool },
    /// A worker looks up what became of a start whose answer was lost.
    LookUp { worker: usize },
    /// The effect happens.
    Effect { worker: usize },
}

impl System {
    pub fn possible(&self, state: &State, acts: &mut Vec<Act>) {
        if state.now < LAST {
            acts.push(Act::Tick);
        }
        if !state.revoked {
            acts.push(Act::Revoke);
        }
        for (run, found) in state.runs.iter().enumerate() {
            if usize::try_from(found.fence).unwrap() < WORKERS_PER_RUN {
                acts.push(Act::Take { run });
            }
            for (call, attempt) in found.attempts.iter().enumerate() {
                match attempt.state {
                    Some(UseState::Reserved { .. }) => acts.push(Act::Expire { run, call }),
                    // Whoever looks finds what really happened.
                    Some(UseState::Ended { verdict: Verdict::Unknown, .. }) => {
                        acts.push(Act::Resolve { run, call });
                    }
                    _ => {}
                }
            }
        }
        for (worker, found) in state.workers.iter().enumerate() {
            let now = state.now;
            let mut ask = |request, timed: bool| {
                let ways = [(false, false), (false, true), (true, false), (true, true)];
                let ways = ways.into_iter().filter(|(behind, _)| !behind || timed && now > 0);
                let asked = |(behind, lost)| Act::Ask { worker, request, behind, lost };
                acts.extend(ways.map(asked));
            };
            match found.phase {
                Phase::Over => continue,
                Phase::Ready if self.approval => ask(Request::Reserve, true),
                Phase::Ready => ask(Request::Start(Deed::Shown), true),
                Phase::Held(_) => {
                    ask(Request::Approve, false);
                    ask(Request::Release, false);
                }
                Phase::Approved(_) => {
                    ask(Request::Start(Deed::Shown), true);
                    ask(Request::Start(Deed::Swapped), true);
                }
                Phase::Doubt(_) => acts.push(Act::LookUp { worker }),
                Phase::Started(_) => {
                    if !self.effect_first {
                        ask(Request::NeverBegan, false);
                    }
                    acts.push(Act::Effect { worker });
                }
                Phase::Acted(_) => ask(Request::Succeeded, false),
                Phase::Late(_) => ask(Request::LateWord, false),
            }
            acts.push(Act::Crash { worker });
        }
        if self.effect_first {
            let ready = |worker: &Worker| matches!(worker.phase, Phase::Ready | Phase::Approved(_));
            let first = |worker: usize| Act::Effect { worker };
            let found = state.workers.iter().enumerate().filter(|(_, worker)| ready(worker));
            acts.extend(found.map(|(worker, _)| first(worker)));
        }
    }

    pub fn perform(&self, state: &mut State, act: Act) {
        match act {
            Act::Tick => state.now += 1,
            Act::Revoke => state.revoked = true,
            Act::Crash { worker } => state.workers[worker].phase = Phase::Over,
            Act::Expire { run, call } => {
                let now = state.now;
                let _ = self.apply(state, run, call, 0, now, Deed::Shown, Transition::Expire);
            }
            Act::Resolve { run, call } => {
                let happened = !state.runs[run].attempts[call].effects.is_empty();
                let verdict = if happened { Verdict::Succeeded } else { Verdict::Failed };
                let by = Resolver::Person(String::new());
                let (now, said) = (state.now, Transition::Resolve { by, verdict });
                let _ = self.apply(state, run, call, 0, now, Deed::Shown, said);
            }
            Act::Take { run } => {
                state.runs[run].fence += 1;
                let (holder, now) = (state.runs[run].fence, state.now);
                for call in 0..self.calls {
                    let open = state.runs[run].attempts[call].state.as_ref();
                    if open.is_some_and(UseState::is_open) {
                        state.runs[run].recovered = true;
                        let sealed = Transition::Recover;
                        let _ = self.apply(state, run, call, holder, now, Deed::Shown, sealed);
                    }
                }
                state.workers.push(Worker { run, holder, call: 0, phase: Phase::Ready });
            }
            Act::Effect { worker } => {
                let found = &mut state.workers[worker];
                let attempt = &mut state.runs[found.run].attempts[found.call];
                attempt.effects.push(attempt.deed.unwrap_or(Deed::Shown));
                if let Phase::Started(fence) = found.phase {
                    found.phase = Phase::Acted(fence);
                }
            }
            Act::LookUp { worker } => self.look_up(state, worker),
            Act::Ask { worker, request, behind, lost } => {
                self.ask(state, worker, request, behind, lost);
            }
        }
    }

    /// As `call.rs` does: what stands there by this very hold for this very action counts.
    fn look_up(&self, state: &mut State, worker: usize) {
        let Worker { run, holder, call, .. } = state.workers[worker];
        let attempt = &state.runs[run].attempts[call];
        state.workers[worker].phase = match attempt.state {
            Some(UseState::Started { fence }) if attempt.holder == holder => Phase::Started(fence),
            _ => Phase::Over,
        };
    }

    fn ask(&self, state: &mut State, worker: usize, request: Request, behind: bool, lost: bool) {
        let Worker { run, holder, call, phase } = state.workers[worker];
        let now = state.now - i64::from(behind);
        let held = match phase {
            Phase::Held(fence)
            | Phase::Approved(fence)
            | Phase::Started(fence)
            | Phase::Acted(fence)
            | Phase::Late(fence) => Some(fence),
            Phase::Ready | Phase::Doubt(_) | Phase::Over => None,
        };
        let fence = held.unwrap_or_default();
        let (transition, deed) = match request {
            Request::Reserve => (Transition::Reserve { lease_ms: LEASE }, Deed::Shown),
            Request::Approve => {
                let not_after = Timestamp::from_millis(now).plus_millis(LEASE);
                (Transition::Approve { not_after }, Deed::Shown)
            }
            Request::Release => (Transition::Release { fence }, Deed::Shown),
            Request::Start(deed) => (Transition::Start { held }, deed),
            Request::Succeeded => {
                (Transition::Finish { fence, verdict: Verdict::Succeeded }, Deed::Shown)
            }
            Request::NeverBegan => (Transition::NeverBegan { fence }, Deed::Shown),
            Request::LateWord => {
                let (by, verdict) = (Resolver::Owner { fence }, Verdict::Succeeded);
                (Transition::Resolve { by, verdict }, Deed::Shown)
            }
        };
        let answer = self.apply(state, run, call, holder, now, deed, transition);
        if answer.is_ok() && request == Request::Approve {
            state.runs[run].attempts[call].approved = Some(Deed::Shown);
        }
        let after = match (request, answer) {
            (Request::Start(_), _) if lost && self.believes_silence => Phase::Started(1),
            (Request::Start(_), _) if lost => Phase::Doubt(held),
            _ if lost => Phase::Over,
            // An approval outlives the hold for which it was asked.
            (Request::Reserve, Ok((fence, true))) => Phase::Approved(fence),
            (Request::Reserve, Ok((fence, false))) => Phase::Held(fence),
            (Request::Approve, Ok((fence, _))) => Phase::Approved(fence),
            (Request::Start(_), Ok((fence, _))) => Phase::Started(fence),
            (Request::Succeeded, Err(Conflict::RunLost)) => Phase::Late(fence),
            // On with the next call, refused or done.
            _ if call + 1 < self.calls => {
                state.workers[worker].call += 1;
                Phase::Ready
            }
            _ => Phase::Over,
        };
        state.workers[worker].phase = after;
    }

    /// One transaction of the ledger. Answers with the fence, and whether a held use is approved.
    #[allow(clippy::too_many_arguments, reason = "they are the fields of one event")]
    fn apply(
        &self,
        state: &mut State,
        run: usize,
        call: usize,
        holder: Fence,
        now: i64,
        deed: Deed,
        transition: Transition,
    ) -> Result<(Fence, bool), Conflict> {
        let before = state.runs[run].attempts[call].state.clone();
        let position = Position {
            run: state.runs[run].fence,
            grant: GrantPosition { revoked: state.revoked, expires: None, quarantined: false },
            token: TokenPosition {
                granted: self.granted,
                left: state.left,
                expires: None,
                requires_approval: self.approval,
                locked: false,
            },
            attempt: before.clone(),
        };
        let event = Event {
            now: Timestamp::from_millis(now),
            holder,
            action: deed.digest(),
            transition: transition.clone(),
        };
        let next = (self.rule)(&position, &event)?;
        let was_started = matches!(
            before,
            Some(UseState::Started { .. } | UseState::Ended { .. } | UseState::Resolved { .. })
        );
        let own_word = matches!(transition, Transition::NeverBegan { .. });
        state.refunded |= was_started && next.left > state.left && !own_word;
        let from_outside = matches!(transition, Transition::Expire | Transition::Resolve { .. });
        state.late |= !from_outside && holder != state.runs[run].fence;
        let fence = before.as_ref().map_or(0, UseState::fence);
        let hands = matches!(
            transition,
            Transition::Reserve { .. } | Transition::Release { .. } | Transition::Expire
        );
        state.fell |= next.attempt.fence() < fence || hands && next.attempt.fence() == fence;
        let approved = matches!(next.attempt, UseState::Reserved { approved_until: Some(_), .. });
        let answer = (next.attempt.fence(), approved);
        state.left = next.left;
        let attempt = &mut state.runs[run].attempts[call];
        if matches!(transition, Transition::Reserve { .. } | Transition::Start { .. }) {
            attempt.deed = Some(deed);
        }
        if !from_outside {
            attempt.holder = holder;
        }
        attempt.state = Some(next.attempt);
        Ok(answer)
    }
}
