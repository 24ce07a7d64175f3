//! Whether the outputs and long arguments that were kept beside a run are those of its record.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::Path;

use lar_core::audit::record::{Body, Record};
use lar_core::json::Digest;
use serde_json::Value;

/// What was found in a directory of kept outputs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeptOutputs {
    /// How many of the digests in the records have a file with those bytes.
    pub kept: u64,
    /// How many have none.
    pub absent: u64,
    /// The first record of which a file has other bytes.
    pub broken: Option<(u64, String)>,
    seen: BTreeSet<Digest>,
}

impl KeptOutputs {
    /// Looks for what one record names, each digest once.
    ///
    /// # Errors
    /// When a file is there and can't be read.
    pub fn look(&mut self, directory: &Path, record: &Record) -> io::Result<()> {
        for digest in named(&record.body) {
            if !self.seen.insert(digest) {
                continue;
            }
            match digest_of(&directory.join(digest.to_string()))? {
                None => self.absent += 1,
                Some(found) if found == digest => self.kept += 1,
                Some(_) => {
                    let why = format!("the bytes that are kept as `{digest}` are others");
                    self.broken.get_or_insert((record.seq, why));
                }
            }
        }
        Ok(())
    }
}

/// The digests of what may be kept.
fn named(body: &Body) -> Vec<Digest> {
    let mut found = Vec::new();
    match body {
        Body::Outcome(outcome) => {
            found.extend(outcome.output_digest.filter(|_| outcome.output_bytes > 0));
            found.extend(outcome.stderr_digest);
        }
        Body::Intent(intent) => long_texts(&intent.args, &mut found),
        _ => {}
    }
    found
}

/// A long text stands in the record as its length and its digest.
fn long_texts(value: &Value, found: &mut Vec<Digest>) {
    match value {
        Value::Object(fields) => {
            if let (2, Some(_), Some(digest)) =
                (fields.len(), fields.get("bytes"), fields.get("sha256").and_then(Value::as_str))
            {
                found.extend(digest.parse::<Digest>());
            }
            fields.values().for_each(|value| long_texts(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| long_texts(value, found)),
        _ => {}
    }
}

fn digest_of(path: &Path) -> io::Result<Option<Digest>> {
    match File::open(path) {
        Ok(file) => Digest::of_reader(file).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
