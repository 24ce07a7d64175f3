//! What the ledger says at the end of a round, after every proof that it offers was checked.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lar_core::audit::chain::Checker;
use lar_core::audit::checkpoint::Checkpoint;
use lar_core::audit::log::Log;
use lar_core::audit::note::{Note, Signed};
use lar_core::audit::record::Body;
use lar_core::audit::tree::{Frontier, leaf_hash};
use lar_core::ledger::{Ledger, UseState};
use lar_runtime::recover;

use crate::keys;
use crate::watched::ERASED;
use crate::witnesses::{Memory, Vouched};

/// What the ledger says.
#[derive(Debug, Default)]
pub struct Found {
    /// For each intent, the line that its effect leaves.
    pub recorded: Vec<String>,
    /// Tokens of which a use was recorded as unknown.
    pub unknown: Vec<String>,
}

/// Seals what is open, and reads everything.
///
/// # Errors
///
/// Says which promise is broken.
pub async fn report(
    ledger: &dyn Ledger,
    acknowledged: &str,
    witnesses: Option<&[Memory]>,
) -> Result<Found, String> {
    let fail = |error: lar_core::ledger::LedgerError| error.to_string();
    // A server may still be busy with the last word of a process that is gone.
    for patience in (0..100).rev() {
        let open = ledger.open_runs().await.map_err(fail)?;
        for run in &open {
            let sealed = recover::abandon(ledger, run).await.map_err(fail)?;
            if !sealed && patience == 0 {
                return Err(format!("run `{}` can't be sealed", run.run));
            }
        }
        if open.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut found = Found::default();
    // Roots that somebody else has vouched for, by the size of the log.
    let mut vouched = Vouched::default();
    let erased: BTreeSet<&str> =
        acknowledged.lines().filter_map(|line| line.strip_prefix(ERASED)).collect();
    let mut records = BTreeMap::new();
    let mut spent = 0;
    for run in ledger.runs().await.map_err(fail)? {
        let (mut checker, mut intents) = (Checker::default(), BTreeMap::new());
        for record in ledger.records(&run.run, 1, u64::MAX >> 1).await.map_err(fail)? {
            let read = checker
                .read(&record.bytes, &record.openings)
                .map_err(|broken| broken.to_string())?;
            match read.body {
                Body::Intent(intent) => {
                    let line = format!("{} {}", intent.token_name, intent.attempt);
                    match witnesses {
                        // Only what was cosigned allows an effect.
                        Some(_) => drop(intents.insert((record.seq, intent.attempt), line)),
                        None => found.recorded.push(line),
                    }
                }
                Body::Anchor(anchor) => {
                    let log = ledger.log().ok_or("an anchor without a log")?;
                    let place =
                        log.positions(&run.run, anchor.intent_seq, 1).await.map_err(fail)?;
                    let place = place.first().copied().flatten().ok_or("an anchor of nothing")?;
                    vouched.anchor(&anchor, place, witnesses.unwrap_or_default())?;
                    let line = intents.remove(&(anchor.intent_seq, anchor.attempt));
                    found.recorded.push(line.ok_or("an anchor of no intent of its attempt")?);
                }
                Body::Recovery(lost) if lost.state == "unknown" => {
                    found.unknown.push(lost.token_name);
                }
                _ => {}
            }
            if erased.contains(run.run.as_str()) && !record.openings.is_empty() {
                return Err(format!("what was erased of run `{}` is there", run.run));
            }
            records.insert(format!("{} {}", run.run, record.seq), record.hash);
        }
        if let Some(log) = ledger.log() {
            log.include(&run.run, run.records).await.map_err(fail)?;
        }
        let intact = checker.finish().map_err(|broken| broken.to_string())?;
        if !intact.closed {
            return Err(format!("the record of run `{}` has no end", run.run));
        }
        for attempt in ledger.attempts(&run.run).await.map_err(fail)? {
            match attempt.state {
                UseState::Ended { .. } | UseState::Resolved { .. } => spent += 1,
                UseState::Released { .. } | UseState::NeverBegan { .. } => {}
                UseState::Reserved { .. } | UseState::Started { .. } => {
                    return Err(format!("run `{}` left a use open", run.run));
                }
            }
        }
    }
    // Granted = left + spent, whatever happened.
    let (mut granted, mut left) = (0, 0);
    for token in ledger.grants().await.map_err(fail)?.iter().flat_map(|grant| &grant.tokens) {
        granted += token.granted.uses;
        left += token.uses_left;
    }
    if granted != left + spent {
        return Err(format!("{granted} uses were granted, {left} are left and {spent} spent"));
    }
    vouched.remembered(witnesses.unwrap_or_default())?;
    let leaves = match ledger.log() {
        Some(log) => Some(verify(log, &vouched, witnesses.is_some()).await?),
        None => None,
    };
    for line in acknowledged.lines().filter(|line| !line.starts_with(ERASED)) {
        let (place, hash) = line.rsplit_once(' ').unwrap_or_default();
        let stands = records.get(place).filter(|stands| stands.to_string() == hash);
        let Some(stands) = stands else {
            return Err(format!("the acknowledged record {place} is gone or another"));
        };
        if leaves.as_ref().is_some_and(|leaves| !leaves.contains(stands.as_bytes())) {
            return Err(format!("the acknowledged record {place} isn't in the signed log"));
        }
    }
    Ok(found)
}

/// Makes the log's root anew from its records and checks the head's signature. Returns the leaves.
/// The roots that witnesses have cosigned must be among those that the log has had.
async fn verify(
    log: &dyn Log,
    vouched: &Vouched,
    own_keys: bool,
) -> Result<BTreeSet<[u8; 32]>, String> {
    let head = log.head().await.map_err(|error| error.to_string())?;
    let entries = log.entries(0, u64::MAX >> 1).await.map_err(|error| error.to_string())?;
    let (mut tree, mut leaves) = (Frontier::default(), BTreeSet::new());
    for entry in &entries {
        let leaf = leaf_hash(entry);
        leaves.insert(*leaf.as_bytes());
        tree.push(leaf).map_err(|error| error.to_string())?;
        vouched.check(tree.size(), &tree.root())?;
    }
    vouched.within(tree.size())?;
    if (tree.size(), tree.root()) != (head.size, head.root) {
        return Err("the log's records lead to another root than its head".to_owned());
    }
    let note = head.checkpoint.as_deref().map(Note::parse);
    let Some(Ok(note)) = note else { return Err("the log's head is unsigned".to_owned()) };
    let key = match own_keys {
        true => log.epochs().await.ok().and_then(|keys| keys.last()?.key.parse().ok()),
        false => Some(keys::key(&head.origin, head.epoch)),
    };
    let signed = key.ok_or("the log names no key of its epoch")?.check(&note);
    let stated = Checkpoint::parse(note.text()).map_err(|error| error.to_string())?;
    if signed != (Signed::Valid { time: None })
        || (stated.size, stated.root) != (head.size, head.root)
    {
        return Err("the signature of the log's head doesn't hold".to_owned());
    }
    Ok(leaves)
}
