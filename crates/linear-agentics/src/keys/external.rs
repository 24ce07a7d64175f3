//! A key that another program holds: a KMS's client, a TPM's tool, an agent.
//!
//! Either the program is started for each signature: it gets the exact bytes to sign on its standard input
//! and prints the 64 bytes of the Ed25519 signature in base64. Or it is there already and listens on a Unix
//! socket: each signature is a connection, in which it reads the bytes to their end, writes the same answer
//! and closes. Every signature is checked before it is used.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
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

/// How the program that holds a key is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// It is started: its absolute path, and its arguments.
    Command(Vec<String>),
    /// It listens on the Unix socket at this absolute path.
    Socket(PathBuf),
}

/// One of the first two.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stated {
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    socket: Option<PathBuf>,
    /// The public key, as `NAME+ID+BASE64`.
    key: NoteKey,
}

/// A program that signs.
#[derive(Debug)]
pub struct ExternalSigner {
    holder: Holder,
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
        let holder = match (stated.command, stated.socket) {
            (Some(command), None) => Holder::Command(command),
            (None, Some(socket)) => Holder::Socket(socket),
            _ => return Err(file::error(path, "it names either a `command` or a `socket`")),
        };
        Self::of(holder, stated.key).map(Some)
    }

    /// A signer by how it is reached and its public key (32 bytes in base64, or in hexadecimal digits).
    pub(super) fn declare(
        holder: &Holder,
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
        let signer = Self::of(holder.clone(), NoteKey::new(origin, KeyKind::Ed25519, key)?)?;
        // A program that can't sign now would stop the ledger later.
        signer.sign(b"lar keys: does this program sign?\n")?;
        Ok(signer)
    }

    pub(super) fn text(holder: &Holder, key: &NoteKey) -> String {
        let (command, socket) = match holder.clone() {
            Holder::Command(command) => (Some(command), None),
            Holder::Socket(socket) => (None, Some(socket)),
        };
        let stated = Stated { command, socket, key: key.clone() };
        toml::to_string(&stated).unwrap_or_default()
    }

    fn of(holder: Holder, key: NoteKey) -> Result<Self, KeyError> {
        let absolute = match &holder {
            Holder::Command(command) => {
                command.first().is_some_and(|program| Path::new(program).is_absolute())
            }
            Holder::Socket(path) => path.is_absolute(),
        };
        if !absolute {
            let why = "name the signing program, or its socket, by its absolute path".to_owned();
            return Err(KeyError::Signer(SignerError(why)));
        }
        Ok(Self { holder, key })
    }

    fn ask(&self, message: &[u8]) -> Result<[u8; 64], String> {
        let (who, answer) = match &self.holder {
            Holder::Command(command) => {
                let (program, arguments) = command.split_first().ok_or("no program is named")?;
                (program.clone(), start(program, arguments, message)?)
            }
            Holder::Socket(path) => (path.display().to_string(), connect(path, message)?),
        };
        let bytes = STANDARD.decode(answer.trim()).unwrap_or_default();
        bytes
            .try_into()
            .map_err(|_| format!("`{who}` gave no 64 bytes in base64, which a signature is"))
    }
}

/// Has the program that listens there sign.
fn connect(path: &Path, message: &[u8]) -> Result<String, String> {
    let (tell, told) = mpsc::channel();
    let (place, message) = (path.to_owned(), message.to_vec());
    // A program that doesn't take connections would be waited for as long as it lives.
    std::thread::spawn(move || {
        let ask = || -> io::Result<String> {
            let mut stream = UnixStream::connect(&place)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            stream.write_all(&message)?;
            stream.shutdown(Shutdown::Write)?;
            let mut answer = String::new();
            stream.take(MOST_BYTES).read_to_string(&mut answer)?;
            Ok(answer)
        };
        let _ = tell.send(ask());
    });
    let shown = path.display();
    let answer = told.recv_timeout(PATIENCE);
    answer
        .map_err(|_| format!("the program at `{shown}` gave no answer in 10 seconds"))?
        .map_err(|error| format!("the program at `{shown}` can't be asked ({})", error.kind()))
}

/// Starts the program and has it sign.
fn start(program: &str, arguments: &[String], message: &[u8]) -> Result<String, String> {
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
    Ok(answer)
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
    use super::super::{Holder, Keys};

    const ORIGIN: &str = "lar-ledger/test";

    /// A script that signs as a program would that holds the key: its directory, itself, the public key.
    fn signing_script() -> Option<(tempfile::TempDir, std::path::PathBuf, String)> {
        let Ok(found) = std::process::Command::new("openssl").arg("version").output() else {
            eprintln!("skipped: `openssl` plays the signing program, and it is not installed");
            return None;
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
        Some((home, script, public))
    }

    #[test]
    fn a_program_signs_and_what_it_says_is_checked() {
        let Some((home, script, public)) = signing_script() else { return };
        let command = Holder::Command(vec![script.to_string_lossy().into_owned()]);
        let keys = Keys::within(&home.path().join("keys"), ORIGIN);
        let line = keys.prepare(1, 0, Some(&command), Some(&public), None).unwrap();
        assert!(line.external);
        let signer = keys.signing(1, true).unwrap().signer;
        let signature = signer.sign(b"message").unwrap();
        assert!(signer.key().verify(b"message", &signature));

        for (command, why) in [
            (Holder::Command(vec!["true".to_owned()]), "absolute path"),
            (Holder::Command(vec!["/bin/true".to_owned()]), "no 64 bytes"),
            (Holder::Command(vec!["/bin/false".to_owned()]), "ended with"),
            (Holder::Command(vec!["/nowhere/sign".to_owned()]), "can't be started"),
            (Holder::Socket("sign.sock".into()), "absolute path"),
            (Holder::Socket("/nowhere/sign.sock".into()), "can't be asked"),
        ] {
            let error = keys.prepare(2, 0, Some(&command), Some(&public), None).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        }
        let other = hex::encode([9u8; 32]);
        let error = keys.prepare(2, 0, Some(&command), Some(&other), None).unwrap_err();
        assert!(error.to_string().contains("signing key"), "{error}");
        assert_eq!(keys.list().unwrap().len(), 1, "nothing that failed is left");
    }

    /// Signs as the script does, for whoever connects; `garbage` answers something else.
    const LISTENER: &str = "
import socket, subprocess, sys
path, script = sys.argv[1], sys.argv[2]
server = socket.socket(socket.AF_UNIX)
server.bind(path)
server.listen()
while True:
    peer, _ = server.accept()
    try:
        message = b''
        while piece := peer.recv(65536):
            message += piece
        peer.sendall(b'garbage' if script == 'garbage' else subprocess.run([script], input=message, capture_output=True).stdout)
    except OSError:
        pass
    peer.close()
";

    struct Listener(std::process::Child);

    impl Listener {
        fn start(path: &std::path::Path, script: &str) -> Option<Self> {
            let child = std::process::Command::new("python3")
                .args(["-c", LISTENER, path.to_str()?, script])
                .spawn();
            let Ok(child) = child else {
                eprintln!("skipped: this test needs `python3`, and it is not installed");
                return None;
            };
            let listener = Self(child);
            for _ in 0..600 {
                if std::os::unix::net::UnixStream::connect(path).is_ok() {
                    return Some(listener);
                }
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
            panic!("it does not listen");
        }
    }

    impl Drop for Listener {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_program_that_listens_on_a_socket_signs() {
        let Some((home, script, public)) = signing_script() else { return };
        let path = home.path().join("sign.sock");
        let Some(listener) = Listener::start(&path, script.to_str().unwrap()) else { return };
        let keys = Keys::within(&home.path().join("keys"), ORIGIN);
        let holder = Holder::Socket(path.clone());
        assert!(keys.prepare(1, 0, Some(&holder), Some(&public), None).unwrap().external);
        let signer = keys.signing(1, true).unwrap().signer;
        for message in [b"message".to_vec(), vec![b'x'; 300_000]] {
            let signature = signer.sign(&message).unwrap();
            assert!(signer.key().verify(&message, &signature));
        }
        // One that answers something else, or is gone, signs nothing.
        let other = home.path().join("other.sock");
        let Some(_garbage) = Listener::start(&other, "garbage") else { return };
        let garbage = Holder::Socket(other);
        let error = keys.prepare(2, 0, Some(&garbage), Some(&public), None).unwrap_err();
        assert!(error.to_string().contains("no 64 bytes"), "{error}");
        drop(listener);
        let error = signer.sign(b"message").unwrap_err();
        assert!(error.to_string().contains("can't be asked"), "{error}");
        std::fs::remove_file(&path).unwrap();
        assert!(signer.sign(b"message").is_err());
    }
}
