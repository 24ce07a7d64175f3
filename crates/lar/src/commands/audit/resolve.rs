//! `lar audit resolve`: a person says what became of an action whose outcome is unknown, or its target
//! is asked. The use stays spent; what is said is added to the record.

use linear_agentics::display::{Mode, clip, escape};
use linear_agentics::id::RunId;
use linear_agentics::ledger::{Attempt, Resolution, Resolver};
use linear_agentics::outcome::Verdict;
use linear_agentics::report::visible_json;
use linear_agentics::{Ledger, TargetAnswer, ask_target};
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
    /// Ask the targets themselves, and record what they prove: a cluster, of a deployment by `kubectl`.
    /// Without an attempt, those of all that are unknown
    #[arg(long, conflicts_with = "outcome")]
    ask_target: bool,
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
    if args.ask_target {
        let asked = match &args.attempt {
            Some(wanted) => vec![one(run, &unknown, wanted)?],
            None => unknown,
        };
        return ask(&args, ledger.as_ref(), run, &asked).await;
    }
    let (Some(wanted), Some(outcome)) = (&args.attempt, args.outcome) else {
        list(&args, run.as_str(), &unknown);
        return Ok(if args.attempt.is_none() { Exit::Complete } else { Exit::Usage });
    };
    let attempt = one(run, &unknown, wanted)?;
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

/// The attempt that is meant by the beginning of its id.
fn one<'a>(run: &RunId, unknown: &[&'a Attempt], wanted: &str) -> Result<&'a Attempt, Exit> {
    let fits = |attempt: &&Attempt| attempt.id.to_string().starts_with(wanted);
    let found: Vec<&'a Attempt> = unknown.iter().copied().filter(fits).collect();
    match found.as_slice() {
        [attempt] if !wanted.is_empty() => Ok(*attempt),
        [] => {
            complain(&format!(
                "run `{run}` has no unknown outcome of attempt `{}`; `lar audit resolve {run}` lists \
                 those it has",
                clip(&escape(wanted, Mode::Line), 80)
            ));
            Err(Exit::Usage)
        }
        _ => {
            complain("that fits several attempts; write more of the id");
            Err(Exit::Usage)
        }
    }
}

/// Asks the targets of attempts, and records what they prove.
async fn ask(
    args: &Args,
    ledger: &dyn Ledger,
    run: &RunId,
    attempts: &[&Attempt],
) -> Result<Exit, Exit> {
    let (mut lines, mut proved) = (Vec::new(), 0);
    for attempt in attempts {
        let answer = ask_target(ledger, run, attempt).await.map_err(|error| failed(&error))?;
        let token = clip(&escape(&attempt.token, Mode::Line), 80);
        let (id, name) = (attempt.id, &attempt.token);
        match answer {
            TargetAnswer::Proves { target, verdict, how } => {
                let resolution = Resolution {
                    run: run.clone(),
                    attempt: id,
                    by: Resolver::Target(target.clone()),
                    verdict,
                    note: how.clone(),
                };
                let receipt = ledger.resolve(resolution).await.map_err(|error| failed(&error))?;
                proved += 1;
                lines.push(json!({
                    "attempt": id, "token": name, "outcome": verdict, "by": target, "how": how,
                    "seq": receipt.seq, "head": receipt.hash,
                }));
                if !args.json {
                    println(&format!(
                        "token `{token}`: recorded as {} by its target: {}; the use stays spent",
                        verdict.as_str(),
                        clip(&escape(&how, Mode::Line), 600)
                    ));
                }
            }
            TargetAnswer::ProvesNothing { why } => {
                lines.push(json!({"attempt": id, "token": name, "outcome": null, "why": why}));
                if !args.json {
                    say(&format!(
                        "token `{token}`: its outcome stays unknown: {}",
                        clip(&escape(&why, Mode::Line), 600)
                    ));
                }
            }
        }
    }
    if args.json {
        println(&visible_json(&format!("{:#}", json!(lines))));
    } else if attempts.is_empty() {
        say(&format!("run `{run}` has no unknown outcome"));
    } else if proved < attempts.len() {
        say(&format!(
            "look there yourself, then say what you found: lar audit resolve {run} ATTEMPT \
             succeeded|failed --note TEXT"
        ));
    }
    Ok(if proved == attempts.len() { Exit::Complete } else { Exit::Refused })
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
        "ask the targets with `lar audit resolve {run} --ask-target`, or look there yourself and say \
         what you found: lar audit resolve {run} ATTEMPT succeeded|failed --note TEXT"
    ));
}
