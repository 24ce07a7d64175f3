//! Where a ledger is: a file, or a PostgreSQL database that several hosts share.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lar_core::audit::log::Signers;
use lar_core::audit::note::SignerError;
use lar_core::ledger::{Identity, Ledger};
use lar_ledger::{Address, Environment};
use secrecy::{ExposeSecret as _, SecretString};

use crate::compose::{ComposeError, default_ledger, state_directory};
use crate::keys::Keys;
use crate::options::Store;

/// Where a ledger is. What begins with `postgres://` is the address of a database, everything else
/// the path of a file.
///
/// ```
/// use linear_agentics::LedgerPlace;
///
/// let place = LedgerPlace::from("postgres://agents:s3cret@db.internal/ledger");
/// assert_eq!(format!("{place:?}"), "LedgerPlace(a PostgreSQL database)");
/// ```
#[derive(Clone)]
pub struct LedgerPlace(Kind);

#[derive(Clone)]
enum Kind {
    File(PathBuf),
    /// The address can hold a password, so it is shown nowhere.
    Database(SecretString),
}

impl LedgerPlace {
    /// The file, if it is one.
    pub fn file(&self) -> Option<&Path> {
        match &self.0 {
            Kind::File(path) => Some(path),
            Kind::Database(_) => None,
        }
    }
}

impl From<OsString> for LedgerPlace {
    fn from(text: OsString) -> Self {
        match text.to_str() {
            Some(address) if Address::is_meant(address) => {
                Self(Kind::Database(SecretString::from(address)))
            }
            _ => Self(Kind::File(text.into())),
        }
    }
}

impl From<PathBuf> for LedgerPlace {
    fn from(path: PathBuf) -> Self {
        path.into_os_string().into()
    }
}

impl From<&Path> for LedgerPlace {
    fn from(path: &Path) -> Self {
        path.to_owned().into()
    }
}

impl From<&PathBuf> for LedgerPlace {
    fn from(path: &PathBuf) -> Self {
        path.clone().into()
    }
}

impl From<&str> for LedgerPlace {
    fn from(text: &str) -> Self {
        OsString::from(text).into()
    }
}

impl From<String> for LedgerPlace {
    fn from(text: String) -> Self {
        OsString::from(text).into()
    }
}

impl fmt::Debug for LedgerPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::File(path) => f.debug_tuple("LedgerPlace").field(path).finish(),
            Kind::Database(_) => f.write_str("LedgerPlace(a PostgreSQL database)"),
        }
    }
}

/// Opens the ledger at `place`, or the default one, and makes it where there is none. To be called
/// within a tokio runtime, which must live as long as a ledger in a database.
pub async fn open_ledger(place: Option<&LedgerPlace>) -> Result<Arc<dyn Ledger>, ComposeError> {
    match place.map(|place| &place.0) {
        Some(Kind::File(path)) => open_file(path.clone()).await,
        Some(Kind::Database(address)) => {
            let (address, seen) = (read(address)?, last_seen());
            Ok(lar_ledger::connect_signed(address, signers(None), seen.as_deref()).await?)
        }
        None => open_file(default_ledger()?).await,
    }
}

/// Opens the ledger at `place`, or the default one, if there is one.
pub async fn existing_ledger(
    place: Option<&LedgerPlace>,
) -> Result<Option<Arc<dyn Ledger>>, ComposeError> {
    let default;
    let path = match place.map(|place| &place.0) {
        Some(Kind::Database(address)) => {
            let (address, seen) = (read(address)?, last_seen());
            return Ok(lar_ledger::connect_existing(address, signers(None), seen.as_deref()).await?);
        }
        Some(Kind::File(path)) => path,
        None => {
            default = default_ledger()?;
            &default
        }
    };
    if path.exists() { open_file(path.clone()).await.map(Some) } else { Ok(None) }
}

/// Opening waits for the disk, and for whoever holds the file.
async fn open_file(path: PathBuf) -> Result<Arc<dyn Ledger>, ComposeError> {
    let opening = tokio::task::spawn_blocking(move || {
        let signers = signers(Some(path.clone()));
        lar_ledger::open_signed(&path, signers, last_seen().as_deref())
    });
    Ok(opening.await.map_err(|_| ComposeError::System("no thread can be started"))??)
}

/// What signs a ledger's commits. It is asked for before the first commit of an epoch, so that reading
/// makes no key.
fn signers(file: Option<PathBuf>) -> Signers {
    Arc::new(move |origin, epoch, first| {
        let keys = Keys::of(origin, file.as_deref());
        let signing = keys.and_then(|keys| keys.signing(epoch, first));
        signing.map_err(|error| SignerError(error.to_string()))
    })
}

/// Where it is kept what was last seen of ledgers: apart from any of them, so that whoever puts an older
/// copy of a ledger's directory back doesn't put that back too.
fn last_seen() -> Option<PathBuf> {
    state_directory().map(|state| state.join("lar-seen"))
}

/// Takes the ledger at `place`, or the default one, for what it is, an older copy as it may be: a new
/// epoch begins, so that no grant issued before takes a further spend. In a database that is for the
/// ledger's owner. To be called within a tokio runtime.
pub async fn accept_restored(place: Option<&LedgerPlace>) -> Result<Identity, ComposeError> {
    let seen = last_seen().ok_or(ComposeError::NoStateDirectory)?;
    let path = match place.map(|place| &place.0) {
        Some(Kind::File(path)) => path.clone(),
        Some(Kind::Database(address)) => {
            return Ok(lar_ledger::accept_restored_database(read(address)?, &seen).await?);
        }
        None => default_ledger()?,
    };
    let accepting = tokio::task::spawn_blocking(move || lar_ledger::accept_restored(&path, &seen));
    Ok(accepting.await.map_err(|_| ComposeError::System("no thread can be started"))??)
}

fn read(address: &SecretString) -> Result<Address, ComposeError> {
    Ok(Address::parse(address.expose_secret(), &Environment::from_process())?)
}

/// The ledger that options name.
pub(crate) async fn opened(store: &Store) -> Result<Arc<dyn Ledger>, ComposeError> {
    match store {
        Store::Open(ledger) => Ok(Arc::clone(ledger)),
        Store::At(place) => open_ledger(Some(place)).await,
        Store::Default => open_ledger(None).await,
    }
}
