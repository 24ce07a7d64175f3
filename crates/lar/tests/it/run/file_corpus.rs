//! The corpus of files, on a real directory with links, pipes and sockets in it.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use serde_json::{Value, json};
use toml::Table;

use crate::support::{Ended, Lab, calls, done};

const SECRET: &str = "TOP-SECRET-CONTENT";

fn lab() -> (Lab, UnixListener) {
    let lab = Lab::whole(
        "[budget]\nmax_steps = 200\ntimeout = \"10m\"\n\n[[token]]\nkind = \"file\"\nname = \"x\"\n\
         allowed_paths = [\"root\"]\nmode = \"readwrite\"\nmax_bytes = 1000\nmax_uses = 200\n",
    );
    let root = lab.path("root");
    for directory in ["root/sub", "root/..2024", "root-2"] {
        std::fs::create_dir_all(lab.path(directory)).unwrap();
    }
    lab.write("secret.txt", SECRET);
    lab.write("root-2/x.txt", SECRET);
    for name in [
        "file.txt",
        "sub/deep.txt",
        "..2024/key",
        "name with space.txt",
        "größe.txt",
        "-rf",
        "$HOME",
        "*.txt",
        ".hidden",
        "...dots",
        "a;b",
        "%2e%2e",
        "~",
    ] {
        lab.write(&format!("root/{name}"), "plain");
    }
    lab.write("root/empty", "");
    lab.write("root/big", "x".repeat(1001));
    for (name, target) in [
        ("link-in", "sub/deep.txt"),
        ("dirlink", "sub"),
        ("sub/up", "../file.txt"),
        ("..data", "..2024"),
        ("key", "..data/key"),
        ("abs-out", "/etc/passwd"),
        ("rel-out", "../secret.txt"),
        ("dirout", ".."),
        ("loop", "loop"),
        ("proc", "/proc/self"),
        ("fd", "/proc/self/fd/0"),
        ("dangling", "../created-by-a-link"),
    ] {
        symlink(target, root.join(name)).unwrap();
    }
    std::fs::hard_link(lab.path("secret.txt"), root.join("hard.txt")).unwrap();
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        root.join("fifo"),
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
    )
    .unwrap();
    let socket = UnixListener::bind(root.join("socket")).unwrap();
    (lab, socket)
}

fn run(lab: &Lab, key: &str) -> (Ended, usize) {
    let corpus: Table = include_str!("../../../../../tests/corpus/file.toml").parse().unwrap();
    let cases = corpus[key].as_array().unwrap();
    let outside = lab.dir().to_str().unwrap();
    let turns = cases.iter().map(|case| {
        let path = case["path"].as_str().unwrap();
        let path = path.replace("ROOT", &format!("{outside}/root")).replace("OUTSIDE", outside);
        let input = match case.get("write") {
            Some(content) => {
                json!({"operation": "write", "path": path, "content": content.as_str().unwrap()})
            }
            None => json!({"operation": "read", "path": path}),
        };
        calls([("file_x", input)])
    });
    let turns: Vec<Value> = turns.chain([done()]).collect();
    (lab.replay(&turns).go(), cases.len())
}

#[test]
fn honest_uses_succeed() {
    let (lab, _socket) = lab();
    let (ended, cases) = run(&lab, "honest");
    let wrong: Vec<Value> = ended.errors();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(ended.outcomes(), vec!["succeeded"; cases]);
    assert_eq!(lab.read("root/new.txt"), "two");
    assert_eq!(lab.read("secret.txt"), SECRET);
}

#[test]
fn no_attack_reads_or_writes_anything() {
    let (lab, _socket) = lab();
    let (ended, cases) = run(&lab, "attack");
    let passed: Vec<Value> =
        ended.proofs().into_iter().filter(|proof| proof["outcome"] == "succeeded").collect();
    assert!(passed.is_empty(), "{passed:#?}");
    assert_eq!(ended.errors().len(), cases, "each is told");
    assert_eq!(lab.read("secret.txt"), SECRET);
    assert_eq!(lab.read("root-2/x.txt"), SECRET);
    assert!(!lab.path("created-by-a-link").exists() && !lab.path("new.txt").exists());
    assert!(!ended.trail().to_string().contains("root:x:0"), "nothing of /etc/passwd came in");
    assert!(cases >= 50);
}
