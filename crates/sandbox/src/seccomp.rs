//! The system calls that a child can do without, refused by a filter (`seccomp(2)`).
//!
//! What is refused is what would undo the other walls or goes around them: tracing, mounting, other
//! namespaces, loading code into the kernel, keys, rings whose work Landlock's rules came to late,
//! programs without a file, and every socket that isn't TCP to somewhere that was granted. System
//! calls of another kind than the native one (32-bit, x32) end the process or fail.

use std::collections::BTreeMap;
use std::io;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition,
    SeccompFilter, SeccompRule, sock_filter,
};

/// Whether a child may open TCP sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sockets {
    None,
    Tcp,
}

/// Namespaces that `clone` could make.
const NEW_NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWCGROUP,
];

/// `ioctl_tty(2)`.
const TIOCSTI: u32 = 0x5412;
const TIOCLINUX: u32 = 0x541c;

/// Refused with EPERM, whatever the arguments.
const REFUSED: &[libc::c_long] = &[
    // Other processes' memory and control.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // Mounts and roots.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    // Files by handle go around every path.
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    // Namespaces.
    libc::SYS_setns,
    libc::SYS_unshare,
    // Code in the kernel.
    libc::SYS_bpf,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    // Programs without a file.
    libc::SYS_memfd_create,
    libc::SYS_memfd_secret,
    // Keys of the user, which no namespace holds.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // The machine.
    libc::SYS_reboot,
    libc::SYS_syslog,
    libc::SYS_acct,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_vhangup,
    libc::SYS_lookup_dcookie,
    libc::SYS_fanotify_init,
    // Messages of the system.
    libc::SYS_mq_open,
];

/// Refused on this processor only.
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[libc::c_long] = &[
    libc::SYS_kexec_file_load,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_uselib,
    libc::SYS_ustat,
    libc::SYS__sysctl,
    libc::SYS_nfsservctl,
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[libc::c_long] = &[libc::SYS_nfsservctl];

/// Unknown to the child, so that it falls back: rings, and `clone3`, whose flags lie in memory where
/// no filter sees them.
const UNKNOWN: &[libc::c_long] = &[
    libc::SYS_clone3,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
];

/// The filters, in the order in which they are to be entered.
pub(crate) fn filters(sockets: Sockets) -> io::Result<Vec<BpfProgram>> {
    let mut refused: BTreeMap<i64, Vec<SeccompRule>> =
        REFUSED.iter().chain(REFUSED_HERE).map(|&call| (call, Vec::new())).collect();
    let namespaces = NEW_NAMESPACES.map(libc::c_int::cast_unsigned);
    let namespaces = namespaces.map(|flag| condition(0, Op::MaskedEq(u64::from(flag)), flag));
    refused.insert(libc::SYS_clone, alternatives(namespaces)?);
    // Typing into a terminal that somebody else reads; there is none here, and this keeps it so.
    let terminal = [TIOCSTI, TIOCLINUX];
    refused.insert(libc::SYS_ioctl, alternatives(terminal.map(|code| condition(1, Op::Eq, code)))?);
    refused.insert(
        libc::SYS_socketpair,
        vec![rule(&[condition(0, Op::Ne, libc::AF_UNIX.cast_unsigned())?])?],
    );
    refused.insert(libc::SYS_socket, not_granted(sockets)?);
    let unknown: BTreeMap<i64, Vec<SeccompRule>> =
        UNKNOWN.iter().map(|&call| (call, Vec::new())).collect();

    let mut all = vec![compile(refused, libc::EPERM)?, compile(unknown, libc::ENOSYS)?];
    if cfg!(target_arch = "x86_64") {
        all.push(without_x32());
    }
    Ok(all)
}

/// Puts the calling process, and all that it will start, under the filters for good.
pub(crate) fn enter(filters: &[BpfProgram]) -> io::Result<()> {
    filters.iter().try_for_each(|filter| seccompiler::apply_filter(filter).map_err(failed))
}

/// `socket`: nothing at all, or everything but TCP over IP. A protocol number is looked at because
/// MPTCP is a stream socket that Landlock doesn't know.
fn not_granted(sockets: Sockets) -> io::Result<Vec<SeccompRule>> {
    if sockets == Sockets::None {
        return Ok(Vec::new());
    }
    let [inet, inet6] = [libc::AF_INET, libc::AF_INET6].map(libc::c_int::cast_unsigned);
    let [stream, tcp] = [libc::SOCK_STREAM, libc::IPPROTO_TCP].map(libc::c_int::cast_unsigned);
    let mut rules = vec![
        rule(&[condition(0, Op::Ne, inet)?, condition(0, Op::Ne, inet6)?])?,
        rule(&[condition(2, Op::Ne, 0)?, condition(2, Op::Ne, tcp)?])?,
    ];
    // The kind's upper bits are flags (SOCK_CLOEXEC, SOCK_NONBLOCK).
    for kind in (0..16).filter(|&kind| kind != stream) {
        rules.push(rule(&[condition(1, Op::MaskedEq(0xf), kind)?])?);
    }
    Ok(rules)
}

fn condition(argument: u8, how: Op, value: u32) -> io::Result<SeccompCondition> {
    SeccompCondition::new(argument, Len::Dword, how, u64::from(value)).map_err(failed)
}

fn rule(conditions: &[SeccompCondition]) -> io::Result<SeccompRule> {
    SeccompRule::new(conditions.to_vec()).map_err(failed)
}

fn alternatives<const N: usize>(
    conditions: [io::Result<SeccompCondition>; N],
) -> io::Result<Vec<SeccompRule>> {
    conditions.into_iter().map(|condition| rule(&[condition?])).collect()
}

fn compile(rules: BTreeMap<i64, Vec<SeccompRule>>, errno: libc::c_int) -> io::Result<BpfProgram> {
    let arch = std::env::consts::ARCH.try_into().map_err(failed)?;
    let refuse = SeccompAction::Errno(errno.cast_unsigned());
    SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch)
        .and_then(BpfProgram::try_from)
        .map_err(failed)
}

/// x32 has the same architecture as x86-64 and other numbers, which the rules don't name.
fn without_x32() -> BpfProgram {
    const X32: u32 = 0x4000_0000;
    let load_number = sock_filter {
        code: (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16,
        jt: 0,
        jf: 0,
        k: 0,
    };
    let is_x32 = sock_filter {
        code: (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16,
        jt: 0,
        jf: 1,
        k: X32,
    };
    let answer = |k| sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k };
    let refuse = libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned();
    vec![load_number, is_x32, answer(refuse), answer(libc::SECCOMP_RET_ALLOW)]
}

fn failed(error: impl std::fmt::Display) -> io::Error {
    io::Error::other(error.to_string())
}
