//! `lar approve` and `lar approvals deny`: signs a decision with a listed key and gives it to the ledger.

use std::path::PathBuf;
use std::time::Duration;

use linear_agentics::approval::{ApproverKey, Ruling, Signed, Statement, Word, page};
use linear_agentics::approvals::ssh::{Agent, KeyFile, SshError};
use linear_agentics::approvals::{DecideError, Deciding, Pending};
use linear_agentics::confirm_at_terminal;
use linear_agentics::display::{Mode, escape};
use linear_agentics::ledger::LedgerError;
use linear_agentics::manifest::parse_duration;
use serde_json::json;

use super::find;
use crate::commands::store::{LedgerChoice, exit_of};
use crate::output::{Exit, complain, println, say};

/// How much of a digest must be given for it to stand for having read the question, in digits.
const DIGITS: usize = 16;

/// Sign a decision about what waits
#[derive(Debug, clap::Args)]
#[command(after_help = "The key must be listed under `approvers`. It signs through the ssh-agent \
(SSH_AUTH_SOCK), or from the file that --key names. Exit codes: 0 given, 2 nothing is called so, 5 it \
would not count, or waits for nothing any more.")]
pub struct Args {
    /// What waits: its id as `lar approvals list` prints it, or a beginning of it
    id: String,
    #[command(flatten)]
    ledger: LedgerChoice,
    /// A private key's file, instead of the ssh-agent
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Whose key of the ssh-agent signs, when it holds several that are listed
    #[arg(long = "as", value_name = "NAME", conflicts_with = "key")]
    person: Option<String>,
    /// How long the approval holds, from now, by the ledger's clock; at most a day
    #[arg(long = "for", value_name = "DURATION", default_value = "15m", value_parser = parse_duration)]
    holds: Duration,
    /// The digest of what will run, or its first 16 digits, instead of a `yes` at the terminal
    #[arg(long, value_name = "DIGEST")]
    digest: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, word: Word) -> Result<Exit, Exit> {
    let (ledger, one) = find(&args.ledger, &args.id).await?;
    let Some(deciding) = &one.signed else {
        complain("the run lists nobody's key, so that only its own terminal can answer");
        return Err(Exit::Refused);
    };
    if word == Word::Approve {
        read_it(&args, deciding)?;
    }
    let mut signer = Signer::find(&args, deciding)?;
    let until = deciding.now.plus_millis(u64::try_from(args.holds.as_millis()).unwrap_or(u64::MAX));
    let statement = deciding.statement(word, signer.key.principal(), until);
    let statement = statement.map_err(|error| unsigned(&error))?;
    let signed = signer.sign(&statement).map_err(|error| unsigned(&error.into()))?;
    let judged = deciding.decide(ledger.as_ref(), signed).await;
    let judged = judged.map_err(|error| unsigned(&error))?;
    tell(&args, &one, deciding, word, signer.key.principal(), &judged.ruling);
    Ok(Exit::Complete)
}

/// A yes is given by whoever has read what will run.
fn read_it(args: &Args, deciding: &Deciding) -> Result<(), Exit> {
    let digest = deciding.subject.action.to_string();
    if let Some(given) = &args.digest {
        if given.len() >= DIGITS && digest.starts_with(given.as_str()) {
            return Ok(());
        }
        complain(&format!(
            "the digest of what would run begins with another 16 digits than `{}`; `lar approvals show` \
             shows it",
            escape(given, Mode::Line)
        ));
        return Err(Exit::Refused);
    }
    let asked = confirm_at_terminal(|size| {
        let question = page(&deciding.question, size);
        format!("{question}Type `yes` to sign that this may run, anything else to leave it: ")
    });
    match asked {
        Ok(true) => Ok(()),
        Ok(false) => {
            say("nothing was signed");
            Err(Exit::Refused)
        }
        Err(why) => {
            complain(&format!(
                "{why}; read it with `lar approvals show`, and name its digest with `--digest`"
            ));
            Err(Exit::Usage)
        }
    }
}

/// What signs, and as which of the listed keys.
struct Signer<'k> {
    key: &'k ApproverKey,
    with: With,
}

enum With {
    Agent(Agent),
    File(Box<KeyFile>),
}

impl<'k> Signer<'k> {
    fn find(args: &Args, deciding: &'k Deciding) -> Result<Self, Exit> {
        let keys = deciding.approvers.keys();
        let unlisted = |what: &str| {
            complain(&format!("{what}; those who may approve: {}", deciding.approvers.summary()));
            Err(Exit::Refused)
        };
        let failed = |error: SshError| unsigned(&error.into());
        if let Some(path) = &args.key {
            let file = KeyFile::read(path).map_err(failed)?;
            let Some(key) = file.of(keys) else {
                let path = escape(&path.to_string_lossy(), Mode::Line);
                return unlisted(&format!("the key in `{path}` isn't listed"));
            };
            let file = if file.is_encrypted() { unlock(file)? } else { file };
            return Ok(Self { key, with: With::File(Box::new(file)) });
        }
        let mut agent = Agent::from_environment().map_err(failed)?;
        let held = agent.holds(keys).map_err(failed)?;
        let wanted = |key: &&&ApproverKey| {
            args.person.as_deref().is_none_or(|person| person == key.principal())
        };
        let fitting: Vec<&ApproverKey> = held.iter().filter(wanted).copied().collect();
        match fitting.as_slice() {
            [] => unlisted("the ssh-agent holds no key that is listed"),
            [first, rest @ ..] => {
                if rest.iter().any(|key| key.principal() != first.principal()) {
                    complain(
                        "the ssh-agent holds keys of several people; say whose with `--as NAME`",
                    );
                    return Err(Exit::Usage);
                }
                Ok(Self { key: first, with: With::Agent(agent) })
            }
        }
    }

    fn sign(&mut self, statement: &Statement) -> Result<Signed, SshError> {
        match &mut self.with {
            With::Agent(agent) => {
                if self.key.in_hardware() {
                    say("confirm with the security key");
                }
                agent.sign(statement, self.key)
            }
            With::File(file) => file.sign(statement, self.key),
        }
    }
}

/// Asks for the passphrase, at the terminal and unseen.
fn unlock(file: KeyFile) -> Result<KeyFile, Exit> {
    let terminal = console::Term::stderr();
    let asked =
        terminal.write_str("passphrase of the key: ").and_then(|()| terminal.read_secure_line());
    let Ok(passphrase) = asked else {
        complain(
            "the key is encrypted and there is no terminal to ask for its passphrase; `ssh-add` it",
        );
        return Err(Exit::Usage);
    };
    file.unlock(&passphrase.into()).map_err(|error| unsigned(&error.into()))
}

fn unsigned(error: &DecideError) -> Exit {
    complain(&escape(&error.to_string(), Mode::Line));
    match error {
        DecideError::Ledger(LedgerError::NotWaiting { .. }) | DecideError::WouldNotCount(_) => {
            Exit::Refused
        }
        DecideError::Ledger(error) => exit_of(error),
        DecideError::Key(SshError::File { .. } | SshError::NoAgent(_)) => Exit::Usage,
        DecideError::Key(_) | DecideError::Json(_) | DecideError::NoRandom => Exit::Error,
    }
}

fn tell(
    args: &Args,
    one: &Pending,
    deciding: &Deciding,
    word: Word,
    person: &str,
    ruling: &Ruling,
) {
    let required = deciding.approvers.required();
    let count = match ruling {
        Ruling::Waiting { by } | Ruling::Yes { by, .. } => by.len(),
        Ruling::No { .. } => 0,
    };
    if args.json {
        let told = json!({
            "id": one.id(), "run": one.run, "attempt": one.attempt, "decision": word,
            "approver": person, "approvals": count, "required": required,
        });
        println(&format!("{told:#}"));
        return;
    }
    println(&match ruling {
        Ruling::No { .. } => format!("denied as {person}; it will not run"),
        Ruling::Waiting { .. } => format!("approved as {person}: {count} of {required}"),
        Ruling::Yes { .. } => {
            let next = match one.until {
                Some(_) => "the run goes on with it",
                None => "`lar resume` goes on with it",
            };
            format!("approved as {person}: {count} of {required}; {next}")
        }
    });
}
