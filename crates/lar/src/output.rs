//! How things look: exit codes, and the only places that write to stdout and stderr.

use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// How a command ended. The numbers are part of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It did what it should.
    Complete,
    /// It ended in error.
    Error,
    /// The manifest or the command line is wrong.
    Usage,
    /// The run's budget is exhausted.
    BudgetExhausted,
    /// The run's time is over.
    Timeout,
    /// Something was refused or denied where the command's job was to allow.
    Refused,
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Exit::Complete => 0,
            Exit::Error => 1,
            Exit::Usage => 2,
            Exit::BudgetExhausted => 3,
            Exit::Timeout => 4,
            Exit::Refused => 5,
        }
    }
}

/// Whether something could not be written to stdout.
static LOST: AtomicBool = AtomicBool::new(false);

/// Writes to stdout. A reader that went away (`| head`) is no error of ours; a full disk is, and the
/// command then doesn't end as if all were well.
pub fn print(text: &str) {
    let mut out = anstream::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            if !LOST.swap(true, Ordering::Relaxed) {
                complain(&format!("the result can't be written to stdout ({})", error.kind()));
            }
        }
        Ok(()) | Err(_) => {}
    }
}

/// How the program ends when a command ended so: a result that was lost is an error.
pub fn ended(exit: Exit) -> Exit {
    match exit {
        Exit::Complete if LOST.load(Ordering::Relaxed) => Exit::Error,
        exit => exit,
    }
}

/// Writes to stdout and ends the line.
pub fn println(text: &str) {
    print(&format!("{text}\n"));
}

/// Says on stderr what is wrong.
pub fn complain(text: &str) {
    let text = text.trim_end();
    let lead = if text.starts_with("error") || text.contains('\x1b') { "" } else { "error: " };
    say(&format!("{lead}{text}"));
}

/// Says something on stderr.
pub fn say(text: &str) {
    let mut out = anstream::stderr().lock();
    let _ = writeln!(out, "{text}");
}

/// Whether stderr takes colours.
pub fn stderr_is_colourful() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// The width of the terminal that stdout is, in columns, if it is one.
pub fn stdout_width() -> Option<u16> {
    let terminal = console::Term::stdout();
    terminal.size_checked().map(|(_, columns)| columns)
}

/// The width of the terminal that stderr is, in columns; 80 where it doesn't say.
pub fn stderr_width() -> usize {
    console::Term::stderr().size_checked().map_or(80, |(_, columns)| columns.into())
}
