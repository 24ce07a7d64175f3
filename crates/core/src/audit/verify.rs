//! Checks a bundle, or bare records, from the first line to the last: four verdicts, each recomputed
//! from the bytes.
//!
//! It goes in two steps, so that the costly one can be done for many lines at once. [`Line::read`]
//! hashes a line and checks its form, and needs no other line. [`Verifier::accept`] takes the lines in
//! their order and joins them: the chain of the run, the tree, what the records say of each other.
//! Memory is flat in the number of records.

mod accounts;
mod line;
mod report;

use super::bundle::{FORMAT, Gap, Header};
use super::checkpoint::Checkpoint;
use super::note::{Note, Signed};
use super::policy::Policy;
use super::proof::RecordProof;
use super::record::{RunOpen, VERSION, genesis};
use super::tree::{Frontier, subtrees, verify_inclusion};
use super::{epoch, scan};
use crate::json::Digest;

use accounts::Accounts;
pub use line::Line;
use line::{Content, Fields};
pub use report::{Finding, Report};

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
    /// Whether it is one record that is judged, by a proof of its own.
    single: bool,
}

/// Whether a text is the one spelling of a digest.
fn names(text: &str, digest: &Digest) -> bool {
    let mut spelled = [0; 64];
    hex::encode_to_slice(digest.as_bytes(), &mut spelled).is_ok() && text.as_bytes() == spelled
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
            accounts: Accounts::default(),
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
                self.run = fields.run.and_then(scan::plain).map(str::to_owned);
                (*leaf, checkpoint.root, checkpoint.size)
            }
            Content::Gap(_) => return Err("there is no record".to_owned()),
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
        if !fits {
            self.break_at(Some(self.records + 1), "the gap before it doesn't fit the checkpoint");
        }
    }

    fn record(&mut self, leaf: Digest, fields: &Fields<'_>, bytes: &[u8]) -> Result<(), String> {
        let seq = self.records + 1;
        if fields.v.and_then(scan::number) != Some(u64::from(VERSION)) {
            return Err("its version is unknown".to_owned());
        }
        match fields.seq {
            Some(found) if found == seq => {}
            Some(found) if found > seq => {
                return Err(format!("it is missing: record {found} stands in its place"));
            }
            Some(found) => return Err(format!("record {found} stands in its place")),
            None => return Err("it has no number".to_owned()),
        }
        self.belongs(fields.run.and_then(scan::plain))?;
        if let Some(header) = &self.header
            && seq > header.records
        {
            return Err(format!("the first line counts {} records", header.records));
        }
        self.follows(seq, leaf, fields.prev)?;
        if self.checkpoint.is_some() {
            self.tree.push(leaf).map_err(|error| error.to_string())?;
        }
        (self.records, self.head) = (seq, leaf);
        let kind = fields.kind.ok_or("it has no type")?;
        if self.suspect.is_some() {
            // One of two records was changed, and the next one tells which. What they say of each other
            // is no help in that.
            return Ok(());
        }
        if seq == 1 {
            if kind != "run_open" {
                return Err("a run begins with `run_open`".to_owned());
            }
            let open: RunOpen = serde_json::from_slice(bytes)
                .map_err(|_| "it doesn't say what a run begins with")?;
            self.accounts.open(&open);
            return Ok(());
        }
        self.accounts.record(seq, kind, fields, bytes)
    }

    fn belongs(&mut self, run: Option<&str>) -> Result<(), String> {
        let run = run.ok_or("it names no run")?;
        let known = match (&self.run, &self.header) {
            (Some(known), _) => known.as_str(),
            (None, Some(header)) => header.run.as_str(),
            (None, None) => run,
        };
        if known != run {
            return Err(format!("it belongs to run `{run}` and not to `{known}`"));
        }
        if self.run.is_none() {
            self.run = Some(run.to_owned());
        }
        Ok(())
    }

    /// Whether a record names the one before it.
    fn follows(&mut self, seq: u64, leaf: Digest, prev: Option<&str>) -> Result<(), String> {
        let named = prev.and_then(scan::plain).ok_or("it names no record before it")?;
        if let Some(suspect) = self.suspect.take() {
            self.decide(&suspect, names(named, &suspect.leaf));
            return Ok(());
        }
        if !names(named, &self.head) {
            if seq == 1 {
                return Err("it names a record before the first".to_owned());
            }
            self.suspect = Some(Suspect { seq, leaf });
        }
        Ok(())
    }

    /// Says which of two records that don't fit was changed.
    fn decide(&mut self, suspect: &Suspect, later_holds: bool) {
        if later_holds {
            self.break_at(
                Some(suspect.seq - 1),
                "its bytes are not those that the record after it names",
            );
        } else {
            self.break_at(Some(suspect.seq), "it doesn't name the record before it");
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

    fn authenticity(&self) -> (Finding, Option<String>) {
        let absent = |reason: &str| (Finding::Absent { reason: reason.to_owned() }, None);
        let broken = |reason: String| (Finding::Broken { at: None, reason }, None);
        let Some((note, checkpoint)) = &self.checkpoint else {
            return absent("bare records carry no signature");
        };
        if self.policy.keys.is_empty() && self.policy.roots.is_empty() {
            return absent("the policy names no key, so that nothing could be told from a forgery");
        }
        if let Some(origin) = &self.policy.origin
            && *origin != checkpoint.origin
        {
            return broken(format!(
                "the checkpoint is of log `{}` and the policy names `{origin}`",
                checkpoint.origin
            ));
        }
        let epochs = self.header.iter().flat_map(|header| &header.epochs);
        let certified = match epoch::certified(epochs, &self.policy.roots, checkpoint) {
            Ok(certified) => certified,
            Err(why) => return broken(why),
        };
        let mut forged = None;
        for key in self.policy.keys.iter().chain(&certified) {
            // A log's key is named like the log; a key of another log says nothing about this one.
            if key.name() != checkpoint.origin {
                continue;
            }
            match key.check(note) {
                Signed::Valid { .. } => {
                    return match self.accounts.approvals() {
                        Some(finding) => (finding, Some(key.to_string())),
                        None => (Finding::Ok, Some(key.to_string())),
                    };
                }
                Signed::Broken => forged = Some(key.name().to_owned()),
                Signed::Absent => {}
            }
        }
        match (forged, note.signatures().first()) {
            (Some(name), _) => {
                broken(format!("the signature beneath the checkpoint isn't that of key `{name}`"))
            }
            (None, Some(other)) => broken(format!(
                "the checkpoint is signed by `{}+{}`, which the policy doesn't name",
                other.name,
                hex::encode(other.id)
            )),
            (None, None) => absent("the checkpoint carries no signature"),
        }
    }

    fn witnessing(&self) -> Finding {
        let absent = |reason: String| Finding::Absent { reason };
        let Some((note, _)) = &self.checkpoint else {
            return absent("bare records carry no cosignature".to_owned());
        };
        if self.policy.witnesses.is_empty() {
            return absent("the policy names no witness".to_owned());
        }
        let mut cosigned = 0;
        for witness in &self.policy.witnesses {
            match witness.check(note) {
                Signed::Valid { .. } => cosigned += 1,
                Signed::Broken => {
                    return Finding::Broken {
                        at: None,
                        reason: format!(
                            "the cosignature beneath the checkpoint isn't that of witness `{}`",
                            witness.name()
                        ),
                    };
                }
                Signed::Absent => {}
            }
        }
        let required = self.policy.witnesses_required();
        if cosigned >= required.max(1) {
            Finding::Ok
        } else {
            absent(format!("{cosigned} of the {required} witnesses that are required cosigned"))
        }
    }
}
