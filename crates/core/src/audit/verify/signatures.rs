//! Who signed the checkpoint, and who cosigned it: judged by the policy's keys alone.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Finding, Timestamping, Verifier};
use crate::audit::epoch;
use crate::audit::note::Signed;
use crate::audit::timestamp::{self, MOST_BYTES, StampError};

impl Verifier<'_> {
    pub(super) fn authenticity(&self) -> (Finding, Option<String>) {
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

    /// What comes with the checkpoint of an authority, read and not judged.
    pub(super) fn timestamp(&self) -> Timestamping {
        let header = self.header.as_ref();
        let Some((header, answer)) =
            header.and_then(|header| Some((header, header.timestamp.as_ref()?)))
        else {
            return Timestamping::Absent;
        };
        let answer = STANDARD.decode(answer).ok().filter(|answer| answer.len() <= MOST_BYTES);
        let read = answer.ok_or(StampError::Form);
        match read.and_then(|answer| timestamp::read(&answer, header.checkpoint.as_bytes())) {
            Ok(stamp) => Timestamping::Stated { time: stamp.time },
            Err(error) => Timestamping::Broken { reason: error.to_string() },
        }
    }

    pub(super) fn witnessing(&self) -> Finding {
        let absent = |reason: String| Finding::Absent { reason };
        let Some((note, _)) = &self.checkpoint else {
            return absent("bare records carry no cosignature".to_owned());
        };
        let anchors = self.anchors.finding();
        if let Some(finding) = anchors.as_ref().filter(|finding| finding.is_broken()) {
            return finding.clone();
        }
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
        if let Some(finding) = anchors {
            finding
        } else if cosigned >= required.max(1) {
            Finding::Ok
        } else {
            absent(format!("{cosigned} of the {required} witnesses that are required cosigned"))
        }
    }
}
