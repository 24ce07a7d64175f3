//! A record that is whole but for its number, its predecessor and its time, which only a ledger can tell. What takes
//! time is done before the ledger's transaction: the canonical form.

use super::{Body, SealedRecord, genesis, seal_with};
use crate::audit::commitment::Opening;
use crate::audit::tree;
use crate::id::RunId;
use crate::json::{Digest, JsonRefusal, MAX_INTEGER};
use crate::time::Timestamp;

/// The record of a run, without its place in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsealed {
    pieces: [String; 4],
    openings: Vec<Opening>,
}

impl Unsealed {
    /// Writes a record with the longest values in the three places, so that it fits whatever stands
    /// there in the end, and cuts those out.
    ///
    /// # Errors
    /// When the record has no canonical form, or is too large.
    pub fn new(run: &RunId, body: &Body, openings: Vec<Opening>) -> Result<Self, JsonRefusal> {
        let end_of_time = Timestamp::from_millis(i64::MAX);
        let whole = seal_with(run, MAX_INTEGER, genesis(), end_of_time, body, openings)?;
        let text = String::from_utf8(whole.bytes).ok();
        let pieces = text.as_deref().and_then(cut).ok_or(JsonRefusal::NotCanonical)?;
        Ok(Self { pieces, openings: whole.openings })
    }

    /// The canonical bytes in four pieces: before `prev`'s digits, before `seq`'s, before `timestamp`'s
    /// characters, and the rest.
    pub fn into_pieces(self) -> [String; 4] {
        self.pieces
    }

    /// Gives it its place.
    pub fn seal(self, seq: u64, prev: &Digest, timestamp: Timestamp) -> SealedRecord {
        let [a, b, c, d] = self.pieces;
        let bytes = format!("{a}{prev}{b}{seq}{c}{timestamp}{d}").into_bytes();
        SealedRecord { seq, hash: tree::leaf_hash(&bytes), bytes, openings: self.openings }
    }
}

/// Cuts out the values of the three keys. Only the outermost object's keys are meant: what the
/// record holds may have such keys too.
fn cut(text: &str) -> Option<[String; 4]> {
    let mut places = Vec::new();
    let mut depth = 0u32;
    let mut rest = text.char_indices();
    while let Some((at, character)) = rest.next() {
        match character {
            '{' | '[' => depth += 1,
            '}' | ']' => depth = depth.checked_sub(1)?,
            '"' => {
                loop {
                    match rest.next()?.1 {
                        '\\' => drop(rest.next()?),
                        '"' => break,
                        _ => {}
                    }
                }
                let from = text.get(at..)?;
                let key = ["\"prev\":\"", "\"seq\":", "\"timestamp\":\""]
                    .into_iter()
                    .find(|key| depth == 1 && from.starts_with(key));
                if let Some(key) = key {
                    let begin = at + key.len();
                    let value = text.get(begin..)?;
                    places.push((begin, begin + value.find(['"', ',', '}'])?));
                }
            }
            _ => {}
        }
    }
    let &[(a, b), (c, d), (e, f)] = places.as_slice() else {
        return None;
    };
    let pieces = [text.get(..a)?, text.get(b..c)?, text.get(d..e)?, text.get(f..)?];
    Some(pieces.map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::super::{Intent, Negotiation, seal};
    use super::*;
    use crate::id::{AttemptId, CallSite, Part};

    fn filled(run: &RunId, body: &Body) {
        let (seq, prev, at) = (7, Digest::of("before"), Timestamp::from_millis(1_764_547_200_007));
        let unsealed = Unsealed::new(run, body, Vec::new()).unwrap();
        assert_eq!(unsealed.seal(seq, &prev, at), seal(run, seq, prev, at, body).unwrap());
    }

    #[test]
    fn filled_in_it_is_the_record() {
        let run = RunId::new("r").unwrap();
        let site = CallSite { run: run.clone(), turn: 1, index: 0, part: Part::Call };
        filled(
            &run,
            &Body::Intent(Intent {
                token_name: "t".into(),
                scope: "\"seq\":1".into(),
                tool: "\\\",\"prev\":\"".into(),
                attempt: AttemptId::at(&site),
                // Keys of the same names, and strings that look like them.
                args: serde_json::json!({
                    "prev": "x", "seq": 1, "timestamp": "y", "a": ["{", {"seq": "\"seq\":2"}],
                }),
                action_digest: Digest::of("a"),
                approval_seq: None,
            }),
        );
        filled(
            &run,
            &Body::Negotiation(Negotiation {
                requested_scope: "ü\u{0}\u{1f600}".into(),
                justification: "\",\"timestamp\":\"1".into(),
                tokens: Vec::new(),
                granted_token: None,
                provider_type: "human".into(),
                provider: "{[".into(),
                reason: Some("}".into()),
            }),
        );
    }
}
