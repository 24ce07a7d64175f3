//! Parents that a test can kill, run as somebody else, or whose descriptors it can count.

#![allow(unsafe_code, reason = "signals and accounts have no safe wrapper")]

use std::ffi::{CStr, CString};
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::ptr;
use std::time::{Duration, Instant};

use lar_sandbox::{Event, spawn};

use crate::confined::confined;
use crate::support;

pub fn run(arguments: &[String]) {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["wait", mark, probe @ ..] => wait(mark, probe),
        ["kill", probe, processes] => kill(probe, processes.parse().unwrap()),
        ["leaks"] => leaks(),
        ["spare", "ahead"] => ahead(),
        ["spare", "mounted"] => mounted(),
        ["spare", what] => spare(what),
        ["replaced", stand_in] => replaced(stand_in),
        other => panic!("no such parent: {other:?}"),
    }
}

/// Starts a program and waits to be killed.
fn wait(mark: &str, probe: &[&str]) {
    let mut spec = support::probe(probe);
    spec.env.push((support::TAG.into(), mark.into()));
    let mut child = spawn(&spec).unwrap();
    assert_eq!(child.next_event().unwrap(), Some(Event::Started));
    println!("{}", child.helper_id());
    std::thread::sleep(support::PATIENCE);
}

/// Lets a bomb fill its limit, kills it, and says how long that took.
fn kill(probe: &str, processes: u64) {
    let mut spec = support::probe(&[probe]);
    spec.confinement.limits.processes = Some(processes);
    let mark = support::tag(&mut spec);
    let mut child = spawn(&spec).unwrap();
    assert_eq!(child.next_event().unwrap(), Some(Event::Started));
    // Not to the brim: other programs of this user may take part of the limit.
    let most = usize::try_from(processes / 2).unwrap();
    support::until("the bomb is large", || support::survivors(&mark).len() >= most);
    let start = Instant::now();
    child.kill();
    let ended = support::finish(child);
    let took = start.elapsed();
    assert_eq!(ended.events.last(), Some(&Event::Emptied));
    assert!(took < Duration::from_secs(30), "{took:?}");
    assert_eq!(support::survivors(&mark), Vec::<String>::new());
    println!("{} ms", took.as_millis());
}

/// Runs many programs and shows that no descriptor and no process is left but the helper that waits.
fn leaks() {
    let open = || fs::read_dir("/proc/self/fd").unwrap().count();
    support::run(&support::probe(&["exit", "0"]));
    support::until("a helper waits", || helpers().len() == 1);
    let before = open();
    for round in 0..40 {
        let spec = support::probe(if round % 2 == 0 { &["exit", "3"] } else { &["sleep"] });
        let mut child = spawn(&spec).unwrap();
        if round % 4 < 2 {
            child.kill();
            support::finish(child);
        }
    }
    support::until("all helpers but one are reaped", || helpers().len() == 1);
    // The first count may have come while the waiting helper was just being started.
    support::until("no descriptor is left", || open() <= before);
    println!("0");
}

/// The children of all threads of this process.
fn helpers() -> Vec<i32> {
    let threads = fs::read_dir("/proc/self/task").unwrap();
    let of = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("children"));
    let all = threads.filter_map(|thread| of(thread.unwrap()).ok());
    all.flat_map(|list| list.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>())
        .collect()
}

/// What becomes of a helper that was started ahead when it is lost, stopped, or of another account.
fn spare(what: &str) {
    let show = support::probe(&["exit", "7"]);
    assert_eq!(support::run(&show).events, support::exited(7));
    support::until("a helper waits", || helpers().len() == 1);
    let spare = helpers()[0];
    match what {
        "lost" => {
            // SAFETY: signals a child of this process, which is not reaped yet.
            unsafe { libc::kill(spare, libc::SIGKILL) };
            let stat = || fs::read_to_string(format!("/proc/{spare}/stat")).unwrap_or_default();
            support::until("it has ended", || !stat().contains(") S") && !stat().contains(") R"));
            for _ in 0..3 {
                assert_eq!(support::run(&show).events, support::exited(7));
            }
        }
        "account" => {
            // SAFETY: takes numbers alone; this process has the rights, or the calls fail.
            unsafe { assert!(libc::setgid(65534) == 0 && libc::setuid(65534) == 0) };
            // Root's may be there only a moment later.
            support::until("root's helper is gone", || {
                let text = support::run(&support::spec("/usr/bin/id", &["-u"])).text();
                assert_eq!(text.trim(), "65534", "the one that waited is root's");
                !helpers().contains(&spare)
            });
        }
        other => panic!("no such case: {other}"),
    }
    support::until("it is gone", || !helpers().contains(&spare));
    println!("done");
}

/// The first process of namespaces that were made ahead is gone when its helper is lost.
fn ahead() {
    let show = confined(&["exit", "7"], &[]);
    assert_eq!(support::run(&show).events, support::exited(7));
    let first = || {
        let waiting = helpers().into_iter().next()?;
        let below = fs::read_to_string(format!("/proc/{waiting}/task/{waiting}/children")).ok()?;
        Some((waiting, below.trim().parse::<i32>().ok()?))
    };
    support::until("a helper waits with its namespaces", || first().is_some());
    let (helper, first) = first().unwrap();
    // SAFETY: signals a child of this process, which is not reaped yet.
    unsafe { libc::kill(helper, libc::SIGKILL) };
    support::until("the first process has ended", || {
        let stat = fs::read_to_string(format!("/proc/{first}/stat"));
        stat.map_or(true, |stat| stat.contains(") Z "))
    });
    assert_eq!(support::run(&show).events, support::exited(7));
    println!("done");
}

/// A child sees what is mounted when it starts, and not what was when its helper was started.
fn mounted() {
    // SAFETY: takes a number alone.
    unsafe { assert_eq!(libc::unshare(libc::CLONE_NEWNS), 0) };
    let mount = |what: &CStr, place: &CStr, flags| {
        // SAFETY: the strings end with a NUL and live across the call, which takes no data.
        unsafe { libc::mount(what.as_ptr(), place.as_ptr(), what.as_ptr(), flags, ptr::null()) }
    };
    assert_eq!(mount(c"none", c"/", libc::MS_REC | libc::MS_PRIVATE), 0);
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().canonicalize().unwrap();
    let file = place.join("granted");
    fs::write(&file, "beneath").unwrap();
    let sees = |wanted: &str| {
        let spec = confined(&["view", place.to_str().unwrap()], &[&place]);
        let text = support::run(&spec).text();
        assert!(text.lines().any(|line| line == format!("granted={wanted}")), "{wanted}: {text}");
        support::until("a helper waits", || helpers().len() == 1);
        // Long enough for it to make what it makes ahead.
        std::thread::sleep(Duration::from_millis(50));
    };
    sees("beneath");
    let at = CString::new(place.as_os_str().as_bytes()).unwrap();
    assert_eq!(mount(c"tmpfs", &at, 0), 0);
    fs::write(&file, "mounted").unwrap();
    sees("mounted");
    // SAFETY: the string ends with a NUL and lives across the call.
    unsafe { assert_eq!(libc::umount2(at.as_ptr(), 0), 0) };
    sees("beneath");
    println!("done");
}

/// Puts another program at the own path before the first spawn.
fn replaced(stand_in: &str) {
    let path = std::env::current_exe().unwrap();
    fs::rename(stand_in, path).unwrap();
    let ended = support::run(&support::spec("/bin/sh", &["-c", "echo genuine"]));
    std::io::stdout().write_all(ended.text().as_bytes()).unwrap();
}
