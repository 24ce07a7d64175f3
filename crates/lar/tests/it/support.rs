//! What the tests of the binary stand on: a directory of their own with a manifest and a session in
//! it, the real `lar`, and what came of it.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use linear_agentics::audit::AuditTrail;
use linear_agentics::{open_ledger, read_trail};
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The binary under test.
pub const LAR: &str = env!("CARGO_BIN_EXE_lar");

/// Where a lab's runs keep their state, when nothing says otherwise.
pub const LAB_STATE: &str = ".local/state/lar";

/// Longer than any run here may take, on a machine that has much else to do.
pub const PATIENCE: Duration = Duration::from_secs(150);

/// The budget of a manifest that says nothing about it.
const HEAD: &str = "[agent]\ntask = \"Do the work.\"\n[budget]\nmax_steps = 40\ntimeout = \"2m\"\n";

/// A directory of its own for one test.
pub struct Lab {
    dir: TempDir,
}

impl Lab {
    /// A lab whose manifest has these tables after a usual budget.
    pub fn new(tables: &str) -> Self {
        Self::whole(&format!("{HEAD}{tables}"))
    }

    /// A lab with this whole manifest.
    pub fn whole(manifest: &str) -> Self {
        let lab = Self { dir: tempfile::tempdir().unwrap() };
        lab.write("manifest.toml", manifest);
        std::fs::create_dir(lab.path("out")).unwrap();
        lab
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A path in the one directory of it that programs may write.
    pub fn made(&self, name: &str) -> PathBuf {
        self.dir.path().join("out").join(name)
    }

    /// Reads what a program wrote.
    pub fn read_made(&self, name: &str) -> String {
        std::fs::read_to_string(self.made(name)).unwrap()
    }

    /// The processes of this lab's runs, whatever namespace they are in: all are started with the lab
    /// as their home. Those that only wait to be reaped have no environment any more.
    pub fn processes(&self) -> Vec<String> {
        let home = format!("HOME={}", self.dir().display());
        let carries = |environment: Vec<u8>| {
            environment.split(|&byte| byte == 0).any(|pair| pair == home.as_bytes())
        };
        std::fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|pid| pid.parse::<u32>().is_ok())
            .filter(|pid| std::fs::read(format!("/proc/{pid}/environ")).is_ok_and(carries))
            .collect()
    }

    /// Writes a file in it.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// Reads a file in it.
    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// A run of the manifest in which the model takes these turns.
    pub fn replay(&self, turns: &[Value]) -> Run {
        let lines: Vec<String> = turns.iter().map(Value::to_string).collect();
        self.write("session.jsonl", lines.join("\n"));
        self.run().args(["--replay", "session.jsonl"])
    }

    /// A run of the manifest with the model that the manifest names.
    pub fn run(&self) -> Run {
        let args = ["run", "manifest.toml", "--json", "--ledger", "ledger.db"];
        Run {
            dir: self.dir().to_owned(),
            args: args.map(str::to_owned).to_vec(),
            env: vec![("HOME".to_owned(), self.dir().to_string_lossy().into_owned())],
        }
    }

    /// A run of the session that was written last, on the ledger at this place.
    pub fn bare(&self, ledger: &str) -> Run {
        let mut run = self.without_ledger();
        run.args.extend(["--ledger".to_owned(), ledger.to_owned()]);
        run
    }

    /// A run of the session that was written last, on the default ledger.
    pub fn without_ledger(&self) -> Run {
        let mut run = self.run().args(["--replay", "session.jsonl"]);
        run.args.retain(|arg| arg != "--ledger" && arg != "ledger.db");
        run
    }

    /// A run against a stand-in of the Messages API.
    pub fn against(&self, server: &standin::messages::Server) -> Run {
        self.run().env("ANTHROPIC_BASE_URL", &server.url()).env("ANTHROPIC_API_KEY", KEY)
    }

    /// Every run in the ledger, oldest first, each checked as a chain.
    pub fn trails(&self) -> Vec<AuditTrail> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let ledger = open_ledger(Some(&self.path("ledger.db").into())).await.unwrap();
            let mut runs = ledger.runs().await.unwrap();
            runs.sort_by_key(|run| run.opened);
            let mut trails = Vec::new();
            for run in runs {
                trails.push(read_trail(ledger.as_ref(), &run.run).await.unwrap());
            }
            trails
        })
    }
}

/// A key that is nobody's.
pub const KEY: &str = "sk-ant-test-0123456789abcdef";

/// One run of the binary, yet to be started.
#[derive(Clone)]
pub struct Run {
    dir: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
}

impl Run {
    /// A run in this directory, which need not be a lab's.
    pub fn at(dir: &Path, args: &[&str]) -> Self {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        Self { dir: dir.to_owned(), args, env: Vec::new() }
    }

    /// Adds arguments.
    pub fn args<'a>(mut self, args: impl IntoIterator<Item = &'a str>) -> Self {
        self.args.extend(args.into_iter().map(str::to_owned));
        self
    }

    /// Sets an environment variable; all others but `PATH` and `HOME` are absent.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same without `--json`.
    pub fn for_people(mut self) -> Self {
        self.args.retain(|arg| arg != "--json");
        self
    }

    /// The command, started by `setsid`, so that no test ever asks at the terminal of whoever runs
    /// the tests.
    pub fn command(&self, setsid: &[&str]) -> Command {
        let mut command = Command::new("setsid");
        command.args(setsid).arg(LAR).args(&self.args).current_dir(&self.dir).env_clear();
        command.env("PATH", path());
        for (name, value) in &self.env {
            command.env(name, value);
        }
        command
    }

    /// Starts it without a terminal.
    pub fn start(&self) -> Running {
        let mut command = self.command(&[]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = drain(child.stdout.take().unwrap());
        let stderr = drain(child.stderr.take().unwrap());
        Running { child, stdout, stderr }
    }

    /// Runs it to its end without a terminal.
    pub fn go(&self) -> Ended {
        self.start().wait()
    }
}

/// Reads a stream to its end on a thread of its own.
pub fn drain(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        bytes
    })
}

/// A run of the binary that is going on.
pub struct Running {
    child: Child,
    stdout: JoinHandle<Vec<u8>>,
    stderr: JoinHandle<Vec<u8>>,
}

impl Running {
    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        let _ = rustix::process::kill_process(pid, signal);
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Ended {
        let code = reap(&mut self.child);
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ended {
            code,
            stdout: text(self.stdout.join().unwrap()),
            stderr: text(self.stderr.join().unwrap()),
        }
    }
}

/// Waits for a child's end; one that takes too long is killed and fails the test.
pub fn reap(child: &mut Child) -> Option<i32> {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if Instant::now() > until {
            let _ = child.kill();
            panic!("the run did not end within {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What came of a run of the binary.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Expects this exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "\n── stderr ──\n{}\n── stdout ──\n{}",
            self.stderr,
            self.stdout
        );
        self
    }

    /// The result that was printed as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}\n{}", self.stdout, self.stderr))
    }

    /// The audit trail.
    #[track_caller]
    pub fn trail(&self) -> Value {
        self.json()["audit_trail"].take()
    }

    /// The proofs.
    #[track_caller]
    pub fn proofs(&self) -> Vec<Value> {
        self.trail()["proofs"].as_array().unwrap().clone()
    }

    /// The errors.
    #[track_caller]
    pub fn errors(&self) -> Vec<Value> {
        self.trail()["errors"].as_array().unwrap().clone()
    }

    /// Type and message of each error, one a line, for assertions that show what there was.
    #[track_caller]
    pub fn complaints(&self) -> Vec<String> {
        let line = |error: &Value| {
            format!(
                "{}: {}",
                error["error_type"].as_str().unwrap(),
                error["message"].as_str().unwrap()
            )
        };
        self.errors().iter().map(line).collect()
    }

    /// The outcomes of the proofs, in order.
    #[track_caller]
    pub fn outcomes(&self) -> Vec<String> {
        let word = |proof: &Value| proof["outcome"].as_str().unwrap().to_owned();
        self.proofs().iter().map(word).collect()
    }
}

/// Ids that no two calls of one test share.
static CALLS: AtomicU64 = AtomicU64::new(1);

/// A turn that calls tools, as a line of a session.
pub fn calls<'a>(calls: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    let block = |(name, input): (&str, Value)| {
        let id = format!("toolu_{}", CALLS.fetch_add(1, Ordering::Relaxed));
        json!({"type": "tool_use", "id": id, "name": name, "input": input})
    };
    let blocks: Vec<Value> = calls.into_iter().map(block).collect();
    turn(blocks, "tool_use")
}

/// A turn that calls one tool.
pub fn call(name: &str, input: Value) -> Value {
    calls([(name, input)])
}

/// A turn that runs one command by the tool `shell_sh`.
pub fn command(command: &str) -> Value {
    call("shell_sh", json!({"command": command}))
}

/// The turn that ends a run.
pub fn done() -> Value {
    turn(vec![json!({"type": "text", "text": "Done."})], "end_turn")
}

/// Any turn.
pub fn turn(blocks: Vec<Value>, stop: &str) -> Value {
    json!({"content": blocks, "stop_reason": stop, "usage": {"input_tokens": 10, "output_tokens": 5}})
}

/// What lets a program of the tests work: it may start any other, and write in one directory.
pub const REACH: &str = "writes = [\"out\"]\nalso_runs = [\"*\"]\n";

/// A shell token named `sh` with these prefixes and further fields. Programs by name run in the
/// directory that they may write.
pub fn shell(allowed: &[&str], more: &str) -> String {
    let place = match more.contains("workdir") || allowed.iter().any(|word| word.starts_with("./"))
    {
        true => "",
        false => "workdir = \"out\"\n",
    };
    let allowed = serde_json::to_string(allowed).unwrap();
    format!(
        "[[token]]\nkind = \"shell\"\nname = \"sh\"\nallowed = {allowed}\n{REACH}{place}{more}\n"
    )
}

/// An executable script in the lab, which a token can name as `./NAME`. It works in the directory that
/// it may write.
pub fn script(lab: &Lab, name: &str, body: &str) {
    use std::os::unix::fs::PermissionsExt;
    let path = lab.write(name, format!("#!/bin/sh\ncd out\n{body}\n"));
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// The directories in which programs are looked for: without those of version managers' stand-ins, which
/// are scripts that find out anew which program is meant.
pub fn path() -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap();
    let real = std::env::split_paths(&path).filter(|folder| !folder.ends_with("shims"));
    // Where `cargo xtask test --install` puts what only the tests need.
    let own = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../cloud-venv/bin");
    std::env::join_paths(real.chain([own])).unwrap()
}

/// Where a program is, as the run under test finds it.
pub fn on_path(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&path()).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Whether all walls can be had here; where they can't, says that the test is skipped.
pub fn tier_a() -> bool {
    let held = Command::new(LAR).arg("doctor").output().unwrap();
    if !held.status.success() {
        skip("tier A can't be had here; see `lar doctor`");
    }
    held.status.success()
}

/// Waits until a condition holds, and fails when it never does.
#[track_caller]
pub fn eventually(what: &str, holds: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < until, "never came true: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether any file below `dir` holds these bytes, and which.
pub fn find_bytes(dir: &Path, needle: &str) -> Option<PathBuf> {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if let Some(found) = find_bytes(&path, needle) {
                return Some(found);
            }
        } else if let Ok(bytes) = std::fs::read(&path)
            && bytes.windows(needle.len()).any(|window| window == needle.as_bytes())
        {
            return Some(path);
        }
    }
    None
}

/// A server on loopback that hands each connection to a function; it is closed with the test's
/// process.
pub fn serve(each: impl Fn(std::net::TcpStream, usize) + Send + Sync + 'static) -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let each = Arc::new(each);
    std::thread::spawn(move || {
        for (index, stream) in listener.incoming().enumerate() {
            let (Ok(stream), each) = (stream, Arc::clone(&each)) else {
                return;
            };
            std::thread::spawn(move || each(stream, index));
        }
    });
    port
}

/// Reads a whole HTTP request: head and, by its length, body.
pub fn request(stream: &mut std::net::TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0u8; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                let length = name.eq_ignore_ascii_case("content-length");
                length.then(|| value.trim().parse::<usize>().unwrap())
            });
            if body.len() >= length.unwrap_or(0) {
                return text;
            }
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return text,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}

/// Says by name that the test is skipped, and why, past the test harness, which shows no output of
/// tests that pass.
pub fn skip(why: &str) {
    use std::io::Write;
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(std::io::stderr(), "skipped: {name}: {why}");
}
