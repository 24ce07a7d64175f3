//! Parents that a test can kill, run as somebody else, or whose descriptors it can count.

use std::fs;
use std::io::Write;
use std::time::{Duration, Instant};

use lar_sandbox::{Event, spawn};

use crate::support;

pub fn run(arguments: &[String]) {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["wait", mark, probe @ ..] => wait(mark, probe),
        ["kill", probe, processes] => kill(probe, processes.parse().unwrap()),
        ["leaks"] => leaks(),
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

/// Runs many programs and shows that no descriptor and no process is left.
fn leaks() {
    let open = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open();
    for round in 0..40 {
        let spec = support::probe(if round % 2 == 0 { &["exit", "3"] } else { &["sleep"] });
        let mut child = spawn(&spec).unwrap();
        if round % 4 < 2 {
            child.kill();
            support::finish(child);
        }
    }
    support::until("dropped helpers are reaped", || {
        let pid = std::process::id();
        // A dropped child's helper is reaped by a thread, whose own children these are not.
        fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap().is_empty()
    });
    println!("{}", open() - before);
}

/// Puts another program at the own path before the first spawn.
fn replaced(stand_in: &str) {
    let path = std::env::current_exe().unwrap();
    fs::rename(stand_in, path).unwrap();
    let ended = support::run(&support::spec("/bin/sh", &["-c", "echo genuine"]));
    std::io::stdout().write_all(ended.text().as_bytes()).unwrap();
}
