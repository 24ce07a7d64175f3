//! What a time-stamp of an authority says (RFC 3161): over which bytes, and when. It is read here and nothing
//! more: whether the authority's signature holds is for others to judge, with the authority's certificate.

use crate::json::Digest;
use crate::time::Timestamp;

/// The most bytes that an answer may have.
pub const MOST_BYTES: usize = 64 << 10;

/// What a time-stamp says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// When the bytes were there, by the authority's word.
    pub time: Timestamp,
    /// The number that the request had, if any: the integer's bytes.
    pub nonce: Option<Vec<u8>>,
}

/// An answer says something else than a time-stamp over these bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StampError {
    /// It has another form (`TimeStampResp`, section 2.4.2).
    #[error("something else than a time-stamp")]
    Form,
    /// The authority refused.
    #[error("that it grants no time-stamp")]
    Refused,
    /// It is over other bytes, or by another digest than SHA-256.
    #[error("with a time-stamp of something else")]
    Other,
}

const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const OBJECT: u8 = 0x06;
const TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const EXPLICIT: u8 = 0xa0;

/// `id-signedData` (RFC 5652, section 5.1).
const SIGNED_DATA: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
/// `id-ct-TSTInfo` (section 2.4.2).
const TST_INFO: [u8; 11] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x01, 0x04];
/// `id-sha256` (RFC 5754, section 2).
const SHA256: [u8; 9] = [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];

/// Reads an authority's answer, a DER-encoded `TimeStampResp`, about these bytes.
///
/// # Errors
/// When it is no time-stamp over them.
pub fn read(answer: &[u8], over: &[u8]) -> Result<Stamp, StampError> {
    use StampError::{Form, Other, Refused};
    let mut whole = Der(answer);
    let mut response = whole.inner(SEQUENCE).ok_or(Form)?;
    if !whole.0.is_empty() {
        return Err(Form);
    }
    let mut status = response.inner(SEQUENCE).ok_or(Form)?;
    // `granted` and `grantedWithMods`.
    if !matches!(status.take(INTEGER).ok_or(Form)?, [0 | 1]) {
        return Err(Refused);
    }
    let mut token = response.inner(SEQUENCE).ok_or(Refused)?;
    let mut content = token
        .take(OBJECT)
        .filter(|kind| *kind == SIGNED_DATA)
        .and_then(|_| token.inner(EXPLICIT)?.inner(SEQUENCE))
        .ok_or(Form)?;
    let mut signed = content
        .take(INTEGER)
        .and_then(|_| content.take(SET))
        .and_then(|_| content.inner(SEQUENCE))
        .ok_or(Form)?;
    let mut info = signed
        .take(OBJECT)
        .filter(|kind| *kind == TST_INFO)
        .and_then(|_| signed.inner(EXPLICIT)?.inner(OCTETS)?.inner(SEQUENCE))
        .ok_or(Form)?;
    let mut imprint = info
        .take(INTEGER)
        .and_then(|_| info.take(OBJECT))
        .and_then(|_| info.inner(SEQUENCE))
        .ok_or(Form)?;
    let algorithm = imprint.inner(SEQUENCE).and_then(|mut kind| kind.take(OBJECT)).ok_or(Form)?;
    let digest = imprint.take(OCTETS).ok_or(Form)?;
    if algorithm != SHA256 || digest != Digest::of(over).as_bytes() {
        return Err(Other);
    }
    info.take(INTEGER).ok_or(Form)?;
    let time = info.take(TIME).and_then(time).ok_or(Form)?;
    // Accuracy and ordering may stand before the nonce.
    let mut nonce = None;
    while let Some((tag, value)) = info.next() {
        if tag == INTEGER {
            nonce = Some(value.to_vec());
        }
    }
    Ok(Stamp { time, nonce })
}

/// A `GeneralizedTime` in UTC with seconds, and a fraction or none (section 2.4.2).
fn time(text: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) => (whole, fraction),
        None => (text, ""),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() != 14 || !digits(whole) || !digits(fraction) {
        return None;
    }
    let part = |from: usize, to: usize| whole.get(from..to).unwrap_or_default();
    let millis: String = fraction.chars().chain("000".chars()).take(3).collect();
    let (year, month, day) = (part(0, 4), part(4, 6), part(6, 8));
    let (hour, minute, second) = (part(8, 10), part(10, 12), part(12, 14));
    format!("{year}-{month}-{day}T{hour}:{minute}:{second}.{millis}Z").parse().ok()
}

/// What is left of a sequence of elements (X.690, section 8.1).
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next element's tag and content.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (tag, rest) = self.0.split_first()?;
        let (length, rest) = rest.split_first()?;
        let (length, rest) = match length {
            0..=0x7f => (usize::from(*length), rest),
            0x81..=0x83 => {
                let (octets, rest) = rest.split_at_checked(usize::from(length & 0x0f))?;
                (octets.iter().fold(0, |sum, octet| sum << 8 | usize::from(*octet)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((*tag, content))
    }

    /// The next element's content, if it has this tag.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().and_then(|(found, content)| (found == tag).then_some(content))
    }

    /// The elements of which the next one consists.
    fn inner(&mut self, tag: u8) -> Option<Der<'a>> {
        self.take(tag).map(Der)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let length = match content.len() {
            short @ 0..=0x7f => vec![short as u8],
            long @ 0x80..=0xff => vec![0x81, long as u8],
            long => vec![0x82, (long >> 8) as u8, long as u8],
        };
        [&[tag], length.as_slice(), &content].concat()
    }

    /// An answer without a signature: openssl's are tried in the binary's tests.
    fn answer(status: u8, over: &[u8], at: &str) -> Vec<u8> {
        let algorithm = element(SEQUENCE, &[&element(OBJECT, &[&SHA256])]);
        let digest = element(OCTETS, &[Digest::of(over).as_bytes()]);
        let info = element(
            SEQUENCE,
            &[
                &element(INTEGER, &[&[1]]),
                &element(OBJECT, &[&[0x2a, 0x03]]),
                &element(SEQUENCE, &[&algorithm, &digest]),
                &element(INTEGER, &[&[9]]),
                &element(TIME, &[at.as_bytes()]),
                &element(SEQUENCE, &[&element(INTEGER, &[&[1]])]),
                &element(INTEGER, &[&[0x41, 7]]),
            ],
        );
        let content = element(
            SEQUENCE,
            &[&element(OBJECT, &[&TST_INFO]), &element(EXPLICIT, &[&element(OCTETS, &[&info])])],
        );
        let signed = element(SEQUENCE, &[&element(INTEGER, &[&[3]]), &element(SET, &[]), &content]);
        let token =
            element(SEQUENCE, &[&element(OBJECT, &[&SIGNED_DATA]), &element(EXPLICIT, &[&signed])]);
        let status = element(SEQUENCE, &[&element(INTEGER, &[&[status]])]);
        element(SEQUENCE, &[&status, &token])
    }

    #[test]
    fn a_time_stamp_is_read_and_nothing_else_is() {
        let whole = answer(0, b"head", "20261126001122.5Z");
        let stamp = read(&whole, b"head").unwrap();
        assert_eq!(stamp.time.to_string(), "2026-11-26T00:11:22.500Z");
        assert_eq!(stamp.nonce.as_deref(), Some([0x41, 7].as_slice()));
        assert_eq!(read(&whole, b"Head"), Err(StampError::Other));
        assert_eq!(read(&answer(2, b"head", "20261126001122Z"), b"head"), Err(StampError::Refused));
        for cut in 0..whole.len() {
            assert!(read(&whole[..cut], b"head").is_err(), "{cut}");
        }
        let longer = [whole.as_slice(), &[0]].concat();
        assert_eq!(read(&longer, b"head"), Err(StampError::Form));
        for at in ["2026112600112Z", "20261126001122", "20261326001122Z", "20261126001122.+Z", ""] {
            assert!(read(&answer(0, b"head", at), b"head").is_err(), "{at}");
        }
    }

    #[test]
    fn no_byte_of_it_makes_it_panic() {
        let whole = answer(0, b"head", "20261126001122Z");
        for at in 0..whole.len() {
            for byte in [0, 1, 0x7f, 0x80, 0x83, 0x84, 0xff] {
                let mut changed = whole.clone();
                changed[at] = byte;
                let _ = read(&changed, b"head");
            }
        }
    }
}
