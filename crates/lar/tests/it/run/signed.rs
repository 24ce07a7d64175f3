//! Approvals that listed people sign from elsewhere, with the real binary, real keys, and OpenSSH's own
//! tools where they are installed.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;
use ssh_key::private::{Ed25519Keypair, PrivateKey};

use crate::pty::Terminal;
use crate::support::{Ended, Lab, Run, Running, command, done, eventually, shell, skip};

/// A person with a key of their own.
pub struct Person {
    name: &'static str,
    key: PrivateKey,
}

pub fn person(name: &'static str, seed: u8) -> Person {
    let key = PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]));
    Person { name, key }
}

impl Person {
    pub fn line(&self) -> String {
        format!("{} {}", self.name, self.key.public_key().to_openssh().unwrap().trim())
    }

    /// Their private key, as a file of the lab.
    fn file(&self, lab: &Lab) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let text = self.key.to_openssh(ssh_key::LineEnding::LF).unwrap();
        let path = lab.write(&format!("key-{}", self.name), text.as_bytes());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }
}

pub fn alice() -> Person {
    person("alice@example.com", 1)
}

pub fn bob() -> Person {
    person("bob@example.com", 2)
}

/// A lab whose one token these people must approve.
pub fn lab(people: &[&Person], more: &str) -> Lab {
    let lines: Vec<String> = people.iter().map(|person| person.line()).collect();
    let lines = serde_json::to_string(&lines).unwrap();
    let token = shell(&["touch"], "requires_approval = true\nmax_uses = 5\n");
    Lab::new(&format!("[approval]\ntimeout = \"2m\"\napprovers = {lines}\n{more}\n{token}"))
}

fn lar(lab: &Lab, words: &[&str]) -> Run {
    Run::at(lab.dir(), words)
        .args(["--ledger", "ledger.db"])
        .env("HOME", lab.dir().to_str().unwrap())
}

/// What waits, as soon as something does.
pub fn waiting(lab: &Lab) -> Value {
    eventually("something waits for approval", || {
        let ended = lar(lab, &["approvals", "list", "--json"]).go();
        ended.code == Some(0) && ended.json().as_array().is_some_and(|all| !all.is_empty())
    });
    lar(lab, &["approvals", "list", "--json"]).go().exits(0).json()[0].take()
}

/// Decides with a key's file.
pub fn decide(lab: &Lab, word: &str, who: &Person, what: &Value) -> Ended {
    let (id, digest) = (what["id"].as_str().unwrap(), what["action_digest"].as_str().unwrap());
    let key = who.file(lab);
    let words =
        ["approvals", word, id, "--json", "--digest", digest, "--key", key.to_str().unwrap()];
    lar(lab, &words).go()
}

fn start(lab: &Lab) -> Running {
    lab.replay(&[command("touch made"), done()]).start()
}

#[test]
fn a_listed_person_approves_from_elsewhere_and_it_runs_once() {
    let (alice, bob) = (alice(), bob());
    let lab = lab(&[&alice, &bob], "");
    let running = start(&lab);
    let what = waiting(&lab);
    assert_eq!((&what["state"], &what["token"]), (&"waiting".into(), &"sh".into()));
    let id = what["id"].as_str().unwrap();
    // What is shown is what the run's own terminal would show.
    let shown = lar(&lab, &["approvals", "show", id]).go().exits(0).stdout;
    for line in ["── approval needed: shell_sh", "argv[0]  touch", "argv[1]  made", "uses left   5"]
    {
        assert!(shown.contains(line), "`{line}` is not in:\n{shown}");
    }
    assert!(shown.contains("needs 1 of alice@example.com, bob@example.com"), "{shown}");
    assert!(!lab.made("made").exists());
    let told = decide(&lab, "approve", &bob, &what).exits(0).json();
    assert_eq!(told["approver"], "bob@example.com");
    let ended = running.wait().exits(0);
    assert!(lab.made("made").exists());
    assert!(ended.stderr.contains(&format!("lar approve {id}")), "{}", ended.stderr);
    let trail = ended.trail();
    let approval = &trail["approvals"][0];
    assert_eq!(approval["approver"], "bob@example.com");
    assert_eq!(approval["approver_identity"], "ssh-key");
    assert_eq!(trail["proofs"][0]["approval_seq"], approval["seq"]);
    let statement: Value =
        serde_json::from_str(approval["statements"][0]["statement"].as_str().unwrap()).unwrap();
    for (field, same) in [
        ("action_digest", &trail["proofs"][0]["action_digest"]),
        ("attempt", &trail["proofs"][0]["attempt"]),
        ("run", &trail["run"]["id"]),
    ] {
        assert_eq!(&statement[field], same, "{field}");
    }
    lar(&lab, &["audit", "verify"]).go().exits(0);
    // Nothing waits any more, and the same again is refused.
    assert_eq!(
        lar(&lab, &["approvals", "list", "--json"]).go().exits(0).json(),
        Value::Array(vec![])
    );
    decide(&lab, "approve", &bob, &what).exits(2);
}

#[test]
fn a_question_that_is_committed_to_is_approved_and_the_approval_holds_when_it_is_erased() {
    let alice = alice();
    let lab = lab(&[&alice], "[audit]\ncommit = [\"all\"]\n");
    let running = start(&lab);
    let what = waiting(&lab);
    let shown =
        lar(&lab, &["approvals", "show", what["id"].as_str().unwrap()]).go().exits(0).stdout;
    assert!(shown.contains("argv[1]  made"), "whoever decides sees it: {shown}");
    decide(&lab, "approve", &alice, &what).exits(0);
    running.wait().exits(0);
    assert!(lab.made("made").exists());
    let records = lar(&lab, &["audit", "show", "latest", "--records"]).go().exits(0).stdout;
    assert!(!records.contains("argv"), "{records}");
    let verify = || lar(&lab, &["audit", "verify", "latest", "--json"]).go().exits(0).json();
    assert_eq!(verify()["runs"][0]["commitments"]["erased"], 0);
    lar(&lab, &["audit", "erase", "latest", "--yes"]).go().exits(0);
    let told = verify()["runs"][0].take();
    assert!(told["commitments"]["opened"] == 0 && told["integrity"] == "ok", "{told}");
    assert_eq!(told["completeness"], "ok", "{told}");
}

#[test]
fn a_no_of_anybody_who_is_listed_denies() {
    let (alice, bob) = (alice(), bob());
    let lab = lab(&[&alice, &bob], "required = 2");
    let running = start(&lab);
    let what = waiting(&lab);
    let first = decide(&lab, "approve", &alice, &what).exits(0).json();
    assert_eq!((&first["approvals"], &first["required"]), (&1.into(), &2.into()));
    decide(&lab, "deny", &bob, &what).exits(0);
    let ended = running.wait().exits(0);
    assert!(!lab.made("made").exists());
    assert!(ended.complaints()[0].starts_with("ApprovalDeniedError: `bob@example.com`"));
    let approval = &ended.trail()["approvals"][0];
    assert_eq!((&approval["approved"], &approval["approver"]), (&false.into(), &bob.name.into()));
    assert_eq!(approval["approver_identity"], "ssh-key");
    lar(&lab, &["audit", "verify"]).go().exits(0);
}

#[test]
fn two_of_three_must_approve_and_a_person_counts_once() {
    let (alice, bob, carol) = (alice(), bob(), person("carol@example.com", 3));
    let other_key = person("alice@example.com", 11);
    let lab = lab(&[&alice, &bob, &carol, &other_key], "required = 2");
    let running = start(&lab);
    let what = waiting(&lab);
    decide(&lab, "approve", &alice, &what).exits(0);
    let again = decide(&lab, "approve", &other_key, &what).exits(5);
    assert!(again.stderr.contains("a person counts once"), "{}", again.stderr);
    assert!(!lab.made("made").exists());
    let told = decide(&lab, "approve", &carol, &what).exits(0).json();
    assert_eq!(told["approvals"], 2);
    let ended = running.wait().exits(0);
    assert!(lab.made("made").exists());
    let approval = &ended.trail()["approvals"][0];
    assert_eq!(approval["approver"], "alice@example.com, carol@example.com");
    assert_eq!(approval["statements"].as_array().unwrap().len(), 2);
    lar(&lab, &["audit", "verify"]).go().exits(0);
}

#[test]
fn a_key_that_is_not_listed_signs_nothing() {
    let lab = lab(&[&alice()], "");
    let running = start(&lab);
    let what = waiting(&lab);
    let refused = decide(&lab, "approve", &bob(), &what).exits(5);
    assert!(refused.stderr.contains("isn't listed"), "{}", refused.stderr);
    let digest = "0".repeat(64);
    let id = what["id"].as_str().unwrap();
    let key = alice().file(&lab);
    let blind = ["approve", id, "--digest", &digest, "--key", key.to_str().unwrap()];
    let blind = lar(&lab, &blind).go().exits(5);
    assert!(blind.stderr.contains("another 16 digits"), "{}", blind.stderr);
    let unread = lar(&lab, &["approve", id, "--key", key.to_str().unwrap()]).go().exits(2);
    assert!(unread.stderr.contains("--digest"), "{}", unread.stderr);
    running.signal(Signal::INT);
    running.wait().exits(1);
    assert!(!lab.made("made").exists());
}

#[test]
fn a_run_that_was_killed_hears_what_was_decided_meanwhile() {
    let (alice, bob) = (alice(), bob());
    let lab = lab(&[&alice, &bob], "required = 2");
    let running = start(&lab);
    let what = waiting(&lab);
    decide(&lab, "approve", &alice, &what).exits(0);
    running.signal(Signal::KILL);
    running.wait();
    // It still waits, and the second approval comes while nobody holds the run.
    let found = waiting(&lab);
    assert_eq!(found["id"], what["id"]);
    decide(&lab, "approve", &bob, &what).exits(0);
    assert!(!lab.made("made").exists());
    let ended = lar(&lab, &["resume", "latest", "--json"]).go().exits(0);
    assert!(lab.made("made").exists());
    let trail = ended.trail();
    assert_eq!(trail["run"]["resumed"], 1);
    let [approval] = trail["approvals"].as_array().unwrap().as_slice() else { panic!("{trail}") };
    assert_eq!(approval["approver"], "alice@example.com, bob@example.com");
    lar(&lab, &["audit", "verify"]).go().exits(0);
}

#[test]
fn an_approval_that_ran_out_meanwhile_does_not_count() {
    let alice = alice();
    let lab = lab(&[&alice], "");
    let running = start(&lab);
    let what = waiting(&lab);
    running.signal(Signal::KILL);
    running.wait();
    let (id, digest) = (what["id"].as_str().unwrap(), what["action_digest"].as_str().unwrap());
    let key = alice.file(&lab);
    let words = ["approve", id, "--digest", digest, "--key", key.to_str().unwrap(), "--for", "1s"];
    lar(&lab, &words).go().exits(0);
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    let resumed = lar(&lab, &["resume", "latest", "--json"]).start();
    let what = waiting(&lab);
    eventually("it is told that the first doesn't count", || {
        let shown = lar(&lab, &["approvals", "show", id]).go().stdout;
        shown.contains("ran out at")
    });
    assert!(!lab.made("made").exists());
    decide(&lab, "approve", &alice, &what).exits(0);
    let ended = resumed.wait().exits(0);
    assert!(lab.made("made").exists());
    assert!(ended.complaints().iter().any(|error| error.starts_with("ApprovalInvalidError")));
    lar(&lab, &["audit", "verify"]).go().exits(0);
}

#[test]
fn whoever_starts_the_run_approves_nothing() {
    let (alice, bob) = (alice(), bob());
    let lab = lab(&[&alice, &bob], "not_the_runner = true");
    let run = lab.replay(&[command("touch made"), done()]);
    // It isn't known who that is: the account is nobody's name.
    let unknown = run.go().exits(2);
    assert!(unknown.stderr.contains("--runner NAME"), "{}", unknown.stderr);
    let running = run.args(["--runner", "alice@example.com"]).start();
    let what = waiting(&lab);
    let refused = decide(&lab, "approve", &alice, &what).exits(5);
    assert!(refused.stderr.contains("started the run"), "{}", refused.stderr);
    decide(&lab, "approve", &bob, &what).exits(0);
    let ended = running.wait().exits(0);
    assert_eq!(ended.trail()["run"]["runner"]["names"][0], "alice@example.com");
    assert!(lab.made("made").exists());
    lar(&lab, &["audit", "verify"]).go().exits(0);
}

#[test]
fn nobody_in_time_denies() {
    let lines = serde_json::to_string(&[alice().line()]).unwrap();
    let token = shell(&["touch"], "requires_approval = true\n");
    let lab = Lab::new(&format!("[approval]\ntimeout = \"2s\"\napprovers = {lines}\n{token}"));
    let ended = start(&lab).wait().exits(0);
    assert!(!lab.made("made").exists());
    assert!(ended.complaints()[0].starts_with("ApprovalTimeoutError: 0 of 1 approvals"));
    lar(&lab, &["audit", "verify"]).go().exits(0);
}

/// The question is read and answered at a terminal, with an encrypted key; hostile text is visible.
#[test]
fn at_a_terminal_the_question_is_shown_and_the_passphrase_asked_for() {
    let Some(()) = tool("ssh-keygen") else { return };
    let lab = lab(&[&alice()], "");
    let key = alice().file(&lab);
    keygen(&lab, &["-p", "-q", "-P", "", "-N", "correct horse", "-f", key.to_str().unwrap()]);
    let running = lab.replay(&[command("touch 'a\u{1b}[2Jb'"), done()]).start();
    let what = waiting(&lab);
    let id = what["id"].as_str().unwrap();
    let mut person = Terminal::start(&lar(&lab, &["approve", id, "--key", key.to_str().unwrap()]));
    person.expect("a‹U+001B›[2Jb");
    person.expect("Type `yes` to sign");
    std::thread::sleep(std::time::Duration::from_millis(300));
    person.type_in("yes\n");
    person.expect("passphrase of the key");
    std::thread::sleep(std::time::Duration::from_millis(300));
    person.type_in("correct horse\n");
    let approved = person.wait().exits(0);
    assert!(
        approved.stdout.contains("approved as alice@example.com: 1 of 1"),
        "{}",
        approved.stdout
    );
    assert!(!approved.stderr.contains("correct horse"), "the passphrase stands on the screen");
    assert!(!approved.stderr.contains("\u{1b}[2J"));
    running.wait().exits(0);
    assert!(lab.made("a\u{1b}[2Jb").exists());
}

/// OpenSSH's own agent signs.
#[test]
fn an_ssh_agent_signs() {
    let (Some(()), Some(())) = (tool("ssh-agent"), tool("ssh-add")) else { return };
    let lab = lab(&[&alice(), &bob()], "");
    let socket = lab.path("agent");
    let mut agent = Command::new("ssh-agent")
        .args(["-D", "-a", socket.to_str().unwrap()])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    eventually("the agent listens", || socket.exists());
    let key = bob().file(&lab);
    let added = Command::new("ssh-add")
        .arg(key)
        .env("SSH_AUTH_SOCK", &socket)
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(added.success());
    let running = start(&lab);
    let what = waiting(&lab);
    let (id, digest) = (what["id"].as_str().unwrap(), what["action_digest"].as_str().unwrap());
    let approve = lar(&lab, &["approve", id, "--digest", digest]);
    let none = approve.go().exits(2);
    assert!(none.stderr.contains("SSH_AUTH_SOCK"), "{}", none.stderr);
    let approved = approve.env("SSH_AUTH_SOCK", socket.to_str().unwrap()).go().exits(0);
    assert!(approved.stdout.contains("approved as bob@example.com"), "{}", approved.stdout);
    running.wait().exits(0);
    agent.kill().unwrap();
    agent.wait().unwrap();
    assert!(lab.made("made").exists());
}

/// OpenSSH's own verifier accepts what is exported, and nothing that was changed.
#[test]
fn openssh_checks_what_is_exported() {
    let Some(()) = tool("ssh-keygen") else { return };
    let (alice, bob) = (alice(), bob());
    let lab = lab(&[&alice, &bob], "required = 2");
    let running = start(&lab);
    let what = waiting(&lab);
    decide(&lab, "approve", &alice, &what).exits(0);
    decide(&lab, "approve", &bob, &what).exits(0);
    running.wait().exits(0);
    let export = ["audit", "export", "latest", "--format", "sshsig"];
    lar(&lab, &export).go().exits(2);
    lar(&lab, &[export.as_slice(), &["--out", "approvals"]].concat()).go().exits(0);
    lar(&lab, &[export.as_slice(), &["--out", "approvals"]].concat()).go().exits(1);
    let dir = lab.path("approvals");
    let check = || {
        let script = Command::new("sh").arg("verify.sh").current_dir(&dir).output().unwrap();
        (script.status.success(), String::from_utf8(script.stdout).unwrap())
    };
    let (good, said) = check();
    assert!(good, "{said}");
    for person in [&alice, &bob] {
        let line = format!("Good \"approval@linear-agent-runtime\" signature for {}", person.name);
        assert!(said.contains(&line), "{said}");
    }
    let statement = std::fs::read_dir(&dir).unwrap().find_map(|entry| {
        let path = entry.unwrap().path();
        path.to_string_lossy().ends_with("-1.json").then_some(path)
    });
    let statement = statement.unwrap();
    let text = std::fs::read_to_string(&statement).unwrap();
    for changed in [
        text.replacen("\"approve\"", "\"deny\"", 1),
        text.replacen("\"token\":\"sh\"", "\"token\":\"su\"", 1),
        format!("{text}\n"),
    ] {
        assert_ne!(changed, text);
        std::fs::write(&statement, changed).unwrap();
        assert!(!check().0, "a changed statement was accepted");
    }
    std::fs::write(&statement, &text).unwrap();
    assert!(check().0);
    // Nor does anybody sign for somebody else, or for another purpose.
    let signers = dir.join("allowed_signers");
    let lines = std::fs::read_to_string(&signers).unwrap();
    std::fs::write(&signers, lines.replace("alice@", "mallory@")).unwrap();
    assert!(!check().0);
    std::fs::write(&signers, lines.replace("namespaces=\"approval@", "namespaces=\"file@"))
        .unwrap();
    assert!(!check().0);
}

/// A statement that OpenSSH itself signed counts.
#[test]
fn what_openssh_signed_by_hand_is_heard() {
    let Some(()) = tool("ssh-keygen") else { return };
    let lab = lab(&[&alice()], "");
    let running = start(&lab);
    let what = waiting(&lab);
    // `lar` writes the statement; here it is changed in what a person may choose, and signed anew.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let place = linear_agentics::LedgerPlace::from(lab.path("ledger.db"));
        let ledger = linear_agentics::open_ledger(Some(&place)).await.unwrap();
        let found = linear_agentics::approvals::pending(ledger.as_ref()).await.unwrap().remove(0);
        assert_eq!(found.id(), what["id"].as_str().unwrap());
        let deciding = found.signed.unwrap();
        let until = deciding.now.plus_millis(60_000);
        let yes = linear_agentics::approval::Word::Approve;
        let statement = deciding.statement(yes, "alice@example.com", until).unwrap();
        let text = statement.to_text().unwrap();
        lab.write("statement", &text);
        let key = alice().file(&lab);
        let namespace = "approval@linear-agent-runtime";
        keygen(
            &lab,
            &["-Y", "sign", "-q", "-f", key.to_str().unwrap(), "-n", namespace, "statement"],
        );
        let signature = lab.read("statement.sig");
        let signed = linear_agentics::approval::Signed { statement: text, signature };
        deciding.decide(ledger.as_ref(), signed).await.unwrap();
    });
    let ended = running.wait().exits(0);
    assert!(lab.made("made").exists());
    assert_eq!(ended.trail()["approvals"][0]["approver"], "alice@example.com");
}

/// What is absent is told by name.
fn tool(name: &str) -> Option<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = std::env::split_paths(&path).any(|dir| dir.join(name).exists());
    if !there {
        skip(&format!("`{name}` is not installed (Debian: openssh-client)"));
    }
    there.then_some(())
}

fn keygen(lab: &Lab, args: &[&str]) {
    let made = Command::new("ssh-keygen").args(args).current_dir(lab.dir()).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}
