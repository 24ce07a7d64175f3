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
use lar_core::display::{Mode, escape, fold, width};
use lar_core::redact::Redactor;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::{QueueSelector, tcflush, tcgetwinsize};

/// How much of one value is shown, in characters; the digest stands for the rest.
const SHOWN: usize = 4_000;
/// Where the further lines of a value begin that stands beneath its label, in columns.
const CONTINUED: usize = 6;
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
        let mut page = Page { redactor: &self.redactor, size, text: String::new(), hidden: 0 };
        page.text.push('\n');
        page.put("── approval needed: ", &request.message);
        page.put("  token       ", &request.token_name);
        page.put("  scope       ", &request.scope);
        if request.uses_left > 0 {
            page.put("  uses left   ", &format!("{} (this one included)", request.uses_left));
        }
        if !request.lines.is_empty() && request.action_digest.is_some() {
            page.put("  exactly this will run:", "");
        }
        let columns = request.lines.iter().map(|(label, _)| label.chars().count()).max();
        let columns = columns.unwrap_or(0);
        for (label, value) in &request.lines {
            page.put(&format!("    {:columns$}  ", escape(label, Mode::Line)), value);
        }
        if let Some(digest) = &request.action_digest {
            page.put("  digest      ", &digest.to_string());
            page.put("  confined    ", &self.enforcement);
        }
        if let Some(words) = &request.rationale {
            page.put("  the model says (it may be wrong or lying): ", words);
        }
        for (index, choice) in request.choices.iter().enumerate() {
            page.put(&format!("  [{}] ", index + 1), choice);
        }
        page.note_what_is_out_of_sight();
        page.text.push_str(match request.choices.as_slice() {
            [] => "Type `yes` to approve, anything else to deny: ",
            _ => "Type `yes` and a number, such as `yes 1`, to grant that one; anything else grants none: ",
        });
        page.text
    }
}

/// How large a terminal is, in characters.
#[derive(Debug, Clone, Copy)]
struct Size {
    rows: usize,
    columns: usize,
}

impl Size {
    /// The size of this terminal. One that doesn't say gets the size of old.
    fn of(tty: &File) -> Self {
        let size = tcgetwinsize(tty).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
        match size {
            Some(size) => Self { rows: size.ws_row.into(), columns: size.ws_col.into() },
            None => Self { rows: 24, columns: 80 },
        }
    }
}

/// A question that is being written.
struct Page<'a> {
    redactor: &'a Redactor,
    size: Size,
    text: String,
    /// Characters that were left out.
    hidden: usize,
}

impl Page<'_> {
    /// Puts a value after its label, every hostile character visible. Where the value takes more
    /// than one line, each further one begins with a mark of ours, so that nothing in a value can
    /// pass for a line of the question.
    fn put(&mut self, lead: &str, value: &str) {
        let value = self.redactor.redact(value);
        let (shown, left) = match value.char_indices().nth(SHOWN) {
            Some((end, _)) => value.split_at(end),
            None => (value.as_ref(), ""),
        };
        let mut shown = escape(shown, Mode::Line);
        if !left.is_empty() {
            let more = left.chars().count();
            self.hidden += more;
            shown.push_str(&format!(" … and {more} more characters"));
        }
        // What fits into a line of its own, such as a digest, is not broken; and a long label takes
        // a line of its own where little room is left beside it.
        let fits = |indent: usize| indent + width(&shown) <= self.size.columns;
        let beside =
            fits(width(lead)) || (width(lead) * 2 <= self.size.columns && !fits(CONTINUED));
        let indent = if beside { width(lead) } else { CONTINUED };
        let lines = fold(&shown, self.size.columns.saturating_sub(indent));
        self.text.push_str(lead);
        for (index, line) in lines.iter().enumerate() {
            if index > 0 || !beside {
                let mark = indent.saturating_sub(2);
                self.text.push_str(&format!("\n{:mark$}┊ ", ""));
            }
            self.text.push_str(line);
        }
        self.text.push('\n');
    }

    /// A person must not say yes to what they can't see without knowing that there is more.
    fn note_what_is_out_of_sight(&mut self) {
        let rows = self.text.lines().count() + 1;
        if rows > self.size.rows {
            let above = "lines long; scroll up and read all of them";
            self.text.push_str(&format!("  note: this question is {rows} {above}\n"));
        }
        if self.hidden > 0 {
            let hidden = self.hidden;
            let what = "characters of it are not shown; deny it unless you know them";
            self.text.push_str(&format!("  note: {hidden} {what}\n"));
        }
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
    let question = gate.question(request, Size::of(&tty));
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
