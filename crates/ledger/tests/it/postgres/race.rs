//! Two processes, as two hosts would be, that want the same uses of one grant.

use std::process::{Command, Stdio};

use lar_core::ledger::{Conflict, GrantId, Issuing, LedgerError, Source};
use lar_core::outcome::Verdict;

use crate::server::{connect, new_database};
use crate::support::*;

const USES: u32 = 60;
const URL: &str = "LAR_TEST_RACE_URL";
const NAME: &str = "LAR_TEST_RACE_NAME";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_race_for_a_grant_get_each_use_once() {
    let Some(url) = new_database() else { return };
    let ledger = connect(&url);
    let grant = GrantId::new("shared").unwrap();
    let tokens = vec![granted("t", USES), granted("u", USES)];
    let (definitions, expires) = (definitions(), None);
    ledger.issue(Issuing { grant: grant.clone(), tokens, definitions, expires }).await.unwrap();
    let children: Vec<_> = ["one", "two", "three"]
        .map(|name| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "postgres::race::one_of_them", "--ignored", "--nocapture"])
                .env(URL, &url)
                .env(NAME, name)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .into();
    let mut spent = [0, 0];
    for child in children {
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}");
        let line = text.lines().find_map(|line| line.split("spent ").nth(1)).unwrap();
        for (sum, count) in spent.iter_mut().zip(line.split_whitespace()) {
            *sum += count.parse::<u32>().unwrap();
        }
    }
    assert_eq!(spent, [USES, USES]);
    let left: Vec<u32> =
        ledger.grant(&grant).await.unwrap().unwrap().tokens.iter().map(|t| t.uses_left).collect();
    assert_eq!(left, [0, 0]);
    for summary in ledger.runs().await.unwrap() {
        let records = ledger.records(&summary.run, 1, 10_000).await.unwrap();
        lar_core::audit::chain::check(&records).unwrap();
    }
}

/// One of the processes: spends what it gets on four tasks at once, and says how much it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by the test above"]
async fn one_of_them() {
    let (Ok(url), Ok(name)) = (std::env::var(URL), std::env::var(NAME)) else { return };
    let ledger = connect(&url);
    let tasks: Vec<_> = (0..4u64)
        .map(|task| {
            let (ledger, name) = (std::sync::Arc::clone(&ledger), format!("{name}-{task}"));
            tokio::spawn(async move {
                let grant = GrantId::new("shared").unwrap();
                let source = Source::Named { grant, ledger: None, definitions: definitions() };
                let opening = memory_ledger::opening(&run(&name), source);
                let hold = ledger.open_run(opening).await.unwrap().hold;
                let mut spent = [0u32, 0];
                let mut turn = 0;
                for (sum, token) in spent.iter_mut().zip(["t", "u"]) {
                    loop {
                        turn += 1;
                        match step_on(ledger.as_ref(), &hold, token, turn, START).await {
                            Ok(_) => *sum += 1,
                            Err(LedgerError::Conflict(Conflict::NoUseLeft)) => break,
                            Err(other) => panic!("{other}"),
                        }
                        let done = finish(Verdict::Succeeded);
                        step_on(ledger.as_ref(), &hold, token, turn, done).await.unwrap();
                    }
                }
                ledger.close_run(closing(&hold)).await.unwrap();
                spent
            })
        })
        .collect();
    let mut sums = [0, 0];
    for task in tasks {
        for (sum, count) in sums.iter_mut().zip(task.await.unwrap()) {
            *sum += count;
        }
    }
    println!("spent {} {}", sums[0], sums[1]);
}
