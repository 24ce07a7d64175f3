//! Files beneath an allowed path, and ways out of it.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use serde_json::{Value, json};
use standin::Reply;
use standin::messages::Server;

use crate::support::{Lab, call, done};

fn token(mode: &str, more: &str) -> String {
    format!(
        "[[token]]\nkind = \"file\"\nname = \"box\"\nallowed_paths = [\"box\"]\nmode = \"{mode}\"\nmax_uses = 40\n{more}\n"
    )
}

fn lab(mode: &str, more: &str) -> Lab {
    let lab = Lab::new(&token(mode, more));
    std::fs::create_dir(lab.path("box")).unwrap();
    lab.write("outside", "not for you\n");
    lab
}

fn read(path: &str) -> Value {
    call("file_box", json!({"operation": "read", "path": path}))
}

fn write(path: &str, content: &str) -> Value {
    call("file_box", json!({"operation": "write", "path": path, "content": content}))
}

#[test]
fn what_is_beneath_is_read_and_told() {
    let lab = lab("read", "");
    std::fs::create_dir(lab.path("box/deep")).unwrap();
    lab.write("box/deep/a.txt", "line one\n");
    symlink("deep/a.txt", lab.path("box/inside")).unwrap();
    let whole = lab.dir().canonicalize().unwrap().join("box/deep/a.txt");
    let read =
        |id: &'static str, path: &str| (id, "file_box", json!({"operation": "read", "path": path}));
    let server = Server::start([
        Reply::tool_uses([
            read("toolu_1", "deep/a.txt"),
            read("toolu_2", whole.to_str().unwrap()),
            read("toolu_3", "./deep//a.txt"),
            read("toolu_4", "inside"),
        ]),
        Reply::text("Read."),
    ]);
    let ended = lab.against(&server).go().exits(0);
    assert_eq!(ended.outcomes(), ["succeeded"; 4]);
    let told = server.requests()[1].json()["messages"][2].to_string();
    assert_eq!(told.matches("line one\\n").count(), 4, "{told}");
    assert_eq!(
        ended.proofs()[0]["output_digest"],
        json!(linear_agentics::json::Digest::of(b"line one\n"))
    );
}

#[test]
fn there_is_no_way_out() {
    let lab = lab("readwrite", "");
    symlink("../outside", lab.path("box/link")).unwrap();
    symlink(lab.path("outside"), lab.path("box/absolute")).unwrap();
    symlink("..", lab.path("box/up")).unwrap();
    symlink("/proc/self", lab.path("box/proc")).unwrap();
    let out = lab.path("outside");
    let paths = [
        "../outside",
        "box/../../outside",
        "deep/../../outside",
        out.to_str().unwrap(),
        "/etc/passwd",
        "link",
        "absolute",
        "up/outside",
        "proc/environ",
        "proc/cwd/outside",
        "/",
        "~/x",
        "..",
        "\u{2e}\u{2e}/outside",
    ];
    let mut turns: Vec<Value> = paths.iter().map(|path| read(path)).collect();
    let over = paths.iter().filter(|path| **path != "~/x");
    turns.extend(over.map(|path| write(path, "overwritten")));
    turns.push(done());
    let ended = lab.replay(&turns).go().exits(0);
    assert!(!ended.outcomes().contains(&"succeeded".to_owned()), "{:?}", ended.proofs());
    assert_eq!(lab.read("outside"), "not for you\n");
    assert!(lab.path("box/link").is_symlink() && lab.path("box/up").is_symlink());
    assert!(!ended.stdout.contains("not for you"));
    let complaints = ended.complaints();
    assert!(
        complaints.iter().any(|line| line.contains("leads outside the allowed path")),
        "{complaints:#?}"
    );
    let spent: Vec<_> =
        ended.proofs().iter().map(|proof| proof["result_summary"].clone()).collect();
    assert!(
        !spent.iter().any(|summary| summary.as_str().unwrap().contains("leads outside")),
        "no use is spent on what leads outside: {spent:?}"
    );
    assert!(
        complaints.iter().any(|line| line.starts_with("FileAccessError") && line.contains("`..`"))
    );
}

#[test]
fn a_write_replaces_the_whole_file_at_once() {
    let lab = lab("write", "");
    lab.write("box/a", "old");
    std::fs::set_permissions(lab.path("box/a"), std::fs::Permissions::from_mode(0o640)).unwrap();
    let before = std::fs::metadata(lab.path("box/a")).unwrap();
    let ended = lab.replay(&[write("a", "new content\n"), write("b", ""), done()]).go().exits(0);
    assert_eq!(ended.outcomes(), ["succeeded"; 2]);
    assert_eq!(lab.read("box/a"), "new content\n");
    assert_eq!(lab.read("box/b"), "");
    let after = std::fs::metadata(lab.path("box/a")).unwrap();
    assert_ne!(before.ino(), after.ino(), "it is another file under the same name");
    assert_eq!(after.mode() & 0o777, 0o640);
    let names = std::fs::read_dir(lab.path("box")).unwrap().count();
    assert_eq!(names, 2, "no temporary file is left");
    let args = &ended.proofs()[0]["args"];
    assert!(!args.to_string().contains("new content") || args.to_string().len() < 2_000, "{args}");
}

#[test]
fn what_is_not_a_plain_file_is_left_alone() {
    let lab = lab("readwrite", "");
    let fifo = lab.path("box/fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    std::fs::create_dir(lab.path("box/dir")).unwrap();
    lab.write("box/twice", "two names");
    std::fs::hard_link(lab.path("box/twice"), lab.path("second")).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(lab.path("box/socket")).unwrap();
    let names = ["fifo", "dir", "socket", "", "."];
    let mut turns: Vec<Value> = names.iter().map(|name| read(name)).collect();
    turns.extend(["fifo", "dir", "twice", "socket", "none/x", ""].map(|name| write(name, "x")));
    turns.push(done());
    let started = std::time::Instant::now();
    let ended = lab.replay(&turns).go().exits(0);
    assert!(started.elapsed() < std::time::Duration::from_secs(60), "a FIFO held it up");
    assert!(!ended.outcomes().contains(&"succeeded".to_owned()), "{:#?}", ended.proofs());
    assert_eq!(ended.errors().len(), turns.len() - 1, "{:#?}", ended.complaints());
    assert_eq!(lab.read("second"), "two names", "another name's content is not changed");
    drop(socket);
}

#[test]
fn sizes_are_capped() {
    let lab = lab("readwrite", "max_bytes = 100");
    lab.write("box/fits", [b'x'; 100]);
    lab.write("box/large", [b'x'; 101]);
    let turns = [read("fits"), read("large"), write("new", &"x".repeat(101)), done()];
    let ended = lab.replay(&turns).go().exits(0);
    assert_eq!(ended.outcomes(), ["succeeded", "failed"]);
    assert!(!lab.path("box/new").exists());
    let complaints = ended.complaints();
    assert!(complaints[0].contains("100 bytes that the token allows"), "{complaints:?}");
    assert!(
        complaints[1].starts_with("FileAccessError") && complaints[1].contains("101"),
        "{complaints:?}"
    );
}

#[test]
fn a_mode_allows_nothing_else() {
    let lab = lab("write", "");
    lab.write("box/a", "old");
    let ended = lab.replay(&[read("a"), done()]).go().exits(0);
    assert!(ended.proofs().is_empty());
    assert!(ended.complaints()[0].contains("write only"), "{:?}", ended.complaints());
}

#[test]
fn a_single_allowed_file_is_not_a_directory() {
    let lab = Lab::new(
        "[[token]]\nkind = \"file\"\nname = \"one\"\nallowed_paths = [\"one.txt\"]\nmode = \"readwrite\"\nmax_uses = 9\n",
    );
    let on = |operation: &str, path: &str| {
        let mut input = json!({"operation": operation, "path": path});
        if operation == "write" {
            input["content"] = json!("made");
        }
        call("file_one", input)
    };
    let whole = lab.dir().canonicalize().unwrap().join("one.txt");
    let whole = whole.to_str().unwrap();
    let turns = [
        on("write", whole),
        on("read", whole),
        on("read", &format!("{whole}/x")),
        on("read", &format!("{whole}.bak")),
        done(),
    ];
    let ended = lab.replay(&turns).go().exits(0);
    assert_eq!(lab.read("one.txt"), "made");
    let succeeded = ended.outcomes().iter().filter(|word| *word == "succeeded").count();
    assert_eq!(succeeded, 2, "{:#?}", ended.complaints());
}
