//! Signing with SSH keys: by an ssh-agent, or with a key from a file.
//!
//! The agent's protocol is four messages (draft-ietf-sshm-ssh-agent, sections 3.2 and 3.6); the client
//! crates that speak it stand on another generation of the ciphers, and would bring all of them twice.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use lar_core::approval::{ApproverKey, Signed, Statement, to_be_signed};
use secrecy::{ExposeSecret as _, SecretString};
use ssh_key::encoding::{Decode, Encode};
use ssh_key::{PrivateKey, Signature};

const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
/// The largest answer that is read; OpenSSH's agent sends no larger ones.
const MOST_BYTES: usize = 256 << 10;
/// How long an answer may take: a person may have to touch a security key.
const PATIENCE: Duration = Duration::from_secs(120);
/// The largest key file.
const MOST_FILE: u64 = 64 << 10;

/// Why nothing can be signed.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// There is no agent.
    #[error(
        "no ssh-agent can be reached ({0}); start one and `ssh-add` the key, or name a file with `--key`"
    )]
    NoAgent(String),
    /// The agent refused.
    #[error("the ssh-agent refused to sign; unlock it, or confirm with the security key")]
    Refused,
    /// The agent said something else than it should.
    #[error("the ssh-agent's answer can't be understood")]
    NotAnAgent,
    /// The file can't be used.
    #[error("the key in `{path}` can't be used: {why}")]
    File {
        /// The file.
        path: String,
        /// Why, and what would do.
        why: String,
    },
    /// The key can't make this signature.
    #[error("the key can't sign this")]
    CannotSign,
}

/// An ssh-agent.
#[derive(Debug)]
pub struct Agent {
    stream: UnixStream,
}

impl Agent {
    /// The agent that `SSH_AUTH_SOCK` names.
    pub fn from_environment() -> Result<Self, SshError> {
        let path = std::env::var_os("SSH_AUTH_SOCK").filter(|path| !path.is_empty());
        let path =
            path.ok_or_else(|| SshError::NoAgent("`SSH_AUTH_SOCK` is not set".to_owned()))?;
        Self::connect(Path::new(&path))
    }

    /// The agent behind this socket.
    pub fn connect(path: &Path) -> Result<Self, SshError> {
        let failed = |error: std::io::Error| SshError::NoAgent(error.kind().to_string());
        let stream = UnixStream::connect(path).map_err(failed)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
        Ok(Self { stream })
    }

    /// Those of these keys that the agent holds.
    pub fn holds<'k>(&mut self, keys: &'k [ApproverKey]) -> Result<Vec<&'k ApproverKey>, SshError> {
        let answer = self.ask(REQUEST_IDENTITIES, &[], IDENTITIES_ANSWER)?;
        let mut rest = answer.as_slice();
        let unread = |_| SshError::NotAnAgent;
        let count = u32::decode(&mut rest).map_err(unread)?;
        let mut held = Vec::new();
        for _ in 0..count {
            held.push(Vec::<u8>::decode(&mut rest).map_err(unread)?);
            // The comment is whatever somebody wrote.
            Vec::<u8>::decode(&mut rest).map_err(unread)?;
        }
        let is_held =
            |key: &&ApproverKey| key.key().encode_vec().is_ok_and(|blob| held.contains(&blob));
        Ok(keys.iter().filter(is_held).collect())
    }

    /// Has a statement signed.
    pub fn sign(&mut self, statement: &Statement, key: &ApproverKey) -> Result<Signed, SshError> {
        let text = statement.to_text().map_err(|_| SshError::CannotSign)?;
        let data = to_be_signed(&text).map_err(|_| SshError::CannotSign)?;
        let blob = key.key().encode_vec().map_err(|_| SshError::CannotSign)?;
        let mut payload = Vec::new();
        let written = blob
            .encode(&mut payload)
            .and_then(|()| data.encode(&mut payload))
            .and_then(|()| 0u32.encode(&mut payload));
        written.map_err(|_| SshError::CannotSign)?;
        let answer = self.ask(SIGN_REQUEST, &payload, SIGN_RESPONSE)?;
        let mut rest = answer.as_slice();
        let signature = Vec::<u8>::decode(&mut rest).map_err(|_| SshError::NotAnAgent)?;
        let signature =
            Signature::decode(&mut signature.as_slice()).map_err(|_| SshError::NotAnAgent)?;
        Signed::join(text, key.key().clone(), signature).map_err(|_| SshError::CannotSign)
    }

    fn ask(&mut self, kind: u8, payload: &[u8], wanted: u8) -> Result<Vec<u8>, SshError> {
        let failed = |error: std::io::Error| SshError::NoAgent(error.kind().to_string());
        let length = u32::try_from(payload.len() + 1).map_err(|_| SshError::CannotSign)?;
        let mut message = length.to_be_bytes().to_vec();
        message.push(kind);
        message.extend_from_slice(payload);
        self.stream.write_all(&message).map_err(failed)?;
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).map_err(failed)?;
        let length = u32::from_be_bytes(length) as usize;
        if length == 0 || length > MOST_BYTES {
            return Err(SshError::NotAnAgent);
        }
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer).map_err(failed)?;
        let kind = answer.remove(0);
        if kind == wanted { Ok(answer) } else { Err(SshError::Refused) }
    }
}

/// A key from a file.
#[derive(Debug)]
pub struct KeyFile {
    path: String,
    key: PrivateKey,
}

impl KeyFile {
    /// Reads a private key in OpenSSH's format.
    pub fn read(path: &Path) -> Result<Self, SshError> {
        let shown = path.display().to_string();
        let wrong = |why: &str| SshError::File { path: shown.clone(), why: why.to_owned() };
        let file = std::fs::File::open(path).map_err(|error| wrong(&error.kind().to_string()))?;
        let mut text = zeroize::Zeroizing::new(String::new());
        file.take(MOST_FILE)
            .read_to_string(&mut text)
            .map_err(|_| wrong("it is no text; name the private key's file"))?;
        let key = PrivateKey::from_openssh(text.as_bytes()).map_err(|_| {
            wrong("it is no private key in OpenSSH's format; name the file without `.pub`")
        })?;
        Ok(Self { path: shown, key })
    }

    /// Whether a passphrase is needed.
    pub fn is_encrypted(&self) -> bool {
        self.key.is_encrypted()
    }

    /// Opens it with its passphrase.
    pub fn unlock(self, passphrase: &SecretString) -> Result<Self, SshError> {
        let Self { path, key } = self;
        match key.decrypt(passphrase.expose_secret()) {
            Ok(key) => Ok(Self { path, key }),
            Err(_) => Err(SshError::File { path, why: "the passphrase is another".to_owned() }),
        }
    }

    /// Which of these keys it is.
    pub fn of<'k>(&self, keys: &'k [ApproverKey]) -> Option<&'k ApproverKey> {
        keys.iter().find(|key| key.key() == self.key.public_key().key_data())
    }

    /// Signs a statement.
    pub fn sign(&self, statement: &Statement, key: &ApproverKey) -> Result<Signed, SshError> {
        if key.in_hardware() {
            let why = "it lies in a security key; `ssh-add` it and sign through the ssh-agent";
            return Err(SshError::File { path: self.path.clone(), why: why.to_owned() });
        }
        let text = statement.to_text().map_err(|_| SshError::CannotSign)?;
        let signature = Signed::with(&self.key, text);
        signature.map_err(|_| SshError::CannotSign)
    }
}
