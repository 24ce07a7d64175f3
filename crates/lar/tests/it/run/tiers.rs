//! What happens where less than all walls can be had: user namespaces are taken away by a setting of a
//! namespace around the run, as a container or an administrator would.

use serde_json::{Value, json};

use crate::support::{
    Ended, LAB_STATE, Lab, Run, command, done, drain, reap, script, shell, tier_a,
};

/// Around a command: a user namespace in which no further one can be made.
const WITHOUT_NAMESPACES: [&str; 6] = [
    "unshare",
    "--user",
    "--map-root-user",
    "sh",
    "-c",
    "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$0\" \"$@\"",
];

fn go_without_namespaces(run: &Run) -> Ended {
    let mut command = run.command(&WITHOUT_NAMESPACES);
    command.stdin(std::process::Stdio::null());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (out, errors) = (drain(child.stdout.take().unwrap()), drain(child.stderr.take().unwrap()));
    let code = reap(&mut child);
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ended { code, stdout: text(out.join().unwrap()), stderr: text(errors.join().unwrap()) }
}

#[test]
fn below_the_least_tier_nothing_is_spent() {
    if !tier_a() {
        return;
    }
    let lab = Lab::new(&shell(&["./work"], ""));
    script(&lab, "work", "touch made");
    let run = lab.replay(&[command("./work"), done()]);
    let ended = go_without_namespaces(&run).exits(2);
    for part in
        ["tier B here", "tier A is required", "no user namespace", "`lar doctor`", "--min-tier B"]
    {
        assert!(ended.stderr.contains(part), "`{part}`: {}", ended.stderr);
    }
    assert!(!lab.made("made").exists());
    assert!(lab.trails().is_empty(), "no run was opened, so nothing was spent");
}

#[test]
fn at_tier_b_programs_are_held_by_landlock_and_seccomp() {
    if !tier_a() {
        return;
    }
    let lab = Lab::new(&shell(&["./work"], "workdir = \"out\""));
    lab.write("secret", "of the operator");
    let work = lab.made("work");
    std::fs::write(
        &work,
        "#!/bin/sh\ncat ../secret\ncat ../ledger.db\ncat /etc/shadow\necho x > ../made\n\
         echo yes > here\nls / > /dev/null; exit 0\n",
    )
    .unwrap();
    let allowed = "allowed = [\"./work\"]";
    let manifest = lab.read("manifest.toml").replace(allowed, "allowed = [\"sh work\"]");
    lab.write("manifest.toml", manifest);
    let run = lab.replay(&[command("sh work"), done()]).args(["--min-tier", "B"]);
    let ended = go_without_namespaces(&run).exits(0);
    let proof = ended.proofs().remove(0);
    assert_eq!((&proof["tier"], &proof["outcome"]), (&json!("B"), &json!("succeeded")), "{proof}");
    assert!(proof["output_bytes"] == 0, "nothing of the outside was read: {proof}");
    assert_eq!(lab.read_made("here"), "yes\n");
    assert!(!lab.path("made").exists());
    let trail = ended.trail();
    assert!(trail["run"]["enforcement"].as_str().unwrap().starts_with("tier B"), "{trail}");
    assert!(!ended.stderr.contains("physically"), "{}", ended.stderr);
}

#[test]
fn at_tier_b_a_ledger_in_reach_is_refused() {
    if !tier_a() {
        return;
    }
    let lab = Lab::new(&shell(&["./work"], ""));
    script(&lab, "work", "true");
    let run = lab.replay(&[command("./work"), done()]).args(["--min-tier", "B"]);
    let ended = go_without_namespaces(&run).exits(2);
    assert!(ended.stderr.contains("where the ledger lies"), "{}", ended.stderr);
}

#[test]
fn the_ledger_and_the_keys_are_read_by_no_token() {
    if !tier_a() {
        return;
    }
    let lab = Lab::new(&shell(&["./work"], ""));
    script(
        &lab,
        "work",
        "cd ..; find . -type f | sort; cat $(find . -name '*.db*' -o -name '*.pem') 2>&1",
    );
    let turns = [command("./work"), done()];
    lab.replay(&turns);
    for run in [lab.bare("ledger.db"), lab.without_ledger()] {
        let ended = run.go().exits(0);
        let proof = ended.proofs().remove(0);
        assert_eq!(proof["tier"], "A", "{proof}");
        let told = proof.to_string();
        assert!(!told.contains("SQLite format") && !told.contains("PRIVATE KEY"), "{told}");
    }
    assert!(lab.path(LAB_STATE).exists(), "the state directory is where it is looked for");

    // A file token that would read them is refused with the set.
    for path in [".", "ledger.db", LAB_STATE] {
        let lab = Lab::new(&format!(
            "[[token]]\nkind = \"file\"\nname = \"box\"\nallowed_paths = [\"{path}\"]\nmode = \"read\"\n"
        ));
        std::fs::create_dir_all(lab.path(LAB_STATE)).unwrap();
        let ended = lab.replay(&[done()]).go().exits(2);
        assert!(ended.stderr.contains("token `box` may read"), "{path}: {}", ended.stderr);
        assert!(ended.stderr.contains("give it a directory of its own"), "{}", ended.stderr);
    }
}

#[test]
fn the_doctor_shows_what_can_be_had_and_how_to_get_more() {
    if !tier_a() {
        return;
    }
    let lab = Lab::new("");
    let doctor = |more: &[&str]| {
        let words: Vec<&str> = ["doctor"].into_iter().chain(more.iter().copied()).collect();
        Run::at(lab.dir(), &words).env("HOME", lab.dir().to_str().unwrap())
    };
    let ended = doctor(&["--json"]).go().exits(0);
    assert_eq!((&ended.json()["tier"], &ended.json()["advice"]), (&json!("A"), &json!([])));
    let text = doctor(&[]).go().exits(0).stdout;
    assert!(
        text.contains("physically can't leave") && text.contains("tried in vain: read-outside")
    );

    let less = go_without_namespaces(&doctor(&["--json"])).exits(1).json();
    assert_eq!(less["tier"], "B");
    let tried: &Vec<Value> = less["tried"].as_array().unwrap();
    assert!(tried[0]["why_not"].as_str().unwrap().contains("no user namespace"), "{less}");
    assert_eq!(tried[1]["holds"], true);
    assert!(less["advice"].to_string().contains("sysctl -w user.max_user_namespaces"), "{less}");
    let text = go_without_namespaces(&doctor(&["--min-tier", "B"])).exits(0).stdout;
    assert!(text.contains("tier B:") && !text.contains("physically"), "{text}");
}
