//! The corpus of SQL in the clients that a shell token runs: what the judge allows is a read for SQLite's
//! and for MariaDB's own `sqlite3` and `mysql` too.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use linear_agentics::scope::command;

/// The honest cases of the groups that are run and that `wanted` picks: whether each is a command, and
/// its text.
fn honest(wanted: impl Fn(&str, &str) -> bool) -> Vec<(bool, String)> {
    let corpus: toml::Table =
        include_str!("../../../../tests/corpus/sql.toml").parse().expect("the corpus is TOML");
    let mut cases = Vec::new();
    for group in corpus["group"].as_array().unwrap() {
        let text = |key: &str| group.get(key).and_then(toml::Value::as_str).unwrap_or_default();
        if group.get("runs").is_none() || !wanted(text("dialect"), text("prefix")) {
            continue;
        }
        let is_command = !text("prefix").is_empty();
        for case in group["honest"].as_array().unwrap() {
            cases.push((is_command, case.as_str().unwrap().to_owned()));
        }
    }
    cases
}

/// Runs a command of the corpus as it was split, with more words behind its program.
fn run(line: &str, more: &[&str], directory: &Path) -> Result<(), String> {
    let parsed = command::Command::parse(line).expect(line);
    let (program, arguments) = parsed.argv().split_first().unwrap();
    finish(Command::new(program).args(more).args(arguments).current_dir(directory), line)
}

fn finish(command: &mut Command, shown: &str) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().expect("the client starts");
    let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() && why.is_empty() {
        Ok(())
    } else {
        Err(format!("{shown}\n    {why}"))
    }
}

fn skip(test: &str, why: &str) {
    // Past the harness, which shows no output of tests that pass.
    let _ = writeln!(std::io::stderr(), "skipped: {test}: {why}");
}

fn has(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .is_ok_and(|output| output.status.success())
}

/// Every statement runs on a file that `sqlite3` may not write, every command as it was split.
#[test]
fn what_is_allowed_runs_as_a_read_in_a_real_sqlite3() {
    if !has("sqlite3") {
        return skip("what_is_allowed_runs_as_a_read_in_a_real_sqlite3", "there is no `sqlite3`");
    }
    let directory = tempfile::tempdir().expect("a directory");
    let schema = include_str!("../../../../tests/corpus/sql-schema-sqlite.sql");
    let made = rusqlite::Connection::open(directory.path().join("app.db")).expect("a database");
    made.execute_batch(schema).expect("the schema");
    made.close().expect("it is closed");
    let cases = honest(|dialect, prefix| dialect == "sqlite" || prefix.starts_with("sqlite3"));
    let one = |(is_command, text): &(bool, String)| match is_command {
        true => run(text, &["-readonly"], directory.path()),
        false => finish(
            Command::new("sqlite3")
                .args(["-readonly", "app.db", text])
                .current_dir(directory.path()),
            text,
        ),
    };
    let wrong: Vec<String> = cases.iter().filter_map(|case| one(case).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases.len() >= 30, "{} cases ran", cases.len());
}

/// A MariaDB server for one test: a new data directory, reached through a socket in it.
struct Server {
    directory: tempfile::TempDir,
    guard: Child,
}

/// Ends the server when its input ends, which it does with the test's process.
const GUARD: &str = "\"$@\" & server=$!; cat >/dev/null; kill $server; wait $server";

impl Server {
    fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("lar-my-").tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name).display().to_string();
        let data = format!("--datadir={}", at("data"));
        let made = Command::new("mariadb-install-db")
            .args(["--no-defaults", "--skip-test-db", "--auth-root-authentication-method=normal"])
            .args([&data, "--user=root"])
            .output()
            .expect("mariadb-install-db starts");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let guard = Command::new("sh")
            .args(["-c", GUARD, "guard", "mariadbd", "--no-defaults", "--skip-networking"])
            .args([&data, "--user=root", "--innodb-buffer-pool-size=16M"])
            .args([format!("--socket={}", at("socket")), format!("--pid-file={}", at("pid"))])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell starts");
        let server = Self { directory, guard };
        let start = Instant::now();
        while finish(&mut server.client("root", "SELECT 1"), "SELECT 1").is_err() {
            assert!(start.elapsed() < Duration::from_secs(60), "the server doesn't answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    fn socket(&self) -> String {
        format!("--socket={}", self.directory.path().join("socket").display())
    }

    fn client(&self, user: &str, sql: &str) -> Command {
        let mut client = Command::new("mysql");
        client.args(["--no-defaults", &self.socket(), "--user", user, "--execute", sql]);
        client.stdout(Stdio::null());
        client
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

/// Every statement and every command runs as a user who may only read, in a read-only transaction.
#[test]
fn what_is_allowed_runs_as_a_read_in_a_real_mariadb() {
    let needed = ["mysql", "mariadbd", "mariadb-install-db"];
    // The last has no `--version`, and says so by its exit status.
    let found =
        |name: &&str| has(name) || *name == needed[2] && Path::new("/usr/bin").join(name).exists();
    if let Some(absent) = needed.iter().find(|name| !found(name)) {
        let why = format!("there is no `{absent}` (Debian: mariadb-server-core, mariadb-client)");
        return skip("what_is_allowed_runs_as_a_read_in_a_real_mariadb", &why);
    }
    let server = Server::start();
    let schema = include_str!("../../../../tests/corpus/sql-schema-mysql.sql");
    finish(&mut server.client("root", schema), "the schema").expect("the schema");
    let cases = honest(|dialect, prefix| dialect == "mysql" || prefix.starts_with("mysql"));
    let socket = server.socket();
    let reads = "--init-command=SET SESSION TRANSACTION READ ONLY";
    let one = |(is_command, text): &(bool, String)| {
        let more = ["--no-defaults", &socket, "--user=corpus_reader", reads];
        match is_command {
            true => run(text, &more, server.directory.path()),
            false => finish(Command::new("mysql").args(more).args(["shop", "-e", text]), text),
        }
    };
    let wrong: Vec<String> = cases.iter().filter_map(|case| one(case).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases.len() >= 40, "{} cases ran", cases.len());
}
