//! What the signed log costs, both arms in one run: `cargo bench -p lar-ledger --bench log [SECONDS]`.
//!
//! Records are appended to a SQLite file with a signature over each commit and without any, by one caller
//! and by several. Then one record is proved in a log of many.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a program that reports to whoever started it"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lar_core::audit::log::{self, Signers, Signing};
use lar_core::audit::note::{KeyKind, KeySigner};
use lar_core::audit::record::{Body, ErrorRecord};
use lar_core::audit::tree::{leaf_hash, verify_inclusion};
use lar_core::id::RunId;
use lar_core::ledger::{Definitions, Entry, Hold, Ledger, Source};

const CALLERS: [usize; 4] = [1, 8, 32, 64];
/// How many records the log has in which one is proved.
const RECORDS: u64 = 1_000_000;

fn main() {
    let seconds = std::env::args().find_map(|word| word.parse().ok()).unwrap_or(3);
    let home = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    println!("callers  unsigned/s    signed/s  cost");
    for callers in CALLERS {
        let mut rates = [Vec::new(), Vec::new()];
        // In turns, so that what else the machine does falls on both.
        for turn in 0..4 {
            for (arm, rates) in rates.iter_mut().enumerate() {
                let path = home.path().join(format!("{callers}-{turn}-{arm}.db"));
                let ledger = open(&path, arm == 1);
                let length = Duration::from_secs(seconds);
                rates.push(runtime.block_on(append(&ledger, callers, length)));
            }
        }
        let [unsigned, signed] = rates.map(|rates| rates.iter().sum::<f64>() / rates.len() as f64);
        let cost = 100.0 * (1.0 - signed / unsigned);
        println!("{callers:7}  {unsigned:10.0}  {signed:10.0}  {cost:3.0} %");
    }
    let ledger = open(&home.path().join("large.db"), true);
    runtime.block_on(prove(&ledger));
}

fn open(path: &Path, signed: bool) -> Arc<dyn Ledger> {
    if !signed {
        return lar_ledger::open(path).unwrap();
    }
    let signers: Signers = Arc::new(|origin, _, _| {
        let secret = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
        let signer = KeySigner::new(origin, KeyKind::Ed25519, secret).unwrap();
        Ok(Signing { signer: Arc::new(signer), certificate: None })
    });
    lar_ledger::open_signed(path, signers, None).unwrap()
}

async fn hold(ledger: &Arc<dyn Ledger>, name: String) -> Hold {
    let source = Source::Own { tokens: Vec::new(), definitions: Definitions::from_text("{}") };
    let opening = memory_ledger::opening(&RunId::new(name).unwrap(), source);
    ledger.open_run(opening).await.unwrap().hold
}

/// A record of about 300 bytes.
fn entry(hold: &Hold) -> Entry {
    Entry::note(
        hold.clone(),
        Body::Error(ErrorRecord {
            token_name: "pods".into(),
            error_type: "CommandNotAllowedError".into(),
            message: "`kubectl delete` is not allowed".into(),
            attempt: None,
            input: Some("{\"command\":\"kubectl delete\"}".into()),
        }),
    )
}

/// Appends by so many callers at once, each in a run of its own. Records a second.
async fn append(ledger: &Arc<dyn Ledger>, callers: usize, length: Duration) -> f64 {
    let mut holds = Vec::new();
    for n in 0..callers {
        holds.push(hold(ledger, format!("run-{n}")).await);
    }
    let begun = Instant::now();
    let tasks: Vec<_> = holds
        .into_iter()
        .map(|hold| {
            let ledger = Arc::clone(ledger);
            tokio::spawn(async move {
                let mut count = 0u64;
                while begun.elapsed() < length {
                    ledger.commit(entry(&hold)).await.unwrap();
                    count += 1;
                }
                count
            })
        })
        .collect();
    let mut count = 0;
    for task in tasks {
        count += task.await.unwrap();
    }
    count as f64 / begun.elapsed().as_secs_f64()
}

async fn prove(ledger: &Arc<dyn Ledger>) {
    let tasks: Vec<_> = (0..128)
        .map(|n| {
            let ledger = Arc::clone(ledger);
            tokio::spawn(async move {
                let hold = hold(&ledger, format!("run-{n}")).await;
                for _ in 0..RECORDS / 128 {
                    ledger.commit(entry(&hold)).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let log = ledger.log().unwrap();
    let head = log.head().await.unwrap();
    let mut took = Vec::new();
    // Spread over the whole log by a step that shares no factor with its size.
    for n in 0..1_000u64 {
        let leaf = n * 7_919 % head.size;
        let begun = Instant::now();
        let proof = log::prove_inclusion(log, leaf, head.size).await.unwrap();
        took.push(begun.elapsed());
        let bytes = log.entries(leaf, 1).await.unwrap().remove(0);
        verify_inclusion(&leaf_hash(&bytes), leaf, head.size, &proof, &head.root).unwrap();
    }
    took.sort_unstable();
    println!(
        "proving one record of {}: {:.0?} p50, {:.0?} p99",
        head.size,
        took[took.len() / 2],
        took[took.len() * 99 / 100]
    );
}
