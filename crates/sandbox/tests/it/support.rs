//! What the tests share: specs, a way to run them to the end, and a look for survivors.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use lar_sandbox::{Child, ChildSpec, Confinement, Event, FileIdentity, spawn};

/// The environment variable that marks every process of one test's tree.
pub const TAG: &str = "LAR_TEST_TAG";

/// Long enough for a crowded machine, short enough to notice what hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn spec(program: impl AsRef<Path>, arguments: &[&str]) -> ChildSpec {
    let program = program.as_ref();
    let argv = [program.as_os_str().to_owned()].into_iter();
    ChildSpec {
        program: program.to_owned(),
        expected: FileIdentity::of(program).unwrap(),
        pinned: Vec::new(),
        argv: argv.chain(arguments.iter().map(OsString::from)).collect(),
        env: Vec::new(),
        workdir: "/".into(),
        confinement: Confinement::default(),
    }
}

pub fn probe(arguments: &[&str]) -> ChildSpec {
    let arguments: Vec<&str> = [&["probe"], arguments].concat();
    spec(std::env::current_exe().unwrap(), &arguments)
}

/// Marks every process that the spec starts, and returns the mark.
pub fn tag(spec: &mut ChildSpec) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let mark = format!("{}-{next}", std::process::id());
    spec.env.push((TAG.into(), (&mark).into()));
    mark
}

/// The processes that carry a mark and are more than zombies.
pub fn survivors(mark: &str) -> Vec<String> {
    let wanted = format!("{TAG}={mark}");
    let carries = |environment: Vec<u8>| {
        environment.split(|&byte| byte == 0).any(|pair| pair == wanted.as_bytes())
    };
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|pid| pid.parse::<u32>().is_ok())
        .filter(|pid| fs::read(format!("/proc/{pid}/environ")).is_ok_and(carries))
        .collect()
}

pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub struct Ended {
    pub events: Vec<Event>,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Ended {
    /// The output of a program that succeeded.
    pub fn text(&self) -> String {
        let errors = String::from_utf8_lossy(&self.stderr);
        assert_eq!(self.events, exited(0), "{errors}");
        String::from_utf8(self.stdout.clone()).unwrap()
    }

    pub fn exec_failure(&self) -> (i32, &str) {
        match self.events.as_slice() {
            [Event::ExecFailed { errno, message }] => (*errno, message),
            other => panic!("started after all: {other:?}"),
        }
    }
}

pub fn exited(code: i32) -> Vec<Event> {
    vec![Event::Started, Event::Exited { code }, Event::Emptied]
}

pub fn signaled(signal: i32) -> Vec<Event> {
    vec![Event::Started, Event::Signaled { signal }, Event::Emptied]
}

pub fn run(spec: &ChildSpec) -> Ended {
    finish(spawn(spec).unwrap())
}

/// Reads all output and events to their ends and reaps the helper.
pub fn finish(mut child: Child) -> Ended {
    let reader = |end: Option<std::os::fd::OwnedFd>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(end) = end {
                File::from(end).read_to_end(&mut bytes).unwrap();
            }
            bytes
        })
    };
    let stdout = reader(child.take_stdout());
    let stderr = reader(child.take_stderr());
    let mut events = Vec::new();
    while let Some(event) = child.next_event().unwrap() {
        events.push(event);
    }
    child.wait_helper().unwrap();
    Ended { events, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

/// Lets a parent do what it is called for, and fails as it does.
pub fn parent(what: &str) {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["parent", "spare", what])
        .stderr(std::process::Stdio::inherit())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "done\n");
}

/// An executable file with this content.
pub fn program(directory: &Path, name: &str, content: &str) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

pub fn first_existing(paths: &[&str]) -> PathBuf {
    paths.iter().map(PathBuf::from).find(|path| path.exists()).unwrap()
}
