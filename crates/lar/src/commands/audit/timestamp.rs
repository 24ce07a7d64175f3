//! `lar audit timestamp`: a time-stamp of an authority over the log's head.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use linear_agentics::display::{Mode, escape};
use linear_agentics::{Url, timestamp};

use crate::commands::store::{LedgerChoice, failed};
use crate::output::{Exit, complain, println};

/// Have an authority state when the log's head was there
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Writes the head to FILE and the authority's answer (RFC 3161) to FILE.tsr. Both are \
checked with `openssl ts -verify -data FILE -in FILE.tsr -CAfile CERTIFICATES`; `lar audit diff FILE` tells \
whether a ledger still begins with that head."
)]
pub struct Args {
    /// The authority's address, http or https
    #[arg(long, value_name = "URL")]
    tsa: Url,
    /// Where the head is written; files that are there are never replaced
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    ledger: LedgerChoice,
}

/// Asks and writes.
pub(super) async fn run(args: Args) -> Result<Exit, Exit> {
    if !matches!(args.tsa.scheme(), "http" | "https") {
        complain("`--tsa` is the address of an authority, http or https");
        return Err(Exit::Usage);
    }
    let ledger = args.ledger.existing().await?;
    let head = match ledger.log() {
        Some(log) => log.head().await.map_err(|error| failed(&error))?.checkpoint,
        None => None,
    };
    let Some(checkpoint) = head else {
        complain("the ledger has no signed log yet; the next run begins one");
        return Err(Exit::Usage);
    };
    let stamp = timestamp(&args.tsa, checkpoint.as_bytes()).await.map_err(|error| {
        complain(&escape(&error.to_string(), Mode::Line));
        Exit::Error
    })?;
    let mut answer = args.out.clone().into_os_string();
    answer.push(".tsr");
    write_new(&args.out, checkpoint.as_bytes())?;
    write_new(Path::new(&answer), &stamp)?;
    println(&escape(&answer.to_string_lossy(), Mode::Line));
    Ok(Exit::Complete)
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Exit> {
    let opened = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let written = opened.and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.map_err(|error| {
        let shown = escape(&path.to_string_lossy(), Mode::Line);
        complain(&format!("`{shown}` can't be written ({})", error.kind()));
        Exit::Error
    })
}
