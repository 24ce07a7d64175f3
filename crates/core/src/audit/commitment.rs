//! Fields that stand in a record as a salted commitment, with what they say, the opening, kept apart: whoever
//! deletes the opening takes nothing from any proof.
//!
//! An opening is one line of canonical JSON, `["lar-opening/v1",FIELD,SALT,VALUE]`, and the commitment is the
//! SHA-256 of that line. So the name of the field is bound to what it says, nobody can guess the value without
//! the 32 bytes of the salt, and a verifier hashes bytes and writes nothing anew. In the record the field is
//! left out, and `committed` names it with its commitment.
//!
//! Salts are made from a secret of the run, which its journal holds and which goes with the journal, so that a
//! run that is gone on with finds the digests again that people have signed. Once the run has ended the
//! openings alone hold them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::record::Body;
use super::scan;
use crate::id::AttemptId;
use crate::json::{Digest, JsonRefusal, canonical};

/// What an opening calls itself.
pub const TAG: &str = "lar-opening/v1";

/// What is shown in place of a text whose opening was deleted.
pub const ERASED: &str = "(erased)";

/// What of a record may hold data about people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// What is done: the arguments of actions, the questions in which they are shown to people, and what was
    /// refused. The digest of an action then says nothing to whoever guesses it.
    Args,
    /// What came of it: the summary of an output, its digests.
    Output,
    /// What the model says: its last message, why it asks for more, the digest of each answer.
    Words,
    /// What the run is for.
    Task,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Args, Self::Output, Self::Words, Self::Task];

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Args => "args",
            Self::Output => "output",
            Self::Words => "words",
            Self::Task => "task",
        }
    }
}

/// The fields of a type of record that may be committed to, and what each is part of; in the order of their
/// names, as their openings stand.
pub fn fields_of(kind: &str) -> &'static [(&'static str, Part)] {
    match kind {
        "run_open" => &[("task", Part::Task)],
        "model_turn" => &[("content", Part::Words)],
        "approval_request" => &[("message", Part::Words), ("question", Part::Args)],
        "approval" => &[("message", Part::Words)],
        "intent" => &[("args", Part::Args)],
        "outcome" => &[
            ("output_digest", Part::Output),
            ("result_summary", Part::Output),
            ("stderr_digest", Part::Output),
        ],
        "error" => &[("input", Part::Args), ("message", Part::Args)],
        "negotiation" => &[
            ("justification", Part::Words),
            ("reason", Part::Words),
            ("requested_scope", Part::Words),
        ],
        "run_close" => &[("error", Part::Words), ("final_message", Part::Words)],
        _ => &[],
    }
}

/// What stands in a record that is read in place of a field whose opening isn't at hand; `None` where the
/// field is left out then.
pub(crate) fn placeholder(field: &str) -> Option<Value> {
    let absent = matches!(field, "content" | "output_digest" | "question" | "stderr_digest");
    (!absent).then(|| Value::String(ERASED.to_owned()))
}

/// What a committed field says, with its salt.
#[derive(Clone, PartialEq, Eq)]
pub struct Opening {
    line: String,
    field: String,
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Opening({} bytes of `{}`)", self.line.len(), self.field)
    }
}

impl Opening {
    fn new(field: &str, salt: &Salt, value: &Value) -> Result<Self, JsonRefusal> {
        let line = canonical(&(TAG, field, hex::encode(salt.0), value))?;
        let line = String::from_utf8(line).map_err(|_| JsonRefusal::NotCanonical)?;
        Ok(Self { line, field: field.to_owned() })
    }

    /// Reads a line. Its value is not looked at.
    pub fn read(line: impl Into<String>) -> Option<Self> {
        let line = line.into();
        let field = field_of(&line)?.0.to_owned();
        Some(Self { line, field })
    }

    /// The line, without a newline.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// The name of the field.
    pub fn field(&self) -> &str {
        &self.field
    }

    /// What the record says in place of the field.
    pub fn commitment(&self) -> Digest {
        Digest::of(&self.line)
    }

    /// What the field says.
    pub fn value(&self) -> Option<Value> {
        let parts: Vec<Value> = serde_json::from_str(&self.line).ok()?;
        parts.into_iter().nth(3)
    }
}

/// The field that a line is the opening of, and its value as it is written; `None` where the line is none.
pub(super) fn field_of(line: &str) -> Option<(&str, &str)> {
    let rest = line.strip_prefix("[\"lar-opening/v1\",\"")?;
    let (field, rest) = rest.split_once("\",\"")?;
    let (salt, rest) = rest.split_once("\",")?;
    let value = rest.strip_suffix(']')?;
    let named = !field.is_empty() && field.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    let salted = salt.len() == 64 && salt.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    (named && salted && scan::value(value).is_ok()).then_some((field, value))
}

/// Whether a line begins as an opening does.
pub(super) fn is_opening(line: &[u8]) -> bool {
    line.starts_with(b"[\"")
}

/// What makes a commitment say nothing to whoever guesses.
#[derive(Clone, Copy)]
struct Salt([u8; 32]);

/// Commits to fields of a run's records.
pub struct Blinding {
    parts: BTreeSet<Part>,
    secret: [u8; 32],
    /// Numbers that no other salt of the run has.
    holder: u64,
    next: AtomicU64,
}

impl fmt::Debug for Blinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blinding({:?})", self.parts)
    }
}

impl Blinding {
    /// Commits to these parts. `secret` is 32 random bytes of this run alone, the same for whoever goes on with
    /// it; `holder` is the number of whoever holds the run.
    pub fn new(parts: impl IntoIterator<Item = Part>, secret: [u8; 32], holder: u64) -> Self {
        Self { parts: parts.into_iter().collect(), secret, holder, next: AtomicU64::new(0) }
    }

    /// Whether a part is committed to.
    pub fn covers(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }

    /// The openings of the fields of a record that are committed to.
    ///
    /// # Errors
    /// When a value has no canonical form.
    pub fn open(&self, body: &Body) -> Result<Vec<Opening>, JsonRefusal> {
        let Ok(Value::Object(fields)) = serde_json::to_value(body) else {
            return Err(JsonRefusal::NotCanonical);
        };
        let kind = fields.get("type").and_then(Value::as_str).unwrap_or_default();
        let mut openings = Vec::new();
        for (field, part) in fields_of(kind) {
            let value = fields.get(*field).filter(|value| !value.is_null());
            let Some(value) = value.filter(|_| self.covers(*part)) else { continue };
            let salt = match body {
                Body::Intent(intent) => self.of_attempt(&intent.attempt),
                _ => self.fresh(field),
            };
            openings.push(Opening::new(field, &salt, value)?);
        }
        Ok(openings)
    }

    /// The commitment to what an attempt does, if that is committed to.
    ///
    /// # Errors
    /// When it has no canonical form.
    pub fn action(
        &self,
        attempt: &AttemptId,
        action: &impl Serialize,
    ) -> Result<Option<Digest>, JsonRefusal> {
        if !self.covers(Part::Args) {
            return Ok(None);
        }
        let action = serde_json::to_value(action).map_err(|_| JsonRefusal::NotCanonical)?;
        let opening = Opening::new("args", &self.of_attempt(attempt), &action)?;
        Ok(Some(opening.commitment()))
    }

    /// A salt for a question that is put to people, if it is committed to: what they sign is its digest.
    pub fn question(&self) -> Option<String> {
        self.covers(Part::Args).then(|| hex::encode(self.fresh("shown").0))
    }

    fn of_attempt(&self, attempt: &AttemptId) -> Salt {
        self.salt(&[b"attempt", attempt.digest().as_bytes()])
    }

    fn fresh(&self, field: &str) -> Salt {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let place = [self.holder.to_be_bytes(), number.to_be_bytes()].concat();
        self.salt(&[field.as_bytes(), &place])
    }

    fn salt(&self, about: &[&[u8]]) -> Salt {
        let mut hasher = Sha256::new();
        hasher.update(b"lar-salt/v1");
        hasher.update(self.secret);
        for part in about {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        Salt(hasher.finalize().into())
    }
}

/// The digest of an action whose arguments are committed to: SHA-256 of this object in canonical form.
pub fn blinded(args: &Digest, token: &str) -> Result<Digest, JsonRefusal> {
    Digest::of_value(&BTreeMap::from([("args", args.to_string()), ("token", token.to_owned())]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::audit::record::{ErrorRecord, Record, genesis, seal_with};
    use crate::id::RunId;
    use crate::time::Timestamp;

    fn refused() -> Body {
        Body::Error(ErrorRecord {
            token_name: "pods".into(),
            error_type: "CommandNotAllowedError".into(),
            message: "`psql -c 'Ada Lovelace'` is not allowed".into(),
            attempt: None,
            input: Some("psql -c 'Ada Lovelace'".into()),
        })
    }

    fn blinding() -> Blinding {
        Blinding::new([Part::Args], [7; 32], 1)
    }

    #[test]
    fn a_commitment_is_the_digest_of_a_line_that_anybody_can_hash() {
        let line = format!("[\"lar-opening/v1\",\"input\",\"{}\",\"x\"]", "ab".repeat(32));
        let opening = Opening::read(line.clone()).unwrap();
        assert_eq!((opening.field(), opening.value()), ("input", Some(json!("x"))));
        assert_eq!(opening.commitment(), Digest::of(&line));
        for other in [
            line.replace("v1", "v2"),
            line.replace("abab", "ABAB"),
            line.replace("abab", "ab"),
            line.replace("input", "in put"),
            line.replace("\"x\"", "1.0"),
            line.replace("\"x\"", "1,2"),
            line.replace("\"x\"", " 1"),
            line.replace("\"x\"]", "\"x\""),
        ] {
            assert!(Opening::read(other.clone()).is_none(), "{other}");
        }
    }

    #[test]
    fn a_field_is_left_out_and_read_back_where_its_opening_is_at_hand() {
        let openings = blinding().open(&refused()).unwrap();
        assert_eq!(openings.iter().map(Opening::field).collect::<Vec<_>>(), ["input", "message"]);
        let run = RunId::new("r").unwrap();
        let time = Timestamp::from_millis(1);
        let sealed = seal_with(&run, 2, genesis(), time, &refused(), openings).unwrap();
        let text = String::from_utf8(sealed.bytes.clone()).unwrap();
        assert!(!text.contains("Lovelace") && !text.contains("\"input\":\"p"), "{text}");
        let read = sealed.read().unwrap();
        assert_eq!((&read.body, read.erased.len()), (&refused(), 0));
        // Without one of them the rest is there, and the bytes are still those that were written.
        let (first, second) = (&sealed.openings[0], &sealed.openings[1]);
        let read = Record::read(&sealed.bytes, std::slice::from_ref(second)).unwrap();
        assert_eq!(read.erased, ["input"]);
        let Body::Error(error) = &read.body else { panic!() };
        assert_eq!(error.input.as_deref(), Some(ERASED));
        assert_eq!(error.message, "`psql -c 'Ada Lovelace'` is not allowed");
        assert_eq!(canonical(&read).unwrap(), sealed.bytes);
        // An opening of something else opens nothing.
        let other = first.line().replace("Ada", "Eva");
        let read = Record::read(&sealed.bytes, &[Opening::read(other).unwrap()]).unwrap();
        assert_eq!(read.erased, ["input", "message"]);
    }

    #[test]
    fn no_salt_is_used_twice_but_that_of_an_attempt() {
        let blinding = blinding();
        let (first, second) =
            (blinding.open(&refused()).unwrap(), blinding.open(&refused()).unwrap());
        assert_ne!(first[0].commitment(), second[0].commitment());
        let later = Blinding::new([Part::Args], [7; 32], 2).open(&refused()).unwrap();
        assert!(![&first[0], &second[0]].contains(&&later[0]));
        let attempt = AttemptId::from_digest(Digest::of(b"a"));
        let again = Blinding::new([Part::Args], [7; 32], 2);
        let action = |blinding: &Blinding| blinding.action(&attempt, &json!({"k": 1})).unwrap();
        assert_eq!(action(&blinding), action(&again));
        let other = Blinding::new([Part::Args], [8; 32], 2);
        assert_ne!(action(&blinding), action(&other));
        assert_eq!(action(&Blinding::new([Part::Output], [7; 32], 1)), None);
    }

    #[test]
    fn every_field_that_may_be_committed_to_has_a_place_in_its_record() {
        for kind in [
            "run_open",
            "model_turn",
            "approval_request",
            "approval",
            "intent",
            "outcome",
            "error",
            "negotiation",
            "run_close",
        ] {
            let fields = fields_of(kind);
            assert!(!fields.is_empty() && fields.is_sorted_by_key(|(field, _)| *field), "{kind}");
        }
    }
}
