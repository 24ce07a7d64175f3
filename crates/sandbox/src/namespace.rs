//! The first process of the child's own namespaces. It builds the child's surroundings, starts the
//! program, reaps what is orphaned, and ends with the program: the kernel then ends all that is left.
//!
//! No signal from inside its namespace reaches it, not even `SIGKILL`.

use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions};

use crate::confinement::{Confinement, Tier};
use crate::event::Event;
use crate::helper::{self, HELPER_FAILED};
use crate::seccomp::Filters;
use crate::spec::{ChildSpec, Job};
use crate::tree::Tree;
use crate::{memory, program, root, sys};

/// Makes a user namespace for this process, in which its user and group are themselves and nobody
/// else is anybody. To be called while `/proc/self` is still this process's own, which it is not once
/// its memory is closed to others.
pub(crate) fn own_user() -> io::Result<()> {
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    sys::own_user_namespace().map_err(|error| {
        io::Error::other(format!("the kernel gives no user namespace ({error})"))
    })?;
    let write = |file: &str, text: String| {
        fs::write(format!("/proc/self/{file}"), text)
            .map_err(|error| io::Error::other(format!("`{file}` can't be written ({error})")))
    };
    write("uid_map", format!("{user} {user} 1", user = user.as_raw()))?;
    // Without this an unprivileged user may not map a group: dropping one could widen its rights.
    write("setgroups", "deny".to_owned())?;
    write("gid_map", format!("{group} {group} 1", group = group.as_raw()))
}

/// What the first process says when it has read what to run: whether listeners follow.
pub(crate) const LISTENS: [u8; 1] = [1];
const LISTENS_NOT: [u8; 1] = [0];

/// What the first process does. It takes what to run from `control`, and that alone; it speaks to the
/// helper alone, through `link`; when the helper is gone, it ends.
pub(crate) fn first_process(
    control: UnixStream,
    mut link: UnixStream,
    signals: OwnedFd,
    null: &OwnedFd,
) -> ! {
    let end = |mut link: UnixStream, event: Event| -> ! {
        helper::send(&mut link, &event);
        sys::exit_now(HELPER_FAILED)
    };
    let filters = Filters::make();
    let job = match take_job(control, &mut link) {
        Ok(job) => job,
        Err(error) => end(link, program::failed(0, &error)),
    };
    let started = surround(&job.spec, &link)
        .map_err(|error| program::unprepared(&job.spec, &error))
        .and_then(|()| program::start(&job, &link, filters));
    let main = match started {
        Ok(main) => main,
        Err(event) => end(link, event),
    };
    // The program and its children alone now hold the output open.
    let _ = rustix::stdio::dup2_stdout(null);
    let _ = rustix::stdio::dup2_stderr(null);
    helper::send(&mut link, &Event::Started);
    let most = job.spec.confinement.limits.tree_memory;
    let ending = watch(main, signals, &link, most);
    if let Some(event) = ending {
        end_all_others(event, &mut link);
    }
    sys::exit_now(0)
}

/// Waits for what to run, and closes the socket that it comes by. Ends this process where that can't come
/// any more.
fn take_job(mut control: UnixStream, link: &mut UnixStream) -> io::Result<Job> {
    let mut watched = [PollFd::new(&control, PollFlags::IN), PollFd::new(&*link, PollFlags::IN)];
    while matches!(rustix::event::poll(&mut watched, None), Err(Errno::INTR)) {}
    let [_, helper] = watched;
    if !helper.revents().is_empty() {
        sys::exit_now(HELPER_FAILED);
    }
    let job = ChildSpec::read(Tier::A, &mut control);
    let listens = job.as_ref().is_ok_and(|job| !job.spec.confinement.network.listen.is_empty());
    link.write_all(if listens { &LISTENS } else { &LISTENS_NOT })?;
    job
}

/// Ends what the program left behind, and tells when this process is alone in its namespace. It says so
/// by itself because its own end takes longer: the kernel takes the namespaces down with it.
fn end_all_others(ending: Event, link: &mut UnixStream) {
    if sys::kill_all_others() {
        helper::send(link, &ending);
        while !matches!(rustix::process::wait(WaitOptions::empty()), Err(Errno::CHILD)) {}
        helper::send(link, &Event::Emptied);
    } else {
        helper::send_all(link, &[ending, Event::Emptied]);
    }
}

/// Everything around the program, from the file tree to the network.
fn surround(spec: &ChildSpec, link: &UnixStream) -> io::Result<()> {
    let walls = &spec.confinement;
    root::enter(walls, &spec.pinned)?;
    let _ = rustix::system::sethostname(b"confined");
    if let Some(most) = walls.limits.processes {
        // Since Linux 6.14 of this namespace alone; before that it can't be written from here, and
        // the limit by user is what there is. The kernel takes no less than 301.
        let _ = fs::write("/proc/sys/kernel/pid_max", most.max(301).to_string());
    }
    listen(walls, link)
}

/// Opens the addresses on which the parent serves, and hands them over.
fn listen(walls: &Confinement, link: &UnixStream) -> io::Result<()> {
    let addresses = &walls.network.listen;
    if addresses.is_empty() {
        return Ok(());
    }
    let fail = |error: io::Error| io::Error::other(format!("the network can't be made ({error})"));
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    );
    let socket = socket.map_err(|errno| fail(errno.into()))?;
    sys::loopback_up(socket.as_fd()).map_err(fail)?;
    let mut aliases = 0;
    let mut given = std::collections::BTreeSet::new();
    for address in addresses {
        if address.ip().is_loopback() || !given.insert(address.ip()) {
            continue;
        }
        match address.ip() {
            IpAddr::V4(ip) => {
                aliases += 1;
                sys::loopback_address(socket.as_fd(), aliases, ip).map_err(fail)?;
            }
            IpAddr::V6(ip) => {
                let socket = rustix::net::socket_with(
                    rustix::net::AddressFamily::INET6,
                    rustix::net::SocketType::DGRAM,
                    rustix::net::SocketFlags::CLOEXEC,
                    None,
                );
                let socket = socket.map_err(|errno| fail(errno.into()))?;
                sys::loopback_address_v6(socket.as_fd(), ip).map_err(fail)?;
            }
        }
    }
    let bind = |address: &SocketAddr| {
        bound(address)
            .map_err(|error| io::Error::other(format!("nothing can listen on {address} ({error})")))
    };
    let listeners: Vec<_> = addresses.iter().map(bind).collect::<io::Result<_>>()?;
    crate::handover::send(link, &listeners)
}

/// A listener. A further IPv6 address is there only after the kernel made sure of it, which can come
/// later, so that it is bound to in advance.
fn bound(address: &SocketAddr) -> io::Result<std::net::TcpListener> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
    if address.is_ipv4() || address.ip().is_loopback() {
        return std::net::TcpListener::bind(address);
    }
    let (family, kind) = (AddressFamily::INET6, SocketType::STREAM);
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    sockopt::set_ipv6_freebind(&socket, true)?;
    rustix::net::bind(&socket, address)?;
    rustix::net::listen(&socket, 128)?;
    Ok(socket.into())
}

/// How often the memory of a tree is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// Waits for the program's end and reaps orphans meanwhile. `None` when the helper is gone, or when
/// the tree holds more memory than it may.
fn watch(main: Pid, signals: OwnedFd, link: &UnixStream, most: Option<u64>) -> Option<Event> {
    let mut tree = Tree::new(main, signals);
    let mut looked = Instant::now();
    loop {
        let mut watched = [
            PollFd::from_borrowed_fd(tree.signals(), PollFlags::IN),
            // Nothing is ever said on it in this direction, so that it only tells its end.
            PollFd::new(link, PollFlags::IN),
        ];
        // By the clock, since whoever keeps this process busy must not keep it from looking.
        let pause = most.map(|_| LOOK.saturating_sub(looked.elapsed()));
        let pause = pause.and_then(|pause| Timespec::try_from(pause).ok());
        match rustix::event::poll(&mut watched, pause.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return None,
        }
        let [_, helper] = watched;
        let helper_is_gone = !helper.revents().is_empty();
        if tree.main_ended() {
            return tree.reap_main();
        }
        if helper_is_gone {
            return None;
        }
        if let Some(most) = most.filter(|_| looked.elapsed() >= LOOK) {
            if exceeds(most) {
                return None;
            }
            looked = Instant::now();
        }
    }
}

/// Whether the processes hold more than they may. Looked at twice, since a program that is just being
/// started shares the memory of its starter for a moment and counts for both.
fn exceeds(most: u64) -> bool {
    let over = || memory::held().is_none_or(|held| held > most);
    over() && {
        std::thread::sleep(Duration::from_millis(20));
        over()
    }
}

/// Takes care that no program which is executed from here on has a capability. This process keeps its own.
pub(crate) fn bound_capabilities() -> io::Result<()> {
    use rustix::thread::{CapabilitiesSecureBits as Bits, CapabilitySet};
    let bits = Bits::NO_ROOT
        | Bits::NO_ROOT_LOCKED
        | Bits::NO_SETUID_FIXUP
        | Bits::NO_SETUID_FIXUP_LOCKED
        | Bits::NO_CAP_AMBIENT_RAISE
        | Bits::NO_CAP_AMBIENT_RAISE_LOCKED;
    // These two need CAP_SETPCAP. Who hasn't it has nothing that `exec` could give back under
    // `no_new_privs`.
    let held = rustix::thread::capabilities(None)?;
    if held.effective.contains(CapabilitySet::SETPCAP) {
        rustix::thread::set_capabilities_secure_bits(bits)?;
        for number in 0..64 {
            let one = CapabilitySet::from_bits_retain(1 << number);
            match rustix::thread::remove_capability_from_bounding_set(one) {
                Ok(()) => {}
                // Beyond the last that this kernel knows.
                Err(Errno::INVAL) => break,
                Err(errno) => return Err(errno.into()),
            }
        }
    }
    Ok(rustix::thread::clear_ambient_capability_set()?)
}

/// Lets go of every capability.
pub(crate) fn drop_capabilities() -> io::Result<()> {
    use rustix::thread::{CapabilitySet, CapabilitySets};
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    Ok(rustix::thread::set_capabilities(None, sets)?)
}
