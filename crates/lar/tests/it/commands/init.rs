//! `init`.

use super::lar;
use crate::support::Lab;

#[test]
fn every_first_manifest_is_valid_and_passes_its_own_examples() {
    for case in ["triage", "deploy", "database", "release-gate", "multi-cloud"] {
        let lab = Lab::new("");
        lar(&lab, &["init", "--use-case", case, "first.toml"]).exits(0);
        lar(&lab, &["check", "first.toml"]).exits(0);
        let ended = lar(&lab, &["test", "first.toml"]).exits(0);
        assert!(!ended.stdout.contains("untested"), "{case}: {}", ended.stdout);
        assert!(ended.stdout.contains(" 0 failed"), "{case}: {}", ended.stdout);
        lar(&lab, &["tools", "first.toml"]).exits(0);
    }
}

#[test]
fn every_command_takes_json() {
    let lab = Lab::new("");
    let written = lar(&lab, &["init", "--json", "first.toml"]).exits(0).json();
    assert_eq!(written["path"], "first.toml");
    lar(&lab, &["schema", "--json"]).exits(0).json();
    let tool = ["try", "first.toml", "nothing", "{}", "--json"];
    assert_eq!(lar(&lab, &tool).exits(5).json()["decision"], "deny");
    for command in ["check", "test", "tools"] {
        lar(&lab, &[command, "first.toml", "--json"]).exits(0).json();
    }
    for command in ["list", "verify"] {
        lar(&lab, &["audit", command, "--json"]).exits(0).json();
    }
}

#[test]
fn nothing_is_overwritten() {
    let lab = Lab::new("");
    lar(&lab, &["init"]).exits(0);
    let first = lab.read("lar.toml");
    assert!(first.starts_with("# "), "{first}");
    let again = lar(&lab, &["init", "--use-case", "deploy"]).exits(2);
    assert!(again.stderr.contains("`lar.toml` already"), "{}", again.stderr);
    lar(&lab, &["init", "--use-case", "deploy", "."]).exits(2);
    assert_eq!(lab.read("lar.toml"), first);
    std::os::unix::fs::symlink(lab.path("elsewhere"), lab.path("link.toml")).unwrap();
    lar(&lab, &["init", "link.toml"]).exits(2);
    assert!(!lab.path("elsewhere").exists());
    lar(&lab, &["init", "no/such/directory.toml"]).exits(1);
    lar(&lab, &["init", "--use-case", "nothing"]).exits(2);
}
