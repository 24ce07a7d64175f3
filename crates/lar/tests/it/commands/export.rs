//! `audit export`, `prove`, `diff`, `tiles` and `keys`, on the ledger of real runs.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::lar;
use crate::support::{Ended, Lab, command, done, serve, shell, skip};

/// A lab with two runs, and a policy that knows its ledger's key.
fn lab() -> Lab {
    let lab = Lab::new(&shell(&["echo"], "max_uses = 2"));
    lab.replay(&[command("echo one"), command("rm -rf /"), done()]).go().exits(0);
    lab.replay(&[command("echo '=1+1 </script>'"), done()]).go().exits(0);
    let policy = on(&lab, &["keys", "show", "--policy"]).exits(0).stdout;
    lab.write("policy.toml", &policy);
    lab
}

/// `lar …` on the lab's ledger.
fn on(lab: &Lab, args: &[&str]) -> Ended {
    lar(lab, &[args, &["--ledger", "ledger.db"]].concat())
}

fn export(lab: &Lab, format: &str) -> String {
    on(lab, &["audit", "export", "latest", "--format", format]).exits(0).stdout
}

fn verify(lab: &Lab, file: &str, code: i32) -> Value {
    let args = ["audit", "verify", file, "--policy", "policy.toml", "--json"];
    lar(lab, &args).exits(code).json()["runs"][0].take()
}

#[test]
fn a_bundle_is_authentic_to_whoever_knows_the_key() {
    let lab = lab();
    let bundle = export(&lab, "bundle");
    lab.write("run.bundle", &bundle);
    let verdict = verify(&lab, "run.bundle", 0);
    for judged in ["integrity", "authenticity", "completeness"] {
        assert_eq!(verdict[judged], "ok", "{verdict}");
    }
    assert_eq!(verdict["witnessing"], "absent");
    // In the ledger as well.
    let all = on(&lab, &["audit", "verify", "--policy", "policy.toml", "--json"]).exits(0).json();
    assert_eq!(all["runs"].as_array().unwrap().len(), 2);
    assert_eq!(all["runs"][1]["authenticity"], "ok");
    // Another ledger's key doesn't do.
    let other = Lab::new(&shell(&["echo"], ""));
    other.replay(&[command("echo one"), done()]).go().exits(0);
    let policy = on(&other, &["keys", "show", "--policy"]).exits(0).stdout;
    lab.write("policy.toml", &policy);
    assert_eq!(verify(&lab, "run.bundle", 1)["authenticity"], "broken");
    lab.write("policy.toml", "kyes = []");
    let ended = lar(&lab, &["audit", "verify", "run.bundle", "--policy", "policy.toml"]).exits(2);
    assert!(ended.stderr.contains("unknown field"), "{}", ended.stderr);
}

#[test]
fn each_form_can_be_written() {
    let lab = lab();
    assert!(export(&lab, "json").contains("\"proofs\""));
    assert!(export(&lab, "table").contains("succeeded"));
    let csv = export(&lab, "csv");
    assert!(csv.starts_with("seq,timestamp,kind") && csv.contains("spend"), "{csv}");
    assert!(export(&lab, "ocsf").lines().all(|line| line.contains("\"class_uid\":6003")));
    assert!(export(&lab, "otel").contains("execute_tool"));
    assert!(export(&lab, "in-toto").contains("https://in-toto.io/Statement/v1"));
    let dsse: Value = serde_json::from_str(&export(&lab, "dsse")).unwrap();
    assert_eq!(dsse["signatures"].as_array().unwrap().len(), 1);
    on(&lab, &["keys", "p256"]).exits(0);
    let dsse: Value = serde_json::from_str(&export(&lab, "dsse")).unwrap();
    assert_eq!(dsse["signatures"].as_array().unwrap().len(), 2);
    let page = export(&lab, "html");
    assert!(page.contains("default-src 'none'"));
    assert_eq!(page.matches("</script>").count(), 2);
    let args = ["audit", "export", "latest", "--out", "run.bundle"];
    on(&lab, &args).exits(0);
    let ended = on(&lab, &args).exits(1);
    assert!(ended.stderr.contains("run.bundle"), "never replaced: {}", ended.stderr);
    on(&lab, &["audit", "export", "none"]).exits(2);
}

#[test]
fn one_record_is_proved_without_the_rest() {
    let lab = lab();
    let proof = on(&lab, &["audit", "prove", "latest", "2"]).exits(0).stdout;
    assert_eq!(proof.matches("\"type\":").count(), 1, "{proof}");
    lab.write("record.proof", &proof);
    let verdict = verify(&lab, "record.proof", 0);
    assert_eq!((&verdict["integrity"], &verdict["authenticity"]), (&"ok".into(), &"ok".into()));
    assert_eq!(verdict["completeness"], "absent");
    for changed in [
        proof.replacen("\"seq\":2", "\"seq\":3", 1),
        proof.replacen("index ", "index 1", 1),
        proof.replacen("\n\nlar-ledger", "\n\nlar-ledgeR", 1),
    ] {
        assert_ne!(changed, proof);
        lab.write("record.proof", &changed);
        assert_eq!(verify(&lab, "record.proof", 1)["ok"], false, "{changed}");
    }
    on(&lab, &["audit", "prove", "latest", "99"]).exits(2);
}

#[test]
fn a_newer_log_adds_and_takes_nothing_away() {
    let lab = lab();
    lab.write("old.bundle", export(&lab, "bundle"));
    std::fs::copy(lab.path("ledger.db"), lab.path("copy.db")).unwrap();
    lab.replay(&[command("echo three"), done()]).go().exits(0);
    lab.write("new.bundle", export(&lab, "bundle"));
    let diff =
        |old: &str, new: &str, code| on(&lab, &["audit", "diff", old, new]).exits(code).stdout;
    assert!(diff("old.bundle", "new.bundle", 0).starts_with("consistent:"));
    assert!(diff("new.bundle", "old.bundle", 1).contains("taken away"));
    on(&lab, &["audit", "diff", "old.bundle"]).exits(0);
    // An older copy is put in the ledger's place, and another run is made: a fork.
    for name in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
        let _ = std::fs::remove_file(lab.path(name));
    }
    std::fs::rename(lab.path("copy.db"), lab.path("ledger.db")).unwrap();
    let ended = on(&lab, &["audit", "diff", "new.bundle"]).exits(1);
    assert!(ended.stdout.contains("older copy"), "{}", ended.stdout);
    // By somebody who has never seen the newer one.
    std::fs::remove_dir_all(lab.path(".local/state/lar-seen")).unwrap();
    for _ in 0..2 {
        lab.replay(&[command("echo four"), done()]).go().exits(0);
    }
    let ended = on(&lab, &["audit", "diff", "new.bundle"]).exits(1);
    assert!(ended.stdout.contains("rewritten or forked"), "{}", ended.stdout);
    assert!(lar(&lab, &["audit", "diff", "policy.toml"]).exits(2).stderr.contains("neither"));
}

#[test]
fn the_log_is_written_as_tiles() {
    let lab = lab();
    let size: u64 = export(&lab, "bundle").split("\\n").nth(1).unwrap().parse().unwrap();
    on(&lab, &["audit", "tiles", "tiles"]).exits(0);
    let tile = std::fs::read(lab.path(&format!("tiles/tile/0/000.p/{size}"))).unwrap();
    assert_eq!(tile.len() as u64, size * 32);
    assert!(lab.path(&format!("tiles/tile/entries/000.p/{size}")).is_file());
    let checkpoint = std::fs::read_to_string(lab.path("tiles/checkpoint")).unwrap();
    assert!(checkpoint.starts_with("lar-ledger/"));
    on(&lab, &["audit", "tiles", "tiles"]).exits(2);
}

#[test]
fn keys_are_made_certified_and_rotated() {
    let lab = Lab::new(&shell(&["echo"], "max_uses = 9"));
    let root = lar(&lab, &["keys", "root", "root.pem"]).exits(0).stdout;
    lab.write("policy.toml", &root);
    on(&lab, &["keys", "init", "--root", "root.pem"]).exits(0);
    on(&lab, &["keys", "init"]).exits(2);
    lab.replay(&[command("echo one"), done()]).go().exits(0);
    lab.write("first.bundle", export(&lab, "bundle"));
    assert_eq!(verify(&lab, "first.bundle", 0)["authenticity"], "ok");
    let first = on(&lab, &["keys", "show", "--json"]).exits(0).json();
    on(&lab, &["keys", "rotate", "--root", "root.pem"]).exits(0);
    lab.replay(&[command("echo two"), done()]).go().exits(0);
    lab.write("second.bundle", export(&lab, "bundle"));
    let both = on(&lab, &["keys", "show", "--json"]).exits(0).json();
    assert_eq!(both["keys"].as_array().unwrap().len(), 2);
    assert_ne!(both["keys"][1]["key"], first["keys"][0]["key"]);
    let verdict = verify(&lab, "second.bundle", 0);
    assert_eq!(verdict["signed_by"], both["keys"][1]["key"]);
    assert_eq!(verify(&lab, "first.bundle", 0)["authenticity"], "ok");
    // The keys lie apart from the ledger, and nobody else can read them.
    let keys: PathBuf = lab.path(".local/state/lar/keys");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&keys).unwrap().permissions());
    assert_eq!(mode & 0o077, 0);
    // A key that is lost stops the run before anything happens.
    std::fs::rename(&keys, lab.path("away")).unwrap();
    let ended = lab.replay(&[command("echo three"), done()]).go();
    assert_ne!(ended.code, Some(0));
    assert!(ended.stderr.contains("unsigned"), "{}", ended.stderr);
}

#[test]
fn openssl_reads_the_key_and_checks_the_checkpoint() {
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("skipped: `openssl` is not installed");
        return;
    }
    let lab = lab();
    let origin = on(&lab, &["keys", "show", "--json"]).exits(0).json()["origin"].take();
    let name = origin.as_str().unwrap().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let pem = lab.path(&format!(".local/state/lar/keys/{name}/epoch-1.pem"));
    let made = Command::new("openssl").args(["pkey", "-pubout", "-in"]).arg(&pem).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    std::fs::write(lab.path("public.pem"), made.stdout).unwrap();
    let header: Value =
        serde_json::from_str(export(&lab, "bundle").lines().next().unwrap()).unwrap();
    let (text, below) = header["checkpoint"].as_str().unwrap().split_once("\n\n").unwrap();
    std::fs::write(lab.path("text"), format!("{text}\n")).unwrap();
    std::fs::write(lab.path("changed"), format!("{text}\n\n")).unwrap();
    let signature = below.trim().rsplit(' ').next().unwrap();
    std::fs::write(lab.path("signature.b64"), signature).unwrap();
    let decoded =
        Command::new("base64").args(["-d", "signature.b64"]).current_dir(lab.dir()).output();
    std::fs::write(lab.path("signature"), &decoded.unwrap().stdout[4..]).unwrap();
    for (message, holds) in [("text", true), ("changed", false)] {
        let checked = Command::new("openssl")
            .args([
                "pkeyutl",
                "-verify",
                "-pubin",
                "-inkey",
                "public.pem",
                "-rawin",
                "-in",
                message,
            ])
            .args(["-sigfile", "signature"])
            .current_dir(lab.dir())
            .output()
            .unwrap();
        assert_eq!(checked.status.success(), holds, "{checked:?}");
    }
}

/// A time-stamping authority in a directory of its own: `openssl ts` behind a socket. Returns its
/// certificate, and its address.
fn authority(lab: &Lab) -> Option<(PathBuf, String)> {
    let openssl = |args: &[&str]| {
        let ended = Command::new("openssl").args(args).current_dir(lab.dir()).output().ok()?;
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        Some(ended.stdout)
    };
    openssl(&["version"])?;
    lab.write(
        "tsa.cnf",
        "[req]\ndistinguished_name = name\nx509_extensions = tsa\nprompt = no\n[name]\nCN = test authority\n\
         [tsa]\nextendedKeyUsage = critical,timeStamping\n\
         [ts]\nserial = serial\nsigner_cert = tsa.pem\nsigner_key = tsa.key\nsigner_digest = sha256\n\
         default_policy = 1.2.3.4\ndigests = sha256\nordering = yes\naccuracy = secs:1\ncrypto_device = builtin\n",
    );
    lab.write("serial", "01\n");
    openssl(&[
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-config", "tsa.cnf",
        "-keyout", "tsa.key", "-out", "tsa.pem",
    ])?;
    let dir = lab.dir().to_owned();
    let port = serve(move |mut stream, n| {
        use std::io::{Read, Write};
        let mut bytes = Vec::new();
        let mut piece = [0; 4096];
        let body = loop {
            let read = stream.read(&mut piece).unwrap();
            bytes.extend_from_slice(&piece[..read]);
            // A request has 69 bytes.
            match bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                Some(end) if bytes.len() >= end + 4 + 69 => break bytes[end + 4..].to_vec(),
                _ if read == 0 => return,
                _ => {}
            }
        };
        let (query, reply) = (format!("q{n}"), format!("r{n}"));
        std::fs::write(dir.join(&query), body).unwrap();
        let args = ["ts", "-reply", "-config", "tsa.cnf", "-section", "ts", "-queryfile", &query];
        let ended =
            Command::new("openssl").args(args).args(["-out", &reply]).current_dir(&dir).output();
        assert!(ended.unwrap().status.success());
        let answer = std::fs::read(dir.join(&reply)).unwrap();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/timestamp-reply\r\ncontent-length: {}\r\n\r\n",
            answer.len()
        );
        let _ = stream.write_all(&[head.as_bytes(), &answer].concat());
    });
    Some((lab.path("tsa.pem"), format!("http://127.0.0.1:{port}/")))
}

#[test]
fn an_authority_states_when_the_head_was_there() {
    let lab = lab();
    let Some((certificate, url)) = authority(&lab) else {
        skip("`openssl` plays the time-stamping authority, and it is not installed");
        return;
    };
    let args = ["audit", "timestamp", "--tsa", &url, "--out", "head"];
    on(&lab, &args).exits(0);
    let verify = |data: &str| {
        let ended = Command::new("openssl")
            .args(["ts", "-verify", "-in", "head.tsr", "-data", data, "-CAfile"])
            .arg(&certificate)
            .current_dir(lab.dir())
            .output()
            .unwrap();
        ended.status.success()
    };
    assert!(verify("head"));
    lab.write("other", lab.read("head") + "\n");
    assert!(!verify("other"), "a time-stamp of something else");
    // It is the head of this ledger, and stays part of it.
    lab.replay(&[command("echo later"), done()]).go();
    let said = on(&lab, &["audit", "diff", "head"]).exits(0).stdout;
    assert!(said.contains("consistent"), "{said}");
    assert!(on(&lab, &args).exits(1).stderr.contains("head"), "never replaced");
    let nobody = ["audit", "timestamp", "--tsa", "http://127.0.0.1:1/", "--out", "none"];
    assert!(on(&lab, &nobody).exits(1).stderr.contains("can't be reached"));
    assert!(!lab.path("none").exists());
}

#[test]
fn a_run_is_stamped_at_its_end_and_an_outage_is_said() {
    let lab = lab();
    let Some((certificate, url)) = authority(&lab) else {
        skip("`openssl` plays the time-stamping authority, and it is not installed");
        return;
    };
    // Without an authority nothing is said of any.
    lab.write("run.bundle", export(&lab, "bundle"));
    assert_eq!(verify(&lab, "run.bundle", 0)["timestamp"], Value::Null);
    lab.replay(&[command("echo stamped"), done()]).args(["--tsa", &url]).go().exits(0);
    let bundle = export(&lab, "bundle");
    lab.write("run.bundle", &bundle);
    let verdict = verify(&lab, "run.bundle", 0);
    let stated = verdict["timestamp"]["stated"].as_str().unwrap();
    assert!(stated.ends_with('Z'), "{verdict}");
    assert_eq!(verdict["timestamp"]["judged"], false, "{verdict}");
    let said = lar(&lab, &["audit", "verify", "run.bundle"]).exits(0).stdout;
    assert!(said.contains("time-stamp") && said.contains("openssl ts -verify"), "{said}");
    // The judge of the authority's signature, on what stands in the bundle.
    let header: Value = serde_json::from_str(bundle.lines().next().unwrap()).unwrap();
    let (checkpoint, answer) = (&header["checkpoint"], &header["timestamp"]);
    lab.write("head", checkpoint.as_str().unwrap());
    lab.write("head.b64", answer.as_str().unwrap());
    let judged = |data: &str| {
        let decode =
            Command::new("base64").args(["-d", "head.b64"]).current_dir(lab.dir()).output();
        std::fs::write(lab.path("head.tsr"), decode.unwrap().stdout).unwrap();
        let ended = Command::new("openssl")
            .args(["ts", "-verify", "-in", "head.tsr", "-data", data, "-CAfile"])
            .arg(&certificate)
            .current_dir(lab.dir())
            .output();
        ended.unwrap().status.success()
    };
    assert!(judged("head") && !judged("policy.toml"));
    // The same answer beside another checkpoint, one that was changed, and none.
    let earlier = on(&lab, &["audit", "list", "--json"]).exits(0).json()[1]["run"].take();
    let args = ["audit", "export", earlier.as_str().unwrap()];
    let other = on(&lab, &args).exits(0).stdout;
    assert!(other.contains("\"timestamp\":\""), "a stamped head covers the runs before it");
    for changed in [
        bundle.replacen("\"timestamp\":\"MII", "\"timestamp\":\"MIj", 1),
        bundle.replacen("\"timestamp\":\"", "\"timestamp\":\"!", 1),
    ] {
        assert_ne!(changed, bundle);
        lab.write("run.bundle", &changed);
        let verdict = verify(&lab, "run.bundle", 1);
        assert!(verdict["timestamp"]["broken"].is_string(), "{verdict}");
    }
    // An authority that is away stops no run, and is said.
    let args = ["--tsa", "http://127.0.0.1:1/"];
    let ended = lab.replay(&[command("echo away"), done()]).args(args).go().exits(0);
    assert!(ended.stderr.contains("unstamped:"), "{}", ended.stderr);
    lab.write("run.bundle", export(&lab, "bundle"));
    assert_eq!(verify(&lab, "run.bundle", 0)["timestamp"], Value::Null);
    // The manifest names one as well.
    lab.write(
        "manifest.toml",
        lab.read("manifest.toml") + &format!("[audit]\ntimestamp = \"{url}\"\n"),
    );
    lab.replay(&[command("echo again"), done()]).go().exits(0);
    assert!(export(&lab, "bundle").contains("\"timestamp\":\""));
}

#[test]
fn the_page_checks_itself_in_a_real_browser() {
    let on_path = |name: &&str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|place| place.join(name).is_file())
    };
    let Some(browser) = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(on_path)
    else {
        skip("the page is tried in a real browser, and no Chromium is installed");
        return;
    };
    let lab = lab();
    let page = export(&lab, "html");
    // One digit of what was run.
    let changed = page.replace("=1+1", "=1+2");
    assert_ne!(page, changed);
    let shown = |name: &str, text: &str| {
        let file = lab.write(name, text);
        let ended = Command::new(browser)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
            ])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ])
            .arg(format!("--user-data-dir={}", lab.path(&format!("{name}.profile")).display()))
            .args(["--virtual-time-budget=20000", "--dump-dom"])
            .arg(format!("file://{}", file.display()))
            .output()
            .unwrap();
        String::from_utf8_lossy(&ended.stdout).into_owned()
    };
    let main = |dom: String| {
        let main = dom.split("id=\"page\"").nth(1).unwrap_or_default().to_owned();
        main.split("</main>").next().unwrap_or_default().to_owned()
    };
    let good = main(shown("good.html", &page));
    assert!(good.contains("recomputed in this browser") && good.contains("=1+1"), "{good}");
    let bad = main(shown("bad.html", &changed));
    assert!(bad.contains("can't be relied on") && !bad.contains("=1+2"), "{bad}");
}
