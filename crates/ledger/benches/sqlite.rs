//! Durable spends a second in a SQLite file, beside the floor measured on the same disk in the same run:
//! `cargo bench -p lar-ledger --bench sqlite [SECONDS [RECORDS]]`.
//!
//! The floor is a bare writer thread that takes what has queued up and makes of each request one
//! conditional `UPDATE` and one `INSERT` of a record's size, all in one transaction. A spend of the
//! ledger does more: it checks the run, the grant and the token, keeps the attempt, chains the record,
//! and puts it into a signed tree. For a lone caller the floor is a bare `fdatasync`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a program that reports to whoever started it"
)]

#[path = "spends.rs"]
mod spends;

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lar_core::audit::log::{Signers, Signing};
use lar_core::audit::note::{KeyKind, NoteKey};
use lar_core::ledger::Ledger;
use lar_ledger::LogSigner;
use rusqlite::{Connection, params};
use spends::{CALLERS, at};
use tokio::sync::{mpsc, oneshot};

fn main() {
    let mut numbers = std::env::args().filter_map(|word| word.parse::<u64>().ok());
    let seconds = numbers.next().unwrap_or(5);
    let records = numbers.next().unwrap_or(1_000_000);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let dir = tempfile::tempdir_in(".").unwrap();

    let mut sync = fdatasync(&dir.path().join("appended"), seconds);
    println!(
        "bare fdatasync of 512 bytes: p50 {:.2?}, p99 {:.2?}",
        at(&mut sync, 50),
        at(&mut sync, 99)
    );
    println!(
        "callers  bare writer/s   ledger/s   of it      p50      p99   writer's CPU a spend, bare and ledger"
    );
    for callers in CALLERS {
        let (floor, floor_used) =
            runtime.block_on(bare(&dir.path().join(format!("bare{callers}")), callers, seconds));
        let ledger = open(dir.path(), &format!("ledger{callers}"));
        let before = cpu("lar-ledger");
        let mut made = runtime.block_on(spends::spend(&ledger, callers, seconds));
        let used = (cpu("lar-ledger") - before) / made.took.len() as u32;
        println!(
            "{callers:7}  {floor:13.0}  {:9.0}  {:6.2}  {:>7}  {:>7}   {floor_used:.1?}, {used:.1?}",
            made.rate,
            made.rate / floor,
            format!("{:.2?}", at(&mut made.took, 50)),
            format!("{:.2?}", at(&mut made.took, 99)),
        );
        if callers == 1 {
            let ratio = at(&mut made.took, 99).as_secs_f64() / at(&mut sync, 99).as_secs_f64();
            println!("         a lone caller's p99 is {ratio:.1} times that of a bare fdatasync");
        }
    }

    let ledger = open(dir.path(), "large");
    let begun = Instant::now();
    runtime.block_on(fill(&ledger, records));
    println!("wrote {records} records in {:.1?}", begun.elapsed());
    drop(ledger);
    let size = std::fs::metadata(dir.path().join("large/ledger.db")).unwrap().len();
    println!("a spend takes {} bytes, indexes and log included", size / records.max(1));
    let mut took = Vec::new();
    for _ in 0..20 {
        let begun = Instant::now();
        let ledger = open(dir.path(), "large");
        runtime.block_on(ledger.identity()).unwrap();
        took.push(begun.elapsed());
        drop(ledger);
    }
    println!(
        "opening it with {records} records takes {:.1?} (p50), {:.1?} at most, of 20",
        at(&mut took, 50),
        took.iter().max().unwrap()
    );
}

/// A ledger as a run opens it: signed, and with what was last seen kept beside.
fn open(dir: &Path, name: &str) -> Arc<dyn Ledger> {
    let signers: Signers = Arc::new(|origin, _, _| {
        let secret = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
        let key = NoteKey::new(origin, KeyKind::Ed25519, secret.verifying_key()).unwrap();
        let signer = LogSigner::new(key, secret.as_bytes()).unwrap();
        Ok(Signing { signer: Arc::new(signer), certificate: None })
    });
    let file = dir.join(name).join("ledger.db");
    lar_ledger::open_signed(&file, signers, Some(&dir.join("seen"))).unwrap()
}

async fn fill(ledger: &Arc<dyn Ledger>, records: u64) {
    const AT_ONCE: u64 = 256;
    let tasks: Vec<_> = (0..AT_ONCE)
        .map(|task| {
            let ledger = Arc::clone(ledger);
            tokio::spawn(async move {
                let hold = spends::open(ledger.as_ref(), &format!("fill-{task}")).await;
                for turn in 1..records / AT_ONCE {
                    ledger.commit(spends::start(&hold, turn)).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

fn fdatasync(path: &Path, seconds: u64) -> Vec<Duration> {
    let mut file = File::create(path).unwrap();
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut took = Vec::new();
    while Instant::now() < until {
        let begun = Instant::now();
        file.write_all(&[b'x'; 512]).unwrap();
        file.sync_data().unwrap();
        took.push(begun.elapsed());
    }
    took
}

/// How long the threads of this process that have this name have been running.
fn cpu(name: &str) -> Duration {
    let mut sum = Duration::ZERO;
    for thread in std::fs::read_dir("/proc/self/task").unwrap() {
        let thread = thread.unwrap().path();
        if std::fs::read_to_string(thread.join("comm")).is_ok_and(|found| found.trim_end() == name)
        {
            let times = std::fs::read_to_string(thread.join("schedstat")).unwrap();
            sum += Duration::from_nanos(times.split(' ').next().unwrap().parse().unwrap());
        }
    }
    sum
}

/// Requests a second of a bare writer thread, and the time that it was running for each.
async fn bare(path: &Path, callers: u32, seconds: u64) -> (f64, Duration) {
    let connection = Connection::open(path).unwrap();
    connection
        .execute_batch(
            "PRAGMA journal_mode = wal; PRAGMA synchronous = full;
             CREATE TABLE uses (id INTEGER PRIMARY KEY, uses_left INTEGER NOT NULL);
             CREATE TABLE records (id INTEGER, n INTEGER, bytes BLOB, PRIMARY KEY (id, n))
                 WITHOUT ROWID;",
        )
        .unwrap();
    for id in 0..callers {
        connection.execute("INSERT INTO uses VALUES (?1, 1000000000)", [id]).unwrap();
    }
    let (queue, mut requests) = mpsc::channel::<(u32, u64, oneshot::Sender<()>)>(1024);
    let work = move || {
        while let Some(first) = requests.blocking_recv() {
            let mut batch = vec![first];
            while batch.len() < 256
                && let Ok(next) = requests.try_recv()
            {
                batch.push(next);
            }
            connection.execute_batch("BEGIN IMMEDIATE").unwrap();
            for (id, n, _) in &batch {
                let taken = connection
                    .prepare_cached(
                        "UPDATE uses SET uses_left = uses_left - 1 WHERE id = ?1 AND uses_left > 0",
                    )
                    .unwrap()
                    .execute([id])
                    .unwrap();
                assert_eq!(taken, 1);
                connection
                    .prepare_cached("INSERT INTO records VALUES (?1, ?2, ?3)")
                    .unwrap()
                    .execute(params![id, n, [b'x'; 512].as_slice()])
                    .unwrap();
            }
            connection.execute_batch("COMMIT").unwrap();
            for (_, _, answer) in batch {
                answer.send(()).unwrap();
            }
        }
    };
    let writer = std::thread::Builder::new().name("bare".to_owned()).spawn(work).unwrap();
    let begun = Instant::now();
    let until = begun + Duration::from_secs(seconds);
    let tasks: Vec<_> = (0..callers)
        .map(|id| {
            let queue = queue.clone();
            tokio::spawn(async move {
                let mut made = 0u64;
                while Instant::now() < until {
                    let (reply, answer) = oneshot::channel();
                    queue.send((id, made, reply)).await.unwrap();
                    answer.await.unwrap();
                    made += 1;
                }
                made
            })
        })
        .collect();
    let mut made = 0;
    for task in tasks {
        made += task.await.unwrap();
    }
    let rate = spends::rate(made, begun);
    let used = cpu("bare") / made as u32;
    drop(queue);
    writer.join().unwrap();
    (rate, used)
}
