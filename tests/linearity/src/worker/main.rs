//! The worker of the linearity benchmark that spends by this project's own ledgers. `docs/linearity.md`
//! states the contract, by which any other system can be tried.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "test support: stopping at the first surprise is what a test wants"
)]

mod keys;
mod report;
mod scenario;
mod steps;
mod watched;
mod witnesses;
mod work;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use lar_core::ledger::{Definitions, GrantId, Granted, Issuing, Ledger, LedgerError};
use lar_core::token::{Token, WaitToken, Witness};
use lar_ledger::{Address, Environment};
use linear_agentics::{ComposeError, LedgerPlace};

use scenario::Scenario;
use steps::{Lines, Steps};
use watched::Watched;
use witnesses::Witnesses;
use work::{Stop, Worker};

/// Tokens of one grant: as many as the accounts at the end of a run have room for.
const TOKENS: usize = 100;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let (verb, count) = (words.next().unwrap_or_default(), words.next());
    let scenario = Scenario::from_env();
    let store = std::env::var("LINEARITY_STORE").unwrap_or_default();
    let done = match verb.as_str() {
        "steps" => {
            scenario.steps().iter().for_each(|step| println!("{step}"));
            Ok(())
        }
        "prepare" => prepare(&store, &scenario, count.and_then(|n| n.parse().ok())).await,
        "work" => work(&store, scenario).await,
        "report" => tell(&store, &scenario).await,
        _ => Err(Stop::Broken("say `steps`, `prepare COUNT`, `work` or `report`".to_owned())),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stop::Lost(why)) => {
            eprintln!("lost: {why}");
            ExitCode::from(1)
        }
        Err(Stop::Broken(why)) => {
            eprintln!("broken: {why}");
            ExitCode::from(3)
        }
    }
}

/// What every grant pins.
fn definitions() -> Definitions {
    Definitions::from_text("{\"a\":1}")
}

/// A token for one use.
fn token(name: &str, scenario: &Scenario) -> Token {
    let token = WaitToken::new(name, 1).requires_approval(scenario.approves());
    match scenario.witnesses() {
        true => token.witness(Witness::BeforeEffect).build().unwrap(),
        false => token.build().unwrap(),
    }
}

fn is_postgres(store: &str) -> bool {
    store.starts_with("postgres")
}

async fn open(
    store: &str,
    scenario: &Scenario,
    steps: &Arc<Steps>,
) -> Result<Arc<dyn Ledger>, LedgerError> {
    if scenario.witnesses() {
        let place = match is_postgres(store) {
            true => LedgerPlace::from(store),
            false => LedgerPlace::from(Path::new(store).join("ledger.db")),
        };
        linear_agentics::open_ledger(Some(&place)).await.map_err(|error| match error {
            ComposeError::Ledger(error) => error,
            other => LedgerError::Damaged(other.to_string()),
        })
    } else if is_postgres(store) {
        let address = Address::parse(store, &Environment::default()).unwrap();
        lar_ledger::connect_signed(address, keys::signers(steps), None).await
    } else {
        // What was last seen of the ledger is kept elsewhere, and must never be ahead of it.
        let (ledger, seen) = (Path::new(store).join("ledger"), Path::new(store).join("seen"));
        lar_ledger::open_signed(&ledger.join("ledger.db"), keys::signers(steps), Some(&seen))
    }
}

async fn prepare(store: &str, scenario: &Scenario, count: Option<usize>) -> Result<(), Stop> {
    let ledger = open(store, scenario, &Arc::new(Steps::from_env())).await?;
    let names: Vec<String> = (0..count.unwrap_or(TOKENS)).map(|n| format!("t{n}")).collect();
    for (number, names) in names.chunks(TOKENS).enumerate() {
        let granted = |name: &String| Granted::of(&token(name, scenario)).unwrap();
        let issuing = Issuing {
            grant: GrantId::new(format!("grant-{number}")).unwrap(),
            tokens: names.iter().map(granted).collect(),
            definitions: definitions(),
            expires: None,
        };
        ledger.issue(issuing).await?;
    }
    Ok(())
}

async fn work(store: &str, scenario: Scenario) -> Result<(), Stop> {
    let steps = Arc::new(Steps::from_env());
    let ledger = open(store, &scenario, &steps).await?;
    let watched = Watched::new(ledger, Arc::clone(&steps), scenario.loses_every());
    let worker = Arc::new(Worker {
        ledger: Arc::new(watched),
        steps,
        effects: Lines::from_env("LINEARITY_EFFECTS").unwrap(),
        effect_first: std::env::var_os("LINEARITY_EFFECT_FIRST").is_some(),
        name: std::env::var("LINEARITY_NAME").unwrap(),
        witnesses: scenario.witnesses().then(Witnesses::from_env),
        scenario,
    });
    worker.recover().await?;
    let tasks: Vec<_> = (0..worker.scenario.tasks())
        .map(|task| {
            let worker = Arc::clone(&worker);
            tokio::spawn(async move { worker.spend_all(task).await })
        })
        .collect();
    for task in tasks {
        task.await.map_err(|error| Stop::Broken(error.to_string()))??;
    }
    Ok(())
}

async fn tell(store: &str, scenario: &Scenario) -> Result<(), Stop> {
    let ledger = open(store, scenario, &Arc::new(Steps::from_env())).await?;
    let acknowledged = std::env::var_os("LINEARITY_ACKNOWLEDGED");
    let acknowledged = acknowledged.and_then(|path| std::fs::read_to_string(path).ok());
    let witnesses = match scenario.witnesses() {
        true => Some(Witnesses::from_env().memories().map_err(Stop::Broken)?),
        false => None,
    };
    let acknowledged = acknowledged.unwrap_or_default();
    let found = report::report(ledger.as_ref(), &acknowledged, witnesses.as_deref()).await;
    let found = found.map_err(Stop::Broken)?;
    found.recorded.iter().for_each(|line| println!("recorded {line}"));
    found.unknown.iter().for_each(|token| println!("unknown {token}"));
    Ok(())
}
