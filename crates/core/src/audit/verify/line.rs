//! One line of a bundle, read without any other: the costly step, which can be done for many lines at
//! once.

use crate::audit::bundle::Gap;
use crate::audit::record::MOST_BYTES;
use crate::audit::scan;
use crate::audit::tree::leaf_hash;
use crate::json::Digest;

/// A line by itself: hashed, and known to be well formed or not.
#[derive(Debug)]
pub struct Line<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) content: Content<'a>,
}

#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "nearly all are records, and a box each would cost more"
)]
pub(super) enum Content<'a> {
    Record { leaf: Digest, fields: Fields<'a> },
    Gap(Gap),
    Flawed(String),
}

/// The fields of a record that are looked at, as they are written.
#[derive(Debug, Default, Clone)]
pub(super) struct Fields<'a> {
    pub(super) v: Option<&'a str>,
    pub(super) run: Option<&'a str>,
    pub(super) seq: Option<u64>,
    pub(super) prev: Option<&'a str>,
    pub(super) kind: Option<&'a str>,
    pub(super) token_name: Option<&'a str>,
    pub(super) attempt: Option<&'a str>,
    pub(super) action_digest: Option<&'a str>,
    pub(super) approval_seq: Option<&'a str>,
    pub(super) approved: Option<&'a str>,
    pub(super) approver_identity: Option<&'a str>,
    pub(super) question: Option<&'a str>,
    pub(super) outcome: Option<&'a str>,
    pub(super) state: Option<&'a str>,
    pub(super) granted_token: Option<&'a str>,
    pub(super) timestamp: Option<&'a str>,
}

impl<'a> Line<'a> {
    /// Reads a line, without its newline.
    pub fn read(bytes: &'a [u8]) -> Self {
        let content = match bytes.first() {
            Some(b'[') => match std::str::from_utf8(bytes).ok().and_then(Gap::parse) {
                Some(gap) => Content::Gap(gap),
                None => Content::Flawed("it is neither a record nor a gap".to_owned()),
            },
            _ => match Fields::read(bytes) {
                Ok(fields) => Content::Record { leaf: leaf_hash(bytes), fields },
                Err(why) => Content::Flawed(why),
            },
        };
        Self { bytes, content }
    }
}

impl<'a> Fields<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, String> {
        if bytes.len() > MOST_BYTES {
            return Err(format!(
                "it has {} bytes and a record has {MOST_BYTES} at most",
                bytes.len()
            ));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
        let mut fields = Self::default();
        let found = scan::object(text, |key, value| match key {
            "action_digest" => fields.action_digest = Some(value),
            "approval_seq" => fields.approval_seq = Some(value),
            "approved" => fields.approved = Some(value),
            "approver_identity" => fields.approver_identity = Some(value),
            "attempt" => fields.attempt = Some(value),
            "granted_token" => fields.granted_token = Some(value),
            "outcome" => fields.outcome = Some(value),
            "prev" => fields.prev = Some(value),
            "question" => fields.question = Some(value),
            "run" => fields.run = Some(value),
            "seq" => fields.seq = scan::number(value),
            "state" => fields.state = Some(value),
            "timestamp" => fields.timestamp = Some(value),
            "token_name" => fields.token_name = Some(value),
            "type" => fields.kind = scan::plain(value),
            "v" => fields.v = Some(value),
            _ => {}
        });
        found.map_err(|flaw| format!("its bytes are not canonical JSON: {flaw}"))?;
        Ok(fields)
    }
}
