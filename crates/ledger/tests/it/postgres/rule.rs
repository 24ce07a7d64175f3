//! The database's rule and the core's are asked the same, about every state and every transition.

use lar_core::json::Digest;
use lar_core::ledger::Resolver;
use lar_core::ledger::protocol::{
    self, Conflict, Event, GrantPosition, Next, Position, TokenPosition, Transition, UseState,
};
use lar_core::outcome::Verdict;
use lar_core::time::Timestamp;
use tokio_postgres::{Client, NoTls, Row};

/// The moment at which everything is asked.
const NOW: i64 = 100;
const BEFORE: i64 = 50;
const AFTER: i64 = 150;
const VERDICTS: [Verdict; 3] = [Verdict::Succeeded, Verdict::Failed, Verdict::Unknown];

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn action(name: &str) -> Digest {
    Digest::of(name)
}

fn states() -> Vec<Option<UseState>> {
    let mut states = vec![None, Some(UseState::NeverBegan { fence: 1 })];
    for fence in [1, 2] {
        states.push(Some(UseState::Started { fence }));
        for verdict in VERDICTS {
            states.push(Some(UseState::Ended { fence, verdict }));
        }
        for approved in [None, Some(BEFORE), Some(NOW), Some(AFTER)] {
            let approved_until = approved.map(at);
            for action in [action("a"), action("b")] {
                states.push(Some(UseState::Released { fence, action, approved_until }));
                for lease in [BEFORE, NOW, AFTER] {
                    let lease_until = at(lease);
                    let held = UseState::Reserved { fence, lease_until, action, approved_until };
                    states.push(Some(held));
                }
            }
        }
    }
    for verdict in [Verdict::Succeeded, Verdict::Failed] {
        states.push(Some(UseState::Resolved { fence: 1, verdict }));
    }
    states
}

fn transitions() -> Vec<Transition> {
    let mut transitions = vec![
        Transition::Reserve { lease_ms: 10 },
        Transition::Reserve { lease_ms: 260_000_000_000_000 },
        Transition::Approve { not_after: at(AFTER) },
        Transition::Start { held: None },
        Transition::Recover,
        Transition::Expire,
    ];
    for fence in [1, 2] {
        transitions.push(Transition::Release { fence });
        transitions.push(Transition::Start { held: Some(fence) });
        transitions.push(Transition::NeverBegan { fence });
        for verdict in VERDICTS {
            transitions.push(Transition::Finish { fence, verdict });
            transitions.push(Transition::Resolve { by: Resolver::Owner { fence }, verdict });
        }
    }
    for verdict in VERDICTS {
        let by = Resolver::Person("p".to_owned());
        transitions.push(Transition::Resolve { by, verdict });
    }
    transitions
}

/// Grants and tokens: every number of uses left, and every way in which they may not stand, one by
/// one and two at once, so that the order of the refusals shows.
fn places() -> Vec<(GrantPosition, TokenPosition)> {
    let stands = (
        GrantPosition { revoked: false, expires: None, quarantined: false },
        TokenPosition {
            granted: 2,
            left: 1,
            expires: None,
            requires_approval: false,
            locked: false,
        },
    );
    type Flaw = fn(&mut (GrantPosition, TokenPosition));
    let flaws: [Flaw; 9] = [
        |_| {},
        |place| place.0.revoked = true,
        |place| place.0.quarantined = true,
        |place| place.0.expires = Some(at(NOW)),
        |place| place.0.expires = Some(at(AFTER)),
        |place| place.1.expires = Some(at(BEFORE)),
        |place| place.1.locked = true,
        |place| place.1.left = 0,
        |place| place.1.left = 2,
    ];
    let mut places = Vec::new();
    for approval in [false, true] {
        for (index, one) in flaws.iter().enumerate() {
            for two in flaws.iter().skip(index) {
                let mut place = stands.clone();
                place.1.requires_approval = approval;
                one(&mut place);
                two(&mut place);
                places.push(place);
            }
        }
    }
    places
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_databases_rule_is_the_cores() {
    let Some(url) = crate::server::new_database() else { return };
    drop(crate::server::connect(&url));
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    let places = places();
    let mut asked = 0;
    for state in states() {
        let mut questions = Vec::new();
        for transition in transitions() {
            for (grant, token) in &places {
                for holder in [1, 2] {
                    let (grant, token) = (grant.clone(), token.clone());
                    let position = Position { run: 1, grant, token, attempt: state.clone() };
                    let transition = transition.clone();
                    let event = Event { now: at(NOW), holder, action: action("a"), transition };
                    questions.push((position, event));
                }
            }
        }
        let rows = ask(&client, &questions).await;
        assert_eq!(rows.len(), questions.len());
        for (row, (position, event)) in rows.iter().zip(&questions) {
            let core = protocol::next(position, event);
            let here = answer(row, position);
            assert_eq!(here, core, "{position:?}\n{event:?}");
            asked += 1;
        }
    }
    assert!(asked > 200_000, "{asked}");
}

async fn ask(client: &Client, questions: &[(Position, Event)]) -> Vec<Row> {
    let states: Vec<State> =
        questions.iter().map(|(position, _)| State::of(position.attempt.as_ref())).collect();
    let steps: Vec<Step> = questions.iter().map(|(_, event)| Step::of(&event.transition)).collect();
    let of = |question: &(Position, Event)| question.0.clone();
    let positions: Vec<Position> = questions.iter().map(of).collect();
    let sql = "SELECT (lar.next(1, w.revoked, w.grant_expires, w.quarantined, 2, w.uses_left,
            w.expires, w.approval, w.locked, w.state, w.fence, w.lease_until, w.held_for,
            w.approved_until, $1, w.holder, $2, w.transition, w.held, w.lease_ms, w.not_after,
            w.verdict)).*
        FROM unnest($3::bool[], $4::bigint[], $5::bool[], $6::bigint[], $7::bigint[], $8::bool[],
            $9::bool[], $10::text[], $11::bigint[], $12::bigint[], $13::bytea[], $14::bigint[],
            $15::bigint[], $16::text[], $17::bigint[], $18::bigint[], $19::bigint[], $20::text[])
            WITH ORDINALITY AS w (revoked, grant_expires, quarantined, uses_left, expires, approval,
            locked, state, fence, lease_until, held_for, approved_until, holder, transition, held,
            lease_ms, not_after, verdict, place)
        ORDER BY w.place";
    let column = |read: fn(&Position) -> Option<i64>| -> Vec<Option<i64>> {
        positions.iter().map(read).collect()
    };
    let flags = |read: fn(&Position) -> bool| -> Vec<bool> { positions.iter().map(read).collect() };
    client
        .query(
            sql,
            &[
                &NOW,
                &action("a").as_bytes().as_slice(),
                &flags(|p| p.grant.revoked),
                &column(|p| p.grant.expires.map(Timestamp::as_millis)),
                &flags(|p| p.grant.quarantined),
                &column(|p| Some(i64::from(p.token.left))),
                &column(|p| p.token.expires.map(Timestamp::as_millis)),
                &flags(|p| p.token.requires_approval),
                &flags(|p| p.token.locked),
                &states.iter().map(|s| s.word.clone()).collect::<Vec<_>>(),
                &states.iter().map(|s| s.fence).collect::<Vec<_>>(),
                &states.iter().map(|s| s.lease_until).collect::<Vec<_>>(),
                &states.iter().map(|s| s.action.clone()).collect::<Vec<_>>(),
                &states.iter().map(|s| s.approved_until).collect::<Vec<_>>(),
                &questions.iter().map(|(_, e)| signed(e.holder)).collect::<Vec<_>>(),
                &steps.iter().map(|s| s.word).collect::<Vec<_>>(),
                &steps.iter().map(|s| s.held).collect::<Vec<_>>(),
                &steps.iter().map(|s| s.lease_ms).collect::<Vec<_>>(),
                &steps.iter().map(|s| s.not_after).collect::<Vec<_>>(),
                &steps.iter().map(|s| s.verdict).collect::<Vec<_>>(),
            ],
        )
        .await
        .unwrap()
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap()
}

/// A state as its columns.
#[derive(Default)]
struct State {
    word: Option<String>,
    fence: Option<i64>,
    lease_until: Option<i64>,
    action: Option<Vec<u8>>,
    approved_until: Option<i64>,
}

impl State {
    fn of(state: Option<&UseState>) -> Self {
        let Some(state) = state else { return Self::default() };
        let mut columns = Self { fence: Some(signed(state.fence())), ..Self::default() };
        let word = match state {
            UseState::Reserved { lease_until, action, approved_until, .. } => {
                columns.lease_until = Some(lease_until.as_millis());
                columns.action = Some(action.as_bytes().to_vec());
                columns.approved_until = approved_until.map(Timestamp::as_millis);
                "reserved"
            }
            UseState::Released { action, approved_until, .. } => {
                columns.action = Some(action.as_bytes().to_vec());
                columns.approved_until = approved_until.map(Timestamp::as_millis);
                "released"
            }
            UseState::Started { .. } => "started",
            UseState::Ended { verdict, .. } => verdict.as_str(),
            UseState::Resolved { verdict: Verdict::Succeeded, .. } => "resolved_succeeded",
            UseState::Resolved { .. } => "resolved_failed",
            UseState::NeverBegan { .. } => "never_began",
        };
        columns.word = Some(word.to_owned());
        // The action stands in the row whatever the state.
        columns.action = columns.action.or_else(|| Some(action("a").as_bytes().to_vec()));
        columns
    }
}

/// A transition as its columns.
#[derive(Default)]
struct Step {
    word: &'static str,
    held: Option<i64>,
    lease_ms: Option<i64>,
    not_after: Option<i64>,
    verdict: Option<&'static str>,
}

impl Step {
    fn of(transition: &Transition) -> Self {
        let step = |word| Self { word, ..Self::default() };
        match transition {
            Transition::Reserve { lease_ms } => {
                Self { lease_ms: Some(signed(*lease_ms)), ..step("reserve") }
            }
            Transition::Approve { not_after } => {
                Self { not_after: Some(not_after.as_millis()), ..step("approve") }
            }
            Transition::Release { fence } => Self { held: Some(signed(*fence)), ..step("release") },
            Transition::Start { held } => Self { held: held.map(signed), ..step("start") },
            Transition::Finish { fence, verdict } => Self {
                held: Some(signed(*fence)),
                verdict: Some(verdict.as_str()),
                ..step("finish")
            },
            Transition::NeverBegan { fence } => {
                Self { held: Some(signed(*fence)), ..step("never_began") }
            }
            Transition::Recover => step("recover"),
            Transition::Expire => step("expire"),
            Transition::Resolve { by, verdict } => {
                let held = match by {
                    Resolver::Owner { fence } => Some(signed(*fence)),
                    Resolver::Person(_) | Resolver::Target(_) => None,
                };
                Self { held, verdict: Some(verdict.as_str()), ..step("resolve") }
            }
        }
    }
}

/// What the database says, in the core's words.
fn answer(row: &Row, position: &Position) -> Result<Next, Conflict> {
    let until = || at(row.get::<_, i64>("detail"));
    if let Some(code) = row.get::<_, Option<&str>>("conflict") {
        return Err(match code {
            "run_lost" => Conflict::RunLost,
            "no_use_left" => Conflict::NoUseLeft,
            "already_attempted" => Conflict::AlreadyAttempted,
            "not_approved" => Conflict::NotApproved,
            "lease_expired" => Conflict::LeaseExpired,
            "other_action" => Conflict::OtherAction,
            "out_of_order" => Conflict::OutOfOrder,
            "fenced" => Conflict::Fenced,
            "revoked" => Conflict::Revoked,
            "quarantined" => Conflict::Quarantined,
            "locked" => Conflict::Locked,
            "approval_expired" => Conflict::ApprovalExpired(until()),
            "grant_expired" => Conflict::GrantExpired(until()),
            "expired" => Conflict::Expired(until()),
            other => panic!("{other}"),
        });
    }
    let fence = u64::try_from(row.get::<_, i64>("fence")).unwrap();
    let bytes = || -> Digest {
        let bytes: &[u8] = row.get("action");
        Digest::from_bytes(bytes.try_into().unwrap())
    };
    let approved_until = row.get::<_, Option<i64>>("approved_until").map(at);
    let ended = |verdict| UseState::Ended { fence, verdict };
    let attempt = match row.get("state") {
        "reserved" => UseState::Reserved {
            fence,
            lease_until: at(row.get("lease_until")),
            action: bytes(),
            approved_until,
        },
        "released" => UseState::Released { fence, action: bytes(), approved_until },
        "started" => UseState::Started { fence },
        "never_began" => UseState::NeverBegan { fence },
        "succeeded" => ended(Verdict::Succeeded),
        "failed" => ended(Verdict::Failed),
        "unknown" => ended(Verdict::Unknown),
        "resolved_succeeded" => UseState::Resolved { fence, verdict: Verdict::Succeeded },
        "resolved_failed" => UseState::Resolved { fence, verdict: Verdict::Failed },
        other => panic!("{other}"),
    };
    let change: i32 = row.get("change");
    let left = u32::try_from(i64::from(position.token.left) + i64::from(change)).unwrap();
    Ok(Next { attempt, left })
}
