//! Programs: what they get, what they may not keep, and how they end.

use serde_json::json;

use crate::support::{Lab, call, command, done, eventually, script, shell};

#[test]
fn a_gigabyte_is_taken_in_whole_and_kept_in_part() {
    let lab = Lab::new(&shell(&["head -c"], "timeout = \"2m\""));
    let run = lab.replay(&[command("head -c 1073741824 /dev/zero"), done()]);
    let mut command = run.command(&[]);
    // Address space would be too coarse: the peak of what is resident is asked of the kernel.
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let stdout = crate::support::drain(child.stdout.take().unwrap());
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0u64;
    let code = loop {
        if let Ok(text) = std::fs::read_to_string(&status)
            && let Some(line) = text.lines().find(|line| line.starts_with("VmHWM"))
        {
            let kib = line.split_whitespace().nth(1).unwrap().parse().unwrap();
            peak = peak.max(kib);
        }
        if let Some(status) = child.try_wait().unwrap() {
            break status.code();
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    let text = String::from_utf8(stdout.join().unwrap()).unwrap();
    assert_eq!(code, Some(0), "{text}");
    let result: serde_json::Value = serde_json::from_str(&text).unwrap();
    let proof = &result["audit_trail"]["proofs"][0];
    assert_eq!(proof["output_bytes"], 1_073_741_824_u64);
    // SHA-256 of a gibibyte of zeros: `head -c 1073741824 /dev/zero | sha256sum`.
    let digest = "49bc20df15e412a64472421e13fe86ff1c5165e18b2afccf160d4dc19fe68a14";
    assert!(proof["output_digest"].as_str().unwrap().contains(digest), "{proof}");
    assert!(text.len() < 100_000, "the record stays small");
    assert!(peak > 0 && peak < 100_000, "peak of {peak} KiB");
}

#[test]
fn a_program_that_never_ends_is_killed_with_all_that_it_started() {
    let lab = Lab::new(&shell(&["./work", "echo"], "timeout = \"3s\"\nmax_uses = 2"));
    script(
        &lab,
        "work",
        "(setsid sleep 600 & echo $! > away)\necho $$ > main\ntrap '' TERM INT HUP\nsleep 600 & wait; sleep 600",
    );
    let ended = lab.replay(&[command("./work"), command("echo on"), done()]).go().exits(0);
    assert!(["main", "away"].iter().all(|name| lab.made(name).exists()), "both were there");
    eventually("all are dead", || lab.processes().is_empty());
    let proofs = ended.proofs();
    assert_eq!(
        (&proofs[0]["outcome"], &proofs[0]["reason"]),
        (&json!("unknown"), &json!("timeout"))
    );
    assert_eq!(proofs[1]["outcome"], "succeeded", "the run goes on");
}

#[test]
fn what_a_program_leaves_behind_ends_with_it() {
    let lab = Lab::new(&shell(&["./work"], ""));
    // It detaches in the usual two steps and keeps the output open.
    script(
        &lab,
        "work",
        "setsid sh -c 'sh -c \"echo \\$\\$ > away; exec sleep 600\" &' &\nwhile ! [ -s away ]; do sleep 0.05; done\necho said",
    );
    let ended = lab.replay(&[command("./work"), done()]).go().exits(0);
    assert!(lab.made("away").exists());
    assert_eq!(lab.processes(), Vec::<String>::new(), "a daemon outlived its call");
    assert_eq!(ended.outcomes(), ["succeeded"]);
}

#[test]
fn many_processes_are_all_ended() {
    let lab = Lab::new(&shell(&["./work"], "timeout = \"4s\""));
    script(&lab, "work", "for i in $(seq 60); do (sleep 600 & echo $! >> pids); done\nsleep 600");
    let ended = lab.replay(&[command("./work"), done()]).go().exits(0);
    let pids = lab.read_made("pids");
    assert!(pids.lines().count() > 5, "{pids}");
    eventually("all are dead", || lab.processes().is_empty());
    assert_eq!(ended.outcomes(), ["unknown"]);
}

#[test]
fn a_signal_from_elsewhere_leaves_the_outcome_unknown() {
    let lab = Lab::new(&shell(&["./work"], ""));
    script(&lab, "work", "echo partly; kill -SEGV $$");
    let ended = lab.replay(&[command("./work"), done()]).go().exits(0);
    let proof = ended.proofs().remove(0);
    assert_eq!(proof["outcome"], "unknown");
    assert!(proof["reason"].as_str().unwrap().contains("signal 11"), "{proof}");
    assert_eq!(proof.get("exit_code"), None);
    assert_eq!(ended.json()["tokens_unused"], json!([]), "unknown means spent");
}

#[test]
fn exit_codes_are_kept() {
    let lab = Lab::new(&shell(&["./work"], "max_uses = 3"));
    script(&lab, "work", "echo out; echo err >&2; exit $1");
    let turns = [command("./work 0"), command("./work 7"), command("./work 255"), done()];
    let ended = lab.replay(&turns).go().exits(0);
    assert_eq!(ended.outcomes(), ["succeeded", "failed", "failed"]);
    let codes: Vec<_> = ended.proofs().iter().map(|proof| proof["exit_code"].clone()).collect();
    assert_eq!(codes, [json!(0), json!(7), json!(255)]);
    assert!(ended.proofs()[1]["stderr_digest"].is_string());
    let program = ended.proofs()[1]["program"].clone();
    assert!(program["path"].as_str().unwrap().ends_with("/work"), "{program}");
}

#[test]
fn a_child_gets_a_clean_environment() {
    let server = standin::messages::Server::start([
        standin::Reply::tool_use("toolu_1", "shell_sh", json!({"command": "env"})),
        standin::Reply::text("Done."),
    ]);
    let lab = Lab::new(&shell(&["env"], "env = [\"WANTED\"]"));
    let run = lab.against(&server);
    let run = run
        .env("WANTED", "w")
        .env("UNWANTED", "u")
        .env("LC_TIME", "C")
        .env("LD_LIBRARY_PATH", "/tmp");
    let run = run.env("OPENAI_API_KEY", "sk-openai-0123456789").env("TZ", "UTC");
    run.go().exits(0);
    let told = server.requests()[1].json()["messages"][2].to_string();
    let lines: Vec<&str> = told.split("\\n").collect();
    for name in ["WANTED=w", "LC_TIME=C", "TZ=UTC"] {
        assert!(lines.iter().any(|line| line.starts_with(name)), "{name} is missing: {told}");
    }
    assert!(lines.iter().any(|line| line.starts_with("PATH=/")), "{told}");
    for name in ["UNWANTED", "ANTHROPIC_", "OPENAI_", "LD_LIBRARY_PATH", "sk-"] {
        assert!(!told.contains(name), "{name} reached the child: {told}");
    }
}

#[test]
fn the_runtime_s_own_keys_can_not_even_be_named() {
    for name in ["ANTHROPIC_API_KEY", "OPENAI_API_KEY", "LD_PRELOAD", "PATH"] {
        let lab = Lab::new(&shell(&["env"], &format!("env = [\"{name}\"]")));
        let run = lab.replay(&[command("env"), done()]);
        let ended = run.env("OPENAI_API_KEY", "sk-openai-0123456789").go().exits(2);
        assert!(ended.stderr.contains(&format!("`{name}`")), "{}", ended.stderr);
    }
}

#[test]
fn a_child_has_no_input_no_terminal_and_nothing_open() {
    let lab = Lab::new(&shell(&["./work"], ""));
    // The listing's own descriptor of the directory is the one that `ls` opens last.
    script(
        &lab,
        "work",
        "readlink /proc/self/fd/0 > stdin; cat > input; ls /proc/self/fd > fds; ps -o tty= -p $$ > tty; ps -o sid= -p $$ > sid; ps -o pgid= -p $$ > pgid; pwd > where",
    );
    lab.replay(&[command("./work"), done()]).go().exits(0);
    assert_eq!(lab.read_made("stdin").trim(), "/dev/null");
    assert_eq!(lab.read_made("input"), "", "input is empty");
    let fds = lab.read_made("fds");
    assert_eq!(
        fds.split_whitespace().collect::<Vec<_>>(),
        ["0", "1", "2", "3"],
        "3 is the listing's own"
    );
    assert_eq!(lab.read_made("tty").trim(), "?");
    let whole = lab.path("out").canonicalize().unwrap();
    assert_eq!(lab.read_made("where").trim(), whole.to_str().unwrap());
}

#[test]
fn a_program_that_is_not_there_gives_the_use_back() {
    let lab = Lab::new(&shell(&["./late"], ""));
    let server = standin::messages::Server::start([
        standin::Reply::tool_use("toolu_1", "shell_sh", json!({"command": "./late"})),
        standin::Reply::text("It is not there."),
    ]);
    let ended = lab.against(&server).go().exits(0);
    assert!(ended.proofs().is_empty(), "nothing was spent for good");
    let complaint = ended.complaints().remove(0);
    assert!(complaint.starts_with("NeverBeganError"), "{complaint}");
    assert_eq!(ended.json()["tokens_unused"], json!(["sh"]));
    // It is still offered with its one use, and the model is told why.
    let second = server.requests()[1].json();
    assert!(second["tools"].to_string().contains("shell_sh"), "{second}");
    assert!(second["messages"][2].to_string().contains("given back"), "{second}");
}

#[test]
fn a_use_that_was_given_back_can_be_used() {
    let tables = format!(
        "{}[[token]]\nkind = \"file\"\nname = \"dir\"\nallowed_paths = [\"out\"]\nmode = \"write\"\n",
        shell(&["cat"], "workdir = \"later\"\nreads = [\"note\"]")
    );
    let lab = Lab::new(&tables);
    lab.write("note", "here\n");
    // The working directory isn't there, so nothing can be started; then a helper makes it.
    let turns = [
        command("cat ../note"),
        call("wait_a", json!({"seconds": 3})),
        command("cat ../note"),
        command("cat ../note"),
        done(),
    ];
    lab.write(
        "manifest.toml",
        format!(
            "{}[[token]]\nkind = \"wait\"\nname = \"a\"\nmax_seconds = 3\n",
            lab.read("manifest.toml")
        ),
    );
    let running = lab.replay(&turns).start();
    std::thread::sleep(std::time::Duration::from_millis(100));
    eventually("the first try is over", || {
        lab.path("ledger.db").exists() && lab.trails().iter().any(|trail| !trail.errors.is_empty())
    });
    std::fs::create_dir(lab.path("later")).unwrap();
    let ended = running.wait().exits(0);
    let outcomes: Vec<_> = ended.proofs().iter().map(|p| p["token_name"].clone()).collect();
    assert_eq!(outcomes, ["a", "sh"]);
    let complaints = ended.complaints();
    assert!(complaints[0].starts_with("NeverBeganError"), "{complaints:?}");
    assert!(complaints[1].starts_with("TokenReusedError"), "{complaints:?}");
}

#[test]
fn a_program_that_others_could_change_is_not_run() {
    use std::os::unix::fs::PermissionsExt;
    let lab = Lab::new(&shell(&["./work"], ""));
    script(&lab, "work", "touch made");
    std::fs::set_permissions(lab.path("work"), std::fs::Permissions::from_mode(0o777)).unwrap();
    let ended = lab.replay(&[command("./work"), done()]).go().exits(0);
    assert!(!lab.made("made").exists());
    assert!(ended.complaints()[0].contains("can be written by others"), "{:?}", ended.complaints());
}

#[test]
fn the_words_reach_the_program_as_they_stand() {
    let lab = Lab::new(&shell(&["./words"], ""));
    script(&lab, "words", "for word in \"$@\"; do printf '<%s>' \"$word\"; done > words.txt");
    let line = r#"./words '$HOME' "a  b" 'semi;colon' \* '*' "it's" '' '|' "#;
    lab.replay(&[command(line), done()]).go().exits(0);
    assert_eq!(lab.read_made("words.txt"), "<$HOME><a  b><semi;colon><*><*><it's><><|>");
}

#[test]
fn a_child_that_stops_or_kills_the_helper_holds_nothing_up() {
    let lab = Lab::new(&shell(&["./work"], "max_uses = 9\ntimeout = \"2s\""));
    for (attack, outcome) in [
        ("kill -STOP $PPID; sleep 50", "timeout"),
        ("setsid sh -c 'kill -STOP '$PPID'; sleep 50' & sleep 50", "timeout"),
        ("kill -9 $PPID; echo $$ > survivor; exec sleep 20", "helper lost"),
    ] {
        script(&lab, "work", attack);
        let started = std::time::Instant::now();
        let ended = lab.replay(&[command("./work"), done()]).go().exits(0);
        assert!(started.elapsed() < std::time::Duration::from_secs(15), "{attack}");
        let proof = &ended.proofs()[0];
        // At tier A the helper is out of reach, and so is the first process of the namespace.
        let outcome = if proof["tier"] == "A" { "timeout" } else { outcome };
        assert_eq!((&proof["outcome"], &proof["reason"]), (&json!("unknown"), &json!(outcome)));
    }
}
