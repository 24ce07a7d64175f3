//! `lar run --keep-output`: the bytes that the record names by digest, redacted, beside it.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::lar;
use crate::support::{Ended, Lab, REACH, call, calls, done, find_bytes, script};

const SECRET: &str = "kept-nowhere-4711-secret";

fn on(lab: &Lab, args: &[&str]) -> Ended {
    lar(lab, &[args, &["--ledger", "ledger.db"]].concat())
}

fn verify(lab: &Lab, what: &str, code: i32) -> Value {
    let args = ["audit", "verify", what, "--kept", "kept", "--json"];
    on(lab, &args).exits(code).json()["runs"][0].take()
}

/// A run that writes a long file, reads it, and starts a program that says a secret at great length.
fn lab() -> Lab {
    let tables = format!(
        "[[token]]\nkind = \"secret\"\nname = \"db\"\nfile = \"password\"\ninject_env = \"DB_PASSWORD\"\n\
         [token.inner]\nkind = \"shell\"\nname = \"show\"\nallowed = [\"./show\"]\n{REACH}\
         [[token]]\nkind = \"file\"\nname = \"notes\"\nallowed_paths = [\"out\"]\nmode = \"readwrite\"\n\
         max_uses = 2\n"
    );
    let lab = Lab::new(&tables);
    lab.write("password", SECRET);
    script(
        &lab,
        "show",
        "i=0; while [ $i -lt 4000 ]; do echo \"line $i $DB_PASSWORD\"; i=$((i+1)); done\n\
         echo \"to stderr $DB_PASSWORD\" >&2",
    );
    let content = "n".repeat(9_000);
    let write = json!({"operation": "write", "path": "note", "content": content});
    let turns = [
        call("secret_db", json!({"command": "./show"})),
        calls([("file_notes", write)]),
        call("file_notes", json!({"operation": "read", "path": "note"})),
        done(),
    ];
    lab.replay(&turns).args(["--keep-output", "kept"]).go().exits(0);
    lab
}

fn files(lab: &Lab) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(lab.path("kept")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn outputs_and_long_arguments_are_kept_redacted_and_checked() {
    let lab = lab();
    let trail = on(&lab, &["audit", "show", "latest", "--json"]).exits(0).json();
    let outcomes: Vec<&Value> =
        trail["proofs"].as_array().unwrap().iter().map(|proof| &proof["outcome"]).collect();
    assert_eq!(outcomes, ["succeeded"; 3], "{trail}");
    let bundle = on(&lab, &["audit", "export", "latest"]).exits(0).stdout;
    lab.write("run.bundle", bundle);
    for what in ["latest", "run.bundle"] {
        let told = verify(&lab, what, 0);
        // Standard output, standard error and what was written, which is what was read; the answer to the
        // writing may be empty.
        assert!(told["outputs"]["kept"].as_u64().unwrap() >= 3, "{told}");
        assert_eq!(
            (&told["outputs"]["absent"], &told["outputs"]["broken"]),
            (&0.into(), &false.into())
        );
    }
    let digest = trail["proofs"][0]["output_digest"].as_str().unwrap();
    let long = lab.read(&format!("kept/{digest}"));
    assert!(long.lines().count() == 4_000 && !long.contains(SECRET), "all of it, redacted");
    std::fs::remove_file(lab.path("password")).unwrap();
    assert_eq!(find_bytes(lab.dir(), SECRET), None, "the secret is kept nowhere");

    for path in files(&lab) {
        let whole = std::fs::read(&path).unwrap();
        let mut changed = whole.clone();
        changed[0] ^= 1;
        std::fs::write(&path, &changed).unwrap();
        for what in ["latest", "run.bundle"] {
            let told = verify(&lab, what, 1);
            assert_eq!(
                (&told["integrity"], &told["outputs"]["broken"]),
                (&"broken".into(), &true.into())
            );
        }
        std::fs::write(&path, &whole).unwrap();
    }
    std::fs::remove_file(lab.path(&format!("kept/{digest}"))).unwrap();
    let told = verify(&lab, "latest", 0);
    assert_eq!(told["outputs"]["absent"], 1, "what isn't there breaks nothing: {told}");
}

#[test]
fn no_token_reaches_what_is_kept() {
    let lab = Lab::new(
        "[[token]]\nkind = \"file\"\nname = \"notes\"\nallowed_paths = [\"kept\"]\nmode = \"read\"\n",
    );
    std::fs::create_dir(lab.path("kept")).unwrap();
    let ended = lab.replay(&[done()]).args(["--keep-output", "kept"]).go();
    assert_ne!(ended.code, Some(0));
    assert!(ended.stderr.contains("kept outputs"), "{}", ended.stderr);
    lab.write("file", "");
    let ended = lab.replay(&[done()]).args(["--keep-output", "file"]).go();
    assert!(ended.code != Some(0) && ended.stderr.contains("can't be kept"), "{}", ended.stderr);
}
