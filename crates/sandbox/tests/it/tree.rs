//! That nothing of a tree is left, however it tries to stay.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lar_sandbox::{ChildSpec, Event, KILL, spawn};
use libtest_mimic::{Failed, Trial};

use crate::support::{self, exited, finish, probe, run, signaled, survivors, tag, until};

const NOBODY: u32 = 65534;

pub fn trials() -> Vec<Trial> {
    let tests: [(&str, fn()); 15] = [
        ("a_daemon_ends_with_its_program", daemon_on_exit),
        ("a_daemon_ends_on_kill", daemon_on_kill),
        ("a_command_on_the_socket_kills", command_on_the_socket),
        ("signals_are_no_shield", stubborn),
        ("a_stopped_process_ends", stopped),
        ("a_stopped_helper_is_woken", stopped_helper),
        ("a_program_that_is_never_the_same_process_ends", runner),
        ("a_bounded_bomb_ends", bounded_bomb),
        ("endless_bombs_end", endless_bombs),
        ("a_dead_parent_takes_the_tree_along", dead_parent),
        ("orphans_are_reaped_while_the_program_runs", orphans),
        ("nothing_leaks", leaks),
        ("a_helper_that_waits_and_is_lost_is_replaced", || spare("lost")),
        ("a_helper_that_waits_is_not_used_by_another_account", || spare("account")),
        ("a_gigabyte_of_output", gigabyte),
    ];
    let trial = |(name, test): (&str, fn())| {
        Trial::test(name, move || {
            test();
            Ok::<_, Failed>(())
        })
    };
    tests.into_iter().map(trial).collect()
}

fn daemon_spec(directory: &tempfile::TempDir) -> (ChildSpec, String) {
    let file = directory.path().join("pid");
    let mut spec = probe(&["daemon", file.to_str().unwrap()]);
    let mark = tag(&mut spec);
    (spec, mark)
}

fn daemon_on_exit() {
    let directory = tempfile::tempdir().unwrap();
    let (spec, mark) = daemon_spec(&directory);
    let start = Instant::now();
    // The daemon holds the output open: reading to its end would hang if the daemon lived on.
    let ended = run(&spec);
    assert_eq!(ended.events, exited(0));
    assert!(start.elapsed() < support::PATIENCE);
    // It did run.
    let daemon = fs::read_to_string(directory.path().join("pid")).unwrap();
    assert!(daemon.parse::<u32>().is_ok());
    assert_eq!(survivors(&mark), Vec::<String>::new());
}

fn daemon_on_kill() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pid");
    let command = format!(
        "'{}' probe daemon '{}'; exec sleep 600",
        std::env::current_exe().unwrap().display(),
        file.display()
    );
    let mut spec = support::spec("/bin/sh", &["-c", &command]);
    spec.env.push(("PATH".into(), "/usr/bin:/bin".into()));
    let mark = tag(&mut spec);
    let mut child = spawn(&spec).unwrap();
    until("the daemon runs", || fs::read_to_string(&file).is_ok_and(|pid| !pid.is_empty()));
    until("its maker has ended", || survivors(&mark).len() == 2);
    child.kill();
    assert_eq!(finish(child).events, signaled(libc::SIGKILL));
    assert_eq!(survivors(&mark), Vec::<String>::new());
}

fn command_on_the_socket() {
    let mut spec = probe(&["sleep"]);
    let mark = tag(&mut spec);
    let mut child = spawn(&spec).unwrap();
    assert_eq!(child.next_event().unwrap(), Some(Event::Started));
    let mut control = child.control().unwrap();
    std::io::Write::write_all(&mut control, &KILL).unwrap();
    let rest = vec![Event::Signaled { signal: libc::SIGKILL }, Event::Emptied];
    assert_eq!(finish(child).events, rest);
    assert_eq!(survivors(&mark), Vec::<String>::new());

    // Dropping the value is enough, even while a copy of the socket is kept.
    let mark = tag(&mut spec.clone());
    spec.env = vec![(support::TAG.into(), (&mark).into())];
    let mut child = spawn(&spec).unwrap();
    assert_eq!(child.next_event().unwrap(), Some(Event::Started));
    let _copy = child.control().unwrap();
    // `Started` comes from within `execve`, a moment before the kernel shows the new environment.
    until("the program shows its mark", || survivors(&mark).len() == 1);
    drop(child);
    until("the dropped tree has ended", || survivors(&mark).is_empty());
}

/// Starts a probe that says when it is ready, and kills it then.
fn kill_when_ready(name: &str, processes: usize) {
    let mut spec = probe(&[name]);
    let mark = tag(&mut spec);
    let mut child = spawn(&spec).unwrap();
    let mut output = File::from(child.take_stdout().unwrap());
    output.read_exact(&mut [0; 5]).unwrap();
    until("all its processes run", || survivors(&mark).len() == processes);
    child.kill();
    assert_eq!(finish(child).events, signaled(libc::SIGKILL));
    output.read_to_end(&mut Vec::new()).unwrap();
    assert_eq!(survivors(&mark), Vec::<String>::new());
}

fn stubborn() {
    kill_when_ready("stubborn", 2);
}

fn stopped() {
    kill_when_ready("stopped", 2);
}

fn stopped_helper() {
    let mut spec = probe(&["sleep"]);
    let mark = tag(&mut spec);
    let mut child = spawn(&spec).unwrap();
    assert_eq!(child.next_event().unwrap(), Some(Event::Started));
    let helper = rustix::process::Pid::from_raw(child.helper_id().try_into().unwrap()).unwrap();
    rustix::process::kill_process(helper, rustix::process::Signal::TERM).unwrap();
    rustix::process::kill_process(helper, rustix::process::Signal::STOP).unwrap();
    child.kill();
    assert_eq!(finish(child).events.last(), Some(&Event::Emptied));
    assert_eq!(survivors(&mark), Vec::<String>::new());
}

fn runner() {
    let mut spec = probe(&["runner"]);
    let mark = tag(&mut spec);
    let ended = run(&spec);
    // The first process ends at once and leaves the race behind.
    assert_eq!(ended.events, exited(0));
    assert_eq!(survivors(&mark), Vec::<String>::new());
}

fn bounded_bomb() {
    let depth = 7;
    let mut spec = probe(&["bounded-bomb", &depth.to_string()]);
    let mark = tag(&mut spec);
    let mut child = spawn(&spec).unwrap();
    let mut output = File::from(child.take_stdout().unwrap());
    let mut dots = vec![0; 1 << depth];
    output.read_exact(&mut dots).unwrap();
    let start = Instant::now();
    child.kill();
    assert_eq!(finish(child).events, signaled(libc::SIGKILL));
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    output.read_to_end(&mut Vec::new()).unwrap();
    assert_eq!(survivors(&mark), Vec::<String>::new());
}

/// The kernel doesn't limit the number of root's processes, so that an endless bomb is somebody
/// else's. Anybody but root is limited as they are.
fn bomb_of_nobody(name: &str) {
    if std::env::var_os("LAR_TEST_BOMBS").is_none() {
        eprintln!(
            "{name}: skipped, an endless bomb starves the whole machine; set LAR_TEST_BOMBS=1"
        );
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = directory.path().join("copy");
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let mut command = Command::new(&copy);
    command.args(["parent", "kill", name]);
    // Small, for whoever shares the machine. `LAR_TEST_BOMB=300` shows what stopping before killing
    // is for: without it that takes minutes.
    let size: usize = std::env::var("LAR_TEST_BOMB").map_or(60, |size| size.parse().unwrap());
    if rustix::process::getuid().is_root() {
        command.arg(size.to_string()).uid(NOBODY).gid(NOBODY);
    } else {
        // Room for what this user runs already, other tests' bombs included.
        let user = rustix::process::getuid().as_raw();
        let owner =
            |entry: std::io::Result<fs::DirEntry>| entry?.metadata().map(|found| found.uid());
        let running = fs::read_dir("/proc").unwrap().filter_map(|entry| owner(entry).ok());
        command.arg((running.filter(|&owner| owner == user).count() + size).to_string());
    }
    let output = command.current_dir("/").stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success());
    let took = String::from_utf8(output.stdout).unwrap();
    assert!(took.ends_with(" ms\n"), "{took}");
    eprintln!("{name}: {}", took.trim());
}

/// One after the other: they would share the user's limit.
fn endless_bombs() {
    bomb_of_nobody("bomb");
    bomb_of_nobody("scattered-bomb");
}

fn dead_parent() {
    let directory = tempfile::tempdir().unwrap();
    for arguments in [vec!["sleep"], vec!["stubborn"], vec!["scattered-daemon"]] {
        let file = directory.path().join("pid");
        let arguments = match arguments.as_slice() {
            ["scattered-daemon"] => vec!["daemon", file.to_str().unwrap()],
            other => other.to_vec(),
        };
        let mark = tag(&mut probe(&[]));
        let mut parent = Command::new(std::env::current_exe().unwrap())
            .args(["parent", "wait", &mark])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut helper = String::new();
        let mut output = std::io::BufReader::new(parent.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut output, &mut helper).unwrap();
        parent.kill().unwrap();
        parent.wait().unwrap();
        until("the tree of the dead parent has ended", || survivors(&mark).is_empty());
        let helper = format!("/proc/{}/stat", helper.trim());
        // As a zombie it waits for whoever adopted it.
        until("the helper has ended", || {
            fs::read_to_string(&helper).map_or(true, |stat| stat.contains(") Z "))
        });
    }
}

fn orphans() {
    // 300 orphans have ended by then; only the program itself is still the helper's child.
    assert_eq!(run(&probe(&["orphans", "300"])).text(), "1\n");
}

fn spare(what: &str) {
    if what == "account" && !rustix::process::geteuid().is_root() {
        println!("skipped: a_helper_that_waits_is_not_used_by_another_account: needs root");
        return;
    }
    support::parent(what);
}

fn leaks() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["parent", "leaks"])
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "0\n");
}

fn gigabyte() {
    let head = support::first_existing(&["/usr/bin/head", "/bin/head"]);
    let spec = support::spec(head, &["-c", "1073741824", "/dev/zero"]);
    let mut child = spawn(&spec).unwrap();
    let mut output = File::from(child.take_stdout().unwrap());
    let mut buffer = vec![0; 1 << 16];
    let mut total = 0_u64;
    loop {
        match output.read(&mut buffer).unwrap() {
            0 => break,
            count => total += count as u64,
        }
    }
    assert_eq!(total, 1 << 30);
    assert_eq!(finish(child).events, exited(0));
}
