//! The key that signs a log's heads.

use std::fmt;

use aws_lc_rs::signature::Ed25519KeyPair;
use lar_core::audit::note::{NoteKey, NoteSigner, SignerError};

/// A log's key that is held in memory. It is wiped when it is dropped, and never shown.
///
/// It gives the signatures that [`KeySigner`](lar_core::audit::note::KeySigner) gives, in less than half the time:
/// every commit to a ledger waits for one.
pub struct LogSigner {
    pair: Ed25519KeyPair,
    key: NoteKey,
}

impl LogSigner {
    /// The secret of this key (RFC 8032, section 5.1.5).
    ///
    /// # Errors
    /// When it is another key's.
    pub fn new(key: NoteKey, secret: &[u8; 32]) -> Result<Self, SignerError> {
        let pair = Ed25519KeyPair::from_seed_and_public_key(secret, key.public())
            .map_err(|_| SignerError("its secret is another key's".to_owned()))?;
        Ok(Self { pair, key })
    }
}

impl fmt::Debug for LogSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogSigner({})", self.key)
    }
}

impl NoteSigner for LogSigner {
    fn key(&self) -> &NoteKey {
        &self.key
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignerError> {
        let unsigned = || SignerError("it gave no signature".to_owned());
        let signature = self.pair.try_sign(message).map_err(|_| unsigned())?;
        signature.as_ref().try_into().map_err(|_| unsigned())
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use lar_core::audit::note::{KeyKind, KeySigner};

    use super::*;

    #[test]
    fn it_signs_as_any_other_holder_of_the_key() {
        for seed in 0..32 {
            let secret = SigningKey::from_bytes(&[seed; 32]);
            let other = KeySigner::new("log", KeyKind::Ed25519, secret.clone()).unwrap();
            let signer = LogSigner::new(other.key().clone(), secret.as_bytes()).unwrap();
            for message in [String::new(), "lar-ledger/x\n7\n".repeat(usize::from(seed))] {
                let (one, two) = (signer.sign(message.as_bytes()), other.sign(message.as_bytes()));
                assert_eq!(one.unwrap(), two.unwrap());
            }
            assert!(LogSigner::new(other.key().clone(), &[99; 32]).is_err());
            let shown = format!("{signer:?}");
            assert_eq!(shown, format!("LogSigner({})", other.key()));
        }
    }
}
