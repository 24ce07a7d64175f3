//! `lar approvals show`: the question, as the run puts it, and what was decided so far.

use linear_agentics::approval::{Size, page};
use linear_agentics::display::{Mode, escape};
use linear_agentics::report::visible_json;

use super::{as_value, find, progress};
use crate::commands::store::LedgerChoice;
use crate::output::{Exit, println, say};

/// Show a question exactly as the run would put it
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What waits: its id as `lar approvals list` prints it, or a beginning of it
    id: String,
    #[command(flatten)]
    ledger: LedgerChoice,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args) -> Result<Exit, Exit> {
    let (_, one) = find(&args.ledger, &args.id).await?;
    if args.json {
        println(&visible_json(&format!("{:#}", as_value(&one))));
        return Ok(Exit::Complete);
    }
    println(&format!("approval {} of run {}", one.id(), one.run));
    let Some(deciding) = &one.signed else {
        println(&format!("  {}", escape(&one.message, Mode::Line)));
        say("the run lists nobody's key, so that only its own terminal can answer");
        return Ok(Exit::Complete);
    };
    println(page(&deciding.question, size()).trim_end());
    println(&format!("  approval    {}", progress(deciding)));
    match one.until {
        Some(until) => println(&format!("  waits until {until}")),
        None => println(
            "  the run was cut off; `lar resume` goes on with it and hears what was decided",
        ),
    }
    for (place, flaw) in deciding.judge().flaws {
        let flaw = escape(&flaw.to_string(), Mode::Line);
        println(&format!("  decision {} doesn't count: {flaw}", place + 1));
    }
    Ok(Exit::Complete)
}

/// The size of the terminal that stdout is; that of old where it is none.
fn size() -> Size {
    match console::Term::stdout().size_checked() {
        Some((rows, columns)) => Size { rows: rows.into(), columns: columns.into() },
        None => Size { rows: usize::MAX, columns: 80 },
    }
}
