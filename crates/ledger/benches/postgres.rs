//! Durable spends a second on PostgreSQL, beside the floor measured on the same server in the same
//! run: `cargo bench -p lar-ledger --bench postgres [SECONDS]`.
//!
//! The floor is pgbench with one conditional `UPDATE` a transaction, on as many connections as the
//! ledger has callers. A spend of the ledger does more: it checks the grant and the token, keeps the
//! attempt, and writes a chained record.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a program that reports to whoever started it"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use lar_core::audit::record::{Body, Intent};
use lar_core::id::{AttemptId, CallSite, Part, RunId};
use lar_core::json::Digest;
use lar_core::ledger::{Change, Definitions, Entry, Granted, Hold, Ledger, Source, Transition};
use pgserver::Server;

const CALLERS: [u32; 3] = [1, 8, 64];
const USES: u32 = 1_000_000;

fn main() {
    let seconds = std::env::args().find_map(|word| word.parse().ok()).unwrap_or(5);
    let options = pgserver::Options::default().set("shared_buffers", "128MB");
    let Some(server) = pgserver::start_with_or_skip(options) else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    prepare_floor(&server);
    let url = server.url("postgres", "postgres");
    let address = lar_ledger::Address::parse(&url, &Default::default()).unwrap();
    let ledger = runtime.block_on(lar_ledger::connect(address.clone())).unwrap();
    println!("callers  pgbench UPDATE/s  with a record/s   ledger/s  of UPDATE      p50      p99");
    for callers in CALLERS {
        let update = pgbench(&server, UPDATE, callers, seconds);
        let insert = pgbench(&server, UPDATE_AND_INSERT, callers, seconds);
        let mut spends = runtime.block_on(spend(&ledger, callers, seconds));
        spends.took.sort_unstable();
        let at = |of: usize| spends.took[spends.took.len() * of / 100];
        println!(
            "{callers:7}  {update:16.0}  {insert:15.0}  {:9.0}  {:8.2}  {:>9}  {:>9}",
            spends.rate,
            spends.rate / update,
            format!("{:.2?}", at(50)),
            format!("{:.2?}", at(99)),
        );
    }
    println!("{}", size(&server));
    let begun = Instant::now();
    runtime.block_on(lar_ledger::connect(address)).unwrap();
    println!("opening it takes {:.1?}, whatever is in it", begun.elapsed());
}

const UPDATE: &str =
    "UPDATE uses SET uses_left = uses_left - 1 WHERE id = :client_id AND uses_left > 0;";
const UPDATE_AND_INSERT: &str =
    "WITH spent AS (UPDATE uses SET uses_left = uses_left - 1
         WHERE id = :client_id AND uses_left > 0 RETURNING uses_left)
     INSERT INTO spends SELECT :client_id, uses_left, convert_to(repeat('x', 400), 'UTF8') FROM spent;";

fn prepare_floor(server: &Server) {
    server.sql(
        "postgres",
        "CREATE TABLE uses (id int PRIMARY KEY, uses_left int NOT NULL CHECK (uses_left >= 0))
             WITH (fillfactor = 50);
         INSERT INTO uses SELECT id, 1000000000 FROM generate_series(0, 63) id;
         CREATE TABLE spends (id int, n int, bytes bytea, PRIMARY KEY (id, n))",
    );
}

/// Transactions a second.
fn pgbench(server: &Server, script: &str, clients: u32, seconds: u64) -> f64 {
    let file = server.directory().join("script.sql");
    std::fs::write(&file, script.replace('\n', " ")).unwrap();
    let (clients, seconds) = (clients.to_string(), seconds.to_string());
    let output = server
        .program("pgbench")
        .args(["-n", "-M", "prepared", "-U", "postgres", "-j", "2"])
        .args(["-c", &clients, "-T", &seconds, "-f"])
        .arg(&file)
        .arg("postgres")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let rate = text.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next());
    rate.unwrap().parse().unwrap()
}

struct Spends {
    rate: f64,
    took: Vec<Duration>,
}

/// Each caller is an agent with a run of its own, one spend after the other.
async fn spend(ledger: &Arc<dyn Ledger>, callers: u32, seconds: u64) -> Spends {
    let mut holds = Vec::new();
    for caller in 0..callers {
        holds.push(open(ledger.as_ref(), &format!("b{callers}-{caller}")).await);
    }
    let begun = Instant::now();
    let until = begun + Duration::from_secs(seconds);
    let tasks: Vec<_> = holds
        .into_iter()
        .map(|hold| {
            let ledger = Arc::clone(ledger);
            tokio::spawn(async move {
                let mut took = Vec::new();
                for turn in 1.. {
                    let begun = Instant::now();
                    if begun >= until {
                        break;
                    }
                    ledger.commit(start(&hold, turn)).await.unwrap();
                    took.push(begun.elapsed());
                }
                took
            })
        })
        .collect();
    let mut took = Vec::new();
    for task in tasks {
        took.extend(task.await.unwrap());
    }
    #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = took.len() as f64 / begun.elapsed().as_secs_f64();
    Spends { rate, took }
}

async fn open(ledger: &dyn Ledger, name: &str) -> Hold {
    let token = Granted {
        name: "deploy".into(),
        definition: Digest::of("deploy"),
        uses: USES,
        expires: None,
        requires_approval: false,
        candidate: false,
    };
    let definitions = Definitions::from_text("{}");
    let source = Source::Own { tokens: vec![token], definitions };
    let opening = memory_ledger::opening(&RunId::new(name).unwrap(), source);
    ledger.open_run(opening).await.unwrap().hold
}

/// A spend as the runtime makes it, with a record of the usual size.
fn start(hold: &Hold, turn: u64) -> Entry {
    let site = CallSite { run: hold.run.clone(), turn, index: 0, part: Part::Call };
    let (attempt, action) = (AttemptId::at(&site), Digest::of("action"));
    let record = Body::Intent(Intent {
        token_name: "deploy".into(),
        scope: "run `kubectl get pods`, `kubectl describe pod`".into(),
        tool: "shell_deploy".into(),
        attempt,
        args: serde_json::json!({"command": ["kubectl", "get", "pods", "-n", "production"]}),
        action_digest: action,
        approval_seq: None,
    });
    let change = Change {
        attempt,
        token: "deploy".into(),
        action,
        transition: Transition::Start { held: None },
    };
    Entry::change(hold.clone(), change, record)
}

/// How much a spend takes on the disk.
fn size(server: &Server) -> String {
    server.sql(
        "postgres",
        "SELECT 'a spend takes ' || round(sum(pg_total_relation_size(c.oid))
             / (SELECT greatest(1, count(*)) FROM lar.attempts)) || ' bytes, indexes included'
         FROM pg_class c WHERE c.relnamespace = 'lar'::regnamespace AND c.relkind = 'r'",
    )
}
