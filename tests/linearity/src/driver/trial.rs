//! Rounds of one scenario, each on a store of its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pgserver::Server;

use crate::Options;
use crate::beside::Beside;
use crate::clock::Clock;
use crate::scenario::{Scenario, Store};
use crate::slot::{self, Random};
use crate::tally::Row;

/// How many tokens a round has, each with one use.
const TOKENS: u32 = 3_000;
/// How many kills a round has at the most.
const KILLS: u32 = 250;

/// One round while it goes on.
#[derive(Debug)]
pub struct Round<'t> {
    pub number: u32,
    pub directory: &'t Path,
    scenario: &'t Scenario,
    worker: &'t Path,
    store: String,
    clock: Option<Clock>,
    beside: Option<Beside>,
    kills: u32,
    steps: Vec<String>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    done: bool,
    at_random: u32,
    at_step: BTreeMap<String, u32>,
    asked: usize,
    /// The longest life, in milliseconds.
    life: u64,
    /// How many effects there were at the last kill.
    effects: usize,
    /// How many kills in a row brought no effect.
    idle: usize,
}

impl Round<'_> {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn is_done(&self) -> bool {
        self.state().done
    }

    pub fn finish(&self) {
        self.state().done = true;
    }

    /// How long a process lives at the most that is killed at random, in milliseconds.
    pub fn longest_life(&self) -> u64 {
        self.state().life
    }

    /// Lets the next ones live longer while nothing happens, as on a machine that has much else to do,
    /// and shorter again when something does.
    fn pace(&self, state: &mut State) {
        let effects = fs::read(self.directory.join("effects")).unwrap_or_default();
        let effects = effects.iter().filter(|byte| **byte == b'\n').count();
        state.idle = if effects > state.effects { 0 } else { state.idle + 1 };
        state.effects = effects;
        state.life = match state.idle {
            0 => (state.life * 9 / 10).max(shortest_life(self.scenario)),
            idle if idle > self.scenario.processes => (state.life * 5 / 4).min(5_000),
            _ => state.life,
        };
    }

    /// Counts a kill, at a named step or at random.
    pub fn killed(&self, step: Option<&str>) {
        let mut state = self.state();
        match step {
            Some(step) => *state.at_step.entry(step.to_owned()).or_default() += 1,
            None => state.at_random += 1,
        }
        self.pace(&mut state);
        let kills = state.at_random + state.at_step.values().sum::<u32>();
        // Kills that hit nothing but starts say nothing: it goes on, within reason, until some hit effects.
        let telling = state.effects >= usize::try_from(kills / 5).unwrap_or(0);
        state.done |= kills >= self.kills && (telling || kills >= 4 * self.kills);
    }

    /// The step whose turn it is, and at which time it is to be deadly. None while nothing happens: a
    /// start that is killed each time leaves more to the next one, which would come to no effect either.
    pub fn next_step(&self, random: &mut Random) -> Option<(String, u64)> {
        let mut state = self.state();
        if state.idle > self.scenario.processes {
            return None;
        }
        state.asked += 1;
        let name = self.steps.get(state.asked % self.steps.len().max(1))?.clone();
        // These are reached once or twice in a life.
        let rare =
            ["open.", "take.", "close.", "rotate.", "erase."].iter().any(|it| name.starts_with(it));
        Some((name, 1 + random.below(if rare { 2 } else { 8 })))
    }

    /// The worker, told what it must know.
    pub fn worker(&self, verb: &str) -> Command {
        let mut command = Command::new(self.worker);
        command.arg(verb);
        command.env("LINEARITY_STORE", &self.store);
        command.env("LINEARITY_SCENARIO", self.scenario.name);
        command.env("LINEARITY_EFFECTS", self.directory.join("effects"));
        command.env("LINEARITY_ACKNOWLEDGED", self.directory.join("acknowledged"));
        if self.scenario.control {
            command.env("LINEARITY_EFFECT_FIRST", "1");
        }
        command.envs(self.beside.iter().flat_map(Beside::variables));
        command.envs(self.clock.iter().flat_map(Clock::variables));
        command
    }

    /// Runs the worker to its end and returns what it printed.
    fn ask(&self, verb: &str, argument: Option<&str>) -> Result<String, String> {
        let mut command = self.worker(verb);
        let output = command.args(argument).stdin(Stdio::null()).output();
        let output = output.map_err(|error| format!("the worker does not start: {error}"))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("`{verb}` ended with {}: {}", output.status, said.trim()))
    }
}

/// Tries a scenario until so many processes were killed. The inner error says why it is skipped.
pub fn run(
    scenario: &Scenario,
    options: &Options,
    kills: u32,
) -> Result<Result<Row, String>, String> {
    let server = match scenario.store {
        Store::Sqlite => None,
        Store::Postgres => match pgserver::start_or_skip() {
            Some(server) => Some(server),
            None => return Ok(Err("no PostgreSQL server is installed".to_owned())),
        },
    };
    let mut row = Row::new(scenario);
    let mut random = Random::new(options.seed);
    let mut number = 0;
    while row.kills() < kills {
        number += 1;
        let directory = tempfile::Builder::new()
            .prefix("linearity-")
            .tempdir()
            .map_err(|error| error.to_string())?;
        let clock = match scenario.clock_jumps.then(|| Clock::find(directory.path())).transpose() {
            Ok(clock) => clock,
            Err(why) => return Ok(Err(why)),
        };
        let store = store(server.as_ref(), directory.path(), number)?;
        let beside = match scenario.witnesses {
            true => Some(Beside::new(directory.path(), &store)?),
            false => None,
        };
        let mut round = Round {
            number,
            directory: directory.path(),
            scenario,
            worker: &options.worker,
            store,
            clock,
            beside,
            kills: (kills - row.kills()).min(KILLS),
            steps: Vec::new(),
            state: Mutex::new(State { life: shortest_life(scenario), ..State::default() }),
        };
        round.steps = round.ask("steps", None)?.lines().map(str::to_owned).collect();
        if scenario.witnesses && !round.steps.iter().any(|step| step == "witnessed") {
            return Ok(Err("the worker waits for no witness".to_owned()));
        }
        round.ask("prepare", Some(&TOKENS.to_string()))?;
        go(&round, server.as_ref(), &mut random)?;
        let report = round.ask("report", None)?;
        round.beside.as_ref().map_or(Ok(()), Beside::verify)?;
        let effects = fs::read_to_string(directory.path().join("effects")).unwrap_or_default();
        let state = round.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        row.add(state.at_random, &state.at_step, &effects, &report);
        eprintln!("  round {number}: {} kills so far, {} effects", row.kills(), row.effects);
        if !scenario.control {
            row.sound().inspect_err(|_| {
                let kept: PathBuf = directory.keep();
                eprintln!("  what it left is kept in {}", kept.display());
            })?;
        }
    }
    Ok(Ok(row))
}

/// The longest life of a process on a quiet machine, in milliseconds: the more of them there are, the
/// longer each needs to come to its first effect.
fn shortest_life(scenario: &Scenario) -> u64 {
    let connect = if scenario.store == Store::Postgres { 200 } else { 0 };
    150 + 40 * scenario.processes as u64 + connect
}

/// An empty place for a store.
fn store(server: Option<&Server>, directory: &Path, number: u32) -> Result<String, String> {
    if let Some(server) = server {
        let name = format!("round{number}");
        server.sql("postgres", &format!("CREATE DATABASE {name}"));
        return Ok(server.url("postgres", &name));
    }
    let path = directory.join("store");
    fs::create_dir(&path).map_err(|error| error.to_string())?;
    Ok(path.display().to_string())
}

/// Kills until the round is done.
fn go(round: &Round<'_>, server: Option<&Server>, random: &mut Random) -> Result<(), String> {
    let mut next = || Random::new(random.below(u64::MAX));
    std::thread::scope(|scope| {
        let slots: Vec<_> = (0..round.scenario.processes)
            .map(|slot| {
                let random = next();
                scope.spawn(move || {
                    let ended = slot::keep(round, slot, random);
                    // Nobody else needs to go on where one found something.
                    round.finish();
                    ended
                })
            })
            .collect();
        let beside: Vec<_> = round
            .beside
            .iter()
            .flat_map(|beside| beside.tasks())
            .map(|task| {
                let random = next();
                scope.spawn(move || task.keep(round, random).inspect_err(|_| round.finish()))
            })
            .collect();
        let mut random = next();
        if let Some(clock) = &round.clock {
            let random = next();
            scope.spawn(|| clock.jump(random, || round.is_done()));
        }
        if let (Some(server), true) = (server, round.scenario.server_restarts) {
            while !round.is_done() {
                std::thread::sleep(Duration::from_millis(700 + random.below(1_500)));
                if random.below(2) == 0 {
                    server.crash()
                } else {
                    server.stop()
                }
                server.start_again();
            }
        }
        slots
            .into_iter()
            .chain(beside)
            .try_for_each(|slot| slot.join().unwrap_or(Err("a panic".to_owned())))
    })
}
