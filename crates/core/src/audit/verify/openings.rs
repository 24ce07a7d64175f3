//! What records commit to, and the openings that come with them: each stands after the record that it opens
//! something in. One that isn't there breaks nothing; one that opens nothing does. And whether the digest of a
//! spend is that of what stands beside it, said or committed to.

use super::line::{Fields, OpeningLine};
use crate::audit::commitment::{blinded, fields_of};
use crate::audit::record::Erasure;
use crate::audit::scan;
use crate::json::Digest;

/// How many fields stand as commitments.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Commitments {
    /// With an opening that fits.
    pub opened: u64,
    /// Without one, and the run's records say that as many were deleted.
    pub erased: u64,
    /// Without one, and no record says why: it is not shown.
    pub withheld: u64,
}

/// A field of the last record that stands as a commitment.
#[derive(Debug)]
struct Committed {
    field: String,
    commitment: Digest,
    opened: bool,
}

/// What is kept of it while the run is read.
#[derive(Debug, Default)]
pub(super) struct Openings {
    last: Vec<Committed>,
    /// The digest under which people were shown the question that the last record commits to.
    shown: Option<Digest>,
    opened: u64,
    missing: u64,
    erased: u64,
}

impl Openings {
    /// Takes a record.
    pub(super) fn record(
        &mut self,
        kind: &str,
        fields: &Fields<'_>,
        bytes: &[u8],
    ) -> Result<(), String> {
        self.settle();
        if kind == "erasure" {
            let erasure: Erasure =
                serde_json::from_slice(bytes).map_err(|_| "it doesn't say what was erased")?;
            self.erased = self.erased.saturating_add(erasure.openings);
        }
        if let Some(committed) = fields.committed() {
            self.commit(kind, committed, bytes)?;
        }
        if kind == "intent" {
            self.spends(fields)?;
        }
        if self.commitment("question").is_some() {
            let shown = fields.shown().and_then(scan::plain).and_then(|shown| shown.parse().ok());
            self.shown = Some(shown.ok_or("it doesn't say which question was shown")?);
        }
        Ok(())
    }

    /// Takes what the record commits to.
    fn commit(&mut self, kind: &str, committed: &str, bytes: &[u8]) -> Result<(), String> {
        let known = fields_of(kind);
        let mut read = Ok(());
        let found = scan::object(committed, |name, value| {
            let commitment = scan::plain(value).and_then(|value| value.parse().ok());
            match (known.iter().any(|(known, _)| *known == name), commitment) {
                (true, Some(commitment)) => {
                    self.last.push(Committed { field: name.to_owned(), commitment, opened: false });
                }
                _ => read = Err("it commits to what can't be committed to"),
            }
        });
        found.map_err(|_| "what it commits to is no object")?;
        read?;
        if self.last.is_empty() {
            return Err("it commits to nothing and says that it does".to_owned());
        }
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8")?;
        let mut both = false;
        let found = scan::object(text, |name, _| {
            both |= self.last.iter().any(|committed| committed.field == name);
        });
        found.map_err(|flaw| flaw.to_string())?;
        if both {
            return Err("a field stands in it and is committed to as well".to_owned());
        }
        Ok(())
    }

    /// Checks that a spend's digest is that of the action which stands beside it, or of the commitment to it:
    /// what people approved by its digest is what the record shows.
    fn spends(&self, fields: &Fields<'_>) -> Result<(), String> {
        let token = fields.token_name().ok_or("it names no token")?;
        let digest = match (self.commitment("args"), fields.args()) {
            (Some(args), _) => {
                let token = scan::plain(token).ok_or("it names no token")?;
                blinded(&args, token).map_err(|error| error.to_string())?
            }
            // Both are canonical as they stand, so that the whole is.
            (None, Some(args)) => Digest::of(format!(r#"{{"action":{args},"token":{token}}}"#)),
            (None, None) => return Err("its arguments are missing".to_owned()),
        };
        match fields.action_digest().and_then(scan::plain) {
            Some(stated) if stated == digest.to_string() => Ok(()),
            _ => Err("its action's digest isn't that of its arguments".to_owned()),
        }
    }

    fn commitment(&self, field: &str) -> Option<Digest> {
        self.last.iter().find(|committed| committed.field == field).map(|found| found.commitment)
    }

    /// Takes an opening, which belongs to the last record.
    pub(super) fn opening(&mut self, line: &OpeningLine<'_>) -> Result<(), String> {
        let fits = |committed: &Committed| {
            committed.field == line.field && committed.commitment == line.commitment
        };
        let at =
            self.last.iter().position(fits).ok_or("an opening beside it opens nothing in it")?;
        // In the order of the fields, each once: a bundle has one form.
        match self.last.get_mut(at..) {
            Some([committed, after @ ..]) if after.iter().all(|later| !later.opened) => {
                if std::mem::replace(&mut committed.opened, true) {
                    return Err("an opening of it stands twice".to_owned());
                }
            }
            _ => return Err("its openings stand in another order than its fields".to_owned()),
        }
        if line.field == "question" && self.shown != Some(Digest::of(line.value)) {
            return Err("the question that it commits to isn't the one that was shown".to_owned());
        }
        Ok(())
    }

    /// Counts what the last record commits to: no further opening of it can come.
    fn settle(&mut self) {
        for committed in self.last.drain(..) {
            match committed.opened {
                true => self.opened += 1,
                false => self.missing += 1,
            }
        }
        self.shown = None;
    }

    /// What there was, after the last line.
    pub(super) fn count(&mut self) -> Commitments {
        self.settle();
        let erased = self.erased.min(self.missing);
        Commitments { opened: self.opened, erased, withheld: self.missing - erased }
    }
}
