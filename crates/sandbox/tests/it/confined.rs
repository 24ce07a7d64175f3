//! What a hostile program gets at tier A: as root, and as somebody without any rights.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use lar_sandbox::{
    Access, ChildSpec, Confinement, Event, FileIdentity, Grant, Limits, Network, Tier, probe, spawn,
};
use libtest_mimic::{Failed, Trial};

use crate::support::{self, Ended, exited, finish, signaled};

const NOBODY: u32 = 65534;
const SCRATCH: u64 = 32 << 20;

type Test = (&'static str, fn());

pub fn trials() -> Vec<Trial> {
    let tests: [Test; 17] = [
        ("a_hostile_program_is_held", hostile),
        ("a_program_sees_only_what_was_granted", view),
        ("the_disk_can_not_be_filled", disk),
        ("memory_can_not_be_filled", memory),
        ("memory_can_not_be_filled_by_many", memory_by_many),
        ("memory_can_not_be_hidden", memory_by_tricks),
        ("a_grant_that_was_turned_elsewhere_is_not_followed", turned_grant),
        ("the_canary_sees_walls_that_are_missing", canary),
        ("a_fork_bomb_is_held_and_ended", bomb),
        ("nothing_outlives_the_program", daemon),
        ("a_killed_tree_is_gone", killed),
        ("the_old_door_is_shut", old_door),
        ("endings_are_told", endings),
        ("a_changed_script_is_not_run", changed_script),
        ("the_parent_serves_the_network", network),
        ("what_is_made_ahead_ends_with_its_helper", || support::parent("ahead")),
        ("what_is_mounted_since_is_seen", mounted),
    ];
    let dir = tempfile::tempdir().unwrap();
    let reached = probe(dir.path()).unwrap();
    let missing = reached.why_not(Tier::A);
    if let Some(why) = &missing {
        eprintln!("skipped: all tests of tier A: {why}");
    }
    let root = rustix::process::getuid().is_root();
    let mut trials = Vec::new();
    if cfg!(feature = "force-tier-c") {
        trials.push(Trial::test("forced::tier_c_is_all_there_is", move || {
            assert_eq!(reached.tier, Tier::C);
            assert!(reached.tried.iter().all(|report| !report.holds()), "{reached:?}");
            Ok(())
        }));
    }
    for (name, test) in tests {
        let here = Trial::test(format!("tier_a::{name}"), move || {
            test();
            Ok::<_, Failed>(())
        });
        trials.push(here.with_ignored_flag(missing.is_some()));
        let nobody = Trial::test(format!("tier_a::as_nobody::{name}"), move || {
            as_nobody(name);
            Ok::<_, Failed>(())
        });
        trials.push(nobody.with_ignored_flag(missing.is_some() || !root));
    }
    trials
}

/// Runs one test again, as a user without any rights.
fn as_nobody(name: &str) {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let copy = directory.path().join("copy");
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let mut command = Command::new(&copy);
    command.args(["--exact", &format!("tier_a::{name}")]).env("TMPDIR", directory.path());
    command.uid(NOBODY).gid(NOBODY).current_dir("/").stderr(Stdio::inherit());
    // Another test's child may hold the copy open for writing until it executes something.
    let output = loop {
        match command.output() {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {}
            other => break other.unwrap(),
        }
    };
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

/// A probe behind all walls. It may execute itself, and read the system's libraries and `readable`.
pub fn confined(arguments: &[&str], readable: &[&Path]) -> ChildSpec {
    let mut spec = support::probe(arguments);
    let program = spec.program.canonicalize().unwrap();
    spec.program = program.clone();
    spec.expected = FileIdentity::of(&program).unwrap();
    let mut grants = vec![Grant { path: program, access: Access::Execute }];
    let mut links = Vec::new();
    for name in ["lib", "lib64", "usr/lib", "usr/lib64"] {
        let path = Path::new("/").join(name);
        match fs::read_link(&path) {
            Ok(target) => links.push((path, target)),
            Err(_) if path.is_dir() => grants.push(Grant { path, access: Access::Read }),
            Err(_) => {}
        }
    }
    let loaders = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"];
    for loader in loaders.into_iter().filter_map(|loader| Path::new(loader).canonicalize().ok()) {
        grants.push(Grant { path: loader, access: Access::Execute });
    }
    for path in readable {
        grants.push(Grant { path: path.canonicalize().unwrap(), access: Access::Read });
    }
    spec.confinement = Confinement {
        tier: Tier::A,
        limits: Limits { memory: Some(256 << 20), processes: Some(400), ..Limits::default() },
        grants,
        links,
        texts: vec![("/etc/hosts".into(), b"127.0.0.1 localhost\n".to_vec())],
        home: Some("/home/somebody".into()),
        scratch_bytes: SCRATCH,
        ..Confinement::default()
    };
    spec
}

fn hostile() {
    let outside = tempfile::tempdir().unwrap();
    let readable = tempfile::tempdir().unwrap();
    fs::set_permissions(outside.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let file = outside.path().join("secret");
    fs::write(&file, "secret").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    fs::write(readable.path().join("granted"), "granted").unwrap();
    let socket = outside.path().join("socket");
    let _unix = UnixListener::bind(&socket).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = tcp.local_addr().unwrap().port().to_string();
    let name = SocketAddr::from_abstract_name(&port).unwrap();
    let _abstract = UnixListener::bind_addr(&name).unwrap();

    let parent = std::process::id().to_string();
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let arguments = [
        "escape",
        &path(&file),
        &path(&socket),
        &port,
        &parent,
        &path(&readable.path().canonicalize().unwrap()),
    ];
    // What a ledger and its keys are to a run.
    fs::write(readable.path().join("ledger.db"), "SQLite format 3").unwrap();
    fs::create_dir(readable.path().join("keys")).unwrap();
    fs::write(readable.path().join("keys/1.pem"), "PRIVATE KEY").unwrap();
    let mut spec = confined(&arguments, &[readable.path()]);
    let place = readable.path().canonicalize().unwrap();
    spec.confinement.hidden = vec![place.join("ledger.db"), place.join("keys")];
    let text = support::run(&spec).text();
    let open: Vec<&str> = text.lines().filter(|line| line.starts_with("open: ")).collect();
    assert_eq!(open, Vec::<&str>::new());
    assert!(text.lines().count() > 50, "{text}");
    assert_eq!(fs::read(&file).unwrap(), b"secret");
    assert_eq!(fs::read(readable.path().join("granted")).unwrap(), b"granted");

    // Without walls the same program gets through: the attempts are real.
    let free = ["harmless", &arguments[1..].join("\n")].map(str::to_owned);
    let text = support::run(&support::probe(&[&free[0], &free[1]])).text();
    for attempt in crate::escape::HARMLESS {
        assert!(text.contains(&format!("open: {attempt}\n")), "{attempt}: {text}");
    }
    let _ = fs::remove_file("/tmp/code");
}

/// A helper that waits has namespaces already, but a file tree is made only when there is a program.
fn mounted() {
    if rustix::process::geteuid().is_root() {
        support::parent("mounted");
    } else {
        eprintln!("skipped: what_is_mounted_since_is_seen: needs root");
    }
}

/// What a program finds, by running the system's own `find` would need more grants; the probe lists.
fn view() {
    let readable = tempfile::tempdir().unwrap();
    fs::write(readable.path().join("granted"), "granted").unwrap();
    let place = readable.path().canonicalize().unwrap();
    let spec = confined(&["view", place.to_str().unwrap()], &[&place]);
    let text = support::run(&spec).text();
    let line = |name: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
        found.unwrap_or_else(|| panic!("{name}: {text}")).to_owned()
    };
    assert_eq!(line("granted"), "granted");
    assert_eq!(line("processes"), "1 2", "the first process and the program");
    assert_eq!(line("home"), "");
    assert_eq!(line("devices"), "fd full null random shm stderr stdin stdout urandom zero");
    assert_eq!(line("etc"), "hosts");
    assert_eq!(line("interfaces"), "lo");
    assert_eq!(line("hostname"), "confined");
    assert_eq!(line("capabilities"), "0000000000000000 0000000000000000 0000000000000000");
    assert_eq!(line("user"), rustix::process::getuid().as_raw().to_string());
    assert!(!line("root").contains("root"), "{text}");
}

fn disk() {
    let spec = confined(&["fill-disk", "/tmp", "/dev/shm", "/home/somebody", "/", "/usr/lib"], &[]);
    let written: u64 = support::run(&spec).text().trim().parse().unwrap();
    assert!(written > 0 && written <= SCRATCH + (4 << 20), "{written}");
}

fn memory() {
    let got: u64 = support::run(&confined(&["fill-memory"], &[])).text().trim().parse().unwrap();
    assert!(got > 0 && got <= 256 << 20, "{got}");
}

/// Each process stays below its own limit; all of them together don't.
fn memory_by_many() {
    let mut spec = confined(&["fill-memory-by-many"], &[]);
    spec.confinement.limits.tree_memory = Some(256 << 20);
    let mark = support::tag(&mut spec);
    let started = Instant::now();
    let ended = support::run(&spec);
    assert_eq!(ended.events, signaled(libc::SIGKILL), "{:?}", String::from_utf8(ended.stderr));
    assert!(started.elapsed().as_secs() < 30, "{:?}", started.elapsed());
    assert_eq!(support::survivors(&mark), Vec::<String>::new());
}

/// Memory that no process has for itself, that a process without a first thread holds, and that a crowd
/// of orphans is to distract from.
fn memory_by_tricks() {
    for way in ["shared", "headless", "noisy"] {
        let mut spec = confined(&["fill-memory-by-tricks", way], &[]);
        spec.confinement.limits.tree_memory = Some(128 << 20);
        let mark = support::tag(&mut spec);
        let ended = support::run(&spec);
        let errors = String::from_utf8(ended.stderr);
        assert_eq!(ended.events, signaled(libc::SIGKILL), "{way}: {errors:?}");
        assert_eq!(support::survivors(&mark), Vec::<String>::new(), "{way}");
    }
}

/// Who could change a directory may have put a link there since it was granted.
fn turned_grant() {
    for access in [Access::Read, Access::Write] {
        let directory = tempfile::tempdir().unwrap();
        let top = directory.path().canonicalize().unwrap();
        fs::create_dir(top.join("keys")).unwrap();
        fs::write(top.join("keys/granted"), "secret").unwrap();
        std::os::unix::fs::symlink("keys", top.join("work")).unwrap();
        for granted in ["work", "work/granted"].map(|name| top.join(name)) {
            let mut spec = confined(&["view", top.join("work").to_str().unwrap()], &[]);
            spec.confinement.grants.push(Grant { path: granted, access });
            let ended = support::run(&spec);
            let (_, message) = ended.exec_failure();
            assert!(message.contains("can't be bound (Too many levels of sym"), "{message}");
        }
    }
}

/// The same attempts without walls all get through, so that a wall that is missing is noticed.
fn canary() {
    let dir = tempfile::tempdir().unwrap();
    let open = |tier| {
        let report = lar_sandbox::try_tier(tier, dir.path()).unwrap();
        assert_eq!(report.holds(), tier == Tier::A, "{report:?}");
        let open = report.checks.iter().filter(|check| !check.held);
        open.map(|check| check.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(open(Tier::A), Vec::<String>::new());
    let free = open(Tier::C);
    for name in [
        "read-outside",
        "write-outside",
        "connect-tcp",
        "udp-socket",
        "unix-socket",
        "signal-parent",
        "execute",
    ] {
        assert!(free.iter().any(|held| held == name), "{name}: {free:?}");
    }
}

fn bomb() {
    let mut spec = confined(&["fork-all"], &[]);
    let mark = support::tag(&mut spec);
    let started = Instant::now();
    let got: u64 = support::run(&spec).text().trim().parse().unwrap();
    assert!(got > 10 && got <= 400, "{got}");
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    assert_eq!(support::survivors(&mark), Vec::<String>::new());
}

fn daemon() {
    let mut spec = confined(&["daemon", "/tmp/pid"], &[]);
    let mark = support::tag(&mut spec);
    // The daemon holds the output open: reading to its end would hang if the daemon lived on.
    assert_eq!(support::run(&spec).events, exited(0));
    assert_eq!(support::survivors(&mark), Vec::<String>::new());
}

fn killed() {
    for name in ["stubborn", "stopped"] {
        let mut spec = confined(&[name], &[]);
        let mark = support::tag(&mut spec);
        let mut child = spawn(&spec).unwrap();
        let mut output = fs::File::from(child.take_stdout().unwrap());
        output.read_exact(&mut [0; 5]).unwrap();
        support::until("both of its processes run", || support::survivors(&mark).len() >= 2);
        child.kill();
        assert_eq!(finish(child).events, signaled(libc::SIGKILL), "{name}");
        assert_eq!(support::survivors(&mark), Vec::<String>::new());
    }
}

fn old_door() {
    assert_eq!(support::run(&confined(&["old-door"], &[])).events, signaled(libc::SIGSYS));
}

fn endings() {
    assert_eq!(support::run(&confined(&["exit", "7"], &[])).events, exited(7));
    assert_eq!(support::run(&confined(&["signal", "15"], &[])).events, signaled(15));
    let mut spec = confined(&["exit", "0"], &[]);
    spec.workdir = "/nowhere".into();
    let ended = support::run(&spec);
    let (_, message) = ended.exec_failure();
    assert!(message.contains("`/nowhere` does not exist"), "{message}");
    let mut spec = confined(&["exit", "0"], &[]);
    spec.confinement.grants.push(Grant { path: "/no/such/place".into(), access: Access::Read });
    let ended = support::run(&spec);
    let (_, message) = ended.exec_failure();
    assert!(message.contains("tier A can't be had: `/no/such/place` can't be bound"), "{message}");
}

/// A script is run by its interpreter, which opens it by its path: what lies there is what was checked.
fn changed_script() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().canonicalize().unwrap().join("script");
    fs::write(&script, "one").unwrap();
    let checked = FileIdentity::of(&script).unwrap();
    let mut spec = confined(&["view", script.to_str().unwrap()], &[]);
    spec.pinned = vec![(script.clone(), checked)];
    assert!(support::run(&spec).text().contains("granted="), "it is there");
    fs::write(&script, "two!").unwrap();
    let ended = support::run(&spec);
    let (errno, message) = ended.exec_failure();
    assert_eq!(errno, libc::ESTALE);
    assert!(message.contains("has changed since it was checked"), "{message}");
}

/// The child's only way out is a listener in its own network that the parent serves.
fn network() {
    for address in ["127.0.0.1:443", "10.20.30.40:6443", "[::1]:80", "[2001:db8::7]:443"] {
        let mut spec = confined(&["connect", address], &[]);
        spec.confinement.network =
            Network { listen: vec![address.parse().unwrap()], connect: vec![] };
        let mut child = spawn(&spec).unwrap();
        let listeners = child.take_listeners();
        assert_eq!(listeners.len(), 1, "{address}: {:?}", child.next_event());
        let listener = TcpListener::from(listeners.into_iter().next().unwrap());
        let (mut stream, _) = listener.accept().unwrap();
        std::io::Write::write_all(&mut stream, b"hello").unwrap();
        drop(stream);
        let ended = finish(child);
        assert_eq!(ended.text(), "hello", "{address}");
        // Every other port and address is shut.
        assert!(String::from_utf8_lossy(&ended.stderr).contains("3 held"), "{:?}", ended.stderr);
    }
    // Where nobody listens because nothing started, that is told.
    let mut spec = confined(&["exit", "0"], &[]);
    spec.confinement.network.listen = vec!["127.0.0.1:443".parse().unwrap()];
    spec.workdir = "/nowhere".into();
    let mut child = spawn(&spec).unwrap();
    assert_eq!(
        child.take_listeners().len(),
        1,
        "the network stands before the program is looked at"
    );
    let ended: Ended = finish(child);
    assert!(matches!(ended.events.as_slice(), [Event::ExecFailed { .. }]));
}
