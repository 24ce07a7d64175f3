//! Keys that sign the log, one an epoch, and their change.

use std::sync::Arc;

use ed25519_dalek::SigningKey;
use lar_core::audit::log::{Certify, NewKey, Signers, Signing};
use lar_core::audit::note::{KeyKind, KeySigner, NoteKey, NoteSigner, SignerError};
use lar_core::json::Digest;
use lar_core::ledger::{Ledger, LedgerError};

use crate::steps::Steps;

/// The same in every process, so that none needs to be kept.
fn secret(epoch: u64) -> SigningKey {
    SigningKey::from_bytes(Digest::of(format!("linearity {epoch}")).as_bytes())
}

/// The key that signs in an epoch.
pub fn key(origin: &str, epoch: u64) -> NoteKey {
    NoteKey::new(origin, KeyKind::Ed25519, secret(epoch).verifying_key()).unwrap()
}

/// A key with a step before and after each signature.
#[derive(Debug)]
struct Watched {
    inner: KeySigner,
    steps: Arc<Steps>,
}

impl NoteSigner for Watched {
    fn key(&self) -> &NoteKey {
        self.inner.key()
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignerError> {
        self.steps.at("sign.before");
        let signature = self.inner.sign(message)?;
        self.steps.at("sign.after");
        Ok(signature)
    }
}

pub fn signers(steps: &Arc<Steps>) -> Signers {
    let steps = Arc::clone(steps);
    Arc::new(move |origin, epoch, _| {
        let inner = KeySigner::new(origin, KeyKind::Ed25519, secret(epoch)).unwrap();
        let signer = Arc::new(Watched { inner, steps: Arc::clone(&steps) });
        Ok(Signing { signer, certificate: None })
    })
}

/// Begins the next epoch. Another process may be quicker; then there is nothing to do.
pub async fn rotate(ledger: &dyn Ledger, steps: &Arc<Steps>) -> Result<(), LedgerError> {
    let Some(log) = ledger.log() else { return Ok(()) };
    let head = log.head().await?;
    let (epoch, within) = (head.epoch + 1, Arc::clone(steps));
    let certify: Certify = Box::new(move |_| {
        within.at("rotate.within");
        Ok(NewKey { key: key(&head.origin, epoch).to_string(), certificate: None })
    });
    steps.at("rotate.before");
    match log.rotate(epoch, certify).await {
        Ok(_) => steps.at("rotate.after"),
        Err(LedgerError::BadRecord(_)) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}
