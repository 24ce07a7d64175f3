//! Key files: PKCS#8 in PEM (RFC 5958, RFC 8410), as `openssl` reads them; mode 0600.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::{
    DecodePrivateKey, EncodePrivateKey, KeypairBytes, spki::der::pem::LineEnding,
};
use lar_core::audit::note::{KeyKind, KeySigner};
use zeroize::Zeroizing;

use super::KeyError;

/// A PEM file of one Ed25519 key has about 120 bytes, a certificate about 400.
const MOST_BYTES: u64 = 16 << 10;

static DRAFTS: AtomicU64 = AtomicU64::new(0);

pub(super) fn error(path: &Path, why: &str) -> KeyError {
    KeyError::File { path: path.display().to_string(), why: why.to_owned() }
}

fn failed(path: &Path, error: &std::io::Error) -> KeyError {
    self::error(path, &error.kind().to_string())
}

/// The key in a file; `None` when there is no file.
pub(super) fn read(path: &Path) -> Result<Option<SigningKey>, KeyError> {
    let Some(text) = read_text(path)?.map(Zeroizing::new) else {
        return Ok(None);
    };
    match SigningKey::from_pkcs8_pem(&text) {
        Ok(key) => Ok(Some(key)),
        Err(_) => {
            Err(error(path, "it is not an Ed25519 key in PKCS#8 PEM; restore it from a backup"))
        }
    }
}

/// The text of a private file; `None` when there is no file.
pub(super) fn read_text(path: &Path) -> Result<Option<String>, KeyError> {
    let Some(bytes) = read_bytes(path)? else {
        return Ok(None);
    };
    String::from_utf8(bytes).map(Some).map_err(|_| error(path, "it is not a text"))
}

/// The bytes of a private file; `None` when there is no file.
pub(super) fn read_bytes(path: &Path) -> Result<Option<Vec<u8>>, KeyError> {
    let mut file = match fs::OpenOptions::new().read(true).custom_flags(NO_FOLLOW).open(path) {
        Ok(file) => file,
        Err(missing) if missing.kind() == ErrorKind::NotFound => return Ok(None),
        Err(other) => return Err(failed(path, &other)),
    };
    let metadata = file.metadata().map_err(|other| failed(path, &other))?;
    if metadata.mode() & 0o077 != 0 {
        return Err(error(path, "others may read it; `chmod 600` it, and rotate the key"));
    }
    if metadata.len() > MOST_BYTES {
        return Err(error(path, "it is too large for a key"));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|other| failed(path, &other))?;
    Ok(Some(bytes))
}

/// Removes a file, if it is there.
pub(super) fn remove(path: &Path) -> Result<(), KeyError> {
    match fs::remove_file(path) {
        Err(other) if other.kind() != ErrorKind::NotFound => Err(failed(path, &other)),
        _ => Ok(()),
    }
}

const NO_FOLLOW: i32 = rustix::fs::OFlags::NOFOLLOW.bits() as i32;

/// A key of the system's random numbers.
pub(super) fn generate() -> Result<SigningKey, KeyError> {
    let mut seed = Zeroizing::new([0u8; 32]);
    getrandom::fill(seed.as_mut()).map_err(|_| KeyError::NoRandom)?;
    Ok(SigningKey::from_bytes(&seed))
}

/// Makes a key unless there is one; of two processes at once, one's stays.
pub(super) fn create(path: &Path) -> Result<(), KeyError> {
    match write_key(path, &generate()?) {
        Err(KeyError::File { .. }) if path.exists() => Ok(()),
        other => other,
    }
}

pub(super) fn write_key(path: &Path, key: &SigningKey) -> Result<(), KeyError> {
    // Without the public key beside it (version 1 of the form), which `openssl` can't read.
    let pair = KeypairBytes { secret_key: key.to_bytes(), public_key: None };
    let pem = pair.to_pkcs8_pem(LineEnding::LF).map_err(|_| error(path, "it can't be encoded"))?;
    write(path, pem.as_bytes())
}

/// Writes a file that wasn't there, whole and durably, or not at all.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), KeyError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|other| failed(directory, &other))?;
    // A name that no other process and no other thread writes to.
    let number = DRAFTS.fetch_add(1, Ordering::Relaxed);
    let draft = path.with_extension(format!("draft-{}-{number}", std::process::id()));
    let written = (|| {
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        // A link never replaces what is there, as a rename would.
        fs::hard_link(&draft, path)?;
        fs::File::open(directory)?.sync_all()
    })();
    let _ = fs::remove_file(&draft);
    written.map_err(|other| failed(path, &other))
}

/// Makes a key in a file that wasn't there.
pub(crate) fn write_private_key(path: &Path) -> Result<SigningKey, KeyError> {
    let secret = generate()?;
    write_key(path, &secret)?;
    Ok(secret)
}

/// Reads the key in a file.
pub(crate) fn read_private_key(path: &Path) -> Result<SigningKey, KeyError> {
    read(path)?.ok_or_else(|| error(path, "it doesn't exist; `lar witness init` makes one"))
}

/// Makes an offline root key at `path`, named `name`.
///
/// # Errors
/// When the file is there already or can't be written.
pub fn new_root(path: &Path, name: &str) -> Result<KeySigner, KeyError> {
    let secret = generate()?;
    let signer = KeySigner::new(name, KeyKind::Ed25519, secret.clone())?;
    write_key(path, &secret)?;
    Ok(signer)
}

/// Reads an offline root key.
///
/// # Errors
/// When the file isn't there or isn't a key.
pub fn read_root(path: &Path, name: &str) -> Result<KeySigner, KeyError> {
    let secret =
        read(path)?.ok_or_else(|| error(path, "it doesn't exist; `lar keys root` makes one"))?;
    Ok(KeySigner::new(name, KeyKind::Ed25519, secret)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use lar_core::audit::note::NoteSigner;

    use super::super::Keys;
    use super::*;

    const ORIGIN: &str = "lar-ledger/test";

    #[test]
    fn a_key_is_made_once_and_is_private() {
        let home = tempfile::tempdir().unwrap();
        let keys = Keys::within(home.path(), ORIGIN);
        assert!(keys.list().unwrap().is_empty(), "looking makes nothing");
        let first = keys.signing(1, true).unwrap().signer;
        assert_eq!(first.key().name(), ORIGIN);
        assert_eq!(keys.signing(1, true).unwrap().signer.key(), first.key());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(keys.directory()), 0o700);
        let path = keys.directory().join("epoch-1.pem");
        assert_eq!(mode(&path), 0o600);
        assert!(fs::read_to_string(&path).unwrap().starts_with("-----BEGIN PRIVATE KEY-----"));
        assert_eq!(fs::read_dir(keys.directory()).unwrap().count(), 1, "no draft is left");

        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(keys.signing(1, true).unwrap_err().to_string().contains("others may read it"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "nothing").unwrap();
        assert!(keys.signing(1, true).unwrap_err().to_string().contains("PKCS#8"));
    }

    #[test]
    fn many_at_once_make_one_key() {
        let home = tempfile::tempdir().unwrap();
        let keys = Keys::within(home.path(), ORIGIN);
        let made: Vec<String> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| keys.signing(1, true).unwrap().signer.key().to_string()))
                .collect();
            all.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(made.iter().all(|key| *key == made[0]), "{made:?}");
    }

    #[test]
    fn a_new_epoch_is_certified_by_the_root() {
        let home = tempfile::tempdir().unwrap();
        let keys = Keys::within(home.path(), ORIGIN);
        let first = keys.signing(1, true).unwrap().signer;
        let root = new_root(&home.path().join("root.pem"), "root.example").unwrap();
        assert!(new_root(&home.path().join("root.pem"), "root.example").is_err(), "never replaced");
        let again = read_root(&home.path().join("root.pem"), "root.example").unwrap();
        assert_eq!(root.key(), again.key());
        let line = keys.prepare(2, 7, None, None, Some(&root)).unwrap();
        assert_eq!(line.epoch, 2);
        let note = lar_core::audit::note::Note::parse(line.certificate.as_ref().unwrap()).unwrap();
        assert!(matches!(root.key().check(&note), lar_core::audit::note::Signed::Valid { .. }));
        let second = keys.signing(2, false).unwrap().signer;
        assert_ne!(first.key(), second.key());
        assert_eq!(second.key(), &line.key);
        assert_eq!(keys.list().unwrap().len(), 2);
    }
}
