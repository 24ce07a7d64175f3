//! What a start costs: a bare `posix_spawn` of `/bin/true`, the same through the helper, and a start
//! behind all walls beside its floor (a clone into the same namespaces and an exec) and bubblewrap.

#![allow(clippy::unwrap_used, reason = "a benchmark stops at the first surprise")]
#![allow(clippy::print_stdout, reason = "what is not measured is said beside what is")]
#![allow(unsafe_code, reason = "the floor is a system call that no library wraps")]

use std::path::Path;
use std::process::{Command, Stdio};

use lar_sandbox::{
    Access, ChildSpec, Confinement, Event, FileIdentity, Grant, Limits, Tier, probe, spawn,
};

fn main() {
    lar_sandbox::init();
    let outside = std::env::temp_dir();
    match probe(&outside).map(|found| found.why_not(Tier::A)) {
        Ok(None) => {}
        Ok(Some(why)) => return println!("tier A can't be had, so nothing is measured: {why}"),
        Err(error) => return println!("nothing can be started: {error}"),
    }
    if bwrap().is_none() {
        println!("`bwrap` is not installed, so it is not measured");
    }
    divan::main();
}

/// The floor: the standard library's `posix_spawn`, an empty environment, output to a pipe.
#[divan::bench]
fn bare() {
    let mut command = Command::new("/bin/true");
    command.env_clear().stdin(Stdio::null());
    divan::black_box(command.output().unwrap());
}

/// From the call to the last event: the tree is empty.
#[divan::bench]
fn through_the_helper(bencher: divan::Bencher<'_, '_>) {
    let spec = spec();
    bencher.bench_local(|| run(&spec));
}

/// A helper that finds nothing to run: its own share of the above.
#[divan::bench]
fn the_helper_alone(bencher: divan::Bencher<'_, '_>) {
    let spec = ChildSpec { program: "/no/such/program".into(), ..spec() };
    bencher.bench_local(|| run(&spec));
}

/// The call alone, as long as the caller's thread is held up. The rest is waited for, not counted.
#[divan::bench]
fn the_call_alone(bencher: divan::Bencher<'_, '_>) {
    let spec = spec();
    bencher
        .with_inputs(|| std::thread::sleep(std::time::Duration::from_millis(4)))
        .bench_local_values(|()| spawn(&spec).unwrap());
}

/// The floor of tier A: a clone into the same seven namespaces, an exec, and the wait for its end.
#[divan::bench]
fn tier_a_floor_clone_and_exec() {
    let flags = libc::CLONE_NEWUSER
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP
        | libc::SIGCHLD;
    let none: libc::c_long = 0;
    let (path, argv, env) =
        (c"/bin/true".as_ptr(), [c"true".as_ptr(), std::ptr::null()], [std::ptr::null()]);
    // SAFETY: a fork without shared memory; the new process calls nothing but `execve` and `_exit`,
    // with static strings.
    unsafe {
        let pid = libc::syscall(libc::SYS_clone, libc::c_long::from(flags), none, none, none, none);
        if pid == 0 {
            libc::execve(path, argv.as_ptr(), env.as_ptr());
            libc::_exit(127);
        }
        let mut status = 0;
        libc::waitpid(pid as libc::pid_t, &raw mut status, 0);
        assert_eq!(status, 0, "no namespaces");
    }
}

/// The same behind all walls: file tree, Landlock, seccomp, and all events to the empty tree.
#[divan::bench]
fn tier_a(bencher: divan::Bencher<'_, '_>) {
    let spec = confined();
    bencher.bench_local(|| run(&spec));
}

/// The same to the end of the namespaces, as the floor is measured.
#[divan::bench]
fn tier_a_and_its_namespaces_gone(bencher: divan::Bencher<'_, '_>) {
    let spec = confined();
    bencher.bench_local(|| run_and_wait(&spec));
}

/// Eight at a time; the rate is eight by the time of one.
#[divan::bench(threads = [8])]
fn tier_a_in_parallel(bencher: divan::Bencher<'_, '_>) {
    let spec = confined();
    bencher.counter(1_u32).bench(|| run(&spec));
}

/// Bubblewrap, with a file tree of about the same places.
#[divan::bench]
fn tier_a_bubblewrap(bencher: divan::Bencher<'_, '_>) {
    let Some(bwrap) = bwrap() else { return };
    bencher.bench_local(|| {
        let mut command = Command::new(&bwrap);
        command.args(["--unshare-all", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]);
        for name in ["/usr", "/lib", "/lib64", "/bin"].map(Path::new) {
            match std::fs::read_link(name) {
                Ok(target) => command.arg("--symlink").args([target.as_path(), name]),
                Err(_) if name.exists() => command.arg("--ro-bind").args([name, name]),
                Err(_) => &mut command,
            };
        }
        command.arg("/bin/true").env_clear().stdin(Stdio::null());
        assert!(divan::black_box(command.output().unwrap()).status.success());
    });
}

fn bwrap() -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("bwrap")).find(|file| file.is_file())
}

/// To the word that no process of the tree is left, and the release of what the caller holds. As a
/// runtime does, and bubblewrap, this doesn't wait for the kernel to take empty namespaces down.
fn run(spec: &ChildSpec) {
    let mut child = spawn(spec).unwrap();
    while let Some(event) = child.next_event().unwrap() {
        assert!(!matches!(event, Event::ExecFailed { .. }) || !spec.program.exists());
        if divan::black_box(event) == Event::Emptied {
            return;
        }
    }
    assert!(!spec.program.exists(), "it was lost");
}

/// The same to the end of the helper, by which the namespaces are gone too.
fn run_and_wait(spec: &ChildSpec) {
    let mut child = spawn(spec).unwrap();
    while child.next_event().unwrap().is_some() {}
    child.wait_helper().unwrap();
}

fn spec() -> ChildSpec {
    let program = std::path::PathBuf::from("/bin/true");
    ChildSpec {
        expected: FileIdentity::of(&program).unwrap(),
        pinned: Vec::new(),
        program,
        argv: vec!["true".into()],
        env: Vec::new(),
        workdir: "/".into(),
        confinement: Confinement::default(),
    }
}

/// What a command gets: its own file and loader, the system's libraries and data, a home, limits.
fn confined() -> ChildSpec {
    let program = Path::new("/bin/true").canonicalize().unwrap();
    let mut grants = vec![Grant { path: program.clone(), access: Access::Execute }];
    let mut links = Vec::new();
    for name in [
        "/usr/lib",
        "/usr/lib64",
        "/usr/libexec",
        "/usr/share",
        "/usr/local/lib",
        "/etc/ssl",
        "/lib",
        "/lib64",
        "/bin",
    ]
    .map(Path::new)
    {
        match std::fs::read_link(name) {
            Ok(target) => links.push((name.to_owned(), target)),
            Err(_) if name.is_dir() && name != Path::new("/bin") => {
                grants.push(Grant { path: name.to_owned(), access: Access::Read });
            }
            Err(_) => {}
        }
    }
    let loaders = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"];
    for loader in loaders.into_iter().filter_map(|loader| Path::new(loader).canonicalize().ok()) {
        grants.push(Grant { path: loader, access: Access::Execute });
    }
    let mut spec = spec();
    spec.expected = FileIdentity::of(&program).unwrap();
    spec.program = program;
    spec.confinement = Confinement {
        tier: Tier::A,
        limits: Limits {
            memory: Some(4 << 30),
            tree_memory: Some(6 << 30),
            processes: Some(1024),
            ..Limits::default()
        },
        grants,
        links,
        texts: vec![("/etc/hosts".into(), b"127.0.0.1 localhost\n".to_vec())],
        home: Some("/home/somebody".into()),
        scratch_bytes: 512 << 20,
        ..Confinement::default()
    };
    spec
}
