//! Reads an exported bundle, or bare records, and says what holds.
//!
//! The judging is the core's ([`lar_core::audit::verify`]); this crate brings the bytes to it, a piece
//! at a time and on the processors that there are. It opens no database and no socket and starts no
//! runtime, so that an auditor can read and build all of it.

mod policy;
mod text;

use std::io::{self, Read};
use std::thread;

use lar_core::audit::bundle::MOST_LINE_BYTES;
use lar_core::audit::policy::Policy;
use lar_core::audit::proof::TITLE;
use lar_core::audit::verify::{Line, Report, Verifier};

pub use policy::{PolicyFileError, read_policy};
pub use text::{json, text};

/// How much is read at once. Memory is a few times this, however long the input.
const PIECE: usize = 2 << 20;

/// Reads to the end and says what holds.
///
/// # Errors
/// When the input can't be read. What is wrong with its content stands in the report.
pub fn verify(mut input: impl Read, policy: &Policy) -> io::Result<Report> {
    let mut buffer = Vec::with_capacity(PIECE + MOST_LINE_BYTES);
    let mut verifier = None;
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
            return Ok(Verifier::of_proof(policy, text));
        }
        let fresh = buffer.get(before..).unwrap_or_default();
        let whole = memchr::memrchr(b'\n', fresh).map(|at| before + at + 1);
        if let Some(whole) = whole {
            let lines = buffer.get(..whole).unwrap_or_default();
            take(&mut verifier, policy, lines);
            buffer.drain(..whole);
        }
        if buffer.len() > MOST_LINE_BYTES || (end && !buffer.is_empty()) {
            // A line that never ends, or the last one cut: it can't be what was written.
            take(&mut verifier, policy, UNENDED);
            break;
        }
        if end {
            break;
        }
    }
    Ok(verifier.unwrap_or_else(|| Verifier::of_records(policy)).finish())
}

/// Stands in for a line without an end, which is no record whatever it says.
const UNENDED: &[u8] = b"(a line without an end)\n";

fn take<'p>(verifier: &mut Option<Verifier<'p>>, policy: &'p Policy, bytes: &[u8]) {
    let Some(bytes) = bytes.strip_suffix(b"\n") else {
        return;
    };
    let mut lines = Vec::with_capacity(bytes.len() / 256);
    let mut from = 0;
    for end in memchr::memchr_iter(b'\n', bytes).chain([bytes.len()]) {
        lines.push(bytes.get(from..end).unwrap_or_default());
        from = end + 1;
    }
    let mut lines = lines.as_slice();
    let verifier = verifier.get_or_insert_with(|| match lines.split_first() {
        Some((first, rest)) if Verifier::is_header(first) => {
            lines = rest;
            Verifier::of_bundle(policy, first)
        }
        _ => Verifier::of_records(policy),
    });
    // This thread also joins what both have read, so that it reads the smaller part.
    let (first, second) = lines.split_at(lines.len() * 2 / 5);
    // Reading a line needs no other, so two parts are read at the same time.
    thread::scope(|scope| {
        let many = lines.len() > 64;
        let later = many.then(|| thread::Builder::new().spawn_scoped(scope, || read(second)));
        for line in read(first) {
            verifier.accept(&line);
        }
        let second = match later {
            Some(Ok(thread)) => thread.join().unwrap_or_else(|_| read(second)),
            _ => read(second),
        };
        for line in second {
            verifier.accept(&line);
        }
    });
}

fn read<'a>(lines: &[&'a [u8]]) -> Vec<Line<'a>> {
    lines.iter().map(|line| Line::read(line)).collect()
}
