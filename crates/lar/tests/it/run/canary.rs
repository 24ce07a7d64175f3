//! Two hundred random secrets, other ones each time, said by everything that a run listens to, come out nowhere.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use serde_json::json;
use standin::Reply;
use standin::messages::Server;

use crate::pty::Terminal;
use crate::support::{Lab, Run, request, serve, shell};

/// Random secrets, each with characters that every encoding changes.
fn secrets(count: usize) -> Vec<Vec<u8>> {
    let mut seed =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos()
            as u64
            | 1;
    let mut random = move || {
        // xorshift64*
        seed ^= seed >> 12;
        seed ^= seed << 25;
        seed ^= seed >> 27;
        seed.wrapping_mul(0x2545_f491_4f6c_dd1d)
    };
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=&%$#!~\"<>?";
    (0..count)
        .map(|_| {
            let length = 20 + (random() % 24) as usize;
            (0..length).map(|_| letters[(random() % letters.len() as u64) as usize]).collect()
        })
        .collect()
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let number = three.iter().fold(0u32, |n, byte| n << 8 | u32::from(*byte));
        let number = number << (8 * (3 - three.len()));
        for place in 0..=three.len() {
            let digit = number >> (18 - 6 * place) & 63;
            text.push(char::from(DIGITS[digit as usize]));
        }
    }
    text
}

/// What programs make of a secret: it, base64 at each alignment, hexadecimal, percent-encoded, JSON.
fn forms(secret: &[u8]) -> Vec<String> {
    let text = String::from_utf8(secret.to_vec()).unwrap();
    let mut all = vec![text.clone()];
    for before in ["", "x", "xy"] {
        all.push(base64(&[before.as_bytes(), secret].concat()));
    }
    all.push(secret.iter().fold(String::new(), |mut all, byte| {
        write!(all, "{byte:02x}").unwrap();
        all
    }));
    all.push(secret.iter().fold(String::new(), |mut all, byte| {
        match byte.is_ascii_alphanumeric() {
            true => all.push(char::from(*byte)),
            false => write!(all, "%{byte:02X}").unwrap(),
        }
        all
    }));
    let quoted = json!(text).to_string();
    all.push(quoted[1..quoted.len() - 1].to_owned());
    all
}

/// Twelve bytes out of the middle of each form. The edges of base64 share bits with what is around.
fn marks(secrets: &[Vec<u8>]) -> HashSet<[u8; 12]> {
    let middle = |form: String| {
        let start = (form.len() - 12) / 2;
        form.as_bytes()[start..start + 12].try_into().unwrap()
    };
    secrets.iter().flat_map(|secret| forms(secret)).map(middle).collect()
}

#[track_caller]
fn absent(marks: &HashSet<[u8; 12]>, place: &str, bytes: &[u8]) {
    for window in bytes.windows(12) {
        let window: [u8; 12] = window.try_into().unwrap();
        assert!(!marks.contains(&window), "{place} holds `{}`", window.escape_ascii());
    }
}

#[track_caller]
fn absent_below(marks: &HashSet<[u8; 12]>, dir: &Path) -> usize {
    let mut files = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files += absent_below(marks, &path);
        } else if let Ok(bytes) = std::fs::read(&path) {
            absent(marks, &path.display().to_string(), &bytes);
            files += 1;
        }
    }
    files
}

#[test]
fn random_secrets_come_out_of_no_channel() {
    let secrets = secrets(200);
    let marks = marks(&secrets);
    let spoken: String =
        secrets.iter().flat_map(|secret| forms(secret)).fold(String::new(), |mut all, form| {
            all.push_str(&form);
            all.push_str("\n ");
            all
        });
    // The check itself must be able to fail.
    assert!(spoken.as_bytes().windows(12).any(|w| marks.contains(w)));

    let port = serve({
        let spoken = spoken.clone();
        move |mut stream, index| {
            request(&mut stream);
            // Said in the body, and in the status of the next answer; cut where the pieces end.
            let head = format!(
                "HTTP/1.1 {} OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
                if index == 0 { 200 } else { 500 },
                spoken.len()
            );
            let _ = stream.write_all(head.as_bytes());
            for piece in spoken.as_bytes().chunks(997) {
                let _ = stream.write_all(piece);
                let _ = stream.flush();
            }
        }
    });
    let elsewhere = Lab::new("");
    let words = elsewhere.write("words.txt", &spoken);
    let mut tables = format!(
        "[[token]]\nkind = \"http\"\nname = \"page\"\nurl = \"http://127.0.0.1:{port}/\"\n\
         methods = [\"GET\"]\nmax_uses = 2\nmax_body = 2000000\nrequires_approval = true\n{}",
        shell(
            &["cat", "grep"],
            &format!("max_uses = 3\nreads = [{:?}]\n", words.parent().unwrap())
        ),
    );
    for index in 0..secrets.len() {
        write!(
            tables,
            "[[token]]\nkind = \"secret\"\nname = \"s{index}\"\nenv = \"CANARY_{index}\"\n\
             inject_env = \"CANARY\"\n[token.inner]\nkind = \"shell\"\nname = \"inner\"\nallowed = [\"env\"]\n"
        )
        .unwrap();
    }
    let lab = Lab::new(&tables);
    let words = words.display();
    let server = Server::start([
        Reply::tool_use("toolu_1", "page", json!({"method": "GET"})),
        Reply::tool_use("toolu_2", "page", json!({"method": "GET"})),
        Reply::tool_use("toolu_3", "shell_sh", json!({"command": format!("cat {words}")})),
        // Said on standard error, with a failure.
        Reply::tool_use("toolu_4", "shell_sh", json!({"command": format!("cat {words} nowhere")})),
        Reply::tool_use("toolu_5", "shell_sh", json!({"command": format!("grep -c . {words}")})),
        Reply::tool_use("toolu_6", "secret_s7", json!({"command": "env"})),
        Reply::text("Done."),
    ]);
    let mut run = lab.against(&server).args([
        "--audit",
        "audit.json",
        "--report",
        "report.md",
        "--record",
        "rec.jsonl",
    ]);
    for (index, secret) in secrets.iter().enumerate() {
        run = run.env(&format!("CANARY_{index}"), std::str::from_utf8(secret).unwrap());
    }
    let mut person = Terminal::start(&run);
    person.answer("yes");
    person.answer("yes");
    let ended = person.wait().exits(0);
    let mut outcomes = ended.outcomes();
    outcomes.sort();
    assert_eq!(
        outcomes,
        ["failed", "succeeded", "succeeded", "succeeded", "succeeded", "succeeded"]
    );
    absent(&marks, "the result", ended.stdout.as_bytes());
    absent(&marks, "the terminal", ended.stderr.as_bytes());
    let requests = server.requests();
    let told: Vec<String> = requests.iter().map(|request| request.text()).collect();
    assert!(told.iter().any(|text| text.contains("[redacted:s199]")), "what it said was read");
    for text in &told {
        absent(&marks, "what the model got", text.as_bytes());
    }
    let list = ["audit", "list", "--ledger", "ledger.db"].map(str::to_owned);
    let show = ["audit", "show", "latest", "--ledger", "ledger.db"].map(str::to_owned);
    let mut commands = vec![list.to_vec(), show.to_vec()];
    for form in ["bundle", "json", "table", "html", "csv", "in-toto", "ocsf", "otel"] {
        let words = ["audit", "export", "latest", "--ledger", "ledger.db", "--format", form];
        commands.push(words.map(str::to_owned).to_vec());
    }
    for words in &commands {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let ended = Run::at(lab.dir(), &words).go().exits(0);
        assert!(!ended.stdout.is_empty(), "{words:?}");
        absent(&marks, &words.join(" "), ended.stdout.as_bytes());
        absent(&marks, &words.join(" "), ended.stderr.as_bytes());
    }
    assert!(absent_below(&marks, lab.dir()) >= 5, "ledger, journal, trail, report and record");
}
