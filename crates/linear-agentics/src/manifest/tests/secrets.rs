//! Secret tokens, and that a secret is never shown.

use super::*;

#[test]
fn a_secret_token_is_never_wider_than_its_inner_one() {
    let secret = |own: &str, inner: &str| {
        let text = format!(
            "{BUDGET}[[token]]\nkind = \"secret\"\nname = \"s\"\nfile = \"keys/a\"\n\
             inject_env = \"KEY\"\n{own}\n[token.inner]\nkind = \"shell\"\nname = \"i\"\n\
             allowed = [\"ls\"]\n{inner}\n"
        );
        read(&text).tokens.remove(0)
    };
    let token = secret("", "max_uses = 3\nrequires_approval = true\nallows = [\"ls -l\"]");
    assert_eq!((token.max_uses(), token.requires_approval()), (3, true));
    assert_eq!(token.examples().allows, ["ls -l"]);
    let Scope::Secret(scope) = token.scope() else { panic!() };
    assert!(matches!(&scope.source, SecretSource::File(path) if path == "/work/app/keys/a"));
    assert_eq!(secret("max_uses = 5", "").max_uses(), 5);
    assert_eq!(secret("max_uses = 5", "max_uses = 3").max_uses(), 3);
    assert_eq!(secret("max_uses = 2", "max_uses = 3").max_uses(), 2);
    assert!(secret("requires_approval = false", "requires_approval = true").requires_approval());
    let inner = format!("requires_approval = true\napprovers = [{ALICE:?}]");
    assert!(secret("", &inner).approvers().is_some());
    let (early, late) = ("2026-12-01T00:00:00Z", "2027-12-01T00:00:00Z");
    for (own, inner) in [(early, late), (late, early)] {
        let token = secret(&format!("expires = \"{own}\""), &format!("expires = \"{inner}\""));
        assert_eq!(token.expires(), early.parse().ok());
    }
    assert_eq!(secret("", &format!("expires = \"{early}\"")).expires(), early.parse().ok());
}

#[test]
fn a_secret_in_the_manifest_is_not_shown() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "secret"
name = "notify"
secret = "xoxb-0123456789"
header = "Authorization"
[token.inner]
kind = "http"
name = "health"
url = "https://api.internal/health"
methods = ["GET"]
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: `secret`: a manifest never holds a secret's value
 --> manifest.toml:8:1
  |
8 | secret = *****************
  | ^^^^^^
  |
  = help: name the environment variable that holds it with `env`, or its file with `file`
"#);
}

#[test]
fn a_secret_from_two_places_to_none() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "secret"
name = "notify"
env = "SLACK_TOKEN"
file = "token.txt"
[token.inner]
kind = "http"
name = "health"
url = "https://api.internal/health"
methods = ["GET"]
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: token `notify` doesn't say where the secret goes: `header` or `inject_env`
 --> manifest.toml:5:1
  |
5 | [[token]]
  | ^^^^^^^^^

error: token `notify` says twice where the secret comes from: `env` and `file`; keep one
 --> manifest.toml:9:8
  |
9 | file = "token.txt"
  |        ^^^^^^^^^^^
"#);
}

#[test]
fn a_secret_in_a_file_token() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "secret"
name = "x"
env = "T"
header = "A"
inner = { kind = "file", name = "f", mode = "read", allowed_paths = ["x"] }
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: a token of kind `file` takes no secret
  --> manifest.toml:10:18
   |
10 | inner = { kind = "file", name = "f", mode = "read", allowed_paths = ["x"] }
   |                  ^^^^^^
   |
   = help: the kinds are `shell`, `http`
"#);
}
