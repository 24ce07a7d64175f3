//! The keys that sign a ledger's checkpoints: made on first use, kept apart from the ledger, held by
//! this process or by a program that signs in its stead.
//!
//! They lie in the state directory, in a directory of mode 0700 with files of mode 0600, where no
//! token's scope may reach. A ledger has its own key for each epoch.

mod external;
mod file;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lar_core::audit::epoch::Epoch;
use lar_core::audit::log::Signing;
use lar_core::audit::note::{KeyKind, KeySigner, Note, NoteError, NoteKey, NoteSigner};
use lar_ledger::LogSigner;

use crate::export::P256Key;

pub use external::{ExternalSigner, Holder};
pub use file::{new_root, read_root};
pub(crate) use file::{read_private_key, write_private_key};

/// The directory in which a ledger's keys lie.
#[derive(Debug, Clone)]
pub struct Keys {
    directory: PathBuf,
    origin: String,
}

/// A key can't be had, made or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file of it can't be read or written.
    #[error("the key file `{path}`: {why}")]
    File {
        /// The file.
        path: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers, so that no key can be made")]
    NoRandom,
    /// There is no place for keys.
    #[error(
        "neither `XDG_STATE_HOME` nor `HOME` is an absolute path, so that there is no place for keys"
    )]
    NoStateDirectory,
    /// A name or a key has no form that it could take.
    #[error("{0}")]
    Note(#[from] NoteError),
    /// The signing program failed.
    #[error(transparent)]
    Signer(#[from] lar_core::audit::note::SignerError),
}

/// What is known of a ledger's keys.
#[derive(Debug, Clone)]
pub struct KeyLine {
    /// Counted from 1.
    pub epoch: u64,
    /// The public key.
    pub key: NoteKey,
    /// The certificate by an offline root, as a signed note.
    pub certificate: Option<String>,
    /// Whether a program holds the secret.
    pub external: bool,
}

impl Keys {
    /// The keys of the ledger with this origin, in the user's state directory; where there is none, in
    /// a directory beside the ledger's file.
    ///
    /// # Errors
    /// When there is neither.
    pub fn of(origin: &str, ledger: Option<&Path>) -> Result<Self, KeyError> {
        let state = crate::compose::state_directory().map(|state| state.join("lar/keys"));
        let beside = || ledger.and_then(Path::parent).map(|beside| beside.join("keys"));
        let directory = state.or_else(beside).ok_or(KeyError::NoStateDirectory)?;
        Ok(Self::within(&directory, origin))
    }

    /// The keys of the ledger with this origin, in another directory.
    pub fn within(directory: &Path, origin: &str) -> Self {
        // An origin may hold a slash; a file's name may not.
        let name: String =
            origin.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        Self { directory: directory.join(name), origin: origin.to_owned() }
    }

    /// Where they lie.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Every epoch's key, oldest first.
    ///
    /// # Errors
    /// When a file can't be read, or isn't a key.
    pub fn list(&self) -> Result<Vec<KeyLine>, KeyError> {
        let mut lines = Vec::new();
        for epoch in 1.. {
            let external = ExternalSigner::read(&self.path(epoch, "toml"), &self.origin)?;
            let key = match &external {
                Some(signer) => signer.key().clone(),
                None => match file::read(&self.path(epoch, "pem"))? {
                    Some(secret) => {
                        NoteKey::new(&self.origin, KeyKind::Ed25519, secret.verifying_key())?
                    }
                    None => break,
                },
            };
            let certificate = file::read_text(&self.path(epoch, "note"))?;
            lines.push(KeyLine { epoch, key, certificate, external: external.is_some() });
        }
        Ok(lines)
    }

    /// Whatever signs in an epoch. Where `first` says that none has signed in it yet, the first epoch's
    /// key is made when there is none.
    ///
    /// # Errors
    /// When no key can be read or made. The ledger then takes nothing.
    pub fn signing(&self, epoch: u64, first: bool) -> Result<Signing, KeyError> {
        let certificate = file::read_text(&self.path(epoch, "note"))?;
        if let Some(signer) = ExternalSigner::read(&self.path(epoch, "toml"), &self.origin)? {
            return Ok(Signing { signer: Arc::new(signer), certificate });
        }
        let path = self.path(epoch, "pem");
        if epoch == 1 && first && !path.exists() {
            file::create(&path)?;
        }
        let secret = file::read(&path)?;
        let secret = secret.ok_or_else(|| {
            file::error(
                &path,
                "it doesn't exist; copy it from the host on which it was made, or begin an epoch with \
                 `lar keys rotate`",
            )
        })?;
        let key = NoteKey::new(&self.origin, KeyKind::Ed25519, secret.verifying_key())?;
        let signer = LogSigner::new(key, secret.as_bytes())?;
        Ok(Signing { signer: Arc::new(signer), certificate })
    }

    /// The P-256 key for verifiers that know no Ed25519, where one was made.
    ///
    /// # Errors
    /// When the file can't be read, or isn't such a key.
    pub fn p256(&self) -> Result<Option<P256Key>, KeyError> {
        match file::read_bytes(&self.directory.join("p256.der"))? {
            Some(bytes) => Ok(Some(P256Key::from_pkcs8(&bytes)?)),
            None => Ok(None),
        }
    }

    /// Makes the P-256 key.
    ///
    /// # Errors
    /// When there is one already, or it can't be written.
    pub fn make_p256(&self) -> Result<P256Key, KeyError> {
        let (key, secret) = P256Key::generate()?;
        file::write(&self.directory.join("p256.der"), &secret)?;
        Ok(key)
    }

    /// Makes the key of an epoch that has not begun yet, or takes the one that a program holds, and
    /// certifies it with the root where one is given. Until the ledger takes the epoch up, the one
    /// before goes on, and this may be done again.
    ///
    /// # Errors
    /// When the key or its certificate can't be written.
    pub fn prepare(
        &self,
        epoch: u64,
        from: u64,
        external: Option<&Holder>,
        public: Option<&str>,
        root: Option<&KeySigner>,
    ) -> Result<KeyLine, KeyError> {
        let (key, secret) = match (external, public) {
            (Some(holder), public) => {
                (ExternalSigner::declare(holder, public, &self.origin)?.key().clone(), None)
            }
            _ => {
                let secret = file::generate()?;
                let key = NoteKey::new(&self.origin, KeyKind::Ed25519, secret.verifying_key())?;
                (key, Some(secret))
            }
        };
        let certificate = match root {
            Some(root) => {
                let origin = self.origin.clone();
                let text = Epoch { origin, number: epoch, from, key: key.clone() }.text();
                Some(Note::sign(text, root)?.to_string())
            }
            None => None,
        };
        for extension in ["note", "pem", "toml"] {
            file::remove(&self.path(epoch, extension))?;
        }
        if let Some(certificate) = &certificate {
            file::write(&self.path(epoch, "note"), certificate.as_bytes())?;
        }
        match (&secret, external) {
            (Some(secret), _) => file::write_key(&self.path(epoch, "pem"), secret)?,
            (None, Some(holder)) => {
                let text = ExternalSigner::text(holder, &key);
                file::write(&self.path(epoch, "toml"), text.as_bytes())?;
            }
            (None, None) => {}
        }
        Ok(KeyLine { epoch, key, certificate, external: secret.is_none() })
    }

    fn path(&self, epoch: u64, extension: &str) -> PathBuf {
        self.directory.join(format!("epoch-{epoch}.{extension}"))
    }
}
