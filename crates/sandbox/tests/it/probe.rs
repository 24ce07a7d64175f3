//! The programs under test: one that shows what it was given, and hostile ones.

#![allow(unsafe_code, reason = "fork bombs and daemons are made with fork")]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;

use crate::escape::{self, Outside};

pub fn run(arguments: &[String]) {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["show", ..] => show(),
        ["exit", code] => std::process::exit(code.parse().unwrap()),
        ["signal", signal] => {
            // SAFETY: sends a signal to this process.
            unsafe { libc::raise(signal.parse().unwrap()) };
        }
        ["sleep"] => sleep(),
        ["daemon", file] => daemon(file),
        ["stubborn"] => stubborn(),
        ["stopped"] => stopped(),
        ["bomb"] => loop {
            fork();
        },
        ["scattered-bomb"] => scattered_bomb(),
        ["bounded-bomb", depth] => bounded_bomb(depth.parse().unwrap()),
        ["runner"] => runner(),
        ["escape", file, socket, port, parent, readable] => {
            escape::run(&Outside { file, socket, port, parent, readable }, false);
        }
        ["harmless", told] => {
            let told: Vec<&str> = told.lines().collect();
            let [file, socket, port, parent, readable] = told[..] else { panic!("{told:?}") };
            escape::run(&Outside { file, socket, port, parent, readable }, true);
        }
        ["fill-disk", directories @ ..] => escape::fill_disk(directories),
        ["fill-memory"] => escape::fill_memory(),
        ["fill-memory-by-many"] => {
            for _ in 0..4 {
                if fork() {
                    // Below the limit of one, and held.
                    let held = vec![1_u8; 128 << 20];
                    std::hint::black_box(&held);
                    sleep();
                }
            }
            sleep();
        }
        ["fill-memory-by-tricks", way] => escape::fill_memory_by_tricks(way),
        ["fork-all"] => escape::fork_all(),
        ["old-door"] => escape::old_door(),
        ["view", place] => view(place),
        ["connect", address] => connect(address),
        ["orphans", count] => orphans(count.parse().unwrap()),
        other => panic!("no such probe: {other:?}"),
    }
}

/// What a confined program sees of the system.
fn view(place: &str) {
    let list = |path: &str| {
        let names = fs::read_dir(path).map(|entries| {
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        });
        let mut names: Vec<String> = names.unwrap_or_else(|error| vec![error.to_string()]);
        names.sort();
        names
    };
    let processes = list("/proc").into_iter().filter(|name| name.parse::<u32>().is_ok());
    println!("granted={}", fs::read_to_string(format!("{place}/granted")).unwrap_or_default());
    println!("processes={}", processes.collect::<Vec<_>>().join(" "));
    println!("home={}", list("/home/somebody").join(" "));
    println!("devices={}", list("/dev").join(" "));
    println!("etc={}", list("/etc").join(" "));
    println!("root={}", list("/").join(" "));
    println!(
        "interfaces={}",
        list("/proc/sys/net/ipv4/conf")
            .into_iter()
            .filter(|name| name != "all" && name != "default")
            .collect::<Vec<_>>()
            .join(" ")
    );
    println!("hostname={}", fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim());
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().to_owned()
    };
    println!("capabilities={} {} {}", field("CapPrm:"), field("CapEff:"), field("CapBnd:"));
    println!("user={}", field("Uid:"));
}

/// Reads what the one address that it may reach says, and tries others.
fn connect(address: &str) {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    print!("{text}");
    let others = ["127.0.0.1:22", "192.0.2.1:443", "127.0.0.1:6443"];
    let held = others.iter().filter(|other| std::net::TcpStream::connect(other).is_err()).count();
    eprintln!("{held} held");
}

fn show() {
    let mut out = std::io::stdout().lock();
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        writeln!(out, "{name}={value}").unwrap();
    };
    for argument in std::env::args_os() {
        line("arg", &hex(argument.as_bytes()));
    }
    line("environ", &hex(&fs::read("/proc/self/environ").unwrap()));
    line("cwd", &hex(&std::env::current_dir().unwrap().into_os_string().into_vec()));
    // The directory's own descriptor is in its list; it is gone when the list is asked about.
    let fds: Vec<String> = fs::read_dir("/proc/self/fd")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let fds: Vec<&String> =
        fds.iter().filter(|fd| fs::read_link(format!("/proc/self/fd/{fd}")).is_ok()).collect();
    line("fds", &format!("{fds:?}"));
    line("stdin", &fs::read_link("/proc/self/fd/0").unwrap().display());
    let mut input = Vec::new();
    std::io::stdin().read_to_end(&mut input).unwrap();
    line("input", &hex(&input));
    line(
        "tty",
        &match fs::File::open("/dev/tty") {
            Ok(_) => 0,
            Err(error) => error.raw_os_error().unwrap(),
        },
    );
    // SAFETY: these take no pointers.
    let (pid, group) = unsafe { (libc::getpid(), libc::getpgrp()) };
    line("leads", &(pid == group && group == session()));
    line("session", &session());
    // SAFETY: sets and restores nothing that matters to this process.
    line("umask", &format!("{:o}", unsafe { libc::umask(0) }));
    for text in fs::read_to_string("/proc/self/status").unwrap().lines() {
        if let Some((name @ ("NoNewPrivs" | "SigBlk" | "SigIgn"), value)) = text.split_once(':') {
            // The standard library of this very program ignores SIGPIPE (13) again.
            line(name, &value.trim());
        }
    }
    for text in fs::read_to_string("/proc/self/limits").unwrap().lines() {
        line("limit", &text);
    }
    out.flush().unwrap();
}

/// This process's session: 0 where it began outside the pid namespace, which `rustix` takes for
/// impossible.
pub fn session() -> i32 {
    // SAFETY: takes no pointers.
    unsafe { libc::getsid(0) }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sleep() -> ! {
    std::thread::sleep(Duration::from_secs(600));
    std::process::exit(0)
}

/// True in the child. A fork that fails counts as the parent.
fn fork() -> bool {
    // SAFETY: these programs have one thread.
    unsafe { libc::fork() == 0 }
}

fn setsid() {
    // SAFETY: takes no pointers.
    unsafe { libc::setsid() };
}

fn ignore(signal: i32) {
    // SAFETY: installs no handler.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Leaves a classic daemon behind that holds the output open, and ends when that one runs.
fn daemon(file: &str) {
    if fork() {
        setsid();
        if fork() {
            ignore(libc::SIGHUP);
            fs::write(file, std::process::id().to_string()).unwrap();
            sleep();
        }
        std::process::exit(0);
    }
    while fs::read_to_string(file).unwrap_or_default().is_empty() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn stubborn() {
    for signal in 1..32 {
        ignore(signal);
    }
    fork();
    setsid();
    print!("ready");
    std::io::stdout().flush().unwrap();
    sleep();
}

/// A child in a session of its own that has stopped itself.
fn stopped() {
    if fork() {
        setsid();
        // SAFETY: sends a signal to this process.
        unsafe { libc::raise(libc::SIGSTOP) };
        sleep();
    }
    print!("ready");
    std::io::stdout().flush().unwrap();
    sleep();
}

/// Every process in a session of its own, dead children reaped at once, so that each death makes
/// room for a birth.
fn scattered_bomb() {
    ignore(libc::SIGCHLD);
    loop {
        if fork() {
            setsid();
        }
    }
}

fn bounded_bomb(depth: u32) {
    ignore(libc::SIGCHLD);
    for level in 0..depth {
        if fork() && level % 2 == 0 {
            setsid();
        }
    }
    print!(".");
    std::io::stdout().flush().unwrap();
    loop {
        std::hint::spin_loop();
    }
}

/// Never the same process for long: each one makes its successor, in a new session, and ends.
fn runner() {
    loop {
        if !fork() {
            // SAFETY: ends this process without running anything else.
            unsafe { libc::_exit(0) };
        }
        setsid();
    }
}

/// Makes orphans that end at once, shows how many of them are zombies, and ends.
fn orphans(count: u32) {
    for _ in 0..count {
        if fork() {
            fork();
            // SAFETY: ends this process without running anything else.
            unsafe { libc::_exit(0) };
        }
        // SAFETY: a null status is allowed.
        unsafe { libc::wait(std::ptr::null_mut()) };
    }
    std::thread::sleep(Duration::from_millis(200));
    let parent = std::os::unix::process::parent_id();
    let list = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
    println!("{}", list.split_whitespace().count());
}
