//! How plain data travels to the helper: numbers little-endian, texts as their length and bytes,
//! lists as their count and elements.

use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::confinement::{Access, Confinement, Grant, Limits, Network, Tier};
use crate::spec::FileIdentity;

/// Gathers a body. It may hold secrets, so that it is wiped when dropped.
pub(crate) struct Writer(pub(crate) Zeroizing<Vec<u8>>);

impl Writer {
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn number(&mut self, number: usize) {
        // The whole body is capped far below this, so that the saturation is never met.
        self.bytes(&u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
    }

    pub(crate) fn text(&mut self, text: &OsStr) {
        self.number(text.len());
        self.bytes(text.as_bytes());
    }

    pub(crate) fn path(&mut self, path: &Path) {
        self.text(path.as_os_str());
    }

    pub(crate) fn identity(&mut self, identity: &FileIdentity) {
        for number in [identity.device, identity.inode, identity.size] {
            self.bytes(&number.to_le_bytes());
        }
        self.bytes(&identity.modified_ns.to_le_bytes());
        self.bytes(&identity.changed_ns.to_le_bytes());
    }

    fn list<T>(&mut self, items: &[T], mut each: impl FnMut(&mut Self, &T)) {
        self.number(items.len());
        for item in items {
            each(self, item);
        }
    }

    fn optional(&mut self, number: Option<u64>) {
        self.bytes(&[u8::from(number.is_some())]);
        self.bytes(&number.unwrap_or(0).to_le_bytes());
    }

    /// All of it but the tier, which travels in the frame's head.
    pub(crate) fn confinement(&mut self, what: &Confinement) {
        let Confinement { tier: _, limits, grants, hidden, links, texts, home, .. } = what;
        let Limits { open_files, processes, file_size, memory, tree_memory } = limits;
        for limit in [open_files, processes, file_size, memory, tree_memory] {
            self.optional(*limit);
        }
        self.list(grants, |to, grant| {
            to.path(&grant.path);
            to.bytes(&[match grant.access {
                Access::Read => 0,
                Access::Execute => 1,
                Access::Write => 2,
            }]);
        });
        self.list(hidden, |to, path| to.path(path));
        self.list(links, |to, (link, target)| {
            to.path(link);
            to.path(target);
        });
        self.list(texts, |to, (path, text)| {
            to.path(path);
            to.text(OsStr::from_bytes(text));
        });
        self.path(home.as_deref().unwrap_or(Path::new("")));
        self.bytes(&what.scratch_bytes.to_le_bytes());
        self.list(&what.network.listen, |to, address| {
            match address.ip() {
                IpAddr::V4(ip) => to.text(OsStr::from_bytes(&ip.octets())),
                IpAddr::V6(ip) => to.text(OsStr::from_bytes(&ip.octets())),
            }
            to.bytes(&address.port().to_le_bytes());
        });
        self.list(&what.network.connect, |to, port| to.bytes(&port.to_le_bytes()));
    }
}

/// Takes a body apart. Every method gives `None` where the body is cut or malformed.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl Reader<'_> {
    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    pub(crate) fn number(&mut self) -> Option<usize> {
        usize::try_from(u32::from_le_bytes(self.array()?)).ok()
    }

    pub(crate) fn text(&mut self) -> Option<OsString> {
        let size = self.number()?;
        let (head, rest) = self.0.split_at_checked(size)?;
        self.0 = rest;
        Some(OsString::from_vec(head.to_vec()))
    }

    pub(crate) fn path(&mut self) -> Option<PathBuf> {
        self.text().map(PathBuf::from)
    }

    pub(crate) fn identity(&mut self) -> Option<FileIdentity> {
        Some(FileIdentity {
            device: u64::from_le_bytes(self.array()?),
            inode: u64::from_le_bytes(self.array()?),
            size: u64::from_le_bytes(self.array()?),
            modified_ns: i128::from_le_bytes(self.array()?),
            changed_ns: i128::from_le_bytes(self.array()?),
        })
    }

    /// Nothing is reserved by the count: the bytes run out first if it lies.
    pub(crate) fn list<T>(
        &mut self,
        mut each: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        (0..self.number()?).map(|_| each(self)).collect()
    }

    fn optional(&mut self) -> Option<Option<u64>> {
        let [given] = self.array()?;
        let value = u64::from_le_bytes(self.array()?);
        Some((given == 1).then_some(value))
    }

    pub(crate) fn confinement(&mut self, tier: Tier) -> Option<Confinement> {
        Some(Confinement {
            tier,
            limits: Limits {
                open_files: self.optional()?,
                processes: self.optional()?,
                file_size: self.optional()?,
                memory: self.optional()?,
                tree_memory: self.optional()?,
            },
            grants: self.list(|from| {
                let path = from.path()?;
                let access = match from.array()? {
                    [0] => Access::Read,
                    [1] => Access::Execute,
                    [2] => Access::Write,
                    _ => return None,
                };
                Some(Grant { path, access })
            })?,
            hidden: self.list(Self::path)?,
            links: self.list(|from| Some((from.path()?, from.path()?)))?,
            texts: self.list(|from| Some((from.path()?, from.text()?.into_vec())))?,
            home: self.path().map(|home| (!home.as_os_str().is_empty()).then_some(home))?,
            scratch_bytes: u64::from_le_bytes(self.array()?),
            network: Network {
                listen: self.list(|from| {
                    let ip = from.text()?.into_vec();
                    let ip = match (<[u8; 4]>::try_from(&*ip), <[u8; 16]>::try_from(&*ip)) {
                        (Ok(ip), _) => IpAddr::V4(Ipv4Addr::from(ip)),
                        (_, Ok(ip)) => IpAddr::V6(Ipv6Addr::from(ip)),
                        _ => return None,
                    };
                    Some(SocketAddr::new(ip, u16::from_le_bytes(from.array()?)))
                })?,
                connect: self.list(|from| from.array().map(u16::from_le_bytes))?,
            },
        })
    }
}
