//! `lar audit resolve`: a person says what became of an action whose outcome is unknown. The use stays
//! spent; what is said is added to the record.

use linear_agentics::display::{Mode, clip, escape};
use linear_agentics::ledger::{Attempt, Resolution, Resolver};
use linear_agentics::outcome::Verdict;
use serde_json::json;

use crate::commands::store::{LedgerChoice, failed, find};
use crate::output::{Exit, complain, println, say};

/// Say what became of an action whose outcome is unknown
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run: its id, a beginning that fits no other, or `latest`
    run: String,
    /// The attempt, or a beginning of it that fits no other; without one, those that are unknown are
    /// listed
    attempt: Option<String>,
    /// What became of it
    #[arg(requires = "attempt")]
    outcome: Option<Outcome>,
    /// How you know, in one line; it goes into the record
    #[arg(long, value_name = "TEXT", requires = "outcome")]
    note: Option<String>,
    #[command(flatten)]
    ledger: LedgerChoice,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What can be said.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Outcome {
    /// The action did what it should
    Succeeded,
    /// It certainly did not
    Failed,
}

/// Resolves, or lists what could be.
pub async fn run(args: Args) -> Result<Exit, Exit> {
    let ledger = args.ledger.existing().await?;
    let runs = ledger.runs().await.map_err(|error| failed(&error))?;
    let run = &find(&runs, &args.run)?.run;
    let attempts = ledger.attempts(run).await.map_err(|error| failed(&error))?;
    let unknown: Vec<&Attempt> =
        attempts.iter().filter(|attempt| attempt.state.is_unresolved()).collect();
    let (Some(wanted), Some(outcome)) = (&args.attempt, args.outcome) else {
        list(&args, run.as_str(), &unknown);
        return Ok(if args.attempt.is_none() { Exit::Complete } else { Exit::Usage });
    };
    let fits = |attempt: &&&Attempt| attempt.id.to_string().starts_with(wanted.as_str());
    let found: Vec<_> = unknown.iter().filter(fits).collect();
    let attempt = match found.as_slice() {
        [attempt] if !wanted.is_empty() => attempt,
        [] => {
            complain(&format!(
                "run `{run}` has no unknown outcome of attempt `{}`; `lar audit resolve {run}` lists \
                 those it has",
                clip(&escape(wanted, Mode::Line), 80)
            ));
            return Err(Exit::Usage);
        }
        _ => {
            complain("that fits several attempts; write more of the id");
            return Err(Exit::Usage);
        }
    };
    let verdict = match outcome {
        Outcome::Succeeded => Verdict::Succeeded,
        Outcome::Failed => Verdict::Failed,
    };
    let resolution = Resolution {
        run: run.clone(),
        attempt: attempt.id,
        by: Resolver::Person(linear_agentics::account()),
        verdict,
        note: args.note.clone().unwrap_or_default().chars().take(1_000).collect(),
    };
    let receipt = ledger.resolve(resolution).await.map_err(|error| failed(&error))?;
    if args.json {
        let told = json!({
            "run": run, "attempt": attempt.id, "outcome": verdict, "seq": receipt.seq,
            "head": receipt.hash,
        });
        println(&format!("{told:#}"));
    } else {
        println(&format!(
            "token `{}`: recorded as {}; the use stays spent",
            attempt.token,
            verdict.as_str()
        ));
    }
    Ok(Exit::Complete)
}

fn list(args: &Args, run: &str, unknown: &[&Attempt]) {
    if args.json {
        let lines: Vec<_> = unknown
            .iter()
            .map(|attempt| json!({"attempt": attempt.id, "token": attempt.token, "seq": attempt.seq}))
            .collect();
        println(&format!("{:#}", json!(lines)));
        return;
    }
    if unknown.is_empty() {
        say(&format!("run `{run}` has no unknown outcome"));
        return;
    }
    for attempt in unknown {
        println(&format!("{}  {}", attempt.id, attempt.token));
    }
    say(&format!(
        "look at the target, then say what you found: lar audit resolve {run} ATTEMPT \
         succeeded|failed --note TEXT"
    ));
}
