//! A key that another program holds: a KMS's client, a TPM's tool, an agent.
//!
//! The program gets the exact bytes to sign on its standard input and prints the 64 bytes of the
//! Ed25519 signature in base64. Every signature is checked before it is used.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lar_core::audit::note::{KeyKind, NoteKey, NoteSigner, SignerError};
use serde::{Deserialize, Serialize};

use super::{KeyError, file};

/// How long the program may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most bytes of its answer that are read.
const MOST_BYTES: u64 = 4096;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stated {
    /// The program by its absolute path, and its arguments.
    command: Vec<String>,
    /// The public key, as `NAME+ID+BASE64`.
    key: NoteKey,
}

/// A program that signs.
#[derive(Debug)]
pub struct ExternalSigner {
    command: Vec<String>,
    key: NoteKey,
}

impl ExternalSigner {
    /// The signer that a file states; `None` when there is no file.
    pub(super) fn read(path: &Path, origin: &str) -> Result<Option<Self>, KeyError> {
        let Some(text) = file::read_text(path)? else {
            return Ok(None);
        };
        let stated: Stated = toml::from_str(&text).map_err(|error| {
            file::error(path, &format!("it can't be read: {}", error.message()))
        })?;
        if stated.key.name() != origin {
            return Err(file::error(path, "its key is named for another ledger"));
        }
        Self::of(stated.command, stated.key).map(Some)
    }

    /// A signer by its command and its public key (32 bytes in base64, or in hexadecimal digits).
    pub(super) fn declare(
        command: &[String],
        public: Option<&str>,
        origin: &str,
    ) -> Result<Self, KeyError> {
        let public = public.unwrap_or_default();
        let bytes = hex::decode(public).or_else(|_| STANDARD.decode(public)).unwrap_or_default();
        let key = bytes
            .try_into()
            .ok()
            .and_then(|bytes: [u8; 32]| ed25519_dalek::VerifyingKey::from_bytes(&bytes).ok());
        let key = key.ok_or(KeyError::Signer(SignerError(
            "`--public` must be the program's Ed25519 key: 32 bytes in base64 or hexadecimal"
                .into(),
        )))?;
        let signer = Self::of(command.to_vec(), NoteKey::new(origin, KeyKind::Ed25519, key)?)?;
        // A program that can't sign now would stop the ledger later.
        signer.sign(b"lar keys: does this program sign?\n")?;
        Ok(signer)
    }

    pub(super) fn text(command: &[String], key: &NoteKey) -> String {
        let stated = Stated { command: command.to_vec(), key: key.clone() };
        toml::to_string(&stated).unwrap_or_default()
    }

    fn of(command: Vec<String>, key: NoteKey) -> Result<Self, KeyError> {
        let absolute = command.first().is_some_and(|program| Path::new(program).is_absolute());
        if !absolute {
            let why = "name the signing program by its absolute path".to_owned();
            return Err(KeyError::Signer(SignerError(why)));
        }
        Ok(Self { command, key })
    }

    fn ask(&self, message: &[u8]) -> Result<[u8; 64], String> {
        let (program, arguments) = self.command.split_first().ok_or("no program is named")?;
        let mut child = Command::new(program)
            .args(arguments)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("`{program}` can't be started ({})", error.kind()))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (tell, told) = mpsc::channel();
        let message = message.to_vec();
        std::thread::spawn(move || {
            // A program that doesn't read its input may still answer.
            if let Some(mut stdin) = stdin {
                let _ = stdin.write_all(&message);
            }
            let mut answer = String::new();
            if let Some(stdout) = stdout {
                let _ = stdout.take(MOST_BYTES).read_to_string(&mut answer);
            }
            let _ = tell.send(answer);
        });
        let answer = told.recv_timeout(PATIENCE);
        if answer.is_err() {
            let _ = child.kill();
        }
        let status = child.wait().map_err(|error| error.kind().to_string())?;
        let answer = answer.map_err(|_| format!("`{program}` gave no answer in 10 seconds"))?;
        if !status.success() {
            return Err(format!("`{program}` ended with {status}"));
        }
        let bytes = STANDARD.decode(answer.trim()).unwrap_or_default();
        bytes
            .try_into()
            .map_err(|_| format!("`{program}` printed no 64 bytes in base64, which a signature is"))
    }
}

impl NoteSigner for ExternalSigner {
    fn key(&self) -> &NoteKey {
        &self.key
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignerError> {
        let signature = self.ask(message).map_err(SignerError)?;
        if self.key.verify(message, &signature) {
            Ok(signature)
        } else {
            Err(SignerError("the program's signature isn't that of the key that is stated".into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Keys;

    const ORIGIN: &str = "lar-ledger/test";

    #[test]
    fn a_program_signs_and_what_it_says_is_checked() {
        let Ok(found) = std::process::Command::new("openssl").arg("version").output() else {
            eprintln!("skipped: `openssl` plays the signing program, and it is not installed");
            return;
        };
        assert!(found.status.success());
        let home = tempfile::tempdir().unwrap();
        let pem = home.path().join("kms.pem");
        let root = super::file::new_root(&pem, "kms").unwrap();
        let public = hex::encode(lar_core::audit::note::NoteSigner::key(&root).public());
        let script = home.path().join("sign");
        // `-rawin` of this release wants a file, so the message is put into one.
        let text = format!(
            "#!/bin/sh\nPATH=/usr/bin:/bin\nt=$(mktemp)\ncat >\"$t\"\nopenssl pkeyutl -sign -rawin -in \"$t\" -inkey {} | base64 -w0\nrm -f \"$t\"\n",
            pem.display()
        );
        std::fs::write(&script, text).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(&script, mode).unwrap();
        let command = [script.to_string_lossy().into_owned()];
        let keys = Keys::within(&home.path().join("keys"), ORIGIN);
        let line = keys.prepare(1, 0, Some(&command), Some(&public), None).unwrap();
        assert!(line.external);
        let signer = keys.signing(1, true).unwrap().signer;
        let signature = signer.sign(b"message").unwrap();
        assert!(signer.key().verify(b"message", &signature));

        for (command, why) in [
            (vec!["true".to_owned()], "absolute path"),
            (vec!["/bin/true".to_owned()], "no 64 bytes"),
            (vec!["/bin/false".to_owned()], "ended with"),
            (vec!["/nowhere/sign".to_owned()], "can't be started"),
        ] {
            let error = keys.prepare(2, 0, Some(&command), Some(&public), None).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        }
        let other = hex::encode([9u8; 32]);
        let error = keys.prepare(2, 0, Some(&command), Some(&other), None).unwrap_err();
        assert!(error.to_string().contains("signing key"), "{error}");
        assert_eq!(keys.list().unwrap().len(), 1, "nothing that failed is left");
    }
}
