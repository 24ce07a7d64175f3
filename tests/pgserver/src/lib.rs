//! A private PostgreSQL server for a test: a new cluster in a temporary directory, reached through a
//! socket there, and gone at the end, even when the test is killed.
//!
//! It is made of the binaries that are installed (Debian: the package `postgresql`). A server that
//! runs already is neither used nor touched. PostgreSQL refuses to run as root; started by root, this
//! one runs as `postgres`, or as `nobody` where there is no such account.
//!
//! ```no_run
//! let Some(server) = pgserver::start_or_skip() else { return };
//! server.sql("postgres", "CREATE ROLE app LOGIN");
//! let url = server.url("app", "postgres"); // postgres://app@%2Ftmp%2F…/postgres
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test support: stopping at the first surprise is what a test wants"
)]

mod account;
mod binaries;

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use account::Account;
use binaries::Binaries;

/// How a server differs from the plain one, which listens on its socket alone and trusts whoever
/// can reach it.
#[derive(Debug, Default, Clone)]
pub struct Options {
    /// Lines of `postgresql.conf`, such as `("log_statement", "all")`.
    pub settings: Vec<(String, String)>,
    /// Whether it listens on a free port of 127.0.0.1 as well.
    pub tcp: bool,
    /// The whole of `pg_hba.conf`.
    pub hba: Option<String>,
    /// A certificate and its key in PEM, with which connections over TCP can be encrypted.
    pub tls: Option<(String, String)>,
}

impl Options {
    /// A further setting.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A running server. Dropping it ends it and removes its directory.
#[derive(Debug)]
pub struct Server {
    binaries: Binaries,
    account: Account,
    directory: PathBuf,
    port: Option<u16>,
    guard: Child,
}

/// Starts a plain server. Where there is none on this machine, says by name that the calling test
/// is skipped, and why, past the test harness, which shows no output of tests that pass.
pub fn start_or_skip() -> Option<Server> {
    start_with_or_skip(Options::default())
}

/// Like [`start_or_skip`], for a server that isn't plain.
pub fn start_with_or_skip(options: Options) -> Option<Server> {
    match Binaries::find() {
        Ok(binaries) => Some(Server::start(binaries, options)),
        Err(why) => {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or("a test");
            let _ = writeln!(std::io::stderr(), "skipped: {name}: {why}");
            None
        }
    }
}

impl Server {
    fn start(binaries: Binaries, options: Options) -> Self {
        let server = Self::empty(binaries, options.tcp.then(free_port));
        server.make_cluster(&options);
        server.start_again();
        server
    }

    /// A directory for a server, and the guard that clears it away.
    fn empty(binaries: Binaries, port: Option<u16>) -> Self {
        let account = Account::for_server();
        let directory = tempfile::Builder::new()
            .prefix("lar-pg-")
            .tempdir()
            .expect("no temporary directory can be made")
            .keep();
        account.give(&directory);
        // The guard outlives a test that is killed: its input ends with the test's process.
        let guard = account
            .command(Path::new("/bin/sh"))
            .args(["-c", GUARD, "pgserver"])
            .arg(binaries.program("pg_ctl"))
            .arg(&directory)
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("no shell can be started");
        Server { binaries, account, directory, port, guard }
    }

    /// Starts a standby of this server, to which what is committed here is streamed. It answers reads,
    /// and becomes a server of its own by [`Server::promote`].
    ///
    /// # Panics
    /// When this server can't be copied.
    pub fn standby(&self) -> Server {
        let standby = Self::empty(self.binaries.clone(), None);
        let mut copy = self.program("pg_basebackup");
        copy.args(["-U", "postgres", "-R", "-X", "stream", "-c", "fast", "--no-sync", "-D"]);
        succeed(copy.arg(standby.data()));
        let file = standby.data().join("postgresql.auto.conf");
        let mut settings = fs::read_to_string(&file).unwrap();
        // The last word on a setting counts.
        settings.push_str(&format!(
            "unix_socket_directories = '{}'\nlisten_addresses = ''\nport = {DEFAULT_PORT}\n\
             synchronous_standby_names = ''\n",
            standby.directory.display()
        ));
        standby.write("postgresql.auto.conf", &settings);
        standby.start_again();
        standby
    }

    /// Makes a standby a server that takes writes, and waits until it does.
    pub fn promote(&self) {
        self.control(&["promote"]);
    }

    fn make_cluster(&self, options: &Options) {
        let mut initdb = self.account.command(&self.binaries.program("initdb"));
        initdb
            .args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C"])
            .args(["--no-sync", "--no-instructions", "-D"])
            .arg(self.data());
        succeed(initdb.current_dir(&self.directory));
        let mut settings = format!(
            "unix_socket_directories = '{}'\nlisten_addresses = '{}'\nport = {}\n\
             shared_buffers = '32MB'\nmax_connections = 200\ntimezone = 'UTC'\n",
            self.directory.display(),
            if options.tcp { "127.0.0.1" } else { "" },
            self.port.unwrap_or(DEFAULT_PORT),
        );
        if let Some((certificate, key)) = &options.tls {
            self.write("server.crt", certificate);
            self.write("server.key", key);
            settings.push_str("ssl = on\n");
        }
        for (name, value) in &options.settings {
            settings.push_str(&format!("{name} = '{}'\n", value.replace('\'', "''")));
        }
        self.write("postgresql.auto.conf", &settings);
        if let Some(rules) = &options.hba {
            self.write("pg_hba.conf", rules);
        }
    }

    /// Writes a file of the cluster's.
    fn write(&self, name: &str, content: &str) {
        use std::os::unix::fs::OpenOptionsExt as _;
        let path = self.data().join(name);
        // The server refuses a key that others may read.
        let mut file = fs::OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .unwrap();
        file.write_all(content.as_bytes()).unwrap();
        self.account.give(&path);
    }

    /// The address as a URL, through the socket.
    pub fn url(&self, user: &str, database: &str) -> String {
        let host = self.directory.display().to_string().replace('/', "%2F");
        let port = self.port.unwrap_or(DEFAULT_PORT);
        format!("postgres://{user}@{host}:{port}/{database}")
    }

    /// The directory in which the socket is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The socket itself.
    pub fn socket(&self) -> PathBuf {
        self.directory.join(format!(".s.PGSQL.{}", self.port.unwrap_or(DEFAULT_PORT)))
    }

    /// The port on 127.0.0.1, when [`Options::tcp`] was asked for.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Runs statements as the superuser `postgres` and returns what psql prints, unaligned and
    /// without headers.
    ///
    /// # Panics
    /// When a statement fails.
    pub fn sql(&self, database: &str, statements: &str) -> String {
        let mut psql = self.program("psql");
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "postgres"])
            .args(["-d", database, "-c", statements]);
        succeed(&mut psql)
    }

    /// One of PostgreSQL's programs (`psql`, `pgbench`, ...), with the environment that leads it to
    /// this server.
    pub fn program(&self, name: &str) -> Command {
        let mut command = self.account.command(&self.binaries.program(name));
        command
            .env("PGHOST", &self.directory)
            .env("PGPORT", self.port.unwrap_or(DEFAULT_PORT).to_string())
            .current_dir(&self.directory);
        command
    }

    /// Ends the server without a checkpoint and without asking its clients, as a crash would. What
    /// was committed is there after [`Server::start_again`].
    pub fn crash(&self) {
        self.control(&["stop", "-m", "immediate"]);
    }

    /// Ends the server in order: its clients are cut off, what they had open is rolled back.
    pub fn stop(&self) {
        self.control(&["stop", "-m", "fast"]);
    }

    /// Starts the server after [`Server::crash`] or [`Server::stop`], and waits until it answers.
    pub fn start_again(&self) {
        self.control(&["start", "-t", "60", "-l"]);
    }

    fn control(&self, words: &[&str]) {
        let log = self.directory.join("log");
        let mut control = self.account.command(&self.binaries.program("pg_ctl"));
        control.arg("-D").arg(self.data()).arg("-w").arg("-s").args(words);
        if words.contains(&"-l") {
            control.arg(&log);
        }
        // The server inherits what is left open, so that a pipe here would be waited for until its
        // end.
        let status = control
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(
            status.success(),
            "pg_ctl {words:?}: {status}\n{}",
            fs::read_to_string(&log).unwrap_or_default()
        );
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

const DEFAULT_PORT: u16 = 5432;

/// Waits for the end of its input, then ends the server and removes its directory.
const GUARD: &str = "trap '' HUP INT TERM; cat >/dev/null
    \"$1\" -D \"$2/data\" -s -m immediate stop; rm -rf \"$2\"";

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Runs a program to its end and returns what it printed.
fn succeed(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(
        output.status.success(),
        "{:?}: {}\n{}",
        command.get_program(),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}
