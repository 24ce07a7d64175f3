//! A record around its content: how it is written, once, as exact bytes, and how it is read, with what is at hand
//! of the fields that it commits to.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use serde_json::{Map, Value};

use super::{Body, MOST_BYTES, VERSION};
use crate::audit::commitment::{Opening, fields_of, placeholder};
use crate::audit::tree;
use crate::id::RunId;
use crate::json::{Digest, JsonRefusal, canonical};
use crate::time::Timestamp;

/// A record as it is stored: exact bytes, and their digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedRecord {
    /// Its number in the run, from 1.
    pub seq: u64,
    /// The canonical JSON.
    pub bytes: Vec<u8>,
    /// The [leaf hash](tree::leaf_hash) of `bytes`.
    pub hash: Digest,
    /// The openings of what it commits to, as far as they are there.
    pub openings: Vec<Opening>,
}

impl SealedRecord {
    /// What it says. Whether it stands where it should is the chain's business.
    ///
    /// # Errors
    ///
    /// When the bytes are no record.
    pub fn read(&self) -> Result<Record, serde_json::Error> {
        Record::read(&self.bytes, &self.openings)
    }
}

/// A record that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The form's version.
    pub v: u32,
    /// The run.
    pub run: RunId,
    /// Its number in the run, from 1.
    pub seq: u64,
    /// The [leaf hash](tree::leaf_hash) of the record before; SHA-256 of the empty text for the first.
    pub prev: Digest,
    /// When it was written.
    pub timestamp: Timestamp,
    /// Fields that stand in it as commitments.
    pub committed: BTreeMap<String, Digest>,
    /// Those of them whose openings are not at hand: in `body` they say so, or are not there.
    pub erased: Vec<String>,
    /// What it says.
    pub body: Body,
}

impl Record {
    /// Reads a record, with the openings that are there. One that opens nothing in it is passed over.
    ///
    /// # Errors
    /// When the bytes are no record.
    pub fn read(bytes: &[u8], openings: &[Opening]) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Whole {
            v: u32,
            run: RunId,
            seq: u64,
            prev: Digest,
            timestamp: Timestamp,
            #[serde(default)]
            committed: BTreeMap<String, Digest>,
            #[serde(flatten)]
            rest: Map<String, Value>,
        }
        let whole: Whole = serde_json::from_slice(bytes)?;
        let Whole { v, run, seq, prev, timestamp, committed, mut rest } = whole;
        let known = fields_of(rest.get("type").and_then(Value::as_str).unwrap_or_default());
        let mut erased = Vec::new();
        for (field, commitment) in &committed {
            if !known.iter().any(|(name, _)| name == field) || rest.contains_key(field) {
                return Err(de::Error::custom("a field is committed to that can't be"));
            }
            let opens = |opening: &&Opening| {
                opening.field() == field && opening.commitment() == *commitment
            };
            let value = match openings.iter().find(opens).and_then(Opening::value) {
                Some(value) => Some(value),
                None => {
                    erased.push(field.clone());
                    placeholder(field)
                }
            };
            rest.extend(value.map(|value| (field.clone(), value)));
        }
        let body = Body::deserialize(Value::Object(rest))?;
        Ok(Self { v, run, seq, prev, timestamp, committed, erased, body })
    }
}

impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let whole = Value::deserialize(deserializer)?;
        Self::read(whole.to_string().as_bytes(), &[]).map_err(de::Error::custom)
    }
}

impl Serialize for Record {
    /// As it was written: what is committed to stands in it as its commitment.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { v, run, seq, prev, timestamp, committed, body, .. } = self;
        let whole = Whole { v: *v, run, seq: *seq, prev: *prev, timestamp: *timestamp, body };
        if committed.is_empty() {
            return whole.serialize(serializer);
        }
        whole.commit(committed).map_err(ser::Error::custom)?.serialize(serializer)
    }
}

/// What the first record of a run names as the one before it.
pub fn genesis() -> Digest {
    Digest::of(b"")
}

#[derive(Serialize)]
struct Whole<'a> {
    v: u32,
    run: &'a RunId,
    seq: u64,
    prev: Digest,
    timestamp: Timestamp,
    #[serde(flatten)]
    body: &'a Body,
}

impl Whole<'_> {
    /// With the commitments in place of the fields.
    fn commit(&self, committed: &BTreeMap<String, Digest>) -> Result<Value, serde_json::Error> {
        let mut whole = serde_json::to_value(self)?;
        if let Some(fields) = whole.as_object_mut() {
            fields.retain(|name, _| !committed.contains_key(name));
            fields.insert("committed".to_owned(), serde_json::to_value(committed)?);
        }
        Ok(whole)
    }
}

/// Writes a record.
pub fn seal(
    run: &RunId,
    seq: u64,
    prev: Digest,
    timestamp: Timestamp,
    body: &Body,
) -> Result<SealedRecord, JsonRefusal> {
    seal_with(run, seq, prev, timestamp, body, Vec::new())
}

/// Writes a record that commits to the fields which these openings open: the one place in which bytes are made
/// of it.
pub fn seal_with(
    run: &RunId,
    seq: u64,
    prev: Digest,
    timestamp: Timestamp,
    body: &Body,
    openings: Vec<Opening>,
) -> Result<SealedRecord, JsonRefusal> {
    let whole = Whole { v: VERSION, run, seq, prev, timestamp, body };
    let bytes = if openings.is_empty() {
        canonical(&whole)?
    } else {
        let of = |opening: &Opening| (opening.field().to_owned(), opening.commitment());
        let committed = openings.iter().map(of).collect();
        canonical(&whole.commit(&committed).map_err(|_| JsonRefusal::NotCanonical)?)?
    };
    if bytes.len() > MOST_BYTES {
        return Err(JsonRefusal::TooLarge { bytes: bytes.len(), limit: MOST_BYTES });
    }
    Ok(SealedRecord { seq, hash: tree::leaf_hash(&bytes), bytes, openings })
}
