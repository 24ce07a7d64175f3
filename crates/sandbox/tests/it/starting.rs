//! What a program is given, how its end is told, and why it may not start.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use lar_sandbox::{Event, FileIdentity, SpawnError, spawn};
use libtest_mimic::{Failed, Trial};

use crate::probe::hex;
use crate::support::{exited, first_existing, probe, program, run, signaled, spec};

pub fn trials() -> Vec<Trial> {
    let tests: [(&str, fn()); 18] = [
        ("arguments_and_environment_arrive_byte_for_byte", arguments_and_environment),
        ("a_large_argument_list_arrives", large_arguments),
        ("working_directory", working_directory),
        ("nothing_but_three_descriptors", descriptors),
        ("session_signals_privileges_and_umask", surroundings),
        ("limits", limits),
        ("exit_codes_and_signals", endings),
        ("a_program_that_is_missing", missing),
        ("a_file_that_is_no_program", no_program),
        ("a_program_that_changed", changed),
        ("a_program_that_changed_to_its_twin", swapped),
        ("what_was_checked_is_what_runs", race),
        ("scripts", scripts),
        ("a_missing_working_directory", no_directory),
        ("no_path_lookup", no_lookup),
        ("the_helper_is_this_binary_and_no_other", own_binary),
        ("the_helper_has_no_environment", empty_helper),
        ("the_marker_by_hand", by_hand),
    ];
    let trial = |(name, test): (&str, fn())| {
        Trial::test(name, move || {
            test();
            Ok::<_, Failed>(())
        })
    };
    tests.into_iter().map(trial).collect()
}

fn values<'a>(shown: &'a str, name: &str) -> Vec<&'a str> {
    let lines = shown.lines().filter_map(|line| line.split_once('='));
    lines.filter(|(found, _)| *found == name).map(|(_, value)| value).collect()
}

fn arguments_and_environment() {
    let odd = OsString::from_vec((1..=255).collect());
    let mut spec = probe(&["show", "", "  ", "-", "$HOME `id`", "*"]);
    spec.argv.push(odd.clone());
    spec.argv[0] = "another name".into();
    spec.env = vec![("EMPTY".into(), "".into()), ("ODD".into(), odd.clone())];
    let shown = run(&spec).text();
    let wanted: Vec<String> = spec.argv.iter().map(|argument| hex(argument.as_bytes())).collect();
    assert_eq!(values(&shown, "arg"), wanted);
    let environ = [b"EMPTY=\0ODD=".as_slice(), odd.as_bytes(), b"\0"].concat();
    assert_eq!(values(&shown, "environ"), [hex(&environ)]);

    spec.argv[0] = "".into();
    spec.env.clear();
    let shown = run(&spec).text();
    assert_eq!(values(&shown, "arg")[0], "");
    assert_eq!(values(&shown, "environ"), [""]);
}

fn large_arguments() {
    // More than a socket buffer holds, so that both sides must take turns.
    let mut spec = probe(&["show"]);
    spec.argv.extend((0..10).map(|n| OsString::from(n.to_string().repeat(100_000))));
    let shown = run(&spec).text();
    assert_eq!(values(&shown, "arg")[12].len(), 200_000);
    spec.argv.extend((0..70).map(|_| OsString::from("x".repeat(100_000))));
    let ended = run(&spec);
    let (errno, message) = ended.exec_failure();
    assert_eq!(errno, libc::E2BIG);
    assert!(message.contains("shorten"), "{message}");
}

fn working_directory() {
    let directory = tempfile::tempdir().unwrap();
    let inner = directory.path().join("a b\n");
    fs::create_dir(&inner).unwrap();
    let mut spec = probe(&["show"]);
    spec.workdir = inner.clone();
    let shown = run(&spec).text();
    assert_eq!(values(&shown, "cwd"), [hex(inner.as_os_str().as_bytes())]);
}

fn descriptors() {
    // Without close-on-exec, as a careless library would leave it.
    let _leaky = rustix::io::dup(File::open("/dev/zero").unwrap()).unwrap();
    let shown = run(&probe(&["show"])).text();
    assert_eq!(values(&shown, "fds"), [r#"["0", "1", "2"]"#]);
    assert_eq!(values(&shown, "stdin"), ["/dev/null"]);
    assert_eq!(values(&shown, "input"), [""]);
}

fn surroundings() {
    let shown = run(&probe(&["show"])).text();
    assert_eq!(values(&shown, "tty"), [libc::ENXIO.to_string()]);
    assert_eq!(values(&shown, "leads"), ["true"]);
    assert_ne!(values(&shown, "session"), [crate::probe::session().to_string()]);
    assert_eq!(values(&shown, "umask"), ["22"]);
    assert_eq!(values(&shown, "NoNewPrivs"), ["1"]);
    // This program ignores SIGPIPE, as every Rust program does, and the helper blocks everything;
    // `grep` changes neither and shows what it was given.
    let grep = first_existing(&["/bin/grep", "/usr/bin/grep"]);
    let shown = run(&spec(grep, &["-E", "^Sig(Blk|Ign)", "/proc/self/status"])).text();
    assert_eq!(shown, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

fn limits() {
    let mut spec = probe(&["show"]);
    let limits = &mut spec.confinement.limits;
    (limits.open_files, limits.processes, limits.file_size) =
        (Some(77), Some(4321), Some(1_000_000));
    let shown = run(&spec).text();
    let limit = |name: &str| {
        let lines = values(&shown, "limit");
        let line = lines.iter().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(limit("Max core file size"), ["0", "0"]);
    assert_eq!(limit("Max open files"), ["77", "77"]);
    assert_eq!(limit("Max processes"), ["4321", "4321"]);
    assert_eq!(limit("Max file size"), ["1000000", "1000000"]);

    // Far more than is there to give: what the parent has is the most.
    spec.confinement.limits.open_files = Some(u64::MAX - 1);
    run(&spec).text();
}

fn endings() {
    for code in [0, 1, 42, 125, 126, 127, 128, 137, 255] {
        assert_eq!(run(&probe(&["exit", &code.to_string()])).events, exited(code));
    }
    for signal in [libc::SIGKILL, libc::SIGTERM, libc::SIGSEGV, libc::SIGPIPE, libc::SIGABRT] {
        // `sh` kills itself: the standard library of the probe ignores some of these.
        let command = format!("kill -{signal} $$");
        assert_eq!(run(&spec("/bin/sh", &["-c", &command])).events, signaled(signal));
    }
    let both = run(&spec("/bin/sh", &["-c", "echo out; echo err >&2; exit 3"]));
    assert_eq!((both.stdout.as_slice(), both.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
    assert_eq!(both.events, exited(3));
}

fn missing() {
    let mut spec = spec("/bin/true", &[]);
    spec.program = "/no/such/program".into();
    let ended = run(&spec);
    let expected = "the program `/no/such/program` does not exist: correct the path";
    assert_eq!(ended.exec_failure(), (libc::ENOENT, expected));
    assert!(ended.stdout.is_empty() && ended.stderr.is_empty());
}

fn no_program() {
    let directory = tempfile::tempdir().unwrap();
    let path = program(directory.path(), "plain", "echo no interpreter named\n");
    // Neither the C library nor anything else may hand this to a shell.
    let ended = run(&spec(&path, &[]));
    assert_eq!(ended.exec_failure().0, libc::ENOEXEC);
    assert!(ended.exec_failure().1.contains("`#!` line"), "{}", ended.exec_failure().1);
    assert!(ended.stdout.is_empty());

    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let ended = run(&spec(&path, &[]));
    assert_eq!(ended.exec_failure().0, libc::EACCES);
    assert!(ended.exec_failure().1.contains("permissions"), "{}", ended.exec_failure().1);

    let ended = run(&spec(directory.path(), &[]));
    assert_eq!(ended.exec_failure().0, libc::EACCES);
    assert!(ended.exec_failure().1.contains("regular file"), "{}", ended.exec_failure().1);

    let fifo = directory.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    assert!(run(&spec(&fifo, &[])).exec_failure().1.contains("regular file"));
}

fn changed() {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in [("binary", None), ("script", Some("#!/bin/sh\necho one\n"))] {
        let path = directory.path().join(name);
        match content {
            None => drop(fs::copy("/bin/true", &path).unwrap()),
            Some(content) => drop(program(directory.path(), name, content)),
        }
        let spec = spec(&path, &[]);
        run(&spec).text();
        let touched = File::options().append(true).open(&path).unwrap();
        touched.set_modified(std::time::UNIX_EPOCH).unwrap();
        drop(touched);
        let ended = run(&spec);
        assert_eq!(ended.exec_failure().0, libc::ESTALE);
        let message = ended.exec_failure().1;
        assert!(message.contains("has changed since it was checked"), "{message}");
        assert!(ended.stdout.is_empty());
    }
}

fn swapped() {
    // The same bytes and times at the same path, but another file.
    let directory = tempfile::tempdir().unwrap();
    let path = program(directory.path(), "twin", "#!/bin/sh\necho one\n");
    let spec = spec(&path, &[]);
    let twin = program(directory.path(), "other", "#!/bin/sh\necho two\n");
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    File::options().append(true).open(&twin).unwrap().set_modified(time).unwrap();
    fs::rename(&twin, &path).unwrap();
    assert_eq!(run(&spec).exec_failure().0, libc::ESTALE);
    let now = FileIdentity::of(&path).unwrap();
    assert_eq!((now.size, now.modified_ns), (spec.expected.size, spec.expected.modified_ns));
}

/// A path that leads now to one program and now to another: it may not run, but never the other.
fn race() {
    let directory = tempfile::tempdir().unwrap();
    let inside = |name: &str| directory.path().join(name);
    fs::copy("/bin/true", inside("good")).unwrap();
    fs::copy("/bin/false", inside("evil")).unwrap();
    let lead_to = {
        let (link, new) = (inside("link"), inside("new"));
        move |target| {
            std::os::unix::fs::symlink(target, &new).unwrap();
            fs::rename(&new, &link).unwrap();
        }
    };
    lead_to("good");
    let spec = spec(inside("link"), &[]);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let mut ran = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                lead_to("evil");
                lead_to("good");
            }
        });
        let ends: Vec<_> = (0..300).map(|_| run(&spec).events).collect();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        for events in ends {
            match events.as_slice() {
                [Event::ExecFailed { errno: libc::ESTALE, .. }] => {}
                _ => {
                    assert_eq!(events, exited(0), "the other program ran");
                    ran += 1;
                }
            }
        }
    });
    assert!(ran > 0, "the race was never won, so that nothing was shown");
}

fn scripts() {
    let directory = tempfile::tempdir().unwrap();
    let path = program(directory.path(), "script", "#!/bin/sh\necho \"$0 $1\"\nexit 4\n");
    let mut spec = spec(&path, &["a b"]);
    let ended = run(&spec);
    assert_eq!(ended.events, exited(4));
    assert_eq!(String::from_utf8(ended.stdout).unwrap(), format!("{} a b\n", path.display()));

    let path = program(directory.path(), "broken", "#!/no/such/interpreter\n");
    spec.program = path.clone();
    spec.expected = FileIdentity::of(&path).unwrap();
    let ended = run(&spec);
    assert_eq!(ended.exec_failure().0, libc::ENOENT);
    assert!(ended.exec_failure().1.contains("interpreter"), "{}", ended.exec_failure().1);
}

fn no_directory() {
    let mut spec = spec("/bin/true", &[]);
    spec.workdir = "/no/such/directory".into();
    let ended = run(&spec);
    let message = "the working directory `/no/such/directory` does not exist: correct the path";
    assert_eq!(ended.exec_failure(), (libc::ENOENT, message));
}

fn no_lookup() {
    let mut relative = spec("/bin/true", &[]);
    relative.program = "true".into();
    relative.env = vec![("PATH".into(), "/bin:/usr/bin".into())];
    assert!(matches!(spawn(&relative), Err(SpawnError::Spec(_))));

    // Neither the child's PATH nor a name in its working directory is of any interest.
    let directory = tempfile::tempdir().unwrap();
    for name in ["sh", "lar-confine"] {
        program(directory.path(), name, "#!/bin/sh\necho trap\n");
    }
    let mut absolute = spec("/bin/sh", &["-c", "echo genuine"]);
    absolute.env = vec![("PATH".into(), directory.path().into())];
    absolute.workdir = directory.path().to_owned();
    assert_eq!(run(&absolute).text(), "genuine\n");
}

fn own_binary() {
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("copy");
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let trap = program(directory.path(), "lar-confine", "#!/bin/sh\necho trap\n");
    let mut parent = Command::new(&copy);
    parent.args(["parent", "replaced"]).arg(&trap).env("PATH", directory.path());
    parent.stderr(Stdio::inherit());
    // A child of another test, between its fork and its exec, may still hold the copy open for writing.
    let output = loop {
        match parent.output() {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(Duration::from_millis(10));
            }
            output => break output.unwrap(),
        }
    };
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "genuine\n");
    // The trap does lie where the program was.
    assert!(fs::read_to_string(&copy).unwrap().contains("trap"));
}

fn empty_helper() {
    assert!(std::env::vars_os().next().is_some(), "this test needs an environment of its own");
    let mut spec = probe(&["sleep"]);
    spec.env.push(("SECRET".into(), "in the child alone".into()));
    let mut child = spawn(&spec).unwrap();
    assert_eq!(child.next_event().unwrap(), Some(Event::Started));
    let helper = child.helper_id();
    let command_line = fs::read(format!("/proc/{helper}/cmdline")).unwrap();
    assert_eq!(command_line, b"lar-confine\0");
    match fs::read(format!("/proc/{helper}/environ")) {
        Ok(environment) => assert_eq!(environment, b""),
        // What is not dumpable can only be read by root.
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied),
    }
    child.kill();
    crate::support::finish(child);
}

fn by_hand() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg0("lar-confine").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("only started by the program that it belongs to"), "{message}");
    assert!(output.stdout.is_empty());

    // A pipe is no better, and with a socket it takes no nonsense either.
    let output = command.stdin(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    let (mut ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    std::io::Write::write_all(&mut ours, b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let output = command.stdin(std::os::fd::OwnedFd::from(theirs)).output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    drop(command);
    let mut answer = Vec::new();
    // What it did not read makes the end of the socket an error.
    let _ = ours.read_to_end(&mut answer);
    let mut decoder = lar_sandbox::EventDecoder::default();
    decoder.push(&answer);
    assert!(matches!(decoder.next_event(), Ok(Some(Event::ExecFailed { .. }))));
}
