//! Spends as agents make them, for the benchmarks beside this file.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lar_core::audit::record::{Body, Intent};
use lar_core::id::{AttemptId, CallSite, Part, RunId};
use lar_core::json::Digest;
use lar_core::ledger::{Change, Definitions, Entry, Granted, Hold, Ledger, Source, Transition};

/// How many callers spend at once.
pub const CALLERS: [u32; 3] = [1, 8, 64];
const USES: u32 = 1_000_000;

/// The duration within which so many of a hundred came back.
pub fn at(took: &mut [Duration], of: usize) -> Duration {
    took.sort_unstable();
    took[took.len() * of / 100]
}

/// So many a second since then.
pub fn rate(made: u64, begun: Instant) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
    let made = made as f64;
    made / begun.elapsed().as_secs_f64()
}

pub struct Spends {
    /// A second.
    pub rate: f64,
    /// How long each took.
    pub took: Vec<Duration>,
}

/// Each caller is an agent with a run of its own, one spend after the other.
pub async fn spend(ledger: &Arc<dyn Ledger>, callers: u32, seconds: u64) -> Spends {
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
    Spends { rate: rate(took.len() as u64, begun), took }
}

pub async fn open(ledger: &dyn Ledger, name: &str) -> Hold {
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
pub fn start(hold: &Hold, turn: u64) -> Entry {
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
