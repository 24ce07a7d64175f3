//! The run's own terminal: shows exactly what will run and takes only `yes`.
//!
//! It talks to `/dev/tty` and to nothing else, so that redirected input or output can't answer for
//! a person; it drops what was typed before the question stood there; and it shows every hostile
//! character visibly.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use lar_core::approval::{Answer, ApprovalGate, ApprovalRequest, Approver, Question, Size, page};
use lar_core::redact::Redactor;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::{QueueSelector, tcflush, tcgetwinsize};

/// The longest answer that is read, in bytes.
const LINE: usize = 256;

/// Asks at the run's own terminal.
#[derive(Debug, Clone)]
pub struct TerminalGate {
    patience: Duration,
    redactor: Arc<Redactor>,
    /// What the kernel enforces on the child, in words; shown with every question.
    enforcement: String,
}

impl TerminalGate {
    /// A gate that waits so long for an answer.
    pub fn new(patience: Duration, redactor: Arc<Redactor>, enforcement: String) -> Self {
        Self { patience, redactor, enforcement }
    }

    /// The question as it stands on a terminal of this size.
    fn question(&self, request: &ApprovalRequest, size: Size) -> String {
        let question = Question::of(request, &self.redactor, &self.enforcement);
        let mut text = page(&question, size);
        text.push_str(match request.choices.as_slice() {
            [] => "Type `yes` to approve, anything else to deny: ",
            _ => "Type `yes` and a number, such as `yes 1`, to grant that one; anything else grants none: ",
        });
        text
    }
}

/// The size of this terminal. One that doesn't say gets the size of old.
fn size_of(tty: &File) -> Size {
    let size = tcgetwinsize(tty).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
    match size {
        Some(size) => Size { rows: size.ws_row.into(), columns: size.ws_col.into() },
        None => Size { rows: 24, columns: 80 },
    }
}

#[async_trait]
impl ApprovalGate for TerminalGate {
    fn patience(&self) -> Duration {
        self.patience
    }

    async fn ask(&self, request: &ApprovalRequest) -> Answer {
        let (gate, request) = (self.clone(), request.clone());
        // When the future is dropped, the thread must leave the terminal at once.
        let abandoned = Arc::new(AtomicBool::new(false));
        let guard = Abandon(Arc::clone(&abandoned));
        // One question at a time, or the answer to one could be read by another. Waiting for the
        // terminal is part of the patience.
        let until = Instant::now() + gate.patience;
        let Ok(turn) = tokio::time::timeout_at(until.into(), TERMINAL.lock()).await else {
            return Answer::Silence;
        };
        let asked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            converse(&gate, &request, until, &abandoned)
        });
        let answer = asked.await.unwrap_or_else(|_| Answer::Nobody {
            why: "the terminal could not be read".to_owned(),
        });
        drop(guard);
        answer
    }
}

/// The process has one terminal. A thread that was abandoned keeps its turn until it has left.
static TERMINAL: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Tells the thread that nobody waits for the answer any more.
struct Abandon(Arc<AtomicBool>);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Asks at this process's own terminal, for as long as it takes, and takes only `yes`. `question` gets
/// the terminal's size and ends with what is to be typed.
///
/// # Errors
///
/// Says why nobody can be asked.
pub fn confirm_at_terminal(question: impl FnOnce(Size) -> String) -> Result<bool, String> {
    let Ok(mut tty) = OpenOptions::new().read(true).write(true).open("/dev/tty") else {
        return Err("there is no terminal at which a person could answer".to_owned());
    };
    let question = question(size_of(&tty));
    if tty.write_all(question.as_bytes()).and_then(|()| tty.flush()).is_err() {
        return Err("the terminal can't be written".to_owned());
    }
    // Whatever was typed before it could be read doesn't count.
    if tcflush(tty.as_fd(), QueueSelector::IFlush).is_err() {
        return Err("the terminal's input can't be cleared".to_owned());
    }
    let long = Instant::now() + Duration::from_secs(86_400);
    match read_line(&mut tty, long, &AtomicBool::new(false)) {
        Line::Text(line) => Ok(line == "yes"),
        Line::Late | Line::Abandoned | Line::Gone => Err("the terminal was closed".to_owned()),
    }
}

fn converse(
    gate: &TerminalGate,
    request: &ApprovalRequest,
    until: Instant,
    abandoned: &AtomicBool,
) -> Answer {
    let nobody = |what: &str| Answer::Nobody {
        why: format!("{what}; start the run on a terminal, where a person can answer"),
    };
    let Ok(mut tty) = OpenOptions::new().read(true).write(true).open("/dev/tty") else {
        return nobody("there is no terminal and no other approver");
    };
    let question = gate.question(request, size_of(&tty));
    // The question first, then the flush: whatever was typed before it could be read doesn't count.
    if tty.write_all(question.as_bytes()).and_then(|()| tty.flush()).is_err() {
        return nobody("the terminal can't be written");
    }
    if tcflush(tty.as_fd(), QueueSelector::IFlush).is_err() {
        return nobody("the terminal's input can't be cleared");
    }
    let line = match read_line(&mut tty, until, abandoned) {
        Line::Text(line) => line,
        Line::Late => {
            let _ = tty.write_all(b"\nnobody answered in time: denied\n");
            return Answer::Silence;
        }
        Line::Abandoned => {
            let _ = tty.write_all(b"\nthe run is being stopped: nothing was approved\n");
            return Answer::Stopped;
        }
        Line::Gone => return nobody("the terminal was closed"),
    };
    let approver = Approver { name: account(), identity: "os-user".to_owned() };
    // Exactly the one word, or the word and a number as it stands in the question.
    let chosen = match request.choices.len() {
        0 => (line == "yes").then_some(0),
        choices => (0..choices).find(|choice| line == format!("yes {}", choice + 1)),
    };
    match chosen {
        Some(choice) => Answer::Yes { approver, choice },
        None => Answer::No { approver },
    }
}

enum Line {
    Text(String),
    Late,
    Abandoned,
    Gone,
}

/// Reads one line, without its line break. The terminal itself edits the line.
fn read_line(tty: &mut File, until: Instant, abandoned: &AtomicBool) -> Line {
    let mut line = Vec::new();
    let mut byte = [0u8; 1];
    loop {
        if abandoned.load(Ordering::Relaxed) {
            return Line::Abandoned;
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Line::Late;
        }
        // Short waits, so that a stopped run gets its terminal back quickly.
        let wait = left.min(Duration::from_millis(50));
        let wait = rustix::time::Timespec {
            tv_sec: 0,
            tv_nsec: i64::try_from(wait.as_nanos()).unwrap_or(50_000_000),
        };
        let mut ready = [PollFd::new(&*tty, PollFlags::IN)];
        match poll(&mut ready, Some(&wait)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(_) => return Line::Gone,
        }
        match tty.read(&mut byte) {
            Ok(0) | Err(_) => return Line::Gone,
            Ok(_) if byte == *b"\n" => {
                return Line::Text(String::from_utf8_lossy(&line).into_owned());
            }
            Ok(_) if line.len() < LINE => line.extend_from_slice(&byte),
            // Too long to be a yes; read on to its end.
            Ok(_) => {}
        }
    }
}

/// The name of the account that runs this process, as `/etc/passwd` has it.
pub fn account() -> String {
    let uid = rustix::process::getuid().as_raw();
    let name = std::fs::read_to_string("/etc/passwd").ok().and_then(|accounts| {
        accounts.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
        })
    });
    name.unwrap_or_else(|| format!("uid {uid}"))
}

#[cfg(test)]
mod tests {
    use lar_core::display::width;

    use super::*;

    fn question(words: &str, value: &str, size: Size) -> String {
        let gate = TerminalGate::new(Duration::from_secs(1), Arc::default(), "not".to_owned());
        let request = ApprovalRequest {
            token_name: "t".to_owned(),
            scope: "s".to_owned(),
            message: "m".to_owned(),
            lines: vec![("argv[0]".to_owned(), value.to_owned())],
            action_digest: None,
            uses_left: 1,
            rationale: Some(words.to_owned()),
            choices: Vec::new(),
        };
        gate.question(&request, size)
    }

    #[test]
    fn no_value_can_pass_for_a_line_of_the_question() {
        let size = Size { rows: 24, columns: 60 };
        // Spaces up to the edge, then what would stand at the left of the next line.
        for pad in 0..130 {
            let fake = format!("{}  digest      0000", " ".repeat(pad));
            let text = question(&fake, &fake, size);
            let at_edge = text.lines().filter(|line| line.starts_with("  digest"));
            assert_eq!(at_edge.count(), 0, "{text}");
            assert!(
                text.lines().all(|line| width(line) <= 60 || line.starts_with("Type")),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_out_of_sight_is_told() {
        let size = Size { rows: 24, columns: 80 };
        assert!(!question("why", "x", size).contains("note:"));
        let text = question("why", &"x".repeat(5_000), size);
        assert!(text.contains("1000 characters of it are not shown"), "{text}");
        assert!(text.contains("lines long; scroll up"), "{text}");
        assert!(text.ends_with("anything else to deny: "));
    }
}
