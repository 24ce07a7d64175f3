//! Which ledger a command reads or changes.

use std::sync::Arc;

use clap::builder::{OsStringValueParser, TypedValueParser as _};
use linear_agentics::display::{Mode, clip, escape};
use linear_agentics::ledger::RunSummary;
use linear_agentics::{ComposeError, Ledger, LedgerError, LedgerPlace, existing_ledger};

use crate::output::{Exit, complain};

/// Which ledger.
#[derive(Debug, clap::Args)]
pub struct LedgerChoice {
    /// The ledger's file, or a PostgreSQL database (postgres://ROLE@HOST/DATABASE), instead of the file
    /// in the state directory
    #[arg(
        id = "ledger",
        long = "ledger",
        value_name = "FILE|ADDRESS",
        value_parser = OsStringValueParser::new().map(LedgerPlace::from)
    )]
    place: Option<LedgerPlace>,
}

impl LedgerChoice {
    /// The ledger in this place.
    pub fn at(place: Option<LedgerPlace>) -> Self {
        Self { place }
    }

    /// The place that was named.
    pub fn place(&self) -> Option<&LedgerPlace> {
        self.place.as_ref()
    }

    /// Opens the ledger. Reading makes no new one: `None` when nothing was ever run.
    pub async fn open(&self) -> Result<Option<Arc<dyn Ledger>>, Exit> {
        let opened = existing_ledger(self.place()).await.map_err(|error| unopened(&error))?;
        if let (None, Some(place)) = (&opened, self.place()) {
            match place.file() {
                Some(path) => {
                    let shown = escape(&path.to_string_lossy(), Mode::Line);
                    complain(&format!(
                        "there is no ledger `{shown}`; name the file that the run used"
                    ));
                }
                None => {
                    complain("there is no ledger in this database; name the one that the run used")
                }
            }
            return Err(Exit::Usage);
        }
        Ok(opened)
    }

    /// Opens a ledger that must be there.
    pub async fn existing(&self) -> Result<Arc<dyn Ledger>, Exit> {
        self.open().await?.ok_or_else(|| {
            complain("there is no ledger yet; `lar run` and `lar grants issue` make one");
            Exit::Usage
        })
    }
}

/// Runs a command's future to its end.
pub fn block_on(work: impl Future<Output = Result<Exit, Exit>>) -> Exit {
    match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime.block_on(work).unwrap_or_else(|exit| exit),
        Err(_) => {
            complain("the system gives no event queue; check the limit on open files");
            Exit::Error
        }
    }
}

/// Says why a ledger could not be opened.
pub fn unopened(error: &ComposeError) -> Exit {
    complain(&error.to_string());
    match error {
        ComposeError::Ledger(error) => exit_of(error),
        _ => Exit::Usage,
    }
}

/// Says why the ledger refused. What was named wrongly is the command line's fault, what has ended was
/// refused, and the rest is an error.
pub fn failed(error: &LedgerError) -> Exit {
    complain(&error.to_string());
    exit_of(error)
}

/// How a command ends that the ledger refused.
pub fn exit_of(error: &LedgerError) -> Exit {
    match error {
        LedgerError::UnknownGrant(_)
        | LedgerError::UnknownRun(_)
        | LedgerError::RunOpen(_)
        | LedgerError::UnknownAttempt { .. }
        | LedgerError::GrantExists(_)
        | LedgerError::OtherLedger { .. }
        | LedgerError::OtherDefinitions(_)
        | LedgerError::RunClosed(_) => Exit::Usage,
        LedgerError::GrantEnded { .. }
        | LedgerError::RunHeld { .. }
        | LedgerError::NotWaiting { .. }
        | LedgerError::Conflict(_) => Exit::Refused,
        LedgerError::BadRecord(_) | LedgerError::Unavailable(_) | LedgerError::Damaged(_) => {
            Exit::Error
        }
    }
}

/// The run that is meant by an id, by the beginning of one, or by `latest`.
pub fn find<'a>(runs: &'a [RunSummary], wanted: &str) -> Result<&'a RunSummary, Exit> {
    let shown = clip(&escape(wanted, Mode::Line), 80);
    let exact = |run: &&RunSummary| run.run.as_str() == wanted;
    if let Some(run) = runs.iter().find(exact) {
        return Ok(run);
    }
    if wanted == "latest" {
        return runs.first().ok_or_else(|| {
            complain("there are no runs yet; `lar run MANIFEST` makes one");
            Exit::Usage
        });
    }
    let fits = |run: &&RunSummary| !wanted.is_empty() && run.run.as_str().starts_with(wanted);
    let found: Vec<&RunSummary> = runs.iter().filter(fits).collect();
    match found.as_slice() {
        [run] => Ok(run),
        [] => {
            complain(&format!(
                "the ledger has no run `{shown}`; `lar audit list` shows those there are"
            ));
            Err(Exit::Usage)
        }
        several => {
            let names: Vec<&str> = several.iter().take(5).map(|run| run.run.as_str()).collect();
            complain(&format!(
                "`{shown}` fits {} runs ({} …); write more of the id",
                several.len(),
                names.join(", ")
            ));
            Err(Exit::Usage)
        }
    }
}
