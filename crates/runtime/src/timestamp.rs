//! Time-stamps of an authority over a checkpoint (RFC 3161): that it was there at a time is then said by
//! somebody who knows nothing of the log.
//!
//! What is asked is written here, and that the answer grants it for this digest and this request is
//! looked at. Whether the authority's signature holds is not judged here: `openssl ts -verify` does that,
//! with the authority's certificate.

use std::time::Duration;

use reqwest::{Client, Url};
use sha2::{Digest as _, Sha256};

/// How long the authority may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// The most bytes that its answer may have.
const MOST_BYTES: usize = 64 << 10;

/// There is no time-stamp.
#[derive(Debug, thiserror::Error)]
pub enum TimestampError {
    /// The authority can't be asked.
    #[error("the time-stamping authority can't be reached; check the address")]
    Unreached,
    /// It answers something else than a time-stamp.
    #[error("the time-stamping authority answers {0}")]
    Refused(String),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    NoRandom,
    /// The client can't be set up.
    #[error("the HTTP client can't be set up; check that this system has CA certificates")]
    Client,
}

/// Asks an authority for a time-stamp over these bytes. Returns its answer, a DER-encoded
/// `TimeStampResp`, as `openssl ts -verify -in` takes it.
///
/// # Errors
/// When no time-stamp over these bytes was granted.
pub async fn timestamp(authority: &Url, bytes: &[u8]) -> Result<Vec<u8>, TimestampError> {
    let mut nonce = [0; 8];
    getrandom::fill(&mut nonce).map_err(|_| TimestampError::NoRandom)?;
    // A positive number of always eight bytes, so that it has one encoding.
    nonce[0] = nonce[0] & 0x3f | 0x40;
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    let mut builder = Client::builder();
    if authority.scheme() == "http" {
        builder = builder.tls_certs_only([]);
    }
    let client = builder
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(PATIENCE)
        .user_agent(concat!("linear-agent-runtime/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|_| TimestampError::Client)?;
    let sent = client
        .post(authority.clone())
        .header("content-type", "application/timestamp-query")
        .body(request(&digest, &nonce))
        .send();
    let mut response = sent.await.map_err(|_| TimestampError::Unreached)?;
    if !response.status().is_success() {
        return Err(TimestampError::Refused(response.status().as_u16().to_string()));
    }
    let mut answer = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|_| TimestampError::Unreached)? {
        answer.extend_from_slice(&piece);
        if answer.len() > MOST_BYTES {
            return Err(TimestampError::Refused("more than a time-stamp".to_owned()));
        }
    }
    granted(&answer, &digest, &nonce).map_err(|why| TimestampError::Refused(why.to_owned()))?;
    Ok(answer)
}

/// The algorithm SHA-256 without parameters' value (RFC 5754, section 2).
const SHA256: [u8; 15] =
    [0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00];

/// A `TimeStampReq` (RFC 3161, section 2.4.1) that asks for the authority's certificate too. Every part
/// of it has a fixed length.
fn request(digest: &[u8; 32], nonce: &[u8; 8]) -> Vec<u8> {
    let version = [0x02, 0x01, 0x01];
    let imprint = [&[0x30, 0x31], SHA256.as_slice(), &[0x04, 0x20], digest].concat();
    let nonce = [[0x02, 0x08].as_slice(), nonce].concat();
    let wants_certificate = [0x01, 0x01, 0xff];
    let body = [version.as_slice(), &imprint, &nonce, &wants_certificate].concat();
    // 3 + 51 + 10 + 3 bytes: short enough for a length of one byte.
    [&[0x30, 67], body.as_slice()].concat()
}

/// Whether an answer grants what was asked, for this digest and this request.
fn granted(answer: &[u8], digest: &[u8; 32], nonce: &[u8; 8]) -> Result<(), &'static str> {
    let not = "something else than a time-stamp";
    let (outer, rest) = element(answer, 0x30).ok_or(not)?;
    let (status, token) = element(outer, 0x30).ok_or(not)?;
    let (code, _) = element(status, 0x02).ok_or(not)?;
    // `granted` and `grantedWithMods` (section 2.4.2).
    if !rest.is_empty() || !matches!(code, [0 | 1]) {
        return Err("that it grants no time-stamp");
    }
    let (token, _) = element(token, 0x30).ok_or(not)?;
    let holds = |part: &[u8]| token.windows(part.len()).any(|window| window == part);
    let imprint = [&[0x04, 0x20], digest.as_slice()].concat();
    let asked = [&[0x02, 0x08], nonce.as_slice()].concat();
    if holds(&imprint) && holds(&asked) {
        Ok(())
    } else {
        Err("with a time-stamp of something else")
    }
}

/// The content of the first element, which has this tag, and what follows it (X.690, section 8.1).
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let (length, rest) = rest.split_first()?;
    if *first != tag {
        return None;
    }
    let (length, rest) = match length {
        0..=0x7f => (usize::from(*length), rest),
        0x81..=0x83 => {
            let (octets, rest) = rest.split_at_checked(usize::from(length & 0x0f))?;
            (octets.iter().fold(0, |sum, octet| sum << 8 | usize::from(*octet)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_for_what_was_asked_alone() {
        let (digest, nonce) = ([7; 32], [0x41; 8]);
        let asked = request(&digest, &nonce);
        assert_eq!(asked.len(), 69);
        // A token that holds the imprint and the nonce; openssl's are tried in the binary's tests.
        let token = [&[0x30, 44, 0x04, 0x20], digest.as_slice(), &[0x02, 0x08], &nonce].concat();
        let answer = |code: u8, token: &[u8]| {
            let status = [0x30, 3, 0x02, 1, code];
            let length = (status.len() + token.len()) as u8;
            [&[0x30, length], status.as_slice(), token].concat()
        };
        assert_eq!(granted(&answer(0, &token), &digest, &nonce), Ok(()));
        assert!(granted(&answer(2, &token), &digest, &nonce).is_err(), "rejected");
        assert!(granted(&answer(0, &[]), &digest, &nonce).is_err(), "no token");
        assert!(granted(&answer(0, &token), &[8; 32], &nonce).is_err(), "another digest");
        assert!(granted(&answer(0, &token), &digest, &[0x42; 8]).is_err(), "a replay");
        let whole = answer(0, &token);
        for cut in 0..whole.len() {
            assert!(granted(&whole[..cut], &digest, &nonce).is_err(), "{cut}");
        }
    }
}
