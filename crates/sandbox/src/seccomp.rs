//! The system calls that a child can do without, refused by a filter (`seccomp(2)`).
//!
//! What is refused is what would undo the other walls or goes around them: tracing, mounting, other
//! namespaces, loading code into the kernel, keys, rings whose work Landlock's rules came to late,
//! programs without a file, and every socket that isn't TCP to somewhere that was granted. System
//! calls of another kind than the native one (32-bit, x32) end the process or fail.

use std::collections::BTreeMap;
use std::io;

use seccompiler::sock_filter;

/// Whether a child may open TCP sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sockets {
    None,
    Tcp,
}

/// The filters that a child can get, made before it is known which.
pub(crate) struct Filters {
    none: Vec<sock_filter>,
    tcp: Vec<sock_filter>,
}

impl Filters {
    pub(crate) fn make() -> io::Result<Self> {
        Ok(Self { none: filter(Sockets::None)?, tcp: filter(Sockets::Tcp)? })
    }

    pub(crate) fn of(self, sockets: Sockets) -> Vec<sock_filter> {
        match sockets {
            Sockets::None => self.none,
            Sockets::Tcp => self.tcp,
        }
    }
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

/// The first process of a pid namespace.
const FIRST: u32 = 1;

/// `ioprio_set(2)`.
const IOPRIO_WHO_PROCESS: u32 = 1;
const IOPRIO_WHO_USER: u32 = 3;

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
    // Shared memory that no process needs to hold, so that it would count for none.
    libc::SYS_shmget,
];

/// Refused for process 1: the first process of a child's namespace has the child's own account, and who
/// could take its descriptors or its processor time could keep it from watching.
const REFUSED_FOR_THE_FIRST: &[libc::c_long] = &[
    libc::SYS_prlimit64,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setattr,
    libc::SYS_sched_setaffinity,
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

/// The filter. It is put together by hand because the kernel works through it for every system call that
/// it knows when the filter is entered, so that a short way to each answer makes each start shorter: calls
/// are looked for by halves.
fn filter(sockets: Sockets) -> io::Result<Vec<sock_filter>> {
    let mut code = Code::default();
    code.push(statement(LOAD, ARCHITECTURE));
    code.jump(libc::BPF_JEQ, NATIVE, Go::On, Go::To(Answer::End));
    code.push(statement(LOAD, NUMBER));
    if cfg!(target_arch = "x86_64") {
        // x32 has the same architecture as x86-64 and other numbers, which the rules don't name.
        code.jump(libc::BPF_JGE, X32, Go::To(Answer::Refuse), Go::On);
    }
    let socket: &[libc::c_long] = match sockets {
        Sockets::None => &[libc::SYS_socket],
        Sockets::Tcp => &[],
    };
    // What is refused whatever its arguments are stays so.
    let mut named: BTreeMap<u32, Named> = BTreeMap::new();
    for call in REFUSED.iter().chain(REFUSED_HERE).chain(socket) {
        named.entry(number(*call)?).or_insert(Named::Answered(Answer::Refuse));
    }
    for call in UNKNOWN {
        named.entry(number(*call)?).or_insert(Named::Answered(Answer::Unknown));
    }
    for (call, tests) in by_argument(sockets) {
        named.entry(number(call)?).or_insert(Named::Tested(tests));
    }
    code.append(search(&named.into_iter().collect::<Vec<_>>())?);
    code.finish()
}

/// What is said of a call that isn't simply allowed.
enum Named {
    Answered(Answer),
    Tested(Vec<Test>),
}

/// Looks for a call, whose number is loaded, among these, in the order of their numbers.
fn search(named: &[(u32, Named)]) -> io::Result<Code> {
    /// Fewer are gone through one after the other.
    const FEW: usize = 3;
    let mut code = Code::default();
    if named.len() > FEW {
        let (lower, upper) = named.split_at(named.len() / 2);
        let lower = search(lower)?;
        let past = u8::try_from(lower.statements.len()).map_err(too_long)?;
        let least = upper.first().map_or(0, |(call, _)| *call);
        code.jump(libc::BPF_JGE, least, Go::Past(past), Go::On);
        code.append(lower);
        code.append(search(upper)?);
        return Ok(code);
    }
    for (call, named) in named {
        let tests = match named {
            Named::Answered(answer) => {
                code.jump(libc::BPF_JEQ, *call, Go::To(*answer), Go::On);
                continue;
            }
            Named::Tested(tests) => tests,
        };
        // The tests, a load for each, and the answer for what passes them.
        let past = u8::try_from(tests.len() * 2 + 1).map_err(too_long)?;
        code.jump(libc::BPF_JEQ, *call, Go::On, Go::Past(past));
        for &Test { argument, how, value, then } in tests {
            // The lower half; what these arguments mean fits in it.
            code.push(statement(LOAD, ARGUMENTS + argument * 8));
            match then {
                Then::Refuse => code.jump(how, value, Go::To(Answer::Refuse), Go::On),
                Then::RefuseUnless => code.jump(how, value, Go::On, Go::To(Answer::Refuse)),
                Then::SkipUnless => code.jump(how, value, Go::On, Go::Past(2)),
                Then::SkipIf => code.jump(how, value, Go::Past(2), Go::On),
            }
        }
        code.push(statement(RETURN, Answer::Allow.value()));
    }
    code.push(statement(RETURN, Answer::Allow.value()));
    Ok(code)
}

/// Puts the calling process, and all that it will start, under the filter for good.
pub(crate) fn enter(filter: &[sock_filter]) -> io::Result<()> {
    seccompiler::apply_filter(filter).map_err(|error| io::Error::other(error.to_string()))
}

/// One look at an argument, in the order in which they stand.
struct Test {
    argument: u32,
    /// `BPF_JEQ`, or `BPF_JSET` for any of some bits.
    how: u32,
    value: u32,
    then: Then,
}

/// What follows a test.
#[derive(Clone, Copy)]
enum Then {
    /// Refuses the call where it holds.
    Refuse,
    /// Refuses the call where it doesn't hold.
    RefuseUnless,
    /// Leaves the next test out where it doesn't hold.
    SkipUnless,
    /// Leaves the next test out where it holds.
    SkipIf,
}

/// The calls that depend on their arguments.
fn by_argument(sockets: Sockets) -> Vec<(libc::c_long, Vec<Test>)> {
    let test = |argument, how, value, then| Test { argument, how, value, then };
    let is = |argument, value, then| test(argument, libc::BPF_JEQ, value, then);
    let word = libc::c_int::cast_unsigned;
    let namespaces = NEW_NAMESPACES.into_iter().fold(0, |all, flag| all | word(flag));
    let mut all = vec![
        (libc::SYS_clone, vec![test(0, libc::BPF_JSET, namespaces, Then::Refuse)]),
        // Typing into a terminal that somebody else reads; there is none here, and this keeps it so.
        (libc::SYS_ioctl, vec![is(1, TIOCSTI, Then::Refuse), is(1, TIOCLINUX, Then::Refuse)]),
        (libc::SYS_socketpair, vec![is(0, word(libc::AF_UNIX), Then::RefuseUnless)]),
    ];
    for &call in REFUSED_FOR_THE_FIRST {
        all.push((call, vec![is(0, FIRST, Then::Refuse)]));
    }
    // By its own number, or with all of the account. Of these two the first argument says what the
    // second means.
    for (call, one, every) in [
        (
            libc::SYS_setpriority,
            word(libc::PRIO_PROCESS as libc::c_int),
            word(libc::PRIO_USER as libc::c_int),
        ),
        (libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, IOPRIO_WHO_USER),
    ] {
        let tests = vec![
            is(0, every, Then::Refuse),
            is(0, one, Then::SkipUnless),
            is(1, FIRST, Then::Refuse),
        ];
        all.push((call, tests));
    }
    if sockets == Sockets::Tcp {
        // A protocol number is looked at because MPTCP is a stream socket that Landlock doesn't know. The
        // kind's upper bits are flags (SOCK_CLOEXEC, SOCK_NONBLOCK), and its lower ones are 1 for a
        // stream.
        let tcp = vec![
            is(0, word(libc::AF_INET), Then::SkipIf),
            is(0, word(libc::AF_INET6), Then::RefuseUnless),
            test(1, libc::BPF_JSET, 0xe, Then::Refuse),
            test(1, libc::BPF_JSET, word(libc::SOCK_STREAM), Then::RefuseUnless),
            is(2, 0, Then::SkipIf),
            is(2, word(libc::IPPROTO_TCP), Then::RefuseUnless),
        ];
        all.push((libc::SYS_socket, tcp));
    }
    all
}

const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;

/// Where the fields of `struct seccomp_data` lie (`seccomp(2)`), little-endian.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// `AUDIT_ARCH_X86_64` and `AUDIT_ARCH_AARCH64` of `linux/audit.h`.
#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xc000_00b7;

/// `__X32_SYSCALL_BIT`.
const X32: u32 = 0x4000_0000;

/// How a call is answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Allow,
    Refuse,
    Unknown,
    End,
}

impl Answer {
    /// Those that are jumped to, in the order in which they stand at the filter's end.
    const LAST: [Self; 3] = [Self::Refuse, Self::Unknown, Self::End];

    fn value(self) -> u32 {
        match self {
            Self::Allow => libc::SECCOMP_RET_ALLOW,
            Self::Refuse => libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned(),
            Self::Unknown => libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned(),
            Self::End => libc::SECCOMP_RET_KILL_PROCESS,
        }
    }
}

/// Where a jump leads.
#[derive(Clone, Copy)]
enum Go {
    On,
    /// Past so many statements.
    Past(u8),
    To(Answer),
}

/// Statements whose jumps to an answer are settled at the end.
#[derive(Default)]
struct Code {
    statements: Vec<sock_filter>,
    open: Vec<(usize, Go, Go)>,
}

impl Code {
    fn push(&mut self, one: sock_filter) {
        self.statements.push(one);
    }

    /// Adds statements at the end. Their jumps among each other hold wherever they stand.
    fn append(&mut self, more: Self) {
        let from = self.statements.len();
        self.statements.extend(more.statements);
        self.open
            .extend(more.open.into_iter().map(|(at, if_so, if_not)| (from + at, if_so, if_not)));
    }

    fn jump(&mut self, how: u32, value: u32, if_so: Go, if_not: Go) {
        self.open.push((self.statements.len(), if_so, if_not));
        self.push(statement(libc::BPF_JMP | how | libc::BPF_K, value));
    }

    fn finish(mut self) -> io::Result<Vec<sock_filter>> {
        let end = self.statements.len();
        self.statements.extend(Answer::LAST.map(|answer| statement(RETURN, answer.value())));
        for (at, if_so, if_not) in self.open {
            let distance = |go| match go {
                Go::On => Ok(0),
                Go::Past(count) => Ok(count),
                Go::To(answer) => {
                    let place = Answer::LAST.iter().position(|last| *last == answer);
                    u8::try_from(end + place.unwrap_or(0) - at - 1).map_err(too_long)
                }
            };
            if let Some(jump) = self.statements.get_mut(at) {
                (jump.jt, jump.jf) = (distance(if_so)?, distance(if_not)?);
            }
        }
        Ok(self.statements)
    }
}

fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

fn number(call: libc::c_long) -> io::Result<u32> {
    u32::try_from(call).map_err(too_long)
}

fn too_long(_: std::num::TryFromIntError) -> io::Error {
    io::Error::other("the filter of system calls is too long")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a filter as the kernel does (`bpf(4)`, the statements that occur here).
    fn answer(filter: &[sock_filter], architecture: u32, call: u32, arguments: [u64; 3]) -> u32 {
        answer_counted(filter, architecture, call, arguments, &mut 0)
    }

    fn answer_counted(
        filter: &[sock_filter],
        architecture: u32,
        call: u32,
        arguments: [u64; 3],
        steps: &mut u32,
    ) -> u32 {
        let (mut held, mut at) = (0, 0);
        loop {
            *steps += 1;
            let one = &filter[at];
            at += 1;
            let code = u32::from(one.code);
            if code == RETURN {
                return one.k;
            } else if code == LOAD {
                held = match one.k {
                    NUMBER => call,
                    ARCHITECTURE => architecture,
                    offset => arguments[(offset as usize - 16) / 8] as u32,
                };
            } else {
                let holds = match code & 0xf0 {
                    libc::BPF_JEQ => held == one.k,
                    libc::BPF_JGE => held >= one.k,
                    libc::BPF_JSET => held & one.k != 0,
                    other => panic!("{other:x}"),
                };
                at += usize::from(if holds { one.jt } else { one.jf });
            }
        }
    }

    #[test]
    fn the_way_to_an_answer_is_short() {
        // What the kernel works through when the filter is entered.
        let filter = filter(Sockets::Tcp).unwrap();
        let steps = |call| {
            let mut steps = 0;
            answer_counted(&filter, NATIVE, call, [0; 3], &mut steps);
            steps
        };
        let longest = (0..600).map(steps).max().unwrap();
        assert!(longest < 32, "{longest} of {}", filter.len());
    }

    fn is_allowed(sockets: Sockets, call: libc::c_long, arguments: [i64; 3]) -> bool {
        let filter = filter(sockets).unwrap();
        let arguments = arguments.map(i64::cast_unsigned);
        let found = answer(&filter, NATIVE, u32::try_from(call).unwrap(), arguments);
        assert!(found == Answer::Allow.value() || found == Answer::Refuse.value(), "{found:x}");
        found == Answer::Allow.value()
    }

    #[test]
    fn what_is_listed_is_refused_and_nothing_else() {
        for sockets in [Sockets::None, Sockets::Tcp] {
            listed(sockets);
        }
    }

    fn listed(sockets: Sockets) {
        let filter = filter(sockets).unwrap();
        let by_argument: Vec<libc::c_long> =
            by_argument(sockets).into_iter().map(|(call, _)| call).collect();
        for call in 0..600_u32 {
            let number = libc::c_long::from(call);
            if by_argument.contains(&number) {
                continue;
            }
            let wanted = match number {
                call if UNKNOWN.contains(&call) => Answer::Unknown,
                libc::SYS_socket => Answer::Refuse,
                call if REFUSED.contains(&call) || REFUSED_HERE.contains(&call) => Answer::Refuse,
                _ => Answer::Allow,
            };
            assert!(answer(&filter, NATIVE, call, [0; 3]) == wanted.value(), "{call}");
            assert!(answer(&filter, 0x4000_0003, call, [0; 3]) == Answer::End.value(), "{call}");
        }
        if cfg!(target_arch = "x86_64") {
            assert!(answer(&filter, NATIVE, X32 + 1, [0; 3]) == Answer::Refuse.value());
        }
    }

    #[test]
    fn arguments_decide() {
        let none = |call, arguments| is_allowed(Sockets::None, call, arguments);
        for flag in NEW_NAMESPACES {
            assert!(!none(libc::SYS_clone, [i64::from(flag | libc::SIGCHLD), 0, 0]), "{flag:x}");
        }
        assert!(none(libc::SYS_clone, [(libc::CLONE_VM | libc::CLONE_THREAD).into(), 0, 0]));
        for (code, fine) in [(TIOCSTI, false), (TIOCLINUX, false), (0x5401, true)] {
            assert_eq!(none(libc::SYS_ioctl, [0, code.into(), 0]), fine, "{code:x}");
            // The kernel looks at the lower half alone, and so must this.
            assert_eq!(none(libc::SYS_ioctl, [0, i64::from(code) | 1 << 32, 0]), fine, "{code:x}");
        }
        assert!(none(libc::SYS_socketpair, [libc::AF_UNIX.into(), 1, 0]));
        assert!(!none(libc::SYS_socketpair, [libc::AF_TIPC.into(), 1, 0]));
        for call in REFUSED_FOR_THE_FIRST {
            assert!(!none(*call, [1, 0, 0]) && none(*call, [0, 0, 0]) && none(*call, [11, 0, 0]));
        }
        for (call, [one, group, every]) in
            [(libc::SYS_setpriority, [0, 1, 2]), (libc::SYS_ioprio_set, [1, 2, 3])]
        {
            assert!(!none(call, [one, 1, 0]) && none(call, [one, 7, 0]) && none(call, [one, 0, 0]));
            assert!(none(call, [group, 1, 0]) && !none(call, [every, 0, 0]));
        }
    }

    #[test]
    fn sockets_are_tcp_or_none() {
        let stream = libc::SOCK_STREAM;
        let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        for family in 0..64 {
            for kind in 0..16 {
                for protocol in [0, libc::IPPROTO_TCP, libc::IPPROTO_UDP, libc::IPPROTO_SCTP, 262] {
                    for flags in [0, flags] {
                        let arguments = [family, kind | flags, protocol].map(i64::from);
                        assert!(!is_allowed(Sockets::None, libc::SYS_socket, arguments));
                        let fine = [libc::AF_INET, libc::AF_INET6].contains(&family)
                            && kind == stream
                            && [0, libc::IPPROTO_TCP].contains(&protocol);
                        let allowed = is_allowed(Sockets::Tcp, libc::SYS_socket, arguments);
                        assert_eq!(allowed, fine, "{arguments:?}");
                    }
                }
            }
        }
    }
}
