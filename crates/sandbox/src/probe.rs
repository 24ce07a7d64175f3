//! Which tier can be had here: tried with a real child, and believed only when it tried in vain what
//! each wall should keep it from.

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::child::{self, SpawnError};
use crate::confinement::{Confinement, Enforcement, Tier};
use crate::event::Event;
use crate::spec::{ChildSpec, FileIdentity};

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The best tier that can be had.
    pub tier: Tier,
    /// The version of the kernel's Landlock, 0 where there is none.
    pub landlock: i32,
    /// What was tried, the strongest tier first, up to the one that can be had.
    pub tried: Vec<TierReport>,
}

/// What a canary found at a tier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TierReport {
    /// The tier.
    pub tier: Tier,
    /// Why no child could be started at it; `None` when one was.
    pub failure: Option<String>,
    /// What the canary tried, in its order.
    pub checks: Vec<Check>,
}

/// One attempt of a canary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was tried, such as `read-outside`.
    pub name: String,
    /// Whether the walls held.
    pub held: bool,
}

impl TierReport {
    /// Whether the tier can be had.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.failure.is_none() && !self.checks.is_empty() && self.checks.iter().all(|c| c.held)
    }

    /// Why not, in words; `None` when it can be had.
    #[must_use]
    pub fn why_not(&self) -> Option<String> {
        if let Some(failure) = &self.failure {
            return Some(failure.clone());
        }
        let open: Vec<&str> =
            self.checks.iter().filter(|check| !check.held).map(|check| &*check.name).collect();
        match (open.is_empty(), self.checks.is_empty()) {
            (false, _) => Some(format!("a test child got through: {}", open.join(", "))),
            (true, true) => Some("the test child said nothing".to_owned()),
            (true, false) => None,
        }
    }
}

impl Probe {
    /// The same in one word for each layer.
    #[must_use]
    pub fn enforcement(&self) -> Enforcement {
        match self.tier {
            Tier::A => Enforcement::Fully,
            Tier::B => Enforcement::Partly { missing: vec!["namespaces".to_owned()] },
            Tier::C => Enforcement::Not,
        }
    }

    /// Why a better tier than the one that was found can't be had.
    #[must_use]
    pub fn why_not(&self, tier: Tier) -> Option<String> {
        self.tried.iter().find(|report| report.tier == tier).and_then(TierReport::why_not)
    }
}

/// Finds the best tier. Takes a few milliseconds for each that is tried.
///
/// `outside` is a directory of the caller's own, in which a file is made that a child must not reach.
///
/// # Errors
/// [`SpawnError`] when not even a test child can be started, whatever the tier.
pub fn probe(outside: &Path) -> Result<Probe, SpawnError> {
    let mut found = Probe { tier: Tier::C, landlock: landlock(), tried: Vec::new() };
    if cfg!(feature = "force-tier-c") {
        for tier in [Tier::A, Tier::B] {
            let failure = Some("this build is forced to tier C, for tests".to_owned());
            found.tried.push(TierReport { tier, failure, checks: Vec::new() });
        }
        return Ok(found);
    }
    for tier in [Tier::A, Tier::B] {
        let report = try_tier(tier, outside)?;
        let holds = report.holds();
        found.tried.push(report);
        if holds {
            found.tier = tier;
            break;
        }
    }
    Ok(found)
}

#[cfg(target_os = "linux")]
fn landlock() -> i32 {
    crate::sys::landlock_version()
}

#[cfg(not(target_os = "linux"))]
fn landlock() -> i32 {
    0
}

/// Tries one tier, whether or not a better one can be had.
///
/// # Errors
/// As [`probe`].
pub fn try_tier(tier: Tier, outside: &Path) -> Result<TierReport, SpawnError> {
    let secret = outside.join(format!("lar-canary-{}", std::process::id()));
    let made = std::fs::write(&secret, "a child must not read this\n");
    made.map_err(SpawnError::Failed)?;
    let report = with_secret(tier, &secret);
    let _ = std::fs::remove_file(&secret);
    report
}

fn with_secret(tier: Tier, secret: &Path) -> Result<TierReport, SpawnError> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(SpawnError::Failed)?;
    let port = listener.local_addr().map_err(SpawnError::Failed)?.port();
    let spec = ChildSpec {
        program: PathBuf::from("/"),
        expected: FileIdentity { device: 0, inode: 0, size: 0, modified_ns: 0, changed_ns: 0 },
        pinned: Vec::new(),
        argv: vec![
            OsString::from(secret),
            port.to_string().into(),
            std::process::id().to_string().into(),
        ],
        env: Vec::new(),
        workdir: PathBuf::from("/"),
        confinement: Confinement {
            tier,
            home: (tier == Tier::A).then(|| PathBuf::from("/home")),
            scratch_bytes: 1 << 20,
            ..Confinement::default()
        },
    };
    let mut child = child::start(tier, &spec.encode_as(true)?, false)?;
    let mut text = String::new();
    if let Some(output) = child.take_stdout() {
        let read = std::fs::File::from(output).take(1 << 16).read_to_string(&mut text);
        read.map_err(SpawnError::Failed)?;
    }
    let mut failure = None;
    while let Ok(Some(event)) = child.next_event() {
        match event {
            Event::ExecFailed { message, .. } => failure = Some(reason(tier, &message)),
            Event::Signaled { signal } => {
                failure = Some(format!("the test child was ended by signal {signal}"));
            }
            Event::Started | Event::Exited { .. } | Event::Emptied => {}
        }
    }
    let _: io::Result<_> = child.wait_helper();
    let checks = text.lines().filter_map(|line| {
        let (name, result) = line.split_once(' ')?;
        Some(Check { name: name.to_owned(), held: result == "held" })
    });
    let mut checks: Vec<Check> = checks.collect();
    if !checks.is_empty() && !checks.iter().any(|check| check.name == "execute") {
        checks.push(Check { name: "execute".to_owned(), held: false });
    }
    Ok(TierReport { tier, failure, checks })
}

/// Why a tier can't be had, without the words that say so: whoever reads a report knows that already.
fn reason(tier: Tier, message: &str) -> String {
    let before = format!("confinement at tier {} can't be had: ", tier.letter());
    let rest = message.strip_prefix(before.as_str()).unwrap_or(message);
    rest.strip_suffix("; see `lar doctor`").unwrap_or(rest).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_says_once_what_can_not_be_had() {
        let told = "confinement at tier A can't be had: the kernel gives no user namespace \
                    (Operation not permitted (os error 1)); see `lar doctor`";
        let why = "the kernel gives no user namespace (Operation not permitted (os error 1))";
        assert_eq!(reason(Tier::A, told), why);
        assert_eq!(reason(Tier::A, why), why);
    }
}
