//! The run as an in-toto Statement (<https://in-toto.io/Statement/v1>), and that in a signed DSSE
//! envelope (<https://github.com/secure-systems-lab/dsse>), as supply-chain tools read it.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lar_core::audit::AuditTrail;
use lar_core::audit::log::Head;
use lar_core::audit::note::{NoteSigner, SignerError};
use lar_core::json::{JsonRefusal, canonical};
use serde::Serialize;
use serde_json::{Value, json};

use super::VERSION;

/// What the predicate is. A name, and no place that needs to be reached.
const PREDICATE: &str = "https://linear-agent-runtime.dev/audit/v1";
/// DSSE's type of an in-toto Statement.
const PAYLOAD: &str = "application/vnd.in-toto+json";

/// The Statement: the run's last record is its subject, by the leaf hash that stands for the whole
/// chain; what became of every token is its predicate.
pub fn in_toto(trail: &AuditTrail, head: Option<&Head>) -> Value {
    let run = &trail.run;
    let outcomes = |wanted: &str| {
        trail.proofs.iter().filter(|proof| proof.outcome().as_str() == wanted).count()
    };
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{
            "name": format!("lar-run:{}", run.id),
            "digest": {"sha256": run.head},
        }],
        "predicateType": PREDICATE,
        "predicate": {
            "runtime": {"name": "linear-agent-runtime", "version": VERSION},
            "run": run.id,
            "model": run.open.model,
            "manifest": run.open.manifest,
            "opened": run.opened,
            "closed": run.closed,
            "stop_reason": run.stop_reason,
            "records": run.records,
            "enforcement": run.open.enforcement,
            "tokens": run.accounts,
            "tokens_unused": run.tokens_unused,
            "spends": {
                "succeeded": outcomes("succeeded"),
                "failed": outcomes("failed"),
                "unknown": outcomes("unknown"),
            },
            "approvals": trail.approvals.len(),
            "refusals_and_failures": trail.errors.len(),
            "checkpoint": head.and_then(|head| head.checkpoint.clone()),
        },
    })
}

/// A DSSE envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Envelope {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct EnvelopeSignature {
    keyid: String,
    sig: String,
}

/// What is signed: the pre-authentication encoding of the DSSE specification.
pub fn pae(kind: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

/// Signs a Statement with the ledger's key, and with a P-256 key where one is kept, which tools that
/// know no Ed25519 read.
///
/// # Errors
/// When a key can't sign, or the Statement has no canonical form.
pub fn dsse(
    statement: &Value,
    signer: &dyn NoteSigner,
    p256: Option<&P256Key>,
) -> Result<Envelope, StatementError> {
    let payload = canonical(statement)?;
    let message = pae(PAYLOAD, &payload);
    let mut signatures = vec![EnvelopeSignature {
        keyid: signer.key().to_string(),
        sig: STANDARD.encode(signer.sign(&message)?),
    }];
    if let Some(key) = p256 {
        signatures.push(EnvelopeSignature {
            keyid: "p256".to_owned(),
            sig: STANDARD.encode(key.sign(&message)?),
        });
    }
    let payload = STANDARD.encode(payload);
    Ok(Envelope { payload, payload_type: PAYLOAD.to_owned(), signatures })
}

/// A Statement can't be signed.
#[derive(Debug, thiserror::Error)]
pub enum StatementError {
    /// A key can't sign.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// It has no canonical form.
    #[error("the statement can't be written: {0}")]
    Form(#[from] JsonRefusal),
}

/// An ECDSA key on P-256, for verifiers that know no Ed25519.
#[derive(Debug)]
pub struct P256Key(EcdsaKeyPair);

impl P256Key {
    /// Makes one. Returns it with its PKCS#8, which is the secret.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn generate() -> Result<(Self, Vec<u8>), SignerError> {
        let none = |_| SignerError("no P-256 key can be made".to_owned());
        let document =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
                .map_err(none)?;
        let bytes = document.as_ref().to_vec();
        Ok((Self::from_pkcs8(&bytes)?, bytes))
    }

    /// Reads one from its PKCS#8.
    ///
    /// # Errors
    /// When it isn't a P-256 key.
    pub fn from_pkcs8(bytes: &[u8]) -> Result<Self, SignerError> {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, bytes)
            .map(Self)
            .map_err(|_| SignerError("it is not a P-256 key in PKCS#8".to_owned()))
    }

    /// The public key as PEM (RFC 5480), as `cosign` and `openssl` read it.
    pub fn public_pem(&self) -> String {
        /// The header of a SubjectPublicKeyInfo for an uncompressed point on P-256.
        const HEADER: [u8; 26] = [
            0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06,
            0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
        ];
        let encoded = STANDARD.encode([&HEADER, self.0.public_key().as_ref()].concat());
        let (first, second) = encoded.split_at_checked(64).unwrap_or((&encoded, ""));
        format!("-----BEGIN PUBLIC KEY-----\n{first}\n{second}\n-----END PUBLIC KEY-----\n")
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        self.0
            .sign(&SystemRandom::new(), message)
            .map(|signature| signature.as_ref().to_vec())
            .map_err(|_| SignerError("the P-256 key can't sign".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use lar_core::audit::note::{KeyKind, KeySigner};

    use super::*;
    use crate::report::samples;

    #[test]
    fn the_encoding_is_that_of_the_specification() {
        // The example of the DSSE protocol's page.
        assert_eq!(
            pae("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn a_statement_names_the_run_and_every_token() {
        let trail = samples::whole();
        let statement = in_toto(&trail, None);
        assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
        assert_eq!(statement["subject"][0]["digest"]["sha256"], trail.run.head.to_string());
        assert_eq!(statement["predicate"]["tokens"].as_array().unwrap().len(), 4);
        assert_eq!(statement["predicate"]["tokens_unused"][0], "config");
    }

    #[test]
    fn openssl_accepts_both_signatures_and_refuses_changed_ones() {
        if Command::new("openssl").arg("version").output().is_err() {
            eprintln!("skipped: `openssl` is not installed");
            return;
        }
        let secret = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
        let signer = KeySigner::new("lar-ledger/test", KeyKind::Ed25519, secret).unwrap();
        let (p256, pkcs8) = P256Key::generate().unwrap();
        assert_eq!(P256Key::from_pkcs8(&pkcs8).unwrap().public_pem(), p256.public_pem());
        let statement = in_toto(&samples::whole(), None);
        let envelope = dsse(&statement, &signer, Some(&p256)).unwrap();
        let home = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = home.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let payload = STANDARD.decode(&envelope.payload).unwrap();
        let good = write("message", &pae(PAYLOAD, &payload));
        let bad = write("changed", &[pae(PAYLOAD, &payload), b" ".to_vec()].concat());
        let header = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
        let der = [header.as_slice(), signer.key().public()].concat();
        let ed25519 = write("ed25519.der", &der);
        let p256_pem = write("p256.pem", p256.public_pem().as_bytes());
        let signature = |index: usize| {
            let bytes = STANDARD.decode(&envelope.signatures[index].sig).unwrap();
            write(&format!("sig{index}"), &bytes)
        };
        let (first, second) = (signature(0), signature(1));
        for (message, holds) in [(&good, true), (&bad, false)] {
            let verified = Command::new("openssl")
                .args(["pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-rawin", "-inkey"])
                .arg(&ed25519)
                .arg("-in")
                .arg(message)
                .arg("-sigfile")
                .arg(&first)
                .output()
                .unwrap();
            assert_eq!(verified.status.success(), holds, "{verified:?}");
            let verified = Command::new("openssl")
                .args(["dgst", "-sha256", "-verify"])
                .arg(&p256_pem)
                .arg("-signature")
                .arg(&second)
                .arg(message)
                .output()
                .unwrap();
            assert_eq!(verified.status.success(), holds, "{verified:?}");
        }
    }
}
