//! The file tree, TCP and signals, as Landlock keeps them (`landlock(7)`).
//!
//! Every right that the running kernel knows is handled, and every rule must be taken: nothing here
//! is best effort. A right that isn't granted by a rule is refused.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use ::landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope, make_bitflags,
};
use rustix::fs::FileType;

use crate::confinement::{Access, Confinement, Tier};
use crate::root::SCRATCH;
use crate::sys;

/// The first version whose scopes keep signals and abstract Unix sockets inside: Linux 6.12.
pub(crate) const LEAST: i32 = 6;

/// What a shell or a program may do with `/dev/null` and its kin.
const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// Makes the rules. To be called where the paths are those that the child will see.
pub(crate) fn ruleset(walls: &Confinement) -> io::Result<RulesetCreated> {
    let version = sys::landlock_version();
    if version < LEAST {
        return Err(io::Error::other(format!(
            "this kernel's Landlock has version {version}, and {LEAST} is needed (Linux 6.12)"
        )));
    }
    let abi = ABI::from(version);
    let all = AccessFs::from_all(abi);
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(all)
        .and_then(|rules| rules.handle_access(AccessNet::from_all(ABI::V4)))
        .and_then(|rules| rules.scope(Scope::from_all(ABI::V6)))
        .and_then(Ruleset::create)
        .map_err(failed)?;
    for grant in &walls.grants {
        rules = beneath(rules, open(&grant.path)?, rights(grant.access) & all, abi)?;
    }
    let device = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate;
    for path in DEVICES {
        rules = beneath(rules, open(path.as_ref())?, device, abi)?;
    }
    rules = beneath(rules, open("/proc".as_ref())?, rights(Access::Read), abi)?;
    if walls.tier == Tier::A {
        // The whole tree is the child's own. It may list what it may not read.
        rules = beneath(rules, open("/".as_ref())?, AccessFs::ReadDir.into(), abi)?;
        for (path, _) in &walls.texts {
            rules = beneath(rules, open(path)?, AccessFs::ReadFile.into(), abi)?;
        }
        let scratch = SCRATCH.iter().map(|(path, _)| path.as_ref());
        for path in scratch.chain(walls.home.as_deref()) {
            rules = beneath(rules, open(path)?, rights(Access::Write) & all, abi)?;
        }
    }
    let ports = walls.network.listen.iter().map(std::net::SocketAddr::port);
    for port in ports.chain(walls.network.connect.iter().copied()) {
        rules = rules.add_rule(NetPort::new(port, AccessNet::ConnectTcp)).map_err(failed)?;
    }
    Ok(rules)
}

/// Puts the calling process, and all that it will start, under the rules for good.
pub(crate) fn enter(rules: RulesetCreated) -> io::Result<()> {
    let status = rules.restrict_self().map_err(failed)?;
    match status.ruleset {
        RulesetStatus::FullyEnforced => Ok(()),
        _ => Err(io::Error::other("Landlock did not take all rules")),
    }
}

fn rights(access: Access) -> BitFlags<AccessFs> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    match access {
        Access::Read => read,
        Access::Execute => read | AccessFs::Execute,
        // No devices and no sockets are made, and no device is spoken to.
        Access::Write => {
            read | make_bitflags!(AccessFs::{
                WriteFile | Truncate | MakeReg | MakeDir | MakeSym | MakeFifo | RemoveFile | RemoveDir
                    | Refer
            })
        }
    }
}

/// Adds a rule. Rights that only directories have are left out for a file, where they mean nothing.
fn beneath(
    rules: RulesetCreated,
    place: OwnedFd,
    rights: BitFlags<AccessFs>,
    abi: ABI,
) -> io::Result<RulesetCreated> {
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&place)?.st_mode);
    let rights = if kind.is_dir() { rights } else { rights & AccessFs::from_file(abi) };
    rules.add_rule(PathBeneath::new(place.as_fd(), rights)).map_err(failed)
}

fn open(path: &std::path::Path) -> io::Result<OwnedFd> {
    sys::open_canonical(path).map_err(|errno| {
        io::Error::other(format!("`{}` can't be granted ({errno})", path.display()))
    })
}

fn failed(error: impl std::fmt::Display) -> io::Error {
    io::Error::other(error.to_string())
}
