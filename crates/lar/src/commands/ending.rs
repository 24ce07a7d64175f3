//! How a run is carried to its end and what is shown of it: the same for a new run and a resumed one.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use linear_agentics::display::{Mode, escape};
use linear_agentics::{Agent, AgentResult, Cause, ComposeError, Stop, StopReason, report, table};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

use super::store::exit_of;
use crate::output::{Exit, complain, println, say, stdout_width};

/// How a run's end is shown.
#[derive(Debug, Default, clap::Args)]
pub struct Shown {
    /// Print the result and the whole trail as JSON
    #[arg(long)]
    pub json: bool,
    /// Write the audit trail, as JSON, to this file
    #[arg(long, value_name = "FILE")]
    pub audit: Option<PathBuf>,
    /// Write a report for a CI job: Markdown (.md) or JUnit (.xml)
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Keep the journal, the model's turns and the tools' results, in the ledger when the run is closed
    #[arg(long)]
    pub keep_journal: bool,
}

/// Which report a file's ending asks for.
#[derive(Clone, Copy)]
enum Report {
    Markdown,
    Junit,
}

/// What is to be done at the end of a run, found out before anything is spent.
pub struct Ending<'a> {
    shown: &'a Shown,
    report: Option<Report>,
}

impl<'a> Ending<'a> {
    /// Checks that everything can be written where it is asked for.
    pub fn of(shown: &'a Shown) -> Result<Self, Exit> {
        let report = shown.report.as_deref().map(report_kind).transpose()?;
        let files = [&shown.audit, &shown.report].into_iter().flatten();
        if let Some(problem) = files.into_iter().find_map(|path| misplaced(path)) {
            complain(&problem);
            return Err(Exit::Usage);
        }
        Ok(Self { shown, report })
    }

    /// Runs to the end and shows it.
    pub fn of_run(
        self,
        runtime: tokio::runtime::Runtime,
        stop: Stop,
        start: impl Future<Output = Result<Agent, ComposeError>>,
    ) -> Exit {
        let result = runtime.block_on(async {
            listen(stop);
            let agent = start.await.map_err(Failed::Start)?;
            agent.run().await.map_err(|error| Failed::Seal(error.to_string()))
        });
        // A question that still waits at the terminal must not hold the end up.
        runtime.shutdown_background();
        finish(self.shown, self.report, result)
    }
}

/// The threads that a run needs.
pub fn threads() -> Result<tokio::runtime::Runtime, Exit> {
    tokio::runtime::Runtime::new().map_err(|_| {
        complain("no threads can be started; check the limits on processes");
        Exit::Error
    })
}

/// Shows what a run came to, or why there is none.
fn finish(shown: &Shown, report: Option<Report>, result: Result<AgentResult, Failed>) -> Exit {
    match result {
        Ok(result) => show(shown, report, &result),
        Err(Failed::Start(error)) => {
            complain(&error.to_string());
            exit_of_start(&error)
        }
        Err(Failed::Seal(error)) => {
            complain(&format!("{error}; what was spent is in the ledger, see `lar audit list`"));
            Exit::Error
        }
    }
}

/// How a command ends whose run can't be started.
pub fn exit_of_start(error: &ComposeError) -> Exit {
    match error {
        ComposeError::Ledger(error) => exit_of(error),
        ComposeError::System(_) | ComposeError::Stopped => Exit::Error,
        _ => Exit::Usage,
    }
}

enum Failed {
    Start(ComposeError),
    Seal(String),
}

/// Ctrl-C and SIGTERM seal the run; what is running is killed and recorded.
fn listen(stop: Stop) {
    tokio::spawn(async move {
        use tokio::signal::unix::{SignalKind, signal};
        let (Ok(mut term), Ok(mut hup)) =
            (signal(SignalKind::terminate()), signal(SignalKind::hangup()))
        else {
            return;
        };
        loop {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = term.recv() => {}
                _ = hup.recv() => {}
            }
            stop.request(Cause::Interrupted);
        }
    });
}

/// Why a file can't be written there, as far as that can be told before the run: it is found out
/// while nothing is spent yet.
fn misplaced(path: &Path) -> Option<String> {
    let shown = escape(&path.to_string_lossy(), Mode::Line);
    if path.is_dir() {
        return Some(format!("`{shown}` is a directory; name a file in it"));
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty())?;
    (!parent.is_dir()).then(|| {
        let parent = escape(&parent.to_string_lossy(), Mode::Line);
        format!("there is no directory `{parent}` for `{shown}`; create it, or name another file")
    })
}

fn report_kind(path: &Path) -> Result<Report, Exit> {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("md") => Ok(Report::Markdown),
        Some("xml") => Ok(Report::Junit),
        _ => {
            complain("`--report` takes a file that ends in `.md` (Markdown) or `.xml` (JUnit)");
            Err(Exit::Usage)
        }
    }
}

fn show(args: &Shown, report: Option<Report>, result: &AgentResult) -> Exit {
    let trail = &result.audit_trail;
    if args.json {
        println(&report::visible_json(&result.to_json()));
    } else {
        println(&summary(result));
        println(&table::render(trail, stdout_width()));
        say(&format!("the record: lar audit show {}", result.run));
    }
    let mut exit = match result.stop_reason {
        StopReason::Complete => Exit::Complete,
        StopReason::BudgetExhausted => Exit::BudgetExhausted,
        StopReason::Timeout => Exit::Timeout,
        StopReason::Error => Exit::Error,
    };
    if let Some(path) = &args.audit {
        exit = write(path, &format!("{}\n", trail.to_json()), exit);
    }
    if let (Some(path), Some(kind)) = (&args.report, report) {
        let text = match kind {
            Report::Markdown => report::markdown(trail),
            Report::Junit => report::junit(trail, &result.missing_required),
        };
        exit = write(path, &text, exit);
    }
    exit
}

fn write(path: &Path, text: &str, exit: Exit) -> Exit {
    let Err(error) = write_all(path, text) else { return exit };
    let shown = escape(&path.to_string_lossy(), Mode::Line);
    let is_pipe = path.metadata().is_ok_and(|found| found.file_type().is_fifo());
    complain(&match Errno::from_io_error(&error) {
        Some(Errno::NXIO) if is_pipe => format!(
            "nobody reads the pipe `{shown}`, so nothing was written to it; start its reader before the \
             run, or name a file; the record is in the ledger, see `lar audit list`"
        ),
        _ => format!("`{shown}` can't be written ({})", error.kind()),
    });
    if exit == Exit::Complete { Exit::Error } else { exit }
}

/// Writes a file anew. A pipe without a reader is an error, where opening it would wait for one for ever.
fn write_all(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    options.custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    let mut file = options.open(path)?;
    // A reader that is there may be slow.
    let flags = fcntl_getfl(&file)?;
    fcntl_setfl(&file, flags - OFlags::NONBLOCK)?;
    file.write_all(text.as_bytes())
}

/// The result in a few lines.
fn summary(result: &AgentResult) -> String {
    let mut text = format!("\n{}", result.stop_reason.as_str());
    if let Some(error) = &result.error {
        text.push_str(&format!(": {}", escape(error, Mode::Line)));
    }
    text.push_str(&format!(
        "\nsteps: {} taken, {} left",
        result.steps_taken, result.budget_remaining
    ));
    if !result.tokens_unused.is_empty() {
        text.push_str(&format!("\nnever used: {}", result.tokens_unused.join(", ")));
    }
    if let Some(message) = &result.final_message {
        text.push_str(&format!("\n\n{}\n", escape(message, Mode::Block)));
    }
    text
}
