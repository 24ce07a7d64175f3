//! A long walk of random steps on a real ledger and on the maps in memory: both must answer the same.

use lar_core::ledger::{
    Conflict, Definitions, Granted, Hold, Ledger, LedgerError, Resolution, Resolver, Taking,
    Transition,
};
use lar_core::outcome::Verdict;
use memory_ledger::Memory;

use super::{Fresh, on_every_ledger};
use crate::support::*;

on_every_ledger! { random_steps_are_answered_as_by_the_maps }

/// A small generator (xorshift), so that a failing walk can be walked again by its seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// What a step came to, without the times.
#[derive(Debug, PartialEq)]
enum Answer {
    Done { seq: u64, fence: u64, left: u32 },
    Refused(Conflict),
    Other(String),
}

fn answer(result: Result<lar_core::ledger::Receipt, LedgerError>) -> Answer {
    match result {
        Ok(receipt) => {
            let (seq, fence, left) = (receipt.seq, receipt.fence, receipt.uses_left);
            Answer::Done { seq, fence, left }
        }
        Err(LedgerError::Conflict(conflict)) => Answer::Refused(conflict),
        Err(other) => Answer::Other(other.to_string()),
    }
}

/// One step of the walk, made on whichever ledger.
#[derive(Debug, Clone)]
enum Step {
    Use { token: &'static str, turn: u64, transition: Transition },
    Note,
    Unlock,
    TakeOver,
    Resolve { turn: u64, verdict: Verdict },
    OldHold { turn: u64 },
}

fn step_of(dice: &mut Dice) -> Step {
    let turn = dice.roll(24);
    let token = ["plain", "asked", "locked"][usize::try_from(turn % 3).unwrap()];
    let fence = dice.roll(2) + 1;
    let verdict = [Verdict::Succeeded, Verdict::Failed, Verdict::Unknown]
        [usize::try_from(dice.roll(3)).unwrap()];
    let not_after = lar_core::time::Timestamp::from_millis(i64::MAX);
    let transition = match dice.roll(16) {
        0..=2 => Transition::Reserve { lease_ms: 3_600_000 },
        3..=4 => Transition::Approve { not_after },
        5 => Transition::Release { fence },
        6..=8 => Transition::Start { held: None },
        9..=10 => Transition::Start { held: Some(fence) },
        11..=13 => Transition::Finish { fence, verdict },
        14 => Transition::NeverBegan { fence },
        _ => {
            return match dice.roll(8) {
                0..=1 => Step::TakeOver,
                2 => Step::Unlock,
                3 => Step::Note,
                4 => Step::OldHold { turn },
                _ => Step::Resolve { turn, verdict },
            };
        }
    };
    Step::Use { token, turn, transition }
}

async fn make(ledger: &dyn Ledger, hold: &mut Hold, step: &Step) -> Answer {
    match step.clone() {
        Step::Use { token, turn, transition } => {
            answer(step_on(ledger, hold, token, turn, transition).await)
        }
        Step::Note => answer(ledger.commit(note(hold)).await),
        Step::Unlock => {
            let mut entry = note(hold);
            entry.unlock = vec!["locked".to_owned()];
            answer(ledger.commit(entry).await)
        }
        Step::TakeOver => {
            let gone = ledger.runs().await.unwrap()[0].owner.clone();
            let taking = Taking {
                run: hold.run.clone(),
                owner: format!("{gone}+"),
                lease_ms: 60_000,
                gone: Some(gone),
                definitions: Some(Definitions::from_text("{}")),
                runner: None,
            };
            match ledger.take_run(taking).await {
                Ok(opened) => {
                    *hold = opened.hold;
                    let left = opened.tokens.iter().map(|token| token.uses_left).sum();
                    Answer::Done { seq: opened.receipt.seq, fence: hold.fence, left }
                }
                Err(error) => Answer::Other(error.to_string()),
            }
        }
        Step::Resolve { turn, verdict } => {
            let resolution = Resolution {
                run: hold.run.clone(),
                attempt: attempt(&hold.run, turn),
                by: Resolver::Person("ann".to_owned()),
                verdict,
                note: String::new(),
            };
            answer(ledger.resolve(resolution).await)
        }
        Step::OldHold { turn } => {
            let old = Hold { run: hold.run.clone(), fence: hold.fence - 1 };
            answer(step_on(ledger, &old, "plain", turn, START).await)
        }
    }
}

fn tokens() -> Vec<Granted> {
    vec![
        granted("plain", 4),
        with_approval("asked", 3),
        Granted { candidate: true, ..granted("locked", 2) },
    ]
}

async fn random_steps_are_answered_as_by_the_maps(fresh: Fresh) {
    let real = fresh.ledger.as_ref();
    let mut done = 0;
    for seed in 1..=8u64 {
        let maps = Memory::default();
        let name = run(&format!("walk-{seed}"));
        let mut here = memory_ledger::open(real, &name, tokens()).await.unwrap().hold;
        let mut there = memory_ledger::open(&maps, &name, tokens()).await.unwrap().hold;
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for number in 0..120 {
            let step = step_of(&mut dice);
            let (got, wanted) =
                (make(real, &mut here, &step).await, make(&maps, &mut there, &step).await);
            assert_eq!(got, wanted, "seed {seed}, step {number}: {step:?}");
            done += u64::from(matches!(got, Answer::Done { .. }));
        }
        real.close_run(closing(&here)).await.unwrap();
        maps.close_run(closing(&there)).await.unwrap();
        let grant = lar_core::ledger::GrantId::of_run(&name);
        let (got, wanted) = (real.grant(&grant).await.unwrap(), maps.grant(&grant).await.unwrap());
        assert_eq!(got.unwrap().tokens, wanted.unwrap().tokens, "seed {seed}");
        let (got, wanted) =
            (real.attempts(&name).await.unwrap(), maps.attempts(&name).await.unwrap());
        let states = |attempts: Vec<lar_core::ledger::Attempt>| {
            attempts.into_iter().map(|a| (a.id, a.token, a.holder, a.seq)).collect::<Vec<_>>()
        };
        assert_eq!(states(got), states(wanted), "seed {seed}");
    }
    assert!(done > 100, "the walk must get somewhere: {done}");
}
