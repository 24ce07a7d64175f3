//! The rule of the states, explored: every order in which workers, people, clocks, crashes and lost
//! answers can come. The rule is the very function that the ledgers run
//! ([`protocol::next`](lar_core::ledger::protocol::next)); what a worker does after each answer is what
//! `call.rs` does. Mutants of both must each be caught.

mod mutants;
mod system;

use std::collections::BTreeSet;

use stateright::{Checker, HasDiscoveries, Model, Property};

use system::{Act, State, System};

impl Model for System {
    type State = State;
    type Action = Act;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(self)]
    }

    fn actions(&self, state: &State, acts: &mut Vec<Act>) {
        self.possible(state, acts);
    }

    fn next_state(&self, state: &State, act: Act) -> Option<State> {
        let mut next = state.clone();
        self.perform(&mut next, act);
        (next != *state).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(EFFECTS, |system: &System, state: &State| {
                let once = state.attempts().all(|attempt| attempt.effects.len() <= 1);
                once && state.attempts().map(|attempt| attempt.effects.len()).sum::<usize>()
                    <= system.granted as usize
            }),
            Property::always(SUCCESS, |_, state: &State| {
                state.attempts().all(|attempt| !attempt.succeeded() || !attempt.effects.is_empty())
            }),
            Property::always(INTENT, |_, state: &State| {
                state.attempts().all(|attempt| attempt.effects.is_empty() || attempt.was_started())
            }),
            Property::always(CONSERVED, |system: &System, state: &State| {
                let taken = state.attempts().filter(|attempt| attempt.takes()).count();
                state.left as usize + taken == system.granted as usize
            }),
            Property::always(REFUND, |_, state: &State| !state.refunded),
            Property::always(FENCES, |_, state: &State| !state.fell && !state.late),
            Property::always(APPROVED, |system: &System, state: &State| {
                !system.approval
                    || state.attempts().all(|attempt| {
                        attempt.effects.iter().all(|done| attempt.approved == Some(*done))
                    })
            }),
            // What must be possible, so that silence above is no accident.
            Property::sometimes("all uses have their effect", |system: &System, state: &State| {
                state.attempts().map(|attempt| attempt.effects.len()).sum::<usize>()
                    == system.granted as usize
            }),
            Property::sometimes("an outcome is unknown", |_, state: &State| {
                state.attempts().any(system::Attempt::is_unknown)
            }),
            Property::sometimes(
                "a run changes hands with a use held or started",
                |_, state: &State| state.runs.iter().any(|run| run.fence > 1 && run.recovered),
            ),
        ]
    }
}

const EFFECTS: &str = "effects <= uses";
const SUCCESS: &str = "success => an effect began";
const INTENT: &str = "effect => its intent is durable";
const CONSERVED: &str = "remaining + reserved + consumed = granted";
const REFUND: &str = "no refund after the start but the living owner's";
const FENCES: &str = "fences grow, and an older holder changes nothing";
const APPROVED: &str = "approved digest = executed digest";

/// Explores all states. Says how many there are.
fn explore(name: &str, system: System) -> usize {
    let begun = std::time::Instant::now();
    let checker = system.checker().threads(2).spawn_bfs().join();
    let states = checker.unique_state_count();
    eprintln!("{name}: {states} states in {:?}", begun.elapsed());
    checker.assert_properties();
    states
}

/// A token of one use without approval, over which two runs fight.
fn plain() -> System {
    System { runs: 2, ..System::default() }
}

/// A token of two uses, one for each of two runs.
fn shared() -> System {
    System { runs: 2, granted: 2, ..System::default() }
}

/// A token of two uses, and a run that makes two calls.
fn twice() -> System {
    System { calls: 2, granted: 2, ..System::default() }
}

/// A token of one use that must be approved, over which two runs fight.
fn approved() -> System {
    System { runs: 2, approval: true, ..System::default() }
}

/// A token of two uses that must be approved, and a run that makes two calls.
fn approved_twice() -> System {
    System { calls: 2, granted: 2, approval: true, ..System::default() }
}

#[test]
fn no_order_of_events_breaks_a_promise() {
    explore("plain", plain());
    explore("shared", shared());
    explore("twice", twice());
    explore("approved", approved());
    explore("approved twice", approved_twice());
}

/// Which promise a mutant breaks.
fn broken_by(system: System, promise: &'static str) {
    let wanted = HasDiscoveries::AnyOf(BTreeSet::from([promise]));
    let checker = system.checker().threads(2).finish_when(wanted);
    let checker = checker.spawn_bfs().join();
    let found: Vec<_> = checker.discoveries().into_keys().collect();
    assert!(found.contains(&promise), "the mutant was not caught by `{promise}`: {found:?}");
}

#[test]
fn a_refund_after_the_start_is_caught() {
    broken_by(System { rule: mutants::refunds_after_start, ..plain() }, REFUND);
}

#[test]
fn a_rule_without_fences_is_caught() {
    broken_by(System { rule: mutants::knows_no_fence, ..plain() }, FENCES);
}

#[test]
fn an_effect_before_its_mark_is_caught() {
    broken_by(System { effect_first: true, ..plain() }, INTENT);
}

#[test]
fn an_approval_used_again_is_caught() {
    broken_by(System { rule: mutants::keeps_approvals, ..approved() }, EFFECTS);
}

#[test]
fn an_approval_for_another_action_is_caught() {
    broken_by(System { rule: mutants::starts_anything, ..approved() }, APPROVED);
}

#[test]
fn a_lost_answer_taken_for_a_yes_is_caught() {
    broken_by(System { believes_silence: true, ..plain() }, INTENT);
}
