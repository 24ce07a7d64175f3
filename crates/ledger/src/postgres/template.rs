//! A record whose predecessor, number and time the database fills in, under its lock on the run.

use lar_core::audit::commitment::Opening;
use lar_core::audit::record::{self, Body};
use lar_core::id::RunId;
use lar_core::ledger::LedgerError;
use lar_core::time::Timestamp;

/// The largest number that a record can have: 2^53 - 1.
const LAST: u64 = (1 << 53) - 1;

/// The canonical bytes of a record in four pieces: before `prev`'s digits, before `seq`'s, before
/// `timestamp`'s characters, and the rest.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Template(pub(super) [String; 4]);

impl Template {
    /// Writes a record with the longest values in the three places, so that it fits whatever stands
    /// there in the end, and cuts those out.
    pub(super) fn of(
        run: &RunId,
        body: &Body,
        openings: Vec<Opening>,
    ) -> Result<Self, LedgerError> {
        let end_of_time = Timestamp::from_millis(i64::MAX);
        let sealed = record::seal_with(run, LAST, record::genesis(), end_of_time, body, openings)
            .map_err(|error| LedgerError::BadRecord(error.to_string()))?;
        let text = String::from_utf8(sealed.bytes).ok();
        text.as_deref()
            .and_then(cut)
            .ok_or_else(|| LedgerError::BadRecord("it has no canonical form".to_owned()))
    }
}

/// Cuts out the values of the three keys. Only the outermost object's keys are meant: what the
/// record holds may have such keys too.
fn cut(text: &str) -> Option<Template> {
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
    Some(Template(pieces.map(str::to_owned)))
}

#[cfg(test)]
mod tests {
    use lar_core::audit::record::{Intent, Negotiation};
    use lar_core::id::{AttemptId, CallSite, Part};
    use lar_core::json::Digest;

    use super::*;

    fn filled(run: &RunId, body: &Body) {
        let (seq, prev, at) = (7, Digest::of("before"), Timestamp::from_millis(1_764_547_200_007));
        let Template([a, b, c, d]) = Template::of(run, body, Vec::new()).unwrap();
        let text = format!("{a}{prev}{b}{seq}{c}{at}{d}");
        assert_eq!(text.as_bytes(), record::seal(run, seq, prev, at, body).unwrap().bytes);
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
