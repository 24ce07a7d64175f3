//! Processes that are killed at any moment, on hosts that share one ledger whose server crashes too.
//! Each effect is a line in a file that the ledger knows nothing of. No token may have two.
//!
//! `LAR_TEST_KILLS` says how many kills (40 unless said). The control arm does the effect first and
//! marks the token afterwards, and must be caught.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lar_core::audit::chain::Checker;
use lar_core::audit::record::Body;
use lar_core::ledger::{Conflict, GrantId, Hold, Issuing, Ledger, LedgerError, Source, Taking};
use lar_core::outcome::Verdict;

use crate::server::connect;
use crate::support::*;

const URL: &str = "LAR_TEST_KILL_URL";
const FILE: &str = "LAR_TEST_KILL_FILE";
const NAME: &str = "LAR_TEST_KILL_NAME";
const FIRST: &str = "LAR_TEST_KILL_EFFECT_FIRST";
/// Tokens of one grant: as many as the accounts at the end of a run have room for.
const TOKENS: u32 = 400;
const HOSTS: usize = 4;

fn kills() -> u32 {
    std::env::var("LAR_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(40)
}

/// What a trial came to.
#[derive(Debug, Default)]
struct Tally {
    kills: u32,
    crashes: u32,
    effects: usize,
    twice: usize,
    without_record: usize,
    unknown: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_kill_makes_two_effects_of_one_use() {
    let Some(tally) = trial(false).await else { return };
    println!("{tally:?}");
    assert!(tally.effects > usize::try_from(tally.kills / 4).unwrap(), "{tally:?}");
    assert_eq!((tally.twice, tally.without_record), (0, 0), "{tally:?}");
}

/// Shows that the trial sees what it looks for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn marking_after_the_effect_is_caught() {
    let Some(tally) = trial(true).await else { return };
    println!("{tally:?}");
    assert!(tally.twice > 0, "{tally:?}");
}

/// Kills one process after the other, each at a random moment, and starts another in its place.
async fn trial(effect_first: bool) -> Option<Tally> {
    let server = pgserver::start_or_skip()?;
    let url = server.url("postgres", "postgres");
    let ledger = connect(&url);
    let grants = kills() / 20 + 1;
    for number in 0..grants {
        let tokens = (0..TOKENS).map(|n| granted(&format!("t{number}-{n}"), 1)).collect();
        let (grant, definitions, expires) = (shared(number), definitions(), None);
        ledger.issue(Issuing { grant, tokens, definitions, expires }).await.unwrap();
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    let start = |name: String| -> Child {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "postgres::kill::a_host", "--ignored", "--nocapture"]);
        command.env(URL, &url).env(FILE, file.path()).env(NAME, name);
        if effect_first {
            command.env(FIRST, "1");
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let mut tally = Tally::default();
    let mut random = Random(0x5eed);
    let mut hosts: Vec<Child> = (0..HOSTS).map(|host| start(format!("h{host}-0"))).collect();
    let before = std::fs::metadata(file.path()).unwrap().len();
    let begun = Instant::now();
    while tally.kills < kills() {
        let host = usize::try_from(random.below(HOSTS as u64)).unwrap();
        tokio::time::sleep(Duration::from_millis(20 + random.below(150))).await;
        hosts[host].kill().unwrap();
        hosts[host].wait().unwrap();
        tally.kills += 1;
        hosts[host] = start(format!("h{host}-{}", tally.kills));
        if tally.kills.is_multiple_of(15) && !effect_first {
            tokio::task::block_in_place(|| {
                server.crash();
                server.start_again();
            });
            tally.crashes += 1;
        }
        // The first processes may need a while on a busy machine.
        let grown = std::fs::metadata(file.path()).unwrap().len() > before;
        assert!(grown || begun.elapsed() < Duration::from_secs(120), "nothing happens");
    }
    for host in &mut hosts {
        host.kill().unwrap();
        host.wait().unwrap();
    }
    seal(ledger.as_ref()).await;

    let mut effects: BTreeMap<String, usize> = BTreeMap::new();
    for line in std::fs::read_to_string(file.path()).unwrap().lines() {
        *effects.entry(line.to_owned()).or_default() += 1;
    }
    let mut recorded = std::collections::BTreeSet::new();
    for run in ledger.runs().await.unwrap() {
        let mut checker = Checker::default();
        for record in ledger.records(&run.run, 1, 1_000_000).await.unwrap() {
            match checker.read(&record.bytes).unwrap().body {
                Body::Error(intent) if intent.error_type == "TokenScopeError" => {
                    recorded.insert(intent.token_name);
                }
                Body::Recovery(lost) if lost.state == "unknown" => tally.unknown += 1,
                _ => {}
            }
        }
        assert!(checker.finish().unwrap().closed);
    }
    tally.effects = effects.values().sum();
    tally.twice = effects.values().filter(|count| **count > 1).count();
    tally.without_record = effects.keys().filter(|token| !recorded.contains(*token)).count();
    // Granted = left + spent, whatever happened.
    let all = ledger.grants().await.unwrap();
    let left: u32 = all.iter().flat_map(|grant| &grant.tokens).map(|token| token.uses_left).sum();
    let mut spent = 0;
    for run in ledger.runs().await.unwrap() {
        spent += ledger.attempts(&run.run).await.unwrap().len();
    }
    assert_eq!(usize::try_from(left).unwrap() + spent, (TOKENS * grants) as usize);
    Some(tally)
}

fn shared(number: u32) -> GrantId {
    GrantId::new(format!("shared-{number}")).unwrap()
}

/// What a later start does with the runs of processes that are gone.
async fn seal(ledger: &dyn Ledger) {
    for run in ledger.open_runs().await.unwrap() {
        let hold = take(ledger, &run.run, &run.owner).await.unwrap();
        ledger.close_run(closing(&hold)).await.unwrap();
    }
}

async fn take(
    ledger: &dyn Ledger,
    run: &lar_core::id::RunId,
    gone: &str,
) -> Result<Hold, LedgerError> {
    let taking = Taking {
        run: run.clone(),
        owner: "sealer 9 9".to_owned(),
        lease_ms: 60_000,
        gone: Some(gone.to_owned()),
        definitions: None,
    };
    ledger.take_run(taking).await.map(|opened| opened.hold)
}

/// One host: spends what is left, an effect for each use, until it is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by the tests above"]
async fn a_host() {
    let (Ok(url), Ok(file), Ok(name)) =
        (std::env::var(URL), std::env::var(FILE), std::env::var(NAME))
    else {
        return;
    };
    let effect_first = std::env::var_os(FIRST).is_some();
    let ledger = connect(&url);
    let file = Arc::new(OpenOptions::new().append(true).open(file).unwrap());
    let seed = name.bytes().fold(7, |sum: u64, byte| sum.wrapping_mul(31) + u64::from(byte));
    let tasks: Vec<_> = (0..3u64)
        .map(|task| {
            let (ledger, file, name) = (Arc::clone(&ledger), Arc::clone(&file), name.clone());
            tokio::spawn(async move {
                let run = format!("{name}-{task}");
                spend(ledger.as_ref(), &file, &run, Random(seed + task), effect_first).await;
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

async fn spend(
    ledger: &dyn Ledger,
    file: &File,
    name: &str,
    mut random: Random,
    effect_first: bool,
) {
    for number in 0.. {
        let grant = shared(number);
        let Some(found) = ledger.grant(&grant).await.unwrap() else { return };
        // Everybody goes through the uses in the same order, so that they meet.
        let left = found.tokens.iter().filter(|token| token.uses_left > 0);
        let names: Vec<String> = left.map(|token| token.granted.name.clone()).collect();
        if names.is_empty() {
            continue;
        }
        let source = Source::Named { grant, ledger: None, definitions: definitions() };
        let opening = memory_ledger::opening(&run(&format!("{name}-{number}")), source);
        let hold = ledger.open_run(opening).await.unwrap().hold;
        draw(ledger, file, &hold, names, &mut random, effect_first).await;
    }
}

async fn draw(
    ledger: &dyn Ledger,
    mut file: &File,
    hold: &Hold,
    names: Vec<String>,
    random: &mut Random,
    effect_first: bool,
) {
    for (turn, token) in (1u64..).zip(names) {
        let mut effect = || file.write_all(format!("{token}\n").as_bytes()).unwrap();
        if effect_first {
            effect();
        }
        match intent(ledger, hold, &token, turn).await {
            Ok(_) => {}
            Err(LedgerError::Conflict(Conflict::NoUseLeft)) => continue,
            Err(other) => panic!("{other}"),
        }
        if !effect_first {
            effect();
        }
        tokio::time::sleep(Duration::from_micros(random.below(2_000))).await;
        step_on(ledger, hold, &token, turn, finish(Verdict::Succeeded)).await.unwrap();
    }
}

/// A start whose record names the token.
async fn intent(
    ledger: &dyn Ledger,
    hold: &Hold,
    token: &str,
    turn: u64,
) -> Result<lar_core::ledger::Receipt, LedgerError> {
    let mut entry = note(hold);
    if let Some(Body::Error(record)) = &mut entry.record {
        record.token_name = token.to_owned();
    }
    entry.change = Some(lar_core::ledger::Change {
        attempt: attempt(&hold.run, turn),
        token: token.to_owned(),
        action: lar_core::json::Digest::of("action"),
        transition: START,
    });
    ledger.commit(entry).await
}

/// A small generator (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}
