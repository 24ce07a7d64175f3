//! `lar witness`: a server that cosigns the checkpoints of logs, for somebody else to run.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Subcommand;
use linear_agentics::audit::note::NoteKey;
use linear_agentics::display::{Mode, escape};
use linear_agentics::witness::{Witness, WitnessError, serve};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::store::block_on;
use crate::output::{Exit, complain, println, say};

/// Cosign the checkpoints of logs, so that nobody can show two histories
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A witness is worth something where somebody else than the log's owner runs it: it \
speaks C2SP tlog-witness over plain HTTP, refuses forks and rollbacks, and writes down what it cosigned \
before it answers. Put a proxy before it for TLS. `DIRECTORY/forks` holds what logs signed that \
contradicts itself."
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a witness: its key and its memory; prints the key that verifiers and manifests name
    Init {
        /// The directory that it lives in
        directory: PathBuf,
        /// Its name, without spaces and `+`, such as `witness.example/w1`
        #[arg(long)]
        name: String,
    },
    /// Serve one until it is told to stop
    Serve {
        /// The directory that it lives in
        directory: PathBuf,
        /// A key of a log that it cosigns, as `lar keys show --policy` prints it; once for each
        #[arg(long = "log", required = true, value_name = "KEY")]
        logs: Vec<NoteKey>,
        /// Where it listens; port 0 takes a free one
        #[arg(long, default_value = "127.0.0.1:7380", value_name = "ADDRESS:PORT")]
        listen: SocketAddr,
    },
}

/// Makes or serves.
pub fn run(args: Args) -> Exit {
    block_on(async {
        match args.command {
            Command::Init { directory, name } => init(&directory, &name),
            Command::Serve { directory, logs, listen } => listen_on(&directory, logs, listen).await,
        }
    })
}

fn unusable(error: &WitnessError) -> Exit {
    complain(&escape(&error.to_string(), Mode::Line));
    Exit::Error
}

fn init(directory: &Path, name: &str) -> Result<Exit, Exit> {
    let key = Witness::create(directory, name).map_err(|error| unusable(&error))?;
    println(&key.to_string());
    Ok(Exit::Complete)
}

async fn listen_on(directory: &Path, logs: Vec<NoteKey>, listen: SocketAddr) -> Result<Exit, Exit> {
    let witness = Arc::new(Witness::open(directory, logs).map_err(|error| unusable(&error))?);
    let unheard = |error: std::io::Error| {
        complain(&format!("it can't listen on {listen} ({}); name another port", error.kind()));
        Exit::Error
    };
    let listener = TcpListener::bind(listen).await.map_err(unheard)?;
    let listening = listener.local_addr().map_err(unheard)?;
    println(&format!("{} listens on http://{listening}/", witness.key()));
    let mut ended = signal(SignalKind::terminate()).map_err(unheard)?;
    let told = |status: u16, why: &str| say(&format!("{status} {why}"));
    tokio::select! {
        served = serve(witness, listener, told) => served.map_err(unheard)?,
        // Whatever was answered is on disk.
        _ = ended.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    Ok(Exit::Complete)
}
