//! One line of a bundle, read without any other: the costly step, which can be done for many lines at
//! once.

use crate::audit::bundle::Gap;
use crate::audit::commitment::{field_of, is_opening};
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
    Opening(OpeningLine<'a>),
    Flawed(String),
}

/// What a field of the record before says.
#[derive(Debug)]
pub(super) struct OpeningLine<'a> {
    pub(super) field: &'a str,
    pub(super) value: &'a str,
    pub(super) commitment: Digest,
}

impl<'a> OpeningLine<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let line = std::str::from_utf8(bytes).ok()?;
        let (field, value) = field_of(line)?;
        Some(Self { field, value, commitment: Digest::of(line) })
    }
}

/// The fields of a record that are looked at.
#[derive(Debug, Clone, Copy)]
enum Key {
    ActionDigest,
    ApprovalSeq,
    Approved,
    ApproverIdentity,
    Args,
    Attempt,
    Committed,
    GrantedToken,
    Outcome,
    Prev,
    Question,
    Run,
    Seq,
    Shown,
    State,
    Timestamp,
    TokenName,
    Type,
    V,
}

/// How many of them there are.
const KEYS: usize = Key::V as usize + 1;

impl Key {
    /// Most keys of a record are none of these, so that their lengths are compared first.
    fn of(name: &str) -> Option<Self> {
        Some(match (name.len(), name) {
            (1, "v") => Self::V,
            (3, "run") => Self::Run,
            (3, "seq") => Self::Seq,
            (4, "args") => Self::Args,
            (4, "prev") => Self::Prev,
            (4, "type") => Self::Type,
            (5, "shown") => Self::Shown,
            (5, "state") => Self::State,
            (7, "attempt") => Self::Attempt,
            (7, "outcome") => Self::Outcome,
            (8, "approved") => Self::Approved,
            (8, "question") => Self::Question,
            (9, "committed") => Self::Committed,
            (9, "timestamp") => Self::Timestamp,
            (10, "token_name") => Self::TokenName,
            (12, "approval_seq") => Self::ApprovalSeq,
            (13, "action_digest") => Self::ActionDigest,
            (13, "granted_token") => Self::GrantedToken,
            (17, "approver_identity") => Self::ApproverIdentity,
            _ => return None,
        })
    }
}

/// Where a value begins in its record, and how long it is; no value has no bytes. A record is short enough for
/// two bytes a number, and lines are read by the million.
type Places = [(u16, u16); KEYS];

/// A record's fields, as they are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a> {
    bytes: &'a [u8],
    places: Places,
}

/// What is known of a line, apart from its bytes: it can be handed from one thread to another while they stay.
#[derive(Debug)]
pub struct Apart(ApartContent);

#[derive(Debug)]
enum ApartContent {
    Record {
        leaf: Digest,
        places: Places,
    },
    /// Rare, and read again from the bytes.
    Other,
}

impl<'a> Line<'a> {
    /// Reads a line, without its newline.
    pub fn read(bytes: &'a [u8]) -> Self {
        let content = match bytes.first() {
            Some(b'[') if is_opening(bytes) => match OpeningLine::read(bytes) {
                Some(opening) => Content::Opening(opening),
                None => Content::Flawed("an opening before it is none".to_owned()),
            },
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

    /// What is known of the line, without its bytes.
    pub fn apart(self) -> Apart {
        Apart(match self.content {
            Content::Record { leaf, fields } => {
                ApartContent::Record { leaf, places: fields.places }
            }
            _ => ApartContent::Other,
        })
    }
}

impl Apart {
    /// The line again. `bytes` must be those that it was read from: nothing of them is looked at anew.
    pub fn with(self, bytes: &[u8]) -> Line<'_> {
        match self.0 {
            ApartContent::Record { leaf, places } => {
                Line { bytes, content: Content::Record { leaf, fields: Fields { bytes, places } } }
            }
            ApartContent::Other => Line::read(bytes),
        }
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
        let mut places = [(0, 0); KEYS];
        let found = scan::object(text, |name, value| {
            let Some(key) = Key::of(name) else { return };
            // The value is a part of the text.
            let at = value.as_ptr().addr() - text.as_ptr().addr();
            if let Some(place) = places.get_mut(key as usize)
                && let (Ok(at), Ok(long)) = (u16::try_from(at), u16::try_from(value.len()))
            {
                *place = (at, long);
            }
        });
        found.map_err(|flaw| format!("its bytes are not canonical JSON: {flaw}"))?;
        Ok(Self { bytes, places })
    }

    fn get(&self, key: Key) -> Option<&'a str> {
        let (at, long) = *self.places.get(key as usize)?;
        let at = usize::from(at);
        let value = self.bytes.get(at..at + usize::from(long)).filter(|value| !value.is_empty())?;
        std::str::from_utf8(value).ok()
    }

    pub(super) fn v(&self) -> Option<&'a str> {
        self.get(Key::V)
    }

    pub(super) fn run(&self) -> Option<&'a str> {
        self.get(Key::Run)
    }

    pub(super) fn seq(&self) -> Option<u64> {
        self.get(Key::Seq).and_then(scan::number)
    }

    pub(super) fn prev(&self) -> Option<&'a str> {
        self.get(Key::Prev)
    }

    pub(super) fn kind(&self) -> Option<&'a str> {
        self.get(Key::Type).and_then(scan::plain)
    }

    pub(super) fn token_name(&self) -> Option<&'a str> {
        self.get(Key::TokenName)
    }

    pub(super) fn attempt(&self) -> Option<&'a str> {
        self.get(Key::Attempt)
    }

    pub(super) fn action_digest(&self) -> Option<&'a str> {
        self.get(Key::ActionDigest)
    }

    pub(super) fn args(&self) -> Option<&'a str> {
        self.get(Key::Args)
    }

    pub(super) fn approval_seq(&self) -> Option<&'a str> {
        self.get(Key::ApprovalSeq)
    }

    pub(super) fn approved(&self) -> Option<&'a str> {
        self.get(Key::Approved)
    }

    pub(super) fn approver_identity(&self) -> Option<&'a str> {
        self.get(Key::ApproverIdentity)
    }

    pub(super) fn committed(&self) -> Option<&'a str> {
        self.get(Key::Committed)
    }

    pub(super) fn question(&self) -> Option<&'a str> {
        self.get(Key::Question)
    }

    pub(super) fn shown(&self) -> Option<&'a str> {
        self.get(Key::Shown)
    }

    pub(super) fn outcome(&self) -> Option<&'a str> {
        self.get(Key::Outcome)
    }

    pub(super) fn state(&self) -> Option<&'a str> {
        self.get(Key::State)
    }

    pub(super) fn granted_token(&self) -> Option<&'a str> {
        self.get(Key::GrantedToken)
    }

    pub(super) fn timestamp(&self) -> Option<&'a str> {
        self.get(Key::Timestamp)
    }
}
