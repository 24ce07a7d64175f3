//! `lar approvals`: what waits for people, and their signed decisions about it, from wherever they are.

mod decide;
mod show;

use std::sync::Arc;

use clap::Subcommand;
use linear_agentics::Ledger;
use linear_agentics::approval::{Ruling, Word};
use linear_agentics::approvals::{Deciding, Pending, pending};
use linear_agentics::display::{Mode, clip, escape};
use serde_json::{Value, json};

use super::store::{LedgerChoice, block_on, failed};
use crate::output::{Exit, complain, println, say};

pub use decide::Args as DecideArgs;

/// List and show what waits for approval, and approve or deny it with a listed key
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List what waits for people
    List {
        #[command(flatten)]
        ledger: LedgerChoice,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a question exactly as the run would put it
    Show(show::Args),
    /// Sign that it may run
    Approve(decide::Args),
    /// Sign that it may not
    Deny(decide::Args),
}

/// Lists, shows or decides.
pub fn run(args: Args) -> Exit {
    block_on(async {
        match args.command {
            Command::List { ledger, json } => list(&ledger, json).await,
            Command::Show(args) => show::run(args).await,
            Command::Approve(args) => decide::run(args, Word::Approve).await,
            Command::Deny(args) => decide::run(args, Word::Deny).await,
        }
    })
}

/// Approves.
pub fn approve(args: DecideArgs) -> Exit {
    block_on(decide::run(args, Word::Approve))
}

/// Denies.
pub fn deny(args: DecideArgs) -> Exit {
    block_on(decide::run(args, Word::Deny))
}

async fn list(choice: &LedgerChoice, as_json: bool) -> Result<Exit, Exit> {
    let waiting = match choice.open().await? {
        Some(ledger) => pending(ledger.as_ref()).await.map_err(|error| failed(&error))?,
        None => Vec::new(),
    };
    if as_json {
        println(&format!("{:#}", Value::Array(waiting.iter().map(as_value).collect())));
        return Ok(Exit::Complete);
    }
    if waiting.is_empty() {
        say("nothing waits for approval");
        return Ok(Exit::Complete);
    }
    for one in &waiting {
        let message = clip(&escape(&one.message, Mode::Line), 60);
        let who = match &one.signed {
            Some(deciding) => progress(deciding),
            None => "at the run's own terminal".to_owned(),
        };
        let open = if one.until.is_some() { "" } else { " (the run was cut off)" };
        println(&format!("{}  {}  {message}: {who}{open}", one.id(), one.run));
    }
    say("see it with `lar approvals show ID`, then `lar approve ID` or `lar approvals deny ID`");
    Ok(Exit::Complete)
}

/// How far it is, in words.
fn progress(deciding: &Deciding) -> String {
    let by = match deciding.judge().ruling {
        Ruling::Waiting { by } => by,
        Ruling::Yes { by, .. } => return format!("approved by {}", by.join(", ")),
        Ruling::No { by, .. } => return format!("denied by {by}"),
    };
    let needs = format!("needs {}", deciding.approvers.summary());
    if by.is_empty() { needs } else { format!("{needs}; approved so far by {}", by.join(", ")) }
}

fn as_value(one: &Pending) -> Value {
    let mut value = json!({
        "id": one.id(),
        "run": one.run,
        "attempt": one.attempt,
        "token": one.token,
        "message": one.message,
        "since": one.since,
        "until": one.until,
        "by": if one.signed.is_some() { "ssh-key" } else { "terminal" },
    });
    if let (Some(fields), Some(deciding)) = (value.as_object_mut(), &one.signed) {
        let (state, by) = match deciding.judge().ruling {
            Ruling::Waiting { by } => ("waiting", by),
            Ruling::Yes { by, .. } => ("approved", by),
            Ruling::No { by, .. } => ("denied", vec![by]),
        };
        fields.insert("state".into(), json!(state));
        fields.insert("decided_by".into(), json!(by));
        fields.insert("policy".into(), json!(deciding.approvers));
        fields.insert("action_digest".into(), json!(deciding.subject.action));
        fields.insert("question".into(), json!(deciding.question));
    }
    value
}

/// What is meant by an id, or the beginning of one.
async fn find(choice: &LedgerChoice, id: &str) -> Result<(Arc<dyn Ledger>, Pending), Exit> {
    let ledger = choice.existing().await?;
    let waiting = pending(ledger.as_ref()).await.map_err(|error| failed(&error))?;
    let fits = |one: &&Pending| !id.is_empty() && one.attempt.to_string().starts_with(id);
    let found: Vec<&Pending> = waiting.iter().filter(fits).collect();
    match found.as_slice() {
        [one] => Ok((ledger, (*one).clone())),
        [] => {
            let shown = clip(&escape(id, Mode::Line), 80);
            complain(&format!(
                "nothing that waits for approval is called `{shown}`; `lar approvals list` shows what does"
            ));
            Err(Exit::Usage)
        }
        _ => {
            complain("that fits several attempts; write more of the id");
            Err(Exit::Usage)
        }
    }
}
