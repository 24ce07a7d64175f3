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
use lar_core::approval::{Answer, ApprovalGate, ApprovalRequest, Approver};
use lar_core::display::{Mode, escape};
use lar_core::redact::Redactor;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::{QueueSelector, tcflush};

/// How much of one value is shown, in characters; the digest stands for the rest.
const SHOWN: usize = 4_000;
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

    /// The question as it stands on the terminal.
    fn question(&self, request: &ApprovalRequest) -> String {
        let show = |text: &str| {
            let text = self.redactor.redact(text);
            let (shown, left) = match text.char_indices().nth(SHOWN) {
                Some((end, _)) => text.split_at(end),
                None => (text.as_ref(), ""),
            };
            let shown = escape(shown, Mode::Line);
            match left.chars().count() {
                0 => shown,
                more => format!("{shown} … and {more} more characters"),
            }
        };
        let mut out = format!("\n── approval needed: {} ──\n", show(&request.message));
        out.push_str(&format!("  token       {}\n", show(&request.token_name)));
        out.push_str(&format!("  scope       {}\n", show(&request.scope)));
        if request.uses_left > 0 {
            out.push_str(&format!("  uses left   {} (this one included)\n", request.uses_left));
        }
        if !request.lines.is_empty() && request.action_digest.is_some() {
            out.push_str("  exactly this will run:\n");
        }
        let width = request.lines.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
        for (label, value) in &request.lines {
            out.push_str(&format!("    {:width$}  {}\n", show(label), show(value)));
        }
        if let Some(digest) = &request.action_digest {
            out.push_str(&format!("  digest      {digest}\n"));
            out.push_str(&format!("  confined    {}\n", self.enforcement));
        }
        if let Some(words) = &request.rationale {
            out.push_str(&format!(
                "  the model says (it may be wrong or lying): {}\n",
                show(words)
            ));
        }
        for (index, choice) in request.choices.iter().enumerate() {
            out.push_str(&format!("  [{}] {}\n", index + 1, show(choice)));
        }
        if request.choices.is_empty() {
            out.push_str("Type `yes` to approve, anything else to deny: ");
        } else {
            out.push_str("Type `yes` and a number, such as `yes 1`, to grant that one; anything else grants none: ");
        }
        out
    }
}

#[async_trait]
impl ApprovalGate for TerminalGate {
    fn patience(&self) -> Duration {
        self.patience
    }

    async fn ask(&self, request: &ApprovalRequest) -> Answer {
        let question = self.question(request);
        let choices = request.choices.len();
        let patience = self.patience;
        // When the future is dropped, the thread must leave the terminal at once.
        let abandoned = Arc::new(AtomicBool::new(false));
        let guard = Abandon(Arc::clone(&abandoned));
        let asked =
            tokio::task::spawn_blocking(move || converse(&question, choices, patience, &abandoned));
        let answer = asked.await.unwrap_or_else(|_| Answer::Nobody {
            why: "the terminal could not be read".to_owned(),
        });
        drop(guard);
        answer
    }
}

/// Tells the thread that nobody waits for the answer any more.
struct Abandon(Arc<AtomicBool>);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn converse(question: &str, choices: usize, patience: Duration, abandoned: &AtomicBool) -> Answer {
    let nobody = |what: &str| Answer::Nobody {
        why: format!("{what}; start the run on a terminal, where a person can answer"),
    };
    let Ok(mut tty) = OpenOptions::new().read(true).write(true).open("/dev/tty") else {
        return nobody("there is no terminal and no other approver");
    };
    // The question first, then the flush: whatever was typed before it could be read doesn't count.
    if tty.write_all(question.as_bytes()).and_then(|()| tty.flush()).is_err() {
        return nobody("the terminal can't be written");
    }
    if tcflush(tty.as_fd(), QueueSelector::IFlush).is_err() {
        return nobody("the terminal's input can't be cleared");
    }
    let line = match read_line(&mut tty, Instant::now() + patience, abandoned) {
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
    let approver = Approver { name: user(), identity: "os-user".to_owned() };
    match (choices, line.as_str(), line.strip_prefix("yes ")) {
        (0, "yes", _) => Answer::Yes { approver, choice: 0 },
        (1.., _, Some(number)) => match number.trim().parse::<usize>() {
            Ok(number) if (1..=choices).contains(&number) => {
                Answer::Yes { approver, choice: number - 1 }
            }
            _ => Answer::No { approver },
        },
        _ => Answer::No { approver },
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

/// The name of the account at the terminal.
fn user() -> String {
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
