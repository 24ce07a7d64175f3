//! Requests, against servers on loopback that misbehave.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Ended, Lab, call, calls, done, request, serve};

/// A token `page` for this port.
fn page(port: u16, more: &str) -> String {
    format!(
        "[[token]]\nkind = \"http\"\nname = \"page\"\nurl = \"http://127.0.0.1:{port}/hook?a=b%20c\"\n\
         methods = [\"GET\", \"POST\"]\n{more}\n"
    )
}

fn get() -> Value {
    call("page", json!({"method": "GET"}))
}

fn reply(stream: &mut TcpStream, status: &str, headers: &str, body: &[u8]) {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
    let _ = stream.write_all(&[head.as_bytes(), body].concat());
}

/// A run that gets the page once.
fn got(port: u16, more: &str) -> Ended {
    Lab::new(&page(port, more)).replay(&[get(), done()]).go().exits(0)
}

#[test]
fn a_request_is_what_the_token_and_the_model_say_and_no_more() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let port = serve({
        let seen = Arc::clone(&seen);
        move |mut stream, _| {
            let request = request(&mut stream);
            seen.lock().unwrap().push(request);
            reply(&mut stream, "201 Created", "Content-Type: text/plain\r\n", b"made");
        }
    });
    let more = "max_uses = 2\nheaders = { X-Team = \"sre\" }";
    let lab = Lab::new(&page(port, more));
    let turns = [
        calls([
            ("page", json!({"method": "post", "body": {"a": [1.50, "x\u{e9}"]}})),
            ("page", json!({"method": "GET"})),
        ]),
        done(),
    ];
    let ended = lab.replay(&turns).go().exits(0);
    let seen = seen.lock().unwrap().clone();
    let (head, body) = seen[0].split_once("\r\n\r\n").unwrap();
    let head = head.to_lowercase();
    assert!(head.starts_with("post /hook?a=b%20c http/1.1\r\n"), "{head}");
    assert!(
        head.contains("x-team: sre") && head.contains("content-type: application/json"),
        "{head}"
    );
    let proofs = ended.proofs();
    let attempt = proofs[0]["attempt"].as_str().unwrap();
    assert!(head.contains(&format!("idempotency-key: {attempt}")), "{head}");
    assert_eq!(body, r#"{"a":[1.5,"xé"]}"#, "the model's bytes, as they came");
    assert!(seen[1].starts_with("GET "), "{}", seen[1]);
    assert!(!seen[1].to_lowercase().contains("idempotency-key"), "a GET needs none");
    assert_eq!(proofs[0]["http_status"], 201);
    assert_eq!(proofs[0]["output_digest"], json!(linear_agentics::json::Digest::of(b"made")));
}

#[test]
fn a_redirect_is_the_result_and_is_not_followed() {
    for status in ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"] {
        let asked = Arc::new(AtomicUsize::new(0));
        let port = serve({
            let asked = Arc::clone(&asked);
            move |mut stream, _| {
                request(&mut stream);
                asked.fetch_add(1, Ordering::SeqCst);
                reply(&mut stream, status, "Location: /elsewhere\r\n", b"");
            }
        });
        let ended = got(port, "");
        assert_eq!(asked.load(Ordering::SeqCst), 1, "{status} was followed");
        let proof = ended.proofs().remove(0);
        let code: u64 = status.split(' ').next().unwrap().parse().unwrap();
        assert_eq!((&proof["outcome"], &proof["http_status"]), (&json!("succeeded"), &json!(code)));
    }
}

#[test]
fn a_proxy_in_the_environment_is_ignored() {
    let proxied = Arc::new(AtomicUsize::new(0));
    let proxy = serve({
        let proxied = Arc::clone(&proxied);
        move |_, _| {
            proxied.fetch_add(1, Ordering::SeqCst);
        }
    });
    let port = serve(|mut stream, _| {
        request(&mut stream);
        reply(&mut stream, "200 OK", "", b"direct");
    });
    let server = standin::messages::Server::start([
        standin::Reply::tool_use("toolu_1", "page", json!({"method": "GET"})),
        standin::Reply::text("Done."),
    ]);
    let lab = Lab::new(&page(port, ""));
    let mut run = lab.against(&server);
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]
    {
        run = run.env(name, &format!("http://127.0.0.1:{proxy}"));
    }
    let ended = run.go().exits(0);
    assert_eq!(ended.outcomes(), ["succeeded"]);
    assert_eq!(proxied.load(Ordering::SeqCst), 0, "neither tools nor the model go through it");
}

#[test]
fn sizes_are_capped() {
    let port = serve(|mut stream, _| {
        request(&mut stream);
        reply(&mut stream, "200 OK", "", &[b'x'; 5_000]);
    });
    let server = standin::messages::Server::start([
        standin::Reply::tool_uses([
            ("toolu_1", "page", json!({"method": "POST", "body": "y".repeat(2_000)})),
            ("toolu_2", "page", json!({"method": "GET"})),
        ]),
        standin::Reply::text("Done."),
    ]);
    let ended = Lab::new(&page(port, "max_body = 1000")).against(&server).go().exits(0);
    let complaint = ended.complaints().remove(0);
    assert!(complaint.starts_with("TokenScopeError") && complaint.contains("1000"), "{complaint}");
    assert_eq!(ended.outcomes(), ["succeeded"]);
    let told = server.requests()[1].json()["messages"][2]["content"][1].to_string();
    assert!(told.matches('x').count() <= 1_010, "{} bytes", told.len());
    assert!(told.contains("4000 bytes beyond the token's cap left out"), "{told}");
}

#[test]
fn an_endless_answer_ends_with_the_deadline() {
    let port = serve(|mut stream, _| {
        request(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        // Slow and without an end.
        while stream.write_all(&[b'x'; 1000]).is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let ended = got(port, "timeout = \"2s\"");
    let proof = ended.proofs().remove(0);
    assert_eq!((&proof["outcome"], &proof["reason"]), (&json!("unknown"), &json!("timeout")));
}

#[test]
fn a_server_that_says_nothing_leaves_the_outcome_unknown() {
    let port = serve(|mut stream, _| {
        request(&mut stream);
        std::thread::sleep(Duration::from_secs(60));
    });
    let ended = got(port, "timeout = \"1s\"");
    let proof = ended.proofs().remove(0);
    assert_eq!((&proof["outcome"], &proof["reason"]), (&json!("unknown"), &json!("timeout")));
    assert_eq!(ended.json()["tokens_unused"], json!([]), "unknown means spent");
}

#[test]
fn an_answer_that_breaks_off_leaves_the_outcome_unknown() {
    let answers: [&[u8]; 5] = [
        b"",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nonly ",
        b"this is no HTTP\r\n\r\n",
    ];
    std::thread::scope(|scope| {
        for answer in answers {
            scope.spawn(move || {
                let asked = Arc::new(AtomicUsize::new(0));
                let port = serve({
                    let asked = Arc::clone(&asked);
                    move |mut stream, _| {
                        request(&mut stream);
                        asked.fetch_add(1, Ordering::SeqCst);
                        let _ = stream.write_all(answer);
                    }
                });
                let lab = Lab::new(&page(port, ""));
                let post = call("page", json!({"method": "POST", "body": {}}));
                let ended = lab.replay(&[post.clone(), get(), done()]).go().exits(0);
                let shown = String::from_utf8_lossy(answer);
                let proofs = ended.proofs();
                assert_eq!(proofs.len(), 1, "{shown}");
                assert_eq!(proofs[0]["outcome"], "unknown", "{shown}");
                assert_eq!(proofs[0]["reason"], "cut", "{shown}");
                assert_eq!(asked.load(Ordering::SeqCst), 1, "it was tried again: {shown}");
                assert_eq!(ended.errors()[1]["error_type"], "TokenReusedError", "{shown}");
            });
        }
    });
}

#[test]
fn where_nobody_listens_the_use_is_given_back() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let ended = Lab::new(&page(port, "")).replay(&[get(), get(), done()]).go().exits(0);
    assert!(ended.proofs().is_empty());
    let complaints = ended.complaints();
    assert_eq!(complaints.len(), 2);
    assert!(complaints.iter().all(|line| line.starts_with("NeverBeganError")), "{complaints:?}");
    assert_eq!(ended.json()["tokens_unused"], json!(["page"]));
}

#[test]
fn an_error_status_is_a_complete_answer() {
    let port = serve(|mut stream, _| {
        request(&mut stream);
        reply(&mut stream, "503 Busy", "", b"later");
    });
    let proof = got(port, "").proofs().remove(0);
    assert_eq!((&proof["outcome"], &proof["http_status"]), (&json!("succeeded"), &json!(503)));
}

#[test]
fn a_compressed_answer_is_taken_as_it_comes() {
    let seen = Arc::new(Mutex::new(String::new()));
    // A thousand bytes that would unpack to a gibibyte must stay a thousand.
    let packed = [b"\x1f\x8b\x08\0\0\0\0\0\0\x03".as_slice(), &[0xaa; 990]].concat();
    let port = serve({
        let seen = Arc::clone(&seen);
        move |mut stream, _| {
            *seen.lock().unwrap() = request(&mut stream);
            reply(&mut stream, "200 OK", "Content-Encoding: gzip\r\n", &packed);
        }
    });
    let ended = got(port, "");
    assert_eq!(ended.outcomes(), ["succeeded"]);
    assert_eq!(ended.proofs()[0]["output_bytes"], json!(1000));
    assert!(!seen.lock().unwrap().to_lowercase().contains("accept-encoding"));
}

/// A server with a certificate for `localhost` that the authority in `ca.crt` vouches for; `other.crt`
/// is another authority.
struct Tls(std::process::Child, u16);

impl Tls {
    fn start(lab: &Lab) -> Option<Self> {
        use std::process::{Command, Stdio};
        let command = |words: &str| {
            let mut command = Command::new("openssl");
            command.args(words.split_whitespace()).current_dir(lab.dir());
            command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -days 2";
        for words in [
            format!("req -x509 {key} -keyout ca.key -out ca.crt -subj /CN=ours"),
            format!("req -x509 {key} -keyout other.key -out other.crt -subj /CN=theirs"),
            format!(
                "req -x509 {key} -keyout server.key -out server.crt -subj /CN=server -CA ca.crt \
                 -CAkey ca.key -addext subjectAltName=DNS:localhost -addext basicConstraints=CA:FALSE"
            ),
        ] {
            match command(&words).status() {
                Ok(status) => assert!(status.success(), "openssl {words}"),
                Err(_) => {
                    crate::support::skip("there is no `openssl`");
                    return None;
                }
            }
        }
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let words = format!(
            "s_server -accept 127.0.0.1:{port} -cert server.crt -key server.key -www -quiet"
        );
        let server = Self(command(&words).spawn().unwrap(), port);
        crate::support::eventually("the server listens", || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Some(server)
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_token_trusts_the_roots_that_it_names_and_no_others() {
    let keys = Lab::new("");
    let Some(Tls(_, port)) = &Tls::start(&keys) else {
        return;
    };
    let run = |roots: &str| {
        let token = format!(
            "[[token]]\nkind = \"http\"\nname = \"page\"\nurl = \"https://localhost:{port}/\"\n\
             methods = [\"GET\"]\n{roots}\n"
        );
        let lab = Lab::new(&token);
        for name in ["ca.crt", "other.crt"] {
            lab.write(name, keys.read(name));
        }
        lab.replay(&[get(), done()]).go().exits(0).proofs().remove(0)
    };
    assert_eq!(run("tls_roots = \"ca.crt\"")["outcome"], json!("succeeded"));
    for roots in ["tls_roots = \"other.crt\"", ""] {
        let proof = run(roots);
        assert_eq!((&proof["outcome"], &proof["reason"]), (&json!("failed"), &json!("tls")));
    }
    let lab = Lab::new(
        "[[token]]\nkind = \"http\"\nname = \"page\"\nurl = \"https://localhost/\"\n\
         methods = [\"GET\"]\ntls_roots = \"none.crt\"\n",
    );
    let ended = lab.replay(&[done()]).go().exits(2);
    assert!(ended.stderr.contains("`none.crt`"), "{}", ended.stderr);
}
