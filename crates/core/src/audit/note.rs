//! Signed notes (<https://c2sp.org/signed-note>): a text with lines of signatures beneath it, that
//! `note` implementations everywhere read. Ed25519 alone, checked strictly (RFC 8032).
//!
//! The text of a note means nothing until a signature by a key that the reader already knows was
//! checked.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _};
use sha2::{Digest as _, Sha256};

/// Begins each line of a signature.
const DASH: &str = "— ";
/// The most bytes that a note may have.
const MOST_BYTES: usize = 65_536;
/// The most signatures that are looked at.
const MOST_SIGNATURES: usize = 64;

/// What a key's signatures cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// The note's text: the log's own signature.
    Ed25519,
    /// The note's text and a time: a witness's cosignature (<https://c2sp.org/tlog-cosignature>).
    Cosignature,
}

impl KeyKind {
    fn byte(self) -> u8 {
        match self {
            Self::Ed25519 => 1,
            Self::Cosignature => 4,
        }
    }
}

/// A key that notes are checked with, as `NAME+ID+BASE64`.
#[derive(Clone, PartialEq, Eq)]
pub struct NoteKey {
    name: String,
    id: [u8; 4],
    kind: KeyKind,
    key: ed25519_dalek::VerifyingKey,
}

/// What is wrong with a note, a key or a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// It isn't a key.
    #[error("it is not a key of the form `NAME+ID+BASE64`; `lar keys show` prints such keys")]
    Key,
    /// The key's name holds what none may hold.
    #[error("a key's name has at least one character, and neither spaces nor `+`")]
    Name,
    /// The key's algorithm isn't known here.
    #[error("the key is of another kind than Ed25519")]
    Kind,
    /// It isn't a note.
    #[error("it is not a signed note: text, an empty line, lines of signatures")]
    Form,
    /// The text isn't that of a checkpoint.
    #[error("it is not a checkpoint: a line of origin, one of size, one of the root")]
    Checkpoint,
}

/// What a note's signatures say about one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signed {
    /// It signed, and at what time when it is a witness's key (seconds since 1970).
    Valid {
        /// The time that the witness states.
        time: Option<u64>,
    },
    /// It is named beneath the note, and what stands there isn't its signature.
    Broken,
    /// It isn't named beneath the note.
    Absent,
}

impl NoteKey {
    /// A key by its parts.
    pub fn new(
        name: &str,
        kind: KeyKind,
        key: ed25519_dalek::VerifyingKey,
    ) -> Result<Self, NoteError> {
        check_name(name)?;
        let hash = Sha256::new()
            .chain_update(name)
            .chain_update([b'\n', kind.byte()])
            .chain_update(key.as_bytes())
            .finalize();
        let id = hash.first_chunk().copied().ok_or(NoteError::Key)?;
        Ok(Self { name: name.to_owned(), id, kind, key })
    }

    /// Its name: a log's key is named like the log's origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its signatures cover.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The first four bytes of the SHA-256 of name, kind and key.
    pub fn id(&self) -> [u8; 4] {
        self.id
    }

    /// The 32 bytes of the public key.
    pub fn public(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// The same key under another name or of another kind.
    pub fn renamed(&self, name: &str, kind: KeyKind) -> Result<Self, NoteError> {
        Self::new(name, kind, self.key)
    }

    /// Whether this is the key's signature of `message`, as the bare 64 bytes.
    pub fn verify(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.key.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
    }

    /// What the note says about this key. Signatures of other keys are passed over.
    pub fn check(&self, note: &Note) -> Signed {
        let mut found = Signed::Absent;
        for line in &note.signatures {
            if line.name != self.name || line.id != self.id {
                continue;
            }
            match self.check_one(&note.text, &line.signature) {
                Some(valid) => return valid,
                None => found = Signed::Broken,
            }
        }
        found
    }

    fn check_one(&self, text: &str, bytes: &[u8]) -> Option<Signed> {
        match self.kind {
            KeyKind::Ed25519 => {
                let signature = bytes.try_into().ok()?;
                self.verify(text.as_bytes(), signature).then_some(Signed::Valid { time: None })
            }
            KeyKind::Cosignature => {
                let (time, signature) = bytes.split_first_chunk::<8>()?;
                let time = u64::from_be_bytes(*time);
                let signature = signature.try_into().ok()?;
                self.verify(cosigned(time, text).as_bytes(), signature)
                    .then_some(Signed::Valid { time: Some(time) })
            }
        }
    }
}

/// What a witness signs: the note's text under a line with the time.
pub fn cosigned(time: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

fn check_name(name: &str) -> Result<(), NoteError> {
    let bad = |c: char| c.is_whitespace() || c.is_control() || c == '+';
    if name.is_empty() || name.len() > 256 || name.contains(bad) {
        return Err(NoteError::Name);
    }
    Ok(())
}

impl fmt::Display for NoteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![self.kind.byte()];
        bytes.extend_from_slice(self.key.as_bytes());
        write!(f, "{}+{}+{}", self.name, hex::encode(self.id), STANDARD.encode(bytes))
    }
}

impl fmt::Debug for NoteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NoteKey({self})")
    }
}

impl FromStr for NoteKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::Key);
        };
        let bytes = STANDARD.decode(key).map_err(|_| NoteError::Key)?;
        let Some((kind, key)) = bytes.split_first() else {
            return Err(NoteError::Key);
        };
        let kind = match kind {
            1 => KeyKind::Ed25519,
            4 => KeyKind::Cosignature,
            _ => return Err(NoteError::Kind),
        };
        let key = key.try_into().map_err(|_| NoteError::Key)?;
        let key = ed25519_dalek::VerifyingKey::from_bytes(key).map_err(|_| NoteError::Key)?;
        let made = Self::new(name, kind, key)?;
        if hex::encode(made.id) != id {
            return Err(NoteError::Key);
        }
        Ok(made)
    }
}

impl serde::Serialize for NoteKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for NoteKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// One signature beneath a note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteSignature {
    /// The key's name.
    pub name: String,
    /// The key's id.
    pub id: [u8; 4],
    /// The signature, in the form of the key's kind.
    pub signature: Vec<u8>,
}

/// A text and the signatures beneath it. That it was read says nothing about who signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

impl Note {
    /// Reads a note.
    pub fn parse(note: &str) -> Result<Self, NoteError> {
        let hidden = |c: char| c < ' ' && c != '\n';
        if note.len() > MOST_BYTES || note.contains(hidden) {
            return Err(NoteError::Form);
        }
        let (text, below) = note.rsplit_once("\n\n").ok_or(NoteError::Form)?;
        let lines = below.strip_suffix('\n').ok_or(NoteError::Form)?;
        let signatures: Vec<_> = lines
            .split('\n')
            .take(MOST_SIGNATURES + 1)
            .map(NoteSignature::parse)
            .collect::<Result<_, _>>()?;
        if signatures.len() > MOST_SIGNATURES {
            return Err(NoteError::Form);
        }
        Ok(Self { text: format!("{text}\n"), signatures })
    }

    /// Signs a text, which must end with a newline and hold no control character beside newlines. The
    /// signer answers for it that the signature fits its key; [`NoteKey::check`] looks.
    pub fn sign(text: String, signer: &dyn NoteSigner) -> Result<Self, SignerError> {
        let key = signer.key();
        let signature = signer.sign(text.as_bytes())?;
        let line =
            NoteSignature { name: key.name.clone(), id: key.id, signature: signature.to_vec() };
        Ok(Self { text, signatures: vec![line] })
    }

    /// The text, which ends with a newline.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signatures, unchecked.
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// Puts another signature beneath.
    pub fn add(&mut self, signature: NoteSignature) {
        if !self.signatures.contains(&signature) {
            self.signatures.push(signature);
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| writeln!(f, "{signature}"))
    }
}

impl NoteSignature {
    /// Reads one line.
    pub fn parse(line: &str) -> Result<Self, NoteError> {
        let (name, rest) =
            line.strip_prefix(DASH).and_then(|line| line.split_once(' ')).ok_or(NoteError::Form)?;
        check_name(name)?;
        let bytes = STANDARD.decode(rest).map_err(|_| NoteError::Form)?;
        let (id, signature) = bytes.split_first_chunk::<4>().ok_or(NoteError::Form)?;
        Ok(Self { name: name.to_owned(), id: *id, signature: signature.to_vec() })
    }
}

impl fmt::Display for NoteSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&self.id, self.signature.as_slice()].concat();
        write!(f, "{DASH}{} {}", self.name, STANDARD.encode(bytes))
    }
}

/// Whatever signs for a key: the key itself, or a program that holds it.
///
/// A signer that fails stops the ledger: what can't be signed isn't written.
pub trait NoteSigner: Send + Sync + fmt::Debug {
    /// The key that its signatures are checked with.
    fn key(&self) -> &NoteKey;

    /// The Ed25519 signature of `message`. It fits the key: whoever asks a program for it checks what that
    /// gives, since checking takes three times as long as signing and every commit of a ledger is signed.
    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignerError>;
}

/// Nothing was signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the signing key can't be used: {0}")]
pub struct SignerError(pub String);

/// A signing key that is held in memory. It is wiped when it is dropped, and never shown.
pub struct KeySigner {
    secret: ed25519_dalek::SigningKey,
    key: NoteKey,
}

impl KeySigner {
    /// The key with this name.
    pub fn new(
        name: &str,
        kind: KeyKind,
        secret: ed25519_dalek::SigningKey,
    ) -> Result<Self, NoteError> {
        let key = NoteKey::new(name, kind, secret.verifying_key())?;
        Ok(Self { secret, key })
    }

    /// A witness's signature of a note's text at a time (seconds since 1970).
    pub fn cosign(&self, text: &str, time: u64) -> NoteSignature {
        let signature = self.secret.sign(cosigned(time, text).as_bytes());
        let bytes = [time.to_be_bytes().as_slice(), &signature.to_bytes()].concat();
        NoteSignature { name: self.key.name.clone(), id: self.key.id, signature: bytes }
    }
}

impl fmt::Debug for KeySigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeySigner({})", self.key)
    }
}

impl NoteSigner for KeySigner {
    fn key(&self) -> &NoteKey {
        &self.key
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignerError> {
        Ok(self.secret.sign(message).to_bytes())
    }
}
