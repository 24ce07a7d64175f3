//! The search itself: one pass over bytes that may come in pieces, with what was found and not yet
//! written.

use std::collections::VecDeque;

use aho_corasick::automaton::{Automaton, StateID};
use aho_corasick::{Anchored, nfa::contiguous::NFA};
use zeroize::Zeroizing;

use super::SecretRefusal;

/// The most white space within an encoded secret at one place; more of it ends the search there,
/// or a stream would hold back without bound.
pub(super) const MAX_BLANKS: usize = 64;

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// All that is searched for.
pub(super) struct Tables {
    /// The secrets' names.
    pub names: Vec<String>,
    /// What stands in their place.
    pub marks: Vec<String>,
    /// Forms that are searched for byte by byte.
    pub exact: Table,
    /// Forms that are searched for as if there were no white space.
    pub folded: Table,
}

/// Forms of secrets, compiled for one search.
pub(super) struct Table {
    automaton: NFA,
    start: StateID,
    /// Which secret a pattern is a form of.
    secrets: Vec<usize>,
}

impl Table {
    pub fn new(mut forms: Vec<(Zeroizing<Vec<u8>>, usize)>) -> Result<Self, SecretRefusal> {
        // A form that two secrets share goes by the first one's name.
        forms.sort_by(|(a, of_a), (b, of_b)| a.as_slice().cmp(b).then(of_a.cmp(of_b)));
        forms.dedup_by(|(later, _), (first, _)| later == first);
        let automaton = NFA::builder()
            .prefilter(false)
            .build(forms.iter().map(|(form, _)| form.as_slice()))
            .map_err(|_| SecretRefusal::TooMany)?;
        let start = automaton.start_state(Anchored::No).map_err(|_| SecretRefusal::TooMany)?;
        Ok(Table { automaton, start, secrets: forms.into_iter().map(|(_, of)| of).collect() })
    }

    /// The length of its longest form.
    pub fn longest_form(&self) -> usize {
        self.automaton.max_pattern_len()
    }

    /// The length of the longest form that ends where `state` was reached, and its secret. Shorter
    /// ones that end there lie within it.
    fn longest(&self, state: StateID) -> Option<(usize, usize)> {
        if !self.automaton.is_match(state) {
            return None;
        }
        (0..self.automaton.match_len(state))
            .map(|index| self.automaton.match_pattern(state, index))
            .max_by_key(|pattern| self.automaton.pattern_len(*pattern))
            .and_then(|pattern| {
                let secret = self.secrets.get(pattern.as_usize())?;
                Some((self.automaton.pattern_len(pattern), *secret))
            })
    }
}

/// A run of bytes to be replaced. Positions count from the beginning of the stream.
#[derive(Clone, Copy)]
struct Found {
    start: usize,
    end: usize,
    /// The occurrence that gives the name: the longest of those that begin at `start`.
    lead_end: usize,
    secret: usize,
}

/// How far one table's search has come.
struct Head {
    state: StateID,
    /// No occurrence that is still incomplete begins before here.
    clear: usize,
}

/// One pass over a stream, of which a buffer holds the bytes from `base` on.
pub(super) struct Scan {
    base: usize,
    exact: Head,
    folded: Head,
    /// White space since the last other byte.
    blanks: usize,
    /// What was found and not yet written, in order; no two overlap.
    found: VecDeque<Found>,
    /// Everything before here was written, as it came or as a mark.
    written: usize,
}

impl Scan {
    pub fn new(tables: &Tables) -> Self {
        Scan {
            base: 0,
            exact: Head { state: tables.exact.start, clear: 0 },
            folded: Head { state: tables.folded.start, clear: 0 },
            blanks: 0,
            found: VecDeque::new(),
            written: 0,
        }
    }

    /// Searches the bytes of `buffer` from index `from` on.
    pub fn read(&mut self, tables: &Tables, buffer: &[u8], from: usize) {
        for (index, &byte) in buffer.iter().enumerate().skip(from) {
            let end = self.base + index + 1;

            let table = &tables.exact;
            let state = table.automaton.next_state(Anchored::No, self.exact.state, byte);
            self.exact.state = state;
            if state == table.start {
                self.exact.clear = end;
            } else if let Some((length, secret)) = table.longest(state) {
                self.add(end.saturating_sub(length), end, secret);
            }

            let table = &tables.folded;
            if is_blank(byte) {
                self.blanks += 1;
                if self.blanks > MAX_BLANKS {
                    self.folded.state = table.start;
                }
            } else {
                self.blanks = 0;
                let state = table.automaton.next_state(Anchored::No, self.folded.state, byte);
                self.folded.state = state;
                if let Some((length, secret)) = table.longest(state) {
                    let start = self.base + back(buffer, index + 1, length);
                    self.add(start, end, secret);
                }
            }
            if self.folded.state == table.start {
                self.folded.clear = end;
            }
        }
    }

    /// The secret that was found first, of those that are not yet written.
    pub fn first(&self) -> Option<usize> {
        self.found.front().map(|found| found.secret)
    }

    /// The position at which `buffer` ends.
    pub fn end(&self, buffer: &[u8]) -> usize {
        self.base + buffer.len()
    }

    /// Passes everything before a position; says how many bytes of the buffer that are.
    pub fn pass(&mut self, until: usize) -> usize {
        let passed = until.saturating_sub(self.base);
        self.base = until;
        passed
    }

    /// Adds an occurrence that ends where the search stands, joined with all that it overlaps.
    fn add(&mut self, start: usize, end: usize, secret: usize) {
        let mut joined = Found { start, end, lead_end: end, secret };
        while let Some(last) = self.found.back().copied().filter(|last| last.end > start) {
            self.found.pop_back();
            let lead = |found: &Found| (found.start, usize::MAX - found.lead_end, found.secret);
            if lead(&last) < lead(&joined) {
                joined = last;
            }
            joined.end = end;
        }
        self.found.push_back(joined);
    }

    /// The position before which nothing can be found any more.
    pub fn settled(&self, tables: &Tables, buffer: &[u8]) -> usize {
        let end = self.end(buffer);
        let longest = tables.exact.longest_form();
        let exact = end.saturating_sub(longest.saturating_sub(1)).max(self.exact.clear);
        let longest = tables.folded.longest_form();
        let folded = self.base + back(buffer, buffer.len(), longest.saturating_sub(1));
        exact.min(folded.max(self.folded.clear)).max(self.base)
    }

    /// Writes everything before the position `until`.
    pub fn write(&mut self, tables: &Tables, buffer: &[u8], until: usize, out: &mut Vec<u8>) {
        while let Some(found) = self.found.front().copied()
            && found.start < until
        {
            self.copy(buffer, found.start, out);
            if found.end > until {
                // It may still grow at its end; its bytes are gone all the same.
                return;
            }
            out.extend_from_slice(tables.marks.get(found.secret).map_or(b"", |m| m.as_bytes()));
            self.written = found.end;
            self.found.pop_front();
        }
        self.copy(buffer, until, out);
    }

    fn copy(&mut self, buffer: &[u8], until: usize, out: &mut Vec<u8>) {
        if until > self.written {
            let from = self.written.saturating_sub(self.base);
            let to = until.saturating_sub(self.base);
            out.extend_from_slice(buffer.get(from..to).unwrap_or_default());
            self.written = until;
        }
    }
}

/// The index at which the last `count` bytes before `end` that are not white space begin.
fn back(buffer: &[u8], end: usize, count: usize) -> usize {
    let before = buffer.get(..end).unwrap_or_default();
    if count == 0 {
        return end;
    }
    let solid = before.iter().enumerate().rev().filter(|(_, byte)| !is_blank(**byte));
    solid.map(|(index, _)| index).nth(count - 1).unwrap_or(0)
}
