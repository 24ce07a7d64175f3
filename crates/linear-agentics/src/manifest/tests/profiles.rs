//! Profiles that stand beside the manifest.

use lar_core::scope::command::Command;

use super::*;

const OWN_PROFILE: &str = "[mytool]\nsyntax = \"exact\"\noperands = \"text*\"\n\
    flags.harmless = \"-v|--verbose\"\n\n[kubectl]\noperands = \"text*\"\n\
    flags.harmless = \"-n=\"\n";

fn with_profile(entry: &str) -> Result<Manifest, ManifestError> {
    let text = format!(
        "[budget]\nmax_steps = 1\ntimeout = \"1m\"\n\n{entry}\n\n[[token]]\nkind = \"shell\"\n\
         name = \"t\"\nallowed = [\"mytool run\", \"kubectl get pods\"]\n"
    );
    let load = |path: &Path| match path.to_str() {
        Some("/work/app/own.toml") => Ok(OWN_PROFILE.as_bytes().to_vec()),
        _ => Err("can't be read; name an existing file".to_owned()),
    };
    Manifest::read_with(text.as_bytes(), "/work/app".as_ref(), &load)
}

fn allows(manifest: &Manifest, command: &str) -> bool {
    match manifest.tokens[0].scope() {
        Scope::Shell(shell) => shell.commands.permits(&Command::parse(command).unwrap()).is_ok(),
        _ => panic!("a shell token"),
    }
}

#[test]
fn profiles_beside_the_manifest_add_and_tighten_and_replace_only_by_their_digest() {
    let shipped = with_profile("").unwrap();
    assert!(allows(&shipped, "mytool run --anything") && allows(&shipped, "kubectl get pods -w"));
    let report = worst(&shipped, &Surroundings::default());
    assert!(report.tokens[0].warnings.iter().any(|w| w.code == "unknown-program"));

    let own = with_profile("[[profile]]\nfile = \"own.toml\"").unwrap();
    assert!(allows(&own, "mytool run -v") && !allows(&own, "mytool run --anything"));
    assert!(allows(&own, "kubectl get pods -n a") && !allows(&own, "kubectl get pods -w"));
    let report = worst(&own, &Surroundings::default());
    assert!(!report.tokens[0].warnings.iter().any(|w| w.code == "unknown-program"));
    let digest = |manifest: &Manifest| manifest.tokens[0].digest().unwrap();
    assert_ne!(digest(&own), digest(&shipped), "what a prefix means is part of the token");

    let sha = Digest::of(OWN_PROFILE.as_bytes());
    let replaced =
        with_profile(&format!("[[profile]]\nfile = \"own.toml\"\nsha256 = \"{sha}\"")).unwrap();
    assert!(allows(&replaced, "kubectl get pods -n a"));
    assert!(!allows(&replaced, "kubectl get pods -w"), "it lists one flag only");

    for (entry, says) in [
        ("[[profile]]\nfile = \"none.toml\"", "`none.toml` can't be read"),
        (
            "[[profile]]\nfile = \"own.toml\"\nsha256 = \
             \"0000000000000000000000000000000000000000000000000000000000000000\"",
            "is not the file whose SHA-256 stands here",
        ),
        ("[[profile]]\nfile = \"own.toml\"\n[[profile]]\nfile = \"own.toml\"", "already"),
        ("[[profile]]\nfil = \"own.toml\"", "fil"),
    ] {
        let error = with_profile(entry).expect_err(entry).to_string();
        assert!(error.contains(says), "{entry}: {error}");
    }
}
