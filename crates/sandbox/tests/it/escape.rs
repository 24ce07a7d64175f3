//! A hostile program that tries to get out, and says of each attempt what came of it. It runs behind
//! the walls as a real child; `confined.rs` looks at what it says.

#![allow(unsafe_code, reason = "system calls that no library wraps are what is tried")]

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::net::{TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::Command;

/// What the parent tells about the outside.
pub struct Outside<'a> {
    /// A file that the child's user could read and write.
    pub file: &'a str,
    /// A Unix socket on which the parent listens.
    pub socket: &'a str,
    /// The parent's TCP port on loopback.
    pub port: &'a str,
    /// The parent's process id.
    pub parent: &'a str,
    /// A directory that was granted for reading.
    pub readable: &'a str,
}

/// `Ok` is an escape.
type Attempt = io::Result<()>;
type Named<'a> = (&'a str, Box<dyn Fn() -> Attempt + 'a>);

/// What is tried without walls as well, to show that the attempts are real. The rest would do harm.
pub const HARMLESS: [&str; 9] = [
    "read a file outside",
    "read the parent's environment",
    "execute the shell",
    "execute through the loader",
    "map a written file as code",
    "execute a memory file",
    "connect to the parent by TCP",
    "connect to a Unix socket",
    "signal the parent",
];

pub fn run(outside: &Outside<'_>, harmless: bool) {
    let parent: i32 = outside.parent.parse().unwrap();
    let tcp = format!("127.0.0.1:{}", outside.port);
    let mut attempts: Vec<Named<'_>> = vec![
        ("read a file outside", Box::new(|| read(outside.file))),
        (
            "read it through the root of the first process",
            Box::new(|| read(&format!("/proc/1/root{}", outside.file))),
        ),
        (
            "read it through the root of the parent",
            Box::new(|| read(&format!("/proc/{parent}/root{}", outside.file))),
        ),
        (
            "read it upwards from the root",
            Box::new(|| read(&format!("/../../../../..{}", outside.file))),
        ),
        ("read the parent's environment", Box::new(|| read(&format!("/proc/{parent}/environ")))),
        ("read the shadow file", Box::new(|| read("/etc/shadow"))),
        ("write a file outside", Box::new(|| append(outside.file))),
        ("make a file in the root", Box::new(|| create("/made"))),
        ("make a file in /usr", Box::new(|| create("/usr/lib/made"))),
        ("make a file in /etc", Box::new(|| create("/etc/made"))),
        (
            "make a file where it may read",
            Box::new(|| create(&format!("{}/made", outside.readable))),
        ),
        (
            "remove a file where it may read",
            Box::new(|| fs::remove_file(format!("{}/granted", outside.readable))),
        ),
        (
            "read a covered file where it may read",
            Box::new(|| read(&format!("{}/ledger.db", outside.readable))),
        ),
        (
            "read a file in a covered directory",
            Box::new(|| read(&format!("{}/keys/1.pem", outside.readable))),
        ),
        (
            "make a file in a covered directory",
            Box::new(|| create(&format!("{}/keys/2.pem", outside.readable))),
        ),
        (
            "rename a file where it may read",
            Box::new(|| fs::rename(format!("{}/granted", outside.readable), "/tmp/moved")),
        ),
        ("write a kernel setting", Box::new(|| append("/proc/sys/kernel/core_pattern"))),
        ("write to the process list", Box::new(|| append("/proc/1/oom_score_adj"))),
        ("execute the shell", Box::new(|| execute("/bin/sh"))),
        ("execute another program", Box::new(|| execute("/usr/bin/id"))),
        ("execute a copy of itself", Box::new(copy_and_execute)),
        ("execute through the loader", Box::new(|| through_loader("/usr/bin/id"))),
        ("execute a copy through the loader", Box::new(copy_through_loader)),
        ("map a written file as code", Box::new(map_as_code)),
        ("execute a memory file", Box::new(memory_file)),
        ("connect to the parent by TCP", Box::new(|| TcpStream::connect(&tcp).map(drop))),
        ("connect elsewhere by TCP", Box::new(|| TcpStream::connect("192.0.2.1:80").map(drop))),
        ("send by UDP", Box::new(|| udp(&format!("127.0.0.1:{}", outside.port)))),
        ("ask for a name", Box::new(name)),
        ("connect to a Unix socket", Box::new(|| UnixStream::connect(outside.socket).map(drop))),
        ("connect to an abstract socket", Box::new(|| abstract_socket(outside.port))),
        ("open a datagram socket", Box::new(|| UnixDatagram::unbound().map(drop))),
        (
            "open a raw socket",
            Box::new(|| socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP)),
        ),
        ("open a netlink socket", Box::new(|| socket(libc::AF_NETLINK, libc::SOCK_RAW, 0))),
        ("open a vsock socket", Box::new(|| socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0))),
        ("open a packet socket", Box::new(|| socket(libc::AF_PACKET, libc::SOCK_RAW, 0))),
        ("open an MPTCP socket", Box::new(|| socket(libc::AF_INET, libc::SOCK_STREAM, 262))),
        ("trace the parent", Box::new(move || trace(parent))),
        ("trace the first process", Box::new(|| trace(1))),
        ("read the parent's memory", Box::new(|| read(&format!("/proc/{parent}/mem")))),
        ("read the first process's memory", Box::new(|| read("/proc/1/mem"))),
        ("signal the parent", Box::new(|| signal(parent))),
        ("end the first process", Box::new(stop_first)),
        ("become somebody else", Box::new(|| call(libc::SYS_setuid, [12345, 0, 0]))),
        ("make a device", Box::new(device)),
        ("open the machine's memory", Box::new(|| read("/dev/mem"))),
        ("open the kernel's messages", Box::new(|| read("/dev/kmsg"))),
        ("open the disk", Box::new(|| read("/dev/vda").or_else(|_| read("/dev/sda")))),
        ("open the terminal", Box::new(|| read("/dev/tty"))),
    ];
    let calls: [(&str, libc::c_long, [libc::c_long; 3]); 19] = [
        ("make a user namespace", libc::SYS_unshare, [libc::CLONE_NEWUSER.into(), 0, 0]),
        ("make a mount namespace", libc::SYS_unshare, [libc::CLONE_NEWNS.into(), 0, 0]),
        ("clone into a user namespace", libc::SYS_clone, [libc::CLONE_NEWUSER.into(), 0, 0]),
        ("clone3", libc::SYS_clone3, [0, 0, 0]),
        ("join a namespace", libc::SYS_setns, [0, 0, 0]),
        ("open a tree", libc::SYS_open_tree, [-100, c"/".as_ptr() as _, 1]),
        ("make a ring", libc::SYS_io_uring_setup, [0, 0, 0]),
        ("load a program into the kernel", libc::SYS_bpf, [0, 0, 0]),
        ("handle page faults", libc::SYS_userfaultfd, [1, 0, 0]),
        ("watch performance", libc::SYS_perf_event_open, [0, 0, 0]),
        ("ask for a key", libc::SYS_keyctl, [0, -3, 0]),
        ("read another's memory", libc::SYS_process_vm_readv, [parent.into(), 0, 0]),
        ("load a module", libc::SYS_finit_module, [0, 0, 0]),
        ("limit the first process", libc::SYS_prlimit64, [1, libc::RLIMIT_NOFILE.into(), 0]),
        ("slow the first process", libc::SYS_setpriority, [0, 1, 19]),
        ("slow all of the account", libc::SYS_setpriority, [2, 0, 19]),
        ("schedule the first process", libc::SYS_sched_setscheduler, [1, 5, 0]),
        ("slow the first process's reading", libc::SYS_ioprio_set, [1, 1, 3 << 13]),
        ("make shared memory", libc::SYS_shmget, [0, 4096, 0o1600]),
    ];
    for (name, number, arguments) in calls {
        attempts.push((name, Box::new(move || denied(number, arguments))));
    }
    #[cfg(target_arch = "x86_64")]
    attempts.push((
        "call by the x32 numbers",
        Box::new(|| denied(0x4000_0000 + libc::SYS_getpid, [0, 0, 0])),
    ));
    attempts.push(("mount", Box::new(mount)));
    if harmless {
        attempts.retain(|(name, _)| HARMLESS.contains(name));
    }
    let mut out = io::stdout().lock();
    for (name, attempt) in attempts {
        match attempt() {
            Ok(()) => writeln!(out, "open: {name}").unwrap(),
            Err(error) => writeln!(out, "held: {name} ({error})").unwrap(),
        }
    }
}

fn read(path: &str) -> Attempt {
    let mut first = [0; 1];
    File::open(path)?.read_exact(&mut first)
}

fn append(path: &str) -> Attempt {
    OpenOptions::new().append(true).open(path)?.write_all(b"x")
}

fn create(path: &str) -> Attempt {
    File::create(path).map(drop)
}

fn execute(path: &str) -> Attempt {
    Command::new(path).arg("-c").arg(":").status().map(drop)
}

fn copy_and_execute() -> Attempt {
    fs::copy("/proc/self/exe", "/tmp/copy")?;
    execute("/tmp/copy")
}

fn loader() -> &'static str {
    let known = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"];
    known.into_iter().find(|path| Path::new(path).exists()).unwrap_or("/lib64/none")
}

/// The loader may start: it is what the program itself is started with. What it must not do is load
/// another program.
fn through_loader(program: &str) -> Attempt {
    let status = Command::new(loader()).arg(program).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other("not loaded")) }
}

fn copy_through_loader() -> Attempt {
    fs::copy("/proc/self/exe", "/tmp/copy")?;
    let status = Command::new(loader()).args(["/tmp/copy", "probe", "exit", "0"]).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other("not loaded")) }
}

fn map_as_code() -> Attempt {
    let mut file =
        File::options().read(true).write(true).create(true).truncate(true).open("/tmp/code")?;
    file.write_all(&[0; 4096])?;
    file.rewind()?;
    let fd = std::os::fd::AsRawFd::as_raw_fd(&file);
    // SAFETY: a mapping at an address of the kernel's choice, never used.
    let map = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            4096,
            libc::PROT_READ | libc::PROT_EXEC,
            libc::MAP_PRIVATE,
            fd,
            0,
        )
    };
    if map == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn memory_file() -> Attempt {
    // SAFETY: the name is a NUL-terminated string.
    match unsafe { libc::memfd_create(c"m".as_ptr(), 0) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn udp(to: &str) -> Attempt {
    UdpSocket::bind("127.0.0.1:0")?.send_to(b"x", to).map(drop)
}

fn name() -> Attempt {
    ("example.com", 80).to_socket_addrs().map(drop)
}

fn abstract_socket(name: &str) -> Attempt {
    use std::os::linux::net::SocketAddrExt;
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
    UnixStream::connect_addr(&address).map(drop)
}

fn result(value: libc::c_long) -> Attempt {
    if value == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn socket(family: libc::c_int, kind: libc::c_int, protocol: libc::c_int) -> Attempt {
    // SAFETY: takes numbers alone.
    result(unsafe { libc::socket(family, kind, protocol) }.into())
}

fn trace(pid: i32) -> Attempt {
    // SAFETY: attaching takes no pointers.
    result(unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) })
}

fn signal(pid: i32) -> Attempt {
    if pid == i32::try_from(std::process::id()).unwrap() {
        return Err(io::Error::other("that number is this process here"));
    }
    // SAFETY: signal 0 only asks.
    result(unsafe { libc::kill(pid, 0) }.into())
}

/// The first process must live on after this, or nothing more is heard of this program.
fn stop_first() -> Attempt {
    // SAFETY: takes numbers alone.
    result(unsafe { libc::kill(1, libc::SIGKILL) }.into())
}

fn call(number: libc::c_long, arguments: [libc::c_long; 3]) -> Attempt {
    let [a, b, c] = arguments;
    // SAFETY: every caller passes numbers, null pointers or a static string.
    result(unsafe { libc::syscall(number, a, b, c) })
}

/// A refusal must be the filter's own: an error about the arguments would mean that the kernel had
/// looked at them.
fn denied(number: libc::c_long, arguments: [libc::c_long; 3]) -> Attempt {
    match call(number, arguments) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOSYS)) => {
            Err(error)
        }
        Err(error) => {
            eprintln!("{number}: {error}");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

fn device() -> Attempt {
    let path = CString::new("/tmp/device").unwrap();
    // SAFETY: the path is a NUL-terminated string.
    result(unsafe { libc::mknod(path.as_ptr(), libc::S_IFCHR | 0o666, libc::makedev(1, 1)) }.into())
}

fn mount() -> Attempt {
    let (kind, to) = (c"tmpfs".as_ptr(), c"/tmp".as_ptr());
    // SAFETY: static strings and a null pointer, which is allowed.
    result(unsafe { libc::mount(kind, to, kind, 0, std::ptr::null()) }.into())
}

/// Writes until it may not, and tells how many bytes it got rid of.
pub fn fill_disk(directories: &[&str]) {
    let block = vec![1_u8; 1 << 20];
    let mut total = 0_u64;
    for directory in directories {
        for number in 0..64 {
            let Ok(mut file) = File::create(format!("{directory}/fill-{number}")) else { break };
            while file.write_all(&block).is_ok() {
                total += block.len() as u64;
                if total > 8 << 30 {
                    break;
                }
            }
        }
    }
    println!("{total}");
}

/// Takes memory until it gets none, and tells how many bytes it got.
pub fn fill_memory() {
    let mut held: Vec<Vec<u8>> = Vec::new();
    let size = 16 << 20;
    loop {
        let mut block = Vec::new();
        if block.try_reserve_exact(size).is_err() || held.len() * size > 8 << 30 {
            break;
        }
        block.resize(size, 1);
        held.push(block);
    }
    println!("{}", held.len() * size);
}

/// Holds more than the tree may have in ways that are easily overlooked, for as long as it is let.
pub fn fill_memory_by_tricks(way: &str) {
    match way {
        "shared" => {
            let (size, none) = (256 << 20, std::ptr::null_mut());
            let (rights, kind) =
                (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
            // SAFETY: a new mapping at an address of the kernel's choice, filled within its size.
            unsafe {
                let map = libc::mmap(none, size, rights, kind, -1, 0);
                assert!(map != libc::MAP_FAILED);
                map.cast::<u8>().write_bytes(1, size);
            }
        }
        "headless" => {
            let work = || {
                let held = vec![1_u8; 160 << 20];
                std::thread::sleep(std::time::Duration::from_secs(60));
                drop(held);
            };
            std::thread::spawn(work);
            // SAFETY: ends this thread alone; nothing that it holds is used afterwards.
            unsafe { libc::syscall(libc::SYS_exit, 0) };
        }
        "noisy" => {
            let held = vec![1_u8; 160 << 20];
            let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
            while std::time::Instant::now() < until {
                // SAFETY: this program has one thread; the children run nothing but these calls.
                unsafe {
                    if libc::fork() == 0 {
                        libc::fork();
                        libc::_exit(0);
                    }
                    libc::wait(std::ptr::null_mut());
                }
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            drop(held);
        }
        other => panic!("no such way: {other}"),
    }
    std::thread::sleep(std::time::Duration::from_secs(60));
}

/// Forks until it may not, and tells how many processes it got.
pub fn fork_all() {
    let mut count = 0_u32;
    loop {
        // SAFETY: this program has one thread.
        match unsafe { libc::fork() } {
            0 => std::thread::sleep(std::time::Duration::from_secs(600)),
            -1 => break,
            _ => count += 1,
        }
        if count > 5_000 {
            break;
        }
    }
    println!("{count}");
}

/// Calls by the old 32-bit door, which must end the process.
#[cfg(target_arch = "x86_64")]
pub fn old_door() {
    // SAFETY: getpid (20 there) touches nothing; rax alone is changed.
    unsafe {
        let mut number = 20_i64;
        std::arch::asm!("int 0x80", inout("rax") number);
        println!("got {number}");
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub fn old_door() {
    // SAFETY: ends this process as the filter would.
    unsafe { libc::raise(libc::SIGSYS) };
}
