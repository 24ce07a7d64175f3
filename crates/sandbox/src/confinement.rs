//! What a child gets, as plain data, and what the kernel made of it.
//!
//! Only what is enforced has a field here: a setting that nothing reads would be a false promise.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// How strong the walls around a child are. `A` is the strongest, and the smallest in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Tier {
    /// Namespaces with a root of their own, Landlock and seccomp.
    A,
    /// Landlock and seccomp, in the system's own file tree and network.
    B,
    /// No walls: own session, process-tree kill, resource limits.
    #[default]
    C,
}

/// What the kernel will allow a child.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Confinement {
    /// Which walls stand. A wall that can't be raised is an error, never left out.
    pub tier: Tier,
    /// Resource limits, set as both the soft and the hard limit.
    pub limits: Limits,
    /// What the child may reach in the file tree, as canonical absolute paths (tiers A and B).
    pub grants: Vec<Grant>,
    /// Files and directories that are covered although they lie beneath a grant (tier A).
    pub hidden: Vec<PathBuf>,
    /// Symbolic links that are made: where, and to what (tier A).
    pub links: Vec<(PathBuf, PathBuf)>,
    /// Files that are made, read-only, with this content (tier A).
    pub texts: Vec<(PathBuf, Vec<u8>)>,
    /// A writable directory, empty and private to the child (tier A). So is `/tmp`.
    pub home: Option<PathBuf>,
    /// How many bytes the private directories may hold together (tier A).
    pub scratch_bytes: u64,
    /// Where the child may connect to by TCP.
    pub network: Network,
}

/// A place in the file tree, and what may be done there and beneath it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The canonical absolute path; it must exist.
    pub path: PathBuf,
    /// What may be done.
    pub access: Access,
}

/// What may be done with a file, or with all beneath a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Read and list.
    Read,
    /// Read, list, and execute as a program.
    Execute,
    /// Read, list, change, make and remove. Nothing there can be executed or mapped as code (tier A).
    Write,
}

/// Where a child may connect to by TCP; with nothing named it gets no socket at all. UDP and Unix
/// sockets are never to be had.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    /// Addresses inside the child's own network on which the parent listens, through
    /// [`Child::take_listeners`](crate::Child::take_listeners) (tier A). There is no way out of that
    /// network but these.
    pub listen: Vec<SocketAddr>,
    /// Ports of the system's own network, on any address (tier B, which can't tell hosts apart).
    pub connect: Vec<u16>,
}

impl Network {
    /// Whether there is nothing to connect to.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.listen.is_empty() && self.connect.is_empty()
    }
}

/// Resource limits (`setrlimit(2)`). `None` leaves what the parent has. A limit never rises above
/// the parent's hard limit. Core dumps are always off.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// The highest descriptor number plus one (`RLIMIT_NOFILE`).
    pub open_files: Option<u64>,
    /// Processes and threads. At tier A those of the child's own pid namespace, where the kernel
    /// counts them (6.14), root's too; elsewhere those of the child's user on the whole machine
    /// (`RLIMIT_NPROC`), which the kernel does not apply to root.
    pub processes: Option<u64>,
    /// The largest file that may be written, in bytes (`RLIMIT_FSIZE`).
    pub file_size: Option<u64>,
    /// Memory that a process may have written to, in bytes (`RLIMIT_DATA`).
    pub memory: Option<u64>,
    /// Memory that all processes together may hold for themselves, in bytes (tier A). It is looked at
    /// four times a second; a tree that holds more is ended.
    pub tree_memory: Option<u64>,
}

/// What the kernel actually enforces for a child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enforcement {
    /// Everything that the confinement asks for.
    Fully,
    /// All but what is listed.
    Partly {
        /// The layers that are missing, in words for a person.
        missing: Vec<String>,
    },
    /// No confinement: a child reaches whatever its user reaches.
    Not,
}

impl Tier {
    /// The tier's letter.
    #[must_use]
    pub fn letter(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
            Self::C => "C",
        }
    }

    /// What stands at this tier, in words for the record and for people.
    #[must_use]
    pub fn walls(self) -> &'static str {
        match self {
            Self::A => "namespaces, Landlock, seccomp, resource limits",
            Self::B => "Landlock, seccomp, resource limits; no namespaces",
            Self::C => "own session, process-tree kill, resource limits; no kernel confinement",
        }
    }
}

impl fmt::Display for Tier {
    /// The words for the record.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tier {} ({})", self.letter(), self.walls())
    }
}

impl std::str::FromStr for Tier {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "A" | "a" => Ok(Self::A),
            "B" | "b" => Ok(Self::B),
            "C" | "c" => Ok(Self::C),
            other => Err(format!("`{}` is no tier: write `A`, `B` or `C`", other.escape_debug())),
        }
    }
}

impl fmt::Display for Enforcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fully => f.write_str("full"),
            Self::Partly { missing } => write!(f, "partial: without {}", missing.join(", ")),
            Self::Not => f.write_str("none"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_never_claims_more_than_there_is() {
        assert!(Tier::C.to_string().contains("no kernel confinement"));
        assert!(Tier::B.to_string().contains("no namespaces"));
        let partly = Enforcement::Partly { missing: vec!["landlock".into(), "seccomp".into()] };
        assert_eq!(partly.to_string(), "partial: without landlock, seccomp");
    }

    #[test]
    fn a_stronger_tier_is_less() {
        assert!(Tier::A < Tier::B && Tier::B < Tier::C);
        assert_eq!("B".parse(), Ok(Tier::B));
        assert!("D".parse::<Tier>().unwrap_err().contains("write `A`"));
        // Who asks for nothing gets no claim.
        assert_eq!(Confinement::default().tier, Tier::C);
    }
}
