//! The clouds' own command lines at tier A, against a stand-in on loopback: each gets the one profile or
//! account that its command names, and reaches nothing but where that leads.

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::json;

use super::programs::{all_work, ready, token};
use crate::support::{Lab, request, serve};

const TOKEN: &str = "ya29.a-token-of-the-standin";

/// What the buckets were asked, a line each.
#[derive(Clone, Default)]
pub struct Asked(Arc<Mutex<Vec<String>>>);

impl Asked {
    pub fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// One bucket of each cloud, with one object. S3 is served to the access key `AKIAREADER`, and Cloud
/// Storage to the bearer of a token; whoever else asks is refused.
pub fn buckets() -> (u16, Asked) {
    let asked = Asked::default();
    let held = asked.clone();
    let port = serve(move |mut stream, _| {
        let text = request(&mut stream);
        let head = text.split("\r\n\r\n").next().unwrap_or_default().to_owned();
        let line = head.lines().next().unwrap_or_default().to_owned();
        let authorization = head
            .lines()
            .find_map(|line| {
                line.to_ascii_lowercase().strip_prefix("authorization: ").map(str::to_owned)
            })
            .unwrap_or_default();
        let google = line.contains("/storage/v1/") || line.contains("/download/");
        let known = match google {
            true => authorization == format!("bearer {}", TOKEN.to_ascii_lowercase()),
            false => authorization.contains("credential=akiareader/"),
        };
        held.0.lock().unwrap().push(format!("{line} {known}"));
        let (status, kind, body) = match (known, google) {
            (false, _) => (
                "403 Forbidden",
                "application/xml",
                "<Error><Code>AccessDenied</Code></Error>".to_owned(),
            ),
            (true, true) => ("200 OK", "application/json", cloud_storage(&line)),
            (true, false) => ("200 OK", "application/xml", s3(&line)),
        };
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        let _ = stream.write_all(answer.as_bytes());
    });
    (port, asked)
}

fn s3(line: &str) -> String {
    let name = "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"";
    if line.contains("?location") {
        return format!("<LocationConstraint {name}>eu-central-1</LocationConstraint>");
    }
    format!(
        "<ListBucketResult {name}><Name>acme-media</Name><IsTruncated>false</IsTruncated><Contents>\
         <Key>a.txt</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><Size>5</Size>\
         <StorageClass>STANDARD</StorageClass></Contents></ListBucketResult>"
    )
}

fn cloud_storage(line: &str) -> String {
    let object = json!({
        "kind": "storage#object", "name": "a.txt", "bucket": "acme-media-eu", "size": "5",
        "generation": "1", "metageneration": "1", "storageClass": "STANDARD",
        "timeCreated": "2026-01-01T00:00:00Z", "updated": "2026-01-01T00:00:00Z",
    });
    match line.contains("/o?") {
        true => json!({"kind": "storage#objects", "items": [object]}).to_string(),
        false => {
            json!({"kind": "storage#bucket", "name": "acme-media-eu", "location": "EU"}).to_string()
        }
    }
}

/// The operator's home: two AWS profiles and two configurations of gcloud, of which one each is meant.
pub fn configure(home: &Path, port: u16) {
    let write = |name: &str, text: &str| {
        let path = home.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write(
        ".aws/config",
        &format!(
            "[profile reader]\nregion = eu-central-1\nendpoint_url = http://127.0.0.1:{port}\n\
             [profile admin]\nregion = us-east-1\n"
        ),
    );
    write(
        ".aws/credentials",
        "[reader]\naws_access_key_id = AKIAREADER\naws_secret_access_key = the-reader-s-secret-key\n\
         [admin]\naws_access_key_id = AKIAADMIN\naws_secret_access_key = the-admin-s-secret-key\n",
    );
    write(".config/gcloud/operator-token", TOKEN);
    write(
        ".config/gcloud/configurations/config_work",
        &format!(
            "[core]\naccount = me@work.test\nproject = acme\n[auth]\naccess_token_file = {}\n\
             [api_endpoint_overrides]\nstorage = http://127.0.0.1:{port}/storage/v1/\n",
            home.join(".config/gcloud/operator-token").display()
        ),
    );
    write(
        ".config/gcloud/configurations/config_home",
        "[core]\naccount = me@home.test\nproject = private\n",
    );
    write(".config/gcloud/active_config", "work");
}

#[test]
fn aws_gets_the_one_profile_that_is_meant() {
    if !ready(&["aws"]) {
        return;
    }
    let (port, asked) = buckets();
    let lab = Lab::new(&token(&["aws s3 ls s3://acme-media", "aws --profile reader s3api"], ""));
    configure(lab.dir(), port);
    let told = all_work(
        &lab,
        &[
            "aws s3 ls s3://acme-media --recursive",
            "aws --profile reader s3api get-bucket-location --bucket acme-media",
        ],
        &[("AWS_PROFILE", "reader")],
    );
    assert!(told[0].contains("a.txt") && told[1].contains("eu-central-1"), "{told:?}");
    assert!(asked.all().iter().all(|line| line.ends_with(" true")), "{:?}", asked.all());
}

#[test]
fn gcloud_gets_a_token_of_the_one_account_that_is_meant() {
    if !ready(&["gcloud"]) {
        return;
    }
    let (port, asked) = buckets();
    let lab = Lab::new(&token(&["gcloud storage ls gs://acme-media-eu"], ""));
    configure(lab.dir(), port);
    let told = all_work(&lab, &["gcloud storage ls gs://acme-media-eu --recursive"], &[]);
    assert!(told[0].contains("gs://acme-media-eu/a.txt"), "{told:?}");
    assert!(asked.all().iter().all(|line| line.ends_with(" true")), "{:?}", asked.all());
}

/// A program that was tricked looks for whatever lies around: it finds the one profile, and no other.
#[test]
fn nothing_of_the_other_profiles_is_there() {
    if !ready(&["aws", "gcloud", "cat", "find"]) {
        return;
    }
    let (port, _) = buckets();
    let lab = Lab::new("");
    configure(lab.dir(), port);
    let tricked = lab.path("tools");
    std::fs::create_dir(&tricked).unwrap();
    let body = "#!/bin/sh\nfind \"$HOME\" /dev/shm -type f | while read f; do echo \"== $f\"; cat \"$f\"; done\nenv\n";
    for name in ["aws", "gcloud"] {
        use std::os::unix::fs::PermissionsExt;
        let path = tricked.join(name);
        std::fs::write(&path, body).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let allowed = ["aws --profile reader", "gcloud --configuration work"];
    let more = "also_runs = [\"find\", \"cat\", \"env\"]\nwrites = [\"out\"]";
    lab.write(
        "manifest.toml",
        format!(
            "[agent]\ntask = \"x\"\n[budget]\nmax_steps = 9\ntimeout = \"2m\"\n{}",
            token(&allowed, more)
        ),
    );
    let path = std::env::join_paths([tricked.as_path(), Path::new("/usr/bin"), Path::new("/bin")]);
    let path = path.unwrap().into_string().unwrap();
    let env = [("PATH", path.as_str()), ("AWS_PROFILE", "admin")];
    // A relative path of the ledger is as good as an absolute one.
    let told = all_work(
        &lab,
        &["aws --profile reader s3 ls", "gcloud --configuration work storage ls"],
        &env,
    );
    assert!(told[0].contains("AKIAREADER"), "{}", told[0]);
    for foreign in [
        "SQLite format",
        "AKIAADMIN",
        "the-admin",
        "the-reader-s-secret-key",
        "me@home.test",
        TOKEN,
    ] {
        assert!(!told.concat().contains(foreign), "{foreign}: {told:?}");
    }
    assert!(told[1].contains("me@work.test"), "{}", told[1]);
}
