//! The server comes up, survives a crash of its own, and leaves nothing behind.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[test]
fn a_server_keeps_what_was_committed_and_is_gone_at_the_end() {
    let Some(server) = pgserver::start_or_skip() else { return };
    server.sql("postgres", "CREATE TABLE t (n int); INSERT INTO t VALUES (7)");
    server.crash();
    server.start_again();
    assert_eq!(server.sql("postgres", "SELECT n FROM t"), "7");
    assert_eq!(server.sql("postgres", "SHOW listen_addresses"), "");
    let directory = server.directory().to_owned();
    let pid: u32 = {
        let file = directory.join("data/postmaster.pid");
        std::fs::read_to_string(file).unwrap().lines().next().unwrap().parse().unwrap()
    };
    drop(server);
    assert!(!directory.exists());
    // What has ended and was not yet waited for has no command line, proc_pid_cmdline(5).
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    assert!(command.is_empty(), "it still runs");
}

#[test]
fn settings_and_a_port_are_as_asked() {
    let options = pgserver::Options { tcp: true, ..Default::default() };
    let options = options.set("log_line_prefix", "it's mine ");
    let Some(server) = pgserver::start_with_or_skip(options) else { return };
    assert_eq!(server.sql("postgres", "SHOW log_line_prefix"), "it's mine");
    assert!(std::net::TcpStream::connect(("127.0.0.1", server.port().unwrap())).is_ok());
}
