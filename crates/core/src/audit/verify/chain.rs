//! The chain of the run: each record has the next number, belongs to the run, and names the one before.

use super::line::Fields;
use super::{Suspect, Verifier, anchors};
use crate::audit::record::{Body, Record, VERSION};
use crate::audit::scan;
use crate::json::Digest;

/// Whether a text is the one spelling of a digest.
fn names(text: &str, digest: &Digest) -> bool {
    let digit = |half: u8| half + if half < 10 { b'0' } else { b'a' - 10 };
    let mut spelled = [0; 64];
    for (pair, byte) in spelled.as_chunks_mut::<2>().0.iter_mut().zip(digest.as_bytes()) {
        *pair = [digit(byte >> 4), digit(byte & 15)];
    }
    text.as_bytes() == spelled
}

impl Verifier<'_> {
    pub(super) fn record(
        &mut self,
        leaf: Digest,
        fields: &Fields<'_>,
        bytes: &[u8],
    ) -> Result<(), String> {
        let seq = self.records + 1;
        if fields.v().and_then(scan::number) != Some(u64::from(VERSION)) {
            return Err("its version is unknown".to_owned());
        }
        match fields.seq() {
            Some(found) if found == seq => {}
            Some(found) if found > seq => {
                return Err(format!("it is missing: record {found} stands in its place"));
            }
            Some(found) => return Err(format!("record {found} stands in its place")),
            None => return Err("it has no number".to_owned()),
        }
        self.belongs(fields.run().and_then(scan::plain))?;
        if let Some(header) = &self.header
            && seq > header.records
        {
            return Err(format!("the first line counts {} records", header.records));
        }
        self.follows(seq, leaf, fields.prev())?;
        if self.checkpoint.is_some() {
            self.tree.push(leaf).map_err(|error| error.to_string())?;
            self.anchors.passed(&self.tree);
        }
        (self.records, self.head) = (seq, leaf);
        let kind = fields.kind().ok_or("it has no type")?;
        if self.suspect.is_some() {
            // One of two records was changed, and the next one tells which. What they say of each other
            // is no help in that.
            return Ok(());
        }
        self.openings.record(kind, fields, bytes)?;
        if seq == 1 {
            if kind != "run_open" {
                return Err("a run begins with `run_open`".to_owned());
            }
            // What it commits to is no part of what is looked at.
            let Ok(Record { body: Body::RunOpen(open), .. }) = Record::read(bytes, &[]) else {
                return Err("it doesn't say what a run begins with".to_owned());
            };
            let origin = self.checkpoint.as_ref().map(|(_, checkpoint)| checkpoint.origin.as_str());
            self.accounts.open(self.run.as_deref().unwrap_or_default(), origin, &open)?;
            self.anchors.open(&open);
            return Ok(());
        }
        self.accounts.record(seq, kind, fields, bytes)?;
        let log = self.checkpoint.as_ref().map(|(_, checkpoint)| checkpoint.origin.as_str());
        let known = anchors::Known { policy: self.policy, log, tree: &self.tree };
        self.anchors.record(seq, kind, fields, bytes, &known)
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
    pub(super) fn decide(&mut self, suspect: &Suspect, later_holds: bool) {
        if later_holds {
            self.break_at(
                Some(suspect.seq - 1),
                "its bytes are not those that the record after it names",
            );
        } else {
            self.break_at(Some(suspect.seq), "it doesn't name the record before it");
        }
    }
}
