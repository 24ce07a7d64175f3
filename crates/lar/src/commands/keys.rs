//! `lar keys`: the keys that sign a ledger's record.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use linear_agentics::audit::log::{Head, Log, NewKey};
use linear_agentics::audit::note::{NoteKey, NoteSigner, SignerError};
use linear_agentics::audit::policy::Policy;
use linear_agentics::display::{Mode, escape};
use linear_agentics::keys::{Holder, KeyError, KeyLine, Keys, new_root, read_root};
use linear_agentics::{Ledger, LedgerError, LedgerPlace, open_ledger};
use serde_json::json;

use super::store::{LedgerChoice, block_on};
use crate::output::{Exit, complain, println, say};

/// Make, show and rotate the keys that sign the record
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the first key of a ledger; without this, the first run does
    Init(Making),
    /// Show the public keys
    Show {
        #[command(flatten)]
        ledger: LedgerChoice,
        /// Print a policy for `lar audit verify` and `lar-verify` that knows these keys
        #[arg(long, conflicts_with = "json")]
        policy: bool,
        /// Print them as JSON
        #[arg(long)]
        json: bool,
    },
    /// Begin the next epoch with a new key
    Rotate(Making),
    /// Make an offline root key, which certifies the keys of epochs; keep it off this machine
    Root {
        /// Where to write it (PKCS#8 PEM); a file that is there is never replaced
        file: PathBuf,
        /// Its name, without spaces and `+`
        #[arg(long, default_value = "lar-root")]
        name: String,
    },
    /// Make a P-256 key, with which `lar audit export --format dsse` signs too
    P256 {
        #[command(flatten)]
        ledger: LedgerChoice,
    },
}

/// How a key is made.
#[derive(Debug, clap::Args)]
struct Making {
    #[command(flatten)]
    ledger: LedgerChoice,
    /// The offline root key that certifies the new one
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
    /// The root's name
    #[arg(long, default_value = "lar-root", value_name = "NAME")]
    root_name: String,
    /// The program's Ed25519 public key, 32 bytes in base64 or hexadecimal
    #[arg(long, value_name = "KEY")]
    public: Option<String>,
    /// The Unix socket on which a program listens that holds the key and signs. In each connection it
    /// reads the bytes to their end, and writes the signature in base64
    #[arg(long, value_name = "PATH", requires = "public", conflicts_with = "signer")]
    socket: Option<PathBuf>,
    /// After `--`: a program that holds the key and signs, by its absolute path, with its arguments.
    /// It gets the bytes on stdin and prints the signature in base64
    #[arg(last = true, value_name = "PROGRAM", requires = "public")]
    signer: Vec<String>,
}

/// Makes, shows or rotates.
pub fn run(args: Args) -> Exit {
    block_on(async {
        match args.command {
            Command::Init(making) => init(&making).await,
            Command::Show { ledger, policy, json } => show(&ledger, policy, json).await,
            Command::Rotate(making) => rotate(making).await,
            Command::Root { file, name } => root(&file, &name),
            Command::P256 { ledger } => p256(&ledger).await,
        }
    })
}

fn unusable(error: &KeyError) -> Exit {
    complain(&escape(&error.to_string(), Mode::Line));
    Exit::Error
}

fn unread(error: &LedgerError) -> Exit {
    complain(&error.to_string());
    Exit::Error
}

/// The head of the ledger's log, and its keys.
async fn of(file: &LedgerChoice) -> Result<(std::sync::Arc<dyn Ledger>, Head, Keys), Exit> {
    let ledger = open_ledger(file.place()).await.map_err(|error| {
        complain(&error.to_string());
        Exit::Error
    })?;
    let head = log_of(ledger.as_ref())?.head().await.map_err(|error| unread(&error))?;
    let path = file.place().and_then(LedgerPlace::file);
    let keys = Keys::of(&head.origin, path).map_err(|error| unusable(&error))?;
    Ok((ledger, head, keys))
}

fn log_of(ledger: &dyn Ledger) -> Result<&dyn Log, Exit> {
    ledger.log().ok_or_else(|| {
        complain("this ledger keeps no signed log, so that it has no keys");
        Exit::Error
    })
}

async fn init(making: &Making) -> Result<Exit, Exit> {
    let (_, head, keys) = of(&making.ledger).await?;
    if head.size > 0 || !keys.list().map_err(|error| unusable(&error))?.is_empty() {
        complain(
            "the ledger has a key already; `lar keys show` shows it, `lar keys rotate` makes the next",
        );
        return Err(Exit::Usage);
    }
    let line = make(&keys, 1, 0, making).map_err(|error| unusable(&error))?;
    print(&line);
    Ok(Exit::Complete)
}

async fn rotate(making: Making) -> Result<Exit, Exit> {
    let (ledger, head, keys) = of(&making.ledger).await?;
    if head.size == 0 {
        complain(
            "nothing was signed yet, so that there is nothing to rotate; `lar keys init` makes a key",
        );
        return Err(Exit::Usage);
    }
    let epoch = head.epoch + 1;
    let certify = {
        let keys = keys.clone();
        // In the ledger's transaction: the size that the certificate names is the one at which the
        // old key signed last.
        Box::new(move |from| {
            let line = make(&keys, epoch, from, &making)
                .map_err(|error| LedgerError::BadRecord(error.to_string()))?;
            Ok(NewKey { key: line.key.to_string(), certificate: line.certificate })
        })
    };
    log_of(ledger.as_ref())?.rotate(epoch, certify).await.map_err(|error| unread(&error))?;
    let lines = keys.list().map_err(|error| unusable(&error))?;
    if let Some(line) = lines.iter().find(|line| line.epoch == epoch) {
        print(line);
    }
    say("give the new key to whoever verifies: `lar keys show --policy`");
    Ok(Exit::Complete)
}

fn make(keys: &Keys, epoch: u64, from: u64, making: &Making) -> Result<KeyLine, KeyError> {
    let root = match &making.root {
        Some(path) => Some(read_root(path, &making.root_name)?),
        None => None,
    };
    let holder = match &making.socket {
        Some(path) => Some(Holder::Socket(path.clone())),
        None if making.signer.is_empty() => None,
        None => Some(Holder::Command(making.signer.clone())),
    };
    if holder.is_none() && making.public.is_some() {
        let why =
            "`--public` is the key of a program that signs: name it after `--`, or its `--socket`";
        return Err(KeyError::Signer(SignerError(why.to_owned())));
    }
    keys.prepare(epoch, from, holder.as_ref(), making.public.as_deref(), root.as_ref())
}

async fn show(file: &LedgerChoice, policy: bool, as_json: bool) -> Result<Exit, Exit> {
    if file.open().await?.is_none() {
        complain("there is no ledger yet, so that there are no keys; `lar keys init` makes one");
        return Err(Exit::Usage);
    }
    let (ledger, head, keys) = of(file).await?;
    let lines = keys.list().map_err(|error| unusable(&error))?;
    if as_json {
        let lines: Vec<_> = lines
            .iter()
            .map(|line| {
                json!({
                    "epoch": line.epoch, "key": line.key, "certificate": line.certificate,
                    "external": line.external, "signs": line.epoch == head.epoch,
                })
            })
            .collect();
        println(&format!("{:#}", json!({"origin": head.origin, "keys": lines})));
    } else if policy {
        // What has signed, whichever host it was; before anything has, what would.
        let epochs = log_of(ledger.as_ref())?.epochs().await.map_err(|error| unread(&error))?;
        let mut known: Vec<NoteKey> =
            epochs.iter().filter_map(|epoch| epoch.key.parse().ok()).collect();
        if known.is_empty() {
            known = lines.into_iter().map(|line| line.key).collect();
        }
        let policy = Policy { origin: Some(head.origin.clone()), keys: known, ..Policy::default() };
        println(&format!(
            "# What a verifier of this ledger knows. Keep it where the ledger's owner can't change it.\n{}",
            policy_text(&policy)
        ));
    } else if lines.is_empty() {
        say("there are no keys yet; the first run makes one, or `lar keys init`");
    } else {
        println(&format!("ledger {}, keys in {}", head.origin, keys.directory().display()));
        lines.iter().for_each(print);
    }
    Ok(Exit::Complete)
}

/// The policy as TOML, a key a line.
fn policy_text(policy: &Policy) -> String {
    let keys: Vec<String> = policy.keys.iter().map(|key| format!("    \"{key}\",\n")).collect();
    let origin = policy.origin.as_deref().unwrap_or_default();
    format!(
        "origin = \"{origin}\"\nkeys = [\n{}]\nrequire = [\"integrity\", \"authenticity\", \"completeness\"]",
        keys.concat()
    )
}

fn root(file: &Path, name: &str) -> Result<Exit, Exit> {
    let root = new_root(file, name).map_err(|error| unusable(&error))?;
    println(&format!("roots = [\"{}\"]", root.key()));
    say("keep the file off this machine; whoever verifies puts the line above into their policy");
    Ok(Exit::Complete)
}

async fn p256(file: &LedgerChoice) -> Result<Exit, Exit> {
    let (_, _, keys) = of(file).await?;
    let key = keys.make_p256().map_err(|error| unusable(&error))?;
    println(key.public_pem().trim_end());
    Ok(Exit::Complete)
}

fn print(line: &KeyLine) {
    let held = if line.external { ", held by a program" } else { "" };
    let certified = if line.certificate.is_some() { ", certified by a root" } else { "" };
    println(&format!("epoch {}: {}{held}{certified}", line.epoch, line.key));
}
