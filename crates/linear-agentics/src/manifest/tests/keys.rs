//! Keys, tables and kinds that are unknown, missing or written twice.

use super::*;

#[test]
fn an_unknown_key_names_the_nearest() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "shell"
name = "pods"
alowed = ["kubectl get pods"]
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: unknown key `alowed` in token `pods`; did you mean `allowed`?
 --> manifest.toml:8:1
  |
8 | alowed = ["kubectl get pods"]
  | ^^^^^^
"#);
}

#[test]
fn an_unknown_key_beside_the_right_one() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"
max_step = 5
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: unknown key `max_step` in `[budget]`; did you mean `max_steps`?
 --> manifest.toml:4:1
  |
4 | max_step = 5
  | ^^^^^^^^
"#);
}

#[test]
fn an_unknown_key_like_nothing_lists_what_fits() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"
colour = "red"
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: unknown key `colour` in `[budget]`
 --> manifest.toml:4:1
  |
4 | colour = "red"
  | ^^^^^^
  |
  = help: what it can still hold: `max_tokens`, `max_cost_usd`
"#);
}

#[test]
fn an_unknown_table() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"
[agnet]
model = "human"
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: unknown table `[agnet]` in the manifest; did you mean `agent`?
 --> manifest.toml:4:2
  |
4 | [agnet]
  |  ^^^^^
"#);
}

#[test]
fn an_unknown_key_in_the_inner_token() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "secret"
name = "notify"
env = "SLACK_TOKEN"
header = "Authorization"
[token.inner]
kind = "http"
name = "health"
url = "https://api.internal/health"
method = ["GET"]
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: unknown key `method` in the inner token of token `notify`; did you mean `methods`?
  --> manifest.toml:14:1
   |
14 | method = ["GET"]
   | ^^^^^^
"#);
}

#[test]
fn a_table_of_nearly_that_name() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"
[witness]
url = "https://witness.internal"
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: unknown table `[witness]` in the manifest; did you mean `witnessing`?
 --> manifest.toml:4:2
  |
4 | [witness]
  |  ^^^^^^^
"#);
}

#[test]
fn control_characters_in_a_key() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"
"a\u001b[31m\u202e" = 1
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: unknown key `a\u{1b}[31m\u{202e}` in `[budget]`
 --> manifest.toml:4:1
  |
4 | "a\u001b[31m\u202e" = 1
  | ^^^^^^^^^^^^^^^^^^^
  |
  = help: what it can still hold: `max_tokens`, `max_cost_usd`
"#);
}

#[test]
fn a_key_twice() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"
timeout = "20m"
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: duplicate key
 --> manifest.toml:4:1
  |
4 | timeout = "20m"
  | ^^^^^^^
"#);
}

#[test]
fn a_syntax_error() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"
[[token]]
kind = shell"
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: missing opening quote, expected `"`
 --> manifest.toml:5:8
  |
5 | kind = shell"
  |        ^
"#);
}

#[test]
fn a_syntax_error_beside_a_secret() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"
[[token]]
secret = "xoxb-0123456789
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: invalid basic string, expected `"`
 --> manifest.toml:5:26
  |
5 | secret =*****************
  |                          ^
"#);
}

#[test]
fn an_unknown_kind() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
kind = "shel"
name = "x"
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: unknown kind `shel`; did you mean `shell`?
 --> manifest.toml:6:8
  |
6 | kind = "shel"
  |        ^^^^^^
  |
  = help: the kinds are `shell`, `http`, `file`, `database`, `deploy`, `secret`, `wait`
"#);
}

#[test]
fn no_kind() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"

[[token]]
name = "x"
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: `kind` is missing in token `x`
 --> manifest.toml:5:1
  |
5 | [[token]]
  | ^^^^^^^^^
  |
  = help: the kinds are `shell`, `http`, `file`, `database`, `deploy`, `secret`, `wait`
"#);
}

#[test]
fn no_budget() {
    let text = r#"# A manifest.
[agent]
model = "human"
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: `[budget]` is missing
--> manifest.toml
 = help: every run has limits: add `[budget]` with `max_steps` and `timeout`
"#);
}

#[test]
fn a_missing_key_names_its_table() {
    let text = r#"[budget]
timeout = "15m"

[[token]]
kind = "http"
name = "health"
methods = ["GET"]
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: `max_steps` is missing in `[budget]`
 --> manifest.toml:1:1
  |
1 | [budget]
  | ^^^^^^^^
  |
  = help: `max_steps`: Tool calls that the model may make, refused ones included

error: `url` is missing in token `health`
 --> manifest.toml:4:1
  |
4 | [[token]]
  | ^^^^^^^^^
  |
  = help: `url`: The URL, http or https, without user name, password and fragment
"#);
}

#[test]
fn a_table_with_one_bracket_too_few() {
    let text = r#"[budget]
max_steps = 20
timeout = "15m"
[token]
kind = "shell"
name = "pods"
"#;
    insta::assert_snapshot!(refused(text), @r#"
error: `token` must be an array of tables, not a table
 --> manifest.toml:4:1
  |
4 | [token]
  | ^^^^^^^
  |
  = help: write `[[token]]` with two brackets
"#);
}
