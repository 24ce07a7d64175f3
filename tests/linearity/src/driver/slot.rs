//! A place for one process: started, killed, started again.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::trial::Round;

/// SIGKILL, signal(7).
const KILL: i32 = 9;
/// How long a process may take at least to reach the step at which it is to die.
const PATIENCE: Duration = Duration::from_millis(800);
/// How often in a row a process may end without having been killed.
const MOST_LOST: u32 = 200;

/// A small generator (xorshift).
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        random.below(2);
        random
    }

    pub fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}

/// Keeps one process going until the round is done.
///
/// # Errors
///
/// What a process said that ended in a way in which it must never end.
pub fn keep(round: &Round<'_>, number: usize, mut random: Random) -> Result<(), String> {
    let said = round.directory.join(format!("said-{number}"));
    let mut lost = 0;
    for life in 0.. {
        if round.is_done() {
            break;
        }
        let step = (random.below(2) == 0).then(|| round.next_step(&mut random)).flatten();
        let mut command = round.worker("work");
        command.env("LINEARITY_NAME", format!("w{}-{number}-{life}", round.number));
        command.env("LINEARITY_SEED", random.below(u64::MAX).to_string());
        if let Some((name, count)) = &step {
            command.env("LINEARITY_STEP", format!("{name}:{count}"));
        }
        let mut process = spawn(&mut command, &said)?;
        let until = match step {
            Some(_) => PATIENCE.max(Duration::from_millis(2 * round.longest_life())),
            None => Duration::from_millis(5 + random.below(round.longest_life())),
        };
        match wait(&mut process, until, round)? {
            None => {
                process.kill().map_err(|error| error.to_string())?;
                process.wait().map_err(|error| error.to_string())?;
                round.killed(None);
                lost = 0;
            }
            Some(status) if status.signal() == Some(KILL) => {
                round.killed(step.as_ref().map(|(name, _)| name.as_str()));
                lost = 0;
            }
            // Nothing is left to spend.
            Some(status) if status.code() == Some(0) => round.finish(),
            // It lost its run or its ledger, which is no promise broken.
            Some(status) if status.code() == Some(1) && lost < MOST_LOST => {
                lost += 1;
                std::thread::sleep(Duration::from_millis(20));
            }
            Some(status) => {
                let said = fs::read_to_string(&said).unwrap_or_default();
                return Err(format!("a worker ended with {status}: {}", said.trim()));
            }
        }
    }
    Ok(())
}

fn spawn(command: &mut Command, said: &std::path::Path) -> Result<Child, String> {
    let said = File::create(said).map_err(|error| error.to_string())?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
    command.spawn().map_err(|error| format!("the worker does not start: {error}"))
}

/// Waits so long for a process to end by itself.
fn wait(
    process: &mut Child,
    until: Duration,
    round: &Round<'_>,
) -> Result<Option<ExitStatus>, String> {
    let begun = Instant::now();
    while begun.elapsed() < until {
        if let Some(status) = process.try_wait().map_err(|error| error.to_string())? {
            return Ok(Some(status));
        }
        if round.is_done() {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(None)
}
