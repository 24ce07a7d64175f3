//! Who may approve: under `[approval]`, and for one token.

use super::*;

/// Two tokens under an `[approval]` table; the first requires approval.
fn approved(approval: &str, first: &str) -> String {
    format!(
        "{BUDGET}[approval]\n{approval}\n[[token]]\nkind = \"shell\"\nname = \"a\"\nallowed = [\"ls\"]\n\
         {first}\n[[token]]\nkind = \"wait\"\nname = \"b\"\nmax_seconds = 1\n[[candidate]]\n\
         kind = \"wait\"\nname = \"c\"\nmax_seconds = 1\nrequires_approval = true\n"
    )
}

#[test]
fn approvers_hold_for_all_tokens_that_ask_or_for_one() {
    let both = format!("approvers = [{ALICE:?}, {BOB:?}]\nrequired = 2\nnot_the_runner = true");
    let manifest = read(&approved(&both, "requires_approval = true"));
    let people = manifest.tokens[0].approvers().unwrap();
    assert_eq!(people.people(), ["alice@x.org", "bob@x.org"]);
    assert_eq!((people.required(), people.not_the_runner()), (2, true));
    assert_eq!(manifest.tokens[1].approvers(), None, "it asks nobody");
    assert_eq!(manifest.candidates[0].approvers(), Some(people));
    // A token's own list, which takes over who is excluded, but not how many it takes.
    let own = format!("requires_approval = true\napprovers = [{BOB:?}]");
    let manifest = read(&approved(&both, &own));
    let own = manifest.tokens[0].approvers().unwrap();
    assert_eq!((own.people(), own.required()), (vec!["bob@x.org"], 1));
    assert!(own.not_the_runner());
    // Who may approve is part of what is pinned.
    let digests: Vec<_> = ["", "required = 2", "not_the_runner = true"]
        .iter()
        .map(|more| {
            let text = format!("approvers = [{ALICE:?}, {BOB:?}]\n{more}");
            read(&approved(&text, "requires_approval = true")).tokens[0].digest().unwrap()
        })
        .collect();
    assert!(digests[0] != digests[1] && digests[1] != digests[2] && digests[0] != digests[2]);
}

#[test]
fn approvers_that_can_not_be_kept_are_told() {
    for (approval, first, says) in [
        (format!("approvers = [{ALICE:?}, \"bob\"]"), "", "write `NAME TYPE KEY`"),
        (format!("approvers = [{ALICE:?}]\nrequired = 2"), "", "1 person is listed"),
        ("required = 2".to_owned(), "", "none are listed"),
        ("not_the_runner = true".to_owned(), "", "none are listed"),
        (String::new(), &*format!("approvers = [{ALICE:?}]"), "`requires_approval` is true"),
        (
            String::new(),
            &format!("requires_approval = true\napprovers = [{ALICE:?}]\nrequired_approvals = 3"),
            "`required_approvals`: 3 approvals",
        ),
        (String::new(), "requires_approval = true\nrequired_approvals = 2", "the token lists none"),
        (
            String::new(),
            "requires_approval = true\napprovers = [\"x ssh-rsa AAAA\"]",
            "the types are `ssh-ed25519`",
        ),
    ] {
        let text = approved(&approval, first);
        let error = Manifest::read(&text, Path::new("/work/app")).unwrap_err();
        let error = error.render("m.toml", false);
        assert!(error.contains(says), "{says}\n{error}");
    }
}

#[test]
fn the_report_says_who_must_approve() {
    let text = approved(&format!("approvers = [{ALICE:?}, {BOB:?}]"), "requires_approval = true");
    let report = worst(&read(&text), &Surroundings::default()).to_string();
    assert!(
        report.contains("a (shell_a): 1 time, each approved by 1 of alice@x.org, bob@x.org"),
        "{report}"
    );
    assert!(report.contains("b (wait_b): 1 time, without asking"), "{report}");
    let codes = |text: &str| -> Vec<&'static str> {
        let report = worst(&read(text), &Surroundings::default());
        let all = report.warnings.iter().chain(report.tokens.iter().flat_map(|t| &t.warnings));
        all.map(|warning| warning.code).collect()
    };
    let text = format!("{BUDGET}[approval]\napprovers = [{ALICE:?}]\n");
    assert!(codes(&text).contains(&"unused-approvers"));
    let alone = format!("approvers = [{ALICE:?}]\nnot_the_runner = true");
    assert!(codes(&approved(&alone, "requires_approval = true")).contains(&"too-few-approvers"));
}

#[test]
fn approvers_without_a_name() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"
[approval]
timeout = "5m"
approvers = ["ssh-ed25519 AAAA"]
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: `approvers` under `[approval]`: `ssh-ed25519 AAAA` is not a name and a public key; write `NAME TYPE KEY`, such as `alice@example.com ssh-ed25519 AAAA…`, without options
 --> manifest.toml:6:14
  |
6 | approvers = ["ssh-ed25519 AAAA"]
  |              ^^^^^^^^^^^^^^^^^^
"#);
}
