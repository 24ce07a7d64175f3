//! The bundle: one run's records with the proof that they stand in a log, in one file that is checked
//! from its first byte to its last in one pass and flat memory.
//!
//! Each line is JSON. The first is the [`Header`]; the others are, in the order of the log, the run's
//! records as their exact bytes, and between them [`Gap`]s: the hashes over what else the log holds.
//! Whoever hashes the records and takes the gaps' hashes as they are gets the root of the checkpoint.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::tree::{Subtree, subtrees};
use crate::id::RunId;
use crate::json::{Digest, JsonRefusal, canonical};

/// What the first line calls itself.
pub const FORMAT: &str = "lar-bundle/v1";

/// The most bytes that a line may have: a header with its notes, a record, or a gap.
pub const MOST_LINE_BYTES: usize = 1 << 20;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`FORMAT`].
    pub bundle: String,
    /// The run.
    pub run: RunId,
    /// How many records of it follow.
    pub records: u64,
    /// The leaf hash of the last of them.
    pub head: Digest,
    /// The checkpoint as a signed note, with the cosignatures of witnesses.
    pub checkpoint: String,
    /// An authority's time-stamp over the checkpoint's bytes, its DER-encoded answer in base64 (RFC 3161).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<String>,
    /// Certificates of signing keys by an offline root, as signed notes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub epochs: Vec<String>,
}

impl Header {
    /// The line, without the newline.
    pub fn line(&self) -> Result<Vec<u8>, JsonRefusal> {
        canonical(self)
    }
}

/// Leaves that the bundle doesn't show: how many, and the roots of the complete subtrees over them
/// from left to right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// How many leaves.
    pub leaves: u64,
    /// The roots of the subtrees that [`tree::subtrees`](subtrees) lists for them.
    pub roots: Vec<Digest>,
}

impl Gap {
    /// What must be fetched for a gap over these leaves.
    pub fn plan(leaves: Range<u64>) -> Vec<Subtree> {
        subtrees(leaves)
    }

    /// The line, without the newline: `[LEAVES,"HASH",…]`.
    pub fn line(&self) -> String {
        let roots: Vec<String> = self.roots.iter().map(|root| format!(",\"{root}\"")).collect();
        format!("[{}{}]", self.leaves, roots.concat())
    }

    /// Reads a line.
    pub fn parse(line: &str) -> Option<Self> {
        let mut parts = line.strip_prefix('[')?.strip_suffix(']')?.split(',');
        let leaves = super::scan::number(parts.next()?)?;
        let roots = parts
            .map(|part| part.strip_prefix('"')?.strip_suffix('"')?.parse().ok())
            .collect::<Option<Vec<Digest>>>()?;
        let gap = Self { leaves, roots };
        // One gap, one spelling.
        (leaves > 0 && gap.line() == line).then_some(gap)
    }
}
