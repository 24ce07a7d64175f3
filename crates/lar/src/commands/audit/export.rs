//! `lar audit export`: one run in the forms that other tools read.

use std::io::{BufWriter, IsTerminal, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

use linear_agentics::display::{Mode, escape};
use linear_agentics::export::Incomplete;
use linear_agentics::keys::{KeyError, Keys};
use linear_agentics::report::visible_json;
use linear_agentics::{AuditTrail, Ledger, LedgerPlace, export, flaw_of, read_trail, table};

use crate::commands::store::{LedgerChoice, failed, find};
use crate::output::{Exit, complain, say};

/// Write one run in a form that other tools read
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The bundle is the evidence: `lar-verify` or `lar audit verify FILE` checks it \
offline. Every other form is made from the records for a purpose.\n\nExit codes: 0 written, 1 the \
record can't be relied on or can't be written, 2 there is no such run."
)]
pub struct Args {
    /// The run: its id, a beginning that fits no other, or `latest`
    run: String,
    #[command(flatten)]
    ledger: LedgerChoice,
    /// The form
    #[arg(long, value_enum, default_value_t = Format::Bundle)]
    format: Format,
    /// Where to write it, instead of stdout; a file that is there is never replaced
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// The forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// The records with their proof: what `lar-verify` checks
    Bundle,
    /// The audit trail as JSON
    Json,
    /// The audit trail as a table
    Table,
    /// A page that checks itself in the browser, without a network
    Html,
    /// Rows for a spreadsheet
    Csv,
    /// An in-toto Statement
    InToto,
    /// That Statement in a signed DSSE envelope
    Dsse,
    /// OCSF 1.9 API Activity events, one a line
    Ocsf,
    /// OpenTelemetry spans as OTLP/JSON
    Otel,
    /// Signed approvals with their signatures, as a directory (`--out`) for `ssh-keygen -Y verify`
    Sshsig,
}

/// Exports.
pub(super) async fn run(args: Args) -> Result<Exit, Exit> {
    let Some(ledger) = args.ledger.open().await? else {
        let shown = escape(&args.run, Mode::Line);
        complain(&format!("there is no run `{shown}`: nothing was run yet"));
        return Err(Exit::Usage);
    };
    let ledger = ledger.as_ref();
    let runs = ledger.runs().await.map_err(|error| failed(&error))?;
    let summary = find(&runs, &args.run)?;
    if let Some(flaw) = flaw_of(ledger, summary).await.map_err(|error| failed(&error))? {
        complain(&format!(
            "the record of run `{}` can't be relied on, {}; `lar audit show {} --records` prints what \
             there is",
            summary.run,
            escape(&flaw, Mode::Line),
            summary.run
        ));
        return Err(Exit::Error);
    }
    if args.format == Format::Sshsig {
        let trail = read_trail(ledger, &summary.run).await.map_err(|error| failed(&error))?;
        return write_approvals(&trail, &args);
    }
    let bytes = match args.format {
        Format::Bundle if args.out.is_some() || !std::io::stdout().is_terminal() => {
            return stream(ledger, summary, &args).await;
        }
        Format::Bundle => bundle(ledger, summary).await?,
        Format::Html => {
            let bundle = bundle(ledger, summary).await?;
            export::html(&String::from_utf8_lossy(&bundle)).into_bytes()
        }
        other => {
            let trail = read_trail(ledger, &summary.run).await.map_err(|error| failed(&error))?;
            of_trail(other, ledger, &args.ledger, &trail).await?.into_bytes()
        }
    };
    write(&bytes, &args)
}

/// Writes the bundle a line at a time: memory is flat in its length.
async fn stream(
    ledger: &dyn Ledger,
    summary: &linear_agentics::ledger::RunSummary,
    args: &Args,
) -> Result<Exit, Exit> {
    let mut file = match &args.out {
        Some(path) => Some(create(path).map_err(|error| unwritten(&error, args))?),
        None => None,
    };
    let mut out: BufWriter<Box<dyn Write>> = BufWriter::new(match &file {
        Some(file) => Box::new(file.try_clone().map_err(|error| unwritten(&error, args))?),
        None => Box::new(std::io::stdout()),
    });
    let written = export::bundle(ledger, &summary.run, |line| {
        out.write_all(line)?;
        out.write_all(b"\n")
    });
    let written = match written.await {
        Ok(records) => out.flush().map(|()| records).map_err(Incomplete::Output),
        Err(error) => Err(error),
    };
    let synced = file.as_mut().map_or(Ok(()), |file| file.sync_all());
    let error = match (written, synced) {
        (Ok(records), Ok(())) => {
            if records < summary.records {
                say(&format!(
                    "the records from number {} on are not in the signed log yet, and not in the bundle",
                    records + 1
                ));
            }
            return Ok(Exit::Complete);
        }
        (Err(error), _) => error,
        (_, Err(error)) => Incomplete::Output(error),
    };
    // A part of a bundle is no bundle.
    if let Some(path) = &args.out {
        let _ = std::fs::remove_file(path);
    }
    match error {
        Incomplete::Output(error) => Err(unwritten(&error, args)),
        other => {
            complain(&other.to_string());
            Err(Exit::Error)
        }
    }
}

fn create(path: &std::path::Path) -> std::io::Result<std::fs::File> {
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn unwritten(error: &std::io::Error, args: &Args) -> Exit {
    if error.kind() != std::io::ErrorKind::BrokenPipe {
        let place = args.out.as_ref().map_or("stdout".into(), |path| path.to_string_lossy());
        let place = escape(&place, Mode::Line);
        complain(&format!("`{place}` can't be written ({})", error.kind()));
    }
    Exit::Error
}

async fn bundle(
    ledger: &dyn Ledger,
    summary: &linear_agentics::ledger::RunSummary,
) -> Result<Vec<u8>, Exit> {
    let mut bytes = Vec::new();
    let written = export::bundle(ledger, &summary.run, |line| {
        bytes.extend_from_slice(line);
        bytes.push(b'\n');
        Ok(())
    });
    written.await.map_err(|error| {
        complain(&error.to_string());
        Exit::Error
    })?;
    Ok(bytes)
}

async fn of_trail(
    format: Format,
    ledger: &dyn Ledger,
    file: &LedgerChoice,
    trail: &AuditTrail,
) -> Result<String, Exit> {
    let head = match ledger.log() {
        Some(log) => Some(log.head().await.map_err(|error| failed(&error))?),
        None => None,
    };
    Ok(match format {
        Format::Json => format!("{}\n", trail.to_json()),
        Format::Table => format!("{}\n", table::render(trail, None).trim_end()),
        Format::Csv => export::csv(trail),
        Format::Ocsf => export::ocsf(trail),
        Format::Otel => export::otel(trail),
        Format::InToto => format!("{:#}\n", export::in_toto(trail, head.as_ref())),
        Format::Dsse => {
            let Some(head) = &head else {
                complain("the ledger has no signed log, so that there is no key to sign with");
                return Err(Exit::Error);
            };
            let unsigned = |error: KeyError| {
                complain(&error.to_string());
                Exit::Error
            };
            let path = file.place().and_then(LedgerPlace::file);
            let keys = Keys::of(&head.origin, path).map_err(unsigned)?;
            let signing = keys.signing(head.epoch, false).map_err(unsigned)?;
            let p256 = keys.p256().map_err(unsigned)?;
            let statement = export::in_toto(trail, Some(head));
            let envelope = export::dsse(&statement, signing.signer.as_ref(), p256.as_ref())
                .map_err(|error| {
                    complain(&error.to_string());
                    Exit::Error
                })?;
            let text = serde_json::to_string(&envelope).unwrap_or_default();
            format!("{text}\n")
        }
        // These are made of the bundle, or are no text.
        Format::Bundle | Format::Html | Format::Sshsig => String::new(),
    })
}

/// Writes signed approvals into a new directory.
fn write_approvals(trail: &AuditTrail, args: &Args) -> Result<Exit, Exit> {
    let files = export::sshsig(trail);
    if files.is_empty() {
        complain("nothing in this run was approved or denied by a signature");
        return Err(Exit::Usage);
    }
    let Some(out) = &args.out else {
        complain("these are several files; name a new directory with `--out DIR`");
        return Err(Exit::Usage);
    };
    let written = std::fs::DirBuilder::new().mode(0o700).create(out).and_then(|()| {
        for (name, text) in &files {
            let mut file = std::fs::OpenOptions::new();
            let mut file = file.write(true).create_new(true).mode(0o600).open(out.join(name))?;
            file.write_all(text.as_bytes())?;
        }
        Ok(())
    });
    let shown = escape(&out.to_string_lossy(), Mode::Line);
    if let Err(error) = written {
        complain(&format!("`{shown}` can't be written ({})", error.kind()));
        return Err(Exit::Error);
    }
    say(&format!("check them with OpenSSH: cd {shown} && sh verify.sh"));
    Ok(Exit::Complete)
}

/// Writes the exact bytes to a file or a pipe. A terminal, which would obey what is in them, gets them
/// escaped.
fn write(bytes: &[u8], args: &Args) -> Result<Exit, Exit> {
    let written = match &args.out {
        Some(path) => {
            create(path).and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        }
        None if std::io::stdout().is_terminal() => {
            let text = String::from_utf8_lossy(bytes);
            let shown = match args.format {
                Format::Table => text.into_owned(),
                Format::Json => visible_json(&text).into_owned(),
                _ => escape(&text, Mode::Block),
            };
            let written = std::io::stdout().write_all(shown.as_bytes());
            say("shown for people; the exact bytes go to a file with `--out FILE`");
            written
        }
        None => std::io::stdout().write_all(bytes),
    };
    written.map(|()| Exit::Complete).map_err(|error| unwritten(&error, args))
}
