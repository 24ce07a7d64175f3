//! Checks a bundle, or bare records, from the first line to the last: four verdicts, each recomputed
//! from the bytes.
//!
//! It goes in two steps, so that the costly one can be done for many lines at once. [`Line::read`]
//! hashes a line and checks its form, and needs no other line. [`Verifier::accept`] takes the lines in
//! their order and joins them: the chain of the run, the tree, what the records say of each other.
//! Memory is flat in the number of records.

mod accounts;
mod anchors;
mod approvals;
mod chain;
mod line;
mod openings;
mod report;
mod signatures;

use super::bundle::{FORMAT, Gap, Header};
use super::checkpoint::Checkpoint;
use super::note::Note;
use super::policy::Policy;
use super::proof::RecordProof;
use super::record::genesis;
use super::scan;
use super::tree::{Frontier, subtrees, verify_inclusion};
use crate::json::Digest;

use accounts::Accounts;
use anchors::Anchors;
pub use line::{Apart, Line};
use line::{Content, Fields};
pub use openings::Commitments;
use openings::Openings;
pub use report::{Finding, Report, Timestamping};

/// A place where the chain doesn't fit, which the next record decides: either the record before was
/// changed, or the one that names it.
#[derive(Debug)]
struct Suspect {
    seq: u64,
    leaf: Digest,
}

/// Takes a bundle's lines in their order.
#[derive(Debug)]
pub struct Verifier<'p> {
    policy: &'p Policy,
    header: Option<Header>,
    checkpoint: Option<(Note, Checkpoint)>,
    tree: Frontier,
    run: Option<String>,
    /// How many records were read, and the leaf hash of the last.
    records: u64,
    head: Digest,
    suspect: Option<Suspect>,
    integrity: Option<Finding>,
    accounts: Accounts,
    anchors: Anchors,
    openings: Openings,
    /// Whether it is one record that is judged, by a proof of its own.
    single: bool,
}

impl<'p> Verifier<'p> {
    /// A verifier of bare records, which come without a header.
    pub fn of_records(policy: &'p Policy) -> Self {
        Self {
            policy,
            header: None,
            checkpoint: None,
            tree: Frontier::default(),
            run: None,
            records: 0,
            head: genesis(),
            suspect: None,
            integrity: None,
            accounts: Accounts::new(&policy.approvers),
            anchors: Anchors::default(),
            openings: Openings::default(),
            single: false,
        }
    }

    /// Whether a first line is that of a bundle.
    pub fn is_header(line: &[u8]) -> bool {
        line.starts_with(b"{\"bundle\":")
    }

    /// A verifier of a bundle with this first line.
    pub fn of_bundle(policy: &'p Policy, line: &[u8]) -> Self {
        let mut verifier = Self::of_records(policy);
        if let Err(why) = verifier.begin(line) {
            verifier.break_at(None, &format!("the first line can't be relied on: {why}"));
        }
        verifier
    }

    fn begin(&mut self, line: &[u8]) -> Result<(), String> {
        let text = std::str::from_utf8(line).map_err(|_| "it is not UTF-8")?;
        scan::object(text, |_, _| {}).map_err(|flaw| flaw.to_string())?;
        let header: Header =
            serde_json::from_str(text).map_err(|_| "it is not a bundle's header")?;
        if header.bundle != FORMAT {
            return Err("it is of another form than `lar-bundle/v1`".to_owned());
        }
        let note = Note::parse(&header.checkpoint).map_err(|error| error.to_string())?;
        let checkpoint = Checkpoint::parse(note.text()).map_err(|error| error.to_string())?;
        // Kept even where something else is broken: whose it is is judged apart.
        self.checkpoint = Some((note, checkpoint));
        self.header = Some(header);
        Ok(())
    }

    /// Judges one record by its inclusion proof. What it says of the run is that this record is in the
    /// log, and nothing more.
    pub fn of_proof(policy: &'p Policy, proof: &str) -> Report {
        let mut verifier = Self::of_records(policy);
        let judged = verifier.one(proof);
        if let Err(why) = judged {
            verifier.break_at(None, &why);
        }
        verifier.single = true;
        verifier.finish()
    }

    fn one(&mut self, proof: &str) -> Result<(), String> {
        let proof = RecordProof::parse(proof).map_err(|_| "it is not a proof of one record")?;
        let note = Note::parse(&proof.checkpoint).map_err(|error| error.to_string())?;
        let checkpoint = Checkpoint::parse(note.text()).map_err(|error| error.to_string())?;
        let line = Line::read(proof.record.as_bytes());
        let (leaf, root, size) = match &line.content {
            Content::Record { leaf, fields } => {
                self.run = fields.run().and_then(scan::plain).map(str::to_owned);
                (*leaf, checkpoint.root, checkpoint.size)
            }
            Content::Gap(_) | Content::Opening(_) => return Err("there is no record".to_owned()),
            Content::Flawed(why) => return Err(why.clone()),
        };
        self.checkpoint = Some((note, checkpoint));
        (self.records, self.head) = (1, leaf);
        verify_inclusion(&leaf, proof.leaf, size, &proof.hashes, &root)
            .map_err(|error| error.to_string())
    }

    /// Takes the next line. After the first that is broken, the others are passed over.
    pub fn accept(&mut self, line: &Line<'_>) {
        if self.integrity.is_some() {
            return;
        }
        let next = self.records + 1;
        match &line.content {
            Content::Flawed(why) => {
                // A gap belongs to no record; the one after it is where the reader stands.
                self.break_at(Some(next), why);
            }
            Content::Gap(gap) => self.skip(gap),
            // Which record was changed is told by the next one.
            Content::Opening(_) if self.suspect.is_some() => {}
            Content::Opening(opening) => {
                if let Err(why) = self.openings.opening(opening) {
                    self.break_at(Some(self.records.max(1)), &why);
                }
            }
            Content::Record { leaf, fields } => {
                if let Err(why) = self.record(*leaf, fields, line.bytes)
                    && self.integrity.is_none()
                {
                    self.break_at(Some(next), &why);
                }
            }
        }
    }

    fn skip(&mut self, gap: &Gap) {
        let Some((_, checkpoint)) = &self.checkpoint else {
            return self.break_at(Some(self.records + 1), "a gap stands among bare records");
        };
        let from = self.tree.size();
        let end = from.saturating_add(gap.leaves);
        let fits = end <= checkpoint.size
            && subtrees(from..end).len() == gap.roots.len()
            && subtrees(from..end)
                .iter()
                .zip(&gap.roots)
                .all(|(subtree, root)| self.tree.push_subtree(subtree.level, *root).is_ok());
        self.anchors.passed(&self.tree);
        if !fits {
            self.break_at(Some(self.records + 1), "the gap before it doesn't fit the checkpoint");
        }
    }

    fn break_at(&mut self, at: Option<u64>, why: &str) {
        if self.integrity.is_none() {
            self.integrity = Some(Finding::Broken { at, reason: why.to_owned() });
        }
    }

    /// How many records were read and held so far.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Notes that a record can't be had, or isn't what is kept of it elsewhere.
    pub fn refuse(&mut self, at: u64, why: &str) {
        self.break_at(Some(at), why);
    }

    /// What was found, after the last line.
    pub fn finish(mut self) -> Report {
        if let Some(suspect) = self.suspect.take() {
            let holds = self.header.as_ref().is_some_and(|header| header.head == suspect.leaf);
            self.decide(&suspect, holds);
        }
        if self.integrity.is_none()
            && !self.single
            && let Err((at, why)) = self.whole()
        {
            self.break_at(at, &why);
        }
        let integrity = self.integrity.clone().unwrap_or(Finding::Ok);
        let (authenticity, signed_by) = self.authenticity();
        let witnessing = self.witnessing();
        let timestamp = self.timestamp();
        let completeness = match (&integrity, self.run.is_some()) {
            _ if self.single => {
                Finding::Absent { reason: "a proof shows one record and not its run".to_owned() }
            }
            (Finding::Broken { .. }, _) | (_, false) => Finding::Absent {
                reason: "it can't be judged where the records don't hold".to_owned(),
            },
            _ => self.accounts.finding(),
        };
        Report {
            run: self.run,
            records: self.records,
            head: (self.records > 0).then_some(self.head),
            checkpoint: self.checkpoint.map(|(_, checkpoint)| checkpoint),
            signed_by,
            closed: self.accounts.closed(),
            stop_reason: self.accounts.stop_reason(),
            single: self.single,
            timestamp,
            commitments: self.openings.count(),
            integrity,
            authenticity,
            witnessing,
            completeness,
        }
    }

    /// Whether the lines are all that the first one names, and lead to the checkpoint's root.
    fn whole(&self) -> Result<(), (Option<u64>, String)> {
        if self.records == 0 {
            return Err((Some(1), "there is no record".to_owned()));
        }
        let (Some(header), Some((_, checkpoint))) = (&self.header, &self.checkpoint) else {
            return Ok(());
        };
        if self.records < header.records {
            let at = self.records + 1;
            return Err((
                Some(at),
                format!("it is missing: the first line counts {} records", header.records),
            ));
        }
        if self.head != header.head {
            return Err((
                Some(self.records),
                "its bytes are not those that the first line names as the last".to_owned(),
            ));
        }
        if self.tree.size() != checkpoint.size {
            return Err((
                None,
                format!(
                    "the lines cover {} of the {} leaves of the checkpoint",
                    self.tree.size(),
                    checkpoint.size
                ),
            ));
        }
        if self.tree.root() != checkpoint.root {
            return Err((
                None,
                "the records and gaps lead to another root than the checkpoint's: some were changed \
                 and those after them chained anew, or a gap or the checkpoint is another's"
                    .to_owned(),
            ));
        }
        Ok(())
    }
}
