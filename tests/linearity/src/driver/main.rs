//! The linearity benchmark: real processes with real effects are killed at random moments and at named
//! steps, and at the end it is counted how often each token had its effect.
//!
//! It knows nothing of any ledger. What spends is a worker, a program that keeps the contract in
//! `docs/linearity.md`; `--worker` names another one than this project's.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "test support: stopping at the first surprise is what a test wants"
)]

mod beside;
mod clock;
mod scenario;
mod slot;
mod tally;
mod trial;

use std::path::PathBuf;
use std::process::ExitCode;

use scenario::{SCENARIOS, Scenario, Store};
use tally::Row;

const USAGE: &str = "\
usage: cargo xtask linearity [--kills N] [--store sqlite|postgres] [--scenario NAME] [--seed N]
                             [--worker PROGRAM]
  --kills N         how many processes are killed in all (default 500)
  --store NAME      one of the stores alone
  --scenario NAME   one scenario alone, with its control arm: one, eight, retry, approval, clock,
                    witness, hosts, restart
  --seed N          what is random begins with this (default 1)
  --worker PROGRAM  tries another system; docs/linearity.md states what the program must do
";

struct Options {
    kills: u32,
    store: Option<Store>,
    scenario: Option<String>,
    seed: u64,
    worker: PathBuf,
}

fn parse() -> Result<Options, String> {
    let beside = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut options = Options {
        kills: 500,
        store: None,
        scenario: None,
        seed: 1,
        worker: beside.with_file_name("linearity-worker"),
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("`{word}` needs a value"))?;
        let number = || value.parse().map_err(|_| format!("`{word}` needs a number"));
        match word.as_str() {
            "--kills" => options.kills = u32::try_from(number()?).unwrap_or(u32::MAX),
            "--seed" => options.seed = number()?,
            "--worker" => options.worker = value.into(),
            "--store" => options.store = Some(Store::named(&value)?),
            "--scenario" if SCENARIOS.iter().any(|known| known.name == value) => {
                options.scenario = Some(value);
            }
            _ => return Err(format!("`{word} {value}` is not known")),
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    let options = match parse() {
        Ok(options) => options,
        Err(message) => {
            eprintln!("error: {message}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    let chosen = |scenario: &&Scenario| {
        options.store.is_none_or(|store| store == scenario.store)
            && options
                .scenario
                .as_ref()
                .is_none_or(|name| scenario.control || *name == scenario.name)
    };
    let chosen: Vec<&Scenario> = SCENARIOS.iter().filter(chosen).collect();
    let counted = u32::try_from(chosen.iter().filter(|it| !it.control).count()).unwrap();
    if counted == 0 {
        return Err("no scenario is of that name and store".to_owned());
    }
    let share = options.kills.div_ceil(counted);
    let mut rows: Vec<Row> = Vec::new();
    for scenario in chosen {
        // The control arm needs only as many as show that doubles are seen.
        let kills = if scenario.control { share.clamp(10, 40) } else { share };
        eprintln!("{} · {}: {kills} kills", scenario.store, scenario.name);
        match trial::run(scenario, options, kills)? {
            Ok(row) => rows.push(row),
            Err(why) => eprintln!("skipped: {} · {}: {why}", scenario.store, scenario.name),
        }
    }
    println!("{}", tally::table(&rows));
    tally::judge(&rows)
}
