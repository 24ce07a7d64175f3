//! Time-stamps of an authority over a checkpoint (RFC 3161): that it was there at a time is then said by
//! somebody who knows nothing of the log.
//!
//! What is asked is written here, and that the answer grants it for this digest and this request is
//! looked at. Whether the authority's signature holds is not judged here: `openssl ts -verify` does that,
//! with the authority's certificate.

use std::time::Duration;

use lar_core::audit::log::{Log, Stamped};
use lar_core::audit::timestamp::{self as stamp, MOST_BYTES, StampError};
use reqwest::{Client, Url};
use sha2::{Digest as _, Sha256};

/// How long the authority may take.
const PATIENCE: Duration = Duration::from_secs(15);

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
    granted(&answer, bytes, &nonce).map_err(|why| TimestampError::Refused(why.to_string()))?;
    Ok(answer)
}

/// Has an authority state when a checkpoint was there, the newest one where none is given, and keeps what it
/// says in the log.
///
/// # Errors
/// Says why there is no time-stamp. Nothing may be taken for stamped then.
pub(crate) async fn stamp(
    authority: &Url,
    log: &dyn Log,
    checkpoint: Option<(u64, String)>,
) -> Result<(), String> {
    let (size, checkpoint) = match checkpoint {
        Some(checkpoint) => checkpoint,
        None => {
            let head = log.head().await.map_err(|error| error.to_string())?;
            (head.size, head.checkpoint.ok_or("the log is not signed")?)
        }
    };
    let answer = timestamp(authority, checkpoint.as_bytes()).await;
    let answer = answer.map_err(|error| error.to_string())?;
    log.stamp(size, Stamped { checkpoint, answer }).await.map_err(|error| error.to_string())
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

/// Whether an answer grants what was asked, for these bytes and this request.
fn granted(answer: &[u8], bytes: &[u8], nonce: &[u8; 8]) -> Result<(), StampError> {
    let stamp = stamp::read(answer, bytes)?;
    match stamp.nonce.as_deref() == Some(nonce) {
        true => Ok(()),
        false => Err(StampError::Other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_has_one_form() {
        let asked = request(&[7; 32], &[0x41; 8]);
        assert_eq!(asked.len(), 69);
        assert!(
            asked.ends_with(&[
                0x02, 0x08, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 1, 1, 0xff
            ])
        );
    }
}
