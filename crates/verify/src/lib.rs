//! Reads an exported bundle, or bare records, and says what holds.
//!
//! The judging is the core's ([`lar_core::audit::verify`]); this crate brings the bytes to it, a piece
//! at a time and on the processors that there are. It opens no database and no socket and starts no
//! runtime, so that an auditor can read and build all of it.

mod policy;
mod text;

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, OnceLock};
use std::thread;

use lar_core::audit::bundle::MOST_LINE_BYTES;
use lar_core::audit::policy::Policy;
use lar_core::audit::proof::TITLE;
use lar_core::audit::verify::{Apart, Line, Report, Verifier};

pub use policy::{PolicyFileError, read_policy};
pub use text::{commitments, json, text};

/// How much is read at once. Memory is a few times this, however long the input.
const PIECE: usize = 1 << 20;

/// How many pieces are under way: while the lines of one are joined, those of the next are read.
const PIECES: usize = 2;

/// How many lines a thread takes at once.
const LINES: usize = 128;

/// Reads to the end and says what holds.
///
/// # Errors
/// When the input can't be read. What is wrong with its content stands in the report.
pub fn verify(input: impl Read, policy: &Policy) -> io::Result<Report> {
    thread::scope(|scope| {
        let (hand, pieces) = mpsc::sync_channel::<Arc<Piece>>(PIECES);
        // Where there is no second thread, the first does all of it.
        let helper = thread::Builder::new().spawn_scoped(scope, move || {
            for piece in pieces {
                piece.read_from_the_end();
            }
        });
        Checking {
            policy,
            verifier: None,
            hand: helper.is_ok().then_some(hand),
            open: VecDeque::new(),
        }
        .all(input)
    })
}

/// A check on its way.
struct Checking<'p> {
    policy: &'p Policy,
    /// There is one as soon as the first line was seen.
    verifier: Option<Verifier<'p>>,
    /// The way to the second thread.
    hand: Option<SyncSender<Arc<Piece>>>,
    /// Pieces of which no line was joined yet, in their order.
    open: VecDeque<Arc<Piece>>,
}

impl Checking<'_> {
    fn all(mut self, mut input: impl Read) -> io::Result<Report> {
        let mut buffer = Vec::with_capacity(PIECE + MOST_LINE_BYTES);
        let mut first = true;
        loop {
            let before = buffer.len();
            let read = input.by_ref().take(PIECE as u64).read_to_end(&mut buffer)?;
            let end = read < PIECE;
            if std::mem::take(&mut first)
                && end
                && let Ok(text) = std::str::from_utf8(&buffer)
                && text.split('\n').nth(1) == Some(TITLE)
            {
                return Ok(Verifier::of_proof(self.policy, text));
            }
            let fresh = buffer.get(before..).unwrap_or_default();
            if let Some(whole) = memchr::memrchr(b'\n', fresh).map(|at| before + at + 1) {
                let rest = buffer.split_off(whole);
                self.take(std::mem::replace(&mut buffer, rest));
            }
            if buffer.len() > MOST_LINE_BYTES || (end && !buffer.is_empty()) {
                // A line that never ends, or the last one cut: it can't be what was written.
                self.take(UNENDED.to_vec());
                break;
            }
            if end {
                break;
            }
            buffer.reserve(PIECE);
        }
        while let Some(piece) = self.open.pop_front() {
            self.join(&piece);
        }
        Ok(self.verifier.unwrap_or_else(|| Verifier::of_records(self.policy)).finish())
    }

    /// Takes the next lines, and joins those of the oldest piece when there are enough of them.
    fn take(&mut self, mut bytes: Vec<u8>) {
        if self.verifier.is_none() {
            let end = memchr::memchr(b'\n', &bytes).unwrap_or(bytes.len());
            let line = bytes.get(..end).unwrap_or_default();
            if Verifier::is_header(line) {
                self.verifier = Some(Verifier::of_bundle(self.policy, line));
                bytes.drain(..(end + 1).min(bytes.len()));
            } else {
                self.verifier = Some(Verifier::of_records(self.policy));
            }
        }
        let piece = Arc::new(Piece::of(bytes));
        if let Some(hand) = &self.hand {
            // It lives as long as this does; whatever it doesn't read is read here.
            let _ = hand.try_send(Arc::clone(&piece));
        }
        self.open.push_back(piece);
        if self.open.len() >= PIECES
            && let Some(oldest) = self.open.pop_front()
        {
            self.join(&oldest);
        }
    }

    /// Joins the lines of a piece in their order, and reads those that nobody has taken.
    fn join(&mut self, piece: &Piece) {
        let Some(verifier) = &mut self.verifier else { return };
        for part in &piece.parts {
            let lines = piece.lines(part);
            if part.take() {
                lines.for_each(|line| verifier.accept(&Line::read(line)));
                continue;
            }
            match part.read.wait().take() {
                Some(read) => {
                    for (line, apart) in lines.zip(read) {
                        verifier.accept(&apart.with(line));
                    }
                }
                // Whoever took it did not come back.
                None => lines.for_each(|line| verifier.accept(&Line::read(line))),
            }
        }
    }
}

/// Stands in for a line without an end, which is no record whatever it says.
const UNENDED: &[u8] = b"(a line without an end)\n";

/// Some whole lines.
struct Piece {
    bytes: Vec<u8>,
    /// Where each line begins, and where the last one ends.
    starts: Vec<usize>,
    parts: Vec<Part>,
}

/// Lines that one thread reads: reading a line needs no other.
struct Part {
    /// The first of them, by its number in the piece.
    from: usize,
    taken: AtomicBool,
    /// What the second thread read, where it took them.
    read: OnceLock<Given>,
}

/// What is handed over once.
struct Given(std::sync::Mutex<Option<Vec<Apart>>>);

impl Given {
    fn take(&self) -> Option<Vec<Apart>> {
        self.0.lock().ok()?.take()
    }
}

impl Part {
    /// Whether the lines are the caller's to read.
    fn take(&self) -> bool {
        !self.taken.swap(true, Ordering::AcqRel)
    }
}

impl Piece {
    /// `bytes` ends with a newline.
    fn of(bytes: Vec<u8>) -> Self {
        let mut starts = Vec::with_capacity(bytes.len() / 256 + 2);
        starts.push(0);
        starts.extend(memchr::memchr_iter(b'\n', &bytes).map(|at| at + 1));
        let lines = starts.len() - 1;
        let part = |from| Part { from, taken: AtomicBool::new(false), read: OnceLock::new() };
        Self { bytes, starts, parts: (0..lines).step_by(LINES).map(part).collect() }
    }

    fn lines(&self, part: &Part) -> impl Iterator<Item = &[u8]> {
        let until = (part.from + LINES).min(self.starts.len() - 1);
        let starts = self.starts.get(part.from..=until).unwrap_or_default();
        starts.windows(2).map(|ends| match ends {
            [from, next] => self.bytes.get(*from..next - 1).unwrap_or_default(),
            _ => &[],
        })
    }

    /// Reads parts that nobody has taken, the last one first: the other thread begins with the first.
    fn read_from_the_end(&self) {
        for part in self.parts.iter().rev() {
            if !part.take() {
                return;
            }
            // Should reading panic, whoever waits is told that nothing comes.
            let promise = Promise(&part.read);
            let read = self.lines(part).map(|line| Line::read(line).apart()).collect();
            promise.keep(read);
        }
    }
}

struct Promise<'a>(&'a OnceLock<Given>);

impl Promise<'_> {
    fn keep(self, read: Vec<Apart>) {
        let _ = self.0.set(Given(Some(read).into()));
    }
}

impl Drop for Promise<'_> {
    fn drop(&mut self) {
        // The first word counts.
        let _ = self.0.set(Given(None.into()));
    }
}
