//! Connections to a real server: encrypted, refused, and what is said then.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use lar_postgres::{Address, Environment, explain};
use pgserver::Options;

async fn connect(url: &str) -> Result<String, String> {
    let address = Address::parse(url, &Environment::default()).map_err(|e| e.to_string())?;
    let connected = address.connect(&Arc::default()).await.map_err(|error| explain(&error))?;
    let question = "SELECT coalesce((SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()
        AND ssl), 'open')";
    let row = connected.client.query_one(question, &[]).await.map_err(|e| explain(&e))?;
    Ok(row.get(0))
}

#[tokio::test]
async fn through_a_socket() {
    let Some(server) = pgserver::start_or_skip() else { return };
    assert_eq!(connect(&server.url("postgres", "postgres")).await.unwrap(), "open");
    let error = connect(&server.url("postgres", "nowhere")).await.unwrap_err();
    assert!(error.contains("no such database"), "{error}");
    let error = connect(&server.url("nobody-else", "postgres")).await.unwrap_err();
    assert!(error.contains("refused the login"), "{error}");
    server.stop();
    let error = connect(&server.url("postgres", "postgres")).await.unwrap_err();
    assert!(error.contains("nothing listens there"), "{error}");
}

#[tokio::test]
async fn with_a_password() {
    let options = Options {
        hba: Some("local all postgres trust\nlocal all all scram-sha-256\n".to_owned()),
        ..Options::default()
    };
    let Some(server) = pgserver::start_with_or_skip(options) else { return };
    server.sql("postgres", "CREATE ROLE app LOGIN PASSWORD 'p@ss word'");
    let url = server.url("app", "postgres");
    let error = connect(&url).await.unwrap_err();
    assert!(error.contains("PGPASSWORD"), "{error}");
    let right = url.replace("app@", "app:p%40ss%20word@");
    assert_eq!(connect(&right).await.unwrap(), "open");
    let error = connect(&url.replace("app@", "app:wr0ng@")).await.unwrap_err();
    assert!(error.contains("refused the login") && !error.contains("wr0ng"), "{error}");
}

#[tokio::test]
async fn encrypted_and_only_to_the_server_that_was_meant() {
    let place = tempfile::tempdir().unwrap();
    let Some([certificate, key]) = certificate(place.path()) else { return };
    let tls = Some((certificate, key));
    let Some(server) =
        pgserver::start_with_or_skip(Options { tcp: true, tls, ..Options::default() })
    else {
        return;
    };
    let port = server.port().unwrap();
    let roots = place.path().join("ca.crt").display().to_string().replace('/', "%2F");
    let url = |host: &str, rest: &str| format!("postgres://postgres@{host}:{port}/postgres?{rest}");
    let ours = format!("sslmode=verify-full&sslrootcert={roots}");
    assert_eq!(connect(&url("localhost", &ours)).await.unwrap(), "TLSv1.3");
    // `require` is no weaker: the certificate is checked all the same.
    let require = format!("sslmode=require&sslrootcert={roots}");
    assert_eq!(connect(&url("localhost", &require)).await.unwrap(), "TLSv1.3");
    assert_eq!(connect(&url("localhost", "")).await.unwrap(), "open");

    let error = connect(&url("127.0.0.1", &require)).await.unwrap_err();
    assert!(error.contains("another name"), "{error}");
    let error = connect(&url("localhost", "sslmode=require")).await.unwrap_err();
    assert!(error.contains("unknown authority"), "{error}");
}

#[tokio::test]
async fn a_server_without_tls_is_not_talked_to_in_the_open() {
    let place = tempfile::tempdir().unwrap();
    let Some(_) = certificate(place.path()) else { return };
    let Some(server) = pgserver::start_with_or_skip(Options { tcp: true, ..Options::default() })
    else {
        return;
    };
    let roots = place.path().join("ca.crt").display().to_string().replace('/', "%2F");
    let port = server.port().unwrap();
    let url = format!(
        "postgres://postgres@localhost:{port}/postgres?sslmode=require&sslrootcert={roots}"
    );
    let error = connect(&url).await.unwrap_err();
    assert!(error.contains("offers no TLS"), "{error}");
}

/// An authority in `ca.crt`, and a certificate of its for `localhost` with the key.
fn certificate(place: &Path) -> Option<[String; 2]> {
    let openssl = |words: &str| {
        let status = Command::new("openssl")
            .args(words.split_whitespace())
            .current_dir(place)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        status.map(|status| assert!(status.success(), "openssl {words}"))
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc";
    let made =
        openssl(&format!("req -x509 {key} -keyout ca.key -out ca.crt -days 2 -subj /CN=ours"));
    if made.is_err() {
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), "skipped: TLS to a server: there is no `openssl`");
        return None;
    }
    openssl(&format!(
        "req -x509 {key} -keyout server.key -out server.crt -days 2 -subj /CN=server -CA ca.crt \
         -CAkey ca.key -addext subjectAltName=DNS:localhost -addext basicConstraints=CA:FALSE"
    ))
    .unwrap();
    Some(["server.crt", "server.key"].map(|name| fs::read_to_string(place.join(name)).unwrap()))
}
