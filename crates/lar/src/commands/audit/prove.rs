//! `lar audit prove`, `diff` and `tiles`: what the signed log can show of itself.

use std::io::Write;
use std::path::{Path, PathBuf};

use linear_agentics::audit::bundle::{FORMAT, Header};
use linear_agentics::audit::checkpoint::Checkpoint;
use linear_agentics::audit::log::{self, Log, TILE_HEIGHT};
use linear_agentics::audit::note::Note;
use linear_agentics::audit::proof::RecordProof;
use linear_agentics::audit::tree::verify_consistency;
use linear_agentics::display::{Mode, escape};
use linear_agentics::{Ledger, LedgerError};

use crate::commands::store::{LedgerChoice, failed, find};
use crate::output::{Exit, complain, println};

/// Prove that one record is in the log, without showing the rest
#[derive(Debug, clap::Args)]
pub struct ProveArgs {
    /// The run: its id, a beginning that fits no other, or `latest`
    run: String,
    /// The record's number in the run
    seq: u64,
    #[command(flatten)]
    ledger: LedgerChoice,
}

/// Tell whether a newer checkpoint only adds to an older one
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 the newer log is the older one with records added, 1 it is not, 2 \
a file can't be used."
)]
pub struct DiffArgs {
    /// The older one: a checkpoint or a bundle
    old: PathBuf,
    /// The newer one; without it, the ledger's own head
    new: Option<PathBuf>,
    #[command(flatten)]
    ledger: LedgerChoice,
}

/// Write the log as tiles, as monitors of transparency logs read it
#[derive(Debug, clap::Args)]
pub struct TilesArgs {
    /// The directory, which must be empty or not exist
    directory: PathBuf,
    #[command(flatten)]
    ledger: LedgerChoice,
}

fn wrong(error: &LedgerError) -> Exit {
    failed(error)
}

/// The ledger's log, or why there is none.
fn log_of(ledger: &dyn Ledger) -> Result<&dyn Log, Exit> {
    ledger.log().ok_or_else(|| {
        complain("this ledger keeps no signed log");
        Exit::Error
    })
}

fn no_ledger() -> Exit {
    complain("there is no ledger: nothing was run yet");
    Exit::Usage
}

/// Proves.
pub(super) async fn prove(args: ProveArgs) -> Result<Exit, Exit> {
    let ledger = args.ledger.open().await?.ok_or_else(no_ledger)?;
    let runs = ledger.runs().await.map_err(|error| failed(&error))?;
    let summary = find(&runs, &args.run)?;
    let log = log_of(ledger.as_ref())?;
    let head = match args.seq {
        // Where the log is behind, it is waited for.
        seq if (1..=summary.records).contains(&seq) => log.include(&summary.run, seq).await,
        _ => log.head().await,
    };
    let head = head.map_err(|error| wrong(&error))?;
    let record = ledger.records(&summary.run, args.seq, 1).await.map_err(|error| wrong(&error))?;
    let position = log.positions(&summary.run, args.seq, 1).await.map_err(|error| wrong(&error))?;
    let record = record.first().filter(|record| record.seq == args.seq);
    let (Some(record), Some(Some(leaf)), Some(checkpoint)) =
        (record, position.first(), head.checkpoint)
    else {
        complain(&format!(
            "run `{}` has no record {} in the signed log; it has {}",
            summary.run, args.seq, summary.records
        ));
        return Err(Exit::Usage);
    };
    let hashes =
        log::prove_inclusion(log, *leaf, head.size).await.map_err(|error| wrong(&error))?;
    let Ok(text) = String::from_utf8(record.bytes.clone()) else {
        complain(&format!("record {} is damaged; see `lar audit verify`", args.seq));
        return Err(Exit::Error);
    };
    let proof = RecordProof { record: text, leaf: *leaf, hashes, checkpoint };
    let written = std::io::stdout().write_all(proof.text().as_bytes());
    Ok(if written.is_ok() { Exit::Complete } else { Exit::Error })
}

/// Compares.
pub(super) async fn diff(args: DiffArgs) -> Result<Exit, Exit> {
    let old = checkpoint_in(&args.old)?;
    let ledger = args.ledger.open().await?.ok_or_else(no_ledger)?;
    let log = log_of(ledger.as_ref())?;
    let head = log.head().await.map_err(|error| wrong(&error))?;
    let new = match &args.new {
        Some(path) => checkpoint_in(path)?,
        None => Checkpoint { origin: head.origin.clone(), size: head.size, root: head.root },
    };
    let no = |why: String| {
        println(&format!("not consistent: {why}"));
        Ok(Exit::Error)
    };
    if old.origin != new.origin || new.origin != head.origin {
        return no(format!(
            "they are of different logs (`{}`, `{}`, and the ledger is `{}`)",
            escape(&old.origin, Mode::Line),
            escape(&new.origin, Mode::Line),
            head.origin
        ));
    }
    if old.size > new.size || new.size > head.size {
        return no(format!(
            "the older one has {} records, the newer one {} and the ledger {}: records were taken away, \
             or an older copy was put in the ledger's place",
            old.size, new.size, head.size
        ));
    }
    for (from, to) in [(&old, &new), (&new, &head_of(&head))] {
        let proof = log::prove_consistency(log, from.size, to.size).await;
        let proof = proof.map_err(|error| wrong(&error))?;
        if verify_consistency(from.size, &from.root, to.size, &to.root, &proof).is_err() {
            return no(format!(
                "the first {} records are not those of the older one: the log was rewritten or forked",
                from.size
            ));
        }
    }
    println(&format!("consistent: {} records, and {} added", old.size, new.size - old.size));
    Ok(Exit::Complete)
}

fn head_of(head: &log::Head) -> Checkpoint {
    Checkpoint { origin: head.origin.clone(), size: head.size, root: head.root }
}

/// The checkpoint that a file is, or that a bundle begins with.
fn checkpoint_in(path: &Path) -> Result<Checkpoint, Exit> {
    use std::io::Read;
    let shown = escape(&path.to_string_lossy(), Mode::Line);
    let mut text = String::new();
    let read =
        std::fs::File::open(path).and_then(|file| file.take(1 << 20).read_to_string(&mut text));
    if let Err(error) = read
        && text.is_empty()
    {
        complain(&format!("`{shown}` can't be read ({})", error.kind()));
        return Err(Exit::Usage);
    }
    let first = text.lines().next().unwrap_or_default();
    let note = match serde_json::from_str::<Header>(first) {
        Ok(header) if header.bundle == FORMAT => header.checkpoint,
        _ => text,
    };
    let read = Note::parse(&note).and_then(|note| Checkpoint::parse(note.text()));
    read.map_err(|_| {
        complain(&format!("`{shown}` is neither a checkpoint nor a bundle"));
        Exit::Usage
    })
}

/// Writes the log as tiles.
pub(super) async fn tiles(args: TilesArgs) -> Result<Exit, Exit> {
    let ledger = args.ledger.open().await?.ok_or_else(no_ledger)?;
    let log = log_of(ledger.as_ref())?;
    let head = log.head().await.map_err(|error| wrong(&error))?;
    let empty = std::fs::read_dir(&args.directory).map_or(true, |mut dir| dir.next().is_none());
    let shown = escape(&args.directory.to_string_lossy(), Mode::Line);
    if !empty {
        complain(&format!("`{shown}` is not empty; name another directory"));
        return Err(Exit::Usage);
    }
    let unwritten = |error: std::io::Error| {
        complain(&format!("`{shown}` can't be written ({})", error.kind()));
        Exit::Error
    };
    let put = |path: PathBuf, bytes: &[u8]| {
        let whole = args.directory.join(path);
        whole.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(unwritten)?;
        std::fs::write(&whole, bytes).map_err(unwritten)
    };
    let mut level = 0u8;
    while head.size >> (level * TILE_HEIGHT) > 0 {
        let count = head.size >> (level * TILE_HEIGHT);
        for tile in 0..count.div_ceil(256) {
            let width = (count - tile * 256).min(256);
            let hashes = log.hashes(level * TILE_HEIGHT, tile * 256, width).await;
            let hashes = hashes.map_err(|error| wrong(&error))?;
            let bytes: Vec<u8> = hashes.iter().flat_map(|hash| *hash.as_bytes()).collect();
            put(Path::new("tile").join(level.to_string()).join(name(tile, width)), &bytes)?;
            if level == 0 {
                let entries =
                    log.entries(tile * 256, width).await.map_err(|error| wrong(&error))?;
                let mut bytes = Vec::new();
                for entry in entries {
                    // A record has at most 65,535 bytes, so that its length always fits.
                    let length = u16::try_from(entry.len()).unwrap_or(u16::MAX);
                    bytes.extend_from_slice(&length.to_be_bytes());
                    bytes.extend_from_slice(&entry);
                }
                put(Path::new("tile/entries").join(name(tile, width)), &bytes)?;
            }
        }
        level += 1;
    }
    // The head comes last: whoever reads it finds all that it covers.
    put("checkpoint".into(), head.checkpoint.unwrap_or_default().as_bytes())?;
    println(&format!("{} records written to `{shown}`", head.size));
    Ok(Exit::Complete)
}

/// A tile's path: groups of three digits, all but the last with an `x` before it.
fn name(tile: u64, width: u64) -> String {
    let mut parts = vec![format!("{:03}", tile % 1000)];
    let mut rest = tile / 1000;
    while rest > 0 {
        parts.insert(0, format!("x{:03}", rest % 1000));
        rest /= 1000;
    }
    let path = parts.join("/");
    if width < 256 { format!("{path}.p/{width}") } else { path }
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn tiles_are_named_as_the_specification_says() {
        assert_eq!(name(1_234_067, 256), "x001/x234/067");
        assert_eq!(name(0, 256), "000");
        assert_eq!(name(273, 112), "273.p/112");
        assert_eq!(name(1000, 1), "x001/000.p/1");
    }
}
