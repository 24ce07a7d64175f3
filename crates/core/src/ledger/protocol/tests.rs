use super::*;

const ACTION: &[u8] = b"kubectl get pods";
const OPEN: GrantPosition = GrantPosition { revoked: false, expires: None, quarantined: false };
const START: Transition = Transition::Start { held: None };

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn token(requires_approval: bool) -> TokenPosition {
    TokenPosition { granted: 3, left: 2, expires: None, requires_approval, locked: false }
}

fn place(attempt: Option<UseState>, requires_approval: bool) -> Position {
    Position { run: 1, grant: OPEN, token: token(requires_approval), attempt }
}

fn event(transition: Transition, now: i64) -> Event {
    Event { now: at(now), holder: 1, action: Digest::of(ACTION), transition }
}

/// A step on a token that needs an approval.
fn step(state: Option<&UseState>, transition: Transition, now: i64) -> Result<UseState, Conflict> {
    next(&place(state.cloned(), true), &event(transition, now)).map(|next| next.attempt)
}

fn reserve(now: i64) -> UseState {
    step(None, Transition::Reserve { lease_ms: 100 }, now).unwrap()
}

fn started() -> UseState {
    next(&place(None, false), &event(START, 0)).unwrap().attempt
}

#[test]
fn a_use_goes_from_reserved_to_started_once() {
    let held = reserve(0);
    let start = Transition::Start { held: Some(1) };
    assert_eq!(step(None, START, 0), Err(Conflict::NotApproved), "there is no way around the hold");
    assert_eq!(step(Some(&held), start.clone(), 100), Err(Conflict::NotApproved));
    let approve = Transition::Approve { not_after: at(90) };
    let held = step(Some(&held), approve.clone(), 50).unwrap();
    assert!(step(Some(&held), approve, 50).is_err(), "an approval is given once");
    assert_eq!(step(Some(&held), start.clone(), 91), Err(Conflict::ApprovalExpired(at(90))));
    let started = step(Some(&held), start.clone(), 90).unwrap();
    for again in [start, START] {
        assert!(step(Some(&started), again, 90).is_err());
    }
}

#[test]
fn a_late_or_changed_start_is_refused() {
    let held = step(Some(&reserve(0)), Transition::Approve { not_after: at(900) }, 1).unwrap();
    let start = Transition::Start { held: Some(1) };
    assert_eq!(step(Some(&held), start.clone(), 101), Err(Conflict::LeaseExpired));
    let other = Event { action: Digest::of(b"other"), ..event(start, 1) };
    assert_eq!(next(&place(Some(held.clone()), true), &other), Err(Conflict::OtherAction));
    assert_eq!(step(Some(&held), Transition::Start { held: Some(0) }, 1), Err(Conflict::Fenced));
}

#[test]
fn an_approval_outlives_the_hold_but_not_its_own_end_nor_another_action() {
    let approved = step(Some(&reserve(0)), Transition::Approve { not_after: at(900) }, 1).unwrap();
    let free = step(Some(&approved), Transition::Recover, 2).unwrap();
    let again = Transition::Reserve { lease_ms: 100 };
    let held = step(Some(&free), again.clone(), 200).unwrap();
    assert_eq!(held.fence(), 3, "fences grow");
    assert!(step(Some(&held), Transition::Start { held: Some(3) }, 250).is_ok());
    let late = step(Some(&free), again.clone(), 901).unwrap();
    assert_eq!(
        step(Some(&late), Transition::Start { held: Some(3) }, 901),
        Err(Conflict::NotApproved)
    );
    let other = Event { action: Digest::of(b"other"), ..event(again, 200) };
    let other = next(&place(Some(free), true), &other).unwrap().attempt;
    assert!(matches!(other, UseState::Reserved { approved_until: None, .. }));
    let given_back = step(Some(&approved), Transition::Release { fence: 1 }, 2).unwrap();
    assert!(matches!(given_back, UseState::Released { approved_until: None, .. }));
}

#[test]
fn after_the_start_a_use_never_comes_back_but_by_its_living_owner() {
    let started = started();
    assert!(step(Some(&started), Transition::Release { fence: 1 }, 0).is_err());
    assert!(step(Some(&started), Transition::Expire, 9_999).is_err());
    let never = |fence| event(Transition::NeverBegan { fence }, 0);
    let here = place(Some(started.clone()), false);
    assert_eq!(next(&here, &never(2)), Err(Conflict::Fenced));
    assert_eq!(next(&here, &never(1)).unwrap().left, 3);
    let lost = next(&here, &event(Transition::Recover, 1)).unwrap();
    assert_eq!(lost.left, 2, "unknown means spent");
    assert_eq!(lost.attempt, UseState::Ended { fence: 1, verdict: Verdict::Unknown });
    assert!(next(&place(Some(lost.attempt), false), &never(1)).is_err());
}

#[test]
fn recovery_gives_back_only_what_was_held_and_fences_the_old_owner() {
    let held = reserve(0);
    assert!(step(Some(&held), Transition::Expire, 100).is_err(), "its lease still runs");
    let here = place(Some(held), true);
    let free = next(&here, &event(Transition::Expire, 101)).unwrap();
    assert_eq!(free.left, 3);
    let late = Transition::Start { held: Some(1) };
    assert_eq!(step(Some(&free.attempt), late, 50), Err(Conflict::Fenced));
}

#[test]
fn only_an_unknown_outcome_is_resolved_once_and_by_whom_may() {
    let unknown = UseState::Ended { fence: 4, verdict: Verdict::Unknown };
    let by = |by: Resolver, verdict| Transition::Resolve { by, verdict };
    let person = || Resolver::Person("ann".to_owned());
    let owner = |fence| Resolver::Owner { fence };
    let say = |state: &UseState, transition| {
        // Nobody who says it needs to hold the run.
        next(&place(Some(state.clone()), false), &Event { holder: 0, ..event(transition, 0) })
    };
    assert_eq!(say(&unknown, by(owner(3), Verdict::Failed)), Err(Conflict::Fenced));
    let done = say(&unknown, by(owner(4), Verdict::Failed)).unwrap();
    assert_eq!(done.left, 2, "it stays spent");
    assert!(say(&unknown, by(person(), Verdict::Succeeded)).is_ok());
    for (state, verdict) in [
        (unknown, Verdict::Unknown),
        (done.attempt, Verdict::Succeeded),
        (UseState::Started { fence: 4 }, Verdict::Succeeded),
        (UseState::Ended { fence: 4, verdict: Verdict::Failed }, Verdict::Succeeded),
    ] {
        assert!(say(&state, by(person(), verdict)).is_err(), "{state:?}");
    }
}

#[test]
fn what_has_ended_takes_no_spend_but_seals_what_was_started() {
    let ended = [
        (GrantPosition { revoked: true, ..OPEN }, token(false), Conflict::Revoked),
        (GrantPosition { quarantined: true, ..OPEN }, token(false), Conflict::Quarantined),
        (
            GrantPosition { expires: Some(at(5)), ..OPEN },
            token(false),
            Conflict::GrantExpired(at(5)),
        ),
        (OPEN, TokenPosition { expires: Some(at(5)), ..token(false) }, Conflict::Expired(at(5))),
        (OPEN, TokenPosition { locked: true, ..token(false) }, Conflict::Locked),
        (OPEN, TokenPosition { left: 0, ..token(false) }, Conflict::NoUseLeft),
    ];
    for (grant, token, why) in ended {
        let mut here = Position { run: 1, grant, token, attempt: None };
        assert_eq!(next(&here, &event(START, 5)), Err(why.clone()));
        here.attempt = Some(started());
        let finish = Transition::Finish { fence: 1, verdict: Verdict::Succeeded };
        assert!(next(&here, &event(finish, 5)).is_ok());
        if why != Conflict::NoUseLeft {
            here.attempt = Some(UseState::Reserved {
                fence: 1,
                lease_until: at(9),
                action: Digest::of(ACTION),
                approved_until: Some(at(9)),
            });
            let start = Transition::Start { held: Some(1) };
            assert_eq!(next(&here, &event(start, 5)), Err(why), "a hold is no way around it");
        }
    }
}

#[test]
fn whoever_lost_the_run_changes_nothing() {
    let here = place(Some(started()), false);
    for transition in [
        Transition::Finish { fence: 1, verdict: Verdict::Succeeded },
        Transition::NeverBegan { fence: 1 },
        Transition::Recover,
    ] {
        let old = Event { holder: 0, ..event(transition, 0) };
        assert_eq!(next(&here, &old), Err(Conflict::RunLost));
    }
}
