//! What a child gets, as plain data, and what the kernel made of it.
//!
//! Only what is enforced has a field here: a setting that nothing reads would be a false promise.

use std::fmt;

/// What the kernel will allow a child.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Confinement {
    /// Resource limits, set as both the soft and the hard limit.
    pub limits: Limits,
}

/// Resource limits (`setrlimit(2)`). `None` leaves what the parent has. A limit never rises above
/// the parent's hard limit. Core dumps are always off.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// The highest descriptor number plus one (`RLIMIT_NOFILE`).
    pub open_files: Option<u64>,
    /// Processes and threads of the child's user, the whole machine's counted (`RLIMIT_NPROC`).
    /// The kernel does not apply it to root.
    pub processes: Option<u64>,
    /// The largest file that may be written, in bytes (`RLIMIT_FSIZE`).
    pub file_size: Option<u64>,
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

/// What [`spawn`](crate::spawn) enforces on this system: at present [`Enforcement::Not`].
#[must_use]
pub fn enforcement() -> Enforcement {
    Enforcement::Not
}

impl fmt::Display for Enforcement {
    /// The words for the record.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fully => f.write_str("full"),
            Self::Partly { missing } => write!(f, "partial: without {}", missing.join(", ")),
            Self::Not => f.write_str("none: own session, process-tree kill, resource limits"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_never_claims_more_than_there_is() {
        assert_eq!(
            enforcement().to_string(),
            "none: own session, process-tree kill, resource limits"
        );
        let partly = Enforcement::Partly { missing: vec!["landlock".into(), "seccomp".into()] };
        assert_eq!(partly.to_string(), "partial: without landlock, seccomp");
    }
}
