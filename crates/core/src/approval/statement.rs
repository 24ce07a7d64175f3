//! What an approver signs: a statement about one attempt, as the exact bytes of its canonical JSON, in
//! the format of OpenSSH's `ssh-keygen -Y sign` (PROTOCOL.sshsig).

use std::fmt;

use serde::{Deserialize, Serialize};
use ssh_key::public::KeyData;
use ssh_key::{HashAlg, PublicKey, Signature, SshSig};

use super::approvers::ApproverKey;
use crate::id::{AttemptId, RunId};
use crate::json::{self, Digest, JsonRefusal, Limits, canonical};
use crate::time::Timestamp;

/// The namespace of the signatures: what is signed for another purpose is none of ours, and the other
/// way round.
pub const NAMESPACE: &str = "approval@linear-agent-runtime";
/// What the first field of a statement says.
const FORM: &str = "lar-approval/v1";
/// The most bytes that a statement, or a signature, may have.
pub const MOST_BYTES: usize = 4_096;

/// The person was there (FIDO, user presence).
const PRESENT: u8 = 0x01;
/// The person was told apart from others by PIN or finger (FIDO, user verification).
const VERIFIED: u8 = 0x04;
/// What follows the signature of a security key: the flags and a counter of four bytes.
const TRAILER: usize = 5;

/// What an approver says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// It may run.
    Approve,
    /// It may not.
    Deny,
}

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// The form.
    statement: String,
    /// Which ledger: the name of its log.
    pub origin: String,
    /// The run.
    pub run: RunId,
    /// The token.
    pub token: String,
    /// The attempt.
    pub attempt: AttemptId,
    /// SHA-256 of what will run.
    pub action_digest: Digest,
    /// SHA-256 of who may approve and how many must.
    pub policy_digest: Digest,
    /// SHA-256 of the question as it was shown.
    pub shown_digest: Digest,
    /// Yes or no.
    pub decision: Word,
    /// The person, as the policy names them.
    pub approver: String,
    /// Until when a yes holds, by the ledger's clock.
    pub not_after: Timestamp,
    /// 32 hexadecimal digits that no other statement has.
    pub nonce: String,
}

/// What a statement is about, apart from who says it and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Which ledger: the name of its log.
    pub origin: String,
    /// The run.
    pub run: RunId,
    /// The token.
    pub token: String,
    /// The attempt.
    pub attempt: AttemptId,
    /// SHA-256 of what will run.
    pub action: Digest,
    /// SHA-256 of who may approve and how many must.
    pub policy: Digest,
}

/// A statement and the signature beneath it, as they travel and as they are recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    /// The exact text that was signed.
    pub statement: String,
    /// The armoured signature: `-----BEGIN SSH SIGNATURE-----` and so on.
    pub signature: String,
}

/// Why a statement doesn't count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// The bytes are no statement.
    #[error("it is no statement: {0}")]
    NotAStatement(String),
    /// It is about something else.
    #[error("it is about another {0}")]
    OtherSubject(&'static str),
    /// The signature can't be read, or isn't one of this namespace.
    #[error("its signature can't be used: {0}")]
    NotASignature(&'static str),
    /// The key isn't listed.
    #[error("it is signed by a key that isn't listed")]
    UnlistedKey,
    /// The key is another person's than the statement says.
    #[error("it speaks for `{said}` and is signed by a key of `{signed}`")]
    OtherPerson {
        /// Whom the statement names.
        said: String,
        /// Whose key signed.
        signed: String,
    },
    /// The signature doesn't fit the bytes.
    #[error("its signature isn't one of these bytes by `{0}`")]
    Forged(String),
    /// A security key signed without a person.
    #[error("the security key of `{0}` signed without {1}; its PIN or a finger is needed")]
    NoPerson(String, &'static str),
    /// A yes that has run out.
    #[error("the approval of `{0}` ran out at {1}")]
    Expired(String, Timestamp),
    /// Whoever started the run said yes.
    #[error("`{0}` started the run, and the policy wants somebody else")]
    Runner(String),
    /// The same statement came before.
    #[error("the same statement was given before")]
    Replayed,
    /// The same person said so before.
    #[error("`{0}` approved before, and a person counts once")]
    CountedBefore(String),
}

impl Subject {
    /// The statement of this approver about it.
    pub fn statement(
        &self,
        shown: Digest,
        decision: Word,
        approver: &str,
        not_after: Timestamp,
        nonce: [u8; 16],
    ) -> Statement {
        Statement {
            statement: FORM.to_owned(),
            origin: self.origin.clone(),
            run: self.run.clone(),
            token: self.token.clone(),
            attempt: self.attempt,
            action_digest: self.action,
            policy_digest: self.policy,
            shown_digest: shown,
            decision,
            approver: approver.to_owned(),
            not_after,
            nonce: hex::encode(nonce),
        }
    }

    /// Whether a statement is about this, as it was shown at least once.
    pub fn covers(&self, statement: &Statement, shown: &[Digest]) -> Result<(), Flaw> {
        let other = [
            ("ledger", statement.origin != self.origin),
            ("run", statement.run != self.run),
            ("token", statement.token != self.token),
            ("attempt", statement.attempt != self.attempt),
            ("action", statement.action_digest != self.action),
            ("policy", statement.policy_digest != self.policy),
            ("question", !shown.contains(&statement.shown_digest)),
        ];
        match other.iter().find(|(_, other)| *other) {
            Some((what, _)) => Err(Flaw::OtherSubject(what)),
            None => Ok(()),
        }
    }
}

impl Statement {
    /// The exact bytes to sign.
    pub fn to_text(&self) -> Result<String, JsonRefusal> {
        // Canonical JSON is UTF-8 by construction, so nothing is replaced here.
        Ok(String::from_utf8_lossy(&canonical(self)?).into_owned())
    }

    /// Reads the exact bytes; any other spelling of the same is refused.
    pub fn read(text: &str) -> Result<Self, Flaw> {
        let wrong = |what: &str| Flaw::NotAStatement(what.to_owned());
        let limits = Limits { max_bytes: MOST_BYTES, max_depth: 2, null_characters: false };
        json::check(text, &limits).map_err(|error| Flaw::NotAStatement(error.to_string()))?;
        let statement: Self =
            serde_json::from_str(text).map_err(|_| wrong("its fields are others"))?;
        let digits = statement.nonce.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if statement.statement != FORM {
            return Err(wrong("its form is unknown"));
        }
        if statement.nonce.len() != 32 || !digits {
            return Err(wrong("its nonce isn't 32 hexadecimal digits"));
        }
        if statement.to_text().ok().as_deref() != Some(text) {
            return Err(wrong("its bytes are not the canonical form of what they say"));
        }
        Ok(statement)
    }
}

impl Signed {
    /// Whose key signed, and what; the signature is checked against the exact bytes.
    pub fn verify<'k>(
        &self,
        keys: &'k [ApproverKey],
    ) -> Result<(Statement, &'k ApproverKey), Flaw> {
        let statement = Statement::read(&self.statement)?;
        if self.signature.len() > MOST_BYTES {
            return Err(Flaw::NotASignature("it is too long"));
        }
        let signature = SshSig::from_pem(&self.signature)
            .map_err(|_| Flaw::NotASignature("it isn't an SSH signature in its armour"))?;
        if signature.namespace() != NAMESPACE {
            return Err(Flaw::NotASignature("it was made for another purpose (its namespace)"));
        }
        let listed = keys.iter().find(|key| key.key() == signature.public_key());
        let key = listed.ok_or(Flaw::UnlistedKey)?;
        if key.principal() != statement.approver {
            let (said, signed) = (statement.approver, key.principal().to_owned());
            return Err(Flaw::OtherPerson { said, signed });
        }
        let public = PublicKey::new(key.key().clone(), "");
        public
            .verify(NAMESPACE, self.statement.as_bytes(), &signature)
            .map_err(|_| Flaw::Forged(key.principal().to_owned()))?;
        if key.in_hardware() {
            check_person(key, signature.signature())?;
        }
        Ok((statement, key))
    }

    /// Signs a statement with a private key.
    pub fn with(key: &ssh_key::PrivateKey, statement: String) -> Result<Self, ssh_key::Error> {
        let signature = key.sign(NAMESPACE, HashAlg::Sha512, statement.as_bytes())?;
        Ok(Self { statement, signature: signature.to_pem(ssh_key::LineEnding::LF)? })
    }

    /// Joins a statement with a signature of [`to_be_signed`]'s bytes.
    pub fn join(
        statement: String,
        key: KeyData,
        signature: Signature,
    ) -> Result<Self, ssh_key::Error> {
        let signature = SshSig::new(key, NAMESPACE, HashAlg::Sha512, signature)?;
        Ok(Self { statement, signature: signature.to_pem(ssh_key::LineEnding::LF)? })
    }
}

/// The bytes that a key signs for a statement (PROTOCOL.sshsig, "Signed Data").
pub fn to_be_signed(statement: &str) -> Result<Vec<u8>, ssh_key::Error> {
    SshSig::signed_data(NAMESPACE, HashAlg::Sha512, statement.as_bytes())
}

/// A security key must say that a person was there and was told apart. The flags are part of what it
/// signs (PROTOCOL.u2f, "SSH U2F Signatures").
fn check_person(key: &ApproverKey, signature: &Signature) -> Result<(), Flaw> {
    let bytes = signature.as_bytes();
    let flags = bytes.len().checked_sub(TRAILER).and_then(|at| bytes.get(at)).copied();
    let flags = flags.unwrap_or_default();
    let missing = match (flags & PRESENT, flags & VERIFIED) {
        (0, _) => "a touch",
        (_, 0) => "knowing whose finger it was",
        _ => return Ok(()),
    };
    Err(Flaw::NoPerson(key.principal().to_owned(), missing))
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Approve => "approve",
            Self::Deny => "deny",
        })
    }
}
