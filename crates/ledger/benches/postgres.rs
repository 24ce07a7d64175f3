//! Durable spends a second on PostgreSQL, beside the floor measured on the same server in the same
//! run: `cargo bench -p lar-ledger --bench postgres [SECONDS]`.
//!
//! The floor is pgbench with one statement a transaction that takes a use where one is left and inserts a
//! record of it, on as many connections as the ledger has callers: the least that is a spend, since a use that is
//! taken without its record in the same transaction is one that nobody can account for. Beside it stands what the
//! conditional `UPDATE` alone makes, which is no spend. The ledger does more than either: it checks the run, the
//! grant and the token, keeps the attempt, and chains the record.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a program that reports to whoever started it"
)]

#[path = "spends.rs"]
mod spends;

use std::time::Instant;

use pgserver::Server;
use spends::{CALLERS, at};

fn main() {
    let seconds = std::env::args().find_map(|word| word.parse().ok()).unwrap_or(5);
    let options = pgserver::Options::default().set("shared_buffers", "128MB");
    let Some(server) = pgserver::start_with_or_skip(options) else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    prepare_floor(&server);
    let url = server.url("postgres", "postgres");
    let address = lar_ledger::Address::parse(&url, &Default::default()).unwrap();
    let ledger = runtime.block_on(lar_ledger::connect(address.clone())).unwrap();
    println!("callers  UPDATE/s  spend/s  ledger/s  of UPDATE  of spend      p50      p99");
    for callers in CALLERS {
        let update = pgbench(&server, UPDATE, callers, seconds);
        let floor = pgbench(&server, UPDATE_AND_INSERT, callers, seconds);
        let mut made = runtime.block_on(spends::spend(&ledger, callers, seconds));
        println!(
            "{callers:7}  {update:8.0}  {floor:7.0}  {:8.0}  {:9.2}  {:8.2}  {:>7}  {:>7}",
            made.rate,
            made.rate / update,
            made.rate / floor,
            format!("{:.0?}", at(&mut made.took, 50)),
            format!("{:.0?}", at(&mut made.took, 99)),
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

/// How much a spend takes on the disk.
fn size(server: &Server) -> String {
    server.sql(
        "postgres",
        "SELECT 'a spend takes ' || round(sum(pg_total_relation_size(c.oid))
             / (SELECT greatest(1, count(*)) FROM lar.attempts)) || ' bytes, indexes included'
         FROM pg_class c WHERE c.relnamespace = 'lar'::regnamespace AND c.relkind = 'r'",
    )
}
